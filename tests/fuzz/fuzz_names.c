/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/names.h"
#include "common/nearest.h"
#include "common/strbuf.h"
#include "common/utf8.h"

typedef bool (*is_fn)(const char *s);

/* All that may become part of a path, an argument, a unit's name or a log line. */
static const is_fn safe[] = { name_is_service, name_is_app, name_is_host, name_is_person, name_is_instance,
    name_is_commit, name_is_commit_prefix, name_is_deploy, name_is_request_id, name_is_env_key, name_is_dns,
    name_is_address, name_is_ref, name_is_tag, name_is_path_prefix };

static void check_safe(const char *s)
{
    must(*s && strlen(s) < 2048);
    for (const char *p = s; *p; p++)
        must(*p > 0x20 && *p < 0x7F);
    must(!strstr(s, "/../") && strcmp(s, "..") != 0 && strcmp(s, ".") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const known[] = { "Listen", "State", "Workers", NULL };
    char *s = as_text(data, size), *service = NULL, *what = NULL;
    struct strbuf printable = STRBUF_INIT;
    struct error err = { 0 };
    char stamp[CLOCK_STAMP_MAX];
    int64_t ms, again;

    for (size_t i = 0; i < ARRAY_SIZE(safe); i++)
        if (safe[i](s)) {
            check_safe(s);
            /* Paths begin with "/", requests' ids are never arguments; nothing else may look like an option. */
            must(*s != '-' || safe[i] == name_is_request_id);
        }
    if (name_is_env_value(s))
        must(utf8_is_valid(s, strlen(s)));
    if (name_split_target(s, &service, &what, &err) == 0)
        must(name_is_service(service) && (!what || *what));
    free(service);
    free(what);
    if (duration_parse(s, &ms) == 0)
        must(duration_parse(duration_format(ms, stamp), &again) == 0 && again == ms);
    strbuf_add_printable(&printable, (const char *)data, size, 100);
    must(utf8_is_valid(strbuf_str(&printable), printable.len) && printable.len <= 403);
    (void)nearest_word(s, known);
    strbuf_done(&printable);
    free(s);
    return 0;
}
