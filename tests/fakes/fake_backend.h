/* SPDX-License-Identifier: MIT */
#pragma once

/* A service for routerd to send requests to: real sockets, one thread per connection, behaviour chosen by path. It
 * reads heads with a reader of its own, not common/http1, so that a mistake there is not made twice.
 *
 *   /hello           200, "hello from NAME"
 *   /head            200, the head as it was received
 *   /echo            200 with the request's content, Content-Length
 *   /echo-chunked    200 with the request's content, in chunks as they came
 *   /chunked         200, three chunks and a trailer
 *   /until-close     200 without a length, then closes
 *   /cut             announces 100 bytes, sends 10, closes
 *   /cut-chunked     a chunk, then closes
 *   /big?N           200 with N bytes
 *   /slow?MS         200 after MS milliseconds
 *   /hold            200 once fake_backend_release() was called
 *   /early           103, then 200
 *   /continue        100 when it was expected, then the content's length
 *   /refuse-continue 417 at once, without reading the content
 *   /empty           204
 *   /garbage         something that is not HTTP
 *   /two             two answers for one request
 *   /vanish          closes without an answer
 *   /vanish-once     the same the first time, then as /hello
 *   /upgrade         101 and echoes bytes; /upgrade-refused: 403
 *   /status?N        status N
 * Every answer has X-Version: NAME. */

#include <stdbool.h>
#include <stdint.h>

struct fake_backend;

struct fake_backend *fake_backend_new(const char *name); /* listens on 127.0.0.1 */
void fake_backend_free(struct fake_backend *b);
int fake_backend_port(const struct fake_backend *b);
int64_t fake_backend_requests(struct fake_backend *b);    /* heads received */
int64_t fake_backend_connections(struct fake_backend *b); /* accepted */
void fake_backend_release(struct fake_backend *b);
/* A port on which nothing listens. */
int fake_backend_dead_port(void);
