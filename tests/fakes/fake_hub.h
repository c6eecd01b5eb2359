/* SPDX-License-Identifier: MIT */
#pragma once

/* The hub's end of a drone's links, in the same loop: listens on a unix socket without TLS, writes down what it is
 * told, sends what the test says. */

#include <stdbool.h>
#include <stdint.h>

#include "common/messages.h"
#include "common/strbuf.h"

struct fake_hub;
struct loop;

struct fake_hub *fake_hub_new(struct loop *loop, const char *path);
void fake_hub_free(struct fake_hub *hub);
void fake_hub_cut(struct fake_hub *hub); /* all links break; it goes on listening */

/* One line per thing: "hello test1 counter 0", "report {…}", "instance web running", "lines …", "end …". */
const char *fake_hub_log(const struct fake_hub *hub);
void fake_hub_forget(struct fake_hub *hub); /* empties the log */
int fake_hub_links(const struct fake_hub *hub);

/* The answer comes as a line: "orders 0", or "orders -1 text". */
void fake_hub_send_orders(struct fake_hub *hub, const struct orders *orders);
void fake_hub_send_change(struct fake_hub *hub, const struct msg_orders_change *change);
void fake_hub_open_stream(struct fake_hub *hub, const struct msg_stream_open *m);
