/* SPDX-License-Identifier: MIT */
#pragma once

/* What the clients of stagecoach-checker share. */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/router/pattern.h"

#define CHECKER_AT_ONCE 8 /* requests of a round, where several go at once */

enum mode { MODE_CLOSE, MODE_KEEP, MODE_PIPELINE, MODE_POST, MODE_H2, MODE_MAX_ };

struct client {
    enum mode mode;
    int fd; /* -1: none */
    bool keep;
    uint64_t seed;
    char *buf; /* read and not used */
    size_t n, cap;
    struct h2 *h2; /* checker_h2.c's */
};

struct request {
    uint64_t id;
    size_t size;
    double begun;
};

bool checker_dial(struct client *c);
void checker_hang_up(struct client *c);
bool checker_send(int fd, const char *p, size_t n);
struct request checker_make(struct client *c);
uint64_t checker_noise(struct client *c);
/* One line; the connection ends. begun: a part of the answer had come. */
void checker_fail(struct client *c, const struct request *q, bool post, bool begun, const char *reason);
void checker_count(struct client *c, int status);
/* A body of `status`; NULL: whole and right. The text is good until the next call of the thread. */
const char *checker_judge(
    const struct request *q, int status, const char *version, const char *body, size_t len);

/* A round of requests at once over HTTP/2, on a connection that is kept. */
void checker_h2_go(struct client *c);
void checker_h2_end(struct client *c);
