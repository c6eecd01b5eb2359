/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_drone.h"

#include <string.h>
#include <sys/socket.h>

#include "common/document.h"
#include "common/link.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/stream.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

struct held {
    struct order order;
    struct instance_state state;
    bool silent;
};

struct fake_drone {
    struct loop *loop;
    struct hubd *hub; /* weak */
    char *name, *address;
    struct link *link;
    struct map *orders; /* id → struct held */
    struct map *fates;  /* version → fate + 1 */
    int64_t revision;
    struct document_sink sink;
    char *refuse;
    bool old;
    int snapshots, changes, streams;
    int64_t port;
    const char *const *log;
    int64_t log_us;
};

static void held_free(void *p)
{
    struct held *held = p;
    schema_clear(&order_schema, &held->order);
    schema_clear(&instance_state_schema, &held->state);
    free(held);
}

struct fake_drone *fake_drone_new(struct loop *loop, const char *name, const char *address)
{
    struct fake_drone *drone = xcalloc(1, sizeof(*drone));
    drone->loop = loop;
    drone->name = xstrdup(name);
    drone->address = xstrdup(address);
    drone->orders = map_new(held_free);
    drone->fates = map_new(NULL);
    drone->port = 20000;
    return drone;
}

void fake_drone_free(struct fake_drone *drone)
{
    link_free(drone->link);
    document_sink_done(&drone->sink);
    map_free(drone->orders);
    map_free(drone->fates);
    free(drone->refuse);
    free(drone->name);
    free(drone->address);
    free(drone);
}

/* --- what happens to instances --------------------------------------------------------------------------- */

static void send_report(struct fake_drone *drone, const struct instance_state *state, bool gone)
{
    if (!drone->link || !link_is_connected(drone->link))
        return;
    struct msg_instance_report m = { .instance = *state, .gone = gone };
    link_notify(drone->link, MSG_INSTANCE_REPORT, &m);
}

static void set_phase(struct held *held, enum instance_phase phase, const char *reason)
{
    held->state.phase = (int)phase;
    str_set(&held->state.reason, reason);
}

static void fare(struct fake_drone *drone, struct held *held)
{
    struct instance_state *state = &held->state;
    const struct order *order = &held->order;
    enum fake_fate fate = (enum fake_fate)(intptr_t)map_get(drone->fates, order->version);
    state->generation = order->generation;
    state->fetch_ms = 100;
    state->fetch_objects = 14;
    state->fetch_bytes = 6100;
    state->build_ms = order->run.build ? 3200 : -1;
    str_set(&state->build, order->run.build);
    held->silent = fate == FATE_SILENT;
    if (order->stopped) {
        set_phase(held, INSTANCE_STOPPED, NULL);
        return;
    }
    if (fate == FATE_BUILDING) {
        state->build_ms = -1;
        set_phase(held, INSTANCE_BUILDING, NULL);
        return;
    }
    if (fate == FATE_NO_BUILD) {
        set_phase(held, INSTANCE_FAILED, "the build exited with status 2");
        return;
    }
    state->start_ms = 20;
    if (order->run.port && !state->address)
        state->address = xasprintf("%s:%d", drone->address, (int)drone->port++);
    switch (fate) {
    case FATE_EXITS:
        set_phase(held, INSTANCE_FAILED, "exited with status 1 after 0.21s");
        break;
    case FATE_SICK:
        set_phase(held, INSTANCE_FAILED, "not healthy within 60s: GET /healthz answered 500");
        break;
    case FATE_PROBING:
        set_phase(held, INSTANCE_PROBING, NULL);
        break;
    default:
        state->healthy_ms = 400;
        state->passes = 3;
        set_phase(held, INSTANCE_RUNNING, NULL);
    }
}

static void put(struct fake_drone *drone, const struct order *order)
{
    struct held *held = map_get(drone->orders, order->id);
    if (!held) {
        held = xcalloc(1, sizeof(*held));
        map_set(drone->orders, order->id, held);
        held->state = (struct instance_state){
            .id = xstrdup(order->id),
            .app = xstrdup(order->app),
            .service = xstrdup(order->service),
            .version = xstrdup(order->version),
            .commit = xstrdup(order->commit),
            .fetch_ms = -1,
            .build_ms = -1,
            .start_ms = -1,
            .healthy_ms = -1,
        };
    } else if (schema_equal(&order_schema, &held->order, order)) {
        return;
    }
    schema_clear(&order_schema, &held->order);
    schema_copy(&order_schema, order, &held->order);
    fare(drone, held);
    if (!held->silent)
        send_report(drone, &held->state, false);
}

static void drop(struct fake_drone *drone, const char *id)
{
    struct held *held = map_get(drone->orders, id);
    if (!held)
        return;
    send_report(drone, &held->state, true);
    map_remove(drone->orders, id);
}

/* --- orders ---------------------------------------------------------------------------------------------- */

static bool refuses(struct fake_drone *drone, struct reply *reply)
{
    if (!drone->refuse)
        return false;
    reply_error(reply, ERROR_FIELDS, "%s", drone->refuse);
    free(steal_ptr(drone->refuse));
    return true;
}

