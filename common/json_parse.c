/* SPDX-License-Identifier: MIT */
#include "common/json_value.h"

#include <errno.h>
#include <string.h>

#include "common/map.h"
#include "common/mem.h"
#include "common/utf8.h"

#define ARENA_CHUNK (16 * 1024)
#define FEW_MEMBERS 12 /* up to so many, keys are compared one by one */
#define SLOTS_FIRST 64 /* of the hash set above that; a power of two, more than twice as many */

struct chunk {
    struct chunk *next;
    size_t used, size;
    char bytes[] __attribute__((aligned(16)));
};

struct document {
    struct json root; /* first: json_free finds the document by it */
    struct chunk *chunks;
};

struct parser {
    struct document *document;
    const char *text, *end, *p;
    int line, depth;
    size_t n_values;
    struct error *err;
};

/* --- memory ---------------------------------------------------------------------------------------------- */

static void *arena_take(struct document *d, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (!d->chunks || d->chunks->size - d->chunks->used < size) {
        size_t room = size > ARENA_CHUNK ? size : ARENA_CHUNK;
        struct chunk *chunk = xmalloc(sizeof(*chunk) + room);
        *chunk = (struct chunk){ .next = d->chunks, .size = room };
        d->chunks = chunk;
    }
    void *taken = d->chunks->bytes + d->chunks->used;
    d->chunks->used += size;
    return taken;
}

