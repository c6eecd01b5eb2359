/* SPDX-License-Identifier: MIT */
#include "common/daemon.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <systemd/sd-daemon.h>

#include "common/log.h"
#include "common/mem.h"
#include "common/nearest.h"
#include "common/strv.h"

#define CONFIG_DIR      "/etc/stagecoach/"
#define PROGRAM_PREFIX  "stagecoach-"
#define OPTION_NAME_MAX 64

/* --- the process ------------------------------------------------------------------------------------------------ */

void daemon_init(const char *program)
{
    struct rlimit limit;

    umask(0077);
    signal(SIGPIPE, SIG_IGN); /* a peer that went away is an error of write(2), not our end */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    log_init(program);
}

/* --- the command line -------------------------------------------------------------------------------------------- */

/* "TableFile" → "table-file", "TLSPort" → "tls-port". */
static const char *option_name(const char *key, char buf[static OPTION_NAME_MAX])
{
    size_t n = 0;
    for (const char *k = key; *k && n < OPTION_NAME_MAX - 2; k++) {
        bool starts_word = k > key && isupper((unsigned char)*k) &&
            (islower((unsigned char)k[-1]) || islower((unsigned char)k[1]));
        if (starts_word)
            buf[n++] = '-';
        buf[n++] = (char)tolower((unsigned char)*k);
    }
    buf[n] = '\0';
    return buf;
}

static void print_help(const struct option_table *table, const char *about)
{
    char name[OPTION_NAME_MAX];
    const char *section = "";

    printf("usage: %s [OPTION…]\n%s\n\n"
           "  --config=FILE             read this file instead of " CONFIG_DIR "%s.conf\n"
           "  --set=Section.Key=VALUE   set a key over the file; can be repeated\n"
           "  --print-config            print the configuration that results, and end\n"
           "  --version                 print the version, and end\n"
           "  --help                    print this, and end\n",
        table->program, about, table->program + strlen(PROGRAM_PREFIX));
    for (size_t i = 0; i < table->n_rows; i++) {
        const struct option_row *row = &table->rows[i];
        if (strcmp(section, row->section) != 0)
            printf("\nKeys of [%s], each also an option:\n", row->section);
        section = row->section;
        printf("  --%s=…  (%s%s%s)\n        %s\n", option_name(row->key, name), row->key,
            row->fallback && *row->fallback ? "=" : "", row->fallback ? row->fallback : "", row->help);
    }
}

static const struct option_row *find_row(const struct option_table *table, const char *name, size_t len)
{
    char known[OPTION_NAME_MAX];
    for (size_t i = 0; i < table->n_rows; i++) {
        option_name(table->rows[i].key, known);
        if (strlen(known) == len && strncmp(known, name, len) == 0)
            return &table->rows[i];
    }
    return NULL;
}

static int unknown_option(const struct option_table *table, const char *name, size_t len, struct error *err)
{
    static const char *const ours[] = { "config", "set", "print-config", "version", "help" };
    _cleanup_(free_ptr) char *word = xstrndup(name, len);
    _cleanup_(strv_freep) char **known = NULL;
    char buf[OPTION_NAME_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        strv_push(&known, ours[i]);
    for (size_t i = 0; i < table->n_rows; i++)
        strv_push(&known, option_name(table->rows[i].key, buf));
    const char *near = nearest_word(word, (const char *const *)known);
    if (near)
        return error_set(err, -EINVAL, "there is no option --%s; did you mean --%s?", word, near);
    return error_set(err, -EINVAL, "there is no option --%s; --help lists them", word);
}

enum { ARG_NEXT, ARG_HELP, ARG_VERSION, ARG_PRINT };

static int take_argument(
    const struct option_table *table, const char *arg, struct daemon_args *args, struct error *err)
{
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)
        return ARG_HELP;
    if (strcmp(arg, "--version") == 0)
        return ARG_VERSION;
    if (strcmp(arg, "--print-config") == 0)
        return ARG_PRINT;
    if (strncmp(arg, "--", 2) != 0)
        return error_set(err, -EINVAL, "\"%s\" is not expected; --help lists the options", arg);
    const char *name = arg + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct option_row *row = find_row(table, name, len);
    bool is_config = len == 6 && strncmp(name, "config", 6) == 0,
         is_set = len == 3 && strncmp(name, "set", 3) == 0;

    if (!row && !is_config && !is_set)
        return unknown_option(table, name, len, err);
    if (!equals && row && row->type == OPTION_BOOL)
        strv_push_take(&args->settings, xasprintf("%s.%s=yes", row->section, row->key));
    else if (!equals)
        return error_set(err, -EINVAL, "--%s needs a value: --%s=…", name, name);
    else if (is_config) {
        args->config_path = equals + 1;
        args->config_given = true;
    } else if (is_set)
        strv_push(&args->settings, equals + 1);
    else
        strv_push_take(&args->settings, xasprintf("%s.%s=%s", row->section, row->key, equals + 1));
    return ARG_NEXT;
}

static const char *default_path(const struct option_table *table)
{
    static char path[256];
    const char *name = table->program;
    if (strncmp(name, PROGRAM_PREFIX, strlen(PROGRAM_PREFIX)) == 0)
        name += strlen(PROGRAM_PREFIX);
    snprintf(path, sizeof(path), CONFIG_DIR "%s.conf", name);
    return path;
}

int daemon_load_config(
    const struct option_table *table, const struct daemon_args *args, void *obj, struct error *err)
{
    int r = config_load(table, args->config_path, args->config_given, obj, err);
    char *setting;

    if (r < 0)
        return r;
    strv_for_each (setting, args->settings) {
        r = config_set(table, obj, setting, err);
        if (r < 0) {
            config_clear(table, obj);
            return r;
        }
    }
    return 0;
}

