/* SPDX-License-Identifier: MIT */
#include "droned/probe.h"

#include <stdio.h>
#include <string.h>

#include "common/http1.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/stream.h"
#include "common/strv.h"

#define FAILURE_TEXT_MAX 200

struct transcript_line {
    int64_t at_ms; /* since the probe began */
    int64_t times;
    char *text;
};

struct probe {
    struct loop *loop;
    struct probe_spec spec;
    int kind;
    char *path;
    char *address;
    int64_t interval_ms, timeout_ms;
    mono_t begun;
    struct timer next;     /* of the next attempt */
    struct timer deadline; /* of the present one */
    struct stream *stream;
    bool running;
    bool fast;
    int64_t pause_ms; /* after a failure while fast */
    int64_t passes, failures;
    char *last;
    struct transcript_line lines[PROBE_TRANSCRIPT_MAX];
    int n_lines;
};

/* --- what was seen -------------------------------------------------------------------------------------------- */

static void note(struct probe *probe, const char *text)
{
    int64_t at_ms = mono_diff_ms(loop_now(probe->loop), probe->begun);
    if (probe->n_lines > 0 && strcmp(probe->lines[probe->n_lines - 1].text, text) == 0) {
        probe->lines[probe->n_lines - 1].times++;
        return;
    }
    if (probe->n_lines == PROBE_TRANSCRIPT_MAX) {
        free(probe->lines[0].text);
        memmove(&probe->lines[0], &probe->lines[1], sizeof(probe->lines[0]) * (PROBE_TRANSCRIPT_MAX - 1));
        probe->n_lines--;
    }
    probe->lines[probe->n_lines++] = (struct transcript_line){ at_ms, 1, xstrdup(text) };
}

static int64_t pause_after(struct probe *probe, bool passed)
{
    if (!probe->fast || probe->kind == HEALTH_STAYS_UP || probe->kind == HEALTH_NOTIFY)
        return probe->interval_ms;
    int64_t most = probe->interval_ms < PROBE_FAST_MS ? probe->interval_ms : PROBE_FAST_MS;
    if (passed)
        return most;
    int64_t pause = probe->pause_ms;
    probe->pause_ms = pause * 2 < most ? pause * 2 : most;
    return pause < most ? pause : most;
}

static void finish(struct probe *probe, bool passed, const char *text)
{
    if (!probe->running)
        return;
    probe->running = false;
    timer_clear(&probe->deadline);
    stream_free(steal_ptr(probe->stream));
    probe->passes = passed ? probe->passes + 1 : 0;
    probe->failures = passed ? 0 : probe->failures + 1;
    str_set(&probe->last, text);
    note(probe, text);
    timer_set(&probe->next, pause_after(probe, passed));
    probe->spec.on_result(probe->spec.owner, probe, passed);
}

static void fail_with(struct probe *probe, const char *what, const char *why)
{
    char text[FAILURE_TEXT_MAX];
    snprintf(text, sizeof(text), "%s: %s", what, why);
    finish(probe, false, text);
}

/* --- HTTP and TCP ------------------------------------------------------------------------------------------------ */

static void what_is_asked(const struct probe *probe, char *buf, size_t size)
{
    if (probe->kind == HEALTH_HTTP)
        snprintf(buf, size, "GET %.80s", probe->path);
    else
        snprintf(buf, size, "connect to %.80s", probe->address);
}

