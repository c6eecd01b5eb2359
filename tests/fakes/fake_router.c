/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_router.h"

#include <string.h>
#include <sys/socket.h>

#include "common/document.h"
#include "common/link.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/table_diff.h"
#include "common/strbuf.h"
#include "common/stream.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

struct fake_router {
    struct loop *loop;
    char *name;
    struct link *link;
    struct document_sink sink;
    struct table now, next;
    bool has_next;
    bool silent;
    char *refusal;
    struct reply *kept;
    int commits, aborts;
    struct map *traffic; /* id → struct endpoint_traffic */
    bool old, forgetful;
    int diffs, refused_diffs;
};

static void traffic_free(void *p)
{
    struct endpoint_traffic *traffic = p;
    free(traffic->endpoint);
    free(traffic);
}

struct fake_router *fake_router_new(struct loop *loop, const char *name)
{
    struct fake_router *router = xcalloc(1, sizeof(*router));
    router->loop = loop;
    router->name = xstrdup(name);
    router->traffic = map_new(traffic_free);
    return router;
}

static void drop_next(struct fake_router *router)
{
    if (router->has_next)
        table_clear(&router->next);
    router->has_next = false;
}

static void drop_kept(struct fake_router *router)
{
    if (router->kept)
        reply_error(steal_ptr(router->kept), ERROR_UNAVAILABLE, "gone");
}

void fake_router_free(struct fake_router *router)
{
    drop_kept(router);
    link_free(router->link);
    document_sink_done(&router->sink);
    drop_next(router);
    table_clear(&router->now);
    map_free(router->traffic);
    free(router->refusal);
    free(router->name);
    free(router);
}

static void report(struct fake_router *router)
{
    struct msg_traffic_report m = { .epoch = router->now.epoch,
        .router = { .generation = 2,
            .connections = 7,
            .interval_ms = 1000,
            .requests = 100,
            .certificate = (char *)"www.example.com" } };
    size_t cap = 0;
    if (!router->link || !link_is_connected(router->link))
        return;
    map_for_each (it, router->traffic) {
        m.endpoints = xgrow(m.endpoints, m.n_endpoints, &cap, sizeof(*m.endpoints));
        m.endpoints[m.n_endpoints++] = *(struct endpoint_traffic *)it.value;
    }
    link_notify(router->link, MSG_TRAFFIC_REPORT, &m);
    free(m.endpoints);
}

static void on_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct fake_router *router = owner;
    (void)!document_sink_begin(&router->sink, m, NULL);
}

static void on_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct fake_router *router = owner;
    (void)!document_sink_part(&router->sink, m, NULL);
}

static int read_diff(struct fake_router *router, struct table *ret, struct error *err)
{
    struct table_diff diff;
    int r = table_diff_read(strbuf_str(&router->sink.text), router->sink.text.len, &diff, err);
    if (r < 0)
        return r;
    schema_copy(&table_schema, &router->now, ret);
    table_sum_rows(ret);
    ret->sum.words[0] += router->forgetful;
    r = table_diff_apply(ret, &diff, err);
    table_diff_clear(&diff);
    if (r < 0)
        table_clear(ret);
    return r;
}

static void on_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct fake_router *router = owner;
    struct error err;
    struct table table;
    int r = document_sink_end(&router->sink, m, &err);
    bool is_diff = router->sink.kind == DOCUMENT_TABLE_DIFF;
    if (r == 0 && is_diff)
        r = read_diff(router, &table, &err);
    else if (r == 0)
        r = table_read(strbuf_str(&router->sink.text), router->sink.text.len, &table, &err);
    document_sink_done(&router->sink);
    if (r < 0) {
        router->refused_diffs += is_diff;
        reply_error(reply, ERROR_FIELDS, "%s", err.text);
        return;
    }
    drop_next(router);
    router->diffs += is_diff;
    router->next = table;
    router->has_next = true;
    reply_ok(reply, NULL);
}

static void on_prepare(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct fake_router *router = owner;
    const struct msg_epoch *m = message;
    if (router->refusal)
        reply_error(reply, ERROR_FIELDS, "%s", router->refusal);
    else if (!router->has_next || router->next.epoch != m->epoch)
        reply_error(reply, ERROR_CONFLICT, "no table of epoch %d", (int)m->epoch);
    else if (router->silent)
        router->kept = reply;
    else
        reply_ok(reply, NULL);
}

static void on_commit(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct fake_router *router = owner;
    const struct msg_epoch *m = message;
    if (!router->has_next || router->next.epoch != m->epoch) {
        reply_error(reply, ERROR_CONFLICT, "epoch %d is not prepared", (int)m->epoch);
        return;
    }
    table_clear(&router->now);
    router->now = router->next;
    router->has_next = false;
    router->commits++;
    reply_ok(reply, NULL);
    report(router);
}

static void on_abort(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct fake_router *router = owner;
    drop_next(router);
    router->aborts++;
    reply_ok(reply, NULL);
}

