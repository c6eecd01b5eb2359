/* SPDX-License-Identifier: MIT */
#pragma once

/* instances/ID.json: the truth about what is wanted of an instance and how far it is. On disk before systemd is
 * asked for anything. */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/messages.h"

#define INSTANCE_FILE_FORMAT 1
#define INSTANCE_FILE_MAX    (4 * 1024 * 1024)

struct instance_file {
    int64_t format;
    struct order order;
    bool dropped;       /* stop it and forget it */
    char *boot_id;      /* in which `phase` was true */
    int phase;          /* enum instance_phase */
    int64_t generation; /* of the order that was carried out last */
    char *host;         /* address it listens on */
    int64_t port;
    bool was_healthy; /* since that generation: off probation */
    bool by_hand;     /* stopped by somebody on the host */
    char *reason;
    char **lines;
    int64_t since_us;
    int64_t restarts;
    int64_t tries; /* of droned's own back-off */
    int64_t fetch_ms, build_ms, start_ms, healthy_ms;
    int64_t fetch_objects, fetch_bytes;
};

extern const struct schema instance_file_schema;

_must_check_ int instance_file_write(const char *path, const struct instance_file *file, struct error *err);
/* Cleared by schema_clear(&instance_file_schema, …). */
_must_check_ int instance_file_read(const char *path, struct instance_file *ret, struct error *err);
