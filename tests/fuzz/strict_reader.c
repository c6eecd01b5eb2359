/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/strict_reader.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static const char token_characters[] =
    "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

bool strict_same(struct strict_text a, struct strict_text b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

bool strict_is(struct strict_text a, const char *text)
{
    return a.len == strlen(text) && strncasecmp(a.ptr, text, a.len) == 0;
}

static bool is_token(struct strict_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        if (t.ptr[i] == '\0' || !strchr(token_characters, t.ptr[i]))
            return false;
    }
    return t.len > 0;
}

static bool is_value(struct strict_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        if (c != '\t' && (c < ' ' || c == 0x7f))
            return false;
    }
    return true;
}

static struct strict_text trim(struct strict_text t)
{
    while (t.len > 0 && (t.ptr[0] == ' ' || t.ptr[0] == '\t'))
        t = (struct strict_text){ t.ptr + 1, t.len - 1 };
    while (t.len > 0 && (t.ptr[t.len - 1] == ' ' || t.ptr[t.len - 1] == '\t'))
        t.len--;
    return t;
}

/* The text up to CR LF, which is taken too. */
static bool take_line(struct strict_text *rest, struct strict_text *ret)
{
    const char *end = rest->len > 0 ? memmem(rest->ptr, rest->len, "\r\n", 2) : NULL;
    if (!end)
        return false;
    *ret = (struct strict_text){ rest->ptr, (size_t)(end - rest->ptr) };
    *rest = (struct strict_text){ end + 2, rest->len - ret->len - 2 };
    return true;
}

/* The text up to `mark`, which is taken too; false if there is no mark. */
static bool take_until(struct strict_text *rest, char mark, struct strict_text *ret)
{
    const char *end = rest->len > 0 ? memchr(rest->ptr, mark, rest->len) : NULL;
    if (!end)
        return false;
    *ret = (struct strict_text){ rest->ptr, (size_t)(end - rest->ptr) };
    *rest = (struct strict_text){ end + 1, rest->len - ret->len - 1 };
    return true;
}

static bool take_version(struct strict_text t, int *ret_minor)
{
    if (t.len != 8 || memcmp(t.ptr, "HTTP/1.", 7) != 0 || (t.ptr[7] != '0' && t.ptr[7] != '1'))
        return false;
    *ret_minor = t.ptr[7] - '0';
    return true;
}

/* --- fields ---------------------------------------------------------------------------------------------- */

const struct strict_field *strict_find(const struct strict_head *head, const char *name, int *ret_n)
{
    const struct strict_field *found = NULL;
    int n = 0;
    for (int i = 0; i < head->n_fields; i++) {
        if (!strict_is(head->fields[i].name, name))
            continue;
        n++;
        if (!found)
            found = &head->fields[i];
    }
    if (ret_n)
        *ret_n = n;
    return found;
}

bool strict_lists(const struct strict_head *head, const char *list, struct strict_text name)
{
    for (int i = 0; i < head->n_fields; i++) {
        struct strict_text rest = head->fields[i].value, item;
        if (!strict_is(head->fields[i].name, list))
            continue;
        for (bool more = true; more;) {
            more = take_until(&rest, ',', &item);
            item = trim(more ? item : rest);
            if (item.len == name.len && strncasecmp(item.ptr, name.ptr, name.len) == 0)
                return true;
        }
    }
    return false;
}

static bool read_fields(struct strict_text *rest, struct strict_head *head)
{
    struct strict_text line;
    while (take_line(rest, &line)) {
        if (line.len == 0)
            return true;
        struct strict_field *f = &head->fields[head->n_fields];
        if (head->n_fields == STRICT_FIELDS_MAX || !take_until(&line, ':', &f->name))
            return false;
        f->value = trim(line);
        if (!is_token(f->name) || !is_value(f->value))
            return false;
        head->n_fields++;
    }
    return false;
}

