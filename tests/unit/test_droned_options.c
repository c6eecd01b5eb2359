/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/config.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "droned/droned.h"

/* The file that is installed and the manual page name every key, with its default. */

static void read_file(const char *name, struct strbuf *ret)
{
    struct error err;
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", getenv("SOURCE_ROOT"), name);
    if (statefile_read(path, 1 << 20, ret, &err) < 0)
        fail_msg("%s", err.text);
}

static void the_installed_file_is_what_print_config_prints(void **state)
{
    struct droned_config config;
    struct error err;
    _cleanup_(strbuf_done) struct strbuf printed = STRBUF_INIT, file = STRBUF_INIT;
    assert_int_equal(config_load(&droned_options, "/nonexistent", false, &config, &err), 0);
    config_print(&droned_options, &config, &printed);
    config_clear(&droned_options, &config);
    read_file("etc/droned.conf", &file);
    if (!strstr(strbuf_str(&file), strbuf_str(&printed)))
        fail_msg("etc/droned.conf differs from stagecoach-droned --print-config:\n%s", strbuf_str(&printed));
}

static void the_manual_has_every_key(void **state)
{
    _cleanup_(strbuf_done) struct strbuf page = STRBUF_INIT;
    read_file("droned/droned.conf.5.scd", &page);
    for (size_t i = 0; i < droned_options.n_rows; i++) {
        const struct option_row *row = &droned_options.rows[i];
        _cleanup_(free_ptr) char *key = xasprintf("\n*%s=*", row->key);
        const char *at = strstr(strbuf_str(&page), key);
        row_true(row->key, at != NULL);
        if (row->fallback[0])
            row_true(row->key, strstr(at, row->fallback) != NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_installed_file_is_what_print_config_prints),
        cmocka_unit_test(the_manual_has_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
