# SPDX-License-Identifier: MIT
"""The test hosts themselves: what every other file here stands on."""

import os
import re
import signal
import subprocess

import pytest

from testbed import PREFIX, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture(scope="module")
def pair(bed):
    hosts = bed.hosts("one", "two")
    bed.start(*hosts)
    return hosts


def listener(host):
    host.systemctl("reset-failed", check=False)
    host.run(["systemd-run", "--quiet", "--collect", "--unit=listener", "python3", "-m", "http.server", "8000"])
    wait_until("the listener listens", lambda: reach(host, "127.0.0.1") == 0)


def reach(source, name):
    return source.run(["curl", "-s", "-o", "/dev/null", "--max-time", "2", f"http://{name}:8000/"], check=False).status


def test_hosts_reach_one_another_by_name(pair):
    one, two = pair
    listener(two)
    assert reach(one, "two") == 0
    assert reach(two, "two") == 0


def test_nothing_of_the_machine_starts_on_a_host(pair):
    services = set(pair[0].run("systemctl list-units --plain --no-legend --type=service --state=running"
                               " | awk '{print $1}'").out.split())
    assert services <= {"dbus.service", "systemd-journald.service", "listener.service"}, services
    assert pair[0].run("systemctl --failed --plain --no-legend").out == ""


def test_a_cut_cable_loses_packets_and_a_mended_one_does_not(pair):
    one, two = pair
    two.cut()
    assert reach(one, "two") == 28  # curl: time out
    two.mend()
    assert reach(one, "two") == 0


def test_a_reboot_keeps_the_disk_and_changes_the_boot_id(pair):
    one, _ = pair
    one.write_file("/var/lib/kept", "kept\n")
    before = one.read_file("/proc/sys/kernel/random/boot_id")
    one.reboot()
    assert one.read_file("/var/lib/kept") == "kept\n"
    assert one.read_file("/proc/sys/kernel/random/boot_id") != before
    assert len(one.run("journalctl --list-boots --no-pager --quiet").out.splitlines()) == 2


def test_a_pulled_plug_keeps_what_was_written(pair):
    one, _ = pair
    one.run("echo kept > /var/lib/plug; sync")
    one.reboot(hard=True)
    assert one.read_file("/var/lib/plug") == "kept\n"


def test_memory_limits_are_real(pair):
    if not (os.path.exists("/sys/fs/cgroup/memory/tasks") or os.path.exists("/sys/fs/cgroup/cgroup.controllers")):
        pytest.skip("no memory controller here")
    said = pair[0].run(["systemd-run", "--wait", "--quiet", "--pipe", "-p", "MemoryMax=32M", "python3", "-c",
                        "x = bytearray(300 << 20); print(len(x))"], check=False)
    assert said.status != 0 and said.out == ""


def test_killing_the_maker_leaves_nothing_behind():
    program = ("import sys, time; sys.path.insert(0, sys.argv[1]); from testbed import *\n"
               "bed = Testbed(); bed.start(*bed.hosts('a')); print(bed.id, bed.keeper, flush=True); time.sleep(60)")
    maker = subprocess.Popen(["/usr/bin/python3", "-B", "-c", program, os.path.join(HERE, "..", "testbed")],
                             stdout=subprocess.PIPE, text=True)
    name, keeper = maker.stdout.readline().split()
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    wait_until("its processes end", lambda: not runs(keeper))
    wait_until("its cgroups go", lambda: not re.search(
        rf"{PREFIX}\.{name}", " ".join(d for top, dirs, _ in walk_cgroups() for d in dirs)), 15)


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def walk_cgroups():
    top = "/sys/fs/cgroup"
    yield top, os.listdir(top), []
    for name in os.listdir(top):
        if os.path.isdir(os.path.join(top, name)):
            yield name, os.listdir(os.path.join(top, name)), []
