#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Slow, stalling and flooding clients against a real routerd: memory stays bounded, each phase ends by its time-out, and
everyone else is served meanwhile.

    hostile.py [--routerd=PROGRAM] [--slowhttptest] [SCENE…]

Prints a line per scene with what was measured; exit status 1 if one fails. With --slowhttptest that program attacks, too."""

import argparse
import collections
import os
import re
import resource
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "h1"))
sys.dont_write_bytecode = True

import proxies  # noqa: E402

HEAD_S, BODY_S, BUFFERED_MB = 2, 2, 8
SLACK_S = 12  # a window more, the wheel's steps, and a machine that does other things; nothing waits for it
PROBE_MAX_S = 5.0  # and what the machine itself makes somebody wait who asks the service without the router
SETTINGS = ["--set=Timeouts.Head=%ds" % HEAD_S, "--set=Timeouts.Body=%ds" % BODY_S, "--set=Limits.Buffered=%dM" % BUFFERED_MB,
            "--set=Timeouts.Idle=30s", "--set=Router.Status="]
BIG = 8 << 20
GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Failed(Exception):
    pass


def need(condition, text, *more):
    if not condition:
        raise Failed(text % more if more else text)


class Service(threading.Thread):
    """Answers /big with 8 MB, /page with 8 kB, everything else with two bytes; takes bodies of any size."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.small = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.page = b"HTTP/1.1 200 OK\r\nContent-Length: 8000\r\n\r\n" + b"x" * 8000
        self.big = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + b"x" * BIG

    def run(self):
        while True:
            for key, events in self.selector.select():
                if key.data is None:
                    sock, _ = self.listener.accept()
                    sock.setblocking(False)
                    self.selector.register(sock, selectors.EVENT_READ, {"in": b"", "out": collections.deque()})
                else:
                    self.serve(key.fileobj, key.data, events)

    def serve(self, sock, state, events):
        try:
            if events & selectors.EVENT_READ:
                data = sock.recv(1 << 18)
                if not data:
                    raise ConnectionError
                self.take(state, data)
            while state["out"]:
                state["out"][0] = state["out"][0][sock.send(state["out"][0]):]
                if not state["out"][0]:
                    state["out"].popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.selector.unregister(sock)
            sock.close()
            return
        self.selector.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if state["out"] else 0), state)

    def take(self, state, data):
        state["in"] += data
        while True:
            end = state["in"].find(b"\r\n\r\n")
            if end < 0:
                return
            head = state["in"][:end + 4]
            length = re.search(rb"(?i)content-length: (\d+)", head)
            size = end + 4 + (int(length[1]) if length else 0)
            if b"chunked" in head:
                last = state["in"].find(b"0\r\n\r\n", end)
                if last < 0:
                    state["in"] = head + state["in"][-8:]
                    return
                size = last + 5
            if len(state["in"]) < size:
                return
            state["in"] = state["in"][size:]
            state["out"].append(memoryview(self.big if b" /big" in head else self.page if b" /page" in head else self.small))


class Probe(threading.Thread):
    """Somebody else, who asks all the while: one connection that is kept, and new ones."""

    def __init__(self, port, service_port):
        super().__init__(daemon=True)
        self.port = port
        self.service_port = service_port
        self.worst = self.direct = 0
        self.asked = 0
        self.failures = []
        self.over = threading.Event()

    @staticmethod
    def ask(sock):
        sock.sendall(GET)
        got = b""
        while not got.endswith(b"ok"):
            data = sock.recv(4096)
            if not data:
                raise ConnectionError("closed after %r" % got)
            got += data

    def run(self):
        kept = socket.create_connection(("127.0.0.1", self.port), 20)
        while not self.over.wait(0.02):
            try:
                begun = time.monotonic()
                with socket.create_connection(("127.0.0.1", self.service_port), 20) as direct:
                    self.ask(direct)
                middle = time.monotonic()
                self.ask(kept)
                with socket.create_connection(("127.0.0.1", self.port), 20) as fresh:
                    self.ask(fresh)
            except OSError as e:
                self.failures.append(str(e))
                return
            self.direct = max(self.direct, middle - begun)
            self.worst = max(self.worst, time.monotonic() - middle)
            self.asked += 1
        kept.close()

    def __exit__(self, *_):
        self.over.set()
        self.join()
        return False

    def __enter__(self):
        self.start()
        return self


def connect(port, receive_buffer=None):
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(5)
    s.connect(("127.0.0.1", port))
    s.setblocking(False)
    return s


def send(s, data):
    """What goes now; None: the connection is gone."""
    try:
        return s.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return None


