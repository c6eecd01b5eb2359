/* SPDX-License-Identifier: MIT */
#include "hubd/streams.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/link.h"
#include "common/list.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/secret.h"
#include "common/strv.h"
#include "hubd/drone.h"
#include "hubd/events.h"
#include "hubd/hubd.h"
#include "hubd/session.h"

/* What one person reads: lines of one or more streams. */
struct log_view {
    struct list of_session;
    struct hubd *hub;
    struct session *session; /* the reader */
    struct reply *reply;
    size_t n_streams; /* that have not ended */
    int64_t lines;
    bool paused;
    /* Past lines of several hosts, until they can be put in order; then NULL. */
    bool gathering;
    struct log_line *gathered;
    size_t n_gathered, gathered_cap;
    struct timer gather;
    char *trouble;
};

struct drone_stream {
    struct list of_hub;
    struct hubd *hub;
    char *id;
    char *host;
    char *deploy;            /* build output: of this deploy, */
    char *instance;          /* for this instance */
    struct log_view *view;   /* weak; NULL for build output, or when the reader left */
    struct session *session; /* weak: the drone's second connection */
    struct timer dial;
};

/* --- views ----------------------------------------------------------------------------------------------- */

static void forget_gathered(struct log_view *view)
{
    for (size_t i = 0; i < view->n_gathered; i++) {
        free(view->gathered[i].host);
        free(view->gathered[i].service);
        free(view->gathered[i].version);
        free(view->gathered[i].instance);
        free(view->gathered[i].text);
    }
    free(steal_ptr(view->gathered));
    view->n_gathered = view->gathered_cap = 0;
}

static int by_time(const void *a, const void *b)
{
    const struct log_line *x = a, *y = b;
    return x->at_us < y->at_us ? -1 : x->at_us > y->at_us;
}

#define LINES_A_MESSAGE 100

/* The newest `lines` of what was gathered, in order of time; from now on lines go straight through. */
static void end_gathering(struct log_view *view)
{
    if (!view->gathering)
        return;
    view->gathering = false;
    timer_clear(&view->gather);
    if (view->n_gathered > 0)
        qsort(view->gathered, view->n_gathered, sizeof(*view->gathered), by_time);
    size_t want = (size_t)view->lines;
    size_t first = view->n_gathered > want ? view->n_gathered - want : 0;
    while (first < view->n_gathered) {
        size_t n = view->n_gathered - first < LINES_A_MESSAGE ? view->n_gathered - first : LINES_A_MESSAGE;
        struct msg_stream_lines m = { .lines = view->gathered + first, .n_lines = n };
        link_notify(view->session->link, MSG_STREAM_LINES, &m);
        first += n;
    }
    forget_gathered(view);
}

static void on_gather_timeout(void *arg)
{
    end_gathering(arg);
}

static void view_free(struct log_view *view)
{
    list_remove(&view->of_session);
    struct drone_stream *stream;
    list_for_each (stream, &view->hub->streams, of_hub) {
        if (stream->view == view)
            stream->view = NULL;
    }
    forget_gathered(view);
    timer_done(&view->gather);
    free(view->trouble);
    free(view);
}

static void end_view(struct log_view *view)
{
    end_gathering(view);
    struct msg_stream_end m = { .reason = view->trouble };
    reply_ok(view->reply, &m);
    view_free(view);
}

static void view_lost_stream(struct log_view *view, const char *host, const char *trouble)
{
    if (trouble && !view->trouble)
        view->trouble = xasprintf("%s: %s", host, trouble);
    if (view->n_streams > 0 && --view->n_streams == 0)
        end_view(view);
}

static void pause_view(struct log_view *view, bool pause)
{
    struct drone_stream *stream;
    view->paused = pause;
    list_for_each (stream, &view->hub->streams, of_hub) {
        if (stream->view == view && stream->session)
            link_pause(stream->session->link, pause);
    }
}

/* --- streams --------------------------------------------------------------------------------------------- */

static void stream_drop(struct drone_stream *stream)
{
    list_remove(&stream->of_hub);
    timer_done(&stream->dial);
    if (stream->session) {
        stream->session->stream = NULL;
        link_close(stream->session->link, "the stream has ended");
    }
    free(stream->id);
    free(stream->host);
    free(stream->deploy);
    free(stream->instance);
    free(stream);
}

static void end_stream(struct drone_stream *stream, const char *trouble)
{
    struct log_view *view = stream->view;
    _cleanup_(free_ptr) char *host = xstrdup(stream->host);
    stream->view = NULL;
    if (stream->deploy) {
        /* Stays as a mark that it was asked for; goes with its connection. */
        timer_clear(&stream->dial);
        if (stream->session) {
            stream->session->stream = NULL;
            link_close(stream->session->link, "the stream has ended");
            stream->session = NULL;
        }
    } else {
        stream_drop(stream);
    }
    if (view)
        view_lost_stream(view, host, trouble);
}

static void on_dial_timeout(void *arg)
{
    end_stream(arg, "its log stream did not come");
}

