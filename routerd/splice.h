/* SPDX-License-Identifier: MIT */
#pragma once

/* A worker's pipe, through which large plain bodies go from one socket to another without being copied into the process
 * and out again. It is empty between two uses: what a slow receiver does not take is read out and queued like any other
 * bytes, so that limits and deadlines are the same for both ways. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPLICE_PIPE (256 * 1024)
#define SPLICE_MIN  (48 * 1024) /* what is left of a body: less is copied, which is cheaper */
#define SPLICE_HEAD_READ \
    (8 * 1024) /* where the last answer was that large: its content must not come with its head */

struct splice {
    int fds[2]; /* 0 and 0: not made yet */
    bool failed;
};

struct wire;

/* False: there is no pipe to be had, now or ever. */
bool splice_ready(struct splice *splice);
/* Not empty after an error: closed, and made anew when it is needed. */
void splice_done(struct splice *splice);

struct splice_result {
    int64_t moved;   /* out of `from`; 0: its end; negative: as wire_splice_in */
    size_t rest;     /* of it in the pipe: `to` did not take it */
    bool out_failed; /* `to` is gone; the pipe is done */
};
/* Moves at most len bytes, once. */
struct splice_result splice_move(struct splice *splice, struct wire *from, struct wire *to, uint64_t len);
/* Reads out what is in the pipe. */
size_t splice_read_rest(struct splice *splice, char *buf, size_t len);