static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN, on_begin },
    { MSG_DOCUMENT_PART, on_part },
    { MSG_DOCUMENT_END, on_end },
    { MSG_TABLE_PREPARE, on_prepare },
    { MSG_TABLE_COMMIT, on_commit },
    { MSG_TABLE_ABORT, on_abort },
    { 0, NULL },
};

static void on_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct fake_router *router = owner;
    if (event == LINK_CONNECTED)
        report(router);
    if (event != LINK_CLOSED)
        return;
    drop_kept(router);
    link_free(steal_ptr(router->link));
    document_sink_done(&router->sink);
    drop_next(router);
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    const struct fake_router *router = owner;
    static char *features[] = { (char *)"table/1", (char *)"table/2", (char *)TABLE_DIFF_FEATURE, NULL };
    static char *old_features[] = { (char *)"table/1", NULL };
    *hello = (struct msg_hello){
        .protocol = PROTOCOL_VERSION,
        .program = (char *)"fake-router",
        .version = (char *)"0.1.0",
        .name = router->name,
        .counter = router->now.epoch,
        .features = router->old ? old_features : features,
    };
}

void fake_router_connect(struct fake_router *router, struct hubd *hub)
{
    int fds[2];
    fake_router_hang_up(router);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    struct peer peer = { .role = ROLE_ROUTER, .name = router->name, .address = (char *)"10.0.0.9:40000" };
    session_new(hub, stream_adopt(router->loop, fds[0], true, NULL, NULL, NULL), &peer);
    struct link_spec spec = {
        .handlers = handlers,
        .on_event = on_event,
        .owner = router,
        .fill_hello = fill_hello,
    };
    router->link =
        link_new(router->loop, stream_adopt(router->loop, fds[1], false, NULL, NULL, NULL), false, &spec);
}

void fake_router_hang_up(struct fake_router *router)
{
    drop_kept(router);
    link_free(steal_ptr(router->link));
    document_sink_done(&router->sink);
    drop_next(router);
}

void fake_router_set_silent(struct fake_router *router, bool silent)
{
    router->silent = silent;
    if (!silent && router->kept)
        reply_ok(steal_ptr(router->kept), NULL);
}

void fake_router_set_refusal(struct fake_router *router, const char *reason)
{
    str_set(&router->refusal, reason);
}

void fake_router_set_old(struct fake_router *router)
{
    router->old = true;
}

void fake_router_set_forgetful(struct fake_router *router)
{
    router->forgetful = true;
}

int fake_router_diffs(const struct fake_router *router)
{
    return router->diffs;
}

int fake_router_refused_diffs(const struct fake_router *router)
{
    return router->refused_diffs;
}

const struct table *fake_router_table(const struct fake_router *router)
{
    return &router->now;
}

int fake_router_commits(const struct fake_router *router)
{
    return router->commits;
}

int fake_router_aborts(const struct fake_router *router)
{
    return router->aborts;
}

static const struct table_service *find_service(const struct fake_router *router, const char *name)
{
    for (size_t i = 0; i < router->now.n_services; i++)
        if (strcmp(router->now.services[i].name, name) == 0)
            return &router->now.services[i];
    return NULL;
}

const char *fake_router_serves(const struct fake_router *router, const char *name)
{
    const struct table_service *service = find_service(router, name);
    const char *version = NULL;
    for (size_t i = 0; service && i < service->n_releases; i++) {
        const struct table_release *release = &service->releases[i];
        if (release->n_ranges == 0)
            continue;
        if (version || release->n_ranges != 1 || release->ranges[0].first != 0 ||
            release->ranges[0].last != UINT32_MAX)
            return NULL;
        version = release->version;
    }
    return version;
}

static int count(const struct fake_router *router, const char *name, const char *version, bool draining)
{
    const struct table_service *service = find_service(router, name);
    int n = 0;
    for (size_t i = 0; service && i < service->n_releases; i++) {
        const struct table_release *release = &service->releases[i];
        for (size_t k = 0; strcmp(release->version, version) == 0 && k < release->n_endpoints; k++)
            n += release->endpoints[k].draining == draining;
    }
    return n;
}

int fake_router_endpoints(const struct fake_router *router, const char *service, const char *version)
{
    return count(router, service, version, false);
}

int fake_router_draining(const struct fake_router *router, const char *service, const char *version)
{
    return count(router, service, version, true);
}

static struct endpoint_traffic *get_traffic(struct fake_router *router, const char *id)
{
    struct endpoint_traffic *traffic = map_get(router->traffic, id);
    if (!traffic) {
        traffic = xcalloc(1, sizeof(*traffic));
        traffic->endpoint = xstrdup(id);
        map_set(router->traffic, id, traffic);
    }
    return traffic;
}

void fake_router_set_in_flight(struct fake_router *router, const char *instance, int64_t n)
{
    get_traffic(router, instance)->in_flight = n;
    report(router);
}

void fake_router_hit(struct fake_router *router, const char *instance, int64_t at_us)
{
    struct endpoint_traffic *traffic = get_traffic(router, instance);
    traffic->requests++;
    traffic->status_2xx++;
    traffic->last_hit_us = at_us;
    report(router);
}
