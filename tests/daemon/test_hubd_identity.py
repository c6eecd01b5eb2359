#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tokens, joining, certificates and their renewal, against a real hub on loopback."""

import os
import shutil
import ssl
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "git"))
from hub import BUILD, Hub, Link, Refused, request_id, run  # noqa: E402


class Case(unittest.TestCase):
    settings = {}

    def setUp(self):
        self.hub = Hub(**self.settings)
        self.addCleanup(self.hub.close)

    def refused(self, fn, *args, **kwargs):
        with self.assertRaises(Refused) as caught:
            fn(*args, **kwargs)
        return caught.exception.text

    def uri(self, cert):
        out = run("openssl", "x509", "-in", cert + ".crt", "-noout", "-ext", "subjectAltName").stdout
        return out.split("URI:")[1].strip()

    def csr(self, base):
        with open(base + ".csr") as f:
            return f.read()


class Joining(Case):
    def test_a_host_joins_and_is_known_from_then_on(self):
        cert, answer = self.hub.join(self.hub.token("drone"), "app1")
        self.assertEqual((answer["role"], answer["name"]), ("drone", "app1"))
        self.assertEqual(self.uri(cert), f"stagecoach://{answer['fleet']}/drone/app1")
        self.assertIn("BEGIN CERTIFICATE", answer["ca_pem"])
        days = (answer["expires_us"] / 1e6 - time.time()) / 86400
        self.assertAlmostEqual(days, 30, delta=0.1)
        link = self.hub.link(cert)
        self.assertEqual(link.hello["fleet"], answer["fleet"])
        link.close()

    def test_the_pin_is_the_hash_of_the_ca_key(self):
        token = self.hub.token("drone")
        ca = self.hub.path("hub/identity/ca-cert.pem")
        der = subprocess.run(
            f"openssl x509 -in {ca} -noout -pubkey | openssl pkey -pubin -outform der | sha256sum",
            shell=True,
            capture_output=True,
            text=True,
        ).stdout.split()[0]
        self.assertRegex(token, rf"^sc1\.{der}\.[A-Za-z0-9_-]{{43}}$")

    def test_secrets_are_not_kept(self):
        token = self.hub.token("drone", password="open sesame please")
        secret = self.hub.token("admin").rsplit(".", 1)[1]
        self.hub.join(token, "app1")
        self.hub.stop()
        found = b""
        for directory, _, files in os.walk(self.hub.path("hub/state")):
            for f in files:
                with open(os.path.join(directory, f), "rb") as opened:
                    found += opened.read()
        self.assertIn(b"app1", found)
        self.assertNotIn(b"open sesame", found)
        self.assertNotIn(secret.encode(), found)
        self.assertNotIn(b"sesame", self.hub.log_text().encode())
        self.hub.start()

    def test_the_secret_alone_will_do(self):
        token = self.hub.token("viewer", password="open sesame please")
        _, answer = self.hub.join("open sesame please", "eve")
        self.assertEqual(answer["role"], "viewer")
        self.assertTrue(token.endswith(".open sesame please"))

    def test_people_may_leave_the_name_to_the_hub(self):
        _, answer = self.hub.join(self.hub.token("deployer", services=["web"]))
        self.assertRegex(answer["name"], "^deployer-[0-9a-f]{6}$")
        self.assertEqual(answer["services"], ["web"])
        self.assertIn("a drone needs a name", self.refused(self.hub.join, self.hub.token("drone")))

    def test_a_lost_answer_uses_up_nothing(self):
        token = self.hub.token("drone", uses=2)
        base, first = self.hub.join(token, "app1")
        _, again = self.hub.join(token, "app1", base)
        self.assertEqual(again["name"], "app1")
        self.assertEqual(self.hub.admin("token_list")["tokens"][0]["uses_left"], 1)
        self.hub.join(token, "app2")
        _, again = self.hub.join(token, "app1", base)
        self.assertEqual(again["name"], "app1")

    def test_the_same_request_gets_the_same_answer(self):
        token = self.hub.token("drone")
        base = self.hub.key("app1")
        rid = request_id()
        _, first = self.hub.join(token, "app1", base, request_id=rid)
        _, again = self.hub.join(token, "app1", base, request_id=rid)
        self.assertEqual(first, again)

    def test_wrong_used_up_and_expired_tokens(self):
        self.assertEqual(
            self.refused(self.hub.join, "nonsense", "app1"),
            "this token is not known here: it is mistyped, or it was revoked",
        )
        token = self.hub.token("drone")
        self.hub.join(token, "app1")
        self.assertEqual(
            self.refused(self.hub.join, token, "app2"),
            "this token is used up; make a new one with: stagecoachctl token create --role=drone",
        )
        token = self.hub.token("drone", valid_ms=1000)
        time.sleep(1.2)
        self.assertRegex(
            self.refused(self.hub.join, token, "app3"),
            r"^this token expired at 20\S+Z; make a new one with: stagecoachctl token create --role=drone$",
        )
        other = "sc1." + "0123456789abcdef" * 4 + ".secret"
        self.assertIn("this token is of another hub (key 0123 4567 …)", self.refused(self.hub.join, other, "app1"))

    def test_a_token_for_one_name(self):
        token = self.hub.token("drone", name="app1")
        self.assertEqual(
            self.refused(self.hub.join, token, "app2"), 'this token is for the name "app1", not "app2"'
        )
        _, answer = self.hub.join(token)
        self.assertEqual(answer["name"], "app1")

    def test_a_name_in_use_needs_a_token_for_it(self):
        old, _ = self.hub.join(self.hub.token("drone"), "app1")
        base = self.hub.key("other")
        self.assertEqual(
            self.refused(self.hub.join, self.hub.token("drone"), "app1", base),
            'the name "app1" is in use by another key; to join with it again, make a token for it: '
            "stagecoachctl token create --role=drone --name=app1",
        )
        new, _ = self.hub.join(self.hub.token("drone", name="app1"), "app1", base)
        self.hub.link(new).close()
        with self.assertRaises((Refused, ConnectionError)) as caught:
            self.hub.link(old)
        self.assertIn("has joined again with another key since", str(caught.exception))

    def test_odd_names(self):
        token = self.hub.token("drone", uses=10)
        for name in ("../x", "-app", "a..b", "App1", "a/b", "a b", "a\nb", "x" * 300):
            text = self.refused(self.hub.join, token, name, self.hub.key("k"))
            self.assertIn("name", text, name)
        self.assertEqual(self.hub.admin("token_list")["tokens"][0]["uses_left"], 10)

    def test_odd_requests(self):
        base = self.hub.key("app1")
        for bad in ("", "nonsense", self.csr(base).replace("A", "B"), "x" * 20000):
            with open(base + ".csr", "w") as f:
                f.write(bad)
            self.refused(self.hub.join, self.hub.token("drone"), "app1", base)

    def test_guessing_is_slowed_down(self):
        base = self.hub.key("app1")
        for i in range(20):
            self.refused(self.hub.join, f"guess-{i}", "app1", base)
        self.assertEqual(
            self.refused(self.hub.join, "guess", "app1", base),
            "too many wrong tokens from 127.0.0.1; try again in a minute",
        )


