# SPDX-License-Identifier: MIT
"""A stagecoach-hubd of one's own for a test: started on loopback with a directory of its own, spoken to by the
words of stagecoach-protocol(7), pushed to by stock git."""

import base64
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time

BUILD = os.environ["STAGECOACH_BUILD"]
FIXED_DATE = "2026-01-01T00:00:00Z"


class Refused(Exception):
    def __init__(self, error):
        super().__init__(error.get("message", ""))
        self.code = error.get("code")
        self.text = error.get("message", "")


class Link:
    """One link: frames of JSON-RPC over a socket."""

    def __init__(self, sock, program="test", features=("orders/1", "table/1", "streams/1"), **hello):
        self.sock = sock
        self.buffer = b""
        self.ids = 0
        self.hello = self.call("hello", protocol=1, program=program, version="0", features=list(features), **hello)

    def send(self, message):
        data = json.dumps(message).encode()
        self.sock.sendall(struct.pack(">I", len(data)) + data)

    def receive(self):
        while True:
            if len(self.buffer) >= 4:
                (n,) = struct.unpack(">I", self.buffer[:4])
                if len(self.buffer) >= 4 + n:
                    message = json.loads(self.buffer[4 : 4 + n])
                    self.buffer = self.buffer[4 + n :]
                    return message
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError("the hub closed the connection")
            self.buffer += more

    def call(self, method, **params):
        self.ids += 1
        self.send({"jsonrpc": "2.0", "id": self.ids, "method": method, "params": params})
        while True:
            answer = self.receive()
            if "method" in answer:
                if "id" in answer:
                    self.send({"jsonrpc": "2.0", "id": answer["id"], "result": {}})
                continue
            if answer.get("id") not in (self.ids, None):
                continue
            if "error" in answer:
                raise Refused(answer["error"])
            return answer["result"]

    def is_closed(self, seconds=5):
        self.sock.settimeout(seconds)
        try:
            while True:
                self.receive()
        except (ConnectionError, ssl.SSLError, OSError) as e:
            return not isinstance(e, socket.timeout)

    def close(self):
        self.sock.close()


def request_id():
    return "t-" + os.urandom(8).hex()


