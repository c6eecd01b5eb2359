# SPDX-License-Identifier: MIT
"""One router of two workers in front of one service, and ways to look at it from outside: for test_seen.py."""

import contextlib
import http.client
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time

import prometheus_text

READY_S = 20
SETTLE_S = 10


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def eventually(what, fn, seconds=SETTLE_S):
    end = time.monotonic() + seconds
    while not (got := fn()):
        assert time.monotonic() < end, f"after {seconds} s: {what}"
        time.sleep(0.02)
    return got


def can_connect(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Router:
    def __init__(self, programs, folder, table, *settings, env=None, preexec=None):
        self.port, self.folder, self.programs = free_port(), folder, programs
        self.status = os.path.join(folder, "status.sock")
        self.table = os.path.join(folder, "table.json")
        self.log = open(os.path.join(folder, "router.log"), "w+")
        self.put_table(table)
        self.process = subprocess.Popen(
            [programs.routerd, f"--table={self.table}", f"--listen=127.0.0.1:{self.port}", f"--status={self.status}",
             f"--state-dir={folder}/state", "--workers=2", *settings],
            stderr=self.log, preexec_fn=preexec)
        eventually("the router serves", lambda: self.process.poll() is not None or self.is_healthy(), READY_S)
        assert self.process.poll() is None, self.said()

    def put_table(self, table):
        with open(self.table + ".new", "w") as f:
            json.dump(table, f)
        os.rename(self.table + ".new", self.table)

    def said(self):
        self.log.flush()
        with open(self.log.name) as f:
            return f.read()

    def ask_status(self, path, method="GET"):
        """(status, headers as bytes, content), chunks put together."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(READY_S)
            s.connect(self.status)
            s.sendall(f"{method} {path} HTTP/1.1\r\nHost: router\r\n\r\n".encode())
            answer = http.client.HTTPResponse(s, method=method)
            answer.begin()
            return answer.status, answer.headers, answer.read()

    def is_healthy(self):
        try:
            return self.ask_status("/healthz")[0] == 200
        except OSError:
            return False

    def metrics(self, path="/metrics"):
        status, headers, content = self.ask_status(path)
        assert status == 200, status
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", headers["Content-Type"]
        return prometheus_text.parse(content.decode())

    def get(self, path="/", fields=(), host="web.example"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_S)
        c.putrequest("GET", path, skip_host=True)
        c.putheader("Host", host)
        for name, value in fields:
            c.putheader(name, value)
        c.endheaders()
        answer = c.getresponse()
        content = answer.read()
        c.close()
        return answer.status, content

    def send(self, data):
        with socket.create_connection(("127.0.0.1", self.port), READY_S) as s:
            s.sendall(data)
            return s.recv(65536)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(READY_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return self.process.returncode


class Service:
    """Answers with the head that it got, so that a test sees what is passed on."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.ended = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended:
            if select.select([self.listener], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, sock):
        data = b""
        with sock:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = sock.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, data = data.split(b"\r\n\r\n", 1)
                path = head.split(b" ")[1]
                if path == b"/vanish":
                    return
                status = path[8:] if path.startswith(b"/status/") else b"200"
                sock.sendall(b"HTTP/1.1 %s X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(head), head))

    def stop(self):
        self.ended = True
        self.thread.join()
        self.listener.close()


def table_of(ports, version="1.0.0", service="web", n=1):
    endpoints = [{"address": f"127.0.0.1:{p}", "id": f"e{p}"} for p in ports]
    return {"format": 1, "routes": [{"host": "*", "service": service}],
            "services": [{"name": service, "releases": [{"version": version, "weight": 1, "endpoints": endpoints}]}]}


@contextlib.contextmanager
def scene(programs, *settings, table=None, **more):
    folder = tempfile.mkdtemp(prefix="router-seen-")
    service = Service()
    router = None
    try:
        router = Router(programs, folder, table or table_of([service.port]), *settings, **more)
        yield router, service, folder
        assert router.process.poll() is None, f"the router ended: {router.said()}"
    finally:
        if router:
            router.stop()
        service.stop()
        shutil.rmtree(folder)


def lines_of(path):
    try:
        with open(path, "rb") as f:
            return f.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def records_of(path):
    return [json.loads(line) for line in lines_of(path)]
