/* SPDX-License-Identifier: MIT */
#include "ctl/args.h"

#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/mem.h"
#include "common/names.h"
#include "common/nearest.h"
#include "common/strv.h"

#define OPTIONS_MAX 48 /* in one usage line, the global ones included */
#define NUMBER_MAX  1000000000

const char args_global_usage[] = "[--remote=NAME] [--hub=ADDRESS] [--json] [--timeout=TIME] [--color=WHEN] "
                                 "[-h|--help] [--version]";

/* One option of a usage line; the texts point into it. */
struct option_spec {
    const char *key; /* without dashes */
    size_t key_len;
    const char *value; /* placeholder; NULL: a flag */
    size_t value_len;
    char short_key;
    bool repeatable;
};

struct grammar {
    struct option_spec options[OPTIONS_MAX];
    size_t n_options;
    size_t n_needed;       /* arguments */
    size_t n_words;        /* with the optional ones */
    bool any_words;        /* [NAME]... */
    const char *needed[8]; /* for "X is missing" */
    size_t needed_len[8];
};

/* "--key=VALUE" or "--key", up to end. */
static void grammar_add_option(struct grammar *g, const char *s, const char *end, char short_key, bool many)
{
    if (g->n_options == OPTIONS_MAX)
        return;
    struct option_spec *o = &g->options[g->n_options++];
    const char *equals = memchr(s, '=', (size_t)(end - s));
    const char *key_end = equals ? equals : end;
    *o = (struct option_spec){
        .key = s + 2, .key_len = (size_t)(key_end - s - 2), .short_key = short_key, .repeatable = many
    };
    if (equals) {
        o->value = equals + 1;
        o->value_len = (size_t)(end - o->value);
    }
}

/* The options in one bracket: alternatives are separated by '|' before a dash. */
static void grammar_add_options(struct grammar *g, const char *s, const char *end, bool many)
{
    char short_key = 0;
    while (s < end) {
        const char *stop = s + 1;
        while (stop < end && !(stop[0] == '|' && end - stop > 2 && stop[1] == '-' && stop[2] != ']'))
            stop++;
        if (s[0] == '-' && s[1] == '-') {
            grammar_add_option(g, s, stop, short_key, many);
            short_key = 0;
        } else if (s[0] == '-') {
            short_key = s[1];
        }
        s = stop < end ? stop + 1 : end;
    }
}

static void grammar_add_word(struct grammar *g, const char *s, const char *end)
{
    bool optional = s[0] == '[';
    bool many = end - s > 3 && memcmp(end - 3, "...", 3) == 0;
    if (many)
        end -= 3;
    if (optional) {
        s++;
        end--;
    }
    if (s[0] == '-') {
        grammar_add_options(g, s, end, many);
        return;
    }
    if (!optional && g->n_needed < ARRAY_SIZE(g->needed)) {
        g->needed[g->n_needed] = s;
        g->needed_len[g->n_needed++] = (size_t)(end - s);
    }
    g->n_words++;
    g->any_words |= many;
}

static void grammar_read(struct grammar *g, const char *usage)
{
    const char *s = usage;
    while (*s) {
        size_t len = strcspn(s, " ");
        if (len > 0)
            grammar_add_word(g, s, s + len);
        s += len + strspn(s + len, " ");
    }
}

static const struct option_spec *grammar_find(const struct grammar *g, const char *key, size_t len)
{
    for (size_t i = 0; i < g->n_options; i++) {
        const struct option_spec *o = &g->options[i];
        if (o->key_len == len && memcmp(o->key, key, len) == 0)
            return o;
    }
    return NULL;
}

static const struct option_spec *grammar_find_short(const struct grammar *g, char key)
{
    for (size_t i = 0; i < g->n_options; i++)
        if (g->options[i].short_key == key)
            return &g->options[i];
    return NULL;
}

/* --- values ---------------------------------------------------------------------------------------------- */

