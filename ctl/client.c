/* SPDX-License-Identifier: MIT */
#include "ctl/client_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/messages.h"
#include "common/pki.h"
#include "common/schema.h"
#include "common/tls.h"

#define LONG_RETRY_MS  (10 * 60 * 1000) /* a long-lived call is given up after so long without the hub */
#define LOSS_NOTICE_MS 1000             /* a loss shorter than this is not worth a line */

/* --- events ----------------------------------------------------------------------------------------------- */

static void on_interrupt(int signo, void *arg)
{
    struct client *client = arg;
    client->interrupted = true;
}

static void on_deadline(void *arg)
{
    struct client *client = arg;
    client->timed_out = true;
}

static void on_pause_over(void *arg)
{
    struct client *client = arg;
    client->pause_over = true;
}

static void on_notice(struct client *client, enum msg_type type, const void *m)
{
    const struct client_call *call = client->call;
    if (call && call->notice == type)
        call->on_notice(call->arg, m);
}

static void on_deploy_event(void *owner, struct link *link, const void *m, struct reply *reply)
{
    on_notice(owner, MSG_DEPLOY_EVENT, m);
}

static void on_event(void *owner, struct link *link, const void *m, struct reply *reply)
{
    on_notice(owner, MSG_EVENT, m);
}

static void on_stream_lines(void *owner, struct link *link, const void *m, struct reply *reply)
{
    on_notice(owner, MSG_STREAM_LINES, m);
}

static const struct link_handler handlers[] = {
    // clang-format off
    { MSG_DEPLOY_EVENT, on_deploy_event },
    { MSG_EVENT,        on_event        },
    { MSG_STREAM_LINES, on_stream_lines },
    { 0 },
    // clang-format on
};

static void on_link_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    struct client *client = owner;
    if (event == LINK_CONNECTED) {
        client->connected = true;
        client->hub_time_us = link_hello(link)->time_us;
    } else if (event == LINK_CLOSED) {
        client->closed = true;
        client->refusal_kind = link_refusal(link);
        str_set(&client->reason, reason ? reason : "the connection was closed");
    }
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    struct client *client = owner;
    hello->program = (char *)(uintptr_t) "stagecoachctl";
    if (client->remote) {
        hello->name = client->remote->user;
        hello->fleet = client->remote->fleet;
    }
}

static void start_link(struct client *client)
{
    static const struct link_spec spec = {
        .handlers = handlers,
        .on_event = on_link_event,
        .fill_hello = fill_hello,
    };
    struct link_spec mine = spec;
    mine.owner = client;
    client->link = link_new(client->loop, steal_ptr(client->stream), false, &mine);
}

static void remember_failure(struct client *client)
{
    client->close_code = stream_error_code(client->stream);
    str_set(&client->reason, stream_error(client->stream));
    const struct tls_facts *facts = stream_tls(client->stream);
    if (facts && facts->pin_mismatch) {
        client->pin_mismatch = true;
        memcpy(client->shown, facts->ca_spki, sizeof(client->shown));
    }
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct client *client = arg;
    const struct tls_facts *facts;
    switch (event) {
    case STREAM_CONNECTED:
        if (client->is_socket)
            start_link(client);
        break;
    case STREAM_TLS_READY:
        facts = stream_tls(stream);
        if (facts)
            memcpy(client->shown, facts->ca_spki, sizeof(client->shown));
        start_link(client);
        break;
    case STREAM_ERROR:
        remember_failure(client);
        break;
    case STREAM_CLOSED:
        client->closed = true;
        break;
    default:
        break;
    }
}

/* --- connecting ------------------------------------------------------------------------------------------- */

static void disconnect(struct client *client)
{
    link_free(client->link);
    client->link = NULL;
    stream_free(client->stream);
    client->stream = NULL;
    client->connected = client->closed = client->pin_mismatch = false;
    client->close_code = 0;
    client->refusal_kind = ERROR_NONE;
    str_set(&client->reason, NULL);
}

/* 0: go on waiting; else the reason to stop. */
static int check_stop(const struct client *client, struct error *err)
{
    if (client->interrupted)
        return error_set(err, -EINTR, "interrupted");
    if (client->timed_out)
        return error_set(err, -ETIME, "the time of --timeout is over");
    return 0;
}

