/* SPDX-License-Identifier: MIT */
#include "common/child.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/list.h"
#include "common/loop.h"
#include "common/mem.h"

#define READ_STEP       16384
#define READS_PER_TURN  4
#define OUTPUT_GRACE_MS 1000 /* after the exit, for descendants that still hold the pipes */
#define REAP_WAIT_MS    100  /* after SIGKILL; slower ones are reaped later, by the loop */
#define CHILD_FILES     1024
#define LOWEST_SPARE_FD 10

/* One of stdout and stderr. */
struct output {
    struct child *child;
    struct io *io;
    int fd;
    child_output_fn fn;
    bool paused;
};

struct child {
    struct loop *loop;
    pid_t pid;
    int pidfd;
    struct io *exit_io;
    struct timer grace;
    struct output out[2];
    struct io *stdin_io;
    int stdin_fd;
    char *queue; /* for stdin: queue[queue_start … queue_end) */
    size_t queue_start, queue_end, queue_cap;
    bool closing_stdin;
    bool exited, freed;
    int status;
    child_drained_fn on_drained;
    child_exit_fn on_exit;
    void *arg;
};

/* The ends that the new process gets, and where it says why it could not begin. */
struct plan {
    int fds[3];
    int report_fd;
};

/* What could not be done, in the order of doing it: an index travels through the report pipe. */
static const char *const steps[] = { "set its process group", "arrange its descriptors",
    "change to its directory", "set its limits", "change its user", "run it" };
enum { STEP_GROUP, STEP_FDS, STEP_CWD, STEP_LIMITS, STEP_USER, STEP_EXEC };

struct report {
    int step, code;
};

/* --- in the new process: only what is safe between fork and exec ------------------------------------------- */

static _Noreturn void give_up(int report_fd, int step)
{
    struct report r = { step, errno };
    ssize_t n = write(report_fd, &r, sizeof(r));
    _exit(n == sizeof(r) ? 127 : 126);
}

static void default_signals(void)
{
    struct sigaction sa = { .sa_handler = SIG_DFL };
    sigset_t none;
    for (int i = 1; i < NSIG; i++)
        sigaction(i, &sa, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* First out of the way of 0, 1, 2, then there; the rest closes at exec. */
static int arrange_fds(struct plan *plan)
{
    for (int i = 0; i < 3; i++)
        if ((plan->fds[i] = fcntl(plan->fds[i], F_DUPFD_CLOEXEC, LOWEST_SPARE_FD)) < 0)
            return -1;
    if ((plan->report_fd = fcntl(plan->report_fd, F_DUPFD_CLOEXEC, LOWEST_SPARE_FD)) < 0)
        return -1;
    for (int i = 0; i < 3; i++)
        if (dup2(plan->fds[i], i) < 0)
            return -1;
    return close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
}

/* Our own limit of descriptors is as high as it goes, which slows programs that close them all one by one. */
static int lower_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur <= CHILD_FILES)
        return 0;
    limit.rlim_cur = CHILD_FILES; /* the hard limit stays: who needs more takes it */
    return setrlimit(RLIMIT_NOFILE, &limit);
}

static int set_limits(const struct child_spec *spec)
{
    if (lower_files() < 0)
        return -1;
    if (spec->max_address_space > 0) {
        struct rlimit limit = { spec->max_address_space, spec->max_address_space };
        if (setrlimit(RLIMIT_AS, &limit) < 0)
            return -1;
    }
    return spec->nice ? setpriority(PRIO_PROCESS, 0, spec->nice) : 0;
}

static int change_user(const struct child_spec *spec)
{
    if (spec->uid == 0)
        return 0;
    if (setgroups(0, NULL) < 0 || setgid(spec->gid) < 0)
        return -1;
    return setuid(spec->uid);
}

