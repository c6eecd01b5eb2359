/* SPDX-License-Identifier: MIT */
#include "routerd/rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/network.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "routerd/files.h"

#define RULES_ARENA 512

/* --- values and fields ----------------------------------------------------------------------------------- */

static struct rule_value build_value(struct arena *arena, const char *text)
{
    struct rule_value value = { NULL, 0 };
    enum table_value kind;
    const char *part, *at = text;
    size_t len;
    while (table_value_next(&at, &kind, &part, &len))
        value.n++;
    struct rule_part *parts = arena_alloc(arena, value.n, sizeof(*parts));
    value.parts = parts;
    at = text;
    for (uint32_t i = 0; table_value_next(&at, &kind, &part, &len); i++) {
        parts[i].kind = kind;
        if (kind == VALUE_TEXT) {
            parts[i].text = arena_strn(arena, part, len);
            parts[i].len = (uint32_t)len;
        }
    }
    return value;
}

static struct rule_field build_field(struct arena *arena, const char *name, const char *value, bool hides)
{
    struct rule_field f = { .name = arena_str(arena, name),
        .name_len = (uint16_t)strlen(name),
        .hides = hides,
        .writes = value != NULL };
    if (value)
        f.value = build_value(arena, value);
    return f;
}

/* `more`: one that comes of another key. */
static struct rule_fields build_fields(
    struct arena *arena, const struct table_field *from, size_t n, const struct rule_field *more)
{
    struct rule_field *rows = arena_alloc(arena, n + 1, sizeof(*rows));
    struct rule_fields ret = { rows, 0 };
    for (size_t i = 0; i < n; i++) {
        const char *name = from[i].set ? from[i].set : from[i].add ? from[i].add : from[i].remove;
        rows[ret.n++] = build_field(arena, name, from[i].value, !from[i].add);
    }
    if (more)
        rows[ret.n++] = *more;
    return ret;
}

static void build_answer(struct match_rules *rules, const struct table_route *route)
{
    struct arena *arena = &rules->arena;
    rules->answer = build_fields(arena, route->answer_headers, route->n_answer_headers, NULL);
    rules->answer_tls = rules->answer;
    if (route->hsts.max_age < 0)
        return;
    char text[80];
    snprintf(text, sizeof(text), "max-age=%" PRId64 "%s%s", route->hsts.max_age,
        route->hsts.include_subdomains ? "; includeSubDomains" : "", route->hsts.preload ? "; preload" : "");
    struct rule_field hsts = build_field(arena, "Strict-Transport-Security", text, true);
    rules->answer_tls = build_fields(arena, route->answer_headers, route->n_answer_headers, &hsts);
}

/* --- prefixes -------------------------------------------------------------------------------------------- */

static size_t prefix_length(const char *path)
{
    size_t len = path ? strlen(path) : 0;
    while (len > 0 && path[len - 1] == '/')
        len--;
    return len;
}

/* A service that is not told the prefix can't make addresses of its own. */
static void build_request(struct match_rules *rules, const struct table_route *route)
{
    struct arena *arena = &rules->arena;
    struct rule_field told;
    size_t len = prefix_length(route->path);
    bool rewrites = route->strip_prefix || route->rewrite_prefix;
    if (rewrites) {
        const char *to = route->rewrite_prefix;
        rules->strip_len = (uint32_t)len;
        rules->prefix = arena_strn(arena, to ? to : "", prefix_length(to));
    }
    if (route->strip_prefix) {
        _cleanup_(free_ptr) char *path = xstrndup(route->path, len);
        told = build_field(arena, "X-Forwarded-Prefix", path, true);
    }
    rules->request = build_fields(
        arena, route->request_headers, route->n_request_headers, route->strip_prefix ? &told : NULL);
}

/* --- who may do what ------------------------------------------------------------------------------------- */

static void build_methods(struct match_rules *rules, const struct table_route *route)
{
    static const char *const names[HTTP1_METHOD_MAX_] = { [HTTP1_METHOD_DELETE] = "DELETE",
        [HTTP1_METHOD_GET] = "GET",
        [HTTP1_METHOD_HEAD] = "HEAD",
        [HTTP1_METHOD_OPTIONS] = "OPTIONS",
        [HTTP1_METHOD_PATCH] = "PATCH",
        [HTTP1_METHOD_POST] = "POST",
        [HTTP1_METHOD_PUT] = "PUT" };
    const uint32_t get = 1U << HTTP1_METHOD_GET, head = 1U << HTTP1_METHOD_HEAD;
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    char *method;
    strv_for_each (method, route->methods) {
        for (int i = 0; i < HTTP1_METHOD_MAX_; i++) {
            if (names[i] && strcmp(names[i], method) == 0)
                rules->methods |= 1U << i;
        }
        strbuf_addf(&text, "%s%s", text.len > 0 ? ", " : "", method);
    }
    /* HEAD is a GET whose content stays here (9110 9.3.2). */
    if ((rules->methods & (get | head)) == get) {
        rules->methods |= head;
        strbuf_adds(&text, ", HEAD");
    }
    if (text.len > 0)
        rules->methods_text = arena_str(&rules->arena, strbuf_str(&text));
}

