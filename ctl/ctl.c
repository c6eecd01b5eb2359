/* SPDX-License-Identifier: MIT */
#include "ctl/ctl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/schema.h"
#include "common/secret.h"
#include "common/strv.h"
#include "ctl/verbs.h"

#define REQUEST_ID_BYTES 16
#define ERROR_LINE_MAX   4096

char *ctl_request_id(void)
{
    return random_hex(REQUEST_ID_BYTES);
}

/* --- errors ----------------------------------------------------------------------------------------------- */

static const struct {
    int code;
    enum exit_status status;
    const char *prefix;
} error_kinds[] = {
    // clang-format off
    { -EINVAL,    STATUS_USAGE,       "stagecoachctl: " },
    { -ENOLINK,   STATUS_UNREACHABLE, "stagecoachctl: " },
    { -ENOTCONN,  STATUS_UNREACHABLE, "stagecoachctl: " },
    { -ETIME,     STATUS_GOES_ON,     "" },
    { -EINTR,     STATUS_GOES_ON,     "" },
    { -EREMOTEIO, STATUS_FAILED,      "refused: " },
    // clang-format on
};

/* What programs get on standard output when a command fails. */
struct failure {
    char *error;
    int64_t status;
};

static const struct field failure_fields[] = {
    // clang-format off
    F_STRING(struct failure, error,  FIELD_REQUIRED),
    F_INT(struct failure,    status, FIELD_REQUIRED, 0, 255),
    // clang-format on
};
static const struct schema failure_schema = SCHEMA("failure", struct failure, failure_fields, false);

/* The hub's lines stay lines; everything else in them is made printable. */
static void add_lines(struct strbuf *out, const char *prefix, const char *text)
{
    strbuf_adds(out, prefix);
    while (*text) {
        size_t len = strcspn(text, "\n");
        strbuf_add_printable(out, text, len, ERROR_LINE_MAX);
        strbuf_addc(out, '\n');
        text += len + (text[len] == '\n');
    }
}

static void print_error(struct ctl *ctl, const struct error *err, enum exit_status status, const char *prefix)
{
    output_flush(&ctl->output);
    if (ctl->output.ops == &output_json) {
        const struct failure failure = { .error = (char *)(uintptr_t)err->text, .status = status };
        schema_print(&failure_schema, &failure, &ctl->output.text);
        strbuf_addc(&ctl->output.text, '\n');
        output_flush(&ctl->output);
    }
    _cleanup_(strbuf_done) struct strbuf line = STRBUF_INIT;
    add_lines(&line, prefix, err->text);
    fputs(strbuf_str(&line), stderr);
}

static int fail(struct ctl *ctl, const struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(error_kinds); i++)
        if (error_kinds[i].code == err->code) {
            print_error(ctl, err, error_kinds[i].status, error_kinds[i].prefix);
            return (int)error_kinds[i].status;
        }
    print_error(ctl, err, STATUS_FAILED, "stagecoachctl: ");
    return STATUS_FAILED;
}

/* --- one run ---------------------------------------------------------------------------------------------- */

static int usage_error(struct ctl *ctl, const struct error *err)
{
    int status = fail(ctl, err);
    if (ctl->verb)
        fprintf(stderr, "usage: stagecoachctl %s %s\n", ctl->verb->words, ctl->verb->usage);
    return status;
}

static int no_verb(struct ctl *ctl, char *const *argv)
{
    struct error err;
    const char *nearest = verb_nearest(argv);
    bool family = verb_is_family(argv[0]);
    if (family && !argv[1]) {
        error_set(&err, -EINVAL, "%s what? stagecoachctl help %s", argv[0], argv[0]);
        return fail(ctl, &err);
    }
    _cleanup_(free_ptr) char *said =
        argv[1] && family ? xasprintf("%s %s", argv[0], argv[1]) : xstrdup(argv[0]);
    if (nearest)
        error_set(&err, -EINVAL, "there is no verb \"%s\", did you mean \"%s\"?", said, nearest);
    else
        error_set(&err, -EINVAL, "there is no verb \"%s\"; stagecoachctl help", said);
    return fail(ctl, &err);
}

/* Options may come before the verb: they are moved behind it. Only those of every verb can be meant. */
static char **verb_first(char *const *argv)
{
    char **front = NULL, **behind = NULL;
    size_t i = 0;
    while (argv[i] && (argv[i][0] == '-' || argv[i][0] == '+') && argv[i][1]) {
        bool takes_next = (strcmp(argv[i], "--remote") == 0 || strcmp(argv[i], "--hub") == 0 ||
                              strcmp(argv[i], "--timeout") == 0 || strcmp(argv[i], "--color") == 0) &&
            argv[i + 1];
        strv_push(&behind, argv[i++]);
        if (takes_next)
            strv_push(&behind, argv[i++]);
    }
    if (!argv[i]) {
        /* nothing but options: what they say of themselves, or the list */
        bool version = strv_contains(behind, "--version");
        strv_push(&front, version ? "version" : "help");
    } else {
        int words = 1;
        verb_find(argv + i, &words);
        for (int w = 0; w < words && argv[i]; w++)
            strv_push(&front, argv[i++]);
    }
    for (size_t b = 0; behind && behind[b]; b++)
        strv_push(&front, behind[b]);
    for (; argv[i]; i++)
        strv_push(&front, argv[i]);
    strv_free(behind);
    return front;
}

static int print_help(struct ctl *ctl)
{
    struct error err = { 0 };
    args_done(&ctl->args);
    if (ctl->verb->fn != cmd_help)
        ctl->args.words = strv_split(ctl->verb->words, " ");
    return cmd_help(ctl, &err);
}

static int print_version(struct ctl *ctl)
{
    ctl->output.ops->version(&ctl->output, NULL);
    output_flush(&ctl->output);
    return STATUS_DONE;
}

static void begin(struct ctl *ctl)
{
    struct output *o = &ctl->output;
    o->style = style_detect(STDOUT_FILENO, args_text(&ctl->args, "color"));
    o->now = clock_wall();
    ctl->timeout_ms = args_time_ms(&ctl->args, "timeout", 0);
}

static int run(struct ctl *ctl, char *const *argv)
{
    int words = 0;
    struct error err = { 0 };
    /* Also for errors of the command line itself. */
    for (char *const *s = argv; *s; s++)
        if (strcmp(*s, "--json") == 0)
            ctl->output.ops = &output_json;
    ctl->verb = verb_find(argv, &words);
    if (!ctl->verb)
        return no_verb(ctl, argv);
    if (args_parse(ctl->verb->usage, argv + words, &ctl->args, &err) < 0)
        return usage_error(ctl, &err);
    begin(ctl);
    if (args_has(&ctl->args, "help"))
        return print_help(ctl);
    if (args_has(&ctl->args, "version"))
        return print_version(ctl);
    ctl->loop = loop_new();
    int r = ctl->verb->fn(ctl, &err);
    if (r < 0)
        r = err.code == -EINVAL ? usage_error(ctl, &err) : fail(ctl, &err);
    loop_free(ctl->loop);
    return r;
}

int ctl_main(int argc, char **argv)
{
    umask(0077);
    signal(SIGPIPE, SIG_IGN);
    log_init("stagecoachctl");
    log_set_level(LOG_LEVEL_WARNING);
    struct ctl ctl = { .output = { .ops = &output_text } };
    char **words = verb_first(argv + (argc > 0));
    int status = run(&ctl, words);
    args_done(&ctl.args);
    strbuf_done(&ctl.output.text);
    strv_free(words);
    return status;
}
