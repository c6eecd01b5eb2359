/* SPDX-License-Identifier: MIT */
#include "hubd/release.h"

#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/nearest.h"
#include "common/schema.h"
#include "common/semver.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/manifest.h"
#include "hubd/txn.h"

#define HASH_DIGITS      8
#define HASH_DIGITS_LONG 16 /* where 8 digits are taken by another commit */

/* --- forms --------------------------------------------------------------------------------------------------- */

enum release_form release_form(const char *what)
{
    if (!what || *what == '\0')
        return RELEASE_LATEST;
    if (semver_is_valid(what))
        return RELEASE_EXACT;
    /* Four digits or more are a commit before they are a range, as in git itself. */
    if (name_is_commit_prefix(what))
        return RELEASE_COMMIT;
    /* "v1" is how tags are called, although a range could be read from it. */
    if (*what == 'v')
        return RELEASE_TAG;
    struct semver_range *range = NULL;
    bool is_range = strlen(what) < 256 && semver_range_parse(what, &range, NULL) >= 0;
    semver_range_free(range);
    return is_range ? RELEASE_RANGE : RELEASE_TAG;
}

/* --- lookups ---------------------------------------------------------------------------------------------------- */

/* True if a is to be taken before b where both fit. */
static bool is_newer(
    const struct release *a, const struct semver *av, const struct release *b, const struct semver *bv)
{
    int order = semver_compare(av, bv);
    return order > 0 || (order == 0 && a->seq > b->seq);
}

/* range NULL: all. */
static const struct release *newest(
    const struct state *state, const char *service, const struct semver_range *range)
{
    const struct release *best = NULL;
    struct semver best_version = { 0 };
    state_for_each(it, state, STATE_RELEASE)
    {
        const struct release *release = it.value;
        struct semver version;
        if (strcmp(release->service, service) != 0 || semver_parse(release->version, &version, NULL) < 0 ||
            (range && !semver_range_matches(range, &version)))
            continue;
        if (!best || is_newer(release, &version, best, &best_version)) {
            best = release;
            best_version = version;
        }
    }
    return best;
}

const struct release *release_latest(const struct state *state, const char *service)
{
    return newest(state, service, NULL);
}

const struct release *release_of_commit(const struct state *state, const char *service, const char *commit)
{
    state_for_each(it, state, STATE_RELEASE)
    {
        const struct release *release = it.value;
        if (strcmp(release->service, service) == 0 && strcmp(release->commit, commit) == 0)
            return release;
    }
    return NULL;
}

static int no_service(const struct state *state, const char *service, struct error *err)
{
    const char **known = map_sorted_keys(state->rows[STATE_SERVICE]);
    size_t n = map_size(state->rows[STATE_SERVICE]);
    const char **words = xcalloc(n + 1, sizeof(*words));
    memcpy(words, known, n * sizeof(*words));
    const char *near = nearest_word(service, words);
    if (near)
        error_set(err, -ENOENT, "there is no service \"%s\", did you mean \"%s\"?", service, near);
    else
        error_set(err, -ENOENT, "there is no service \"%s\"; it comes with a push whose manifest names it",
            service);
    free(words);
    free(known);
    return -ENOENT;
}

int release_unknown(const struct state *state, const char *service, const char *what, struct error *err)
{
    const struct release *latest = release_latest(state, service);
    static const char *const shapes[RELEASE_FORM_MAX_] = {
        [RELEASE_LATEST] = "%s has no release",
        [RELEASE_EXACT] = "there is no %s@%s",
        [RELEASE_RANGE] = "no release of %s fits \"%s\"",
        [RELEASE_COMMIT] = "no commit of %s begins with \"%s\"",
        [RELEASE_TAG] = "%s has no version, tag or commit \"%s\"",
    };
    _cleanup_(free_ptr) char *text = xasprintf(shapes[release_form(what)], service, what);
    if (!latest)
        return error_set(err, -ENOENT, "%s", text);
    return error_set(err, -ENOENT, "%s; newest is %s@%s", text, service, latest->version);
}

int release_resolve(const struct state *state, const char *service, const char *what,
    const struct release **ret, struct error *err)
{
    const struct release *found = NULL;
    struct semver_range *range = NULL;
    if (!state_service(state, service))
        return no_service(state, service, err);
    enum release_form form = release_form(what);
    switch (form) {
    case RELEASE_LATEST:
        found = release_latest(state, service);
        break;
    case RELEASE_EXACT:
        found = state_release(state, service, what);
        break;
    case RELEASE_RANGE:
        if (semver_range_parse(what, &range, NULL) >= 0)
            found = newest(state, service, range);
        semver_range_free(range);
        break;
    case RELEASE_COMMIT:
        if (name_is_commit(what))
            found = release_of_commit(state, service, what);
        break;
    case RELEASE_TAG:
    case RELEASE_FORM_MAX_:
        break;
    }
    if (found) {
        *ret = found;
        return 0;
    }
    if (form == RELEASE_LATEST || form == RELEASE_RANGE)
        return release_unknown(state, service, what, err);
    if (form != RELEASE_COMMIT && !name_is_tag(what))
        return error_set(err, -EINVAL, "\"%.100s\" is no version, range, tag or commit", what);
    return RELEASE_ASK_REPOSITORY;
}

