# SPDX-License-Identifier: MIT
"""A fleet of Stagecoach on test hosts: a hub, drones, routers and somebody's laptop, joined with tokens.

This file knows what an operator types. Hosts and cables are in testbed.py; what must come of it is in tests/e2e.
"""

import json
import os
import shlex
import subprocess
import sys

from testbed import Testbed, TestbedError, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))
HUB_PORT = 7000
SHOP = "shop.example"
DEPLOY_DEADLINE_S = 60
LOAD_DEADLINE_S = 600
# What JSON leaves out is empty.
ROW = {"running": 0, "wanted": 0, "traffic_percent": 0, "addresses": [], "worker": False}
INSTANCE = {"phase": "", "pid": 0, "restarts": 0, "host": "", "reason": ""}


def stage(build):
    """Installs what `build` holds into a directory of its own; that is what hosts get as /usr and /etc."""
    target = os.path.join(build, "stage")
    subprocess.run(["rm", "-rf", target], check=True)
    done = subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet"], capture_output=True, text=True,
                          env=dict(os.environ, DESTDIR=os.path.abspath(target)))
    if done.returncode != 0:
        raise TestbedError("can't install into a directory: " + done.stdout + done.stderr)
    return target


class Fleet:
    """with Fleet(build) as fleet: …  Everything is up and joined when it has been entered."""

    def __init__(self, build, drones=("app1", "app2"), routers=("edge1",), keep=False, say=None, config=None):
        self.build = os.path.abspath(build)
        self.say = say or (lambda text: None)
        self.bed = Testbed(stage=stage(self.build), keep=keep)
        self.hub = self.bed.host("hub1")
        self.drones = [self.bed.host(name) for name in drones]
        self.routers = [self.bed.host(name) for name in routers]
        self.config = config or {}  # {"hubd": text, …}: configuration files
        self.client = None

    @property
    def router(self):
        return self.routers[0]

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.explain(sys.stderr)
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.bed.close()

    # --- up ----------------------------------------------------------------------------------------------------

    def up(self):
        self.bed.start(self.hub, *self.drones, *self.routers)
        self.client = self.bed.client()
        self.bed.write_names(**{SHOP.replace(".", "_"): self.router})
        self.say(f"{len(self.bed.by_name)} hosts are up")
        for host in self.bed.by_name.values():
            for daemon, text in self.config.items():
                host.write_file(f"/etc/stagecoach/{daemon}.conf", text)
        self.start_hub()
        for role, hosts in (("drone", self.drones), ("router", self.routers)):
            token = self.token(role, uses=len(hosts))
            for host in hosts:
                said = self.join(host, token)
                self.say(said.out.strip().splitlines()[0] if said.out.strip() else f"{host.name} joined")
        for host in self.drones:
            host.systemctl("enable", "--now", "stagecoach-droned")
        for host in self.routers:
            host.systemctl("enable", "--now", "stagecoach-routerd")
        self.add_remote(self.client, self.token("admin", name="ops"))
        self.wait_online()

    def start_hub(self):
        self.hub.systemctl("enable", "--now", "stagecoach-hubd.socket", "stagecoach-hubd-local.socket",
                           "stagecoach-hubd")

    def token(self, role, uses=1, name=None, words=()):
        argv = ["stagecoachctl", "token", "create", f"--role={role}", f"--uses={uses}", "--json", *words]
        if name:
            argv.append(f"--name={name}")
        return self.hub.run(argv).json["token"]

    def join(self, host, token, *words, check=True):
        return host.run(["stagecoachctl", "join", f"hub1:{HUB_PORT}", "--token-file=-", *words], input=token + "\n",
                        check=check)

    def add_remote(self, host, token, name="prod", *words, check=True):
        return host.run(["stagecoachctl", "remote", "add", name, f"--hub=hub1:{HUB_PORT}", "--token-file=-", *words],
                        input=token + "\n", check=check)

    def wait_online(self, seconds=20):
        names = {h.name for h in self.drones + self.routers}
        wait_until("all hosts are online at the hub", lambda: names <= self.online(), seconds)

    def online(self):
        said = self.hub.run(["stagecoachctl", "host", "list", "--json"], check=False)
        if said.status != 0:
            return set()
        return {row["host"] for row in said.json.get("hosts", []) if row.get("online")}

    # --- what an operator types ------------------------------------------------------------------------------------

    def ctl(self, *words, check=True, input=None, timeout=DEPLOY_DEADLINE_S, on=None):
        return (on or self.client).run(["stagecoachctl", *words], check=check, input=input, timeout=timeout)

    def ask(self, *words):
        """The answer of a verb as data."""
        return self.ctl(*words, "--json").json

    def list(self):
        """{"web@0.2.2": row, …}"""
        return {f"{r['service']}@{r['version']}": {**ROW, **r} for r in self.ask("list").get("releases", [])}

    def instances(self, *words):
        return [{**INSTANCE, **i} for i in self.ask("ps", *words).get("instances", [])]

    # --- repositories on the laptop ----------------------------------------------------------------------------------

    def make_shop(self, where="/root/shop"):
        """The example's repository, on the client, with a git remote for the hub."""
        if not self.client.run(["test", "-d", "/opt/shop"], check=False).status == 0:
            self.client.copy_in(os.path.join(TREE, "examples", "shop"), "/opt/shop")
        self.client.run(["/opt/shop/make-history", where])
        self.add_git_remote(where, "shop")
        return where

    def add_git_remote(self, where, app, name="prod", on=None):
        """Teaches a repository the hub, with its key and our certificate."""
        (on or self.client).run(f"cd {shlex.quote(where)} && stagecoachctl remote git {name} --app={app}")

    def push(self, where, *refs, check=True, words=()):
        return self.client.run(["git", "-C", where, "push", *words, "prod", *refs], check=check)

    # --- requests --------------------------------------------------------------------------------------------------

    def get(self, path="/", host=SHOP, router=None, headers=(), on=None):
        """(status, headers, body) of one request through the router."""
        argv = ["curl", "--silent", "--include", "--max-time", "10", "--header", f"Host: {host}"]
        for h in headers:
            argv += ["--header", h]
        said = (on or self.client).run(argv + [f"http://{(router or self.router).address}{path}"], check=False)
        if said.status != 0:
            return 0, {}, f"curl: {said.status} {said.err}"
        head, _, body = said.out.replace("\r\n", "\n").partition("\n\n")
        lines = head.split("\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split()[1]), fields, body

    def version(self, **words):
        """Which release answers."""
        status, fields, body = self.get(**words)
        return fields.get("x-version", f"{status} {body.strip()}")

    def load(self, connections=50, mode="mixed", path="/", host=SHOP, headers=(), router=None, rate=0, more=()):
        return Load(self, connections, mode, path, host, headers, router or self.router, rate, more)

    # --- when it went wrong ----------------------------------------------------------------------------------------

    def explain(self, out, lines=40):
        """The last words of every daemon."""
        for host in self.bed.by_name.values():
            if not host.boots or not host.is_up():
                continue
            said = host.run(["journalctl", "--no-pager", "--quiet", "-n", str(lines), "-o", "short-precise", "-u",
                             "stagecoach*"], check=False).out
            print(f"--- {host.name}\n{said}", file=out)


class Load:
    """A load generator on the client: `with fleet.load() as load: …`, then load.result.

    mode: "keepalive", "close" (a connection per request), "mixed". Failed is everything but a whole, well-formed
    answer; statuses are counted apart."""

    def __init__(self, fleet, connections, mode, path, host, headers, router, rate, more):
        source = os.path.join(fleet.build, "tests", "bench", "stagecoach-load")
        target = "/usr/local/bin/stagecoach-load"
        self.client = fleet.client
        if self.client.run(["test", "-x", target], check=False).status != 0:
            self.client.copy_in(source, "/usr/local/bin")
        self.argv = [target, f"--connect={router.address}:80", f"--path={path}", f"--url-host={host}",
                     f"--connections={connections}", f"--{mode}", f"--duration={LOAD_DEADLINE_S}"]
        self.argv += [f"--header={h}" for h in headers] + ([f"--rate={rate}"] if rate else []) + list(more)
        self.result = None

    def __enter__(self):
        self.process = self.client.spawn(["sh", "-c", 'echo $$ > /run/load.pid; exec "$@"', "sh", *self.argv],
                                         stderr=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        if self.result is None:
            self.stop()

    def stop(self):
        """Ends it and reads what it counted."""
        if self.process.poll() is None:
            self.client.run("kill -TERM $(cat /run/load.pid)", check=False)
        out, err = self.process.communicate(timeout=60)
        try:
            self.result = LoadResult(json.loads(out.strip().splitlines()[-1]))
        except (ValueError, IndexError):
            raise TestbedError(f"the load generator said: {out} {err}") from None
        return self.result


class LoadResult(dict):
    """failed: everything but a whole 2xx answer."""

    @property
    def failed(self):
        return self["failed"]

    @property
    def why(self):
        return self["reasons"]

    def sent_to_after(self, version, wall_s):
        """Whether a request that `version` answered was sent after that time."""
        row = self["versions"].get(version)
        return row is not None and row["last_sent_us"] > wall_s * 1e6
