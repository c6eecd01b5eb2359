# SPDX-License-Identifier: MIT
"""What git may bring to the hub, and what it may not."""

import pytest

MANIFEST = '{ "services": { "%s": { "version": "%s", "command": ["sleep", "infinity"], "port": false } } }'
LARGE_PUSH = 300_000_000
HUB_RESIDENT_MAX_KB = 40_000
AS_ANN = "-c user.name=Ann -c user.email=ann@shop.example"


def make_app(fleet, name, script="", service=None, version="0.1.0", manifest=None):
    """A repository on the laptop with one commit; script runs in it before that."""
    where = f"/root/{name}"
    text = manifest if manifest is not None else MANIFEST % (service or name, version)
    fleet.client.run(["sh", "-e", "-c", f'''
        rm -rf "$1"; git init --quiet --initial-branch=main "$1"; cd "$1"
        printf '%s' "$2" > stagecoach.json
        {script}
        git add -A; git {AS_ANN} commit --quiet -m "$3"''', "sh", where, text, f"Begin {name}"])
    fleet.add_git_remote(where, name)
    return where


def commit(fleet, where, script, subject="Change"):
    fleet.client.run(["sh", "-e", "-c", f'cd "$1"; {script}; git add -A; git {AS_ANN} commit --quiet -m "$2"', "sh",
                      where, subject])


def test_a_push_says_what_it_registered(fleet):
    where = make_app(fleet, "tick")
    said = fleet.push(where, "main")
    head = fleet.client.run(["git", "-C", where, "rev-parse", "--short=8", "HEAD"]).out.strip()
    assert f"tick@0.1.0 = {head}" in said.err or (head in said.err and "tick@0.1.0" in said.err), said


def test_the_same_version_again_gets_the_commits_name(fleet):
    where = make_app(fleet, "tock")
    fleet.push(where, "main")
    commit(fleet, where, "echo more > more")
    said = fleet.push(where, "main")
    head = fleet.client.run(["git", "-C", where, "rev-parse", "--short=8", "HEAD"]).out.strip()
    assert f"tock@0.1.0+g{head[:7]}" in said.err, said


def test_a_commit_only_on_a_side_branch_and_a_tag(fleet, shop):
    fleet.push(shop, "feature/gift-wrap", "spring-sale")
    side = fleet.client.run(["git", "-C", shop, "rev-parse", "feature/gift-wrap"]).out.strip()
    said = fleet.ctl("deploy", f"web@{side[:10]}", "--no-traffic")
    assert "0.4.0-gift.2" in said.out, said
    said = fleet.ctl("deploy", "web@spring-sale", "--no-traffic")
    assert "0.4.0-gift.1" in said.out, said


def test_twenty_thousand_files(fleet):
    where = make_app(fleet, "wide", "mkdir d; for i in $(seq 200); do mkdir d/$i; done; "
                     "python3 -c 'for i in range(20000): open(f\"d/{i % 200 + 1}/f{i}\", \"w\").write(str(i) * 20)'")
    fleet.push(where, "main")
    fleet.ctl("deploy", "wide")
    mine = fleet.instances("wide")[0]
    assert mine["phase"] == "running"
    host = next(h for h in fleet.drones if h.name == mine["host"])
    assert host.run(f"ls -R /proc/{mine['pid']}/cwd/d | grep -c '^f'").out.strip() == "20000"


def test_two_pushes_at_once(fleet):
    one, two = make_app(fleet, "left"), make_app(fleet, "right")
    pushes = [fleet.client.spawn(["git", "-C", where, "push", "prod", "main"]) for where in (one, two)]
    said = [p.communicate(timeout=60)[0] for p in pushes]
    assert [p.returncode for p in pushes] == [0, 0], said
    # The same repository from two sides: one wins, the other is told, and both are whole.
    fleet.client.run(["git", "clone", "--quiet", one, "/root/left2"])
    fleet.add_git_remote("/root/left2", "left")
    commit(fleet, one, "echo 1 > one")
    commit(fleet, "/root/left2", "echo 2 > two")
    pushes = [fleet.client.spawn(["git", "-C", where, "push", "prod", "main"]) for where in (one, "/root/left2")]
    said = [p.communicate(timeout=60)[0] for p in pushes]
    assert sorted(p.returncode for p in pushes) == [0, 1], said


