/* SPDX-License-Identifier: MIT */
#pragma once

/* The download of a pack from the hub: GET /pack/APP/COMMIT?base=COMMIT, streamed, with back-pressure. It does
 * not know what is in it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define PACK_IDLE_MS     60000 /* without a byte for so long: given up */
#define PACK_REFUSAL_MAX 512   /* bytes of a refusal's text that are shown */

struct loop;
struct pack;
struct tls_context;

struct pack_spec {
    const char *hub;         /* "hub1:7000" */
    struct tls_context *tls; /* ALPN http/1.1, our certificate; NULL: plain, for tests */
    const char *app, *commit;
    const char *base; /* NULL: all of it */
    /* Bytes of the pack. False: pause until pack_resume. */
    bool (*on_data)(void *arg, const void *data, size_t len);
    /* Once, never before pack_new returned: 0 whole; -ENOENT the hub does not have it; -EAGAIN it is busy or
     * away: try again; other: refused. */
    void (*on_end)(void *arg, int result, const char *reason);
    void *arg;
};

struct pack *pack_new(struct loop *loop, const struct pack_spec *spec);
void pack_free(struct pack *pack); /* cancels; NULL is fine */
void pack_resume(struct pack *pack);
