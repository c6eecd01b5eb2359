# SPDX-License-Identifier: MIT
"""Starts the proxies that are judged, each with one service behind it. They end with the program that started them."""

import atexit
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TREE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
PR_SET_PDEATHSIG = 1
START_SECONDS = 30


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Proxy:
    """argv(dir, port, service_port) writes what it needs into dir and returns the command."""

    def __init__(self, name, service_port, argv, environment=None):
        self.name = name
        self.dir = tempfile.mkdtemp(prefix="stagecoach-h1-")
        self.port = free_port()
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen(argv(self.dir, self.port, service_port), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log, preexec_fn=die_with_parent, env=environment)
        atexit.register(self.stop)
        for _ in range(START_SECONDS * 20):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise SystemExit("%s does not start:\n%s" % (name, self.said()))

    def said(self):
        with open(self.log.name) as f:
            return f.read()[-4000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def routerd(program, service_port, settings=(), environment=None):
    def argv(d, port, service):
        table = {"format": 1, "routes": [{"host": "*", "service": "web"}], "services": [{"name": "web", "releases": [
            {"version": "1.0.0", "weight": 1, "endpoints": [{"address": "127.0.0.1:%d" % service}]}]}]}
        with open(os.path.join(d, "table.json"), "w") as f:
            json.dump(table, f)
        return [program, "--table=" + os.path.join(d, "table.json"), "--listen=127.0.0.1:%d" % port, "--workers=1",
                "--state-dir=" + d, *settings]
    return Proxy("routerd", service_port, argv, environment)


NGINX = """daemon off; master_process off; pid %(d)s/pid; error_log %(d)s/error.log crit;
events { worker_connections 1024; }
http { access_log off; server_tokens off;
  client_body_temp_path %(d)s/b; proxy_temp_path %(d)s/p; fastcgi_temp_path %(d)s/f; uwsgi_temp_path %(d)s/u; scgi_temp_path %(d)s/s;
  large_client_header_buffers 8 64k; client_max_body_size 0; ignore_invalid_headers off; underscores_in_headers on;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  map $http_host $name_of_host { default $http_host; '' $host; }
  upstream u { server 127.0.0.1:%(service)d max_fails=0; keepalive 4; }
  server { listen 127.0.0.1:%(port)d; server_name _;
    location / { proxy_pass http://u; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;
      proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; proxy_next_upstream off; proxy_read_timeout 3s;
      proxy_set_header Host $name_of_host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Port "";
      proxy_set_header Forwarded "for=$remote_addr;proto=$scheme"; proxy_set_header Proxy ""; proxy_set_header Via "1.1 nginx";
      proxy_set_header Proxy-Authorization ""; } } }
"""

HAPROXY = """global
  stats socket %(d)s/s
  tune.bufsize 131072
  tune.maxrewrite 16384
  tune.http.maxhdr 256
defaults
  mode http
  timeout client 3s
  timeout server 3s
  timeout connect 2s
  retries 0
frontend f
  bind 127.0.0.1:%(port)d
  http-request set-header X-Forwarded-For %%[src]
  http-request set-header X-Real-IP %%[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %%[req.hdr(host)]
  http-request del-header X-Forwarded-Port
  http-request set-header Forwarded for=%%[src];proto=http
  http-request del-header Proxy
  http-request del-header Proxy-Authorization
  http-request add-header Via "1.1 haproxy"
  default_backend b
backend b
  server s 127.0.0.1:%(service)d
"""


def configured(name, template, command, service_port):
    def argv(d, port, service):
        path = os.path.join(d, name + ".conf")
        with open(path, "w") as f:
            f.write(template % {"d": d, "port": port, "service": service})
        return [a % {"d": d, "path": path} for a in command]
    return Proxy(name, service_port, argv)


def nginx(service_port):
    """The distribution's, or None."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    return found and configured("nginx", NGINX, [found, "-p", "%(d)s", "-c", "%(path)s"], service_port)


def haproxy(service_port):
    found = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
    return found and configured("HAProxy", HAPROXY, [found, "-db", "-f", "%(path)s"], service_port)
