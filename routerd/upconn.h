/* SPDX-License-Identifier: MIT */
#pragma once

/* One connection to an endpoint, and the pools of idle ones: by worker and endpoint, last in first out, young;
 * above a cap very young. Any byte or close on a pooled one discards it. What is said over it is the exchange's. */

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "common/wire.h"
#include "routerd/wheel.h"

#define UPCONN_IDLE_MS        4000
#define UPCONN_ALIVE_S        5 /* silence, inside an answer or a tunnel, after which the host is asked for life */
#define UPCONN_SURPLUS_MS     200  /* of those above IdlePerEndpoint: a burst takes them again, or they go */
#define UPCONN_UNSAFE_IDLE_MS 1000 /* requests that can't be repeated take only connections used as lately */

struct block;
struct endpoint;
struct exchange;
struct worker;

struct upconn {
    struct wire wire;
    struct worker *worker;
    struct endpoint *endpoint; /* weak: outlives us, its slot counts our pools */
    struct exchange *exchange; /* weak: NULL while pooled */
    struct list pool, all;     /* while pooled */
    struct wheel_node deadline;
    int64_t idle_since_us;
    int64_t taken_us; /* from the pool */
    bool reused;      /* has carried an exchange before this one */
    bool connected;
    bool answers_large; /* the last one was worth splicing */
    bool closed;
    struct block *in; /* the beginning of a head */
};

/* A pooled one that may carry this request, or NULL. */
struct upconn *upconn_take(struct worker *worker, struct endpoint *endpoint, bool idempotent);
/* A new one, on its way; NULL: could not even begin (*ret_error: negative errno). */
struct upconn *upconn_connect(struct worker *worker, struct endpoint *endpoint, int *ret_error);
/* Back to the pool if it is clean and there is room, else closed. */
void upconn_give_back(struct upconn *up);
/* Closed at once, memory goes when the turn is over. */
void upconn_close(struct upconn *up);
/* Looks at the next n pooled ones and closes those of endpoints that take no new requests. */
void upconn_sweep(struct worker *worker, uint32_t n);
/* Closes this worker's pooled ones of an endpoint. */
void upconn_drop_endpoint(struct worker *worker, struct endpoint *endpoint);
void upconn_drop_all(struct worker *worker);
