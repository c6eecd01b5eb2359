# SPDX-License-Identifier: MIT
"""Releases that can't serve: the old one keeps all traffic, and whoever asked hears why, at once."""

import time

import pytest

# What breaks, the version on branch broken/WHAT, words that tell the reason
BROKEN = [
    ("exits", "0.3.0", ["exited with status 1", "Cannot find module 'express'"]),
    ("never-healthy", "0.3.1", ["503"]),
    ("build", "0.3.2", ["status 3", "the catalogue has no prices"]),
    ("dependency", "0.3.3", ["ledger"]),
    ("memory", "0.3.4", ["app1", "app2", "900"]),
]
WORD_AFTER_EXIT_S = 0.2


@pytest.fixture(scope="module")
def serving(fleet, shop):
    fleet.ctl("deploy", "web@0.2.2", "--instances=2")
    for what, _, _ in BROKEN:
        fleet.push(shop, f"broken/{what}")
    return shop


@pytest.mark.parametrize("what,version,reasons", BROKEN, ids=[row[0] for row in BROKEN])
def test_the_old_one_serves_on(fleet, serving, what, version, reasons):
    before = {i["id"]: i["pid"] for i in fleet.instances("web@0.2.2")}
    with fleet.load(10) as load:
        said = fleet.ctl("deploy", f"web@{version}", "--instances=2", check=False)
        result = load.stop()
    text = said.out + said.err
    assert said.status == 1, said
    assert [r for r in reasons if r not in text] == [], text
    assert result.failed == 0, result.why
    assert set(result["versions"]) == {"0.2.2"}
    assert {i["id"]: i["pid"] for i in fleet.instances("web@0.2.2")} == before
    row = fleet.list().get(f"web@{version}", {"running": 0})
    assert row["running"] == 0


def test_the_reason_is_there_within_200_ms_of_the_exit(fleet, serving):
    process = fleet.client.spawn(["stagecoachctl", "deploy", "web@0.3.0", "--host=app1"])
    told = None
    for line in process.stdout:
        if "exited with status 1" in line and told is None:
            told = time.time()
    process.wait()
    assert told is not None
    exits = fleet.drones[0].journal("-o", "short-unix", "_PID=1", "--grep=Main process exited, code=exited, status=1",
                                    "-n", "1")
    exited = float(exits.split()[0])
    assert told - exited < WORD_AFTER_EXIT_S, f"{told - exited:.3f} s"


def test_status_says_why_it_is_not_running(fleet, serving):
    said = fleet.ctl("status", "web", check=False)
    assert "exited with status 1" in said.out, said


def test_a_crashed_instance_comes_back(fleet, serving):
    mine = next(i for i in fleet.instances("web@0.2.2") if i["host"] == "app1")
    fleet.drones[0].run(["kill", "-KILL", str(mine["pid"])])
    deadline = time.monotonic() + 10
    while True:
        now = next(i for i in fleet.instances("web@0.2.2") if i["id"] == mine["id"])
        if now["phase"] == "running" and now["pid"] != mine["pid"]:
            break
        assert time.monotonic() < deadline, now
        time.sleep(0.1)
    assert now["restarts"] >= 1
    assert fleet.version() == "0.2.2"
