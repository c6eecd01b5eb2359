/* SPDX-License-Identifier: MIT */
#pragma once

/* What peers report, as far as decisions need it: hosts that are there, instances as their drones see them,
 * routers and what they count. Never stored: after a restart of the hub the peers say it again. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"
#include "common/map.h"
#include "common/messages.h"

struct drone_facts {
    char *name;
    bool online;
    bool reported; /* its whole report has come since it connected */
    bool leaving;  /* it said goodbye: its machine goes down */
    bool refused;  /* it has newer orders than this hub knows of */
    mono_t since;  /* of being online, or of being away */
    wall_t seen;
    int64_t counter; /* revision of the orders it holds */
    struct msg_host_report host;
    char *note; /* for people: why it gets no orders */
};

/* An instance as its drone reported it last. */
struct instance_facts {
    struct instance_state state;
    int before;           /* the phase before state.phase; INSTANCE_PHASE_MAX_: not seen */
    uint64_t known_order; /* hash of the order that the drone has confirmed; 0: none */
};

struct router_facts {
    char *name;
    bool online;
    mono_t since;
    wall_t seen;
    int64_t acked_epoch;       /* every worker serves it */
    int64_t report_epoch;      /* of its newest traffic report */
    struct map *traffic;       /* instance id → struct endpoint_traffic */
    struct router_brief brief; /* of that report */
};

struct facts {
    struct map *drones;    /* name → struct drone_facts */
    struct map *instances; /* id → struct instance_facts */
    struct map *routers;   /* name → struct router_facts */
};

void facts_init(struct facts *facts);
void facts_done(struct facts *facts);

/* Made when absent. */
struct drone_facts *facts_drone(struct facts *facts, const char *name);
struct instance_facts *facts_instance(struct facts *facts, const char *id);
struct router_facts *facts_router(struct facts *facts, const char *name);
/* NULL when absent. */
const struct instance_facts *facts_get_instance(const struct facts *facts, const char *id);
const struct instance_state *facts_state(const struct facts *facts, const char *id);

/* Requests in flight at an instance over all routers that are connected. */
int64_t facts_in_flight(const struct facts *facts, const char *id);
/* Sums since the routers' start. */
struct traffic_sum {
    int64_t requests, failures, status_5xx;
    int64_t last_hit_us;
};
struct traffic_sum facts_traffic(const struct facts *facts, const char *id);
