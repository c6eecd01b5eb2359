/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"
#include "common/strv.h"
#include "ctl/ctl.h"
#include "ctl/verbs.h"

#define HELP_WIDTH 78

static const char targets[] =
    "TARGET is a service (web), a release (web@0.2.2), a range (web@^0.2), a git tag or commit\n"
    "(web@35819ef7), and where it makes sense a host or the id of an instance.\n";

static const char statuses[] =
    "Exit status: 0 done, 1 failed or refused, 2 usage, 3 hub unreachable, 4 it goes on (time\n"
    "is over, interrupted, a router has not confirmed), 5 reverted.\n";

/* Breaks a usage line between its words. */
static void add_usage(struct strbuf *out, const struct verb *verb)
{
    size_t begin = out->len;
    strbuf_addf(out, "stagecoachctl %s", verb->words);
    size_t indent = out->len - begin + 1, column = indent - 1;
    for (const char *s = verb->usage; *s;) {
        size_t len = strcspn(s, " ");
        if (column + 1 + len > HELP_WIDTH && column > indent) {
            strbuf_addf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else {
            strbuf_addc(out, ' ');
            column++;
        }
        strbuf_add(out, s, len);
        column += len;
        s += len + strspn(s + len, " ");
    }
    strbuf_addc(out, '\n');
}

static bool usage_has(const char *usage, const char *key)
{
    _cleanup_(free_ptr) char *option = xasprintf("--%s", key);
    size_t len = strlen(option);
    for (const char *s = strstr(usage, option); s; s = strstr(s + 1, option))
        if (strchr("=]| ", s[len]))
            return true;
    return false;
}

static void add_options(struct strbuf *out, const char *title, const char *usage)
{
    bool any = false;
    for (const struct verb_option *o = verb_options; o->key; o++) {
        if (!usage_has(usage, o->key))
            continue;
        if (!any)
            strbuf_addf(out, "\n%s\n", title);
        any = true;
        strbuf_addf(out, "  --%-12s %s\n", o->key, o->help);
    }
}

static void add_verb(struct strbuf *out, const struct verb *verb)
{
    add_usage(out, verb);
    strbuf_addf(out, "\n%s.\n", verb->help);
    if (strstr(verb->usage, "TARGET"))
        strbuf_addf(out, "\n%s", targets);
    add_options(out, "Options:", verb->usage);
    add_options(out, "Everywhere:", args_global_usage);
}

static void add_all(struct strbuf *out)
{
    strbuf_adds(
        out, "stagecoachctl VERB [ARGUMENTS]: puts code onto a fleet of hosts and keeps it running.\n\n");
    for (const struct verb *v = verbs; v->words; v++) {
        if (v->fn == cmd_list || v->fn == cmd_join || v->fn == cmd_remote_add || v->fn == cmd_hub_status)
            strbuf_addc(out, '\n'); /* the next family */
        if (v->fn != cmd_complete)
            strbuf_addf(out, "  %-15s %s\n", v->words, v->help);
    }
    strbuf_addf(out, "\n%s\n%s\nMore: stagecoachctl help VERB; man stagecoachctl\n", targets, statuses);
}

int cmd_help(struct ctl *ctl, struct error *err)
{
    struct strbuf *out = &ctl->output.text;
    int words = 0;
    if (!ctl->args.words) {
        add_all(out);
    } else {
        const struct verb *verb = verb_find(ctl->args.words, &words);
        bool any = false;
        size_t len = strlen(ctl->args.words[0]);
        /* "help remote" shows the family. */
        for (const struct verb *v = verbs; v->words && !verb; v++)
            if (strncmp(v->words, ctl->args.words[0], len) == 0 && v->words[len] == ' ') {
                strbuf_addf(out, "  %-15s %s\n", v->words, v->help);
                any = true;
            }
        if (!verb && !any)
            return error_set(err, -EINVAL, "there is no verb \"%s\"; stagecoachctl help", ctl->args.words[0]);
        if (verb)
            add_verb(out, verb);
    }
    output_flush(&ctl->output);
    return STATUS_DONE;
}
