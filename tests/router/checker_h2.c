/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <nghttp2/nghttp2.h>

#include "common/mem.h"
#include "tests/router/checker.h"

#define AT_ONCE    CHECKER_AT_ONCE
#define WINDOW     (1 << 20)
#define TIMEOUT_MS 30000
#define ROUNDS_MAX 20 /* connections for one round: each may refuse what it did not begin */

enum fate { FATE_OPEN, FATE_RIGHT, FATE_WRONG, FATE_AGAIN };

struct stream {
    struct request q;
    bool post;
    int32_t id; /* -1: not sent */
    enum fate fate;
    int status;
    char version[64];
    char *body;
    size_t len, sent;
    char why[160];
};

struct h2 {
    nghttp2_session *session;
    const uint8_t *out; /* of the session: not sent yet */
    size_t n_out;
    struct stream streams[AT_ONCE];
};

static struct stream *find(struct client *c, int32_t id)
{
    for (int i = 0; i < AT_ONCE; i++) {
        if (c->h2->streams[i].id == id)
            return &c->h2->streams[i];
    }
    return NULL;
}

/* --- what comes ---------------------------------------------------------------------------------------------- */

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
    size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    struct stream *s = find(arg, frame->hd.stream_id);
    if (!s)
        return 0;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0)
        s->status = (int)strtol((const char *)value, NULL, 10);
    if (name_len == 9 && memcmp(name, "x-version", 9) == 0)
        snprintf(s->version, sizeof(s->version), "%.*s", (int)value_len, (const char *)value);
    return 0;
}

static int on_data(
    nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg)
{
    struct stream *s = find(arg, id);
    if (s && s->len + len <= PATTERN_SIZE_MAX + 256) {
        memcpy(s->body + s->len, data, len);
        s->len += len;
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct stream *s = find(arg, id);
    if (!s)
        return 0;
    if (code == NGHTTP2_REFUSED_STREAM) {
        s->fate = FATE_AGAIN; /* said not to have been begun */
        return 0;
    }
    const char *why =
        code == NGHTTP2_NO_ERROR ? checker_judge(&s->q, s->status, s->version, s->body, s->len) : NULL;
    if (code != NGHTTP2_NO_ERROR)
        snprintf(s->why, sizeof(s->why), "the stream was reset: %s", nghttp2_http2_strerror(code));
    else if (why)
        snprintf(s->why, sizeof(s->why), "%s", why);
    s->fate = s->why[0] ? FATE_WRONG : FATE_RIGHT;
    return 0;
}

/* --- what goes ------------------------------------------------------------------------------------------------ */

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max, uint32_t *flags,
    nghttp2_data_source *source, void *arg)
{
    struct stream *s = source->ptr;
    size_t n = s->q.size - s->sent < max ? s->q.size - s->sent : max;
    for (size_t i = 0; i < n; i++)
        buf[i] = (uint8_t)pattern_at(s->q.id, s->sent + i);
    s->sent += n;
    if (s->sent == s->q.size)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
        0 };
}

static void submit(struct client *c, struct stream *s)
{
    char path[64], length[32];
    snprintf(path, sizeof(path), "/%zu/%llu", s->q.size, (unsigned long long)s->q.id);
    snprintf(length, sizeof(length), "%zu", s->q.size);
    nghttp2_nv fields[] = { field(":method", s->post ? "POST" : "GET"), field(":scheme", "http"),
        field(":authority", "check.example"), field(":path", path), field("content-length", length) };
    nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_body };
    s->len = s->sent = 0;
    s->status = 0;
    s->version[0] = s->why[0] = '\0';
    s->fate = FATE_OPEN;
    s->id =
        nghttp2_submit_request(c->h2->session, NULL, fields, s->post ? 5 : 4, s->post ? &body : NULL, NULL);
    if (s->id < 0)
        s->fate = FATE_AGAIN;
}

