/* SPDX-License-Identifier: MIT */
#pragma once

/* One host's drone: every collection of the daemon, and the wires between them. It knows when things happen;
 * what then happens is in instance.c (one instance), orders.c (what is wanted) and uplink.c (the hub). */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/config.h"
#include "common/error.h"
#include "common/loop.h"
#include "common/messages.h"

#define DRONED_HOST_REPORT_MS 10000

struct builds;
struct checkouts;
struct instance;
struct map;
struct ports;
struct sd_bus;
struct streams;
struct systemd;
struct trash;
struct uplink;

struct droned_config {
    char *address; /* empty: the local end of the link to the hub */
    char *state_dir;
    char *ports;
    char **allow_users;
    int64_t builds;
    int64_t build_size;
    char *gitwork, *seal; /* helper programs */
    bool debug;
};
extern const struct option_table droned_options;

/* What tests put in place of the host. */
struct droned_seams {
    int (*open_bus)(void *arg, struct sd_bus **ret); /* NULL: systemd_open_bus */
    void *open_bus_arg;
    const char *boot_id;   /* NULL: the kernel's */
    const char *plain_hub; /* a hub without TLS at this address, for name "test1" */
    bool no_uplink;        /* orders come by orders_*, reports go to on_report */
    void (*on_report)(void *arg, const struct msg_instance_report *report);
    void *on_report_arg;
};

struct droned {
    struct loop *loop;
    const struct droned_config *config;
    struct droned_seams seams;
    char *name;         /* of this host, as the hub knows it */
    char *joined_fleet; /* of our identity; NULL: not joined */
    char *fleet;        /* of the orders held; NULL: none yet */
    char *address;      /* HOST of instances; NULL: not known yet */
    char *boot_id;
    int64_t revision; /* of the orders held */
    struct systemd *systemd;
    struct trash *trash;
    struct checkouts *checkouts;
    struct builds *builds;
    struct ports *ports;
    struct map *instances; /* id → struct instance */
    struct uplink *uplink;
    struct streams *streams;
    struct timer host_timer;
    bool units_known;   /* systemd has told all units since we started */
    bool host_stopping; /* PID 1 takes everything down: nothing is changed any more */
};

/* Reads what is on disk and begins; config has to outlive it. */
_must_check_ int droned_new(struct loop *loop, const struct droned_config *config,
    const struct droned_seams *seams, struct droned **ret, struct error *err);
void droned_free(struct droned *droned);
/* Takes over of `fresh` into `config` (the one given to droned_new) what can change while it runs, and says what
 * can't. fresh stays the caller's. */
void droned_reload(struct droned *droned, struct droned_config *config, struct droned_config *fresh);

/* From the identity and the link. The address is kept for starts without the hub; Address= overrules it. */
void droned_set_name(struct droned *droned, const char *name);
void droned_set_address(struct droned *droned, const char *address);

/* instance NULL with state set: something that has no order here. */
void droned_report(struct droned *droned, const struct instance *instance, bool gone);
/* All instances, and units without an order. Cleared by schema_clear(&report_schema, …). */
void droned_fill_report(struct droned *droned, struct report *ret);
/* An instance is gone for good, or has stopped: look for trees that nothing uses any more. */
void droned_collect(struct droned *droned, const char *app);
/* One line for systemctl status. */
void droned_update_status(struct droned *droned);
