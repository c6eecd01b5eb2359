/* SPDX-License-Identifier: MIT */
#include "routerd/match.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "routerd/match_index.h"
#include "routerd/path.h"

/* --- hashing ----------------------------------------------------------------------------------------------
 * Keys in the tables come from the operator, so that a client can't crowd a bucket; its probes end at the first
 * empty tag. */

#define HASH_START UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x9e3779b97f4a7c15)
#define BYTE_PRIME UINT64_C(0x100000001b3)
#define TAG_MASK   (UINT32_MAX << MATCH_INDEX_BITS)
#define WORD       sizeof(uint64_t)

uint64_t match_hash_words(const char *key, size_t len)
{
    uint64_t h = HASH_START ^ len;
    for (size_t i = 0; i < len; i += WORD) {
        uint64_t w;
        memcpy(&w, key + i, WORD);
        h = (h ^ w) * HASH_PRIME;
        h ^= h >> 32;
    }
    return h;
}

uint64_t match_hash_path_start(uint32_t scope)
{
    return (HASH_START ^ scope) * HASH_PRIME;
}

uint64_t match_hash_path(uint64_t h, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * BYTE_PRIME;
    return h;
}

/* High bits of a product are the good ones: a tag has the uppermost, the place in the table those below. */
static uint32_t fingerprint(uint64_t h)
{
    return (uint32_t)(h >> 32);
}

static bool key_is(const struct match_cell *c, const char *key, size_t len)
{
    const char *own = c->key;
    if (len > MATCH_KEY_INLINE)
        memcpy(&own, c->key, sizeof(own));
    return memcmp(own, key, len) == 0;
}

const struct match_cell *match_hash_find(
    const struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h)
{
    uint32_t print = fingerprint(h);
    if (t->n == 0)
        return NULL;
    for (uint32_t i = print & t->mask; t->tags[i] != 0; i = (i + 1) & t->mask) {
        if ((t->tags[i] ^ print) & TAG_MASK)
            continue;
        const struct match_cell *c = &t->cells[(t->tags[i] & ~TAG_MASK) - 1];
        if (c->hash == print && c->scope == scope && c->len == len && key_is(c, key, len))
            return c;
    }
    return NULL;
}

struct match_cell *match_hash_add(
    struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h)
{
    uint32_t i = fingerprint(h) & t->mask;
    while (t->tags[i] != 0)
        i = (i + 1) & t->mask;
    struct match_cell *c = &t->cells[t->n++];
    t->tags[i] = (fingerprint(h) & TAG_MASK) | t->n;
    c->hash = fingerprint(h);
    c->scope = scope;
    c->len = (uint16_t)len;
    if (len > MATCH_KEY_INLINE)
        memcpy(c->key, &key, sizeof(key));
    else
        memcpy(c->key, key, len);
    return c;
}

/* --- references ------------------------------------------------------------------------------------------ */

void match_ref(struct match_table *table)
{
    atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
}

bool match_unref(struct match_table *table)
{
    return atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) == 1;
}

/* --- routes ---------------------------------------------------------------------------------------------- */

/* The longest route of a host that is a prefix of path by whole segments. */
static const struct match_cell *find_path(
    const struct match_index *index, const struct match_cell *host, uint32_t scope, struct http1_slice path)
{
    uint64_t hashes[MATCH_SEGMENTS_MAX];
    size_t ends[MATCH_SEGMENTS_MAX];
    uint32_t n = 0;
    uint64_t hash = match_hash_path_start(scope);
    for (size_t i = 0; i < path.len && n < host->segments_max; n++) {
        size_t start = i++;
        while (i < path.len && path.ptr[i] != '/')
            i++;
        hash = match_hash_path(hash, path.ptr + start, i - start);
        hashes[n] = hash;
        ends[n] = i;
    }
    while (n-- > 0) {
        const struct match_cell *c = match_hash_find(&index->paths, scope, path.ptr, ends[n], hashes[n]);
        if (c)
            return c;
    }
    return host->is_route ? host : NULL;
}

