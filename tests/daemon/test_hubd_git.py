#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Stock git against a real hub on loopback: what is taken, what is refused, what is left behind."""

import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "git"))
from hub import Hub, Refused, Work, basic, manifest, request_id, run  # noqa: E402


def resident_kb(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


class Case(unittest.TestCase):
    def setUp(self):
        self.hub = Hub()
        self.addCleanup(self.hub.close)
        self.deployer = self.hub.token("deployer")

    def releases(self):
        found = {}
        for event in self.hub.admin("history", limit=100)["events"]:
            if event["kind"] == "push":
                found[event["seq"]] = event["text"]
        return [found[seq] for seq in sorted(found)]

    def hidden(self, app="shop"):
        out = run("git", "-C", self.hub.path("hub/repos", app + ".git"), "for-each-ref", "refs/stagecoach").stdout
        return sorted((line.split("\t")[1], line[:8]) for line in out.splitlines())

    def wait(self, what, seconds=15):
        deadline = time.monotonic() + seconds
        while not what():
            self.assertLess(time.monotonic(), deadline, "it did not come so far in time")
            time.sleep(0.02)


class Pushing(Case):
    def test_first_push_makes_the_app_and_tells_the_releases(self):
        work = Work(self.hub)
        commit = work.commit({"stagecoach.json": manifest(web={"version": "0.2.2"}, auth={"version": "0.2.0"})})
        done = work.push(self.deployer)
        short = commit[:8]
        self.assertEqual(
            done.remote,
            [
                f"shop {short}  web@0.2.2 auth@0.2.0",
                f"web@0.2.2 = {short}",
                f"auth@0.2.0 = {short}",
                "deploy with  stagecoachctl deploy web@0.2.2",
            ],
        )
        self.assertEqual(self.hub.repos(), ["shop.git"])
        self.wait(lambda: len(self.hidden()) == 2)
        self.assertEqual(
            self.hidden(),
            [("refs/stagecoach/releases/auth/0.2.0", short), ("refs/stagecoach/releases/web/0.2.2", short)],
        )

    def test_a_later_commit_of_a_version_is_told_apart_by_its_hash(self):
        work = Work(self.hub)
        first = work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer)
        second = work.commit({"other": "x"})
        done = work.push(self.deployer)
        self.assertEqual(
            done.remote,
            [
                f"shop {second[:8]}  web@1.0.0+g{second[:8]}",
                f"web@1.0.0+g{second[:8]} = {second[:8]}  (1.0.0 is {first[:8]} for ever)",
                f"deploy with  stagecoachctl deploy web@1.0.0+g{second[:8]}",
            ],
        )
        self.wait(lambda: len(self.hidden()) == 2)
        self.assertEqual(self.hidden()[1][0], f"refs/stagecoach/releases/web/1.0.0_g{second[:8]}")

    def test_oldest_commit_of_a_push_gets_the_plain_version(self):
        work = Work(self.hub)
        first = work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.git("tag", "-a", "-m", "x", "one")
        second = work.commit({"other": "x"})
        done = work.push(self.deployer, "main", "--tags")
        self.assertIn(f"web@1.0.0 = {first[:8]}", done.remote)
        self.assertIn(f"shop {second[:8]}  web@1.0.0+g{second[:8]}", done.remote)

    def test_a_broken_manifest_refuses_everything_and_stores_nothing(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": '{ "services": { "web": {\n"command": "x",\n"instances": "two" } } }'})
        done = work.push(self.deployer, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(
            done.remote,
            ['stagecoach.json:3: "instances" must be a whole number from 0 to 1000, not "two"; shop was not changed'],
        )
        self.wait(lambda: self.hub.repos() == [])
        work.git("branch", "good")
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer)
        objects = self.objects()
        work.git("checkout", "-q", "-b", "bad")
        work.commit({"stagecoach.json": "{", "new": os.urandom(1000)})
        done = work.push(self.deployer, "main", "bad", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.objects(), objects)
        self.assertEqual(len(self.releases()), 1)

    def objects(self):
        found = []
        for directory, _, files in os.walk(self.hub.path("hub/repos/shop.git/objects")):
            found += [os.path.join(directory, f) for f in files]
        return sorted(found)

    def test_any_branch_or_tag_but_no_hidden_ref(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer, "main:refs/heads/feature/x-1", "main:refs/tags/v1")
        for ref in ("refs/stagecoach/releases/web/9.9.9", "refs/stagecoach/x"):
            done = work.push(self.deployer, "main:" + ref, check=False)
            self.assertNotEqual(done.returncode, 0, ref)
        self.assertEqual([h[0] for h in self.hidden()], ["refs/stagecoach/releases/web/1.0.0"])
        listed = work.git("ls-remote", self.hub.url("shop", self.deployer)).stdout
        self.assertNotIn("stagecoach", listed)

    def test_nothing_to_run_may_be_pushed(self):
        work = Work(self.hub)
        commit = work.commit({"README": "x"})
        done = work.push(self.deployer)
        self.assertEqual(
            done.remote,
            [
                f"shop {commit[:8]}  nothing to run: no stagecoach.json, no start script in package.json, no Procfile",
            ],
        )

    def test_a_node_app_and_a_procfile_deploy_unchanged(self):
        work = Work(self.hub)
        commit = work.commit({"package.json": '{"name":"@acme/site","version":"3.1.4","scripts":{"start":"node ."}}'})
        self.assertIn(f"site@3.1.4 = {commit[:8]}", work.push(self.deployer, app="site").remote)
        other = Work(self.hub, "other")
        commit = other.commit({"Procfile": "web: ./run\nworker: ./work\n"})
        other.git("tag", "v0.7.0")
        done = other.push(self.deployer, "main", "--tags", app="old")
        self.assertIn(f"old@0.7.0 = {commit[:8]}", done.remote)
        self.assertIn(f"old-worker@0.7.0 = {commit[:8]}", done.remote)

    def test_a_service_belongs_to_the_app_that_declared_it_first(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer)
        done = work.push(self.deployer, app="other", check=False)
        self.assertEqual(done.remote, ['service "web" belongs to app "shop"; other was not changed'])
        self.wait(lambda: self.hub.repos() == ["shop.git"])

    def test_deletion_and_force(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer, "main", "main:side")
        work.git("commit", "-q", "--amend", "-m", "another")
        self.assertNotEqual(work.push(self.deployer, check=False).returncode, 0)
        work.push(self.deployer, "+main", ":side")
        listed = work.git("ls-remote", self.hub.url("shop", self.deployer)).stdout
        self.assertEqual(listed.count("refs/heads/"), 1)

    def test_odd_trees_are_refused(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        blob = work.git("hash-object", "-w", "stagecoach.json").stdout.strip()
        for name in ("..", ".git", "GIT~1"):
            tree = work.git("mktree", input=f"100644 blob {blob}\t{name}\n").stdout.strip()
            commit = work.git("commit-tree", tree, "-m", "evil").stdout.strip()
            done = work.push(self.deployer, f"{commit}:refs/heads/evil", check=False)
            self.assertNotEqual(done.returncode, 0, name)
        self.assertEqual(self.releases(), [])

    def test_two_pushes_at_once(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"}), "big": os.urandom(3_000_000)})
        others = []
        for i in range(4):
            work.git("checkout", "-q", "-b", f"b{i}")
            work.commit({f"f{i}": os.urandom(500_000)})
        env = self.hub.git_env()
        for i in range(4):
            others.append(
                subprocess.Popen(
                    ["git", "push", self.hub.url("shop", self.deployer), f"b{i}"],
                    cwd=work.directory,
                    env=env,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for other in others:
            _, err = other.communicate(timeout=60)
            self.assertEqual(other.returncode, 0, err)
        listed = work.git("ls-remote", "--heads", self.hub.url("shop", self.deployer)).stdout
        self.assertEqual(len(listed.splitlines()), 4)
        self.wait(lambda: len(self.hidden()) == 4)


class Sizes(Case):
    def test_120_mb_in_bounded_memory(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer)
        work.commit({f"big{i}": os.urandom(15_000_000) for i in range(8)})
        before = resident_kb(self.hub.process.pid)
        peak = [before]
        stop = threading.Event()

        def watch():
            while not stop.wait(0.02):
                peak[0] = max(peak[0], resident_kb(self.hub.process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            work.push(self.deployer)
            clone = self.hub.path("clone")
            work.git("clone", "-q", self.hub.url("shop", self.deployer), clone)
        finally:
            stop.set()
            watcher.join()
        self.assertEqual(run("git", "-C", clone, "rev-parse", "HEAD").stdout.strip(), work.head())
        # The address sanitizer keeps what was freed.
        if os.environ.get("STAGECOACH_KIND") != "asan":
            self.assertLess(peak[0] - before, 16_000)

    def test_too_large_a_push_is_refused(self):
        self.hub.stop()
        self.hub.settings["Git.PushMax"] = "1M"
        self.hub.start()
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"}), "big": os.urandom(3_000_000)})
        done = work.push(self.deployer, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("pack exceeds maximum allowed size", done.stderr)
        self.wait(lambda: self.hub.repos() == [])

    def test_many_files_and_a_zipped_negotiation(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.commit({f"d{i % 100}/f{i}": f"{i}\n" for i in range(20_000)})
        work.push(self.deployer)
        clone = self.hub.path("clone")
        work.git("clone", "-q", self.hub.url("shop", self.deployer), clone)
        # Many commits of one's own make a long list of haves, which git sends zipped.
        other = Work.__new__(Work)
        other.hub, other.directory, other.clock = self.hub, clone, work.clock
        for i in range(60):
            other.git("commit", "-q", "--allow-empty", "-m", f"mine {i}")
        work.commit({"one": "more"})
        work.push(self.deployer)
        fetched = other.git("fetch", "-q", "origin", env={"GIT_CURL_VERBOSE": "1"})
        self.assertIn("content-encoding: gzip", fetched.stderr.lower())
        self.assertEqual(other.git("rev-parse", "origin/main").stdout.strip(), work.head())

    def test_many_refs_at_once(self):
        work = Work(self.hub)
        for i in range(3):
            work.commit({"stagecoach.json": manifest(web={"version": f"0.{i}.0"})})
        for i in range(1200):
            work.git("update-ref", f"refs/tags/t{i}", "HEAD")
        done = work.push(self.deployer, "main", "--tags")
        self.assertIn(f"web@0.2.0 = {work.head()[:8]}", done.remote)


class Rights(Case):
    def setUp(self):
        super().setUp()
        self.work = Work(self.hub)
        self.work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})

    def refusal(self, token, app="shop", cert=None):
        done = self.work.push(token, app=app, check=False, cert=cert)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr

    def test_without_a_token(self):
        self.assertIn("could not read Username", self.refusal(None))

    def test_with_a_wrong_token(self):
        self.assertIn("this token is not known here: it is mistyped, or it was revoked", self.refusal("wrong-one"))

    def test_with_a_token_of_another_hub(self):
        other = "sc1." + "ab" * 32 + ".secret"
        self.assertIn("this token is of another hub (key abab abab …)", self.refusal(other))

    def test_expired_and_revoked(self):
        token = self.hub.token("deployer", valid_ms=1000)
        time.sleep(1.2)
        self.assertIn("this token expired at ", self.refusal(token))
        made = self.hub.admin("token_create", request_id=request_id(), role="deployer")
        self.hub.admin("token_revoke", request_id=request_id(), id=made["id"])
        self.assertIn("this token is not known here", self.refusal(made["token"]))

    def test_a_viewer_fetches_and_does_not_push(self):
        viewer = self.hub.token("viewer")
        self.assertIn("is a viewer and may not push", self.refusal(viewer))
        self.work.push(self.deployer)
        self.work.git("clone", "-q", self.hub.url("shop", viewer), self.hub.path("clone"))

    def test_drones_have_no_use_for_git(self):
        self.assertIn("a drone may not use git here", self.refusal(self.hub.token("drone")))

    def test_a_deployer_of_some_services(self):
        token = self.hub.token("deployer", services=["auth"])
        self.assertIn('may not change service "web"; shop was not changed', self.refusal(token))
        self.work.push(self.hub.token("deployer", services=["web"]))

    def test_names_of_apps(self):
        for app, shown in (("Shop", "Shop"), ("-shop", "-shop"), ("a--b", "a--b"), ("x" * 300, "x" * 60), ("sh%2Fop", "sh%2Fop")):
            self.assertIn(f'"{shown}', self.refusal(self.deployer, app=app), app)
            self.assertIn("is no name for an app", self.refusal(self.deployer, app=app))
        self.assertEqual(self.hub.repos(), [])
        status, _, _ = self.hub.http("GET", "/../../etc/passwd", {"Authorization": basic(self.deployer)})
        self.assertEqual(status, 404)
        status, _, _ = self.hub.http("GET", "/shop.git/HEAD", {"Authorization": basic(self.deployer)})
        self.assertEqual(status, 404)

    def test_an_unknown_app(self):
        done = self.work.git("ls-remote", self.hub.url("none", self.deployer), check=False)
        self.assertIn('remote error: there is no app "none"', done.stderr)

    def test_a_client_certificate_will_do(self):
        cert, answer = self.hub.join(self.deployer, "ops")
        self.assertEqual(answer["role"], "deployer")
        self.work.push(None, cert=cert)
        self.assertIn("ops", [e["who"] for e in self.hub.admin("history", limit=10)["events"] if e["kind"] == "push"])
        self.hub.admin("identity_revoke", request_id=request_id(), role="deployer", name="ops")
        self.assertIn('deployer "ops" was revoked', self.refusal(None, cert=cert))

    def test_guessing_is_slowed_down(self):
        for i in range(20):
            self.hub.http("GET", "/shop.git/info/refs?service=git-upload-pack", {"Authorization": basic(f"guess-{i}")})
        status, _, body = self.hub.http("GET", "/metrics", {"Authorization": basic("guess-again")})
        self.assertEqual((status, body), (503, b"too many wrong tokens from 127.0.0.1; try again in a minute\n"))


class Interrupted(Case):
    def half_push(self, size):
        """A push that stops in the middle of its pack, as from a client that lost its network."""
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"}), "big": os.urandom(size)})
        head = work.head()
        pack = subprocess.run(
            ["git", "pack-objects", "--revs", "--stdout", "-q"], cwd=work.directory, input=head.encode(), capture_output=True
        ).stdout
        line = f"{'0' * 40} {head} refs/heads/main\0 report-status".encode()
        body = b"%04x%s0000" % (len(line) + 4, line) + pack
        sock = self.hub.tls(alpn="http/1.1")
        sock.sendall(
            (
                f"POST /shop.git/git-receive-pack HTTP/1.1\r\nHost: h\r\nAuthorization: {basic(self.deployer)}\r\n"
                f"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body[: len(body) // 2]
        )
        time.sleep(0.5)
        return sock, work

    def children(self):
        out = subprocess.run(["ps", "--ppid", str(self.hub.process.pid), "-o", "args="], capture_output=True, text=True)
        return [line for line in out.stdout.splitlines() if "receive-pack" in line]

    def test_a_client_that_goes_away_leaves_nothing(self):
        sock, work = self.half_push(4_000_000)
        self.assertEqual(self.hub.repos(), ["shop.git"])
        self.assertEqual(len(self.children()), 1)
        sock.close()
        self.wait(lambda: self.hub.repos() == [] and self.children() == [])
        self.assertEqual(len(work.push(self.deployer).remote), 3)

    def test_a_hub_that_is_killed_leaves_nothing_in_the_way(self):
        sock, work = self.half_push(4_000_000)
        self.hub.stop(signal.SIGKILL)
        sock.close()
        for line in self.children():
            self.fail("a child outlived the hub: " + line)
        self.hub.start()
        work.push(self.deployer)
        found = os.listdir(self.hub.path("hub/repos/shop.git/objects"))
        self.assertEqual([d for d in found if d.startswith("tmp_objdir")], [])

    def test_what_was_received_and_not_recorded_is_registered_at_start(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer)
        self.hub.stop()
        commit = work.commit({"stagecoach.json": manifest(web={"version": "1.1.0"})})
        work.git("push", "-q", self.hub.path("hub/repos/shop.git"), "main")
        self.hub.start()
        self.wait(lambda: "shop pushed: web@1.1.0" in self.releases())
        self.wait(lambda: ("refs/stagecoach/releases/web/1.1.0", commit[:8]) in self.hidden())

    def test_everything_acknowledged_survives_a_kill(self):
        work = Work(self.hub)
        for i in range(5):
            work.commit({"stagecoach.json": manifest(web={"version": f"1.{i}.0"})})
            work.push(self.deployer)
            self.hub.stop(signal.SIGKILL)
            self.hub.start()
        self.assertEqual(self.releases(), [f"shop pushed: web@1.{i}.0" for i in range(5)])


class Confined(Case):
    def test_git_and_its_hooks_reach_nothing_of_the_hub(self):
        """What runs beside a repository sees that repository, and not the keys of the same user."""
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer)
        helper = os.path.join(os.environ["STAGECOACH_BUILD"], "common/stagecoach-gitwork")
        repo = self.hub.path("hub/repos/shop.git")
        key = self.hub.path("hub/identity/ca-key.pem")
        probe = "import sys; open(sys.argv[1]).read()"

        def reads(path):
            return subprocess.run(
                [helper, "run", f"--write={repo}", "/usr/bin/python3", "-c", probe, path], capture_output=True
            ).returncode == 0

        if reads("/etc/hostname"):
            self.skipTest("this kernel can't shut processes in")
        self.assertTrue(reads(repo + "/HEAD"))
        self.assertFalse(reads(key))
        self.assertFalse(reads(repo + "/../../identity/ca-key.pem"))
        writes = subprocess.run([helper, "run", f"--write={repo}", "/bin/sh", "-c", f"echo x > {self.hub.path('x')}"], capture_output=True)
        self.assertNotEqual(writes.returncode, 0)


class Maintenance(Case):
    def test_many_services_in_quick_succession_keep_their_refs(self):
        work = Work(self.hub)
        for i in range(4):
            work.commit({"stagecoach.json": manifest(**{f"s{k}": {"version": f"1.{i}.0"} for k in range(100)})})
            work.push(self.deployer)
        self.wait(lambda: len(self.hidden()) == 400)
        self.assertNotIn("keeping the releases", self.hub.log_text())

    def test_many_small_pushes_do_not_leave_many_packs(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        for i in range(45):
            work.commit({"f": f"{i}\n"})
            work.push(self.deployer)
        packs = lambda: [f for f in os.listdir(self.hub.path("hub/repos/shop.git/objects/pack")) if f.endswith(".pack")]  # noqa: E731
        self.wait(lambda: len(packs()) < 15)
        self.assertEqual(run("git", "-C", self.hub.path("hub/repos/shop.git"), "fsck").returncode, 0)


class Http(Case):
    def test_small_pages(self):
        self.assertEqual(self.hub.http("GET", "/healthz")[::2], (200, b"ok\n"))
        self.assertEqual(self.hub.http("POST", "/healthz")[0], 405)
        self.assertEqual(self.hub.http("GET", "/metrics")[0], 401)
        status, _, body = self.hub.http("GET", "/metrics", {"Authorization": "Bearer " + self.hub.token("viewer")})
        self.assertEqual(status, 200)
        self.assertIn(b"stagecoach_hub_apps 0\n", body)
        self.assertEqual(self.hub.http("GET", "/nothing")[0], 404)

    def test_bad_gzip_and_bombs(self):
        work = Work(self.hub)
        work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        work.push(self.deployer)
        headers = {
            "Authorization": basic(self.deployer),
            "Content-Type": "application/x-git-upload-pack-request",
            "Content-Encoding": "gzip",
        }
        target = "/shop.git/git-upload-pack"
        self.assertEqual(self.hub.http("POST", target, headers, b"no gzip at all")[0], 400)
        bomb = gzip.compress(b"0014command=ls-refs\n0001" + b"0018ref-prefix refs/xxxx" * 3_300_000)
        asked = dict(headers, **{"Git-Protocol": "version=2"})
        self.assertEqual(self.hub.http("POST", target, asked, bomb)[0], 413)
        headers["Content-Encoding"] = "br"
        self.assertEqual(self.hub.http("POST", target, headers, b"x")[0], 415)
        self.assertEqual(self.hub.http("GET", "/healthz")[0], 200)

    def test_ambiguous_requests_are_refused(self):
        for head in (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 20000 + b"\r\n\r\n",
        ):
            sock = self.hub.tls(alpn="http/1.1")
            sock.sendall(head)
            answer = sock.recv(100)
            self.assertRegex(answer, rb"^HTTP/1.1 4\d\d ", head[:40])
            sock.close()
        self.assertEqual(self.hub.http("GET", "/healthz")[0], 200)

    def test_packs_are_for_drones(self):
        target = "/pack/shop/" + "a" * 40
        self.assertEqual(self.hub.http("GET", target)[0], 401)
        status, _, body = self.hub.http("GET", target, {"Authorization": basic(self.hub.token("drone"))})
        self.assertEqual((status, body), (403, b"packs are for drones, by their certificate\n"))
        cert, _ = self.hub.join(self.hub.token("drone"), "app1")
        status, _, body = self.hub.http("GET", target, cert=cert)
        self.assertEqual((status, body), (403, b"nothing of shop aaaaaaaa is ordered on app1\n"))
        self.assertEqual(self.hub.http("GET", "/pack/../x", cert=cert)[0], 404)
        self.assertEqual(self.hub.http("GET", target + "?base=HEAD", cert=cert)[0], 404)


class Packs(Case):
    """A drone that is told to run something fetches it, and nothing else."""

    def setUp(self):
        super().setUp()
        self.cert, _ = self.hub.join(self.hub.token("drone"), "app1")
        self.drone = self.hub.link(self.cert, address="127.0.0.1", counter=0)
        self.addCleanup(self.drone.close)
        text = json.dumps({"instances": [], "revision": 0})
        notice = lambda method, **params: self.drone.send({"jsonrpc": "2.0", "method": method, "params": params})  # noqa: E731
        notice("document_begin", kind="report", id=1, revision=0, bytes=len(text))
        notice("document_part", id=1, text=text)
        self.drone.call("document_end", id=1, sha256=hashlib.sha256(text.encode()).hexdigest())
        notice("host_report", up_ms=1, load_milli=0, cores=2, memory_bytes=1 << 32, memory_free_bytes=1 << 32, disk_free_bytes=1 << 40)
        self.work = Work(self.hub)

    def deploy(self, target):
        self.hub.admin("deploy", request_id=request_id(), target=target)

    def pack(self, commit, base=None, cert=None):
        target = f"/pack/shop/{commit}" + (f"?base={base}" if base else "")
        return self.hub.http("GET", target, cert=cert or self.cert)

    def index(self, pack):
        done = subprocess.run(
            [os.path.join(os.environ["STAGECOACH_BUILD"], "common/stagecoach-gitwork"), "index", self.hub.path("drone.git")],
            input=pack,
            capture_output=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return json.loads(done.stdout)

    def test_only_what_is_ordered_and_only_what_is_missing(self):
        big = os.urandom(200_000)
        first = self.work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"}), "big": big})
        self.work.push(self.deployer)
        second = self.work.commit({"stagecoach.json": manifest(web={"version": "1.1.0"})})
        self.work.push(self.deployer)
        self.assertEqual(self.pack(first)[0], 403)
        self.deploy("web@1.0.0")
        status, fields, pack = self.pack(first)
        self.assertEqual((status, int(fields["content-length"])), (200, len(pack)))
        self.assertEqual(fields["content-type"], "application/x-git-pack")
        self.assertGreater(len(pack), 200_000)
        self.assertEqual(self.index(pack)["objects"], 4)
        self.assertEqual(self.pack(first)[2], pack)
        self.assertEqual(len(os.listdir(self.hub.path("hub/packs"))), 1)
        self.assertEqual(self.pack(second)[0], 403)
        other, _ = self.hub.join(self.hub.token("drone"), "app2")
        self.assertEqual(self.pack(first, cert=other)[0], 403)

        self.hub.admin("deploy", request_id=request_id(), target="web@1.1.0", supersede=True)
        status, _, small = self.pack(second, first)
        self.assertEqual(status, 200)
        self.assertLess(len(small), 1000)
        self.index(small)
        out = self.hub.path("out")
        run(os.path.join(os.environ["STAGECOACH_BUILD"], "common/stagecoach-gitwork"), "checkout", self.hub.path("drone.git"), second, out)
        with open(out + "/big", "rb") as f:
            self.assertEqual(f.read(), big)
        # A base that the hub does not know is left aside.
        self.assertGreater(len(self.pack(second, "1" * 40)[2]), 200_000)

    def test_many_at_once_get_the_same(self):
        commit = self.work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"}), "big": os.urandom(5_000_000)})
        self.work.push(self.deployer)
        self.deploy("web")
        got = []
        threads = [threading.Thread(target=lambda: got.append(self.pack(commit))) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(got), 30)
        self.assertEqual({(status, hashlib.sha256(pack).hexdigest()) for status, _, pack in got}, {(200, hashlib.sha256(got[0][2]).hexdigest())})

    def test_a_source_that_is_missing(self):
        commit = self.work.commit({"stagecoach.json": manifest(web={"version": "1.0.0"})})
        self.work.push(self.deployer)
        self.deploy("web")
        shutil.rmtree(self.hub.path("hub/repos/shop.git"))
        status, _, body = self.pack(commit)
        self.assertEqual((status, body.decode()), (404, f"the source of shop {commit[:8]} is missing: push it again\n"))
        self.work.push(self.deployer)
        self.assertEqual(self.pack(commit)[0], 200)

    def test_names_that_only_the_repository_knows(self):
        self.work.commit({"stagecoach.json": manifest(web={"version": "0.1.0"})})
        hidden = self.work.commit({"stagecoach.json": manifest(web={"version": "0.2.0"})})
        tagged = self.work.commit({"stagecoach.json": manifest(web={"version": "0.3.0"})})
        self.work.git("tag", "-a", "-m", "x", "stable")
        last = self.work.commit({"stagecoach.json": manifest(auth={"version": "1.0.0"})})
        self.work.push(self.deployer, "main", "--tags")

        def deploy(target):
            return self.hub.admin("deploy", request_id=request_id(), target=target, supersede=True)

        answer = deploy("web@stable")
        self.assertEqual((answer["version"], answer["commit"]), ("0.3.0", tagged))
        answer = deploy("web@" + hidden[:10])
        self.assertEqual((answer["version"], answer["commit"], answer["subject"]), ("0.2.0", hidden, "a commit"))
        self.wait(lambda: "refs/stagecoach/releases/web/0.2.0" in [h[0] for h in self.hidden()])
        for target, expected in (
            ("web@" + last[:10], f'commit {last[:8]} of shop has no service "web"'),
            ("web@" + "0" * 39, 'no commit of web begins with "' + "0" * 39 + '"; newest is web@0.3.0'),
            ("web@nope", 'web has no version, tag or commit "nope"; newest is web@0.3.0'),
            ("web@9.9.9", "there is no web@9.9.9; newest is web@0.3.0"),
            ("web@^9", 'no release of web fits "^9"; newest is web@0.3.0'),
            ("wbe", 'there is no service "wbe", did you mean "web"?'),
        ):
            with self.assertRaises(Refused) as caught:
                deploy(target)
            self.assertEqual(caught.exception.text, expected)


if __name__ == "__main__":
    unittest.main(verbosity=2)
