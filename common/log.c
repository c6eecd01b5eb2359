/* SPDX-License-Identifier: MIT */
#include "common/log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "common/mem.h"
#include "common/strbuf.h"

#define LOG_TEXT_MAX  2048
#define LOG_FIELD_MAX 256

enum target { TARGET_PLAIN, TARGET_PREFIXED, TARGET_JOURNAL };

static struct {
    const char *program;
    enum target target;
    enum log_level level;
    void (*fn)(enum log_level level, const struct log_about *about, const char *text);
} sink = { .program = "stagecoach", .level = LOG_LEVEL_INFO };

static const struct {
    const char *field;
    size_t offset;
} about_fields[] = {
    { "STAGECOACH_HOST", offsetof(struct log_about, host) },
    { "STAGECOACH_APP", offsetof(struct log_about, app) },
    { "STAGECOACH_SERVICE", offsetof(struct log_about, service) },
    { "STAGECOACH_VERSION", offsetof(struct log_about, version) },
    { "STAGECOACH_INSTANCE", offsetof(struct log_about, instance) },
    { "STAGECOACH_DEPLOY", offsetof(struct log_about, deploy) },
    { "STAGECOACH_REQUEST", offsetof(struct log_about, request) },
    { "MESSAGE_ID", offsetof(struct log_about, message_id) },
};

#define FIXED_FIELDS 3 /* PRIORITY, SYSLOG_IDENTIFIER, MESSAGE */
#define FIELDS_MAX   (FIXED_FIELDS + sizeof(about_fields) / sizeof(about_fields[0]))

/* systemd tells a service which device and inode the journal's end of stderr has: anything else there now,
 * such as a pipe, wants lines. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat st;

    if (!stream || sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(const char *program)
{
    sink.program = program;
    if (stderr_is_journal())
        sink.target = TARGET_JOURNAL;
    else
        sink.target = getenv("INVOCATION_ID") ? TARGET_PREFIXED : TARGET_PLAIN;
}

void log_set_level(enum log_level level)
{
    sink.level = level;
}

enum log_level log_level(void)
{
    return sink.level;
}

void log_set_sink(void (*fn)(enum log_level level, const struct log_about *about, const char *text))
{
    sink.fn = fn;
}

static bool write_journal(enum log_level level, const struct log_about *about, const char *text)
{
    struct strbuf fields[FIELDS_MAX] = { 0 };
    struct iovec vectors[FIELDS_MAX];
    size_t n = 0;

    strbuf_addf(&fields[n++], "PRIORITY=%d", (int)level);
    strbuf_addf(&fields[n++], "SYSLOG_IDENTIFIER=%s", sink.program);
    strbuf_addf(&fields[n++], "MESSAGE=%s", text);
    for (size_t i = 0; about && i < ARRAY_SIZE(about_fields); i++) {
        const char *value = *(const char *const *)((const char *)about + about_fields[i].offset);
        if (!value)
            continue;
        strbuf_addf(&fields[n], "%s=", about_fields[i].field);
        strbuf_add_printable(&fields[n++], value, strlen(value), LOG_FIELD_MAX);
    }
    for (size_t i = 0; i < n; i++)
        vectors[i] = (struct iovec){ .iov_base = fields[i].data, .iov_len = fields[i].len };
    int result = sd_journal_sendv(vectors, (int)n);
    for (size_t i = 0; i < n; i++)
        strbuf_done(&fields[i]);
    return result >= 0;
}

/* In one write, so that lines of several threads or processes don't mix. */
static void write_line(enum log_level level, const char *text)
{
    struct strbuf line _cleanup_(strbuf_done) = STRBUF_INIT;

    if (sink.target == TARGET_PLAIN)
        strbuf_addf(&line, "%s: %s\n", sink.program, text);
    else
        strbuf_addf(&line, "<%d>%s\n", (int)level, text);
    (void)!write(STDERR_FILENO, line.data, line.len);
}

void log_write(enum log_level level, const struct log_about *about, const char *fmt, ...)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    char raw[LOG_TEXT_MAX];
    va_list args;

    if (level > sink.level)
        return;
    va_start(args, fmt);
    int n = vsnprintf(raw, sizeof(raw), fmt, args);
    va_end(args);
    if (n < 0)
        return;
    size_t len = (size_t)n < sizeof(raw) ? (size_t)n : sizeof(raw) - 1;
    strbuf_add_printable(&text, raw, len, (size_t)n < sizeof(raw) ? len : len - 4);
    if (sink.fn) {
        sink.fn(level, about, strbuf_str(&text));
        return;
    }
    if (sink.target != TARGET_JOURNAL || !write_journal(level, about, strbuf_str(&text)))
        write_line(level, strbuf_str(&text));
}
