/* SPDX-License-Identifier: MIT */
#include "routerd/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/http1.h"
#include "common/list.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/wire.h"
#include "routerd/page.h"
#include "routerd/routerd.h"

#define LISTENERS_MAX  16
#define READS_PER_TURN 8

enum conn_state {
    STATUS_READING,
    STATUS_ANSWERING, /* pieces are made and written */
    STATUS_LINGERING, /* all is said */
    STATUS_CLOSED,
};

struct status_conn {
    struct status *status;
    struct list link;
    struct wire wire;
    struct timer deadline;
    struct task more; /* the next piece, when other things had their turn */
    enum conn_state state;
    struct strbuf in, out;
    struct page *page; /* NULL: all is in `out` */
    bool chunked;
};

struct status {
    struct routerd *routerd;
    struct wire_listener *listeners[LISTENERS_MAX];
    int n_listeners;
    struct list conns;
    int n_conns;
    struct http1_head head;
};

/* --- the end ------------------------------------------------------------------------------------------------ */

static void free_conn(void *p)
{
    free(p);
}

static void pause_listeners(struct status *s)
{
    for (int i = 0; i < s->n_listeners; i++)
        wire_listener_pause(s->listeners[i], s->n_conns >= STATUS_CONNS_MAX);
}

static void drop_page(struct status_conn *c)
{
    if (c->page)
        c->page->ops->free(c->page);
    c->page = NULL;
}

static void close_conn(struct status_conn *c)
{
    if (c->state == STATUS_CLOSED)
        return;
    c->state = STATUS_CLOSED;
    drop_page(c);
    timer_done(&c->deadline);
    task_done(&c->more);
    wire_close(&c->wire);
    strbuf_done(&c->in);
    strbuf_done(&c->out);
    list_remove(&c->link);
    c->status->n_conns--;
    pause_listeners(c->status);
    loop_free_later(c->status->routerd->loop, c, free_conn);
}

static void on_deadline(void *arg)
{
    close_conn(arg);
}

/* --- writing ------------------------------------------------------------------------------------------------- */

/* Our close must not overtake what the client has not read. */
static void linger(struct status_conn *c)
{
    c->state = STATUS_LINGERING;
    wire_shutdown_write(&c->wire);
    timer_set(&c->deadline, STATUS_LINGER_MS);
}

static void flush(struct status_conn *c)
{
    size_t done = 0;
    while (done < c->out.len) {
        ssize_t n = wire_write(&c->wire, c->out.data + done, c->out.len - done);
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            close_conn(c);
            return;
        }
        done += (size_t)n;
    }
    strbuf_consume(&c->out, done);
    if (done > 0)
        timer_set(&c->deadline, STATUS_WRITE_MS);
    if (c->out.len == 0 && !c->page)
        linger(c);
    else if (c->page && c->out.len < STATUS_OUT_HIGH)
        loop_soon(c->status->routerd->loop, &c->more);
}

static void add_piece(struct status_conn *c, const struct strbuf *piece)
{
    char head[HTTP1_CHUNK_HEAD_MAX];
    if (piece->len == 0)
        return;
    if (c->chunked)
        strbuf_add(&c->out, head, http1_chunk_head(head, piece->len));
    strbuf_add(&c->out, piece->data, piece->len);
    if (c->chunked)
        strbuf_adds(&c->out, "\r\n");
}

static void on_more(void *arg)
{
    struct status_conn *c = arg;
    _cleanup_(strbuf_done) struct strbuf piece = STRBUF_INIT;
    if (!c->page || c->state != STATUS_ANSWERING)
        return;
    bool more = c->page->ops->next(c->page, &piece);
    add_piece(c, &piece);
    if (!more) {
        drop_page(c);
        if (c->chunked)
            strbuf_adds(&c->out, HTTP1_LAST_CHUNK);
    }
    flush(c);
}

/* --- answers -------------------------------------------------------------------------------------------------- */

static void add_head(struct status_conn *c, int status, const char *type, const char *fields)
{
    strbuf_addf(&c->out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\n%s\r\n", status,
        http1_status_reason(status), type, fields);
}

static void answer_text(
    struct status_conn *c, int status, const char *fields, const char *text, bool only_head)
{
    _cleanup_(free_ptr) char *all = xasprintf("Content-Length: %zu\r\n%s", strlen(text), fields);
    c->state = STATUS_ANSWERING;
    add_head(c, status, "text/plain; charset=utf-8", all);
    if (!only_head)
        strbuf_adds(&c->out, text);
    timer_set(&c->deadline, STATUS_WRITE_MS);
    flush(c);
}

static void answer_page(
    struct status_conn *c, const char *type, struct page *page, const struct http1_head *head)
{
    c->state = STATUS_ANSWERING;
    c->chunked = head->minor == 1;
    c->page = page;
    add_head(c, 200, type, c->chunked ? "Transfer-Encoding: chunked\r\n" : "");
    if (head->method_id == HTTP1_METHOD_HEAD)
        drop_page(c);
    timer_set(&c->deadline, STATUS_WRITE_MS);
    flush(c);
}