static bool parse_number(const char *s, int64_t *ret)
{
    if (!*s || strlen(s) > 9 || strspn(s, "0123456789") != strlen(s))
        return false;
    int64_t n = 0;
    for (; *s; s++)
        n = n * 10 + (*s - '0');
    *ret = n;
    return n <= NUMBER_MAX;
}

static bool is_number(const char *s)
{
    int64_t n;
    return parse_number(s, &n);
}

static bool is_time(const char *s)
{
    int64_t ms;
    return duration_parse(s, &ms) == 0 && ms > 0;
}

static bool is_assignment(const char *s)
{
    _cleanup_(free_ptr) char *key = xstrndup(s, strcspn(s, "="));
    return strchr(s, '=') && name_is_env_key(key);
}

static bool is_when(const char *s)
{
    return strcmp(s, "auto") == 0 || strcmp(s, "always") == 0 || strcmp(s, "never") == 0;
}

static const struct {
    const char *placeholder;
    bool (*check)(const char *s);
    const char *must;
} value_kinds[] = {
    // clang-format off
    { "K=V",  is_assignment, "a name, \"=\" and a value" },
    { "N",    is_number,     "a whole number" },
    { "TIME", is_time,       "a time like 250ms, 30s, 5min or 1h30m" },
    { "WHEN", is_when,       "auto, always or never" },
    // clang-format on
};

static int check_value(const struct option_spec *o, const char *value, struct error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(value_kinds); i++) {
        if (strlen(value_kinds[i].placeholder) != o->value_len ||
            memcmp(value_kinds[i].placeholder, o->value, o->value_len) != 0)
            continue;
        if (value_kinds[i].check(value))
            return 0;
        return error_set(err, -EINVAL, "--%.*s must be %s, not \"%s\"", (int)o->key_len, o->key,
            value_kinds[i].must, value);
    }
    if (!*value)
        return error_set(err, -EINVAL, "--%.*s needs a value", (int)o->key_len, o->key);
    return 0;
}

static int add_option(struct args *args, const struct option_spec *o, const char *value, struct error *err)
{
    _cleanup_(free_ptr) char *key = xstrndup(o->key, o->key_len);
    if (o->value) {
        int r = check_value(o, value, err);
        if (r < 0)
            return r;
    }
    if (!o->repeatable && o->value && args_has(args, key))
        return error_set(err, -EINVAL, "--%s is given twice", key);
    strv_push_take(&args->options, xasprintf("%s=%s", key, o->value ? value : ""));
    return 0;
}

/* --- reading --------------------------------------------------------------------------------------------- */

static int unknown_option(const struct grammar *g, const char *key, size_t len, struct error *err)
{
    char *names[OPTIONS_MAX + 1] = { NULL };
    for (size_t i = 0; i < g->n_options; i++)
        names[i] = xstrndup(g->options[i].key, g->options[i].key_len);
    _cleanup_(free_ptr) char *word = xstrndup(key, len);
    const char *nearest = nearest_word(word, (const char *const *)names);
    int r = nearest ? error_set(err, -EINVAL, "there is no option --%s, did you mean --%s?", word, nearest)
                    : error_set(err, -EINVAL, "there is no option --%s", word);
    for (size_t i = 0; i < g->n_options; i++)
        free(names[i]);
    return r;
}

/* Reads one "--key", "--key=value" or "--key value"; returns how many words of argv it took. */
static int read_long(const struct grammar *g, char *const *argv, struct args *args, struct error *err)
{
    const char *key = argv[0] + 2;
    size_t len = strcspn(key, "=");
    const struct option_spec *o = grammar_find(g, key, len);
    if (!o)
        return unknown_option(g, key, len, err);
    if (!o->value && key[len])
        return error_set(err, -EINVAL, "--%.*s takes no value", (int)len, key);
    if (!o->value || key[len]) {
        int r = add_option(args, o, key[len] ? key + len + 1 : "", err);
        return r < 0 ? r : 1;
    }
    if (!argv[1])
        return error_set(err, -EINVAL, "--%.*s needs a value", (int)len, key);
    int r = add_option(args, o, argv[1], err);
    return r < 0 ? r : 2;
}

