# SPDX-License-Identifier: MIT
"""What the test of TLS is made of: papers by openssl(1), a service that tells what it was asked, routers, clients."""

import contextlib
import hashlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

PATIENCE_S = 20
NAME = "web.example"


def run(*argv, **more):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def until(what, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        r = what()
        if r:
            return r
        time.sleep(0.05)
    raise AssertionError("not within %d s: %s" % (seconds, what))


class Papers:
    """An authority, and certificates of it as a directory wants them."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder)
        self.ca, self.ca_key = folder + "/ca.pem", folder + "/ca.key"
        self.key("EC", self.ca_key)
        run("openssl", "req", "-x509", "-new", "-key", self.ca_key, "-subj", "/CN=test authority", "-days", "30",
            "-out", self.ca)
        self.serial = 100

    def key(self, kind, path):
        options = ["-pkeyopt", "ec_paramgen_curve:prime256v1"] if kind == "EC" else ["-pkeyopt", "rsa_keygen_bits:2048"]
        run("openssl", "genpkey", "-algorithm", kind, *options, "-out", path)

    def make(self, names, kind="EC", days=30):
        """Paths of a chain and its key."""
        self.serial += 1
        base = "%s/%d" % (self.folder, self.serial)
        self.key(kind, base + ".key")
        run("openssl", "req", "-new", "-key", base + ".key", "-subj", "/CN=" + names[0], "-out", base + ".csr")
        with open(base + ".ext", "w") as f:
            f.write("subjectAltName=" + ",".join(("IP:" if n[0].isdigit() else "DNS:") + n for n in names))
        run("openssl", "x509", "-req", "-in", base + ".csr", "-CA", self.ca, "-CAkey", self.ca_key, "-set_serial",
            str(self.serial), "-days", str(days), "-extfile", base + ".ext", "-out", base + ".pem")
        with open(base + ".pem", "a") as out, open(self.ca) as ca:
            out.write(ca.read())
        return base + ".pem", base + ".key"

    def put(self, directory, label, names, kind="EC", days=30):
        """As certbot's live/NAME: whole new files, one after the other, moved into place."""
        target = os.path.join(directory, label)
        os.makedirs(target, exist_ok=True)
        chain, key = self.make(names, kind, days)
        for source, name in ((key, "privkey.pem"), (chain, "fullchain.pem")):
            shutil.copy(source, target + "/.new")
            os.replace(target + "/.new", os.path.join(target, name))
        return chain, key

    def ocsp(self, chain, path, days=1, bad=False):
        serial = run("openssl", "x509", "-in", chain, "-noout", "-serial").stdout.decode().split("=")[1].strip()
        with open(self.folder + "/index", "w") as f:
            f.write("%s\t351231235959Z\t%s\t%s\tunknown\t/CN=x\n" % ("R" if bad else "V", "250101000000Z" if bad else "", serial))
        run("openssl", "ocsp", "-index", self.folder + "/index", "-CA", self.ca, "-rsigner", self.ca, "-rkey", self.ca_key,
            "-issuer", self.ca, "-cert", chain, "-ndays", str(days), "-noverify", "-respout", path)


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    whole = []  # sizes of bodies that came whole

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/bytes/"):
            return self.answer(pattern(int(self.path.split("/")[2])))
        if self.path.startswith("/slow/"):
            time.sleep(float(self.path.split("/")[2]))
        self.answer(json.dumps({k.lower(): v for k, v in self.headers.items()}).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(body) == int(self.headers["Content-Length"]):
            Service.whole.append(len(body))
        self.answer(hashlib.sha256(body).hexdigest().encode())

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


def pattern(n):
    return hashlib.sha256(b"pattern").digest() * (n // 32 + 1)


class Router:
    def __init__(self, program, folder, service_port, certificates, listen_tls="", listen="", workers=2, settings=(), status="", releases=1):
        self.status = status
        self.port, self.plain_port = free_port(), free_port()
        self.log_path = tempfile.mktemp(prefix="log-", dir=folder)
        table = self.log_path + ".json"
        with open(table, "w") as f:
            json.dump({"format": 1, "routes": [{"host": "*", "service": "web"}], "services": [{"name": "web", "releases": [
                {"version": "1.0.%d" % i, "weight": 1, "endpoints": [{"address": "127.0.0.1:%d" % service_port}]}
                for i in range(releases)]}]}, f)
        state = self.log_path + ".state"
        os.makedirs(state)
        argv = [program, "--table=" + table, "--state-dir=" + state, "--certificates=" + certificates, "--workers=%d" % workers,
                "--status=" + status, "--listen-tls=127.0.0.1:%d%s" % (self.port, listen_tls),
                "--listen=127.0.0.1:%d%s" % (self.plain_port, listen)] + ["--set=" + s for s in settings]
        self.log_file = open(self.log_path, "w")
        self.stopped = False
        self.process = subprocess.Popen(argv, stdout=self.log_file, stderr=subprocess.STDOUT, process_group=0)
        until(self.is_up)

    def is_up(self):
        assert self.process.poll() is None, self.log()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return "epoch" in self.log()
        except OSError:
            return False

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def ask_status(self, target):
        client = http.client.HTTPConnection("status")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(self.status)
        client.request("GET", target)
        return client.getresponse().read()

    def stop(self):
        self.process.terminate()
        try:
            code = self.process.wait(15)
            self.stopped = True
            for word in ("Sanitizer", "runtime error:"):
                assert word not in self.log(), self.log()
            return code
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the router does not end")


class Lab:
    def __init__(self, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="stagecoach-tls-")
        self.papers = Papers(self.folder + "/papers")
        self.server = Server(("127.0.0.1", 0), Service)
        self.service_port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.routers = []

    def directory(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path)
        return path

    def router(self, certificates, **more):
        r = Router(self.program, self.folder, self.service_port, certificates, **more)
        self.routers.append(r)
        return r

    def close(self):
        try:
            for r in self.routers:
                if not r.stopped:
                    # The group: it may have been reloaded.
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(r.process.pid, signal.SIGKILL)
                    r.process.wait()
            self.server.shutdown()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def context(self, low=ssl.TLSVersion.TLSv1_2, high=ssl.TLSVersion.TLSv1_3, alpn=("http/1.1",), ciphers=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.load_verify_locations(self.papers.ca)
        c.minimum_version, c.maximum_version = low, high
        if alpn:
            c.set_alpn_protocols(list(alpn))
        if ciphers:
            c.set_ciphers(ciphers)
        return c


class Client:
    """One connection over TLS; name None: none is asked for, and the certificate is not looked at."""

    def __init__(self, lab, port, name=NAME, context=None, session=None, before=b""):
        self.context = context or lab.context()
        if name is None:
            self.context.check_hostname = False
        raw = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        try:
            if before:
                raw.sendall(before)
            self.tls = self.context.wrap_socket(raw, server_hostname=name, session=session)
        except BaseException:
            raw.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.tls.close()

    def names(self):
        return sorted(v for k, v in self.tls.getpeercert()["subjectAltName"])

    def send(self, text):
        self.tls.sendall(text if isinstance(text, bytes) else text.encode())

    def answer(self):
        """Status and content."""
        got = b""
        while b"\r\n\r\n" not in got:
            more = self.tls.recv(65536)
            if not more:
                return 0, got
            got += more
        head, content = got.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        n = int(fields.get(b"content-length", 0))
        while len(content) < n:
            more = self.tls.recv(min(1 << 20, n - len(content)))
            if not more:
                break
            content += more
        return int(head.split()[1]), content

    def get(self, path="/", host=NAME):
        self.send("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, host))
        return self.answer()

    def post(self, body, host=NAME):
        self.send("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (host, len(body)))
        self.send(body)
        return self.answer()
