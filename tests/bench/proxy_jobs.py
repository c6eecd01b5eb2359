# SPDX-License-Identifier: MIT
"""The rows of tests/bench/proxy's table: what is asked, of whom, and how good is good enough."""

import json
import os
import signal
import socket
import subprocess
import time

from proxy_measure import alternate, idle_bytes, measure_together, median, start_all, syscalls
from proxy_peers import RIVALS, nginx_conf, prepare, router_table

MANY = 10000
VERSIONS_MAX = 1000  # releases of one service
SWITCHES = 100
SWITCH_EVERY_S = 0.05
IDLE = 4000
TLS_IDLE = 2000
ALL = ("routerd",) + RIVALS + ("floor",)

# `load`: options of stagecoach-load. `spec`: what the proxies are started for (proxy_peers.py). `of_best`, `of_floor`: CPU
# per request may be so much of the best of nginx, HAProxy and h2o, or of the floor, whichever is more, and never more than
# the best needs.
ROWS = {
    "keepalive":       {"load": ["--connections=64"]},
    "rate-2000":       {"load": ["--connections=64", "--rate=2000"]},
    "close":           {"load": ["--connections=64", "--close"]},
    "tls-keepalive":   {"load": ["--connections=64", "--tls=full"], "spec": {"tls": True}, "warm": 2},
    "tls-full":        {"load": ["--connections=16", "--tls=full", "--close"], "spec": {"tls": True}, "of_best": 0.90, "of_floor": 0},
    "tls-resumed":     {"load": ["--connections=16", "--tls=resumed", "--close"], "spec": {"tls": True}, "of_best": 0.97, "of_floor": 0},
    "answer-100k":     {"load": ["--connections=16", "--path=/100k"], "spec": {"splice": True}},
    "tls-answer-100k": {"load": ["--connections=16", "--path=/100k", "--tls=full"], "spec": {"tls": True}, "warm": 2},
    "chunked":         {"load": ["--connections=16", "--path=/chunked"]},
    "post-64k":        {"load": ["--connections=16", "--post=65536"], "spec": {"splice": True}},
    "routes-10000":    {"load": ["--connections=64", "--url-host=h7777.example"], "spec": {"routes": MANY}},
    "websocket-125":   {"load": ["--connections=64", "--websocket=125"]},
    "websocket-16k":   {"load": ["--connections=16", "--websocket=16384"]},
    "h2-keepalive":    {"h2load": ["-c", "16", "-m", "8"], "spec": {"tls": True, "h2": True}, "of_best": 0.90, "of_floor": 0},
}


def judge(values, of_best, of_floor):
    """values: CPU by name. (best rival's name, ratio to it, what it may be, met)."""
    rivals = {n: v for n, v in values.items() if n in RIVALS}
    if "routerd" not in values or not rivals:
        return None
    best = min(rivals, key=rivals.get)
    goal = min(rivals[best], max(of_best * rivals[best], of_floor * values.get("floor", 0)))
    return {"best": best, "ratio": values["routerd"] / rivals[best], "goal": goal, "met": values["routerd"] <= goal}


def cpu_row(stand, args, name):
    row = ROWS[name]
    job = {"load": row.get("load"), "h2load": row.get("h2load"), "spec": row.get("spec", {}), "warm": row.get("warm", 0)}
    missing = {}
    peers = start_all(stand, args.peers, job["spec"], missing)
    try:
        result = alternate(stand, peers, job, args.rounds, args.seconds, missing)
        if args.strace and job["load"]:
            for p in peers:
                result[p.name]["syscalls"] = syscalls(stand, p, job)
    finally:
        for p in peers:
            stand.stop(p.process)
    verdict = judge({n: r["cpu_us"] for n, r in result.items()}, row.get("of_best", 0.85), row.get("of_floor", 1.15))
    return {"unit": "us", "value": "cpu_us", "peers": result, "missing": missing, "verdict": verdict}


