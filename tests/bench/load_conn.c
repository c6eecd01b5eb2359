/* SPDX-License-Identifier: MIT */
#include "tests/bench/load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

static char read_buffer[READ_SIZE];

/* --- ends ------------------------------------------------------------------------------------------------ */

void conn_close(struct conn *c)
{
    conn_end_tls(c);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->state = CONN_IDLE;
    c->reused = c->websocket = false;
}

void conn_fail(struct conn *c, const char *reason)
{
    conn_close(c);
    load.in_flight--;
    count_failure(reason);
    if (!options.hold)
        conn_start(c);
}

static void conn_done(struct conn *c)
{
    int64_t us = now_us(CLOCK_MONOTONIC) - c->started_us;
    count_answer(us);
    load.in_flight--;
    load.by_status[c->status]++;
    if ((c->status < 200 || c->status > 299) && !c->websocket)
        count_failure(c->status >= 500 ? "status 5xx" : c->status >= 400 ? "status 4xx" : "status 3xx");
    if (c->version >= 0)
        count_version(c, load.start_wall_us + (c->started_us + us - load.start_us));
    if (c->last || !c->keep)
        conn_close(c);
    else
        c->reused = true;
    c->state = CONN_IDLE;
    if (!options.hold)
        conn_start(c);
}

/* --- answers --------------------------------------------------------------------------------------------- */

/* Bytes used; *ret_failed is set to the reason when the answer is not right. */
static size_t take_head(struct conn *c, const char *data, size_t len, const char **ret_failed)
{
    static struct http1_head head;
    struct http1_fault fault;
    enum http1_method method = options.post_bytes > 0           ? HTTP1_METHOD_POST
        : options.method && strcmp(options.method, "HEAD") == 0 ? HTTP1_METHOD_HEAD
                                                                : HTTP1_METHOD_GET;
    enum http1_result r = http1_response_parse(data, len, NULL, method, &head, &fault);
    if (r == HTTP1_REFUSED)
        *ret_failed = fault.reason;
    if (r != HTTP1_DONE)
        return 0;
    if (options.message_bytes > 0 && head.status == 101) {
        c->websocket = true;
        c->status = head.status;
        c->state = CONN_MESSAGE;
        c->sent = c->echoed = 0;
        return head.size;
    }
    if (head.status < 200)
        return head.size;
    c->status = head.status;
    c->last = !head.keep_alive;
    find_version(c, &head);
    http1_body_init(&c->body, head.body, head.content_length);
    c->state = CONN_BODY;
    return head.size;
}

static size_t take_body(struct conn *c, const char *data, size_t len, const char **ret_failed)
{
    size_t used = 0;
    static struct http1_head trailers;
    for (;;) {
        struct http1_slice content;
        struct http1_fault fault;
        switch (http1_body_next(&c->body, data, len, &used, &content, &fault)) {
        case HTTP1_BODY_REFUSED:
            *ret_failed = fault.reason;
            return used;
        case HTTP1_BODY_TRAILERS:
            switch (http1_trailers_parse(data + used, len - used, NULL, &trailers, &fault)) {
            case HTTP1_REFUSED:
                *ret_failed = fault.reason;
                return used;
            case HTTP1_MORE:
                return used;
            case HTTP1_DONE:
                used += trailers.size;
                http1_body_end(&c->body);
            }
            break;
        case HTTP1_BODY_DATA:
            load.bytes += (int64_t)content.len;
            break;
        default:
            return used;
        }
    }
}

static const char *take(struct conn *c, const char *data, size_t len)
{
    const char *failed = NULL;
    size_t used = 0;
    while (!failed && c->state != CONN_MESSAGE) {
        size_t n = c->state == CONN_HEAD ? take_head(c, data + used, len - used, &failed)
                                         : take_body(c, data + used, len - used, &failed);
        used += n;
        if (n == 0 || used == len)
            break;
    }
    if (failed)
        return failed;
    c->n_kept = len - used;
    if (c->state == CONN_BODY && http1_body_is_whole(&c->body))
        return c->n_kept > 0 ? "bytes behind the answer" : NULL;
    if (c->n_kept > HEAD_KEPT_MAX)
        return "head too large";
    memmove(c->kept, data + used, c->n_kept);
    return NULL;
}

static void conn_eof(struct conn *c)
{
    if (c->state == CONN_BODY && http1_body_eof(&c->body)) {
        c->last = true;
        conn_done(c);
    } else if (c->state == CONN_BODY) {
        conn_fail(c, "answer cut off");
    } else {
        conn_fail(c, c->reused ? "closed before an answer (reused connection)" : "closed before an answer");
    }
}

/* --- websockets: one message at a time, which comes back ------------------------------------------------- */

static void send_message(struct conn *c)
{
    while (c->sent < load.message_len) {
        ssize_t n = conn_send(c, load.post + c->sent, load.message_len - c->sent);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            conn_fail(c, "closed while sending a message");
            return;
        }
        c->sent += (size_t)n;
    }
}

