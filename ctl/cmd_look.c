/* SPDX-License-Identifier: MIT */
/* Verbs that only look: one question, one answer, however many pages it comes in. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/router_socket.h"

#define HISTORY_LINES 20
#define LOOK_MS       1000 /* between two looks at a router */

/* Where a list has its rows, so that pages can be joined. */
struct list_shape {
    enum msg_type type;
    size_t rows, count, next; /* offsets */
    size_t row_size;
};

// clang-format off
#define LIST_SHAPE(t, s, list) \
    { (t), offsetof(struct s, list), offsetof(struct s, n_##list), offsetof(struct s, next), \
      sizeof(*((struct s *)0)->list) }
static const struct list_shape shape_list    = LIST_SHAPE(MSG_LIST, msg_list, releases);
static const struct list_shape shape_servers = LIST_SHAPE(MSG_SERVERS, msg_servers, hosts);
static const struct list_shape shape_hosts   = LIST_SHAPE(MSG_HOST_LIST, msg_servers, hosts);
static const struct list_shape shape_ps      = LIST_SHAPE(MSG_PS, msg_ps, instances);
// clang-format on

/* Moves the rows of page behind those of all. */
static void append_page(const struct list_shape *shape, void *all, void *page)
{
    char **rows = (char **)((char *)all + shape->rows), **more = (char **)((char *)page + shape->rows);
    size_t *n = (size_t *)((char *)all + shape->count), n_more = *(size_t *)((char *)page + shape->count);
    char **next = (char **)((char *)all + shape->next), **page_next = (char **)((char *)page + shape->next);
    if (n_more > 0) {
        *rows = xrealloc(*rows, (*n + n_more) * shape->row_size);
        memcpy(*rows + *n * shape->row_size, *more, n_more * shape->row_size);
        *n += n_more;
    }
    free(*more);
    free(*next);
    *next = *page_next;
}

/* page: room for one answer. */
static int ask_all(struct ctl *ctl, const struct list_shape *shape, void *all, void *page, struct error *err)
{
    const struct schema *schema = msg_by_type(shape->type)->answer;
    struct client *client = NULL;
    char **next = (char **)((char *)all + shape->next);
    char *target = ctl->args.words ? ctl->args.words[0] : NULL;
    int r = client_open(ctl, &client, err);
    bool more = true;
    while (r >= 0 && more) {
        const struct msg_query m = { .target = target, .cursor = *next, .limit = PAGE_MAX };
        memset(page, 0, schema->size);
        r = client_ask(client, shape->type, &m, page, err);
        if (r < 0)
            break;
        char **page_next = (char **)((char *)page + shape->next);
        if (*next && *page_next && strcmp(*next, *page_next) == 0) {
            r = error_set(err, -EBADMSG, "the hub sends the same page of the list over and over");
            schema_clear(schema, page);
            break;
        }
        append_page(shape, all, page);
        more = *next != NULL;
    }
    client_free(client);
    return r;
}

/* Ends a verb: prints what came, frees it. */
#define FINISH(ctl, r, print, type, value)                      \
    do {                                                        \
        if ((r) >= 0) {                                         \
            (ctl)->output.ops->print(&(ctl)->output, &(value)); \
            output_flush(&(ctl)->output);                       \
        }                                                       \
        schema_clear(msg_by_type(type)->answer, &(value));      \
    } while (0)

int cmd_list(struct ctl *ctl, struct error *err)
{
    struct msg_list all = { 0 }, page;
    int r = ask_all(ctl, &shape_list, &all, &page, err);
    FINISH(ctl, r, list, MSG_LIST, all);
    return r;
}

int cmd_servers(struct ctl *ctl, struct error *err)
{
    struct msg_servers all = { 0 }, page;
    int r = ask_all(ctl, &shape_servers, &all, &page, err);
    FINISH(ctl, r, servers, MSG_SERVERS, all);
    return r;
}

int cmd_host_list(struct ctl *ctl, struct error *err)
{
    struct msg_servers all = { 0 }, page;
    int r = ask_all(ctl, &shape_hosts, &all, &page, err);
    FINISH(ctl, r, host_list, MSG_HOST_LIST, all);
    return r;
}

int cmd_ps(struct ctl *ctl, struct error *err)
{
    struct msg_ps all = { 0 }, page;
    int r = ask_all(ctl, &shape_ps, &all, &page, err);
    FINISH(ctl, r, ps, MSG_PS, all);
    return r;
}

/* One question without pages. */
static int ask(struct ctl *ctl, enum msg_type type, const void *m, void *ret, struct error *err)
{
    struct client *client = NULL;
    int r = client_open(ctl, &client, err);
    if (r >= 0)
        r = client_ask(client, type, m, ret, err);
    client_free(client);
    return r;
}

int cmd_status(struct ctl *ctl, struct error *err)
{
    struct msg_status answer = { 0 };
    const struct msg_query m = { .target = ctl->args.words ? ctl->args.words[0] : NULL, .limit = PAGE_MAX };
    int r = ask(ctl, MSG_STATUS, &m, &answer, err);
    FINISH(ctl, r, status, MSG_STATUS, answer);
    return r;
}

/* Two looks, so that there is something to say of now. */
static int look_at_router(struct ctl *ctl, const char *address, struct error *err)
{
    struct router_status first = { 0 }, second = { 0 };
    bool once = args_has(&ctl->args, "json");
    int r = router_socket_ask(ctl->loop, address, &first, err);
    if (r >= 0 && !once) {
        mono_t until = { loop_now(ctl->loop).us + LOOK_MS * CLOCK_US_PER_MS };
        while (loop_now(ctl->loop).us < until.us)
            loop_turn(ctl->loop, LOOK_MS);
        r = router_socket_ask(ctl->loop, address, &second, err);
    }
    if (r >= 0) {
        ctl->output.ops->router(&ctl->output, once ? NULL : &first, once ? &first : &second);
        output_flush(&ctl->output);
    }
    schema_clear(&router_status_schema, &first);
    schema_clear(&router_status_schema, &second);
    return r;
}

/* The one that was asked for; *ret points into all. */
static int only_router(
    const struct msg_routers *all, const char *name, struct msg_routers *ret, struct error *err)
{
    for (size_t i = 0; i < all->n_routers; i++) {
        if (strcmp(all->routers[i].name, name) == 0) {
            *ret = (struct msg_routers){ &all->routers[i], 1 };
            return 0;
        }
    }
    return error_set(err, -ENOENT, "no router \"%s\" has joined", name);
}

/* A machine that is a router shows itself, without a hub; anywhere else the hub tells. */
int cmd_status_router(struct ctl *ctl, struct error *err)
{
    const char *address = args_text(&ctl->args, "socket");
    const char *name = ctl->args.words ? ctl->args.words[0] : NULL;
    if (address || (!name && !args_text(&ctl->args, "remote") && access(ROUTER_SOCKET, F_OK) == 0))
        return look_at_router(ctl, address ? address : ROUTER_SOCKET, err);
    struct msg_routers answer = { 0 }, shown;
    int r = ask(ctl, MSG_ROUTERS, &(struct msg_empty){ 0 }, &answer, err);
    shown = answer;
    if (r >= 0 && name)
        r = only_router(&answer, name, &shown, err);
    if (r >= 0) {
        ctl->output.ops->routers(&ctl->output, &shown);
        output_flush(&ctl->output);
    }
    schema_clear(msg_by_type(MSG_ROUTERS)->answer, &answer);
    return r;
}

int cmd_deps(struct ctl *ctl, struct error *err)
{
    struct msg_deps answer = { 0 };
    const struct msg_query m = { .target = ctl->args.words ? ctl->args.words[0] : NULL, .limit = PAGE_MAX };
    int r = ask(ctl, MSG_DEPS, &m, &answer, err);
    FINISH(ctl, r, deps, MSG_DEPS, answer);
    return r;
}

int cmd_history(struct ctl *ctl, struct error *err)
{
    struct msg_history answer = { 0 };
    const struct msg_history_query m = {
        .target = ctl->args.words ? ctl->args.words[0] : NULL,
        .before = args_number(&ctl->args, "before", 0),
        .limit = args_number(&ctl->args, "lines", HISTORY_LINES),
    };
    int r = ask(ctl, MSG_HISTORY, &m, &answer, err);
    FINISH(ctl, r, history, MSG_HISTORY, answer);
    return r;
}

int cmd_hub_status(struct ctl *ctl, struct error *err)
{
    struct msg_hub_status answer = { 0 };
    int r = ask(ctl, MSG_HUB_STATUS, &(struct msg_empty){ 0 }, &answer, err);
    FINISH(ctl, r, hub_status, MSG_HUB_STATUS, answer);
    return r;
}

/* Our own version is known in any case; only a hub that should be there and isn't is a failure. */
int cmd_version(struct ctl *ctl, struct error *err)
{
    struct msg_version answer = { 0 };
    struct output *o = &ctl->output;
    int r = ask(ctl, MSG_VERSION, &(struct msg_empty){ 0 }, &answer, err);
    o->ops->version(o, r < 0 ? NULL : &answer);
    output_flush(o);
    schema_clear(msg_by_type(MSG_VERSION)->answer, &answer);
    return r == -ENOTCONN ? STATUS_DONE : r;
}
