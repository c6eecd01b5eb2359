/* SPDX-License-Identifier: MIT */
#include "ctl/verbs.h"

#include <string.h>

#include "common/mem.h"
#include "common/nearest.h"

#define WATCHING "[--wait|--no-wait]"

/* In families, as help shows them; an empty line of help begins the next one. */
const struct verb verbs[] = {
    // clang-format off
    { "deploy",         "TARGET [--instances=N] [--host=HOST]... [--no-traffic] [--env=K=V]... [--supersede] [--rebuild] " WATCHING,
                                                                    cmd_deploy,         "Run a release and give it the traffic of its service" },
    { "rollback",       "TARGET " WATCHING,                         cmd_rollback,       "Give the traffic back to the release that served before" },
    { "scale",          "TARGET=N [N] [--host=HOST]... " WATCHING,  cmd_scale,          "Run N instances of a release: scale web=3" },
    { "start",          "TARGET " WATCHING,                         cmd_start,          "Start what was stopped" },
    { "stop",           "TARGET " WATCHING,                         cmd_stop,           "Stop instances; in-flight requests finish first" },
    { "restart",        "TARGET " WATCHING,                         cmd_restart,        "Restart instances" },
    { "wait",           "DEPLOY",                                   cmd_wait,           "Watch a deploy until it has ended" },
    { "push",           "[REF]... [--app=APP] [--force]",           cmd_push,           "Push commits to the hub, by git" },

    { "list",           "[TARGET]",                                 cmd_list,           "Releases that run, with their traffic and addresses" },
    { "servers",        "[HOST]",                                   cmd_servers,        "Hosts and what runs on each" },
    { "ps",             "[TARGET]",                                 cmd_ps,             "Instances, one per line" },
    { "status router",  "[NAME] [--socket=ADDRESS]",                cmd_status_router,  "How the router on this machine does, or those of the fleet" },
    { "status",         "[TARGET]",                                 cmd_status,         "How a service does, and why something is not running" },
    { "deps",           "[TARGET]",                                 cmd_deps,           "What depends on what, as a tree" },
    { "logs",           "TARGET [-n|--lines=N] [-f|--follow]",      cmd_logs,           "What instances write" },
    { "monitor",        "[TARGET] [--after=N]",                     cmd_monitor,        "What happens, as it happens" },
    { "history",        "[TARGET] [-n|--lines=N] [--before=N]",     cmd_history,        "What happened" },

    { "join",           "HUB [--token-file=FILE] [--name=NAME] [--again] [--state-dir=DIR]",
                                                                    cmd_join,           "Make this machine a drone or a router of a hub's fleet" },
    { "host list",      "",                                         cmd_host_list,      "Drones and routers that have joined" },
    { "host remove",    "NAME [--router]",                          cmd_host_remove,    "Forget a host for good" },
    { "token create",   "--role=ROLE [--uses=N] [--valid=TIME] [--name=NAME] [--service=SERVICE]... [--password=PASSWORD]",
                                                                    cmd_token_create,   "Let somebody join: drone, router, deployer, viewer or admin" },
    { "token list",     "",                                         cmd_token_list,     "Tokens that are still good" },
    { "token revoke",   "ID",                                       cmd_token_revoke,   "Make a token worthless" },
    { "revoke",         "ROLE NAME",                                cmd_revoke,         "Refuse a person or host from now on" },

    { "remote add",     "NAME --hub=HUB [--token-file=FILE] [--password=PASSWORD] [--name=NAME] [--app=APP]",
                                                                    cmd_remote_add,     "Keep a hub under a name, and join it as a person" },
    { "remote list",    "",                                         cmd_remote_list,    "Hubs that are known here" },
    { "remote default", "[NAME]",                                   cmd_remote_default, "Say which hub is meant without --remote" },
    { "remote git",     "NAME [--app=APP]",                         cmd_remote_git,     "Set up `git push NAME` in this repository" },
    { "remote trust",   "NAME [--token-file=FILE] [--password=PASSWORD] [--name=NAME]",
                                                                    cmd_remote_trust,   "Believe the key that a hub shows now" },
    { "remote remove",  "NAME",                                     cmd_remote_remove,  "Forget a hub" },

    { "hub status",     "",                                         cmd_hub_status,     "How the hub itself does" },
    { "version",        "",                                         cmd_version,        "Versions of stagecoachctl and of the hub" },
    { "complete",       "[WORD]...",                                cmd_complete,       "What could come next, for shells: complete -- WORDS" },
    { "help",           "[VERB]...",                                cmd_help,           "This list, or one verb in full" },
    { 0 },
    // clang-format on
};

