/* SPDX-License-Identifier: MIT */
#include "routerd/tickets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define HOUR_MS INT64_C(3600000)

static wall_t at(int64_t ms)
{
    return (wall_t){ ms * 1000 };
}

static struct tls_ticket_key present(struct tickets *t)
{
    struct tls_ticket_key key;
    assert_int_equal(tickets_key(t, NULL, &key), TLS_TICKET_GOOD);
    return key;
}

static enum tls_ticket_use use_of(struct tickets *t, const struct tls_ticket_key *key)
{
    struct tls_ticket_key found;
    enum tls_ticket_use use = tickets_key(t, key->name, &found);
    if (use != TLS_TICKET_UNKNOWN)
        assert_memory_equal(&found, key, sizeof(found));
    return use;
}

static void a_key_seals_then_opens_then_is_gone(void **state)
{
    struct tickets *t = tickets_new(8 * HOUR_MS, at(0));
    struct tls_ticket_key first = present(t);
    tickets_tick(t, at(8 * HOUR_MS - 1));
    assert_int_equal(use_of(t, &first), TLS_TICKET_GOOD);
    tickets_tick(t, at(8 * HOUR_MS));
    assert_int_equal(use_of(t, &first), TLS_TICKET_RENEW);
    struct tls_ticket_key second = present(t);
    assert_memory_not_equal(&first, &second, sizeof(first));
    tickets_tick(t, at(16 * HOUR_MS));
    assert_int_equal(use_of(t, &first), TLS_TICKET_UNKNOWN);
    assert_int_equal(use_of(t, &second), TLS_TICKET_RENEW);
    tickets_free(t);
}

static void a_long_sleep_ends_all_keys(void **state)
{
    struct tickets *t = tickets_new(HOUR_MS, at(0));
    struct tls_ticket_key first = present(t);
    tickets_tick(t, at(1000 * HOUR_MS));
    assert_int_equal(use_of(t, &first), TLS_TICKET_UNKNOWN);
    struct tls_ticket_key second = present(t);
    tickets_tick(t, at(1000 * HOUR_MS + 1));
    assert_int_equal(use_of(t, &second), TLS_TICKET_GOOD);
    tickets_tick(t, at(0)); /* the clock was set back: its age is not known */
    assert_int_equal(use_of(t, &second), TLS_TICKET_RENEW);
    tickets_free(t);
}

static void another_process_goes_on_with_the_same_keys(void **state)
{
    struct tickets *old = tickets_new(HOUR_MS, at(0)), *new = tickets_new(HOUR_MS, at(5));
    struct tls_ticket_key first = present(old);
    int fd;
    assert_int_equal(use_of(new, &first), TLS_TICKET_UNKNOWN);
    assert_int_equal(tickets_export(old, &fd, NULL), 0);
    assert_int_equal(tickets_import(new, fd, NULL), 0);
    assert_int_equal(use_of(new, &first), TLS_TICKET_GOOD);
    /* Both rotate by the same clock, and to the same key. */
    tickets_tick(old, at(HOUR_MS));
    tickets_tick(new, at(HOUR_MS));
    struct tls_ticket_key second = present(old);
    assert_int_equal(use_of(new, &second), TLS_TICKET_GOOD);
    close(fd);
    tickets_free(old);
    tickets_free(new);
}

static void other_memory_is_no_key(void **state)
{
    struct tickets *t = tickets_new(HOUR_MS, at(0));
    struct tls_ticket_key before = present(t);
    struct error err;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    assert_true(tickets_import(t, fds[0], &err) < 0);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(use_of(t, &before), TLS_TICKET_GOOD);
    tickets_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_seals_then_opens_then_is_gone),
        cmocka_unit_test(a_long_sleep_ends_all_keys),
        cmocka_unit_test(another_process_goes_on_with_the_same_keys),
        cmocka_unit_test(other_memory_is_no_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
