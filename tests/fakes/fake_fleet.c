/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_fleet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/link.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/stream.h"
#include "common/strv.h"
#include "hubd/command.h"
#include "hubd/finds.h"
#include "hubd/session.h"
#include "hubd/txn.h"

#define QUIET_TURNS 4
#define TURNS_MAX   200000
#define STEP_MS     250

static void no_log(enum log_level level, const struct log_about *about, const char *text)
{
}

void fleet_settle(struct fleet *f)
{
    int quiet = 0;
    for (int i = 0; i < TURNS_MAX && quiet < QUIET_TURNS; i++)
        quiet = loop_turn(f->loop, 0) ? 0 : quiet + 1;
}

void fleet_advance(struct fleet *f, int64_t ms)
{
    for (int64_t done = 0; done < ms; done += STEP_MS) {
        fleet_settle(f);
        loop_advance(f->loop, ms - done < STEP_MS ? ms - done : STEP_MS);
    }
    fleet_settle(f);
}

/* --- the person ------------------------------------------------------------------------------------------ */

static void on_step(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct fleet *f = owner;
    const struct msg_deploy_event *m = message;
    strbuf_addf(&f->steps, "%s %s %s %s\n", deploy_phase_names[m->phase], step_status_names[m->status],
        m->host ? m->host : "-",
        m->text        ? m->text
            : m->lines ? m->lines[0]
                       : "");
    f->last_step = m->seq;
}

static void on_event(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct fleet *f = owner;
    const struct msg_event *m = message;
    strbuf_addf(&f->events, "%s: %s\n", m->kind, m->text);
}

static void on_lines(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct fleet *f = owner;
    const struct msg_stream_lines *m = message;
    for (size_t i = 0; i < m->n_lines; i++)
        strbuf_addf(&f->lines, "%s %s\n", m->lines[i].host, m->lines[i].text);
}

static const struct link_handler handlers[] = {
    { MSG_DEPLOY_EVENT, on_step },
    { MSG_EVENT, on_event },
    { MSG_STREAM_LINES, on_lines },
    { 0, NULL },
};

static void on_link(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct fleet *f = owner;
    if (event == LINK_CLOSED)
        link_free(steal_ptr(f->person));
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    *hello = (struct msg_hello){
        .protocol = PROTOCOL_VERSION,
        .program = (char *)"test",
        .version = (char *)"0",
        .name = (char *)"ops",
    };
}

void fleet_connect_person(struct fleet *f, enum role role)
{
    int fds[2];
    link_free(steal_ptr(f->person));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    struct peer peer = { .role = role, .name = (char *)"ops", .address = (char *)"local" };
    session_new(f->hub, stream_adopt(f->loop, fds[0], true, NULL, NULL, NULL), &peer);
    struct link_spec spec = {
        .handlers = handlers,
        .on_event = on_link,
        .owner = f,
        .fill_hello = fill_hello,
    };
    f->person = link_new(f->loop, stream_adopt(f->loop, fds[1], false, NULL, NULL, NULL), false, &spec);
    fleet_settle(f);
}

/* --- the fleet ------------------------------------------------------------------------------------------- */

