/* SPDX-License-Identifier: MIT */
#include "droned/instance_file.h"

#include <errno.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"

// clang-format off
static const struct field fields[] = {
    F_INT(struct instance_file, format, FIELD_REQUIRED, 1, INSTANCE_FILE_FORMAT),
    F_STRUCT(struct instance_file, order, FIELD_REQUIRED, &order_schema),
    F_BOOL(struct instance_file, dropped, 0),
    F_STRING(struct instance_file, boot_id, 0),
    { .name = "phase", .type = FIELD_ENUM, .flags = FIELD_REQUIRED,
      .offset = offsetof(struct instance_file, phase), .names = instance_phase_names,
      .n_names = INSTANCE_PHASE_MAX_ },
    F_INT(struct instance_file, generation, 0, 0, INT64_MAX),
    F_STRING(struct instance_file, host, 0),
    F_INT(struct instance_file, port, 0, 0, 65535),
    F_BOOL(struct instance_file, was_healthy, 0),
    F_BOOL(struct instance_file, by_hand, 0),
    F_STRING(struct instance_file, reason, 0),
    F_STRV(struct instance_file, lines, 0),
    F_INT(struct instance_file, since_us, 0, 0, INT64_MAX),
    F_INT(struct instance_file, restarts, 0, 0, INT64_MAX),
    F_INT(struct instance_file, tries, 0, 0, INT64_MAX),
    F_INT(struct instance_file, fetch_ms, 0, -1, INT64_MAX, .fallback = -1),
    F_INT(struct instance_file, build_ms, 0, -1, INT64_MAX, .fallback = -1),
    F_INT(struct instance_file, start_ms, 0, -1, INT64_MAX, .fallback = -1),
    F_INT(struct instance_file, healthy_ms, 0, -1, INT64_MAX, .fallback = -1),
    F_INT(struct instance_file, fetch_objects, 0, 0, INT64_MAX),
    F_INT(struct instance_file, fetch_bytes, 0, 0, INT64_MAX),
};
// clang-format on
const struct schema instance_file_schema = SCHEMA("instance", struct instance_file, fields, false);

int instance_file_write(const char *path, const struct instance_file *file, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    schema_print_pretty(&instance_file_schema, file, &text);
    return statefile_write(path, strbuf_str(&text), text.len, 0600, err);
}

int instance_file_read(const char *path, struct instance_file *ret, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    int r = statefile_read(path, INSTANCE_FILE_MAX, &text, err);
    if (r >= 0)
        r = schema_read(&instance_file_schema, strbuf_str(&text), text.len, ret, err);
    return r < 0 ? error_prefix(err, "%s", path) : 0;
}
