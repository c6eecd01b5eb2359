# SPDX-License-Identifier: MIT
"""Throwaway hosts with real systemd, on one machine.

A host is systemd-nspawn --boot on an overlay of this machine's own `/`, in a network namespace of its own on a
bridge that reaches nothing else. Everything lives in one PID, mount and network namespace whose first process
(the keeper) dies with the process that made the bed, however that ends; the kernel then ends all that runs in
it and forgets its mounts and interfaces. Only empty cgroup directories would stay, and a small janitor that
waits for the maker's end removes them.

    with Testbed(stage="build/stage") as bed:
        hub, app = bed.hosts("hub1", "app1")
        bed.start(hub, app)
        hub.run(["systemctl", "is-system-running"])

This file knows hosts, commands and cables. What Stagecoach does on the hosts is in fleet.py.
"""

import ctypes
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = "/run/testbed"  # inside the bed's own mount namespace, on its own tmpfs
NETWORK = "10.77.0."
GATEWAY = NETWORK + "1"
BOOT_DEADLINE_S = 60
RUN_DEADLINE_S = 120
PREFIX = "stagecoach-test"
# One directory per host in each of these; without it all hosts share one tree and end each other's units.
HIERARCHIES = ["systemd", "unified", "memory", "pids", "cpu", "cpuacct", "blkio"]
# Writable in a host, so that limits of units are real there (cgroup v1 only; v2 delegates by itself).
LIMITS = ["memory", "pids", "cpu", "cpuacct"]
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "USER": "root",
}
PR_SET_PDEATHSIG = 1

JANITOR = r"""
read -r _
for try in $(seq 200); do
    left=
    for d in /sys/fs/cgroup/*/"$1".* /sys/fs/cgroup/"$1".*; do
        [ -d "$d" ] || continue
        find "$d" -depth -type d -exec rmdir {} + 2>/dev/null
        [ -d "$d" ] && left=1
    done
    [ "$left" ] || exit 0
    sleep 0.05
done
"""

KEEPER = r"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdout.write("ready\n"); sys.stdout.flush()
while True:
    try:
        os.wait()
    except ChildProcessError:
        signal.sigtimedwait([signal.SIGCHLD], 1)
