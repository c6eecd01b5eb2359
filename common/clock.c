/* SPDX-License-Identifier: MIT */
#include "common/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/mem.h"

static int64_t read_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return now.tv_sec * CLOCK_US_PER_S + now.tv_nsec / 1000;
}

mono_t clock_mono(void)
{
    return (mono_t){ .us = read_us(CLOCK_MONOTONIC) };
}

wall_t clock_wall(void)
{
    return (wall_t){ .us = read_us(CLOCK_REALTIME) };
}

char *wall_format_utc(wall_t t, char *buf)
{
    int64_t seconds = t.us / CLOCK_US_PER_S - (t.us % CLOCK_US_PER_S < 0);
    time_t when = (time_t)seconds;
    struct tm tm;

    if (!gmtime_r(&when, &tm) || strftime(buf, CLOCK_STAMP_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        snprintf(buf, CLOCK_STAMP_MAX, "%" PRId64, seconds);
    return buf;
}

/* In English whatever the locale. */
char *wall_format_http(wall_t t, char *buf)
{
    static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
        "Oct", "Nov", "Dec" };
    time_t when = (time_t)(t.us / CLOCK_US_PER_S);
    struct tm tm;

    if (!gmtime_r(&when, &tm))
        memset(&tm, 0, sizeof(tm));
    snprintf(buf, CLOCK_STAMP_MAX, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[(unsigned)tm.tm_wday % 7],
        (unsigned)tm.tm_mday % 100, months[(unsigned)tm.tm_mon % 12], (unsigned)(tm.tm_year + 1900) % 10000,
        (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    return buf;
}

/* Largest first: parsing wants them in this order, printing tries them in it. */
static const struct unit {
    const char *name;
    int64_t ms;
    const char *one, *many; /* for people */
} units[] = {
    /* clang-format off */
    { "d",   86400000, "day",  "days" },
    { "h",    3600000, "h",    "h" },
    { "min",    60000, "min",  "min" },
    { "s",       1000, "s",    "s" },
    { "ms",         1, "ms",   "ms" },
    /* clang-format on */
};

static const struct unit *find_unit(const char *s, size_t len)
{
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (strlen(units[i].name) == len && strncmp(units[i].name, s, len) == 0)
            return &units[i];
    /* Also understood, because people write it. */
    return len == 1 && *s == 'm' ? &units[2] : NULL;
}

int duration_parse(const char *s, int64_t *ret_ms)
{
    int64_t total = 0, smallest = INT64_MAX;

    if (!s || !*s)
        return -EINVAL;
    while (*s) {
        int64_t n = 0;
        size_t digits = strspn(s, "0123456789");
        if (digits == 0 || digits > 15)
            return -EINVAL;
        for (size_t i = 0; i < digits; i++)
            n = n * 10 + (s[i] - '0');
        s += digits;
        size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz");
        const struct unit *unit = find_unit(s, len);
        /* Each unit once, from large to small: "30s1h" is more likely a slip than a wish. */
        if (!unit || unit->ms >= smallest)
            return -EINVAL;
        smallest = unit->ms;
        if (__builtin_mul_overflow(n, unit->ms, &n) || __builtin_add_overflow(total, n, &total))
            return -EINVAL;
        s += len;
    }
    *ret_ms = total;
    return 0;
}

char *duration_format(int64_t ms, char *buf)
{
    size_t used = 0;

    if (ms <= 0) {
        snprintf(buf, CLOCK_STAMP_MAX, "0s");
        return buf;
    }
    for (size_t i = 0; i < ARRAY_SIZE(units) && ms > 0; i++) {
        int64_t n = ms / units[i].ms;
        ms %= units[i].ms;
        if (n > 0)
            used += (size_t)snprintf(buf + used, CLOCK_STAMP_MAX - used, "%" PRId64 "%s", n, units[i].name);
        if (used >= CLOCK_STAMP_MAX)
            break;
    }
    return buf;
}

char *duration_for_people(int64_t ms, char *buf)
{
    if (ms < 0)
        ms = 0;
    if (ms < 10 * CLOCK_MS_PER_S) {
        snprintf(buf, CLOCK_STAMP_MAX, "%" PRId64 ".%" PRId64 "s", ms / 1000, ms % 1000 / 100);
        return buf;
    }
    for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
        int64_t n = ms / units[i].ms;
        if (n == 0)
            continue;
        snprintf(buf, CLOCK_STAMP_MAX, "%" PRId64 " %s", n, n == 1 ? units[i].one : units[i].many);
        break;
    }
    return buf;
}
