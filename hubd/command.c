/* SPDX-License-Identifier: MIT */
#include "hubd/command.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/link.h"
#include "common/list.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/sha256.h"
#include "common/strbuf.h"
#include "hubd/command_queue.h"
#include "hubd/events.h"
#include "hubd/hubd.h"
#include "hubd/session.h"
#include "hubd/store.h"

struct command {
    struct list of_queue;
    const char *name;
    command_decide_fn decide;
    command_done_fn done;
    void *arg;
};

struct command_queue {
    struct hubd *hub;
    struct list waiting; /* the first one is being stored when `txn` is set */
    size_t n_waiting;
    struct txn *txn;
    struct timer turn;
};

static void run_next(void *arg);

struct command_queue *command_queue_new(struct hubd *hub)
{
    struct command_queue *queue = xcalloc(1, sizeof(*queue));
    queue->hub = hub;
    list_init(&queue->waiting);
    timer_init(&queue->turn, hub->loop, run_next, queue);
    return queue;
}

static struct command *take_first(struct command_queue *queue)
{
    struct command *command = list_first(&queue->waiting, struct command, of_queue);
    list_remove(&command->of_queue);
    queue->n_waiting--;
    return command;
}

void command_queue_free(struct command_queue *queue)
{
    if (!queue)
        return;
    struct error err;
    error_set(&err, -EIO, "the hub is stopping");
    while (!list_empty(&queue->waiting)) {
        struct command *command = take_first(queue);
        if (command->done)
            command->done(queue->hub, -EIO, &err, command->arg);
        free(command);
    }
    txn_free(queue->txn);
    timer_done(&queue->turn);
    free(queue);
}

size_t command_queue_length(const struct command_queue *queue)
{
    return queue->n_waiting;
}

void hubd_command(
    struct hubd *hub, const char *name, command_decide_fn decide, command_done_fn done, void *arg)
{
    struct command_queue *queue = hub->commands;
    struct command *command = xcalloc(1, sizeof(*command));
    *command = (struct command){ .name = name, .decide = decide, .done = done, .arg = arg };
    list_append(&queue->waiting, &command->of_queue);
    queue->n_waiting++;
    if (!queue->txn)
        timer_set(&queue->turn, 0);
}

/* The first command has ended, whatever became of it. */
static void finish_first(struct command_queue *queue, int result, const struct error *err)
{
    struct command *command = take_first(queue);
    if (!list_empty(&queue->waiting))
        timer_set(&queue->turn, 0);
    if (command->done)
        command->done(queue->hub, result, err, command->arg);
    free(command);
}

static void on_stored(int result, int64_t revision, const struct error *err, void *arg)
{
    struct command_queue *queue = arg;
    struct txn *txn = steal_ptr(queue->txn);
    if (result < 0) {
        struct error told;
        error_set(&told, result == -EAGAIN ? -EAGAIN : -EIO, "the hub can't store it now: %s", err->text);
        log_error(NULL, "%s", told.text);
        finish_first(queue, told.code, &told);
        txn_free(txn);
        return;
    }
    txn_apply(txn, &queue->hub->state, revision);
    hubd_committed(queue->hub, txn);
    finish_first(queue, 0, &(struct error){ 0 });
    txn_free(txn);
}

static void run_next(void *arg)
{
    struct command_queue *queue = arg;
    struct command *command = list_first(&queue->waiting, struct command, of_queue);
    if (!command || queue->txn)
        return;
    struct error err = { 0 };
    struct txn *txn = txn_new(&queue->hub->state);
    int r = command->decide(queue->hub, txn, command->arg, &err);
    if (r < 0 || txn_is_empty(txn)) {
        txn_free(txn);
        finish_first(queue, r < 0 ? r : 0, &err);
        return;
    }
    struct store_txn changes = { 0 };
    txn_to_store(txn, events_next_seq(queue->hub, txn_n_events(txn)), loop_wall(queue->hub->loop), &changes);
    queue->txn = txn;
    store_commit(queue->hub->store, &changes, on_stored, queue);
}

/* --- requests of people ---------------------------------------------------------------------------------- */

/* request/ID in the store: what was asked, and what was answered. */
struct request_row {
    char *hash;
    char *answer;
    int64_t at_us;
};

/* clang-format off */
static const struct field request_row_fields[] = {
    F_STRING(struct request_row, hash, FIELD_REQUIRED),
    F_STRING(struct request_row, answer, FIELD_REQUIRED, .max = 1024 * 1024),
    F_INT(struct request_row, at_us, 0, 0, INT64_MAX),
};
static const struct schema request_row_schema = SCHEMA("request", struct request_row, request_row_fields, false);

