/* SPDX-License-Identifier: MIT */
#pragma once

/* What stands between an accepted socket and a connection that speaks HTTP: a PROXY header, a TLS handshake, the choice
 * of the protocol. Plain listeners without a PROXY header pass it by. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/http1.h"
#include "common/tls_public.h"
#include "common/wire.h"
#include "routerd/headers.h"

struct routerd;
struct worker;

enum listener_flags {
    LISTENER_TLS = 1,
    LISTENER_PROXY = 2,  /* each connection begins with a PROXY header */
    LISTENER_STATUS = 4, /* not for clients: main serves /status and /metrics there */
};

/* Of one worker; read by main. */
struct front_counters {
    _Atomic uint64_t full, resumed; /* handshakes that were completed */
    _Atomic uint64_t refused_proxy; /* no PROXY header, a wrong one, or from who may not send one */
    _Atomic uint64_t late;          /* neither header nor handshake in time */
    _Atomic uint64_t failed[TLS_FAILURE_KIND_MAX_];
};

/* Certificates and ticket keys, before the workers get their contexts. */
void front_prepare(struct routerd *routerd);
/* The worker's own TLS context; on the main thread. */
_must_check_ int front_prepare_worker(struct routerd *routerd, struct worker *worker, struct error *err);

/* fd is taken. */
void front_new(struct worker *worker, int fd, const struct wire_address *peer, unsigned flags);
/* Those of a worker that have not become a connection yet. */
void front_close_all(struct worker *worker);
/* Who the peer is, as requests are told. */
void front_describe(struct worker *worker, const struct wire_address *peer, struct forward *ret);

/* May that host be asked for on a connection that was shown this certificate? A client may use a connection for every
 * name of its certificate, and must not for others: they may be served elsewhere, or by other rules. */
bool front_host_allowed(const struct forward *forward, struct http1_slice host);
