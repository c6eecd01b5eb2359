/* SPDX-License-Identifier: MIT */
/* What people ask about one service, about what depends on what, and about the hub itself. */
#include "hubd/control.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/semver.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/ca.h"
#include "hubd/command_queue.h"
#include "hubd/hubd.h"
#include "hubd/instance.h"
#include "hubd/release.h"
#include "hubd/rollout.h"
#include "hubd/router.h"
#include "hubd/session.h"

/* --- status ---------------------------------------------------------------------------------------------- */

struct status_page {
    const struct hubd *hub;
    struct control_filter filter;
    struct msg_status answer;
    size_t cap;
};

static struct status_row *status_row(struct status_page *page, const char *service, const char *version)
{
    for (size_t i = 0; i < page->answer.n_releases; i++) {
        struct status_row *row = &page->answer.releases[i];
        if (strcmp(row->service, service) == 0 && strcmp(row->version, version) == 0)
            return row;
    }
    if (page->answer.n_releases >= PAGE_MAX)
        return NULL;
    page->answer.releases =
        xgrow(page->answer.releases, page->answer.n_releases, &page->cap, sizeof(*page->answer.releases));
    struct status_row *row = &page->answer.releases[page->answer.n_releases++];
    *row = (struct status_row){ .service = xstrdup(service), .version = xstrdup(version) };
    return row;
}

static void add_instance(struct status_page *page, const struct instance *instance)
{
    if (instance->wanted == WANTED_GONE ||
        !control_filter_takes(
            &page->filter, instance->service, instance->version, instance->host, instance->id))
        return;
    struct status_row *row = status_row(page, instance->service, instance->version);
    if (!row)
        return;
    row->instances = xrealloc(row->instances, (row->n_instances + 1) * sizeof(*row->instances));
    control_instance(page->hub, instance, &row->instances[row->n_instances++]);
}

static void add_traffic(const struct hubd *hub, const struct status_row *row, struct strbuf *text)
{
    int64_t requests = 0, errors = 0, p99 = 0;
    for (size_t i = 0; i < row->n_instances; i++) {
        struct traffic_sum sum = facts_traffic(&hub->facts, row->instances[i].id);
        requests += sum.requests;
        errors += sum.status_5xx + sum.failures;
        map_for_each (it, hub->facts.routers) {
            const struct router_facts *router = it.value;
            const struct endpoint_traffic *traffic = map_get(router->traffic, row->instances[i].id);
            if (traffic && traffic->p99_us > p99)
                p99 = traffic->p99_us;
        }
    }
    if (requests == 0)
        return;
    strbuf_addf(
        text, ", %" PRId64 " requests, %.2f%% errors", requests, (double)errors * 100 / (double)requests);
    if (p99 > 0)
        strbuf_addf(text, ", p99 %" PRId64 " ms", (p99 + 500) / 1000);
}

static void summarise(const struct hubd *hub, struct status_row *row)
{
    const struct service *service = state_service(&hub->state, row->service);
    const struct release *release = state_release(&hub->state, row->service, row->version);
    size_t running = 0;
    const char *reason = NULL;
    for (size_t i = 0; i < row->n_instances; i++) {
        const struct instance *instance = state_instance(&hub->state, row->instances[i].id);
        if (instance && instance_is_healthy(&hub->facts, instance))
            running++;
        else if (!reason)
            reason = row->instances[i].reason ? row->instances[i].reason
                                              : instance_phase_names[row->instances[i].phase];
    }
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    if (running == 0)
        strbuf_addf(&text, "not running: %s", reason ? reason : "unknown");
    else
        strbuf_addf(&text, "%zu of %zu running", running, row->n_instances);
    int64_t percent = service ? rollout_percent(&service->live, row->version) : -1;
    if (release && !release->run.port)
        strbuf_adds(&text, ", a worker");
    else if (percent >= 0)
        strbuf_addf(&text, ", %" PRId64 "%% of traffic", percent);
    else if (running > 0)
        strbuf_adds(&text, ", no traffic");
    add_traffic(hub, row, &text);
    row->summary = strbuf_steal(&text);
}

/* A release that is not there because its last deploy failed. */
static void add_failed(struct status_page *page, const struct deploy *deploy)
{
    if (deploy->stage != STAGE_FAILED || !deploy->version ||
        !control_filter_takes(&page->filter, deploy->service, deploy->version, NULL, NULL))
        return;
    size_t before = page->answer.n_releases;
    struct status_row *row = status_row(page, deploy->service, deploy->version);
    if (!row || (page->answer.n_releases == before && row->n_instances > 0))
        return;
    free(row->summary);
    row->summary =
        xasprintf("not running: %s (deploy %s)", deploy->reason ? deploy->reason : deploy->text, deploy->id);
}

