/* SPDX-License-Identifier: MIT */
#pragma once

/* The proof of an opening handshake (RFC 6455 4.2.2): what a router that asks a service for a websocket on behalf of an
 * HTTP/2 client has to send and to check. Pure. */

#include <stddef.h>
#include <stdint.h>

#define WEBSOCKET_KEY_BYTES  16
#define WEBSOCKET_KEY_LEN    24 /* as text */
#define WEBSOCKET_ACCEPT_LEN 28

/* Sec-WebSocket-Key of random bytes. */
void websocket_key(const uint8_t random[WEBSOCKET_KEY_BYTES], char ret[WEBSOCKET_KEY_LEN + 1]);
/* The Sec-WebSocket-Accept that answers it. */
void websocket_accept(const char key[WEBSOCKET_KEY_LEN + 1], char ret[WEBSOCKET_ACCEPT_LEN + 1]);
