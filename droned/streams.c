/* SPDX-License-Identifier: MIT */
#include "droned/streams.h"

#include <errno.h>

#include "common/link.h"
#include "common/list.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/map.h"
#include "common/mem.h"
#include "common/stream.h"
#include "droned/build.h"
#include "droned/droned.h"
#include "droned/instance.h"
#include "droned/journal.h"
#include "droned/uplink.h"

/* One stream: the connection, then the link, then the journal that feeds it. */
struct log_stream {
    struct list link_in;
    struct streams *owner;
    char *id;
    char *service, *version, *instance, *build;
    int64_t lines;
    bool follow;
    struct timer deadline;
    struct stream *stream;
    struct link *link;
    struct journal_follow *journal;
};

struct streams {
    struct droned *droned;
    struct list streams;
    int n_streams;
};

static void log_stream_free(struct log_stream *s)
{
    list_remove(&s->link_in);
    s->owner->n_streams--;
    timer_done(&s->deadline);
    journal_follow_free(s->journal);
    link_free(s->link);
    stream_free(s->stream);
    free(s->id);
    free(s->service);
    free(s->version);
    free(s->instance);
    free(s->build);
    free(s);
}

static void on_lines(void *arg, struct log_line *lines, size_t n)
{
    struct log_stream *s = arg;
    struct msg_stream_lines m = { lines, n };
    link_notify(s->link, MSG_STREAM_LINES, &m);
    if (link_is_congested(s->link))
        journal_follow_pause(s->journal, true);
}

static void on_journal_end(void *arg, const char *reason)
{
    struct log_stream *s = arg;
    struct msg_stream_end m = { (char *)reason };
    link_notify(s->link, MSG_STREAM_END, &m);
    link_close(s->link, "that was all");
}

static void start_journal(struct log_stream *s)
{
    struct journal_follow_spec spec = {
        .match = { s->service, s->version, s->instance, s->build },
        .lines = s->lines,
        .follow = s->follow,
        .on_lines = on_lines,
        .on_end = on_journal_end,
        .arg = s,
    };
    struct error err;
    if (journal_follow_new(s->owner->droned->loop, &spec, &s->journal, &err) < 0)
        on_journal_end(s, err.text);
}

static void on_link_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct log_stream *s = owner;
    switch (event) {
    case LINK_CONNECTED:
        timer_clear(&s->deadline);
        start_journal(s);
        break;
    case LINK_DRAINED:
        if (s->journal)
            journal_follow_pause(s->journal, false);
        break;
    case LINK_CLOSED:
        log_stream_free(s);
        break;
    }
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    struct log_stream *s = owner;
    uplink_fill_hello(s->owner->droned->uplink, s->id, hello);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    static const struct link_handler handlers[] = { { 0, NULL } };
    struct log_stream *s = arg;
    if (member_is_ready_event(uplink_member(s->owner->droned->uplink), event)) {
        struct link_spec spec = {
            .handlers = handlers, .on_event = on_link_event, .owner = s, .fill_hello = fill_hello
        };
        stream_set_close_ms(s->stream, STREAM_TAIL_MS);
        s->link = link_new(s->owner->droned->loop, steal_ptr(s->stream), false, &spec);
    } else if (event == STREAM_ERROR || event == STREAM_CLOSED) {
        log_warning(NULL, "can't open a stream to the hub: %s", stream_error(stream));
        log_stream_free(s);
    }
}

static void on_deadline(void *arg)
{
    log_warning(NULL, "the hub did not take a stream it asked for");
    log_stream_free(arg);
}

/* Build output of the order with this id. */
static int find_build(struct streams *streams, const struct msg_stream_open *m, char **ret, struct error *err)
{
    const struct instance *instance = m->instance ? map_get(streams->droned->instances, m->instance) : NULL;
    char *key = instance ? build_key(&instance->order) : NULL;
    if (!key)
        return error_set(err, -EINVAL, "no build of instance %s here", m->instance ? m->instance : "(none)");
    *ret = key;
    return 0;
}

int streams_open(struct streams *streams, const struct msg_stream_open *m, struct error *err)
{
    char *build = NULL;
    if (streams->n_streams >= STREAMS_MAX)
        return error_set(err, -EBUSY, "%d streams are open on this host already", STREAMS_MAX);
    if (m->kind == STREAM_BUILD) {
        int r = find_build(streams, m, &build, err);
        if (r < 0)
            return r;
    }
    struct log_stream *s = xcalloc(1, sizeof(*s));
    s->owner = streams;
    s->id = xstrdup(m->stream);
    s->lines = m->lines;
    s->follow = m->follow;
    s->build = build;
    if (!build) {
        s->service = xstrdup(m->service);
        s->version = xstrdup(m->version);
        s->instance = xstrdup(m->instance);
    }
    timer_init(&s->deadline, streams->droned->loop, on_deadline, s);
    timer_set(&s->deadline, STREAM_DIAL_MS);
    list_append(&streams->streams, &s->link_in);
    streams->n_streams++;
    s->stream = member_dial(uplink_member(streams->droned->uplink), PROTOCOL_ALPN, on_stream, s, err);
    if (!s->stream) {
        log_stream_free(s);
        return err->code;
    }
    return 0;
}

struct streams *streams_new(struct droned *droned)
{
    struct streams *streams = xcalloc(1, sizeof(*streams));
    streams->droned = droned;
    list_init(&streams->streams);
    return streams;
}

void streams_free(struct streams *streams)
{
    if (!streams)
        return;
    struct log_stream *s, *tmp;
    list_for_each_safe (s, tmp, &streams->streams, link_in)
        log_stream_free(s);
    free(streams);
}
