#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The router seen from outside: its status socket, its counters, its access log. Real processes on loopback.

  test_seen.py --routerd=PROGRAM --load=PROGRAM --service=PROGRAM --ctl=PROGRAM [NAME…]"""

import argparse
import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import prometheus_text
from seen import READY_S, Service, can_connect, eventually, free_port, lines_of, records_of, scene, table_of

# --- the status socket ---


def metrics_are_what_prometheus_reads(programs):
    with scene(programs) as (router, service, folder):
        for path in ("/", "/", "/status/404", "/status/302", "/status/500"):
            router.get(path)
        assert router.get("/vanish")[0] == 502
        assert router.send(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n").startswith(b"HTTP/1.1 400")
        m = router.metrics()
        v = lambda name, **labels: prometheus_text.value(m, "stagecoach_router_" + name, **labels)
        for level in ("service", "release"):
            for c, n in (("2xx", 2), ("3xx", 1), ("4xx", 1), ("5xx", 2), ("none", 0)):
                assert v(level + "_requests_total", **{"class": c}) == n, (level, c)
        assert v("endpoint_requests_total", endpoint=f"e{service.port}") == 5
        assert v("endpoint_requests_total", endpoint=f"e{service.port}", **{"class": "5xx"}) == 1
        assert v("release_own_answers_total", **{"class": "5xx"}) == 1
        assert v("endpoint_failures_total") == 1
        assert v("worker_requests_total") == 6
        assert v("refused_total", status="400") == 1 and v("refused_total") == 1
        assert v("release_endpoints") == 1 and v("build_info") == 1
        assert v("endpoint_response_bytes_total") > 100
        assert prometheus_text.value(m, "stagecoach_router_service_request_duration_seconds", "_count") == 5
        assert prometheus_text.value(m, "process_open_fds") > 5
        assert prometheus_text.value(m, "process_resident_memory_bytes") > 1000000
        assert abs(prometheus_text.value(m, "process_start_time_seconds") - time.time()) < 60
        promtool = shutil.which("promtool") or os.environ.get("PROMTOOL")
        if promtool:
            text = router.ask_status("/metrics")[2]
            r = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
            assert r.returncode == 0, r.stderr.decode()


def status_is_json_and_the_rest_is_refused(programs):
    with scene(programs) as (router, service, folder):
        router.get()
        # The client has its answer before the worker has counted it.
        eventually("it is counted", lambda: json.loads(router.ask_status("/status")[2])["releases"][0]["requests"] == 1)
        status, headers, content = router.ask_status("/status")
        assert status == 200 and headers["Content-Type"] == "application/json"
        s = json.loads(content)
        assert s["requests"] == 1 and s["workers"] == 2 and s["pid"] == router.process.pid
        (release,) = s["releases"]
        assert (release["service"], release["version"], release["requests"]) == ("web", "1.0.0", 1)
        assert sum(row["n"] for row in release["latency"]) == 1
        assert router.ask_status("/healthz")[2] == b"ok\n"
        assert router.ask_status("/metrics", "HEAD")[2] == b""
        assert router.ask_status("/metrics", "POST")[0] == 405
        assert router.ask_status("/else")[0] == 404
        for bad in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"A" * 20000):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(READY_S)
                s.connect(router.status)
                with contextlib.suppress(OSError):
                    s.sendall(bad)
                    assert re.match(rb"HTTP/1.1 4\d\d ", s.recv(100))
        with socket.socket(socket.AF_UNIX) as s:  # HTTP/1.0 gets no chunks
            s.connect(router.status)
            s.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            data = b"".join(iter(lambda: s.recv(65536), b""))
            json.loads(data.split(b"\r\n\r\n", 1)[1])


def who_reads_slowly_or_not_at_all_holds_nobody_up(programs):
    with scene(programs) as (router, service, folder):
        held = []
        for i in range(40):  # more than are served at once
            s = socket.socket(socket.AF_UNIX)
            s.connect(router.status)
            if i % 2:
                s.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            held.append(s)
        for _ in range(20):
            began = time.monotonic()
            assert router.get()[0] == 200
            assert time.monotonic() - began < 2
        for s in held:
            s.close()
        eventually("the status socket answers again", router.is_healthy)


def ten_thousand_endpoints_are_told_in_pieces(programs):
    table = table_of([])
    table["services"][0]["releases"][0]["endpoints"] = [
        {"address": f"127.{i >> 8 & 255}.{i & 255}.1:9", "id": f"e{i}"} for i in range(10000)]
    table["routes"].insert(0, {"host": "live.example", "service": "live"})
    service = Service()
    try:
        table["services"].append({"name": "live", "releases": [
            {"version": "1.0.0", "weight": 1, "endpoints": [{"address": f"127.0.0.1:{service.port}"}]}]})
        with scene(programs, table=table) as (router, _, folder):
            slowest, done = [0], threading.Event()

            def go_on_asking():
                while not done.is_set():
                    began = time.monotonic()
                    assert router.get(host="live.example")[0] == 200
                    slowest[0] = max(slowest[0], time.monotonic() - began)

            asker = threading.Thread(target=go_on_asking)
            asker.start()
            m = router.metrics()
            done.set()
            asker.join()
            samples = m["stagecoach_router_endpoint_health"].samples
            assert len({dict(ls)["endpoint"] for _, ls in samples}) == 10001
            # Zeros of those that nobody asked are left out.
            assert len(m["stagecoach_router_endpoint_in_flight"].samples) == 1
            assert prometheus_text.value(m, "stagecoach_router_service_endpoints", service="web") == 10000
            assert slowest[0] < 2, f"a request took {slowest[0]:.2f} s beside it"
            few = router.metrics("/metrics?endpoints=no")
            assert "stagecoach_router_endpoint_health" not in few
    finally:
        service.stop()


def counts_add_up_under_load(programs):
    """Two workers, connections kept and closed: every answer is counted once, and sums outlive endpoints."""
    port = free_port()
    service = subprocess.Popen([programs.service, str(port)])
    try:
        eventually("the service listens", lambda: can_connect(port))
        with scene(programs, table=table_of([port])) as (router, _, folder):
            total = 0
            for flags in (["--connections=16"], ["--connections=8", "--close"]):
                r = subprocess.run([programs.load, *flags, "--requests=20000", f"--connect=127.0.0.1:{router.port}"],
                                   capture_output=True, check=True)
                said = json.loads(r.stdout)
                assert said["failed"] == 0, said
                total += 20000
            name = "stagecoach_router_%s_requests_total"
            m = router.metrics()
            for level in ("service", "release", "endpoint"):
                assert prometheus_text.value(m, name % level, **{"class": "2xx"}) == total, level
                assert prometheus_text.value(m, name % level) == total, level
                assert prometheus_text.value(
                    m, f"stagecoach_router_{level}_request_duration_seconds", "_count") == total
            assert prometheus_text.value(m, "stagecoach_router_worker_requests_total") == total
            assert prometheus_text.value(m, "stagecoach_router_endpoint_response_bytes_total") == 6 * total
            # The release goes, its service remembers.
            router.put_table(table_of([port], version="2.0.0"))
            eventually("the old release is swept", lambda: not any(
                dict(ls).get("version") == "1.0.0" for _, ls in router.metrics()[name % "release"].samples), 30)
            m = router.metrics()
            assert prometheus_text.value(m, name % "service", service="web") == total
            assert prometheus_text.value(m, name % "release") == 0
    finally:
        service.terminate()
        service.wait()


def the_command_shows_it(programs):
    with scene(programs) as (router, service, folder):
        router.get()
        ask = lambda *more: subprocess.run([programs.ctl, "status", "router", *more], capture_output=True, text=True)
        r = ask(f"--socket={router.status}")
        assert r.returncode == 0, r.stderr
        assert re.match(r"stagecoach-routerd [0-9.]+  up .*, 2 workers, .* MB\n", r.stdout), r.stdout
        assert re.search(r"^web +1\.0\.0 +1/1 +0 +– +– +– +0 +0 +now$", r.stdout, re.M), r.stdout
        r = ask(f"--socket={router.status}", "--json")
        assert json.loads(r.stdout)["requests"] == 1
        r = ask(f"--socket={folder}/nothing")
        assert r.returncode == 1 and "no router shows itself" in r.stderr, r.stderr


def what_happens_to_endpoints_is_told_and_counted(programs):
    dead = free_port()
    with scene(programs) as (router, service, folder):
        router.put_table(table_of([service.port, dead], version="2.0.0"))
        eventually("the new table", lambda: "2.0.0" in router.ask_status("/status")[2].decode())
        eventually("it is tried", lambda: router.get()[0] == 200 and prometheus_text.value(
            router.metrics(), "stagecoach_router_endpoint_failures_total", endpoint=f"e{dead}") > 0)
        words = f"endpoint 127.0.0.1:{dead} of web@2.0.0 gets no requests for"
        eventually("a line of the log", lambda: words in router.said())
        m = router.metrics()
        assert prometheus_text.value(m, "stagecoach_router_release_ejections_total", version="2.0.0") >= 1
        assert prometheus_text.value(m, "stagecoach_router_release_retries_total", version="2.0.0") >= 1
        assert prometheus_text.value(m, "stagecoach_router_release_endpoints", version="2.0.0") == 2
        assert prometheus_text.value(m, "stagecoach_router_endpoint_health", state="ejected", endpoint=f"e{dead}") == 1


# --- ids ---


def requests_get_ids(programs):
    log = os.path.join(tempfile.gettempdir(), f"seen-{os.getpid()}.log")
    with scene(programs, "--trace=yes", f"--access-log={log}") as (router, service, folder):
        try:
            _, head = router.get(fields=[("X-Request-Id", "mine")])
            ids = re.findall(rb"\r\nX-Request-Id: ([0-9a-f]{32})(?=\r\n|$)", head)
            traces = re.findall(rb"\r\ntraceparent: 00-([0-9a-f]{32})-[0-9a-f]{16}-01(?=\r\n|$)", head)
            assert len(ids) == 1 and ids == traces and b"mine" not in head, head
            given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
            _, head = router.get(fields=[("traceparent", given), ("tracestate", "a=b")])
            assert b"traceparent: " + given.encode() in head and b"tracestate: a=b" in head, head
            _, head = router.get(fields=[("traceparent", "00-bad"), ("tracestate", "a=b")])
            assert head.count(b"traceparent: 00-") == 1 and b"bad" not in head and b"tracestate" not in head, head
            records = eventually("three lines", lambda: len(lines_of(log)) == 3 and records_of(log))
            assert ids[0].decode() in [r["request_id"] for r in records]
            assert given[3:35] in [r["trace_id"] for r in records]
        finally:
            os.unlink(log)


def a_trusted_proxy_keeps_its_ids(programs):
    with scene(programs, "--trusted-proxies=127.0.0.0/8") as (router, service, folder):
        _, head = router.get(fields=[("X-Request-Id", "from-the-edge")])
        assert b"X-Request-Id: from-the-edge" in head and head.count(b"X-Request-Id") == 1
        assert b"traceparent" not in head


# --- the access log ---


def the_client_behind_a_trusted_proxy_is_told(programs):
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    try:
        for style in ("json", "combined"):
            with scene(programs, "--trusted-proxies=127.0.0.0/8", f"--access-log={log}", f"--access-format={style}") as (router, _, _2):
                router.get("/a", [("X-Forwarded-For", "6.6.6.6, 192.0.2.9")])
                router.get("/b")
                lines = eventually("two lines", lambda: len(lines_of(log)) == 2 and lines_of(log))
            if style == "json":
                a, b = sorted((json.loads(line) for line in lines), key=lambda r: r["target"])
                assert a["client"] == "192.0.2.9" and a["peer"] == "127.0.0.1" and "client" not in b, lines
            else:
                assert sorted(line.split(b" ")[0] for line in lines) == [b"127.0.0.1", b"192.0.2.9"], lines
            os.unlink(log)
    finally:
        shutil.rmtree(folder)


def every_request_gets_a_line(programs):
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    try:
        with scene(programs, f"--access-log={log}") as (router, service, _):
            router.get("/a?b=c", [("User-Agent", 'q"\\\xe9'), ("Referer", "http://r/")])
            router.get("/vanish")
            router.get("/" + "x" * 4000)
            router.send(b"GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n")
            records = eventually("four lines", lambda: len(lines_of(log)) == 4 and records_of(log))
            by = {r.get("target", "")[:8]: r for r in records}
            r = by["/a?b=c"]
            assert r["status"] == 200 and r["method"] == "GET" and r["protocol"] == "HTTP/1.1", r
            assert r["peer"] == "127.0.0.1" and r["host"] == "web.example" and r["service"] == "web", r
            assert r["version"] == "1.0.0" and r["endpoint"] == f"e{service.port}", r
            assert r["user_agent"] == 'q"\\\ufffd' and r["referer"] == "http://r/", r
            assert 0 <= r["first_byte_s"] <= r["duration_s"] < 5 and r["bytes_out"] > 50, r
            assert by["/vanish"]["status"] == 502 and by["/vanish"]["reason"], by["/vanish"]
            long = by["/xxxxxxx"]["target"]
            assert 500 < len(long) < 2000 and long.endswith("..."), len(long)
            assert by["GET /bad"]["status"] == 400, by
        with scene(programs, f"--access-log={log}", "--access-format=combined") as (router, service, _):
            os.truncate(log, 0)
            router.get("/a?b=c", [("User-Agent", 'a"b')])
            (line,) = eventually("a line", lambda: lines_of(log))
            assert re.fullmatch(rb'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] '
                                rb'"GET /a\?b=c HTTP/1\.1" 200 \d+ "-" "a\\x22b"', line), line
    finally:
        shutil.rmtree(folder)


def what_the_router_says_itself_is_counted_and_told(programs):
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    os.mkdir(os.path.join(folder, "www"))
    for name, size in (("a b.css", 900000), ("large", (1 << 20) + 1)):
        with open(os.path.join(folder, "www", name), "wb") as f:
            f.truncate(size)
    table = {"format": 1, "routes": [
        {"host": "f.example", "files": os.path.join(folder, "www")},
        {"host": "r.example", "redirect": {"to": "https://new.example$uri"}},
        {"host": "idle.example", "service": "idle"}],
        "services": [{"name": "idle", "releases": [{"version": "1.0.0", "weight": 0}, {"version": "2.0.0", "weight": 0}]}]}
    http2 = ["--http2-prior-knowledge"]
    asked = [("f.example", "/a%20b.css", 200, []), ("f.example", "/a%20b.css", 200, ["-I"]), ("f.example", "/none", 404, []),
             ("f.example", "/large", 404, []), ("r.example", "/x", 308, []), ("idle.example", "/y", 503, []),
             ("else.example", "/", 404, []), ("f.example", "/a%20b.css", 200, http2), ("f.example", "/a%20b.css", 200, http2 + ["-I"]),
             ("f.example", "/none", 404, http2), ("r.example", "/x", 308, http2)]
    try:
        with scene(programs, f"--access-log={log}", "--h2c=yes", table=table) as (router, service, _):
            wanted = []
            for host, path, status, more in asked:
                r = subprocess.run(["curl", "-s", "-H", f"Host: {host}", *more, f"http://127.0.0.1:{router.port}{path}"],
                                   capture_output=True, check=True)
                wanted.append((path, status, 0 if "-I" in more else len(r.stdout)))
                assert "-I" in more or (len(r.stdout) == 900000 if status == 200 else b"%d" % status in r.stdout), r
            said = router.send(b"GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n")
            router.send(b"HEAD /bad HTTP/1.1\r\nHost: a b\r\n\r\n")
            records = eventually("all lines", lambda: len(lines_of(log)) == len(asked) + 2 and records_of(log))
            got = sorted((r["target"], r["status"], r["bytes_out"]) for r in records if "bad" not in r["target"])
            assert got == sorted(wanted), (got, sorted(wanted))
            bad = {r["target"][:4]: r["bytes_out"] for r in records if "bad" in r["target"]}
            assert bad == {"GET ": len(said.split(b"\r\n\r\n", 1)[1]), "HEAD": 0}, bad
            reasons = {r["target"]: r.get("reason", "") for r in records}
            assert reasons["/large"] == "the file is larger than 1024 kB" and reasons["/none"] == "", reasons
            assert reasons["/y"] == "no release of idle takes requests", reasons
            eventually("the log says so", lambda: "404 in" in router.said() and reasons["/large"] in router.said())
            assert reasons["/y"] in router.said()
            # These count what came from endpoints.
            assert prometheus_text.value(router.metrics(), "stagecoach_router_endpoint_response_bytes_total") == 0
    finally:
        shutil.rmtree(folder)


def ordinary_requests_are_sampled_and_failures_are_not(programs):
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    try:
        with scene(programs, f"--access-log={log}", "--access-sample=10", "--workers=1") as (router, service, _):
            for i in range(100):
                router.get("/ok")
            for i in range(5):
                router.get("/vanish")
            eventually("15 lines", lambda: len(lines_of(log)) == 15)
            assert sorted(r["target"] for r in records_of(log)) == ["/ok"] * 10 + ["/vanish"] * 5
    finally:
        shutil.rmtree(folder)


def a_moved_file_is_opened_again(programs):
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    try:
        with scene(programs, f"--access-log={log}") as (router, service, _):
            router.get("/one")
            eventually("a line", lambda: lines_of(log))
            os.rename(log, log + ".1")
            router.process.send_signal(signal.SIGUSR1)
            eventually("the file is there again", lambda: os.path.exists(log))
            router.get("/two")
            eventually("a line", lambda: lines_of(log))
            assert [r["target"] for r in records_of(log)] == ["/two"]
            os.rename(log, log + ".2")  # nobody says so
            eventually("the file is there again", lambda: os.path.exists(log))
            router.get("/three")
            eventually("a line", lambda: lines_of(log))
            assert [r["target"] for p in (".1", ".2", "") for r in records_of(log + p)] == ["/one", "/two", "/three"]
    finally:
        shutil.rmtree(folder)


def a_full_disk_costs_lines_and_no_request(programs):
    """A file that may not grow; when it may again, it is written again, and no line is torn."""
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
    try:
        with scene(programs, f"--access-log={log}", preexec=limit) as (router, service, _):
            for i in range(200):
                assert router.get(f"/{i}")[0] == 200
            eventually("it is noticed", lambda: "can't write the access log" in router.said())
            m = router.metrics()
            assert prometheus_text.value(m, "stagecoach_router_access_log_failing") == 1
            resource.prlimit(router.process.pid, resource.RLIMIT_FSIZE,
                             (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            asked = 200

            def is_written_again():
                nonlocal asked
                asked += 1
                time.sleep(0.1)
                return router.get("/after")[0] == 200 and b"/after" in b"".join(lines_of(log))

            eventually("it is written again", is_written_again)
            time.sleep(0.5)  # what was asked last is written, too
            m = router.metrics()
            written = prometheus_text.value(m, "stagecoach_router_access_log_lines_total")
            dropped = prometheus_text.value(m, "stagecoach_router_access_log_dropped_total")
            assert dropped > 0 and written + dropped == asked, (written, dropped, asked)
            whole = torn = 0
            for line in lines_of(log):
                try:
                    json.loads(line)
                    whole += 1
                except ValueError:
                    torn += 1
            assert whole == written and torn <= 1, (whole, written, torn)
            assert router.said().count("can't write the access log") == 1
    finally:
        shutil.rmtree(folder)


def a_pipe_that_nobody_reads_holds_nobody_up(programs):
    folder = tempfile.mkdtemp(prefix="router-log-")
    pipe = os.path.join(folder, "pipe")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with scene(programs, f"--access-log={pipe}") as (router, service, _):
            r = subprocess.run([programs.load, "--connections=8", "--requests=20000", f"--connect=127.0.0.1:{router.port}"],
                               capture_output=True, check=True)
            assert json.loads(r.stdout)["failed"] == 0
            eventually("lines are dropped", lambda: prometheus_text.value(
                router.metrics(), "stagecoach_router_access_log_dropped_total") > 0)
            began = time.monotonic()
            assert router.stop() == 0 and time.monotonic() - began < 10
            router.process.poll = lambda: None  # it was told to end
    finally:
        os.close(reader)
        shutil.rmtree(folder)


def http_2_is_counted_and_logged_alike(programs):
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    try:
        with scene(programs, f"--access-log={log}", "--h2c=yes") as (router, service, _):
            r = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-A", "agent", "-H", "Host: web.example",
                                f"http://127.0.0.1:{router.port}/a?b"], capture_output=True)
            assert r.returncode == 0 and b"GET /a?b" in r.stdout, r
            (record,) = eventually("a line", lambda: lines_of(log) and records_of(log))
            assert (record["protocol"], record["method"], record["target"]) == ("HTTP/2.0", "GET", "/a?b"), record
            assert record["user_agent"] == "agent" and record["bytes_out"] == len(r.stdout), record
            assert prometheus_text.value(router.metrics(), "stagecoach_router_worker_h2_requests_total") == 1
    finally:
        shutil.rmtree(folder)


def a_reload_hands_the_socket_and_the_log_on(programs):
    """The next generation is another process: it answers at the same socket and writes the same file."""
    folder = tempfile.mkdtemp(prefix="router-log-")
    log = os.path.join(folder, "access.log")
    try:
        with scene(programs, f"--access-log={log}") as (router, service, _):
            held = http.client.HTTPConnection("127.0.0.1", router.port, timeout=READY_S)
            ask = lambda path: (held.request("GET", path, headers={"Host": "web.example"}), held.getresponse().read())
            ask("/before")
            first = json.loads(router.ask_status("/status")[2])["pid"]
            assert first == router.process.pid
            os.kill(first, signal.SIGHUP)
            seen = lambda: json.loads(router.ask_status("/status")[2])
            second = eventually("the next generation answers", lambda: seen()["pid"] != first and seen(), READY_S)
            try:
                assert second["generation"] == 2, second
                ask("/old")  # on the connection that the older one has, or the next one after its end
                held.close()
                router.get("/new")
                eventually("both have written", lambda: {r["target"] for r in records_of(log)} ==
                           {"/before", "/old", "/new"})
                eventually("the older one has ended", lambda: router.process.poll() is not None, READY_S)
                m = router.metrics()
                assert prometheus_text.value(m, "stagecoach_router_generation") == 2
                # Counts are the process's own; for a moment both take connections.
                assert prometheus_text.value(m, "stagecoach_router_service_requests_total") <= 2
                router.get("/newest")
                assert prometheus_text.value(router.metrics(), "stagecoach_router_service_requests_total") > 0
            finally:
                os.kill(second["pid"], signal.SIGTERM)
                eventually("it has ended", lambda: not os.path.exists(f"/proc/{second['pid']}/stat") or
                           open(f"/proc/{second['pid']}/stat").read().split(") ")[1][0] == "Z", READY_S)
            router.process.poll = lambda: None  # it was to end
    finally:
        shutil.rmtree(folder)


def a_log_that_can_t_be_opened_refuses_the_start(programs):
    for setting, words in (("--access-log=/nonexistent/x.log", "can't open the access log"),
                           ("--access-format=xml", "must be json or combined")):
        r = subprocess.run([programs.routerd, "--listen=127.0.0.1:0", "--status=", "--table=/dev/null", setting],
                           capture_output=True, timeout=READY_S)
        assert r.returncode != 0 and words in r.stderr.decode(), r.stderr.decode()


def a_check_says_what_a_start_would_refuse(programs):
    folder = tempfile.mkdtemp(prefix="router-check-")
    table = os.path.join(folder, "table.json")
    try:
        def check(*settings):
            r = subprocess.run([programs.routerd, "--check", f"--table={table}", f"--state-dir={folder}/state", *settings],
                               capture_output=True, timeout=READY_S)
            return r.returncode, r.stderr.decode()
        with open(table, "w") as f:
            json.dump(table_of([1]), f)
        code, said = check("--listen=127.0.0.1:1", "--acme-directory=/nonexistent")
        assert code == 0 and "settings and table are right" in said and "no folder /nonexistent" in said, said
        for setting, words in (("--access-format=xml", "must be json or combined"), ("--listen=8080", "is a name, not an address"),
                               ("--listen-tls=127.0.0.1:1,x", "ListenTLS:"), ("--trusted-proxies=10.0.0.0/99", "is no network")):
            code, said = check(setting)
            assert code == 1 and words in said, said
        with open(table, "w") as f:
            f.write('{"format":1,"routs":[]}')
        code, said = check()
        assert code == 1 and 'did you mean "routes"?' in said, said
        assert os.listdir(folder) == ["table.json"], "nothing is written"
    finally:
        shutil.rmtree(folder)


TESTS = [
    metrics_are_what_prometheus_reads,
    status_is_json_and_the_rest_is_refused,
    who_reads_slowly_or_not_at_all_holds_nobody_up,
    ten_thousand_endpoints_are_told_in_pieces,
    counts_add_up_under_load,
    the_command_shows_it,
    what_happens_to_endpoints_is_told_and_counted,
    requests_get_ids,
    a_trusted_proxy_keeps_its_ids,
    the_client_behind_a_trusted_proxy_is_told,
    every_request_gets_a_line,
    what_the_router_says_itself_is_counted_and_told,
    ordinary_requests_are_sampled_and_failures_are_not,
    a_moved_file_is_opened_again,
    a_full_disk_costs_lines_and_no_request,
    a_pipe_that_nobody_reads_holds_nobody_up,
    http_2_is_counted_and_logged_alike,
    a_reload_hands_the_socket_and_the_log_on,
    a_log_that_can_t_be_opened_refuses_the_start,
    a_check_says_what_a_start_would_refuse,
]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--routerd", required=True)
    p.add_argument("--load", required=True)
    p.add_argument("--service", required=True)
    p.add_argument("--ctl", required=True)
    p.add_argument("names", nargs="*")
    programs = p.parse_args()
    failed = 0
    for test in TESTS:
        if programs.names and test.__name__ not in programs.names:
            continue
        began = time.monotonic()
        try:
            test(programs)
            print(f"ok      {test.__name__}  {time.monotonic() - began:.1f} s", flush=True)
        except Exception as e:  # the next one is tried all the same
            failed += 1
            traceback.print_exc(limit=-4)
            print(f"FAILED  {test.__name__}: {type(e).__name__}: {e}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
