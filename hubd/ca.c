/* SPDX-License-Identifier: MIT */
#include "hubd/ca.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/pki.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define FLEET_BYTES    8
#define HOSTS_FILE     "/etc/hosts"
#define HOSTS_FILE_MAX (1024 * 1024)

struct ca {
    struct loop *loop;
    char *fleet, *key_pem, *cert_pem;
    char spki[SHA256_HEX_SIZE];
    char **names;
    int64_t certificate_ms;
    char *server_key_pem, *server_cert_pem;
    char **server_names; /* what the certificate bears: names, then addresses */
    mono_t server_since;
    struct timer check;
    void (*on_renewed)(void *arg);
    void *arg;
};

/* --- the CA --------------------------------------------------------------------------------------------------- */

static int read_text(const char *directory, const char *file, size_t max, char **ret, struct error *err)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", directory, file);
    struct strbuf text = STRBUF_INIT;
    int r = statefile_read(path, max, &text, err);
    if (r < 0) {
        strbuf_done(&text);
        return r;
    }
    *ret = strbuf_steal(&text);
    return 0;
}

static int write_text(const char *directory, const char *file, const char *text, struct error *err)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", directory, file);
    return statefile_write(path, text, strlen(text), 0600, err);
}

/* The certificate goes last: a CA that is only half there is made anew, not used. */
static int create(struct ca *ca, const char *directory, struct error *err)
{
    ca->fleet = random_hex(FLEET_BYTES);
    int r = pki_key_new(&ca->key_pem, err);
    if (r == 0)
        r = pki_ca_new(ca->key_pem, ca->fleet, loop_wall(ca->loop), &ca->cert_pem, err);
    if (r == 0)
        r = write_text(directory, CA_FLEET_FILE, ca->fleet, err);
    if (r == 0)
        r = write_text(directory, CA_KEY_FILE, ca->key_pem, err);
    if (r == 0)
        r = write_text(directory, CA_CERT_FILE, ca->cert_pem, err);
    if (r == 0)
        log_info(NULL, "made a CA for fleet %s in %s", ca->fleet, directory);
    return r;
}

static int load(struct ca *ca, const char *directory, struct error *err)
{
    int r = read_text(directory, CA_CERT_FILE, PKI_PEM_MAX, &ca->cert_pem, err);
    if (r == 0)
        r = read_text(directory, CA_KEY_FILE, PKI_PEM_MAX, &ca->key_pem, err);
    if (r == 0)
        r = read_text(directory, CA_FLEET_FILE, 64, &ca->fleet, err);
    if (r < 0)
        return r;
    ca->fleet[strcspn(ca->fleet, "\r\n")] = '\0';
    char of_cert[SHA256_HEX_SIZE], of_key[SHA256_HEX_SIZE];
    r = pki_cert_spki(ca->cert_pem, of_cert, err);
    if (r == 0)
        r = pki_key_spki(ca->key_pem, of_key, err);
    if (r == 0 && strcmp(of_cert, of_key) != 0)
        return error_set(
            err, -EBADMSG, "%s and %s in %s don't belong together", CA_CERT_FILE, CA_KEY_FILE, directory);
    if (r == 0 && !name_is_host(ca->fleet))
        return error_set(err, -EBADMSG, "%s/%s does not hold the id of a fleet", directory, CA_FLEET_FILE);
    return r;
}

static int open_or_create(struct ca *ca, const struct ca_spec *spec, struct error *err)
{
    int r = statefile_mkdir(spec->directory, 0700, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *cert = xasprintf("%s/%s", spec->directory, CA_CERT_FILE);
    if (access(cert, F_OK) == 0)
        r = load(ca, spec->directory, err);
    else if (errno != ENOENT)
        r = error_set_errno(err, -errno, "can't read %s", cert);
    else if (!spec->may_create)
        r = error_set(err, -ENOKEY,
            "there is a state but no CA in %s; restore that directory from the backup that the state is from "
            "(a new CA would lock out every host)",
            spec->directory);
    else
        r = create(ca, spec->directory, err);
    if (r == 0)
        r = pki_cert_spki(ca->cert_pem, ca->spki, err);
    return r;
}

/* --- the server certificate -------------------------------------------------------------------------------------- */

static bool is_dns_name(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len > 253 || *s == '-' || *s == '.')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '-' && *s != '.')
            return false;
    return true;
}

static void add_name(char ***names, char ***addresses, const char *s)
{
    struct in6_addr addr;
    bool is_address = inet_pton(AF_INET, s, &addr) == 1 || inet_pton(AF_INET6, s, &addr) == 1;
    char ***list = is_address ? addresses : names;
    if ((is_address || is_dns_name(s)) && !strv_contains(*list, s))
        strv_push(list, s);
}

/* Names that the hosts file has for this machine, the full one among them. No resolver is asked: it may be
 * slow, and the certificate must not wait for it. */
static void add_hosts_file(char ***names, char ***addresses, const char *host)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    if (statefile_read(HOSTS_FILE, HOSTS_FILE_MAX, &text, NULL) < 0)
        return;
    char **lines = strv_split(strbuf_str(&text), "\n"), *line;
    strv_for_each (line, lines) {
        line[strcspn(line, "#")] = '\0';
        char **words = strv_split(line, " \t");
        if (words && strv_contains(words + 1, host))
            for (size_t i = 1; words[i]; i++)
                add_name(names, addresses, words[i]);
        strv_free(words);
    }
    strv_free(lines);
}