static int connect_failed(const struct client *client, struct error *err)
{
    const char *reason = client->reason && *client->reason ? client->reason : "the connection was closed";
    if (client->pin_mismatch) {
        const char *name = client->remote ? client->remote->name : NULL;
        if (name)
            return error_set(err, -ENOLINK,
                "%s shows another key (%.4s…) than when you added %s (%.4s…). If the hub was rebuilt: "
                "stagecoachctl remote trust %s",
                client->address, client->shown, name, client->pin, name);
        return error_set(err, -ENOLINK,
            "%s shows another key (%.4s…) than the token is made for (%.4s…); nothing was sent",
            client->address, client->shown, client->pin ? client->pin : "");
    }
    if (client->refusal_kind != ERROR_NONE && client->refusal_kind != ERROR_BUSY)
        return error_set(err, -EREMOTEIO, "%s", reason);
    if (client->close_code == -ECONNREFUSED || (client->is_socket && client->close_code == -ENOENT))
        return error_set(
            err, -ENOLINK, "can't reach %s: %s; is stagecoach-hubd enabled there?", client->address, reason);
    if (client->is_socket && client->close_code == -EACCES)
        return error_set(err, -ENOLINK,
            "can't reach %s: permission denied; be root or in the group stagecoach, "
            "or add a remote: stagecoachctl remote add NAME --hub=HOST:%d --token-file=FILE",
            client->address, PROTOCOL_PORT);
    return error_set(err, -ENOLINK, "can't reach %s: %s", client->address, reason);
}

static int open_stream(struct client *client, struct error *err)
{
    struct tls_context *tls = NULL;
    if (!client->is_socket) {
        const struct tls_client spec = {
            .cert_pem = client->identity.cert_pem,
            .key_pem = client->identity.key_pem,
            .alpn = PROTOCOL_ALPN,
            .pin = client->pin,
            .fleet = client->remote ? client->remote->fleet : NULL,
        };
        int r = tls_client_new(&spec, &tls, err);
        if (r < 0)
            return r;
    }
    const struct stream_options options = { .tls = tls, .default_port = PROTOCOL_PORT };
    client->stream = stream_connect(client->loop, client->address, &options, on_stream, client);
    tls_context_free(tls);
    return 0;
}

int client_connect(struct client *client, struct error *err)
{
    disconnect(client);
    int r = open_stream(client, err);
    if (r < 0)
        return r;
    while (!client->connected && !client->closed) {
        r = check_stop(client, err);
        if (r < 0)
            return r;
        loop_turn(client->loop, -1);
    }
    return client->connected ? 0 : connect_failed(client, err);
}

/* Jittered, so that clients of a restarted hub don't come back all at once. */
static int64_t back_off(int64_t *delay_ms)
{
    unsigned char r;
    random_bytes(&r, 1);
    int64_t now = *delay_ms * (192 + r / 2) / 256;
    *delay_ms = *delay_ms * 2 > CLIENT_RETRY_MAX_MS ? CLIENT_RETRY_MAX_MS : *delay_ms * 2;
    return now;
}

static int wait_ms(struct client *client, int64_t ms, struct error *err)
{
    client->pause_over = false;
    timer_set(&client->pause, ms);
    while (!client->pause_over) {
        int r = check_stop(client, err);
        if (r < 0) {
            timer_clear(&client->pause);
            return r;
        }
        loop_turn(client->loop, -1);
    }
    return 0;
}

/* After a loss: until it stands again, or for `give_up_ms`. */
static int connect_again(struct client *client, int64_t give_up_ms, struct error *err)
{
    mono_t begin = loop_now(client->loop);
    int64_t delay_ms = CLIENT_RETRY_FIRST_MS;
    bool told = false;
    for (;;) {
        int r = wait_ms(client, back_off(&delay_ms), err);
        if (r < 0)
            return r;
        r = client_connect(client, err);
        if (r != -ENOLINK || client->pin_mismatch)
            return r;
        int64_t since_ms = mono_diff_ms(loop_now(client->loop), begin);
        if (since_ms > give_up_ms)
            return r;
        if (!told && since_ms > LOSS_NOTICE_MS) {
            told = true;
            if (client->on_loss)
                client->on_loss(client->loss_arg);
            fprintf(stderr, "stagecoachctl: lost %s; trying again\n", client->address);
        }
    }
}