const struct verb_option verb_options[] = {
    // clang-format off
    { "after",      "begin behind the event of this number" },
    { "again",      "replace the identity that this machine has, or add one in another role" },
    { "app",        "name of the app on the hub; else from the repository" },
    { "before",     "only what came before the event of this number" },
    { "color",      "auto, always or never; NO_COLOR counts for auto" },
    { "env",        "K=V set over the manifest's environment; may be repeated" },
    { "follow",     "go on with what comes" },
    { "force",      "as git push --force" },
    { "help",       "this" },
    { "host",       "only on this host; may be repeated" },
    { "hub",        "address of a hub, or path of its local socket" },
    { "instances",  "how many; else what runs now, else the manifest's number" },
    { "json",       "print what the hub answered as JSON, one object per line" },
    { "lines",      "how many from the past" },
    { "name",       "under this name; of a token: only for this name" },
    { "no-traffic", "run it, reachable as a pinned version only" },
    { "no-wait",    "don't watch; print the id and end" },
    { "password",   "a secret of your own choice; - reads it from standard input" },
    { "rebuild",    "build again, though it was built or failed to" },
    { "remote",     "which hub; else the default one; +NAME is short for it" },
    { "role",       "admin, deployer, viewer, drone or router" },
    { "router",     "the router of this name, not the drone" },
    { "service",    "the deployer may change only this one; may be repeated" },
    { "socket",     "the router's status socket; else /run/stagecoach/router.sock" },
    { "state-dir",  "where the daemon keeps its state; else below /var/lib" },
    { "supersede",  "revert an open deploy of the same service first" },
    { "timeout",    "stop waiting after so long; what was begun goes on" },
    { "token-file", "file that holds the token; - is standard input" },
    { "uses",       "how many may join with it; 1 if not said" },
    { "valid",      "how long; 1h if not said" },
    { "version",    "print our own version" },
    { "wait",       "watch until it has ended; so without it" },
    { 0 },
    // clang-format on
};

/* Words of older days and of other tools' habits. */
static const struct {
    const char *said, *meant;
} other_words[] = {
    // clang-format off
    { "remote rm",  "remote remove" },
    { "remote ls",  "remote list"   },
    { "host rm",    "host remove"   },
    { "host ls",    "host list"     },
    { "token ls",   "token list"    },
    { "token rm",   "token revoke"  },
    { "ls",         "list"          },
    { "log",        "logs"          },
    // clang-format on
};

static int count_words(const char *words)
{
    return strchr(words, ' ') ? 2 : 1;
}

static bool begins_with(char *const *argv, const char *words)
{
    size_t first = strcspn(words, " ");
    if (!argv[0] || strlen(argv[0]) != first || memcmp(argv[0], words, first) != 0)
        return false;
    return !words[first] || (argv[1] && strcmp(argv[1], words + first + 1) == 0);
}

const struct verb *verb_find(char *const *argv, int *ret_words)
{
    for (const struct verb *v = verbs; v->words; v++)
        if (begins_with(argv, v->words)) {
            *ret_words = count_words(v->words);
            return v;
        }
    for (size_t i = 0; i < ARRAY_SIZE(other_words); i++) {
        if (!begins_with(argv, other_words[i].said))
            continue;
        *ret_words = count_words(other_words[i].said);
        for (const struct verb *v = verbs; v->words; v++)
            if (strcmp(v->words, other_words[i].meant) == 0)
                return v;
    }
    return NULL;
}

bool verb_is_family(const char *word)
{
    size_t len = strlen(word);
    for (const struct verb *v = verbs; v->words; v++)
        if (strncmp(v->words, word, len) == 0 && v->words[len] == ' ')
            return true;
    return false;
}

const char *verb_nearest(char *const *argv)
{
    const char *known[64] = { NULL };
    size_t n = 0;
    for (const struct verb *v = verbs; v->words && n + 1 < ARRAY_SIZE(known); v++)
        known[n++] = v->words;
    if (argv[1]) {
        _cleanup_(free_ptr) char *both = xasprintf("%s %s", argv[0], argv[1]);
        const char *nearest = nearest_word(both, known);
        if (nearest || verb_is_family(argv[0]))
            return nearest;
    }
    return nearest_word(argv[0], known);
}
