/* SPDX-License-Identifier: MIT */
#include "routerd/rules.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/network.h"
#include "routerd/client.h"
#include "routerd/files.h"
#include "routerd/headers.h"
#include "routerd/own_answer.h"
#include "routerd/trace.h"

/* --- targets and values ---------------------------------------------------------------------------------- */

/* An origin form again: it begins with "/", and what stood behind the prefix is not touched. */
void rules_add_target(struct http1_out *out, const struct match_rules *rules, struct http1_slice target)
{
    if (!rules->prefix || target.len < rules->strip_len || target.ptr[0] != '/') {
        http1_out_add(out, target.ptr, target.len);
        return;
    }
    struct http1_slice rest = { target.ptr + rules->strip_len, target.len - rules->strip_len };
    http1_out_str(out, rules->prefix);
    if (rules->prefix[0] == '\0' && (rest.len == 0 || rest.ptr[0] == '?'))
        http1_out_literal(out, "/");
    http1_out_add(out, rest.ptr, rest.len);
}

static struct http1_slice cut(struct http1_slice target, bool path)
{
    const char *mark = memchr(target.ptr, '?', target.len);
    size_t len = mark ? (size_t)(mark - target.ptr) : target.len;
    return path ? (struct http1_slice){ target.ptr, len }
                : (struct http1_slice){ target.ptr + len, target.len - len };
}

static void add_part(struct http1_out *out, const struct rule_part *part, const struct rules_values *v)
{
    struct http1_slice s;
    switch ((enum table_value)part->kind) {
    case VALUE_TEXT:
        http1_out_add(out, part->text, part->len);
        break;
    case VALUE_CLIENT:
        s = client_address(v->head, v->forward);
        http1_out_add(out, s.ptr, s.len);
        break;
    case VALUE_HOST:
        http1_out_add(out, v->head->host.ptr, v->head->host.len);
        break;
    case VALUE_PATH:
        rules_add_target(out, v->rules, cut(v->head->target, true));
        break;
    case VALUE_QUERY:
        s = cut(v->head->target, false);
        http1_out_add(out, s.ptr, s.len);
        break;
    case VALUE_REQUEST_ID:
        if (v->trace)
            http1_out_add(out, v->trace->request_id.ptr, v->trace->request_id.len);
        break;
    case VALUE_SCHEME:
        http1_out_str(out, v->tls ? "https" : "http");
        break;
    case VALUE_SERVICE:
        http1_out_str(out, v->service ? v->service : "");
        break;
    case VALUE_URI:
        rules_add_target(out, v->rules, v->head->target);
        break;
    case VALUE_VERSION:
        http1_out_str(out, v->version ? v->version : "");
        break;
    case VALUE_MAX_:
        break;
    }
}

void rules_add_value(struct http1_out *out, const struct rule_value *value, const struct rules_values *values)
{
    for (uint32_t i = 0; i < value->n; i++)
        add_part(out, &value->parts[i], values);
}

bool rules_hide(const struct rule_fields *fields, const struct http1_field *f)
{
    for (uint32_t i = 0; i < fields->n; i++) {
        const struct rule_field *row = &fields->rows[i];
        if (row->hides && row->name_len == f->name_len && http1_is_alike(row->name, f->name, f->name_len))
            return true;
    }
    return false;
}

void rules_hide_trailers(const struct rule_fields *fields, struct http1_head *trailers)
{
    unsigned n = 0;
    for (unsigned i = 0; i < trailers->n_fields; i++) {
        if (!rules_hide(fields, &trailers->fields[i]))
            trailers->fields[n++] = trailers->fields[i];
    }
    trailers->n_fields = n;
}

/* --- answers --------------------------------------------------------------------------------------------- */

bool rules_is_acme(const struct http1_head *head)
{
    size_t n = sizeof(RULES_ACME) - 1;
    if (head->path.len <= n || memcmp(head->path.ptr, RULES_ACME, n) != 0)
        return false;
    /* One token of base64url (RFC 8555 8.3), nothing that leads elsewhere. */
    for (; n < head->path.len; n++) {
        unsigned char c = (unsigned char)head->path.ptr[n];
        if (!isalnum(c) && c != '-' && c != '_')
            return false;
    }
    return true;
}

static bool answer(struct own_answer *ret, int status, const char *text)
{
    *ret = (struct own_answer){ .status = status, .text = text };
    return true;
}

static bool is_allowed(const struct rules_values *v)
{
    const struct match_rules *rules = v->rules;
    char client[HEADERS_ADDRESS_MAX] = "";
    if (rules->n_networks == 0)
        return true;
    struct http1_slice address = client_address(v->head, v->forward);
    if (address.len < sizeof(client))
        memcpy(client, address.ptr, address.len);
    for (uint32_t i = 0; i < rules->n_networks; i++) {
        if (network_contains_text(&rules->networks[i], client))
            return true;
    }
    return false;
}