def test_a_half_finished_push_changes_nothing(fleet):
    where = make_app(fleet, "half")
    fleet.push(where, "main")
    before = fleet.client.run(["git", "-C", where, "ls-remote", "prod"]).out
    commit(fleet, where, "head -c 60000000 /dev/urandom > big")
    push = fleet.client.spawn(["git", "-C", where, "push", "prod", "main"])
    fleet.client.run("until pgrep -f 'git-remote-https|remote-https' >/dev/null; do :; done; sleep 0.3;"
                     " pkill -KILL -f 'remote-https|send-pack|pack-objects'", check=False, timeout=20)
    push.wait(60)
    assert fleet.client.run(["git", "-C", where, "ls-remote", "prod"]).out == before
    fleet.push(where, "main")
    assert fleet.client.run(["git", "-C", where, "ls-remote", "prod"]).out != before


def test_a_large_push_leaves_memory_flat(fleet):
    where = make_app(fleet, "heavy")
    fleet.push(where, "main")
    pid = fleet.hub.pid("stagecoach-hubd")
    commit(fleet, where, f"head -c {LARGE_PUSH} /dev/urandom > blob; git config core.compression 0")
    push = fleet.client.spawn(["git", "-C", where, "push", "prod", "main"])
    most = 0
    while push.poll() is None:
        text = fleet.hub.read_file(f"/proc/{pid}/status")
        most = max(most, int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]))
    assert push.returncode == 0, push.stdout.read()
    assert most < HUB_RESIDENT_MAX_KB
    assert fleet.hub.pid("stagecoach-hubd") == pid


# Why a manifest is refused: its text, what the refusal names
MANIFESTS = [
    ("not-json", '{ "services": { "x": \n }', ["stagecoach.json:"]),
    ("wrong-type", '{ "services": { "x": {\n "version": "1.0.0", "command": ["true"],\n "instances": "two" } } }',
     ["stagecoach.json:3", '"instances"', '"two"']),
    ("unknown-key", '{ "services": { "x": { "version": "1.0.0", "command": ["true"], "comand": 1 } } }', ["comand"]),
    ("no-command", '{ "services": { "x": { "version": "1.0.0" } } }', ["command"]),
    ("bad-version", '{ "services": { "x": { "version": "one", "command": ["true"] } } }', ["version"]),
    ("dots-name", '{ "services": { "../x": { "version": "1.0.0", "command": ["true"] } } }', ["../x"]),
    ("dash-name", '{ "services": { "-x": { "version": "1.0.0", "command": ["true"] } } }', ["-x"]),
    ("long-name", '{ "services": { "%s": { "version": "1.0.0", "command": ["true"] } } }' % ("x" * 300),
     ["stagecoach.json"]),
    ("control-name", '{ "services": { "x\\u001b[2J": { "version": "1.0.0", "command": ["true"] } } }',
     ["stagecoach.json"]),
    ("bad-route", '{ "services": { "x": { "version": "1.0.0", "command": ["true"], "routes": ["a b"] } } }',
     ["route"]),
]


@pytest.mark.parametrize("name,text,words", MANIFESTS, ids=[row[0] for row in MANIFESTS])
def test_a_broken_manifest_refuses_the_push(fleet, name, text, words):
    where = make_app(fleet, f"bad-{name}", manifest=text)
    said = fleet.push(where, "main", check=False)
    assert said.status != 0, said
    assert [w for w in words if w not in said.err] == [], said.err
    assert "\x1b" not in said.err
    assert fleet.client.run(["git", "-C", where, "ls-remote", "prod"], check=False).out == ""
    assert fleet.ctl("list").status == 0


# What a tree may not hold: how it is made
TREES = [
    ("symlink-out", "ln -s ../../../../etc/shadow leak"),
    ("symlink-absolute", "ln -s /etc/shadow leak"),
    ("submodule", f"git init --quiet sub; (cd sub; git {AS_ANN} commit --quiet --allow-empty -m x);"
                  " git -c advice.addEmbeddedRepo=false add sub"),
]


