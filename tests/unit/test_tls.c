/* SPDX-License-Identifier: MIT */
#include "common/tls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/mem.h"
#include "common/strbuf.h"
#include "common/stream.h"
#include "tests/fakes/fake_pki.h"

/* Papers of the fleet, of another fleet, and of an impostor that took the first one's id. */
static struct fake_ca ca, other_ca, impostor_ca;
static struct fake_identity hub, other_hub, impostor_hub, drone_as_hub, old_hub, drone, old_drone,
    other_drone;

static int make_papers(void **state)
{
    fake_ca_init(&ca, "fleet-1");
    fake_ca_init(&other_ca, "fleet-2");
    fake_ca_init(&impostor_ca, "fleet-1");
    fake_identity_init(&hub, &ca, ROLE_HUB, "hub1", 3600);
    fake_identity_init(&old_hub, &ca, ROLE_HUB, "hub1", -60);
    fake_identity_init(&drone_as_hub, &ca, ROLE_DRONE, "app1", 3600);
    fake_identity_init(&other_hub, &other_ca, ROLE_HUB, "hub2", 3600);
    fake_identity_init(&impostor_hub, &impostor_ca, ROLE_HUB, "hub1", 3600);
    fake_identity_init(&drone, &ca, ROLE_DRONE, "app1", 3600);
    fake_identity_init(&old_drone, &ca, ROLE_DRONE, "app2", -60);
    fake_identity_init(&other_drone, &other_ca, ROLE_DRONE, "app1", 3600);
    return 0;
}

static int free_papers(void **state)
{
    struct fake_identity *ids[] = { &hub, &other_hub, &impostor_hub, &drone_as_hub, &old_hub, &drone,
        &old_drone, &other_drone };
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        fake_identity_done(ids[i]);
    fake_ca_done(&ca);
    fake_ca_done(&other_ca);
    fake_ca_done(&impostor_ca);
    return 0;
}

struct side {
    struct stream *stream;
    int ready, errors, closed;
    char error[512], data[512];
};

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct side *s = arg;
    size_t len;
    const char *data;

    switch (event) {
    case STREAM_TLS_READY:
        s->ready++;
        break;
    case STREAM_DATA:
        data = stream_data(stream, &len);
        strncat(s->data, data, len < 400 ? len : 400);
        stream_consume(stream, len);
        break;
    case STREAM_EOF:
        stream_close(stream);
        break;
    case STREAM_ERROR:
        s->errors++;
        snprintf(s->error, sizeof(s->error), "%s", stream_error(stream));
        break;
    case STREAM_CLOSED:
        s->closed++;
        break;
    default:
        break;
    }
}

static const char *const alpn[] = { "stagecoach/1", "http/1.1", NULL };

struct talk {
    struct loop *loop;
    struct side server, client;
};

static void settle(struct loop *loop)
{
    for (int i = 0; i < 10000 && loop_turn(loop, 0); i++)
        ;
}

/* Shakes hands and says "hello" and "welcome". The rows of a table differ in papers and expectations only. */
static void talk(struct talk *t, const struct fake_ca *server_ca, const struct fake_identity *server_id,
    struct tls_client client)
{
    struct tls_context *server_tls = NULL, *client_tls = NULL;
    struct error err = { 0 };
    struct tls_server spec = { .cert_pem = server_id->cert_pem,
        .key_pem = server_id->key_pem,
        .ca_pem = server_ca->cert_pem,
        .alpn = alpn };
    int fds[2];

    *t = (struct talk){ .loop = loop_new_fake() };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    if (tls_server_new(&spec, &server_tls, &err) < 0 || tls_client_new(&client, &client_tls, &err) < 0)
        fail_msg("%s", err.text);
    t->server.stream = stream_adopt(
        t->loop, fds[0], true, &(struct stream_options){ .tls = server_tls }, on_stream, &t->server);
    t->client.stream = stream_adopt(
        t->loop, fds[1], false, &(struct stream_options){ .tls = client_tls }, on_stream, &t->client);
    tls_context_free(server_tls);
    tls_context_free(client_tls);
    stream_write(t->client.stream, "hello", 5);
    stream_write(t->server.stream, "welcome", 7);
    settle(t->loop);
}

static void hang_up(struct talk *t)
{
    stream_free(t->client.stream);
    stream_free(t->server.stream);
    settle(t->loop);
    loop_free(t->loop);
}

