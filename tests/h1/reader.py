# SPDX-License-Identifier: MIT
"""A second reader of HTTP/1 messages, written from RFC 9110 and 9112 alone, which judges what a proxy was sent and what it
sent on. It shares nothing with the router's parser, and reads whole messages with regular expressions where that one walks
bytes.

A message is WHOLE, PART (the bytes end inside it) or BAD (no proxy may pass it on). A whole message may carry `may_refuse`:
why a strict proxy need not take it although the grammar, or a "MAY" of the RFCs, has room for it. Passed on or refused are then
both right; passed on with another meaning never is."""

import re

WHOLE, PART, BAD = "whole", "part", "bad"

TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
TOKEN = re.compile(rb"[" + TCHAR + rb"]+\Z")
PROTOCOL = re.compile(rb"[" + TCHAR + rb"]+(?:/[" + TCHAR + rb"]+)?\Z")
REQUEST_LINE = re.compile(rb"([" + TCHAR + rb"]+) ([^\x00-\x20\x7f-\xff]+) HTTP/([0-9])\.([0-9])\Z")
STATUS_LINE = re.compile(rb"HTTP/([0-9])\.([0-9]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?\Z")
FIELD_LINE = re.compile(rb"([" + TCHAR + rb"]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")
URI_TARGET = re.compile(rb"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%]+\Z")  # 3986, brackets only in hosts
RAW_TARGET = re.compile(rb"[^\"#<>]+\Z")  # what clients leave raw in queries: | ^ ` { } [ ] and the backslash
ABSOLUTE = re.compile(rb"(https?)://([^/?]*)(.*)\Z", re.I)
HOST = re.compile(rb"(?:([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?)|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\])(?::([0-9]{1,5}))?\Z")
REG_NAME = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[A-Za-z0-9\-._~!$&'()*+,;=:]*\])(?::[0-9]*)?\Z")
DIGITS = re.compile(rb"[0-9]+\Z")
QUOTED = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
BWS = rb"[ \t]*"
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]+)((?:" + BWS + rb";" + BWS + rb"[" + TCHAR + rb"]+(?:" + BWS + rb"=" + BWS +
                        rb"(?:[" + TCHAR + rb"]+|" + QUOTED + rb"))?)*)\Z")
BLANK_OUTSIDE_QUOTES = re.compile(rb'(?:[^"\t ]|"(?:\\.|[^"\\])*")*[\t ]')

HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
FRAMING = {b"content-length", b"transfer-encoding"}
# Named in a trailer they would frame, route or authorise: 9110 6.5.1.
NOT_IN_TRAILERS = HOP | FRAMING | {
    b"host", b"authorization", b"cookie", b"set-cookie", b"expect", b"max-forwards", b"content-encoding", b"content-type",
    b"trailer", b"forwarded", b"via", b"proxy", b"proxy-authorization", b"proxy-authenticate", b"http2-settings",
    b"proxy-authentication-info"}
ROUTER_FIELDS = {b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip"}

LIMITS = {"fields": 128, "head": 65536, "target": 16384, "method": 32, "name": 1024, "chunk line": 256,
          "extensions": 16384, "trailers": 8192, "options": 32, "length digits": 18, "size digits": 15, "host": 255}


class Bad(Exception):
    pass


class Message:
    """method, target, host, version of a request; status, reason of an answer; fields as (name, value) in order."""

    def __init__(self):
        self.method = self.target = self.host = None
        self.status = self.reason = None
        self.minor = 1
        self.fields = []
        self.trailers = []
        self.body = b""
        self.body_whole = True
        self.until_close = False
        self.chunked = False
        self.length = None
        self.https = False  # the target says so
        self.may_refuse = []
        self.odd = []  # well-formed, and no proxy of ours may refuse it; others do for a reason
        self.listed = set()
        self.options = set()
        self.head_size = 0

    def get(self, name):
        return [v for n, v in self.fields if n.lower() == name]

    def upgrades(self):
        names = [e for v in self.get(b"upgrade") for e in elements(v)]
        return (self.minor == 1 and b"upgrade" in self.options and names and not self.chunked and not self.length and
                all(PROTOCOL.match(e) and e.split(b"/")[0].lower() not in (b"h2c", b"h2") for e in names))



def elements(value):
    """Of a list; quoted strings are whole."""
    out, item, quoted, i = [], bytearray(), False, 0
    if b'"' not in value:
        return [e.strip(b" \t") for e in value.split(b",") if e.strip(b" \t")]
    while i < len(value):
        c = value[i:i + 1]
        if quoted and c == b"\\":
            item += value[i:i + 2]
            i += 2
            continue
        if c == b'"':
            quoted = not quoted
        if c == b"," and not quoted:
            out.append(bytes(item).strip(b" \t"))
            item = bytearray()
        else:
            item += c
        i += 1
    out.append(bytes(item).strip(b" \t"))
    return [e for e in out if e]


def read_fields(lines, m, what):
    fields = []
    for line in lines:
        found = FIELD_LINE.match(line)
        if not found:
            raise Bad("malformed field line")
        fields.append((found[1], found[2]))
        lower = found[1].lower()
        if len(lower) > LIMITS["name"]:
            m.may_refuse.append("long field name")
        if b"_" in lower:
            dashed = lower.replace(b"_", b"-")
            if dashed in NOT_IN_TRAILERS | ROUTER_FIELDS | {b"date", b"x-stagecoach-version"}:
                m.may_refuse.append("a name that CGI can't tell from a framing one")
    if len(fields) > LIMITS["fields"]:
        m.may_refuse.append("many fields")
    return fields


def read_connection(m):
    n = 0
    for value in m.get(b"connection"):
        for e in elements(value):
            n += 1
            if not TOKEN.match(e):
                raise Bad("malformed Connection")
            e = e.lower()
            m.options.add(e)
            if e not in (b"close", b"keep-alive", b"upgrade"):
                m.listed.add(e)
            if e in (b"host", b"content-length", b"transfer-encoding"):
                m.may_refuse.append("Connection lists what frames or routes")
    if n > LIMITS["options"]:
        m.may_refuse.append("many connection options")


def read_framing(m):
    lengths, codings = m.get(b"content-length"), m.get(b"transfer-encoding")
    if codings:
        if m.minor == 0:
            raise Bad("Transfer-Encoding with HTTP/1.0")
        if lengths:
            raise Bad("Transfer-Encoding and Content-Length")
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Bad("Transfer-Encoding other than chunked")
        m.chunked = True
    if lengths:
        values = {v.strip(b" \t") for text in lengths for v in text.split(b",")}
        if any(not DIGITS.match(v) for v in values) or len({int(v) for v in values}) != 1:
            raise Bad("malformed or conflicting Content-Length")
        if len(lengths) > 1 or b"," in lengths[0]:
            m.may_refuse.append("repeated Content-Length")
        if max(len(v) for v in values) > LIMITS["length digits"]:
            m.may_refuse.append("large Content-Length")
        m.length = int(values.pop())


def split_head(data, at, m, what):
    end = data.find(b"\r\n\r\n", at)
    if end < 0:
        return None
    m.head_size = end + 4 - at
    if m.head_size > LIMITS["head"]:
        m.may_refuse.append("large head")
    return data[at:end].split(b"\r\n")


def check_host(host, m):
    found = HOST.match(host)
    if found and (found[2] is None or 0 < int(found[2]) <= 65535) and len(found[1] or b"") <= LIMITS["host"]:
        return
    if not REG_NAME.match(host):
        raise Bad("malformed host")
    m.may_refuse.append("unusual host")


def read_target(m, target):
    hosts = m.get(b"host")
    if len(hosts) > 1 or (not hosts and m.minor == 1):
        raise Bad("Host missing or repeated")
    if hosts:
        check_host(hosts[0], m)
    m.host = hosts[0] if hosts else None
    if not URI_TARGET.match(target):
        if not RAW_TARGET.match(target):
            raise Bad("malformed target")
        m.may_refuse.append("raw characters in the target")
    if len(target) > LIMITS["target"]:
        m.may_refuse.append("long target")
    if target == b"*":
        if m.method != b"OPTIONS":
            raise Bad("asterisk with another method")
    elif not target.startswith(b"/"):
        found = ABSOLUTE.match(target)
        if not found:
            raise Bad("neither path nor http URL")
        m.https = found[1].lower() == b"https"
        check_host(found[2], m)
        if hosts and hosts[0].lower() != found[2].lower():
            m.may_refuse.append("target and Host differ")
        if not found[2]:
            raise Bad("URL without a host")
        m.host = found[2]
        target = found[3]
        if not target.startswith(b"/"):
            if target:
                m.may_refuse.append("URL with a query and no path")
            target = target and b"/" + target or (b"*" if m.method == b"OPTIONS" else b"/")
    m.target = target


def read_body(data, at, m):
    """Position behind the message, or None inside it."""
    if m.chunked:
        return read_chunks(data, at, m)
    n = m.length or 0
    m.body = data[at:at + n]
    m.body_whole = len(m.body) == n
    return at + n if m.body_whole else None


def read_chunks(data, at, m):
    parts, extensions = [], 0
    while True:
        end = data.find(b"\r\n", at)
        line = data[at:end if end >= 0 else len(data)]
        found = CHUNK_LINE.match(line) if end >= 0 else None
        if end < 0:
            m.body, m.body_whole = b"".join(parts), False
            return None
        if not found:
            m.body, m.body_whole = b"".join(parts), False
            raise Bad("malformed chunk line")
        if len(found[1]) > LIMITS["size digits"] or len(line) > LIMITS["chunk line"]:
            m.may_refuse.append("long chunk line")
        extensions += len(found[2])
        if extensions > LIMITS["extensions"]:
            m.may_refuse.append("many extensions")
        if BLANK_OUTSIDE_QUOTES.match(found[2]):
            m.may_refuse.append("blanks in a chunk line")
        size, at = int(found[1], 16), end + 2
        if size == 0:
            break
        chunk = data[at:at + size]
        parts.append(chunk)
        if len(chunk) < size or len(data) < at + size + 2:
            m.body, m.body_whole = b"".join(parts), False
            if len(chunk) == size and data[at + size:at + size + 2] not in (b"", b"\r"):
                raise Bad("chunk longer than its size")
            return None
        if data[at + size:at + size + 2] != b"\r\n":
            m.body, m.body_whole = b"".join(parts), False
            raise Bad("chunk longer than its size")
        at += size + 2
    m.body = b"".join(parts)
    return read_trailers(data, at, m)


def read_trailers(data, at, m):
    end = at if data[at:at + 2] == b"\r\n" else data.find(b"\r\n\r\n", at)
    m.body_whole = False
    if end < 0:
        return None
    if end > at:
        m.trailers = read_fields(data[at:end].split(b"\r\n"), m, "trailer")
        end += 2
    if end + 2 - at > LIMITS["trailers"]:
        m.may_refuse.append("large trailers")
    if any(n.lower() in NOT_IN_TRAILERS | ROUTER_FIELDS | {b"x-stagecoach-version"} for n, _ in m.trailers):
        m.may_refuse.append("trailer that frames or routes")
    m.body_whole = True
    return end + 2


def read_request(data, at):
    """(state, message or None, position behind it or reason)."""
    m = Message()
    start = at
    while data[at:at + 2] == b"\r\n":
        at += 2
    if at > start + 2:
        m.may_refuse.append("empty lines before the request")
    try:
        lines = split_head(data, at, m, "request")
        if lines is None:
            return PART, None, None
        found = REQUEST_LINE.match(lines[0])
        if not found:
            raise Bad("malformed request line")
        if found[3] != b"1" or found[4] not in b"01":
            raise Bad("version")
        m.method, m.minor = found[1], int(found[4])
        if m.method.upper() in (b"CONNECT", b"TRACE"):
            raise Bad("method")
        if len(m.method) > LIMITS["method"]:
            m.may_refuse.append("long method")
        m.fields = read_fields(lines[1:], m, "request")
        if not m.method.isalpha() or not m.method.isupper():
            m.odd.append("method")
        if re.search(rb"%(?![0-9A-Fa-f]{2})", found[2]) or b"%00" in found[2]:
            m.odd.append("percent-encoding")
        if len(m.get(b"expect")) > 1 or any(len(n) > 255 for n, _ in m.fields):
            m.odd.append("fields")
        read_connection(m)
        read_framing(m)
        read_target(m, found[2])
        if any(v.lower() != b"100-continue" for v in m.get(b"expect")):
            m.may_refuse.append("expectation")
    except Bad as e:
        return BAD, None, str(e)
    try:
        end = read_body(data, at + m.head_size, m)
    except Bad as e:
        m.body_whole = False
        return BAD, m, str(e)
    return (WHOLE, m, end) if end is not None else (PART, m, None)


def read_answer(data, at, method, eof):
    """The same for an answer to `method`; eof: no more will come. 1xx are messages of their own."""
    m = Message()
    try:
        lines = split_head(data, at, m, "answer")
        if lines is None:
            return PART, None, None
        found = STATUS_LINE.match(lines[0])
        if not found or found[1] != b"1" or found[2] not in b"01" or int(found[3]) > 599:
            raise Bad("malformed status line")
        m.minor, m.status, m.reason = int(found[2]), int(found[3]), found[4] or b""
        m.fields = read_fields(lines[1:], m, "answer")
        read_connection(m)
        read_framing(m)
    except Bad as e:
        return BAD, None, str(e)
    at += m.head_size
    # 205 has no content (9110 15.3.6) whatever its framing leaves open.
    bodiless = m.status < 200 or m.status in (204, 304) or (m.status == 205 and m.length is None and not m.chunked)
    if (m.status < 200 and (m.chunked or m.length is not None)) or (m.status in (204, 205) and (m.chunked or m.length)):
        return BAD, m, "1xx, 204 or 205 with a body"
    if bodiless or method == b"HEAD":
        m.chunked = False
        return WHOLE, m, at
    if not m.chunked and m.length is None:
        m.until_close = True
        m.body, m.body_whole = data[at:], eof
        return (WHOLE, m, len(data)) if eof else (PART, m, None)
    try:
        end = read_body(data, at, m)
    except Bad as e:
        m.body_whole = False
        return BAD, m, str(e)
    return (WHOLE, m, end) if end is not None else (PART, m, None)
