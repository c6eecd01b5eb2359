/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/table.h"
#include "common/wire.h"
#include "routerd/conn_h2.h"
#include "routerd/headers.h"
#include "routerd/routerd.h"
#include "routerd/settings.h"
#include "routerd/worker.h"

#define TURNS_MAX 200
#define PREFACE   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

/* Frames of a client into a connection, as they come: whatever they are, the connection ends, nothing of it stays, and no
 * request is left behind. The endpoint answers each head that it gets, with content and a trailer.
 *
 * Input: what follows the preface and empty SETTINGS. */

static struct routerd *routerd;
static struct worker *worker;

/* --- the endpoint ---------------------------------------------------------------------------------------- */

struct answerer {
    struct wire wire;
};

static void free_answerer(void *p)
{
    free(p);
}

static void on_request(struct wire *wire, unsigned events)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
                                 "5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
    struct answerer *a = container_of(wire, struct answerer, wire);
    char data[4096];
    ssize_t n;
    while ((n = wire_read(wire, data, sizeof(data))) > 0) {
        if (memmem(data, (size_t)n, "\r\n\r\n", 4))
            (void)wire_write(wire, answer, sizeof(answer) - 1);
    }
    if (n == -EAGAIN)
        return;
    wire_close(wire);
    loop_free_later(worker->loop, a, free_answerer);
}

static void on_accept(void *arg, int fd, const struct wire_address *peer)
{
    struct answerer *a = xcalloc(1, sizeof(*a));
    wire_init(&a->wire, on_request);
    wire_adopt_accepted(&a->wire, worker->loop, fd);
}

/* --- the router, without threads ------------------------------------------------------------------------- */

static void quiet(enum log_level level, const struct log_about *about, const char *text)
{
}

static void serve(int port)
{
    struct error err;
    struct table table;
    struct match_table *compiled;
    char text[512];
    int n = snprintf(text, sizeof(text),
        "{\"format\":1,\"epoch\":1,\"routes\":[{\"host\":\"*\",\"service\":\"web\"}],\"services\":[{\"name\":"
        "\"web\","
        "\"releases\":[{\"version\":\"1.0.0\",\"weight\":1,\"endpoints\":[{\"address\":\"127.0.0.1:%d\"}]}]}]"
        "}",
        port);
    must(table_read(text, (size_t)n, &table, &err) == 0);
    must(routerd_compile(routerd, &table, &compiled, &err) == 0);
    table_clear(&table);
    worker_post(worker, compiled);
}

static void start(void)
{
    struct settings settings;
    struct error err;
    int fd = -1;
    log_set_sink(quiet);
    must(config_load(&settings_table, "/nonexistent", false, &settings, &err) == 0);
    must(config_set(&settings_table, &settings, "Router.Workers=1", &err) == 0);
    must(config_set(&settings_table, &settings, "Router.Status=", &err) == 0);
    routerd = routerd_new(loop_new(), &settings, NULL, 0);
    worker = routerd->workers[0];
    must(wire_listen("127.0.0.1:0", 0, &fd, &err) == 0);
    int port = wire_local_port(fd);
    must(wire_listener_new(worker->loop, fd, on_accept, NULL));
    serve(port);
    loop_turn(worker->loop, 100);
    must(worker->table);
}

/* --- one input ------------------------------------------------------------------------------------------- */

static void drain(int fd)
{
    char data[65536];
    while (recv(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct forward forward = { .peer = "192.0.2.7" };
    struct wire wire;
    int pair[2];
    if (!routerd)
        start();
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    wire_init(&wire, NULL);
    wire_adopt(&wire, worker->loop, pair[0]);
    conn_h2_new(worker, &wire, &forward, PREFACE, sizeof(PREFACE) - 1);
    while (size > 0) {
        ssize_t n = send(pair[1], data, size < 20000 ? size : 20000, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break;
        data += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
        loop_turn(worker->loop, 0);
        drain(pair[1]);
    }
    for (int i = 0; i < 10; i++) {
        loop_turn(worker->loop, 0);
        drain(pair[1]);
    }
    close(pair[1]);
    for (int i = 0; i < TURNS_MAX && !(list_empty(&worker->h2_conns) && list_empty(&worker->exchanges)); i++)
        loop_turn(worker->loop, 1);
    must(list_empty(&worker->h2_conns));
    must(list_empty(&worker->exchanges));
    must(worker->blocks.used_bytes == 0);
    return 0;
}
