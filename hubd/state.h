/* SPDX-License-Identifier: MIT */
#pragma once

/* What the hub has decided, all of it, as plain structs: the image of the store in memory. One map per
 * collection, one struct per row, one schema table per struct (state_schema.c); the store's key is the
 * collection's prefix and the row's key. Rows change in one way only: by a transaction that the store has
 * committed (txn.h). What peers report is not here but in facts.h. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/map.h"
#include "common/messages.h"
#include "common/table.h"
#include "hubd/requests.h"

#define STATE_FORMAT         1
#define SERVICE_PREVIOUS_MAX 5 /* live sets remembered for rollback */

enum collection {
    STATE_META,     /* "hub": one row */
    STATE_APP,      /* NAME */
    STATE_SERVICE,  /* NAME */
    STATE_RELEASE,  /* SERVICE/VERSION */
    STATE_DRONE,    /* NAME: struct host */
    STATE_ROUTER,   /* NAME: struct host */
    STATE_INSTANCE, /* ID */
    STATE_DEPLOY,   /* ID */
    STATE_TOKEN,    /* ID */
    STATE_IDENTITY, /* ROLE/NAME */
    STATE_MAX_
};

/* --- rows ------------------------------------------------------------------------------------------------ */

struct meta {
    int64_t format;
    char *fleet;
    int64_t epoch;  /* of the routing table decided last */
    int64_t pushes; /* counts registrations: order of release.seq */
};

struct app {
    char *name;
    char *created_by;
    int64_t created_us;
    char **refs; /* pairs "refs/heads/main=COMMIT" as last recorded; gitid's */
};

struct live_release {
    char *version;
    struct table_range *ranges;
    size_t n_ranges;
};

/* The releases that get traffic. */
struct live_set {
    struct live_release *releases;
    size_t n_releases;
    int64_t since_us;
    char *deploy;
};

struct service {
    char *name;
    char *app;                       /* that declared it first */
    char **routes;                   /* "www.example.com/shop", of the release promoted last */
    struct table_route *route_rules; /* for those that have rules */
    size_t n_route_rules;
    struct live_set live;
    struct live_set *previous; /* newest first */
    size_t n_previous;
};

/* One commit's version of a service; immutable. */
struct release {
    char *service;
    char *version;
    char *commit;
    char *app;
    char *branch;
    char *subject; /* first line of the commit message */
    int64_t seq;   /* order of registration */
    int64_t pushed_us;
    char **routes;
    struct table_route *route_rules;
    size_t n_route_rules;
    char **depends;    /* pairs NAME=RANGE, NAME a service or "config:…" */
    int64_t instances; /* the manifest's number */
    struct run_spec run;
    struct requests_spec requests;
};

/* A machine that has connected as a drone or as a router. */
struct host {
    char *name;
    char *address;
    char *version; /* of its program */
    int64_t added_us;
    int64_t orders_revision; /* drones: store revision at which its orders changed last */
    char *cordoned;          /* why nothing new is placed here; NULL: it may be */
};

/* What is meant to happen with an instance. */
enum wanted {
    WANTED_RUNNING,
    WANTED_STOPPED, /* by people: ordered to stay there and not run */
    WANTED_WARM,    /* replaced: runs on until warm_until_us, for a quick rollback */
    WANTED_RETIRED, /* finishes its requests, leaves the table, then is dropped */
    WANTED_GONE,    /* no order any more; the row goes when the drone says that it is gone */
    WANTED_MAX_
};
extern const char *const wanted_names[WANTED_MAX_];

/* How the decided table names it. */
enum endpoint_status { ENDPOINT_NONE, ENDPOINT_ACTIVE, ENDPOINT_DRAINING, ENDPOINT_STATUS_MAX_ };
extern const char *const endpoint_status_names[ENDPOINT_STATUS_MAX_];

struct instance {
    char *id;
    char *host;
    char *app;
    char *service;
    char *version;
    char *commit;
    char *base_commit;
    char *branch;
    char *previous; /* version that served before */
    char *deploy;   /* that ordered it */
    char **env;     /* over the release's */
    bool rebuild;
    int wanted;         /* enum wanted */
    int64_t generation; /* counts restarts asked for */
    bool hold;          /* to be kept out of the table: about to be stopped or restarted */
    int64_t created_us;
    int64_t warm_until_us;
    int64_t retired_us; /* when its drain began */
    char *replaces;     /* the instance on a lost host that this one stands in for */
    char *replaced_by;
    /* As the decided table has it: */
    int endpoint; /* enum endpoint_status */
    char *address;
    int64_t endpoint_epoch; /* of the table that changed it last */
};