static _Noreturn void become(const struct child_spec *spec, struct plan *plan)
{
    default_signals();
    if (setpgid(0, 0) < 0)
        give_up(plan->report_fd, STEP_GROUP);
    if (arrange_fds(plan) < 0)
        give_up(plan->report_fd, STEP_FDS);
    if (chdir(spec->cwd ? spec->cwd : "/") < 0)
        give_up(plan->report_fd, STEP_CWD);
    if (set_limits(spec) < 0)
        give_up(plan->report_fd, STEP_LIMITS);
    if (change_user(spec) < 0)
        give_up(plan->report_fd, STEP_USER);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing works on for a daemon that is gone */
    execve(spec->argv[0], (char *const *)spec->argv, (char *const *)spec->env);
    give_up(plan->report_fd, STEP_EXEC);
}

/* --- output -------------------------------------------------------------------------------------------------- */

static void finish_if_done(struct child *c);

static void output_end(struct output *o)
{
    if (o->fd < 0)
        return;
    io_free(steal_ptr(o->io));
    close_fd(&o->fd);
    if (o->fn && !o->child->freed)
        o->fn(o->child, "", 0, o->child->arg);
}

static void on_output(unsigned ready, void *arg)
{
    struct output *o = arg;
    struct child *c = o->child;
    char data[READ_STEP];

    for (int i = 0; i < READS_PER_TURN && !c->freed && o->fd >= 0 && !o->paused; i++) {
        ssize_t n = read(o->fd, data, sizeof(data));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            output_end(o);
        else
            o->fn(c, data, (size_t)n, c->arg);
    }
    finish_if_done(c);
}

void child_pause_stdout(struct child *c, bool pause)
{
    struct output *o = &c->out[0];
    o->paused = pause;
    if (o->io)
        io_set(o->io, pause ? 0 : IO_READ);
    if (!pause && timer_is_set(&c->grace))
        timer_set(&c->grace, OUTPUT_GRACE_MS); /* it begins when we read */
}

/* --- stdin --------------------------------------------------------------------------------------------------- */

static void stdin_end(struct child *c)
{
    io_free(steal_ptr(c->stdin_io));
    close_fd(&c->stdin_fd);
    free(steal_ptr(c->queue));
    c->queue_start = c->queue_end = c->queue_cap = 0;
}

static void on_stdin(unsigned ready, void *arg)
{
    struct child *c = arg;
    bool broken = false;

    while (c->queue_start < c->queue_end) {
        ssize_t n = write(c->stdin_fd, c->queue + c->queue_start, c->queue_end - c->queue_start);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            broken = true;
            break;
        }
        c->queue_start += (size_t)n;
    }
    c->queue_start = c->queue_end = 0;
    if (broken || c->closing_stdin)
        stdin_end(c);
    else
        io_set(c->stdin_io, 0);
    if (c->on_drained)
        c->on_drained(c, c->arg);
}

size_t child_write(struct child *c, const void *data, size_t len)
{
    if (c->stdin_fd < 0 || c->closing_stdin || len == 0)
        return c->queue_end - c->queue_start;
    if (c->queue_start > 0) {
        memmove(c->queue, c->queue + c->queue_start, c->queue_end - c->queue_start);
        c->queue_end -= c->queue_start;
        c->queue_start = 0;
    }
    if (c->queue_cap - c->queue_end < len) {
        c->queue_cap = (c->queue_end + len) * 2;
        c->queue = xrealloc(c->queue, c->queue_cap);
    }
    memcpy(c->queue + c->queue_end, data, len);
    c->queue_end += len;
    io_set(c->stdin_io, IO_WRITE);
    return c->queue_end;
}

void child_close_stdin(struct child *c)
{
    c->closing_stdin = true;
    if (c->stdin_fd >= 0 && c->queue_start == c->queue_end)
        stdin_end(c);
}

/* --- the end --------------------------------------------------------------------------------------------------- */

static void finish_if_done(struct child *c)
{
    if (c->freed || !c->exited || c->out[0].fd >= 0 || c->out[1].fd >= 0)
        return;
    timer_clear(&c->grace);
    stdin_end(c);
    child_exit_fn fn = c->on_exit;
    c->on_exit = NULL;
    if (fn)
        fn(c, c->status, c->arg);
}

