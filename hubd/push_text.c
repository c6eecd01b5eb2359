/* SPDX-License-Identifier: MIT */
#include "hubd/push_text.h"

#include <string.h>

#include "common/mem.h"
#include "common/strbuf.h"
#include "common/strv.h"
#include "hubd/push.h"
#include "hubd/state.h"

void push_text_done(struct push_text *text)
{
    strv_free(text->tips);
    strv_free(text->releases);
    strv_free(text->names);
    free(text->deploy);
    *text = (struct push_text){ 0 };
}

static char *name_of_key(const char *key)
{
    char *name = xstrdup(key), *slash = strchr(name, '/');
    if (slash)
        *slash = '@';
    return name;
}

void push_text_tip(
    struct push_text *text, const char *app, const char *commit, char *const *keys, const char *fault)
{
    text->n_tips++;
    if (text->n_tips > PUSH_LINES_TIPS)
        return;
    _cleanup_(strbuf_done) struct strbuf line = STRBUF_INIT;
    strbuf_addf(&line, "%s %.8s ", app, commit);
    char *key;
    strv_for_each (key, (char **)keys) {
        _cleanup_(free_ptr) char *name = name_of_key(key);
        strbuf_addf(&line, " %s", name);
    }
    if (!keys && fault)
        strbuf_addf(&line, " not registered: %s", fault);
    else if (!keys)
        strbuf_adds(
            &line, " nothing to run: no stagecoach.json, no start script in package.json, no Procfile");
    strv_push(&text->tips, strbuf_str(&line));
}

void push_text_release(
    struct push_text *text, const struct release *release, const char *plain, const struct state *state)
{
    _cleanup_(free_ptr) char *name = xasprintf("%s@%s", release->service, release->version);
    strv_push(&text->names, name);
    if (text->n_tips > PUSH_LINES_TIPS)
        return;
    const struct release *first =
        strcmp(plain, release->version) != 0 ? state_release(state, release->service, plain) : NULL;
    if (first)
        strv_push_take(&text->releases,
            xasprintf("%s = %.8s  (%s is %.8s for ever)", name, release->commit, plain, first->commit));
    else
        strv_push_take(&text->releases, xasprintf("%s = %.8s", name, release->commit));
    /* The first service of the newest tip: tips come oldest first, services in the manifest's order. */
    if (!text->deploy || text->n_tips > 1) {
        const char *at = text->deploy ? strchr(text->deploy, '@') : NULL;
        size_t len = at ? (size_t)(at - text->deploy) : 0;
        if (!text->deploy || (strncmp(text->deploy, name, len) == 0 && name[len] == '@'))
            str_set(&text->deploy, name);
    }
}

char **push_text_lines(const struct push_text *text)
{
    char **lines = strv_copy(text->tips), *line;
    if (text->n_tips > PUSH_LINES_TIPS)
        strv_push_take(&lines, xasprintf("… and %zu more", text->n_tips - PUSH_LINES_TIPS));
    strv_for_each (line, text->releases)
        strv_push(&lines, line);
    if (text->deploy)
        strv_push_take(&lines, xasprintf("deploy with  stagecoachctl deploy %s", text->deploy));
    return lines;
}

char *push_text_event(const struct push_text *text, const char *app)
{
    enum { LISTED = 10 };
    struct strbuf out = STRBUF_INIT;
    size_t n = strv_len(text->names);
    strbuf_addf(&out, "%s pushed", app);
    for (size_t i = 0; i < n && i < LISTED; i++)
        strbuf_addf(&out, "%s%s", i == 0 ? ": " : ", ", text->names[i]);
    if (n > LISTED)
        strbuf_addf(&out, " and %zu more", n - LISTED);
    else if (n == 0)
        strbuf_adds(&out, ", no new release");
    return strbuf_steal(&out);
}
