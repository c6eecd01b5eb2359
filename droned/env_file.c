/* SPDX-License-Identifier: MIT */
#include "droned/env_file.h"

#include <string.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/strv.h"
#include "droned/unit_spec.h"

#define ENV_PATH \
    UNIT_APP_DIR "/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static void set(char ***env, const char *key, const char *value)
{
    if (value && value[0])
        pairs_set(env, key, value);
}

char **env_of_instance(const struct order *order, const struct env_facts *facts)
{
    char **env = NULL;
    _cleanup_(free_ptr) char *home = xasprintf("/var/lib/stagecoach/%s", order->service);
    _cleanup_(free_ptr) char *port = facts->port > 0 ? xasprintf("%lld", (long long)facts->port) : NULL;

    set(&env, "PATH", ENV_PATH);
    set(&env, "HOME", home);
    pairs_merge(&env, order->run.env);
    // clang-format off
    const struct { const char *key, *value; } own[] = {
        { "PORT",                 port },
        { "HOST",                 port ? facts->address : NULL },
        { "STAGECOACH_APP",       order->app },
        { "STAGECOACH_SERVICE",   order->service },
        { "STAGECOACH_VERSION",   order->version },
        { "STAGECOACH_COMMIT",    order->commit },
        { "STAGECOACH_INSTANCE",  order->id },
        { "STAGECOACH_HOST",      facts->host_name },
        { "STAGECOACH_DEPLOY",    order->deploy },
        { "REPO",                 order->app },
        { "COMMIT",               order->commit },
        { "BRANCH",               order->branch },
        { "PROCESS_ID",           order->id },
        { "DRONE_ID",             facts->host_name },
        { "PREV",                 order->previous },
    };
    // clang-format on
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        set(&env, own[i].key, own[i].value);
    return env;
}

char **env_of_build(const struct order *order, const char *home)
{
    char **env = NULL;
    set(&env, "PATH", ENV_PATH);
    set(&env, "HOME", home);
    set(&env, "XDG_CACHE_HOME", home);
    set(&env, "CI", "1");
    set(&env, "STAGECOACH_APP", order->app);
    set(&env, "STAGECOACH_COMMIT", order->commit);
    set(&env, "REPO", order->app);
    set(&env, "COMMIT", order->commit);
    return env;
}

/* Within double quotes systemd takes a backslash before these four as an escape, and everything else, line breaks
 * too, as it stands. */
static void print_value(const char *value, struct strbuf *out)
{
    strbuf_addc(out, '"');
    for (const char *s = value; *s; s++) {
        if (strchr("\"\\$`", *s))
            strbuf_addc(out, '\\');
        strbuf_addc(out, *s);
    }
    strbuf_addc(out, '"');
}

void env_file_print(char *const *pairs, struct strbuf *out)
{
    char *pair;
    strv_for_each (pair, (char **)pairs) {
        const char *equals = strchr(pair, '=');
        if (!equals)
            continue;
        _cleanup_(free_ptr) char *key = xstrndup(pair, (size_t)(equals - pair));
        if (!name_is_env_key(key) || !name_is_env_value(equals + 1))
            continue;
        strbuf_add(out, key, strlen(key));
        strbuf_addc(out, '=');
        print_value(equals + 1, out);
        strbuf_addc(out, '\n');
    }
}