static void on_grace(void *arg)
{
    struct child *c = arg;
    if (c->out[0].paused) { /* our own reader is slow: nothing is to be lost by that */
        timer_set(&c->grace, OUTPUT_GRACE_MS);
        return;
    }
    output_end(&c->out[0]);
    if (!c->freed)
        output_end(&c->out[1]);
    finish_if_done(c);
}

static void on_exited(unsigned ready, void *arg)
{
    struct child *c = arg;
    pid_t pid;

    do
        pid = waitpid(c->pid, &c->status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return;
    c->exited = true;
    io_free(steal_ptr(c->exit_io));
    close_fd(&c->pidfd);
    timer_set(&c->grace, OUTPUT_GRACE_MS);
    finish_if_done(c);
}

/* A killed process that the kernel holds on to (a stuck disk) must not stop the loop. */
struct reaper {
    struct list link;
    struct io *io;
    int pidfd;
    pid_t pid;
};

/* Of the process, as its children are. Those that are left when it ends are init's. */
static struct list reapers = LIST_INIT(reapers);

static void on_reapable(unsigned ready, void *arg)
{
    struct reaper *r = arg;
    if (waitpid(r->pid, NULL, WNOHANG) == 0)
        return;
    list_remove(&r->link);
    io_free(r->io);
    close(r->pidfd);
    free(r);
}

static void kill_and_reap(struct child *c)
{
    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL);
    poll(&(struct pollfd){ .fd = c->pidfd, .events = POLLIN }, 1, REAP_WAIT_MS);
    if (waitpid(c->pid, NULL, WNOHANG) != 0)
        return;
    struct reaper *r = xcalloc(1, sizeof(*r));
    list_append(&reapers, &r->link);
    r->pid = c->pid;
    r->pidfd = steal_fd(&c->pidfd);
    r->io = io_new(c->loop, r->pidfd, IO_READ, on_reapable, r);
}

static void free_now(void *obj)
{
    free(obj);
}

void child_free(struct child *c)
{
    if (!c || c->freed)
        return;
    c->freed = true;
    io_free(steal_ptr(c->exit_io));
    if (!c->exited && c->pid > 0)
        kill_and_reap(c);
    close_fd(&c->pidfd);
    timer_done(&c->grace);
    for (int i = 0; i < 2; i++)
        output_end(&c->out[i]);
    stdin_end(c);
    loop_free_later(c->loop, c, free_now);
}

pid_t child_pid(const struct child *c)
{
    return c->pid;
}

void child_kill(struct child *c, int signo)
{
    if (!c->exited && kill(-c->pid, signo) < 0)
        kill(c->pid, signo); /* not in its group yet */
}

char *child_status_text(int status, char *buf)
{
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        if (name)
            snprintf(buf, 64, "killed by SIG%s", name);
        else
            snprintf(buf, 64, "killed by signal %d", WTERMSIG(status));
    } else {
        snprintf(buf, 64, "exited with status %d", WEXITSTATUS(status));
    }
    return buf;
}

/* --- the start ------------------------------------------------------------------------------------------------- */

static int open_null(int flags)
{
    return open("/dev/null", flags | O_CLOEXEC);
}

static int make_pipe(int *ret_read, int *ret_write, bool read_is_ours)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    int ours = read_is_ours ? fds[0] : fds[1];
    fcntl(ours, F_SETFL, fcntl(ours, F_GETFL) | O_NONBLOCK);
    *ret_read = fds[0];
    *ret_write = fds[1];
    return 0;
}

static int plan_stdin(struct child *c, const struct child_spec *spec, struct plan *plan)
{
    if (spec->stdin_kind == CHILD_STDIN_PIPE)
        return make_pipe(&plan->fds[0], &c->stdin_fd, false);
    plan->fds[0] =
        spec->stdin_kind == CHILD_STDIN_FD ? fcntl(spec->stdin_fd, F_DUPFD_CLOEXEC, 3) : open_null(O_RDONLY);
    return plan->fds[0] < 0 ? -1 : 0;
}