class Tokens(Case):
    def test_create_list_revoke(self):
        made = self.hub.admin(
            "token_create", request_id=request_id(), role="deployer", uses=3, valid_ms=60000, services=["web"]
        )
        (row,) = self.hub.admin("token_list")["tokens"]
        self.assertNotIn("token", row)
        for key in ("id", "role", "services", "uses_left", "expires_us", "created_by"):
            self.assertEqual(row[key], made[key])
        self.hub.admin("token_revoke", request_id=request_id(), id=made["id"])
        self.assertEqual(self.hub.admin("token_list")["tokens"], [])
        self.assertEqual(
            self.refused(self.hub.admin, "token_revoke", request_id=request_id(), id=made["id"]),
            f'there is no token "{made["id"]}"',
        )

    def test_what_is_refused(self):
        rows = [
            (dict(role="hub"), "role"),
            (dict(role="drone", services=["web"]), "only deployers are limited to services"),
            (dict(role="deployer", services=["We b"]), "token_create.services[0]: must be the name of a service"),
            (dict(role="drone", name="../x"), "name"),
            (dict(role="drone", uses=0), "uses"),
            (dict(role="drone", uses=100000000), "uses"),
            (dict(role="drone", valid_ms=1), "valid_ms"),
            (dict(role="drone", valid_ms=10**15), "valid_ms"),
            (dict(role="drone", password="short"), "password"),
        ]
        for params, expected in rows:
            text = self.refused(self.hub.admin, "token_create", request_id=request_id(), **params)
            self.assertIn(expected, text, params)
        self.hub.token("drone", password="the same secret")
        self.assertIn("already", self.refused(self.hub.token, "drone", password="the same secret"))


