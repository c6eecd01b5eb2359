# SPDX-License-Identifier: MIT
"""What ./check runs, part by part, and the one line it ends with.

A part is a build directory and the tests to run there. A failing part stops nothing: the others say more.
Counted are test cases where a program tells them (cmocka, pytest), else the program itself."""

import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

from testbed import why_impossible  # noqa: E402

ENDED = re.compile(r"\[  (PASSED|FAILED|SKIPPED)  \] (\d+) test\(s\)")
TEST_DEADLINE_FACTOR = "4"  # of meson's 30 s: sanitizers on a busy machine
TESTS_AT_ONCE = str(2 * (os.cpu_count() or 1))  # most of them wait for something most of the time

# name, build directory, compiler, options of meson setup, options of meson test
PARTS = [
    # What takes long is real programs over sockets: once is enough, and with the sanitizers it says more.
    ("gcc", "build-gcc", "gcc", ["--werror"], ["--no-suite", "long"]),
    ("clang", "build-clang", "clang",
     ["--werror", "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dbuildtype=debug"], []),
    ("tsan", "build-tsan", "gcc", ["-Db_sanitize=thread", "-Dbuildtype=debug"], ["--suite", "threads"]),
]


class Tally:
    def __init__(self):
        self.passed = self.failed = 0
        self.broken = []  # what failed, by name
        self.skipped = []

    def add(self, name, passed, failed):
        self.passed += passed
        self.failed += failed
        if failed:
            self.broken.append(name)


def say(text):
    print(text, flush=True)


def run_part(part, tally):
    name, directory, compiler, setup, test = part
    begun = time.monotonic()
    built = subprocess.run([os.path.join(HERE, "build"), directory, *setup],
                           env=dict(os.environ, CC=with_cache(compiler)))
    if built.returncode != 0:
        tally.add(f"{name}: build", 0, 1)
        return
    # The threads' tests are all that is worth the slowest sanitizer; where there are none, nothing is said to pass.
    log = os.path.join(TREE, directory, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.unlink(log)
    said = subprocess.run(
        ["meson", "test", "-C", os.path.join(TREE, directory), "--no-rebuild", "--timeout-multiplier",
         TEST_DEADLINE_FACTOR, "--num-processes", TESTS_AT_ONCE, *test], capture_output=True, text=True, env=sanitizer_environment())
    before = tally.passed, tally.failed
    read_meson_log(name, log, tally)
    passed, failed = tally.passed - before[0], tally.failed - before[1]
    if said.returncode != 0 and failed == 0:
        say(said.stdout[-4000:] + said.stderr[-4000:])
        tally.add(f"{name}: meson test", 0, 1)
    say(f"  {name}: {passed} passed, {failed} failed, {time.monotonic() - begun:.0f} s")


def with_cache(compiler):
    return "ccache " + compiler if subprocess.run(["sh", "-c", "command -v ccache"],
                                                  capture_output=True).returncode == 0 else compiler


def sanitizer_environment():
    return dict(os.environ, UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
                ASAN_OPTIONS="detect_stack_use_after_return=1", TSAN_OPTIONS="halt_on_error=1")


def read_meson_log(part, path, tally):
    if not os.path.exists(path):
        return
    with open(path) as f:
        rows = [json.loads(line) for line in f if line.strip()]
    for row in rows:
        name = f"{part}: {row['name']}"
        if row["result"] in ("SKIP", "EXPECTEDFAIL"):
            tally.skipped.append(name)
            continue
        good = row["result"] == "OK"
        text = (row.get("stdout") or "") + (row.get("stderr") or "")
        cases = {"PASSED": 0, "FAILED": 0, "SKIPPED": 0}
        for kind, number in ENDED.findall(text):
            cases[kind] += int(number)
        if good:
            tally.add(name, max(1, cases["PASSED"]), 0)
        else:
            tally.add(name, cases["PASSED"], max(1, cases["FAILED"]))
            say(f"--- {name}: {row['result']}\n{text[-6000:]}")


def run_hosts(tally):
    reason = why_impossible()
    if reason:
        say(f"  hosts: skipped: {reason}")
        tally.skipped.append("all tests on test hosts")
        return
    begun = time.monotonic()
    if not built_for_hosts(tally):
        return
    build = os.path.join(TREE, PARTS[0][1])
    report = os.path.join(build, "e2e.xml")
    if os.path.exists(report):
        os.unlink(report)
    said = subprocess.run(
        ["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "--quiet", "--tb=short", "--color=no",
         f"--junit-xml={report}", os.path.join(TREE, "tests", "e2e")], cwd=TREE,
        env=dict(os.environ, STAGECOACH_BUILD=build))
    if not os.path.exists(report):
        tally.add("hosts: pytest", 0, 1)
        return
    passed = failed = 0
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        name = f"hosts: {case.get('classname', '').rpartition('.')[2]}.{case.get('name')}"
        if kinds & {"failure", "error"}:
            failed += 1
            tally.add(name, 0, 1)
        elif "skipped" in kinds:
            tally.skipped.append(name)
        else:
            passed += 1
            tally.add(name, 1, 0)
    if said.returncode not in (0, 1, 5) or (said.returncode == 1 and not failed):
        tally.add("hosts: pytest", 0, 1)
    say(f"  hosts: {passed} passed, {failed} failed, {time.monotonic() - begun:.0f} s")


def built_for_hosts(tally):
    """Test hosts run what the gcc part built."""
    _, directory, compiler, setup, _ = PARTS[0]
    built = subprocess.run([os.path.join(HERE, "build"), directory, *setup],
                           env=dict(os.environ, CC=with_cache(compiler)))
    if built.returncode != 0:
        tally.add("hosts: build", 0, 1)
    return built.returncode == 0


def main(words):
    known = [part[0] for part in PARTS] + ["hosts"]
    for word in words:
        if word not in known:
            print(f"check: no part {word}; there are: {' '.join(known)}", file=sys.stderr)
            return 2
    tally = Tally()
    for part in PARTS:
        if not words or part[0] in words:
            say(f"{part[0]}: {part[2]} {' '.join(part[3])}")
            run_part(part, tally)
    if not words or "hosts" in words:
        say("hosts: real daemons on hosts with systemd")
        run_hosts(tally)
    for name in tally.skipped:
        say(f"  skipped: {name}")
    for name in tally.broken:
        say(f"  failed: {name}")
    say(f"{tally.passed} passed, {tally.failed} failed")
    return 0 if tally.failed == 0 and tally.passed > 0 else 1


sys.exit(main(sys.argv[1:]))
