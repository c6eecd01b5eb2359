# SPDX-License-Identifier: MIT
"""The programs that tests/bench/proxy measures: how each is started for equal jobs.

A spec says what they have to do: {"routes": N, "tls": bool, "h2": bool, "workers": N, "endpoints": N, "rules": N,
"versions": N}.
A peer that can't do it raises Missing, and the row says so.
"""

import json
import os
import random
import resource
import shutil
import socket
import subprocess
import tempfile
import time

CONNECTIONS = 8192


class Missing(Exception):
    pass


class Peer:
    def __init__(self, name, port, process, **more):
        self.name, self.port, self.process = name, port, process
        self.__dict__.update(more)


PORTS = iter(random.sample(range(20000, 30000), 5000))


def free_port():
    """Outside the range that the connections of a run take theirs from."""
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            pass
    raise Missing("no port is free")


def prepare(cpus):
    def run():
        os.sched_setaffinity(0, cpus)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return run


class Stand:
    """A directory, processors, and every process that was started; end() leaves nothing behind."""

    def __init__(self, build):
        self.build = build
        self.dir = tempfile.mkdtemp(prefix="stagecoach-bench-")
        os.chmod(self.dir, 0o755)
        self.processes = []
        cpus = sorted(os.sched_getaffinity(0))
        self.all_cpus = set(cpus)
        self.load_cpu, self.proxy_cpu = {cpus[0]}, {cpus[-1]}
        self.load = os.path.join(build, "tests", "bench", "stagecoach-load")
        self.service_port = None
        self.pem = None

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def start(self, argv, cpus, port, **kw):
        log = open(self.path("log"), "a")
        process = subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=prepare(cpus), **kw)
        log.close()
        self.processes.append(process)
        for _ in range(400):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return process
            except OSError:
                if process.poll() is not None:
                    break
                time.sleep(0.025)
        self.stop(process)
        raise Missing("%s does not start: %s" % (os.path.basename(argv[0]), self.last_words()))

    def last_words(self):
        with open(self.path("log")) as f:
            lines = f.read().split("\n")
        return " ".join(lines[-3:]).strip()[-160:]

    def stop(self, process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def end(self):
        for p in list(self.processes):
            self.stop(p)
        shutil.rmtree(self.dir, ignore_errors=True)

    def service(self, versions=()):
        """One process that listens on a port for the jobs, and on one more for each further version."""
        self.service_port = free_port()
        ports = {v: free_port() for v in versions}
        program = os.path.join(self.build, "tests", "bench", "stagecoach-bench-service")
        self.service_process = self.start(
            [program, "%d=1" % self.service_port] + ["%d=%s" % (p, v) for v, p in ports.items()], self.load_cpu,
            self.service_port)
        return ports

    def certificate(self):
        """(chain, key, both in one file); as certificates/localhost/ for the router."""
        if not self.pem:
            d = self.path("certificates/localhost")
            os.makedirs(d)
            chain, key = d + "/fullchain.pem", d + "/privkey.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,DNS:*.example",
                            "-keyout", key, "-out", chain], check=True, stderr=subprocess.DEVNULL)
            both = self.path("both.pem")
            with open(both, "w") as out:
                for p in (chain, key):
                    with open(p) as f:
                        out.write(f.read())
            os.chmod(key, 0o644)
            self.pem = (chain, key, both)
        return self.pem


def cpus_of(stand, spec):
    return stand.all_cpus if spec.get("spread") else stand.proxy_cpu


# --- stagecoach-routerd ----------------------------------------------------------------------------------------

