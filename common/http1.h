/* SPDX-License-Identifier: MIT */
#pragma once

/* HTTP/1 messages: bytes in, slices and framing out; and back. RFC 9110 (semantics), 9112 (messages), 3986 and
 * the URL standard (targets). It is the only reader of HTTP in the project: the router on both sides, the hub's
 * git front, the drone's download, probes and metrics.
 *
 * Strict on purpose: what another reader could frame differently is refused, never repaired. Accepted is what
 * the grammar of RFC 9112 produces, minus: bare CR or LF, obs-fold, controls and NUL, blanks around a field
 * name, repeated or listed Content-Length, Transfer-Encoding other than one plain "chunked" or beside
 * Content-Length or with HTTP/1.0, versions other than 1.0 and 1.1, CONNECT and TRACE, a Host that is absent,
 * repeated or malformed, field names that imitate a framing field with '_' for '-'.
 *
 * Stateless over one contiguous buffer: a head is parsed when it is there. The caller keeps what has arrived
 * and calls again when a further line end came (at most one parse per line, so slow senders cost little).
 * No allocation, no copy, no I/O; slices point into the caller's buffer. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HTTP1_FIELDS_MAX           128
#define HTTP1_HEAD_MAX             (64 * 1024)
#define HTTP1_TARGET_MAX           (16 * 1024)
#define HTTP1_METHOD_MAX           32
#define HTTP1_FIELD_NAME_MAX       1024
#define HTTP1_TRAILERS_MAX         (8 * 1024)
#define HTTP1_CHUNK_LINE_MAX       256         /* of a size with its extensions */
#define HTTP1_CHUNK_EXTENSIONS_MAX (16 * 1024) /* bytes of extensions in one body */

struct http1_slice {
    const char *ptr;
    size_t len;
};

#define HTTP1_SLICE(literal) ((struct http1_slice){ (literal), sizeof(literal) - 1 })

/* ASCII case does not count. */
bool http1_slice_is(struct http1_slice s, const char *text);

/* Fields that framing, routing or forwarding look at; every other one is FIELD_OTHER and passes through. */
enum http1_field_id {
    HTTP1_FIELD_OTHER,
    HTTP1_FIELD_AUTHORIZATION,
    HTTP1_FIELD_CONNECTION,
    HTTP1_FIELD_CONTENT_ENCODING,
    HTTP1_FIELD_CONTENT_LENGTH,
    HTTP1_FIELD_CONTENT_TYPE,
    HTTP1_FIELD_COOKIE,
    HTTP1_FIELD_DATE,
    HTTP1_FIELD_EXPECT,
    HTTP1_FIELD_FORWARDED,
    HTTP1_FIELD_HOST,
    HTTP1_FIELD_HTTP2_SETTINGS,
    HTTP1_FIELD_KEEP_ALIVE,
    HTTP1_FIELD_MAX_FORWARDS,
    HTTP1_FIELD_PROXY,
    HTTP1_FIELD_PROXY_AUTHENTICATE,
    HTTP1_FIELD_PROXY_AUTHENTICATION_INFO,
    HTTP1_FIELD_PROXY_AUTHORIZATION,
    HTTP1_FIELD_PROXY_CONNECTION,
    HTTP1_FIELD_SET_COOKIE,
    HTTP1_FIELD_TE,
    HTTP1_FIELD_TRACEPARENT,
    HTTP1_FIELD_TRACESTATE,
    HTTP1_FIELD_TRAILER,
    HTTP1_FIELD_TRANSFER_ENCODING,
    HTTP1_FIELD_UPGRADE,
    HTTP1_FIELD_VIA,
    HTTP1_FIELD_X_FORWARDED_FOR,
    HTTP1_FIELD_X_FORWARDED_HOST,
    HTTP1_FIELD_X_FORWARDED_PORT,
    HTTP1_FIELD_X_FORWARDED_PROTO,
    HTTP1_FIELD_X_REAL_IP,
    HTTP1_FIELD_X_REQUEST_ID,
    HTTP1_FIELD_X_STAGECOACH_VERSION,
    HTTP1_FIELD_MAX_
};

struct http1_field {
    const char *name;  /* as sent */
    const char *value; /* without blanks around it; may be empty */
    uint32_t value_len;
    uint16_t name_len;
    uint8_t id;  /* enum http1_field_id */
    bool listed; /* named by Connection: ends at this hop */
};

enum http1_method {
    HTTP1_METHOD_OTHER, /* PURGE, PROPFIND, …: the text is in head->method */
    HTTP1_METHOD_DELETE,
    HTTP1_METHOD_GET,
    HTTP1_METHOD_HEAD,
    HTTP1_METHOD_OPTIONS,
    HTTP1_METHOD_PATCH,
    HTTP1_METHOD_POST,
    HTTP1_METHOD_PUT,
    HTTP1_METHOD_MAX_
};

