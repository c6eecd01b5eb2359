/* SPDX-License-Identifier: MIT */
#include "common/resolve.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "common/child.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define GETENT         "/usr/bin/getent"
#define OUTPUT_MAX     16384 /* bytes of its answer that are looked at */
#define HOST_NAME_MAX_ 253

struct resolve {
    struct child *child;
    struct task refuse; /* tells a failure that was known at once */
    struct strbuf output;
    char *host;
    int port;
    resolve_fn fn;
    void *arg;
    struct error err;
};

static void tell_refusal(void *arg)
{
    struct resolve *r = arg;
    r->fn(r->arg, NULL, 0, &r->err);
}

static void on_output(struct child *child, const char *data, size_t len, void *arg)
{
    struct resolve *r = arg;
    if (r->output.len + len <= OUTPUT_MAX)
        strbuf_add(&r->output, data, len);
}

/* Lines are "ADDRESS TYPE [NAME]", one per socket type. */
static size_t read_answer(struct resolve *r, struct wire_address *addresses)
{
    _cleanup_(strv_freep) char **lines = strv_split(strbuf_str(&r->output), "\n");
    size_t n = 0;
    char *line;

    strv_for_each (line, lines) {
        _cleanup_(strv_freep) char **words = strv_split(line, " \t");
        if (strv_len(words) < 2 || strcmp(words[1], "STREAM") != 0 || n == RESOLVE_ADDRESSES_MAX)
            continue;
        _cleanup_(free_ptr) char *text =
            xasprintf(strchr(words[0], ':') ? "[%s]:%d" : "%s:%d", words[0], r->port);
        if (wire_address_parse(text, 0, &addresses[n], NULL) == 0)
            n++;
    }
    return n;
}

static void on_exit_(struct child *child, int status, void *arg)
{
    struct resolve *r = arg;
    struct wire_address addresses[RESOLVE_ADDRESSES_MAX];
    size_t n = read_answer(r, addresses);

    if (n == 0)
        error_set(&r->err, -ENOENT, "the name \"%s\" is not known here", r->host);
    r->fn(r->arg, addresses, n, &r->err);
}

static bool is_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
    return n > 0 && n <= HOST_NAME_MAX_ && s[n] == '\0' && s[0] != '-' && s[0] != '.';
}

struct resolve *resolve_start(struct loop *loop, const char *host, int port, resolve_fn fn, void *arg)
{
    struct resolve *r = xcalloc(1, sizeof(*r));
    const char *argv[] = { GETENT, "ahosts", host, NULL };
    const char *env[] = { "PATH=/usr/bin:/bin", "LC_ALL=C", NULL };
    struct child_spec spec = {
        .argv = argv, .env = env, .on_stdout = on_output, .on_exit = on_exit_, .arg = r
    };

    r->host = xstrdup(host);
    r->port = port;
    r->fn = fn;
    r->arg = arg;
    task_init(&r->refuse, tell_refusal, r);
    if (!is_name(host))
        error_set(&r->err, -EINVAL, "\"%s\" is not a host name", host);
    else if (child_start(loop, &spec, &r->child, &r->err) == 0)
        return r;
    loop_soon(loop, &r->refuse);
    return r;
}

void resolve_free(struct resolve *r)
{
    if (!r)
        return;
    task_done(&r->refuse);
    child_free(r->child);
    strbuf_done(&r->output);
    free(r->host);
    free(r);
}
