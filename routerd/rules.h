/* SPDX-License-Identifier: MIT */
#pragma once

/* What a route says beside its service, compiled: which requests it answers itself (redirects, refusals, files), what it
 * changes in heads and targets, its limits, its error pages. Immutable; shared by tables and workers like the services of
 * match.h, and counted on the main thread. A route without rules has none: NULL. Reads files: error pages when it is
 * built, what `files` serves when it is asked. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/http1.h"
#include "common/table_route.h"
#include "routerd/arena.h"

struct forward;
struct match_release;
struct match_service;
struct network;
struct own_answer;
struct trace;

#define RULES_PAGE_MAX (256 * 1024) /* bytes of an error page */
#define RULES_ACME     "/.well-known/acme-challenge/"

struct rule_part {
    const char *text; /* of VALUE_TEXT */
    uint32_t len;
    uint32_t kind; /* enum table_value */
};

struct rule_value {
    const struct rule_part *parts;
    uint32_t n;
};

struct rule_field {
    const char *name;
    uint16_t name_len;
    bool hides;  /* fields of that name that came go */
    bool writes; /* one with the value comes */
    struct rule_value value;
};

struct rule_fields {
    const struct rule_field *rows;
    uint32_t n;
};

struct rule_page {
    int status; /* 404, or 5 for all of 5xx */
    const char *body, *type;
    size_t len;
};

struct match_rules {
    struct rule_fields request, answer, answer_tls; /* answer_tls: with HSTS, over TLS */
    uint32_t strip_len; /* bytes at the beginning of a target that `prefix` replaces */
    const char *prefix; /* NULL: the target passes as it is */
    int64_t body_max;   /* -1: as the router is set */
    int64_t timeout_ms; /* 0: as the router is set */
    bool answers;       /* rules_answer() has something to look at */
    bool https;
    int redirect_status; /* 0: none */
    struct rule_value redirect;
    uint32_t methods;         /* bit per enum http1_method, if any are named */
    const char *methods_text; /* "GET, HEAD"; NULL: all */
    const struct network *networks;
    uint32_t n_networks;
    const struct rule_page *pages;
    uint32_t n_pages;
    const char *files;
    /* main's */
    struct table_sum sum;
    uint32_t refs;
    struct arena arena;
};

/* NULL in *ret for a route that has none. */
_must_check_ int rules_build(const struct table_route *route, struct match_rules **ret, struct error *err);
/* May stand for the row as it is now: what was read from files is read again instead. */
bool rules_are_current(const struct match_rules *rules, const struct table_sum *sum);
void rules_unref(const struct match_rules *rules); /* NULL is fine */
/* Not everybody may ask, or not by every method. */
static inline bool rules_restrict(const struct match_rules *rules)
{
    return rules->n_networks > 0 || rules->methods_text;
}

/* --- while a request passes ---------------------------------------------------------------------------------- */

/* What placeholders stand for. Members that a place has no use for are NULL. */
struct rules_values {
    const struct match_rules *rules;
    const struct http1_head *head;
    const struct forward *forward;
    const struct trace *trace;
    const char *service, *version;
    bool tls;
};

/* True: *ret answers. Its memory is the caller's to free (own_answer.memory). */
bool rules_answer(const struct rules_values *values, struct own_answer *ret);
/* Is the request one for the proof that a certificate's host is ours? */
bool rules_is_acme(const struct http1_head *head);
/* 0; -ENOENT: there is no such file; -EFBIG. */
_must_check_ int rules_file(const char *folder, const struct match_rules *rules,
    const struct http1_head *head, struct own_answer *ret);
/* Puts the page for that status in, if there is one. */
void rules_error_page(const struct match_rules *rules, struct own_answer *answer);

bool rules_hide(const struct rule_fields *fields, const struct http1_field *f);
void rules_hide_trailers(const struct rule_fields *fields, struct http1_head *trailers);
void rules_add_value(
    struct http1_out *out, const struct rule_value *value, const struct rules_values *values);
/* The target as it goes on. */
void rules_add_target(struct http1_out *out, const struct match_rules *rules, struct http1_slice target);
