# SPDX-License-Identifier: MIT
"""The router's reload and restart under real systemd: what systemd shows, what clients see, what is left behind."""

import pytest

from test_traffic import Websocket
from testbed import wait_until

UNIT = "stagecoach-routerd"
RELOADS = 10
CONF = "/etc/stagecoach/routerd.conf"


@pytest.fixture(scope="module")
def serving(fleet, shop):
    fleet.ctl("deploy", "web@0.2.2")
    return shop


def processes(host):
    """Process ids in the unit's cgroup, as systemd counts them."""
    path = host.show(UNIT, "ControlGroup")["ControlGroup"]
    said = host.run(["sh", "-c", f"cat /sys/fs/cgroup/systemd{path}/cgroup.procs /sys/fs/cgroup{path}/cgroup.procs"
                     " 2>/dev/null | sort -un"], check=False)
    return [int(line) for line in said.out.split()]


def main_pid(host):
    return int(host.show(UNIT, "MainPID")["MainPID"])


def wait_one_process(host, seconds=20):
    wait_until("one process is left", lambda: processes(host) == [main_pid(host)], seconds)


def test_reloads_under_load_lose_no_request(fleet, serving):
    router = fleet.router
    restarts = router.show(UNIT, "NRestarts")
    with fleet.load(30) as load:
        for _ in range(RELOADS):
            before = main_pid(router)
            router.systemctl("reload", UNIT)
            assert main_pid(router) != before
            assert router.show(UNIT, "ActiveState", "SubState") == {"ActiveState": "active", "SubState": "running"}
            assert fleet.version() == "0.2.2"
        result = load.stop()
    assert result.failed == 0, result.why
    assert router.show(UNIT, "NRestarts") == restarts
    wait_one_process(router)
    assert "epoch" in router.show(UNIT, "StatusText")["StatusText"]


def test_a_restart_under_load_loses_no_request(fleet, serving):
    with fleet.load(30) as load:
        for _ in range(3):
            before = main_pid(fleet.router)
            fleet.router.systemctl("restart", UNIT)
            assert main_pid(fleet.router) != before
        result = load.stop()
    assert result.failed == 0, result.why


def test_a_broken_configuration_fails_the_reload_and_changes_nothing(fleet, serving):
    router = fleet.router
    before = main_pid(router)
    router.write_file(CONF, "[Router]\nWorkerz=2\n")
    try:
        said = router.systemctl("reload", UNIT, check=False)
        assert said.status != 0
        assert "Workerz" in router.show(UNIT, "StatusText")["StatusText"]
        assert "Workerz" in router.journal("-u", UNIT, "-n", "20")
        assert main_pid(router) == before and processes(router) == [before]
        assert router.show(UNIT, "ActiveState")["ActiveState"] == "active"
        assert fleet.version() == "0.2.2"
    finally:
        router.run(["rm", "-f", CONF])
    router.systemctl("reload", UNIT)
    assert main_pid(router) != before
    assert fleet.version() == "0.2.2"


def test_a_reload_takes_settings_over(fleet, serving):
    router = fleet.router
    router.write_file(CONF, "[Router]\nWorkers=1\n")
    try:
        router.systemctl("reload", UNIT)
        threads = router.run(["sh", "-c", f"cat /proc/{main_pid(router)}/task/*/comm"]).out.split()
        assert threads.count("worker") == 1
    finally:
        router.run(["rm", "-f", CONF])
    router.systemctl("reload", UNIT)


def test_a_websocket_stays_in_its_generation_and_is_counted(fleet, serving):
    """The hub sees what an older generation has in flight, and lets the old release live for so long."""
    router = fleet.router
    wait_one_process(router)
    old = main_pid(router)
    socket = Websocket(fleet)
    socket.echo("before")
    router.systemctl("reload", UNIT)
    socket.echo("after one reload")
    assert processes(router) == sorted([old, main_pid(router)])
    router.systemctl("reload", UNIT)
    socket.echo("after two")
    assert len(processes(router)) == 2
    wait_until("the router says what is left", lambda: "1 older generation with 1 connection"
               in router.show(UNIT, "StatusText")["StatusText"], 5)
    socket.end()
    wait_one_process(router)


def test_the_watchdog_goes_over_to_the_next_generation(fleet, serving):
    router = fleet.router
    router.systemctl("reload", UNIT)
    pid = main_pid(router)
    router.run(["kill", "-STOP", str(pid)])
    wait_until("systemd starts another one", lambda: main_pid(router) not in (0, pid), 30)
    wait_until("it serves", lambda: fleet.version() == "0.2.2", 10)
    assert "watchdog" in router.journal("-u", UNIT, "-n", "50").lower()


def test_a_stop_ends_all_generations(fleet, serving):
    router = fleet.router
    socket = Websocket(fleet)
    router.systemctl("reload", UNIT)
    socket.echo("in the older one")
    assert len(processes(router)) == 2
    router.systemctl("stop", UNIT)
    assert router.show(UNIT, "Result")["Result"] == "success"
    router.systemctl("start", UNIT)
    assert fleet.version() == "0.2.2"
    socket.process.kill()
