/* SPDX-License-Identifier: MIT */

/* A job sees only the paths it was given: what a repository brings is a stranger's, and a mistake in a reader of
 * it must not reach keys and state that belong to the same user. By Landlock; where the kernel has none of it,
 * or only its first version, which can't move files between directories, the job runs without. */

#include "common/gitwork_job.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/mem.h"

#define ABI_NEEDED 2

/* Newer than the header that this may be built with. */
#define ACCESS_FS_REFER     (1ULL << 13)                /* version 2 */
#define ACCESS_FS_TRUNCATE  (1ULL << 14)                /* version 3 */
#define ACCESS_FS_IOCTL_DEV (1ULL << 15)                /* version 5 */
#define ACCESS_NET_TCP      ((1ULL << 0) | (1ULL << 1)) /* version 4: bind, connect */

#define ACCESS_FILE                                                                              \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | \
        ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV)
#define ACCESS_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_WRITE                                                                                   \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_WRITE_FILE |      \
        LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | \
        LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM | ACCESS_FS_REFER | ACCESS_FS_TRUNCATE)

/* The second member is there from version 4 on. */
struct ruleset_attr {
    uint64_t fs, net;
};

/* What every program needs to start: libraries, their cache, /dev/null and randomness. */
static const struct {
    const char *path;
    uint64_t access;
} always[] = {
    { "/usr", ACCESS_READ }, { "/lib", ACCESS_READ }, { "/lib64", ACCESS_READ }, { "/bin", ACCESS_READ },
    { "/etc/ld.so.cache", LANDLOCK_ACCESS_FS_READ_FILE },
    { "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE },
    { "/dev/urandom", LANDLOCK_ACCESS_FS_READ_FILE },
#ifdef __SANITIZE_ADDRESS__
    { "/proc", ACCESS_READ }, /* the leak check looks at the process itself */
#endif
};

struct confine {
    int ruleset; /* -1: not possible here */
    uint64_t handled;
};

static void confine_begin(struct confine *c)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct ruleset_attr attr = {
        .fs = ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) | ACCESS_FS_REFER,
        .net = abi >= 4 ? ACCESS_NET_TCP : 0,
    };
    c->ruleset = -1;
    if (abi < ABI_NEEDED)
        return;
    if (abi >= 3)
        attr.fs |= ACCESS_FS_TRUNCATE;
    if (abi >= 5)
        attr.fs |= ACCESS_FS_IOCTL_DEV;
    c->handled = attr.fs;
    c->ruleset =
        (int)syscall(SYS_landlock_create_ruleset, &attr, abi >= 4 ? sizeof(attr) : sizeof(attr.fs), 0);
}

static void confine_allow_fd(struct confine *c, int fd, uint64_t access)
{
    struct stat st;
    if (c->ruleset < 0 || fd < 0 || fstat(fd, &st) < 0)
        return;
    if (!S_ISDIR(st.st_mode))
        access &= ACCESS_FILE;
    struct landlock_path_beneath_attr rule = { .allowed_access = access & c->handled, .parent_fd = fd };
    syscall(SYS_landlock_add_rule, c->ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

/* A path that is not there is not allowed, which is all the same. */
static void confine_allow(struct confine *c, const char *path, uint64_t access)
{
    _cleanup_(close_fd) int fd = open(path, O_PATH | O_CLOEXEC);
    confine_allow_fd(c, fd, access);
}

static int confine_apply(struct confine *c, struct error *err)
{
    _cleanup_(close_fd) int ruleset = c->ruleset;
    if (ruleset < 0)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        confine_allow(c, always[i].path, always[i].access);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return error_set_errno(err, -errno, "can't shut the job in");
    return 0;
}

int job_confine(const struct job *job, const char *reads, const char *writes, struct error *err)
{
    struct confine c;
    confine_begin(&c);
    if (reads)
        confine_allow(&c, reads, ACCESS_READ & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE);
    if (writes)
        confine_allow(&c, writes, ACCESS_WRITE);
    if (job->quarantine)
        confine_allow(&c, job->quarantine, ACCESS_READ & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE);
    return confine_apply(&c, err);
}

int job_confine_checkout(const struct job *job, const char *repo, int top, int parent, struct error *err)
{
    struct confine c;
    confine_begin(&c);
    confine_allow(&c, repo, ACCESS_READ & ~(uint64_t)LANDLOCK_ACCESS_FS_EXECUTE);
    confine_allow_fd(&c, top, ACCESS_WRITE);
    confine_allow_fd(&c, parent, LANDLOCK_ACCESS_FS_REMOVE_DIR);
    return confine_apply(&c, err);
}

int job_run(const struct job *job, char **args, int n_args, struct error *err)
{
    struct confine c;
    confine_begin(&c);
    for (char **path = job->reads; path && *path; path++)
        confine_allow(&c, *path, ACCESS_READ);
    for (char **path = job->writes; path && *path; path++)
        confine_allow(&c, *path, ACCESS_WRITE);
    int r = confine_apply(&c, err);
    if (r < 0)
        return r;
    execv(args[0], args);
    return error_set_errno(err, -errno, "can't run %s", args[0]);
}
