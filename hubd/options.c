/* SPDX-License-Identifier: MIT */
/* Every key of hubd.conf. */
#include "hubd/hubd.h"

#include <stddef.h>

#include "common/mem.h"

#define OPTION(section_, key_, type_, member_, min_, max_, fallback_, help_)           \
    {                                                                                  \
        .section = (section_), .key = (key_), .type = (type_),                         \
        .offset = offsetof(struct hubd_config, member_), .min = (min_), .max = (max_), \
        .fallback = (fallback_), .help = (help_)                                       \
    }

#define DAY_MS (24LL * 3600 * 1000)

/* clang-format off */
static const struct option_row rows[] = {
    OPTION("Hub", "StateDir", OPTION_STRING, state_dir, 0, 0, "/var/lib/stagecoach-hub",
        "Where the hub keeps its state, its identity and the repositories."),
    OPTION("Hub", "Listen", OPTION_STRING, listen, 0, 0, "0.0.0.0:7000",
        "Address and port for people, drones, routers and git, when systemd hands over no socket."),
    OPTION("Hub", "LocalSocket", OPTION_STRING, local_socket, 0, 0, "",
        "Path of the local socket, when systemd hands over none; who can connect to it is an admin."),
    OPTION("Hub", "Names", OPTION_STRV, names, 0, 0, "",
        "Further names and addresses of this hub for its certificate."),
    OPTION("Hub", "HistoryDays", OPTION_INT, history_days, 1, 3650, "90",
        "How long events and ended deploys are kept."),
    OPTION("Hub", "Debug", OPTION_BOOL, debug, 0, 0, "no",
        "Also log what is only of use for finding mistakes."),
    OPTION("Deploy", "WarmTime", OPTION_DURATION, warm_ms, 0, 7 * DAY_MS, "10min",
        "How long the newest replaced release runs on for a quick rollback; 0s: it stops when its requests have ended."),
    OPTION("Deploy", "GraceTime", OPTION_DURATION, grace_ms, 1000, DAY_MS, "60s",
        "How long a host may be away before its instances get stand-ins on other hosts."),
    OPTION("Deploy", "HostWait", OPTION_DURATION, host_wait_ms, 100, DAY_MS, "10s",
        "How long a deploy waits for a host that it needs and that is away."),
    OPTION("Identity", "CertificateTime", OPTION_DURATION, certificate_ms, 1000, 3650 * DAY_MS, "30d",
        "Lifetime of certificates; they are renewed by themselves from a third of it on."),
    OPTION("Git", "PushMax", OPTION_SIZE, push_max_bytes, 1024, 0, "2G",
        "Largest push that is taken."),
    OPTION("Git", "PackCache", OPTION_SIZE, pack_cache_bytes, 0, 0, "1G",
        "Space for packs that were made for drones and may be asked for again."),
    OPTION("Git", "ChildrenMax", OPTION_INT, git_children_max, 1, 1000, "8",
        "How many pushes and fetches are served at a time; others wait."),
    OPTION("Git", "Git", OPTION_STRING, git, 0, 0, "/usr/bin/git",
        "The git program."),
    OPTION("Git", "Helper", OPTION_STRING, gitwork, 0, 0, "/usr/libexec/stagecoach/stagecoach-gitwork",
        "The helper program that reads repositories."),
    OPTION("Git", "HooksDir", OPTION_STRING, hooks_dir, 0, 0, "/usr/libexec/stagecoach/git-hooks",
        "Where the hooks pre-receive and post-receive are."),
    OPTION("Git", "HookSocket", OPTION_STRING, hook_socket, 0, 0, "/run/stagecoach-hub/hook.sock",
        "Socket at which the hooks find the hub."),
};
/* clang-format on */

const struct option_table hubd_options = {
    .program = "stagecoach-hubd",
    .size = sizeof(struct hubd_config),
    .rows = rows,
    .n_rows = ARRAY_SIZE(rows),
};
