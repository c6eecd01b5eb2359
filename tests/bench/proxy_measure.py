# SPDX-License-Identifier: MIT
"""What tests/bench/proxy measures of a program: CPU and memory from /proc, answers from the generators."""

import glob
import json
import os
import re
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from proxy_peers import STARTERS, Missing, free_port, prepare


def family(pid):
    out = [pid]
    for path in glob.glob("/proc/%d/task/*/children" % pid):
        with open(path) as f:
            for child in f.read().split():
                out += family(int(child))
    return out


def cpu_us(pid):
    """Of all threads of a process and its children."""
    total = 0
    for p in family(pid):
        for path in glob.glob("/proc/%d/task/*/schedstat" % p):
            try:
                with open(path) as f:
                    total += int(f.read().split()[0])
            except OSError:
                pass
    return total / 1000


def memory_kb(pid):
    total = 0
    for p in family(pid):
        try:
            with open("/proc/%d/status" % p) as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
        except OSError:
            pass
    return total


def run_load(stand, port, options, cpus=None):
    argv = [stand.load, "--connect=127.0.0.1:%d" % port, "--timeout=10"] + options
    out = subprocess.run(argv, stdout=subprocess.PIPE, preexec_fn=prepare(cpus or stand.load_cpu), check=False).stdout
    return json.loads(out)


def run_h2load(stand, port, options, seconds):
    argv = ["h2load", "-D", "%d" % seconds, "--connect-to=127.0.0.1:%d" % port] + options
    argv.append("https://localhost:%d/" % port)
    try:
        out = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=prepare(stand.load_cpu),
                             timeout=seconds + 15, check=False)
    except subprocess.TimeoutExpired:
        raise Missing("h2load did not end") from None
    text = out.stdout.decode()
    done = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    if not done or "protocol: h2" not in text:
        raise Missing("h2load: %s" % text[-100:])
    n, failed, errored = (int(x) for x in done.groups())
    return {"requests": n, "failed": failed + errored, "per_second": n / seconds, "p50_us": 0, "p99_us": 0, "resumed": 0,
            "handshakes": 0}


def run_warm(stand, peer, job, seconds):
    """Behind the handshakes: (CPU used before, what the generator says of the rest)."""
    argv = [stand.load, "--connect=127.0.0.1:%d" % peer.port, "--timeout=10", "--warm=%g" % (job["warm"] * seconds),
            "--duration=%g" % ((1 + job["warm"]) * seconds)] + job["load"]
    load = subprocess.Popen(argv, stdout=subprocess.PIPE, preexec_fn=prepare(stand.load_cpu))
    stand.processes.append(load)
    first = json.loads(load.stdout.readline())
    before = cpu_us(peer.process.pid)
    result = json.loads(load.communicate()[0])
    stand.processes.remove(load)
    result["requests"] -= first["requests"]
    return before, result


def measure(stand, peer, job, seconds):
    before = cpu_us(peer.process.pid)
    if job.get("h2load"):
        result = run_h2load(stand, peer.port, job["h2load"], max(1, round(seconds)))
    elif job.get("warm"):
        before, result = run_warm(stand, peer, job, seconds)
    else:
        result = run_load(stand, peer.port, job["load"] + ["--duration=%g" % seconds],
                          stand.all_cpus if job["spec"].get("spread") else None)
    used = cpu_us(peer.process.pid) - before
    return {"cpu_us": used / max(1, result["requests"]), "per_second": result["per_second"], "failed": result["failed"],
            "reasons": result.get("reasons", {}), "p50_us": result["p50_us"], "p99_us": result["p99_us"],
            "resumed": result["resumed"] / max(1, result["handshakes"]), "memory_kb": memory_kb(peer.process.pid)}


