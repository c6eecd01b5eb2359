/* SPDX-License-Identifier: MIT */
#include "common/stream.h"

#include "common/loop.h"
#include "common/mem.h"

struct stream_listener {
    struct loop *loop;
    struct wire_listener *wire;
    struct stream_options options; /* its TLS context counted */
    stream_accept_fn fn;
    void *arg;
};

static void on_accept(void *arg, int fd, const struct wire_address *peer)
{
    struct stream_listener *l = arg;
    l->fn(l->arg, stream_adopt(l->loop, fd, true, &l->options, NULL, NULL));
}

struct stream_listener *stream_listener_new(
    struct loop *loop, int fd, const struct stream_options *options, stream_accept_fn fn, void *arg)
{
    struct stream_listener *l = xcalloc(1, sizeof(*l));
    l->loop = loop;
    if (options)
        l->options = *options;
    tls_context_ref(l->options.tls);
    l->fn = fn;
    l->arg = arg;
    l->wire = wire_listener_new(loop, fd, on_accept, l);
    return l;
}

void stream_listener_free(struct stream_listener *l)
{
    if (!l)
        return;
    wire_listener_free(l->wire);
    tls_context_free(l->options.tls);
    free(l);
}

void stream_listener_set_tls(struct stream_listener *l, struct tls_context *tls)
{
    tls_context_ref(tls);
    tls_context_free(l->options.tls);
    l->options.tls = tls;
}
