/* SPDX-License-Identifier: MIT */
#pragma once

/* What the kernel counts of this process. */

#include <stdbool.h>
#include <stdint.h>

int64_t process_cpu_us(void);
int64_t process_rss_bytes(void); /* 0 if /proc is not there */

/* Open descriptors, counted in steps: a busy router has many. Zeroed to begin with. */
struct process_fds {
    void *dir;
    int64_t n;
};
/* True: n is what there is. */
bool process_fds_step(struct process_fds *fds, int max);
void process_fds_done(struct process_fds *fds);
