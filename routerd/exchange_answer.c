/* SPDX-License-Identifier: MIT */
#include "routerd/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/mem.h"
#include "routerd/assign.h"
#include "routerd/endpoint.h"
#include "routerd/queue.h"
#include "routerd/routerd.h"
#include "routerd/rules.h"
#include "routerd/settings.h"
#include "routerd/splice.h"
#include "routerd/upconn.h"
#include "routerd/worker.h"

/* The answer's side of an exchange: read, judge, hand to the client. */

/* What one read brought, and how far it is used. */
struct input {
    char *data;
    size_t len, used;
    bool eof;
};

static bool is_over(const struct exchange *ex)
{
    return ex->state == EXCHANGE_OVER || !ex->up;
}

static void refuse(struct exchange *ex, const char *reason)
{
    exchange_judge_failure(ex, ENDPOINT_BROKE, reason);
    exchange_fail(ex, 502, "the service answered with something that is not HTTP", 0, reason);
}

/* Keeps what is not used yet for the next read. */
static void keep_rest(struct exchange *ex, const struct input *in)
{
    struct worker *worker = ex->worker;
    size_t n = in->len - in->used;
    block_free(&worker->blocks, ex->up->in);
    ex->up->in = NULL;
    if (n == 0)
        return;
    ex->up->in = block_new(&worker->blocks, n);
    memcpy(ex->up->in->data, in->data + in->used, n);
    ex->up->in->end = (uint32_t)n;
}

/* --- content --------------------------------------------------------------------------------------------- */

/* Takes content from the input into at most EXCHANGE_CONTENT_IOV parts; further ones are moved up behind the last,
 * so that one read is one write. Positive: the body is whole. Negative: refused (*reason), or 0. */
static int take_content(struct exchange *ex, struct input *in, struct iovec *parts, int *n, bool *at_trailers,
    const char **reason)
{
    struct http1_slice slice;
    struct http1_fault fault;
    *n = 0;
    *at_trailers = false;
    for (;;) {
        switch (http1_body_next(&ex->body, in->data, in->len, &in->used, &slice, &fault)) {
        case HTTP1_BODY_DATA:
            if (*n < EXCHANGE_CONTENT_IOV) {
                parts[(*n)++] = (struct iovec){ (void *)slice.ptr, slice.len };
            } else {
                struct iovec *last = &parts[*n - 1];
                memmove((char *)last->iov_base + last->iov_len, slice.ptr, slice.len);
                last->iov_len += slice.len;
            }
            break;
        case HTTP1_BODY_REFUSED:
            *reason = fault.reason;
            return -1;
        case HTTP1_BODY_TRAILERS:
            *at_trailers = true;
            return 0;
        case HTTP1_BODY_END:
            return 1;
        default:
            return 0;
        }
    }
}

/* The trailer section is whole: the client gets it, and the exchange ends. True while bytes are missing. */
static bool take_trailers(struct exchange *ex, struct input *in)
{
    struct worker *worker = ex->worker;
    struct http1_fault fault;
    switch (http1_trailers_parse(
        in->data + in->used, in->len - in->used, &worker->limits, &worker->answer, &fault)) {
    case HTTP1_MORE:
        return true;
    case HTTP1_REFUSED:
        refuse(ex, fault.reason);
        return false;
    case HTTP1_DONE:
        break;
    }
    in->used += worker->answer.size;
    http1_body_end(&ex->body);
    if (in->used < in->len)
        ex->answer_keeps = false;
    if (ex->rules)
        rules_hide_trailers(ex->client_tls ? &ex->rules->answer_tls : &ex->rules->answer, &worker->answer);
    ex->ops->content(ex->client, NULL, 0, true, worker->answer.n_fields > 0 ? &worker->answer : NULL);
    if (!is_over(ex))
        exchange_finish(ex);
    return false;
}

/* Where the body stands after its content was handed on. */
static void after_content(struct exchange *ex, struct input *in, int whole, bool at_trailers)
{
    if (is_over(ex))
        return;
    if (whole > 0) {
        /* Bytes behind an answer belong to nobody. */
        if (in->used < in->len)
            ex->answer_keeps = false;
        exchange_finish(ex);
    } else if (at_trailers) {
        if (take_trailers(ex, in))
            keep_rest(ex, in);
    }
}

static int64_t parts_bytes(const struct iovec *parts, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += (int64_t)parts[i].iov_len;
    return sum;
}

