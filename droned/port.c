/* SPDX-License-Identifier: MIT */
#include "droned/port.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/wire.h"

#define PORTS_FILE_MAX (1024 * 1024)

struct ports {
    int first, last;
    char *path;
    bool *taken;    /* by port - first */
    uint64_t *used; /* when it came back last, as a count; 0: never had */
    uint64_t count;
    size_t n_taken;
};

int port_range_parse(const char *text, int *ret_first, int *ret_last, struct error *err)
{
    char *end;
    errno = 0;
    long first = strtol(text, &end, 10);
    long last = *end == '-' && end[1] >= '0' && end[1] <= '9' ? strtol(end + 1, &end, 10) : -1;
    if (errno || *end || text[0] < '0' || text[0] > '9' || first < 1 || last > 65535 || last < first)
        return error_set(err, -EINVAL, "\"%s\" is no range of ports, such as 20000-29999", text);
    *ret_first = (int)first;
    *ret_last = (int)last;
    return 0;
}

static bool in_range(const struct ports *ports, int port)
{
    return port >= ports->first && port <= ports->last;
}

static void load(struct ports *ports)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    if (statefile_read(ports->path, PORTS_FILE_MAX, &text, NULL) < 0)
        return;
    for (const char *s = strbuf_str(&text); *s;) {
        char *end;
        long port = strtol(s, &end, 10);
        if (end == s)
            return;
        if (port > 0 && port <= 65535 && in_range(ports, (int)port))
            ports->used[port - ports->first] = ++ports->count;
        s = *end ? end + 1 : end;
    }
}

/* One port a line, the one that came back longest ago first. */
static void save(const struct ports *ports)
{
    size_t n = (size_t)(ports->last - ports->first + 1);
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    uint64_t after = 0;
    for (;;) {
        size_t next = n;
        for (size_t i = 0; i < n; i++)
            if (ports->used[i] > after && (next == n || ports->used[i] < ports->used[next]))
                next = i;
        if (next == n)
            break;
        after = ports->used[next];
        strbuf_addf(&text, "%d\n", ports->first + (int)next);
    }
    struct error err;
    if (statefile_write(ports->path, strbuf_str(&text), text.len, 0600, &err) < 0)
        log_warning(NULL, "can't keep the order of ports: %s", err.text);
}

struct ports *ports_new(int first, int last, const char *path)
{
    struct ports *ports = xcalloc(1, sizeof(*ports));
    size_t n = (size_t)(last - first + 1);
    ports->first = first;
    ports->last = last;
    ports->path = xstrdup(path);
    ports->taken = xcalloc(n, sizeof(*ports->taken));
    ports->used = xcalloc(n, sizeof(*ports->used));
    load(ports);
    return ports;
}

void ports_free(struct ports *ports)
{
    if (!ports)
        return;
    free(ports->path);
    free(ports->taken);
    free(ports->used);
    free(ports);
}

char *port_address(const char *address, int port)
{
    return strchr(address, ':') ? xasprintf("[%s]:%d", address, port) : xasprintf("%s:%d", address, port);
}

bool port_is_free(const char *address, int port)
{
    _cleanup_(free_ptr) char *text = port_address(address, port);
    _cleanup_(close_fd) int fd = -1;
    return wire_listen(text, 0, &fd, NULL) >= 0;
}

/* The least recently used one that is not taken and was not tried since `tried` (a count); -1: none. */
static int candidate(const struct ports *ports, const bool *tried)
{
    int best = -1;
    for (int i = 0; i <= ports->last - ports->first; i++)
        if (!ports->taken[i] && !tried[i] && (best < 0 || ports->used[i] < ports->used[best]))
            best = i;
    return best;
}

int ports_take(struct ports *ports, const char *address, int *ret_port, struct error *err)
{
    _cleanup_(free_ptr) bool *tried = xcalloc((size_t)(ports->last - ports->first + 1), sizeof(*tried));
    for (int tries = 0; tries < PORT_TRIES_MAX; tries++) {
        int i = candidate(ports, tried);
        if (i < 0)
            break;
        tried[i] = true;
        if (!port_is_free(address, ports->first + i))
            continue;
        ports->taken[i] = true;
        ports->n_taken++;
        *ret_port = ports->first + i;
        return 0;
    }
    return error_set(err, -EADDRINUSE, "no free port from %d to %d on %s (%zu taken by instances)",
        ports->first, ports->last, address, ports->n_taken);
}

bool ports_keep(struct ports *ports, int port)
{
    if (!in_range(ports, port))
        return true;
    bool *taken = &ports->taken[port - ports->first];
    if (*taken)
        return false;
    *taken = true;
    ports->n_taken++;
    return true;
}

void ports_release(struct ports *ports, int port)
{
    if (!in_range(ports, port) || !ports->taken[port - ports->first])
        return;
    ports->taken[port - ports->first] = false;
    ports->used[port - ports->first] = ++ports->count;
    ports->n_taken--;
    save(ports);
}

size_t ports_taken(const struct ports *ports)
{
    return ports->n_taken;
}
