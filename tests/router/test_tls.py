#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""TLS to clients, by real clients: the library of Python, openssl(1), and bytes.

    test_tls.py PROGRAM [TEST…]
"""

import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from tls_lab import NAME, Client, Lab, Service, pattern, run, until

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
ECDSA, RSA = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"


def refused(lab, port, reason, **how):
    try:
        with Client(lab, port, **how) as c:
            c.tls.recv(1)
    except (ssl.SSLError, ConnectionError) as e:
        assert reason.replace("_", " ").lower() in str(e).replace("_", " ").lower(), (reason, e)
        return
    raise AssertionError("was not refused with %s" % reason)


# --- versions, names, protocols ------------------------------------------------------------------------------


def both_versions_are_spoken_and_no_other(lab, r):
    for version in (V12, V13):
        with Client(lab, r.port, context=lab.context(version, version)) as c:
            assert c.get()[0] == 200
            assert c.tls.version() == version.name.replace("_", "."), c.tls.version()
    old = lab.context(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0")
    refused(lab, r.port, "PROTOCOL_VERSION", context=old)
    refused(lab, r.port, "HANDSHAKE_FAILURE", context=lab.context(V12, V12, ciphers="AES128-SHA:AES256-GCM-SHA384"))


def the_name_chooses_the_certificate(lab, r):
    for name, expected in ((NAME, NAME), ("a.wild.example", "*.wild.example"), ("WEB.example", NAME), ("one.example", "one.example"),
                           ("two.example", "two.example")):
        with Client(lab, r.port, name=name) as c:
            assert expected in c.names(), (name, c.names())


def who_asks_for_no_name_gets_the_first(lab, r):
    with Client(lab, r.port, name=None) as c:
        assert "first.example" in c.names(), c.names()
        assert c.get(host="first.example")[0] == 200


def an_unknown_name_is_refused_by_an_alert(lab, r):
    for name in ("nobody.example", "a.b.wild.example", "wild.example"):
        refused(lab, r.port, "UNRECOGNIZED_NAME", name=name)


def without_strict_names_the_first_is_shown(lab, r):
    lax = lab.router(lab.certificates, settings=["TLS.StrictNames=no", "TLS.DefaultCertificate=web"])
    context = lab.context()
    context.check_hostname = False
    with Client(lab, lax.port, name="nobody.example", context=context) as c:
        assert NAME in c.names()
        assert c.get(host="else.example")[0] == 200
    lax.stop()


def the_kind_of_key_is_the_clients_choice(lab, r):
    for ciphers in (ECDSA, RSA):
        with Client(lab, r.port, context=lab.context(V12, V12, ciphers=ciphers)) as c:
            assert ("ECDSA" in c.tls.cipher()[0]) == (ciphers == ECDSA), c.tls.cipher()
            assert c.get()[0] == 200


def protocols_are_agreed_on(lab, r):
    for offered, expected in ((("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), ((), None),
                              (("http/1.0",), "http/1.0"), (("http/1.0", "http/1.1"), "http/1.1"), (("spdy/3", "http/1.0"), "http/1.0")):
        with Client(lab, r.port, context=lab.context(alpn=offered)) as c:
            assert c.tls.selected_alpn_protocol() == expected, (offered, c.tls.selected_alpn_protocol())
    refused(lab, r.port, "NO_APPLICATION_PROTOCOL", context=lab.context(alpn=("stagecoach/1",)))


def a_client_of_http_1_0_is_served(lab, r):
    for version in (V12, V13):
        with Client(lab, r.port, context=lab.context(version, version, alpn=("http/1.0",))) as c:
            c.send("GET /bytes/100 HTTP/1.0\r\nHost: %s\r\n\r\n" % NAME)
            assert c.answer() == (200, pattern(100)), version
            assert c.tls.recv(1) == b"", "its connection stays"


def another_host_is_misdirected(lab, r):
    with Client(lab, r.port, name="a.wild.example") as c:
        for host, status in (("a.wild.example", 200), ("b.wild.example:%d" % r.port, 200), (NAME, 421), ("wild.example", 421),
                             ("a.b.wild.example", 421), ("A.WILD.EXAMPLE.", 200), ("127.0.0.1", 421)):
            assert c.get(host=host)[0] == status, (host, status)
    with Client(lab, r.port, name="ip.example") as c:
        assert c.get(host="10.1.2.3")[0] == 200
        assert c.get(host="10.1.2.4")[0] == 421


def what_the_service_is_told(lab, r):
    with Client(lab, r.port) as c:
        told = json.loads(c.get()[1])
        assert told["x-forwarded-proto"] == "https" and "proto=https" in told["forwarded"], told


# --- resumption ------------------------------------------------------------------------------------------------


def resume(lab, port, session, version, context):
    with Client(lab, port, context=context, session=session) as c:
        assert c.get()[0] == 200
        return c.tls.session_reused, c.tls.session


def sessions_are_resumed_by_every_worker(lab, r):
    for version in (V12, V13):
        context = lab.context(version, version)
        _, session = resume(lab, r.port, None, version, context)
        for _ in range(16):
            reused, session = resume(lab, r.port, session, version, context)
            assert reused, version


def keys_of_tickets_are_replaced(lab, r):
    """A key seals for 6 s and opens for as long again: a ticket of 5 s always opens, one of 14 s never."""
    quick = lab.router(lab.certificates, settings=["TLS.TicketRotation=6s"])
    contexts = {version: lab.context(version, version) for version in (V12, V13)}
    begun = time.monotonic()
    sessions = {version: resume(lab, quick.port, None, version, c)[1] for version, c in contexts.items()}
    for age, opens in ((1, True), (3, True), (5, True), (14, False)):
        time.sleep(max(0, begun + age - time.monotonic()))
        reused = [resume(lab, quick.port, sessions[v], v, c)[0] for v, c in contexts.items()]
        if opens and time.monotonic() - begun > 6:
            continue  # too late to tell: the machine is busy
        assert reused == [opens, opens], (age, reused)
    quick.stop()


def a_resumed_session_is_judged_by_the_name_of_now(lab, r):
    context = lab.context(V13, V13)
    context.check_hostname = False
    with Client(lab, r.port, context=context) as c:
        assert c.get()[0] == 200
        session = c.tls.session
    with Client(lab, r.port, name="a.wild.example", context=context, session=session) as c:
        assert c.get(host=NAME)[0] == 421
        assert c.get(host="a.wild.example")[0] == 200


# --- the directory ---------------------------------------------------------------------------------------------


def serial(lab, port, name):
    with Client(lab, port, name=name) as c:
        return c.tls.getpeercert()["serialNumber"]


def certificates_are_replaced_without_touching_a_connection(lab, r):
    before = serial(lab, r.port, "one.example")
    with Client(lab, r.port, name="one.example") as c:
        assert c.get(host="one.example")[0] == 200
        lab.papers.put(lab.certificates, "one", ["one.example"])
        until(lambda: serial(lab, r.port, "one.example") != before)
        assert c.get(host="one.example")[0] == 200


def links_are_followed_as_certbot_makes_them(lab, r):
    archive, live = lab.directory("archive"), lab.certificates + "/linked"
    os.makedirs(live)
    for generation in (1, 2):
        chain, key = lab.papers.make(["linked.example"])
        for source, name in ((key, "privkey"), (chain, "fullchain")):
            target = "%s/%s%d.pem" % (archive, name, generation)
            shutil.copy(source, target)
            link = "%s/%s.pem" % (live, name)
            if os.path.lexists(link):
                os.unlink(link)
            os.symlink(target, link)
        expected = run("openssl", "x509", "-in", chain, "-noout", "-serial").stdout.decode().split("=")[1].strip()

        def arrived():
            try:
                return serial(lab, r.port, "linked.example").lstrip("0") == expected.lstrip("0")
            except ssl.SSLError:
                return False
        until(arrived)


def a_bad_file_changes_nothing(lab, r):
    before = serial(lab, r.port, "two.example")
    good = open(lab.certificates + "/two.crt", "rb").read()
    for bad, sentence in ((b"nonsense\n", "no certificate in PEM"), (open(lab.papers.ca, "rb").read(), "don't fit")):
        with open(lab.certificates + "/two.crt", "wb") as f:
            f.write(bad)
        until(lambda: sentence in r.log())
        assert serial(lab, r.port, "two.example") == before
    with open(lab.certificates + "/two.crt", "wb") as f:
        f.write(good)
    until(lambda: r.log().count("certificate two.crt: replaced") == 1)
    assert "the one in place stays" in r.log()


def what_can_not_be_used_is_told(lab, r):
    """However many there are."""
    folder = lab.directory("unusable")
    for i in range(5):
        with open("%s/bad%d.pem" % (folder, i), "w") as f:
            f.write("nonsense\n")
    told = lab.router(folder, status=folder + "/status")
    rows = json.loads(told.ask_status("/status"))["certificates"]
    assert [c["name"] for c in rows] == ["bad%d.pem" % i for i in range(5)] and all(c["problem"] for c in rows), rows
    assert told.stop() == 0


def what_is_gone_is_not_shown(lab, r):
    lab.papers.put(lab.certificates, "brief", ["brief.example"])

    def is_shown():
        try:
            return serial(lab, r.port, "brief.example")
        except ssl.SSLError:
            return None
    until(is_shown)
    shutil.rmtree(lab.certificates + "/brief")
    until(lambda: not is_shown())


def a_directory_that_is_away_takes_nothing_along(lab, r):
    folder = lab.directory("moving")
    lab.papers.put(folder, "web", [NAME])
    moved = lab.router(folder)
    before = serial(lab, moved.port, NAME)
    os.rename(folder, folder + ".away")
    until(lambda: "; what was read before stays" in moved.log())
    assert serial(lab, moved.port, NAME) == before
    moved.process.send_signal(signal.SIGHUP)
    until(lambda: "reload failed: the next generation found no certificate" in moved.log())
    assert serial(lab, moved.port, NAME) == before
    os.rename(folder + ".away", folder)
    until(lambda: "can be read again" in moved.log(), 10)
    lab.papers.put(folder, "web", [NAME])
    until(lambda: serial(lab, moved.port, NAME) != before, 10)
    assert moved.log().count("; what was read before stays") == 1 and ": gone" not in moved.log(), moved.log()
    moved.stop()


def an_end_that_is_near_is_told(lab, r):
    lab.papers.put(lab.certificates, "ending", ["ending.example"], days=3)
    until(lambda: "certificate ending: ends in" in r.log())


def a_router_without_certificates_waits_for_one(lab, r):
    empty = lab.directory("empty")
    waiting = lab.router(empty)
    assert "no certificate in" in waiting.log()
    refused(lab, waiting.port, "UNRECOGNIZED_NAME")
    lab.papers.put(empty, "web", [NAME])

    def is_shown():
        try:
            return serial(lab, waiting.port, NAME)
        except ssl.SSLError:
            return None
    until(is_shown)
    waiting.stop()


def status_of(r, name, version):
    out = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % r.port, "-servername", name, "-status", version],
                         input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20).stdout
    return b"OCSP Response Status: successful" in out


def a_fresh_ocsp_response_is_stapled(lab, r):
    chain, _ = lab.papers.put(lab.certificates, "stapled", ["stapled.example"])
    path = lab.certificates + "/stapled/ocsp.der"
    lab.papers.ocsp(chain, path + ".new")
    os.replace(path + ".new", path)
    until(lambda: status_of(r, "stapled.example", "-tls1_3"))
    assert status_of(r, "stapled.example", "-tls1_2")
    assert not status_of(r, NAME, "-tls1_3")


def a_wrong_ocsp_response_is_not(lab, r):
    other, _ = lab.papers.make(["other.example"])
    chain, _ = lab.papers.put(lab.certificates, "unstapled", ["unstapled.example"])
    path = lab.certificates + "/unstapled/ocsp.der"
    for make, sentence in ((lambda: lab.papers.ocsp(other, path), "is for another certificate"),
                           (lambda: lab.papers.ocsp(chain, path, bad=True), "does not say \"good\""),
                           (lambda: open(path, "wb").write(b"nonsense"), "OCSP response in DER")):
        make()
        until(lambda: sentence in r.log())
        assert not status_of(r, "unstapled.example", "-tls1_3")


def a_bad_ocsp_response_leaves_the_one_in_place(lab, r):
    chain, _ = lab.papers.put(lab.certificates, "kept", ["kept.example"])
    path = lab.certificates + "/kept/ocsp.der"

    def is_stapled():
        return status_of(r, "kept.example", "-tls1_3")

    def put_good():
        lab.papers.ocsp(chain, path + ".new")
        os.replace(path + ".new", path)
        until(is_stapled)

    put_good()
    whole = open(path, "rb").read()
    with open(path, "wb") as f:
        f.write(whole[:len(whole) // 2])
    until(lambda: re.search("certificate kept: .*OCSP response in DER.*; the OCSP response in place stays", r.log()))
    assert is_stapled() and status_of(r, "kept.example", "-tls1_2")
    os.unlink(path)
    os.symlink("ocsp.der", path)  # a loop of links: what nobody can read
    until(lambda: re.search("certificate kept: .*can't read .*; the OCSP response in place stays", r.log()))
    assert is_stapled()
    os.unlink(path)
    until(lambda: not is_stapled())
    put_good()
    lab.papers.ocsp(chain, path, bad=True)
    until(lambda: not is_stapled())
    assert re.search("certificate kept: .*does not say \"good\"; it is shown without", r.log()), r.log()[-1000:]


# --- bytes -----------------------------------------------------------------------------------------------------


def an_assignment_over_tls_stays_there(lab, r):
    """Its cookie is Secure; over plain HTTP it could not be kept so."""
    two = lab.router(lab.certificates, releases=2)
    request = b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % NAME.encode()
    with lab.context().wrap_socket(socket.create_connection(("127.0.0.1", two.port), 10), server_hostname=NAME) as s:
        s.sendall(request)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert re.search(rb"\r\nSet-Cookie: stagecoach-assign=[^\r]*; Secure\r\n", answer), answer[:600]
    answer = talk(two.plain_port, request)
    assert b"\r\nSet-Cookie: stagecoach-assign=" in answer and b"Secure" not in answer, answer[:600]
    assert two.stop() == 0


def bodies_pass_whole(lab, r):
    body = os.urandom(3_000_000)
    for version in (V12, V13):
        with Client(lab, r.port, context=lab.context(version, version)) as c:
            for n in (0, 1, 16384, 16385, 65536, 1_000_000):
                status, content = c.get("/bytes/%d" % n)
                assert status == 200 and content == pattern(n)[:len(content)] and len(content) >= n, (version, n, len(content))
            for n in (1, 16384, 100_000, len(body)):
                assert c.post(body[:n])[1] == hashlib.sha256(body[:n]).hexdigest().encode(), (version, n)
            assert c.get()[0] == 200


def a_slow_reader_gets_it_all(lab, r):
    n = 8_000_000
    for version in (V12, V13):
        with Client(lab, r.port, context=lab.context(version, version)) as c:
            c.tls.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            c.send("GET /bytes/%d HTTP/1.1\r\nHost: %s\r\n\r\n" % (n, NAME))
            time.sleep(0.3)
            status, content = c.answer()
            assert status == 200 and content == pattern(n)[:len(content)] and len(content) >= n


def pipelined_requests_in_one_record_are_answered(lab, r):
    with Client(lab, r.port) as c:
        c.send(("GET /bytes/10 HTTP/1.1\r\nHost: %s\r\n\r\n" % NAME) * 20)
        got, wanted = b"", 20 * len(pattern(10))
        while got.count(b"HTTP/1.1 200") < 20 or not got.endswith(pattern(10)):
            more = c.tls.recv(65536)
            assert more
            got += more


def an_end_without_close_notify_in_a_body_is_no_end(lab, r):
    n = len(Service.whole)
    c = Client(lab, r.port)
    c.send("POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\nhalf" % NAME)
    time.sleep(0.2)
    c.tls.shutdown(socket.SHUT_RDWR)  # of the socket
    c.tls.close()
    time.sleep(0.3)
    assert len(Service.whole) == n


def exchange_by_hand(lab, port, low=V13):
    """A client whose records are in our hand."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = lab.context(low).wrap_bio(incoming, outgoing, server_hostname=NAME)
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)

    def go_on(what):
        while True:
            try:
                r = what()
                raw.sendall(outgoing.read())
                return r
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                data = raw.recv(65536)
                incoming.write(data) if data else incoming.write_eof()
    go_on(tls.do_handshake)
    return raw, tls, incoming, outgoing, go_on


