/* SPDX-License-Identifier: MIT */
#include "hubd/manifest_keys.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/manifest.h"

/* --- messages -------------------------------------------------------------------------------------------- */

struct json *manifest_parse(struct manifest_reader *rd, const char *text)
{
    int line = 1;
    struct error why = { 0 };
    struct json *root = json_parse(text, strlen(text), &line, &why);
    if (!root)
        error_set(rd->err, -EINVAL, "%s:%d: %s", rd->file, line, why.text);
    return root;
}

int manifest_bad(struct manifest_reader *rd, const struct json *v, const char *must)
{
    _cleanup_(strbuf_done) struct strbuf is = STRBUF_INIT;
    json_describe(v, &is);
    return error_set(rd->err, -EINVAL, "%s:%d: \"%s\" must be %s, not %s", rd->file, json_line(v),
        json_key(v) ? json_key(v) : "", must, strbuf_str(&is));
}

int manifest_unknown_key(
    struct manifest_reader *rd, const struct json *v, const char *where, const char *const *known)
{
    _cleanup_(strbuf_done) struct strbuf key = STRBUF_INIT;
    strbuf_add_printable(&key, json_key(v), strlen(json_key(v)), 60);
    const char *near = nearest_word(json_key(v), known);
    return error_set(rd->err, -EINVAL, "%s:%d: unknown key \"%s\"%s%s%s%s%s", rd->file, json_line(v),
        strbuf_str(&key), where ? " in " : "", where ? where : "", near ? ", did you mean \"" : "",
        near ? near : "", near ? "\"?" : "");
}

/* Like manifest_bad for one item of a list or object, which has no key of its own or one that is no keyword. */
int manifest_bad_item(
    struct manifest_reader *rd, const struct json *list, const struct json *item, const char *must)
{
    _cleanup_(strbuf_done) struct strbuf is = STRBUF_INIT;
    json_describe(item, &is);
    return error_set(rd->err, -EINVAL, "%s:%d: each of \"%s\" must be %s, not %s", rd->file, json_line(item),
        json_key(list), must, strbuf_str(&is));
}

/* --- tables of keys ---------------------------------------------------------------------------------------- */

int manifest_read_keys(struct manifest_reader *rd, const struct json *object, const struct manifest_key *keys,
    size_t n_keys, const char *where, void *target)
{
    if (!json_is(object, JSON_OBJECT))
        return manifest_bad(rd, object, "an object");
    json_for_each(v, object)
    {
        const struct manifest_key *key = NULL;
        for (size_t i = 0; i < n_keys && !key; i++)
            if (strcmp(keys[i].name, json_key(v)) == 0)
                key = &keys[i];
        if (!key) {
            const char *known[MANIFEST_KEYS_MAX + 1] = { 0 };
            for (size_t i = 0; i < n_keys; i++)
                known[i] = keys[i].name;
            return manifest_unknown_key(rd, v, where, known);
        }
        int r = key->read(rd, v, key, (char *)target + key->offset);
        if (r < 0)
            return r;
    }
    return 0;
}

int manifest_read_bool(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    if (!json_is(v, JSON_BOOL))
        return manifest_bad(rd, v, "true or false");
    *(bool *)target = json_bool(v);
    return 0;
}

int manifest_read_int(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    if (!json_is(v, JSON_INT) || json_int(v) < key->min || json_int(v) > key->max)
        return manifest_bad(rd, v, key->must);
    *(int64_t *)target = json_int(v);
    return 0;
}

int manifest_read_duration(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    int64_t ms;
    if (!json_is(v, JSON_STRING) || duration_parse(json_string(v), &ms) < 0 || ms < key->min || ms > key->max)
        return manifest_bad(rd, v, key->must);
    *(int64_t *)target = ms;
    return 0;
}

int manifest_size_parse(const char *s, int64_t *ret_bytes)
{
    int64_t n = 0;
    if (!isdigit((unsigned char)*s))
        return -EINVAL;
    for (; isdigit((unsigned char)*s); s++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *s - '0', &n))
            return -EINVAL;
    static const char units[] = "KMGT";
    if (*s != '\0') {
        const char *unit = strchr(units, toupper((unsigned char)*s));
        if (!unit || s[1] != '\0' || __builtin_mul_overflow(n, INT64_C(1) << (10 * (unit - units + 1)), &n))
            return -EINVAL;
    }
    *ret_bytes = n;
    return 0;
}

int manifest_read_size(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    int64_t bytes = json_int(v);
    if (json_is(v, JSON_STRING) ? manifest_size_parse(json_string(v), &bytes) < 0 : !json_is(v, JSON_INT))
        return manifest_bad(rd, v, key->must);
    if (bytes < key->min || bytes > key->max)
        return manifest_bad(rd, v, key->must);
    *(int64_t *)target = bytes;
    return 0;
}

int manifest_read_percent(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    int64_t n = 0;
    const char *s = json_string(v);
    size_t digits = s ? strspn(s, "0123456789") : 0;
    if (digits == 0 || digits > 6 || strcmp(s + digits, "%") != 0)
        return manifest_bad(rd, v, key->must);
    for (size_t i = 0; i < digits; i++)
        n = n * 10 + (s[i] - '0');
    if (n < key->min || n > key->max)
        return manifest_bad(rd, v, key->must);
    *(int64_t *)target = n;
    return 0;
}

/* --- build and command ------------------------------------------------------------------------------------- */

int manifest_read_text(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    if (!json_is(v, JSON_STRING) || json_string_len(v) == 0 || json_string_len(v) > MANIFEST_COMMAND_MAX ||
        strspn(json_string(v), " \t\n") == json_string_len(v))
        return manifest_bad(rd, v, key->must);
    str_set((char **)target, json_string(v));
    return 0;
}

/* A string is run by /bin/sh -c, a list is the arguments as they are. */
int manifest_read_argv(
    struct manifest_reader *rd, const struct json *v, const struct manifest_key *key, void *target)
{
    char ***argv = target;
    strv_free(*argv);
    *argv = NULL;
    if (json_is(v, JSON_STRING)) {
        char *text = NULL;
        int r = manifest_read_text(rd, v, key, &text);
        if (r < 0)
            return r;
        strv_push(argv, "/bin/sh");
        strv_push(argv, "-c");
        strv_push_take(argv, text);
        return 0;
    }
    if (!json_is(v, JSON_LIST) || json_size(v) == 0 || json_size(v) > MANIFEST_ARGS_MAX)
        return manifest_bad(rd, v, key->must);
    size_t total = 0;
    json_for_each(item, v)
    {
        if (!json_is(item, JSON_STRING))
            return manifest_bad_item(rd, v, item, "a string");
        total += json_string_len(item) + 1;
        if (item == json_first(v) && json_string_len(item) == 0)
            return manifest_bad_item(rd, v, item, "a program, for the first of them");
        strv_push(argv, json_string(item));
    }
    if (total > MANIFEST_COMMAND_MAX)
        return error_set(rd->err, -EINVAL, "%s:%d: \"%s\" must be at most %d bytes long, not %zu", rd->file,
            json_line(v), key->name, MANIFEST_COMMAND_MAX, total);
    return 0;
}
