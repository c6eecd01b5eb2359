/* SPDX-License-Identifier: MIT */
#pragma once

/* Bytes that could not be written yet, in blocks of a worker's freelist. In the usual case a queue is empty and
 * costs nothing: data goes from the shared read buffer to the socket. */

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_SIZE      (16 * 1024)
#define BLOCKS_KEPT_MAX 64 /* free ones of a worker */

struct block {
    struct block *next;
    uint32_t start, end, cap;
    char data[];
};

struct block_pool {
    struct block *free;
    unsigned n_free;
    size_t used_bytes; /* in blocks that are out */
};

void block_pool_done(struct block_pool *pool);
/* At least `size` bytes of room; BLOCK_SIZE ones come from the freelist. */
struct block *block_new(struct block_pool *pool, size_t size);
void block_free(struct block_pool *pool, struct block *block); /* NULL is fine */

struct queue {
    struct block *first, *last;
    size_t bytes;
};

void queue_add(struct queue *queue, struct block_pool *pool, const void *data, size_t len);
/* At most max parts from the front; returns how many. */
int queue_iov(const struct queue *queue, struct iovec *iov, int max);
void queue_consume(struct queue *queue, struct block_pool *pool, size_t n);
void queue_clear(struct queue *queue, struct block_pool *pool);
/* Adds what of iov is left after the first `skip` bytes. */
void queue_add_rest(
    struct queue *queue, struct block_pool *pool, const struct iovec *iov, int n, size_t skip);