static struct drone_stream *find_stream(const struct hubd *hub, const char *id)
{
    struct drone_stream *stream;
    list_for_each (stream, &hub->streams, of_hub) {
        if (secret_equal(stream->id, id))
            return stream;
    }
    return NULL;
}

/* A drone that refuses does not dial either; the timer tells. */
static void on_open_answered(
    void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
}

static struct drone_stream *open_stream(struct hubd *hub, const char *host, struct msg_stream_open *m)
{
    struct link *link = drone_link(hub, host);
    size_t n = 0;
    struct drone_stream *other;
    list_for_each (other, &hub->streams, of_hub)
        n++;
    if (!link || n >= STREAMS_MAX)
        return NULL;
    struct drone_stream *stream = xcalloc(1, sizeof(*stream));
    stream->hub = hub;
    stream->id = random_hex(16);
    stream->host = xstrdup(host);
    list_init(&stream->of_hub);
    list_append(&hub->streams, &stream->of_hub);
    timer_init(&stream->dial, hub->loop, on_dial_timeout, stream);
    timer_set(&stream->dial, STREAM_DIAL_MS);
    m->stream = stream->id;
    link_call(link, MSG_STREAM_OPEN, m, STREAM_DIAL_MS, on_open_answered, NULL);
    return stream;
}

bool streams_expects(const struct hubd *hub, const struct peer *peer, const char *id)
{
    const struct drone_stream *stream = find_stream(hub, id);
    return stream && !stream->session && timer_is_set(&stream->dial) && peer->role == ROLE_DRONE &&
        peer->name && strcmp(peer->name, stream->host) == 0;
}

void streams_attach(struct session *session, const char *id)
{
    struct drone_stream *stream = find_stream(session->hub, id);
    if (!stream || stream->session) {
        session_close(session, "no such stream");
        return;
    }
    timer_clear(&stream->dial);
    stream->session = session;
    session->stream = stream;
    if (stream->view && stream->view->paused)
        link_pause(session->link, true);
}

void streams_drained(struct session *session)
{
    struct log_view *view;
    list_for_each (view, &session->log_views, of_session) {
        if (view->paused)
            pause_view(view, false);
    }
}

void streams_drop_session(struct session *session)
{
    if (session->stream) {
        struct drone_stream *stream = session->stream;
        session->stream = NULL;
        stream->session = NULL;
        end_stream(stream, "the connection was lost");
    }
    while (!list_empty(&session->log_views)) {
        struct log_view *view = list_first(&session->log_views, struct log_view, of_session);
        struct drone_stream *stream, *tmp;
        struct reply *reply = view->reply;
        list_for_each_safe (stream, tmp, &session->hub->streams, of_hub) {
            if (stream->view == view)
                stream_drop(stream);
        }
        view_free(view);
        reply_error(reply, ERROR_UNAVAILABLE, "the connection is closing");
    }
}

void streams_free_all(struct hubd *hub)
{
    while (!list_empty(&hub->streams))
        stream_drop(list_first(&hub->streams, struct drone_stream, of_hub));
}

/* --- lines ----------------------------------------------------------------------------------------------- */

static void gather(struct log_view *view, const struct msg_stream_lines *m)
{
    for (size_t i = 0; i < m->n_lines && view->n_gathered < LOG_LINES_MAX; i++) {
        const struct log_line *from = &m->lines[i];
        view->gathered =
            xgrow(view->gathered, view->n_gathered, &view->gathered_cap, sizeof(*view->gathered));
        view->gathered[view->n_gathered++] = (struct log_line){
            .at_us = from->at_us,
            .host = xstrdup(from->host),
            .service = xstrdup(from->service),
            .version = xstrdup(from->version),
            .instance = xstrdup(from->instance),
            .priority = from->priority,
            .text = xstrdup(from->text),
        };
    }
}

static void give_to_view(struct log_view *view, struct msg_stream_lines *m)
{
    if (view->gathering) {
        gather(view, m);
        return;
    }
    link_notify(view->session->link, MSG_STREAM_LINES, m);
    if (link_is_congested(view->session->link) && !view->paused)
        pause_view(view, true);
}

static void give_to_deploy(const struct drone_stream *stream, const struct msg_stream_lines *m)
{
    char **lines = NULL;
    for (size_t i = 0; i < m->n_lines; i++)
        strv_push(&lines, m->lines[i].text ? m->lines[i].text : "");
    events_deploy_output(stream->hub, stream->deploy, stream->host, stream->instance, lines);
    strv_free(lines);
}

void on_stream_lines(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct session *session = owner;
    struct drone_stream *stream = session->stream;
    if (!stream)
        return;
    struct msg_stream_lines m;
    schema_copy(msg_by_type(MSG_STREAM_LINES)->schema, message, &m);
    for (size_t i = 0; i < m.n_lines; i++)
        str_set(&m.lines[i].host, stream->host);
    if (stream->deploy)
        give_to_deploy(stream, &m);
    else if (stream->view)
        give_to_view(stream->view, &m);
    schema_clear(msg_by_type(MSG_STREAM_LINES)->schema, &m);
}

void on_stream_end(void *owner, struct link *link, const void *message, struct reply *reply)
{
    struct session *session = owner;
    const struct msg_stream_end *m = message;
    if (session->stream)
        end_stream(session->stream, m->reason);
}

