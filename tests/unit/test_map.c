/* SPDX-License-Identifier: MIT */
#include "common/map.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

static int n_freed;

static void count_free(void *value)
{
    n_freed++;
    free(value);
}

static void keeps_the_order_of_insertion(void **state)
{
    struct map *map = map_new(NULL);
    char keys[] = "zyxabc";
    size_t n = 0;

    for (char *k = keys; *k; k++)
        map_set(map, (char[]){ *k, '\0' }, k);
    map_set(map, "x", keys); /* replaced where it was */
    map_for_each (it, map) {
        assert_int_equal(it.key[0], keys[n]);
        n++;
    }
    assert_int_equal(n, 6);
    const char **sorted = map_sorted_keys(map);
    assert_string_equal(sorted[0], "a");
    assert_string_equal(sorted[5], "z");
    assert_null(sorted[6]);
    free(sorted);
    map_free(map);
}

static void frees_each_value_once(void **state)
{
    struct map *map = map_new(count_free);

    n_freed = 0;
    map_set(map, "a", xstrdup("1"));
    map_set(map, "b", xstrdup("2"));
    map_set(map, "a", xstrdup("3"));
    assert_int_equal(n_freed, 1);
    map_set(map, "a", map_get(map, "a")); /* the same again */
    assert_int_equal(n_freed, 1);
    assert_true(map_remove(map, "b"));
    assert_false(map_remove(map, "b"));
    assert_int_equal(n_freed, 2);
    char *taken = map_steal(map, "a");
    assert_string_equal(taken, "3");
    assert_int_equal(n_freed, 2);
    free(taken);
    map_set(map, "c", xstrdup("4"));
    map_free(map);
    assert_int_equal(n_freed, 3);
}

static void the_current_entry_may_be_removed(void **state)
{
    struct map *map = map_new(free);

    for (int i = 0; i < 100; i++) {
        char *key = xasprintf("k%d", i);
        map_set(map, key, xstrdup(key));
        free(key);
    }
    map_for_each (it, map)
        if (it.key[1] % 2 == 0)
            map_remove(map, it.key);
    map_for_each (it, map)
        assert_true(it.key[1] % 2 == 1);
    assert_int_equal(map_size(map), 55);
    map_free(map);
}

/* The same steps on a plain array that cannot be wrong. */
static void agrees_with_an_array(void **state)
{
    enum { N_KEYS = 500, STEPS = 200000 };
    static int expected[N_KEYS];
    struct map *map = map_new(NULL);
    size_t n_set = 0;
    uint32_t random = 12345;

    for (int step = 0; step < STEPS; step++) {
        random = random * 1664525 + 1013904223;
        size_t i = (random >> 8) % N_KEYS;
        char key[16];
        snprintf(key, sizeof(key), "key-%zu", i);
        if (random & 0x80) {
            map_set(map, key, &expected[(random >> 4) % N_KEYS]);
            n_set += expected[i] == 0;
            expected[i] = (int)((random >> 4) % N_KEYS) + 1;
        } else {
            assert_int_equal(map_remove(map, key), expected[i] != 0);
            n_set -= expected[i] != 0;
            expected[i] = 0;
        }
        if (step % 1000 == 0)
            for (size_t k = 0; k < N_KEYS; k++) {
                snprintf(key, sizeof(key), "key-%zu", k);
                assert_ptr_equal(map_get(map, key), expected[k] ? &expected[expected[k] - 1] : NULL);
            }
        assert_int_equal(map_size(map), n_set);
    }
    map_free(map);
}

static void nothing_is_in_no_map(void **state)
{
    assert_int_equal(map_size(NULL), 0);
    assert_null(map_get(NULL, "a"));
    map_for_each (it, (struct map *)NULL)
        fail();
    map_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_of_insertion),
        cmocka_unit_test(frees_each_value_once),
        cmocka_unit_test(the_current_entry_may_be_removed),
        cmocka_unit_test(agrees_with_an_array),
        cmocka_unit_test(nothing_is_in_no_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