static void build_networks(struct match_rules *rules, const struct table_route *route)
{
    struct network *networks = arena_alloc(&rules->arena, strv_len(route->allow), sizeof(*networks));
    char *text;
    strv_for_each (text, route->allow)
        rules->n_networks += network_parse(text, &networks[rules->n_networks]);
    rules->networks = networks;
}

/* --- files ----------------------------------------------------------------------------------------------- */

/* Requests find nothing in a folder that is not there: that is said once, now. */
static int build_files(struct match_rules *rules, const struct table_route *route, struct error *err)
{
    struct stat st;
    rules->files = arena_str(&rules->arena, route->files);
    if (!route->files)
        return 0;
    if (stat(route->files, &st) < 0)
        return error_set_errno(err, -errno, "the folder %s can't be read", route->files);
    if (!S_ISDIR(st.st_mode))
        return error_set(err, -ENOTDIR, "%s is not a folder", route->files);
    if (access(route->files, X_OK) < 0)
        return error_set_errno(err, -errno, "the folder %s can't be read", route->files);
    return 0;
}

/* --- error pages ----------------------------------------------------------------------------------------- */

/* files_read() tells nobody why: of what is asked for by clients there is nothing to tell. */
static int refuse_page(const char *path, int result, struct error *err)
{
    struct stat st;
    if (result == -EFBIG)
        return error_set(err, result, "the error page %s is larger than %d kB", path, RULES_PAGE_MAX / 1024);
    if (stat(path, &st) < 0 || access(path, R_OK) < 0)
        return error_set_errno(err, -errno, "the error page %s can't be read", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, result, "the error page %s is %s", path,
            S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
    return error_set(err, result, "the error page %s can't be read: %s", path,
        strrchr(path, '/')[1] == '.' ? "its name begins with a dot"
                                     : "it is a link that leads out of its folder");
}

static int build_page(struct match_rules *rules, const char *pair, struct rule_page *page, struct error *err)
{
    const char *path = strchr(pair, '=') + 1;
    char *data = NULL;
    const char *slash = strrchr(path, '/');
    _cleanup_(free_ptr) char *folder = xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
    int r =
        files_read(folder, (struct http1_slice){ slash, strlen(slash) }, RULES_PAGE_MAX, &data, &page->len);
    if (r < 0)
        return refuse_page(path, r, err);
    page->status =
        pair[1] == 'x' ? pair[0] - '0' : (pair[0] - '0') * 100 + (pair[1] - '0') * 10 + pair[2] - '0';
    page->body = arena_strn(&rules->arena, data, page->len);
    page->type = files_type(path, strlen(path));
    free(data);
    return 0;
}

static int build_pages(struct match_rules *rules, const struct table_route *route, struct error *err)
{
    struct rule_page *pages = arena_alloc(&rules->arena, strv_len(route->error_pages), sizeof(*pages));
    char *pair;
    rules->pages = pages;
    strv_for_each (pair, route->error_pages) {
        int r = build_page(rules, pair, &pages[rules->n_pages], err);
        if (r < 0)
            return r;
        rules->n_pages++;
    }
    return 0;
}

/* --- the whole ------------------------------------------------------------------------------------------- */

int rules_build(const struct table_route *route, struct match_rules **ret, struct error *err)
{
    *ret = NULL;
    if (!table_route_has_rules(route))
        return 0;
    struct match_rules *rules = xcalloc(1, sizeof(*rules));
    arena_init(&rules->arena, RULES_ARENA);
    rules->refs = 1;
    rules->sum = route->sum;
    rules->body_max = route->body_size;
    rules->timeout_ms = route->timeout_ms;
    rules->https = route->https;
    if (route->redirect.to) {
        rules->redirect_status = (int)route->redirect.status;
        rules->redirect = build_value(&rules->arena, route->redirect.to);
    }
    build_request(rules, route);
    build_answer(rules, route);
    build_methods(rules, route);
    build_networks(rules, route);
    rules->answers = rules->https || rules->redirect_status || rules->methods_text || rules->n_networks > 0 ||
        route->files || !route->service;
    int r = build_files(rules, route, err);
    if (r == 0)
        r = build_pages(rules, route, err);
    if (r < 0) {
        rules_unref(rules);
        return r;
    }
    *ret = rules;
    return 0;
}

bool rules_are_current(const struct match_rules *rules, const struct table_sum *sum)
{
    return rules->n_pages == 0 && !table_sum_is_empty(sum) && table_sum_is_equal(&rules->sum, sum);
}

void rules_unref(const struct match_rules *rules)
{
    struct match_rules *own = (struct match_rules *)(uintptr_t)rules;
    if (!own || --own->refs > 0)
        return;
    arena_done(&own->arena);
    free(own);
}