/* --- asking ---------------------------------------------------------------------------------------------- */

struct asked {
    char *service, *version, *instance;
};

static void add_host(char ***hosts, const char *host)
{
    if (host && !strv_contains(*hosts, host))
        strv_push(hosts, host);
}

static bool concerns(const struct asked *asked, const char *id, const char *service, const char *version)
{
    if (asked->instance)
        return strcmp(asked->instance, id) == 0;
    return service && strcmp(service, asked->service) == 0 &&
        (!asked->version || (version && strcmp(version, asked->version) == 0));
}

/* Hosts where something of it runs; when nothing does (a failed deploy), all: their journals may know. */
static char **hosts_of(struct hubd *hub, const struct asked *asked)
{
    char **hosts = NULL;
    state_for_each(it, &hub->state, STATE_INSTANCE)
    {
        const struct instance *instance = it.value;
        if (concerns(asked, it.key, instance->service, instance->version))
            add_host(&hosts, instance->host);
    }
    if (!hosts)
        state_for_each(it, &hub->state, STATE_DRONE) add_host(&hosts, it.key);
    return hosts;
}

static int parse_target(struct hubd *hub, const char *target, struct asked *ret, struct error *err)
{
    *ret = (struct asked){ 0 };
    if (target && name_is_instance(target)) {
        ret->instance = xstrdup(target);
        return 0;
    }
    int r = name_split_target(target ? target : "", &ret->service, &ret->version, err);
    if (r < 0)
        return r;
    if (!state_service(&hub->state, ret->service))
        return error_set(err, -2, "there is no service \"%s\"", ret->service);
    return 0;
}

void streams_logs(struct session *session, const struct msg_logs *m, struct reply *reply)
{
    struct hubd *hub = session->hub;
    struct asked asked;
    struct error err;
    if (parse_target(hub, m->target, &asked, &err) < 0) {
        reply_error(reply, ERROR_NOT_FOUND, "%s", err.text);
        goto out;
    }
    struct log_view *view = xcalloc(1, sizeof(*view));
    view->hub = hub;
    view->session = session;
    view->reply = reply;
    view->lines = m->lines > 0 && m->lines <= LOG_LINES_MAX ? m->lines : LOG_LINES_DEFAULT;
    view->gathering = true;
    list_init(&view->of_session);
    list_append(&session->log_views, &view->of_session);
    timer_init(&view->gather, hub->loop, on_gather_timeout, view);
    timer_set(&view->gather, STREAM_GATHER_MS);

    char **hosts = hosts_of(hub, &asked);
    view->n_streams = 1; /* until all are asked */
    char *host;
    strv_for_each (host, hosts) {
        struct msg_stream_open open = {
            .kind = STREAM_LOGS,
            .service = asked.service,
            .version = asked.version,
            .instance = asked.instance,
            .lines = view->lines,
            .follow = m->follow,
        };
        struct drone_stream *stream = open_stream(hub, host, &open);
        if (stream) {
            stream->view = view;
            view->n_streams++;
        } else if (!view->trouble) {
            view->trouble = xasprintf("%s is not reached", host);
        }
    }
    strv_free(hosts);
    view_lost_stream(view, NULL, NULL);
out:
    free(asked.service);
    free(asked.version);
    free(asked.instance);
}

static bool was_asked(const struct hubd *hub, const char *deploy, const char *instance)
{
    const struct drone_stream *stream;
    list_for_each (stream, &hub->streams, of_hub) {
        if (stream->deploy && strcmp(stream->deploy, deploy) == 0 && strcmp(stream->instance, instance) == 0)
            return true;
    }
    return false;
}

/* Marks of deploys that have ended. */
static void drop_marks(struct hubd *hub)
{
    struct drone_stream *stream, *tmp;
    list_for_each_safe (stream, tmp, &hub->streams, of_hub) {
        const struct deploy *deploy = stream->deploy ? state_deploy(&hub->state, stream->deploy) : NULL;
        if (stream->deploy && !stream->session && (!deploy || !deploy_stage_is_open(deploy->stage)))
            stream_drop(stream);
    }
}

void streams_build_output(struct hubd *hub, const struct deploy *deploy)
{
    drop_marks(hub);
    if (deploy->stage != STAGE_STARTING || !events_is_output_wanted(hub, deploy->id))
        return;
    for (size_t i = 0; i < deploy->n_parts; i++) {
        const struct deploy_part *part = &deploy->parts[i];
        const struct instance_state *state = facts_state(&hub->facts, part->instance);
        if (!part->fresh || !state || state->phase != INSTANCE_BUILDING ||
            was_asked(hub, deploy->id, part->instance))
            continue;
        struct msg_stream_open open = {
            .kind = STREAM_BUILD,
            .instance = part->instance,
            .lines = LOG_LINES_DEFAULT,
            .follow = true,
        };
        struct drone_stream *stream = open_stream(hub, part->host, &open);
        if (!stream)
            continue;
        stream->deploy = xstrdup(deploy->id);
        stream->instance = xstrdup(part->instance);
    }
}
