/* SPDX-License-Identifier: MIT */
#pragma once

/* Semantic versions 2.0.0 (semver.org) and the ranges that npm and seaport users know. Pure. */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define SEMVER_TEXT_MAX 128

struct semver {
    uint32_t major, minor, patch;
    char pre[SEMVER_TEXT_MAX];   /* "" or "rc.1" */
    char build[SEMVER_TEXT_MAX]; /* "" or "g35819ef" */
};

/* Strict: exactly X.Y.Z[-pre][+build], no leading zeros, no leading "v". */
int semver_parse(const char *s, struct semver *ret, struct error *err);
bool semver_is_valid(const char *s);
char *semver_format(const struct semver *v); /* caller frees */

/* Precedence by semver.org item 11: build metadata does not count. <0, 0, >0. */
int semver_compare(const struct semver *a, const struct semver *b);

/* Ranges: "1.2.3", "=1.2.3", ">=1.2 <2", "^0.2", "~1.2", "1.x", "1.2.x", "*", "", "1.2 - 1.4", and "||" between
 * them. Pre-releases match only where the range names one of the same X.Y.Z. */
struct semver_range;

int semver_range_parse(const char *s, struct semver_range **ret, struct error *err);
void semver_range_free(struct semver_range *range);
bool semver_range_matches(const struct semver_range *range, const struct semver *v);
/* 1 match, 0 no match, negative: one of the two does not parse. */
int semver_matches(const char *range, const char *version);
