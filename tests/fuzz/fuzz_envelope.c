/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <string.h>

#include "common/envelope.h"

/* An envelope that is taken is printed as one that is taken, and prints the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    struct envelope e, again;
    struct error err = { 0 };

    if (envelope_read((const char *)data, size, &e, &err) < 0) {
        must(err.text[0]);
        return 0;
    }
    envelope_print(&e, &first);
    must(envelope_read(first.data, first.len, &again, &err) == 0);
    must(again.kind == e.kind && again.id == e.id && again.code == e.code);
    envelope_print(&again, &second);
    must(strcmp(first.data, second.data) == 0);
    envelope_done(&e);
    envelope_done(&again);
    strbuf_done(&first);
    strbuf_done(&second);
    return 0;
}
