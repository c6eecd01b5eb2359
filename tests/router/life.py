# SPDX-License-Identifier: MIT
"""A router under change, for the tests beside this file: its services, its table, and what systemd does for it.

The sockets are held here and handed over as systemd does (LISTEN_FDS, LISTEN_FDNAMES), the words come back over
NOTIFY_SOCKET, and the main process is the one that was named last. Everything that was started ends with the block."""

import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SO_REUSEPORT = 15
PR_SET_PDEATHSIG = 1
READY_S = 30
BEGAN_FD = 3


def end_well(signo, frame):
    """So that whoever is told to end ends what it has started."""
    sys.exit(128 + signo)


signal.signal(signal.SIGTERM, end_well)
libc = ctypes.CDLL(None)


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start_helper(argv, **kwargs):
    """A process that ends with this one, whatever happens."""
    return subprocess.Popen(argv, preexec_fn=die_with_parent, text=True, **kwargs)


def eventually(what, fn, seconds=30, every=0.02):
    end = time.monotonic() + seconds
    while True:
        got = fn()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds} s: {what}")
        time.sleep(every)


def status_of(pid):
    """Lines of /proc/PID/status as a dictionary; empty once it is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return dict(line.split(":", 1) for line in f.read().splitlines() if ":" in line)
    except OSError:
        return {}


def rss_kb(pid):
    return int(status_of(pid).get("VmRSS", "0 kB").split()[0])


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


class Service:
    """One endpoint; dies and comes back on the same port."""

    def __init__(self, program, version, form="{port} {version}"):
        self.program, self.version, self.form = program, version, form
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = None
        self.start()

    def start(self):
        words = self.form.format(port=self.port, version=self.version).split()
        self.process = start_helper([*self.program, *words])
        eventually("the service listens", self.listens)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()


class Router:
    def __init__(self, program, table, workers=2, settings=(), sockets=2, log=None):
        self.program = os.path.abspath(program)
        self.folder = tempfile.mkdtemp(prefix="router-life-")
        self.table_path = os.path.join(self.folder, "table.json")
        self.config_path = os.path.join(self.folder, "routerd.conf")
        self.log_path = os.path.join(self.folder, "log")
        self.log = open(self.log_path, "ab")
        self.workers = workers
        self.epoch = 0
        self.put_table(table)
        self.configure(settings)
        self.sockets = self.listen(sockets)
        self.port = self.sockets[0].getsockname()[1]
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.notify.bind(os.path.join(self.folder, "notify"))
        self.main = None
        self.seen = {}  # every process that was the main one: its pidfd, as its number may be another's by now
        self.child = None

    def listen(self, n):
        """Members of one group, as ReusePort=yes with the same ListenStream= repeated makes them."""
        made, port = [], 0
        for _ in range(n):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            s.bind(("127.0.0.1", port))
            s.listen(4096)
            port = s.getsockname()[1]
            made.append(s)
        return made

    def configure(self, settings=()):
        lines = ["[Router]", f"Workers={self.workers}", f"StateDir={self.folder}", f"Table={self.table_path}",
                 f"Status={self.folder}/status", *settings]
        with open(self.config_path + ".new", "w") as f:
            f.write("\n".join(lines) + "\n")
        os.rename(self.config_path + ".new", self.config_path)

    def put_table(self, table):
        self.epoch += 1
        with open(self.table_path + ".new", "w") as f:
            json.dump(dict(table, format=1, epoch=self.epoch), f)
        self.put_at = time.time()
        os.rename(self.table_path + ".new", self.table_path)

    # --- what systemd does

    def spawn(self):
        fds = [s.fileno() for s in self.sockets]

        def place():
            high = [os.dup(fd) for fd in fds]
            lifted = [os.dup2(fd, 200 + i) for i, fd in enumerate(high)]
            for i, fd in enumerate(lifted):
                os.dup2(fd, BEGAN_FD + i, inheritable=True)
            os.environ["LISTEN_PID"] = str(os.getpid())
            os.closerange(BEGAN_FD + len(fds), 260)

        env = dict(os.environ, NOTIFY_SOCKET=os.path.join(self.folder, "notify"), LISTEN_FDS=str(len(fds)),
                   LISTEN_FDNAMES=":".join(["http"] * len(fds)))
        env.pop("STAGECOACH_GENERATION", None)
        # The pid must be in the environment of the process itself: sh knows its own.
        self.child = subprocess.Popen(
            ["sh", "-c", 'LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"', self.program,
             f"--config={self.config_path}"], env=env, preexec_fn=place, close_fds=False, stderr=self.log)
        self.see(self.child.pid)

    def see(self, pid):
        self.main = pid
        if pid not in self.processes():
            with contextlib.suppress(ProcessLookupError):
                self.seen[pid] = os.pidfd_open(pid)

    def start(self):
        self.spawn()
        self.wait_ready()

    def words(self, seconds):
        """One message to systemd as a dictionary, None after so many seconds."""
        if not select.select([self.notify], [], [], seconds)[0]:
            return None
        text = self.notify.recv(65536).decode(errors="replace")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def wait_ready(self, seconds=READY_S):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            said = self.words(max(0, end - time.monotonic())) or {}
            if "MAINPID" in said:
                self.see(int(said["MAINPID"]))
            if said.get("READY") == "1":
                return said.get("STATUS", "")
        raise AssertionError(f"not ready after {seconds} s\n{self.log_tail()}")

    def drain_words(self):
        while self.words(0) is not None:
            pass

    def reload(self):
        """True and the sentence, or False and the reason."""
        self.drain_words()
        said = subprocess.run([self.program, f"--reload={self.main}"], capture_output=True, text=True)
        self.wait_ready()
        return said.returncode == 0, said.stderr.strip()

    def must_reload(self):
        before = self.main
        done, text = self.reload()
        assert done, f"{text}\n{self.log_tail()}"
        assert self.main != before and self.alive(self.main), text

    def processes(self):
        for pid, fd in list(self.seen.items()):
            if select.select([fd], [], [], 0)[0]:
                os.close(self.seen.pop(pid))
        return sorted(self.seen)

    def kill_left(self):
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.seen[pid], signal.SIGKILL)
        return left

    def stop(self, seconds=15):
        """As KillMode=mixed: the main process is asked, whoever is left when it has ended is killed."""
        signal.pidfd_send_signal(self.seen[self.main], signal.SIGTERM)
        eventually("the main process ends", lambda: not self.alive(self.main), seconds)
        return self.kill_left()

    def alive(self, pid):
        if self.child and pid == self.child.pid:
            return self.child.poll() is None
        return pid in self.processes()

    def restart(self):
        left = self.stop()
        self.drain_words()
        self.start()
        assert not left, f"left when the main process had ended: {left}"

    def reap(self):
        if self.child:
            self.child.poll()

    def log_tail(self, n=30):
        self.log.flush()
        with open(self.log_path, errors="replace") as f:
            return "".join(f.readlines()[-n:])

    def sanitizer_words(self):
        """A process that is not the main one any more may have ended by one, and nobody asked for its exit status."""
        text = self.log_tail(100000)
        at = re.search(r"^.*(Sanitizer|runtime error:)", text, re.MULTILINE)
        return text[at.start():at.start() + 8000] if at else ""

    def end(self):
        self.kill_left()
        if self.child:
            self.child.wait()
        for fd in self.seen.values():
            os.close(fd)
        for s in self.sockets:
            s.close()
        self.notify.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def router(*args, **kwargs):
    made = Router(*args, **kwargs)
    try:
        yield made
        assert not made.sanitizer_words(), "a sanitizer spoke"
    except BaseException:
        sys.stderr.write("--- the router's log\n" + (made.sanitizer_words() or made.log_tail(60)))
        raise
    finally:
        made.end()


@contextlib.contextmanager
def services(program, versions, **kwargs):
    made = []
    try:
        for version in versions:
            made.append(Service(program, version, **kwargs))
        yield made
    finally:
        for service in made:
            with contextlib.suppress(Exception):
                service.kill()


def table_of(releases, **service):
    """releases: { version: [endpoints…] }, every one with the same share."""
    return {"routes": [{"host": "*", "service": "web"}],
            "services": [dict({"name": "web", "releases": [
                {"version": version, "weight": 1,
                 "endpoints": [{"address": f"127.0.0.1:{e.port}"} for e in endpoints]}
                for version, endpoints in releases.items()]}, **service)]}
