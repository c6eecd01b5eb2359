# SPDX-License-Identifier: MIT
"""stagecoachctl as people and programs use it: its answers, its JSON, its exit status."""

import json
import re

import pytest

from testbed import wait_until

DONE, FAILED, USAGE, UNREACHABLE, GOES_ON = 0, 1, 2, 3, 4
READING = [["list"], ["servers"], ["ps"], ["status"], ["status", "web"], ["deps"], ["history"], ["host", "list"],
           ["token", "list"], ["version"], ["hub", "status"], ["remote", "list"]]


@pytest.fixture(scope="module")
def serving(fleet, shop):
    fleet.ctl("deploy", "web@0.2.2", "--instances=2")
    return shop


@pytest.mark.parametrize("words", READING, ids=["-".join(w) for w in READING])
def test_every_answer_is_text_and_json(fleet, serving, words):
    text = fleet.ctl(*words)
    assert text.out.strip() and "\x1b" not in text.out
    for line in fleet.ctl(*words, "--json").out.splitlines():
        assert isinstance(json.loads(line), dict)


def test_list_servers_and_deps_show_the_fleet(fleet, serving):
    text = fleet.ctl("list").out
    row = next(line for line in text.splitlines() if re.match(r"web\s+0\.2\.2\s", line))
    assert re.search(r"100%\s+2/2\s+app1:\d+ app2:\d+", row), row
    text = fleet.ctl("servers").out
    assert re.search(r"^app1\s+10\.77\.0\.12\b", text, re.M) and "web@0.2.2" in text, text
    text = fleet.ctl("deps").out
    assert re.search(r"web@0\.2\.2\n.*auth@0\.2\.0.*\^0\.2\n.*mailer@1\.0\.3.*1\.x", text), text


def test_a_deploy_can_be_left_and_taken_up(fleet, serving):
    fleet.push(serving, "main")
    left = fleet.ctl("deploy", "web@0.2.3", "--instances=2", "--no-wait")
    found = re.search(r"\bd-[0-9a-f]+\b", left.out)
    assert found, left
    waited = fleet.ctl("wait", found.group(0))
    assert waited.status == DONE and "web@0.2.3 serves" in waited.out, waited
    assert fleet.version() == "0.2.3"


def test_time_is_over_but_it_goes_on(fleet, serving):
    said = fleet.ctl("restart", "mailer", "--timeout=200ms", check=False)  # that it stays up takes 3 s to say
    assert said.status == GOES_ON, said
    wait_until("it went on", lambda: any(i["phase"] == "running" for i in fleet.instances("mailer")), 20)
    fleet.ctl("deploy", "web@0.2.2", "--instances=2")


def test_a_killed_client_changes_nothing(fleet, serving):
    process = fleet.client.spawn(["sh", "-c", "stagecoachctl deploy web@0.2.3 --instances=2 & sleep 0.15; kill -9 $!"])
    process.wait()
    wait_until("the deploy ended without it", lambda: fleet.version() == "0.2.3", 20)


@pytest.mark.parametrize("words", [["deploi", "web"], ["deploy"], ["deploy", "web", "--instances=many"],
                                   ["list", "--bogus"], ["scale", "web=x"]], ids=lambda w: "-".join(w))
def test_usage_is_told(fleet, serving, words):
    said = fleet.ctl(*words, check=False)
    assert said.status == USAGE and said.err.strip(), said


def test_a_typo_is_guessed(fleet, serving):
    assert "deploy" in fleet.ctl("deploi", "web", check=False).err


def test_logs_follow(fleet, serving):
    process = fleet.client.spawn(["stagecoachctl", "logs", "web", "-f", "-n", "1"])
    try:
        first = process.stdout.readline()
        assert first.strip()
        fleet.ctl("restart", "web")
        for line in process.stdout:
            if "listens on" in line:
                break
        else:
            pytest.fail("the stream ended")
    finally:
        process.terminate()
        process.wait()


def test_monitor_tells_what_happens(fleet, serving):
    process = fleet.client.spawn(["stagecoachctl", "monitor"])
    try:
        wait_until("monitor is there", lambda: True)
        fleet.ctl("restart", "auth")
        line = process.stdout.readline()
        assert line.strip()
    finally:
        process.terminate()
        process.wait()


def test_history_knows_who(fleet, serving):
    text = fleet.ctl("history", "web", "-n", "5").out
    assert "ops" in text and "web@0.2" in text, text


def test_stop_and_start(fleet, serving):
    fleet.ctl("stop", "mailer")
    wait_until("it is stopped", lambda: not any(i["phase"] == "running" for i in fleet.instances("mailer")))
    assert "stopped" in fleet.ctl("status", "mailer").out
    fleet.ctl("start", "mailer")
    wait_until("it runs", lambda: any(i["phase"] == "running" for i in fleet.instances("mailer")))


def test_help_names_every_verb(fleet, serving):
    text = fleet.ctl("help").out
    for verb in ("join", "remote add", "push", "deploy", "rollback", "scale", "list", "servers", "ps", "status", "deps",
                 "logs", "monitor", "history", "wait", "host list", "token create", "version"):
        assert verb in text, verb
    assert "--instances" in fleet.ctl("help", "deploy").out
