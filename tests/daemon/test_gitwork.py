#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The git helper against trees that no git would make, and against ordinary ones."""

import hashlib
import json
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import unittest
import zlib

HELPER = os.path.join(os.environ["STAGECOACH_BUILD"], "common/stagecoach-gitwork")


class Repo:
    """A bare repository whose objects are written byte by byte."""

    def __init__(self, directory):
        self.directory = directory
        for sub in ("objects/info", "objects/pack", "refs/heads", "refs/tags"):
            os.makedirs(os.path.join(directory, sub))
        self.write("HEAD", "ref: refs/heads/main\n")
        self.write("config", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n")

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w") as f:
            f.write(text)

    def put(self, kind, data):
        whole = kind.encode() + b" %d\0" % len(data) + data
        name = hashlib.sha1(whole).hexdigest()
        path = os.path.join(self.directory, "objects", name[:2])
        os.makedirs(path, exist_ok=True)
        with open(os.path.join(path, name[2:]), "wb") as f:
            f.write(zlib.compress(whole, 1))
        return name

    def blob(self, data=b"x\n"):
        return self.put("blob", data)

    def tree(self, *entries):
        """(mode, name, id), in the order given."""
        data = b""
        for mode, name, oid in entries:
            name = name if isinstance(name, bytes) else name.encode()
            data += mode.encode() + b" " + name + b"\0" + bytes.fromhex(oid)
        return self.put("tree", data)

    def commit(self, tree, subject="a commit", parents=(), time=1767225600):
        text = f"tree {tree}\n" + "".join(f"parent {p}\n" for p in parents)
        text += f"author A <a@example.com> {time} +0000\ncommitter A <a@example.com> {time} +0000\n\n{subject}\n"
        return self.put("commit", text.encode())

    def ref(self, name, oid):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(oid + "\n")


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="stagecoach-test-")
        self.addCleanup(shutil.rmtree, self.directory, True)
        self.repo = Repo(self.path("repo"))

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def run_helper(self, *args, **kwargs):
        done = subprocess.run([HELPER, *args], capture_output=True, timeout=120, **kwargs)
        self.assertEqual(done.stderr.decode(errors="replace"), "")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def ok(self, *args, **kwargs):
        status, rows = self.run_helper(*args, **kwargs)
        self.assertEqual(status, 0, rows)
        return rows

    def error(self, *args, **kwargs):
        status, rows = self.run_helper(*args, **kwargs)
        self.assertEqual(status, 1, rows)
        return rows[-1]["error"]

    def checkout(self, tree, to="out"):
        return self.ok("checkout", self.path("repo"), self.repo.commit(tree), self.path(to))[0]

    def refuse(self, tree):
        """A check-out that is refused leaves nothing, inside and outside."""
        before = sorted(os.listdir(self.directory))
        text = self.error("checkout", self.path("repo"), self.repo.commit(tree), self.path("out"))
        self.assertEqual(sorted(os.listdir(self.directory)), before)
        return text


