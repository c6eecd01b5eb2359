#!/bin/sh
# SPDX-License-Identifier: MIT
# Stands in for stagecoach-gitwork: a "pack" is text. "thin" in it needs a base, "broken" can't be indexed.
set -e
fail() { printf '{"error":"%s"}\n' "$1"; exit 1; }
case $1 in
index)
    mkdir -p "$2"
    text=$(cat)
    case $text in *broken*) fail "the pack can't be read";; esac
    case $text in *thin*) fail "the pack needs objects that are not here";; esac
    printf '%s' "$text" > "$2/pack"
    printf '{"objects":14,"bytes":%s}\n' "${#text}"
    ;;
checkout)
    [ -f "$2/pack" ] || fail "there is no such commit"
    case $(cat "$2/pack") in *evil*) ln -s /etc "$4"; echo '{}'; exit 0;; esac
    mkdir "$4"
    cp "$2/pack" "$4/content"
    printf '{"commit":"%s","files":1}\n' "$3"
    ;;
esac
