/* SPDX-License-Identifier: MIT */
#include "common/semver_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/mem.h"

#define RANGE_TEXT_MAX 512

enum comparator_op { OP_EQUAL, OP_LESS, OP_LESS_EQUAL, OP_GREATER, OP_GREATER_EQUAL };

struct comparator {
    enum comparator_op op;
    bool names_pre; /* somebody wrote this pre-release; not a "-0" made here as a bound */
    struct semver v;
};

/* All comparators of a set must hold; one set of the range is enough. A set without comparators is any. */
struct comparator_set {
    struct comparator *comparators;
    size_t n, cap;
};

struct semver_range {
    struct comparator_set *sets;
    size_t n_sets, cap_sets;
};

/* A version of which only the first parts may be given: "1", "1.x", "1.2.*". */
struct partial {
    struct semver v;
    int n_given; /* 0 to 3 */
};

static void add(struct comparator_set *set, enum comparator_op op, const struct semver *v)
{
    set->comparators = xgrow(set->comparators, set->n, &set->cap, sizeof(*set->comparators));
    set->comparators[set->n++] = (struct comparator){ .op = op, .names_pre = *v->pre != '\0', .v = *v };
}

/* Below v, where v bears a "-0" that nobody wrote. */
static void add_below(struct comparator_set *set, const struct semver *v)
{
    add(set, OP_LESS, v);
    set->comparators[set->n - 1].names_pre = false;
}

/* The first version after all that begin with the first n numbers of v; below it also its pre-releases are
 * out, hence "-0", the lowest of them. False when there is none. */
static bool next_after(const struct semver *v, int n, struct semver *ret)
{
    struct semver next = { 0 };

    if (n == 0)
        return false;
    next.major = v->major;
    next.minor = n >= 2 ? v->minor : 0;
    next.patch = n >= 3 ? v->patch : 0;
    uint32_t *last = n == 1 ? &next.major : n == 2 ? &next.minor : &next.patch;
    if (*last == UINT32_MAX)
        return false;
    (*last)++;
    memcpy(next.pre, "0", 2);
    *ret = next;
    return true;
}

static void add_below_next(struct comparator_set *set, const struct semver *v, int n)
{
    struct semver next;

    if (next_after(v, n, &next))
        add_below(set, &next);
}

/* Nothing is below 0.0.0-0, so this holds for no version. */
static void add_never(struct comparator_set *set)
{
    struct semver lowest = { .pre = "0" };

    add_below(set, &lowest);
}

static bool is_wild(char c)
{
    return c == 'x' || c == 'X' || c == '*';
}

/* The text of one partial, NUL-terminated. NULL, or why not. */
static const char *parse_partial(const char *s, struct partial *ret)
{
    static const char shape[] =
        "a part of a range must be up to three numbers with dots, or x in their place";
    struct partial p = { 0 };
    uint32_t *const numbers[] = { &p.v.major, &p.v.minor, &p.v.patch };
    bool wild = false;

    if (*s == 'v' || *s == '=')
        s++;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        if (i > 0) {
            if (*s == '\0')
                break;
            if (*s++ != '.')
                return shape;
        }
        if (is_wild(*s)) {
            wild = true;
            s++;
            continue;
        }
        if (wild)
            return "a number can't follow an x";
        s = semver_take_number(s, numbers[i]);
        if (!s)
            return shape;
        p.n_given++;
    }
    if (*s && p.n_given < 3)
        return shape;
    const char *why = semver_take_tail(s, &p.v);
    if (why)
        return why;
    *ret = p;
    return NULL;
}

static void add_partial(struct comparator_set *set, const struct partial *p)
{
    if (p->n_given == 3) {
        add(set, OP_EQUAL, &p->v);
        return;
    }
    if (p->n_given > 0)
        add(set, OP_GREATER_EQUAL, &p->v);
    add_below_next(set, &p->v, p->n_given);
}

static void add_caret(struct comparator_set *set, const struct partial *p)
{
    /* The first number that is not zero may not change; those given as zero before it neither. */
    int fixed = p->v.major > 0 || p->n_given == 1 ? 1 : p->v.minor > 0 || p->n_given == 2 ? 2 : 3;

    if (p->n_given == 0)
        return;
    add(set, OP_GREATER_EQUAL, &p->v);
    add_below_next(set, &p->v, fixed);
}

static void add_tilde(struct comparator_set *set, const struct partial *p)
{
    if (p->n_given == 0)
        return;
    add(set, OP_GREATER_EQUAL, &p->v);
    add_below_next(set, &p->v, p->n_given == 1 ? 1 : 2);
}

static void add_ordered(struct comparator_set *set, enum comparator_op op, const struct partial *p)
{
    struct semver next, first = p->v;
    bool whole = p->n_given == 3;

    switch (op) {
    case OP_EQUAL:
        add_partial(set, p);
        return;
    case OP_LESS:
        if (p->n_given == 0) {
            add_never(set);
            return;
        }
        if (whole) {
            add(set, OP_LESS, &first);
            return;
        }
        memcpy(first.pre, "0", 2);
        add_below(set, &first);
        return;
    case OP_LESS_EQUAL:
        if (whole)
            add(set, OP_LESS_EQUAL, &p->v);
        else
            add_below_next(set, &p->v, p->n_given);
        return;
    case OP_GREATER:
        if (whole) {
            add(set, OP_GREATER, &p->v);
        } else if (next_after(&p->v, p->n_given, &next)) {
            next.pre[0] = '\0';
            add(set, OP_GREATER_EQUAL, &next);
        } else {
            add_never(set);
        }
        return;
    case OP_GREATER_EQUAL:
        if (p->n_given > 0)
            add(set, OP_GREATER_EQUAL, &p->v);
        return;
    }
}

