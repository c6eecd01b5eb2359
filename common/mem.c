/* SPDX-License-Identifier: MIT */
#include "common/mem.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* There is no memory to format a sentence with, so this one is written as it is. */
static _Noreturn void out_of_memory(void)
{
    static const char text[] = "<3>out of memory\n";

    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    abort();
}

static void *check(void *p)
{
    if (!p)
        out_of_memory();
    return p;
}

void *xmalloc(size_t size)
{
    return check(malloc(size ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return check(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t size)
{
    return check(realloc(p, size ? size : 1));
}

void *xgrow(void *p, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return p;
    size_t grown = *cap ? *cap : 4;
    while (grown <= n) {
        if (grown > SIZE_MAX / 2)
            out_of_memory();
        grown *= 2;
    }
    if (size && grown > SIZE_MAX / size)
        out_of_memory();
    p = xrealloc(p, grown * size);
    *cap = grown;
    return p;
}

char *xstrdup(const char *s)
{
    return s ? xmemdup(s, strlen(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
    return s ? xmemdup(s, strnlen(s, n)) : NULL;
}

char *xmemdup(const void *p, size_t n)
{
    if (n == SIZE_MAX)
        out_of_memory();
    char *copy = xmalloc(n + 1);
    if (n)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

char *xasprintf(const char *fmt, ...)
{
    char *s = NULL;
    va_list args;

    va_start(args, fmt);
    int n = vasprintf(&s, fmt, args);
    va_end(args);
    if (n < 0)
        out_of_memory();
    return s;
}

void str_set(char **slot, const char *value)
{
    char *copy = xstrdup(value);

    free(*slot);
    *slot = copy;
}

void free_ptr(void *pp)
{
    void **p = pp;

    free(*p);
    *p = NULL;
}

void close_fd(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

int steal_fd(int *fd)
{
    int stolen = *fd;

    *fd = -1;
    return stolen;
}
