/* SPDX-License-Identifier: MIT */
#pragma once

/* The queue behind command.h: made and ended by hubd.c. */

#include <stddef.h>

struct command_queue;
struct hubd;
struct txn;

struct command_queue *command_queue_new(struct hubd *hub);
/* What waits is told that the hub is stopping. */
void command_queue_free(struct command_queue *queue);
size_t command_queue_length(const struct command_queue *queue);
