/* SPDX-License-Identifier: MIT */
#pragma once

/* Calls that have no safe use here. Included by mem.h behind the system headers it needs; a source file that
 * names one of these does not compile. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The system's headers may define these as macros, which a poisoned name in their expansion would break. */
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef strtok

/* clang-format off */
#pragma GCC poison strcpy strcat    /* strbuf, or snprintf into a sized buffer */
#pragma GCC poison sprintf vsprintf /* strbuf_addf, xasprintf, snprintf */
#pragma GCC poison strtok           /* strv_split */
#pragma GCC poison gmtime localtime /* wall_format_utc, gmtime_r */
#pragma GCC poison atoi             /* accepts garbage; strtoll with its end checked */
#pragma GCC poison system popen     /* child.h */
/* clang-format on */
