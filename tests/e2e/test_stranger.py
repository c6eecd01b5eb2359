# SPDX-License-Identifier: MIT
"""The hub driven by a program that knows the protocol's manual and no code of ours; and by what is no protocol."""

import json
import os
import struct

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


class Stranger:
    def __init__(self, fleet):
        self.fleet = fleet
        fleet.client.copy_in(os.path.join(HERE, "stranger.py"), "/usr/local/bin")

    def say(self, *words, input=None, check=True):
        said = self.fleet.client.run(["python3", "-B", "/usr/local/bin/stranger.py", "hub1", *words], input=input,
                                     check=False)
        lines = [json.loads(line) for line in said.out.splitlines()]
        assert not check or said.status == 0, said
        assert lines, said
        return lines

    def call(self, method, check=True, **params):
        return self.say("call", "/root/stranger", method, json.dumps(params), check=check)

    def raw(self, *parts, joined=True):
        return self.say("raw", "/root/stranger" if joined else "-", *(p.hex() for p in parts))


@pytest.fixture(scope="module")
def stranger(fleet, shop):
    stranger = Stranger(fleet)
    token = fleet.token("admin", name="stranger")
    assert stranger.say("join", "/root/stranger", "stranger", input=token + "\n")[-1] == {
        "role": "admin", "name": "stranger", "fleet": stranger.call("version")[-1]["fleet"]}
    return stranger


def test_a_stranger_deploys_and_watches(fleet, stranger):
    operation = stranger.call("deploy", request_id="stranger-1", target="web@0.2.2", instances=2)[-1]
    assert operation["version"] == "0.2.2"
    lines = stranger.call("deploy_watch", deploy=operation["deploy"])
    result = lines[-1]
    assert result["outcome"] == "done", lines
    seqs = [line["seq"] for line in lines[:-1]]
    assert seqs == sorted(seqs) and {line["notice"] for line in lines[:-1]} == {"deploy_event"}
    assert {"fetch", "start", "healthy", "switch"} <= {line["phase"] for line in lines[:-1]}
    assert fleet.version() == "0.2.2"


def test_a_call_repeated_changes_nothing_and_says_the_same(fleet, stranger):
    first = stranger.call("scale", request_id="stranger-2", target="web", instances=3)[-1]
    again = stranger.call("scale", request_id="stranger-2", target="web", instances=3)[-1]
    assert first == again
    other = stranger.call("scale", check=False, request_id="stranger-2", target="web", instances=4)[-1]
    assert "error" in other, other


def test_a_stranger_reads(fleet, stranger):
    releases = stranger.call("list")[-1]["releases"]
    assert any(r["service"] == "web" and r["version"] == "0.2.2" for r in releases)
    hosts = {h["host"] for h in stranger.call("servers")[-1]["hosts"]}
    assert {"app1", "app2"} <= hosts
    events = stranger.call("history", limit=5)[-1]["events"]
    assert 0 < len(events) <= 5
    lines = stranger.call("logs", target="web@0.2.2", lines=20, follow=False)
    text = [row["text"] for line in lines if line.get("notice") == "stream_lines" for row in line["lines"]]
    assert any("listens on" in t for t in text), lines


# What is called, with what, which error (0: any), which words
MISTAKES = [
    ("deploy", {"target": "web"}, -32602, "request_id"),
    ("deploy", {"request_id": "mistake-a", "target": 7}, -32602, "target"),
    ("deploy", {"request_id": "mistake-a", "target": "web", "instances": 100000}, -32602, "instances"),
    ("deploy", {"request_id": "mistake-a", "target": "web", "instances": "two"}, -32602, "instances"),
    ("deploy", {"request_id": "mistake-b", "target": "../../etc/passwd"}, 0, ""),
    ("deploy", {"request_id": "mistake-c", "target": "web@" + "9" * 300}, 0, ""),
    ("deploy", {"request_id": "mistake-d", "target": "-rf"}, 0, ""),
    ("deploy", {"request_id": "mistake-e", "target": "a\u0000b"}, 0, ""),
    ("token_create", {"request_id": "mistake-f", "role": "king"}, -32602, "role"),
    ("no_such_method", {}, -32601, "no_such_method"),
    ("orders_change", {}, 0, ""),
    ("instance_report", {}, 0, ""),
]


@pytest.mark.parametrize("method,params,code,word", MISTAKES, ids=[f"{i}-{m[0]}" for i, m in enumerate(MISTAKES)])
def test_a_wrong_call_is_refused_by_name(fleet, stranger, method, params, code, word):
    daemon = fleet.hub.pid("stagecoach-hubd")
    error = stranger.call(method, check=False, **params)[-1].get("error")
    assert error, "not refused"
    assert code in (0, error["code"]), error
    assert word in error["message"], error
    assert "\x00" not in error["message"]
    assert fleet.hub.pid("stagecoach-hubd") == daemon


def frame(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">I", len(data)) + data


RAW = [
    ("too-long", struct.pack(">I", 1 << 21) + b"x" * 1000),
    ("longest", struct.pack(">I", 0xffffffff)),
    ("empty", struct.pack(">I", 0)),
    ("not-json", frame("hello")),
    ("not-an-object", frame("[1,2,3]")),
    ("too-deep", frame('{"a":' * 5000 + "1" + "}" * 5000)),
    ("not-utf8", frame(b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}')),
    ("nul", frame(b'{"jsonrpc":"2.0","id":1,"method":"a\\u0000b"}')),
    ("single-quotes", frame("{'jsonrpc':'2.0','id':1,'method':'version'}")),
    ("duplicate-keys", frame('{"jsonrpc":"2.0","id":7,"id":8,"method":"version"}')),
    ("huge-number", frame('{"jsonrpc":"2.0","id":99999999999999999999999,"method":"version"}')),
    ("trailing", frame('{"jsonrpc":"2.0","id":9,"method":"version"} {}')),
    ("http", b"GET / HTTP/1.1\r\nHost: hub1\r\n\r\n"),
]


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "nobody"])
@pytest.mark.parametrize("name,data", RAW, ids=[row[0] for row in RAW])
def test_what_is_no_message_ends_the_link_and_nothing_else(fleet, stranger, name, data, joined):
    daemon = fleet.hub.pid("stagecoach-hubd")
    before = fleet.list().keys()
    said = stranger.raw(data, joined=joined)
    assert "result" not in said[0], said
    assert said[-1] == {"closed": "EOFError"} or "closed" in said[-1], said
    assert fleet.hub.pid("stagecoach-hubd") == daemon
    assert fleet.list().keys() == before
