/* SPDX-License-Identifier: MIT */
#include "droned/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/mem.h"
#include "common/statefile.h"
#include "common/strbuf.h"

#define HOST_FILE_MAX (64 * 1024)
#define BYTES_PER_KIB 1024

static void read_file(const char *dir, const char *name, struct strbuf *ret)
{
    _cleanup_(free_ptr) char *path = xasprintf("%s/%s", dir, name);
    char buf[4096];
    size_t n;
    FILE *file = fopen(path, "re");
    while (file && ret->len < HOST_FILE_MAX && (n = fread(buf, 1, sizeof(buf), file)) > 0)
        strbuf_add(ret, buf, n);
    if (file)
        fclose(file);
}

/* The number behind "key" at the start of a line; 0 without one. */
static int64_t number_after(const char *text, const char *key)
{
    size_t len = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0)
            return strtoll(line + len, NULL, 10);
    }
    return 0;
}

/* PRETTY_NAME="Debian GNU/Linux 12 (bookworm)" */
static char *pretty_name(const char *text)
{
    const char *at = strstr(text, "PRETTY_NAME=");
    if (!at)
        return NULL;
    at += strlen("PRETTY_NAME=");
    at += *at == '"';
    return xstrndup(at, strcspn(at, "\"\n"));
}

void host_report_read(const char *proc, const char *etc, const char *state_dir, struct msg_host_report *ret)
{
    _cleanup_(strbuf_done) struct strbuf uptime = STRBUF_INIT, load = STRBUF_INIT, memory = STRBUF_INIT,
                                         os = STRBUF_INIT;
    read_file(proc, "uptime", &uptime);
    read_file(proc, "loadavg", &load);
    read_file(proc, "meminfo", &memory);
    read_file(etc, "os-release", &os);
    struct statvfs disk;
    bool has_disk = statvfs(state_dir, &disk) == 0;
    *ret = (struct msg_host_report){
        .up_ms = (int64_t)(strtod(strbuf_str(&uptime), NULL) * 1000),
        .load_milli = (int64_t)(strtod(strbuf_str(&load), NULL) * 1000),
        .cores = sysconf(_SC_NPROCESSORS_ONLN),
        .memory_bytes = number_after(strbuf_str(&memory), "MemTotal:") * BYTES_PER_KIB,
        .memory_free_bytes = number_after(strbuf_str(&memory), "MemAvailable:") * BYTES_PER_KIB,
        .disk_free_bytes = has_disk ? (int64_t)(disk.f_bavail * disk.f_frsize) : 0,
        .os = pretty_name(strbuf_str(&os)),
    };
}

void host_report_clear(struct msg_host_report *report)
{
    free(report->os);
    *report = (struct msg_host_report){ 0 };
}

#define STAT_FIELDS_TO_START 20 /* behind the name, which ends with the last ")" */

char *host_boot_id(void)
{
    _cleanup_(strbuf_done) struct strbuf boot = STRBUF_INIT, stat = STRBUF_INIT;
    read_file("/proc/sys/kernel/random", "boot_id", &boot);
    read_file("/proc/1", "stat", &stat);
    const char *s = strrchr(strbuf_str(&stat), ')');
    for (int i = 0; s && i < STAT_FIELDS_TO_START; i++)
        s = strchr(s + 1, ' ');
    return xasprintf("%.*s/%lld", (int)strcspn(strbuf_str(&boot), "\n"), strbuf_str(&boot),
        s ? strtoll(s, NULL, 10) : 0LL);
}

char *host_process_env(int64_t pid, const char *key)
{
    _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
    _cleanup_(free_ptr) char *dir = xasprintf("/proc/%lld", (long long)pid);
    size_t len = strlen(key);
    if (pid > 0)
        read_file(dir, "environ", &text);
    for (size_t at = 0; at < text.len; at += strlen(text.data + at) + 1)
        if (strncmp(text.data + at, key, len) == 0 && text.data[at + len] == '=')
            return xstrdup(text.data + at + len + 1);
    return NULL;
}