/* --- the client judges the hub ------------------------------------------------------------------------------------ */

struct hub_case {
    const char *name;
    const struct fake_ca *ca;
    const struct fake_identity *hub;
    const char *pin;                /* what the client holds: a pin, */
    const struct fake_ca *known_ca; /* or a CA, or nothing */
    const char *fleet;
    const char *error; /* part of it; NULL: believed */
    bool mismatch;
};

static void the_hub_is_believed_by_key_and_role(void **state)
{
    /* clang-format off */
    const struct hub_case cases[] = {
        { "pin",                   &ca, &hub,          ca.pin, NULL, "fleet-1", NULL, false },
        { "known CA",              &ca, &hub,          NULL,   &ca,  "fleet-1", NULL, false },
        { "first sight",           &ca, &hub,          NULL,   NULL, NULL,      NULL, false },
        { "past its date",         &ca, &old_hub,      ca.pin, NULL, "fleet-1", NULL, false },
        { "another pin",           &other_ca, &other_hub, ca.pin, NULL, NULL,   "it shows another key (", true },
        { "another CA",            &other_ca, &other_hub, NULL, &ca, NULL,      "it shows another key (", true },
        { "CA made anew",          &impostor_ca, &impostor_hub, ca.pin, NULL, "fleet-1", "it shows another key (", true },
        { "the right CA shown, signed by another", &ca, &impostor_hub, ca.pin, NULL, "fleet-1", "not from its own certificate authority", false },
        { "a drone poses as hub",  &ca, &drone_as_hub, ca.pin, NULL, "fleet-1", "its certificate is not a hub's", false },
        { "another fleet",         &ca, &hub,          ca.pin, NULL, "fleet-9", "it is the hub of another fleet (fleet-1, not fleet-9)", false },
        { "impostor at first sight, signed by another", &ca, &impostor_hub, NULL, NULL, NULL, "not from its own certificate authority", false },
    };
    /* clang-format on */
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct hub_case *c = &cases[i];
        struct talk t;
        talk(&t, c->ca, c->hub,
            (struct tls_client){ .alpn = "stagecoach/1",
                .pin = c->pin,
                .ca_pem = c->known_ca ? c->known_ca->cert_pem : NULL,
                .fleet = c->fleet });
        const struct tls_facts *facts = stream_tls(t.client.stream);
        if (!c->error) {
            if (t.client.ready != 1 || t.server.ready != 1 || strcmp(t.client.data, "welcome") != 0 ||
                strcmp(t.server.data, "hello") != 0)
                fail_msg("%s: \"%s\" \"%s\"", c->name, t.client.error, t.server.error);
            assert_string_equal(facts->peer.name, "hub1");
            assert_int_equal(facts->peer.role, ROLE_HUB);
            assert_string_equal(facts->ca_spki, ca.pin);
            assert_string_equal(facts->alpn, "stagecoach/1");
        } else {
            if (t.client.ready || t.client.errors != 1 || t.client.closed != 1 ||
                !strstr(t.client.error, c->error))
                fail_msg("%s: \"%s\"", c->name, t.client.error);
            if (t.server.data[0]) /* nothing of ours may have left before the judgement */
                fail_msg("%s: sent \"%s\"", c->name, t.server.data);
        }
        if (facts->pin_mismatch != c->mismatch)
            fail_msg("%s: mismatch %d", c->name, facts->pin_mismatch);
        if (c->mismatch) {
            assert_string_equal(facts->ca_spki, c->ca->pin);
            assert_string_equal(facts->expected, ca.pin);
        }
        hang_up(&t);
    }
}

/* --- the hub judges the client -------------------------------------------------------------------------------------- */

static void the_client_is_described(void **state)
{
    struct talk t;
    talk(&t, &ca, &hub,
        (struct tls_client){
            .cert_pem = drone.cert_pem, .key_pem = drone.key_pem, .alpn = "http/1.1", .pin = ca.pin });
    const struct tls_facts *facts = stream_tls(t.server.stream);
    assert_true(facts->has_peer);
    assert_int_equal(facts->peer.role, ROLE_DRONE);
    assert_string_equal(facts->peer.name, "app1");
    assert_string_equal(facts->peer.fleet, "fleet-1");
    assert_string_equal(facts->alpn, "http/1.1");
    assert_true(facts->peer.not_after.us > clock_wall().us);
    hang_up(&t);
}