static bool is_path(const struct http1_head *head, const char *path)
{
    return head->path.len == strlen(path) && memcmp(head->path.ptr, path, head->path.len) == 0;
}

static bool has_query(const struct http1_head *head, const char *query)
{
    size_t n = strlen(query);
    return head->target.len == head->path.len + 1 + n &&
        memcmp(head->target.ptr + head->target.len - n, query, n) == 0;
}

static void answer(struct status_conn *c, const struct http1_head *head)
{
    struct routerd *r = c->status->routerd;
    bool only_head = head->method_id == HTTP1_METHOD_HEAD;
    if (head->method_id != HTTP1_METHOD_GET && !only_head)
        answer_text(c, 405, "Allow: GET, HEAD\r\n", "only GET is understood here\n", false);
    else if (is_path(head, "/metrics"))
        answer_page(c, "text/plain; version=0.0.4; charset=utf-8",
            metrics_page_new(r, !has_query(head, "endpoints=no")), head);
    else if (is_path(head, "/status"))
        answer_page(c, "application/json", status_page_new(r), head);
    else if (is_path(head, "/healthz") && r->serving)
        answer_text(c, 200, "", "ok\n", only_head);
    else if (is_path(head, "/healthz"))
        answer_text(c, 503, "", "no table is served yet\n", only_head);
    else
        answer_text(c, 404, "", "there are /metrics, /status and /healthz\n", only_head);
}

/* --- reading -------------------------------------------------------------------------------------------------- */

static void parse(struct status_conn *c)
{
    struct http1_limits limits = { .head_max = STATUS_HEAD_MAX };
    struct http1_fault fault;
    struct http1_head *head = &c->status->head;
    switch (http1_request_parse(c->in.data, c->in.len, &limits, head, &fault)) {
    case HTTP1_MORE:
        return;
    case HTTP1_REFUSED:
        answer_text(c, fault.status, "", "this is not understood\n", false);
        return;
    case HTTP1_DONE:
        answer(c, head);
        return;
    }
}

static void on_readable(struct status_conn *c)
{
    char buf[STATUS_HEAD_MAX];
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t n = wire_read(&c->wire, buf, sizeof(buf));
        if (n == -EAGAIN)
            return;
        /* Whoever has asked may end his direction. */
        if (n < 0 || (n == 0 && c->state != STATUS_ANSWERING)) {
            close_conn(c);
            return;
        }
        if (n == 0)
            return;
        /* What comes behind the request is nobody's. */
        if (c->state != STATUS_READING)
            continue;
        strbuf_add(&c->in, buf, (size_t)n);
        parse(c);
        if (c->state == STATUS_CLOSED)
            return;
    }
    wire_again(&c->wire);
}

static void on_wire(struct wire *wire, unsigned events)
{
    struct status_conn *c = container_of(wire, struct status_conn, wire);
    if (c->state == STATUS_CLOSED)
        return;
    if (events & (WIRE_READABLE | WIRE_CLOSED))
        on_readable(c);
    if (c->state == STATUS_ANSWERING && (events & WIRE_WRITABLE) && c->out.len > 0)
        flush(c);
}

/* --- life ------------------------------------------------------------------------------------------------------ */

static void on_accept(void *arg, int fd, const struct wire_address *peer)
{
    struct status *s = arg;
    struct status_conn *c = xcalloc(1, sizeof(*c));
    (void)peer;
    c->status = s;
    timer_init(&c->deadline, s->routerd->loop, on_deadline, c);
    task_init(&c->more, on_more, c);
    wire_init(&c->wire, on_wire);
    list_append(&s->conns, &c->link);
    s->n_conns++;
    pause_listeners(s);
    timer_set(&c->deadline, STATUS_HEAD_MS);
    wire_adopt_accepted(&c->wire, s->routerd->loop, fd);
}

struct status *status_new(struct routerd *routerd)
{
    struct status *s = xcalloc(1, sizeof(*s));
    s->routerd = routerd;
    list_init(&s->conns);
    return s;
}

void status_listen(struct status *s, int fd)
{
    if (s->n_listeners == LISTENERS_MAX) {
        close(fd);
        return;
    }
    s->listeners[s->n_listeners++] = wire_listener_new(s->routerd->loop, fd, on_accept, s);
}

void status_close(struct status *s)
{
    for (int i = 0; i < s->n_listeners; i++)
        wire_listener_free(s->listeners[i]);
    s->n_listeners = 0;
}

bool status_reads_registry(const struct status *s)
{
    const struct status_conn *c;
    list_for_each (c, &s->conns, link) {
        if (c->page && c->page->reads_registry)
            return true;
    }
    return false;
}

void status_free(struct status *s)
{
    struct status_conn *c, *next;
    if (!s)
        return;
    status_close(s);
    list_for_each_safe (c, next, &s->conns, link)
        close_conn(c);
    free(s);
}
