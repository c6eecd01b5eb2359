/* SPDX-License-Identifier: MIT */
#include "common/config.h"

#include "tests/unit/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "common/strv.h"

struct settings {
    char *listen;
    char *state;
    int64_t workers;
    bool strict;
    int64_t grace_ms;
    int64_t cache;
    char **names;
};

#define AT(m) offsetof(struct settings, m)

/* clang-format off */
static const struct option_row rows[] = {
    { "Hub",   "Listen",  OPTION_STRING,   AT(listen),   0,    0,       "[::]:7000", "Where to listen." },
    { "Hub",   "State",   OPTION_STRING,   AT(state),    0,    0,       NULL,        "Where state lies." },
    { "Hub",   "Workers", OPTION_INT,      AT(workers),  1,    64,      "2",         "How many threads." },
    { "Hub",   "Strict",  OPTION_BOOL,     AT(strict),   0,    0,       "no",        "Whether to be strict." },
    { "Drain", "Grace",   OPTION_DURATION, AT(grace_ms), 1000, 3600000, "60s",       "How long to wait." },
    { "Drain", "Cache",   OPTION_SIZE,     AT(cache),    4096, 0,       "2G",        "How much to keep." },
    { "Drain", "Names",   OPTION_STRV,     AT(names),    0,    0,       "a b",       "Which names." },
};
/* clang-format on */

static const struct option_table table = { "stagecoach-test", sizeof(struct settings), rows,
    ARRAY_SIZE(rows) };

static char path[] = "/tmp/stagecoach-config-XXXXXX";

static int load(const char *text, struct settings *ret, struct error *err)
{
    assert_int_equal(statefile_write(path, text, strlen(text), 0600, NULL), 0);
    return config_load(&table, path, true, ret, err);
}

struct refusal_case {
    const char *name, *text;
    const char *error; /* behind the path */
};

#define LONG_50 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* clang-format off */
static const struct refusal_case refusals[] = {
    { "misspelt key",      "[Hub]\n\nLisen=x\n",      ":3: unknown key \"Lisen\" in [Hub], did you mean \"Listen\"?" },
    { "far from any key",  "[Hub]\nColour=x\n",       ":2: unknown key \"Colour\" in [Hub]" },
    { "other section's key", "[Hub]\nGrace=1s\n",     ":2: unknown key \"Grace\" in [Hub]" },
    { "misspelt section",  "[Hbu]\nListen=x\n",       ":2: unknown section \"Hbu\", did you mean \"Hub\"?" },
    { "no section",        "Listen=x\n",              ":1: the key \"Listen\" stands before any [Section]" },
    { "twice",             "[Hub]\nWorkers=1\nWorkers=2\n", ":3: \"Workers\" is set twice in [Hub]" },
    { "not a number",      "[Hub]\nWorkers=two\n",    ":2: \"Workers\" must be a whole number from 1 to 64, not \"two\"" },
    { "number with a tail", "[Hub]\nWorkers=2x\n",    ":2: \"Workers\" must be a whole number from 1 to 64, not \"2x\"" },
    { "no number",         "[Hub]\nWorkers=\n",       ":2: \"Workers\" must be a whole number from 1 to 64, not \"\"" },
    { "above",             "[Hub]\nWorkers=65\n",     ":2: \"Workers\" must be a whole number from 1 to 64, not \"65\"" },
    { "beyond 64 bits",    "[Hub]\nWorkers=99999999999999999999\n", ":2: \"Workers\" must be a whole number" },
    { "not a bool",        "[Hub]\nStrict=maybe\n",   ":2: \"Strict\" must be yes or no, not \"maybe\"" },
    { "bare duration",     "[Drain]\nGrace=60\n",
      ":2: \"Grace\" must be a time (such as 250ms, 30s, 5min, 2h) from 1s to 1h, not \"60\"" },
    { "short duration",    "[Drain]\nGrace=10ms\n",   ":2: \"Grace\" must be a time" },
    { "bad size",          "[Drain]\nCache=2X\n",     ":2: \"Cache\" must be a size (such as 64K, 256M, 2G) from 4K on, not \"2X\"" },
    { "negative size",     "[Drain]\nCache=-1\n",     ":2: \"Cache\" must be a size" },
    { "huge size",         "[Drain]\nCache=9999999999T\n", ":2: \"Cache\" must be a size" },
    { "no equals sign",    "[Hub]\n# x\nListen\n",    ":3: neither a [Section] nor Key=value" },
    { "open section",      "[Hub\nListen=x\n",        ":1: neither a [Section] nor Key=value" },
    { "indented",          "[Hub]\nListen=a\n  b\n",  ":3: the line begins with white space" },
    { "long line",         "[Hub]\nListen=" LONG_50 LONG_50 LONG_50 LONG_50 "\n", ":2: the line is longer than 190 bytes" },
    { "first of two mistakes", "[Hub]\nLisen=x\nWorkres=y\n", ":2: unknown key \"Lisen\"" },
};
/* clang-format on */

