/* SPDX-License-Identifier: MIT */
#include "ctl/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/names.h"
#include "common/pki.h"
#include "common/schema.h"
#include "common/statefile.h"
#include "common/strbuf.h"
#include "common/strv.h"

#define REMOTE_NAME_MAX 40
#define TOKEN_MAX       4096
#define TOKEN_PREFIX    "sc1."
#define PIN_LEN         64
#define YEAR_2200_US    INT64_C(7258118400000000)

static bool is_pin(const char *s)
{
    return strlen(s) == PIN_LEN && strspn(s, "0123456789abcdef") == PIN_LEN;
}

static const struct field remote_fields[] = {
    // clang-format off
    F_STRING(struct remote, name,  FIELD_REQUIRED, .check = name_is_remote, .must = "the name of a remote"),
    F_STRING(struct remote, hub,   FIELD_REQUIRED),
    F_STRING(struct remote, pin,   FIELD_REQUIRED, .check = is_pin, .must = "64 hex digits"),
    F_STRING(struct remote, fleet, 0),
    F_STRING(struct remote, user,  0),
    F_ENUM(struct remote, role, 0, role_names),
    F_STRV(struct remote, services, 0, .check = name_is_service, .must = "a service name"),
    F_INT(struct remote, issued_us,  0, 0, YEAR_2200_US),
    F_INT(struct remote, expires_us, 0, 0, YEAR_2200_US),
    // clang-format on
};
static const struct schema remote_schema = SCHEMA("remote", struct remote, remote_fields, false);

static const struct field remotes_fields[] = {
    // clang-format off
    F_STRING(struct remotes, default_remote, 0),
    F_LIST(struct remotes, remotes, 0, &remote_schema, .max = REMOTES_MAX),
    // clang-format on
};
const struct schema remotes_schema = SCHEMA("remotes.json", struct remotes, remotes_fields, false);

bool name_is_remote(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || len > REMOTE_NAME_MAX || !strchr("abcdefghijklmnopqrstuvwxyz0123456789", s[0]))
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len && !strstr(s, "..");
}

/* --- places ---------------------------------------------------------------------------------------------- */

/* NULL without a home. */
static char *config_dir(void)
{
    const char *xdg = getenv("XDG_CONFIG_HOME");
    if (xdg && xdg[0] == '/')
        return xasprintf("%s/stagecoach", xdg);
    const char *home = getenv("HOME");
    if (home && home[0] == '/')
        return xasprintf("%s/.config/stagecoach", home);
    return NULL;
}

static char *config_path(const char *file)
{
    _cleanup_(free_ptr) char *dir = config_dir();
    return xasprintf("%s/%s", dir ? dir : "/nonexistent", file);
}

char *remote_path(const char *name, const char *file)
{
    _cleanup_(free_ptr) char *relative = xasprintf("%s/%s", name, file);
    return config_path(relative);
}

static int make_dir(const char *name, struct error *err)
{
    _cleanup_(free_ptr) char *dir = config_dir();
    if (!dir)
        return error_set(err, -ENOENT, "neither HOME nor XDG_CONFIG_HOME says where remotes are kept");
    int r = statefile_mkdir(dir, 0700, err);
    if (r < 0 || !name)
        return r;
    _cleanup_(free_ptr) char *sub = config_path(name);
    return statefile_mkdir(sub, 0700, err);
}

/* --- the list --------------------------------------------------------------------------------------------- */

int remotes_load(struct remotes *ret, struct error *err)
{
    _cleanup_(free_ptr) char *path = config_path("remotes.json");
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    *ret = (struct remotes){ 0 };
    int r = statefile_read(path, REMOTES_FILE_MAX, &text, err);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    r = schema_read(&remotes_schema, strbuf_str(&text), text.len, ret, err);
    return r < 0 ? error_prefix(err, "%s", path) : 0;
}