static void on_change(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct fake_drone *drone = owner;
    const struct msg_orders_change *m = message;
    if (refuses(drone, reply))
        return;
    if (m->from_revision != drone->revision) {
        reply_error(reply, ERROR_CONFLICT, "holds revision %d", (int)drone->revision);
        return;
    }
    drone->changes++;
    drone->revision = m->revision;
    reply_ok(reply, NULL);
    for (size_t i = 0; i < m->n_put; i++)
        put(drone, &m->put[i]);
    for (size_t i = 0; m->drop && m->drop[i]; i++)
        drop(drone, m->drop[i]);
}

static void on_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct fake_drone *drone = owner;
    (void)!document_sink_begin(&drone->sink, m, NULL);
}

static void on_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct fake_drone *drone = owner;
    (void)!document_sink_part(&drone->sink, m, NULL);
}

static bool is_ordered(const struct orders *orders, const char *id)
{
    for (size_t i = 0; i < orders->n_orders; i++)
        if (strcmp(orders->orders[i].id, id) == 0)
            return true;
    return false;
}

static void take_all(struct fake_drone *drone, const struct orders *orders)
{
    const char **ids = map_sorted_keys(drone->orders);
    for (size_t i = 0; ids[i]; i++) {
        _cleanup_(free_ptr) char *id = xstrdup(ids[i]);
        if (!is_ordered(orders, id))
            drop(drone, id);
    }
    free(ids);
    for (size_t i = 0; i < orders->n_orders; i++)
        put(drone, &orders->orders[i]);
}

static void on_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct fake_drone *drone = owner;
    struct error err;
    struct orders orders;
    int r = document_sink_end(&drone->sink, m, &err);
    if (r == 0)
        r = schema_read(&orders_schema, strbuf_str(&drone->sink.text), drone->sink.text.len, &orders, &err);
    document_sink_done(&drone->sink);
    if (r < 0) {
        reply_error(reply, ERROR_FIELDS, "%s", err.text);
        return;
    }
    if (!refuses(drone, reply)) {
        drone->snapshots++;
        drone->revision = orders.revision;
        reply_ok(reply, NULL);
        take_all(drone, &orders);
    }
    schema_clear(&orders_schema, &orders);
}

/* --- streams --------------------------------------------------------------------------------------------- */

static struct link *dial(struct fake_drone *drone, const struct link_spec *spec);

struct side {
    struct fake_drone *drone;
    char *id;
    struct link *link;
};

static void side_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    const struct side *side = owner;
    *hello = (struct msg_hello){
        .protocol = PROTOCOL_VERSION,
        .program = (char *)"fake-drone",
        .version = (char *)"0.1.0",
        .name = side->drone->name,
        .stream = side->id,
    };
}

static void side_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct side *side = owner;
    if (event == LINK_CLOSED) {
        link_free(link);
        free(side->id);
        free(side);
    }
    if (event != LINK_CONNECTED)
        return;
    for (size_t i = 0; side->drone->log && side->drone->log[i]; i++) {
        struct log_line line = {
            .at_us = side->drone->log_us + (int64_t)i * 1000000,
            .service = (char *)"web",
            .text = (char *)side->drone->log[i],
            .priority = 6,
        };
        link_notify(link, MSG_STREAM_LINES, &(struct msg_stream_lines){ &line, 1 });
    }
    link_notify(link, MSG_STREAM_END, &(struct msg_stream_end){ NULL });
}

static const struct link_handler no_handlers[] = { { 0, NULL } };

static void on_stream_open_(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct fake_drone *drone = owner;
    const struct msg_stream_open *m = message;
    struct side *side = xcalloc(1, sizeof(*side));
    side->drone = drone;
    side->id = xstrdup(m->stream);
    drone->streams++;
    reply_ok(reply, NULL);
    struct link_spec spec = {
        .handlers = no_handlers,
        .on_event = side_event,
        .owner = side,
        .fill_hello = side_hello,
    };
    side->link = dial(drone, &spec);
}

/* --- the link -------------------------------------------------------------------------------------------- */

static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN, on_begin },
    { MSG_DOCUMENT_PART, on_part },
    { MSG_DOCUMENT_END, on_end },
    { MSG_ORDERS_CHANGE, on_change },
    { MSG_STREAM_OPEN, on_stream_open_ },
    { 0, NULL },
};

static void on_report_done(int result, const char *reason, void *arg)
{
}

static void report_all(struct fake_drone *drone)
{
    struct report report = { .revision = drone->revision };
    size_t cap = 0;
    map_for_each (it, drone->orders) {
        const struct held *held = it.value;
        if (held->silent)
            continue;
        report.instances = xgrow(report.instances, report.n_instances, &cap, sizeof(*report.instances));
        report.instances[report.n_instances++] = held->state;
    }
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    schema_print(&report_schema, &report, &text);
    free(report.instances);
    document_send(
        drone->link, DOCUMENT_REPORT, drone->revision, strbuf_str(&text), text.len, on_report_done, drone);
}