int release_ambiguous(const struct state *state, const char *service, const char *app, const char *prefix,
    const struct release_candidate *candidates, size_t n, wall_t now, struct error *err)
{
    static const char *const words[] = { "no", "one", "two", "three", "four", "five", "six" };
    enum { LISTED = 6 };
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    if (n < ARRAY_SIZE(words))
        strbuf_addf(&text, "%s means %s commits of %s:", prefix, words[n], app);
    else
        strbuf_addf(&text, "%s means %zu commits of %s:", prefix, n, app);
    for (size_t i = 0; i < n && i < LISTED; i++) {
        const struct release_candidate *c = &candidates[i];
        const struct release *release = release_of_commit(state, service, c->commit);
        char age[CLOCK_STAMP_MAX];
        int64_t ms = now.us / CLOCK_US_PER_MS - c->time_s * CLOCK_MS_PER_S;
        duration_for_people(ms > 0 ? ms : 0, age);
        strbuf_addf(&text, "%s %.8s (", i > 0 ? "," : "", c->commit);
        if (release)
            strbuf_addf(&text, "%s@%s, ", service, release->version);
        else if (c->subject && *c->subject)
            strbuf_addf(&text, "\"%.50s\", ", c->subject);
        strbuf_addf(&text, "%s ago)", age);
    }
    if (n > LISTED)
        strbuf_addf(&text, " and %zu more", n - LISTED);
    return error_set(err, -EINVAL, "%s", strbuf_str(&text));
}

/* --- registration ------------------------------------------------------------------------------------------------ */

/* The service of another app that has the route, NULL if it is free. */
static const struct service *route_owner(const struct state *state, const char *route, const char *app)
{
    state_for_each(it, state, STATE_SERVICE)
    {
        const struct service *service = it.value;
        if (strcmp(service->app, app) != 0 && strv_contains(service->routes, route))
            return service;
    }
    return NULL;
}

int release_check(
    const struct state *state, const char *app, const struct manifest *manifest, struct error *err)
{
    for (size_t i = 0; i < manifest->n_services; i++) {
        const struct manifest_service *s = &manifest->services[i];
        const struct service *owner = state_service(state, s->name);
        if (owner && owner->app && strcmp(owner->app, app) != 0)
            return error_set(err, -EEXIST, "service \"%s\" belongs to app \"%s\"", s->name, owner->app);
        char *route;
        strv_for_each (route, s->routes) {
            owner = route_owner(state, route, app);
            if (owner)
                return error_set(err, -EEXIST, "route \"%s\" belongs to service \"%s\" of app \"%s\"", route,
                    owner->name, owner->app);
        }
    }
    return 0;
}

static const struct release *pending_of_commit(struct txn *txn, const char *service, const char *commit)
{
    for (size_t i = 0; i < txn_n_changes(txn); i++) {
        struct txn_change change = txn_change(txn, i);
        const struct release *release = change.after;
        if (change.collection == STATE_RELEASE && release && strcmp(release->service, service) == 0 &&
            strcmp(release->commit, commit) == 0)
            return release;
    }
    return NULL;
}

/* The version under which the commit is to be known: plain if it is the first one with it. */
static char *free_version(struct txn *txn, const char *service, const char *plain, const char *commit)
{
    const int digits[] = { 0, HASH_DIGITS, HASH_DIGITS_LONG, NAME_COMMIT_LEN };
    for (size_t i = 0; i < ARRAY_SIZE(digits); i++) {
        _cleanup_(free_ptr) char *version =
            digits[i] == 0 ? xstrdup(plain) : xasprintf("%s+g%.*s", plain, digits[i], commit);
        _cleanup_(free_ptr) char *key = xasprintf("%s/%s", service, version);
        if (!txn_get(txn, STATE_RELEASE, key))
            return steal_ptr(version);
    }
    return NULL;
}

static void register_service(struct txn *txn, const struct release_push *push,
    const struct manifest_service *s, const char *version, const char *key)
{
    if (!txn_get(txn, STATE_SERVICE, s->name)) {
        struct service *service = txn_edit(txn, STATE_SERVICE, s->name);
        str_set(&service->name, s->name);
        str_set(&service->app, push->app);
    }
    struct meta *meta = txn_edit(txn, STATE_META, "hub");
    struct release *release = txn_edit(txn, STATE_RELEASE, key);
    release->service = xstrdup(s->name);
    release->version = xstrdup(version);
    release->commit = xstrdup(push->commit);
    release->app = xstrdup(push->app);
    release->branch = xstrdup(push->branch);
    release->subject = xstrdup(push->subject);
    release->seq = ++meta->pushes;
    release->pushed_us = push->now.us;
    release->routes = strv_copy(s->routes);
    table_routes_copy(s->route_rules, s->n_route_rules, &release->route_rules, &release->n_route_rules);
    release->depends = strv_copy(s->depends);
    release->instances = s->instances;
    release->requests = s->requests;
    schema_copy(&run_spec_schema, &s->run, &release->run);
}

int release_register(struct txn *txn, const struct release_push *push, const struct manifest *manifest,
    char ***ret_keys, struct error *err)
{
    int r = release_check(txn_state(txn), push->app, manifest, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < manifest->n_services; i++) {
        const struct manifest_service *s = &manifest->services[i];
        const struct release *known = pending_of_commit(txn, s->name, push->commit);
        if (!known)
            known = release_of_commit(txn_state(txn), s->name, push->commit);
        _cleanup_(free_ptr) char *version =
            known ? xstrdup(known->version) : free_version(txn, s->name, s->version, push->commit);
        if (!version)
            return error_set(err, -EEXIST, "%s@%s is taken by another commit", s->name, s->version);
        char *key = xasprintf("%s/%s", s->name, version);
        strv_push_take(ret_keys, key);
        if (!known)
            register_service(txn, push, s, version, key);
    }
    return 0;
}

char *release_ref(const struct release *release)
{
    char *ref = xasprintf("refs/stagecoach/releases/%s/%s", release->service, release->version);
    for (char *p = ref; *p; p++)
        if (*p == '+')
            *p = '_';
    return ref;
}
