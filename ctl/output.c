/* SPDX-License-Identifier: MIT */
#include "ctl/output.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void output_flush(struct output *o)
{
    size_t done = 0;
    while (done < o->text.len) {
        ssize_t n = write(STDOUT_FILENO, o->text.data + done, o->text.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EPIPE)
            _exit(0);
        if (n < 0)
            _exit(1);
        done += (size_t)n;
    }
    strbuf_clear(&o->text);
}