def read(s, into):
    """True while it is open."""
    try:
        data = s.recv(65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    into += data
    return bool(data)


class Lab:
    def __init__(self, args):
        self.args = args
        self.service = Service()
        self.service.start()
        self.proxy = None

    def begin(self, settings=(), environment=None):
        self.proxy = proxies.routerd(self.args.routerd, self.service.port, SETTINGS + list(settings), environment)
        self.pid = self.proxy.process.pid

    def rss_mb(self):
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1]) / 1024

    def memory(self, grown_mb, most_mb):
        # A sanitizer keeps what was freed.
        need(self.args.sanitized or grown_mb < most_mb, "memory grew by %.0f MB", grown_mb)

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def cpu_s(self):
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def attack(self, clients, tick, seconds):
        """Calls tick(i, socket) for each that is open, ten times a second, and reads; until all are closed by the router or time
        is up. Returns (what each got, when the last one was closed or None)."""
        got = [bytearray() for _ in clients]
        is_open = [True] * len(clients)
        begun = time.monotonic()
        peak = 0
        while any(is_open) and time.monotonic() - begun < seconds:
            for i, s in enumerate(clients):
                if is_open[i]:
                    if tick(i, s) is None or not read(s, got[i]):
                        is_open[i] = read(s, got[i]) and False
            peak = max(peak, self.rss_mb())
            time.sleep(0.1)
        took = None if any(is_open) else time.monotonic() - begun
        for s in clients:
            s.close()
        return got, took, peak


def status(got):
    found = re.match(rb"HTTP/1.1 (\d{3})", got)
    return int(found[1]) if found else 0


# --- scenes -------------------------------------------------------------------------------------------------------


