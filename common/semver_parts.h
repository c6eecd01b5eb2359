/* SPDX-License-Identifier: MIT */
#pragma once

/* Parts of a version's text that ranges are made of too; for semver.c and semver_range.c only. */

#include "common/semver.h"

/* A number without leading zeros; NULL if there is none or it is beyond 32 bits. */
const char *semver_take_number(const char *s, uint32_t *ret);
/* "-pre" and "+build" behind the numbers, up to the end of s. NULL, or why not. */
const char *semver_take_tail(const char *s, struct semver *v);
/* Fills err with `"<s>" is not <what>: <why>`. */
int semver_refuse(struct error *err, const char *what, const char *s, const char *why);
