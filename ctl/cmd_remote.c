/* SPDX-License-Identifier: MIT */
/* Hubs by name. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/pki.h"
#include "common/schema.h"
#include "common/strv.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/git.h"
#include "ctl/join.h"

/* Token or password, from wherever it is. Caller erases and frees. */
static int read_secret(const struct ctl *ctl, bool needed, char **ret, struct error *err)
{
    const char *file = args_text(&ctl->args, "token-file"), *password = args_text(&ctl->args, "password");
    if (file && password)
        return error_set(err, -EINVAL, "--token-file and --password exclude each other");
    if (file)
        return token_read(file, ret, err);
    if (password && strcmp(password, "-") == 0)
        return password_read(ret, err);
    if (password) {
        *ret = xstrdup(password);
        return 0;
    }
    if (needed)
        return error_set(err, -EINVAL,
            "say how the hub knows you: --token-file=FILE (- for standard input) or "
            "--password=PASSWORD; stagecoachctl token create makes tokens");
    return 0;
}

static char *identity_text(const struct remote *remote)
{
    char key[32];
    _cleanup_(free_ptr) char *services = strv_join(remote->services, ", ");
    return xasprintf("%s: %s, key %s, you are %s \"%s\"%s%s%s", remote->name, remote->hub,
        pki_fingerprint_text(remote->pin, key), role_names[remote->role], remote->user, *services ? " (" : "",
        services, *services ? ")" : "");
}

/* Joins, and fills in the remote; files are written, the list is not. */
static int join_as(struct ctl *ctl, struct remote *remote, const char *secret, struct error *err)
{
    const struct joining joining = {
        .hub = remote->hub, .token = secret, .name = args_text(&ctl->args, "name")
    };
    struct joined joined;
    char key[32];
    int r = join_hub(ctl, &joining, &joined, err);
    if (r < 0)
        return r;
    if (!role_is_person((enum role)joined.answer.role))
        r = error_set(err, -EINVAL, "this token is for a %s: use it there, with stagecoachctl join %s",
            joined.answer.role == ROLE_ROUTER ? "router" : "drone", remote->hub);
    if (r >= 0)
        r = remote_identity_save(remote->name, &joined.id, err);
    if (r >= 0) {
        str_set(&remote->pin, joined.pin);
        remote_set_identity(remote, &joined.answer, joined.at);
        if (!joined.was_pinned)
            fprintf(stderr, "the key of %s is %s; from now on only that one is believed\n", remote->hub,
                pki_fingerprint_text(joined.pin, key));
        _cleanup_(free_ptr) char *text = identity_text(remote);
        ctl->output.ops->identity(&ctl->output, text, &joined.answer);
    }
    joined_done(&joined);
    return r;
}

/* Inside a work tree plain `git push NAME` is to work at once. That it can't be set up is no failure. */
static void set_up_git(const struct ctl *ctl, const struct remote *remote)
{
    struct error err = { 0 };
    _cleanup_(free_ptr) char *top = git_top(), *app = NULL;
    if (!top)
        return;
    if (git_app_name(args_text(&ctl->args, "app"), &app, &err) < 0 || git_set_up(remote, app, &err) < 0)
        fprintf(stderr, "git push %s is not set up here: %s\n", remote->name, err.text);
    else
        fprintf(stderr, "git push %s goes to app \"%s\"\n", remote->name, app);
}

static int add(struct ctl *ctl, struct remotes *remotes, const char *secret, struct error *err)
{
    const char *name = ctl->args.words[0];
    _cleanup_(free_ptr) char *hub = join_hub_address(args_text(&ctl->args, "hub"));
    if (remotes_find(remotes, name))
        return error_set(
            err, -EEXIST, "there is a remote \"%s\" already; stagecoachctl remote remove %s", name, name);
    if (remotes->n_remotes >= REMOTES_MAX)
        return error_set(err, -E2BIG, "at most %d remotes can be kept", REMOTES_MAX);
    struct remote *remote = remotes_add(remotes, name);
    remote->hub = xstrdup(hub);
    int r = join_as(ctl, remote, secret, err);
    if (r < 0)
        return r;
    if (!remotes->default_remote)
        str_set(&remotes->default_remote, name);
    r = remotes_save(remotes, err);
    if (r < 0)
        return r;
    output_flush(&ctl->output);
    set_up_git(ctl, remote);
    return STATUS_DONE;
}

/* Runs fn on the list, locked. */
static int with_remotes(struct ctl *ctl,
    int (*fn)(struct ctl *, struct remotes *, const char *, struct error *), const char *secret,
    struct error *err)
{
    _cleanup_(close_fd) int lock = -1;
    struct remotes remotes = { 0 };
    int r = remotes_lock(&lock, err);
    if (r >= 0)
        r = remotes_load(&remotes, err);
    if (r >= 0)
        r = fn(ctl, &remotes, secret, err);
    remotes_clear(&remotes);
    output_flush(&ctl->output);
    return r;
}

