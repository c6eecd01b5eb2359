/* SPDX-License-Identifier: MIT */
/* Lists for people: list, servers, host_list, ps. Paged: rows are in order of a key, the cursor is the last key of
 * the page before. */
#include "hubd/control.h"

#include <inttypes.h>
#include <string.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/semver.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/hubd.h"
#include "hubd/instance.h"
#include "hubd/lost.h"
#include "hubd/rollout.h"
#include "hubd/session.h"

#define BYTES_A_PAGE (FRAME_MAX / 2) /* a page ends early rather than not fit a frame */
#define BYTES_A_ROW  700             /* of an instance, generously, without its log lines */

void control_filter_read(const struct hubd *hub, const char *target, struct control_filter *ret)
{
    *ret = (struct control_filter){ 0 };
    if (!target)
        return;
    if (name_is_instance(target) && state_instance(&hub->state, target)) {
        ret->instance = xstrdup(target);
        return;
    }
    if (state_service(&hub->state, target)) {
        ret->service = xstrdup(target);
        return;
    }
    if (state_drone(&hub->state, target) || state_get(&hub->state, STATE_ROUTER, target)) {
        ret->host = xstrdup(target);
        return;
    }
    if (name_split_target(target, &ret->service, &ret->version, NULL) < 0)
        ret->service = xstrdup(target); /* matches nothing */
}

void control_filter_done(struct control_filter *filter)
{
    free(filter->service);
    free(filter->version);
    free(filter->host);
    free(filter->instance);
}

bool control_filter_takes(const struct control_filter *filter, const char *service, const char *version,
    const char *host, const char *instance)
{
    if (filter->service && (!service || strcmp(filter->service, service) != 0))
        return false;
    if (filter->version &&
        (!version ||
            (strcmp(filter->version, version) != 0 && semver_matches(filter->version, version) != 1)))
        return false;
    if (filter->host && (!host || strcmp(filter->host, host) != 0))
        return false;
    return !filter->instance || (instance && strcmp(filter->instance, instance) == 0);
}

/* --- instances ------------------------------------------------------------------------------------------- */

static enum instance_phase phase_unheard(const struct instance *row)
{
    if (row->wanted == WANTED_RETIRED || row->wanted == WANTED_GONE)
        return INSTANCE_STOPPING;
    return row->wanted == WANTED_STOPPED ? INSTANCE_STOPPED : INSTANCE_WAITING;
}

void control_instance(const struct hubd *hub, const struct instance *row, struct instance_state *ret)
{
    const struct instance_state *state = facts_state(&hub->facts, row->id);
    const struct drone_facts *drone = map_get(hub->facts.drones, row->host);
    bool online = drone && drone->online;
    if (state) {
        schema_copy(&instance_state_schema, state, ret);
        str_set(&ret->host, row->host);
        if (!online && !ret->reason)
            ret->reason = xasprintf("%s is not reached; this is what it said last", row->host);
        return;
    }
    *ret = (struct instance_state){
        .id = xstrdup(row->id),
        .host = xstrdup(row->host),
        .app = xstrdup(row->app),
        .service = xstrdup(row->service),
        .version = xstrdup(row->version),
        .commit = xstrdup(row->commit),
        .deploy = xstrdup(row->deploy),
        .phase = phase_unheard(row),
        .generation = row->generation,
        .address = xstrdup(row->address),
        .since_us = row->created_us,
        .reason = online ? NULL : xasprintf("%s is not reached", row->host),
        .fetch_ms = -1,
        .build_ms = -1,
        .start_ms = -1,
        .healthy_ms = -1,
    };
}

static int by_service(const void *a, const void *b)
{
    const struct instance *x = *(const struct instance *const *)a, *y = *(const struct instance *const *)b;
    int r = strcmp(x->service, y->service);
    struct semver v, w;
    if (r == 0 && semver_parse(x->version, &v, NULL) == 0 && semver_parse(y->version, &w, NULL) == 0)
        r = semver_compare(&v, &w);
    if (r == 0)
        r = strcmp(x->version, y->version);
    if (r == 0)
        r = strcmp(x->host, y->host);
    return r != 0 ? r : strcmp(x->id, y->id);
}

/* All rows in the order of lists; the vector is the caller's. */
static const struct instance **sorted_instances(const struct hubd *hub, size_t *ret_n)
{
    size_t n = 0;
    const struct instance **v = xcalloc(map_size(hub->state.rows[STATE_INSTANCE]) + 1, sizeof(*v));
    state_for_each(it, &hub->state, STATE_INSTANCE) v[n++] = it.value;
    if (n > 0)
        qsort(v, n, sizeof(*v), by_service);
    *ret_n = n;
    return v;
}

static int64_t page_limit(const struct msg_query *m)
{
    int64_t fits = BYTES_A_PAGE / BYTES_A_ROW;
    return m->limit > 0 && m->limit < fits ? m->limit : fits;
}

