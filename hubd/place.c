/* SPDX-License-Identifier: MIT */
#include "hubd/place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define MIB      (INT64_C(1024) * 1024)
#define ROOM_ANY INT64_MAX

char *place_format_bytes(int64_t bytes, char *buf)
{
    if (bytes >= 1024 * MIB && bytes % (1024 * MIB) == 0)
        snprintf(buf, 32, "%" PRId64 "G", bytes / (1024 * MIB));
    else if (bytes >= 10 * 1024 * MIB)
        snprintf(buf, 32, "%.1fG", (double)bytes / (double)(1024 * MIB));
    else if (bytes >= MIB)
        snprintf(buf, 32, "%" PRId64 "M", bytes / MIB);
    else
        snprintf(buf, 32, "%" PRId64 "K", bytes / 1024);
    return buf;
}

static bool is_asked_for(const struct place_wish *wish, const struct place_host *host)
{
    return !wish->hosts || !*wish->hosts || strv_contains(wish->hosts, host->name);
}

static int64_t room(const struct place_wish *wish, const struct place_host *host)
{
    if (!host->online || host->problem || !is_asked_for(wish, host))
        return 0;
    if (wish->memory_bytes == 0 || host->memory_free_bytes < 0)
        return ROOM_ANY;
    return host->memory_free_bytes / wish->memory_bytes;
}

struct candidate {
    const struct place_host *host;
    int64_t room, same, all;
};

static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if (a->same != b->same)
        return a->same < b->same;
    if (a->all != b->all)
        return a->all < b->all;
    if (a->host->memory_free_bytes != b->host->memory_free_bytes)
        return a->host->memory_free_bytes > b->host->memory_free_bytes;
    return strcmp(a->host->name, b->host->name) < 0;
}

static int check_names(
    const struct place_wish *wish, const struct place_host *hosts, size_t n_hosts, struct error *err)
{
    for (size_t k = 0; wish->hosts && wish->hosts[k]; k++) {
        const char *name = wish->hosts[k];
        bool found = false;
        for (size_t i = 0; i < n_hosts && !found; i++)
            found = strcmp(hosts[i].name, name) == 0;
        if (!found)
            return error_set(err, -ENOENT, "there is no host \"%s\"", name);
    }
    return 0;
}

static void add_reason(
    struct strbuf *sb, const struct place_wish *wish, const struct place_host *host, int width)
{
    char each[32], left[32], away[CLOCK_STAMP_MAX];
    strbuf_addf(sb, "\n  %-*s  ", width, host->name);
    int64_t fits = room(wish, host);
    if (host->problem)
        strbuf_adds(sb, host->problem);
    else if (!host->online)
        strbuf_addf(sb, "not reached for %s", duration_for_people(host->away_ms, away));
    else if (fits == ROOM_ANY)
        strbuf_adds(sb, "room");
    else
        strbuf_addf(sb, "room for %" PRId64 " (memory %s each, %s free)", fits,
            place_format_bytes(wish->memory_bytes, each), place_format_bytes(host->memory_free_bytes, left));
}

static int refuse(
    const struct place_wish *wish, const struct place_host *hosts, size_t n_hosts, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf sb = STRBUF_INIT;
    int64_t total = wish->total > 0 ? wish->total : wish->count;
    if (total == 1)
        strbuf_addf(&sb, "no host can take %s", wish->what);
    else
        strbuf_addf(&sb, "%" PRId64 " instances of %s don't fit", total, wish->what);
    size_t told = 0, meant = 0;
    int width = 0;
    for (size_t i = 0; i < n_hosts; i++) {
        int len = (int)strlen(hosts[i].name);
        if (is_asked_for(wish, &hosts[i]) && len > width)
            width = len;
    }
    for (size_t i = 0; i < n_hosts; i++) {
        if (!is_asked_for(wish, &hosts[i]))
            continue;
        if (++meant <= PLACE_REASONS_MAX) {
            add_reason(&sb, wish, &hosts[i], width);
            told++;
        }
    }
    if (meant == 0)
        strbuf_adds(&sb, "\n  no host has joined yet: stagecoachctl token create --role=drone");
    if (told < meant)
        strbuf_addf(&sb, "\n  … and %zu more", meant - told);
    strbuf_adds(&sb, "\nNothing was changed.");
    return error_set(err, -EDQUOT, "%s", strbuf_str(&sb));
}

int place(const struct place_wish *wish, const struct place_host *hosts, size_t n_hosts, size_t *ret_hosts,
    struct error *err)
{
    int r = check_names(wish, hosts, n_hosts, err);
    if (r < 0)
        return r;
    struct candidate *all = xcalloc(n_hosts + 1, sizeof(*all));
    for (size_t i = 0; i < n_hosts; i++)
        all[i] =
            (struct candidate){ &hosts[i], room(wish, &hosts[i]), hosts[i].n_same, hosts[i].n_instances };

    for (int64_t k = 0; k < wish->count; k++) {
        struct candidate *best = NULL;
        for (size_t i = 0; i < n_hosts; i++)
            if (all[i].room > 0 && (!best || is_better(&all[i], best)))
                best = &all[i];
        if (!best) {
            free(all);
            return refuse(wish, hosts, n_hosts, err);
        }
        ret_hosts[k] = (size_t)(best->host - hosts);
        best->same++;
        best->all++;
        if (best->room != ROOM_ANY)
            best->room--;
    }
    free(all);
    return 0;
}
