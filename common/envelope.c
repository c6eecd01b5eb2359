/* SPDX-License-Identifier: MIT */
#include "common/envelope.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/json.h"
#include "common/mem.h"

#define METHOD_MAX 64

static int refuse(struct error *err, const char *why)
{
    return error_set(err, -EBADMSG, "not a JSON-RPC 2.0 message: %s", why);
}

static char *take_body(const char *text, const struct json *body)
{
    size_t offset, len;

    if (!body || json_is(body, JSON_NULL))
        return xstrdup("{}");
    json_span(body, &offset, &len);
    return xstrndup(text + offset, len);
}

static bool is_body(const struct json *v)
{
    return !v || json_is(v, JSON_NULL) || json_is(v, JSON_OBJECT);
}

static bool is_id(const struct json *v)
{
    return json_is(v, JSON_INT) && json_int(v) >= 1;
}

static int read_request(const char *text, const struct json *root, struct envelope *ret, struct error *err)
{
    const struct json *method = json_get(root, "method"), *id = json_get(root, "id");
    const struct json *params = json_get(root, "params");

    if (json_get(root, "result") || json_get(root, "error"))
        return refuse(err, "\"method\" and an answer in one");
    if (!json_string(method) || json_string_len(method) == 0 || json_string_len(method) > METHOD_MAX)
        return refuse(err, "\"method\" must be a name of at most 64 bytes");
    if (id && !is_id(id))
        return refuse(err, "\"id\" must be a whole number from 1 on");
    if (!is_body(params))
        return refuse(err, "\"params\" must be an object");
    ret->kind = id ? ENVELOPE_CALL : ENVELOPE_NOTICE;
    ret->id = json_int(id);
    ret->method = xstrdup(json_string(method));
    ret->body = take_body(text, params);
    return 0;
}

static int read_answer(const char *text, const struct json *root, struct envelope *ret, struct error *err)
{
    const struct json *result = json_get(root, "result"), *error = json_get(root, "error");
    const struct json *id = json_get(root, "id");

    if (!result == !error)
        return refuse(
            err, "neither a call nor a notice nor one answer (\"method\", \"result\" or \"error\")");
    /* An error of no call in particular has null for an id. */
    if (!is_id(id) && !(error && json_is(id, JSON_NULL)))
        return refuse(err, "\"id\" must be a whole number from 1 on");
    if (result) {
        if (!is_body(result))
            return refuse(err, "\"result\" must be an object");
        ret->kind = ENVELOPE_RESULT;
        ret->id = json_int(id);
        ret->body = take_body(text, result);
        return 0;
    }
    const struct json *code = json_get(error, "code"), *message = json_get(error, "message");
    if (!json_is(code, JSON_INT) || !json_string(message) || !is_body(json_get(error, "data")))
        return refuse(
            err, "\"error\" must have a numeric \"code\" and a \"message\", and \"data\" may be an object");
    ret->kind = ENVELOPE_ERROR;
    ret->id = json_int(id);
    ret->code = json_int(code);
    ret->message = xstrdup(json_string(message));
    ret->body = take_body(text, json_get(error, "data"));
    return 0;
}

int envelope_read(const char *text, size_t len, struct envelope *ret, struct error *err)
{
    struct json *root _cleanup_(json_freep) = json_parse(text, len, NULL, err);
    struct envelope envelope = { 0 };

    if (!root)
        return error_prefix(err, "not JSON");
    const char *version = json_string(json_get(root, "jsonrpc"));
    if (!json_is(root, JSON_OBJECT))
        return refuse(err, "it must be an object");
    if (!version || strcmp(version, "2.0") != 0)
        return refuse(err, "\"jsonrpc\" must be \"2.0\"");
    int result = json_get(root, "method") ? read_request(text, root, &envelope, err)
                                          : read_answer(text, root, &envelope, err);
    if (result < 0)
        return result;
    *ret = envelope;
    return 0;
}

static void print_body(const struct envelope *e, const char *key, struct strbuf *out)
{
    strbuf_addf(out, ",\"%s\":", key);
    strbuf_adds(out, e->body ? e->body : "{}");
}

void envelope_print(const struct envelope *e, struct strbuf *out)
{
    strbuf_adds(out, "{\"jsonrpc\":\"2.0\"");
    if (e->kind == ENVELOPE_ERROR && e->id == 0)
        strbuf_adds(out, ",\"id\":null");
    else if (e->kind != ENVELOPE_NOTICE)
        strbuf_addf(out, ",\"id\":%" PRId64, e->id);
    switch (e->kind) {
    case ENVELOPE_CALL:
    case ENVELOPE_NOTICE:
        strbuf_adds(out, ",\"method\":");
        json_write_string(out, e->method, strlen(e->method));
        print_body(e, "params", out);
        break;
    case ENVELOPE_RESULT:
        print_body(e, "result", out);
        break;
    case ENVELOPE_ERROR:
        strbuf_addf(out, ",\"error\":{\"code\":%" PRId64 ",\"message\":", e->code);
        json_write_string(out, e->message ? e->message : "", e->message ? strlen(e->message) : 0);
        if (e->body && strcmp(e->body, "{}") != 0)
            print_body(e, "data", out);
        strbuf_addc(out, '}');
        break;
    }
    strbuf_addc(out, '}');
}

void envelope_done(struct envelope *e)
{
    free(e->method);
    free(e->body);
    free(e->message);
    *e = (struct envelope){ 0 };
}
