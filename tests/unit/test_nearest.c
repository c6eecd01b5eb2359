/* SPDX-License-Identifier: MIT */
#include "common/nearest.h"

#include "tests/unit/rows.h"

#include "common/mem.h"

static const char *const known[] = { "Listen", "StateDir", "instances", "http", "tcp", "env", NULL };

static const struct {
    const char *word, *expected;
} rows[] = {
    { "Lisen", "Listen" },   /* left out */
    { "Listten", "Listen" }, /* too many */
    { "Lsiten", "Listen" },  /* swapped */
    { "listen", "Listen" },  /* case */
    { "Liston", "Listen" },  /* changed */
    { "instanses", "instances" },
    { "statedirs", "StateDir" },
    { "htpp", "http" },
    { "tpc", "tcp" },
    { "evn", "env" },
    { "colour", NULL },
    { "x", NULL },
    { "", NULL },
    { "port", NULL },
};

static void what_was_meant(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        row_str(rows[i].word, nearest_word(rows[i].word, known), rows[i].expected);
}

static void long_words_mean_nothing(void **state)
{
    char word[1000];
    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    const char *const words[] = { word, NULL };
    assert_null(nearest_word(word, known));
    assert_null(nearest_word("aaaa", words));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_meant),
        cmocka_unit_test(long_words_mean_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