static const struct match_cell *within_host(
    const struct match_index *index, const struct match_cell *host, uint32_t scope, struct http1_slice path)
{
    if (host->segments_max > 0)
        return find_path(index, host, scope, path);
    return host->is_route ? host : NULL;
}

static const struct match_cell *find_host(
    const struct match_index *index, const char *host, size_t len, struct http1_slice path)
{
    const struct match_cell *c = match_hash_find(&index->hosts, 0, host, len, match_hash_words(host, len));
    return c ? within_host(index, c, (uint32_t)(c - index->hosts.cells), path) : NULL;
}

static const struct match_cell *find_service(const struct match_table *table, const char *name, size_t len)
{
    char key[MATCH_HOST_MAX + 1 + 2 * WORD];
    if (len > MATCH_HOST_MAX)
        return NULL;
    memset(key + (len & ~(WORD - 1)), 0, 2 * WORD);
    memcpy(key, name, len);
    return match_hash_find(&table->index->services, 0, key, len, match_hash_words(key, len));
}

/* "0-2-2" → "0.2.2"; "g35819ef" stays. False if the label names no version. */
static bool version_label(const char *label, size_t len, char *ret, size_t *ret_len)
{
    bool commit = len >= 5 && label[0] == 'g';
    int dashes = 0;
    for (size_t i = 0; i < len; i++) {
        bool digit = label[i] >= '0' && label[i] <= '9';
        bool hex = digit || (label[i] >= 'a' && label[i] <= 'f');
        if (commit && i > 0 && !hex)
            return false;
        if (!commit && !digit && (label[i] != '-' || i == 0 || i + 1 == len || label[i - 1] == '-'))
            return false;
        dashes += label[i] == '-';
        ret[i] = label[i] == '-' ? '.' : label[i];
    }
    *ret_len = len;
    return commit || dashes == 2;
}

#define LABEL_MAX 63

/* VERSION.SERVICE or VERSION.SERVICE.anything */
static bool find_version_host(
    const struct match_table *table, const char *host, size_t len, struct match_route *ret)
{
    const char *dot = memchr(host, '.', len);
    if (!dot || dot - host > LABEL_MAX)
        return false;
    const char *name = dot + 1, *end = host + len;
    const char *name_end = memchr(name, '.', (size_t)(end - name));
    if (!name_end)
        name_end = end;
    char version[LABEL_MAX];
    size_t version_len;
    if (!version_label(host, (size_t)(dot - host), version, &version_len))
        return false;
    const struct match_cell *cell = find_service(table, name, (size_t)(name_end - name));
    const struct match_service *service = cell && !cell->closed ? cell->service : NULL;
    if (!service || !service->pin_host)
        return false;
    *ret = (struct match_route){ .service = service,
        .rules = cell->rules,
        .pinned_by_host = true,
        .release = match_find_release(service, (struct http1_slice){ version, version_len }) };
    return true;
}

/* Each byte that is an upper-case letter becomes the lower-case one. */
static uint64_t lower_word(uint64_t w)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    uint64_t low = w & ~tops;
    uint64_t from_a = low + ones * (0x80 - 'A'), beyond_z = low + ones * (0x7f - 'Z');
    return w | ((from_a ^ beyond_z) & ~w & tops) >> 2;
}

/* Into a buffer with zeros behind, as hashing wants it. */
static void copy_name(char *name, const char *host, size_t len)
{
    memset(name + (len & ~(WORD - 1)), 0, 2 * WORD);
    memcpy(name, host, len);
    for (size_t i = 0; i < len; i += WORD) {
        uint64_t w;
        memcpy(&w, name + i, WORD);
        w = lower_word(w);
        memcpy(name + i, &w, WORD);
    }
}

static const struct match_cell *find_wildcard(
    const struct match_index *index, const char *name, size_t len, struct http1_slice path)
{
    const struct match_cell *c = NULL;
    /* They are kept as ".example.com". */
    for (size_t i = 1; !c && index->has_wildcards && i < len; i++) {
        if (name[i] == '.')
            c = find_host(index, name + i, len - i, path);
    }
    return c;
}

