# SPDX-License-Identifier: MIT
"""Who may do what, and the one clear sentence that everybody else gets."""

import json
import re
import time

import pytest

SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def refused(said, *words):
    """One sentence, with these words, and no success."""
    assert said.status not in (0, 124), said
    text = said.err.strip()
    assert text and len(text.splitlines()) <= 3, said
    assert [w for w in words if w not in text.lower()] == [], text
    assert not SECRET.search(text), text
    return text


@pytest.fixture(scope="module")
def spare(fleet):
    """A host that is not joined."""
    host = fleet.bed.host("spare")
    fleet.bed.start(host)
    return host


def test_a_wrong_token_is_refused(fleet, spare):
    good = fleet.token("drone", name="spare")
    wrong = good[:-4] + ("AAAA" if not good.endswith("AAAA") else "BBBB")
    refused(fleet.join(spare, wrong, check=False), "token")


def test_a_used_up_token_is_refused(fleet, spare):
    token = fleet.token("drone", uses=1, name="other")
    assert fleet.join(spare, token, "--name=other").status == 0
    spare.run("rm -rf /var/lib/stagecoach-drone/identity")
    refused(fleet.join(spare, token, "--name=another", check=False), "used")


def test_an_expired_token_is_refused(fleet, spare):
    token = fleet.token("drone", words=["--valid=1s"])
    time.sleep(1.2)  # the token's own life: nothing tells when it is over
    refused(fleet.join(spare, token, check=False), "expired")


def test_another_key_than_pinned_is_refused(fleet, spare):
    token = fleet.token("drone")
    kind, pin, secret = token.split(".")
    other = ("0" if pin[0] != "0" else "1") + pin[1:]
    text = refused(fleet.join(spare, ".".join((kind, other, secret)), check=False), "key")
    assert other[:4] in text or pin[:4] in text, text
    # The secret was not sent: the token still has its use.
    assert fleet.join(spare, token, "--name=fourth").status == 0
    spare.run("rm -rf /var/lib/stagecoach-drone/identity")


def test_a_name_in_use_is_refused(fleet, spare):
    refused(fleet.join(spare, fleet.token("drone"), "--name=app1", check=False), "app1")


def steal(fleet, spare, role="drone", host=None):
    """A daemon's key and certificate, as a person's remote on another host."""
    source = host or fleet.drones[0]
    files = {name: source.read_file(f"/var/lib/stagecoach-{role}/identity/{name}.pem") for name in ("key", "cert", "ca")}
    for name, text in files.items():
        spare.write_file(f"/root/stolen/{name}.pem", text, 0o600)


def speak(spare, *frames, alpn="stagecoach/1"):
    """Frames to the hub with a stolen certificate; the answers."""
    program = r'''
import json, socket, ssl, struct, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.load_cert_chain("/root/stolen/cert.pem", "/root/stolen/key.pem")
context.set_alpn_protocols(["stagecoach/1"])
s = context.wrap_socket(socket.create_connection(("hub1", 7000), 5))
def read(n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise EOFError
        data += part
    return data
for frame in json.loads(sys.argv[1]):
    text = json.dumps(frame).encode()
    s.sendall(struct.pack(">I", len(text)) + text)
    while True:
        answer = json.loads(read(struct.unpack(">I", read(4))[0]))
        if answer.get("id") == frame["id"] and "method" not in answer:
            print(json.dumps(answer))
            break
'''
    said = spare.run(["python3", "-c", program, json.dumps(frames)], timeout=10, check=False)
    return [json.loads(line) for line in said.out.splitlines()], said


HELLO = {"jsonrpc": "2.0", "id": 1, "method": "hello",
         "params": {"protocol": 1, "program": "thief", "version": "1", "name": "app1"}}


def test_a_drones_certificate_is_no_admins(fleet, spare):
    steal(fleet, spare)
    answers, said = speak(spare, HELLO, {"jsonrpc": "2.0", "id": 2, "method": "token_create",
                                         "params": {"request_id": "r1", "role": "admin", "uses": 1, "valid_ms": 60000}})
    assert len(answers) == 2, said
    assert answers[1]["error"]["code"] == -32002, answers
    assert "drone" in answers[1]["error"]["message"], answers


def test_a_drones_certificate_is_not_another_drones(fleet, spare):
    steal(fleet, spare)
    hello = {**HELLO, "params": {**HELLO["params"], "name": "app2", "program": "stagecoach-droned"}}
    answers, said = speak(spare, hello)
    # Either the wrong name is refused, or it is not believed: the certificate decides. The real ones come back.
    assert answers and ("error" in answers[0] or answers[0]["result"]), said
    fleet.wait_online()
    hosts = {h["host"]: h for h in fleet.ask("host", "list")["hosts"]}
    assert hosts["app2"]["address"] == fleet.drones[1].address


def test_a_viewer_reads_and_changes_nothing(fleet, spare):
    fleet.add_remote(spare, fleet.token("viewer", name="eve"))
    assert fleet.ctl("list", on=spare).status == 0
    refused(fleet.ctl("token", "create", "--role=admin", on=spare, check=False), "viewer")
    refused(fleet.ctl("deploy", "web", on=spare, check=False))


def test_the_local_socket_is_for_root_and_the_group(fleet):
    assert fleet.hub.run(["stagecoachctl", "list"]).status == 0
    said = fleet.hub.run(["stagecoachctl", "list"], user="nobody", check=False)
    assert said.status != 0
    mode = fleet.hub.run(["stat", "-c", "%a %U %G", "/run/stagecoach/hub.sock"]).out.strip()
    assert mode == "660 root stagecoach"


def test_remotes_are_private_and_show_the_key(fleet, spare):
    said = fleet.add_remote(spare, fleet.token("admin", name="zoe"), "second")
    assert re.search(r"key [0-9a-f]{4} [0-9a-f]{4}", said.out), said
    modes = spare.run("find /root/.config/stagecoach -type f -printf '%m %f\\n'").out.split("\n")
    assert [m for m in modes if m and not m.startswith(("600", "400"))] == [], modes


def test_a_password_is_a_token_without_a_pin(fleet, spare):
    fleet.hub.run(["stagecoachctl", "token", "create", "--role=viewer", "--name=pat", "--password=-"],
                  input="open sesame 12\n", check=False)
    said = spare.run(["stagecoachctl", "remote", "add", "old", "--hub=hub1:7000", "--password=open sesame 12"],
                     check=False)
    assert said.status == 0, said
    assert re.search(r"key [0-9a-f]{4}", said.out), said


def test_a_lost_hub_says_so_in_one_sentence(fleet, spare):
    fleet.hub.systemctl("stop", "stagecoach-hubd.socket", "stagecoach-hubd-local.socket", "stagecoach-hubd")
    try:
        said = fleet.ctl("list", check=False)
        assert said.status == 3
        assert "can't reach hub1:7000" in said.err
    finally:
        fleet.start_hub()