static void read_message(struct conn *c)
{
    for (;;) {
        ssize_t n = conn_recv(c, read_buffer, sizeof(read_buffer));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            conn_fail(c, "closed inside a websocket");
            return;
        }
        c->echoed += (size_t)n;
        load.bytes += n;
        if (c->echoed > load.echo_len) {
            conn_fail(c, "more than was sent came back");
            return;
        }
        if (c->echoed == load.echo_len) {
            conn_done(c);
            return;
        }
    }
}

/* --- requests -------------------------------------------------------------------------------------------- */

static void conn_read(struct conn *c)
{
    while (c->state == CONN_HEAD || c->state == CONN_BODY) {
        memcpy(read_buffer, c->kept, c->n_kept);
        ssize_t n = conn_recv(c, read_buffer + c->n_kept, sizeof(read_buffer) - c->n_kept);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            conn_fail(c, "connection reset");
            return;
        }
        if (n == 0) {
            conn_eof(c);
            return;
        }
        const char *failed = take(c, read_buffer, c->n_kept + (size_t)n);
        if (failed) {
            conn_fail(c, failed);
            return;
        }
        if (c->state == CONN_MESSAGE) {
            send_message(c);
            return;
        }
        if (c->state == CONN_BODY && http1_body_is_whole(&c->body)) {
            conn_done(c);
            return;
        }
    }
}

static void conn_write(struct conn *c)
{
    const char *head = load.request[c->keep];
    size_t head_len = load.request_len[c->keep], total = head_len + options.post_bytes;
    while (c->sent < total) {
        bool in_head = c->sent < head_len;
        const char *p = in_head ? head + c->sent : load.post + (c->sent - head_len);
        ssize_t n = conn_send(c, p, (in_head ? head_len : total) - c->sent);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) {
            conn_fail(c, c->reused ? "closed while sending (reused connection)" : "closed while sending");
            return;
        }
        c->sent += (size_t)n;
    }
    c->state = CONN_HEAD;
    c->n_kept = 0;
    c->wall_us = load.start_wall_us + (now_us(CLOCK_MONOTONIC) - load.start_us);
}

static int conn_open(struct conn *c)
{
    c->fd = socket(options.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return -errno;
    int one = 1;
    if (options.address.ss_family != AF_UNIX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    load.connects++;
    c->state = CONN_SENDING;
    if (connect(c->fd, (struct sockaddr *)&options.address, options.address_len) < 0) {
        if (errno != EINPROGRESS)
            return -errno;
        c->state = CONN_CONNECTING;
    }
    if (options.tls != TLS_OFF)
        conn_start_tls(c);
    if (options.tls != TLS_OFF && c->state == CONN_SENDING)
        c->state = CONN_HANDSHAKE;
    struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, .data.ptr = c };
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, c->fd, &ev);
    return 0;
}

static void shake(struct conn *c)
{
    int r = conn_handshake(c);
    if (r < 0) {
        conn_fail(c, "handshake failed");
    } else if (r > 0) {
        c->state = CONN_SENDING;
        conn_write(c);
    }
}

/* Recursion ends: a connection that is done at once waits for its next event. */
void conn_start(struct conn *c)
{
    if (!may_start())
        return;
    load.started++;
    load.in_flight++;
    c->sent = 0;
    c->n_kept = 0;
    c->version = -1;
    c->started_us = now_us(CLOCK_MONOTONIC);
    c->wall_us = load.start_wall_us + (c->started_us - load.start_us);
    if (c->fd < 0) {
        int r = conn_open(c);
        if (r < 0) {
            conn_close(c);
            load.in_flight--;
            count_failure(r == -ECONNREFUSED ? "connection refused" : "can't connect");
            return;
        }
    } else {
        c->state = c->websocket ? CONN_MESSAGE : CONN_SENDING;
    }
    c->echoed = 0;
    if (c->state == CONN_HANDSHAKE)
        shake(c);
    else if (c->state == CONN_SENDING)
        conn_write(c);
    else if (c->state == CONN_MESSAGE)
        send_message(c);
}

/* What comes before the request is whole: an answer that does not wait for it, or the end. */
static void read_early(struct conn *c, unsigned events)
{
    char byte;
    if (events & EPOLLIN && recv(c->fd, &byte, 1, MSG_PEEK) > 0 && !c->tls) {
        c->state = CONN_HEAD;
        c->n_kept = 0;
        c->keep = false;
        return;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        conn_fail(c, "closed while sending");
}

static bool connect_failed(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        conn_fail(c, error == ECONNREFUSED ? "connection refused" : "can't connect");
    return error;
}

void conn_event(struct conn *c, unsigned events)
{
    if (c->state == CONN_CONNECTING) {
        if (connect_failed(c))
            return;
        c->state = c->tls ? CONN_HANDSHAKE : CONN_SENDING;
    }
    if (c->state == CONN_HANDSHAKE)
        shake(c);
    else if (c->state == CONN_SENDING)
        conn_write(c);
    if (c->state == CONN_SENDING)
        read_early(c, events);
    if (c->state == CONN_MESSAGE && c->sent < load.message_len)
        send_message(c);
    if (c->state == CONN_MESSAGE)
        read_message(c);
    else if (c->state == CONN_HEAD || c->state == CONN_BODY)
        conn_read(c);
    else if (c->state == CONN_IDLE && c->fd >= 0 && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        conn_close(c);
}
