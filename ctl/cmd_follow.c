/* SPDX-License-Identifier: MIT */
/* Verbs that print what comes for as long as it comes. */
#include <errno.h>
#include <stdio.h>

#include "common/mem.h"
#include "common/schema.h"
#include "ctl/client.h"
#include "ctl/ctl.h"

#define LOG_LINES     100
#define LOG_LINES_MAX 10000

struct follow {
    struct ctl *ctl;
    struct msg_monitor
        monitor; /* both are moved on by what was seen, so that a repeated call goes on there */
    struct msg_logs logs;
};

static void on_event(void *arg, const void *m)
{
    struct follow *f = arg;
    const struct msg_event *event = m;
    f->monitor.after = event->seq;
    f->ctl->output.ops->event(&f->ctl->output, event);
    output_flush(&f->ctl->output);
}

static void on_lines(void *arg, const void *m)
{
    struct follow *f = arg;
    if (f->logs.follow)
        f->logs.lines = 0; /* the past was printed; a new connection is asked for what comes */
    f->ctl->output.ops->log_lines(&f->ctl->output, m);
    output_flush(&f->ctl->output);
}

/* Being interrupted is how one stops following: done. */
static int run(struct ctl *ctl, const struct client_call *call, struct error *err)
{
    struct client *client = NULL;
    int r = client_open(ctl, &client, err);
    if (r >= 0) {
        client_catch_interrupt(client);
        r = client_run(client, call, err);
    }
    client_free(client);
    return r == -EINTR || r == -ETIME ? STATUS_DONE : r;
}

int cmd_monitor(struct ctl *ctl, struct error *err)
{
    struct follow f = { .ctl = ctl };
    f.monitor.target = ctl->args.words ? ctl->args.words[0] : NULL;
    f.monitor.after = args_number(&ctl->args, "after", -1);
    const struct client_call call = {
        .type = MSG_MONITOR,
        .m = &f.monitor,
        .long_lived = true,
        .notice = MSG_EVENT,
        .on_notice = on_event,
        .arg = &f,
    };
    return run(ctl, &call, err);
}

int cmd_logs(struct ctl *ctl, struct error *err)
{
    struct follow f = { .ctl = ctl };
    struct msg_stream_end end = { 0 };
    f.logs.target = ctl->args.words[0];
    f.logs.lines = args_number(&ctl->args, "lines", LOG_LINES);
    f.logs.follow = args_has(&ctl->args, "follow");
    if (f.logs.lines > LOG_LINES_MAX)
        return error_set(err, -EINVAL, "--lines must be at most %d", LOG_LINES_MAX);
    const struct client_call call = {
        .type = MSG_LOGS,
        .m = &f.logs,
        .answer = &end,
        .long_lived = true,
        .notice = MSG_STREAM_LINES,
        .on_notice = on_lines,
        .arg = &f,
    };
    int r = run(ctl, &call, err);
    if (r >= 0 && end.reason)
        r = error_set(err, -EIO, "the log ends here: %s", end.reason);
    schema_clear(msg_by_type(MSG_LOGS)->answer, &end);
    return r;
}
