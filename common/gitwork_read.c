/* SPDX-License-Identifier: MIT */

/* What a repository says: manifests of commits, what a name means, its refs. */

#include "common/gitwork_job.h"

#include <errno.h>
#include <git2.h>
#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/semver.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "common/utf8.h"

#define TAG_WALK_MAX 100000 /* commits looked at for a version tag */
#define REFS_MAX     100000

/* --- version tags ---------------------------------------------------------------------------------------------- */

struct version_tag {
    git_oid commit;
    struct semver version;
    char *text; /* without "v" */
};

struct version_tags {
    git_repository *repo;
    struct version_tag *items;
    size_t n, cap;
};

static void version_tags_add(struct version_tags *tags, const char *name, const git_oid *commit)
{
    struct semver version;
    if (*name == 'v')
        name++;
    if (semver_parse(name, &version, NULL) < 0 || version.build[0] != '\0')
        return;
    tags->items = xgrow(tags->items, tags->n, &tags->cap, sizeof(*tags->items));
    tags->items[tags->n++] =
        (struct version_tag){ .commit = *commit, .version = version, .text = xstrdup(name) };
}

static void version_tags_done(struct version_tags *tags)
{
    for (size_t i = 0; i < tags->n; i++)
        free(tags->items[i].text);
    free(tags->items);
}

/* The commit that an object leads to; 0 or negative. */
static int peel(git_repository *repo, const git_oid *id, git_oid *ret)
{
    git_object *object = NULL, *commit = NULL;
    int r = git_object_lookup(&object, repo, id, GIT_OBJECT_ANY);
    if (r == 0)
        r = git_object_peel(&commit, object, GIT_OBJECT_COMMIT);
    if (r == 0)
        *ret = *git_object_id(commit);
    git_object_free(commit);
    git_object_free(object);
    return r < 0 ? -ENOENT : 0;
}

static int on_tag(const char *name, git_oid *id, void *arg)
{
    struct version_tags *tags = arg;
    git_oid commit;
    static const char prefix[] = "refs/tags/";
    if (strncmp(name, prefix, sizeof(prefix) - 1) == 0 && peel(tags->repo, id, &commit) == 0)
        version_tags_add(tags, name + sizeof(prefix) - 1, &commit);
    return tags->n < REFS_MAX ? 0 : 1;
}

/* Those of the repository and those that the push brings. */
static void version_tags_load(struct version_tags *tags, const struct job *job, git_repository *repo)
{
    *tags = (struct version_tags){ .repo = repo };
    git_tag_foreach(repo, on_tag, tags);
    char *pair;
    strv_for_each (pair, job->tags) {
        char *hex = strrchr(pair, '=');
        git_oid id, commit;
        if (!hex || git_oid_fromstr(&id, hex + 1) < 0 || peel(repo, &id, &commit) < 0)
            continue;
        _cleanup_(free_ptr) char *name = xstrndup(pair, (size_t)(hex - pair));
        version_tags_add(tags, name, &commit);
    }
}

static int by_commit(const void *a, const void *b)
{
    const struct version_tag *x = a, *y = b;
    int order = git_oid_cmp(&x->commit, &y->commit);
    /* The highest version of a commit first. */
    return order ? order : semver_compare(&y->version, &x->version);
}

