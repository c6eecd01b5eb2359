/* SPDX-License-Identifier: MIT */
#pragma once

/* What changes in heads on their way through: fields of this hop go, Host and framing are written anew, X-Forwarded-*
 * Forwarded, X-Real-IP and Via say who asked. Heads are always written from parsed parts. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/http1.h"
#include "common/network.h"

struct match_release;
struct match_rules;
struct match_service;
struct tls_certificate;
struct trace;

#define HEADERS_PSEUDONYM   "stagecoach"
#define HEADERS_ADDRESS_MAX 48
#define HEADERS_SCRATCH     4096

/* Who asks, as the connection knows. */
struct forward {
    char peer
        [HEADERS_ADDRESS_MAX]; /* address without port: "10.0.0.5", "2001:db8::1"; "unknown" for unix sockets */
    bool trusted;              /* the peer's own forwarding fields are kept and added to */
    const struct network *proxies; /* all that are trusted; live as long as the process */
    uint32_t n_proxies;
    bool tls;
    uint16_t tls_version, tls_cipher; /* as on the wire: 0x0304, 0x1301; 0: plain */
    /* What the client was shown, where a Host that it does not cover is refused; NULL: any Host may be asked for. Lives as
     * long as the connection. */
    const struct tls_certificate *certificate;
};

/* What the exchange knows of a request beside its head. */
struct request_extra {
    const struct match_rules *rules; /* of the route, NULL: none */
    const struct trace *trace;       /* NULL: such fields pass as they are */
    const char *service;             /* stands in for Host where HTTP/1.0 gave none */
    const char *version;
};

/* The request as an endpoint gets it: HTTP/1.1, keep-alive. */
void headers_request(struct http1_out *out, const struct http1_head *head, const struct forward *forward,
    const struct request_extra *extra);

/* Our own name stands in Via so often that the request must be running in circles. */
#define HEADERS_LOOPS_MAX 10
bool headers_loop(const struct http1_head *head);
/* OPTIONS that may go no further (9110 7.6.2): to be answered here. */
bool headers_end_here(const struct http1_head *head);

enum answer_framing {
    ANSWER_AS_IT_IS, /* no body, or the length that the head announces */
    ANSWER_CHUNKED,
    ANSWER_UNTIL_CLOSE,
};

/* What the exchange knows of an answer beside its head; the same for every version of HTTP. */
struct answer_extra {
    const struct match_rules *rules;     /* of the route, NULL: none */
    const struct match_service *service; /* looked at by rules only; may be NULL, as the release */
    const struct match_release *release;
    char *scratch;      /* HEADERS_SCRATCH bytes for values that headers_answer_fields makes */
    const char *cookie; /* a Set-Cookie value of our own, or NULL */
    const char *date;   /* for a final answer that came without (9110 6.6.1); NULL: none is added */
    bool upgrade;       /* 101: a tunnel follows, Connection and Upgrade pass */
    bool tls;           /* of the client's connection */
};

struct answer_style {
    enum answer_framing framing;
    bool close;          /* "Connection: close" */
    bool say_keep_alive; /* HTTP/1.0 clients have to be told */
    struct answer_extra extra;
};

/* The answer's head as the client gets it. */
void headers_answer(struct http1_out *out, const struct http1_head *head, const struct answer_style *style);
/* The same fields one by one, framing and connection aside, for versions that do not write text. Returns how many of at
 * most `max` there are; negative: more. What they point to lives as long as head and extra. */
int headers_answer_fields(
    const struct http1_head *head, const struct answer_extra *extra, struct http1_field *ret, int max);

/* Trailer fields and the empty line. */
void headers_trailers(struct http1_out *out, const struct http1_head *trailers);