enum deploy_kind {
    DEPLOY_KIND_DEPLOY,
    DEPLOY_KIND_ROLLBACK,
    DEPLOY_KIND_SCALE,
    DEPLOY_KIND_START,
    DEPLOY_KIND_STOP,
    DEPLOY_KIND_RESTART,
    DEPLOY_KIND_MAX_
};
extern const char *const deploy_kind_names[DEPLOY_KIND_MAX_];

enum deploy_stage {
    STAGE_STARTING,  /* ordered; drones fetch, build, start, probe */
    STAGE_PREPARING, /* healthy; waits for its epoch */
    STAGE_SWITCHED,  /* the epoch is decided; routers confirm it */
    STAGE_DRAINING,  /* the replaced instances finish */
    STAGE_DONE,
    STAGE_FAILED,
    STAGE_REVERTED,
    STAGE_INCOMPLETE, /* decided, but a router is away and has not confirmed */
    STAGE_MAX_
};
extern const char *const deploy_stage_names[STAGE_MAX_];
static inline bool deploy_stage_is_open(int stage)
{
    return stage < STAGE_DONE;
}

/* One instance that a deploy concerns. */
struct deploy_part {
    char *instance;
    char *host;
    bool fresh;   /* started by this deploy */
    int64_t told; /* bits of enum deploy_phase: steps whose end was told */
};

struct deploy {
    char *id;
    int kind;  /* enum deploy_kind */
    int stage; /* enum deploy_stage */
    char *service;
    char *app;
    char *version;
    char *commit;
    char *subject;
    char *who;
    bool no_traffic;
    bool promote; /* gives the release all traffic */
    struct deploy_part *parts;
    size_t n_parts;
    char **old;     /* instances it replaces */
    char *replaced; /* version that served before */
    int64_t step;   /* restart: index of the part being restarted */
    int64_t epoch;  /* of its switch */
    int64_t created_us, stage_us, prepare_us, switch_us, ended_us;
    int64_t finished_before; /* requests of the old instances at the switch */
    int64_t failed_before;   /* failures seen by routers at the start */
    int64_t warm_until_us;
    int64_t events; /* number of deploy_events so far */
    char *text;     /* of the result */
    char *reason;   /* why an instance of it failed */
    char **lines;
};

/* gitid's: */
struct token {
    char *id;   /* 8 hex digits */
    char *hash; /* of the secret, hex */
    int role;
    char *name;
    char **services;
    int64_t uses_left;
    int64_t created_us;
    int64_t expires_us;
    char *created_by;
    char **used_by; /* pairs HASH_OF_KEY=ROLE/NAME: a lost reply is retried with the same key */
};

/* A name that has joined, and what it may do. */
struct identity {
    int role;
    char *name;
    char **services; /* deployers: what they may change; empty: all */
    char *key_hash;  /* SHA-256 of its public key, hex */
    char *serial;    /* of its newest certificate */
    int64_t joined_us;
    int64_t expires_us;
    bool revoked;
    char **revoked_serials;
};

extern const struct schema meta_schema;
extern const struct schema app_schema;
extern const struct schema service_schema;
extern const struct schema live_set_schema;
extern const struct schema release_schema;
extern const struct schema host_schema;
extern const struct schema instance_schema;
extern const struct schema deploy_schema;
extern const struct schema token_schema;
extern const struct schema identity_schema;

/* --- the collections ------------------------------------------------------------------------------------- */

struct collection_info {
    const char *prefix; /* "release/" */
    const struct schema *schema;
};
extern const struct collection_info state_collections[STATE_MAX_];

struct state {
    struct map *rows[STATE_MAX_];
    int64_t revision; /* of the store */
};

void state_init(struct state *state);
void state_done(struct state *state);

/* One row as read from the store; text that does not fit its schema is refused (the store is not ours). */
_must_check_ int state_load_row(
    struct state *state, const char *store_key, const char *text, size_t len, struct error *err);
/* The collection of a store key and where its own key begins; STATE_MAX_ if it is of none. */
enum collection state_collection_of(const char *store_key, const char **ret_key);

/* Borrowed, NULL if absent; valid until the next commit. */
const void *state_get(const struct state *state, enum collection collection, const char *key);
const struct meta *state_meta(const struct state *state);
const struct service *state_service(const struct state *state, const char *name);
const struct release *state_release(const struct state *state, const char *service, const char *version);
const struct instance *state_instance(const struct state *state, const char *id);
const struct deploy *state_deploy(const struct state *state, const char *id);
const struct host *state_drone(const struct state *state, const char *name);

/* Only for txn.c: takes over the row (heap), or removes it with NULL. */
void state_replace(struct state *state, enum collection collection, const char *key, void *row);

#define state_for_each(it, state, collection) map_for_each (it, (state)->rows[collection])

/* The deploy of this service that has not ended, or NULL. */
const struct deploy *state_open_deploy(const struct state *state, const char *service);
/* True if the release gets traffic. */
bool live_set_has(const struct live_set *live, const char *version);
