/* SPDX-License-Identifier: MIT */
#include "tests/fakes/ctl_hub.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/child.h"
#include "common/link.h"
#include "common/list.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/pki.h"
#include "common/schema.h"
#include "common/stream.h"
#include "common/strv.h"
#include "common/tls.h"

#define RUN_MS 20000
#define FLEET  "0123456789abcdef"
#define CERT_S (90 * 86400)

struct guest {
    struct list in_hub;
    struct ctl_hub *hub;
    struct stream *stream; /* until TLS is done */
    struct link *link;
};

struct ctl_hub {
    struct loop *loop;
    char directory[64];
    char *address;
    bool tls;
    struct stream_listener *listener;
    char *ca_key, *ca_cert, *key, *cert;
    char pin[SHA256_HEX_SIZE];
    struct list guests;
    const struct ctl_hub_row *script;
    struct strbuf calls;
    char **ids; /* request ids seen */
    bool repeated;
    struct reply *silent[8];
    size_t n_silent;
    bool timed_out;
};

/* --- calls ------------------------------------------------------------------------------------------------ */

static void write_down(struct ctl_hub *hub, const struct msg_info *info, const void *m)
{
    struct strbuf params = STRBUF_INIT;
    schema_print_safe(info->schema, m, &params);
    char *id = params.data ? strstr(params.data, "\"request_id\":\"") : NULL;
    strbuf_addf(&hub->calls, "%s ", info->method);
    if (id) {
        id += strlen("\"request_id\":\"");
        char *end = strchr(id, '"');
        _cleanup_(free_ptr) char *text = xstrndup(id, (size_t)(end - id));
        hub->repeated |= strv_contains(hub->ids, text);
        strv_push(&hub->ids, text);
        strbuf_add(&hub->calls, params.data, (size_t)(id - params.data));
        strbuf_addf(&hub->calls, "ID%s\n", end);
    } else {
        strbuf_addf(&hub->calls, "%s\n", strbuf_str(&params));
    }
    strbuf_done(&params);
}

static void *parse(const struct schema *schema, const char *json, size_t len)
{
    struct error err = { 0 };
    void *m = xcalloc(1, schema->size);
    if (schema_read(schema, json, len, m, &err) < 0) {
        fprintf(stderr, "script: %s: %.*s\n", err.text, (int)len, json);
        abort();
    }
    return m;
}

static void send_notices(struct link *link, const struct ctl_hub_row *row)
{
    const struct schema *schema = row->notices ? msg_by_type(row->notice)->schema : NULL;
    for (const char *s = row->notices; s && *s;) {
        size_t len = strcspn(s, "\n");
        void *m = parse(schema, s, len);
        link_notify(link, row->notice, m);
        schema_clear(schema, m);
        free(m);
        s += len + (s[len] == '\n');
    }
}

static void play(struct ctl_hub *hub, struct link *link, const struct ctl_hub_row *row, struct reply *reply)
{
    const struct msg_info *info = msg_by_type(row->type);
    send_notices(link, row);
    if (row->after == AFTER_SILENCE) {
        hub->silent[hub->n_silent++] = reply;
    } else if (row->after == AFTER_HANG_UP) {
        hub->silent[hub->n_silent++] = reply;
        link_close(link, "the fake hub hangs up");
    } else if (row->error) {
        reply_error(reply, row->kind, "%s", row->error);
    } else {
        void *m = row->answer ? parse(info->answer, row->answer, strlen(row->answer)) : NULL;
        reply_ok(reply, m);
        if (m) {
            schema_clear(info->answer, m);
            free(m);
        }
    }
}

/* Who joins gets what a hub would give. */
static void sign(struct ctl_hub *hub, const char *csr, const char *name, enum role role, struct reply *reply)
{
    struct error err = { 0 };
    const struct pki_leaf leaf = { .ca_cert_pem = hub->ca_cert,
        .ca_key_pem = hub->ca_key,
        .csr_pem = csr,
        .fleet = FLEET,
        .name = name,
        .role = role,
        .now = clock_wall(),
        .valid_s = CERT_S };
    struct msg_identity m = { .ca_pem = hub->ca_cert,
        .fleet = (char[]){ FLEET },
        .role = (int)role,
        .name = (char *)(uintptr_t)name,
        .expires_us = clock_wall().us + CERT_S * CLOCK_US_PER_S };
    if (pki_leaf_sign(&leaf, &m.cert_pem, &err) < 0) {
        reply_error(reply, ERROR_REFUSED, "%s", err.text);
        return;
    }
    reply_ok(reply, &m);
    free(m.cert_pem);
}