/* "-f", "-n20", "-n 20", "-fn20". */
static int read_short(const struct grammar *g, char *const *argv, struct args *args, struct error *err)
{
    for (const char *s = argv[0] + 1; *s; s++) {
        const struct option_spec *o = grammar_find_short(g, *s);
        if (!o)
            return error_set(err, -EINVAL, "there is no option -%c", *s);
        if (!o->value) {
            int r = add_option(args, o, "", err);
            if (r < 0)
                return r;
            continue;
        }
        const char *value = s[1] ? s + 1 : argv[1];
        if (!value)
            return error_set(err, -EINVAL, "-%c needs a value", *s);
        int r = add_option(args, o, value, err);
        return r < 0 ? r : s[1] ? 1 : 2;
    }
    return 1;
}

static int check_words(const struct grammar *g, const struct args *args, struct error *err)
{
    size_t n = strv_len(args->words);
    if (args_has(args, "help") || args_has(args, "version"))
        return 0;
    if (n < g->n_needed)
        return error_set(err, -EINVAL, "%.*s is missing", (int)g->needed_len[n], g->needed[n]);
    if (n > g->n_words && !g->any_words)
        return error_set(err, -EINVAL, "\"%s\" is one argument too many", args->words[g->n_words]);
    return 0;
}

static int read_all(const struct grammar *g, char *const *argv, struct args *args, struct error *err)
{
    bool options_ended = false;
    while (*argv) {
        const char *s = *argv;
        int taken = 1;
        if (!options_ended && strcmp(s, "--") == 0)
            options_ended = true;
        else if (!options_ended && s[0] == '-' && s[1] == '-')
            taken = read_long(g, argv, args, err);
        else if (!options_ended && s[0] == '-' && s[1])
            taken = read_short(g, argv, args, err);
        else if (!options_ended && s[0] == '+' && s[1])
            strv_push_take(&args->options, xasprintf("remote=%s", s + 1));
        else
            strv_push(&args->words, s);
        if (taken < 0)
            return taken;
        argv += taken;
    }
    return check_words(g, args, err);
}

int args_parse(const char *usage, char *const *argv, struct args *ret, struct error *err)
{
    struct grammar g = { 0 };
    grammar_read(&g, usage);
    grammar_read(&g, args_global_usage);
    struct args args = { 0 };
    int r = read_all(&g, argv, &args, err);
    if (r < 0) {
        args_done(&args);
        args = (struct args){ 0 };
    }
    *ret = args;
    return r;
}

void args_done(struct args *args)
{
    strv_free(args->words);
    strv_free(args->options);
    *args = (struct args){ 0 };
}

/* --- asking ---------------------------------------------------------------------------------------------- */

const char *args_word(const struct args *args, size_t i)
{
    return i < strv_len(args->words) ? args->words[i] : NULL;
}

bool args_has(const struct args *args, const char *key)
{
    return args_text(args, key) != NULL;
}

const char *args_text(const struct args *args, const char *key)
{
    const char *found = NULL;
    size_t len = strlen(key);
    char *pair;
    strv_for_each (pair, args->options) {
        if (strncmp(pair, key, len) == 0 && pair[len] == '=')
            found = pair + len + 1;
    }
    return found;
}

char **args_list(const struct args *args, const char *key)
{
    char **list = NULL;
    size_t len = strlen(key);
    char *pair;
    strv_for_each (pair, args->options) {
        if (strncmp(pair, key, len) == 0 && pair[len] == '=')
            strv_push(&list, pair + len + 1);
    }
    return list;
}

int64_t args_number(const struct args *args, const char *key, int64_t fallback)
{
    const char *text = args_text(args, key);
    int64_t n;
    return text && parse_number(text, &n) ? n : fallback;
}

int64_t args_time_ms(const struct args *args, const char *key, int64_t fallback)
{
    const char *text = args_text(args, key);
    int64_t ms;
    return text && duration_parse(text, &ms) == 0 ? ms : fallback;
}
