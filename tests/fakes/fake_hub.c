/* SPDX-License-Identifier: MIT */
#include "tests/fakes/fake_hub.h"

#include <stdlib.h>

#include "common/document.h"
#include "common/link.h"
#include "common/list.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/stream.h"
#include "common/wire.h"

struct hub_link {
    struct list in;
    struct fake_hub *hub;
    struct link *link;
    struct document_sink sink;
    bool is_stream;
};

struct fake_hub {
    struct loop *loop;
    struct stream_listener *listener;
    struct list links;
    struct strbuf log;
};

static void on_begin(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    struct error err;
    (void)!document_sink_begin(&l->sink, m, &err);
}

static void on_part(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    struct error err;
    (void)!document_sink_part(&l->sink, m, &err);
}

static void on_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    struct error err;
    if (document_sink_end(&l->sink, m, &err) < 0)
        abort();
    strbuf_addf(&l->hub->log, "report %s\n", strbuf_str(&l->sink.text));
    document_sink_done(&l->sink);
    reply_ok(reply, NULL);
}

static void on_instance(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    const struct msg_instance_report *report = m;
    strbuf_addf(&l->hub->log, "instance %s %s\n", report->instance.id,
        report->gone ? "gone" : instance_phase_names[report->instance.phase]);
}

static void on_host(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    const struct msg_host_report *report = m;
    strbuf_addf(&l->hub->log, "host %s\n", report->memory_bytes > 0 && report->up_ms > 0 ? "ok" : "empty");
}

static void on_goodbye(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    strbuf_addf(&l->hub->log, "goodbye %s\n", ((const struct msg_goodbye *)m)->reason);
}

static void on_lines(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    strbuf_addf(&l->hub->log, "lines %zu\n", ((const struct msg_stream_lines *)m)->n_lines);
}

static void on_stream_end(void *owner, struct link *link, const void *m, struct reply *reply)
{
    struct hub_link *l = owner;
    const char *reason = ((const struct msg_stream_end *)m)->reason;
    strbuf_addf(&l->hub->log, "end %s\n", reason ? reason : "that was all");
}

// clang-format off
static const struct link_handler handlers[] = {
    { MSG_DOCUMENT_BEGIN,  on_begin },
    { MSG_DOCUMENT_END,    on_end },
    { MSG_DOCUMENT_PART,   on_part },
    { MSG_GOODBYE,         on_goodbye },
    { MSG_HOST_REPORT,     on_host },
    { MSG_INSTANCE_REPORT, on_instance },
    { MSG_STREAM_END,      on_stream_end },
    { MSG_STREAM_LINES,    on_lines },
    { 0, NULL },
};
// clang-format on

static void hub_link_free(struct hub_link *l)
{
    list_remove(&l->in);
    document_sink_done(&l->sink);
    link_free(l->link);
    free(l);
}

static void on_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct hub_link *l = owner;
    if (event == LINK_CONNECTED) {
        const struct msg_hello *hello = link_hello(link);
        l->is_stream = hello->stream != NULL;
        if (l->is_stream)
            strbuf_addf(&l->hub->log, "stream %s\n", hello->stream);
        else
            strbuf_addf(&l->hub->log, "hello %s counter %lld\n", hello->name, (long long)hello->counter);
    } else if (event == LINK_CLOSED) {
        strbuf_addf(&l->hub->log, "closed\n");
        hub_link_free(l);
    }
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    hello->program = (char *)"fake-hub";
    hello->version = (char *)"0";
    hello->name = (char *)"hub1";
}

static void on_accept(void *arg, struct stream *stream)
{
    struct fake_hub *hub = arg;
    struct hub_link *l = xcalloc(1, sizeof(*l));
    struct link_spec spec = {
        .handlers = handlers, .on_event = on_event, .owner = l, .fill_hello = fill_hello
    };
    struct peer peer = { .role = ROLE_DRONE, .name = (char *)"test1", .address = (char *)"local" };
    l->hub = hub;
    l->link = link_new(hub->loop, stream, true, &spec);
    link_set_peer(l->link, &peer);
    list_append(&hub->links, &l->in);
}

struct fake_hub *fake_hub_new(struct loop *loop, const char *path)
{
    struct fake_hub *hub = xcalloc(1, sizeof(*hub));
    struct stream_options options = { 0 };
    int fd;
    struct error err;
    hub->loop = loop;
    list_init(&hub->links);
    if (wire_listen(path, 0, &fd, &err) < 0)
        abort();
    hub->listener = stream_listener_new(loop, fd, &options, on_accept, hub);
    return hub;
}

void fake_hub_cut(struct fake_hub *hub)
{
    struct hub_link *l, *tmp;
    list_for_each_safe (l, tmp, &hub->links, in)
        hub_link_free(l);
}

void fake_hub_free(struct fake_hub *hub)
{
    fake_hub_cut(hub);
    stream_listener_free(hub->listener);
    strbuf_done(&hub->log);
    free(hub);
}

const char *fake_hub_log(const struct fake_hub *hub)
{
    return strbuf_str(&hub->log);
}

void fake_hub_forget(struct fake_hub *hub)
{
    strbuf_clear(&hub->log);
}

int fake_hub_links(const struct fake_hub *hub)
{
    struct hub_link *l;
    int n = 0;
    list_for_each (l, &hub->links, in)
        n++;
    return n;
}

static struct link *main_link(struct fake_hub *hub)
{
    struct hub_link *l;
    list_for_each (l, &hub->links, in) {
        if (!l->is_stream)
            return l->link;
    }
    abort();
}

static void on_orders_done(int result, const char *reason, void *arg)
{
    struct fake_hub *hub = arg;
    strbuf_addf(&hub->log, "orders %d%s%s\n", result < 0 ? -1 : 0, reason ? " " : "", reason ? reason : "");
}

void fake_hub_send_orders(struct fake_hub *hub, const struct orders *orders)
{
    struct strbuf text = STRBUF_INIT;
    schema_print(&orders_schema, orders, &text);
    document_send(
        main_link(hub), DOCUMENT_ORDERS, orders->revision, strbuf_str(&text), text.len, on_orders_done, hub);
    strbuf_done(&text);
}

static void on_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    on_orders_done(result, reason, arg);
}

void fake_hub_send_change(struct fake_hub *hub, const struct msg_orders_change *change)
{
    link_call(main_link(hub), MSG_ORDERS_CHANGE, change, 0, on_answer, hub);
}

void fake_hub_open_stream(struct fake_hub *hub, const struct msg_stream_open *m)
{
    link_call(main_link(hub), MSG_STREAM_OPEN, m, 0, on_answer, hub);
}
