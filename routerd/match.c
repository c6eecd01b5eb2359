/* SPDX-License-Identifier: MIT */
#include "routerd/match.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/table.h"
#include "routerd/match_index.h"

/* --- hashing ----------------------------------------------------------------------------------------------
 * Keys in the tables come from the operator, so that a client can't crowd a bucket; its probes end at the first
 * empty cell. */

#define HASH_START UINT64_C(0xcbf29ce484222325)
#define HASH_PRIME UINT64_C(0x100000001b3)

uint64_t match_hash(uint64_t h, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * HASH_PRIME;
    return h;
}

/* Low bits of a product are weak: fold the high ones in before masking. */
static uint32_t cell_of(const struct match_hash *t, uint64_t h)
{
    return (uint32_t)(h ^ h >> 29) & t->mask;
}

const struct match_cell *match_hash_find(
    const struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h)
{
    if (!t->cells)
        return NULL;
    for (uint32_t i = cell_of(t, h);; i = (i + 1) & t->mask) {
        const struct match_cell *c = &t->cells[i];
        if (!c->key)
            return NULL;
        if (c->hash == h && c->scope == scope && c->len == len && memcmp(c->key, key, len) == 0)
            return c;
    }
}

struct match_cell *match_hash_add(
    struct match_hash *t, uint32_t scope, const char *key, size_t len, uint64_t h, uint32_t value)
{
    uint32_t i = cell_of(t, h);
    while (t->cells[i].key)
        i = (i + 1) & t->mask;
    t->cells[i] = (struct match_cell){ h, key, scope, value, (uint32_t)len };
    return &t->cells[i];
}

uint64_t match_hash_start(uint32_t scope)
{
    return (HASH_START ^ scope) * HASH_PRIME;
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

/* Service of the longest route of `host` that is a prefix of path by whole segments. */
static uint32_t find_path(const struct match_index *index, uint32_t host, struct http1_slice path)
{
    const struct match_host *h = &index->hosts[host];
    uint64_t hashes[MATCH_SEGMENTS_MAX];
    size_t ends[MATCH_SEGMENTS_MAX];
    uint32_t n = 0;
    uint64_t hash = match_hash_start(host);
    for (size_t i = 0; i < path.len && n < h->segments_max; n++) {
        size_t start = i++;
        while (i < path.len && path.ptr[i] != '/')
            i++;
        hash = match_hash(hash, path.ptr + start, i - start);
        hashes[n] = hash;
        ends[n] = i;
    }
    while (n-- > 0) {
        const struct match_cell *c = match_hash_find(&index->paths, host, path.ptr, ends[n], hashes[n]);
        if (c)
            return c->value;
    }
    return h->root;
}

static uint32_t find_host(
    const struct match_index *index, const char *host, size_t len, struct http1_slice path)
{
    const struct match_cell *c =
        match_hash_find(&index->host_names, 0, host, len, match_hash(match_hash_start(0), host, len));
    return c ? find_path(index, c->value, path) : MATCH_NONE;
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
    const struct match_service *service = match_find_service(table, name, (size_t)(name_end - name));
    if (!service || !service->pin_host)
        return false;
    *ret = (struct match_route){ .service = service,
        .pinned_by_host = true,
        .release = match_find_release(table, service, (struct http1_slice){ version, version_len }) };
    return true;
}

struct match_route match_route(
    const struct match_table *table, struct http1_slice host, struct http1_slice path)
{
    const struct match_index *index = table->index;
    struct match_route ret = { .service = NULL };
    char name[MATCH_HOST_MAX] = "";
    size_t len = host.len;
    if (len > 0 && host.ptr[len - 1] == '.')
        len--;
    if (len > sizeof(name))
        return ret;
    for (size_t i = 0; i < len; i++) {
        char c = host.ptr[i];
        name[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    uint32_t service = find_host(index, name, len, path);
    if (service == MATCH_NONE && find_version_host(table, name, len, &ret))
        return ret;
    /* Wildcards are kept as ".example.com". */
    for (size_t i = 1; service == MATCH_NONE && index->has_wildcards && i < len; i++) {
        if (name[i] == '.')
            service = find_host(index, name + i, len - i, path);
    }
    if (service == MATCH_NONE)
        service = find_host(index, "*", 1, path);
    if (service != MATCH_NONE)
        ret.service = &table->services[service];
    return ret;
}

/* --- services and releases ------------------------------------------------------------------------------- */

const struct match_service *match_find_service(const struct match_table *table, const char *name, size_t len)
{
    const struct match_cell *c = match_hash_find(
        &table->index->service_names, 0, name, len, match_hash(match_hash_start(0), name, len));
    return c ? &table->services[c->value] : NULL;
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

const struct match_release *match_find_release(
    const struct match_table *table, const struct match_service *service, struct http1_slice pin)
{
    uint32_t scope = (uint32_t)(service - table->services);
    const struct match_cell *c = match_hash_find(&table->index->versions, scope, pin.ptr, pin.len,
        match_hash(match_hash_start(scope), pin.ptr, pin.len));
    if (c)
        return &service->releases[c->value];
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
