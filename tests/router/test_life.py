#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Small scenes of a router's life that the long ones beside this file pass over.

    test_life.py --programs=DIR"""

import argparse
import os
import socket
import sys
import threading
import time
from unittest import mock

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from life import eventually, router, services, table_of  # noqa: E402

RELOADS = 20
TABLE_LIMIT_S = 5  # within which an older generation has to serve a table, else it is killed
SLOW = 40
CLOSE_S = 3
WHOLE = 4_000_000


class Downloads:
    """The service: /N gives N bytes; /tunnel switches to an echo; /drip begins a head and never ends it.
    With a delay every answer takes so long."""

    def __init__(self, port=0, delay_s=0):
        self.delay_s = delay_s
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = s.recv(65536)
                    if not more:
                        return
                    data += more
                head, data = data.split(b"\r\n\r\n", 1)
                path = head.split(b" ", 2)[1]
                if path == b"/tunnel":
                    s.sendall(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                    while more := s.recv(65536):
                        s.sendall(more)
                    return
                if path == b"/drip":
                    s.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while True:
                        time.sleep(0.3)
                        s.sendall(b"x")
                time.sleep(self.delay_s)
                n = int(path[1:])
                s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % n)
                s.sendall(b"x" * n)
        except OSError:
            pass
        finally:
            s.close()


def ask(port, path, extra=b""):
    s = socket.create_connection(("127.0.0.1", port), 20)
    s.sendall(b"GET %s HTTP/1.1\r\nHost: a.example\r\n%s\r\n" % (path, extra))
    return s


def whole(s, n):
    """One answer with n bytes of content."""
    got = b""
    while got.partition(b"\r\n\r\n")[2] != b"x" * n:
        more = s.recv(4096)
        assert more, got
        got += more
    return got


def an_older_generation_with_one_tunnel_takes_tables(program, service):
    """One of its workers has ended, as it had no connection; the other one keeps the tunnel."""
    with router(program, table_of({"1.0.0": [service]}), workers=2) as r:
        r.start()
        s = ask(r.port, b"/tunnel", b"Connection: upgrade\r\nUpgrade: echo\r\n")
        assert b" 101 " in s.recv(4096)
        first = r.main
        r.must_reload()
        time.sleep(0.5)
        r.put_table(table_of({"1.0.1": [service]}))
        time.sleep(TABLE_LIMIT_S + 1.5)
        s.sendall(b"still there")
        assert s.recv(64) == b"still there"
        assert r.alive(first), r.log_tail()
        s.close()
        eventually("the older generation ends", lambda: (r.reap(), not r.alive(first))[1], 20)


def one_that_is_just_ending_is_not_killed(program, service):
    """Reload upon reload: each new generation gives its table to one that has nothing left and goes."""
    with router(program, table_of({"1.0.0": [service]}), workers=1) as r:
        r.start()
        for _ in range(RELOADS):
            r.must_reload()
            time.sleep(0.3)
        assert "is killed" not in r.log_tail(1 << 20), r.log_tail()


def whoever_reads_slowly_makes_room_for_others(program, service):
    """The limit of what is kept cuts off those it is kept for, not whoever asks next."""
    with router(program, table_of({"1.0.0": [service]}), workers=1,
                settings=["[Limits]", "Buffered=2M", "[Timeouts]", "Body=60s"]) as r:
        r.start()
        slow = []
        for _ in range(SLOW):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", r.port))
            s.sendall(b"GET /%d HTTP/1.1\r\nHost: a.example\r\n\r\n" % (8 * WHOLE))
            slow.append(s)
        time.sleep(1)
        for _ in range(5):
            s, n = ask(r.port, b"/%d" % WHOLE, b"Connection: close\r\n"), 0
            while more := s.recv(1 << 20):
                n += len(more)
            s.close()
            assert n >= WHOLE, f"{n} of {WHOLE} bytes"
        for s in slow:
            s.close()


def a_head_that_drips_has_its_time(program, service):
    with router(program, table_of({"1.0.0": [service]}), workers=1, settings=["[Timeouts]", "FirstByte=1s"]) as r:
        r.start()
        with ask(r.port, b"/drip") as s:
            s.settimeout(5)
            assert b" 504 " in s.recv(4096)


def an_older_generation_waits_for_no_probe(program, service):
    """It makes none any more, so that nothing is proved to it."""
    health = {"path": "/1", "start": "unhealthy", "interval_ms": 300}
    with router(program, table_of({"1.0.0": [service]}, health=health), workers=1) as r:
        r.start()

        def says_200(s):
            answer = b""
            while not answer.endswith(b"xx"):
                more = s.recv(4096)
                if not more:
                    break
                answer += more
            return b" 200 " in answer

        def is_served():
            with ask(r.port, b"/2", b"Connection: close\r\n") as s:
                return says_200(s)
        eventually("the endpoint passed its probes", is_served, 20)
        with ask(r.port, b"/2") as old:
            assert says_200(old)
            r.must_reload()
            r.put_table(table_of({"1.0.1": [service]}, health=health))
            time.sleep(2)
            old.settimeout(3)
            old.sendall(b"GET /2 HTTP/1.1\r\nHost: a.example\r\n\r\n")
            assert says_200(old)


def who_tried_the_free_endpoint_holds_up_nobody(program, service):
    """A is away, and B has all that it may: one that was refused by A waits for B. A is back, and takes the others."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        a_port = s.getsockname()[1]
    b = Downloads(delay_s=10)

    class Away:
        port = a_port
    answers, lock = [], threading.Lock()

    def get(port, name):
        with ask(port, b"/2", b"Connection: close\r\n") as s:
            status = s.recv(4096)[9:12]
        with lock:
            answers.append((name, status))

    with router(program, table_of({"1.0.0": [Away, b]}, limits={"max_in_flight": 1}), workers=1) as r:
        r.start()
        threads = []

        def go(name):
            threads.append(threading.Thread(target=get, args=(r.port, name)))
            threads[-1].start()
        go("on B")
        time.sleep(2.5)
        go("refused by A")
        time.sleep(0.3)
        Downloads(port=a_port)
        for i in range(4):
            time.sleep(0.4)
            go("later")
        for t in threads:
            t.join()
    names = [name for name, _ in answers]
    assert names[:4] == ["later"] * 4 and all(status == b"200" for _, status in answers[:4]), answers