class Rights(Case):
    def test_strangers_may_only_join(self):
        link = self.hub.link()
        for method, params in (
            ("token_create", dict(request_id=request_id(), role="admin")),
            ("list", {}),
            ("renew", dict(request_id=request_id(), csr_pem="x")),
            ("identity_revoke", dict(request_id=request_id(), role="drone", name="app1")),
        ):
            self.refused(link.call, method, **params)
        link.close()

    def test_each_role_has_its_verbs(self):
        certs = {}
        for role in ("admin", "deployer", "viewer", "drone", "router"):
            certs[role], _ = self.hub.join(self.hub.token(role), role + "1")
        for role, cert in certs.items():
            link = self.hub.link(cert, **({"address": "127.0.0.1"} if role == "drone" else {}))
            create = lambda: link.call("token_create", request_id=request_id(), role="drone")  # noqa: E731
            if role == "admin":
                self.assertIn("token", create())
            else:
                self.refused(create)
            link.close()

    def test_a_certificate_of_another_ca(self):
        other = Hub()
        self.addCleanup(other.close)
        cert, _ = other.join(other.token("admin"), "ops")
        with self.assertRaises((ssl.SSLError, ConnectionError, Refused)):
            self.hub.link(cert)
        self.hub.admin("version")

    def test_revocation_closes_what_is_open(self):
        cert, _ = self.hub.join(self.hub.token("drone"), "app1")
        link = self.hub.link(cert, address="127.0.0.1")
        self.hub.admin("identity_revoke", request_id=request_id(), role="drone", name="app1")
        self.assertTrue(link.is_closed())
        with self.assertRaises((Refused, ConnectionError)) as caught:
            self.hub.link(cert)
        self.assertIn('drone "app1" was revoked', str(caught.exception))
        base = self.hub.key("again")
        self.assertIn("was revoked; to join with it again", self.refused(self.hub.join, self.hub.token("drone"), "app1", base))
        self.hub.join(self.hub.token("drone", name="app1"), "app1", base)
        self.assertIn(
            'no router "app1" has joined',
            self.refused(self.hub.admin, "identity_revoke", request_id=request_id(), role="router", name="app1"),
        )


class Renewal(Case):
    def test_the_same_key_is_renewed(self):
        base, first = self.hub.join(self.hub.token("drone"), "app1")
        link = self.hub.link(base, address="127.0.0.1")
        answer = link.call("renew", request_id=request_id(), csr_pem=self.csr(base))
        self.assertEqual((answer["name"], answer["role"]), ("app1", "drone"))
        self.assertNotEqual(answer["cert_pem"], first["cert_pem"])
        other = self.hub.key("other")
        text = self.refused(link.call, "renew", request_id=request_id(), csr_pem=self.csr(other))
        self.assertIn('to change the key of "app1", join again', text)
        link.close()

    def test_nobody_renews_over_the_local_socket(self):
        base = self.hub.key("x")
        self.refused(self.hub.admin, "renew", request_id=request_id(), csr_pem=self.csr(base))