def router_table(stand, spec, service_port=None):
    here = "127.0.0.1:%d" % (service_port or stand.service_port)
    routes, endpoints = spec.get("routes", 1), spec.get("endpoints", 1)
    table = {"format": 1, "routes": [{"host": "*", "service": "web"}], "services": [
        {"name": "web", "releases": [{"version": "1.0.0", "weight": 1, "endpoints": [{"address": here}]}]}]}
    if routes > 1:
        table["routes"] = [{"host": "h%d.example" % i, "service": "web"} for i in range(routes)]
    if spec.get("rules"):
        table["routes"] = [{"host": "h%d.example" % i, "service": "web", "answer_headers": [{"set": "X-Rule", "value": str(i)}],
                            "request_headers": [{"add": "X-Rule", "value": str(i)}]} for i in range(spec["rules"])]
    # Of all these releases one is live.
    for i in range(1, spec.get("versions", 1)):
        table["services"][0]["releases"].append(
            {"version": "1.0.%d" % i, "weight": 0, "endpoints": [{"address": "127.1.%d.%d:80" % (i // 250, i % 250 + 1)}]})
    for i in range(1, endpoints):
        if i % 100 == 1:
            table["services"].append({"name": "other-%d" % i, "releases": [
                {"version": "1.0.0", "weight": 1, "endpoints": []}]})
        table["services"][-1]["releases"][0]["endpoints"].append(
            {"address": "127.1.%d.%d:80" % (i // 250, i % 250 + 1)})
    return table


def routerd(stand, spec):
    port = free_port()
    state = stand.path("state-%d" % port)
    os.makedirs(state)
    table = stand.write("table-%d.json" % port, json.dumps(router_table(stand, spec)))
    program = os.path.join(stand.build, "routerd", "stagecoach-routerd")
    argv = [program, "--table=" + table, "--workers=%d" % spec.get("workers", 1), "--state-dir=" + state,
            "--idle-per-endpoint=64", "--requests-per-connection=1000000000"]
    if spec.get("tls"):
        keys = subprocess.run([program, "--print-config"], stdout=subprocess.PIPE, check=False).stdout.decode()
        if "Certificates" not in keys:
            raise Missing("no TLS in this routerd")
        stand.certificate()
        argv += ["--certificates=" + stand.path("certificates"), "--listen-tls=127.0.0.1:%d" % port]
        if spec.get("h2") and "HTTP2" not in keys:
            raise Missing("no HTTP/2 in this routerd")
    else:
        argv += ["--listen=127.0.0.1:%d" % port]
    status = stand.path("status-%d.sock" % port)
    if "Status" in subprocess.run([program, "--print-config"], stdout=subprocess.PIPE, check=False).stdout.decode():
        argv += ["--status=" + status]
    return Peer("routerd", port, stand.start(argv, cpus_of(stand, spec), port), table=table)


# --- nginx -----------------------------------------------------------------------------------------------------

def nginx_conf(stand, spec, port, d, service_port):
    names = " ".join("h%d.example" % i for i in range(spec.get("routes", 1))) if spec.get("routes", 1) > 1 else "_"
    listen, tls = "127.0.0.1:%d backlog=4096" % port, ""
    if spec.get("tls"):
        chain, key, _ = stand.certificate()
        listen += " ssl" + (" http2" if spec.get("h2") else "")
        tls = "ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.3; ssl_session_tickets on;" % (chain, key)
    return """
        daemon off; worker_processes %d; pid %s/pid; error_log %s/error.log;
        worker_rlimit_nofile 65536;
        events { worker_connections %d; }
        http { access_log off; server_tokens off; keepalive_requests 1000000000; tcp_nodelay on; keepalive_timeout 75s;
          client_body_temp_path %s/b; proxy_temp_path %s/p; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u;
          scgi_temp_path %s/s; server_names_hash_max_size 65536; server_names_hash_bucket_size 128;
          upstream u { server 127.0.0.1:%d; keepalive 64; keepalive_requests 1000000000; }
          map $http_upgrade $connection_out { default upgrade; "" ""; }
          server { listen %s; server_name %s; client_max_body_size 1g; %s
            location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection $connection_out;
              proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $http_host;
              proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
              proxy_request_buffering off; proxy_read_timeout 600s; proxy_buffer_size 16k; proxy_buffers 8 64k;
              proxy_busy_buffers_size 128k; client_body_buffer_size 128k; } } }
        """ % (spec.get("workers", 1), d, d, CONNECTIONS + 1000, d, d, d, d, d, service_port, listen, names, tls)


def nginx(stand, spec):
    if not shutil.which("nginx"):
        raise Missing("nginx is not installed")
    port = free_port()
    d = stand.path("nginx-%d" % port)
    os.makedirs(d)
    conf = stand.write("nginx-%d.conf" % port, nginx_conf(stand, spec, port, d, stand.service_port))
    return Peer("nginx", port, stand.start(["nginx", "-p", d, "-c", conf], cpus_of(stand, spec), port), conf=conf, dir=d)


# --- HAProxy ---------------------------------------------------------------------------------------------------

def haproxy(stand, spec):
    if not shutil.which("haproxy"):
        raise Missing("haproxy is not installed")
    port = free_port()
    choose, bind = "default_backend u", ""
    if spec.get("routes", 1) > 1:
        path = stand.write("map-%d" % port, "".join("h%d.example u\n" % i for i in range(spec["routes"])))
        choose = "use_backend %%[req.hdr(host),lower,map(%s,u)]" % path
    if spec.get("tls"):
        bind = " ssl crt %s ssl-min-ver TLSv1.3%s" % (stand.certificate()[2], " alpn h2,http/1.1" if spec.get("h2") else "")
    admin = stand.path("haproxy-%d.sock" % port)
    conf = stand.write("haproxy-%d.cfg" % port, """
global
  nbthread %d
  maxconn %d
  stats socket %s level admin
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  timeout tunnel 600s
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:%d backlog 4096%s
  http-request set-header X-Forwarded-Proto http
  %s
backend u
  server s 127.0.0.1:%d
""" % (spec.get("workers", 1), CONNECTIONS, admin, port, bind, choose, stand.service_port))
    return Peer("haproxy", port, stand.start(["haproxy", "-db", "-f", conf], cpus_of(stand, spec), port), admin=admin)


# --- h2o -------------------------------------------------------------------------------------------------------

def h2o(stand, spec):
    if not shutil.which("h2o"):
        raise Missing("h2o is not installed")
    if spec.get("routes", 1) > 1:
        raise Missing("h2o: no table of hosts that is not walked")
    port = free_port()
    tls = ""
    if spec.get("tls"):
        chain, key, _ = stand.certificate()
        tls = "  ssl:\n    certificate-file: %s\n    key-file: %s\n    minimum-version: TLSv1.2\n" % (chain, key)
    conf = stand.write("h2o-%d.conf" % port, """
num-threads: %d
max-connections: %d
http1-request-timeout: 600
user: root
listen:
  host: 127.0.0.1
  port: %d
%shosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://127.0.0.1:%d/"
        proxy.preserve-host: ON
        proxy.timeout.keepalive: 4000
        proxy.websocket: ON
        proxy.websocket.timeout: 600000
""" % (spec.get("workers", 1), CONNECTIONS, port, tls, stand.service_port))
    return Peer("h2o", port, stand.start(["h2o", "-c", conf], cpus_of(stand, spec), port))


# --- the floor -------------------------------------------------------------------------------------------------

def floor(stand, spec):
    if spec.get("h2") or spec.get("routes", 1) > 1:
        raise Missing("no floor for this")
    port = free_port()
    argv = [os.path.join(stand.build, "tests", "bench", "stagecoach-bench-floor"), "--listen=%d" % port,
            "--service=%d" % stand.service_port]
    if spec.get("splice"):
        argv.append("--splice")
    if spec.get("tls"):
        chain, key, _ = stand.certificate()
        argv += ["--certificate=" + chain, "--key=" + key]
    return Peer("floor", port, stand.start(argv, stand.proxy_cpu, port))


STARTERS = {"routerd": routerd, "nginx": nginx, "haproxy": haproxy, "h2o": h2o, "floor": floor}
RIVALS = ("nginx", "haproxy", "h2o")