class CheckOut(Case):
    def test_files_modes_links_and_directories(self):
        r = self.repo
        sub = r.tree(("100644", "a", r.blob(b"deep\n")), ("120000", "up", r.blob(b"../run")))
        row = self.checkout(
            r.tree(
                ("100644", "f", r.blob(b"hello\n")),
                ("120000", "l", r.blob(b"sub/a")),
                ("100755", "run", r.blob(b"#!/bin/sh\n")),
                ("40000", "sub", sub),
                ("100664", "w", r.blob(b"old mode\n")),
            )
        )
        self.assertEqual((row["files"], row["links"], row["directories"]), (4, 2, 1))
        modes = {n: stat.S_IMODE(os.lstat(self.path("out", n)).st_mode) for n in ("f", "run", "sub", "w", ".")}
        self.assertEqual(modes, {"f": 0o644, "run": 0o755, "sub": 0o755, "w": 0o644, ".": 0o755})
        with open(self.path("out/l")) as f:
            self.assertEqual(f.read(), "deep\n")
        self.assertEqual(os.readlink(self.path("out/sub/up")), "../run")

    def test_names(self):
        rows = [
            ("..", '".." is no name of a file'),
            (".", '"." is no name of a file'),
            ("../escape", '"../escape" has a "/" in its name'),
            ("a/b", '"a/b" has a "/" in its name'),
            (".git", '".git" may not be called so: git keeps its own files there'),
            (".GiT", '".GiT" may not be called so: git keeps its own files there'),
            ("GIT~1", '"GIT~1" may not be called so: git keeps its own files there'),
            (".git. .", '".git. ." may not be called so: git keeps its own files there'),
            (".git::$INDEX_ALLOCATION", '".git::$INDEX_ALLOCATION" may not be called so: git keeps its own files there'),
            (".g\u200cit", "may not be called so: git keeps its own files there"),
            ("a\nb", '"a\\x0ab" has a control character in its name'),
            ("a\x1b[31m", '"a\\x1b[31m" has a control character in its name'),
            ("x" * 256, "has a name longer than 255 bytes"),
        ]
        for name, expected in rows:
            for mode, oid in (("100644", self.repo.blob()), ("40000", self.repo.tree()), ("120000", self.repo.blob(b"a"))):
                text = self.refuse(self.repo.tree((mode, name, oid)))
                self.assertIn(expected, text, (name, mode))

    def test_names_that_only_look_odd(self):
        names = sorted(["-rf", ".gitignore", ".gitmodules", "...", "..a", "a b", "git~2", "~", "\u00e4", "$(x)", ".git2"])
        self.checkout(self.repo.tree(*[("100644", n, self.repo.blob()) for n in names]))
        self.assertEqual(sorted(os.listdir(self.path("out"))), names)

    def test_links(self):
        r = self.repo
        sub = lambda target: r.tree(("40000", "s", r.tree(("120000", "l", r.blob(target)))))  # noqa: E731
        absolute = "is a link to an absolute path; only links that stay inside the repository are checked out"
        out = "is a link that leads out of the repository"
        rows = [
            (b"/etc/passwd", '"s/l" ' + absolute),
            (b"/", '"s/l" ' + absolute),
            (b"../..", '"s/l" ' + out),
            (b"../../etc/passwd", '"s/l" ' + out),
            (b"../s/../../x", '"s/l" ' + out),
            (b".././../x", '"s/l" ' + out),
            (b"..//../x", '"s/l" ' + out),
            (b"", '"s/l" is a link to nothing'),
            (b"a\0b", '"s/l" is a link with a NUL in its target'),
            (b"a/" * 2100, '"s/l" is a link with a target longer than 4095 bytes'),
        ]
        for target, expected in rows:
            self.assertEqual(self.refuse(sub(target)), expected, target)
        for i, target in enumerate((b"..", b"../s", b"missing", b"l", b"../s/../s/x", b"./x")):
            self.checkout(sub(target), f"out{i}")

    def test_links_through_links(self):
        r = self.repo
        deep = r.tree(("40000", "e", r.tree(("120000", "top", r.blob(b"../..")))))
        tree = r.tree(("40000", "d", deep), ("120000", "x", r.blob(b"d/e/top/..")))
        self.assertEqual(self.refuse(tree), '"x" is a link that leads out of the repository')
        # The same where no directory is on the way, and a chain that only comes back.
        tree = r.tree(("120000", "a", r.blob(b"d/e")), ("40000", "d", deep), ("120000", "x", r.blob(b"a/top/../y")))
        self.assertEqual(self.refuse(tree), '"x" is a link that leads out of the repository')
        self.checkout(r.tree(("120000", "a", r.blob(b"b")), ("120000", "b", r.blob(b"a")), ("120000", "x", r.blob(b"d/e/top/d")), ("40000", "d", deep)))

    def test_a_link_and_a_directory_of_one_name(self):
        r = self.repo
        inner = r.tree(("100644", "passwd", r.blob(b"evil")))
        for order in (1, -1):
            tree = r.tree(*[("120000", "d", r.blob(b"sub")), ("40000", "d", inner)][::order])
            self.assertEqual(self.refuse(tree), '"d" is there twice')
        self.assertEqual(self.refuse(r.tree(("100644", "f", r.blob(b"1")), ("100644", "f", r.blob(b"2")))), '"f" is there twice')

    def test_submodules(self):
        self.assertEqual(
            self.refuse(self.repo.tree(("160000", "lib", "1" * 40))),
            '"lib" is a submodule, and submodules are not checked out: put its files into the repository',
        )

    def test_missing_and_corrupt_objects(self):
        text = self.refuse(self.repo.tree(("100644", "f", "1" * 40)))
        self.assertIn('"f" can\'t be read', text)
        blob = self.repo.blob(b"the truth\n")
        path = self.path("repo/objects", blob[:2], blob[2:])
        with open(path, "wb") as f:
            f.write(zlib.compress(b"blob 10\0a lie here"))
        self.assertIn('"f" can\'t be read', self.refuse(self.repo.tree(("100644", "f", blob))))
        self.assertIn('"f" is no file in the repository', self.refuse(self.repo.tree(("100644", "f", self.repo.tree()))))
        self.assertIn('directory "d" can\'t be read', self.refuse(self.repo.tree(("40000", "d", self.repo.blob()))))

    def test_depth(self):
        tree = self.repo.tree(("100644", "f", self.repo.blob()))
        for _ in range(128):
            tree = self.repo.tree(("40000", "d", tree))
        self.checkout(tree)
        self.assertEqual(
            self.refuse_deep(self.repo.tree(("40000", "d", tree))), "the directories of the commit are more than 128 deep"
        )

    def refuse_deep(self, tree):
        shutil.rmtree(self.path("out"))
        return self.refuse(tree)

    def test_20000_files(self):
        blobs = [self.repo.blob(b"%d\n" % i) for i in range(100)]
        sub = self.repo.tree(*sorted(("100644", f"f{i:03}", blobs[i % 100]) for i in range(200)))
        row = self.checkout(self.repo.tree(*[("40000", f"d{i:03}", sub) for i in range(100)]))
        self.assertEqual((row["files"], row["directories"]), (20000, 100))
        self.assertEqual(sum(len(f) for _, _, f in os.walk(self.path("out"))), 20000)

    def test_where_to(self):
        commit = self.repo.commit(self.repo.tree())
        os.mkdir(self.path("there"))
        self.assertIn("File exists", self.error("checkout", self.path("repo"), commit, self.path("there")))
        os.symlink("there", self.path("link"))
        self.assertIn("File exists", self.error("checkout", self.path("repo"), commit, self.path("link")))
        self.assertIn("can't open", self.error("checkout", self.path("repo"), commit, self.path("no/where")))
        self.assertIn("is no directory to check out to", self.error("checkout", self.path("repo"), commit, self.path("..")))
        self.assertEqual(
            self.error("checkout", self.path("repo"), "1" * 40, self.path("out")), "commit 11111111 is not in the repository"
        )
        self.assertEqual(self.error("checkout", self.path("repo"), "main", self.path("out")), '"main" is no commit id')


