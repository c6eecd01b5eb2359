/* SPDX-License-Identifier: MIT */
#include "common/names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "common/mem.h"
#include "common/sha256.h"
#include "common/strbuf.h"
#include "common/utf8.h"

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define UPPER  "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define HEX    DIGITS "abcdef"

#define ENV_KEY_MAX     128
#define ENV_VALUE_MAX   (32 * 1024)
#define DNS_NAME_MAX    253
#define DNS_LABEL_MAX   63
#define PATH_PREFIX_MAX 1024
#define ADDRESS_MAX     64
#define USER_HEX_DIGITS 12
#define DEPLOY_HEX_MIN  4
#define DEPLOY_HEX_MAX  12

/* All of s, of min to max bytes, from this set. */
static bool is_made_of(const char *s, const char *set, size_t min, size_t max)
{
    if (!s)
        return false;
    size_t len = strspn(s, set);
    return s[len] == '\0' && len >= min && len <= max;
}

static bool begins_with_one_of(const char *s, const char *set)
{
    return *s && strchr(set, *s);
}

static bool ends_with_one_of(const char *s, const char *set)
{
    size_t len = strlen(s);

    return len > 0 && strchr(set, s[len - 1]);
}

bool name_is_service(const char *s)
{
    return is_made_of(s, LOWER DIGITS "-", 1, NAME_SERVICE_MAX) && begins_with_one_of(s, LOWER) &&
        ends_with_one_of(s, LOWER DIGITS) && !strstr(s, "--");
}

bool name_is_app(const char *s)
{
    return name_is_service(s);
}

bool name_is_host(const char *s)
{
    return is_made_of(s, LOWER DIGITS ".-", 1, NAME_HOST_MAX) && begins_with_one_of(s, LOWER DIGITS) &&
        ends_with_one_of(s, LOWER DIGITS) && !strstr(s, "..");
}

bool name_is_person(const char *s)
{
    return is_made_of(s, LOWER DIGITS ".-_@", 1, NAME_HOST_MAX) && begins_with_one_of(s, LOWER DIGITS) &&
        ends_with_one_of(s, LOWER DIGITS) && !strstr(s, "..");
}

bool name_is_instance(const char *s)
{
    return is_made_of(s, HEX, NAME_INSTANCE_LEN, NAME_INSTANCE_LEN);
}

bool name_is_commit(const char *s)
{
    return is_made_of(s, HEX, NAME_COMMIT_LEN, NAME_COMMIT_LEN);
}

bool name_is_commit_prefix(const char *s)
{
    return is_made_of(s, HEX, 4, NAME_COMMIT_LEN);
}

bool name_is_deploy(const char *s)
{
    return s && strncmp(s, "d-", 2) == 0 && is_made_of(s + 2, HEX, DEPLOY_HEX_MIN, DEPLOY_HEX_MAX);
}

bool name_is_request_id(const char *s)
{
    return is_made_of(s, UPPER LOWER DIGITS "_-", 8, NAME_REQUEST_ID_MAX);
}

bool name_is_env_key(const char *s)
{
    return is_made_of(s, UPPER LOWER DIGITS "_", 1, ENV_KEY_MAX) && !begins_with_one_of(s, DIGITS);
}

/* A value goes into a file that systemd reads line by line, quoted: a newline inside is carried, one at either
 * end would be lost on the way, and so would other control characters. */
bool name_is_env_value(const char *s)
{
    if (!s)
        return false;
    size_t len = strlen(s);
    if (len > ENV_VALUE_MAX || !utf8_is_valid(s, len))
        return false;
    if (len > 0 && (s[0] == '\n' || s[len - 1] == '\n'))
        return false;
    for (const char *p = s; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7F)
            return false;
    return true;
}

bool name_is_dns(const char *s)
{
    if (!s)
        return false;
    if (strncmp(s, "*.", 2) == 0)
        s += 2;
    if (!is_made_of(s, LOWER DIGITS ".-", 1, DNS_NAME_MAX))
        return false;
    while (true) {
        size_t len = strcspn(s, ".");
        if (len == 0 || len > DNS_LABEL_MAX || s[0] == '-' || s[len - 1] == '-')
            return false;
        if (s[len] == '\0')
            return true;
        s += len + 1;
    }
}

