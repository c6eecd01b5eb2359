/* SPDX-License-Identifier: MIT */
#include "routerd/settings.h"

#include <stddef.h>

#include "common/mem.h"

#define AT(member) offsetof(struct settings, member)

/* clang-format off */
static const struct option_row rows[] = {
    { "Router",   "Workers",          OPTION_INT,      AT(workers),         0, WORKERS_MAX, "0",
      "Threads that serve requests; 0 is one per processor, at most 16." },
    { "Router",   "StateDir",         OPTION_STRING,   AT(state_directory), 0, 0, "/var/lib/stagecoach-router",
      "Where the last good table and the identity are." },
    { "Router",   "Table",            OPTION_STRING,   AT(table),           0, 0, "",
      "A routing table to serve and to watch; with it no hub is asked." },
    { "Router",   "Listen",           OPTION_STRV,     AT(listen),          0, 0, "",
      "Addresses to listen on where systemd hands over no sockets, as 0.0.0.0:80." },
    { "Router",   "ListenTLS",        OPTION_STRV,     AT(listen_tls),      0, 0, "",
      "The same for TLS, as 0.0.0.0:443; \",proxy\" behind an address: a PROXY header comes first." },
    { "Router",   "TrustedProxies",   OPTION_STRV,     AT(trusted_proxies), 0, 0, "",
      "Networks whose X-Forwarded-* and Forwarded fields are believed, as 10.0.0.0/8." },
    { "Router",   "CookieKey",        OPTION_STRING,   AT(cookie_key),      0, 0, "",
      "File of 16 bytes that sign sticky cookies, the same on all routers; empty: one per fleet." },
    { "Router",   "Hub",              OPTION_STRING,   AT(hub),             0, 0, "",
      "The hub's host and port; empty: the one that was joined." },
    { "Limits",   "Connections",      OPTION_INT,      AT(connections),     1, 1000000, "50000",
      "Client connections of all workers; one more waits in the kernel's queue." },
    { "Limits",   "RequestsPerConnection", OPTION_INT, AT(requests_per_connection), 1, 1000000000, "100000",
      "After so many the connection is closed behind its answer." },
    { "Limits",   "HeadSize",         OPTION_SIZE,     AT(head_bytes),      1024, 65536, "64K",
      "Largest head of a request." },
    { "Limits",   "Fields",           OPTION_INT,      AT(fields),          8, 128, "128",
      "Most fields of a head." },
    { "Limits",   "BodySize",         OPTION_SIZE,     AT(body_bytes),      0, 0, "0",
      "Largest body of a request; 0: any." },
    { "Limits",   "IdlePerEndpoint",  OPTION_INT,      AT(idle_per_endpoint), 0, 1000, "32",
      "Idle connections that a worker keeps to an endpoint." },
    { "Limits",   "Buffered",         OPTION_SIZE,     AT(buffered_bytes),  1048576, 0, "64M",
      "What a worker keeps for slow readers in all; above it the one who asks for more is closed." },
    { "Timeouts", "Head",             OPTION_DURATION, AT(head_ms),         100, 3600000, "10s",
      "From the first byte of a request to the end of its head." },
    { "Timeouts", "Idle",             OPTION_DURATION, AT(idle_ms),         100, 86400000, "60s",
      "Of a client connection between requests." },
    { "Timeouts", "Body",             OPTION_DURATION, AT(body_ms),         100, 3600000, "20s",
      "Window in which a body must move on by BodyRate, in either direction." },
    { "Timeouts", "Connect",          OPTION_DURATION, AT(connect_ms),      10, 60000, "1s",
      "To reach an endpoint, before another one is tried." },
    { "Timeouts", "FirstByte",        OPTION_DURATION, AT(first_byte_ms),   100, 86400000, "60s",
      "From the whole request to the head of the answer." },
    { "Timeouts", "Answer",           OPTION_DURATION, AT(answer_ms),       100, 86400000, "5min",
      "Between two pieces of an answer." },
    { "Timeouts", "Tunnel",           OPTION_DURATION, AT(tunnel_ms),       100, 604800000, "1h",
      "Of an upgraded connection on which nothing moves." },
    { "Timeouts", "Queue",            OPTION_DURATION, AT(queue_ms),        0, 3600000, "5s",
      "Of a request that waits for an endpoint with a limit." },
    { "Timeouts", "BodyRate",         OPTION_INT,      AT(body_rate),       0, 1000000000, "100",
      "Bytes per second that a body must move at least." },
    { "Log",      "Slow",             OPTION_DURATION, AT(slow_ms),         0, 86400000, "5s",
      "Requests that take longer are logged; 0: none." },
    { "Log",      "SamplePerSecond",  OPTION_INT,      AT(sample_per_s),    0, 1000, "0",
      "Ordinary requests that each worker logs per second." },
};
/* clang-format on */

const struct option_table settings_table = {
    .program = "stagecoach-routerd",
    .size = sizeof(struct settings),
    .rows = rows,
    .n_rows = ARRAY_SIZE(rows),
};