def slow_heads(lab):
    """A byte of a field every tenth of a second."""
    clients = [connect(lab.proxy.port) for _ in range(200)]
    for s in clients:
        send(s, b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Slow: ")
    got, took, _ = lab.attack(clients, lambda i, s: send(s, b"a\r\nX: " if i % 2 else b"a"), HEAD_S + SLACK_S)
    need(took, "some are still open")
    need(all(status(g) == 408 for g in got), "answered %s", sorted({status(g) for g in got}))
    return "200 clients, all refused by 408 within %.1f s" % took


def stalled(lab):
    """1,000 connections: half of them silent, half inside a head."""
    clients = [connect(lab.proxy.port) for _ in range(1000)]
    before = lab.rss_mb()
    for s in clients[::2]:
        send(s, b"GET / HTTP/1.1\r\nHost: a.exam")
    got, took, peak = lab.attack(clients, lambda i, s: 0, HEAD_S + SLACK_S + 2)
    need(took, "some are still open")
    need(all(status(g) in (0, 408) for g in got), "answered %s", sorted({status(g) for g in got}))
    lab.memory(peak - before, 20)
    return "1,000 clients, all closed within %.1f s, %+.1f MB" % (took, peak - before)


def slow_bodies(lab):
    """Bodies that move at 10 bytes per second, by length and in chunks."""
    clients = [connect(lab.proxy.port) for _ in range(200)]
    for i, s in enumerate(clients):
        framing = b"Content-Length: 100000\r\n\r\n" if i % 2 else b"Transfer-Encoding: chunked\r\n\r\nffff\r\n"
        send(s, b"POST / HTTP/1.1\r\nHost: a.example\r\n" + framing)
    got, took, _ = lab.attack(clients, lambda i, s: send(s, b"a"), 2 * BODY_S + SLACK_S)
    need(took, "some are still open")
    need(all(status(g) == 408 for g in got), "answered %s", sorted({status(g) for g in got}))
    return "200 clients, all refused by 408 within %.1f s" % took


def slow_readers(lab):
    """Ask for 8 MB and do not read."""
    before = lab.rss_mb()
    clients = [connect(lab.proxy.port, 4096) for _ in range(200)]
    for s in clients:
        send(s, b"GET /big HTTP/1.1\r\nHost: a.example\r\n\r\n")
    peak, begun, left = 0, time.monotonic(), 1
    base = lab.descriptors()
    while left and time.monotonic() - begun < 2 * BODY_S + SLACK_S + 2:
        time.sleep(0.1)
        peak = max(peak, lab.rss_mb())
        left = sum(s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in (1, 4) for s in clients)
    for s in clients:
        s.close()
    need(not left, "%d of them are still open", left)
    lab.memory(peak - before, BUFFERED_MB + 24)
    return "200 clients, all cut off within %.1f s, %+.1f MB, %d descriptors" % (time.monotonic() - begun, peak - before, base)


def field_floods(lab):
    """Fields without end, as fast as they go."""
    before = lab.rss_mb()
    clients = [connect(lab.proxy.port) for _ in range(100)]
    for s in clients:
        send(s, b"GET / HTTP/1.1\r\n")
    flood = [b"X-Some-Name: some value\r\n" * 40, b"X: " + b"a" * 4000, b"A" * 4000]
    got, took, peak = lab.attack(clients, lambda i, s: send(s, flood[i % 3]), HEAD_S + SLACK_S + 2)
    need(took, "some are still open")
    need(all(status(g) in (431, 408, 0) for g in got), "answered %s", sorted({status(g) for g in got}))
    lab.memory(peak - before, 24)
    return "100 clients, all refused within %.1f s, %+.1f MB" % (took, peak - before)


def colliding_names(lab):
    """Fields whose names fall together in common hashes cost what others do."""
    def cost(names):
        head = b"GET / HTTP/1.1\r\nHost: a.example\r\n" + b"".join(n + b": x\r\n" for n in names) + b"\r\n"
        with socket.create_connection(("127.0.0.1", lab.proxy.port)) as s:
            before = lab.cpu_s()
            for _ in range(60):
                s.sendall(head * 50)
                got = 0
                while got < 50:
                    got += s.recv(65536).count(b"HTTP/1.1 200")
            return lab.cpu_s() - before
    # The same multiplicative hash for all of them: Ez and FY fall together under *31, so do all their sequences.
    pairs = [b"".join((b"Ez", b"FY")[i >> k & 1] for k in range(7)) for i in range(120)]
    plain = [b"Name-Of-%05d" % i for i in range(120)]
    a, b = cost(plain), cost(pairs)
    need(b < 2 * a + 0.2, "%.2f s of CPU, plain names take %.2f s", b, a)
    return "3,000 requests of 120 fields: %.2f s of CPU, plain names %.2f s" % (b, a)


def chunk_extensions(lab):
    """Extensions without end in a body."""
    clients = [connect(lab.proxy.port) for _ in range(100)]
    for s in clients:
        send(s, b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n")
    line = b"1;" + b"a" * 200 + b"\r\nx\r\n"
    got, took, _ = lab.attack(clients, lambda i, s: send(s, b"1;" + b"a" * 100 if i % 2 else line * 10), BODY_S + SLACK_S)
    need(took, "some are still open")
    need(all(status(g) in (400, 408, 0) for g in got), "answered %s", sorted({status(g) for g in got}))
    return "100 clients, all refused within %.1f s" % took


def pipelines(lab):
    """Requests behind requests, answers not read."""
    before = lab.rss_mb()
    clients = [connect(lab.proxy.port, 4096) for _ in range(50)]
    many = GET.replace(b"/", b"/page", 1) * 400
    peak, begun, left = 0, time.monotonic(), 1
    gone = [False] * len(clients)
    while left and time.monotonic() - begun < 3 * BODY_S + SLACK_S + 5:
        for i, s in enumerate(clients):
            gone[i] = gone[i] or send(s, many) is None
        peak = max(peak, lab.rss_mb())
        left = gone.count(False)
        time.sleep(0.05)
    for s in clients:
        s.close()
    need(not left, "%d of them are still open", left)
    lab.memory(peak - before, BUFFERED_MB + 24)
    return "50 clients, all cut off within %.1f s, %+.1f MB" % (time.monotonic() - begun, peak - before)


def pipelined_heads(lab):
    """Much behind a request that takes long: what is kept of it has a limit."""
    before = lab.rss_mb()
    clients = [connect(lab.proxy.port) for _ in range(400)]
    for s in clients:
        send(s, b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nabc")
    time.sleep(0.3)
    for s in clients:
        send(s, b"de" + GET * 3000)
        send(s, GET * 3000)
    peak, begun = 0, time.monotonic()
    while time.monotonic() - begun < 2:
        peak = max(peak, lab.rss_mb())
        time.sleep(0.05)
    for s in clients:
        s.close()
    lab.memory(peak - before, BUFFERED_MB + 24)
    return "400 clients, %+.1f MB" % (peak - before)


def large_heads(lab):
    """60 kB of a head each, and no end of it."""
    before = lab.rss_mb()
    clients = [connect(lab.proxy.port) for _ in range(600)]
    for s in clients:
        send(s, b"GET / HTTP/1.1\r\nHost: a.example\r\nX: " + b"a" * 60000)
    got, took, peak = lab.attack(clients, lambda i, s: 0, HEAD_S + SLACK_S + 2)
    need(took, "some are still open")
    lab.memory(peak - before, BUFFERED_MB + 24)
    return "600 clients, all closed within %.1f s, %+.1f MB" % (took, peak - before)


def resets(lab):
    """Clients that vanish in the middle of everything leave nothing behind."""
    before = lab.descriptors()
    for i in range(1000):
        s = connect(lab.proxy.port)
        send(s, (GET, GET[:20], b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nabc",
                 b"GET /big HTTP/1.1\r\nHost: a.example\r\n\r\n")[i % 4])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    deadline = time.monotonic() + 10
    while lab.descriptors() > before + 80 and time.monotonic() < deadline:
        time.sleep(0.1)
    need(lab.descriptors() <= before + 80, "%d descriptors, %d before", lab.descriptors(), before)
    return "1,000 clients, %d descriptors behind it, %d before" % (lab.descriptors(), before)


SCENES = [slow_heads, stalled, slow_bodies, slow_readers, field_floods, colliding_names, chunk_extensions, pipelines,
          pipelined_heads, large_heads, resets]


def no_descriptors(lab):
    """Without a descriptor left: no spinning, and all is well when there are some again."""
    limit = 80
    lab.begin()
    resource.prlimit(lab.pid, resource.RLIMIT_NOFILE, (limit, limit))
    clients = [connect(lab.proxy.port) for _ in range(200)]
    for s in clients:
        send(s, GET)
    time.sleep(0.5)
    before, begun = lab.cpu_s(), time.monotonic()
    time.sleep(1.5)
    share = (lab.cpu_s() - before) / (time.monotonic() - begun)
    for s in clients:
        s.close()
    time.sleep(0.5)
    with socket.create_connection(("127.0.0.1", lab.proxy.port), 5) as s:
        Probe.ask(s)
    lab.proxy.stop()
    need(share < 0.2, "%.0f %% of a processor", share * 100)
    return "200 clients with %d descriptors: %.0f %% of a processor, and it serves again" % (limit, share * 100)


def slowhttptest(lab):
    """All modes of that program; it asks for itself whether the service is available."""
    modes = {"slow headers": ["-H", "-i", "1"], "slow bodies": ["-B", "-i", "1", "-s", "8192"],
             "ranges": ["-R", "-a", "10", "-b", "3000"], "slow reading": ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3"]}
    url = "http://127.0.0.1:%d/" % lab.proxy.port
    for name, options in modes.items():
        path = "big" if name == "slow reading" else ""
        out = subprocess.run(["slowhttptest", *options, "-c", "1000", "-r", "500", "-l", "6", "-p", "2", "-u", url + path],
                             capture_output=True, text=True, timeout=60).stdout
        text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]", "", out)
        said = re.findall(r"service available:\s+(\w+)", text)
        need(said and "NO" not in said, "%s: %s", name, said or text[-300:])
    return "available in all modes: " + ", ".join(modes)


def play(lab, scene):
    with Probe(lab.proxy.port, lab.service.port) as probe:
        said = scene(lab)
    need(not probe.failures, "somebody else was not served: %s", probe.failures)
    need(probe.worst < PROBE_MAX_S * (4 if lab.args.sanitized else 1) + 3 * probe.direct,
         "somebody else waited %.2f s, and %.2f s without the router", probe.worst, probe.direct)
    return "%s; somebody else waited %.0f ms at most in %d requests (%.0f ms without the router)" % (
        said, probe.worst * 1000, 2 * probe.asked, probe.direct * 1000)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routerd", default=os.path.join(proxies.TREE, "build", "routerd", "stagecoach-routerd"))
    parser.add_argument("--slowhttptest", action="store_true")
    parser.add_argument("--sanitized", action="store_true", help="memory is not judged, times are less")
    parser.add_argument("scenes", nargs="*")
    args = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    lab = Lab(args)
    lab.begin()
    scenes = [s for s in SCENES if not args.scenes or s.__name__ in args.scenes]
    if args.slowhttptest:
        need(shutil.which("slowhttptest"), "slowhttptest is not installed")
        scenes.append(slowhttptest)
    failed = 0
    start_rss = None
    for scene in scenes + ([no_descriptors] if not args.scenes or "no_descriptors" in args.scenes else []):
        try:
            if scene is no_descriptors:
                lab.proxy.stop()
                said = scene(lab)
            else:
                said = play(lab, scene)
                start_rss = start_rss or lab.rss_mb()
            print("%-17s %s" % (scene.__name__, said), flush=True)
        except (Failed, OSError) as e:
            failed += 1
            print("%-17s FAILED: %s" % (scene.__name__, e), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
