/* SPDX-License-Identifier: MIT */
#include "hubd/http_routes.h"

#include <errno.h>
#include <string.h>

#include "common/http1.h"
#include "common/link.h"
#include "common/mem.h"
#include "common/metrics.h"
#include "common/secret.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/git_http.h"
#include "hubd/http_conn.h"
#include "hubd/hubd.h"
#include "hubd/pack.h"

#define TOKEN_TEXT_MAX 1024

/* --- who ---------------------------------------------------------------------------------------------------- */

static int who_by_certificate(struct http_conn *conn, struct enroll_guest *ret, struct error *err)
{
    struct hubd *hub = http_conn_hub(conn);
    const struct peer *peer = http_conn_peer(conn);
    int r = enroll_check_peer(hub, peer, err);
    if (r < 0)
        return r;
    if (peer->expired)
        return error_set(
            err, -EACCES, "the certificate of \"%s\" has expired; it can only be renewed", peer->name);
    _cleanup_(free_ptr) char *key = xasprintf("%s/%s", role_names[peer->role], peer->name);
    const struct identity *identity = state_get(&hub->state, STATE_IDENTITY, key);
    *ret = (struct enroll_guest){
        .role = peer->role,
        .name = xstrdup(peer->name),
        .services = identity ? strv_copy(identity->services) : NULL,
    };
    return 0;
}

/* "Basic dXNlcjp0b2tlbg==" or "Bearer TOKEN": the token; the caller's. */
static char *token_of(struct http1_slice value)
{
    _cleanup_(free_ptr) char *text = xstrndup(value.ptr, value.len);
    if (value.len > TOKEN_TEXT_MAX)
        return NULL;
    if (strncasecmp(text, "Bearer ", 7) == 0)
        return xstrdup(text + 7 + strspn(text + 7, " "));
    if (strncasecmp(text, "Basic ", 6) != 0)
        return NULL;
    char *pair = NULL;
    size_t len;
    if (base64_decode(text + 6 + strspn(text + 6, " "), &pair, &len) < 0)
        return NULL;
    char *colon = strlen(pair) == len ? strchr(pair, ':') : NULL;
    /* A token may also be the user name, as in https://TOKEN@hub/shop.git. */
    char *token = NULL;
    if (colon) {
        *colon = '\0';
        token = xstrdup(colon[1] != '\0' ? colon + 1 : pair);
    }
    secret_erase(pair);
    free(pair);
    return token;
}

int http_who(
    struct http_conn *conn, const struct http1_head *head, struct enroll_guest *ret, struct error *err)
{
    if (http_conn_peer(conn)->serial)
        return who_by_certificate(conn, ret, err);
    const struct http1_field *field = http1_find(head, HTTP1_FIELD_AUTHORIZATION);
    char *token = field ? token_of(http1_value(field)) : NULL;
    if (!token)
        return HTTP_NOBODY;
    int r = enroll_authenticate(http_conn_hub(conn), token, http_conn_peer(conn)->address, ret, err);
    secret_erase(token);
    free(token);
    return r;
}

void http_refuse(struct http_conn *conn, int who_result, const struct error *err)
{
    if (who_result == HTTP_NOBODY) {
        http_answer(conn, 401,
            "WWW-Authenticate: Basic realm=\"stagecoach: any user name, a token as password\"\r\n",
            "a token or a client certificate is needed\n");
        return;
    }
    _cleanup_(free_ptr) char *text = xasprintf("%s\n", err->text);
    if (who_result == -EAGAIN || who_result == -EBUSY)
        http_answer(conn, 503, "Retry-After: 5\r\n", text);
    else
        http_answer(conn, who_result == -ENOENT ? 404 : 403, NULL, text);
}

