/* SPDX-License-Identifier: MIT */
#include "routerd/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "common/table_diff.h"

#define MODE 0640

enum staged { STAGED_NOTHING, STAGED_TABLE, STAGED_DIFF };

struct journal {
    char *folder, *path, *next_path;
    struct table now; /* with a staged diff, the one that it leads to */
    bool has_now;
    ino_t inode;    /* of table.json as it was read or written */
    int64_t *bases; /* of the diffs on disk */
    size_t n_bases, bases_cap;

    enum staged staged;
    struct table next;      /* STAGED_TABLE */
    struct table_diff back; /* STAGED_DIFF: leads back */
    struct strbuf text;     /* what is staged, until it is written */
};

struct journal *journal_new(const char *folder)
{
    struct journal *j = xcalloc(1, sizeof(*j));
    j->folder = xstrdup(folder);
    j->path = xasprintf("%s/table.json", folder);
    j->next_path = xasprintf("%s/table.next", folder);
    return j;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    table_clear(&j->now);
    table_clear(&j->next);
    table_diff_clear(&j->back);
    strbuf_done(&j->text);
    free(j->bases);
    free(j->folder);
    free(j->path);
    free(j->next_path);
    free(j);
}

static char *diff_path(const struct journal *j, int64_t base)
{
    return xasprintf("%s/table.%" PRId64 ".diff", j->folder, base);
}

static ino_t inode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 ? 0 : st.st_ino;
}

static void add_base(struct journal *j, int64_t base)
{
    j->bases = xgrow(j->bases, j->n_bases, &j->bases_cap, sizeof(*j->bases));
    j->bases[j->n_bases++] = base;
}

/* --- reading --------------------------------------------------------------------------------------------- */

static int read_table(struct journal *j, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    ino_t inode = inode_of(j->path);
    struct table table;
    int r = statefile_read(j->path, JOURNAL_TABLE_MAX, &text, err);
    if (r < 0)
        return r;
    r = table_read(strbuf_str(&text), text.len, &table, err);
    if (r < 0)
        return error_prefix(err, "%s", j->path);
    table_clear(&j->now);
    j->now = table;
    j->has_now = true;
    j->inode = inode;
    j->n_bases = 0;
    table_sum_rows(&j->now);
    return 0;
}

/* The diff of the epoch that is there now. -ENOENT: that was the last one. */
static int read_diff(struct journal *j, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *path = diff_path(j, j->now.epoch);
    int64_t base = j->now.epoch;
    struct table_diff diff;
    int r = statefile_read(path, JOURNAL_TABLE_MAX, &text, err);
    if (r < 0)
        return r;
    r = table_diff_read(strbuf_str(&text), text.len, &diff, err);
    if (r == 0) {
        r = table_diff_apply(&j->now, &diff, err);
        table_diff_clear(&diff);
    }
    if (r < 0)
        return error_prefix(err, "%s", path);
    add_base(j, base);
    return 0;
}

int journal_load(struct journal *j, const struct table **ret, char **ret_warning, struct error *err)
{
    struct error why;
    *ret_warning = NULL;
    journal_abort(j);
    int r = read_table(j, err);
    if (r < 0)
        return r;
    do
        r = read_diff(j, &why);
    while (r == 0);
    if (r != -ENOENT)
        *ret_warning = xstrdup(why.text);
    *ret = &j->now;
    return 0;
}

bool journal_is_current(const struct journal *j)
{
    if (!j->has_now || j->inode != inode_of(j->path))
        return false;
    _cleanup_(free_ptr) char *path = diff_path(j, j->now.epoch);
    return access(path, F_OK) < 0;
}

/* --- changing -------------------------------------------------------------------------------------------- */

static int stage_diff(struct journal *j, const char *text, size_t len, struct error *err)
{
    struct table_diff diff;
    if (!j->has_now)
        return error_set(err, -ESTALE, "a diff, and there is no table yet");
    int r = table_diff_read(text, len, &diff, err);
    if (r < 0)
        return r;
    r = table_diff_apply(&j->now, &diff, err);
    if (r < 0) {
        table_diff_clear(&diff);
        return r;
    }
    j->back = diff;
    j->staged = STAGED_DIFF;
    return 0;
}