static void relay_content(struct exchange *ex, struct input *in)
{
    struct iovec parts[EXCHANGE_CONTENT_IOV];
    int n;
    bool at_trailers;
    const char *reason = NULL;
    int whole = take_content(ex, in, parts, &n, &at_trailers, &reason);
    if (whole < 0) {
        refuse(ex, reason);
        return;
    }
    int64_t bytes = parts_bytes(parts, n);
    ex->moved_bytes += bytes;
    ex->down_bytes += bytes;
    if (n > 0 || whole > 0)
        ex->ops->content(ex->client, parts, n, whole > 0, NULL);
    after_content(ex, in, whole, at_trailers);
}

/* --- heads ----------------------------------------------------------------------------------------------- */

/* 100, 102, 103: passed to whom can understand them. */
static bool informational(struct exchange *ex, const struct http1_head *head)
{
    if (++ex->n_informational > EXCHANGE_INFORMATIONAL_MAX) {
        refuse(ex, "too many 1xx answers");
        return false;
    }
    if (head->status == 101) {
        refuse(ex, "101 that nobody asked for");
        return false;
    }
    ex->continued |= head->status == 100;
    if (head->status != 100 || ex->continue_asked)
        ex->ops->informational(ex->client, head);
    return !is_over(ex);
}

static void become_tunnel(struct exchange *ex)
{
    ex->state = EXCHANGE_TUNNEL;
    ex->request_whole = false;
    http1_body_init(&ex->body, HTTP1_BODY_CLOSE, 0);
}

/* A tunnel may last for days; it holds on to no table. */
static void forget_table(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    worker_table_release(worker, ex->table);
    if (ex->rules_table)
        worker_table_release(worker, ex->rules_table);
    ex->table = ex->rules_table = NULL;
    ex->rules = NULL;
}

/* One protocol, of those that were asked for (RFC 9110 7.8): as they stand in the head that was sent. */
static bool upgrade_was_asked(const struct exchange *ex, const struct http1_head *answer)
{
    static const char name[] = "\r\nUpgrade: ";
    const struct http1_field *f = http1_find(answer, HTTP1_FIELD_UPGRADE);
    const char *asked = memmem(ex->head, ex->head_len, name, sizeof(name) - 1);
    if (!ex->upgrade_asked || !f || !asked)
        return false;
    asked += sizeof(name) - 1;
    const char *end = memchr(asked, '\r', ex->head_len - (size_t)(asked - ex->head));
    struct http1_slice list = { asked, (size_t)(end - asked) }, item;
    while (http1_list_next(&list, &item)) {
        if (item.len == f->value_len && strncasecmp(item.ptr, f->value, item.len) == 0)
            return true;
    }
    return false;
}

static void final_head(struct exchange *ex, struct input *in)
{
    struct worker *worker = ex->worker;
    struct http1_head *head = &worker->answer;
    struct iovec parts[EXCHANGE_CONTENT_IOV];
    char cookie[128], value[ASSIGN_VALUE_LEN + 1];
    bool upgrade = head->status == 101, at_trailers;
    const char *reason = NULL;
    int n;

    ex->status = head->status;
    /* A service that sends content that HEAD or 304 must not have sends it later, too: it would answer the next request. */
    bool tempting = head->body == HTTP1_BODY_NONE &&
        (head->content_length > 0 || http1_has(head, HTTP1_FIELD_TRANSFER_ENCODING));
    ex->answer_keeps = head->keep_alive && !tempting;
    exchange_judge_answer(ex);
    http1_body_init(&ex->body, head->body, head->content_length);
    ex->up->answers_large = http1_body_left(&ex->body) >= SPLICE_MIN;
    ex->state = EXCHANGE_ANSWERING;
    if (upgrade)
        become_tunnel(ex);
    if (ex->assigned) {
        assign_print(&worker->routerd->cookie_key, ex->assignment, value);
        snprintf(cookie, sizeof(cookie), ASSIGN_COOKIE "=%s; Path=/; Max-Age=%d; HttpOnly; SameSite=Lax%s",
            value, ASSIGN_MAX_AGE_S, ex->client_tls ? "; Secure" : "");
    }
    if (ex->head != ex->head_block && ex->head_sent == ex->head_len) {
        free(ex->head);
        ex->head = ex->head_block;
    }
    int whole = take_content(ex, in, parts, &n, &at_trailers, &reason);
    if (whole < 0) {
        refuse(ex, reason);
        return;
    }
    exchange_arm(ex);
    ex->head_answered = true;
    ex->first_byte_us = worker_now_us(worker);
    ex->down_bytes = parts_bytes(parts, n);
    struct answer_extra extra = { .rules = ex->rules,
        .service = ex->service,
        .release = ex->release,
        .scratch = worker->rule_values,
        .cookie = ex->assigned ? cookie : NULL,
        .date = worker_date(worker),
        .upgrade = upgrade,
        .tls = ex->client_tls };
    ex->ops->answer(ex->client, head, &extra, parts, n, whole > 0);
    if (upgrade && ex->state == EXCHANGE_TUNNEL)
        forget_table(ex);
    after_content(ex, in, whole, at_trailers);
}

