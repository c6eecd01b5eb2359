/* SPDX-License-Identifier: MIT */
#include "droned/seal.h"

#include <errno.h>
#include <string.h>

#include "common/child.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"

#define SEAL_TEXT_MAX 512

struct seal {
    struct loop *loop;
    struct child *child;
    struct strbuf text;
    seal_fn fn;
    void *arg;
};

static void on_output(struct child *child, const char *data, size_t len, void *arg)
{
    struct seal *seal = arg;
    size_t room = SEAL_TEXT_MAX - seal->text.len;
    strbuf_add_printable(&seal->text, data, len > 0 && data[len - 1] == '\n' ? len - 1 : len, room);
}

static void on_child_exit(struct child *child, int status, void *arg)
{
    struct seal *seal = arg;
    char how[64];
    if (status == 0)
        seal->fn(seal->arg, 0, NULL);
    else
        seal->fn(seal->arg, -EACCES,
            seal->text.len > 0 ? strbuf_str(&seal->text) : child_status_text(status, how));
}

int seal_start(struct loop *loop, const char *program, const char *dir, int64_t max_bytes, seal_fn fn,
    void *arg, struct seal **ret, struct error *err)
{
    static const char *const env[] = { "PATH=/usr/bin:/bin", NULL };
    _cleanup_(free_ptr) char *limit = xasprintf("--max-bytes=%lld", (long long)max_bytes);
    const char *const argv[] = { program ? program : SEAL_PATH, limit, dir, NULL };
    struct seal *seal = xcalloc(1, sizeof(*seal));
    seal->loop = loop;
    seal->fn = fn;
    seal->arg = arg;
    struct child_spec spec = { .argv = argv,
        .env = env,
        .on_stdout = NULL,
        .on_stderr = on_output,
        .on_exit = on_child_exit,
        .arg = seal };
    int r = child_start(loop, &spec, &seal->child, err);
    if (r < 0) {
        free(seal);
        return r;
    }
    *ret = seal;
    return 0;
}

static void seal_destroy(void *p)
{
    struct seal *seal = p;
    strbuf_done(&seal->text);
    free(seal);
}

void seal_free(struct seal *seal)
{
    if (!seal)
        return;
    child_free(steal_ptr(seal->child));
    loop_free_later(seal->loop, seal, seal_destroy);
}
