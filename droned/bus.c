/* SPDX-License-Identifier: MIT */
#include "droned/bus.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "common/loop.h"
#include "common/mem.h"

#define BUS_TURN_MAX 128 /* messages handled before other work gets its turn */

struct bus {
    struct loop *loop;
    sd_bus *connection;
    struct io *io;
    struct timer timer;
    bus_lost_fn fn;
    void *arg;
    bool processing;
    bool lost;
};

static void rearm(struct bus *bus);

static void lose(struct bus *bus, int result)
{
    if (bus->lost)
        return;
    bus->lost = true;
    timer_clear(&bus->timer);
    io_free(steal_ptr(bus->io));
    bus->fn(bus->arg, result);
}

static void pump(struct bus *bus)
{
    int r = 0;
    bus->processing = true;
    for (int i = 0; i < BUS_TURN_MAX; i++) {
        r = sd_bus_process(bus->connection, NULL);
        if (r <= 0)
            break;
    }
    bus->processing = false;
    if (r < 0) {
        lose(bus, r);
        return;
    }
    rearm(bus);
    if (!bus->lost && r > 0)
        timer_set(&bus->timer, 0);
}

static void on_io(unsigned ready, void *arg)
{
    pump(arg);
}

static void on_timer(void *arg)
{
    pump(arg);
}

static void rearm(struct bus *bus)
{
    int events = sd_bus_get_events(bus->connection);
    uint64_t until = UINT64_MAX;
    if (events < 0 || sd_bus_get_timeout(bus->connection, &until) < 0) {
        /* A closed connection says so here; its last messages were processed. */
        timer_set(&bus->timer, 0);
        return;
    }
    io_set(bus->io, ((events & POLLIN) ? IO_READ : 0) | ((events & POLLOUT) ? IO_WRITE : 0));
    if (until == UINT64_MAX) {
        timer_clear(&bus->timer);
        return;
    }
    /* The library counts on the kernel's clock, also where the loop's stands still. */
    int64_t left_us = (int64_t)until - clock_mono().us;
    timer_set(&bus->timer, left_us <= 0 ? 0 : left_us / CLOCK_US_PER_MS + 1);
}

struct bus *bus_new(struct loop *loop, sd_bus *connection, bus_lost_fn fn, void *arg)
{
    struct bus *bus = xcalloc(1, sizeof(*bus));
    bus->loop = loop;
    bus->connection = connection;
    bus->fn = fn;
    bus->arg = arg;
    timer_init(&bus->timer, loop, on_timer, bus);
    bus->io = io_new(loop, sd_bus_get_fd(connection), IO_READ, on_io, bus);
    rearm(bus);
    return bus;
}

void bus_free(struct bus *bus)
{
    if (!bus)
        return;
    timer_done(&bus->timer);
    io_free(bus->io);
    sd_bus_close_unref(bus->connection);
    free(bus);
}

void bus_sent(struct bus *bus)
{
    if (!bus->processing && !bus->lost)
        rearm(bus);
}
