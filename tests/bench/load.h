/* SPDX-License-Identifier: MIT */
#pragma once

/* What the files of stagecoach-load share: options, counts, one connection. */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include "common/http1.h"
#include "common/mem.h"

#define CONNECTIONS_MAX    20000
#define READ_SIZE          (128 * 1024)
#define HEAD_KEPT_MAX      (16 * 1024)
#define REQUEST_MAX        (16 * 1024)
#define VERSIONS_MAX       128
#define VERSION_LEN_MAX    63
#define REASONS_MAX        32
#define BUCKETS_PER_OCTAVE 32
#define OCTAVES            36
#define EVENTS_PER_TURN    256
#define MESSAGE_MAX        (64 * 1024 - 1) /* of a websocket */

struct load_tls;

enum load_tls_mode {
    TLS_OFF,
    TLS_FULL,    /* every connection makes a session of its own */
    TLS_RESUMED, /* connections after the first take up its session */
};

enum conn_state {
    CONN_IDLE,
    CONN_CONNECTING,
    CONN_HANDSHAKE,
    CONN_SENDING,
    CONN_HEAD,
    CONN_BODY,
    CONN_MESSAGE, /* of a websocket: one is under way */
};

struct conn {
    int fd;
    struct load_tls *tls; /* NULL: plain */
    enum conn_state state;
    bool keep; /* asks for keep-alive */
    bool reused;
    bool websocket;
    size_t sent;   /* of request and body, or of a message */
    size_t n_kept; /* bytes of an incomplete head or trailer section */
    size_t echoed; /* of a message */
    int64_t started_us, wall_us;
    int status;
    int version; /* index, -1 without */
    bool last;   /* the answer ends the connection */
    struct http1_body body;
    char kept[HEAD_KEPT_MAX];
};

struct version {
    char name[VERSION_LEN_MAX + 1];
    int64_t requests, first_us, last_us, first_sent_us, last_sent_us;
};

struct reason {
    const char *text;
    int64_t count;
};

struct load_options {
    const char *host, *path, *method, *expect_version;
    struct sockaddr_storage address;
    socklen_t address_len;
    int n_connections;
    int64_t requests_max, duration_us, timeout_us, grace_us, warm_us, rate;
    bool keepalive, mixed, hold;
    enum load_tls_mode tls;
    int close_share; /* percent of the connections */
    size_t post_bytes, message_bytes;
    char extra[4096];
};

struct load {
    int epoll;
    struct conn **conns;
    int64_t start_us, start_wall_us, end_us;
    int64_t started, requests, failed, bytes, connects, wrong_version;
    int64_t handshakes, resumed;
    int64_t by_status[600];
    struct version versions[VERSIONS_MAX];
    int n_versions;
    struct reason reasons[REASONS_MAX];
    int n_reasons;
    int64_t buckets[OCTAVES * BUCKETS_PER_OCTAVE];
    int64_t max_us;
    int in_flight;
    char request[2][REQUEST_MAX]; /* close, keep-alive */
    size_t request_len[2];
    char *post; /* content, or a websocket's frame */
    size_t message_len, echo_len;
};

extern struct load_options options;
extern struct load load;
extern volatile sig_atomic_t stopping;

/* load.c */
int64_t now_us(clockid_t clock);
bool may_start(void);

/* load_conn.c: requests and answers. */
void conn_start(struct conn *conn);
void conn_event(struct conn *conn, unsigned events);
void conn_fail(struct conn *conn, const char *reason);
void conn_close(struct conn *conn);

/* load_tls.c: bytes of a connection, plain or not; errno as with recv and send. */
void conn_start_tls(struct conn *conn);
int conn_handshake(struct conn *conn); /* 1: done; 0: goes on at the next event; -1: failed */
ssize_t conn_recv(struct conn *conn, void *data, size_t len);
ssize_t conn_send(struct conn *conn, const void *data, size_t len);
void conn_end_tls(struct conn *conn);

/* load_report.c: what is counted, and told at the end. */
void count_failure(const char *text);
void count_answer(int64_t us);
void count_version(struct conn *conn, int64_t wall_us);
/* The version that the answer names: conn->version, -1 without. */
void find_version(struct conn *conn, const struct http1_head *head);
void print_result(void);
