# SPDX-License-Identifier: MIT
"""Daemons that die, hosts that reboot, a hub that is away: what is healthy runs on."""

import random
import time

import pytest

from testbed import wait_until

N_KILLS = 20
RUNS = ("running",)


@pytest.fixture(scope="module")
def serving(fleet, shop):
    fleet.push(shop, "main")
    fleet.ctl("deploy", "web@0.2.2", "--instances=2")
    return shop


def pids(fleet, release="web"):
    return {i["id"]: i["pid"] for i in fleet.instances(release) if i["phase"] in RUNS}


def units(host, service="web"):
    """What systemd runs there, by itself: {unit: pid}"""
    out = host.run("systemctl list-units --plain --no-legend --state=active"
                   f" 'stagecoach-run-{service}-*.service' | awk '{{print $1}}'").out.split()
    return {unit: host.pid(unit) for unit in out}


def test_a_killed_drone_touches_no_instance(fleet, serving):
    drone = fleet.drones[0]
    before = units(drone)
    assert before
    daemon = drone.pid("stagecoach-droned")
    with fleet.load(20) as load:
        for _ in range(3):
            drone.kill_unit("stagecoach-droned")
            daemon = wait_until("droned is back", lambda: drone.pid("stagecoach-droned") not in (0, daemon) and
                                drone.show("stagecoach-droned", "SubState")["SubState"] == "running" and
                                drone.pid("stagecoach-droned"))
        fleet.wait_online()
        assert units(drone) == before
        said = fleet.ctl("deploy", "web@0.2.3", "--instances=2")
        result = load.stop()
    assert "web@0.2.3 serves" in said.out
    assert result.failed == 0, result.why
    fleet.ctl("deploy", "web@0.2.2", "--instances=2")


def test_requests_go_on_without_the_hub(fleet, serving):
    """…a crashed instance is restarted, a rebooted host brings its instances back, a router serves from disk."""
    app1, app2 = fleet.drones
    fleet.hub.systemctl("stop", "stagecoach-hubd.socket", "stagecoach-hubd-local.socket", "stagecoach-hubd")
    try:
        with fleet.load(20) as load:
            before = units(app1)
            unit, pid = next(iter(before.items()))
            app1.run(["kill", "-KILL", str(pid)])
            wait_until("the crashed instance is back", lambda: units(app1).get(unit, pid) not in (0, pid))
            result = load.stop()
        # What was in flight in the crashed process is lost; nothing else.
        assert result.failed <= 20, result.why
        wait_until("it answers again", lambda: fleet.get()[0] == 200)

        fleet.router.systemctl("restart", "stagecoach-routerd")
        assert fleet.version() == "0.2.2"

        there = set(units(app2))
        app2.reboot()
        wait_until("the rebooted host runs what it ran", lambda: set(units(app2)) == there, 20)
        seen = set()

        def both():
            seen.add(fleet.get()[1].get("x-instance"))
            return len(seen - {None}) >= 2
        wait_until("both hosts answer again", both, 20)
    finally:
        fleet.start_hub()
    fleet.wait_online(30)
    assert len(pids(fleet, "web@0.2.2")) == 2
    fleet.ctl("deploy", "web@0.2.3", "--instances=2")
    fleet.ctl("deploy", "web@0.2.2", "--instances=2")


def test_a_router_that_dies_serves_from_disk(fleet, serving):
    fleet.router.kill_unit("stagecoach-routerd")
    wait_until("it answers", lambda: fleet.version() == "0.2.2", 5)


def test_a_restarted_router_loses_no_new_connection(fleet, serving):
    with fleet.load(10, mode="close") as load:
        fleet.router.systemctl("restart", "stagecoach-routerd")
        fleet.router.systemctl("restart", "stagecoach-routerd")
        result = load.stop()
    assert result.failed == 0, result.why


def test_a_cut_host_is_left_out_and_taken_back(fleet, serving):
    app2 = fleet.drones[1]
    before = units(app2)
    app2.cut()
    try:
        wait_until("only one host answers", lambda: all(fleet.get()[0] == 200 for _ in range(4)), 10)
        assert units(app2) == before
    finally:
        app2.mend()
    fleet.wait_online(30)
    assert units(app2) == before


def test_a_hub_killed_at_any_moment_of_a_deploy(fleet, serving):
    """Every deploy ends done or cleanly failed, nothing acknowledged is lost, no request fails."""
    moments = random.Random(20)
    live = "0.2.2"
    with fleet.load(20) as load:
        for round_ in range(N_KILLS):
            target = "0.2.3" if live == "0.2.2" else "0.2.2"
            asked = fleet.client.spawn(["stagecoachctl", "deploy", f"web@{target}", "--instances=2"])
            time.sleep(moments.uniform(0, 1.5))
            fleet.hub.kill_unit("stagecoach-hubd")
            asked.wait(60)
            wait_until("the hub is back", lambda: fleet.hub.run(["stagecoachctl", "list"], check=False).status == 0)
            last = wait_until("the deploy has ended", lambda: ended(fleet, target), 60)
            answers = {fleet.version() for _ in range(6)}
            assert answers in ({live}, {target}), (round_, last, answers)
            live = answers.pop()
            rows = fleet.list()
            assert rows[f"web@{live}"]["traffic_percent"] == 100, rows
        result = load.stop()
    assert result.failed == 0, result.why


def ended(fleet, target):
    """True once no deploy of web is open: a new one of the live release is not refused as a conflict."""
    rows = fleet.list()
    busy = [i for i in fleet.instances("web") if i["phase"] in ("fetching", "building", "starting", "probing",
                                                                  "waiting", "stopping")]
    return not busy and rows


def test_two_hubs_on_one_state_directory(fleet, serving):
    said = fleet.hub.run(["/usr/sbin/stagecoach-hubd"], user="stagecoach-hub", check=False, timeout=5)
    assert said.status not in (0, 124), said
    assert fleet.ctl("list").status == 0
