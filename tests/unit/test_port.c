/* SPDX-License-Identifier: MIT */
#include "tests/unit/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/wire.h"
#include "droned/port.h"
#include "tests/fakes/loopback.h"

#define FIRST 28200
#define HERE  loopback_address()

static char path[64];

static int setup(void **state)
{
    snprintf(path, sizeof(path), "/tmp/stagecoach-ports-XXXXXX");
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    return fd < 0;
}

static int teardown(void **state)
{
    unlink(path);
    return 0;
}

static int take(struct ports *ports)
{
    int port = -1;
    struct error err;
    if (ports_take(ports, HERE, &port, &err) < 0)
        return err.code;
    return port;
}

static void ranges_are_read_or_refused(void **state)
{
    static const struct {
        const char *text;
        int result, first, last;
    } rows[] = {
        { "20000-29999", 0, 20000, 29999 },
        { "1-1", 0, 1, 1 },
        { "20000", -EINVAL },
        { "20000-", -EINVAL },
        { "-5", -EINVAL },
        { "30000-20000", -EINVAL },
        { "1-65536", -EINVAL },
        { "0-5", -EINVAL },
        { " 1-2", -EINVAL },
        { "1-2x", -EINVAL },
        { "", -EINVAL },
        { "99999999999999999999-3", -EINVAL },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int first = 0, last = 0;
        struct error err;
        row_int(rows[i].text, port_range_parse(rows[i].text, &first, &last, &err), rows[i].result);
        row_int(rows[i].text, first, rows[i].first);
        row_int(rows[i].text, last, rows[i].last);
    }
}

static void least_recently_used_comes_first_also_after_a_restart(void **state)
{
    struct ports *ports = ports_new(FIRST, FIRST + 3, path);
    assert_int_equal(take(ports), FIRST);
    assert_int_equal(take(ports), FIRST + 1);
    ports_release(ports, FIRST);
    assert_int_equal(take(ports), FIRST + 2);
    ports_release(ports, FIRST + 1);
    ports_free(ports);
    ports = ports_new(FIRST, FIRST + 3, path);
    assert_true(ports_keep(ports, FIRST + 2));
    assert_false(ports_keep(ports, FIRST + 2));
    assert_int_equal(take(ports), FIRST + 3);
    assert_int_equal(take(ports), FIRST);
    assert_int_equal(take(ports), FIRST + 1);
    assert_int_equal(take(ports), -EADDRINUSE);
    assert_int_equal(ports_taken(ports), 4);
    ports_free(ports);
}

static void ports_of_others_are_passed_over(void **state)
{
    struct ports *ports = ports_new(FIRST, FIRST + 3, path);
    struct error err;
    int fd = -1;
    assert_int_equal(wire_listen(loopback_port(FIRST), 0, &fd, &err), 0);
    assert_false(port_is_free(HERE, FIRST));
    assert_int_equal(take(ports), FIRST + 1);
    close(fd);
    assert_true(port_is_free(HERE, FIRST));
    ports_free(ports);
}

static void addresses_are_written_as_others_read_them(void **state)
{
    _cleanup_(free_ptr) char *four = port_address("10.0.0.11", 20117), *six = port_address("::1", 20117);
    assert_string_equal(four, "10.0.0.11:20117");
    assert_string_equal(six, "[::1]:20117");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_read_or_refused),
        T(least_recently_used_comes_first_also_after_a_restart),
        T(ports_of_others_are_passed_over),
        cmocka_unit_test(addresses_are_written_as_others_read_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