def slow_close(programs, seconds):
    return mock.patch.dict(os.environ, {
        "LD_PRELOAD": os.path.join(programs, "tests/router/libslow-close.so"), "SLOW_CLOSE": str(seconds),
        "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})


def a_kernel_that_is_slow_to_close_a_watch_holds_up_nobody(program, service):
    """The older generation's clients are told to go at once, and it is gone when they are and the kernel is done."""
    programs = os.path.dirname(os.path.dirname(os.path.abspath(program)))
    with slow_close(programs, CLOSE_S), router(program, table_of({"1.0.0": [service]})) as r:
        r.start()
        s = ask(r.port, b"/10")
        assert b" 200 " in whole(s, 10), r.log_tail()
        first = r.main
        r.must_reload()
        time.sleep(CLOSE_S / 4)
        s.sendall(b"GET /10 HTTP/1.1\r\nHost: a.example\r\n\r\n")
        answer = whole(s, 10)
        assert b"Connection: close" in answer, answer
        s.close()
        began = time.monotonic()
        r.restart()
        assert not r.alive(first) and time.monotonic() - began < 3 * CLOSE_S, r.log_tail()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    options = parser.parse_args()
    program = os.path.join(options.programs, "routerd/stagecoach-routerd")
    service = Downloads()
    for scene in (an_older_generation_with_one_tunnel_takes_tables, one_that_is_just_ending_is_not_killed,
                  whoever_reads_slowly_makes_room_for_others, a_head_that_drips_has_its_time,
                  an_older_generation_waits_for_no_probe, who_tried_the_free_endpoint_holds_up_nobody,
                  a_kernel_that_is_slow_to_close_a_watch_holds_up_nobody):
        scene(program, service)
        print("ok", scene.__name__, flush=True)


main()