int cmd_remote_add(struct ctl *ctl, struct error *err)
{
    const char *name = ctl->args.words[0];
    char *secret = NULL;
    if (!name_is_remote(name))
        return error_set(err, -EINVAL,
            "\"%s\" can't be the name of a remote: a-z, 0-9, dot, dash and underscore, at "
            "most 40",
            name);
    if (!args_has(&ctl->args, "hub"))
        return error_set(err, -EINVAL, "say where the hub is: --hub=HOST:%d", PROTOCOL_PORT);
    int r = read_secret(ctl, true, &secret, err);
    if (r >= 0)
        r = with_remotes(ctl, add, secret, err);
    secret_erase(secret);
    free(secret);
    return r;
}

int cmd_remote_list(struct ctl *ctl, struct error *err)
{
    struct remotes remotes;
    int r = remotes_load(&remotes, err);
    if (r < 0)
        return r;
    ctl->output.ops->remotes(&ctl->output, &remotes);
    output_flush(&ctl->output);
    remotes_clear(&remotes);
    return STATUS_DONE;
}

static int unknown(const char *name, struct error *err)
{
    return error_set(err, -ENOENT, "there is no remote \"%s\"; stagecoachctl remote list", name);
}

static int forget(struct ctl *ctl, struct remotes *remotes, const char *secret, struct error *err)
{
    const char *name = ctl->args.words[0];
    if (!remotes_find(remotes, name))
        return unknown(name, err);
    remotes_remove(remotes, name);
    int r = remotes_save(remotes, err);
    if (r >= 0)
        r = remote_identity_remove(name, err);
    if (r >= 0)
        ctl->output.ops->done(&ctl->output, NULL);
    return r;
}

int cmd_remote_remove(struct ctl *ctl, struct error *err)
{
    return with_remotes(ctl, forget, NULL, err);
}

static int set_default(struct ctl *ctl, struct remotes *remotes, const char *secret, struct error *err)
{
    const char *name = args_word(&ctl->args, 0);
    if (!name) {
        const char *is = remotes->default_remote;
        ctl->output.ops->done(&ctl->output, is ? is : "no remote is the default");
        return STATUS_DONE;
    }
    if (!remotes_find(remotes, name))
        return unknown(name, err);
    str_set(&remotes->default_remote, name);
    int r = remotes_save(remotes, err);
    if (r >= 0)
        ctl->output.ops->done(&ctl->output, NULL);
    return r;
}

int cmd_remote_default(struct ctl *ctl, struct error *err)
{
    return with_remotes(ctl, set_default, NULL, err);
}

/* The key that the hub shows now. */
static int look_at_key(struct ctl *ctl, const char *hub, char ret_pin[static 65], struct error *err)
{
    struct client *client = NULL;
    int r = client_open_joining(ctl, hub, NULL, &client, err);
    if (r >= 0)
        snprintf(ret_pin, 65, "%s", client_pin(client));
    client_free(client);
    return r;
}

static int trust(struct ctl *ctl, struct remotes *remotes, const char *secret, struct error *err)
{
    const char *name = ctl->args.words[0];
    char pin[65], was[32], is[32];
    struct remote *remote = remotes_find(remotes, name);
    if (!remote)
        return unknown(name, err);
    int r = look_at_key(ctl, remote->hub, pin, err);
    if (r < 0)
        return r;
    pki_fingerprint_text(remote->pin, was);
    pki_fingerprint_text(pin, is);
    bool changed = strcmp(pin, remote->pin) != 0;
    if (!changed && !secret) {
        _cleanup_(free_ptr) char *same = xasprintf("%s shows the key that you trust: %s", remote->hub, is);
        ctl->output.ops->done(&ctl->output, same);
        return STATUS_DONE;
    }
    if (changed)
        fprintf(stderr, "%s: the key was %s\n%*s  now it is  %s\n", remote->hub, was,
            (int)strlen(remote->hub), "", is);
    str_set(&remote->pin, pin);
    if (secret)
        r = join_as(ctl, remote, secret, err);
    if (r >= 0)
        r = remotes_save(remotes, err);
    if (r < 0 || secret)
        return r;
    _cleanup_(free_ptr) char *next =
        xasprintf("%s is trusted anew; it won't know you: stagecoachctl remote trust %s "
                  "--token-file=FILE",
            name, name);
    ctl->output.ops->done(&ctl->output, next);
    return STATUS_DONE;
}

int cmd_remote_trust(struct ctl *ctl, struct error *err)
{
    char *secret = NULL;
    int r = read_secret(ctl, false, &secret, err);
    if (r >= 0)
        r = with_remotes(ctl, trust, secret, err);
    secret_erase(secret);
    free(secret);
    return r;
}

static int git_here(struct ctl *ctl, struct remotes *remotes, const char *secret, struct error *err)
{
    const struct remote *remote = remotes_find(remotes, ctl->args.words[0]);
    if (!remote)
        return unknown(ctl->args.words[0], err);
    _cleanup_(free_ptr) char *app = NULL;
    int r = git_app_name(args_text(&ctl->args, "app"), &app, err);
    if (r >= 0)
        r = git_set_up(remote, app, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *text = xasprintf("git push %s goes to app \"%s\"", remote->name, app);
    ctl->output.ops->done(&ctl->output, text);
    return STATUS_DONE;
}

int cmd_remote_git(struct ctl *ctl, struct error *err)
{
    return with_remotes(ctl, git_here, NULL, err);
}
