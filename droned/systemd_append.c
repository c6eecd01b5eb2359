/* SPDX-License-Identifier: MIT */
#include "droned/systemd_internal.h"

#include <errno.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "common/mem.h"
#include "common/strv.h"
#include "droned/unit_spec.h"

/* Writers of one value each; the variant is open around them. */

static int append_string(sd_bus_message *m, const struct unit_property *row)
{
    return sd_bus_message_append(m, "s", row->text);
}

static int append_bool(sd_bus_message *m, const struct unit_property *row)
{
    return sd_bus_message_append(m, "b", (int)(row->number != 0));
}

static int append_int32(sd_bus_message *m, const struct unit_property *row)
{
    return sd_bus_message_append(m, "i", (int32_t)row->number);
}

static int append_uint32(sd_bus_message *m, const struct unit_property *row)
{
    return sd_bus_message_append(m, "u", (uint32_t)row->number);
}

static int append_uint64(sd_bus_message *m, const struct unit_property *row)
{
    return sd_bus_message_append(m, "t", (uint64_t)row->number);
}

static int append_strv(sd_bus_message *m, const struct unit_property *row)
{
    return sd_bus_message_append_strv(m, row->list);
}

static int append_command(sd_bus_message *m, const struct unit_property *row)
{
    static char *flags[] = { (char *)"no-env-expand", NULL };
    if (!row->list || !row->list[0])
        return -EINVAL;
    int r = sd_bus_message_open_container(m, 'a', "(sasas)");
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'r', "sasas");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", row->list[0]);
    if (r >= 0)
        r = sd_bus_message_append_strv(m, row->list);
    if (r >= 0)
        r = sd_bus_message_append_strv(m, flags);
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int append_env_files(sd_bus_message *m, const struct unit_property *row)
{
    int r = sd_bus_message_open_container(m, 'a', "(sb)");
    char *path;
    strv_for_each (path, row->list)
        if (r >= 0)
            r = sd_bus_message_append(m, "(sb)", path, 0);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int append_fields(sd_bus_message *m, const struct unit_property *row)
{
    int r = sd_bus_message_open_container(m, 'a', "ay");
    char *field;
    strv_for_each (field, row->list)
        if (r >= 0)
            r = sd_bus_message_append_array(m, 'y', field, strlen(field));
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int append_allow(sd_bus_message *m, const struct unit_property *row)
{
    int r = sd_bus_message_open_container(m, 'r', "bas");
    if (r >= 0)
        r = sd_bus_message_append(m, "b", 1);
    if (r >= 0)
        r = sd_bus_message_append_strv(m, row->list);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

static int append_binds(sd_bus_message *m, const struct unit_property *row)
{
    int r = sd_bus_message_open_container(m, 'a', "(ssbt)");
    for (char **s = row->list; r >= 0 && s && s[0] && s[1]; s += 2)
        r = sd_bus_message_append(m, "(ssbt)", s[0], s[1], 0, (uint64_t)0);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

// clang-format off
static const struct {
    const char *signature;
    int (*append)(sd_bus_message *m, const struct unit_property *row);
} writers[PROPERTY_TYPE_MAX_] = {
    [PROPERTY_STRING]    = { "s",        append_string },
    [PROPERTY_BOOL]      = { "b",        append_bool },
    [PROPERTY_INT32]     = { "i",        append_int32 },
    [PROPERTY_UINT32]    = { "u",        append_uint32 },
    [PROPERTY_UINT64]    = { "t",        append_uint64 },
    [PROPERTY_STRV]      = { "as",       append_strv },
    [PROPERTY_COMMAND]   = { "a(sasas)", append_command },
    [PROPERTY_ENV_FILES] = { "a(sb)",    append_env_files },
    [PROPERTY_FIELDS]    = { "aay",      append_fields },
    [PROPERTY_ALLOW]     = { "(bas)",    append_allow },
    [PROPERTY_BINDS]     = { "a(ssbt)",  append_binds },
};
// clang-format on

static int append_row(sd_bus_message *m, const struct unit_property *row)
{
    int r = sd_bus_message_open_container(m, 'r', "sv");
    if (r >= 0)
        r = sd_bus_message_append(m, "s", row->name);
    if (r >= 0)
        r = sd_bus_message_open_container(m, 'v', writers[row->type].signature);
    if (r >= 0)
        r = writers[row->type].append(m, row);
    if (r >= 0)
        r = sd_bus_message_close_container(m);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}

int systemd_append_spec(sd_bus_message *m, const struct unit_spec *spec, const struct map *without)
{
    int r = sd_bus_message_open_container(m, 'a', "(sv)");
    for (size_t i = 0; r >= 0 && i < spec->n_rows; i++)
        if (!map_get(without, spec->rows[i].name))
            r = append_row(m, &spec->rows[i]);
    return r >= 0 ? sd_bus_message_close_container(m) : r;
}