/* Methods without a number of their own are looked up in the text. */
static bool takes_method(const struct match_rules *rules, const struct http1_head *head)
{
    struct http1_slice list = { rules->methods_text, rules->methods_text ? strlen(rules->methods_text) : 0 };
    struct http1_slice item;
    if (!rules->methods_text || rules->methods & 1U << head->method_id)
        return true;
    if (head->method_id != HTTP1_METHOD_OTHER)
        return false;
    while (http1_list_next(&list, &item)) {
        if (item.len == head->method.len && memcmp(item.ptr, head->method.ptr, item.len) == 0)
            return true;
    }
    return false;
}

#define LOCATION_MAX (HTTP1_TARGET_MAX + 2 * TABLE_VALUE_MAX)

static bool redirect(
    const struct rules_values *v, const struct rule_value *to, int status, struct own_answer *ret)
{
    struct http1_out out;
    bool names_host = false;
    for (uint32_t i = 0; i < to->n; i++)
        names_host |= to->parts[i].kind == VALUE_HOST;
    if ((names_host && v->head->host.len == 0) || v->head->target.ptr[0] != '/')
        return answer(ret, 400, "the request names no host or path to redirect");
    char *text = xmalloc(LOCATION_MAX);
    http1_out_init(&out, text, LOCATION_MAX);
    rules_add_value(&out, to, v);
    http1_out_add(&out, "", 1);
    if (out.full) {
        free(text);
        return answer(ret, 414, "the address to go to is too long");
    }
    *ret = (struct own_answer){
        .status = status, .text = http1_status_reason(status), .location = text, .memory = text
    };
    return true;
}

/* Only GET and HEAD may become each other on the way (9110 15.4.2). */
static bool redirect_to_https(const struct rules_values *v, struct own_answer *ret)
{
    static const struct rule_part parts[] = { { "https://", 8, VALUE_TEXT }, { NULL, 0, VALUE_HOST },
        { NULL, 0, VALUE_URI } };
    static const struct rule_value to = { parts, ARRAY_SIZE(parts) };
    static const struct match_rules as_it_is;
    struct rules_values plain = *v;
    enum http1_method method = v->head->method_id;
    plain.rules = &as_it_is;
    return redirect(&plain, &to, method == HTTP1_METHOD_GET || method == HTTP1_METHOD_HEAD ? 301 : 308, ret);
}

int rules_file(const char *folder, const struct match_rules *rules, const struct http1_head *head,
    struct own_answer *ret)
{
    char path[3 * FILES_PATH_MAX], name[FILES_PATH_MAX], *data;
    struct http1_out out;
    size_t name_len, len;
    http1_out_init(&out, path, sizeof(path));
    if (rules)
        rules_add_target(&out, rules, head->path);
    else
        http1_out_add(&out, head->path.ptr, head->path.len);
    if (out.full || !files_name((struct http1_slice){ path, out.len }, name, &name_len))
        return -ENOENT;
    int r = files_read(folder, (struct http1_slice){ name, name_len }, FILES_MAX, &data, &len);
    if (r < 0)
        return r;
    *ret = (struct own_answer){ .status = 200,
        .text = "",
        .body = data,
        .body_len = len,
        .content_type = files_type(name, name_len),
        .memory = data };
    return 0;
}

#define TEXT_OF_(number) #number
#define TEXT_OF(number)  TEXT_OF_(number)

static bool serve_file(const struct rules_values *v, struct own_answer *ret)
{
    enum http1_method method = v->head->method_id;
    if (method != HTTP1_METHOD_GET && method != HTTP1_METHOD_HEAD) {
        answer(ret, 405, "files are read with GET and HEAD");
        ret->allow = "GET, HEAD";
        return true;
    }
    int r = rules_file(v->rules->files, v->rules, v->head, ret);
    if (r < 0)
        answer(ret, 404, "there is no such file");
    if (r == -EFBIG)
        ret->reason = "the file is larger than " TEXT_OF(FILES_MAX_KB) " kB";
    return true;
}

bool rules_answer(const struct rules_values *v, struct own_answer *ret)
{
    const struct match_rules *rules = v->rules;
    if (!rules->answers)
        return false;
    if (rules->https && !v->tls && !rules_is_acme(v->head))
        return redirect_to_https(v, ret);
    if (!is_allowed(v))
        return answer(ret, 403, "this client may not ask for that here");
    if (!takes_method(rules, v->head)) {
        answer(ret, 405, "the method is not allowed here");
        ret->allow = rules->methods_text;
        return true;
    }
    if (rules->redirect_status)
        return redirect(v, &rules->redirect, rules->redirect_status, ret);
    return rules->files && serve_file(v, ret);
}

void rules_error_page(const struct match_rules *rules, struct own_answer *own)
{
    const struct rule_page *found = NULL;
    if (own->status < 400 || own->body)
        return;
    for (uint32_t i = 0; i < rules->n_pages; i++) {
        const struct rule_page *page = &rules->pages[i];
        if (page->status == own->status)
            found = page;
        else if (!found && page->status == own->status / 100)
            found = page;
    }
    if (!found)
        return;
    own->body = found->body;
    own->body_len = found->len;
    own->content_type = found->type;
}
