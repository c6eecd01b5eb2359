/* SPDX-License-Identifier: MIT */
#pragma once

/* THE wire contract. stagecoach-protocol(7) says the same for strangers. Pure.
 *
 * TLS 1.3 (ALPN "stagecoach/1") or the hub's local socket; then frames: 4 bytes of big-endian length and one
 * JSON object, JSON-RPC 2.0, both sides may call. The first frame is `hello` from whoever connected.
 *
 *   anybody                      hub                       drone                      hub
 *     hello ───────────────────► │                           hello {counter} ────────► │
 *     ◄─────────────────── hello │                           ◄─────────────────── hello│
 *     join {token, csr} ───────► │                           document(report) ───────► │  what is, all of it
 *     ◄──── {cert, ca, role, …}  │                           ◄─────── document(orders) │  what is wanted, all of it
 *                                                            ◄──── orders_change       │  from then on
 *   person                       hub                         instance_report ────────► │  from then on
 *     deploy {target, …} ──────► │ stored, then              host_report ────────────► │  every 10 s
 *     ◄──────────── {deploy, …}  │ answered                  ◄──────── stream_open {s} │
 *     deploy_watch {deploy} ───► │                           (second connection)
 *     ◄──────── deploy_event …   │                           hello {stream: s} ──────► │
 *     ◄──────────── {outcome}    │ when it has ended         stream_lines … stream_end ►│
 *
 *   router                       hub
 *     hello {counter} ─────────► │  the epoch it serves
 *     ◄───────── document(table) │  then prepare {epoch}: validated, compiled, kept as table.next; answered
 *     ◄─────── table_commit {e}  │  renamed, swapped; answered when every worker has swapped
 *     ◄─────── table_abort {e}   │  table.next dropped
 *     traffic_report ──────────► │  counters that moved, at most every 50 ms while something drains
 *
 * Every call that changes something carries request_id, made by the caller: the same id with the same body gets
 * the same answer again and changes nothing; with another body it is refused. Unknown fields are ignored in
 * reports and answers; orders and tables are strict. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/schema.h"

#define PROTOCOL_VERSION  1
#define PROTOCOL_ALPN     "stagecoach/1"
#define PROTOCOL_PORT     7000
#define FRAME_MAX         (1024 * 1024)
#define FRAME_HELLO_MAX   4096
#define PAGE_MAX          1000 /* rows of a list in one answer; more by `cursor` */
#define INSTANCES_MAX     1000 /* of one release */
#define DOCUMENT_PART_MAX (64 * 1024)
#define DOCUMENT_SIZE_MAX (64 * 1024 * 1024)

enum role { ROLE_NONE, ROLE_ADMIN, ROLE_DEPLOYER, ROLE_VIEWER, ROLE_DRONE, ROLE_ROUTER, ROLE_HUB, ROLE_MAX_ };
extern const char *const role_names[ROLE_MAX_];
static inline bool role_is_person(enum role role)
{
    return role == ROLE_ADMIN || role == ROLE_DEPLOYER || role == ROLE_VIEWER;
}

/* Why a call was refused; the numbers are JSON-RPC error codes. */
enum error_kind {
    ERROR_NONE = 0,
    ERROR_PARSE = -32700,
    ERROR_REQUEST = -32600,
    ERROR_METHOD = -32601,
    ERROR_FIELDS = -32602, /* missing or wrong: named */
    ERROR_INTERNAL = -32603,
    ERROR_REFUSED = -32001, /* a rule says no; asking again does not help */
    ERROR_DENIED = -32002,  /* not with this identity */
    ERROR_NOT_FOUND = -32003,
    ERROR_CONFLICT = -32004,    /* something else is under way or has the name */
    ERROR_BUSY = -32005,        /* try again later */
    ERROR_UNAVAILABLE = -32006, /* the hub can't do it now (disk full, store) */
    ERROR_SKEW = -32007,        /* a peer concerned is too old: named */
};

