/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include "tests/unit/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/utf8.h"

static int n_lines;
static char last[8192];
static enum log_level last_level;
static const char *last_host;

static void keep(enum log_level level, const struct log_about *about, const char *text)
{
    n_lines++;
    last_level = level;
    last_host = about ? about->host : NULL;
    snprintf(last, sizeof(last), "%s", text);
}

static void levels_are_obeyed(void **state)
{
    log_set_sink(keep);
    log_set_level(LOG_LEVEL_WARNING);
    n_lines = 0;
    log_info(NULL, "quiet");
    log_debug(NULL, "quiet");
    assert_int_equal(n_lines, 0);
    log_warning(&(struct log_about){ .host = "app1" }, "%s is %d", "it", 3);
    assert_int_equal(n_lines, 1);
    assert_string_equal(last, "it is 3");
    assert_int_equal(last_level, LOG_LEVEL_WARNING);
    assert_string_equal(last_host, "app1");
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug(NULL, "now");
    assert_int_equal(n_lines, 2);
    log_set_level(LOG_LEVEL_INFO);
    log_set_sink(NULL);
}

static void lines_are_printable_and_bounded(void **state)
{
    char *text = xcalloc(1, 10001);

    log_set_sink(keep);
    log_error(NULL, "a\nb\x1b[2J\xFF");
    assert_string_equal(last, "a\\x0ab\\x1b[2J\\xff");
    for (int i = 0; i < 10000; i += 2)
        memcpy(text + i, "\xC3\xB6", 2);
    log_error(NULL, "%s", text);
    assert_true(strlen(last) < 2100);
    assert_true(utf8_is_valid(last, strlen(last)));
    row_has("cut", last + strlen(last) - 3, "…");
    log_set_sink(NULL);
    free(text);
}

/* What goes to stderr while fn runs. */
static char *capture(const char *journal_stream, const char *invocation, const char *text)
{
    char name[] = "/tmp/stagecoach-log-XXXXXX", buf[1024];
    int file = mkstemp(name), saved = dup(STDERR_FILENO);
    struct stat st;

    unlink(name);
    dup2(file, STDERR_FILENO);
    unsetenv("JOURNAL_STREAM");
    unsetenv("INVOCATION_ID");
    if (journal_stream && fstat(file, &st) == 0) {
        char *value = xasprintf(journal_stream, (unsigned long)st.st_dev, (unsigned long)st.st_ino);
        setenv("JOURNAL_STREAM", value, 1);
        free(value);
    }
    if (invocation)
        setenv("INVOCATION_ID", invocation, 1);
    log_init("stagecoach-test");
    log_error(NULL, "%s", text);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t n = pread(file, buf, sizeof(buf), 0);
    close(file);
    return xstrndup(buf, (size_t)n);
}

static void where_lines_go_depends_on_who_listens(void **state)
{
    char *terminal = capture(NULL, NULL, "hello"), *unit = capture(NULL, "abc", "hello");
    char *other = capture("1:1", "abc", "hello");

    assert_string_equal(terminal, "stagecoach-test: hello\n");
    assert_string_equal(unit, "<3>hello\n");
    assert_string_equal(other, "<3>hello\n");
    free(terminal);
    free(unit);
    free(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_are_obeyed),
        cmocka_unit_test(lines_are_printable_and_bounded),
        cmocka_unit_test(where_lines_go_depends_on_who_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
