/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/semver.h"

static int sign(int n)
{
    return (n > 0) - (n < 0);
}

static void try_versions(const char *x, const char *y)
{
    struct semver a, b;

    if (semver_parse(x, &a, NULL) < 0)
        return;
    char *text = semver_format(&a);
    must(strcmp(text, x) == 0);
    free(text);
    must(semver_compare(&a, &a) == 0 && semver_matches(x, x) == 1);
    if (semver_parse(y, &b, NULL) == 0)
        must(sign(semver_compare(&a, &b)) == -sign(semver_compare(&b, &a)));
}

/* Two lines: a range or version, and a version. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *range = as_text(data, size), *version = strchr(range, '\n');
    struct semver_range *parsed;
    struct error err = { 0 };
    struct semver v;

    if (version)
        *version++ = '\0';
    else
        version = range + strlen(range);
    try_versions(range, version);
    try_versions(version, range);
    if (semver_range_parse(range, &parsed, &err) == 0) {
        if (semver_parse(version, &v, NULL) == 0)
            must(semver_matches(range, version) == semver_range_matches(parsed, &v));
        semver_range_free(parsed);
    } else {
        must(strstr(err.text, "is not a range of versions"));
    }
    free(range);
    return 0;
}