static void a_client_past_its_date_is_let_in_and_flagged(void **state)
{
    struct talk t;
    talk(&t, &ca, &hub,
        (struct tls_client){ .cert_pem = old_drone.cert_pem, .key_pem = old_drone.key_pem, .pin = ca.pin });
    const struct tls_facts *facts = stream_tls(t.server.stream);
    assert_int_equal(t.server.ready, 1);
    assert_string_equal(facts->peer.name, "app2");
    assert_true(facts->peer.not_after.us < clock_wall().us);
    hang_up(&t);
}

static void a_client_without_certificate_is_let_in_as_nobody(void **state)
{
    struct talk t;
    talk(&t, &ca, &hub, (struct tls_client){ .pin = ca.pin });
    assert_int_equal(t.server.ready, 1);
    assert_false(stream_tls(t.server.stream)->has_peer);
    assert_int_equal(stream_tls(t.server.stream)->peer.role, ROLE_NONE);
    assert_null(stream_tls(t.server.stream)->alpn);
    assert_string_equal(t.server.data, "hello");
    hang_up(&t);
}

static void a_certificate_of_another_fleet_is_refused_in_words(void **state)
{
    struct talk t;
    talk(&t, &ca, &hub,
        (struct tls_client){
            .cert_pem = other_drone.cert_pem, .key_pem = other_drone.key_pem, .pin = ca.pin });
    assert_int_equal(t.server.ready, 0);
    assert_int_equal(t.server.errors, 1);
    assert_non_null(strstr(t.server.error, "the client shows a certificate that is not ours"));
    /* TLS 1.3: the client thinks itself connected first, and learns of it by an alert. */
    assert_int_equal(t.client.errors, 1);
    assert_string_equal(
        t.client.error, "the hub refused the certificate: it is from another certificate authority");
    assert_string_equal(t.server.data, "");
    hang_up(&t);
}

static void no_protocol_in_common(void **state)
{
    struct talk t;
    talk(&t, &ca, &hub, (struct tls_client){ .pin = ca.pin, .alpn = "smtp" });
    assert_int_equal(t.client.errors, 1);
    assert_string_equal(t.client.error, "the hub speaks another protocol");
    assert_int_equal(t.server.errors, 1);
    hang_up(&t);
}

static void papers_that_do_not_fit_are_refused_at_once(void **state)
{
    struct tls_context *tls = NULL;
    struct error err;
    struct tls_server spec = { .cert_pem = hub.cert_pem, .key_pem = drone.key_pem, .ca_pem = ca.cert_pem };
    assert_int_equal(tls_server_new(&spec, &tls, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "certificate and key don't fit"));
    spec.key_pem = "nonsense";
    assert_int_equal(tls_server_new(&spec, &tls, &err), -EBADMSG);
    spec.cert_pem = "nonsense";
    assert_int_equal(tls_server_new(&spec, &tls, &err), -EBADMSG);
    assert_int_equal(tls_client_new(&(struct tls_client){ .pin = "7c1f" }, &tls, &err), -EINVAL);
    assert_string_equal(err.text, "a pin has 64 hex digits");
    assert_null(tls);
}

/* --- wrong peers ------------------------------------------------------------------------------------------------------- */

static struct stream *serve(struct loop *loop, struct side *side, int fd)
{
    struct tls_context *tls = NULL;
    struct tls_server spec = {
        .cert_pem = hub.cert_pem, .key_pem = hub.key_pem, .ca_pem = ca.cert_pem, .alpn = alpn
    };
    assert_int_equal(tls_server_new(&spec, &tls, &(struct error){ 0 }), 0);
    side->stream = stream_adopt(loop, fd, true, &(struct stream_options){ .tls = tls }, on_stream, side);
    tls_context_free(tls);
    return side->stream;
}