enum msg_type {
    MSG_NONE_ = 0,
    /* session: 1… */
    MSG_HELLO = 1,
    MSG_PING = 2,
    MSG_GOODBYE = 3,
    MSG_JOIN = 4,
    MSG_RENEW = 5,
    MSG_DOCUMENT_BEGIN = 6,
    MSG_DOCUMENT_PART = 7,
    MSG_DOCUMENT_END = 8,
    /* people: 100… */
    MSG_TOKEN_CREATE = 100,
    MSG_TOKEN_LIST = 101,
    MSG_TOKEN_REVOKE = 102,
    MSG_DEPLOY = 110,
    MSG_ROLLBACK = 111,
    MSG_SCALE = 112,
    MSG_START = 113,
    MSG_STOP = 114,
    MSG_RESTART = 115,
    MSG_DEPLOY_WATCH = 116,
    MSG_DEPLOY_EVENT = 117,
    MSG_LIST = 120,
    MSG_SERVERS = 121,
    MSG_PS = 122,
    MSG_STATUS = 123,
    MSG_DEPS = 124,
    MSG_HISTORY = 125,
    MSG_MONITOR = 126,
    MSG_EVENT = 127,
    MSG_LOGS = 128,
    MSG_HOST_LIST = 129,
    MSG_HOST_REMOVE = 130,
    MSG_VERSION = 131,
    MSG_IDENTITY_REVOKE = 132,
    MSG_HUB_STATUS = 133,
    MSG_ROUTERS = 134,
    /* hub and drone: 200… */
    MSG_ORDERS_CHANGE = 200,
    MSG_INSTANCE_REPORT = 201,
    MSG_HOST_REPORT = 202,
    MSG_STREAM_OPEN = 203,
    MSG_STREAM_LINES = 204,
    MSG_STREAM_END = 205,
    /* hub and router: 300… */
    MSG_TABLE_PREPARE = 300,
    MSG_TABLE_COMMIT = 301,
    MSG_TABLE_ABORT = 302,
    MSG_TRAFFIC_REPORT = 303,
    MSG_MAX_
};

/* --- session --------------------------------------------------------------------------------------------- */

/* Both ways: the first frame of the one who connects, and its answer. */
struct msg_hello {
    int64_t protocol;
    char *program; /* "stagecoach-droned" */
    char *version; /* of the program */
    char *name;    /* who speaks; the certificate decides */
    char *fleet;   /* id of the fleet, NULL before join */
    /* drone: revision of the orders it holds; router: epoch it serves; hub: its own counter */
    int64_t counter;
    char **features;
    char *stream;    /* this connection carries the stream of this id and nothing else */
    char *address;   /* drone: where its instances listen */
    int64_t time_us; /* wall clock of the speaker */
};

struct msg_empty {
    char unused_;
};

struct msg_goodbye {
    char *reason;
};

struct msg_join {
    char *request_id;
    char *token;   /* whole, or its secret part alone */
    char *name;    /* wanted; empty: the hub's choice for people, refused for daemons */
    char *csr_pem; /* only its key is used */
};

struct msg_identity {
    char *cert_pem;
    char *ca_pem;
    char *fleet;
    int role; /* enum role */
    char *name;
    char **services; /* deployers: what they may change; empty = all */
    int64_t expires_us;
};

struct msg_renew {
    char *request_id;
    char *csr_pem; /* the same key as the certificate that asks */
};

enum document_kind { DOCUMENT_ORDERS, DOCUMENT_REPORT, DOCUMENT_TABLE, DOCUMENT_TABLE_DIFF, DOCUMENT_MAX_ };
extern const char *const document_kind_names[DOCUMENT_MAX_];

struct msg_document_begin {
    int kind; /* enum document_kind */
    int64_t id;
    int64_t revision; /* of the orders; of the table: the epoch */
    int64_t bytes;
};

struct msg_document_part {
    int64_t id;
    char *text; /* at most DOCUMENT_PART_MAX bytes, cut between characters */
};

struct msg_document_end {
    int64_t id;
    char *sha256; /* hex, over the bytes of all parts */
};

/* --- people ---------------------------------------------------------------------------------------------- */

struct msg_token_create {
    char *request_id;
    int role;
    int64_t uses;
    int64_t valid_ms;
    char *name;      /* only this name may join with it; also the way to take a name again */
    char **services; /* deployers */
    char *password;  /* the secret, chosen; NULL: made by the hub */
};

struct msg_token {
    char *id;    /* 8 hex digits; not secret */
    char *token; /* only in the answer to token_create */
    int role;
    char *name;
    char **services;
    int64_t uses_left;
    int64_t expires_us;
    char *created_by;
};

struct msg_tokens {
    struct msg_token *tokens;
    size_t n_tokens;
};

struct msg_token_revoke {
    char *request_id;
    char *id;
};

/* A name or serial whose certificates are refused from now on; live links are closed. */
struct msg_identity_revoke {
    char *request_id;
    int role;
    char *name;
};

struct msg_deploy {
    char *request_id;
    char *target;      /* web, web@0.2.2, web@^0.2, web@<tag>, web@<commit> */
    int64_t instances; /* 0: what runs now, else the manifest's number */
    char **hosts;      /* only these */
    bool no_traffic;
    bool supersede; /* reverts an open deploy of the same service */
    bool rebuild;
    char **env; /* over the manifest's */
};

