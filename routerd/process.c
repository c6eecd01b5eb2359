/* SPDX-License-Identifier: MIT */
#include "routerd/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/clock.h"

int64_t process_cpu_us(void)
{
    struct rusage u = { 0 };
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * CLOCK_US_PER_S + u.ru_utime.tv_usec +
        u.ru_stime.tv_usec;
}

int64_t process_rss_bytes(void)
{
    int64_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*d %" SCNd64, &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

bool process_fds_step(struct process_fds *fds, int max)
{
    if (!fds->dir)
        fds->dir = opendir("/proc/self/fd");
    for (int i = 0; fds->dir && i < max; i++) {
        const struct dirent *entry = readdir(fds->dir);
        if (!entry) {
            process_fds_done(fds);
            fds->n--; /* the one that we looked with */
            return true;
        }
        fds->n += entry->d_name[0] != '.';
    }
    return !fds->dir;
}

void process_fds_done(struct process_fds *fds)
{
    if (fds->dir)
        closedir(fds->dir);
    fds->dir = NULL;
}
