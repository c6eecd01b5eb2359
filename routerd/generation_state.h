/* SPDX-License-Identifier: MIT */
#pragma once

/* What generation.c (the one in charge and its older ones) and generation_reload.c (from one to the next) share. */

#include <sys/types.h>

#include "common/list.h"
#include "common/loop.h"
#include "routerd/generation.h"

/* Names of descriptors that are handed over. */
#define GENERATION_FD_ABOVE   "generation=" /* and the process at its other end */
#define GENERATION_FD_OLDER   "older="      /* and NUMBER-PROCESS */
#define GENERATION_FD_TICKETS "ticket-keys"

struct io;
struct map;

enum generation_state {
    GENERATION_NEXT,    /* being started; another one is in charge */
    GENERATION_PRESENT, /* in charge */
    GENERATION_OLDER,   /* finishing */
};

enum peer_state {
    PEER_STARTING, /* by us */
    PEER_GOING,    /* was told to take connections */
    PEER_OLDER,
    PEER_ENDING, /* was asked to end */
};

/* Another generation, as the one in charge sees it. */
struct peer {
    struct list link; /* in generation->older, the oldest first; alone while it starts */
    struct generation *generation;
    enum peer_state state;
    int fd;
    struct io *io;
    pid_t pid; /* as it said; 0: not yet */
    int64_t number;
    int64_t pushed, served; /* tables */
    int64_t connections;
    struct map *said; /* counts, see sums.h */
    struct timer patience;
    bool closed;
};

/* An older generation that comes with the office. */
struct heritage {
    int fd;
    int64_t number;
    pid_t pid;
};

struct generation {
    struct routerd *routerd;
    char *path;
    char **argv;
    int64_t number;
    enum generation_state state;

    int above_fd; /* the one in charge, while we are next or older; -1: none */
    pid_t above_pid;
    struct io *above;
    bool listens; /* while next: was told to take connections */
    int tickets_fd;
    struct heritage *heritage;
    size_t n_heritage;
    int64_t table_asked; /* by the one in charge, and not yet said to be served; 0: none */

    struct peer *next; /* being started */
    pid_t child;       /* that started it, to be reaped */
    generation_told_fn told;
    void *told_arg;
    char *failure; /* of the last reload */

    struct list older; /* struct peer */
    struct sums *sums;
    struct timer start_limit; /* Reload=, of the next one */
    struct timer drain_limit; /* Drain=, our own */
    char *buffer;             /* one message */
};

/* generation.c */
struct peer *peer_new(struct generation *g, int fd, int64_t number, pid_t pid, enum peer_state state);
void peer_close(struct peer *peer);
/* Kept in step and waited for from now on. */
void peer_adopt(struct generation *g, struct peer *peer);
void peer_push(struct peer *peer, const char *text, size_t len);
/* generation_reload.c: what one that is being started says, and that it is gone. */
struct handover_message;
void generation_on_next(struct generation *g, const struct handover_message *m);
void generation_on_next_gone(struct generation *g);
