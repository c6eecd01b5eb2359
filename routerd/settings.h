/* SPDX-License-Identifier: MIT */
#pragma once

/* What routerd.conf and the command line say. One row per key in settings.c. */

#include <stdbool.h>
#include <stdint.h>

#include "common/config.h"

#define WORKERS_MAX 64

struct settings {
    /* [Router] */
    int64_t workers;
    char *state_directory;
    char *table;                 /* a file to serve and watch; empty: the hub's */
    char **listen, **listen_tls; /* addresses, where systemd hands over no sockets */
    char **trusted_proxies;
    char *acme_directory; /* empty: none */
    char *cookie_key;     /* file; empty: by the fleet, or made in the state directory */
    char *hub;            /* empty: the one that was joined */
    bool h2c;             /* HTTP/2 on plain listeners, by prior knowledge */
    char *status;         /* address of the status socket; empty: none */
    /* [TLS] */
    char *certificates;        /* a directory */
    char *default_certificate; /* of it; empty: the first */
    bool strict_names, http2, only_tls13;
    int64_t ticket_rotation_ms;
    /* [Limits] */
    int64_t h2_streams; /* requests at once on an HTTP/2 connection */
    int64_t connections, requests_per_connection, head_bytes, fields, body_bytes, idle_per_endpoint;
    int64_t buffered_bytes; /* of one worker, for slow readers */
    /* [Timeouts], milliseconds */
    int64_t head_ms, idle_ms, body_ms, connect_ms, first_byte_ms, answer_ms, tunnel_ms, queue_ms;
    int64_t reload_ms, drain_ms;
    int64_t body_rate; /* bytes per second */
    /* [Log] */
    int64_t slow_ms, sample_per_s;
    char *access_log, *access_format; /* a file; empty: none */
    int64_t access_sample;            /* of ordinary requests every n-th */
    /* [Trace] */
    bool request_id, trace, trace_trust;
    int64_t trace_sample; /* percent */
};

extern const struct option_table settings_table;