struct msg_rollback {
    char *request_id;
    char *target; /* service, or service@version; without one: the release that served before */
};

struct msg_scale {
    char *request_id;
    char *target;
    int64_t instances;
    char **hosts;
};

/* start, stop, restart: service, service@version or the id of an instance */
struct msg_target {
    char *request_id;
    char *target;
};

/* The answer to everything that is carried out as a deploy. It is stored by then. */
struct msg_operation {
    char *deploy; /* NULL: there was nothing to do */
    char *service;
    char *version;
    char *commit;
    char *subject; /* first line of the commit message */
    char **hosts;  /* one per new instance */
    char *text;    /* one line for people */
};

enum deploy_phase {
    DEPLOY_FETCH,
    DEPLOY_BUILD,
    DEPLOY_START,
    DEPLOY_HEALTHY,
    DEPLOY_SWITCH,
    DEPLOY_DRAIN,
    DEPLOY_PHASE_MAX_
};
extern const char *const deploy_phase_names[DEPLOY_PHASE_MAX_];

enum step_status { STEP_RUNNING, STEP_DONE, STEP_FAILED, STEP_OUTPUT, STEP_STATUS_MAX_ };
extern const char *const step_status_names[STEP_STATUS_MAX_];

enum deploy_outcome {
    OUTCOME_OPEN, /* not ended yet */
    OUTCOME_DONE,
    OUTCOME_FAILED, /* nothing changed for users */
    OUTCOME_REVERTED,
    OUTCOME_INCOMPLETE, /* decided, but a router has not confirmed it */
    OUTCOME_MAX_
};
extern const char *const deploy_outcome_names[OUTCOME_MAX_];

struct msg_deploy_watch {
    char *deploy;
    int64_t after; /* sequence number of the last deploy_event seen */
    bool output;   /* build output too */
};

struct msg_deploy_event {
    char *deploy;
    int64_t seq;
    int64_t at_us;
    int phase;  /* enum deploy_phase */
    int status; /* enum step_status */
    char *host; /* NULL: of the deploy as a whole */
    char *instance;
    char *text;
    char **lines; /* last log lines, probe transcript, build output */
    int64_t elapsed_ms;
};

struct msg_deploy_result {
    char *deploy;
    int outcome; /* enum deploy_outcome */
    char *service;
    char *version;
    char *text; /* "web@0.2.2 serves." and what else is worth saying */
    char **lines;
    int64_t elapsed_ms;
};

/* Lists: a filter and a page. */
struct msg_query {
    char *target; /* service, service@version, host or instance; NULL: all */
    char *cursor; /* from the page before */
    int64_t limit;
};

struct release_row {
    char *service;
    char *version;
    char *commit;
    char *app;
    int64_t traffic_percent; /* of the live set; -1: never routed */
    int64_t wanted;
    int64_t running;
    char **addresses; /* host:port, or host for workers */
    bool worker;
    int64_t last_hit_us; /* 0: never */
    int64_t warm_until_us;
    char *note;
};

struct msg_list {
    struct release_row *releases;
    size_t n_releases;
    char *next; /* cursor; NULL at the end */
};

enum instance_phase {
    INSTANCE_WAITING, /* ordered, host not reached yet */
    INSTANCE_FETCHING,
    INSTANCE_BUILDING,
    INSTANCE_STARTING,
    INSTANCE_PROBING,
    INSTANCE_RUNNING,     /* healthy */
    INSTANCE_UNHEALTHY,   /* was healthy, probes fail now */
    INSTANCE_BACKING_OFF, /* exited, will be started again */
    INSTANCE_STOPPING,
    INSTANCE_STOPPED,
    INSTANCE_FAILED, /* given up: reason says why */
    INSTANCE_PHASE_MAX_
};
extern const char *const instance_phase_names[INSTANCE_PHASE_MAX_];

/* What a drone knows of an instance. In reports, and in what people ask for. */
struct instance_state {
    char *id;
    char *host; /* filled by the hub */
    char *app;
    char *service;
    char *version;
    char *commit;
    char *deploy;       /* that ordered it */
    int phase;          /* enum instance_phase */
    int64_t generation; /* of the order it carries out: counts restarts asked for */
    char *address;      /* "10.0.0.11:20117"; NULL for workers */
    int64_t pid;
    char *unit;
    int64_t since_us; /* start of this phase */
    int64_t restarts; /* since it was ordered, not asked for */
    char *reason;     /* why it is not running, or why it was restarted last */
    char **lines;     /* last log lines or probe transcript belonging to reason */
    int64_t memory_bytes;
    /* How long each step took, -1 unknown. */
    int64_t fetch_ms, build_ms, start_ms, healthy_ms;
    int64_t fetch_objects, fetch_bytes;
    char *build;    /* the command, if there was one */
    int64_t passes; /* probes passed in a row */
};

