/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>

#include "common/schema.h"
#include "common/strbuf.h"
#include "hubd/manifest.h"

/* What is taken has legal values, and comes back whole from its kept form. */
static void check(const struct manifest *m)
{
    for (size_t i = 0; i < m->n_services; i++) {
        struct manifest_service copy;
        _cleanup_(strbuf_done) struct strbuf text = STRBUF_INIT;
        schema_print(&manifest_service_schema, &m->services[i], &text);
        must(schema_read(&manifest_service_schema, text.data, text.len, &copy, NULL) == 0);
        must(schema_equal(&manifest_service_schema, &m->services[i], &copy));
        schema_clear(&manifest_service_schema, &copy);
    }
}

static void read_one(const struct manifest_source *source)
{
    struct manifest m = { 0 };
    struct error err = { 0 };
    int r = manifest_read(source, &m, &err);
    must((r < 0) == (err.text[0] != '\0'));
    must(r == 0 || m.n_services == 0);
    check(&m);
    manifest_clear(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(free_ptr) char *text = as_text(data, size);
    read_one(&(struct manifest_source){ .app = "shop", .manifest = text, .tag = "1.2.3" });
    read_one(&(struct manifest_source){ .app = "shop", .package = text, .lockfile = size % 2 });
    read_one(&(struct manifest_source){ .app = "shop", .procfile = text });
    return 0;
}
