/* SPDX-License-Identifier: MIT */
#include "routerd/own_answer.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"

static void add(struct http1_head *head, const char *name, const char *value)
{
    struct http1_field *f = &head->fields[head->n_fields++];
    size_t len = strlen(name);
    *f = (struct http1_field){ .name = name,
        .name_len = (uint16_t)len,
        .value = value,
        .value_len = (uint32_t)strlen(value),
        .id = (uint8_t)http1_field_id(name, len) };
    head->seen |= UINT64_C(1) << f->id;
}

void own_answer_set_time(struct own_answer_store *store, int64_t unix_s)
{
    if (unix_s == store->date_s)
        return;
    store->date_s = unix_s;
    wall_format_http((wall_t){ unix_s * CLOCK_US_PER_S }, store->date);
}

/* Returns its length, cut off where `max` is too short. */
static size_t print_text(const struct own_answer *own, char *ret, size_t max)
{
    int n = snprintf(ret, max, "%d %s\n", own->status, own->text ? own->text : "");
    return n < (int)max ? (size_t)n : max - 1;
}

size_t own_answer_bytes(const struct own_answer *own, enum http1_method method)
{
    char text[OWN_ANSWER_TEXT_MAX];
    if (method == HTTP1_METHOD_HEAD)
        return 0;
    return own->body ? own->body_len : print_text(own, text, sizeof(text));
}

int own_answer_make(const struct own_answer *own, enum http1_method method, struct own_answer_store *store,
    struct http1_head *head, struct iovec *content)
{
    const char *body = own->body;
    size_t len = own->body_len;
    if (!body) {
        len = print_text(own, store->text, sizeof(store->text));
        body = store->text;
    }
    head->status = own->status;
    head->reason = (struct http1_slice){ "", 0 };
    head->minor = 1;
    head->n_fields = 0;
    head->seen = 0;
    head->body = method == HTTP1_METHOD_HEAD || len == 0 ? HTTP1_BODY_NONE : HTTP1_BODY_LENGTH;
    head->content_length = len;
    head->has_content_length = true;
    add(head, "Content-Type", own->content_type ? own->content_type : "text/plain; charset=utf-8");
    add(head, "Cache-Control", "no-store");
    if (store->date_s != 0)
        add(head, "Date", store->date);
    if (own->location)
        add(head, "Location", own->location);
    if (own->allow)
        add(head, "Allow", own->allow);
    if (own->retry_after_s > 0) {
        snprintf(store->retry_after, sizeof(store->retry_after), "%d", own->retry_after_s);
        add(head, "Retry-After", store->retry_after);
    }
    *content = (struct iovec){ (void *)body, len };
    return head->body == HTTP1_BODY_NONE ? 0 : 1;
}