class ShortLives(Case):
    LIFETIME_S = 5  # long enough for a busy machine to use a certificate in
    settings = {"Identity.CertificateTime": f"{LIFETIME_S}s"}

    def test_an_expired_certificate_may_only_renew(self):
        base, _ = self.hub.join(self.hub.token("admin"), "ops")
        link = self.hub.link(base)
        link.call("token_list")
        link.close()
        time.sleep(self.LIFETIME_S + 0.5)
        link = self.hub.link(base)
        self.refused(link.call, "token_list")
        answer = link.call("renew", request_id=request_id(), csr_pem=self.csr(base))
        link.close()
        with open(base + ".crt", "w") as f:
            f.write(answer["cert_pem"])
        link = self.hub.link(base)
        link.call("token_list")
        link.close()

    def test_a_revoked_one_does_not_renew(self):
        base, _ = self.hub.join(self.hub.token("admin"), "ops")
        self.hub.admin("identity_revoke", request_id=request_id(), role="admin", name="ops")
        time.sleep(self.LIFETIME_S + 0.2)
        with self.assertRaises((Refused, ConnectionError)):
            self.hub.link(base).call("renew", request_id=request_id(), csr_pem=self.csr(base))

    def test_the_hub_renews_its_own(self):
        first = self.hub.tls().getpeercert(True)
        end = time.monotonic() + 4 * self.LIFETIME_S
        while self.hub.tls().getpeercert(True) == first and time.monotonic() < end:
            time.sleep(0.2)
        self.assertNotEqual(self.hub.tls().getpeercert(True), first)
        self.assertIn("renewed the hub's certificate", self.hub.log_text())


class Server(Case):
    settings = {"Hub.Names": "hub.example.com 192.0.2.7"}

    def test_names_in_the_hubs_certificate(self):
        sock = self.hub.tls()
        der = sock.getpeercert(True)
        sock.close()
        text = subprocess.run(
            ["openssl", "x509", "-inform", "der", "-noout", "-ext", "subjectAltName"], input=der, capture_output=True
        ).stdout.decode()
        for name in ("DNS:localhost", "DNS:hub.example.com", "IP Address:192.0.2.7", "IP Address:127.0.0.1", "/hub/hub"):
            self.assertIn(name, text)

    def test_the_ca_stays(self):
        before = self.hub.admin("version")
        self.hub.stop()
        self.hub.start()
        self.assertEqual(self.hub.admin("version")["fingerprint"], before["fingerprint"])
        mode = os.stat(self.hub.path("hub/identity")).st_mode & 0o777
        self.assertEqual(mode, 0o700)
        self.assertEqual(os.stat(self.hub.path("hub/identity/ca-key.pem")).st_mode & 0o777, 0o600)

    def run_once(self):
        return subprocess.run(self.hub.process.args, capture_output=True, text=True, timeout=20)

    def test_a_state_without_its_ca_does_not_start(self):
        self.hub.token("drone")
        self.hub.stop()
        os.rename(self.hub.path("hub/identity"), self.hub.path("kept"))
        done = self.run_once()
        self.assertEqual(done.returncode, 1)
        self.assertIn("there is a state but no CA in ", done.stderr)
        self.assertEqual(os.listdir(self.hub.path("hub/identity")), [])
        other = Hub()
        self.addCleanup(other.close)
        shutil.rmtree(self.hub.path("hub/identity"))
        shutil.copytree(other.path("hub/identity"), self.hub.path("hub/identity"))
        done = self.run_once()
        self.assertEqual(done.returncode, 1)
        self.assertIn("they are not from the same hub", done.stderr)
        shutil.rmtree(self.hub.path("hub/identity"))
        os.rename(self.hub.path("kept"), self.hub.path("hub/identity"))
        self.hub.start()


if __name__ == "__main__":
    unittest.main(verbosity=2)
