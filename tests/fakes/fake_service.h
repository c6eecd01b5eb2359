/* SPDX-License-Identifier: MIT */
#pragma once

/* Many endpoints of one service, in one thread, each of which can be told to be ill. For requests without content;
 * fake_backend.h knows more of HTTP. Each answers "NUMBER" (its own), with
 * the count of its requests as X-Serial. A GET of /probe is counted apart and answered
 * as fake_service_probes says. */

#include <stdint.h>

struct fake_service;

enum fake_illness {
    FAKE_WELL,
    FAKE_REFUSES, /* nobody listens, open connections are gone */
    FAKE_HANGS,   /* takes requests and says nothing */
    FAKE_CLOSES,  /* takes requests and closes */
    FAKE_ERRORS,  /* 500 */
    FAKE_ILLNESS_MAX_
};

enum fake_place { FAKE_IPV4, FAKE_IPV6, FAKE_UNIX };

struct fake_service *fake_service_new(int n, enum fake_place place);
void fake_service_free(struct fake_service *s);
/* As a routing table has it; valid as long as the service is. */
const char *fake_service_address(const struct fake_service *s, int i);
/* Done when this returns. */
void fake_service_set(struct fake_service *s, int i, enum fake_illness illness);
/* Errors for so many of a hundred requests only. */
void fake_service_error_percent(struct fake_service *s, int i, int percent);
void fake_service_delay(struct fake_service *s, int i, int ms);
void fake_service_probes(struct fake_service *s, int i, int status);
int64_t fake_service_requests(const struct fake_service *s, int i);
int64_t fake_service_probe_requests(const struct fake_service *s, int i);
int64_t fake_service_all_requests(const struct fake_service *s);
/* Most requests at once so far. */
int64_t fake_service_peak(const struct fake_service *s, int i);
void fake_service_clear(struct fake_service *s); /* the counts */
