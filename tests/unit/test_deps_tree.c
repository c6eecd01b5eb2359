/* SPDX-License-Identifier: MIT */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/strv.h"
#include "ctl/deps_tree.h"

#define EDGES_MAX 64

/* "web 0.2.2 auth ^0.2 0.2.0" or "… ledger ^2 - newest is 1.9.1"; a release alone: "web 0.2.2". */
static void fill(struct dep_row *row, const char *line)
{
    _cleanup_(strv_freep) char **words = strv_split(line, " ");
    size_t n = strv_len(words);
    *row = (struct dep_row){ .service = xstrdup(words[0]), .version = xstrdup(words[1]) };
    if (n < 5)
        return;
    row->name = xstrdup(words[2]);
    row->range = xstrdup(words[3]);
    if (strcmp(words[4], "-") != 0)
        row->resolved = xstrdup(words[4]);
    else if (n > 5)
        row->missing = strv_join(words + 5, " ");
}

static char *tree(const char *const *lines, bool utf8)
{
    struct dep_row edges[EDGES_MAX];
    struct msg_deps deps = { .edges = edges };
    struct strbuf out = STRBUF_INIT;
    for (; *lines; lines++)
        fill(&edges[deps.n_edges++], *lines);
    deps_tree_print(&deps, &(struct style){ .utf8 = utf8 }, &out);
    for (size_t i = 0; i < deps.n_edges; i++) {
        free(edges[i].service);
        free(edges[i].version);
        free(edges[i].name);
        free(edges[i].range);
        free(edges[i].resolved);
        free(edges[i].missing);
    }
    return strbuf_steal(&out);
}

static const struct {
    const char *name;
    bool utf8;
    const char *edges[12];
    const char *expected;
} rows[] = {
    // clang-format off
    { "as in the manual", true,
      { "web 0.2.2 auth ^0.2 0.2.0", "web 0.2.2 mailer 1.x 1.0.3", "auth 0.2.0 config:keys 3.x 3", "mailer 1.0.3",
        "billing 0.4.0 ledger ^2 - newest is 1.9.1", NULL },
      "web@0.2.2\n"
      "├─┬ auth@0.2.0            ^0.2\n"
      "│ └── config:keys@3       3.x\n"
      "└── mailer@1.0.3          1.x\n"
      "billing@0.4.0\n"
      "└── ledger ^2             missing: newest is 1.9.1\n" },
    { "in ASCII", false,
      { "web 0.2.2 auth ^0.2 0.2.0", "auth 0.2.0 config:keys 3.x 3", "web 0.2.2 mailer 1.x 1.0.3", NULL },
      "web@0.2.2\n"
      "|-+ auth@0.2.0            ^0.2\n"
      "| `-- config:keys@3       3.x\n"
      "`-- mailer@1.0.3          1.x\n" },
    { "a release without dependencies", true, { "web 0.2.2", NULL }, "web@0.2.2\n" },
    { "a circle of two", true,
      { "a 1.0.0 b 1.x 1.0.0", "b 1.0.0 a 1.x 1.0.0", NULL },
      "a@1.0.0\n"
      "└─┬ b@1.0.0               1.x\n"
      "  └── a@1.0.0 (a circle)  1.x\n" },
    { "one that depends on itself", true,
      { "a 1.0.0 a 1.x 1.0.0", NULL },
      "a@1.0.0\n"
      "└── a@1.0.0 (a circle)    1.x\n" },
    { "shared by two", true,
      { "a 1.0.0 c 1.x 1.0.0", "b 1.0.0 c 1.x 1.0.0", "c 1.0.0 d 1.x 1.0.0", NULL },
      "a@1.0.0\n"
      "└─┬ c@1.0.0               1.x\n"
      "  └── d@1.0.0             1.x\n"
      "b@1.0.0\n"
      "└── c@1.0.0 (see above)   1.x\n" },
    { "control characters", true,
      { "a 1.0.0 b\033[2J 1.x 1.0.0", NULL },
      "a@1.0.0\n"
      "└── b\\x1b[2J@1.0.0        1.x\n" },
    { "nothing", true, { NULL }, "" },
    // clang-format on
};

static void trees(void **state)
{
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_(free_ptr) char *got = tree(rows[i].edges, rows[i].utf8);
        if (strcmp(got, rows[i].expected) != 0)
            fail_msg("%s: got\n%sexpected\n%s", rows[i].name, got, rows[i].expected);
    }
}

/* Every release depends on all later ones: unfolded, that would be 2^30 lines. */
static void a_dense_graph_stays_small(void **state)
{
    struct dep_row edges[30 * 30];
    char names[30][8], version[] = "1.0.0", range[] = "1.x";
    struct msg_deps deps = { .edges = edges };
    struct strbuf out = STRBUF_INIT;
    for (int i = 0; i < 30; i++)
        snprintf(names[i], sizeof(names[i]), "s%d", i);
    for (int i = 0; i < 30; i++)
        for (int j = i + 1; j < 30; j++)
            edges[deps.n_edges++] = (struct dep_row){
                .service = names[i], .version = version, .name = names[j], .range = range, .resolved = version
            };
    deps_tree_print(&deps, &(struct style){ .utf8 = true }, &out);
    assert_true(out.len < 100000);
    strbuf_done(&out);
}

int main(void)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees),
        cmocka_unit_test(a_dense_graph_stays_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
