/* SPDX-License-Identifier: MIT */
/* Everything that is carried out as a deploy: asked for, then watched until it has ended. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/schema.h"
#include "common/strv.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/progress.h"

#define TICK_MS 120 /* of clocks on the terminal */

struct watch {
    struct ctl *ctl;
    struct client *client;
    struct msg_deploy_watch m; /* `after` follows what was seen, so that a repeated call goes on there */
    struct timer tick;
    bool lost; /* nothing is drawn until the hub speaks again */
};

static const enum exit_status outcome_status[] = {
    // clang-format off
    [OUTCOME_OPEN]       = STATUS_GOES_ON,
    [OUTCOME_DONE]       = STATUS_DONE,
    [OUTCOME_FAILED]     = STATUS_FAILED,
    [OUTCOME_REVERTED]   = STATUS_REVERTED,
    [OUTCOME_INCOMPLETE] = STATUS_GOES_ON,
    // clang-format on
};
_Static_assert(ARRAY_SIZE(outcome_status) == OUTCOME_MAX_, "one status per outcome");

/* --- watching --------------------------------------------------------------------------------------------- */

static void on_tick(void *arg)
{
    struct watch *w = arg;
    struct output *o = &w->ctl->output;
    o->now = clock_wall();
    o->style.width = style_width(STDOUT_FILENO);
    if (!w->lost)
        progress_tick(o->progress, o->now.us);
    output_flush(o);
    timer_set(&w->tick, TICK_MS);
}

static void on_deploy_event(void *arg, const void *m)
{
    struct watch *w = arg;
    const struct msg_deploy_event *event = m;
    /* Build output is not kept by the hub and has no number. */
    if (event->seq > 0 && event->seq <= w->m.after)
        return; /* seen before the connection was lost */
    if (event->seq > 0)
        w->m.after = event->seq;
    struct output *o = &w->ctl->output;
    w->lost = false;
    o->ops->deploy_event(o, event);
    output_flush(o);
}

/* What is drawn stays as it is; the next event draws below the line about the loss. */
static void on_loss(void *arg)
{
    struct watch *w = arg;
    progress_leave(w->ctl->output.progress);
    output_flush(&w->ctl->output);
    w->lost = true;
}

static int watch_until_end(struct watch *w, struct msg_deploy_result *ret, struct error *err)
{
    const struct client_call call = {
        .type = MSG_DEPLOY_WATCH,
        .m = &w->m,
        .answer = ret,
        .long_lived = true,
        .notice = MSG_DEPLOY_EVENT,
        .on_notice = on_deploy_event,
        .arg = w,
    };
    return client_run(w->client, &call, err);
}

/* The client ended, the deploy did not. */
static int say_goes_on(const struct watch *w, struct error *err)
{
    if (err->code != -EINTR && err->code != -ETIME && err->code != -ENOLINK)
        return err->code;
    _cleanup_(free_ptr) char *hint = client_hint(w->client);
    if (err->code == -ENOLINK)
        return error_prefix(
            err, "lost the hub, the deploy goes on (stagecoachctl%s wait %s)", hint, w->m.deploy);
    const char *why = err->code == -ETIME ? "time is over; " : "";
    return error_set(err, err->code, "%sthe deploy goes on; stagecoachctl%s wait %s", why, hint, w->m.deploy);
}

static int watch(struct ctl *ctl, struct client *client, const char *deploy, struct error *err)
{
    struct output *o = &ctl->output;
    struct watch w = { .ctl = ctl, .client = client, .m = { .deploy = xstrdup(deploy), .output = true } };
    bool live = o->ops == &output_text && o->style.live;
    struct msg_deploy_result result = { 0 };
    o->progress = progress_new(o, live);
    client_catch_interrupt(client);
    client_on_loss(client, on_loss, &w);
    timer_init(&w.tick, ctl->loop, on_tick, &w);
    if (live)
        timer_set(&w.tick, TICK_MS);
    int r = watch_until_end(&w, &result, err);
    timer_done(&w.tick);
    client_on_loss(client, NULL, NULL);
    if (r >= 0) {
        o->ops->deploy_result(o, &result);
        r = (int)outcome_status[result.outcome];
    } else {
        progress_leave(o->progress);
        r = say_goes_on(&w, err);
    }
    output_flush(o);
    progress_free(o->progress);
    o->progress = NULL;
    schema_clear(msg_by_type(MSG_DEPLOY_WATCH)->answer, &result);
    free(w.m.deploy);
    return r;
}

/* --- asking ----------------------------------------------------------------------------------------------- */

static int after_answer(
    struct ctl *ctl, struct client *client, const struct msg_operation *operation, struct error *err)
{
    struct output *o = &ctl->output;
    o->ops->operation(o, operation);
    output_flush(o);
    if (!operation->deploy)
        return STATUS_DONE;
    if (!args_has(&ctl->args, "no-wait"))
        return watch(ctl, client, operation->deploy, err);
    if (o->ops == &output_text) {
        _cleanup_(free_ptr) char *hint = client_hint(client);
        fprintf(stderr, "watch it with  stagecoachctl%s wait %s\n", hint, operation->deploy);
    }
    return STATUS_DONE;
}