CONTROL_HANDLER(on_ps)
{
    const struct session *session = owner;
    const struct msg_query *query = m;
    struct hubd *hub = session->hub;
    struct control_filter filter;
    control_filter_read(hub, query->target, &filter);
    struct msg_ps answer = { 0 };
    size_t n, cap = 0;
    const struct instance **rows = sorted_instances(hub, &n);
    bool begun = !query->cursor;
    for (size_t i = 0; i < n; i++) {
        const struct instance *row = rows[i];
        if (!begun) {
            begun = strcmp(row->id, query->cursor) == 0;
            continue;
        }
        if (!control_filter_takes(&filter, row->service, row->version, row->host, row->id))
            continue;
        if ((int64_t)answer.n_instances == page_limit(query)) {
            answer.next = xstrdup(answer.instances[answer.n_instances - 1].id);
            break;
        }
        answer.instances = xgrow(answer.instances, answer.n_instances, &cap, sizeof(*answer.instances));
        control_instance(hub, row, &answer.instances[answer.n_instances++]);
    }
    reply_ok(reply, &answer);
    schema_clear(msg_by_type(MSG_PS)->answer, &answer);
    free(rows);
    control_filter_done(&filter);
}

/* --- list ------------------------------------------------------------------------------------------------ */

static void add_address(
    struct release_row *row, const struct instance *instance, const struct instance_state *state)
{
    const char *port = state && state->address ? strrchr(state->address, ':') : NULL;
    _cleanup_(free_ptr) char *text = xasprintf("%s%s", instance->host, port ? port : "");
    strv_push(&row->addresses, text);
}

static void add_to_row(const struct hubd *hub, struct release_row *row, const struct instance *instance)
{
    const struct instance_state *state = facts_state(&hub->facts, instance->id);
    struct traffic_sum traffic = facts_traffic(&hub->facts, instance->id);
    row->wanted += instance->wanted == WANTED_RUNNING || instance->wanted == WANTED_WARM;
    if (instance_is_healthy(&hub->facts, instance)) {
        row->running++;
        add_address(row, instance, state);
    }
    if (instance->warm_until_us > row->warm_until_us)
        row->warm_until_us = instance->warm_until_us;
    if (traffic.last_hit_us > row->last_hit_us)
        row->last_hit_us = traffic.last_hit_us;
    if (!row->note && instance->wanted == WANTED_RETIRED)
        row->note = xstrdup("draining");
    if (!row->note && instance->wanted == WANTED_STOPPED)
        row->note = xstrdup("stopped");
}

static void begin_row(const struct hubd *hub, const struct release *release, struct release_row *ret)
{
    const struct service *service = state_service(&hub->state, release->service);
    *ret = (struct release_row){
        .service = xstrdup(release->service),
        .version = xstrdup(release->version),
        .commit = xstrdup(release->commit),
        .app = xstrdup(release->app),
        .worker = !release->run.port,
        .traffic_percent =
            service && release->run.port ? rollout_percent(&service->live, release->version) : -1,
    };
    /* It had traffic before: 0 %, not "never". */
    for (size_t i = 0; service && ret->traffic_percent < 0 && release->run.port && i < service->n_previous;
         i++)
        if (live_set_has(&service->previous[i], release->version))
            ret->traffic_percent = 0;
}

/* Releases of which something is wanted or that are live, in the order of instances. */
CONTROL_HANDLER(on_list)
{
    const struct session *session = owner;
    const struct msg_query *query = m;
    struct hubd *hub = session->hub;
    struct control_filter filter;
    control_filter_read(hub, query->target, &filter);
    struct msg_list answer = { 0 };
    size_t n, cap = 0;
    const struct instance **rows = sorted_instances(hub, &n);
    bool begun = !query->cursor;
    struct release_row *row = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct instance *instance = rows[i];
        _cleanup_(free_ptr) char *key = xasprintf("%s/%s", instance->service, instance->version);
        if (!begun || (query->cursor && strcmp(key, query->cursor) == 0)) {
            begun = begun || strcmp(key, query->cursor) == 0;
            continue;
        }
        const struct release *release = state_release(&hub->state, instance->service, instance->version);
        if (!release || instance->wanted == WANTED_GONE ||
            !control_filter_takes(
                &filter, instance->service, instance->version, instance->host, instance->id))
            continue;
        bool same = row && strcmp(row->service, instance->service) == 0 &&
            strcmp(row->version, instance->version) == 0;
        if (!same && (int64_t)answer.n_releases == page_limit(query)) {
            answer.next = xasprintf("%s/%s", row->service, row->version);
            break;
        }
        if (!same) {
            answer.releases = xgrow(answer.releases, answer.n_releases, &cap, sizeof(*answer.releases));
            row = &answer.releases[answer.n_releases++];
            begin_row(hub, release, row);
        }
        add_to_row(hub, row, instance);
    }
    reply_ok(reply, &answer);
    schema_clear(msg_by_type(MSG_LIST)->answer, &answer);
    free(rows);
    control_filter_done(&filter);
}

/* --- hosts ----------------------------------------------------------------------------------------------- */

