/* SPDX-License-Identifier: MIT */
/* Makes this machine a host of a fleet: drone or router, as the token says. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/child.h"
#include "common/identity.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/pki.h"
#include "common/schema.h"
#include "common/secret.h"
#include "common/statefile.h"
#include "ctl/ctl.h"
#include "ctl/join.h"
#include "ctl/moment.h"

#define HOST_NAME_BYTES 256

/* Where a role keeps its state, and who may read it. */
static const struct place {
    enum role role;
    const char *state_dir;
    mode_t mode;
    const char *user; /* NULL: root */
    const char *unit;
} places[] = {
    // clang-format off
    { ROLE_DRONE,  "/var/lib/stagecoach-drone",  0711, NULL,                "stagecoach-droned.service"  },
    { ROLE_ROUTER, "/var/lib/stagecoach-router", 0700, "stagecoach-router", "stagecoach-routerd.service" },
    // clang-format on
};

static const struct place *find_place(int64_t role)
{
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if ((int64_t)places[i].role == role)
            return &places[i];
    return NULL;
}

static char *identity_dir(const struct ctl *ctl, const struct place *place)
{
    const char *given = args_text(&ctl->args, "state-dir");
    return xasprintf("%s/identity", given ? given : place->state_dir);
}

/* --- beforehand: what can be refused without using up the token -------------------------------------------- */

static int check_fresh(const struct ctl *ctl, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(places) && !args_has(&ctl->args, "again"); i++) {
        _cleanup_(free_ptr) char *dir = identity_dir(ctl, &places[i]);
        struct identity id;
        if (identity_load(dir, &id, NULL) < 0)
            continue;
        error_set(err, -EEXIST,
            "this machine has joined %s already, as \"%s\" (%s); to join again, or in another "
            "role as well: --again",
            id.hub, id.name, dir);
        identity_done(&id);
        return err->code;
    }
    return 0;
}

static int host_name(const struct ctl *ctl, char *buf, struct error *err)
{
    const char *given = args_text(&ctl->args, "name");
    if (given)
        snprintf(buf, HOST_NAME_BYTES, "%s", given);
    else if (gethostname(buf, HOST_NAME_BYTES - 1) < 0)
        return error_set_errno(err, -errno, "can't find out the name of this machine");
    if (!given)
        buf[strcspn(buf, ".")] = '\0';
    for (char *s = buf; *s && !given; s++)
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
    if (!name_is_host(buf))
        return error_set(err, -EINVAL, "\"%s\" can't be the name of a host; say another: --name=NAME", buf);
    return 0;
}

/* --- afterwards -------------------------------------------------------------------------------------------- */

static int owner_of(
    const struct place *place, bool is_root, uid_t *ret_uid, gid_t *ret_gid, struct error *err)
{
    *ret_uid = (uid_t)-1;
    *ret_gid = (gid_t)-1;
    if (!place->user || !is_root)
        return 0;
    const struct passwd *pw = getpwnam(place->user);
    if (!pw)
        return error_set(
            err, -ENOENT, "there is no user %s here; is the package of the router installed?", place->user);
    *ret_uid = pw->pw_uid;
    *ret_gid = pw->pw_gid;
    return 0;
}

static int make_state_dir(const char *dir, mode_t mode, uid_t uid, gid_t gid, struct error *err)
{
    if (access(dir, F_OK) == 0)
        return 0;
    int r = statefile_mkdir(dir, mode, err);
    if (r >= 0 && uid != (uid_t)-1 && chown(dir, uid, gid) < 0)
        r = error_set_errno(err, -errno, "can't give %s to its user", dir);
    return r;
}

static int store(const struct ctl *ctl, const struct place *place, const char *hub,
    const struct joined *joined, struct error *err)
{
    uid_t uid;
    gid_t gid;
    const char *given = args_text(&ctl->args, "state-dir");
    _cleanup_(free_ptr) char *dir = identity_dir(ctl, place);
    const struct identity id = {
        .hub = (char *)(uintptr_t)hub,
        .pin = (char *)(uintptr_t)joined->pin,
        .name = joined->answer.name,
        .fleet = joined->answer.fleet,
        .key_pem = joined->id.key_pem,
        .cert_pem = joined->id.cert_pem,
        .ca_pem = joined->id.ca_pem,
    };
    int r = owner_of(place, !given && geteuid() == 0, &uid, &gid, err);
    if (r >= 0)
        r = make_state_dir(given ? given : place->state_dir, place->mode, uid, gid, err);
    return r < 0 ? r : identity_save(dir, &id, uid, gid, err);
}

static void on_systemctl_exit(struct child *child, int status, void *arg)
{
    bool *ended = arg;
    *ended = true;
}

/* A daemon that runs takes up its new identity; one that doesn't is left alone. Where systemd is not there is
 * nothing to do. */
static void restart_if_active(struct ctl *ctl, const struct place *place)
{
    if (args_has(&ctl->args, "state-dir") || access("/run/systemd/system", F_OK) < 0)
        return;
    const char *const argv[] = { "/usr/bin/systemctl", "--no-block", "try-restart", place->unit, NULL };
    const char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
    bool ended = false;
    const struct child_spec spec = { .argv = argv, .env = env, .on_exit = on_systemctl_exit, .arg = &ended };
    struct child *child = NULL;
    struct error err;
    if (child_start(ctl->loop, &spec, &child, &err) < 0) {
        fprintf(stderr, "stagecoachctl: %s is not restarted: %s\n", place->unit, err.text);
        return;
    }
    while (!ended)
        loop_turn(ctl->loop, -1);
    child_free(child);
}

static void tell(struct ctl *ctl, const char *hub, const struct joined *joined)
{
    char key[32], day[MOMENT_MAX];
    _cleanup_(free_ptr) char *text = xasprintf("%s joined %s as %s \"%s\" (hub key %s), certificate until %s",
        joined->answer.name, hub, role_names[joined->answer.role], joined->answer.name,
        pki_fingerprint_text(joined->pin, key), moment_day(joined->answer.expires_us, day));
    ctl->output.ops->identity(&ctl->output, text, &joined->answer);
    output_flush(&ctl->output);
}

static int join(struct ctl *ctl, const char *token, struct error *err)
{
    char name[HOST_NAME_BYTES] = "";
    int r = host_name(ctl, name, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *hub = join_hub_address(ctl->args.words[0]);
    struct joined joined;
    const struct joining joining = { .hub = hub, .token = token, .name = name, .need_pin = true };
    r = join_hub(ctl, &joining, &joined, err);
    if (r < 0)
        return r;
    const struct place *place = find_place(joined.answer.role);
    if (!place)
        r = error_set(err, -EINVAL,
            "this token is for a person (%s): use it with stagecoachctl remote add NAME "
            "--hub=%s",
            role_names[joined.answer.role], hub);
    else
        r = store(ctl, place, hub, &joined, err);
    if (r >= 0) {
        tell(ctl, hub, &joined);
        restart_if_active(ctl, place);
    }
    joined_done(&joined);
    return r;
}

int cmd_join(struct ctl *ctl, struct error *err)
{
    if (geteuid() != 0 && !args_has(&ctl->args, "state-dir"))
        return error_set(
            err, -EPERM, "joining writes below /var/lib and needs root: sudo stagecoachctl join");
    int r = check_fresh(ctl, err);
    if (r < 0)
        return r;
    const char *file = args_text(&ctl->args, "token-file");
    char *token = NULL;
    r = token_read(file ? file : "-", &token, err);
    if (r >= 0)
        r = join(ctl, token, err);
    secret_erase(token);
    free(token);
    return r;
}