# --- half load -------------------------------------------------------------------------------------------------

def half_row(stand, args, name):
    """p99 where each gets half of what the slowest of them can do."""
    missing = {}
    peers = start_all(stand, [n for n in args.peers if n != "floor"], {}, missing)
    try:
        job = {"load": ["--connections=64"], "spec": {}}
        full = alternate(stand, peers, job, 1, args.seconds, missing)
        rate = int(min(r["per_second"] for r in full.values()) / 2)
        result = alternate(stand, peers, {"load": ["--connections=64", "--rate=%d" % rate], "spec": {}}, args.rounds, args.seconds,
                           missing)
    finally:
        for p in peers:
            stand.stop(p.process)
    values = {n: r["p99_us"] for n, r in result.items()}
    return {"unit": "us p99", "value": "p99_us", "peers": result, "missing": missing, "verdict": judge(values, 1.0, 0),
            "note": "at %d a second" % rate}


# --- idle connections ------------------------------------------------------------------------------------------

def idle_row(stand, args, name):
    tls = name == "idle-tls"
    spec, n, most = {"tls": tls}, TLS_IDLE if tls else IDLE, 14900 if tls else 500
    missing, result = {}, {}
    for who in args.peers:
        peers = start_all(stand, [who], spec, missing)
        for p in peers:
            result[who] = idle_bytes(stand, p, {"load": ["--tls=full"] if tls else []}, n)
            stand.stop(p.process)
    ours = result.get("routerd", {}).get("bytes")
    verdict = {"best": "", "ratio": 0, "goal": most, "met": ours <= most} if ours is not None else None
    return {"unit": "bytes", "value": "bytes", "peers": result, "missing": missing, "verdict": verdict}


# --- switches --------------------------------------------------------------------------------------------------

def switch_routerd(stand, peer, port):
    path = peer.table + ".new"
    with open(path, "w") as f:
        json.dump(router_table(stand, {}, port), f)
    os.rename(path, peer.table)


def switch_nginx(stand, peer, port):
    with open(peer.conf, "w") as f:
        f.write(nginx_conf(stand, {}, peer.port, peer.dir, port))
    peer.process.send_signal(signal.SIGHUP)


def switch_haproxy(stand, peer, port):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(peer.admin)
        s.sendall(b"set server u/s addr 127.0.0.1 port %d\n" % port)
        s.settimeout(2)
        while s.recv(4096):
            pass


SWITCHERS = {"routerd": switch_routerd, "nginx": switch_nginx, "haproxy": switch_haproxy}


def switch_one(stand, peer, ports):
    argv = [stand.load, "--connect=127.0.0.1:%d" % peer.port, "--connections=16"]
    load = subprocess.Popen(argv, stdout=subprocess.PIPE, preexec_fn=prepare(stand.load_cpu))
    stand.processes.append(load)
    time.sleep(0.3)
    told, previous = {}, "1"
    for version, port in ports.items():
        SWITCHERS[peer.name](stand, peer, port)
        told[previous] = time.time()
        previous = version
        time.sleep(SWITCH_EVERY_S)
    load.terminate()
    result = json.loads(load.communicate()[0])
    stand.processes.remove(load)
    late = [max(0, result["by_version"][v]["last_sent"] - t) * 1000 for v, t in told.items() if v in result["by_version"]]
    return {"lost": result["failed"], "stale_ms": max(late, default=0), "requests": result["requests"],
            "failed": 0, "seen": len(result["by_version"]), "reasons": result["reasons"]}


