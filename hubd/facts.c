/* SPDX-License-Identifier: MIT */
#include "hubd/facts.h"

#include "common/mem.h"
#include "common/schema.h"

static void drone_facts_free(void *p)
{
    struct drone_facts *drone = p;
    free(drone->name);
    free(drone->note);
    free(drone->host.os);
    free(drone);
}

static void instance_facts_free(void *p)
{
    struct instance_facts *instance = p;
    schema_clear(&instance_state_schema, &instance->state);
    free(instance);
}

static void traffic_free(void *p)
{
    struct endpoint_traffic *traffic = p;
    free(traffic->endpoint);
    free(traffic);
}

static void router_facts_free(void *p)
{
    struct router_facts *router = p;
    free(router->name);
    map_free(router->traffic);
    schema_clear(&router_brief_schema, &router->brief);
    free(router);
}

void facts_init(struct facts *facts)
{
    facts->drones = map_new(drone_facts_free);
    facts->instances = map_new(instance_facts_free);
    facts->routers = map_new(router_facts_free);
}

void facts_done(struct facts *facts)
{
    map_free(steal_ptr(facts->drones));
    map_free(steal_ptr(facts->instances));
    map_free(steal_ptr(facts->routers));
}

struct drone_facts *facts_drone(struct facts *facts, const char *name)
{
    struct drone_facts *drone = map_get(facts->drones, name);
    if (!drone) {
        drone = xcalloc(1, sizeof(*drone));
        drone->name = xstrdup(name);
        map_set(facts->drones, name, drone);
    }
    return drone;
}

struct instance_facts *facts_instance(struct facts *facts, const char *id)
{
    struct instance_facts *instance = map_get(facts->instances, id);
    if (!instance) {
        instance = xcalloc(1, sizeof(*instance));
        instance->before = INSTANCE_PHASE_MAX_;
        map_set(facts->instances, id, instance);
    }
    return instance;
}

struct router_facts *facts_router(struct facts *facts, const char *name)
{
    struct router_facts *router = map_get(facts->routers, name);
    if (!router) {
        router = xcalloc(1, sizeof(*router));
        router->name = xstrdup(name);
        router->traffic = map_new(traffic_free);
        map_set(facts->routers, name, router);
    }
    return router;
}

const struct instance_facts *facts_get_instance(const struct facts *facts, const char *id)
{
    const struct instance_facts *instance = id ? map_get(facts->instances, id) : NULL;
    return instance && instance->state.id ? instance : NULL;
}

const struct instance_state *facts_state(const struct facts *facts, const char *id)
{
    const struct instance_facts *instance = facts_get_instance(facts, id);
    return instance ? &instance->state : NULL;
}

int64_t facts_in_flight(const struct facts *facts, const char *id)
{
    int64_t sum = 0;
    map_for_each (it, facts->routers) {
        const struct router_facts *router = it.value;
        const struct endpoint_traffic *traffic = map_get(router->traffic, id);
        if (router->online && traffic)
            sum += traffic->in_flight;
    }
    return sum;
}

struct traffic_sum facts_traffic(const struct facts *facts, const char *id)
{
    struct traffic_sum sum = { 0 };
    map_for_each (it, facts->routers) {
        const struct router_facts *router = it.value;
        const struct endpoint_traffic *traffic = map_get(router->traffic, id);
        if (!traffic)
            continue;
        sum.requests += traffic->requests;
        sum.failures += traffic->failures;
        sum.status_5xx += traffic->status_5xx;
        if (traffic->last_hit_us > sum.last_hit_us)
            sum.last_hit_us = traffic->last_hit_us;
    }
    return sum;
}