/* The secret says what it is good for: "drone-…", "router-…", anything else a deployer's. */
static void on_join(struct ctl_hub *hub, const struct msg_join *m, struct reply *reply)
{
    const char *secret = strrchr(m->token, '.');
    secret = secret ? secret + 1 : m->token;
    enum role role = strncmp(secret, "drone", 5) == 0 ? ROLE_DRONE
        : strncmp(secret, "router", 6) == 0           ? ROLE_ROUTER
                                                      : ROLE_DEPLOYER;
    sign(hub, m->csr_pem, m->name && *m->name ? m->name : "ops", role, reply);
}

static void on_call(struct guest *guest, enum msg_type type, const void *m, struct reply *reply)
{
    struct ctl_hub *hub = guest->hub;
    write_down(hub, msg_by_type(type), m);
    if (hub->script && hub->script->type == type) {
        play(hub, guest->link, hub->script++, reply);
        return;
    }
    if (type == MSG_JOIN)
        on_join(hub, m, reply);
    else if (type == MSG_RENEW)
        sign(hub, ((const struct msg_renew *)m)->csr_pem, "ops", ROLE_DEPLOYER, reply);
    else
        reply_error(reply, ERROR_REFUSED, "not in the script: %s", msg_by_type(type)->method);
}

// clang-format off
#define CALLS(X) \
    X(MSG_JOIN) X(MSG_RENEW) X(MSG_TOKEN_CREATE) X(MSG_TOKEN_LIST) X(MSG_TOKEN_REVOKE) X(MSG_DEPLOY) X(MSG_ROLLBACK) \
    X(MSG_SCALE) X(MSG_START) X(MSG_STOP) X(MSG_RESTART) X(MSG_DEPLOY_WATCH) X(MSG_LIST) X(MSG_SERVERS) X(MSG_PS) \
    X(MSG_STATUS) X(MSG_DEPS) X(MSG_HISTORY) X(MSG_MONITOR) X(MSG_LOGS) X(MSG_HOST_LIST) X(MSG_HOST_REMOVE) \
    X(MSG_VERSION) X(MSG_IDENTITY_REVOKE) X(MSG_HUB_STATUS)
#define HANDLER(t) \
    static void on_##t(void *owner, struct link *link, const void *m, struct reply *reply) { on_call(owner, t, m, reply); }
CALLS(HANDLER)
#define ROW(t) { t, on_##t },
static const struct link_handler handlers[] = { CALLS(ROW) { 0 } };
// clang-format on

/* --- guests ----------------------------------------------------------------------------------------------- */

static void guest_free(struct guest *guest)
{
    list_remove(&guest->in_hub);
    link_free(guest->link);
    stream_free(guest->stream);
    free(guest);
}

static void on_link_event(void *owner, struct link *link, enum link_event event, const char *reason)
{
    if (event == LINK_CLOSED)
        guest_free(owner);
}

static void fill_hello(void *owner, struct link *link, struct msg_hello *hello)
{
    hello->program = (char *)(uintptr_t) "stagecoach-hubd";
}

static void greet(struct guest *guest)
{
    const struct link_spec spec = {
        .handlers = handlers, .on_event = on_link_event, .owner = guest, .fill_hello = fill_hello
    };
    const struct peer local = {
        .role = ROLE_ADMIN, .name = (char[]){ "root" }, .address = (char[]){ "local" }
    };
    guest->link = link_new(guest->hub->loop, steal_ptr(guest->stream), true, &spec);
    if (!guest->hub->tls)
        link_set_peer(guest->link, &local);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct guest *guest = arg;
    if (event == STREAM_TLS_READY)
        greet(guest);
    else if (event == STREAM_CLOSED)
        guest_free(guest);
}

static void on_accept(void *arg, struct stream *stream)
{
    struct ctl_hub *hub = arg;
    struct guest *guest = xcalloc(1, sizeof(*guest));
    guest->hub = hub;
    guest->stream = stream;
    list_append(&hub->guests, &guest->in_hub);
    if (hub->tls)
        stream_set_owner(stream, on_stream, guest);
    else
        greet(guest);
}

/* --- the hub ---------------------------------------------------------------------------------------------- */

static void must(int r, const struct error *err)
{
    if (r < 0) {
        fprintf(stderr, "ctl_hub: %s\n", err->text);
        abort();
    }
}

