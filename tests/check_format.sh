#!/bin/sh
# SPDX-License-Identifier: MIT
# Every source file is as .clang-format says. Only version 14 judges: others break lines elsewhere.
cd "${1:?the top of the tree}" || exit 1
for tool in clang-format-14 clang-format; do
    "$tool" --version 2>/dev/null | grep -q 'version 14\.' || continue
    wrong=$(find common hubd droned routerd ctl tests -name '*.[ch]' -exec "$tool" --dry-run --Werror {} + 2>&1 |
        grep -E '(error|warning):' | cut -d: -f1 | sort | uniq -c)
    [ -n "$wrong" ] || exit 0
    echo "places that differ, by file; $tool -i FILE"
    echo "$wrong"
    exit 1
done
echo "no clang-format 14 here"
exit 77
