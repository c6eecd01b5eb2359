/* SPDX-License-Identifier: MIT */
#pragma once

/* What peers may ask of the hub: one table, verb → handler. Who may send what at all is in messages.c and checked
 * by the link; which services a deployer may change is checked here. Looking is answered at once from state and
 * facts (control_look.c, control_status.c), changing goes through command.h (control_deploy.c). */

#include "common/link.h"

extern const struct link_handler control_handlers[]; /* ends with a row of type 0 */

/* Handlers; owner is the session. */
#define CONTROL_HANDLER(name) void name(void *owner, struct link *link, const void *m, struct reply *reply)

/* control_deploy.c */
CONTROL_HANDLER(on_deploy);
CONTROL_HANDLER(on_rollback);
CONTROL_HANDLER(on_scale);
CONTROL_HANDLER(on_start);
CONTROL_HANDLER(on_stop);
CONTROL_HANDLER(on_restart);
CONTROL_HANDLER(on_host_remove);
/* control_look.c */
CONTROL_HANDLER(on_list);
CONTROL_HANDLER(on_servers);
CONTROL_HANDLER(on_host_list);
CONTROL_HANDLER(on_ps);
/* control_status.c */
CONTROL_HANDLER(on_status);
CONTROL_HANDLER(on_deps);
CONTROL_HANDLER(on_version);
CONTROL_HANDLER(on_hub_status);
CONTROL_HANDLER(on_routers);

/* What a list is asked for: service, service@version, host or instance. */
struct control_filter {
    char *service, *version, *host, *instance;
};
struct hubd;
struct msg_query;
void control_filter_read(const struct hubd *hub, const char *target, struct control_filter *ret);
void control_filter_done(struct control_filter *filter);
bool control_filter_takes(const struct control_filter *filter, const char *service, const char *version,
    const char *host, const char *instance);

struct instance;
/* What is known of an instance: its drone's word, or what the hub wants of it. Strings are owned: clear with
 * instance_state_schema. */
void control_instance(const struct hubd *hub, const struct instance *row, struct instance_state *ret);