"""


class TestbedError(Exception):
    pass


class CommandFailed(TestbedError):
    def __init__(self, where, argv, result):
        self.result = result
        super().__init__(f"{where}: {shlex.join(argv)}: status {result.status}\n{result.out}{result.err}")


class Result:
    """What a command on a host said and how it ended."""

    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"<status {self.status} out {self.out!r} err {self.err!r}>"


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def why_impossible():
    """None where test hosts can run, else one sentence that says why not."""
    if os.geteuid() != 0:
        return "not root: test hosts need namespaces and mounts"
    for program in ("systemd-nspawn", "nsenter", "unshare", "ip"):
        if not any(os.access(os.path.join(d, program), os.X_OK) for d in ENVIRONMENT["PATH"].split(":")):
            return f"{program} is not installed"
    probe = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True)
    if probe.returncode != 0:
        return "no new namespaces here: " + probe.stderr.strip()
    return None


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


def namespace_pids(pid):
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("NSpid:"):
                    return [int(word) for word in line.split()[1:]]
    except OSError:
        pass
    return []


class Testbed:
    """One network of hosts. keep=True: it outlives this process; attach() finds it again, close() ends it."""

    def __init__(self, stage=None, keep=False, name=None, log=None):
        reason = why_impossible()
        if reason:
            raise TestbedError(reason)
        self.id = name or secrets.token_hex(3)
        self.stage = stage
        self.log = log or (lambda text: None)
        self.by_name = {}
        self.lock = threading.Lock()
        self.janitor = None
        self._start_keeper(keep)
        if not keep:
            self._start_janitor()
        self._inside({"do": "bed", "base": BASE, "gateway": GATEWAY, "stage": stage and os.path.abspath(stage)})

    # --- the bed -------------------------------------------------------------------------------------------

    def _start_keeper(self, keep):
        argv = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc",
                "--propagation", "private", "/usr/bin/python3", "-c", KEEPER]
        self.unshare = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if keep else None,
            start_new_session=True, preexec_fn=None if keep else die_with_parent, cwd="/")
        if self.unshare.stdout.readline() != b"ready\n":
            raise TestbedError("the bed's first process did not start")
        self.unshare_pid = self.unshare.pid
        self.keeper = children(self.unshare_pid)[0]

    def _start_janitor(self):
        reader, self.janitor_pipe = os.pipe()
        self.janitor = subprocess.Popen(["sh", "-c", JANITOR, "janitor", f"{PREFIX}.{self.id}"], stdin=reader,
                                        start_new_session=True, cwd="/")
        os.close(reader)

    def _enter(self):
        return ["nsenter", "-t", str(self.keeper), "-m", "-n", "-p", "-r", "--wd=/"]

    def _inside(self, spec):
        with open(os.path.join(HERE, "inside.py")) as f:
            program = f.read()
        done = subprocess.run(self._enter() + ["/usr/bin/python3", "-", json.dumps(spec)], input=program, text=True,
                              capture_output=True)
        if done.returncode != 0:
            raise TestbedError(f"can't make {spec.get('name', 'the bed')}: {done.stderr.strip()}")

    def sh(self, script, check=True):
        """A shell script where the bridge is: outside of all hosts, inside of the bed."""
        done = subprocess.run(self._enter() + ["sh", "-e", "-c", script], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise TestbedError(f"{script.strip()}: {done.stderr.strip()}")
        return done.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            os.kill(self.unshare_pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.unshare:
            self.unshare.wait()
            self.unshare.stdout.close()
        for host in self.by_name.values():
            host._reap()
        if not self.janitor:
            self._start_janitor()
        os.close(self.janitor_pipe)
        self.janitor.wait()

    # --- hosts ---------------------------------------------------------------------------------------------

    def host(self, name, boot=True):
        """A new host, not started yet. boot=False: no systemd in it, only a place to run commands."""
        with self.lock:
            if name in self.by_name:
                return self.by_name[name]
            host = Host(self, name, NETWORK + str(11 + len(self.by_name)), boot)
            self.by_name[name] = host
        self._inside({
            "do": "host", "base": BASE, "name": name, "address": host.address, "gateway": GATEWAY, "boot": boot,
            "machine_id": secrets.token_hex(16), "layers": [BASE + "/stage"] if self.stage else []})
        return host

    def client(self, name="client"):
        """A started host without systemd: somebody's laptop."""
        host = self.host(name, boot=False)
        host.start()
        return host

    def hosts(self, *names):
        return [self.host(name) for name in names]

    def start(self, *hosts):
        """Starts hosts side by side and tells all of them everybody's name."""
        self._each(hosts, Host.start)
        self.write_names()

    def _each(self, hosts, fn):
        errors = []

        def call(host):
            try:
                fn(host)
            except Exception as e:  # handed to the caller below
                errors.append(e)

        threads = [threading.Thread(target=call, args=(host,)) for host in hosts]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if errors:
            raise errors[0]

    def write_names(self, **aliases):
        """/etc/hosts everywhere; aliases: name=host."""
        lines = ["127.0.0.1 localhost"]
        for host in self.by_name.values():
            names = [host.name] + [a.replace("_", ".") for a, h in aliases.items() if h is host]
            lines.append(f"{host.address} {' '.join(names)}")
        for host in self.by_name.values():
            self.put_file(host, "etc/hosts", "\n".join(lines) + "\n")

    def put_file(self, host, path, text):
        """Into a host's file system whether it runs or not."""
        target = f"{BASE}/{host.name}/root/{path}"
        subprocess.run(self._enter() + ["sh", "-e", "-c", 'mkdir -p "$(dirname "$1")"; cat > "$1"', "sh", target],
                       input=text, text=True, check=True)

    # --- a bed that outlives its maker -----------------------------------------------------------------------

    def describe(self):
        return {"id": self.id, "unshare": self.unshare_pid, "keeper": self.keeper, "stage": self.stage,
                "hosts": [{"name": h.name, "address": h.address, "boot": h.boots, "nspawn": h.nspawn_pid,
                           "leader": h.leader} for h in self.by_name.values()]}

    @classmethod
    def attach(cls, state):
        """The bed that describe() told of; None if it is gone."""
        if namespace_pids(state["keeper"])[1:] != [1] or state["keeper"] not in children(state["unshare"]):
            return None
        bed = cls.__new__(cls)
        bed.id, bed.stage, bed.unshare, bed.janitor = state["id"], state["stage"], None, None
        bed.unshare_pid, bed.keeper, bed.by_name = state["unshare"], state["keeper"], {}
        bed.lock, bed.log = threading.Lock(), (lambda text: None)
        for row in state["hosts"]:
            host = Host(bed, row["name"], row["address"], row["boot"])
            host.nspawn_pid, host.leader = row["nspawn"], row["leader"]
            bed.by_name[host.name] = host
        return bed