struct host_row {
    char *host;
    int role; /* drone or router */
    char *address;
    bool online;
    int64_t seen_us;
    int64_t up_ms;
    int64_t load_milli;
    int64_t cores;
    int64_t memory_bytes, memory_free_bytes;
    char *version;
    char *note;
    struct instance_state *instances;
    size_t n_instances;
};

struct msg_servers {
    struct host_row *hosts;
    size_t n_hosts;
    char *next;
};

struct msg_ps {
    struct instance_state *instances;
    size_t n_instances;
    char *next;
};

struct status_row {
    char *service;
    char *version;
    char *summary; /* "2 of 2 running, 100% of traffic", or "not running: …" */
    struct instance_state *instances;
    size_t n_instances;
};

struct msg_status {
    struct status_row *releases;
    size_t n_releases;
};

struct dep_row {
    char *service;
    char *version;
    char *name; /* what it depends on: service or config:NAME; NULL: no dependencies */
    char *range;
    char *resolved; /* version that meets it; NULL: missing */
    char *missing;  /* "newest is 1.9.1" */
};

struct msg_deps {
    struct dep_row *edges;
    size_t n_edges;
};

struct msg_event {
    int64_t seq;
    int64_t at_us;
    char *who;  /* "ops", "app1", "hub" */
    char *kind; /* "push", "deploy", "instance", "host", "token", … */
    char *app;
    char *service;
    char *version;
    char *host;
    char *instance;
    char *deploy;
    char *text;
};

struct msg_history_query {
    char *target;   /* service; NULL: all */
    int64_t before; /* sequence number, 0: newest */
    int64_t limit;
};

struct msg_history {
    struct msg_event *events; /* newest first */
    size_t n_events;
};

struct msg_monitor {
    char *target;
    int64_t after; /* -1: from now on */
};

struct msg_logs {
    char *target; /* service, service@version, instance */
    int64_t lines;
    bool follow;
};

struct msg_version {
    char *program;
    char *version;
    int64_t protocol;
    char *fleet;
    char *fingerprint; /* SHA-256 of the hub CA's public key, hex */
};

struct status_item {
    char *name;
    char *value;
};

/* Tables of the daemon itself: links, routers, memory, revision. */
struct msg_hub_status {
    struct status_item *items;
    size_t n_items;
};

/* A router as a whole. Rates are of the interval before; of 0 ms: nothing is said. */
struct router_brief {
    int64_t generation; /* 1 and more: of reloads */
    char *older;        /* "2 older generations with 14 connections" */
    int64_t connections, in_flight;
    int64_t ejected;                       /* endpoints that are left out now */
    int64_t interval_ms, requests, errors; /* errors: answers of 5xx, the router's own among them */
    int64_t retries;
    int64_t bytes_in, bytes_out; /* content */
    int64_t p50_us, p99_us;
    char *certificate; /* the one that ends first */
    int64_t certificate_expires_us;
};
extern const struct schema router_brief_schema;

struct router_row {
    char *name;
    bool online;
    char *version;   /* of its program */
    int64_t epoch;   /* that all its workers serve */
    int64_t seen_us; /* its last report; 0: never */
    struct router_brief now;
};

struct msg_routers {
    struct router_row *routers;
    size_t n_routers;
};

struct msg_host_remove {
    char *request_id;
    int role;
    char *name;
};

/* --- hub and drone --------------------------------------------------------------------------------------- */

enum health_kind { HEALTH_STAYS_UP, HEALTH_HTTP, HEALTH_TCP, HEALTH_EXEC, HEALTH_NOTIFY, HEALTH_KIND_MAX_ };
extern const char *const health_kind_names[HEALTH_KIND_MAX_];

struct health_spec {
    int kind;       /* enum health_kind */
    char *path;     /* http */
    char **command; /* exec */
    int64_t interval_ms, timeout_ms, deadline_ms;
    int64_t passes;
};

struct limits_spec {
    int64_t memory_bytes; /* 0: no limit */
    int64_t cpu_percent;  /* of one core */
    int64_t tasks;
};

struct stop_spec {
    int64_t signal; /* number */
    int64_t drain_ms, kill_ms;
};

/* How a release is run: normalised from its manifest. */
struct run_spec {
    char *build; /* for /bin/sh -c; NULL: none */
    int64_t build_timeout_ms;
    char **command; /* argv */
    bool port;
    char *user; /* "dynamic" or a user that droned.conf allows */
    char **env;
    struct health_spec health;
    struct limits_spec limits;
    struct stop_spec stop;
};

