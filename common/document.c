/* SPDX-License-Identifier: MIT */
#include "common/document.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/link.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/utf8.h"

/* --- sending ------------------------------------------------------------------------------------------------- */

struct sender {
    struct link_feed feed; /* in the link's list until the peer answered: one document at a time */
    struct link *link;
    enum document_kind kind;
    int64_t id, revision;
    char *text;
    size_t len, sent;
    bool begun;
    int64_t end_call; /* 0: not sent yet */
    struct sha256 sha;
    struct timer refuse; /* tells that it is too long */
    document_done_fn fn;
    void *arg;
};

static void sender_free(struct sender *s)
{
    timer_done(&s->refuse);
    free(s->text);
    free(s);
}

/* The sender is out of the link's list, or never was in it. */
static void finish(struct sender *s, int result, const char *reason)
{
    document_done_fn fn = s->fn;
    void *arg = s->arg;
    sender_free(s);
    if (fn)
        fn(result, reason, arg);
}

static void on_applied(void *arg, int result, enum error_kind kind, const char *reason, const void *answer)
{
    struct sender *s = arg;
    link_feed_remove(s->link, &s->feed);
    finish(s, result, reason);
}

static void send_part(struct sender *s)
{
    size_t n = utf8_cut(s->text + s->sent, s->len - s->sent, DOCUMENT_PART_MAX);
    if (n == 0)
        n = s->len - s->sent < DOCUMENT_PART_MAX ? s->len - s->sent : DOCUMENT_PART_MAX;
    char *part = xstrndup(s->text + s->sent, n);
    sha256_update(&s->sha, part, n);
    link_notify(s->link, MSG_DOCUMENT_PART, &(struct msg_document_part){ .id = s->id, .text = part });
    s->sent += n;
    free(part);
}

static void send_end(struct sender *s)
{
    unsigned char digest[SHA256_SIZE];
    char hex[SHA256_HEX_SIZE];

    sha256_final(&s->sha, digest);
    s->end_call = link_call(s->link, MSG_DOCUMENT_END,
        &(struct msg_document_end){ .id = s->id, .sha256 = sha256_print(digest, hex) }, 0, on_applied, s);
}

static bool on_room(struct link_feed *feed)
{
    struct sender *s = container_of(feed, struct sender, feed);

    if (s->end_call)
        return false;
    if (!s->begun) {
        s->begun = true;
        link_notify(s->link, MSG_DOCUMENT_BEGIN,
            &(struct msg_document_begin){
                .kind = s->kind, .id = s->id, .revision = s->revision, .bytes = (int64_t)s->len });
    } else if (s->sent < s->len) {
        send_part(s);
    } else {
        send_end(s);
        return false;
    }
    return true;
}

static void on_gone(struct link_feed *feed, bool closed)
{
    struct sender *s = container_of(feed, struct sender, feed);

    if (!closed) {
        sender_free(s);
        return;
    }
    if (s->end_call)
        link_cancel(s->link, s->end_call);
    finish(s, -ECONNRESET, "the connection ended before the document was applied");
}

static bool send_nothing(struct link_feed *feed)
{
    return false;
}

static void tell_too_long(void *arg)
{
    struct sender *s = arg;
    struct error err;
    error_set(&err, -EMSGSIZE, "a document of %zu bytes; at most %d are allowed", s->len, DOCUMENT_SIZE_MAX);
    link_feed_remove(s->link, &s->feed);
    finish(s, err.code, err.text);
}

void document_send(struct link *link, enum document_kind kind, int64_t revision, const char *text, size_t len,
    document_done_fn fn, void *arg)
{
    static int64_t last_id; /* unique among those of this process, so on every link */
    struct sender *s = xcalloc(1, sizeof(*s));

    s->link = link;
    s->kind = kind;
    s->revision = revision;
    s->id = ++last_id;
    s->len = len;
    s->fn = fn;
    s->arg = arg;
    s->feed.on_room = on_room;
    s->feed.on_gone = on_gone;
    sha256_init(&s->sha);
    timer_init(&s->refuse, link_loop(link), tell_too_long, s);
    if (len > DOCUMENT_SIZE_MAX) {
        s->feed.on_room = send_nothing;
        timer_set(&s->refuse, 0);
    } else {
        s->text = xmemdup(text, len);
    }
    link_feed_add(link, &s->feed);
}

/* --- receiving ------------------------------------------------------------------------------------------------- */

void document_sink_done(struct document_sink *sink)
{
    strbuf_done(&sink->text);
    *sink = (struct document_sink){ .open = false };
}

/* The document is lost; why is kept for its end. */
static int refuse(struct document_sink *sink, const struct error *why, struct error *err)
{
    strbuf_done(&sink->text);
    sink->refusal = *why;
    if (err)
        *err = *why;
    return why->code;
}

int document_sink_begin(struct document_sink *sink, const struct msg_document_begin *m, struct error *err)
{
    struct error why;

    if (sink->open) {
        error_set(&why, -EBUSY, "document_begin: document %" PRId64 " has not ended yet", sink->id);
        return refuse(sink, &why, err);
    }
    document_sink_done(sink);
    *sink = (struct document_sink){ .kind = (enum document_kind)m->kind,
        .id = m->id,
        .revision = m->revision,
        .bytes = m->bytes,
        .open = true };
    sha256_init(&sink->sha);
    if (m->bytes >= 0 && m->bytes <= DOCUMENT_SIZE_MAX)
        return 0;
    error_set(&why, -EMSGSIZE, "document_begin.bytes: %" PRId64 "; at most %d are allowed", m->bytes,
        DOCUMENT_SIZE_MAX);
    return refuse(sink, &why, err);
}

int document_sink_part(struct document_sink *sink, const struct msg_document_part *m, struct error *err)
{
    struct error why;
    size_t len = m->text ? strlen(m->text) : 0;

    if (sink->refusal.code)
        return refuse(sink, &sink->refusal, err);
    if (!sink->open || m->id != sink->id) {
        error_set(&why, -EPROTO, "document_part.id: document %" PRId64 " was not begun", m->id);
        return refuse(sink, &why, err);
    }
    if (sink->text.len + len > (size_t)sink->bytes) {
        error_set(&why, -EMSGSIZE, "document_part: more than the %" PRId64 " bytes that were announced",
            sink->bytes);
        return refuse(sink, &why, err);
    }
    strbuf_add(&sink->text, m->text, len);
    sha256_update(&sink->sha, m->text, len);
    return 0;
}

static int check_end(struct document_sink *sink, const struct msg_document_end *m, struct error *err)
{
    unsigned char digest[SHA256_SIZE];
    char hex[SHA256_HEX_SIZE];

    if (sink->refusal.code)
        return error_set(err, sink->refusal.code, "%s", sink->refusal.text);
    if (!sink->open || m->id != sink->id)
        return error_set(err, -EPROTO, "document_end.id: document %" PRId64 " was not begun", m->id);
    if (sink->text.len != (size_t)sink->bytes)
        return error_set(err, -EPROTO, "document_end: %zu bytes came of the %" PRId64 " that were announced",
            sink->text.len, sink->bytes);
    sha256_final(&sink->sha, digest);
    if (strcmp(sha256_print(digest, hex), m->sha256) != 0)
        return error_set(err, -EBADMSG, "document_end.sha256: the document has another sum");
    return 0;
}

int document_sink_end(struct document_sink *sink, const struct msg_document_end *m, struct error *err)
{
    int r = check_end(sink, m, err);
    if (r < 0)
        document_sink_done(sink);
    else
        sink->open = false;
    return r;
}
