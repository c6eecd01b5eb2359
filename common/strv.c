/* SPDX-License-Identifier: MIT */
#include "common/strv.h"

#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"

void strv_free(char **v)
{
    if (!v)
        return;
    for (char **s = v; *s; s++)
        free(*s);
    free(v);
}

void strv_freep(char ***v)
{
    strv_free(*v);
    *v = NULL;
}

size_t strv_len(char *const *v)
{
    size_t n = 0;

    while (v && v[n])
        n++;
    return n;
}

char **strv_copy(char *const *v)
{
    size_t n = strv_len(v);

    if (!v)
        return NULL;
    char **copy = xcalloc(n + 1, sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = xstrdup(v[i]);
    return copy;
}

bool strv_contains(char *const *v, const char *s)
{
    for (; v && *v; v++)
        if (strcmp(*v, s) == 0)
            return true;
    return false;
}

bool strv_equal(char *const *a, char *const *b)
{
    size_t n = strv_len(a);

    if (n != strv_len(b))
        return false;
    for (size_t i = 0; i < n; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

void strv_push(char ***v, const char *s)
{
    strv_push_take(v, xstrdup(s));
}

void strv_push_take(char ***v, char *s)
{
    size_t n = strv_len(*v);

    *v = xrealloc(*v, (n + 2) * sizeof(**v));
    (*v)[n] = s;
    (*v)[n + 1] = NULL;
}

char *strv_join(char *const *v, const char *separator)
{
    struct strbuf sb = STRBUF_INIT;

    for (size_t i = 0; v && v[i]; i++) {
        if (i > 0)
            strbuf_adds(&sb, separator);
        strbuf_adds(&sb, v[i]);
    }
    return strbuf_steal(&sb);
}

char **strv_split(const char *s, const char *separators)
{
    char **v = NULL;

    while (s && *s) {
        s += strspn(s, separators);
        size_t len = strcspn(s, separators);
        if (len > 0)
            strv_push_take(&v, xstrndup(s, len));
        s += len;
    }
    return v;
}

static char **find_pair(char *const *v, const char *key, size_t len)
{
    for (; v && *v; v++)
        if (strncmp(*v, key, len) == 0 && (*v)[len] == '=')
            return (char **)v;
    return NULL;
}

const char *pairs_get(char *const *v, const char *key)
{
    size_t len = strlen(key);
    char **pair = find_pair(v, key, len);

    return pair ? *pair + len + 1 : NULL;
}

void pairs_set(char ***v, const char *key, const char *value)
{
    char **old = find_pair(*v, key, strlen(key));
    char *pair = xasprintf("%s=%s", key, value);

    if (!old) {
        strv_push_take(v, pair);
        return;
    }
    free(*old);
    *old = pair;
}

void pairs_merge(char ***a, char *const *b)
{
    for (; b && *b; b++) {
        const char *equals = strchr(*b, '=');
        if (!equals)
            continue;
        char **old = find_pair(*a, *b, (size_t)(equals - *b));
        if (!old) {
            strv_push(a, *b);
            continue;
        }
        str_set(old, *b);
    }
}
