/* SPDX-License-Identifier: MIT */
#include "common/semver_parts.h"

#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"

#define DIGITS    "0123456789"
#define LETTERS   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define SHOWN_MAX 60

int semver_refuse(struct error *err, const char *what, const char *s, const char *why)
{
    struct strbuf shown _cleanup_(strbuf_done) = STRBUF_INIT;

    strbuf_add_printable(&shown, s, strlen(s), SHOWN_MAX);
    return error_set(err, -EINVAL, "\"%s\" is not %s: %s", strbuf_str(&shown), what, why);
}

/* --- versions -------------------------------------------------------------------------------------------- */

const char *semver_take_number(const char *s, uint32_t *ret)
{
    size_t len = strspn(s, DIGITS);
    uint64_t n = 0;

    if (len == 0 || len > 10 || (len > 1 && s[0] == '0'))
        return NULL;
    for (size_t i = 0; i < len; i++)
        n = n * 10 + (uint64_t)(s[i] - '0');
    if (n > UINT32_MAX)
        return NULL;
    *ret = (uint32_t)n;
    return s + len;
}

/* Dot-separated identifiers up to `end`, none empty; numeric ones of a pre-release without leading zeros. */
static bool take_identifiers(const char *s, size_t len, bool is_pre, char *ret)
{
    if (len == 0 || len >= SEMVER_TEXT_MAX || strspn(s, LETTERS DIGITS "-.") < len)
        return false;
    for (size_t i = 0; i <= len;) {
        size_t part = strspn(s + i, LETTERS DIGITS "-");
        if (i + part > len)
            part = len - i;
        if (part == 0)
            return false;
        if (is_pre && part > 1 && s[i] == '0' && strspn(s + i, DIGITS) >= part)
            return false;
        i += part + 1;
    }
    memcpy(ret, s, len);
    ret[len] = '\0';
    return true;
}

const char *semver_take_tail(const char *s, struct semver *v)
{
    if (*s == '-') {
        size_t len = strcspn(++s, "+");
        if (!take_identifiers(s, len, true, v->pre))
            return "the part after \"-\" must be letters, digits and dashes between dots, numbers without "
                   "leading zeros";
        s += len;
    }
    if (*s == '+') {
        s++;
        if (!take_identifiers(s, strlen(s), false, v->build))
            return "the part after \"+\" must be letters, digits and dashes between dots";
        s += strlen(s);
    }
    return *s ? "something follows the three numbers" : NULL;
}

int semver_parse(const char *s, struct semver *ret, struct error *err)
{
    static const char what[] = "a version";
    struct semver v = { 0 };
    uint32_t *const numbers[] = { &v.major, &v.minor, &v.patch };
    const char *p = s;

    if (strlen(s) >= SEMVER_TEXT_MAX)
        return semver_refuse(err, what, s, "it is longer than 127 bytes");
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        if (i > 0 && *p++ != '.')
            return semver_refuse(err, what, s, "it must be three numbers with dots, as in 1.2.3");
        p = semver_take_number(p, numbers[i]);
        if (!p)
            return semver_refuse(err, what, s,
                "it must be three numbers with dots, without leading zeros or a \"v\", as in 1.2.3");
    }
    const char *why = semver_take_tail(p, &v);
    if (why)
        return semver_refuse(err, what, s, why);
    *ret = v;
    return 0;
}

bool semver_is_valid(const char *s)
{
    struct semver v;

    return s && semver_parse(s, &v, NULL) == 0;
}

char *semver_format(const struct semver *v)
{
    return xasprintf("%u.%u.%u%s%s%s%s", v->major, v->minor, v->patch, *v->pre ? "-" : "", v->pre,
        *v->build ? "+" : "", v->build);
}

static int compare_numbers(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

/* One identifier of a pre-release: numbers by value and below words, words by bytes. */
static int compare_identifiers(const char *a, size_t a_len, const char *b, size_t b_len)
{
    bool a_is_number = strspn(a, DIGITS) >= a_len, b_is_number = strspn(b, DIGITS) >= b_len;

    if (a_is_number != b_is_number)
        return a_is_number ? -1 : 1;
    if (a_is_number && a_len != b_len) /* no leading zeros, so longer is larger */
        return a_len < b_len ? -1 : 1;
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    if (order != 0)
        return order;
    return (a_len > b_len) - (a_len < b_len);
}

static int compare_pre(const char *a, const char *b)
{
    if (!*a || !*b) /* a release comes after its pre-releases */
        return (*b != '\0') - (*a != '\0');
    while (true) {
        size_t a_len = strcspn(a, "."), b_len = strcspn(b, ".");
        int order = compare_identifiers(a, a_len, b, b_len);
        if (order != 0)
            return order;
        a += a_len;
        b += b_len;
        if (!*a || !*b)
            return (*a != '\0') - (*b != '\0');
        a++;
        b++;
    }
}

int semver_compare(const struct semver *a, const struct semver *b)
{
    int order = compare_numbers(a->major, b->major);

    if (order == 0)
        order = compare_numbers(a->minor, b->minor);
    if (order == 0)
        order = compare_numbers(a->patch, b->patch);
    return order != 0 ? order : compare_pre(a->pre, b->pre);
}