/* Segments as RFC 3986 writes them, without escapes: an escape would let one path be written in two ways. */
bool name_is_path_prefix(const char *s)
{
    if (!is_made_of(s, UPPER LOWER DIGITS "/-._~!$&'()*+,;=:@", 1, PATH_PREFIX_MAX) || s[0] != '/')
        return false;
    for (const char *segment = s + 1;;) {
        size_t len = strcspn(segment, "/");
        bool is_last = segment[len] == '\0';
        if (len == 0)
            return is_last; /* "/" and "/a/"; not "//" */
        if ((len == 1 && segment[0] == '.') || (len == 2 && segment[0] == '.' && segment[1] == '.'))
            return false;
        if (is_last)
            return true;
        segment += len + 1;
    }
}

static bool is_port(const char *s)
{
    long port = 0;

    if (!is_made_of(s, DIGITS, 1, 5) || s[0] == '0')
        return false;
    for (; *s; s++)
        port = port * 10 + (*s - '0');
    return port <= 65535;
}

bool name_is_address(const char *s)
{
    char host[ADDRESS_MAX];
    unsigned char binary[sizeof(struct in6_addr)];

    if (!s || strlen(s) >= sizeof(host))
        return false;
    const char *colon = strrchr(s, ':');
    if (!colon || !is_port(colon + 1))
        return false;
    size_t len = (size_t)(colon - s);
    memcpy(host, s, len);
    host[len] = '\0';
    if (host[0] != '[')
        return inet_pton(AF_INET, host, binary) == 1;
    if (host[len - 1] != ']')
        return false;
    host[len - 1] = '\0';
    return inet_pton(AF_INET6, host + 1, binary) == 1;
}

/* Slash-separated parts of a whitelist; what git itself refuses (".lock", leading dots) is refused too. */
static bool is_ref_tail(const char *s)
{
    if (!is_made_of(s, UPPER LOWER DIGITS "/-._+@", 1, NAME_REF_MAX) || strstr(s, "..") || strstr(s, "@{"))
        return false;
    while (true) {
        size_t len = strcspn(s, "/");
        if (len == 0 || s[0] == '-' || s[0] == '.' || s[len - 1] == '.')
            return false;
        if (len >= 5 && strncmp(s + len - 5, ".lock", 5) == 0)
            return false;
        if (len == 1 && s[0] == '@')
            return false;
        if (s[len] == '\0')
            return true;
        s += len + 1;
    }
}

bool name_is_ref(const char *s)
{
    return s && strncmp(s, "refs/", 5) == 0 && strlen(s) <= NAME_REF_MAX && is_ref_tail(s + 5) &&
        strchr(s + 5, '/');
}

bool name_is_tag(const char *s)
{
    return s && strlen(s) <= NAME_REF_MAX - strlen("refs/tags/") && is_ref_tail(s);
}

int name_split_target(const char *target, char **ret_service, char **ret_what, struct error *err)
{
    struct strbuf shown __attribute__((cleanup(strbuf_done))) = STRBUF_INIT;
    const char *at = strchr(target, '@');
    char *service = at ? xstrndup(target, (size_t)(at - target)) : xstrdup(target);

    strbuf_add_printable(&shown, target, strlen(target), 60);
    if (!name_is_service(service)) {
        free(service);
        return error_set(err, -EINVAL,
            "\"%s\" does not begin with the name of a service (lower-case letters, digits and single dashes, "
            "at most %d)",
            strbuf_str(&shown), NAME_SERVICE_MAX);
    }
    if (at && at[1] == '\0') {
        free(service);
        return error_set(err, -EINVAL, "\"%s\" names no version after the \"@\"", strbuf_str(&shown));
    }
    *ret_service = service;
    *ret_what = at ? xstrdup(at + 1) : NULL;
    return 0;
}

char *name_slice(const char *service)
{
    struct strbuf sb = STRBUF_INIT;

    /* A dash in a slice's name means "inside of"; escaped it is only a letter. */
    strbuf_adds(&sb, "stagecoach-");
    for (; *service; service++) {
        if (*service == '-')
            strbuf_adds(&sb, "\\x2d");
        else
            strbuf_addc(&sb, *service);
    }
    strbuf_adds(&sb, ".slice");
    return strbuf_steal(&sb);
}

char *name_unit(const char *service, const char *instance)
{
    return xasprintf("stagecoach-run-%s-%s.service", service, instance);
}

char *name_service_user(const char *service)
{
    char hex[SHA256_HEX_SIZE];

    sha256_hex(service, strlen(service), hex);
    return xasprintf("sc-%.*s", USER_HEX_DIGITS, hex);
}