/* What the socket takes; a client that only wrote while the other side only writes would wait for ever. */
static bool flush(struct client *c, bool *full)
{
    struct h2 *h = c->h2;
    *full = false;
    for (;;) {
        if (h->n_out == 0) {
            ssize_t n = nghttp2_session_mem_send(h->session, &h->out);
            if (n <= 0)
                return n == 0;
            h->n_out = (size_t)n;
        }
        ssize_t sent = send(c->fd, h->out, h->n_out, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return *full = errno == EAGAIN;
        h->out += sent;
        h->n_out -= (size_t)sent;
    }
}

/* NULL: there is something to read, or room to write. */
static const char *wait_for(struct client *c, bool full)
{
    struct pollfd p = { c->fd, (short)(POLLIN | (full ? POLLOUT : 0)), 0 };
    return poll(&p, 1, TIMEOUT_MS) > 0 ? NULL : "no answer in time";
}

static void hang_up(struct client *c)
{
    nghttp2_session_del(c->h2->session);
    c->h2->session = NULL;
    c->h2->n_out = 0;
    checker_hang_up(c);
}

static bool connect_anew(struct client *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry window = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW };
    hang_up(c);
    if (!checker_dial(c))
        return false;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&c->h2->session, callbacks, c);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(c->h2->session, NGHTTP2_FLAG_NONE, &window, 1);
    nghttp2_session_set_local_window_size(c->h2->session, NGHTTP2_FLAG_NONE, 0, 8 * WINDOW);
    return true;
}

static int count(struct client *c, enum fate fate)
{
    int n = 0;
    for (int i = 0; i < AT_ONCE; i++)
        n += c->h2->streams[i].fate == fate;
    return n;
}

/* NULL: every stream has its fate. */
static const char *exchange(struct client *c)
{
    char buf[64 * 1024];
    bool full;
    while (count(c, FATE_OPEN) > 0) {
        const char *why = flush(c, &full) ? wait_for(c, full) : "the connection broke";
        if (why)
            return why;
        ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            continue;
        if (n <= 0)
            return n == 0 ? "the connection ended" : strerror(errno);
        if (nghttp2_session_mem_recv(c->h2->session, (uint8_t *)buf, (size_t)n) < 0)
            return "wrong: frames that are none";
    }
    return flush(c, &full) ? NULL : "the connection broke";
}

/* A connection that ended says nothing of streams that it had been told not to be begun; all others are lost. */
static void settle(struct client *c, const char *why)
{
    for (int i = 0; i < AT_ONCE; i++) {
        struct stream *s = &c->h2->streams[i];
        if (s->fate == FATE_OPEN && why) {
            snprintf(s->why, sizeof(s->why), "%s", why);
            s->fate = FATE_WRONG;
        }
    }
}

void checker_h2_go(struct client *c)
{
    if (!c->h2)
        c->h2 = xcalloc(1, sizeof(*c->h2));
    for (int i = 0; i < AT_ONCE; i++) {
        struct stream *s = &c->h2->streams[i];
        if (!s->body)
            s->body = xmalloc(PATTERN_SIZE_MAX + 256);
        s->q = checker_make(c);
        s->post = checker_noise(c) % 5 == 0;
        s->fate = FATE_AGAIN;
        s->id = -1;
    }
    for (int round = 0; round < ROUNDS_MAX && count(c, FATE_AGAIN) > 0; round++) {
        if (!c->h2->session || round > 0 || !nghttp2_session_check_request_allowed(c->h2->session)) {
            if (!connect_anew(c)) {
                settle(c, "no connection");
                break;
            }
        }
        for (int i = 0; i < AT_ONCE; i++) {
            if (c->h2->streams[i].fate == FATE_AGAIN)
                submit(c, &c->h2->streams[i]);
        }
        const char *why = exchange(c);
        settle(c, why);
        if (why)
            hang_up(c);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        struct stream *s = &c->h2->streams[i];
        if (s->fate == FATE_RIGHT)
            checker_count(c, s->status);
        else
            checker_fail(
                c, &s->q, s->post, s->status == 200, s->fate == FATE_AGAIN ? "refused for ever" : s->why);
    }
    if (c->fd < 0)
        hang_up(c);
}

void checker_h2_end(struct client *c)
{
    if (!c->h2)
        return;
    hang_up(c);
    for (int i = 0; i < AT_ONCE; i++)
        free(c->h2->streams[i].body);
    free(c->h2);
    c->h2 = NULL;
}