static void refusals_name_file_line_and_key(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        const struct refusal_case *c = &refusals[i];
        struct settings s, empty = { 0 };
        struct error err = { 0 };
        row_true(c->name, load(c->text, &s, &err) < 0);
        char *expected = xasprintf("%s%s", path, c->error);
        row_has(c->name, err.text, expected);
        row_true(c->name, memcmp(&s, &empty, sizeof(s)) == 0);
        free(expected);
    }
}

static void files_set_what_they_name(void **state)
{
    struct settings s;
    struct error err = { 0 };

    assert_int_equal(
        load("# comment\n; comment\n[Hub]\nListen = 10.0.0.1:7000 \r\nStrict=Yes\n  # indented comment\n\n"
             "[Drain]\nGrace=1min30s\nCache=64K\nNames=x  y\tz\n[Hub]\nWorkers=64",
            &s, &err),
        0);
    assert_string_equal(s.listen, "10.0.0.1:7000");
    assert_null(s.state);
    assert_true(s.strict);
    assert_int_equal(s.workers, 64);
    assert_int_equal(s.grace_ms, 90000);
    assert_int_equal(s.cache, 65536);
    assert_int_equal(strv_len(s.names), 3);
    config_clear(&table, &s);
    assert_null(s.names);
}

static void without_a_file_the_fallbacks_hold(void **state)
{
    struct settings s;
    struct error err = { 0 };

    assert_int_equal(config_load(&table, "/no/such/file", true, &s, &err), -ENOENT);
    assert_int_equal(config_load(&table, "/no/such/file", false, &s, &err), 0);
    assert_string_equal(s.listen, "[::]:7000");
    assert_int_equal(s.workers, 2);
    assert_int_equal(s.grace_ms, 60000);
    assert_int_equal(s.cache, INT64_C(2) << 30);
    assert_true(strv_contains(s.names, "b"));
    config_clear(&table, &s);
}

static void single_settings_go_over_the_file(void **state)
{
    struct settings s;
    struct error err = { 0 };

    assert_int_equal(load("[Hub]\nListen=a=b\n", &s, &err), 0);
    assert_string_equal(s.listen, "a=b");
    assert_int_equal(config_set(&table, &s, "Hub.Listen=x.y=z", &err), 0);
    assert_string_equal(s.listen, "x.y=z");
    assert_int_equal(config_set(&table, &s, "Hub.Listen=", &err), 0);
    assert_null(s.listen);
    assert_int_equal(config_set(&table, &s, "Drain.Names=q", &err), 0);
    assert_int_equal(strv_len(s.names), 1);
    assert_true(config_set(&table, &s, "Hub.Workers=0", &err) < 0);
    assert_int_equal(s.workers, 2);
    assert_true(config_set(&table, &s, "Workers=3", &err) < 0);
    row_has("form", err.text, "\"Workers=3\" is not of the form Section.Key=value");
    assert_true(config_set(&table, &s, "Hub.Workres=3", &err) < 0);
    row_has("near", err.text, "did you mean \"Workers\"?");
    config_clear(&table, &s);
}

static void what_is_printed_is_read_back(void **state)
{
    struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    struct settings s;
    struct error err = { 0 };

    assert_int_equal(load("[Hub]\nWorkers=3\n[Drain]\nGrace=1h\nCache=5000\nNames=\n", &s, &err), 0);
    config_print(&table, &s, &first);
    assert_string_equal(strbuf_str(&first),
        "[Hub]\n\n# Where to listen.\n#Listen=[::]:7000\n\n# Where state lies.\n#State=\n\n# How many "
        "threads.\n"
        "Workers=3\n\n# Whether to be strict.\n#Strict=no\n\n[Drain]\n\n# How long to wait.\nGrace=1h\n\n"
        "# How much to keep.\nCache=5000\n\n# Which names.\nNames=\n");
    config_clear(&table, &s);
    assert_int_equal(load(strbuf_str(&first), &s, &err), 0);
    config_print(&table, &s, &second);
    assert_string_equal(strbuf_str(&first), strbuf_str(&second));
    config_clear(&table, &s);
    strbuf_done(&first);
    strbuf_done(&second);
}

static int make_file(void **state)
{
    int fd = mkstemp(path);

    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_name_file_line_and_key),
        cmocka_unit_test(files_set_what_they_name),
        cmocka_unit_test(without_a_file_the_fallbacks_hold),
        cmocka_unit_test(single_settings_go_over_the_file),
        cmocka_unit_test(what_is_printed_is_read_back),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