static int operate(struct ctl *ctl, enum msg_type type, const void *m, struct error *err)
{
    struct client *client = NULL;
    struct msg_operation operation = { 0 };
    int64_t timeout_ms = ctl->timeout_ms;
    ctl->timeout_ms =
        0; /* it is for the deploy; connecting has a limit of its own, and 4 means that it has begun */
    int r = client_open(ctl, &client, err);
    if (r >= 0)
        r = client_ask(client, type, m, &operation, err);
    if (r >= 0)
        client_set_timeout(client, timeout_ms);
    if (r >= 0)
        r = after_answer(ctl, client, &operation, err);
    schema_clear(msg_by_type(type)->answer, &operation);
    client_free(client);
    return r;
}

int cmd_deploy(struct ctl *ctl, struct error *err)
{
    _cleanup_(free_ptr) char *id = ctl_request_id();
    _cleanup_(strv_freep) char **hosts = args_list(&ctl->args, "host");
    _cleanup_(strv_freep) char **env = args_list(&ctl->args, "env");
    int64_t instances = args_number(&ctl->args, "instances", 0);
    if (args_has(&ctl->args, "instances") && (instances < 1 || instances > INSTANCES_MAX))
        return error_set(err, -EINVAL,
            "--instances must be a whole number from 1 to %d, not \"%s\"; to end all of "
            "them: stagecoachctl stop",
            INSTANCES_MAX, args_text(&ctl->args, "instances"));
    const struct msg_deploy m = {
        .request_id = id,
        .target = ctl->args.words[0],
        .instances = instances,
        .hosts = hosts,
        .no_traffic = args_has(&ctl->args, "no-traffic"),
        .supersede = args_has(&ctl->args, "supersede"),
        .rebuild = args_has(&ctl->args, "rebuild"),
        .env = env,
    };
    return operate(ctl, MSG_DEPLOY, &m, err);
}

int cmd_rollback(struct ctl *ctl, struct error *err)
{
    _cleanup_(free_ptr) char *id = ctl_request_id();
    const struct msg_rollback m = { .request_id = id, .target = ctl->args.words[0] };
    return operate(ctl, MSG_ROLLBACK, &m, err);
}

/* "web=3" or "web 3". */
static int scale_words(const struct ctl *ctl, char **ret_target, int64_t *ret_n, struct error *err)
{
    const char *word = args_word(&ctl->args, 0), *second = args_word(&ctl->args, 1);
    const char *equals = strrchr(word, '=');
    if (!equals == !second)
        return error_set(err, -EINVAL, "say how many: stagecoachctl scale %s=3", word);
    const char *number = equals ? equals + 1 : second;
    size_t len = strlen(number);
    if (len == 0 || len > 4 || strspn(number, "0123456789") != len ||
        strtol(number, NULL, 10) > INSTANCES_MAX)
        return error_set(err, -EINVAL,
            "the number of instances must be a whole number from 0 to %d, not \"%s\"", INSTANCES_MAX, number);
    *ret_target = equals ? xstrndup(word, (size_t)(equals - word)) : xstrdup(word);
    *ret_n = strtol(number, NULL, 10);
    return 0;
}

int cmd_scale(struct ctl *ctl, struct error *err)
{
    _cleanup_(free_ptr) char *id = ctl_request_id(), *target = NULL;
    _cleanup_(strv_freep) char **hosts = args_list(&ctl->args, "host");
    struct msg_scale m = { .request_id = id, .hosts = hosts };
    int r = scale_words(ctl, &target, &m.instances, err);
    if (r < 0)
        return r;
    m.target = target;
    return operate(ctl, MSG_SCALE, &m, err);
}

static int operate_on_target(struct ctl *ctl, enum msg_type type, struct error *err)
{
    _cleanup_(free_ptr) char *id = ctl_request_id();
    const struct msg_target m = { .request_id = id, .target = ctl->args.words[0] };
    return operate(ctl, type, &m, err);
}

int cmd_start(struct ctl *ctl, struct error *err)
{
    return operate_on_target(ctl, MSG_START, err);
}

int cmd_stop(struct ctl *ctl, struct error *err)
{
    return operate_on_target(ctl, MSG_STOP, err);
}

int cmd_restart(struct ctl *ctl, struct error *err)
{
    return operate_on_target(ctl, MSG_RESTART, err);
}

int cmd_wait(struct ctl *ctl, struct error *err)
{
    const char *deploy = ctl->args.words[0];
    if (!name_is_deploy(deploy))
        return error_set(err, -EINVAL, "\"%s\" is not the id of a deploy, like d-4f2a", deploy);
    struct client *client = NULL;
    int r = client_open(ctl, &client, err);
    if (r >= 0)
        r = watch(ctl, client, deploy, err);
    client_free(client);
    return r;
}
