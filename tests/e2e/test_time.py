# SPDX-License-Identifier: MIT
"""What happens by itself when time passes, with lifetimes short enough to see it: renewal, the end of what was
replaced, stand-ins for what a lost host ran."""

import time

import pytest

from testbed import wait_until

CERTIFICATE_S = 6
CONFIG = f"[Deploy]\nWarmTime=1s\nGraceTime=2s\n[Identity]\nCertificateTime={CERTIFICATE_S}s\n"
FLEET = {"drones": ("app1", "app2", "app3", "app4"), "config": {"hubd": CONFIG}}


@pytest.fixture(scope="module")
def serving(fleet, shop):
    fleet.ctl("deploy", "web@0.2.2", "--instances=2")
    return shop


def serial(host, role):
    return host.run(["openssl", "x509", "-noout", "-serial", "-in",
                     f"/var/lib/stagecoach-{role}/identity/cert.pem"]).out


def test_certificates_renew_by_themselves(fleet, serving):
    members = [(fleet.drones[0], "drone"), (fleet.router, "router")]
    before = [serial(*member) for member in members]
    pids = [fleet.drones[0].pid("stagecoach-droned"), fleet.router.pid("stagecoach-routerd")]
    with fleet.load(10) as load:
        for member, old in zip(members, before):
            wait_until(f"{member[1]} has another certificate", lambda: serial(*member) != old, CERTIFICATE_S * 2)
        result = load.stop()
    assert result.failed == 0, result.why
    assert pids == [fleet.drones[0].pid("stagecoach-droned"), fleet.router.pid("stagecoach-routerd")]


def test_daemons_that_slept_through_their_certificate_come_back(fleet, serving):
    drone = fleet.drones[0]
    before = serial(drone, "drone")
    drone.systemctl("stop", "stagecoach-droned")
    time.sleep(CERTIFICATE_S + 1)  # until it has expired: nothing tells
    drone.systemctl("start", "stagecoach-droned")
    fleet.wait_online()
    wait_until("it has another certificate", lambda: serial(drone, "drone") != before, CERTIFICATE_S)
    # The laptop's has expired meanwhile too.
    assert fleet.ctl("list").status == 0


def test_what_was_replaced_ends_when_it_is_warm_no_more(fleet, serving):
    fleet.push(serving, "main")
    fleet.ctl("deploy", "web@0.2.3", "--instances=2")
    wait_until("web@0.2.2 is gone", lambda: not [i for i in fleet.instances("web") if i["version"] == "0.2.2"], 15)
    units = [host.run("systemctl list-units --plain --no-legend 'stagecoach-run-web-*' | wc -l").out.strip()
             for host in fleet.drones]
    assert sum(int(n) for n in units) == 2, units


def test_a_lost_host_gets_stand_ins(fleet, serving):
    lost_name = next(i["host"] for i in fleet.instances("web") if i["phase"] == "running")
    lost = next(h for h in fleet.drones if h.name == lost_name)
    lost.kill()
    try:
        wait_until("two run elsewhere", lambda: len([
            i for i in fleet.instances("web@0.2.3") if i["phase"] == "running" and i["host"] != lost_name]) >= 2, 40)
        assert fleet.version() == "0.2.3"
    finally:
        lost.start()
    fleet.wait_online(30)
    wait_until("only two are left", lambda: len([
        i for i in fleet.instances("web@0.2.3") if i["phase"] == "running"]) == 2, 40)
    assert fleet.version() == "0.2.3"