static const struct version_tag *version_tags_at(const struct version_tags *tags, const git_oid *commit)
{
    size_t low = 0, high = tags->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (git_oid_cmp(&tags->items[mid].commit, commit) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < tags->n && git_oid_equal(&tags->items[low].commit, commit) ? &tags->items[low] : NULL;
}

/* The highest version tag on the history of commit, itself included. */
static const char *version_tags_newest(struct version_tags *tags, const git_oid *commit)
{
    if (tags->n == 0)
        return NULL;
    git_revwalk *walk = NULL;
    const struct version_tag *best = NULL;
    git_oid id;
    qsort(tags->items, tags->n, sizeof(*tags->items), by_commit);
    if (git_revwalk_new(&walk, tags->repo) == 0 && git_revwalk_push(walk, commit) == 0)
        for (int i = 0; i < TAG_WALK_MAX && git_revwalk_next(&id, walk) == 0; i++) {
            const struct version_tag *tag = version_tags_at(tags, &id);
            if (tag && (!best || semver_compare(&tag->version, &best->version) > 0))
                best = tag;
        }
    git_revwalk_free(walk);
    return best ? best->text : NULL;
}

/* --- manifests --------------------------------------------------------------------------------------------------- */

static int read_text(
    git_repository *repo, const git_tree *tree, const char *name, char **ret, struct error *err)
{
    const git_tree_entry *entry = git_tree_entry_byname(tree, name);
    if (!entry)
        return 0;
    git_filemode_t mode = git_tree_entry_filemode(entry);
    if (mode != GIT_FILEMODE_BLOB && mode != GIT_FILEMODE_BLOB_EXECUTABLE)
        return error_set(err, -EINVAL, "%s:1: must be a plain file", name);
    git_odb *odb = NULL;
    git_odb_object *object = NULL;
    size_t size = 0;
    git_object_t type;
    int r = 0;
    if (git_repository_odb(&odb, repo) < 0 ||
        git_odb_read_header(&size, &type, odb, git_tree_entry_id(entry)) < 0)
        r = job_git_error(err, -EBADMSG, "%s can't be read", name);
    else if (size > GITWORK_MANIFEST_MAX)
        r = error_set(err, -EFBIG, "%s:1: the file must be at most %d KiB long, not %zu", name,
            GITWORK_MANIFEST_MAX / 1024, (size + 1023) / 1024);
    else if (git_odb_read(&object, odb, git_tree_entry_id(entry)) < 0)
        r = job_git_error(err, -EBADMSG, "%s can't be read", name);
    else if (memchr(git_odb_object_data(object), '\0', git_odb_object_size(object)) ||
        !utf8_is_valid(git_odb_object_data(object), git_odb_object_size(object)))
        r = error_set(err, -EBADMSG, "%s:1: the file must be valid UTF-8 text", name);
    else
        *ret = xmemdup(git_odb_object_data(object), git_odb_object_size(object));
    git_odb_object_free(object);
    git_odb_free(odb);
    return r;
}

static int read_files(git_repository *repo, const git_tree *tree, struct gitwork_row *row, struct error *err)
{
    int r = read_text(repo, tree, "stagecoach.json", &row->manifest, err);
    if (r < 0 || row->manifest)
        return r;
    r = read_text(repo, tree, "package.json", &row->package, err);
    if (r == 0)
        r = read_text(repo, tree, "Procfile", &row->procfile, err);
    row->lockfile = git_tree_entry_byname(tree, "package-lock.json") != NULL;
    return r;
}

static void row_done(struct gitwork_row *row)
{
    free(row->name);
    free(row->commit);
    free(row->tree);
    free(row->subject);
    free(row->manifest);
    free(row->package);
    free(row->procfile);
    free(row->tag);
}

/* An id may be that of a tag object; one that leads to no commit has nothing to say. */
static int one_manifest(git_repository *repo, struct version_tags *tags, const char *hex, struct error *err)
{
    struct gitwork_row row = { .name = xstrdup(hex) };
    git_commit *commit = NULL;
    git_tree *tree = NULL;
    git_oid id, peeled;
    char peeled_hex[GIT_OID_HEXSZ + 1];
    git_object *object = NULL;
    bool exists = name_is_commit(hex) && git_oid_fromstr(&id, hex) == 0 &&
        git_object_lookup(&object, repo, &id, GIT_OBJECT_ANY) == 0;
    git_object_free(object);
    if (exists && peel(repo, &id, &peeled) < 0) {
        job_row(&row);
        row_done(&row);
        return 0;
    }
    int r =
        job_commit(repo, exists ? git_oid_tostr(peeled_hex, sizeof(peeled_hex), &peeled) : hex, &commit, err);
    if (r < 0) {
        row_done(&row);
        return r;
    }
    if (git_commit_tree(&tree, commit) < 0)
        r = job_git_error(err, -EBADMSG, "the tree of commit %.8s can't be read", hex);
    else
        r = read_files(repo, tree, &row, err);
    if (r == 0) {
        row.tag = xstrdup(version_tags_newest(tags, git_commit_id(commit)));
        job_describe(commit, &row);
        job_row(&row);
    }
    row_done(&row);
    git_tree_free(tree);
    git_commit_free(commit);
    return r;
}

int job_manifest(const struct job *job, char **args, int n_args, struct error *err)
{
    git_repository *repo = NULL;
    struct version_tags tags;
    int r = job_confine(job, args[0], NULL, err);
    if (r == 0)
        r = job_open(job, args[0], &repo, err);
    if (r < 0)
        return r;
    version_tags_load(&tags, job, repo);
    for (int i = 1; r == 0 && i < n_args; i++)
        r = one_manifest(repo, &tags, args[i], err);
    version_tags_done(&tags);
    git_repository_free(repo);
    return r;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static int put_commit(git_repository *repo, const git_oid *id, const char *tag, struct error *err)
{
    git_commit *commit = NULL;
    if (git_commit_lookup(&commit, repo, id) < 0)
        return job_git_error(err, -EBADMSG, "a commit can't be read");
    struct gitwork_row row = { .name = xstrdup(tag) };
    job_describe(commit, &row);
    job_row(&row);
    row_done(&row);
    git_commit_free(commit);
    return 0;
}

/* 1: found and told. */
static int resolve_tag(git_repository *repo, const char *name, struct error *err)
{
    for (size_t i = 0; i < 2; i++) {
        git_oid id, commit;
        _cleanup_(free_ptr) char *ref = xasprintf(i == 0 ? "refs/tags/%s" : "refs/tags/v%s", name);
        if (git_reference_name_to_id(&id, repo, ref) < 0 || peel(repo, &id, &commit) < 0)
            continue;
        int r = put_commit(repo, &commit, ref + strlen("refs/tags/"), err);
        return r < 0 ? r : 1;
    }
    return 0;
}

struct candidates {
    git_odb *odb;
    const char *prefix;
    size_t prefix_len;
    git_oid ids[GITWORK_CANDIDATES_MAX + 1];
    size_t n;
};

static int on_object(const git_oid *id, void *arg)
{
    struct candidates *c = arg;
    char hex[GIT_OID_HEXSZ + 1];
    size_t size;
    git_object_t type;
    git_oid_tostr(hex, sizeof(hex), id);
    if (memcmp(hex, c->prefix, c->prefix_len) != 0 || git_odb_read_header(&size, &type, c->odb, id) < 0 ||
        type != GIT_OBJECT_COMMIT)
        return 0;
    for (size_t i = 0; i < c->n; i++)
        if (git_oid_equal(&c->ids[i], id))
            return 0;
    c->ids[c->n++] = *id;
    return c->n <= GITWORK_CANDIDATES_MAX ? 0 : 1;
}

/* Only what a ref leads to: anything else is a leftover that maintenance may drop any day. */
static int is_reachable(git_repository *repo, const git_oid *id)
{
    git_reference_iterator *it = NULL;
    git_reference *ref = NULL;
    git_oid *tips = NULL;
    size_t n = 0, cap = 0;
    if (git_reference_iterator_new(&it, repo) < 0)
        return 0;
    while (n < REFS_MAX && git_reference_next(&ref, it) == 0) {
        git_oid tip;
        if (git_reference_target(ref) && peel(repo, git_reference_target(ref), &tip) == 0) {
            tips = xgrow(tips, n, &cap, sizeof(*tips));
            tips[n++] = tip;
        }
        git_reference_free(ref);
    }
    git_reference_iterator_free(it);
    int found = 0;
    for (size_t i = 0; i < n && !found; i++)
        found = git_oid_equal(&tips[i], id);
    if (!found && n > 0)
        found = git_graph_reachable_from_any(repo, id, tips, n) == 1;
    free(tips);
    return found;
}

static int resolve_prefix(git_repository *repo, const char *prefix, struct error *err)
{
    struct candidates c = { .prefix = prefix, .prefix_len = strlen(prefix) };
    int r = 0;
    if (git_repository_odb(&c.odb, repo) < 0)
        return job_git_error(err, -EIO, "the repository can't be read");
    git_oid whole;
    if (c.prefix_len == GIT_OID_HEXSZ && git_oid_fromstr(&whole, prefix) == 0) {
        if (git_odb_exists(c.odb, &whole))
            on_object(&whole, &c);
    } else {
        git_odb_foreach(c.odb, on_object, &c);
    }
    for (size_t i = 0; r == 0 && i < c.n; i++)
        if (is_reachable(repo, &c.ids[i]))
            r = put_commit(repo, &c.ids[i], NULL, err);
    git_odb_free(c.odb);
    return r;
}

int job_resolve(const struct job *job, char **args, int n_args, struct error *err)
{
    git_repository *repo = NULL;
    const char *name = args[1];
    if (!name_is_tag(name) && !name_is_commit_prefix(name))
        return error_set(err, -EINVAL, "\"%.100s\" is neither a tag nor a commit", name);
    int r = job_confine(job, args[0], NULL, err);
    if (r == 0)
        r = job_open(job, args[0], &repo, err);
    if (r < 0)
        return r;
    if (name_is_tag(name))
        r = resolve_tag(repo, name, err);
    if (r == 0 && name_is_commit_prefix(name))
        r = resolve_prefix(repo, name, err);
    git_repository_free(repo);
    return r < 0 ? r : 0;
}

int job_refs(const struct job *job, char **args, int n_args, struct error *err)
{
    git_repository *repo = NULL;
    git_reference_iterator *it = NULL;
    git_reference *ref = NULL;
    int r = job_confine(job, args[0], NULL, err);
    if (r == 0)
        r = job_open(job, args[0], &repo, err);
    if (r < 0)
        return r;
    if (git_reference_iterator_new(&it, repo) < 0)
        r = job_git_error(err, -EIO, "the refs can't be read");
    while (r == 0 && git_reference_next(&ref, it) == 0) {
        git_oid commit;
        char hex[GIT_OID_HEXSZ + 1];
        bool leads = git_reference_target(ref) && peel(repo, git_reference_target(ref), &commit) == 0;
        struct gitwork_row row = { .name = xstrdup(git_reference_name(ref)) };
        if (leads)
            row.commit = xstrdup(git_oid_tostr(hex, sizeof(hex), &commit));
        job_row(&row);
        row_done(&row);
        git_reference_free(ref);
    }
    git_reference_iterator_free(it);
    git_repository_free(repo);
    return r;
}