static void make_identity(struct ctl_hub *hub)
{
    struct error err = { 0 };
    _cleanup_(free_ptr) char *csr = NULL;
    wall_t now = clock_wall();
    free(hub->ca_key);
    free(hub->ca_cert);
    free(hub->key);
    free(hub->cert);
    must(pki_key_new(&hub->ca_key, &err), &err);
    must(pki_ca_new(hub->ca_key, FLEET, now, &hub->ca_cert, &err), &err);
    must(pki_key_new(&hub->key, &err), &err);
    must(pki_csr_new(hub->key, "hub", &csr, &err), &err);
    const struct pki_leaf leaf = { .ca_cert_pem = hub->ca_cert,
        .ca_key_pem = hub->ca_key,
        .csr_pem = csr,
        .fleet = FLEET,
        .name = "hub",
        .role = ROLE_HUB,
        .now = now,
        .valid_s = CERT_S };
    must(pki_leaf_sign(&leaf, &hub->cert, &err), &err);
    must(pki_cert_spki(hub->ca_cert, hub->pin, &err), &err);
}

static struct tls_context *tls_of(struct ctl_hub *hub)
{
    static const char *const alpn[] = { PROTOCOL_ALPN, NULL };
    const struct tls_server spec = {
        .cert_pem = hub->cert, .key_pem = hub->key, .ca_pem = hub->ca_cert, .alpn = alpn
    };
    struct tls_context *tls = NULL;
    struct error err = { 0 };
    must(tls_server_new(&spec, &tls, &err), &err);
    return tls;
}

static int listen_local(struct ctl_hub *hub)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/hub.sock", hub->directory);
    hub->address = xstrdup(sa.sun_path);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 16) < 0)
        abort();
    return fd;
}

static int listen_port(struct ctl_hub *hub)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 16) < 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        abort();
    hub->address = xasprintf("127.0.0.1:%d", ntohs(sa.sin_port));
    return fd;
}

