/* SPDX-License-Identifier: MIT */
#include "ctl/moment.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "common/mem.h"

#define NOW_MS 5000 /* younger than this is "now" */
#define DAY_S  86400

static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct",
    "Nov", "Dec" };

static struct tm local(int64_t at_us)
{
    time_t seconds = at_us / CLOCK_US_PER_S;
    struct tm tm = { 0 };
    localtime_r(&seconds, &tm);
    if (tm.tm_mon < 0 || tm.tm_mon > 11)
        tm.tm_mon = 0;
    return tm;
}

char *moment_clock(int64_t at_us, wall_t now, char *buf)
{
    struct tm tm = local(at_us), today = local(now.us);
    if (tm.tm_year == today.tm_year && tm.tm_yday == today.tm_yday)
        snprintf(buf, MOMENT_MAX, "%02d:%02d", tm.tm_hour, tm.tm_min);
    else
        snprintf(buf, MOMENT_MAX, "%d %s %02d:%02d", tm.tm_mday, months[tm.tm_mon], tm.tm_hour, tm.tm_min);
    return buf;
}

char *moment_clock_s(int64_t at_us, char *buf)
{
    struct tm tm = local(at_us);
    snprintf(buf, MOMENT_MAX, "%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
    return buf;
}

char *moment_stamp(int64_t at_us, char *buf)
{
    struct tm tm = local(at_us);
    snprintf(buf, MOMENT_MAX, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
        tm.tm_hour, tm.tm_min, tm.tm_sec);
    return buf;
}

char *moment_day(int64_t at_us, char *buf)
{
    struct tm tm = local(at_us);
    snprintf(buf, MOMENT_MAX, "%d %s %d", tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900);
    return buf;
}

char *moment_since(int64_t at_us, wall_t now, char *buf)
{
    int64_t s = (now.us - at_us) / CLOCK_US_PER_S;
    if (s < 0)
        s = 0; /* another clock than ours */
    if (at_us <= 0)
        buf[0] = '\0';
    else if (s < 60)
        snprintf(buf, MOMENT_MAX, "%d s", (int)s);
    else if (s < 3600)
        snprintf(buf, MOMENT_MAX, "%d min", (int)(s / 60));
    else if (s < DAY_S)
        snprintf(buf, MOMENT_MAX, "%d h", (int)(s / 3600));
    else
        snprintf(buf, MOMENT_MAX, "%lld day%s", (long long)(s / DAY_S), s < 2 * DAY_S ? "" : "s");
    return buf;
}

char *moment_ago(int64_t at_us, wall_t now, char *buf)
{
    if (now.us - at_us < NOW_MS * CLOCK_US_PER_MS) {
        snprintf(buf, MOMENT_MAX, "now");
        return buf;
    }
    char since[MOMENT_MAX];
    snprintf(buf, MOMENT_MAX, "%.40s ago", moment_since(at_us, now, since));
    return buf;
}

char *moment_elapsed(int64_t ms, char *buf)
{
    if (ms < 100)
        snprintf(buf, MOMENT_MAX, "%d ms", (int)(ms < 0 ? 0 : ms));
    else if (ms < 60000)
        snprintf(buf, MOMENT_MAX, "%d.%ds", (int)(ms / 1000), (int)(ms / 100 % 10));
    else
        snprintf(buf, MOMENT_MAX, "%lldm%02ds", (long long)(ms / 60000), (int)(ms / 1000 % 60));
    return buf;
}

static const char units[] = "BKMGTPE";

static double scaled(int64_t bytes, unsigned *unit)
{
    double value = bytes < 0 ? 0 : (double)bytes;
    *unit = 0;
    while (value >= 1024 && *unit + 2 < sizeof(units)) {
        value /= 1024;
        (*unit)++;
    }
    return value;
}

/* Tenths by hand: a locale's decimal comma has no place here. */
static void number(double value, bool tenths, char *buf, size_t size)
{
    int64_t tens = (int64_t)(value * 10 + 0.5);
    if (tenths && tens < 1000)
        snprintf(buf, size, "%lld.%lld", (long long)(tens / 10), (long long)(tens % 10));
    else
        snprintf(buf, size, "%lld", (long long)(value + 0.5));
}

char *size_text(int64_t bytes, char *buf)
{
    unsigned unit;
    char digits[24];
    double value = scaled(bytes, &unit);
    number(value, unit > 0 && value < 10, digits, sizeof(digits));
    if (unit == 0)
        snprintf(buf, MOMENT_MAX, "%s B", digits);
    else
        snprintf(buf, MOMENT_MAX, "%s %cB", digits, units[unit]);
    return buf;
}

char *size_pair_text(int64_t part, int64_t whole, char *buf)
{
    unsigned unit;
    char a[16], b[16];
    number(scaled(whole, &unit), true, b, sizeof(b));
    double divisor = 1;
    for (unsigned i = 0; i < unit; i++)
        divisor *= 1024;
    number((part < 0 ? 0 : (double)part) / divisor, true, a, sizeof(a));
    snprintf(buf, MOMENT_MAX, "%s/%s%c", a, b, units[unit]);
    return buf;
}
