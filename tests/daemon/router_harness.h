/* SPDX-License-Identifier: MIT */
#pragma once

/* A whole struct routerd with real worker threads on loopback, its main loop in a thread of its own; and a client that
 * says bytes and reads answers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"

struct routerd;

struct router {
    struct routerd *routerd;
    struct loop *loop;
    int port;
    char *dir, *table_path;
    void *thread_; /* harness's own */
};

/* table: JSON text for the file that is watched; NULL: none, `hub` (a socket path) sends it. `settings`: NULL or
 * "Section.Key=value" lines, ended by NULL. */
struct router *router_start(const char *table, const char *hub, const char *const *settings);
void router_stop(struct router *router);
/* Runs fn on the main loop and waits for it. */
void router_call(struct router *router, void (*fn)(struct router *router, void *arg), void *arg);
/* Replaces the table file whole, and waits until all workers serve that epoch (or, `expect_refused`, for a while). */
void router_put_table(struct router *router, const char *text, int64_t epoch);
void router_put_file(struct router *router, const char *text);
int64_t router_epoch(struct router *router); /* that all workers serve */

/* A table with one route "*" → web; "version:port[:weight]" each. Caller frees. */
char *table_of(int64_t epoch, int n, const char *const *releases);

/* --- a client -------------------------------------------------------------------------------------------- */

int client_open(int port);
void client_send(int fd, const char *text);
void client_send_bytes(int fd, const void *data, size_t len);

struct answer {
    int status; /* 0: none came */
    struct strbuf head, content, trailers;
    bool whole, eof;
};

/* One answer, read to its end; for HEAD `head_only`. What comes behind it stays unread. 30 s at most. */
struct answer client_read(int fd, bool head_only);
void answer_done(struct answer *answer);
/* Value of a field; "" if there is none. Valid until the next call. */
const char *answer_field(const struct answer *answer, const char *name);
/* Open, send, read, close. */
struct answer ask(int port, const char *text);
/* GET path with Host web.example and further field lines; the content as text. Caller frees. */
char *get(int port, const char *path, const char *fields, int *ret_status);
int64_t process_rss_kb(void);
void sleep_ms(int ms);
int64_t now_ms(void);
