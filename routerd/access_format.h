/* SPDX-License-Identifier: MIT */
#pragma once

/* Lines of the access log file, out of records. Whatever clients sent comes out as one line of valid JSON, or with what
 * is not plain text as \xNN as nginx writes its combined format. */

#include <stddef.h>

#include "routerd/access.h"

#define ACCESS_LINE_MAX (16 * 1024)

enum access_format { ACCESS_JSON, ACCESS_COMBINED, ACCESS_FORMAT_MAX_ };
extern const char *const access_format_names[ACCESS_FORMAT_MAX_];

/* Writes the line with its line end to `out`, which has room for ACCESS_LINE_MAX; returns its length, 0 if it doesn't
 * fit. */
size_t access_format_line(enum access_format format, const struct access_record *record, char *out);
/* "TLSv1.3"; "" for what is not known. */
const char *access_tls_version(unsigned version);
/* The IANA name of the suite, "" if it is none of those that are offered. */
const char *access_tls_cipher(unsigned cipher);