static int print_config(const struct option_table *table, void *obj)
{
    struct strbuf text _cleanup_(strbuf_done) = STRBUF_INIT;
    config_print(table, obj, &text);
    fwrite(text.data, 1, text.len, stdout);
    config_clear(table, obj);
    return 1;
}

int daemon_configure(const struct option_table *table, int argc, char **argv, const char *about, void *obj,
    struct daemon_args *ret_args, struct error *err)
{
    struct daemon_args args = { .config_path = default_path(table) };
    bool print = false;
    int r = 0;

    for (int i = 1; i < argc && r >= 0; i++) {
        r = take_argument(table, argv[i], &args, err);
        if (r == ARG_HELP)
            print_help(table, about);
        else if (r == ARG_VERSION)
            printf("%s %s\n", table->program, STAGECOACH_VERSION_TEXT);
        if (r == ARG_HELP || r == ARG_VERSION) {
            strv_free(args.settings);
            return 1;
        }
        print = print || r == ARG_PRINT;
    }
    if (r >= 0)
        r = daemon_load_config(table, &args, obj, err);
    if (r >= 0 && print)
        r = print_config(table, obj);
    if (r != 0) {
        strv_free(args.settings);
        return r;
    }
    *ret_args = args;
    return 0;
}

/* --- descriptors from systemd --------------------------------------------------------------------------------------- */

static struct {
    bool known;
    char **names;
    int n;
    bool *taken;
} handed;

static void learn_handed(void)
{
    if (handed.known)
        return;
    handed.known = true;
    handed.n = sd_listen_fds_with_names(1, &handed.names);
    if (handed.n < 0)
        handed.n = 0;
    handed.taken = xcalloc((size_t)handed.n + 1, sizeof(bool));
}

/* False: said to be there, and is not. */
static bool take(int i)
{
    int fd = SD_LISTEN_FDS_START + i, flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return false;
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    handed.taken[i] = true;
    return true;
}

int daemon_take_fds(const char *name, int **ret_fds)
{
    int n = 0;

    learn_handed();
    int *fds = xcalloc((size_t)handed.n + 1, sizeof(int));
    for (int i = 0; i < handed.n; i++) {
        if (!handed.taken[i] && handed.names && strcmp(handed.names[i], name) == 0 && take(i))
            fds[n++] = SD_LISTEN_FDS_START + i;
    }
    *ret_fds = fds;
    return n;
}

bool daemon_take_named_fd(const char *prefix, int *ret_fd, char **ret_rest)
{
    size_t len = strlen(prefix);

    learn_handed();
    for (int i = 0; i < handed.n; i++) {
        if (handed.taken[i] || !handed.names || strncmp(handed.names[i], prefix, len) != 0 || !take(i))
            continue;
        *ret_fd = SD_LISTEN_FDS_START + i;
        *ret_rest = xstrdup(handed.names[i] + len);
        return true;
    }
    return false;
}

/* --- telling systemd --------------------------------------------------------------------------------------------------- */

/* For what may be lost: a systemd that is busy for a while and reads nothing does not stop us. */
static void notify_soon(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(un.sun_path))
        return;
    memcpy(un.sun_path, path, strlen(path));
    if (*path == '@')
        un.sun_path[0] = '\0';
    _cleanup_(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        (void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&un,
            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
}

/* Cut off at a character's end, which STATUS= needs too. */
static void print_status(struct error *ret, const char *fmt, va_list args)
{
    *ret = (struct error){ 0 };
    error_vset(ret, -ECANCELED, fmt, args);
}

void daemon_ready(const char *status_fmt, ...)
{
    struct error text;
    va_list args;
    va_start(args, status_fmt);
    print_status(&text, status_fmt, args);
    va_end(args);
    sd_notifyf(0, "READY=1\nSTATUS=%s", text.text);
}

void daemon_status(const char *fmt, ...)
{
    struct error text;
    va_list args;
    va_start(args, fmt);
    print_status(&text, fmt, args);
    va_end(args);
    _cleanup_(free_ptr) char *line = xasprintf("STATUS=%s", text.text);
    notify_soon(line);
}

void daemon_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_mono().us);
}

void daemon_stopping(void)
{
    sd_notify(0, "STOPPING=1\nSTATUS=stopping");
}

/* --- the watchdog --------------------------------------------------------------------------------------------------------- */

static struct {
    struct timer timer;
    int64_t every_ms;
    bool (*alive_fn)(void *arg);
    void *arg;
} watchdog;

static void feed_watchdog(void *unused)
{
    if (!watchdog.alive_fn || watchdog.alive_fn(watchdog.arg))
        notify_soon("WATCHDOG=1");
    timer_set(&watchdog.timer, watchdog.every_ms);
}

void daemon_watchdog(struct loop *loop, bool (*alive_fn)(void *arg), void *arg)
{
    uint64_t interval_us = 0;

    if (sd_watchdog_enabled(0, &interval_us) <= 0)
        return;
    timer_done(&watchdog.timer);
    watchdog.every_ms = (int64_t)(interval_us / 2 / (uint64_t)CLOCK_US_PER_MS);
    if (watchdog.every_ms < 1)
        watchdog.every_ms = 1;
    watchdog.alive_fn = alive_fn;
    watchdog.arg = arg;
    timer_init(&watchdog.timer, loop, feed_watchdog, NULL);
    /* Who begins is alive, and whoever fed it before us may have done so long ago. */
    notify_soon("WATCHDOG=1");
    timer_set(&watchdog.timer, watchdog.every_ms);
}

void daemon_hand_over(pid_t pid)
{
    timer_done(&watchdog.timer);
    sd_notifyf(1, "MAINPID=%d", (int)pid);
}
