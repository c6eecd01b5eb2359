# SPDX-License-Identifier: MIT
"""What the tests of HTTP/2 are made of: a client that says frames, right ones and wrong ones; a service that tells what it
was asked; a router between them. HPACK alone comes from elsewhere (python3-hpack)."""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

try:
    import hpack
except ImportError:  # another Python than Debian's: the package is plain Python
    sys.path.append('/usr/lib/python3/dist-packages')
    import hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11
MAX_STREAMS, INITIAL_WINDOW, MAX_LIST, CONNECT_PROTOCOL = 3, 4, 6, 8
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
PATIENCE_S = 20


def frame(kind, flags, stream, payload=b''):
    return struct.pack('>I', len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


class Answer:
    def __init__(self):
        self.status = 0
        self.fields, self.trailers, self.informational = {}, {}, []
        self.body = b''
        self.ended = False
        self.reset = None

    def __repr__(self):
        return f'<{self.status} {self.fields} {self.body[:80]!r} ended={self.ended} reset={self.reset}>'


class Client:
    """One connection. Received frames are taken in order; `answers` holds what they say by stream."""

    def __init__(self, port, settings=((INITIAL_WINDOW, 1 << 24),), greet=True, window=1 << 24, tls=None):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=PATIENCE_S)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname='web.example')
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 20
        self.buffer = b''
        self.next_stream = 1
        self.answers = {}
        self.goaway = None  # (last stream, code)
        self.goaways = []
        self.settings = {}
        self.credit = {}  # window updates received, by stream
        self.pongs = []
        self.acks = True
        self.block = b''
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0, b''.join(struct.pack('>HI', k, v) for k, v in settings)))
            if window:
                self.send(frame(WINDOW_UPDATE, 0, 0, struct.pack('>I', window)))

    def send(self, data):
        self.socket.sendall(data)

    def close(self):
        self.socket.close()

    # --- requests ---

    def encode(self, fields):
        return self.encoder.encode([hpack.NeverIndexedHeaderTuple(k, v) for k, v in fields], huffman=False)

    def fields(self, method='GET', path='/', authority='web.example', scheme='http', extra=()):
        return [(':method', method), (':scheme', scheme), (':authority', authority), (':path', path), *extra]

    def headers(self, fields, end=True, stream=None):
        """A request by any list of fields; its stream."""
        if stream is None:
            stream = self.next_stream
            self.next_stream += 2
        self.answers.setdefault(stream, Answer())
        block = self.encode(fields)
        flags = END_STREAM if end else 0
        first, rest = block[:16384], block[16384:]
        out = frame(HEADERS, flags | (0 if rest else END_HEADERS), stream, first)
        while rest:
            part, rest = rest[:16384], rest[16384:]
            out += frame(CONTINUATION, 0 if rest else END_HEADERS, stream, part)
        self.send(out)
        return stream

    def request(self, path='/', method='GET', extra=(), end=True, **more):
        return self.headers(self.fields(method, path, extra=extra, **more), end)

    def data(self, stream, data=b'', end=False):
        self.send(frame(DATA, END_STREAM if end else 0, stream, data))

    # --- answers ---

    def read_frame(self, timeout=PATIENCE_S):
        """(kind, flags, stream, payload); None when the router has closed."""
        self.socket.settimeout(timeout)
        while True:
            if len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], 'big')
                if len(self.buffer) >= 9 + size:
                    kind, flags = self.buffer[3], self.buffer[4]
                    stream = int.from_bytes(self.buffer[5:9], 'big')
                    payload = self.buffer[9:9 + size]
                    self.buffer = self.buffer[9 + size:]
                    return kind, flags, stream, payload
            try:
                more = self.socket.recv(1 << 18)
            except ConnectionResetError:
                more = b''
            if not more:
                return None
            self.buffer += more

    def step(self, timeout=PATIENCE_S):
        """Takes one frame; False when the router has closed."""
        got = self.read_frame(timeout)
        if got is None:
            return False
        kind, flags, stream, payload = got
        answer = self.answers.setdefault(stream, Answer()) if stream else None
        if kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                k, v = struct.unpack('>HI', payload[i:i + 6])
                self.settings[k] = v
            if self.acks:
                self.send(frame(SETTINGS, ACK, 0))
        elif kind == GOAWAY:
            self.goaway = struct.unpack('>II', payload[:8])
            self.goaways.append(self.goaway)
        elif kind == WINDOW_UPDATE:
            self.credit[stream] = self.credit.get(stream, 0) + struct.unpack('>I', payload)[0]
        elif kind == PING and flags & ACK:
            self.pongs.append(payload)
        elif kind == PING:
            if self.acks:
                self.send(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            answer.reset = struct.unpack('>I', payload)[0]
        elif kind == DATA:
            answer.body += payload
            answer.ended |= bool(flags & END_STREAM)
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                self.take_fields(answer, self.decoder.decode(self.block))
                self.block = b''
            if kind == HEADERS:
                answer.ended |= bool(flags & END_STREAM)
        return True

    @staticmethod
    def take_fields(answer, fields):
        fields = [(str(k), str(v)) for k, v in fields]
        if answer.status:
            answer.trailers = dict(fields)
        elif fields[0][1].startswith('1'):
            answer.informational.append(dict(fields))
        else:
            answer.status = int(fields[0][1])
            answer.fields = dict(fields[1:])
            answer.field_list = fields[1:]

    def until(self, done, seconds=PATIENCE_S):
        """Takes frames until done(); False if the router closes or time runs out before."""
        end = time.monotonic() + seconds
        while not done():
            left = end - time.monotonic()
            try:
                if left <= 0 or not self.step(left):
                    return done()
            except (socket.timeout, TimeoutError):
                return done()
        return True

    def answer(self, stream, seconds=PATIENCE_S):
        a = self.answers[stream]
        self.until(lambda: a.ended or a.reset is not None or self.is_gone(stream), seconds)
        return a

    def is_gone(self, stream):
        return self.goaway and self.goaway[0] < stream

    def get(self, path='/', **more):
        return self.answer(self.request(path, **more))

    def closed(self, seconds=PATIENCE_S):
        """Takes frames until the router closes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if not self.step(max(0.01, end - time.monotonic())):
                    return True
            except (socket.timeout, TimeoutError):
                return False
            except OSError:
                return True
        return False


# --- the service ------------------------------------------------------------------------------------------------


class Service:
    """HTTP/1.1, a thread per connection; behaviour by path:

    /echo        200, the request as it came: line, fields, "\\n\\n", content (framing removed)
    /big?N       N bytes with a length      /chunked?N  N chunks of 1000 bytes, and a trailer
    /fields?N    N fields of 1000 bytes     /status?N   that status, nothing else
    /early       103, then 200              /cut        announces 100 bytes, sends 10, closes
    /slow?MS     200 after so long          /refuse     413 at once, without reading the content
    /stall       takes the head, reads nothing more
    /ws          101 and echoes             /ws-bad     101 with a wrong accept     /ws-no   403
    """

    def __init__(self):
        self.listener = socket.create_server(('127.0.0.1', 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.requests, self.aborted, self.open = [], 0, 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def stop(self):
        self.listener.close()

    def serve(self, s):
        f = s.makefile('rb')
        with self.lock:
            self.open += 1
        try:
            while self.one(s, f):
                pass
        except (OSError, ValueError):
            with self.lock:
                self.aborted += 1
        with self.lock:
            self.open -= 1
        f.close()
        s.close()

    @staticmethod
    def content(f, fields):
        if 'content-length' in fields:
            n = int(fields['content-length'])
            body = f.read(n)
            if len(body) < n:
                raise ValueError('cut off')
            return body
        body = b''
        if fields.get('transfer-encoding') == 'chunked':
            while True:
                line = f.readline()
                if not line.endswith(b'\r\n'):
                    raise ValueError('cut off')
                n = int(line, 16)
                if n == 0:
                    trailers = b''
                    while (line := f.readline()) != b'\r\n':
                        if not line:
                            raise ValueError('cut off')
                        trailers += line
                    return body + (b'\n--trailers--\n' + trailers if trailers else b'')
                part = f.read(n + 2)
                if len(part) < n + 2:
                    raise ValueError('cut off')
                body += part[:-2]
        return body

    def one(self, s, f):
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            line = f.readline()
            if not line:
                return False
            head += line
        lines = head.decode('latin-1').split('\r\n')[:-2]
        method, target, _ = lines[0].split(' ')
        fields = {k.lower(): v.strip() for k, v in (l.split(':', 1) for l in lines[1:])}
        path, _, query = target.partition('?')
        with self.lock:
            self.requests.append(head.decode('latin-1'))
        if path == '/refuse':
            s.sendall(b'HTTP/1.1 413 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n')
            time.sleep(0.3)
            return False
        if path == '/stall':
            time.sleep(float(query or 5))
        if path.startswith('/ws'):
            return self.websocket(s, f, path, fields)
        body = self.content(f, fields)
        with self.lock:
            self.requests[-1] += body[:1000].decode('latin-1')
        return self.answer(s, path, query, method, head, body)

    def answer(self, s, path, query, method, head, body):
        if path == '/big':
            self.say(s, b'x' * int(query))
        elif path == '/chunked':
            s.sendall(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n')
            for _ in range(int(query)):
                s.sendall(b'3e8\r\n' + b'y' * 1000 + b'\r\n')
            s.sendall(b'0\r\nX-Sum: 42\r\n\r\n')
        elif path == '/early':
            s.sendall(b'HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n')
            self.say(s, b'late')
        elif path == '/cut':
            s.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789')
            time.sleep(0.1)
            return False
        elif path == '/status':
            s.sendall(f'HTTP/1.1 {query} X\r\nX-Kept: yes\r\n\r\n'.encode())
        elif path == '/hop':
            s.sendall(b'HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Upper-Case: V\r\n'
                      b'Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok')
        elif path == '/fields':
            fields = b''.join(b'X-%d: %s\r\n' % (i, b'v' * 1000) for i in range(int(query)))
            s.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n' + fields + b'\r\nok')
        elif path == '/dated':
            s.sendall(b'HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 07:00:00 GMT\r\nContent-Length: 2\r\n\r\nok')
        elif path == '/slow':
            time.sleep(int(query) / 1000)
            self.say(s, b'slow')
        elif method == 'HEAD':
            s.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n')
        else:
            self.say(s, head.replace(b'\r\n', b'\n') + body)
        return True

    @staticmethod
    def say(s, body):
        s.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n' % len(body) + body)

    @staticmethod
    def websocket(s, f, path, fields):
        import base64
        import hashlib
        if path == '/ws-no' or fields.get('upgrade') != 'websocket':
            s.sendall(b'HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno\n')
            return True
        key = fields['sec-websocket-key'] + ('x' if path == '/ws-bad' else '')
        accept = base64.b64encode(hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest())
        s.sendall(b'HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                  b'Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: ' + accept + b'\r\n\r\n')
        while data := f.read1(65536):
            s.sendall(data)
        return False


# --- the router ---------------------------------------------------------------------------------------------------


class Router:
    def __init__(self, program, service, *settings, routes=None, endpoint=None):
        self.folder = tempfile.mkdtemp(prefix='h2-test-')
        table = os.path.join(self.folder, 'table.json')
        with open(table, 'w', encoding='ascii') as f:
            json.dump({'format': 1, 'epoch': 1, 'routes': routes or [{'host': '*', 'service': 'web'}],
                       'services': [{'name': 'web', 'releases': [{'version': '1.0.0', 'weight': 1, 'endpoints': [
                           {'address': f'127.0.0.1:{endpoint or service.port}'}]}]}]}, f)
        with socket.create_server(('127.0.0.1', 0)) as s:
            self.port = s.getsockname()[1]
        wanted = [f'Router.Table={table}', f'Router.StateDir={self.folder}', f'Router.Listen=127.0.0.1:{self.port}',
                  'Router.H2c=yes', 'Router.Workers=1', *settings]
        if '--status=' in subprocess.run([program, '--help'], capture_output=True, text=True).stdout:
            wanted.append(f'Router.Status=unix:{self.folder}/status.sock')
        with open(os.path.join(self.folder, 'log'), 'wb') as log:
            self.process = subprocess.Popen([program, *(f'--set={w}' for w in wanted)], stdout=log, stderr=log)
        if not endpoint:  # else it is the test's, and silent
            self.wait_until_it_serves()
        else:
            time.sleep(0.5)

    def wait_until_it_serves(self):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(('127.0.0.1', self.port), timeout=1) as s:
                    s.sendall(b'GET /status?204 HTTP/1.1\r\nHost: web.example\r\n\r\n')
                    if s.recv(100).startswith(b'HTTP/1.1 20'):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise SystemExit('the router does not serve:\n' + self.log())

    def log(self):
        with open(os.path.join(self.folder, 'log'), encoding='utf-8', errors='replace') as f:
            return f.read()

    def memory_kb(self):
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read()).group(1))

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def cpu_s(self):
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as f:
            parts = f.read().rsplit(') ', 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf('SC_CLK_TCK')

    def stop(self):
        """Its exit status."""
        self.process.terminate()
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        log = self.log()
        shutil.rmtree(self.folder, ignore_errors=True)
        if status != 0 or 'ERROR: ' in log:
            print(f'router ended with {status}\n{log[-4000:]}')
            return status or 1
        return 0


# --- running ------------------------------------------------------------------------------------------------------


def run(tests, *settings):
    """Each test gets a router and its service; one line a test. The program's exit status."""
    program = sys.argv[1]
    only = sys.argv[2:]
    failed = 0
    service = Service()
    router = Router(program, service, *settings)
    for test in tests:
        if only and test.__name__ not in only:
            continue
        try:
            test(router, service)
            alive = router.process.poll() is None
            print(('ok      ' if alive else 'DIED    ') + test.__name__, flush=True)
            failed += not alive
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            import traceback
            print(f'FAILED  {test.__name__}: {e!r}\n{traceback.format_exc()}', flush=True)
        if router.process.poll() is not None:
            print(router.log()[-6000:])
            router = Router(program, service, *settings)
    failed += router.stop() != 0
    service.stop()
    print(f'{len(tests)} tests, {failed} failed')
    return 1 if failed else 0