static void send_request(struct probe *probe)
{
    char head[1024];
    int n = snprintf(head, sizeof(head),
        "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: stagecoach-droned/" STAGECOACH_VERSION
        "\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        probe->path, probe->address);
    if (n < 0 || (size_t)n >= sizeof(head))
        finish(probe, false, "the path is too long to be asked for");
    else
        stream_write(probe->stream, head, (size_t)n);
}

static void read_answer(struct probe *probe, bool ended)
{
    size_t len;
    const char *data = stream_data(probe->stream, &len);
    struct http1_fault fault;
    struct http1_head *head = xcalloc(1, sizeof(*head));
    char what[128], text[FAILURE_TEXT_MAX];
    what_is_asked(probe, what, sizeof(what));
    enum http1_result r = http1_response_parse(data, len, NULL, HTTP1_METHOD_GET, head, &fault);
    if (r == HTTP1_REFUSED) {
        snprintf(text, sizeof(text), "%s: not an HTTP answer (%s)", what, fault.reason);
        finish(probe, false, text);
    } else if (r == HTTP1_DONE && head->status >= 200) {
        snprintf(text, sizeof(text), "%s: %d %.*s", what, head->status,
            (int)(head->reason.len < 60 ? head->reason.len : 60), head->reason.ptr);
        finish(probe, head->status < 400, text);
    } else if (r == HTTP1_DONE) {
        stream_consume(probe->stream, head->size);
        stream_again(probe->stream);
    } else if (ended || len >= PROBE_ANSWER_MAX) {
        fail_with(probe, what, ended ? "closed without an answer" : "the answer's head is too long");
    }
    free(head);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct probe *probe = arg;
    char what[128];
    what_is_asked(probe, what, sizeof(what));
    switch (event) {
    case STREAM_CONNECTED:
        if (probe->kind == HEALTH_HTTP)
            send_request(probe);
        else
            finish(probe, true, what);
        break;
    case STREAM_DATA:
        read_answer(probe, false);
        break;
    case STREAM_EOF:
        read_answer(probe, true);
        break;
    case STREAM_ERROR:
        fail_with(probe, what, stream_error(stream));
        break;
    case STREAM_CLOSED:
        fail_with(probe, what, "closed");
        break;
    default:
        break;
    }
}

/* --- attempts --------------------------------------------------------------------------------------------------- */

static void start_connection(struct probe *probe)
{
    struct stream_options options = { .connect_ms = probe->timeout_ms, .read_max = PROBE_ANSWER_MAX };
    probe->stream = stream_connect(probe->loop, probe->address, &options, on_stream, probe);
}

static void start_exec(struct probe *probe)
{
    probe->spec.run_exec(probe->spec.owner, probe);
}

static void start_nothing(struct probe *probe)
{
    finish(probe, true, "up");
}

static void (*const starters[HEALTH_KIND_MAX_])(struct probe *probe) = {
    [HEALTH_STAYS_UP] = start_nothing,
    [HEALTH_HTTP] = start_connection,
    [HEALTH_TCP] = start_connection,
    [HEALTH_EXEC] = start_exec,
    [HEALTH_NOTIFY] = start_nothing,
};

static void on_next(void *arg)
{
    struct probe *probe = arg;
    probe->running = true;
    timer_set(&probe->deadline, probe->timeout_ms);
    starters[probe->kind](probe);
}

static void on_deadline(void *arg)
{
    struct probe *probe = arg;
    char what[128], why[64];
    what_is_asked(probe, what, sizeof(what));
    snprintf(why, sizeof(why), "no answer within %lld ms", (long long)probe->timeout_ms);
    fail_with(probe, probe->kind == HEALTH_EXEC ? "the health command" : what, why);
}

void probe_exec_done(struct probe *probe, bool passed, const char *text)
{
    finish(probe, passed, text);
}

struct probe *probe_new(struct loop *loop, const struct probe_spec *spec)
{
    struct probe *probe = xcalloc(1, sizeof(*probe));
    const struct health_spec *health = spec->health;
    probe->loop = loop;
    probe->spec = *spec;
    probe->spec.health = NULL;
    probe->spec.address = NULL;
    probe->kind = health->kind;
    /* Nothing can be asked where nothing listens. */
    if (!spec->address && (probe->kind == HEALTH_HTTP || probe->kind == HEALTH_TCP))
        probe->kind = HEALTH_STAYS_UP;
    probe->path = xstrdup(health->path && health->path[0] ? health->path : "/");
    probe->address = xstrdup(spec->address);
    probe->interval_ms = health->interval_ms > 0 ? health->interval_ms : 1000;
    probe->timeout_ms = health->timeout_ms > 0 ? health->timeout_ms : 2000;
    probe->fast = spec->fast;
    probe->pause_ms = PROBE_FIRST_MS;
    probe->begun = loop_now(loop);
    timer_init(&probe->next, loop, on_next, probe);
    timer_init(&probe->deadline, loop, on_deadline, probe);
    timer_set(&probe->next, probe->kind == HEALTH_STAYS_UP ? probe->interval_ms : 0);
    return probe;
}

static void probe_destroy(void *p)
{
    free(p);
}

void probe_free(struct probe *probe)
{
    if (!probe)
        return;
    probe->running = false;
    timer_done(&probe->next);
    timer_done(&probe->deadline);
    stream_free(steal_ptr(probe->stream));
    for (int i = 0; i < probe->n_lines; i++)
        free(probe->lines[i].text);
    free(probe->path);
    free(probe->address);
    free(probe->last);
    loop_free_later(probe->loop, probe, probe_destroy);
}

void probe_set_slow(struct probe *probe)
{
    probe->fast = false;
}

int64_t probe_passes(const struct probe *probe)
{
    return probe->passes;
}

int64_t probe_failures(const struct probe *probe)
{
    return probe->failures;
}

const char *probe_last(const struct probe *probe)
{
    return probe->last ? probe->last : "not asked yet";
}

char **probe_transcript(const struct probe *probe)
{
    char **list = NULL;
    for (int i = 0; i < probe->n_lines; i++) {
        const struct transcript_line *line = &probe->lines[i];
        char times[32] = "";
        if (line->times > 1)
            snprintf(times, sizeof(times), " (×%lld)", (long long)line->times);
        strv_push_take(&list,
            xasprintf("%lld.%02llds  %s%s", (long long)(line->at_ms / 1000),
                (long long)(line->at_ms % 1000 / 10), line->text, times));
    }
    return list;
}

char *probe_label(const struct health_spec *health)
{
    switch (health->kind) {
    case HEALTH_HTTP:
        return xstrdup(health->path && health->path[0] ? health->path : "/");
    case HEALTH_EXEC:
        return xstrdup(health->command && health->command[0] ? health->command[0] : "command");
    case HEALTH_TCP:
        return xstrdup("tcp");
    case HEALTH_NOTIFY:
        return xstrdup("notify");
    default:
        return xstrdup("stays up");
    }
}