struct match_route match_route(
    const struct match_table *table, struct http1_slice host, struct http1_slice path)
{
    const struct match_index *index = table->index;
    struct match_route ret = { .service = NULL };
    char name[MATCH_HOST_MAX + 1 + 2 * WORD];
    size_t len = host.len;
    if (len > 0 && host.ptr[len - 1] == '.')
        len--;
    if (len > MATCH_HOST_MAX)
        return ret;
    copy_name(name, host.ptr, len);
    const struct match_cell *c = find_host(index, name, len, path);
    if (!c && find_version_host(table, name, len, &ret))
        return ret;
    if (!c)
        c = find_wildcard(index, name, len, path);
    if (!c && index->has_any)
        c = within_host(index, &index->any, MATCH_ANY, path);
    if (c) {
        ret.service = c->service;
        ret.rules = c->rules;
    }
    return ret;
}

bool match_is_ambiguous(const struct match_table *table, struct http1_slice host, struct http1_slice path,
    const struct match_route *route, char *scratch)
{
    if (table->index->paths.n == 0 || path_is_plain(path))
        return false;
    struct http1_slice other = { scratch, path_normalize(path, scratch) };
    struct match_route r = match_route(table, host, other);
    return r.service != route->service || r.rules != route->rules || r.release != route->release;
}

/* --- services and releases ------------------------------------------------------------------------------- */

const struct match_service *match_find_service(const struct match_table *table, const char *name, size_t len)
{
    const struct match_cell *c = find_service(table, name, len);
    return c ? c->service : NULL;
}

static int compare(const char *text, const char *key, size_t len)
{
    int r = strncmp(text, key, len);
    return r != 0 ? r : text[len] != '\0';
}

/* First release whose version is not below the key. */
static uint32_t lower_bound(const struct match_service *s, struct http1_slice key)
{
    uint32_t lo = 0, hi = s->n_releases;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (compare(s->releases[s->by_version[mid]].version, key.ptr, key.len) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static const struct match_release *find_version(const struct match_service *s, struct http1_slice version)
{
    uint32_t i = lower_bound(s, version);
    if (i == s->n_releases || version.len == 0)
        return NULL;
    const struct match_release *r = &s->releases[s->by_version[i]];
    return compare(r->version, version.ptr, version.len) == 0 ? r : NULL;
}

/* First release whose commit is not below the prefix; the next one must not have it too. */
static const struct match_release *find_commit(const struct match_service *s, const char *prefix, size_t len)
{
    uint32_t lo = 0, hi = s->n_by_commit;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (strncmp(s->releases[s->by_commit[mid]].commit, prefix, len) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == s->n_by_commit || strncmp(s->releases[s->by_commit[lo]].commit, prefix, len) != 0)
        return NULL;
    if (lo + 1 < s->n_by_commit && strncmp(s->releases[s->by_commit[lo + 1]].commit, prefix, len) == 0)
        return NULL;
    return &s->releases[s->by_commit[lo]];
}

#define COMMIT_PREFIX_MIN 4
#define COMMIT_LEN        40

const struct match_release *match_find_release(const struct match_service *service, struct http1_slice pin)
{
    const struct match_release *r = find_version(service, pin);
    if (r)
        return r;
    if (pin.len < 1 + COMMIT_PREFIX_MIN || pin.len > 1 + COMMIT_LEN || pin.ptr[0] != 'g')
        return NULL;
    return find_commit(service, pin.ptr + 1, pin.len - 1);
}

const struct match_release *match_at(const struct match_service *s, uint32_t position)
{
    uint32_t lo = 0, hi = s->n_ranges;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->ranges[mid].last < position)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == s->n_ranges || s->ranges[lo].release == MATCH_NONE)
        return NULL;
    return &s->releases[s->ranges[lo].release];
}