static const struct { int code; enum error_kind kind; } error_kinds[] = {
    { -EACCES, ERROR_DENIED },
    { -EAGAIN, ERROR_BUSY },
    { -EBUSY,  ERROR_CONFLICT },
    { -EEXIST, ERROR_CONFLICT },
    { -EINVAL, ERROR_FIELDS },
    { -EIO,    ERROR_UNAVAILABLE },
    { -ENOENT, ERROR_NOT_FOUND },
    { -ENOSPC, ERROR_UNAVAILABLE },
    { -EPERM,  ERROR_DENIED },
    { -EPROTO, ERROR_SKEW },
};
/* clang-format on */

enum error_kind command_error_kind(const struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(error_kinds); i++)
        if (error_kinds[i].code == err->code)
            return error_kinds[i].kind;
    return ERROR_REFUSED;
}

static void request_free(struct request *request)
{
    if (request->free_arg)
        request->free_arg(request->arg);
    schema_clear(request->info->schema, request->m);
    schema_clear(request->info->answer, request->answer);
    free(request->m);
    free(request->answer);
    free(request->request_id);
    free(request->who);
    free(request);
}

static bool take_request_row(const char *key, const char *value, size_t len, int64_t revision, void *arg)
{
    if (schema_read(&request_row_schema, value, len, arg, NULL) < 0)
        *(struct request_row *)arg = (struct request_row){ 0 };
    return false;
}

static void hash_request(const struct request *request, char ret[static SHA256_HEX_SIZE])
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    strbuf_addf(&text, "%s %s %s ", role_names[request->role], request->who, request->info->method);
    schema_print(request->info->schema, request->m, &text);
    sha256_hex(text.data, text.len, ret);
}

/* 1: answered from what is stored. 0: new. */
static int look_up_request(struct request *request, const char *key, const char *hash, struct error *err)
{
    struct request_row row = { 0 };
    int r = store_get(request->hub->store, key, take_request_row, &row, NULL);
    if (r < 0 || !row.hash)
        return 0;
    if (strcmp(row.hash, hash) != 0)
        r = error_set(err, -EEXIST, "request id \"%s\" was used for another request", request->request_id);
    else
        r = schema_read(request->info->answer, row.answer, strlen(row.answer), request->answer, err);
    schema_clear(&request_row_schema, &row);
    return r < 0 ? r : 1;
}

static int decide_request(struct hubd *hub, struct txn *txn, void *arg, struct error *err)
{
    struct request *request = arg;
    if (request->refused)
        return error_set(
            err, -EAGAIN, "the hub is busy (%d requests wait); try again later", COMMANDS_WAITING_MAX);
    if (!request->request_id)
        return request->decide(request, txn, err);

    char hash[SHA256_HEX_SIZE];
    _cleanup_(free_ptr) char *key = xasprintf("request/%s", request->request_id);
    hash_request(request, hash);
    int r = look_up_request(request, key, hash, err);
    if (r != 0)
        return r < 0 ? r : 0;
    r = request->decide(request, txn, err);
    if (r < 0)
        return r;

    _cleanup_(strbuf_done) struct strbuf answer = STRBUF_INIT, text = STRBUF_INIT;
    schema_print_safe(request->info->answer, request->answer, &answer); /* secrets are not kept */
    struct request_row row = {
        .hash = hash,
        .answer = strbuf_steal(&answer),
        .at_us = loop_wall(hub->loop).us,
    };
    schema_print(&request_row_schema, &row, &text);
    txn_put_raw(txn, key, strbuf_str(&text));
    free(row.answer);
    return 0;
}

static void on_request_done(struct hubd *hub, int result, const struct error *err, void *arg)
{
    struct request *request = arg;
    if (result < 0) {
        reply_error(request->reply, command_error_kind(err), "%s", err->text);
    } else {
        if (request->after)
            request->after(request);
        reply_ok(request->reply, request->answer);
    }
    request_free(request);
}

struct request *hubd_request(struct hubd *hub, struct link *link, struct reply *reply, enum msg_type type,
    const char *request_id, const void *m,
    int (*decide)(struct request *request, struct txn *txn, struct error *err))
{
    const struct msg_info *info = msg_by_type(type);
    const struct peer *peer = link ? link_peer(link) : NULL;
    struct request *request = xcalloc(1, sizeof(*request));
    *request = (struct request){
        .hub = hub,
        .reply = reply,
        .info = info,
        .decide = decide,
        .request_id = xstrdup(request_id),
        .who = xstrdup(peer && peer->name ? peer->name : "nobody"),
        .role = peer ? peer->role : ROLE_NONE,
        .m = xcalloc(1, info->schema->size),
        .answer = xcalloc(1, info->answer->size),
    };
    request->refused = hub->commands->n_waiting >= COMMANDS_WAITING_MAX;
    schema_copy(info->schema, m, request->m);
    hubd_command(hub, info->method, decide_request, on_request_done, request);
    return request;
}
