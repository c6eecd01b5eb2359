/* SPDX-License-Identifier: MIT */
#include "common/router_status.h"
#include "common/schema.h"
#include "ctl/output.h"
#include "ctl/remote.h"

/* One object per line, each a struct of the wire printed by its own table; streams (events of a deploy, log
 * lines, monitor) are one object per event. */
static void print(struct output *o, const struct schema *schema, const void *m)
{
    if (o->pretty)
        schema_print_pretty(schema, m, &o->text);
    else
        schema_print(schema, m, &o->text);
    strbuf_addc(&o->text, '\n');
}

static void answer(struct output *o, enum msg_type type, const void *m)
{
    print(o, msg_by_type(type)->answer, m);
}

static void notice(struct output *o, enum msg_type type, const void *m)
{
    print(o, msg_by_type(type)->schema, m);
}

/* clang-format off */
static void json_deploy_event(struct output *o, const struct msg_deploy_event *m) { notice(o, MSG_DEPLOY_EVENT, m); }
static void json_deploy_result(struct output *o, const struct msg_deploy_result *m) { answer(o, MSG_DEPLOY_WATCH, m); }
static void json_deps(struct output *o, const struct msg_deps *m)                 { answer(o, MSG_DEPS, m); }
static void json_event(struct output *o, const struct msg_event *m)               { notice(o, MSG_EVENT, m); }
static void json_history(struct output *o, const struct msg_history *m)           { answer(o, MSG_HISTORY, m); }
static void json_host_list(struct output *o, const struct msg_servers *m)         { answer(o, MSG_HOST_LIST, m); }
static void json_hub_status(struct output *o, const struct msg_hub_status *m)     { answer(o, MSG_HUB_STATUS, m); }
static void json_list(struct output *o, const struct msg_list *m)                 { answer(o, MSG_LIST, m); }
static void json_log_lines(struct output *o, const struct msg_stream_lines *m)    { notice(o, MSG_STREAM_LINES, m); }
static void json_operation(struct output *o, const struct msg_operation *m)       { answer(o, MSG_DEPLOY, m); }
static void json_ps(struct output *o, const struct msg_ps *m)                     { answer(o, MSG_PS, m); }
static void json_remotes(struct output *o, const struct remotes *m)               { print(o, &remotes_schema, m); }
static void json_routers(struct output *o, const struct msg_routers *m)           { answer(o, MSG_ROUTERS, m); }
static void json_servers(struct output *o, const struct msg_servers *m)           { answer(o, MSG_SERVERS, m); }
static void json_status(struct output *o, const struct msg_status *m)             { answer(o, MSG_STATUS, m); }
static void json_token(struct output *o, const struct msg_token *m)               { answer(o, MSG_TOKEN_CREATE, m); }
static void json_tokens(struct output *o, const struct msg_tokens *m)             { answer(o, MSG_TOKEN_LIST, m); }
/* clang-format on */

static void json_done(struct output *o, const char *text)
{
    strbuf_adds(&o->text, "{}\n"); /* the answer of every change that has nothing to tell */
}

static void json_identity(struct output *o, const char *text, const struct msg_identity *m)
{
    answer(o, MSG_JOIN, m);
}

static void json_router(struct output *o, const struct router_status *before, const struct router_status *now)
{
    print(o, &router_status_schema, now);
}

static void json_version(struct output *o, const struct msg_version *m)
{
    struct msg_version own = {
        .program = (char[]){ "stagecoachctl" },
        .version = (char[]){ STAGECOACH_VERSION },
        .protocol = PROTOCOL_VERSION,
    };
    answer(o, MSG_VERSION, &own);
    if (m)
        answer(o, MSG_VERSION, m);
}

const struct output_ops output_json = {
    // clang-format off
    .deploy_event  = json_deploy_event,
    .deploy_result = json_deploy_result,
    .deps          = json_deps,
    .done          = json_done,
    .event         = json_event,
    .history       = json_history,
    .host_list     = json_host_list,
    .hub_status    = json_hub_status,
    .identity      = json_identity,
    .list          = json_list,
    .log_lines     = json_log_lines,
    .operation     = json_operation,
    .ps            = json_ps,
    .remotes       = json_remotes,
    .router        = json_router,
    .routers       = json_routers,
    .servers       = json_servers,
    .status        = json_status,
    .token         = json_token,
    .tokens        = json_tokens,
    .version       = json_version,
    // clang-format on
};
