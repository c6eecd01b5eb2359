/* SPDX-License-Identifier: MIT */
#include "droned/systemd_internal.h"

#include <fcntl.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"

#define LOGIN_NAME    "org.freedesktop.login1"
#define LOGIN_PATH    "/org/freedesktop/login1"
#define LOGIN_MANAGER "org.freedesktop.login1.Manager"

/* Hearing of a shutdown a little before it begins: where there is a logind, a delay lock holds it up until the hub has
 * taken this host's endpoints out of the tables, at most as long as logind allows (5 s). Without one the first word of a
 * shutdown is systemd's own job for it, when instances are being stopped already. */

static void set_stopping(struct systemd *systemd, bool stopping)
{
    if (systemd->host_stopping == stopping)
        return;
    systemd->host_stopping = stopping;
    systemd->spec.on_host_stopping(systemd->spec.owner, stopping);
}

/* Each way down pulls in shutdown.target. This needs no logind. */
static int on_job_new(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    uint32_t id;
    const char *path, *unit;
    if (sd_bus_message_read(m, "uos", &id, &path, &unit) >= 0 && strcmp(unit, "shutdown.target") == 0)
        set_stopping(arg, true);
    return 0;
}

static int on_lock(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct systemd *systemd = arg;
    int fd;
    if (sd_bus_message_is_method_error(m, NULL)) {
        log_debug(NULL, "no lock on shutdown: %s", sd_bus_message_get_error(m)->message);
        return 0;
    }
    if (sd_bus_message_read_basic(m, 'h', &fd) <= 0)
        return 0;
    systemd_release_shutdown(systemd);
    systemd->shutdown_lock = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 0;
}

static int take_lock(struct systemd *systemd)
{
    return sd_bus_call_method_async(systemd->connection, NULL, LOGIN_NAME, LOGIN_PATH, LOGIN_MANAGER,
        "Inhibit", on_lock, systemd, "ssss", "shutdown", "stagecoach-droned",
        "requests go to other hosts first", "delay");
}

static void on_release_timer(void *arg)
{
    systemd_release_shutdown(arg);
}

static int on_prepare(sd_bus_message *m, void *arg, sd_bus_error *error)
{
    struct systemd *systemd = arg;
    int begins;
    if (sd_bus_message_read_basic(m, 'b', &begins) <= 0)
        return 0;
    if (begins)
        timer_set(&systemd->release, SYSTEMD_SHUTDOWN_DELAY_MS);
    else
        (void)take_lock(systemd); /* called off */
    set_stopping(systemd, begins);
    return 0;
}

void systemd_release_shutdown(struct systemd *systemd)
{
    timer_clear(&systemd->release);
    close_fd(&systemd->shutdown_lock);
}

void systemd_shutdown_init(struct systemd *systemd)
{
    systemd->shutdown_lock = -1;
    timer_init(&systemd->release, systemd->loop, on_release_timer, systemd);
}

void systemd_shutdown_done(struct systemd *systemd)
{
    systemd_release_shutdown(systemd);
    timer_done(&systemd->release);
}

int systemd_watch_shutdown(struct systemd *systemd, bool direct)
{
    int r = sd_bus_match_signal_async(systemd->connection, NULL, direct ? NULL : SYSTEMD_NAME, SYSTEMD_PATH,
        SYSTEMD_MANAGER, "JobNew", on_job_new, NULL, systemd);
    if (r < 0 || direct)
        return r;
    r = sd_bus_match_signal_async(systemd->connection, NULL, LOGIN_NAME, LOGIN_PATH, LOGIN_MANAGER,
        "PrepareForShutdown", on_prepare, NULL, systemd);
    return r >= 0 ? take_lock(systemd) : r;
}
