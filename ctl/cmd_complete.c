/* SPDX-License-Identifier: MIT */
/* What could come next on a command line, for shells: read off the same tables as everything else. Asks a hub only
 * for names that the user has begun to need, and not for long. */
#include <stdio.h>
#include <string.h>

#include "common/map.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/strv.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/verbs.h"

#define ASK_MS 700 /* a shell that waits longer seems stuck */

struct completion {
    struct ctl *ctl;
    const char *word; /* as far as it is typed */
};

static void offer(const struct completion *c, const char *candidate)
{
    if (strncmp(candidate, c->word, strlen(c->word)) == 0)
        strbuf_addf(&c->ctl->output.text, "%s\n", candidate);
}

/* --- words ------------------------------------------------------------------------------------------------ */

/* "remote" once, "list", …; behind "remote" its verbs. */
static void offer_verbs(const struct completion *c, const char *family)
{
    struct map *seen = map_new(NULL);
    for (const struct verb *v = verbs; v->words; v++) {
        size_t first = strcspn(v->words, " ");
        _cleanup_(free_ptr) char *word = xstrndup(v->words, first);
        if (family && strcmp(word, family) == 0 && v->words[first])
            offer(c, v->words + first + 1);
        else if (!family && v->fn != cmd_complete && !map_get(seen, word))
            offer(c, word);
        map_set(seen, word, (void *)(uintptr_t)v);
    }
    map_free(seen);
}

/* "--host=" and "--no-traffic" of a usage line. */
static void offer_options(const struct completion *c, const char *usage)
{
    for (const char *s = strstr(usage, "--"); s; s = strstr(s + 2, "--")) {
        size_t len = 2 + strspn(s + 2, "abcdefghijklmnopqrstuvwxyz-");
        _cleanup_(free_ptr) char *option = xstrndup(s, len + (s[len] == '='));
        offer(c, option);
    }
}

/* --- names ------------------------------------------------------------------------------------------------ */

static void offer_releases(const struct completion *c, struct client *client)
{
    struct msg_list answer = { 0 };
    struct map *seen = map_new(NULL);
    const struct msg_query m = { .limit = PAGE_MAX };
    if (client_ask(client, MSG_LIST, &m, &answer, NULL) < 0)
        answer = (struct msg_list){ 0 };
    bool versions = strchr(c->word, '@') != NULL;
    for (size_t i = 0; i < answer.n_releases; i++) {
        const struct release_row *row = &answer.releases[i];
        _cleanup_(free_ptr) char *release = xasprintf("%s@%s", row->service, row->version);
        if (versions)
            offer(c, release);
        else if (!map_get(seen, row->service))
            offer(c, row->service);
        map_set(seen, row->service, client);
    }
    map_free(seen);
    schema_clear(msg_by_type(MSG_LIST)->answer, &answer);
}

static void offer_hosts(const struct completion *c, struct client *client, const char *prefix)
{
    struct msg_servers answer = { 0 };
    const struct msg_query m = { .limit = PAGE_MAX };
    if (client_ask(client, MSG_HOST_LIST, &m, &answer, NULL) < 0)
        answer = (struct msg_servers){ 0 };
    for (size_t i = 0; i < answer.n_hosts; i++) {
        _cleanup_(free_ptr) char *candidate = xasprintf("%s%s", prefix, answer.hosts[i].host);
        offer(c, candidate);
    }
    schema_clear(msg_by_type(MSG_HOST_LIST)->answer, &answer);
}

static void offer_remotes(const struct completion *c, const char *prefix)
{
    struct remotes remotes;
    if (remotes_load(&remotes, NULL) < 0)
        return;
    for (size_t i = 0; i < remotes.n_remotes; i++) {
        _cleanup_(free_ptr) char *candidate = xasprintf("%s%s", prefix, remotes.remotes[i].name);
        offer(c, candidate);
    }
    remotes_clear(&remotes);
}

static void offer_roles(const struct completion *c, const char *prefix)
{
    for (int role = ROLE_ADMIN; role <= ROLE_ROUTER; role++) {
        _cleanup_(free_ptr) char *candidate = xasprintf("%s%s", prefix, role_names[role]);
        offer(c, candidate);
    }
}

/* From a hub, if one answers soon. */
static void offer_from_hub(const struct completion *c, const char *what, const char *prefix)
{
    struct client *client = NULL;
    c->ctl->timeout_ms = ASK_MS;
    if (client_open(c->ctl, &client, NULL) < 0)
        return;
    if (strcmp(what, "HOST") == 0)
        offer_hosts(c, client, prefix);
    else
        offer_releases(c, client);
    client_free(client);
}

static void offer_value(const struct completion *c, const struct verb *verb)
{
    if (strncmp(c->word, "--host=", 7) == 0)
        offer_from_hub(c, "HOST", "--host=");
    else if (strncmp(c->word, "--remote=", 9) == 0)
        offer_remotes(c, "--remote=");
    else if (strncmp(c->word, "--role=", 7) == 0)
        offer_roles(c, "--role=");
    else if (c->word[0] == '+')
        offer_remotes(c, "+");
    else if (strncmp(verb->words, "remote ", 7) == 0)
        offer_remotes(c, "");
    else if (strncmp(verb->usage, "ROLE", 4) == 0)
        offer_roles(c, "");
    else if (strncmp(verb->usage, "[HOST]", 6) == 0 || strncmp(verb->words, "host remove", 11) == 0)
        offer_from_hub(c, "HOST", "");
    else if (strstr(verb->usage, "TARGET"))
        offer_from_hub(c, "TARGET", "");
}

int cmd_complete(struct ctl *ctl, struct error *err)
{
    char **words = ctl->args.words;
    size_t n = strv_len(words);
    if (n == 0)
        return STATUS_DONE;
    const struct completion c = { .ctl = ctl, .word = words[n - 1] };
    _cleanup_(strv_freep) char **before = NULL;
    for (size_t i = 0; i + 1 < n; i++)
        if (words[i][0] != '-' && words[i][0] != '+')
            strv_push(&before, words[i]);
    int taken = 0;
    const struct verb *verb = before ? verb_find(before, &taken) : NULL;
    if (!before || (verb && verb->fn == cmd_help))
        offer_verbs(&c, NULL);
    else if (!verb)
        offer_verbs(&c, before[0]);
    else if (c.word[0] == '-' && !strchr(c.word, '='))
        offer_options(&c, verb->usage);
    else
        offer_value(&c, verb);
    if (verb && c.word[0] == '-' && !strchr(c.word, '='))
        offer_options(&c, args_global_usage);
    output_flush(&ctl->output);
    return STATUS_DONE;
}