def measure_together(stand, peers, load, seconds):
    """Each peer gets the load, at the same time; a peer may stand there twice."""
    pids = {p.process.pid for p in peers}
    before = sum(cpu_us(pid) for pid in pids)
    with ThreadPoolExecutor(len(peers)) as threads:
        results = list(threads.map(lambda p: run_load(stand, p.port, load + ["--duration=%g" % seconds], stand.all_cpus), peers))
    used = sum(cpu_us(pid) for pid in pids) - before
    return {"cpu_us": used / max(1, sum(r["requests"] for r in results)), "failed": sum(r["failed"] for r in results),
            "reasons": {k: v for r in results for k, v in r["reasons"].items()}}


def median(rows):
    out = {}
    for key in rows[0]:
        if key == "reasons":
            out[key] = {k: v for r in rows for k, v in r[key].items()}
        elif key == "failed":
            out[key] = sum(r[key] for r in rows)
        else:
            out[key] = statistics.median(r[key] for r in rows)
    return out


def start_all(stand, names, spec, missing):
    peers = []
    for name in names:
        try:
            peers.append(STARTERS[name](stand, spec))
        except Missing as e:
            missing[name] = str(e)
    return peers


def try_out(stand, peers, jobs, missing):
    """A first, short round; who can't do the job is left out."""
    able = []
    for p in peers:
        try:
            measure(stand, p, jobs[p.name], 0.3)
            able.append(p)
        except Missing as e:
            missing[p.name] = str(e)
    return able


def alternate(stand, peers, job, rounds, seconds, missing):
    """Rounds of all, in changing order; medians. job: one for all, or by name."""
    jobs = {p.name: job.get(p.name, job) for p in peers}
    peers = try_out(stand, peers, jobs, missing)
    rows = {p.name: [] for p in peers}
    for i in range(rounds):
        for p in peers[i % len(peers):] + peers[:i % len(peers)]:
            try:
                rows[p.name].append(measure(stand, p, jobs[p.name], seconds))
            except Missing as e:
                missing[p.name] = "a round was lost: %s" % e
    return {name: median(r) for name, r in rows.items() if r}


def syscalls(stand, peer, job):
    """By name, per request."""
    pids = [a for p in family(peer.process.pid) for a in ("-p", str(p))]
    out = stand.path("strace")
    tracer = subprocess.Popen(["strace", "-f", "-c", "-U", "name,calls", "-o", out] + pids, stderr=subprocess.DEVNULL)
    stand.processes.append(tracer)
    time.sleep(0.5)
    requests = run_load(stand, peer.port, [o for o in job["load"] if "rate" not in o] + ["--requests=3000"])["requests"]
    tracer.send_signal(2)
    tracer.wait()
    stand.processes.remove(tracer)
    calls = {}
    with open(out) as f:
        for line in f:
            words = line.split()
            if len(words) >= 2 and words[1].isdigit() and words[0] not in ("total", "syscall"):
                calls[words[0]] = round(int(words[1]) / max(1, requests), 2)
    return dict(sorted(((k, v) for k, v in calls.items() if v >= 0.05), key=lambda kv: -kv[1]))


def idle_bytes(stand, peer, job, n):
    """Memory that a connection costs which has had one answer and keeps still."""
    run_load(stand, peer.port, [o for o in job["load"] if "connections" not in o] + ["--connections=64", "--requests=640"])
    time.sleep(0.3)
    before = memory_kb(peer.process.pid)
    argv = [stand.load, "--connect=127.0.0.1:%d" % peer.port, "--hold", "--connections=%d" % n] + job["load"]
    holder = subprocess.Popen(argv, stdout=subprocess.PIPE, preexec_fn=prepare(stand.load_cpu))
    stand.processes.append(holder)
    told = json.loads(holder.stdout.readline())
    time.sleep(0.5)
    after = memory_kb(peer.process.pid)
    stand.stop(holder)
    return {"bytes": (after - before) * 1024 / n, "failed": told["failed"]}


__all__ = ["alternate", "free_port", "idle_bytes", "measure", "measure_together", "median", "run_load", "start_all", "syscalls"]