static int plan_output(struct output *o, int *ret_theirs)
{
    if (o->fn)
        return make_pipe(&o->fd, ret_theirs, true);
    *ret_theirs = open_null(O_WRONLY);
    return *ret_theirs < 0 ? -1 : 0;
}

static int plan_fds(struct child *c, const struct child_spec *spec, struct plan *plan)
{
    if (plan_stdin(c, spec, plan) < 0 || plan_output(&c->out[0], &plan->fds[1]) < 0)
        return -1;
    if (!spec->merge_stderr)
        return plan_output(&c->out[1], &plan->fds[2]);
    plan->fds[2] = fcntl(plan->fds[1], F_DUPFD_CLOEXEC, 3);
    return plan->fds[2] < 0 ? -1 : 0;
}

/* The pipe closes by itself at exec, so nothing in it means that the program runs. */
static int read_report(int fd, const char *program, struct error *err)
{
    struct report r;
    ssize_t n;
    do
        n = read(fd, &r, sizeof(r));
    while (n < 0 && errno == EINTR);
    if (n != sizeof(r))
        return 0;
    return error_set_errno(err, -r.code, "%s: can't %s", program, steps[r.step]);
}

static int launch(struct child *c, const struct child_spec *spec, struct plan *plan, struct error *err)
{
    _cleanup_(close_fd) int report_read = -1;
    int r;

    if (make_pipe(&report_read, &plan->report_fd, true) < 0)
        return error_set_errno(err, -errno, "%s: can't make a pipe", spec->argv[0]);
    fcntl(report_read, F_SETFL, 0);
    c->pid = fork();
    if (c->pid == 0)
        become(spec, plan);
    if (c->pid < 0) {
        c->pid = 0;
        return error_set_errno(err, -errno, "%s: can't start a process", spec->argv[0]);
    }
    setpgid(c->pid, c->pid); /* both sides do it: whoever comes first */
    close_fd(&plan->report_fd);
    c->pidfd = pidfd_open(c->pid, 0);
    r = c->pidfd < 0 ? error_set_errno(err, -errno, "%s: can't watch the process", spec->argv[0])
                     : read_report(report_read, spec->argv[0], err);
    if (r < 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        c->pid = 0;
    }
    return r;
}

static void watch(struct child *c)
{
    c->exit_io = io_new(c->loop, c->pidfd, IO_READ, on_exited, c);
    for (int i = 0; i < 2; i++)
        if (c->out[i].fd >= 0)
            c->out[i].io = io_new(c->loop, c->out[i].fd, IO_READ, on_output, &c->out[i]);
    if (c->stdin_fd >= 0)
        c->stdin_io = io_new(c->loop, c->stdin_fd, 0, on_stdin, c);
}

int child_start(struct loop *loop, const struct child_spec *spec, struct child **ret, struct error *err)
{
    struct child *c = xcalloc(1, sizeof(*c));
    struct plan plan = { .fds = { -1, -1, -1 }, .report_fd = -1 };
    int r;

    assert(spec->argv && spec->argv[0] && spec->argv[0][0] == '/' && spec->env);
    *c = (struct child){ .loop = loop,
        .pidfd = -1,
        .stdin_fd = -1,
        .on_drained = spec->on_drained,
        .on_exit = spec->on_exit,
        .arg = spec->arg };
    c->out[0] = (struct output){ .child = c, .fd = -1, .fn = spec->on_stdout };
    c->out[1] = (struct output){ .child = c, .fd = -1, .fn = spec->merge_stderr ? NULL : spec->on_stderr };
    timer_init(&c->grace, loop, on_grace, c);
    r = plan_fds(c, spec, &plan) < 0 ? error_set_errno(err, -errno, "%s: can't make its pipes", spec->argv[0])
                                     : launch(c, spec, &plan, err);
    for (int i = 0; i < 3; i++)
        close_fd(&plan.fds[i]);
    close_fd(&plan.report_fd);
    if (r < 0) {
        c->on_exit = NULL;
        c->out[0].fn = c->out[1].fn = NULL;
        child_free(c);
        return r;
    }
    watch(c);
    *ret = c;
    return 0;
}