void json_free(struct json *root)
{
    struct document *d = (struct document *)root;

    if (!d)
        return;
    for (struct chunk *next, *chunk = d->chunks; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(d);
}

void json_freep(struct json **root)
{
    json_free(*root);
    *root = NULL;
}

/* --- the text -------------------------------------------------------------------------------------------- */

static bool refuse(struct parser *p, const char *fmt, ...) _printf_(2, 3);
static bool refuse(struct parser *p, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    error_vset(p->err, -EBADMSG, fmt, args);
    va_end(args);
    return false;
}

/* "…, not <what stands here>" */
static bool refuse_here(struct parser *p, const char *wanted)
{
    struct strbuf shown _cleanup_(strbuf_done) = STRBUF_INIT;
    size_t len = 0, left = (size_t)(p->end - p->p);

    if (left == 0)
        return refuse(p, "%s is missing at the end of the text", wanted);
    while (len < left && len < 20 && p->p[len] != '\n' && p->p[len] != '\r')
        len++;
    if (len == 0)
        return refuse(p, "%s is missing at the end of the line", wanted);
    strbuf_add_printable(&shown, p->p, utf8_cut(p->p, left, len), JSON_SHOWN_MAX);
    return refuse(p, "%s is missing before '%s'", wanted, strbuf_str(&shown));
}

static void skip_space(struct parser *p)
{
    for (; p->p < p->end; p->p++) {
        if (*p->p == '\n')
            p->line++;
        else if (*p->p != ' ' && *p->p != '\t' && *p->p != '\r')
            return;
    }
}

static bool at(const struct parser *p, char c)
{
    return p->p < p->end && *p->p == c;
}

static bool take(struct parser *p, char c)
{
    if (!at(p, c))
        return false;
    p->p++;
    return true;
}

/* --- strings --------------------------------------------------------------------------------------------- */

/* Four hex digits; false if there are none. */
static bool take_hex4(struct parser *p, uint32_t *ret)
{
    uint32_t n = 0;

    if (p->end - p->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = p->p[i];
        int digit = c >= '0' && c <= '9' ? c - '0'
            : c >= 'a' && c <= 'f'       ? c - 'a' + 10
            : c >= 'A' && c <= 'F'       ? c - 'A' + 10
                                         : -1;
        if (digit < 0)
            return false;
        n = n * 16 + (uint32_t)digit;
    }
    p->p += 4;
    *ret = n;
    return true;
}

/* Behind "\u". Appends what it means. */
static bool take_code_point(struct parser *p, char **out)
{
    uint32_t high, low;

    if (!take_hex4(p, &high))
        return refuse(p, "\"\\u\" in a string must be followed by four hex digits");
    if (high == 0)
        return refuse(p, "a string contains \\u0000, which no text here may");
    if (high >= 0xDC00 && high <= 0xDFFF)
        return refuse(p, "a string contains half a surrogate pair (\\u%04x)", high);
    if (high >= 0xD800 && high <= 0xDBFF) {
        if (!take(p, '\\') || !take(p, 'u') || !take_hex4(p, &low) || low < 0xDC00 || low > 0xDFFF)
            return refuse(p, "a string contains half a surrogate pair (\\u%04x)", high);
        high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    *out += utf8_encode(high, *out);
    return true;
}

static bool take_escape(struct parser *p, char **out)
{
    static const char written[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *found = p->p < p->end && *p->p ? strchr(written, *p->p) : NULL;

    if (found) {
        *(*out)++ = meant[found - written];
        p->p++;
        return true;
    }
    if (take(p, 'u'))
        return take_code_point(p, out);
    return refuse(p, "a string contains a \"\\\" that begins no escape of JSON");
}

/* Checks one unescaped character and steps over it. */
static bool take_character(struct parser *p, char **out)
{
    const unsigned char *s = (const unsigned char *)p->p;

    if (*s == '\0')
        return refuse(p, "a string contains a NUL byte");
    if (*s == '\n' || *s == '\r')
        return refuse(p, "a string does not end on its line: a '\"' is missing");
    if (*s < 0x20)
        return refuse(
            p, "a string contains a control character (0x%02x), which must be written as an escape", *s);
    size_t n = utf8_character(s, (size_t)(p->end - p->p));
    if (n == 0)
        return refuse(p, "a string is not valid UTF-8 (byte 0x%02x)", *s);
    memcpy(*out, s, n);
    *out += n;
    p->p += n;
    return true;
}

/* Behind the opening quote: the decoded string, in the arena. */
static const char *take_string(struct parser *p, size_t *ret_len)
{
    const char *close = p->p;

    /* Decoding never lengthens, so the text up to the closing quote is room enough. */
    while (close < p->end && *close != '"' && *close != '\n')
        close += *close == '\\' && close + 1 < p->end ? 2 : 1;
    char *s = arena_take(p->document, (size_t)(close - p->p) + 1), *out = s;
    while (p->p < p->end && *p->p != '"') {
        signed char c = (signed char)*p->p;
        if (c >= 0x20 && c != '\\') { /* ASCII, which is nearly all there is */
            *out++ = *p->p++;
            continue;
        }
        bool ok = *p->p == '\\' ? (p->p++, take_escape(p, &out)) : take_character(p, &out);
        if (!ok)
            return NULL;
    }
    if (!take(p, '"')) {
        refuse(p, "a string does not end: a '\"' is missing at the end of the text");
        return NULL;
    }
    *out = '\0';
    *ret_len = (size_t)(out - s);
    return s;
}

/* --- numbers --------------------------------------------------------------------------------------------- */

static size_t skip_digits(struct parser *p)
{
    const char *from = p->p;

    while (p->p < p->end && *p->p >= '0' && *p->p <= '9')
        p->p++;
    return (size_t)(p->p - from);
}

static bool take_number(struct parser *p, struct json *v)
{
    const char *from = p->p;
    bool negative = take(p, '-'), zero = at(p, '0');
    const char *digits = p->p;
    size_t n = skip_digits(p);

    if (n == 0)
        return refuse_here(p, "a digit");
    if (zero && n > 1)
        return refuse(p, "a number must not begin with 0");
    v->type = JSON_INT;
    if (take(p, '.')) {
        v->type = JSON_REAL;
        if (skip_digits(p) == 0)
            return refuse_here(p, "a digit after the \".\"");
    }
    if (take(p, 'e') || take(p, 'E')) {
        v->type = JSON_REAL;
        if (!take(p, '+'))
            take(p, '-');
        if (skip_digits(p) == 0)
            return refuse_here(p, "a digit of the exponent");
    }
    if (v->type == JSON_REAL)
        return true;
    v->number = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = digits[i] - '0';
        if (__builtin_mul_overflow(v->number, 10, &v->number) ||
            __builtin_add_overflow(v->number, negative ? -digit : digit, &v->number))
            return refuse(p, "the number %.*s%s is beyond 64 bits", (int)(n < 40 ? n + negative : 40), from,
                n < 40 ? "" : "…");
    }
    return true;
}

static bool take_word(struct parser *p, struct json *v)
{
    static const struct {
        const char *word;
        enum json_type type;
        bool value;
    } words[] = { { "true", JSON_BOOL, true }, { "false", JSON_BOOL, false }, { "null", JSON_NULL, false } };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        size_t len = strlen(words[i].word);
        if ((size_t)(p->end - p->p) < len || memcmp(p->p, words[i].word, len) != 0)
            continue;
        p->p += len;
        v->type = words[i].type;
        v->boolean = words[i].value;
        return true;
    }
    return refuse_here(p, "a value");
}

/* --- lists and objects ----------------------------------------------------------------------------------- */

static bool take_value(struct parser *p, struct json *v);

static struct json *new_value(struct parser *p)
{
    if (++p->n_values > JSON_VALUES_MAX) {
        refuse(p, "it holds more than %d values", JSON_VALUES_MAX);
        return NULL;
    }
    struct json *v = arena_take(p->document, sizeof(*v));
    *v = (struct json){ 0 };
    return v;
}

/* Behind "[". */
static bool take_list(struct parser *p, struct json *list)
{
    struct json **last = &list->first;

    skip_space(p);
    if (take(p, ']'))
        return true;
    while (true) {
        struct json *item = new_value(p);
        if (!item || !take_value(p, item))
            return false;
        *last = item;
        last = &item->next;
        list->n++;
        skip_space(p);
        if (take(p, ']'))
            return true;
        if (!take(p, ','))
            return refuse_here(p, "a \",\" or \"]\"");
    }
}

/* Keys of one object, to find a second of the same: a few are compared, many are hashed. */
struct key_set {
    const struct json **slots;
    size_t n_slots;
};

static void key_set_put(struct key_set *set, const struct json *member)
{
    size_t slot = map_hash(member->key, strlen(member->key)) & (set->n_slots - 1);

    while (set->slots[slot])
        slot = (slot + 1) & (set->n_slots - 1);
    set->slots[slot] = member;
}

static bool key_is_new(struct key_set *set, const struct json *object, const char *key)
{
    if (object->n <= FEW_MEMBERS) {
        for (const struct json *m = object->first; m; m = m->next)
            if (strcmp(m->key, key) == 0)
                return false;
        return true;
    }
    if (object->n * 2 > set->n_slots) {
        free(set->slots);
        set->n_slots = set->n_slots ? set->n_slots * 2 : SLOTS_FIRST;
        set->slots = xcalloc(set->n_slots, sizeof(*set->slots));
        for (const struct json *m = object->first; m; m = m->next)
            key_set_put(set, m);
    }
    for (size_t slot = map_hash(key, strlen(key));; slot++) {
        const struct json *m = set->slots[slot & (set->n_slots - 1)];
        if (!m)
            return true;
        if (strcmp(m->key, key) == 0)
            return false;
    }
}

static bool take_member(struct parser *p, struct key_set *keys, struct json *object, struct json ***last)
{
    size_t len;

    skip_space(p);
    if (!take(p, '"'))
        return refuse_here(p, "a key in double quotes");
    struct json *member = new_value(p);
    if (!member)
        return false;
    member->key = take_string(p, &len);
    if (!member->key)
        return false;
    if (!key_is_new(keys, object, member->key)) {
        struct strbuf shown _cleanup_(strbuf_done) = STRBUF_INIT;
        strbuf_add_printable(&shown, member->key, len, JSON_SHOWN_MAX);
        return refuse(p, "the key \"%s\" is there twice", strbuf_str(&shown));
    }
    skip_space(p);
    if (!take(p, ':'))
        return refuse_here(p, "a \":\" after a key");
    if (!take_value(p, member))
        return false;
    **last = member;
    *last = &member->next;
    object->n++;
    if (keys->slots)
        key_set_put(keys, member);
    return true;
}

/* Behind "{". */
static bool take_object(struct parser *p, struct json *object)
{
    struct key_set keys = { 0 };
    struct json **last = &object->first;
    bool ok = true;

    skip_space(p);
    if (take(p, '}'))
        return true;
    while (ok) {
        ok = take_member(p, &keys, object, &last);
        if (!ok)
            break;
        skip_space(p);
        if (take(p, '}'))
            break;
        if (!take(p, ','))
            ok = refuse_here(p, "a \",\" or \"}\"");
    }
    free(keys.slots);
    return ok;
}

static bool take_value(struct parser *p, struct json *v)
{
    bool ok;

    skip_space(p);
    v->line = p->line;
    v->offset = (size_t)(p->p - p->text);
    if (at(p, '{') || at(p, '[')) {
        bool is_object = *p->p++ == '{';
        if (++p->depth > JSON_DEPTH_MAX)
            return refuse(p, "lists and objects lie more than %d deep in each other", JSON_DEPTH_MAX);
        v->type = is_object ? JSON_OBJECT : JSON_LIST;
        ok = is_object ? take_object(p, v) : take_list(p, v);
        p->depth--;
    } else if (take(p, '"')) {
        v->type = JSON_STRING;
        v->string = take_string(p, &v->n);
        ok = v->string != NULL;
    } else if (at(p, '-') || (p->p < p->end && *p->p >= '0' && *p->p <= '9')) {
        ok = take_number(p, v);
    } else {
        ok = take_word(p, v);
    }
    v->len = (size_t)(p->p - p->text) - v->offset;
    return ok;
}

struct json *json_parse(const char *text, size_t len, int *ret_line, struct error *err)
{
    struct document *d = xcalloc(1, sizeof(*d));
    struct parser p = { .document = d, .text = text, .end = text + len, .p = text, .line = 1, .err = err };

    bool ok = take_value(&p, &d->root);
    if (ok) {
        skip_space(&p);
        if (p.p < p.end)
            ok = refuse_here(&p, "the end of the text");
    }
    if (ok)
        return &d->root;
    if (ret_line)
        *ret_line = p.line;
    json_free(&d->root);
    return NULL;
}