@pytest.mark.parametrize("name,script", TREES, ids=[row[0] for row in TREES])
def test_a_tree_that_reaches_out_is_refused_by_name(fleet, name, script):
    where = make_app(fleet, f"tree-{name}", script)
    said = fleet.push(where, "main", check=False)
    if said.status == 0:
        said = fleet.ctl("deploy", f"tree-{name}", check=False)
        assert said.status == 1, said
    assert "leak" in said.out + said.err or "sub" in said.out + said.err, said


def test_a_tree_with_dots_or_git_inside_is_refused(fleet):
    """Trees that git itself would not make, written object by object."""
    for index, name in enumerate(("..", ".git")):
        app = f"evil{index}"
        where = make_app(fleet, app)
        program = f'''
import os, subprocess
os.chdir({where!r})
def git(*words, data=None):
    return subprocess.run(["git", *words], input=data, capture_output=True, check=True).stdout.strip().decode()
blob = git("hash-object", "-w", "--stdin", data=b"x")
inner = git("mktree", data=f"100644 blob {{blob}}\\tpwned\\n".encode())
raw = b"40000 {name}\\0" + bytes.fromhex(inner)
manifest = git("rev-parse", "HEAD:stagecoach.json")
raw += b"100644 stagecoach.json\\0" + bytes.fromhex(manifest)
tree = git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=raw)
commit = git("-c", "user.name=E", "-c", "user.email=e@x", "commit-tree", tree, "-m", "evil")
git("update-ref", "refs/heads/evil", commit)
'''
        fleet.client.run(["python3", "-c", program])
        said = fleet.push(where, "evil", check=False)
        assert said.status != 0, (name, said)
        assert fleet.ctl("list").status == 0


def test_names_of_apps_from_outside(fleet):
    where = make_app(fleet, "names")
    for name in ("..", "-x", "a%2f..%2fb", "x" * 300, "A", "a--b", "%2e%2e", "a%00b", "a%0ab"):
        said = fleet.client.run(["git", "-C", where, "push", f"https://hub1:7000/{name}.git", "main"], check=False,
                                timeout=20)
        assert said.status not in (0, 124), (name, said)
    assert fleet.hub.pid("stagecoach-hubd") > 0
    assert fleet.ctl("list").status == 0


def test_targets_from_the_command_line(fleet):
    for word in ("../x", "-x", "web@../../x", "web@\x1b[2J", "w" * 300, "web@" + "9" * 300, ""):
        said = fleet.ctl("deploy", "--", word, check=False)
        assert said.status in (1, 2), (word, said)
        assert "\x1b" not in said.err, said


def test_apps_without_a_manifest(fleet):
    node = make_app(fleet, "oldnode", "rm stagecoach.json; cat > package.json <<'E'\n"
                    '{ "name": "oldnode", "version": "3.1.4", "scripts": { "start": "node -e \'require(\\"http\\")'
                    '.createServer((q, s) => s.end(\\"old\\")).listen(process.env.PORT, process.env.HOST)\'" } }\nE\n')
    said = fleet.push(node, "main")
    assert "oldnode@3.1.4" in said.err, said
    procfile = make_app(fleet, "heroku", "rm stagecoach.json; printf 'web: python3 -m http.server $PORT --bind $HOST\\n"
                        "worker: sleep infinity\\n' > Procfile")
    said = fleet.push(procfile, "main")
    assert "heroku@0.0.0" in said.err and "heroku-worker@0.0.0" in said.err, said
    fleet.ctl("deploy", "oldnode")
    fleet.ctl("deploy", "heroku")
    fleet.ctl("deploy", "heroku-worker")


def test_another_apps_service_is_refused(fleet, shop):
    where = make_app(fleet, "pirate", service="auth")
    said = fleet.push(where, "main", check=False)
    assert said.status != 0 and "shop" in said.err, said


def test_ctl_push_is_git_push(fleet):
    where = make_app(fleet, "byctl")
    said = fleet.client.run(f"cd {where} && stagecoachctl push", check=False)
    assert said.status == 0 and "byctl@0.1.0" in said.out + said.err, said