/* Longest first, so that "<=" is not read as "<". */
static const struct {
    const char *text;
    enum comparator_op op;
} operators[] = {
    { "<=", OP_LESS_EQUAL },
    { ">=", OP_GREATER_EQUAL },
    { "<", OP_LESS },
    { ">", OP_GREATER },
    { "=", OP_EQUAL },
};

/* One word of a set: "^1.2", ">=1", "1.x". */
static const char *add_word(struct comparator_set *set, const char *word)
{
    void (*adder)(struct comparator_set *, const struct partial *) = add_partial;
    struct partial p;

    for (size_t i = 0; i < ARRAY_SIZE(operators); i++) {
        size_t len = strlen(operators[i].text);
        if (strncmp(word, operators[i].text, len) != 0)
            continue;
        const char *why = parse_partial(word + len, &p);
        if (!why)
            add_ordered(set, operators[i].op, &p);
        return why;
    }
    if (*word == '^' || *word == '~') {
        adder = *word == '^' ? add_caret : add_tilde;
        word += word[0] == '~' && word[1] == '>' ? 2 : 1;
    }
    const char *why = parse_partial(word, &p);
    if (!why)
        adder(set, &p);
    return why;
}

/* "A - B": from the first A on, to the last B. */
static const char *add_span(struct comparator_set *set, const char *low, const char *high)
{
    struct partial from, to;
    const char *why = parse_partial(low, &from);

    if (!why)
        why = parse_partial(high, &to);
    if (why)
        return why;
    add_ordered(set, OP_GREATER_EQUAL, &from);
    add_ordered(set, OP_LESS_EQUAL, &to);
    return NULL;
}

/* An operator may stand apart from its version: "> 1.2". */
static bool is_operator(const char *word)
{
    return word[strspn(word, "<>=^~")] == '\0';
}

static const char *parse_set(char *s, struct comparator_set *set)
{
    char *words[RANGE_TEXT_MAX / 2];
    char joined[RANGE_TEXT_MAX + 1];
    size_t n = 0;

    while (*(s += strspn(s, " \t"))) {
        words[n++] = s;
        s += strcspn(s, " \t");
        if (*s)
            *s++ = '\0';
    }
    if (n == 3 && strcmp(words[1], "-") == 0)
        return add_span(set, words[0], words[2]);
    for (size_t i = 0; i < n; i++) {
        const char *word = words[i];
        if (is_operator(word)) {
            if (i + 1 == n)
                return "an operator is followed by nothing";
            snprintf(joined, sizeof(joined), "%s%s", word, words[++i]);
            word = joined;
        }
        const char *why = add_word(set, word);
        if (why)
            return why;
    }
    return NULL;
}

int semver_range_parse(const char *s, struct semver_range **ret, struct error *err)
{
    static const char what[] = "a range of versions";
    char copy[RANGE_TEXT_MAX];
    const char *why = NULL;

    if (strlen(s) >= sizeof(copy))
        return semver_refuse(err, what, s, "it is longer than 511 bytes");
    memcpy(copy, s, strlen(s) + 1);
    struct semver_range *range = xcalloc(1, sizeof(*range));
    for (char *part = copy, *next; part && !why; part = next) {
        next = strstr(part, "||");
        if (next) {
            *next = '\0';
            next += 2;
        }
        range->sets = xgrow(range->sets, range->n_sets, &range->cap_sets, sizeof(*range->sets));
        struct comparator_set *set = &range->sets[range->n_sets++];
        *set = (struct comparator_set){ 0 };
        why = parse_set(part, set);
    }
    if (why) {
        semver_range_free(range);
        return semver_refuse(err, what, s, why);
    }
    *ret = range;
    return 0;
}

void semver_range_free(struct semver_range *range)
{
    if (!range)
        return;
    for (size_t i = 0; i < range->n_sets; i++)
        free(range->sets[i].comparators);
    free(range->sets);
    free(range);
}

static bool holds(const struct comparator *c, const struct semver *v)
{
    int order = semver_compare(v, &c->v);

    switch (c->op) {
    case OP_EQUAL:
        /* Who names the build means that build. */
        return order == 0 && (!*c->v.build || strcmp(c->v.build, v->build) == 0);
    case OP_LESS:
        return order < 0;
    case OP_LESS_EQUAL:
        return order <= 0;
    case OP_GREATER:
        return order > 0;
    case OP_GREATER_EQUAL:
        return order >= 0;
    }
    return false;
}

static bool set_matches(const struct comparator_set *set, const struct semver *v)
{
    bool named = false;

    for (size_t i = 0; i < set->n; i++) {
        const struct comparator *c = &set->comparators[i];
        if (!holds(c, v))
            return false;
        if (c->names_pre && c->v.major == v->major && c->v.minor == v->minor && c->v.patch == v->patch)
            named = true;
    }
    return !*v->pre || named;
}

bool semver_range_matches(const struct semver_range *range, const struct semver *v)
{
    for (size_t i = 0; i < range->n_sets; i++)
        if (set_matches(&range->sets[i], v))
            return true;
    return false;
}

int semver_matches(const char *range, const char *version)
{
    struct semver_range *r;
    struct semver v;

    int result = semver_parse(version, &v, NULL);
    if (result < 0)
        return result;
    result = semver_range_parse(range, &r, NULL);
    if (result < 0)
        return result;
    result = semver_range_matches(r, &v);
    semver_range_free(r);
    return result;
}