static int by_version(const void *a, const void *b)
{
    const struct status_row *x = a, *y = b;
    int r = strcmp(x->service, y->service);
    struct semver v, w;
    if (r == 0 && semver_parse(x->version, &v, NULL) == 0 && semver_parse(y->version, &w, NULL) == 0)
        r = semver_compare(&v, &w);
    return r != 0 ? r : strcmp(x->version, y->version);
}

CONTROL_HANDLER(on_status)
{
    const struct session *session = owner;
    const struct msg_query *query = m;
    struct hubd *hub = session->hub;
    struct status_page page = { .hub = hub };
    control_filter_read(hub, query->target, &page.filter);
    if (page.filter.service && !state_service(&hub->state, page.filter.service)) {
        reply_error(reply, ERROR_NOT_FOUND, "there is no service, host or instance \"%s\"", query->target);
        control_filter_done(&page.filter);
        return;
    }
    state_for_each(it, &hub->state, STATE_INSTANCE) add_instance(&page, it.value);
    for (size_t i = 0; i < page.answer.n_releases; i++)
        summarise(hub, &page.answer.releases[i]);
    state_for_each(it, &hub->state, STATE_DEPLOY) add_failed(&page, it.value);
    if (page.answer.n_releases > 0)
        qsort(page.answer.releases, page.answer.n_releases, sizeof(*page.answer.releases), by_version);
    reply_ok(reply, &page.answer);
    schema_clear(msg_by_type(MSG_STATUS)->answer, &page.answer);
    control_filter_done(&page.filter);
}

/* --- deps ------------------------------------------------------------------------------------------------ */

struct deps {
    const struct hubd *hub;
    struct msg_deps answer;
    size_t cap;
};

static struct dep_row *dep_row(struct deps *deps, const struct release *release)
{
    deps->answer.edges =
        xgrow(deps->answer.edges, deps->answer.n_edges, &deps->cap, sizeof(*deps->answer.edges));
    struct dep_row *row = &deps->answer.edges[deps->answer.n_edges++];
    *row = (struct dep_row){ .service = xstrdup(release->service), .version = xstrdup(release->version) };
    return row;
}

static void resolve(const struct hubd *hub, struct dep_row *row)
{
    const struct service *service = state_service(&hub->state, row->name);
    for (size_t i = 0; service && i < service->live.n_releases; i++) {
        if (semver_matches(row->range, service->live.releases[i].version) == 1) {
            row->resolved = xstrdup(service->live.releases[i].version);
            return;
        }
    }
    const struct release *newest = service ? release_latest(&hub->state, row->name) : NULL;
    if (strncmp(row->name, "config:", strlen("config:")) == 0)
        row->missing = xstrdup("no such configuration");
    else if (!newest)
        row->missing = xstrdup("never pushed");
    else if (semver_matches(row->range, newest->version) == 1)
        row->missing = xasprintf("%s is not deployed", newest->version);
    else
        row->missing = xasprintf("newest is %s", newest->version);
}

static void add_release(struct deps *deps, const struct release *release)
{
    if (!release->depends || !*release->depends) {
        dep_row(deps, release);
        return;
    }
    char *pair;
    strv_for_each (pair, release->depends) {
        const char *equals = strchr(pair, '=');
        if (!equals || deps->answer.n_edges >= PAGE_MAX)
            continue;
        struct dep_row *row = dep_row(deps, release);
        row->name = xstrndup(pair, (size_t)(equals - pair));
        row->range = xstrdup(equals[1] ? equals + 1 : "*");
        resolve(deps->hub, row);
    }
}

/* What serves; of a service that does not, what was pushed last. */
CONTROL_HANDLER(on_deps)
{
    const struct session *session = owner;
    const struct msg_query *query = m;
    struct deps deps = { .hub = session->hub };
    const char **names = map_sorted_keys(session->hub->state.rows[STATE_SERVICE]);
    for (size_t i = 0; names[i]; i++) {
        const struct service *service = state_service(&session->hub->state, names[i]);
        if (query->target && strcmp(query->target, names[i]) != 0)
            continue;
        for (size_t k = 0; k < service->live.n_releases; k++) {
            const struct release *release =
                state_release(&session->hub->state, names[i], service->live.releases[k].version);
            if (release)
                add_release(&deps, release);
        }
        const struct release *latest = release_latest(&session->hub->state, names[i]);
        if (service->live.n_releases == 0 && latest)
            add_release(&deps, latest);
    }
    free(names);
    reply_ok(reply, &deps.answer);
    schema_clear(msg_by_type(MSG_DEPS)->answer, &deps.answer);
}

