#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A client of the hub in another language, written from stagecoach-protocol(7) and nothing else.

    stranger.py HUB join DIR NAME              token on standard input; writes key, cert and ca into DIR
    stranger.py HUB call DIR METHOD PARAMS     one call; its notices and its answer, a line each
    stranger.py HUB raw DIR|- HEX…             bytes as they are (after hello, with DIR); what comes back

Nothing but Python's own library, and openssl(1) for a key and a certificate request.
"""

import base64
import hashlib
import json
import os
import secrets
import socket
import ssl
import struct
import subprocess
import sys

PORT = 7000
DEADLINE_S = 60


class Refused(Exception):
    def __init__(self, error):
        self.code, self.text = error["code"], error["message"]
        super().__init__(f"{self.code}: {self.text}")


def openssl(*words, data=None):
    return subprocess.run(["openssl", *words], input=data, capture_output=True, check=True).stdout


def key_hash(certificate_der):
    """SHA-256 of a certificate's public key (SubjectPublicKeyInfo): what tokens pin the hub by."""
    pem = ssl.DER_cert_to_PEM_cert(certificate_der).encode()
    public = openssl("x509", "-noout", "-pubkey", data=pem)
    der = base64.b64decode("".join(line for line in public.decode().splitlines() if not line.startswith("-")))
    return hashlib.sha256(der).hexdigest()


class Hub:
    def __init__(self, address, directory=None, pin=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols(["stagecoach/1"])
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # no public authority: the pin or the kept CA decides, below
        if directory:
            context.load_cert_chain(f"{directory}/cert.pem", f"{directory}/key.pem")
            context.load_verify_locations(f"{directory}/ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        raw = socket.create_connection((address, PORT), 10)
        raw.settimeout(DEADLINE_S)
        self.socket = context.wrap_socket(raw, server_hostname=address)
        if pin:
            self.check_pin(pin)
        self.next_id = 1
        self.notices = []

    def check_pin(self, pin):
        """The hub shows its own certificate and its CA's; the pin is the hash of the CA's key."""
        chain = [bytes(c) if isinstance(c, (bytes, bytearray)) else ssl.PEM_cert_to_DER_cert(c.public_bytes())
                 for c in self.socket._sslobj.get_unverified_chain()]
        if pin not in [key_hash(der) for der in chain[1:]]:
            raise SystemExit("the hub shows another key than the token names: the token was not sent")
        # …and that CA has to have signed what the hub speaks with.
        with open("/tmp/stranger-ca.pem", "w") as f:
            f.write(ssl.DER_cert_to_PEM_cert(chain[-1]))
        openssl("verify", "-CAfile", "/tmp/stranger-ca.pem", data=ssl.DER_cert_to_PEM_cert(chain[0]).encode())

    # --- frames ------------------------------------------------------------------------------------------------

    def send(self, message):
        text = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.socket.sendall(struct.pack(">I", len(text)) + text)

    def read(self, n):
        data = b""
        while len(data) < n:
            part = self.socket.recv(n - len(data))
            if not part:
                raise EOFError("the hub closed the connection")
            data += part
        return data

    def receive(self):
        (length,) = struct.unpack(">I", self.read(4))
        return json.loads(self.read(length))

    # --- JSON-RPC 2.0 ------------------------------------------------------------------------------------------

    def call(self, method, params=None, on_notice=None):
        mine = self.next_id
        self.next_id += 1
        self.send({"id": mine, "method": method, "params": params or {}})
        while True:
            message = self.receive()
            if "method" in message:
                self.answer_call(message, on_notice)
            elif message.get("id") == mine:
                if "error" in message:
                    raise Refused(message["error"])
                return message["result"]
            elif message.get("id") is None and "error" in message:
                raise Refused(message["error"])

    def answer_call(self, message, on_notice):
        """The hub may call too: it pings. Everything else it says here is a notice."""
        if "id" in message:
            self.send({"id": message["id"], "result": {}})
        elif on_notice:
            on_notice(message["method"], message["params"])

    def hello(self, name):
        return self.call("hello", {"protocol": 1, "program": "stranger", "version": "1", "name": name,
                                   "features": []})


def join(address, directory, name):
    token = sys.stdin.readline().strip()
    _, pin, _ = token.split(".")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    key, request = f"{directory}/key.pem", f"{directory}/request.pem"
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-keyout", key, "-out", request)
    hub = Hub(address, pin=pin)
    hub.hello(name)
    with open(request) as f:
        identity = hub.call("join", {"request_id": secrets.token_hex(8), "token": token, "name": name,
                                     "csr_pem": f.read()})
    for part in ("cert", "ca"):
        with open(f"{directory}/{part}.pem", "w") as f:
            f.write(identity[f"{part}_pem"])
    print(json.dumps({k: identity[k] for k in ("role", "name", "fleet")}))


def call(address, directory, method, params):
    hub = Hub(address, directory)
    hub.hello("stranger")
    params = json.loads(params)
    answer = hub.call(method, params, lambda name, p: print(json.dumps({"notice": name, **p}), flush=True))
    print(json.dumps(answer))


def raw(address, directory, *parts):
    hub = Hub(address, None if directory == "-" else directory)
    if directory != "-":
        hub.hello("stranger")
    hub.socket.settimeout(5)
    try:
        for part in parts:
            hub.socket.sendall(bytes.fromhex(part))
        while True:
            print(json.dumps(hub.receive()), flush=True)
    except (EOFError, OSError) as e:
        print(json.dumps({"closed": type(e).__name__}))


if __name__ == "__main__":
    words = sys.argv[1:]
    verbs = {"join": join, "call": call, "raw": raw}
    try:
        verbs[words[1]](words[0], *words[2:])
    except Refused as e:
        print(json.dumps({"error": {"code": e.code, "message": e.text}}))
        sys.exit(1)
