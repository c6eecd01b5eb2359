/* SPDX-License-Identifier: MIT */
#include "routerd/client.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* "10.0.0.5", "10.0.0.5:4711", "[2001:db8::1]:4711", "2001:db8::1": the address alone. */
static struct http1_slice without_port(struct http1_slice item)
{
    const char *colon = memchr(item.ptr, ':', item.len), *end = item.ptr + item.len;
    if (item.len > 0 && item.ptr[0] == '[') {
        const char *bracket = memchr(item.ptr, ']', item.len);
        return (struct http1_slice){ item.ptr + 1, bracket ? (size_t)(bracket - item.ptr) - 1 : 0 };
    }
    if (colon && !memchr(colon + 1, ':', (size_t)(end - colon) - 1))
        return (struct http1_slice){ item.ptr, (size_t)(colon - item.ptr) };
    return item;
}

enum belief { NO_ADDRESS, STRANGER, TRUSTED };

static enum belief judge(struct http1_slice address, const struct forward *forward)
{
    char text[HEADERS_ADDRESS_MAX];
    struct network network;
    if (address.len == 0 || address.len >= sizeof(text) || memchr(address.ptr, '/', address.len))
        return NO_ADDRESS;
    memcpy(text, address.ptr, address.len);
    text[address.len] = '\0';
    if (!network_parse(text, &network) || network.len == 0)
        return NO_ADDRESS;
    for (uint32_t i = 0; i < forward->n_proxies; i++) {
        if (network_contains_text(&forward->proxies[i], text))
            return TRUSTED;
    }
    return STRANGER;
}

/* The last item of the list, which is taken off. */
static struct http1_slice take_last(struct http1_slice *list)
{
    const char *end = list->ptr + list->len, *start = end;
    while (start > list->ptr && start[-1] != ',')
        start--;
    list->len = start > list->ptr ? (size_t)(start - list->ptr) - 1 : 0;
    while (start < end && is_blank(*start))
        start++;
    while (end > start && is_blank(end[-1]))
        end--;
    return (struct http1_slice){ start, (size_t)(end - start) };
}

struct http1_slice client_address(const struct http1_head *head, const struct forward *forward)
{
    struct http1_slice ret = { forward->peer, strlen(forward->peer) };
    if (!forward->trusted || !http1_has(head, HTTP1_FIELD_X_FORWARDED_FOR))
        return ret;
    for (unsigned i = head->n_fields; i-- > 0;) {
        const struct http1_field *f = &head->fields[i];
        struct http1_slice list = http1_value(f);
        while (f->id == HTTP1_FIELD_X_FORWARDED_FOR && !f->listed && list.len > 0) {
            struct http1_slice item = take_last(&list), address = without_port(item);
            if (item.len == 0)
                continue;
            enum belief belief = judge(address, forward);
            if (belief != NO_ADDRESS)
                ret = address;
            if (belief != TRUSTED)
                return ret;
        }
    }
    return ret;
}

bool client_is_tls(const struct http1_head *head, const struct forward *forward)
{
    const struct http1_field *f = forward->trusted ? http1_find(head, HTTP1_FIELD_X_FORWARDED_PROTO) : NULL;
    return f && !f->listed ? http1_slice_is(http1_value(f), "https") : forward->tls;
}
