/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>

#include "common/mem.h"
#include "common/tls_state.h"

/* The socket under the library. Reading asks the kernel only when there may be something; writing gathers, so that a
 * flight of messages, or several records, leave by one system call. */

#define OUT_FIRST 4096

static size_t unsent_len(const struct tls_session *s)
{
    return s->unsent_end - s->unsent_start;
}

static void append(char **data, size_t *len, size_t *cap, const char *more, size_t n)
{
    if (*len + n > *cap) {
        size_t wanted = *cap ? *cap : OUT_FIRST;
        while (wanted < *len + n)
            wanted *= 2;
        *data = xrealloc(*data, wanted);
        *cap = wanted;
    }
    memcpy(*data + *len, more, n);
    *len += n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls_session *s = BIO_get_data(bio);
    struct tls_context *c = s->context;
    BIO_clear_retry_flags(bio);
    s->system_error = 0;
    /* A peer that makes us answer (by asking for new keys, say) and takes no answer is not read on. */
    if (unsent_len(s) + c->out_len + (size_t)len > TLS_UNSENT_MAX) {
        s->system_error = EAGAIN;
        BIO_set_retry_write(bio);
        return -1;
    }
    append(&c->out, &c->out_len, &c->out_cap, data, (size_t)len);
    return len;
}

static int bio_read(BIO *bio, char *data, int len)
{
    struct tls_session *s = BIO_get_data(bio);
    ssize_t n;
    BIO_clear_retry_flags(bio);
    if (!s->may_read) {
        s->system_error = EAGAIN;
        BIO_set_retry_read(bio);
        return -1;
    }
    do
        n = recv(s->fd, data, (size_t)len, 0);
    while (n < 0 && errno == EINTR);
    s->system_error = n < 0 ? errno : 0;
    s->eof = n == 0;
    /* Emptied. An end or a reset that came along was announced with it, or is by another event. */
    if ((n > 0 && n < len && !s->eof_near) || s->system_error == EAGAIN)
        s->may_read = false;
    if (s->system_error == EAGAIN)
        BIO_set_retry_read(bio);
    return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    struct tls_session *s = BIO_get_data(bio);
    if (command == BIO_CTRL_FLUSH)
        return 1;
    return command == BIO_CTRL_EOF ? s->eof : 0;
}

static BIO_METHOD *method; /* made once, kept for the process */
static CRYPTO_ONCE method_once = CRYPTO_ONCE_STATIC_INIT;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stagecoach socket");
    if (!method)
        abort();
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

struct bio_st *tls_bio_new(struct tls_session *s)
{
    BIO *bio = CRYPTO_THREAD_run_once(&method_once, make_method) ? BIO_new(method) : NULL;
    if (!bio)
        abort();
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- sending ------------------------------------------------------------------------------------------------- */

static void keep(struct tls_session *s, const char *data, size_t n)
{
    size_t len = unsent_len(s), cap = s->unsent_cap;
    if (s->unsent_start > 0 && len > 0)
        memmove(s->unsent, s->unsent + s->unsent_start, len);
    append(&s->unsent, &len, &cap, data, n);
    s->unsent_start = 0;
    s->unsent_end = (uint32_t)len;
    s->unsent_cap = (uint32_t)cap;
}

void tls_bio_keep(struct tls_session *s)
{
    struct tls_context *c = s->context;
    if (c->out_len > 0)
        keep(s, c->out, c->out_len);
    c->out_len = 0;
}

static void drop_unsent(struct tls_session *s)
{
    free(s->unsent);
    s->unsent = NULL;
    s->unsent_start = s->unsent_end = s->unsent_cap = 0;
}

int tls_bio_flush(struct tls_session *s)
{
    struct tls_context *c = s->context;
    size_t before = unsent_len(s), all = before + c->out_len;
    struct iovec parts[2] = { { before ? s->unsent + s->unsent_start : NULL, before },
        { c->out, c->out_len } };
    struct msghdr msg = { .msg_iov = before ? parts : parts + 1, .msg_iovlen = before && c->out_len ? 2 : 1 };
    ssize_t n;

    if (all == 0)
        return 0;
    do
        n = sendmsg(s->fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        int code = errno;
        c->out_len = 0;
        drop_unsent(s);
        s->failed = true;
        s->system_error = code;
        return -code;
    }
    size_t sent = n > 0 ? (size_t)n : 0;
    s->slow = sent < all;
    if (sent >= before) {
        size_t of_out = sent - before;
        drop_unsent(s);
        if (of_out < c->out_len)
            keep(s, c->out + of_out, c->out_len - of_out);
    } else {
        s->unsent_start += (uint32_t)sent;
        if (c->out_len > 0)
            keep(s, c->out, c->out_len);
    }
    c->out_len = 0;
    return 0;
}
