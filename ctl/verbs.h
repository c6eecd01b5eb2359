/* SPDX-License-Identifier: MIT */
#pragma once

/* The table of verbs and of what their options mean: everything that can be said to stagecoachctl. */

#include "ctl/ctl.h"

struct verb_option {
    const char *key;
    const char *help;
};

extern const struct verb verbs[];               /* ends with words NULL */
extern const struct verb_option verb_options[]; /* ends with key NULL */

/* The verb that argv begins with; *ret_words: how many words of argv it is. NULL: none. */
const struct verb *verb_find(char *const *argv, int *ret_words);
/* "did you mean" for a word that begins no verb; NULL: no idea. */
const char *verb_nearest(char *const *argv);
/* "remote": the first word of verbs of two. */
bool verb_is_family(const char *word);
