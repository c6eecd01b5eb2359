# SPDX-License-Identifier: MIT
"""Runs inside the namespaces of a test bed and makes the root file system of one host there.

It is handed to the interpreter on standard input, so nothing of the source tree has to be visible where it runs.
A root is an overlay: the machine's own `/` below, the staged installation of Stagecoach above it, a directory
on tmpfs on top. Whatever on the machine is somebody's business (homes, logs, state, what is enabled under
systemd) is hidden from the host by an opaque directory in the upper layer.
"""

import json
import os
import shutil
import subprocess
import sys

# Empty in the host, whatever the machine has there.
OPAQUE = [
    "etc/systemd", "etc/network", "etc/cron.d", "etc/stagecoach", "home", "media", "mnt", "opt", "root", "srv", "tmp",
    "usr/lib/systemd/system-generators", "usr/lib/systemd/system/multi-user.target.wants",
    "usr/lib/systemd/system/getty.target.wants", "usr/lib/systemd/system/timers.target.wants",
    "usr/lib/systemd/system/machines.target.wants", "usr/lib/systemd/system/remote-fs.target.wants",
    "usr/local/lib/systemd", "usr/local/etc", "var/cache", "var/lib/systemd", "var/log", "var/spool", "var/tmp",
]
MODES = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700}
# What a root directory has; whatever else the machine keeps at its top is not the host's.
TOP = {"bin", "boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp",
       "usr", "var"}
# Not there at all.
GONE = ["etc/fstab", "etc/crypttab", "etc/resolv.conf", "etc/init.d", "etc/environment"]

BOOT_TARGET = """[Unit]
Description=Test host
Documentation=man:systemd.special(7)
Requires=basic.target
Wants=multi-user.target dbus.service systemd-journald.service
After=basic.target
AllowIsolate=yes
"""

JOURNALD = """[Journal]
# A test may log much at once; nothing of it may be dropped.
RateLimitBurst=0
SystemMaxUse=256M
ForwardToConsole=no
"""

SYSTEM = """[Manager]
# Tests end hosts; nothing may hold that up for long.
DefaultTimeoutStopSec=20s
ShowStatus=no
LogLevel=notice
"""


def hide(upper, path):
    target = os.path.join(upper, path)
    os.makedirs(target, mode=0o755, exist_ok=True)
    os.setxattr(target, "trusted.overlay.opaque", b"y")
    os.chmod(target, MODES.get(path, 0o755))


def whiteout(upper, path):
    target = os.path.join(upper, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.mknod(target, 0o600 | 0o020000, os.makedev(0, 0))


def put(root, path, text):
    target = os.path.join(root, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w") as f:
        f.write(text)


def make_root(spec):
    base = os.path.join(spec["base"], spec["name"])
    upper, work, root = (os.path.join(base, d) for d in ("upper", "work", "root"))
    for d in (upper, work, root):
        os.makedirs(d)
    for path in OPAQUE:
        hide(upper, path)
    for path in GONE:
        if os.path.lexists("/" + path):
            whiteout(upper, path)
    for path in os.listdir("/"):
        if path not in TOP and not path.startswith("lib"):
            whiteout(upper, path)
    for path in os.listdir("/var/lib"):
        if path.startswith("stagecoach"):
            whiteout(upper, "var/lib/" + path)

    lower = ":".join(spec["layers"] + ["/"])
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], check=True)

    put(root, "etc/hostname", spec["name"] + "\n")
    put(root, "etc/machine-id", spec["machine_id"] + "\n")
    put(root, "etc/systemd/system/test-host.target", BOOT_TARGET)
    put(root, "etc/systemd/journald.conf", JOURNALD)
    put(root, "etc/systemd/system.conf", SYSTEM)
    os.makedirs(os.path.join(root, "var/log/journal"))
    # The account of systemd-journal's readers and of Stagecoach's daemons: what a package's postinst does.
    if spec["boot"]:
        subprocess.run(["systemd-sysusers", "--root=" + root], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)


def make_network(spec):
    """A namespace for the host, on the bridge by one pair of interfaces. The bridge's end is called v-NAME."""
    name, port = spec["name"], "v-" + spec["name"][:12]
    script = f"""
        ip netns add {name}
        ip link add {port} type veth peer name eth0 netns {name}
        ip link set {port} master bridge up
        ip -n {name} link set lo up
        ip -n {name} addr add {spec['address']}/24 dev eth0
        ip -n {name} link set eth0 up
        ip -n {name} route add default via {spec['gateway']}
    """
    subprocess.run(["sh", "-e", "-c", script], check=True)


def make_bed(spec):
    script = f"""
        mount -t tmpfs -o mode=755,size=75% tmpfs /run
        mkdir -p /run/netns {spec['base']}
        ip link set lo up
        ip link add bridge type bridge
        ip addr add {spec['gateway']}/24 dev bridge
        ip link set bridge up
    """
    subprocess.run(["sh", "-e", "-c", script], check=True)
    if spec["stage"]:
        stage = os.path.join(spec["base"], "stage")
        shutil.copytree(spec["stage"], stage, symlinks=True)
        merge_usr(stage)


def merge_usr(stage):
    """/lib and its like are links on Debian; a directory of that name in a layer would hide the link."""
    for name in ("lib", "bin", "sbin"):
        top = os.path.join(stage, name)
        if os.path.isdir(top) and not os.path.islink(top):
            shutil.copytree(top, os.path.join(stage, "usr", name), symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(top)


def main(spec):
    if spec["do"] == "bed":
        make_bed(spec)
    else:
        make_network(spec)
        make_root(spec)


main(json.loads(sys.argv[1]))
