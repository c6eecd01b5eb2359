#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""HTTP/2 to clients, as it should go: requests, content, answers, flow control, websockets, leaving.

    test_h2.py ROUTERD [TEST…]"""

import signal
import socket
import struct
import sys
import threading
import time

import h2_client as h2
from h2_client import Client, Router, frame


def check(condition, *what):
    if not condition:
        raise AssertionError(*what)


def ws_fields(c, path):
    return [(':method', 'CONNECT'), (':protocol', 'websocket'), *c.fields(path=path)[1:],
            ('sec-websocket-version', '13'), ('sec-websocket-protocol', 'chat')]


# --- requests -----------------------------------------------------------------------------------------------------


def request_goes_on_as_http11(router, service):
    c = Client(router.port)
    a = c.get('/echo?q=1', extra=[('accept', '*/*'), ('x-a', 'b'), ('te', 'trailers'), ('priority', 'u=1')])
    text = a.body.decode()
    check(a.status == 200 and a.ended, a)
    check(text.startswith('GET /echo?q=1 HTTP/1.1\nHost: web.example\n'), text)
    for line in ('x-a: b', 'Via: 2 stagecoach', 'X-Forwarded-For: 127.0.0.1', 'X-Forwarded-Proto: http', 'TE: trailers'):
        check(line + '\n' in text, line, text)
    check(':' not in text.split('\n')[1][:1] and ':authority' not in text, text)
    c.close()


def cookie_crumbs_are_joined(router, service):
    c = Client(router.port)
    a = c.get('/echo', extra=[('cookie', 'a=1'), ('x-between', '1'), ('cookie', 'b=2'), ('cookie', ''), ('cookie', 'c=3')])
    lines = [l for l in a.body.decode().split('\n') if l.lower().startswith('cookie:')]
    check(lines == ['cookie: a=1; b=2; c=3'], lines)


def host_stands_in_for_authority(router, service):
    c = Client(router.port)
    fields = [(':method', 'GET'), (':scheme', 'http'), (':path', '/echo'), ('host', 'other.example')]
    check('Host: other.example\n' in c.answer(c.headers(fields)).body.decode())
    both = c.fields(path='/echo', extra=[('host', 'web.example')])
    text = c.answer(c.headers(both)).body.decode()
    check(text.lower().count('\nhost:') == 1, text)
    text = c.answer(c.headers(c.fields(path='/echo', extra=[('host', 'WEB.Example')]))).body.decode()
    check('Host: web.example\n' in text and text.lower().count('\nhost:') == 1, text)
    a = c.answer(c.headers(c.fields(path='/echo', extra=[('host', 'other.example')])))
    check(a.status == 400 and a.body == b'400 :authority and Host differ\n', a)


def https_without_tls_is_misdirected(router, service):
    c = Client(router.port)
    a = c.answer(c.headers(c.fields(path='/echo', scheme='https')))
    check(a.status == 421 and a.ended and b'without TLS' in a.body, a)
    check(c.answer(c.headers(c.fields(path='/echo'))).status == 200)


def content_with_a_length(router, service):
    c = Client(router.port)
    s = c.request('/echo', 'POST', [('content-length', '10')], end=False)
    c.data(s, b'01234')
    c.data(s, b'56789', end=True)
    text = c.answer(s).body.decode()
    check('Content-Length: 10\n' in text and text.endswith('\n\n0123456789'), text)
    check('ransfer-' not in text)


def content_without_a_length_is_chunked(router, service):
    c = Client(router.port)
    s = c.request('/echo', 'POST', end=False)
    for _ in range(100):
        c.data(s, b'z' * 1000)
    c.data(s, b'', end=True)
    text = c.answer(s).body.decode()
    check('Transfer-Encoding: chunked\n' in text and text.endswith('\n\n' + 'z' * 100000), text[:500])


def trailers_of_a_request(router, service):
    c = Client(router.port)
    s = c.request('/echo', 'POST', end=False)
    c.data(s, b'body')
    c.headers([('x-sum', '7')], stream=s)
    text = c.answer(s).body.decode()
    check(text.endswith('body\n--trailers--\nx-sum: 7\r\n'), text)


def padding_is_no_content(router, service):
    c = Client(router.port)
    s = c.request('/echo', 'POST', [('content-length', '4')], end=False)
    c.send(frame(h2.DATA, h2.PADDED | h2.END_STREAM, s, bytes([200]) + b'body' + bytes(200)))
    check(c.answer(s).body.endswith(b'\n\nbody'))


def large_uploads_flow(router, service):
    c = Client(router.port)
    s = c.request('/echo', 'POST', end=False)
    left, window = 3_000_000, 65535
    conn = 65535
    while left:
        n = min(left, 16384, window + c.credit.get(s, 0), conn + c.credit.get(0, 0))
        if n <= 0 or not c.settings:
            check(c.step(), 'closed')
            window = c.settings[h2.INITIAL_WINDOW] - (3_000_000 - left)
            conn = 65535 - (3_000_000 - left)
            continue
        c.data(s, b'u' * n)
        left, window, conn = left - n, window - n, conn - n
    c.data(s, b'', end=True)
    check(c.until(lambda: c.answers[s].status == 200), c.answers[s])
    c.close()


# --- answers ------------------------------------------------------------------------------------------------------


def head_has_a_length_and_no_content(router, service):
    c = Client(router.port)
    a = c.get('/', method='HEAD')
    check(a.status == 200 and a.fields['content-length'] == '1234' and a.body == b'' and a.ended, a)


def answers_without_content(router, service):
    c = Client(router.port)
    for status in (204, 304):
        a = c.get(f'/status?{status}')
        check(a.status == status and a.ended and a.body == b'' and a.fields['x-kept'] == 'yes', a)


def early_hints_pass(router, service):
    a = Client(router.port).get('/early')
    check(a.informational[0].get('link') == '</a.css>' and a.body == b'late', a, a.informational)


def fields_of_one_hop_end(router, service):
    a = Client(router.port).get('/hop')
    check(not {'connection', 'x-hop', 'keep-alive', 'transfer-encoding'} & set(a.fields), a)
    check(a.fields['x-upper-case'] == 'V')
    check([v for k, v in a.field_list if k == 'set-cookie'] == ['a=1', 'b=2'], a.field_list)


def large_heads_of_answers_pass(router, service):
    a = Client(router.port).get('/fields?60')
    check(a.status == 200 and a.body == b'ok' and a.ended and len(a.fields['x-59']) == 1000, a.status, a.reset)


def trailers_of_an_answer(router, service):
    a = Client(router.port).get('/chunked?50', extra=[('te', 'trailers')])
    check(a.body == b'y' * 50000 and a.trailers == {'x-sum': '42'} and a.ended, a)


def cut_answer_is_reset(router, service):
    a = Client(router.port).get('/cut')
    check(a.status == 200 and a.reset == h2.INTERNAL_ERROR and not a.ended, a)


def answer_before_the_content(router, service):
    c = Client(router.port)
    s = c.request('/refuse', 'POST', [('content-length', '100000')], end=False)
    c.data(s, b'x' * 1000)
    a = c.answer(s)
    check(a.status == 413 and a.ended, a)
    c.until(lambda: a.reset is not None, 8)  # not at once: some clients would not look at the answer
    check(a.reset == h2.NO_ERROR, a)
    check(c.get('/echo').status == 200, 'the connection goes on')


def window_of_nothing_holds_content(router, service):
    c = Client(router.port, settings=[(h2.INITIAL_WINDOW, 0)])
    s = c.request('/big?100000')
    a = c.answers[s]
    c.until(lambda: a.status, 5)
    check(a.status == 200 and a.body == b'', a)
    for n in (1, 999, 50000, 49000):
        before = len(a.body)
        c.send(frame(h2.WINDOW_UPDATE, 0, s, struct.pack('>I', n)))
        c.until(lambda: len(a.body) >= before + n, 5)
        check(len(a.body) == before + n, len(a.body))
    check(a.ended)


def windows_may_be_given_back_in_small_pieces(router, service):
    c = Client(router.port, settings=[(h2.INITIAL_WINDOW, 1 << 20)], window=1 << 20)
    s = c.request('/big?8000000')
    a, given = c.answers[s], 0
    while not a.ended and c.step():
        while len(a.body) - given >= 4096:  # as some clients do: for each 4 kB, the stream and the connection
            c.send(frame(h2.WINDOW_UPDATE, 0, s, struct.pack('>I', 4096)) +
                   frame(h2.WINDOW_UPDATE, 0, 0, struct.pack('>I', 4096)))
            given += 4096
    check(len(a.body) == 8000000 and a.ended, len(a.body), c.goaways)


def connection_window_holds_content(router, service):
    c = Client(router.port, settings=[(h2.INITIAL_WINDOW, 1 << 20)], window=0)
    streams = [c.request('/big?50000') for _ in range(4)]
    got = lambda: sum(len(c.answers[s].body) for s in streams)
    c.until(lambda: got() >= 65535, 5)
    c.until(lambda: False, 0.3)
    check(got() == 65535, got())
    c.send(frame(h2.WINDOW_UPDATE, 0, 0, struct.pack('>I', 1 << 20)))
    check(all(c.answer(s).body == b'x' * 50000 for s in streams))


def answers_overtake_each_other(router, service):
    c = Client(router.port)
    slow, fast = c.request('/slow?500'), c.request('/echo')
    check(c.answer(fast).ended and not c.answers[slow].status)
    check(c.answer(slow).body == b'slow')


def hundred_streams(router, service):
    c = Client(router.port)
    streams = [c.request(f'/big?{i * 997}') for i in range(100)]
    for i, s in enumerate(streams):
        check(c.answer(s).body == b'x' * (i * 997), i, c.answers[s])


def streams_beyond_the_limit_are_refused(router, service):
    c = Client(router.port)
    c.acks = False  # as if the limit were not known yet
    c.until(lambda: c.settings)
    check(c.settings[h2.MAX_STREAMS] == 128 and c.settings[h2.CONNECT_PROTOCOL] == 1, c.settings)
    streams = [c.request('/slow?700') for _ in range(140)]
    answers = [c.answer(s) for s in streams]
    check(sum(a.status == 200 for a in answers) == 128, [a.status for a in answers])
    check(sum(a.reset == h2.REFUSED_STREAM for a in answers) == 12, [a.reset for a in answers])
    check(c.get('/echo').status == 200)
    knowing = Client(router.port)
    check(knowing.get('/echo').status == 200)
    for _ in range(140):
        knowing.request('/slow?700')
    check(knowing.closed(5) and knowing.goaway[1] == h2.PROTOCOL_ERROR, knowing.goaways)


def own_answers_are_like_others(router, service):
    c = Client(router.port)
    a = c.get('/x', extra=[('x-stagecoach-version', '9.9.9')])
    check(a.status == 404 and a.ended and a.fields['content-type'].startswith('text/plain') and a.body, a)
    a = c.get('/x', method='HEAD', extra=[('x-stagecoach-version', '9.9.9')])
    check(a.status == 404 and a.body == b'' and a.ended, a)
    for extra in ([('host', 'other.example')], [('x-bad', 'a\rb')], [(f'x-{i}', 'v' * 1000) for i in range(90)]):
        a = c.get('/x', method='HEAD', extra=extra)
        check(a.status in (400, 431) and a.body == b'' and a.ended and int(a.fields['content-length']) > 0, a)


def what_no_service_dates_is_dated(router, service):
    a = Client(router.port).get('/')
    check(a.fields['date'].endswith(' GMT'), a)
    a = Client(router.port).get('/dated')
    check(a.fields['date'] == 'Sat, 21 Nov 2026 07:00:00 GMT', a)


def pings_come_back(router, service):
    c = Client(router.port)
    c.send(frame(h2.PING, 0, 0, b'12345678'))
    check(c.until(lambda: c.pongs == [b'12345678'], 5))


def reset_ends_the_endpoints_work(router, service):
    c = Client(router.port)
    before = service.open
    s = c.request('/slow?5000')
    check(c.until(lambda: service.open > before, 5) or True)
    time.sleep(0.2)
    c.send(frame(h2.RST_STREAM, 0, s, struct.pack('>I', h2.CANCEL)))
    check(c.get('/echo').status == 200, 'the connection goes on')


# --- websockets -----------------------------------------------------------------------------------------------------


def websocket_by_extended_connect(router, service):
    c = Client(router.port)
    s = c.headers(ws_fields(c, '/ws'), end=False)
    a = c.answers[s]
    check(c.until(lambda: a.status, 5) and a.status == 200, a)
    check(a.fields.get('sec-websocket-protocol') == 'chat' and 'sec-websocket-accept' not in a.fields, a)
    check('upgrade' not in a.fields and 'connection' not in a.fields, a)
    seen = service.requests[-1]
    check(seen.startswith('GET /ws HTTP/1.1') and 'Upgrade: websocket' in seen and 'Sec-WebSocket-Key:' in seen, seen)
    for i in range(20):
        message = bytes([i]) * (i * 3000)
        before = len(a.body)
        for at in range(0, len(message), 16384):
            c.data(s, message[at:at + 16384])
        check(c.until(lambda: len(a.body) == before + len(message), 5), i, len(a.body))
        check(a.body.endswith(message))
    check(c.get('/echo').status == 200, 'beside it')
    c.data(s, b'bye', end=True)
    check(c.until(lambda: a.ended, 5) and a.body.endswith(b'bye'), a)


def websocket_data_may_come_early(router, service):
    c = Client(router.port)
    s = c.headers(ws_fields(c, '/ws'), end=False)
    c.data(s, b'early')
    check(c.until(lambda: c.answers[s].body == b'early', 5), c.answers[s])


def refused_websocket_is_a_plain_answer(router, service):
    c = Client(router.port)
    a = c.answer(c.headers(ws_fields(c, '/ws-no'), end=False))
    check(a.status == 403 and a.body == b'no\n' and a.ended, a)


def websocket_that_a_page_answers_is_refused(router, service):
    """Any 2xx would tell the client that it stands (RFC 8441 5)."""
    c = Client(router.port)
    a = c.answer(c.headers(ws_fields(c, '/echo'), end=False))
    check(a.status == 502 and a.ended, a)
    check(c.get('/echo').status == 200)


def websocket_with_a_wrong_proof_is_refused(router, service):
    c = Client(router.port)
    a = c.answer(c.headers(ws_fields(c, '/ws-bad'), end=False))
    check(a.status == 502 and a.ended, a)
    check(c.get('/echo').status == 200)


# --- time, and leaving ------------------------------------------------------------------------------------------------


def with_router(*settings):
    """The test gets a router of its own."""
    def wrap(fn):
        def test(router, service):
            own = Router(sys.argv[1], service, *settings)
            try:
                fn(own, service)
            finally:
                check(own.stop() == 0, 'it did not end well')
        test.__name__ = fn.__name__
        return test
    return wrap


@with_router()
def stopping_router_says_goaway_and_finishes(router, service):
    c = Client(router.port)
    c.get('/echo')
    s = c.request('/slow?800')
    c.until(lambda: c.settings)
    router.process.send_signal(signal.SIGTERM)
    check(c.until(lambda: c.goaways, 5))
    check(c.goaway == (0x7fffffff, h2.NO_ERROR), c.goaways)
    late = c.request('/echo')  # it may have been on its way
    check(c.answer(late).status == 200, c.answers[late])
    check(c.answer(s).body == b'slow', c.answers[s])
    check(c.closed(5))
    check(c.goaway == (late, h2.NO_ERROR), c.goaways)


@with_router()
def who_does_not_heed_the_notice_hears_the_last_word(router, service):
    """A connection that only closed would leave it open what of a request that crosses that was done."""
    c, late = Client(router.port), Client(router.port, greet=False)
    c.get('/echo')
    c.acks = False
    s = c.request('/slow?600')
    c.until(lambda: c.settings)
    late.send(h2.PREFACE[:20])  # becomes HTTP/2 behind the notice
    time.sleep(0.1)
    router.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    late.send(h2.PREFACE[20:] + frame(h2.SETTINGS, 0, 0))
    check(c.answer(s).body == b'slow', c.answers[s])
    check(c.closed(5) and c.goaways == [(0x7fffffff, h2.NO_ERROR), (s, h2.NO_ERROR)], c.goaways)
    check(late.closed(5) and late.goaway == (0, h2.NO_ERROR), late.goaways)


@with_router('Limits.RequestsPerConnection=5')
def connection_ends_after_its_requests(router, service):
    c = Client(router.port)
    for _ in range(5):
        check(c.get('/echo').status == 200)
    check(c.until(lambda: c.goaway == (9, h2.NO_ERROR), 5), c.goaways)
    check(c.closed(5))


@with_router('Timeouts.Idle=500ms', 'Timeouts.Head=500ms')
def idle_connections_end(router, service):
    silent, idle, half = Client(router.port, greet=False), Client(router.port), Client(router.port)
    check(idle.get('/echo').status == 200)
    half.send(frame(h2.HEADERS, h2.END_STREAM, 1, half.encode(half.fields())))  # CONTINUATION never comes
    check(idle.closed(5) and idle.goaway == (1, h2.NO_ERROR), idle.goaways)
    check(half.closed(5) and half.goaway[1] == h2.ENHANCE_YOUR_CALM, half.goaways)
    check(silent.closed(15))  # the kernel keeps a connection without a byte for some seconds


@with_router('Timeouts.Body=400ms')
def slow_content_is_408(router, service):
    c = Client(router.port)
    s = c.request('/echo', 'POST', end=False)
    c.data(s, b'x')
    a = c.answer(s, 5)
    check(a.status == 408 and a.ended, a)
    check(c.get('/echo').status == 200, 'the connection goes on')


@with_router('Timeouts.Body=400ms')
def client_without_window_loses_the_stream_only(router, service):
    c = Client(router.port, settings=[(h2.INITIAL_WINDOW, 10)])
    s = c.request('/big?100000')
    a = c.answer(s, 5)
    check(a.reset == h2.CANCEL and len(a.body) == 10, a)
    c.send(frame(h2.SETTINGS, 0, 0, struct.pack('>HI', h2.INITIAL_WINDOW, 65535)))
    check(c.get('/echo').status == 200, 'the connection goes on')


@with_router('Timeouts.Body=400ms')
def client_that_reads_nothing_is_closed(router, service):
    c = Client(router.port, settings=[(h2.INITIAL_WINDOW, 0x7fffffff)], window=0x7fff0000)
    for _ in range(4):
        c.request('/big?20000000')
    before = router.descriptors()
    end = time.monotonic() + 15
    while router.descriptors() >= before and time.monotonic() < end:
        time.sleep(0.1)
    check(router.descriptors() < before, 'still open')
    check(router.memory_kb() < 400_000, router.memory_kb())


def stalled_service_stops_the_client(router, service):
    c = Client(router.port)
    c.until(lambda: c.settings)
    s = c.request('/stall?3', 'POST', end=False)
    sent, stop = 0, time.monotonic() + 2
    while time.monotonic() < stop:
        room = min(c.settings[h2.INITIAL_WINDOW] + c.credit.get(s, 0), 65535 + c.credit.get(0, 0)) - sent
        if room > 0:
            n = min(room, 16384)
            c.data(s, b'u' * n)
            sent += n
        else:
            try:
                c.step(0.2)
            except (socket.timeout, TimeoutError):
                pass
    # What sockets hold, and one window: nothing piles up in the router.
    check(sent < 12_000_000, sent)
    other = Client(router.port)
    check(other.get('/echo').status == 200)
    c.close()


def hundred_connections_at_once(router, service):
    wrong = []

    def one(i):
        try:
            c = Client(router.port)
            for n in range(5):
                streams = [c.request(f'/big?{(i * 31 + k) * 100}') for k in range(10)]
                for k, s in enumerate(streams):
                    a = c.answer(s)
                    if len(a.body) != (i * 31 + k) * 100 or not a.ended:
                        wrong.append((i, n, k, a))
            c.close()
        except Exception as e:  # pylint: disable=broad-except
            wrong.append((i, e))
    threads = [threading.Thread(target=one, args=(i,)) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not wrong, wrong[:3])


@with_router('Router.H2c=no')
def preface_on_a_plain_port_is_refused(router, service):
    with socket.create_connection(('127.0.0.1', router.port), timeout=5) as s:
        s.sendall(h2.PREFACE)
        check(s.recv(100).startswith((b'HTTP/1.1 505', b'HTTP/1.1 400')))


TESTS = [
    request_goes_on_as_http11, cookie_crumbs_are_joined, host_stands_in_for_authority, https_without_tls_is_misdirected, content_with_a_length,
    content_without_a_length_is_chunked, trailers_of_a_request, padding_is_no_content, large_uploads_flow,
    head_has_a_length_and_no_content, answers_without_content, early_hints_pass, fields_of_one_hop_end,
    large_heads_of_answers_pass, trailers_of_an_answer, cut_answer_is_reset, answer_before_the_content, window_of_nothing_holds_content,
    windows_may_be_given_back_in_small_pieces, connection_window_holds_content, answers_overtake_each_other, hundred_streams,
    streams_beyond_the_limit_are_refused, own_answers_are_like_others,
    what_no_service_dates_is_dated, pings_come_back, reset_ends_the_endpoints_work,
    websocket_by_extended_connect, websocket_data_may_come_early, refused_websocket_is_a_plain_answer,
    websocket_that_a_page_answers_is_refused, websocket_with_a_wrong_proof_is_refused,
    stopping_router_says_goaway_and_finishes, who_does_not_heed_the_notice_hears_the_last_word,
    connection_ends_after_its_requests, idle_connections_end, slow_content_is_408,
    client_without_window_loses_the_stream_only, client_that_reads_nothing_is_closed,
    stalled_service_stops_the_client, hundred_connections_at_once, preface_on_a_plain_port_is_refused,
]

if __name__ == '__main__':
    sys.exit(h2.run(TESTS))