class Hub:
    def __init__(self, **settings):
        self.directory = tempfile.mkdtemp(prefix="stagecoach-test-")
        self.settings = settings
        self.process = None
        self.port = free_port()
        self.start()

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def start(self):
        settings = {
            "Hub.StateDir": self.path("hub"),
            "Hub.Listen": f"127.0.0.1:{self.port}",
            "Hub.LocalSocket": self.path("local.sock"),
            "Git.Helper": os.path.join(BUILD, "common/stagecoach-gitwork"),
            "Git.HooksDir": os.path.join(BUILD, "hubd"),
            "Git.HookSocket": self.path("hooks/hook.sock"),
        }
        settings.update(self.settings)
        os.makedirs(self.path("hub"), exist_ok=True)
        open(self.path("hubd.conf"), "w").close()
        self.log = open(self.path("log"), "ab")
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "hubd/stagecoach-hubd"), "--config=" + self.path("hubd.conf")]
            + [f"--set={key}={value}" for key, value in settings.items()],
            stdout=self.log,
            stderr=self.log,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.local().close()
                return
            except (OSError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the hub did not start:\n" + self.log_text())
                time.sleep(0.02)

    def stop(self, signo=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signo)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise RuntimeError("the hub did not end by itself:\n" + self.log_text())
        self.log.close()
        return self.process.returncode

    def close(self):
        try:
            status = self.stop()
            text = self.log_text()
            assert status == 0, f"the hub ended with {status}:\n{text}"
            assert "ERROR: " not in text and "runtime error" not in text, text
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def log_text(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()

    def local(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        try:
            sock.connect(self.path("local.sock"))
            return Link(sock)
        except BaseException:
            sock.close()
            raise

    def admin(self, method, **params):
        link = self.local()
        try:
            return link.call(method, **params)
        finally:
            link.close()

    def tls(self, cert=None, alpn="stagecoach/1"):
        context = ssl.create_default_context(cafile=self.path("hub/identity/ca-cert.pem"))
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if alpn:
            context.set_alpn_protocols([alpn])
        if cert:
            context.load_cert_chain(cert + ".crt", cert + ".key")
        sock = socket.create_connection(("127.0.0.1", self.port), 20)
        return context.wrap_socket(sock)

    def link(self, cert=None, **hello):
        return Link(self.tls(cert), **hello)

    def token(self, role, **params):
        return self.admin("token_create", request_id=request_id(), role=role, **params)["token"]

    def key(self, name):
        """A key and a request for it; the path without its end."""
        base = self.path(name)
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", base + ".key")
        run("openssl", "req", "-new", "-key", base + ".key", "-subj", "/CN=x", "-out", base + ".csr")
        return base

    def join(self, token, name=None, base=None, **extra):
        base = base or self.key(name or "joiner")
        link = self.link()
        try:
            with open(base + ".csr") as f:
                params = dict(request_id=request_id(), token=token, csr_pem=f.read())
            if name:
                params["name"] = name
            params.update(extra)
            answer = link.call("join", **params)
        finally:
            link.close()
        with open(base + ".crt", "w") as f:
            f.write(answer["cert_pem"])
        return base, answer

    def http(self, method, target, headers=None, body=b"", cert=None):
        sock = self.tls(cert, "http/1.1")
        head = f"{method} {target} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n"
        for name, value in (headers or {}).items():
            head += f"{name}: {value}\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        sock.sendall(head.encode() + b"\r\n" + body)
        data = b""
        while True:
            more = sock.recv(65536)
            if not more:
                break
            data += more
        sock.close()
        head, _, rest = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        if fields.get("transfer-encoding") == "chunked":
            whole = b""
            while rest:
                size, _, rest = rest.partition(b"\r\n")
                n = int(size, 16)
                whole += rest[:n]
                rest = rest[n + 2 :]
            rest = whole
        return int(lines[0].split()[1]), fields, rest

    def url(self, app, token=None):
        who = f"x:{token}@" if token else ""
        return f"https://{who}127.0.0.1:{self.port}/{app}.git"

    def git_env(self, cert=None, **extra):
        env = {
            "PATH": os.environ["PATH"],
            "HOME": self.directory,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSL_CAINFO": self.path("hub/identity/ca-cert.pem"),
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.com",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.com",
            "GIT_AUTHOR_DATE": FIXED_DATE,
            "GIT_COMMITTER_DATE": FIXED_DATE,
        }
        if cert:
            env["GIT_SSL_CERT"] = cert + ".crt"
            env["GIT_SSL_KEY"] = cert + ".key"
        env.update(extra)
        return env

    def repos(self):
        return sorted(d for d in os.listdir(self.path("hub/repos")) if not d.startswith("."))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(*args, **kwargs):
    return subprocess.run(args, check=True, capture_output=True, text=True, **kwargs)


def basic(token, user="x"):
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()


class Work:
    """A work tree whose commits have fixed dates, so that their ids are the same in every run."""

    def __init__(self, hub, name="work"):
        self.hub = hub
        self.directory = hub.path(name)
        self.clock = 1767225600
        os.makedirs(self.directory)
        self.git("init", "-q", "-b", "main")

    def git(self, *args, check=True, cert=None, **kwargs):
        self.clock += 60
        date = f"{self.clock} +0000"
        env = self.hub.git_env(cert, GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
        env.update(kwargs.pop("env", {}))
        done = subprocess.run(
            ["git", *args], cwd=self.directory, env=env, capture_output=True, text=True, errors="replace", **kwargs
        )
        if check and done.returncode != 0:
            raise AssertionError(f"git {' '.join(args)}:\n{done.stdout}{done.stderr}")
        return done

    def commit(self, files, message="a commit"):
        for name, content in files.items():
            path = os.path.join(self.directory, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb" if isinstance(content, bytes) else "w") as f:
                f.write(content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.head()

    def head(self):
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, token, *refs, app="shop", check=True, **kwargs):
        done = self.git("push", self.hub.url(app, token), *(refs or ["main"]), check=check, **kwargs)
        done.remote = [line[8:].rstrip() for line in done.stderr.splitlines() if line.startswith("remote: ")]
        return done


def manifest(**services):
    for service in services.values():
        service.setdefault("command", "true")
    return json.dumps({"services": services}, indent=1) + "\n"