struct ctl_hub *ctl_hub_new(bool tls)
{
    struct ctl_hub *hub = xcalloc(1, sizeof(*hub));
    struct tls_context *context = NULL;
    hub->loop = loop_new();
    hub->tls = tls;
    list_init(&hub->guests);
    snprintf(hub->directory, sizeof(hub->directory), "/tmp/ctl_hub.XXXXXX");
    if (!mkdtemp(hub->directory))
        abort();
    if (tls) {
        make_identity(hub);
        context = tls_of(hub);
    }
    const struct stream_options options = { .tls = context };
    int fd = tls ? listen_port(hub) : listen_local(hub);
    hub->listener = stream_listener_new(hub->loop, fd, &options, on_accept, hub);
    tls_context_free(context);
    return hub;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void ctl_hub_free(struct ctl_hub *hub)
{
    while (!list_empty(&hub->guests))
        guest_free(list_first(&hub->guests, struct guest, in_hub));
    for (size_t i = 0; i < hub->n_silent; i++)
        reply_ok(hub->silent[i], NULL);
    stream_listener_free(hub->listener);
    loop_turn(hub->loop, 0);
    loop_free(hub->loop);
    nftw(hub->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(hub->address);
    free(hub->ca_key);
    free(hub->ca_cert);
    free(hub->key);
    free(hub->cert);
    strv_free(hub->ids);
    strbuf_done(&hub->calls);
    free(hub);
}

void ctl_hub_script(struct ctl_hub *hub, const struct ctl_hub_row *rows)
{
    hub->script = rows;
    strbuf_clear(&hub->calls);
}

void ctl_hub_rebuild(struct ctl_hub *hub)
{
    make_identity(hub);
    struct tls_context *context = tls_of(hub);
    stream_listener_set_tls(hub->listener, context);
    tls_context_free(context);
}

void ctl_hub_stop_listening(struct ctl_hub *hub)
{
    stream_listener_free(hub->listener);
    hub->listener = NULL;
}

const char *ctl_hub_address(const struct ctl_hub *hub)
{
    return hub->address;
}

const char *ctl_hub_pin(const struct ctl_hub *hub)
{
    return hub->pin;
}

const char *ctl_hub_directory(const struct ctl_hub *hub)
{
    return hub->directory;
}

const char *ctl_hub_calls(const struct ctl_hub *hub)
{
    return strbuf_str(&hub->calls);
}

bool ctl_hub_repeated(const struct ctl_hub *hub)
{
    return hub->repeated;
}

/* --- running the program ---------------------------------------------------------------------------------- */

struct running {
    struct ctl_run result;
    bool ended;
    bool timed_out;
};

static void on_stdout(struct child *child, const char *data, size_t len, void *arg)
{
    struct running *running = arg;
    strbuf_add(&running->result.out, data, len);
}

static void on_stderr(struct child *child, const char *data, size_t len, void *arg)
{
    struct running *running = arg;
    strbuf_add(&running->result.err, data, len);
}

static void on_exit_status(struct child *child, int status, void *arg)
{
    struct running *running = arg;
    running->ended = true;
    running->result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void on_timeout(void *arg)
{
    struct running *running = arg;
    running->timed_out = true;
}

static char **environment(const struct ctl_hub *hub)
{
    char **env = NULL;
    pairs_set(&env, "PATH", "/usr/bin:/bin");
    pairs_set(&env, "HOME", hub->directory);
    pairs_set(&env, "LC_ALL", "C.UTF-8");
    pairs_set(&env, "TZ", "UTC");
    pairs_set(&env, "TERM", "xterm");
    pairs_set(&env, "GIT_CONFIG_NOSYSTEM", "1");
    const char *asan = getenv("ASAN_OPTIONS");
    if (asan)
        pairs_set(&env, "ASAN_OPTIONS", asan);
    return env;
}

static char **command(const char *const *words)
{
    char **argv = NULL;
    const char *program = getenv("STAGECOACHCTL");
    if (!program) {
        fprintf(stderr, "STAGECOACHCTL must say where the program is\n");
        exit(2);
    }
    strv_push(&argv, program);
    for (; *words; words++)
        strv_push(&argv, *words);
    return argv;
}

struct ctl_run ctl_hub_run(struct ctl_hub *hub, const char *const *words)
{
    struct running running = { .result.status = -1 };
    struct error err = { 0 };
    struct child *child = NULL;
    struct timer timer;
    _cleanup_(strv_freep) char **argv = command(words), **env = environment(hub);
    const struct child_spec spec = {
        .argv = (const char *const *)argv,
        .env = (const char *const *)env,
        .cwd = hub->directory,
        .on_stdout = on_stdout,
        .on_stderr = on_stderr,
        .on_exit = on_exit_status,
        .arg = &running,
    };
    timer_init(&timer, hub->loop, on_timeout, &running);
    timer_set(&timer, RUN_MS);
    must(child_start(hub->loop, &spec, &child, &err), &err);
    while (!running.ended && !running.timed_out)
        loop_turn(hub->loop, -1);
    child_free(child);
    timer_done(&timer);
    return running.result;
}

void ctl_run_done(struct ctl_run *run)
{
    strbuf_done(&run->out);
    strbuf_done(&run->err);
}

struct terminal {
    int fd;
    struct strbuf *out;
    const char *interrupt_at;
    bool ended;
};

static void on_terminal(unsigned ready, void *arg)
{
    struct terminal *t = arg;
    char block[4096];
    ssize_t n = read(t->fd, block, sizeof(block));
    if (n <= 0) {
        t->ended = true; /* EIO: the other side has gone */
        return;
    }
    strbuf_add(t->out, block, (size_t)n);
    if (t->interrupt_at && strstr(strbuf_str(t->out), t->interrupt_at)) {
        t->interrupt_at = NULL;
        if (write(t->fd, "\003", 1) < 0)
            t->ended = true;
    }
}

struct ctl_run ctl_hub_run_terminal(
    struct ctl_hub *hub, const char *const *words, int columns, const char *interrupt_at)
{
    struct running running = { .result.status = -1 };
    _cleanup_(strv_freep) char **argv = command(words), **env = environment(hub);
    const struct winsize size = { .ws_row = 24, .ws_col = (unsigned short)columns };
    struct terminal terminal = { .out = &running.result.out, .interrupt_at = interrupt_at };
    pid_t pid = forkpty(&terminal.fd, NULL, NULL, &size);
    if (pid == 0) {
        execve(argv[0], argv, env);
        _exit(127);
    }
    struct timer timer;
    timer_init(&timer, hub->loop, on_timeout, &running);
    timer_set(&timer, RUN_MS);
    struct io *io = io_new(hub->loop, terminal.fd, IO_READ, on_terminal, &terminal);
    while (!terminal.ended && !running.timed_out)
        loop_turn(hub->loop, -1);
    if (running.timed_out)
        kill(pid, SIGKILL);
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    running.result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    io_free(io);
    close(terminal.fd);
    timer_done(&timer);
    return running.result;
}
