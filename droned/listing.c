/* SPDX-License-Identifier: MIT */
#include "droned/listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/mem.h"
#include "common/strv.h"

struct entry {
    char *name;
    struct timespec changed;
};

static int newer_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->changed.tv_sec != y->changed.tv_sec)
        return x->changed.tv_sec < y->changed.tv_sec ? 1 : -1;
    return x->changed.tv_nsec < y->changed.tv_nsec ? 1 : x->changed.tv_nsec > y->changed.tv_nsec ? -1 : 0;
}

char **listing_newest_first(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return NULL;
    struct entry *entries = NULL;
    size_t n = 0, cap = 0;
    struct dirent *d;
    while ((d = readdir(dir)) != NULL) {
        struct stat st;
        if (d->d_name[0] == '.' || fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        entries = xgrow(entries, n, &cap, sizeof(*entries));
        entries[n].name = xstrdup(d->d_name);
        entries[n++].changed = st.st_mtim;
    }
    closedir(dir);
    if (n > 0)
        qsort(entries, n, sizeof(*entries), newer_first);
    char **names = NULL;
    for (size_t i = 0; i < n; i++)
        strv_push_take(&names, entries[i].name);
    free(entries);
    return names;
}
