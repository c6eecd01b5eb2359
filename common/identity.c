/* SPDX-License-Identifier: MIT */
#include "common/identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/pki.h"
#include "common/schema.h"
#include "common/statefile.h"
#include "common/strbuf.h"

#define HUB_FILE "hub.json"

static const struct field hub_fields[] = {
    // clang-format off
    F_STRING(struct identity, hub,   FIELD_REQUIRED),
    F_STRING(struct identity, pin,   FIELD_REQUIRED),
    F_STRING(struct identity, name,  FIELD_REQUIRED),
    F_STRING(struct identity, fleet, FIELD_REQUIRED),
    // clang-format on
};
static const struct schema hub_schema = SCHEMA("hub.json", struct identity, hub_fields, false);

static const struct {
    const char *file;
    size_t offset;
} pem_files[] = {
    // clang-format off
    { "key.pem",  offsetof(struct identity, key_pem)  },
    { "cert.pem", offsetof(struct identity, cert_pem) },
    { "ca.pem",   offsetof(struct identity, ca_pem)   },
    // clang-format on
};

void identity_done(struct identity *id)
{
    secret_erase(id->key_pem);
    free(id->key_pem);
    free(id->cert_pem);
    free(id->ca_pem);
    schema_clear(&hub_schema, id);
    *id = (struct identity){ 0 };
}

static int read_file(const char *dir, const char *file, struct strbuf *text, struct error *err)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, file);
    return statefile_read(path, IDENTITY_FILE_MAX, text, err);
}

int identity_load(const char *dir, struct identity *ret, struct error *err)
{
    struct identity id = { 0 };
    _cleanup_(strbuf_done) struct strbuf hub = STRBUF_INIT;
    int r = read_file(dir, HUB_FILE, &hub, err);
    if (r >= 0 && (r = schema_read(&hub_schema, strbuf_str(&hub), hub.len, &id, err)) < 0)
        error_prefix(err, "%s/%s", dir, HUB_FILE);
    for (size_t i = 0; i < ARRAY_SIZE(pem_files) && r >= 0; i++) {
        struct strbuf text = STRBUF_INIT;
        r = read_file(dir, pem_files[i].file, &text, err);
        *(char **)((char *)&id + pem_files[i].offset) = strbuf_steal(&text);
    }
    if (r < 0)
        identity_done(&id);
    *ret = id;
    return r;
}

/* --- writing ---------------------------------------------------------------------------------------------- */

static int give(const char *path, uid_t uid, gid_t gid, struct error *err)
{
    if (uid == (uid_t)-1)
        return 0;
    return lchown(path, uid, gid) < 0 ? error_set_errno(err, -errno, "can't give %s to its user", path) : 0;
}

static int write_file(
    const char *dir, const char *file, const char *text, uid_t uid, gid_t gid, struct error *err)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, file);
    int r = statefile_write(path, text, strlen(text), 0600, err);
    return r < 0 ? r : give(path, uid, gid, err);
}

/* Only what identity_save writes: a folder with anything else in it stays. */
static void remove_dir(const char *dir)
{
    for (size_t i = 0; i < ARRAY_SIZE(pem_files); i++) {
        _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, pem_files[i].file);
        unlink(path);
    }
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, HUB_FILE);
    unlink(path);
    rmdir(dir);
}

static int write_all(const char *dir, const struct identity *id, uid_t uid, gid_t gid, struct error *err)
{
    int r = statefile_mkdir(dir, 0700, err);
    for (size_t i = 0; i < ARRAY_SIZE(pem_files) && r >= 0; i++) {
        const char *pem = *(char *const *)((const char *)id + pem_files[i].offset);
        r = write_file(dir, pem_files[i].file, pem, uid, gid, err);
    }
    if (r < 0)
        return r;
    _cleanup_(strbuf_done) struct strbuf hub = STRBUF_INIT;
    schema_print_pretty(&hub_schema, id, &hub);
    strbuf_addc(&hub, '\n');
    r = write_file(dir, HUB_FILE, strbuf_str(&hub), uid, gid, err);
    return r < 0 ? r : give(dir, uid, gid, err);
}

/* The parent's entry is what makes the swap last. */
static int sync_parent(const char *dir, struct error *err)
{
    const char *slash = strrchr(dir, '/');
    _cleanup_(free_ptr) char *parent =
        slash && slash != dir ? xstrndup(dir, (size_t)(slash - dir)) : xstrdup("/");
    _cleanup_(close_fd) int fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_set_errno(err, -errno, "can't write %s to disk", parent);
    return 0;
}

int identity_save(const char *dir, const struct identity *id, uid_t uid, gid_t gid, struct error *err)
{
    _cleanup_(free_ptr) char *fresh = xasprintf("%s.new", dir);
    remove_dir(fresh);
    int r = write_all(fresh, id, uid, gid, err);
    if (r < 0) {
        remove_dir(fresh);
        return r;
    }
    bool exists = access(dir, F_OK) == 0;
    if (renameat2(AT_FDCWD, fresh, AT_FDCWD, dir, exists ? RENAME_EXCHANGE : RENAME_NOREPLACE) < 0)
        return error_set_errno(err, -errno, "can't put %s in its place", dir);
    if (exists)
        remove_dir(fresh);
    return sync_parent(dir, err);
}

int identity_save_cert(const char *dir, const char *cert_pem, struct error *err)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/cert.pem", dir);
    return statefile_write(path, cert_pem, strlen(cert_pem), 0600, err);
}

bool identity_wants_renewal(const struct identity *id, wall_t now)
{
    struct pki_identity facts = { 0 };
    struct error err;
    if (pki_cert_read(id->cert_pem, &facts, &err) < 0)
        return true;
    int64_t begin_us = facts.not_before.us + PKI_BACKDATE_S * CLOCK_US_PER_S;
    bool due = now.us - begin_us >= (facts.not_after.us - begin_us) / IDENTITY_RENEW_PART;
    pki_identity_done(&facts);
    return due;
}

bool identity_is_expired(const struct identity *id, wall_t now)
{
    struct pki_identity facts = { 0 };
    bool expired = pki_cert_read(id->cert_pem, &facts, NULL) >= 0 && facts.not_after.us <= now.us;
    pki_identity_done(&facts);
    return expired;
}

int64_t identity_renewal_check_ms(const struct identity *id, wall_t now)
{
    struct pki_identity facts = { 0 };
    int64_t ms = IDENTITY_CHECK_MAX_MS;
    if (pki_cert_read(id->cert_pem, &facts, NULL) >= 0)
        ms = wall_diff_ms(facts.not_after, now) / IDENTITY_CHECKS;
    pki_identity_done(&facts);
    if (ms < IDENTITY_CHECK_MIN_MS)
        return IDENTITY_CHECK_MIN_MS;
    return ms < IDENTITY_CHECK_MAX_MS ? ms : IDENTITY_CHECK_MAX_MS;
}
