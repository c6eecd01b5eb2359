# SPDX-License-Identifier: MIT
"""Does what a proxy sent on mean what it was sent? Compares two messages that reader.py has read."""

import re

from reader import ROUTER_FIELDS

# Removed or written anew by a gateway; compared one by one where they mean something.
REQUEST_HOP = {b"connection", b"content-length", b"expect", b"host", b"http2-settings", b"keep-alive", b"proxy",
               b"proxy-authorization", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade", b"via", b"forwarded"}
# What a router adds for services.
ADDED = {b"traceparent", b"tracestate", b"x-request-id"}
ANSWER_HOP = {b"connection", b"content-length", b"keep-alive", b"proxy-authenticate", b"proxy-authentication-info",
              b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
# Gateways may add these.
ANSWER_ADDED = {b"date", b"server", b"via", b"x-request-id"}


def says_who_asks(lower):
    """X-Forwarded-anything, as CGI spells it, too: a gateway drops what strangers say."""
    return lower.replace(b"_", b"-").startswith(b"x-forwarded-")


def end_to_end(m, hop, drop):
    out = []
    for name, value in m.fields:
        lower = name.lower()
        if says_who_asks(lower) or lower in hop or lower in drop or (lower == b"trailer" and not m.chunked):
            continue
        out.append((lower, value))
    return out


def max_forwards(m, fields, exact):
    if m.method != b"OPTIONS":
        return fields
    if not exact and not all(v.isdigit() for v in m.get(b"max-forwards")):
        return [f for f in fields if f[0] != b"max-forwards"]
    out = []
    for name, value in fields:
        if name == b"max-forwards":
            if not value.isdigit() or len(value) > 10:
                continue
            value = b"%d" % max(0, int(value) - 1)
        out.append((name, value))
    return out


def by_name(fields):
    """Order counts among fields of one name only, and a list may be joined."""
    out = {}
    for name, value in fields:
        if name != b"trailer":
            out.setdefault(name, []).append(re.sub(rb"[ \t]+", b" ", value))
    return {name: b", ".join(v) for name, v in out.items()}


def plain_host(m, exact):
    host = (m.host or b"").lower()
    return host if exact or not host.endswith(b":80") else host[:-3]


def request_differs(came, went, peer=b"127.0.0.1", exact=True):
    """A sentence, or None. exact: as the router does it (names' case and order stay); else as any gateway may."""
    hop = REQUEST_HOP | ROUTER_FIELDS | ADDED | came.listed
    for what, a, b in (("method", came.method, went.method), ("target", came.target, went.target)):
        if a != b:
            return "%s %r became %r" % (what, a, b)
    if came.host is not None and plain_host(went, exact) != plain_host(came, exact):
        return "host %r became %r" % (came.host, went.host)
    a, b = end_to_end(came, hop, ()), end_to_end(went, REQUEST_HOP | ROUTER_FIELDS | ADDED, ())
    a = max_forwards(came, a, exact)
    if not exact and not all(v.isdigit() for v in came.get(b"max-forwards")):
        b = [f for f in b if f[0] != b"max-forwards"]
    if not exact:
        a, b = by_name(a), by_name(b)
    if a != b:
        return "fields %r became %r" % (a, b)
    for name in came.listed - ADDED - ROUTER_FIELDS - {b"via", b"te", b"host", b"forwarded"}:
        if went.get(name):
            return "a field that Connection lists went on: %r" % name
    # What 9110 7.6.1 says SHOULD go: here it has to.
    for name in (b"keep-alive", b"proxy-connection", b"http2-settings", b"proxy"):
        if exact and went.get(name):
            return "field of one hop went on: %r" % name
    strange = [name for name, _ in went.fields if says_who_asks(name.lower()) and name.lower() not in ROUTER_FIELDS]
    if exact and peer and strange:
        return "what a stranger says of who asks went on: %r" % strange
    if peer and went.get(b"x-forwarded-for") != [peer]:
        return "X-Forwarded-For says %r" % went.get(b"x-forwarded-for")
    if any(e.lower() in (b"h2c",) for v in went.get(b"upgrade") for e in v.split(b",")):
        return "h2c went on"
    return content_differs(came, went)


def content_differs(came, went):
    if came.body_whole and went.body_whole:
        if came.body != went.body:
            return "content %r became %r" % (came.body[:200], went.body[:200])
        if went.chunked and [(n.lower(), v) for n, v in came.trailers] != [(n.lower(), v) for n, v in went.trailers]:
            return "trailers %r became %r" % (came.trailers, went.trailers)
    elif went.body_whole and not came.body_whole:
        return "content that was cut off looks whole"
    elif not came.body.startswith(went.body):
        return "content %r became %r" % (came.body[:200], went.body[:200])
    return None


def answer_differs(came, went, exact=True):
    if came.status != went.status:
        return "status %d became %d" % (came.status, went.status)
    hop = ANSWER_HOP | came.listed
    a, b = end_to_end(came, hop, ()), end_to_end(went, ANSWER_HOP, ())
    if exact:
        b = [f for f in b if f[0] not in ANSWER_ADDED or f in a]
        a = [f for f in a if f[0] != b"trailer"]
        b = [f for f in b if f[0] != b"trailer"]
    else:
        drop = ANSWER_ADDED | {b"trailer"}
        a = by_name([f for f in a if f[0] not in drop])
        b = {name: value for name, value in by_name(b).items() if name in a or name in came.listed}
    if a != b:
        return "fields %r became %r" % (a, b)
    return content_differs(came, went)