int journal_stage(struct journal *j, const char *text, size_t len, bool is_diff, const struct table **ret,
    struct error *err)
{
    journal_abort(j);
    int r = is_diff ? stage_diff(j, text, len, err) : table_read(text, len, &j->next, err);
    if (r < 0)
        return r;
    if (!is_diff) {
        j->staged = STAGED_TABLE;
        table_sum_rows(&j->next);
    }
    strbuf_add(&j->text, text, len);
    *ret = is_diff ? &j->now : &j->next;
    return 0;
}

int journal_write(struct journal *j, struct error *err)
{
    return statefile_write(j->next_path, strbuf_str(&j->text), j->text.len, MODE, err);
}

/* A switch that is answered must be there after a power cut. That the rename itself is done can't be undone here, so
 * a failure is no refusal. */
static void sync_folder(const struct journal *j)
{
    _cleanup_(close_fd) int fd = open(j->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)fsync(fd);
}

static void remove_diffs(struct journal *j)
{
    for (size_t i = 0; i < j->n_bases; i++) {
        _cleanup_(free_ptr) char *path = diff_path(j, j->bases[i]);
        (void)unlink(path);
    }
    j->n_bases = 0;
}

static int rename_next(struct journal *j, const char *path, struct error *err)
{
    if (rename(j->next_path, path) < 0)
        return error_set_errno(err, -errno, "can't rename %s", j->next_path);
    sync_folder(j);
    return 0;
}

static int commit_table(struct journal *j, struct error *err)
{
    int r = rename_next(j, j->path, err);
    if (r < 0)
        return r;
    j->inode = inode_of(j->path);
    remove_diffs(j);
    table_clear(&j->now);
    j->now = j->next;
    j->next = (struct table){ 0 };
    j->has_now = true;
    return 0;
}

static int commit_diff(struct journal *j, struct error *err)
{
    /* The diff that leads back begins where the one that was staged ends, and the other way round. */
    _cleanup_(free_ptr) char *path = diff_path(j, j->back.epoch);
    int r = rename_next(j, path, err);
    if (r < 0)
        return r;
    add_base(j, j->back.epoch);
    table_diff_clear(&j->back);
    return 0;
}

int journal_commit(struct journal *j, struct error *err)
{
    int r = 0;
    if (j->staged == STAGED_TABLE)
        r = commit_table(j, err);
    else if (j->staged == STAGED_DIFF)
        r = commit_diff(j, err);
    if (r < 0)
        return r;
    j->staged = STAGED_NOTHING;
    strbuf_done(&j->text);
    return 0;
}

static void turn(struct journal *j)
{
    struct error err;
    /* What was done can be undone, and done again. */
    if (table_diff_apply(&j->now, &j->back, &err) < 0)
        abort();
}

void journal_abort(struct journal *j)
{
    if (j->staged == STAGED_DIFF)
        turn(j);
    table_diff_clear(&j->back);
    table_clear(&j->next);
    strbuf_done(&j->text);
    j->staged = STAGED_NOTHING;
}

void journal_clean(struct journal *j)
{
    (void)unlink(j->next_path);
}

/* --- the whole ------------------------------------------------------------------------------------------- */

void journal_text(struct journal *j, struct strbuf *ret)
{
    if (j->staged == STAGED_DIFF)
        turn(j);
    table_print(&j->now, ret);
    if (j->staged == STAGED_DIFF)
        turn(j);
}

bool journal_is_long(const struct journal *j)
{
    return j->n_bases >= JOURNAL_DIFFS_MAX;
}

int journal_fold(struct journal *j, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    journal_text(j, &text);
    int r = statefile_write(j->path, strbuf_str(&text), text.len, MODE, err);
    if (r < 0)
        return r;
    j->inode = inode_of(j->path);
    remove_diffs(j);
    return 0;
}