static void on_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct fake_drone *drone = owner;
    if (event == LINK_CONNECTED) {
        report_all(drone);
        struct msg_host_report m = {
            .memory_bytes = 4LL << 30,
            .memory_free_bytes = 2LL << 30,
            .cores = 2,
            .up_ms = 1000,
        };
        link_notify(link, MSG_HOST_REPORT, &m);
    } else if (event == LINK_CLOSED) {
        link_free(steal_ptr(drone->link));
        document_sink_done(&drone->sink);
    }
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    const struct fake_drone *drone = owner;
    static char *features[] = { (char *)"orders/1", (char *)"streams/1", NULL };
    *hello = (struct msg_hello){
        .protocol = PROTOCOL_VERSION,
        .program = (char *)"fake-drone",
        .version = (char *)"0.1.0",
        .name = drone->name,
        .counter = drone->revision,
        .address = drone->address,
        .features = drone->old ? NULL : features,
    };
}

static struct link *dial(struct fake_drone *drone, const struct link_spec *spec)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    struct peer peer = { .role = ROLE_DRONE, .name = drone->name, .address = (char *)"10.0.0.11:40000" };
    session_new(drone->hub, stream_adopt(drone->loop, fds[0], true, NULL, NULL, NULL), &peer);
    return link_new(drone->loop, stream_adopt(drone->loop, fds[1], false, NULL, NULL, NULL), false, spec);
}

void fake_drone_connect(struct fake_drone *drone, struct hubd *hub)
{
    link_free(steal_ptr(drone->link));
    drone->hub = hub;
    struct link_spec spec = {
        .handlers = handlers,
        .on_event = on_event,
        .owner = drone,
        .fill_hello = fill_hello,
    };
    drone->link = dial(drone, &spec);
}

void fake_drone_hang_up(struct fake_drone *drone)
{
    link_free(steal_ptr(drone->link));
    document_sink_done(&drone->sink);
}

bool fake_drone_is_connected(const struct fake_drone *drone)
{
    return drone->link && link_is_connected(drone->link);
}

/* --- what tests ask -------------------------------------------------------------------------------------- */

void fake_drone_set_fate(struct fake_drone *drone, const char *version, enum fake_fate fate)
{
    map_set(drone->fates, version, (void *)(intptr_t)fate);
    map_for_each (it, drone->orders) {
        struct held *held = it.value;
        if (strcmp(held->order.version, version) != 0)
            continue;
        fare(drone, held);
        if (!held->silent)
            send_report(drone, &held->state, false);
    }
}

void fake_drone_refuse_next(struct fake_drone *drone, const char *reason)
{
    str_set(&drone->refuse, reason);
}

int fake_drone_orders(const struct fake_drone *drone, const char *version)
{
    int n = 0;
    map_for_each (it, drone->orders) {
        const struct held *held = it.value;
        n += !version || strcmp(held->order.version, version) == 0;
    }
    return n;
}

const struct order *fake_drone_order(const struct fake_drone *drone, const char *id)
{
    const struct held *held = map_get(drone->orders, id);
    return held ? &held->order : NULL;
}

const struct order *fake_drone_first(const struct fake_drone *drone, const char *version)
{
    map_for_each (it, drone->orders) {
        const struct held *held = it.value;
        if (!version || strcmp(held->order.version, version) == 0)
            return &held->order;
    }
    return NULL;
}

int64_t fake_drone_revision(const struct fake_drone *drone)
{
    return drone->revision;
}

void fake_drone_set_revision(struct fake_drone *drone, int64_t revision)
{
    drone->revision = revision;
}

int fake_drone_snapshots(const struct fake_drone *drone)
{
    return drone->snapshots;
}

int fake_drone_changes(const struct fake_drone *drone)
{
    return drone->changes;
}

void fake_drone_report(
    struct fake_drone *drone, const char *id, enum instance_phase phase, const char *reason)
{
    struct held *held = map_get(drone->orders, id);
    set_phase(held, phase, reason);
    send_report(drone, &held->state, false);
}

void fake_drone_set_old(struct fake_drone *drone, bool old)
{
    drone->old = old;
}

void fake_drone_goodbye(struct fake_drone *drone)
{
    link_notify(drone->link, MSG_GOODBYE, &(struct msg_goodbye){ .reason = (char *)"the host goes down" });
}

void fake_drone_lie(struct fake_drone *drone, const struct order *order, enum instance_phase phase)
{
    struct instance_state state = {
        .id = order->id,
        .app = order->app,
        .service = order->service,
        .version = order->version,
        .commit = order->commit,
        .generation = order->generation,
        .phase = (int)phase,
    };
    send_report(drone, &state, false);
}

void fake_drone_set_log(struct fake_drone *drone, const char *const *lines, int64_t first_us)
{
    drone->log = lines;
    drone->log_us = first_us;
}

int fake_drone_streams(const struct fake_drone *drone)
{
    return drone->streams;
}