/* One wanted instance on a host. Strict: an unknown key refuses it. Kept by the drone as instances/ID.json. */
struct order {
    char *id;
    char *app;
    char *service;
    char *version;
    char *commit;
    char *base_commit; /* that the host probably has: a smaller pack */
    char *branch;
    char *deploy;
    char *user;         /* of the service: "sc-" + 12 hex digits */
    char *previous;     /* version that served before, for PREV */
    bool stopped;       /* stay there, don't run */
    int64_t generation; /* counts up: stop and start again */
    bool rebuild;
    struct run_spec run;
};

struct orders {
    int64_t format; /* 1 */
    char *fleet;
    int64_t revision;
    struct order *orders;
    size_t n_orders;
};

/* From the revision before to this one; the answer means: on the drone's disk. */
struct msg_orders_change {
    int64_t from_revision;
    int64_t revision;
    struct order *put;
    size_t n_put;
    char **drop; /* ids: stop and forget */
};

struct report {
    struct instance_state *instances;
    size_t n_instances;
    int64_t revision; /* of the orders held */
};

struct msg_instance_report {
    struct instance_state instance;
    bool gone; /* stopped and forgotten; its port is free again */
};

struct msg_host_report {
    int64_t up_ms;
    int64_t load_milli;
    int64_t cores;
    int64_t memory_bytes, memory_free_bytes;
    int64_t disk_free_bytes;
    char *os;
};

enum stream_kind { STREAM_LOGS, STREAM_BUILD, STREAM_KIND_MAX_ };
extern const char *const stream_kind_names[STREAM_KIND_MAX_];

struct msg_stream_open {
    char *stream;   /* id, unguessable */
    int kind;       /* enum stream_kind */
    char *service;  /* logs: of this service, */
    char *version;  /* this version of it, */
    char *instance; /* this instance; build: of the order with this id */
    int64_t lines;  /* from the past */
    bool follow;
};

struct log_line {
    int64_t at_us;
    char *host; /* filled by the hub */
    char *service;
    char *version;
    char *instance;
    int64_t priority; /* syslog 0…7 */
    char *text;
};

struct msg_stream_lines {
    struct log_line *lines;
    size_t n_lines;
};

struct msg_stream_end {
    char *reason; /* NULL: that was all */
};

/* --- hub and router -------------------------------------------------------------------------------------- */

/* table_prepare, table_commit, table_abort */
struct msg_epoch {
    int64_t epoch;
};

/* Absolute counters since the router's start; only endpoints that moved. */
struct endpoint_traffic {
    char *endpoint; /* id of the instance */
    int64_t in_flight;
    int64_t requests;
    int64_t status_1xx, status_2xx, status_3xx, status_4xx, status_5xx;
    int64_t failures; /* connect or answer failed */
    int64_t last_hit_us;
    bool ejected;
    int64_t p50_us, p99_us; /* of the last reporting interval */
};

struct msg_traffic_report {
    int64_t epoch; /* that every worker serves */
    struct endpoint_traffic *endpoints;
    size_t n_endpoints;
    struct router_brief router;
};

/* --- the tables ------------------------------------------------------------------------------------------ */

/* Who may send a message. */
enum msg_direction {
    FROM_ANYBODY = 1,  /* also without an identity */
    FROM_VIEWER = 2,   /* any person */
    FROM_DEPLOYER = 4, /* deployer (services are checked by the handler) or admin */
    FROM_ADMIN = 8,
    FROM_DRONE = 16,
    FROM_ROUTER = 32,
    FROM_HUB = 64,
};

struct msg_info {
    enum msg_type type;
    const char *method;
    unsigned from; /* enum msg_direction, or-ed */
    const struct schema *schema;
    const struct schema *answer; /* NULL: a notice */
};

/* NULL if there is none. */
const struct msg_info *msg_by_type(enum msg_type type);
const struct msg_info *msg_by_method(const char *method);
/* True if a peer of this role may send it to the hub (or, ROLE_HUB, the hub to it). */
bool msg_allowed(const struct msg_info *info, enum role sender);

/* Schemas that are used on their own: files on disk, documents, the store. */
extern const struct schema order_schema;
extern const struct schema orders_schema;
extern const struct schema report_schema;
extern const struct schema run_spec_schema;
extern const struct schema instance_state_schema;
extern const struct schema msg_event_schema;
extern const struct schema msg_operation_schema;
extern const struct schema msg_deploy_event_schema;
