/* SPDX-License-Identifier: MIT */
#include "routerd/queue.h"

#include <string.h>

#include "common/mem.h"

struct block *block_new(struct block_pool *pool, size_t size)
{
    struct block *block = pool->free;
    if (size <= BLOCK_SIZE && block) {
        pool->free = block->next;
        pool->n_free--;
    } else {
        size_t cap = size > BLOCK_SIZE ? size : BLOCK_SIZE;
        block = xmalloc(sizeof(*block) + cap);
        block->cap = (uint32_t)cap;
    }
    block->next = NULL;
    block->start = block->end = 0;
    pool->used_bytes += block->cap;
    return block;
}

void block_free(struct block_pool *pool, struct block *block)
{
    if (!block)
        return;
    pool->used_bytes -= block->cap;
    if (block->cap != BLOCK_SIZE || pool->n_free >= BLOCKS_KEPT_MAX) {
        free(block);
        return;
    }
    block->next = pool->free;
    pool->free = block;
    pool->n_free++;
}

void block_pool_done(struct block_pool *pool)
{
    while (pool->free) {
        struct block *next = pool->free->next;
        free(pool->free);
        pool->free = next;
    }
    pool->n_free = 0;
}

void queue_add(struct queue *queue, struct block_pool *pool, const void *data, size_t len)
{
    const char *p = data;
    queue->bytes += len;
    while (len > 0) {
        struct block *last = queue->last;
        if (!last || last->end == last->cap) {
            last = block_new(pool, BLOCK_SIZE);
            if (queue->last)
                queue->last->next = last;
            else
                queue->first = last;
            queue->last = last;
        }
        size_t n = last->cap - last->end;
        if (n > len)
            n = len;
        memcpy(last->data + last->end, p, n);
        last->end += (uint32_t)n;
        p += n;
        len -= n;
    }
}

int queue_iov(const struct queue *queue, struct iovec *iov, int max)
{
    int n = 0;
    for (struct block *b = queue->first; b && n < max; b = b->next)
        iov[n++] = (struct iovec){ b->data + b->start, b->end - b->start };
    return n;
}

void queue_consume(struct queue *queue, struct block_pool *pool, size_t n)
{
    queue->bytes -= n;
    while (queue->first) {
        struct block *b = queue->first;
        size_t here = b->end - b->start;
        if (n < here) {
            b->start += (uint32_t)n;
            return;
        }
        n -= here;
        queue->first = b->next;
        block_free(pool, b);
    }
    queue->last = NULL;
}

void queue_clear(struct queue *queue, struct block_pool *pool)
{
    queue_consume(queue, pool, queue->bytes);
}

void queue_add_rest(struct queue *queue, struct block_pool *pool, const struct iovec *iov, int n, size_t skip)
{
    for (int i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        queue_add(queue, pool, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip);
        skip = 0;
    }
}