/* --- the hub itself -------------------------------------------------------------------------------------- */

CONTROL_HANDLER(on_version)
{
    const struct session *session = owner;
    const struct hubd *hub = session->hub;
    struct msg_version answer = {
        .program = (char *)"stagecoach-hubd",
        .version = (char *)STAGECOACH_VERSION,
        .protocol = PROTOCOL_VERSION,
        .fleet = state_meta(&hub->state)->fleet,
        .fingerprint = hub->ca ? (char *)ca_spki(hub->ca) : NULL,
    };
    reply_ok(reply, &answer);
}

static void add_item(struct msg_hub_status *answer, const char *name, const char *fmt, ...) _printf_(3, 4);

static void add_item(struct msg_hub_status *answer, const char *name, const char *fmt, ...)
{
    struct error text; /* only for its capped buffer */
    va_list args;
    va_start(args, fmt);
    error_vset(&text, -1, fmt, args);
    va_end(args);
    answer->items = xrealloc(answer->items, (answer->n_items + 1) * sizeof(*answer->items));
    answer->items[answer->n_items++] = (struct status_item){ xstrdup(name), xstrdup(text.text) };
}

static int64_t resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

CONTROL_HANDLER(on_hub_status)
{
    const struct session *session = owner;
    struct hubd *hub = session->hub;
    struct msg_hub_status answer = { 0 };
    size_t drones = 0, routers = 0, links = 0, open = 0;
    map_for_each (it, hub->facts.drones)
        drones += ((const struct drone_facts *)it.value)->online;
    map_for_each (it, hub->facts.routers)
        routers += ((const struct router_facts *)it.value)->online;
    state_for_each(it, &hub->state, STATE_DEPLOY) open +=
        deploy_stage_is_open(((const struct deploy *)it.value)->stage);
    const struct session *other;
    list_for_each (other, &hub->sessions, of_hub)
        links++;
    add_item(&answer, "fleet", "%s", state_meta(&hub->state)->fleet ? state_meta(&hub->state)->fleet : "-");
    add_item(&answer, "revision", "%" PRId64, hub->state.revision);
    add_item(&answer, "epoch", "%" PRId64, state_meta(&hub->state)->epoch);
    add_item(&answer, "hosts", "%zu of %zu", drones, map_size(hub->state.rows[STATE_DRONE]));
    add_item(&answer, "routers", "%zu of %zu", routers, map_size(hub->state.rows[STATE_ROUTER]));
    add_item(&answer, "apps", "%zu", map_size(hub->state.rows[STATE_APP]));
    add_item(&answer, "services", "%zu", map_size(hub->state.rows[STATE_SERVICE]));
    add_item(&answer, "releases", "%zu", map_size(hub->state.rows[STATE_RELEASE]));
    add_item(&answer, "instances", "%zu", map_size(hub->state.rows[STATE_INSTANCE]));
    add_item(&answer, "deploys open", "%zu", open);
    add_item(&answer, "links", "%zu", links);
    add_item(&answer, "commands waiting", "%zu", command_queue_length(hub->commands));
    add_item(&answer, "memory", "%" PRId64 " KiB", resident_kib());
    reply_ok(reply, &answer);
    schema_clear(msg_by_type(MSG_HUB_STATUS)->answer, &answer);
}

CONTROL_HANDLER(on_routers)
{
    const struct session *session = owner;
    struct hubd *hub = session->hub;
    struct msg_routers answer = { 0 };
    answer.routers = xcalloc(map_size(hub->state.rows[STATE_ROUTER]) + 1, sizeof(*answer.routers));
    state_for_each(it, &hub->state, STATE_ROUTER)
    {
        struct router_row *row = &answer.routers[answer.n_routers++];
        const struct router_facts *facts = facts_router(&hub->facts, it.key);
        const char *version = router_version(hub, it.key);
        *row = (struct router_row){
            .name = xstrdup(it.key),
            .online = facts->online,
            .version = version ? xstrdup(version) : NULL,
            .epoch = facts->acked_epoch,
            .seen_us = facts->seen.us,
        };
        schema_copy(&router_brief_schema, &facts->brief, &row->now);
    }
    reply_ok(reply, &answer);
    schema_clear(msg_by_type(MSG_ROUTERS)->answer, &answer);
}
