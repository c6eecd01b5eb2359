/* SPDX-License-Identifier: MIT */
/* The file that is installed and the manual page name every key, with its default. */
#include "routerd/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"

static void read_file(const char *name, struct strbuf *ret)
{
    struct error err;
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", SOURCE_ROOT, name);
    if (statefile_read(path, 1 << 20, ret, &err) < 0)
        fail_msg("%s", err.text);
}

static void the_installed_file_is_what_print_config_prints(void **state)
{
    struct settings config;
    struct error err;
    assert_int_equal(config_load(&settings_table, "/nonexistent", false, &config, &err), 0);
    struct strbuf printed = STRBUF_INIT, file = STRBUF_INIT;
    config_print(&settings_table, &config, &printed);
    read_file("etc/routerd.conf", &file);
    if (!strstr(strbuf_str(&file), strbuf_str(&printed)))
        fail_msg(
            "etc/routerd.conf differs from stagecoach-routerd --print-config:\n%s", strbuf_str(&printed));
    config_clear(&settings_table, &config);
    strbuf_done(&printed);
    strbuf_done(&file);
}

static void the_manual_has_every_key(void **state)
{
    struct strbuf page = STRBUF_INIT;
    read_file("routerd/routerd.conf.5.scd", &page);
    for (size_t i = 0; i < settings_table.n_rows; i++) {
        _cleanup_(free_ptr) char *key = xasprintf("*%s=", settings_table.rows[i].key);
        if (!strstr(strbuf_str(&page), key))
            fail_msg("routerd.conf.5.scd lacks %s", settings_table.rows[i].key);
    }
    strbuf_done(&page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_installed_file_is_what_print_config_prints),
        cmocka_unit_test(the_manual_has_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
