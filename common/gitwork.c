/* SPDX-License-Identifier: MIT */
#include "common/gitwork.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "common/child.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/messages.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define STDERR_KEPT 2048

/* clang-format off */
static const struct field row_fields[] = {
    F_STRING(struct gitwork_row, error, 0),
    F_STRING(struct gitwork_row, name, 0),
    F_STRING(struct gitwork_row, commit, 0, .check = name_is_commit, .must = "a commit"),
    F_STRING(struct gitwork_row, tree, 0, .check = name_is_commit, .must = "the id of a tree"),
    F_STRING(struct gitwork_row, subject, 0),
    F_INT(struct gitwork_row, time_s, 0, INT64_MIN, INT64_MAX),
    F_STRING(struct gitwork_row, manifest, 0, .max = GITWORK_MANIFEST_MAX),
    F_STRING(struct gitwork_row, package, 0, .max = GITWORK_MANIFEST_MAX),
    F_STRING(struct gitwork_row, procfile, 0, .max = GITWORK_MANIFEST_MAX),
    F_BOOL(struct gitwork_row, lockfile, 0),
    F_STRING(struct gitwork_row, tag, 0),
    F_INT(struct gitwork_row, objects, 0, 0, INT64_MAX),
    F_INT(struct gitwork_row, bytes, 0, 0, INT64_MAX),
    F_INT(struct gitwork_row, files, 0, 0, INT64_MAX),
    F_INT(struct gitwork_row, links, 0, 0, INT64_MAX),
    F_INT(struct gitwork_row, directories, 0, 0, INT64_MAX),
};
/* clang-format on */
const struct schema gitwork_row_schema = SCHEMA("gitwork", struct gitwork_row, row_fields, false);

struct gitwork {
    struct loop *loop;
    struct child *child;
    gitwork_done_fn on_done;
    gitwork_room_fn on_room;
    void *arg;
    struct strbuf out, stderr_text;
    size_t out_total;
    size_t waiting; /* bytes of input that the pipe has not taken */
    struct timer limit;
    bool overflow;
    bool too_slow;
    bool closed;
};

static void on_stdout(struct child *child, const char *data, size_t len, void *arg)
{
    struct gitwork *job = arg;
    if (job->closed || job->overflow)
        return;
    if (job->out.len + len > GITWORK_OUTPUT_MAX) {
        job->overflow = true;
        child_kill(child, SIGKILL);
        return;
    }
    strbuf_add(&job->out, data, len);
}

static void on_limit(void *arg)
{
    struct gitwork *job = arg;
    job->too_slow = true;
    child_kill(job->child, SIGKILL);
}

static void on_stderr(struct child *child, const char *data, size_t len, void *arg)
{
    struct gitwork *job = arg;
    if (job->closed || job->stderr_text.len >= STDERR_KEPT)
        return;
    size_t room = STDERR_KEPT - job->stderr_text.len;
    strbuf_add(&job->stderr_text, data, len < room ? len : room);
}

static void on_drained(struct child *child, void *arg)
{
    struct gitwork *job = arg;
    bool was_full = job->waiting > GITWORK_INPUT_HIGH;
    job->waiting = 0;
    if (!job->closed && was_full && job->on_room)
        job->on_room(job->arg);
}

static void rows_free(struct gitwork_row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++)
        schema_clear(&gitwork_row_schema, &rows[i]);
    free(rows);
}

/* One row per line; what does not parse fails the job: nothing of a helper gone wrong is used. */
static int rows_read(
    const struct strbuf *out, struct gitwork_row **ret_rows, size_t *ret_n, struct error *err)
{
    struct gitwork_row *rows = NULL;
    size_t n = 0, cap = 0;
    const char *p = strbuf_str(out), *end = p + out->len;
    while (p < end) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        if (!eol) {
            rows_free(rows, n);
            return error_set(err, -EBADMSG, "the git helper stopped in the middle of a line");
        }
        rows = xgrow(rows, n, &cap, sizeof(*rows));
        int r = schema_read(&gitwork_row_schema, p, (size_t)(eol - p), &rows[n], err);
        if (r < 0) {
            rows_free(rows, n);
            return r;
        }
        n++;
        p = eol + 1;
    }
    *ret_rows = rows;
    *ret_n = n;
    return 0;
}

