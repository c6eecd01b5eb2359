/* SPDX-License-Identifier: MIT */
#include "routerd/cert_source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/tls_certificate.h"
#include "common/tls_public.h"
#include "routerd/certs.h"

bool cert_source_is_gone(int error)
{
    return error == ENOENT || error == ENOTDIR;
}

static struct cert_mark mark_of(const char *path)
{
    struct stat st;
    struct cert_mark m;
    memset(&m, 0, sizeof(m)); /* padding too: marks are compared as bytes */
    if (!path)
        return m;
    if (stat(path, &st) < 0) {
        m.there = !cert_source_is_gone(errno);
        return m;
    }
    m.there = true;
    m.device = st.st_dev;
    m.inode = st.st_ino;
    m.size = st.st_size;
    m.written = st.st_mtim;
    m.changed = st.st_ctim;
    return m;
}

bool cert_source_take_marks(struct cert_source *s)
{
    bool changed = false;
    for (int i = 0; i < CERT_FILES; i++) {
        struct cert_mark m = mark_of(s->paths[i]);
        changed |= memcmp(&m, &s->marks[i], sizeof(m)) != 0;
        memcpy(&s->marks[i], &m, sizeof(m));
    }
    return changed;
}

static void wipe(struct strbuf *text)
{
    if (text->data)
        explicit_bzero(text->data, text->len);
    strbuf_done(text);
}

static int staple(struct cert_source *s, struct tls_certificate *c, struct error *err)
{
    _cleanup_(strbuf_done) struct strbuf der = STRBUF_INIT;
    if (!s->marks[CERT_STAPLE].there)
        return 0;
    int r = statefile_read(s->paths[CERT_STAPLE], TLS_STAPLE_MAX, &der, err);
    if (r == 0)
        r = tls_certificate_staple(c, der.data, der.len, clock_wall(), err);
    return r < 0 ? error_prefix(err, "%s", s->paths[CERT_STAPLE]) : 0;
}

static int load(struct cert_source *s, struct tls_certificate **ret, struct error *err)
{
    _cleanup_(wipe) struct strbuf chain = STRBUF_INIT, key = STRBUF_INIT;
    int r = statefile_read(s->paths[CERT_CHAIN], CERTS_FILE_MAX, &chain, err);
    if (r == 0 && s->paths[CERT_KEY])
        r = statefile_read(s->paths[CERT_KEY], CERTS_FILE_MAX, &key, err);
    if (r < 0)
        return r;
    return tls_certificate_new(strbuf_str(&chain), strbuf_str(s->paths[CERT_KEY] ? &key : &chain), ret, err);
}

static void say_problem(struct cert_source *s, const struct error *err, const char *rest)
{
    if (!s->problem || strcmp(s->problem, err->text) != 0)
        log_warning(NULL, "certificate %s: %s; %s", s->label, err->text, rest);
    str_set(&s->problem, err->text);
}

/* A response that is half-written or can't be read does not push out one that is good; one that says "revoked" does. */
static void staple_or_keep(struct cert_source *s, struct tls_certificate *c)
{
    struct error err;
    int r = staple(s, c, &err);
    if (r == 0) {
        str_set(&s->problem, NULL);
        return;
    }
    bool kept =
        r != -EKEYREVOKED && s->certificate && tls_certificate_keep_staple(c, s->certificate, clock_wall());
    say_problem(s, &err, kept ? "the OCSP response in place stays" : "it is shown without an OCSP response");
}

/* "21 Nov 2026"; buf of CLOCK_STAMP_MAX bytes. */
static const char *format_date(wall_t t, char *buf)
{
    wall_format_http(t, buf);
    buf[strlen("Sat, 21 Nov 2026")] = '\0';
    return buf + strlen("Sat, ");
}

static void say_taken(struct cert_source *s, const char *how, wall_t end, wall_t now)
{
    char date[CLOCK_STAMP_MAX];
    if (end.us > now.us) {
        log_info(NULL, "certificate %s: %s", s->label, how);
        return;
    }
    log_warning(NULL, "certificate %s: %s, but expired on %s: clients will refuse it", s->label, how,
        format_date(end, date));
    s->warned = now;
}

void cert_source_reload(struct cert_source *s, bool tell, wall_t now)
{
    struct tls_certificate *c;
    struct error err;
    if (load(s, &c, &err) < 0) {
        say_problem(s, &err, s->certificate ? "the one in place stays" : "it is not shown to anybody");
        return;
    }
    staple_or_keep(s, c);
    s->warned = (wall_t){ 0 };
    if (tell)
        say_taken(s, s->certificate ? "replaced" : "new", tls_certificate_expires(c), now);
    tls_certificate_unref(s->certificate);
    s->certificate = c;
}

void cert_source_warn(const struct cert_source *s, wall_t now)
{
    wall_t end = tls_certificate_expires(s->certificate);
    char date[CLOCK_STAMP_MAX];
    if (end.us <= now.us)
        log_warning(
            NULL, "certificate %s: expired on %s: clients refuse it", s->label, format_date(end, date));
    else
        log_warning(NULL, "certificate %s: ends in %" PRId64 " days", s->label,
            wall_diff_ms(end, now) / CERTS_DAY_MS);
}

struct cert_source *cert_source_new(const char *label)
{
    struct cert_source *s = xcalloc(1, sizeof(*s));
    memset(s->marks, 0, sizeof(s->marks));
    s->label = xstrdup(label);
    return s;
}

void cert_source_set_path(
    struct cert_source *s, int which, const char *directory, const char *name, const char *ending)
{
    _cleanup_(free_ptr) char *path = name ? xasprintf("%s/%s%s", directory, name, ending) : NULL;
    str_set(&s->paths[which], path);
}

void cert_source_free(struct cert_source *s)
{
    for (int i = 0; i < CERT_FILES; i++)
        free(s->paths[i]);
    tls_certificate_unref(s->certificate);
    free(s->problem);
    free(s->label);
    free(s);
}