class Host:
    def __init__(self, bed, name, address, boots):
        self.bed, self.name, self.address, self.boots = bed, name, address, boots
        self.leader = None      # process 1 of the host, as this machine counts
        self.nspawn_pid = None
        self.nspawn = None      # the Popen, when this process started it

    def __repr__(self):
        return f"<{self.name} {self.address}>"

    # --- life ------------------------------------------------------------------------------------------------

    def start(self):
        root = f"{BASE}/{self.name}/root"
        group = f"{PREFIX}.{self.bed.id}.{self.name}"
        argv = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--directory=" + root,
                "--machine=" + self.name, "--hostname=" + self.name, "--network-namespace-path=/run/netns/" + self.name,
                "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe",
                "--kill-signal=SIGRTMIN+4"]
        argv += ["--boot", "--", "--unit=test-host.target"] if self.boots else ["--as-pid2", "--", "sleep", "infinity"]
        script = f"""
            for h in {' '.join(HIERARCHIES)} .; do
                d=/sys/fs/cgroup/$h
                [ -e $d/cgroup.procs ] || continue
                # What an earlier boot of this host left; nspawn doesn't take over groups that exist.
                [ ! -d $d/{group} ] || find $d/{group} -mindepth 1 -depth -type d -exec rmdir {{}} +
                mkdir -p $d/{group} && echo $$ > $d/{group}/cgroup.procs || :
            done 2>/dev/null
            exec {shlex.join(argv)} > {BASE}/{self.name}/console 2>&1
        """
        environment = dict(ENVIRONMENT, SYSTEMD_NSPAWN_LOCK="0")
        self.nspawn = subprocess.Popen(self.bed._enter() + ["sh", "-c", script], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       start_new_session=True, env=environment)
        self._wait_for_leader()
        if self.boots:
            self._wait_for_boot()

    def _wait_for_leader(self):
        deadline = time.monotonic() + BOOT_DEADLINE_S
        while time.monotonic() < deadline:
            if self.nspawn.poll() is not None:
                raise TestbedError(f"{self.name} did not start: {self.console()}")
            for nspawn in children(self.nspawn.pid):
                for leader in children(nspawn):
                    pids = namespace_pids(leader)
                    if len(pids) == len(namespace_pids(nspawn)) + 1 and pids[-1] == 1:
                        self.nspawn_pid, self.leader = nspawn, leader
                        return
            time.sleep(0.02)
        raise TestbedError(f"{self.name} did not start in {BOOT_DEADLINE_S} s: {self.console()}")

    def _wait_for_boot(self):
        deadline = time.monotonic() + BOOT_DEADLINE_S
        while True:
            state = self.run(["systemctl", "is-system-running", "--wait"], check=False)
            if state.out.strip() in ("running", "degraded"):
                break
            if time.monotonic() > deadline or self.nspawn.poll() is not None:
                raise TestbedError(f"{self.name} did not boot: {state} {self.console()}")
            time.sleep(0.05)
        self._open_limits()

    def _open_limits(self):
        """nspawn hands cgroup v1 controllers over read-only, and systemd then drops limits without a word."""
        script = "".join(f"[ ! -e /sys/fs/cgroup/{c}/tasks ] || mount -o remount,rw,bind /sys/fs/cgroup/{c}; "
                         for c in LIMITS)
        self.run(["sh", "-c", script + "[ ! -e /sys/fs/cgroup/memory/tasks ] || exec systemctl daemon-reexec"])

    def console(self):
        return self.bed.sh(f"tail -n 40 {BASE}/{self.name}/console 2>/dev/null", check=False)

    def _reap(self):
        if self.nspawn:
            self.nspawn.wait()
            self.nspawn = None

    def _wait_gone(self):
        if self.nspawn:
            try:
                self.nspawn.wait(BOOT_DEADLINE_S)
            except subprocess.TimeoutExpired:
                os.kill(self.leader, signal.SIGKILL)
                self.nspawn.wait()
        self.nspawn = self.leader = self.nspawn_pid = None

    def kill(self):
        """Pulls the plug: nothing on it gets a word, files stay as they are."""
        os.kill(self.leader, signal.SIGKILL)
        self._wait_gone()

    def stop(self):
        """An orderly power-off."""
        os.kill(self.leader, signal.SIGRTMIN + 4 if self.boots else signal.SIGKILL)
        self._wait_gone()

    def reboot(self, hard=False):
        self.kill() if hard else self.stop()
        self.start()

    def is_up(self):
        return self.leader is not None and os.path.exists(f"/proc/{self.leader}")

    # --- cable -------------------------------------------------------------------------------------------------

    def cut(self):
        """The network cable is out: packets are lost, nothing is refused."""
        self.bed.sh(f"ip link set v-{self.name[:12]} down")

    def mend(self):
        self.bed.sh(f"ip link set v-{self.name[:12]} up")

    # --- commands ------------------------------------------------------------------------------------------------

    def argv(self, command, env=None, user=None):
        """What runs `command` in this host from here."""
        if isinstance(command, str):
            command = ["sh", "-c", command]
        if user:
            command = ["runuser", "-u", user, "--"] + command
        words = [f"{k}={v}" for k, v in {**ENVIRONMENT, **(env or {})}.items()]
        return ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--wd=/", "env", "-i",
                "--chdir=/root", *words, *command]

    def run(self, command, check=True, input=None, timeout=RUN_DEADLINE_S, env=None, user=None):
        """Runs a command (list, or text for a shell) to its end. `timeout` ends it there with status 124."""
        if isinstance(command, str):
            command = ["sh", "-c", command]
        argv = self.argv(["timeout", "-k", "5", str(timeout)] + command, env, user)
        begun = time.monotonic()
        done = subprocess.run(argv, input=input, capture_output=True, text=True, errors="replace",
                              stdin=None if input is not None else subprocess.DEVNULL)
        result = Result(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)
        if check and result.status != 0:
            raise CommandFailed(self.name, command, result)
        return result

    def spawn(self, command, env=None, user=None, **popen):
        """Starts a command and returns its Popen; it ends with this host at the latest."""
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.STDOUT)
        popen.setdefault("text", True)
        return subprocess.Popen(self.argv(command, env, user), **popen)

    def write_file(self, path, text, mode=0o644):
        self.run(["sh", "-e", "-c", 'umask 077; mkdir -p -m 755 "$(dirname "$1")"; cat > "$1"; chmod "$2" "$1"', "sh",
                  path, f"{mode:o}"], input=text)

    def read_file(self, path):
        return self.run(["cat", path]).out

    def copy_in(self, source, target):
        """A file or a directory from this machine."""
        source = os.path.abspath(source)
        parent, name = os.path.split(source)
        tar = subprocess.Popen(["tar", "-C", parent, "-c", name], stdout=subprocess.PIPE)
        done = subprocess.run(self.argv(["sh", "-e", "-c", 'mkdir -p "$1"; tar -C "$1" -x --no-same-owner --strip-components=1', "sh",
                                         target]) if os.path.isdir(source) else
                              self.argv(["tar", "-C", target, "-x", "--no-same-owner"]),
                              stdin=tar.stdout, capture_output=True, text=True)
        tar.stdout.close()
        if tar.wait() != 0 or done.returncode != 0:
            raise TestbedError(f"{self.name}: can't copy {source} in: {done.stderr.strip()}")

    # --- systemd ---------------------------------------------------------------------------------------------------

    def systemctl(self, *words, check=True):
        return self.run(["systemctl", *words], check=check)

    def show(self, unit, *properties):
        """Properties of a unit as a dict."""
        out = self.systemctl("show", unit, *(f"--property={p}" for p in properties)).out
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def pid(self, unit):
        return int(self.show(unit, "MainPID")["MainPID"])

    def kill_unit(self, unit, sig="SIGKILL", whom="main"):
        self.systemctl("kill", f"--signal={sig}", f"--kill-whom={whom}", unit)

    def journal(self, *words, check=True):
        return self.run(["journalctl", "--no-pager", "--quiet", *words], check=check).out


def wait_until(what, fn, seconds=10, every=0.05):
    """Asks fn until it answers something true, and returns that; a sentence with `what` when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        last = fn()
        if last:
            return last
        if time.monotonic() > deadline:
            raise TestbedError(f"not within {seconds} s: {what}")
        time.sleep(every)
