/* SPDX-License-Identifier: MIT */
#pragma once

/* How a reload is asked for so that its outcome is told: a socket in the kernel's name space, named after the process.
 * `stagecoach-routerd --reload=PID` connects, which asks; one line comes back when it is decided. Only root and the
 * router's own user are heard. */

struct generation;
struct loop;
struct reload;

/* Never fails: without the socket SIGHUP still works, and says so in the log. */
struct reload *reload_new(struct loop *loop, struct generation *generation);
void reload_free(struct reload *reload);

/* Asks the router that is process `pid` and waits; says the outcome on standard error. Returns an exit status. */
int reload_ask(const char *pid);
