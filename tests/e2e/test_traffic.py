# SPDX-License-Identifier: MIT
"""What goes through the router: websockets, large bodies, and its memory meanwhile."""

import subprocess
import textwrap

import pytest

GIB = 1 << 30
MEMORY_GROWTH_MAX_KB = 4096

WEBSOCKET = textwrap.dedent(r'''
    import base64, os, socket, struct, sys, time
    s = socket.create_connection((sys.argv[1], 80), 10)
    s.settimeout(10)
    s.sendall(("GET /echo HTTP/1.1\r\nHost: shop.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)).decode() +
               "\r\n\r\n").encode())
    head = b""
    while b"\r\n\r\n" not in head:
        part = s.recv(4096)
        assert part, head
        head += part
    assert head.startswith(b"HTTP/1.1 101"), head
    print("open", flush=True)
    def read(n):
        data = b""
        while len(data) < n:
            part = s.recv(n - len(data))
            assert part, "closed"
            data += part
        return data
    n = 0
    for line in sys.stdin:
        text = line.strip().encode()
        if text == b"end":
            break
        body = text * (int(sys.argv[2]) // max(1, len(text)) + 1)
        size = struct.pack(">BBQ", 0x81, 0x80 | 127, len(body))
        s.sendall(size + b"\0\0\0\0" + body)
        head = read(2)
        length = head[1] & 127
        if length == 126: length = struct.unpack(">H", read(2))[0]
        elif length == 127: length = struct.unpack(">Q", read(8))[0]
        assert read(length) == body
        n += 1
        print(n, flush=True)
''')


@pytest.fixture(scope="module")
def serving(fleet, shop):
    fleet.ctl("deploy", "web@0.2.2")
    return shop


class Websocket:
    def __init__(self, fleet, size=1000):
        self.process = fleet.client.spawn(["python3", "-c", WEBSOCKET, fleet.router.address, str(size)],
                                          stdin=subprocess.PIPE)
        assert self.process.stdout.readline().strip() == "open"
        self.sent = 0

    def echo(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        self.sent += 1
        answer = self.process.stdout.readline().strip()
        assert answer == str(self.sent), answer + self.process.stdout.read()

    def end(self):
        self.process.stdin.write("end\n")
        self.process.stdin.close()
        self.process.wait(10)


def resident_kb(host, unit):
    text = host.read_file(f"/proc/{host.pid(unit)}/status")
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def test_a_websocket_echoes_both_ways(fleet, serving):
    socket = Websocket(fleet, 200000)
    for i in range(10):
        socket.echo(f"hello {i} ")
    socket.end()


def test_a_websocket_lives_through_another_services_deploy(fleet, serving):
    socket = Websocket(fleet)
    socket.echo("before")
    fleet.ctl("restart", "auth")
    fleet.ctl("scale", "auth=2")
    socket.echo("after")
    socket.end()
    fleet.ctl("scale", "auth=1")


def test_a_websocket_lives_through_a_reload_of_the_router(fleet, serving):
    socket = Websocket(fleet)
    socket.echo("before")
    fleet.router.systemctl("reload", "stagecoach-routerd")
    socket.echo("after")
    assert fleet.version() == "0.2.2"
    socket.echo("still")
    socket.end()


def test_a_reload_of_the_router_loses_no_request(fleet, serving):
    with fleet.load(20) as load:
        for _ in range(3):
            fleet.router.systemctl("reload", "stagecoach-routerd")
            assert fleet.version() == "0.2.2"
        result = load.stop()
    assert result.failed == 0, result.why


def test_a_large_download_leaves_memory_flat(fleet, serving):
    before = resident_kb(fleet.router, "stagecoach-routerd")
    said = fleet.client.run(["sh", "-c", "curl -sf -H 'Host: shop.example' \"$1\" | wc -c", "sh",
                             f"http://{fleet.router.address}/big?bytes={GIB}"])
    assert int(said.out) == GIB
    assert resident_kb(fleet.router, "stagecoach-routerd") - before < MEMORY_GROWTH_MAX_KB


def test_a_large_upload_leaves_memory_flat(fleet, serving):
    before = resident_kb(fleet.router, "stagecoach-routerd")
    said = fleet.client.run(["sh", "-c", "head -c $2 /dev/zero | curl -sf -H 'Host: shop.example' -T - \"$1\"", "sh",
                             f"http://{fleet.router.address}/upload", str(GIB)])
    assert f'"bytes":{GIB}' in said.out, said
    assert resident_kb(fleet.router, "stagecoach-routerd") - before < MEMORY_GROWTH_MAX_KB


def test_a_slow_client_leaves_memory_flat(fleet, serving):
    before = resident_kb(fleet.router, "stagecoach-routerd")
    slow = [fleet.client.spawn(["curl", "-s", "-o", "/dev/null", "--limit-rate", "100k", "--max-time", "4", "-H",
                                "Host: shop.example", f"http://{fleet.router.address}/big?bytes={GIB}"])
            for _ in range(20)]
    for process in slow:
        process.wait()
    assert resident_kb(fleet.router, "stagecoach-routerd") - before < MEMORY_GROWTH_MAX_KB * 2
    assert fleet.version() == "0.2.2"


def test_an_unknown_host_is_not_found(fleet, serving):
    assert fleet.get(host="nobody.example")[0] == 404
