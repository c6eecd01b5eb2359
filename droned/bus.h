/* SPDX-License-Identifier: MIT */
#pragma once

/* An sd-bus connection inside our loop. The library announces anew after each step what it waits for, so the
 * watch and the timer are set again after every turn of it and after every message of ours: bus_sent() has to
 * follow each send that is made outside a callback of the bus. What is said on the bus is systemd.c's. */

struct bus;
struct loop;
struct sd_bus;

/* The connection is gone; runs once, outside any callback of the bus. The owner frees the bus. */
typedef void (*bus_lost_fn)(void *arg, int result);

/* Takes over the connection. */
struct bus *bus_new(struct loop *loop, struct sd_bus *connection, bus_lost_fn fn, void *arg);
/* Closes the connection; not inside a callback of the bus. NULL is fine. */
void bus_free(struct bus *bus);
void bus_sent(struct bus *bus);