enum http1_body_kind {
    HTTP1_BODY_NONE,
    HTTP1_BODY_LENGTH,
    HTTP1_BODY_CHUNKED,
    HTTP1_BODY_CLOSE, /* responses only: until the connection ends */
};

/* One parsed head, request or response. About 3 kB: one per thread is enough. */
struct http1_head {
    /* request */
    struct http1_slice method;
    enum http1_method method_id;
    struct http1_slice target; /* origin form ("/a?b") or "*"; an absolute form is reduced to its path */
    struct http1_slice path;   /* target up to "?" */
    struct http1_slice
        authority; /* of the absolute form or Host, port included; empty with HTTP/1.0 without Host */
    struct http1_slice host; /* authority without port; IPv6 with its brackets; case as sent */
    int port;                /* -1: none given */
    bool https;              /* the target names the scheme "https"; what names none comes without */
    bool expect_continue;    /* HTTP/1.1 with a body to come */
    bool upgrade;            /* HTTP/1.1, Connection: upgrade with an Upgrade field, no body, not h2c */
    /* response */
    int status;
    struct http1_slice reason;
    /* both */
    bool is_h2;      /* came as HTTP/2; minor is 1 */
    int minor;       /* 0 or 1 */
    bool keep_alive; /* what version and Connection ask for */
    enum http1_body_kind body;
    uint64_t content_length; /* of HTTP1_BODY_LENGTH; of a response to HEAD or a 304 what was announced */
    bool has_content_length;
    bool has_trailer_te; /* TE: trailers */
    size_t size;         /* bytes from the start of the buffer to the end of the head */
    unsigned n_fields;
    uint64_t seen; /* bit per enum http1_field_id */
    struct http1_field fields[HTTP1_FIELDS_MAX];
};

_Static_assert(HTTP1_FIELD_MAX_ <= 64, "head.seen has a bit per field");

/* Zeroes in a member mean the maximum above. */
struct http1_limits {
    size_t head_max, target_max;
    unsigned fields_max;
    size_t trailers_max;
};

/* Why a message is refused: the status that answers a request so (responses: 502), and half a sentence for the
 * log and the answer. reason is a constant. */
struct http1_fault {
    int status;
    const char *reason;
};

enum http1_result {
    HTTP1_REFUSED = -1, /* *fault says why; nothing after it on this connection can be understood */
    HTTP1_MORE = 0,     /* no line end yet, or not the last one: keep the bytes, call again with more */
    HTTP1_DONE = 1,
};

/* RFC 9112 3 to 6. One empty line before the request is passed over (9112 2.2). */
enum http1_result http1_request_parse(const char *data, size_t len, const struct http1_limits *limits,
    struct http1_head *ret, struct http1_fault *fault);

/* `method_id` is that of the request it answers: it decides about the body (9112 6.3). A 1xx is a whole message
 * with HTTP1_BODY_NONE; 101 is the caller's to judge. */
enum http1_result http1_response_parse(const char *data, size_t len, const struct http1_limits *limits,
    enum http1_method method_id, struct http1_head *ret, struct http1_fault *fault);

/* The trailer section behind the last chunk, its empty line included. Fills n_fields, fields and size of *ret.
 * Fields that frame, route or authorise are refused there (9110 6.5.1). */
enum http1_result http1_trailers_parse(const char *data, size_t len, const struct http1_limits *limits,
    struct http1_head *ret, struct http1_fault *fault);

/* --- heads that come as parts ------------------------------------------------------------------------------
 * The same judgement for what does not come as HTTP/1 text (HTTP/2): begin, line, fields, judge. Slices point to the
 * caller's memory. What HTTP/1 refuses is refused here too, and what HTTP/2 has no room for: fields of one hop, names in
 * capitals, blanks around values. */

void http1_parts_begin(struct http1_head *ret);
/* `target` is the path of a URL ("/a?b") or "*". */
enum http1_result http1_parts_line(struct http1_head *head, struct http1_slice method,
    struct http1_slice target, const struct http1_limits *limits, struct http1_fault *fault);
/* :authority is a Host field, the first one. */
enum http1_result http1_parts_field(struct http1_head *head, struct http1_slice name,
    struct http1_slice value, const struct http1_limits *limits, struct http1_fault *fault);
/* The whole of it. `ends`: no content follows. Content without a length becomes HTTP1_BODY_CHUNKED; content with one must
 * have it, which the caller counts. */
enum http1_result http1_parts_judge(struct http1_head *head, bool ends, struct http1_fault *fault);
/* The same for a trailer section: begin, fields, this. */
enum http1_result http1_parts_judge_trailers(struct http1_head *trailers, struct http1_fault *fault);