static void add_interfaces(char ***names, char ***addresses)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *i = all; i; i = i->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        const void *address = NULL;
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET)
            address = &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
        else if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET6)
            address = &((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr;
        if (address && inet_ntop(i->ifa_addr->sa_family, address, text, sizeof(text)))
            add_name(names, addresses, text);
    }
    freeifaddrs(all);
}

static void collect_names(const struct ca *ca, char ***names, char ***addresses)
{
    char host[256] = "";
    gethostname(host, sizeof(host) - 1);
    add_name(names, addresses, host);
    add_name(names, addresses, "localhost");
    char *name;
    strv_for_each (name, ca->names)
        add_name(names, addresses, name);
    add_hosts_file(names, addresses, host);
    add_interfaces(names, addresses);
}

static int make_server(struct ca *ca, struct error *err)
{
    char **names = NULL, **addresses = NULL;
    _cleanup_(free_ptr) char *key = NULL, *csr = NULL, *cert = NULL;
    collect_names(ca, &names, &addresses);
    int r = pki_key_new(&key, err);
    if (r == 0)
        r = pki_csr_new(key, "hub", &csr, err);
    struct pki_leaf leaf = {
        .ca_cert_pem = ca->cert_pem,
        .ca_key_pem = ca->key_pem,
        .csr_pem = csr,
        .fleet = ca->fleet,
        .name = "hub",
        .role = ROLE_HUB,
        .dns = names,
        .addresses = addresses,
        .now = loop_wall(ca->loop),
        .valid_s = ca->certificate_ms / CLOCK_MS_PER_S,
    };
    if (r == 0)
        r = pki_leaf_sign(&leaf, &cert, err);
    if (r == 0) {
        secret_erase(ca->server_key_pem);
        free(ca->server_key_pem);
        free(ca->server_cert_pem);
        strv_free(ca->server_names);
        ca->server_key_pem = steal_ptr(key);
        ca->server_cert_pem = steal_ptr(cert);
        ca->server_since = loop_now(ca->loop);
        char *address;
        strv_for_each (address, addresses)
            strv_push(&names, address);
        ca->server_names = steal_ptr(names);
    }
    strv_free(names);
    strv_free(addresses);
    return r;
}

static int64_t check_interval(const struct ca *ca)
{
    int64_t third = ca->certificate_ms / 3;
    return third < CA_RENEW_CHECK_MS ? third : CA_RENEW_CHECK_MS;
}

/* A third of its life has passed, or the machine has other names or addresses by now. */
static void on_check(void *arg)
{
    struct ca *ca = arg;
    char **names = NULL, **addresses = NULL, *address;
    collect_names(ca, &names, &addresses);
    strv_for_each (address, addresses)
        strv_push(&names, address);
    bool due = mono_diff_ms(loop_now(ca->loop), ca->server_since) >= ca->certificate_ms / 3 ||
        !strv_equal(names, ca->server_names);
    strv_free(names);
    strv_free(addresses);
    timer_set(&ca->check, check_interval(ca));
    if (!due)
        return;
    struct error err = { 0 };
    if (make_server(ca, &err) < 0)
        log_error(NULL, "the hub's certificate can't be renewed: %s", err.text);
    else if (ca->on_renewed)
        ca->on_renewed(ca->arg);
}

/* --- life cycle, verbs --------------------------------------------------------------------------------------------- */

int ca_open(struct loop *loop, const struct ca_spec *spec, struct ca **ret, struct error *err)
{
    struct ca *ca = xcalloc(1, sizeof(*ca));
    ca->loop = loop;
    ca->names = strv_copy(spec->names);
    ca->certificate_ms = spec->certificate_ms;
    timer_init(&ca->check, loop, on_check, ca);
    int r = open_or_create(ca, spec, err);
    if (r == 0)
        r = make_server(ca, err);
    if (r < 0) {
        ca_free(ca);
        return r;
    }
    timer_set(&ca->check, check_interval(ca));
    *ret = ca;
    return 0;
}

void ca_free(struct ca *ca)
{
    if (!ca)
        return;
    timer_done(&ca->check);
    secret_erase(ca->key_pem);
    secret_erase(ca->server_key_pem);
    free(ca->key_pem);
    free(ca->cert_pem);
    free(ca->fleet);
    free(ca->server_key_pem);
    free(ca->server_cert_pem);
    strv_free(ca->server_names);
    strv_free(ca->names);
    free(ca);
}

const char *ca_fleet(const struct ca *ca)
{
    return ca->fleet;
}

const char *ca_cert_pem(const struct ca *ca)
{
    return ca->cert_pem;
}

const char *ca_spki(const struct ca *ca)
{
    return ca->spki;
}

int ca_sign(struct ca *ca, const char *csr_pem, enum role role, const char *name, char **ret_cert_pem,
    struct error *err)
{
    struct pki_leaf leaf = {
        .ca_cert_pem = ca->cert_pem,
        .ca_key_pem = ca->key_pem,
        .csr_pem = csr_pem,
        .fleet = ca->fleet,
        .name = name,
        .role = role,
        .now = loop_wall(ca->loop),
        .valid_s = ca->certificate_ms / CLOCK_MS_PER_S,
    };
    return pki_leaf_sign(&leaf, ret_cert_pem, err);
}

void ca_server(const struct ca *ca, const char **ret_cert_pem, const char **ret_key_pem)
{
    *ret_cert_pem = ca->server_cert_pem;
    *ret_key_pem = ca->server_key_pem;
}

void ca_on_server_renewed(struct ca *ca, void (*fn)(void *arg), void *arg)
{
    ca->on_renewed = fn;
    ca->arg = arg;
}