static void drone_row(const struct hubd *hub, const struct host *row, struct host_row *ret)
{
    const struct drone_facts *facts = map_get(hub->facts.drones, row->name);
    const char *hold = NULL;
    *ret = (struct host_row){
        .host = xstrdup(row->name),
        .role = ROLE_DRONE,
        .address = xstrdup(row->address),
        .version = xstrdup(row->version),
    };
    if (facts) {
        ret->online = facts->online;
        ret->seen_us = facts->seen.us;
        ret->up_ms = facts->host.up_ms;
        ret->load_milli = facts->host.load_milli;
        ret->cores = facts->host.cores;
        ret->memory_bytes = facts->host.memory_bytes;
        ret->memory_free_bytes = facts->host.memory_free_bytes;
    }
    struct txn *view = txn_new(&hub->state);
    if (!ret->online)
        hold = lost_hold_reason(view, &hub->facts, hub->config.grace_ms, loop_now(hub->loop));
    txn_free(view);
    if (facts && facts->note)
        ret->note = xstrdup(facts->note);
    else if (row->cordoned)
        ret->note = xstrdup(row->cordoned);
    else if (hold)
        ret->note = xstrdup(hold);
}

static void router_row(const struct hubd *hub, const struct host *row, struct host_row *ret)
{
    const struct router_facts *facts = map_get(hub->facts.routers, row->name);
    int64_t decided = state_meta(&hub->state)->epoch;
    *ret = (struct host_row){
        .host = xstrdup(row->name),
        .role = ROLE_ROUTER,
        .address = xstrdup(row->address),
        .version = xstrdup(row->version),
        .online = facts && facts->online,
        .seen_us = facts ? facts->seen.us : 0,
    };
    int64_t acked = facts ? facts->acked_epoch : 0;
    ret->note = acked == decided ? xasprintf("epoch %" PRId64, acked)
                                 : xasprintf("epoch %" PRId64 ", decided is %" PRId64, acked, decided);
}

static void add_instances(
    const struct hubd *hub, const struct instance *const *rows, size_t n, struct host_row *ret)
{
    size_t cap = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i]->host, ret->host) != 0 || rows[i]->wanted == WANTED_GONE)
            continue;
        ret->instances = xgrow(ret->instances, ret->n_instances, &cap, sizeof(*ret->instances));
        struct instance_state *state = &ret->instances[ret->n_instances++];
        control_instance(hub, rows[i], state);
        strv_free(state->lines);
        state->lines = NULL;
    }
}

struct servers_page {
    const struct hubd *hub;
    const struct msg_query *query;
    struct control_filter filter;
    bool with_instances;
    const struct instance **rows;
    size_t n_rows;
    struct msg_servers answer;
    size_t cap;
    int64_t bytes;
};

/* True when the page is full. */
static bool add_host(struct servers_page *page, enum role role, const struct host *row)
{
    _cleanup_(free_ptr) char *key = xasprintf("%s/%s", role_names[role], row->name);
    if (page->query->cursor && strcmp(key, page->query->cursor) <= 0)
        return false;
    if (page->filter.host && strcmp(page->filter.host, row->name) != 0)
        return false;
    struct msg_servers *answer = &page->answer;
    if (answer->n_hosts > 0 &&
        (page->bytes > BYTES_A_PAGE ||
            (page->query->limit > 0 && (int64_t)answer->n_hosts >= page->query->limit))) {
        const struct host_row *last = &answer->hosts[answer->n_hosts - 1];
        answer->next = xasprintf("%s/%s", role_names[last->role], last->host);
        return true;
    }
    answer->hosts = xgrow(answer->hosts, answer->n_hosts, &page->cap, sizeof(*answer->hosts));
    struct host_row *ret = &answer->hosts[answer->n_hosts++];
    if (role == ROLE_DRONE)
        drone_row(page->hub, row, ret);
    else
        router_row(page->hub, row, ret);
    if (page->with_instances)
        add_instances(page->hub, page->rows, page->n_rows, ret);
    page->bytes += BYTES_A_ROW * (int64_t)(1 + ret->n_instances);
    return false;
}

static bool add_hosts(struct servers_page *page, enum role role, enum collection collection)
{
    bool full = false;
    const char **names = map_sorted_keys(page->hub->state.rows[collection]);
    for (size_t i = 0; names[i] && !full; i++)
        full = add_host(page, role, state_get(&page->hub->state, collection, names[i]));
    free(names);
    return full;
}

static void answer_servers(
    struct session *session, const struct msg_query *query, struct reply *reply, bool with_instances)
{
    struct servers_page page = { .hub = session->hub, .query = query, .with_instances = with_instances };
    control_filter_read(session->hub, query->target, &page.filter);
    page.rows = sorted_instances(session->hub, &page.n_rows);
    bool full = add_hosts(&page, ROLE_DRONE, STATE_DRONE);
    if (!full && !with_instances)
        (void)add_hosts(&page, ROLE_ROUTER, STATE_ROUTER);
    reply_ok(reply, &page.answer);
    schema_clear(msg_by_type(MSG_SERVERS)->answer, &page.answer);
    free(page.rows);
    control_filter_done(&page.filter);
}

CONTROL_HANDLER(on_servers)
{
    answer_servers(owner, m, reply, true);
}

CONTROL_HANDLER(on_host_list)
{
    answer_servers(owner, m, reply, false);
}