class Packs(Case):
    def pack(self, *objects):
        """A pack of whole objects: (kind, data)."""
        data = b"PACK" + struct.pack(">II", 2, len(objects))
        for kind, content in objects:
            n, head = len(content), (kind << 4) | (len(content) & 15)
            n >>= 4
            while n:
                data += bytes([head | 0x80])
                head, n = n & 0x7F, n >> 7
            data += bytes([head]) + zlib.compress(content)
        return data + hashlib.sha1(data).digest()

    def test_a_pack_makes_the_repository(self):
        (row,) = self.ok("index", self.path("new"), input=self.pack((3, b"hello\n"), (3, b"x" * 5000)))
        self.assertEqual(row["objects"], 2)
        self.assertEqual(len(os.listdir(self.path("new/objects/pack"))), 2)
        self.assertEqual(self.ok("has", self.path("new"), "1" * 40), [])

    def test_broken_packs_leave_nothing(self):
        whole = self.pack((3, b"hello\n" * 100))
        rows = [b"", b"PACK", whole[:-1], whole[: len(whole) // 2], b"KCAP" + whole[4:], whole[:-20] + b"\0" * 20, whole + b"x"]
        for data in rows:
            self.error("index", self.path("new"), input=data)
            self.assertEqual(os.listdir(self.path("new/objects/pack")), [], data[:30])

    def test_an_empty_pack(self):
        (row,) = self.ok("index", self.path("new"), input=self.pack())
        self.assertEqual(row["objects"], 0)

    def test_thin_packs_from_stock_git(self):
        env = dict(os.environ, GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", GIT_DIR=self.path("repo"))
        big = b"".join(b"line %d\n" % i for i in range(5000))
        first = self.repo.commit(self.repo.tree(("100644", "big", self.repo.blob(big))))
        second = self.repo.commit(self.repo.tree(("100644", "big", self.repo.blob(big + b"more\n"))), parents=[first])
        for commit, base in ((first, ""), (second, f"^{first}\n")):
            pack = subprocess.run(
                ["git", "--shallow-file", "", "pack-objects", "--revs", "--thin", "--shallow", "--stdout", "-q"],
                input=f"--shallow {commit}\n{commit}\n{base}".encode(),
                env=env,
                capture_output=True,
                check=True,
            ).stdout
            self.ok("index", self.path("drone"), input=pack)
        self.assertLess(len(pack), 1000)
        self.ok("checkout", self.path("drone"), second, self.path("out"))
        with open(self.path("out/big"), "rb") as f:
            self.assertEqual(f.read(), big + b"more\n")
        self.assertEqual([r["commit"] for r in self.ok("has", self.path("drone"), first, "2" * 40, second)], [first, second])


class Reading(Case):
    def test_manifests(self):
        r = self.repo
        one = r.commit(r.tree(("100644", "stagecoach.json", r.blob(b"{}"))), "One\n\nbody")
        two = r.commit(
            r.tree(
                ("100644", "Procfile", r.blob(b"web: x")),
                ("100644", "package-lock.json", r.blob(b"{}")),
                ("100644", "package.json", r.blob(b"[]")),
            ),
            parents=[one],
        )
        none = r.commit(r.tree())
        r.ref("refs/tags/v1.2.0", one)
        r.ref("refs/tags/nonsense", two)
        rows = self.ok("manifest", self.path("repo"), one, two, none)
        self.assertEqual([row["commit"] for row in rows], [one, two, none])
        self.assertEqual((rows[0]["manifest"], rows[0]["subject"], rows[0]["tag"]), ("{}", "One", "1.2.0"))
        self.assertEqual((rows[1]["package"], rows[1]["procfile"], rows[1]["lockfile"]), ("[]", "web: x", True))
        self.assertEqual(rows[1]["tag"], "1.2.0")
        self.assertNotIn("manifest", rows[2])
        self.assertNotIn("tag", rows[2])
        (row,) = self.ok("manifest", f"--tag=2.0.0={two}", self.path("repo"), two)
        self.assertEqual(row["tag"], "2.0.0")

    def test_manifests_that_cannot_be_read(self):
        r = self.repo
        rows = [
            (("100644", r.blob(b"x" * 300_000)), "stagecoach.json:1: the file must be at most 256 KiB long, not 293"),
            (("100644", r.blob(b"\xff\xfe")), "stagecoach.json:1: the file must be valid UTF-8 text"),
            (("100644", r.blob(b"{\0}")), "stagecoach.json:1: the file must be valid UTF-8 text"),
            (("120000", r.blob(b"other")), "stagecoach.json:1: must be a plain file"),
            (("40000", r.tree()), "stagecoach.json:1: must be a plain file"),
            (("160000", "1" * 40), "stagecoach.json:1: must be a plain file"),
        ]
        for (mode, oid), expected in rows:
            commit = r.commit(r.tree((mode, "stagecoach.json", oid)))
            self.assertEqual(self.error("manifest", self.path("repo"), commit), expected)

    def test_ids_that_lead_to_no_commit(self):
        blob = self.repo.blob()
        tag = self.repo.put("tag", f"object {blob}\ntype blob\ntag x\ntagger A <a@b> 1 +0000\n\nx\n".encode())
        rows = self.ok("manifest", self.path("repo"), tag, blob)
        self.assertEqual([r["name"] for r in rows], [tag, blob])
        self.assertNotIn("commit", rows[0])
        self.assertIn("is not in the repository", self.error("manifest", self.path("repo"), "1" * 40))

    def test_quarantine(self):
        other = Repo(self.path("other"))
        commit = other.commit(other.tree(("100644", "stagecoach.json", other.blob(b"{}"))))
        self.error("manifest", self.path("repo"), commit)
        (row,) = self.ok("manifest", "--quarantine=" + self.path("other/objects"), self.path("repo"), commit)
        self.assertEqual(row["manifest"], "{}")

    def test_what_a_name_means(self):
        r = self.repo
        commits, parent = [], []
        for i in range(300):
            parent = [r.commit(r.tree(), f"number {i}", parent)]
            commits += parent
        stray = r.commit(r.tree(), "no ref leads here")
        tag = r.put("tag", f"object {commits[5]}\ntype commit\ntag five\ntagger A <a@b> 1 +0000\n\nx\n".encode())
        r.ref("refs/heads/main", commits[-1])
        r.ref("refs/tags/five", tag)
        r.ref("refs/tags/v1.0.0", commits[7])

        def resolve(name):
            return [row["commit"] for row in self.ok("resolve", self.path("repo"), name)]

        self.assertEqual(resolve("five"), [commits[5]])
        self.assertEqual(resolve("1.0.0"), [commits[7]])
        self.assertEqual(resolve("v1.0.0"), [commits[7]])
        self.assertEqual(resolve(commits[100]), [commits[100]])
        self.assertEqual(resolve(commits[100][:12]), [commits[100]])
        self.assertEqual(resolve(stray), [])
        self.assertEqual(resolve(stray[:10]), [])
        self.assertEqual(resolve("unknown-tag"), [])
        # Any four digits that two commits share.
        by_prefix = {}
        for c in commits:
            by_prefix.setdefault(c[:4], set()).add(c)
        for prefix, found in list(by_prefix.items())[:20]:
            self.assertEqual(set(resolve(prefix)), found)
        for name in ("../x", "-x", "a..b", "x y", "abc\n"):
            self.assertIn("is neither a tag nor a commit", self.error("resolve", self.path("repo"), name))

    def test_refs(self):
        commit = self.repo.commit(self.repo.tree())
        self.repo.ref("refs/heads/main", commit)
        self.repo.ref("refs/tags/b", self.repo.blob())
        rows = self.ok("refs", self.path("repo"))
        self.assertEqual([(r["name"], r.get("commit")) for r in rows], [("refs/heads/main", commit), ("refs/tags/b", None)])

    def test_a_repository_without_trust(self):
        """Nothing in its configuration runs or is followed."""
        self.repo.write("config", "[core]\n\tbare = true\n\tfsmonitor = touch " + self.path("ran") + "\n[include]\n\tpath = /etc/passwd\n")
        commit = self.repo.commit(self.repo.tree(("100644", ".gitattributes", self.repo.blob(b"* filter=x\n"))))
        self.run_helper("checkout", self.path("repo"), commit, self.path("out"))
        self.assertFalse(os.path.exists(self.path("ran")))

    def test_usage(self):
        for args in ((), ("what",), ("index",), ("checkout", "a"), ("refs", "--x", "a")):
            done = subprocess.run([HELPER, *args], capture_output=True)
            self.assertEqual(done.returncode, 2, args)


if __name__ == "__main__":
    unittest.main(verbosity=2)
