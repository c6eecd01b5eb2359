/* SPDX-License-Identifier: MIT */
#pragma once

/* What runs where, as text for people: the larger tables of output_text.c. Pure but for the time zone. */

#include "ctl/output.h"

void text_list(struct output *o, const struct msg_list *m);
void text_servers(struct output *o, const struct msg_servers *m);
void text_ps(struct output *o, const struct msg_ps *m);
void text_status(struct output *o, const struct msg_status *m);
void text_host_list(struct output *o, const struct msg_servers *m);

/* Lines of a log or a probe, each behind "    | ". */
void text_quote(struct output *o, char *const *lines);
/* One line of text from elsewhere, made printable, without the line's end. */
void text_add(struct output *o, const char *text);