def a_half_closed_client_gets_its_answer_and_a_close_notify(lab, r):
    raw, tls, incoming, outgoing, go_on = exchange_by_hand(lab, r.port)
    tls.write(("GET /slow/0.3 HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % NAME).encode())
    try:
        tls.unwrap()  # close_notify goes out; the answer still comes
    except (ssl.SSLWantReadError, ssl.SSLError):
        pass
    raw.sendall(outgoing.read())
    raw.shutdown(socket.SHUT_WR)
    data = b""
    while True:
        more = raw.recv(65536)
        if not more:
            break
        data += more
    raw.close()
    kinds, at = [], 0
    while at + 5 <= len(data):
        kinds.append(data[at])
        at += 5 + struct.unpack(">H", data[at + 3:at + 5])[0]
    assert at == len(data) and len(kinds) >= 2, kinds  # the answer, then an encrypted alert


def connections_end_with_close_notify(lab, r):
    for version in (V12, V13):
        with Client(lab, r.port, context=lab.context(version, version)) as c:
            c.context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
            c.send("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % NAME)
            assert c.answer()[0] == 200
            c.tls.suppress_ragged_eofs = False
            assert c.tls.recv(1) == b""  # a missing close_notify raises here


# --- what is no handshake --------------------------------------------------------------------------------------


def talk(port, data, seconds=5):
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        s.sendall(data)
        got = b""
        try:
            while True:
                more = s.recv(65536)
                if not more:
                    return got
                got += more
        except ConnectionError:
            return got


def plain_http_on_the_port_is_told_so(lab, r):
    answer = talk(r.port, b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and b"TLS" in answer, answer
    head, content = answer.split(b"\r\n\r\n", 1)
    assert b"Content-Length: %d" % len(content) in head, answer


def garbage_ends_the_connection_and_nothing_else(lab, r):
    for data in (b"\0" * 100, os.urandom(5000), b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\x16\x03\x01\0\x05\x01\0\0\x01\0",
                 b"\x15\x03\x01\0\x02\x02\x28", b"\x80\x2e\x01\0\x02" + b"x" * 100, b"SSH-2.0-x\r\n" * 500):
        answer = talk(r.port, data)
        assert len(answer) < 100, answer[:200]
    with Client(lab, r.port) as c:
        assert c.get()[0] == 200


def a_broken_record_ends_the_connection(lab, r):
    for version in (V12, V13):
        with Client(lab, r.port, context=lab.context(version, version)) as c:
            assert c.get()[0] == 200
            fd = c.tls.detach()
            raw = socket.socket(fileno=fd)
            raw.settimeout(5)
            raw.sendall(b"\x17\x03\x03\0\x20" + b"x" * 32)
            got = b""
            while True:
                more = raw.recv(4096)
                if not more:
                    break
                got += more
            raw.close()


def a_handshake_has_its_time(lab, r):
    hasty = lab.router(lab.certificates, settings=["Timeouts.Head=600ms"])
    idle = socket.create_connection(("127.0.0.1", hasty.port), timeout=10)
    slow = socket.create_connection(("127.0.0.1", hasty.port), timeout=10)
    begun = time.monotonic()
    hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"h" * 400
    open_ones = {idle, slow}
    at = 0
    while open_ones and time.monotonic() - begun < 20:
        if slow in open_ones and at < len(hello):
            try:
                slow.send(hello[at:at + 1])
                at += 1
            except OSError:
                open_ones.discard(slow)
        for s in select.select(list(open_ones), [], [], 0.1)[0]:
            try:
                if not s.recv(100):
                    open_ones.discard(s)
            except ConnectionError:
                open_ones.discard(s)
    assert not open_ones, "they are still served after %.1f s" % (time.monotonic() - begun)
    idle.close()
    slow.close()
    hasty.stop()


def renegotiation_is_refused(lab, r):
    p = subprocess.Popen(["openssl", "s_client", "-connect", "127.0.0.1:%d" % r.port, "-servername", NAME, "-tls1_2"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        out = b""
        while b"Verify return code" not in out:
            more = os.read(p.stdout.fileno(), 65536)
            assert more, out
            out += more
        p.stdin.write(b"R\n")
        p.stdin.flush()
        out += p.communicate(timeout=20)[0]
    finally:
        p.kill()
        p.wait()
    assert b"RENEGOTIATING" in out and b"no renegotiation" in out, out[-500:]


def early_data_is_not_taken(lab, r):
    session = lab.folder + "/session"
    request = lab.folder + "/early"
    with open(request, "w") as f:
        f.write("GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % NAME)
    argv = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % r.port, "-servername", NAME, "-tls1_3"]
    p = subprocess.Popen(argv + ["-sess_out", session], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        p.stdin.write(open(request, "rb").read())
        p.stdin.flush()
        until(lambda: os.path.exists(session), 5)
    finally:
        p.kill()
        p.communicate()
    out = run("openssl", "sess_id", "-in", session, "-noout", "-text").stdout
    assert b"Max Early Data: 0" in out, out


# --- behind a balancer -----------------------------------------------------------------------------------------


def v2(source, destination, family=0x11, command=0x21):
    addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0]) + struct.pack(">HH", source[1], destination[1])
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, family]) + struct.pack(">H", len(addresses)) + addresses


def a_proxy_header_comes_before_tls(lab, r):
    behind = lab.router(lab.certificates, listen_tls=",proxy", listen=",proxy")
    for header, peer in ((b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n", "192.0.2.7"),
                         (b"PROXY TCP6 2001:db8::7 2001:db8::1 5000 443\r\n", "2001:db8::7"),
                         (v2(("192.0.2.8", 5001), ("198.51.100.1", 443)), "192.0.2.8"),
                         (b"PROXY UNKNOWN\r\n", "127.0.0.1")):
        with Client(lab, behind.port, before=header) as c:
            assert json.loads(c.get()[1])["x-forwarded-for"] == peer, peer
            assert c.get()[0] == 200
        answer = talk(behind.plain_port, header + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'"x-forwarded-for": "%s"' % peer.encode() in answer, answer
    behind.stop()


def without_its_header_nobody_is_served(lab, r):
    behind = lab.router(lab.certificates, listen_tls=",proxy", listen=",proxy", settings=["Timeouts.Head=1s"])
    assert talk(behind.plain_port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert talk(behind.plain_port, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert talk(behind.plain_port, b"PROXY TCP4 1.2.3.4") == b""
    try:
        Client(lab, behind.port)
        raise AssertionError("was served without a PROXY header")
    except (ssl.SSLError, ConnectionError):
        pass
    behind.stop()


def a_header_in_pieces_is_read(lab, r):
    behind = lab.router(lab.certificates, listen_tls=",proxy", listen=",proxy")
    for header in (b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n", v2(("192.0.2.7", 5001), ("198.51.100.1", 443))):
        with socket.create_connection(("127.0.0.1", behind.plain_port), timeout=10) as s:
            for i in range(0, len(header), 5):
                s.sendall(header[i:i + 5])
                time.sleep(0.01)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            s.shutdown(socket.SHUT_WR)
            got = b"".join(iter(lambda: s.recv(65536), b""))
            assert b'"192.0.2.7"' in got, got
    behind.stop()


def only_trusted_peers_may_send_one(lab, r):
    far = lab.router(lab.certificates, listen_tls=",proxy", listen=",proxy", settings=["Router.TrustedProxies=10.0.0.0/8"])
    assert talk(far.plain_port, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    far.stop()


def the_router_ends_in_peace(lab, r):
    held = [Client(lab, r.port) for _ in range(5)]
    raw = [socket.create_connection(("127.0.0.1", r.port)) for _ in range(5)]
    assert r.stop() == 0, r.log()
    for c in held:
        c.tls.close()
    for s in raw:
        s.close()


TESTS = [v for k, v in list(globals().items())
         if callable(v) and getattr(v, "__code__", None) and v.__code__.co_varnames[:2] == ("lab", "r") and v.__code__.co_argcount == 2]


def make(lab):
    lab.certificates = lab.directory("certificates")
    lab.papers.put(lab.certificates, "a-first", ["first.example"])
    lab.papers.put(lab.certificates, "web", [NAME])
    lab.papers.put(lab.certificates, "web-rsa", [NAME], kind="RSA")
    lab.papers.put(lab.certificates, "wild", ["*.wild.example"])
    lab.papers.put(lab.certificates, "ip", ["ip.example", "10.1.2.3"])
    lab.papers.put(lab.certificates, "one", ["one.example"])
    chain, key = lab.papers.make(["two.example"])
    shutil.copy(chain, lab.certificates + "/two.crt")
    shutil.copy(key, lab.certificates + "/two.key")


def main():
    wanted = sys.argv[2:]
    lab, failed = Lab(sys.argv[1]), 0
    try:
        make(lab)
        r = lab.router(lab.certificates)
        for test in TESTS:
            if wanted and test.__name__ not in wanted:
                continue
            begun = time.monotonic()
            try:
                test(lab, r)
                print("ok   %5.1f s  %s" % (time.monotonic() - begun, test.__name__), flush=True)
            except Exception:
                failed += 1
                print("FAIL %5.1f s  %s" % (time.monotonic() - begun, test.__name__), flush=True)
                traceback.print_exc()
                print(r.log()[-2000:])
    finally:
        lab.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
