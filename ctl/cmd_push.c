/* SPDX-License-Identifier: MIT */
/* Push by stock git, with the hub's CA and our certificate set by environment, which wins over any git
 * configuration. */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "common/mem.h"
#include "common/strv.h"
#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/git.h"

static const struct {
    const char *variable, *file;
} git_environment[] = {
    { "GIT_SSL_CAINFO", "ca.pem" },
    { "GIT_SSL_CERT", "cert.pem" },
    { "GIT_SSL_KEY", "key.pem" },
};

static int check_refs(const struct ctl *ctl, struct error *err)
{
    char *ref;
    strv_for_each (ref, ctl->args.words) {
        if (ref[0] == '-')
            return error_set(err, -EINVAL, "\"%s\" can't be a branch or a tag", ref);
    }
    return 0;
}

static int push(const struct ctl *ctl, const struct remote *remote, struct error *err)
{
    _cleanup_(free_ptr) char *app = NULL;
    int r = git_app_name(args_text(&ctl->args, "app"), &app, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *url = git_url(remote, app);
    _cleanup_(strv_freep) char **args = NULL, **env = NULL;
    strv_push(&args, "push");
    if (args_has(&ctl->args, "force"))
        strv_push(&args, "--force");
    strv_push(&args, "--");
    strv_push(&args, url);
    char *ref;
    strv_for_each (ref, ctl->args.words)
        strv_push(&args, ref);
    if (!ctl->args.words)
        strv_push(&args, "HEAD");
    for (size_t i = 0; i < ARRAY_SIZE(git_environment); i++) {
        _cleanup_(free_ptr) char *path = remote_path(remote->name, git_environment[i].file);
        pairs_set(&env, git_environment[i].variable, path);
    }
    int status = 0;
    r = git_run((const char *const *)args, (const char *const *)env, &status, err);
    if (r < 0)
        return r;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? STATUS_DONE : STATUS_FAILED;
}

int cmd_push(struct ctl *ctl, struct error *err)
{
    int r = check_refs(ctl, err);
    struct client *client = NULL;
    /* Asked first: it says more clearly than git what is wrong, and renews the certificate that git is to show. */
    if (r >= 0)
        r = client_open(ctl, &client, err);
    if (r >= 0 && !client_remote(client))
        r = error_set(err, -EINVAL,
            "pushing needs a remote, the local socket takes none: stagecoachctl remote add "
            "NAME --hub=HOST:%d --token-file=FILE",
            PROTOCOL_PORT);
    if (r >= 0)
        r = push(ctl, client_remote(client), err);
    client_free(client);
    return r;
}