void fleet_start_hub(struct fleet *f)
{
    struct hubd_config config;
    struct error err;
    if (config_load(&hubd_options, "/nonexistent", false, &config, &err) < 0)
        abort();
    config.warm_ms = f->warm_ms;
    config.grace_ms = f->grace_ms;
    f->hub = hubd_new(f->loop, &config, fake_store_open(f->disk, f->loop));
    f->hub->finds = finds_new(f->hub);
    if (hubd_start(f->hub, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
}

void fleet_connect_all(struct fleet *f)
{
    for (int i = 0; i < f->n_drones; i++)
        fake_drone_connect(f->drones[i], f->hub);
    for (int i = 0; i < f->n_routers; i++)
        fake_router_connect(f->routers[i], f->hub);
    fleet_connect_person(f, ROLE_ADMIN);
}

void fleet_init(struct fleet *f, int n_drones, int n_routers)
{
    *f = (struct fleet){
        .n_drones = n_drones,
        .n_routers = n_routers,
        .warm_ms = 600000,
        .grace_ms = 60000,
    };
    log_set_sink(no_log);
    f->loop = loop_new_fake();
    f->disk = fake_disk_new();
    for (int i = 0; i < n_drones; i++) {
        char name[16], address[32];
        snprintf(name, sizeof(name), "app%d", i + 1);
        snprintf(address, sizeof(address), "10.0.0.%d", 11 + i);
        f->drones[i] = fake_drone_new(f->loop, name, address);
    }
    for (int i = 0; i < n_routers; i++) {
        char name[16];
        snprintf(name, sizeof(name), "r%d", i + 1);
        f->routers[i] = fake_router_new(f->loop, name);
    }
    fleet_start_hub(f);
    fleet_connect_all(f);
}

void fleet_kill_hub(struct fleet *f)
{
    finds_free(steal_ptr(f->hub->finds));
    hubd_free(steal_ptr(f->hub));
    fleet_settle(f);
}

void fleet_restart(struct fleet *f)
{
    fleet_kill_hub(f);
    fleet_start_hub(f);
    fleet_connect_all(f);
}

void fleet_done(struct fleet *f)
{
    for (int i = 0; i < f->n_drones; i++)
        fake_drone_free(f->drones[i]);
    for (int i = 0; i < f->n_routers; i++)
        fake_router_free(f->routers[i]);
    link_free(steal_ptr(f->person));
    fleet_kill_hub(f);
    loop_free(f->loop);
    fake_disk_free(f->disk);
    strbuf_done(&f->steps);
    strbuf_done(&f->events);
    strbuf_done(&f->lines);
    log_set_sink(NULL);
}

/* --- releases -------------------------------------------------------------------------------------------- */

struct new_release {
    const char *service, *version, *depends, *route;
    unsigned flags;
    int64_t memory_bytes;
};

static void add_rule(struct release *release)
{
    struct table_route *row = release->route_rules = xcalloc(1, sizeof(*release->route_rules));
    release->n_route_rules = 1;
    table_route_init(row);
    row->host = xstrdup(release->routes[0]);
    row->service = xstrdup(release->service);
    row->https = true;
}

static int decide_release(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    const struct new_release *from = arg;
    char *key = xasprintf("%s/%s", from->service, from->version);
    struct release *release = txn_edit(txn, STATE_RELEASE, key);
    struct service *service = txn_edit(txn, STATE_SERVICE, from->service);
    struct meta *meta = txn_edit(txn, STATE_META, "hub");
    free(key);
    if (!service->name) {
        service->name = xstrdup(from->service);
        service->app = xstrdup("shop");
    }
    *release = (struct release){
        .service = xstrdup(from->service),
        .version = xstrdup(from->version),
        .app = xstrdup("shop"),
        .commit = xasprintf("%040x", (unsigned)meta->pushes + 0xabc),
        .subject = xstrdup("Fix the cart total"),
        .seq = ++meta->pushes,
        .instances = 1,
    };
    release->run = (struct run_spec){
        .build = from->flags & RELEASE_BUILD ? xstrdup("npm ci") : NULL,
        .build_timeout_ms = 60000,
        .port = !(from->flags & RELEASE_WORKER),
        .user = xstrdup("dynamic"),
        .health = { .kind = HEALTH_HTTP,
            .path = xstrdup("/healthz"),
            .interval_ms = 1000,
            .timeout_ms = 1000,
            .deadline_ms = 60000,
            .passes = 3 },
        .stop = { .signal = 15, .drain_ms = 30000, .kill_ms = 10000 },
        .limits = { .memory_bytes = from->memory_bytes, .tasks = 100 },
    };
    strv_push(&release->run.command, "/bin/true");
    if (from->depends)
        strv_push(&release->depends, from->depends);
    if (from->route)
        strv_push(&release->routes, from->route);
    if (from->flags & RELEASE_RULES)
        add_rule(release);
    return 0;
}

void fleet_add_release_full(struct fleet *f, const char *service, const char *version, unsigned flags,
    const char *depends, const char *route, int64_t memory_bytes)
{
    struct new_release arg = { service, version, depends, route, flags, memory_bytes };
    hubd_command(f->hub, "test_release", decide_release, NULL, &arg);
    fleet_settle(f);
}

void fleet_add_release(struct fleet *f, const char *service, const char *version, unsigned flags)
{
    char route[64];
    snprintf(route, sizeof(route), "%s.example.com", service);
    fleet_add_release_full(f, service, version, flags, NULL, flags & RELEASE_WORKER ? NULL : route, 0);
}

/* --- calls ----------------------------------------------------------------------------------------------- */

struct call {
    struct fleet *f;
    const struct schema *schema;
    void *ret;
    bool done;
};

static void on_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct call *call = arg;
    call->done = true;
    call->f->kind = result == 0 ? ERROR_NONE : result == -ECONNRESET ? ERROR_UNAVAILABLE : kind;
    snprintf(call->f->error, sizeof(call->f->error), "%s", reason ? reason : "");
    if (result == 0 && call->ret)
        schema_copy(call->schema, answer, call->ret);
}

int fleet_call(struct fleet *f, enum msg_type type, const void *m, void *ret)
{
    struct call *call = xcalloc(1, sizeof(*call));
    *call = (struct call){ .f = f, .schema = msg_by_type(type)->answer, .ret = ret };
    int64_t id = link_call(f->person, type, m, 0, on_answer, call);
    fleet_settle(f);
    int r = call->done ? (int)f->kind : -1;
    if (!call->done && f->person)
        link_cancel(f->person, id);
    free(call);
    return r;
}

char *fleet_request_id(struct fleet *f)
{
    return xasprintf("request-%08d", (int)++f->request);
}

static const char *take_id(struct fleet *f, int r, struct msg_operation *answer)
{
    static char id[32];
    id[0] = '\0';
    if (r != 0)
        return NULL;
    snprintf(id, sizeof(id), "%s", answer->deploy ? answer->deploy : "");
    snprintf(f->error, sizeof(f->error), "%s", answer->text ? answer->text : "");
    schema_clear(&msg_operation_schema, answer);
    return id[0] ? id : NULL;
}

const char *fleet_deploy_with(struct fleet *f, const struct msg_deploy *m)
{
    struct msg_deploy copy = *m;
    struct msg_operation answer = { 0 };
    if (!copy.request_id)
        copy.request_id = fleet_request_id(f);
    int r = fleet_call(f, MSG_DEPLOY, &copy, &answer);
    if (!m->request_id)
        free(copy.request_id);
    return take_id(f, r, &answer);
}

const char *fleet_deploy(struct fleet *f, const char *target, int64_t instances)
{
    return fleet_deploy_with(f, &(struct msg_deploy){ .target = (char *)target, .instances = instances });
}

const char *fleet_target(struct fleet *f, enum msg_type type, const char *target)
{
    struct msg_operation answer = { 0 };
    _cleanup_(free_ptr) char *id = fleet_request_id(f);
    struct msg_target target_m = { .request_id = id, .target = (char *)target };
    struct msg_rollback rollback_m = { .request_id = id, .target = (char *)target };
    int r = type == MSG_ROLLBACK ? fleet_call(f, type, &rollback_m, &answer)
                                 : fleet_call(f, type, &target_m, &answer);
    return take_id(f, r, &answer);
}

static void on_watched(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct fleet_watch *watch = arg;
    const struct msg_deploy_result *m = answer;
    if (result < 0)
        return;
    watch->ended = true;
    watch->outcome = (enum deploy_outcome)m->outcome;
    snprintf(watch->text, sizeof(watch->text), "%s", m->text ? m->text : "");
}

void fleet_watch(struct fleet *f, const char *deploy, int64_t after, struct fleet_watch *ret)
{
    *ret = (struct fleet_watch){ 0 };
    struct msg_deploy_watch m = { .deploy = (char *)deploy, .after = after };
    link_call(f->person, MSG_DEPLOY_WATCH, &m, 0, on_watched, ret);
    fleet_settle(f);
}

void fleet_watch_output(struct fleet *f, const char *deploy, struct fleet_watch *ret)
{
    *ret = (struct fleet_watch){ 0 };
    struct msg_deploy_watch m = { .deploy = (char *)deploy, .output = true };
    link_call(f->person, MSG_DEPLOY_WATCH, &m, 0, on_watched, ret);
    fleet_settle(f);
}

const struct deploy *fleet_get(const struct fleet *f, const char *deploy)
{
    return state_deploy(&f->hub->state, deploy);
}

const char *fleet_stage(const struct fleet *f, const char *deploy)
{
    const struct deploy *row = fleet_get(f, deploy);
    return row ? deploy_stage_names[row->stage] : "unknown";
}

int fleet_orders(const struct fleet *f, const char *version)
{
    int n = 0;
    for (int i = 0; i < f->n_drones; i++)
        n += fake_drone_orders(f->drones[i], version);
    return n;
}
