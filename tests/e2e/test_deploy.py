# SPDX-License-Identifier: MIT
"""From push to requests, and from one version to the next without losing one."""

import time

from testbed import wait_until

CONNECTIONS = 50


def instances_of(fleet, release, wanted):
    """Which instances answer when the router is asked often enough."""
    seen = set()
    for _ in range(60):
        status, fields, body = fleet.get()
        assert status == 200, body
        assert fields["x-version"] == release.partition("@")[2]
        seen.add(fields["x-instance"])
        if len(seen) == wanted:
            break
    return seen


def test_two_instances_on_two_hosts_answer(fleet, shop):
    said = fleet.ctl("deploy", "web@0.2.2", "--instances=2")
    assert "web@0.2.2 serves" in said.out
    row = fleet.list()["web@0.2.2"]
    assert row["running"] == 2
    assert {a.partition(":")[0] for a in row["addresses"]} == {"app1", "app2"}
    assert len(instances_of(fleet, "web@0.2.2", 2)) == 2


def test_a_service_reaches_what_it_depends_on(fleet, shop):
    status, _, body = fleet.get(headers=["Authorization: Bearer ann"])
    assert status == 200 and '"customer":"ann"' in body


def test_an_upgrade_under_load_loses_no_request(fleet, shop):
    fleet.push(shop, "main")
    with fleet.load(CONNECTIONS) as load:
        wait_until("the load has begun", lambda: fleet.get()[0] == 200)
        fleet.ctl("deploy", "web@0.2.3", "--instances=2")
        ended = time.time()
        for _ in range(20):  # the load goes on while somebody else looks
            assert fleet.version() == "0.2.3"
        result = load.stop()
    assert result.failed == 0, result.why
    assert result["versions"]["0.2.2"]["count"] > 0
    assert result["versions"]["0.2.3"]["count"] > 0
    assert not result.sent_to_after("0.2.2", ended)
    # The newest old one stays warm for a rollback; it is the only one, and has no traffic.
    rows = {name: row for name, row in fleet.list().items() if name.startswith("web@") and row["running"]}
    assert set(rows) <= {"web@0.2.2", "web@0.2.3"}
    assert rows["web@0.2.3"]["traffic_percent"] == 100
    assert rows.get("web@0.2.2", {}).get("traffic_percent", 0) == 0


def test_a_rollback_is_instant_and_loses_no_request(fleet, shop):
    with fleet.load(CONNECTIONS) as load:
        wait_until("the load has begun", lambda: fleet.get()[0] == 200)
        said = fleet.ctl("rollback", "web")
        ended = time.time()
        assert fleet.version() == "0.2.2"
        result = load.stop()
    assert result.failed == 0, result.why
    assert not result.sent_to_after("0.2.3", ended)
    assert said.seconds < 3, said


def test_the_same_deploy_twice_has_nothing_to_do(fleet, shop):
    before = {i["id"]: i["pid"] for i in fleet.instances("web")}
    said = fleet.ctl("deploy", "web@0.2.2", "--instances=2")
    assert "nothing" in said.out.lower(), said
    assert {i["id"]: i["pid"] for i in fleet.instances("web")} == before


def test_scale_changes_how_many_answer(fleet, shop):
    fleet.ctl("scale", "web=4")
    assert len(instances_of(fleet, "web@0.2.2", 4)) == 4
    fleet.ctl("scale", "web=2")
    wait_until("two are left", lambda: fleet.list()["web@0.2.2"]["running"] == 2)
    assert fleet.version() == "0.2.2"


def test_hosts_named_are_obeyed(fleet, shop):
    fleet.ctl("deploy", "auth", "--host=app2")
    live = [r["version"] for r in fleet.list().values() if r["service"] == "auth" and r["traffic_percent"] == 100]
    hosts = {i["host"] for i in fleet.instances("auth") if i["version"] in live and i["phase"] == "running"}
    assert hosts == {"app2"}, hosts


def test_the_journal_tells_the_story(fleet, shop):
    fleet.ctl("deploy", "web@0.2.3", "--instances=2")
    drone = fleet.drones[0]
    assert "listens on" in drone.journal("STAGECOACH_SERVICE=web", "-o", "cat")
    assert fleet.router.journal("-u", "stagecoach-routerd", "-o", "cat").strip()
    assert "web" in fleet.hub.journal("-u", "stagecoach-hubd", "-o", "cat")
    assert "web 0.2.3 listens" in fleet.ctl("logs", "web@0.2.3", "-n", "20").out


def test_an_instance_sees_its_environment_and_nobody_elses(fleet, shop):
    status, _, body = fleet.get("/env")
    assert status == 200
    for name in ("PORT", "HOST", "STAGECOACH_SERVICE", "STAGECOACH_COMMIT", "STAGECOACH_DEPLOY"):
        assert f'"{name}":' in body, name
    drone = fleet.drones[0]
    mine = next(i for i in fleet.instances("web") if i["host"] == drone.name)
    # Not over D-Bus either, where any local user may ask.
    said = drone.run(["systemctl", "show", mine["unit"], "--property=Environment"], user="nobody").out
    assert "AUTH_URL" not in said
    assert int(drone.run(["stat", "-c", "%u", f"/proc/{mine['pid']}"]).out) > 60000  # a dynamic account