char *http_query(const struct http1_head *head, const char *name)
{
    size_t name_len = strlen(name);
    const char *p = head->path.ptr + head->path.len, *end = head->target.ptr + head->target.len;
    while (p < end) {
        p++; /* "?" or "&" */
        const char *next = memchr(p, '&', (size_t)(end - p));
        size_t len = (size_t)((next ? next : end) - p);
        if (len > name_len && memcmp(p, name, name_len) == 0 && p[name_len] == '=')
            return xstrndup(p + name_len + 1, len - name_len - 1);
        p += len;
    }
    return NULL;
}

/* --- small answers --------------------------------------------------------------------------------------------- */

static void on_healthz(struct http_conn *conn, const struct http1_head *head)
{
    http_answer(conn, 200, NULL, "ok\n");
}

static void add_gauge(struct strbuf *out, const char *name, const char *help, int64_t value)
{
    _cleanup_(free_ptr) char *full = xasprintf("stagecoach_hub_%s", name);
    metrics_family(out, full, METRIC_GAUGE, help);
    metrics_sample(out, full, NULL, value);
}

static void on_metrics(struct http_conn *conn, const struct http1_head *head)
{
    struct hubd *hub = http_conn_hub(conn);
    struct enroll_guest who = { 0 };
    struct error err = { 0 };
    int r = http_who(conn, head, &who, &err);
    enroll_guest_done(&who);
    if (r != 0) {
        http_refuse(conn, r, &err);
        return;
    }
    /* clang-format off */
    static const struct { enum collection collection; const char *name, *help; } rows[] = {
        { STATE_APP,      "apps",      "Apps that were pushed." },
        { STATE_SERVICE,  "services",  "Services that apps declare." },
        { STATE_RELEASE,  "releases",  "Releases that are registered." },
        { STATE_DRONE,    "drones",    "Hosts that have joined as drones." },
        { STATE_ROUTER,   "routers",   "Hosts that have joined as routers." },
        { STATE_INSTANCE, "instances", "Instances that are wanted." },
        { STATE_DEPLOY,   "deploys",   "Deploys that are remembered." },
    };
    /* clang-format on */
    _cleanup_(strbuf_done) struct strbuf out = STRBUF_INIT;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        add_gauge(&out, rows[i].name, rows[i].help, (int64_t)map_size(hub->state.rows[rows[i].collection]));
    add_gauge(&out, "revision", "Commits of the store.", hub->state.revision);
    add_gauge(&out, "git_children", "Git processes that serve a push or a fetch.",
        git_http_children(hub->git_http));
    http_answer(conn, 200, NULL, strbuf_str(&out));
}

/* --- dispatch ---------------------------------------------------------------------------------------------------- */

static bool is_get(const struct http1_head *head)
{
    return head->method_id == HTTP1_METHOD_GET || head->method_id == HTTP1_METHOD_HEAD;
}

void http_dispatch(struct http_conn *conn, const struct http1_head *head)
{
    /* clang-format off */
    static const struct { const char *path; void (*fn)(struct http_conn *, const struct http1_head *); } pages[] = {
        { "/healthz", on_healthz },
        { "/metrics", on_metrics },
    };
    /* clang-format on */
    static const char pack[] = "/pack/";
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
        if (head->path.len == strlen(pages[i].path) &&
            memcmp(head->path.ptr, pages[i].path, head->path.len) == 0) {
            if (is_get(head))
                pages[i].fn(conn, head);
            else
                http_answer(conn, 405, "Allow: GET, HEAD\r\n", "only GET is understood here\n");
            return;
        }
    if (head->path.len > sizeof(pack) - 1 && memcmp(head->path.ptr, pack, sizeof(pack) - 1) == 0) {
        if (head->method_id == HTTP1_METHOD_GET)
            pack_serve(conn, head);
        else
            http_answer(conn, 405, "Allow: GET\r\n", "only GET is understood here\n");
        return;
    }
    if (git_http_serve(conn, head))
        return;
    http_answer(conn, 404, NULL, "there is nothing here; repositories are at /APP.git\n");
}
