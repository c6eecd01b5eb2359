# SPDX-License-Identifier: MIT
"""Spoils messages: each mutation is what some client, attacker or broken program does."""

import re

BYTES = [b"\r", b"\n", b"\0", b"\t", b" ", b":", b",", b";", b'"', b"\x0b", b"\x7f", b"\x80", b"\xff", b"-", b"+", b"0", b"\\",
         b"\r\n", b"\r\n\r\n", b"#", b"%", b"/", b"?", b"=", b"_"]
NUMBERS = [b"0", b"1", b"2", b"3", b"4", b"5", b"7", b"10", b"00", b"03", b"-1", b"+3", b"0x3", b"3 ", b" 3", b"3,3", b"3, 4", b"3;",
           b"255", b"4294967296", b"18446744073709551615", b"18446744073709551616", b"99999999999999999999", b"1e1", b"a", b"A", b"f"]
LINES = [b"Content-Length: 0", b"Content-Length: 3", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x",
         b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding : chunked", b"transfer-encoding:\tchunked",
         b"Content_Length: 3", b"Connection: close", b"Connection: keep-alive", b"Connection: Content-Length", b"Connection: X-A, x-b",
         b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: h2c", b"Host: b.example", b"Host: a.example:81", b"X-A: 1",
         b"x-b: 2", b"Expect: 100-continue", b"TE: trailers", b"Trailer: X-Sum", b" folded", b"X-Forwarded-For: 6.6.6.6",
         b"Proxy: http://evil", b"Max-Forwards: 3", b"Via: 1.1 other", b"Keep-Alive: timeout=5", b"Cookie: a=b; c=d",
         b"Date: Sat, 21 Nov 2026 00:00:00 GMT", b"Content-Length: 3\rX: 1", b"X: a\0b", b"Content-Length: 3\nX: 1", b": x", b"X"]
DIGITS = re.compile(rb"[0-9]+")


def flip(r, d):
    i = r.randrange(len(d))
    return d[:i] + bytes([d[i] ^ (1 << r.randrange(8))]) + d[i + 1:]


def insert(r, d):
    i = r.randrange(len(d) + 1)
    return d[:i] + r.choice(BYTES) + d[i:]


def replace(r, d):
    i = r.randrange(len(d))
    return d[:i] + r.choice(BYTES) + d[i + 1:]


def delete(r, d):
    i = r.randrange(len(d))
    return d[:i] + d[i + r.choice((1, 1, 1, 2, 4)):]


def cut(r, d):
    return d[:r.randrange(len(d)) + 1]


def number(r, d):
    found = list(DIGITS.finditer(d))
    if not found:
        return insert(r, d)
    m = r.choice(found)
    return d[:m.start()] + r.choice(NUMBERS) + d[m.end():]


def lines_of(d):
    return d.split(b"\r\n")


def line_twice(r, d):
    lines = lines_of(d)
    i = r.randrange(len(lines))
    lines.insert(r.randrange(len(lines) + 1), lines[i])
    return b"\r\n".join(lines)


def line_gone(r, d):
    lines = lines_of(d)
    del lines[r.randrange(len(lines))]
    return b"\r\n".join(lines)


def line_new(r, d):
    lines = lines_of(d)
    lines.insert(min(len(lines), 1 + r.randrange(4)), r.choice(LINES))
    return b"\r\n".join(lines)


def line_end(r, d):
    found = [m.start() for m in re.finditer(b"\r\n", d)]
    if not found:
        return insert(r, d)
    i = r.choice(found)
    return d[:i] + r.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\r\n ", b"\r\n\t", b"\0\r\n", b"")) + d[i + 2:]


def case(r, d):
    i = r.randrange(len(d))
    return d[:i] + d[i:i + 8].swapcase() + d[i + 8:]


def repeat(r, d):
    i = r.randrange(len(d))
    n = 1 + r.randrange(12)
    return d[:i] + d[i:i + n] * (2 + r.randrange(3)) + d[i + n:]


MUTATIONS = [flip, insert, insert, replace, delete, cut, number, number, line_twice, line_gone, line_new, line_new, line_new,
             line_end, line_end, case, repeat]


def spoil(r, d, others):
    """0 to 3 mutations, sometimes spliced with another message or with one behind it."""
    for _ in range(r.choice((0, 1, 1, 1, 2, 2, 3))):
        if d:
            d = r.choice(MUTATIONS)(r, d)
    kind = r.randrange(8)
    if kind == 0:
        other = r.choice(others)
        d = d[:r.randrange(len(d) + 1)] + other[r.randrange(len(other) + 1):]
    elif kind < 4:
        d += r.choice(others)
    return d


def pieces(r, d):
    """Odd cuttings of it over several writes."""
    kind = r.randrange(4)
    if kind < 2 or len(d) < 2:
        return [d]
    if kind == 2:
        i = 1 + r.randrange(len(d) - 1)
        return [d[:i], d[i:]]
    step = 1 + r.randrange(min(64, len(d)))
    out = [d[i:i + step] for i in range(0, min(len(d), step * 40), step)]
    return out + ([d[step * 40:]] if len(d) > step * 40 else [])
