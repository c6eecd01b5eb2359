/* SPDX-License-Identifier: MIT */
#include "droned/trash.h"

#include <errno.h>
#include <stdio.h>
#include <stdbool.h>

#include "common/child.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/secret.h"
#include "common/statefile.h"

#define TRASH_NICE 10

struct trash {
    struct loop *loop;
    char *dir;
    struct child *child;
    bool again; /* more came while the child ran */
};

static void empty(struct trash *trash);

static void on_child_exit(struct child *child, int status, void *arg)
{
    struct trash *trash = arg;
    char text[64];
    if (status != 0)
        log_warning(NULL, "can't empty %s: rm %s", trash->dir, child_status_text(status, text));
    child_free(steal_ptr(trash->child));
    if (trash->again && status == 0)
        empty(trash);
}

static void empty(struct trash *trash)
{
    static const char *const env[] = { "PATH=/usr/bin:/bin", NULL };
    if (trash->child) {
        trash->again = true;
        return;
    }
    trash->again = false;
    const char *const argv[] = { "/usr/bin/find", trash->dir, "-xdev", "-mindepth", "1", "-delete", NULL };
    struct child_spec spec = {
        .argv = argv, .env = env, .nice = TRASH_NICE, .on_exit = on_child_exit, .arg = trash
    };
    struct error err;
    if (child_start(trash->loop, &spec, &trash->child, &err) < 0)
        log_warning(NULL, "can't empty %s: %s", trash->dir, err.text);
}

struct trash *trash_new(struct loop *loop, const char *dir)
{
    struct trash *trash = xcalloc(1, sizeof(*trash));
    struct error err;
    trash->loop = loop;
    trash->dir = xstrdup(dir);
    if (statefile_mkdir(dir, 0700, &err) < 0)
        log_warning(NULL, "%s", err.text);
    else
        empty(trash);
    return trash;
}

void trash_free(struct trash *trash)
{
    if (!trash)
        return;
    child_free(trash->child);
    free(trash->dir);
    free(trash);
}

int trash_take(struct trash *trash, const char *path, struct error *err)
{
    _cleanup_(free_ptr) char *name = random_hex(8);
    _cleanup_(free_ptr) char *target = xasprintf("%s/%s", trash->dir, name);
    if (rename(path, target) < 0) {
        if (errno == ENOENT)
            return 0;
        return error_set_errno(err, -errno, "can't remove %s", path);
    }
    empty(trash);
    return 0;
}
