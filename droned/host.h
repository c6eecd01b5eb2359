/* SPDX-License-Identifier: MIT */
#pragma once

/* What there is to know of the machine itself, read from /proc and /etc. */

#include <stdint.h>

#include "common/messages.h"

/* proc, etc: "/proc", "/etc"; state_dir: whose disk counts. What can't be read stays 0. Strings are owned;
 * cleared by host_report_clear. */
void host_report_read(const char *proc, const char *etc, const char *state_dir, struct msg_host_report *ret);
void host_report_clear(struct msg_host_report *report);
/* Differs after each boot: the kernel's id of it, and when PID 1 started, since a container has a PID 1 of its
 * own and may see the kernel's id. Caller frees. */
char *host_boot_id(void);
/* A variable in the environment that a process was started with; NULL if it has none or is gone. Caller frees. */
char *host_process_env(int64_t pid, const char *key);