static void bytes_that_are_not_tls(void **state)
{
    static const struct {
        const char *bytes, *error;
    } rows[] = {
        { "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "the client speaks plain HTTP" },
        { "SSH-2.0-OpenSSH_9.2\r\n", "the client does not speak TLS" },
        { "\x16\x03\x01\xff\xff garbage in a record that is too long", "the client does not speak TLS" },
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loop *loop = loop_new_fake();
        struct side side = { 0 };
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        serve(loop, &side, fds[0]);
        assert_int_equal(write(fds[1], rows[i].bytes, strlen(rows[i].bytes)), (ssize_t)strlen(rows[i].bytes));
        settle(loop);
        assert_int_equal(side.errors, 1);
        assert_string_equal(side.error, rows[i].error);
        assert_int_equal(side.closed, 0); /* lingers, for the alert to arrive */
        loop_advance(loop, 1000);
        assert_int_equal(side.errors, 1);
        assert_int_equal(side.closed, 1);
        stream_free(side.stream);
        close(fds[1]);
        loop_free(loop);
    }
}

static void a_handshake_that_never_ends_is_given_up(void **state)
{
    struct loop *loop = loop_new_fake();
    struct side side = { 0 };
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    serve(loop, &side, fds[0]);
    assert_int_equal(write(fds[1], "\x16\x03\x01", 3), 3);
    loop_advance(loop, STREAM_CONNECT_MS - 1);
    assert_int_equal(side.errors, 0);
    loop_advance(loop, 1);
    assert_int_equal(side.errors, 1);
    assert_string_equal(side.error, "no end of the TLS handshake");
    stream_free(side.stream);
    close(fds[1]);
    loop_free(loop);
}

static void hanging_up_in_the_handshake_is_an_error(void **state)
{
    struct loop *loop = loop_new_fake();
    struct side side = { 0 };
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    serve(loop, &side, fds[0]);
    close(fds[1]);
    settle(loop);
    assert_int_equal(side.errors, 1);
    assert_int_equal(side.closed, 1);
    stream_free(side.stream);
    loop_free(loop);
}

/* --- much data ------------------------------------------------------------------------------------------------------------ */

struct sink {
    size_t got;
    unsigned sum;
    bool slow;
    int eofs;
};

static void on_sink(void *arg, struct stream *stream, enum stream_event event)
{
    struct sink *k = arg;
    size_t len;
    const char *data = stream_data(stream, &len);
    if (event == STREAM_EOF)
        k->eofs++;
    if (event != STREAM_DATA)
        return;
    if (k->slow && len > 1000)
        len = 1000;
    for (size_t i = 0; i < len; i++)
        k->sum = k->sum * 31 + (unsigned char)data[i];
    k->got += len;
    stream_consume(stream, len);
    if (k->slow)
        stream_again(stream);
}

static void megabytes_pass_whole_also_to_a_slow_reader(void **state)
{
    for (int slow = 0; slow < 2; slow++) {
        struct talk t;
        enum { CHUNK = 100000, N = 30 };
        unsigned char *chunk = xmalloc(CHUNK);
        unsigned sum = 0;
        struct sink sink = { .slow = slow };
        talk(&t, &ca, &hub, (struct tls_client){ .pin = ca.pin });
        assert_int_equal(t.server.ready, 1);
        stream_set_owner(t.server.stream, on_sink, &sink);
        for (int i = 0; i < N; i++) {
            for (int k = 0; k < CHUNK; k++) {
                chunk[k] = (unsigned char)(k * 7 + i);
                sum = sum * 31 + chunk[k];
            }
            stream_write(t.client.stream, chunk, CHUNK);
        }
        stream_end(t.client.stream);
        settle(t.loop);
        assert_int_equal(sink.got, CHUNK * N);
        assert_int_equal(sink.sum, sum);
        assert_int_equal(sink.eofs, 1);
        free(chunk);
        hang_up(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hub_is_believed_by_key_and_role),
        cmocka_unit_test(the_client_is_described),
        cmocka_unit_test(a_client_past_its_date_is_let_in_and_flagged),
        cmocka_unit_test(a_client_without_certificate_is_let_in_as_nobody),
        cmocka_unit_test(a_certificate_of_another_fleet_is_refused_in_words),
        cmocka_unit_test(no_protocol_in_common),
        cmocka_unit_test(papers_that_do_not_fit_are_refused_at_once),
        cmocka_unit_test(bytes_that_are_not_tls),
        cmocka_unit_test(a_handshake_that_never_ends_is_given_up),
        cmocka_unit_test(hanging_up_in_the_handshake_is_an_error),
        cmocka_unit_test(megabytes_pass_whole_also_to_a_slow_reader),
    };
    return cmocka_run_group_tests(tests, make_papers, free_papers);
}