/* --- calls ------------------------------------------------------------------------------------------------ */

static void on_answer(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct client *client = arg;
    const struct client_call *call = client->call;
    client->answered = true;
    client->result = result;
    client->kind = kind;
    str_set(&client->refusal, reason);
    if (result == 0 && call->answer)
        schema_copy(msg_by_type(call->type)->answer, answer, call->answer);
}

/* A rule said no. Everything else is a mistake, or something that is not there. */
static bool is_refusal(enum error_kind kind)
{
    return kind == ERROR_REFUSED || kind == ERROR_DENIED || kind == ERROR_CONFLICT;
}

static int run_once(struct client *client, const struct client_call *call, struct error *err)
{
    client->call = call;
    client->answered = false;
    int64_t id = link_call(
        client->link, call->type, call->m, call->long_lived ? 0 : CLIENT_ANSWER_MS, on_answer, client);
    while (!client->answered) {
        int r = check_stop(client, err);
        if (r < 0) {
            link_cancel(client->link, id);
            client->call = NULL;
            return r;
        }
        loop_turn(client->loop, -1);
    }
    client->call = NULL;
    if (client->result == -EREMOTEIO)
        return error_set(err, is_refusal(client->kind) ? -EREMOTEIO : -EIO, "%s",
            client->refusal && *client->refusal ? client->refusal : "the hub gave no reason");
    if (client->result == -ETIMEDOUT)
        return error_set(
            err, -ENOLINK, "%s has not answered for %d s", client->address, CLIENT_ANSWER_MS / 1000);
    if (client->result < 0)
        return error_set(err, client->result, "lost %s: %s", client->address,
            client->refusal ? client->refusal : "the connection was closed");
    return 0;
}

int client_run(struct client *client, const struct client_call *call, struct error *err)
{
    int64_t give_up_ms = call->long_lived ? LONG_RETRY_MS : CLIENT_RETRY_MS;
    for (;;) {
        if (client->connected && !client->closed) {
            int r = run_once(client, call, err);
            if (r != -ECONNRESET)
                return r;
        }
        int r = connect_again(client, give_up_ms, err);
        if (r < 0)
            return r;
    }
}

int client_ask(struct client *client, enum msg_type type, const void *m, void *ret_answer, struct error *err)
{
    return client_run(client, &(struct client_call){ .type = type, .m = m, .answer = ret_answer }, err);
}

/* --- life and questions ------------------------------------------------------------------------------------ */

struct client *client_new(struct ctl *ctl, const char *address)
{
    struct client *client = xcalloc(1, sizeof(*client));
    client->ctl = ctl;
    client->loop = ctl->loop;
    client->address = xstrdup(address);
    timer_init(&client->deadline, ctl->loop, on_deadline, client);
    timer_init(&client->pause, ctl->loop, on_pause_over, client);
    client_set_timeout(client, ctl->timeout_ms);
    return client;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    disconnect(client);
    timer_done(&client->deadline);
    timer_done(&client->pause);
    remote_identity_done(&client->identity);
    remotes_clear(&client->remotes);
    free(client->refusal);
    free(client->address);
    free(client->pin);
    free(client);
}

void client_set_timeout(struct client *client, int64_t ms)
{
    if (ms > 0)
        timer_set(&client->deadline, ms);
    else
        timer_clear(&client->deadline);
}

void client_on_loss(struct client *client, void (*fn)(void *arg), void *arg)
{
    client->on_loss = fn;
    client->loss_arg = arg;
}

void client_catch_interrupt(struct client *client)
{
    loop_on_signal(client->loop, SIGINT, on_interrupt, client);
    loop_on_signal(client->loop, SIGTERM, on_interrupt, client);
}

wall_t client_hub_time(const struct client *client)
{
    return client->hub_time_us > 0 ? (wall_t){ client->hub_time_us } : clock_wall();
}

const char *client_pin(const struct client *client)
{
    return client->shown;
}

const struct remote *client_remote(const struct client *client)
{
    return client->remote;
}

char *client_hint(const struct client *client)
{
    const char *name = args_text(&client->ctl->args, "remote");
    const char *hub = args_text(&client->ctl->args, "hub");
    if (name)
        return xasprintf(" --remote=%s", name);
    return hub ? xasprintf(" --hub=%s", hub) : xstrdup("");
}