def switches_row(stand, args, name):
    """Requests lost over all switches, and for how long after a switch was told requests still got the old answer."""
    missing, result = {}, {}
    stand.stop(stand.service_process)
    ports = stand.service(["v%d" % i for i in range(SWITCHES)])
    for who in args.peers:
        if who not in SWITCHERS:
            missing[who] = "can't be told while it runs"
            continue
        for p in start_all(stand, [who], {}, missing):
            result[who] = switch_one(stand, p, ports)
            stand.stop(p.process)
    ours, rivals = result.get("routerd"), [result[r]["stale_ms"] for r in RIVALS if r in result]
    verdict = ours and {"best": "", "ratio": 0, "goal": 0, "met": ours["lost"] == 0 and ours["stale_ms"] <= min(rivals, default=1e9)}
    return {"unit": "lost", "value": "lost", "peers": result, "missing": missing, "verdict": verdict,
            "note": "old answers until ms after: " + ", ".join("%s %.1f" % (w, r["stale_ms"]) for w, r in result.items())}


# --- what must not grow ----------------------------------------------------------------------------------------

def compare(stand, args, specs, load, most):
    """The router twice, in alternating rounds; how much more the second needs. load: of each."""
    missing, peers = {}, []
    for label, spec in specs:
        for p in start_all(stand, ["routerd"], spec, missing):
            p.name = label
            peers.append(p)
    try:
        # Differences of a few percent need more rounds than differences of a tenth.
        jobs = {label: {"load": load[label], "spec": spec} for label, spec in specs}
        result = alternate(stand, peers, jobs, 2 * args.rounds + 1, args.seconds, missing)
    finally:
        for p in peers:
            stand.stop(p.process)
    (a, _), (b, _) = specs
    if a not in result or b not in result:
        return {"unit": "us", "value": "cpu_us", "peers": result, "missing": missing, "verdict": None}
    ratio = result[b]["cpu_us"] / result[a]["cpu_us"]
    verdict = {"best": a, "ratio": ratio, "goal": most * result[a]["cpu_us"], "met": ratio <= most}
    return {"unit": "us", "value": "cpu_us", "peers": result, "missing": missing, "verdict": verdict}


def scale_row(stand, args, name):
    what = name.split("-", 1)[1]
    load = ["--connections=64"] + (["--url-host=h7.example"] if what in ("routes", "rules") else [])
    many = VERSIONS_MAX if what == "versions" else MANY
    return compare(stand, args, [("10", {what: 10}), (str(many), {what: many})], {"10": load, str(many): load}, 1.03)


def workers_row(stand, args, name):
    """Twice the workers get twice the load. What two routers of one worker each need, which share nothing, says how much of
    the difference is the machine's, whose processors are both busy then."""
    half, missing = ["--connections=32", "--rate=4000"], {}
    one, two, *apart = (p for n in (1, 2, 1, 1) for p in start_all(stand, ["routerd"], {"workers": n, "spread": True}, missing))
    jobs = {"1 worker": [one], "2 workers": [two, two], "2 apart": apart}
    rows = {label: [] for label in jobs}
    for _ in range(2 * args.rounds + 1):
        for label, peers in jobs.items():
            rows[label].append(measure_together(stand, peers, half, args.seconds))
    for p in (one, two, *apart):
        stand.stop(p.process)
    result = {label: median(r) for label, r in rows.items()}
    cpu = {label: r["cpu_us"] for label, r in result.items()}
    ratio = cpu["2 workers"] / cpu["1 worker"]
    return {"unit": "us", "value": "cpu_us", "peers": result, "missing": missing, "note": "to 2 apart: %.2f" % (cpu["2 workers"] / cpu["2 apart"]),
            "verdict": {"best": "1 worker", "ratio": ratio, "goal": 1.05 * cpu["1 worker"], "met": ratio <= 1.05}}


SPECIAL = {
    "half-load": half_row,
    "idle": idle_row,
    "idle-tls": idle_row,
    "switches": switches_row,
    "scale-routes": scale_row,
    "scale-endpoints": scale_row,
    "scale-rules": scale_row,
    "scale-versions": scale_row,
    "two-workers": workers_row,
}

NAMES = list(ROWS) + list(SPECIAL)


def run_row(stand, args, name):
    return (SPECIAL.get(name) or cpu_row)(stand, args, name)