int remotes_save(const struct remotes *remotes, struct error *err)
{
    int r = make_dir(NULL, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *path = config_path("remotes.json");
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    schema_print_pretty(&remotes_schema, remotes, &text);
    strbuf_addc(&text, '\n');
    return statefile_write(path, strbuf_str(&text), text.len, 0600, err);
}

void remotes_clear(struct remotes *remotes)
{
    schema_clear(&remotes_schema, remotes);
}

struct remote *remotes_find(const struct remotes *remotes, const char *name)
{
    for (size_t i = 0; i < remotes->n_remotes; i++)
        if (strcmp(remotes->remotes[i].name, name) == 0)
            return &remotes->remotes[i];
    return NULL;
}

struct remote *remotes_by_hub(const struct remotes *remotes, const char *hub)
{
    for (size_t i = 0; i < remotes->n_remotes; i++)
        if (strcmp(remotes->remotes[i].hub, hub) == 0)
            return &remotes->remotes[i];
    return NULL;
}

struct remote *remotes_add(struct remotes *remotes, const char *name)
{
    size_t n = remotes->n_remotes++;
    remotes->remotes = xrealloc(remotes->remotes, (n + 1) * sizeof(*remotes->remotes));
    remotes->remotes[n] = (struct remote){ .name = xstrdup(name) };
    return &remotes->remotes[n];
}

void remotes_remove(struct remotes *remotes, const char *name)
{
    struct remote *remote = remotes_find(remotes, name);
    if (!remote)
        return;
    if (remotes->default_remote && strcmp(remotes->default_remote, name) == 0)
        str_set(&remotes->default_remote, NULL);
    schema_clear(&remote_schema, remote);
    size_t behind = remotes->n_remotes - (size_t)(remote - remotes->remotes) - 1;
    memmove(remote, remote + 1, behind * sizeof(*remote));
    remotes->n_remotes--;
}

int remotes_lock(int *ret_fd, struct error *err)
{
    int r = make_dir(NULL, err);
    if (r < 0)
        return r;
    _cleanup_(free_ptr) char *path = config_path(".lock");
    _cleanup_(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set_errno(err, -errno, "can't open %s", path);
    if (flock(fd, LOCK_EX) < 0)
        return error_set_errno(err, -errno, "can't lock %s", path);
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* --- who we are there ------------------------------------------------------------------------------------- */

static const struct {
    const char *file;
    size_t offset;
} identity_files[] = {
    // clang-format off
    { "key.pem",  offsetof(struct remote_identity, key_pem)  },
    { "cert.pem", offsetof(struct remote_identity, cert_pem) },
    { "ca.pem",   offsetof(struct remote_identity, ca_pem)   },
    // clang-format on
};

static char **identity_slot(const struct remote_identity *id, size_t i)
{
    return (char **)((char *)(uintptr_t)id + identity_files[i].offset);
}

void remote_identity_done(struct remote_identity *id)
{
    secret_erase(id->key_pem);
    free(id->key_pem);
    free(id->cert_pem);
    free(id->ca_pem);
    *id = (struct remote_identity){ 0 };
}

int remote_identity_load(const char *name, struct remote_identity *ret, struct error *err)
{
    struct remote_identity id = { 0 };
    for (size_t i = 0; i < ARRAY_SIZE(identity_files); i++) {
        _cleanup_(free_ptr) char *path = remote_path(name, identity_files[i].file);
        struct strbuf text = STRBUF_INIT;
        int r = statefile_read(path, PKI_PEM_MAX * 4, &text, err);
        *identity_slot(&id, i) = strbuf_steal(&text);
        if (r < 0) {
            remote_identity_done(&id);
            *ret = id;
            return r == -ENOENT ? error_set(err, r,
                                      "%s is missing; join again: stagecoachctl remote trust %s "
                                      "--token-file=FILE",
                                      path, name)
                                : r;
        }
    }
    *ret = id;
    return 0;
}

int remote_identity_save(const char *name, const struct remote_identity *id, struct error *err)
{
    int r = make_dir(name, err);
    for (size_t i = 0; i < ARRAY_SIZE(identity_files) && r >= 0; i++) {
        const char *pem = *identity_slot(id, i);
        _cleanup_(free_ptr) char *path = remote_path(name, identity_files[i].file);
        if (pem)
            r = statefile_write(path, pem, strlen(pem), 0600, err);
    }
    return r;
}

int remote_identity_remove(const char *name, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(identity_files); i++) {
        _cleanup_(free_ptr) char *path = remote_path(name, identity_files[i].file);
        if (unlink(path) < 0 && errno != ENOENT)
            return error_set_errno(err, -errno, "can't remove %s", path);
    }
    _cleanup_(free_ptr) char *dir = config_path(name);
    if (rmdir(dir) < 0 && errno != ENOENT)
        return error_set_errno(err, -errno, "can't remove %s", dir);
    return 0;
}

void remote_set_identity(struct remote *remote, const struct msg_identity *m, wall_t now)
{
    str_set(&remote->fleet, m->fleet);
    str_set(&remote->user, m->name);
    remote->role = m->role >= 0 && m->role < ROLE_MAX_ ? (int)m->role : ROLE_NONE;
    strv_free(remote->services);
    remote->services = strv_copy(m->services);
    remote->issued_us = now.us;
    remote->expires_us = m->expires_us;
}

bool remote_wants_renewal(const struct remote *remote, wall_t now)
{
    int64_t lifetime = remote->expires_us - remote->issued_us;
    return lifetime > 0 && now.us - remote->issued_us >= lifetime / RENEW_AFTER_PART;
}

/* --- tokens ----------------------------------------------------------------------------------------------- */

bool token_pin(const char *token, char ret_pin[static 65])
{
    size_t prefix = strlen(TOKEN_PREFIX);
    if (strncmp(token, TOKEN_PREFIX, prefix) != 0 || strlen(token) < prefix + PIN_LEN + 2 ||
        token[prefix + PIN_LEN] != '.')
        return false;
    memcpy(ret_pin, token + prefix, PIN_LEN);
    ret_pin[PIN_LEN] = '\0';
    return is_pin(ret_pin);
}

static int read_all(int fd, struct strbuf *out, const char *from, struct error *err)
{
    char block[1024];
    ssize_t n;
    bool typed = isatty(fd) == 1; /* then the line's end is the end */
    while ((n = read(fd, block, sizeof(block))) > 0 && out->len <= TOKEN_MAX) {
        strbuf_add(out, block, (size_t)n);
        if (typed && memchr(block, '\n', (size_t)n))
            break;
    }
    if (n < 0)
        return error_set_errno(err, -errno, "can't read %s", from);
    if (out->len > TOKEN_MAX)
        return error_set(err, -E2BIG, "%s is longer than a token can be (%d bytes)", from, TOKEN_MAX);
    return 0;
}

static void prompt(const char *text)
{
    if (isatty(STDIN_FILENO) == 1 && write(STDERR_FILENO, text, strlen(text)) < 0)
        return; /* a prompt that nobody sees is no reason to stop */
}

/* What is between the separators at the beginning and the first one behind it. */
static int read_part(int fd, const char *separators, const char *from, char **ret, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    int r = read_all(fd, &text, from, err);
    char *all = strbuf_steal(&text);
    size_t begin = strspn(all, separators);
    size_t len = strcspn(all + begin, separators);
    if (r >= 0 && len == 0)
        r = error_set(err, -ENODATA, "there is nothing in %s", from);
    else if (r >= 0)
        *ret = xstrndup(all + begin, len);
    secret_erase(all);
    free(all);
    return r;
}

int token_read(const char *path, char **ret, struct error *err)
{
    if (strcmp(path, "-") == 0) {
        prompt("token: ");
        return read_part(STDIN_FILENO, " \t\r\n", "standard input", ret, err);
    }
    _cleanup_(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, -errno, "can't read the token from %s", path);
    return read_part(fd, " \t\r\n", path, ret, err);
}

int password_read(char **ret, struct error *err)
{
    prompt("password: ");
    return read_part(STDIN_FILENO, "\r\n", "standard input", ret, err);
}