static bool read_framing(struct strict_head *head)
{
    int n_lengths, n_codings;
    const struct strict_field *length = strict_find(head, "Content-Length", &n_lengths);
    const struct strict_field *coding = strict_find(head, "Transfer-Encoding", &n_codings);
    if (n_lengths > 1 || n_codings > 1 || (length && coding))
        return false;
    if (coding) {
        head->chunked = true;
        return head->minor == 1 && strict_is(coding->value, "chunked");
    }
    if (!length)
        return true;
    head->has_length = true;
    for (size_t i = 0; i < length->value.len; i++) {
        unsigned digit = (unsigned)(length->value.ptr[i] - '0');
        if (digit > 9 || head->length > (UINT64_MAX - digit) / 10)
            return false;
        head->length = head->length * 10 + digit;
    }
    return length->value.len > 0;
}

/* --- heads ----------------------------------------------------------------------------------------------- */

static bool is_target(struct strict_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char c = (unsigned char)t.ptr[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"#<>", c))
            return false;
    }
    return t.len > 0;
}

bool strict_request(const char *data, size_t len, struct strict_head *ret)
{
    struct strict_text rest = { data, len }, line;
    int n_hosts;
    memset(ret, 0, offsetof(struct strict_head, fields));
    ret->chunked = ret->has_length = false;
    ret->length = 0;
    if (!take_line(&rest, &line) || (line.len == 0 && !take_line(&rest, &line)))
        return false;
    if (!take_until(&line, ' ', &ret->method) || !take_until(&line, ' ', &ret->target) ||
        !take_version(line, &ret->minor))
        return false;
    if (!is_token(ret->method) || !is_target(ret->target) || !read_fields(&rest, ret) || !read_framing(ret))
        return false;
    ret->size = (size_t)(rest.ptr - data);
    (void)strict_find(ret, "Host", &n_hosts);
    return n_hosts == 1 || (n_hosts == 0 && ret->minor == 0);
}

bool strict_answer(const char *data, size_t len, struct strict_head *ret)
{
    struct strict_text rest = { data, len }, line, version;
    memset(ret, 0, offsetof(struct strict_head, fields));
    ret->chunked = ret->has_length = false;
    ret->length = 0;
    if (!take_line(&rest, &line) || !take_until(&line, ' ', &version) || !take_version(version, &ret->minor))
        return false;
    for (size_t i = 0; i < 3; i++) {
        if (i >= line.len || line.ptr[i] < '0' || line.ptr[i] > '9')
            return false;
        ret->status = ret->status * 10 + (line.ptr[i] - '0');
    }
    if (ret->status < 100 || ret->status > 599 || (line.len > 3 && line.ptr[3] != ' ') || !is_value(line))
        return false;
    if (!read_fields(&rest, ret) || !read_framing(ret))
        return false;
    ret->size = (size_t)(rest.ptr - data);
    return true;
}

/* --- comparing ------------------------------------------------------------------------------------------- */

static bool begins_with(struct strict_text name, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = i < name.len ? name.ptr[i] : '\0';
        if (tolower((unsigned char)(c == '_' ? '-' : c)) != tolower((unsigned char)text[i]))
            return false;
    }
    return true;
}

bool strict_is_one_of(struct strict_text name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(names[i]);
        if (names[i][len - 1] == '*' ? begins_with(name, names[i], len - 1) : strict_is(name, names[i]))
            return true;
    }
    return false;
}

bool strict_same_fields(
    const struct strict_head *came, const struct strict_head *went, const char *const *not_compared, size_t n)
{
    int k = 0;
    for (int i = 0; i < came->n_fields; i++) {
        const struct strict_field *f = &came->fields[i];
        if (strict_is_one_of(f->name, not_compared, n) || strict_lists(came, "Connection", f->name))
            continue;
        while (k < went->n_fields && strict_is_one_of(went->fields[k].name, not_compared, n))
            k++;
        if (k == went->n_fields || !strict_same(f->name, went->fields[k].name) ||
            !strict_same(f->value, went->fields[k].value))
            return false;
        k++;
    }
    for (; k < went->n_fields; k++) {
        if (!strict_is_one_of(went->fields[k].name, not_compared, n))
            return false;
    }
    return true;
}
