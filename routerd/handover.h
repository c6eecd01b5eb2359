/* SPDX-License-Identifier: MIT */
#pragma once

/* What two generations of the router say to each other, over a socket pair that keeps messages whole: a word, a text
 * behind it, and perhaps a descriptor. They may be different versions of the program: a word that is not known is
 * passed over.
 *
 *   next → present                              present → next
 *     hello PID NUMBER     it lives               table SERIAL + memfd    newer than what you have
 *     ready EPOCH [N]      it could serve, with   go                      take connections
 *                          N certificates
 *     failed REASON        it can't, and ends     main                    all is yours; we are an older one now
 *     listening            it takes connections
 *   older → present                             present → older
 *     served SERIAL                               table SERIAL + memfd    serve this
 *     refused SERIAL REASON                       end                     finish, at most 5 s
 *     traffic JSON         rows that moved
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define HANDOVER_TEXT_MAX (64 * 1024)

struct strbuf;

/* Words, without those that nobody knows. */
enum handover_word {
    HANDOVER_END,
    HANDOVER_FAILED,
    HANDOVER_GO,
    HANDOVER_HELLO,
    HANDOVER_LEFT,
    HANDOVER_LISTENING,
    HANDOVER_MAIN,
    HANDOVER_READY,
    HANDOVER_REFUSED,
    HANDOVER_SERVED,
    HANDOVER_TABLE,
    HANDOVER_TRAFFIC,
    HANDOVER_WORD_MAX_
};

struct handover_message {
    enum handover_word word;
    int fd;     /* -1: none; the receiver's */
    char *text; /* what stands behind the word; points into the buffer */
};

/* fd: a descriptor to pass along, -1 for none. Negative errno: not said (-EAGAIN: the other one does not listen). */
int handover_say(int socket, enum handover_word word, int fd, const char *fmt, ...) _printf_(4, 5);
/* Into buf of HANDOVER_TEXT_MAX + 1 bytes. 1: a message; 0: the other one is gone; -EAGAIN: nothing for now. */
_must_check_ int handover_hear(int socket, char *buf, struct handover_message *ret);

/* A descriptor that holds the text, to be passed along. Negative errno: no memory. */
_must_check_ int handover_memory(const char *name, const void *data, size_t len);
/* Appends what it holds. */
_must_check_ int handover_remember(int fd, size_t max, struct strbuf *ret, struct error *err);
