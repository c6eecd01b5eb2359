#!/bin/sh
# SPDX-License-Identifier: MIT
# Each header compiles alone: what it needs it includes or declares.
cd "${1:?the top of the tree}" || exit 1
CC=${CC:-cc}
failed=0
n=0
for header in common/*.h hubd/*.h droned/*.h routerd/*.h ctl/*.h tests/*/*.h; do
    [ -e "$header" ] || continue
    # System packages that are not installed everywhere are no fault of the header.
    flags=$(pkg-config --cflags libsystemd libgit2 2>/dev/null)
    if ! printf '#include "%s"\n' "$header" |
        $CC -std=gnu17 -D_GNU_SOURCE -DSTAGECOACH_VERSION='"0"' -Wall -Wextra -Wno-unused-parameter \
            -Wno-missing-field-initializers -Werror $flags -I. -fsyntax-only -x c -; then
        echo "$header does not compile alone"
        failed=1
    fi
    n=$((n + 1))
done
echo "$n headers"
[ "$n" -gt 0 ] || failed=1
exit $failed
