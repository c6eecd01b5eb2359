#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may include whom: the layers of the tree as a test.

Prints one line for each breach and ends with status 1 if there is one. A breach that has to stay is a line in the
tables below, with its reason beside it.
"""
import re
import sys
from pathlib import Path

FOLDERS = ["common", "hubd", "droned", "routerd", "ctl"]
LINES_MAX = 800

# common, bottom up: a file includes its own tier and those below, never one above.
TIERS = [
    ("plain data", "banned error list map mem strbuf strv utf8"),
    ("words and numbers", "clock log names nearest network secret semver semver_* sha256 statefile"),
    ("contracts and parsers", "config envelope frame http1 http1_* json json_* messages messages_* metrics router_status schema schema_* table table_*"),
    ("loop and keys", "identity loop loop_* pki pki_* tls tls_*"),
    ("processes and sockets", "child proxy_header resolve stream stream_* wire wire_*"),
    ("links", "document link link_* member"),
    ("whole programs", "daemon gitwork gitwork_*"),
]

# A library's headers, and the files that may see them. In tests anything may be seen.
FENCES = {
    r"sys/epoll\.h": "common/loop_watch.c",
    r"openssl/": "common/tls.c common/tls_*.c common/pki.c",
    r"nghttp2/": "routerd/conn_h2*.c routerd/conn_h2_state.h",
    r"json-c/": "",
    r"sqlite3\.h": "hubd/store_sqlite.c",
    r"git2": "common/gitwork*.c common/gitwork_job.h",
    r"zlib\.h": "hubd/http_conn.c hubd/git_http*.c",
    r"ini\.h": "common/config.c",
    r"systemd/sd-bus": "droned/systemd.c droned/systemd_*.c droned/systemd_internal.h droned/bus.c",
    r"systemd/sd-journal": "common/log.c droned/journal.c",
    r"systemd/sd-daemon": "common/daemon.c",
    r"pthread\.h": "routerd/*.c routerd/*.h",
    r"netdb\.h": "",  # it blocks; common/resolve.h does not
}

# Private headers that show a library's types to the few files that share them.
FOREIGN_IN_HEADER = "common/gitwork_job.h droned/systemd_internal.h routerd/*.h"

# What a pure file can't have: time, descriptors, other processes, a loop. They come in as arguments.
IMPURE = re.compile(
    r"^(openssl/|systemd/|sys/(socket|epoll|eventfd|timerfd|wait|random|stat|un|ioctl|inotify)\.h|netinet/|poll\.h|"
    r"pthread\.h|time\.h|unistd\.h|fcntl\.h|"
    r"common/(child|daemon|link|log|loop|resolve|secret|statefile|stream|tls|wire)\.h)")
INCLUDE = re.compile(r'^\s*#\s*include\s+(<([^>]+)>|"([^"]+)")', re.M)

breaches = []


def breach(path, text):
    breaches.append(f"{path}: {text}")


def matches(path, patterns):
    return any(Path(path).match(p) for p in patterns.split())


def tier_of(name):
    stem = Path(name).stem
    for i, (_, stems) in enumerate(TIERS):
        for pattern in stems.split():
            if stem == pattern or (pattern.endswith("*") and stem.startswith(pattern[:-1])):
                return i
    return None


def includes(text):
    return [(m.group(2) is not None, m.group(2) or m.group(3)) for m in INCLUDE.finditer(text)]


def check_folder(path, found):
    own = path.split("/")[0]
    for is_system, name in found:
        if is_system:
            continue
        if "/" not in name or name.startswith("."):
            breach(path, f'"{name}" is not written from the root of the tree')
            continue
        other = name.split("/")[0]
        if other not in (own, "common"):
            breach(path, f"{own} may not include {name}: what two programs share lives in common")


def check_tier(path, found):
    tier = tier_of(path)
    if tier is None:
        breach(path, "is in no tier: add it to TIERS in tests/check_layers.py")
        return
    for is_system, name in found:
        if is_system or not name.startswith("common/"):
            continue
        other = tier_of(name)
        if other is not None and other > tier:
            breach(path, f'is of "{TIERS[tier][0]}" and may not include {name} of "{TIERS[other][0]}"')


def check_fences(path, found):
    for is_system, name in found:
        if not is_system:
            continue
        for fence, allowed in FENCES.items():
            if not re.match(fence, name):
                continue
            if not matches(path, allowed):
                breach(path, f"<{name}> is fenced: only {allowed or 'nobody'} may see it")
            elif path.endswith(".h") and not matches(path, FOREIGN_IN_HEADER):
                breach(path, f"<{name}>: headers name foreign types by forward declaration only")


def is_pure(root, path):
    header = root / Path(path).with_suffix(".h")
    return header.exists() and re.search(r"\bPure\.\s*\*/", header.read_text()) is not None


def check_pure(path, found):
    for _, name in found:
        if IMPURE.match(name):
            breach(path, f"is pure and may not include {name}")


def check_order(root, path, found):
    """Own header first, then <system>, then ours in alphabetical order."""
    if not path.endswith(".c") or not found:
        return
    own = Path(path).with_suffix(".h")
    private = str(own.with_suffix("")) + "_"  # a noun's private header, which includes its public one
    ours = [name for is_system, name in found if not is_system]
    if (root / own).exists() and (found[0][0] or not (found[0][1] == str(own) or found[0][1].startswith(private))):
        breach(path, f'includes "{own}" first')
        return
    if not found[0][0]:  # a part of a noun (link_call.c) begins with that noun's header
        found, ours = found[1:], ours[1:]
    seen_ours = False
    for is_system, name in found:
        if is_system and seen_ours:
            breach(path, f"<{name}> comes after our own headers")
            return
        seen_ours = seen_ours or not is_system
    if ours != sorted(ours):
        wrong = next(b for a, b in zip(ours, ours[1:]) if a > b)
        breach(path, f'"{wrong}" is out of alphabetical order')


def check_text(path, text):
    first = "/* SPDX-License-Identifier: MIT */"
    if not text.startswith(first):
        breach(path, f"begins with {first}")
    if path.endswith(".h") and "#pragma once" not in text:
        breach(path, "has no #pragma once")
    lines = text.count("\n")
    if lines > LINES_MAX:
        breach(path, f"has {lines} lines, at most {LINES_MAX}: split it by its nouns")


def check_built(root, folder):
    build = (root / folder / "meson.build").read_text()
    for source in sorted((root / folder).glob("*.c")):
        if not re.search(r"['/]" + re.escape(source.name) + "'", build) and \
           not re.search(r"['/]" + re.escape(source.stem) + "'", build):
            breach(f"{folder}/{source.name}", f"is built by nobody: no row in {folder}/meson.build")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    n = 0
    for folder in FOLDERS:
        for source in sorted((root / folder).glob("*.[ch]")):
            path = str(source.relative_to(root))
            text = source.read_text()
            found = includes(text)
            check_text(path, text)
            check_folder(path, found)
            check_fences(path, found)
            check_order(root, path, found)
            if folder == "common":
                check_tier(path, found)
            if is_pure(root, path):
                check_pure(path, found)
            n += 1
        check_built(root, folder)
    for source in sorted(root.glob("tests/*/*.[ch]")):
        path = str(source.relative_to(root))
        text = source.read_text()
        check_text(path, text)
        n += 1
    for line in breaches:
        print(line)
    print(f"{n} files, {len(breaches)} breaches")
    sys.exit(1 if breaches or n == 0 else 0)


if __name__ == "__main__":
    main()
