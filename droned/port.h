/* SPDX-License-Identifier: MIT */
#pragma once

/* Which ports of the range are ours to give: least recently used first, so that a port that was just given back
 * is the last to come again; checked by listening on it once. What is in use is kept with the instances; here
 * only the order in which ports came back is kept on disk. */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

#define PORT_FIRST     20000 /* default range, outside the ephemeral one */
#define PORT_LAST      29999
#define PORT_TRIES_MAX 200 /* ports of others in a row before we say that the range is not ours */

struct ports;

/* "20000-29999". */
_must_check_ int port_range_parse(const char *text, int *ret_first, int *ret_last, struct error *err);

/* path: where the order is kept; what cannot be read there is forgotten, it only orders. */
struct ports *ports_new(int first, int last, const char *path);
void ports_free(struct ports *ports);

/* A free port on this address ("10.0.0.11", "::1"), reserved from now on. -EADDRINUSE: all are taken. */
_must_check_ int ports_take(struct ports *ports, const char *address, int *ret_port, struct error *err);
/* Reserves the port an instance had. False: another instance has it. */
bool ports_keep(struct ports *ports, int port);
void ports_release(struct ports *ports, int port);
size_t ports_taken(const struct ports *ports);

/* Nobody listens there now. */
bool port_is_free(const char *address, int port);
/* "10.0.0.11:20117", "[::1]:20117". Caller frees. */
char *port_address(const char *address, int port);