/* Of a hexadecimal digit; -1: it is none. */
static inline int http1_hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* First field of that id or name, NULL if there is none. The name's case does not count. */
const struct http1_field *http1_find(const struct http1_head *head, enum http1_field_id id);
const struct http1_field *http1_find_name(const struct http1_head *head, const char *name);
static inline bool http1_has(const struct http1_head *head, enum http1_field_id id)
{
    return head->seen & (UINT64_C(1) << id);
}
static inline struct http1_slice http1_value(const struct http1_field *f)
{
    return (struct http1_slice){ f->value, f->value_len };
}
enum http1_field_id http1_field_id(const char *name, size_t len);
/* True if the comma-separated list of tokens holds `token`, case aside. */
bool http1_list_has(struct http1_slice list, const char *token);
/* Next element of a comma-separated list without blanks around it; false at the end. Quoted strings are whole. */
bool http1_list_next(struct http1_slice *list, struct http1_slice *ret);
/* Value of cookie `name` in one Cookie field (RFC 6265 4.2.1), quotes kept; false if it is not there. */
bool http1_cookie_get(struct http1_slice cookies, const char *name, struct http1_slice *ret);
bool http1_method_is_idempotent(enum http1_method id); /* 9110 9.2.2; OTHER is not */
bool http1_is_token(const char *s, size_t len);
/* The same name to those who fold case and, as CGI does, read '-' and '_' as one. */
bool http1_is_alike(const char *a, const char *b, size_t len);
bool http1_is_field_value(const char *s, size_t len);

/* --- bodies ------------------------------------------------------------------------------------------------
 * Framing removed, incrementally over any cutting of the bytes. */

struct http1_body {
    uint64_t left;       /* of the body (LENGTH) or of this chunk */
    uint32_t extensions; /* bytes seen so far */
    uint16_t line;       /* bytes of this chunk line */
    uint8_t kind;        /* enum http1_body_kind */
    uint8_t state;
};

enum http1_body_event {
    HTTP1_BODY_REFUSED = -1,
    HTTP1_BODY_MORE = 0, /* everything was consumed */
    HTTP1_BODY_DATA,     /* *ret_data is content */
    HTTP1_BODY_TRAILERS, /* at the trailer section: http1_trailers_parse from here, then http1_body_end */
    HTTP1_BODY_END,      /* the body is whole; bytes after *consumed belong to the next message */
};

void http1_body_init(struct http1_body *body, enum http1_body_kind kind, uint64_t content_length);
/* Call until MORE, TRAILERS or END; each call adds what it used up to *consumed (start with 0). */
enum http1_body_event http1_body_next(struct http1_body *body, const char *data, size_t len, size_t *consumed,
    struct http1_slice *ret_data, struct http1_fault *fault);
void http1_body_end(struct http1_body *body); /* the trailers are done */
bool http1_body_is_whole(const struct http1_body *body);
/* How much of a body with a Content-Length is still to come, 0 of others; and that so much came another way (no more than
 * that). */
uint64_t http1_body_left(const struct http1_body *body);
void http1_body_pass(struct http1_body *body, uint64_t n);
bool http1_body_is_at_trailers(const struct http1_body *body);
/* The connection ended: is the body whole now? Only HTTP1_BODY_CLOSE ends so. */
bool http1_body_eof(struct http1_body *body);

/* --- writing ------------------------------------------------------------------------------------------------
 * Heads from parts into a caller's block. Running out of room sets `full` and writes nothing more. The caller
 * vouches for names and values (http1_is_token, http1_is_field_value, or parsed by this module). */

struct http1_out {
    char *data;
    size_t len, cap;
    bool full;
};

static inline void http1_out_init(struct http1_out *out, char *data, size_t cap)
{
    *out = (struct http1_out){ .data = data, .cap = cap };
}

static inline void http1_out_add(struct http1_out *out, const void *data, size_t len)
{
    if (len > out->cap - out->len || out->full) {
        out->full = true;
        return;
    }
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

#define http1_out_literal(out, text) http1_out_add((out), (text), sizeof(text) - 1)

void http1_out_str(struct http1_out *out, const char *s);
void http1_out_uint(struct http1_out *out, uint64_t n);
void http1_out_request_line(struct http1_out *out, struct http1_slice method, struct http1_slice target);
/* HTTP/1.1, and the standard reason where `reason` is empty. */
void http1_out_status_line(struct http1_out *out, int status, struct http1_slice reason);
void http1_out_field(struct http1_out *out, struct http1_slice name, struct http1_slice value);
void http1_out_field_str(struct http1_out *out, const char *name, const char *value);
void http1_out_content_length(struct http1_out *out, uint64_t n);
static inline void http1_out_end(struct http1_out *out)
{
    http1_out_literal(out, "\r\n");
}

/* "<hex>\r\n" into buf of HTTP1_CHUNK_HEAD_MAX bytes; returns its length. After the data comes "\r\n". */
#define HTTP1_CHUNK_HEAD_MAX 18
size_t http1_chunk_head(char *buf, uint64_t size);
#define HTTP1_LAST_CHUNK "0\r\n\r\n"

const char *http1_status_reason(int status); /* "Not Found"; "" for numbers without one */