/* Heads from the input until a final one, or until bytes are missing. */
static void take_heads(struct exchange *ex, struct input *in)
{
    struct worker *worker = ex->worker;
    while (ex->state == EXCHANGE_ASKING && in->used < in->len) {
        struct http1_fault fault;
        enum http1_result r = http1_response_parse(
            in->data + in->used, in->len - in->used, &worker->limits, ex->method_id, &worker->answer, &fault);
        if (r == HTTP1_REFUSED) {
            refuse(ex, fault.reason);
            return;
        }
        if (r == HTTP1_MORE) {
            keep_rest(ex, in);
            return;
        }
        in->used += worker->answer.size;
        if (worker->answer.status >= 200 ||
            (worker->answer.status == 101 && upgrade_was_asked(ex, &worker->answer))) {
            final_head(ex, in);
            return;
        }
        if (!informational(ex, &worker->answer))
            return;
    }
}

/* --- reading --------------------------------------------------------------------------------------------- */

/* The endpoint closed. Only an answer that lasts until then is whole. */
static void on_eof(struct exchange *ex)
{
    if (ex->state == EXCHANGE_ASKING) {
        exchange_broken(
            ex, false, ex->up->in ? "closed inside the head of its answer" : "closed without an answer");
        return;
    }
    ex->answer_keeps = false;
    if (!http1_body_eof(&ex->body)) {
        exchange_fail(ex, 502, "", 0, "closed inside its answer");
        return;
    }
    ex->ops->content(ex->client, NULL, 0, true, NULL);
    if (!is_over(ex))
        exchange_finish(ex);
}

static void take(struct exchange *ex, struct input *in)
{
    if (ex->state == EXCHANGE_ASKING)
        take_heads(ex, in);
    else if (http1_body_is_at_trailers(&ex->body))
        after_content(ex, in, 0, true);
    else
        relay_content(ex, in);
}

/* One read: what was kept from before in front of it. False: nothing to read now. */
static bool read_once(struct exchange *ex)
{
    struct worker *worker = ex->worker;
    struct upconn *up = ex->up;
    struct input in = { .data = worker->buffer };
    size_t max = ex->client_slow ? WORKER_SLOW_READ
        : up->answers_large && ex->state == EXCHANGE_ASKING && ex->ops->direct && !ex->client_tls
        ? SPLICE_HEAD_READ
        : WORKER_BUFFER;
    if (up->in) {
        in.len = up->in->end - up->in->start;
        memcpy(in.data, up->in->data + up->in->start, in.len);
        if (max < in.len + WORKER_SLOW_READ)
            max = in.len + WORKER_SLOW_READ < WORKER_BUFFER ? in.len + WORKER_SLOW_READ : WORKER_BUFFER;
    }
    ssize_t n = wire_read(&up->wire, in.data + in.len, max - in.len);
    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        if (n < 0 && ex->state != EXCHANGE_ASKING) {
            exchange_fail(ex, 502, "", 0, "connection lost inside its answer");
            return false;
        }
        on_eof(ex);
        return false;
    }
    in.len += (size_t)n;
    /* A head is parsed again only when a line end has come. */
    if (up->in && ex->state == EXCHANGE_ASKING && in.len < worker->limits.head_max &&
        !memchr(in.data + in.len - n, '\n', (size_t)n)) {
        keep_rest(ex, &in);
        return true;
    }
    block_free(&worker->blocks, up->in);
    up->in = NULL;
    take(ex, &in);
    return true;
}

void exchange_read_answer(struct exchange *ex)
{
    for (int i = 0; i < EXCHANGE_READS_MAX; i++) {
        if (is_over(ex) || ex->state == EXCHANGE_PICKING || ex->state == EXCHANGE_CONNECTING ||
            !ex->up->wire.readable || ex->ops->is_congested(ex->client))
            return;
        if (exchange_may_splice(ex) ? !exchange_splice_answer(ex) : !read_once(ex))
            return;
    }
    if (!is_over(ex) && ex->up->wire.readable)
        wire_again(&ex->up->wire);
}

void exchange_resume(struct exchange *ex)
{
    if (!is_over(ex) && ex->up)
        exchange_read_answer(ex);
}