static int judge(struct gitwork *job, int status, const struct gitwork_row *rows, size_t n, struct error *err)
{
    if (job->overflow)
        return error_set(
            err, -EFBIG, "the git helper wrote more than %d MiB", GITWORK_OUTPUT_MAX / (1024 * 1024));
    if (job->too_slow)
        return error_set(
            err, -ETIMEDOUT, "the git helper did not end within %d minutes", GITWORK_IDLE_MS / 60000);
    if (n > 0 && rows[n - 1].error)
        return error_set(err, -EINVAL, "%s", rows[n - 1].error);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    char text[64];
    _cleanup_(strbuf_done) struct strbuf said = STRBUF_INIT;
    size_t len = job->stderr_text.len;
    while (len > 0 && job->stderr_text.data[len - 1] == '\n')
        len--;
    strbuf_add_printable(&said, strbuf_str(&job->stderr_text), len, 500);
    return error_set(err, -EIO, "the git helper %s%s%s", child_status_text(status, text),
        said.len > 0 ? ": " : "", strbuf_str(&said));
}

static void on_exit_(struct child *child, int status, void *arg)
{
    struct gitwork *job = arg;
    if (job->closed)
        return;
    timer_clear(&job->limit);
    struct gitwork_row *rows = NULL;
    size_t n = 0;
    struct error err = { 0 };
    int r = rows_read(&job->out, &rows, &n, &err);
    /* A helper that was killed leaves half a line: its end is the better reason. */
    if (r == 0 || job->overflow || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        r = judge(job, status, rows, n, &err);
    job->on_done(job->arg, r, r < 0 ? err.text : NULL, r < 0 ? NULL : rows, r < 0 ? 0 : n);
    rows_free(rows, n);
}

int gitwork_start(struct loop *loop, const struct gitwork_spec *spec, struct gitwork **ret, struct error *err)
{
    _cleanup_(free_ptr) const char **argv = NULL;
    size_t n = 0;
    while (spec->args[n])
        n++;
    argv = xcalloc(n + 2, sizeof(*argv));
    argv[0] = spec->program ? spec->program : GITWORK_PATH;
    memcpy(argv + 1, spec->args, n * sizeof(*argv));
    static const char *const env[] = { "PATH=/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C", NULL };

    struct gitwork *job = xcalloc(1, sizeof(*job));
    job->loop = loop;
    job->on_done = spec->on_done;
    job->on_room = spec->on_room;
    job->arg = spec->arg;
    struct child_spec child_spec = {
        .argv = argv,
        .env = env,
        .stdin_kind = spec->input ? CHILD_STDIN_PIPE : CHILD_STDIN_NULL,
        .nice = spec->nice,
        .uid = spec->uid,
        .gid = spec->gid,
        .on_stdout = on_stdout,
        .on_stderr = on_stderr,
        .on_drained = on_drained,
        .on_exit = on_exit_,
        .arg = job,
    };
    int r = child_start(loop, &child_spec, &job->child, err);
    if (r < 0) {
        free(job);
        return r;
    }
    timer_init(&job->limit, loop, on_limit, job);
    timer_set(&job->limit, GITWORK_IDLE_MS);
    *ret = job;
    return 0;
}

static void job_free_now(void *obj)
{
    struct gitwork *job = obj;
    strbuf_done(&job->out);
    strbuf_done(&job->stderr_text);
    free(job);
}

void gitwork_free(struct gitwork *job)
{
    if (!job || job->closed)
        return;
    job->closed = true;
    timer_done(&job->limit);
    child_free(job->child);
    job->child = NULL;
    loop_free_later(job->loop, job, job_free_now);
}

bool gitwork_write(struct gitwork *job, const void *data, size_t len)
{
    if (job->closed)
        return true;
    timer_set(&job->limit, GITWORK_IDLE_MS);
    job->waiting = child_write(job->child, data, len);
    return job->waiting <= GITWORK_INPUT_HIGH;
}

void gitwork_end_input(struct gitwork *job)
{
    if (!job->closed)
        child_close_stdin(job->child);
}
