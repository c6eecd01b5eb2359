/* SPDX-License-Identifier: MIT */
#pragma once

/* The environment of an instance as the text of a systemd EnvironmentFile, which any value survives: line
 * breaks, quotes, dollars, backslashes, blanks at the ends. Pure. */

#include "common/messages.h"
#include "common/strbuf.h"

struct env_facts {
    const char *host_name; /* STAGECOACH_HOST, DRONE_ID */
    const char *address;   /* HOST; NULL without a port */
    int64_t port;          /* 0: none */
};

/* Everything an instance gets, as a vector of pairs: ours first, then the order's, which may replace PATH but not
 * what says where to listen and who it is. Caller frees. */
char **env_of_instance(const struct order *order, const struct env_facts *facts);
/* What a build gets: the same for every service and order of a commit, since they share the result. home: its
 * writable home. Caller frees. */
char **env_of_build(const struct order *order, const char *home);
/* Pairs that are no environment assignment are left out. */
void env_file_print(char *const *pairs, struct strbuf *out);
