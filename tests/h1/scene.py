# SPDX-License-Identifier: MIT
"""One client and one service around a proxy, in one thread: what the client sends and how the service answers is given as
bytes, and what each of them got is kept as bytes."""

import select
import socket
import struct
import time

import reader

READ = 1 << 18
END_SECONDS = 0.5
EVENTS = select.EPOLLIN | select.EPOLLRDHUP


class Upstream:
    """A connection that the proxy made to the service."""

    def __init__(self, sock):
        self.sock = sock
        self.data = bytearray()
        self.used = 0
        self.eof = False
        self.tunnel = None  # where raw bytes begin
        self.ended = False  # we have ended our direction
        self.judged = False


class Scene:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.poll = select.epoll()
        self.poll.register(self.listener.fileno(), select.EPOLLIN)
        self.ups = {}
        self.requests = []  # (state, message or reason, bytes) as they came
        self.cut = []  # connections that ended inside a request
        self.tunnels = []
        self.answer = None  # answer(message, upstream) → bytes, or None: nothing, or (pieces…, end)

    # --- the service ---

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.ups[sock.fileno()] = Upstream(sock)
            self.poll.register(sock.fileno(), EVENTS)

    def drop(self, up, reset=False):
        fd = up.sock.fileno()
        if fd < 0:
            return
        self.poll.unregister(fd)
        if reset:
            up.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        up.sock.close()
        self.ups.pop(fd, None)

    def send(self, sock, data):
        """All of it: what is sent here fits into the buffers of a loopback connection, or its reader is another process."""
        view = memoryview(data)
        end = time.monotonic() + 5
        while view:
            try:
                view = view[sock.send(view):]
            except BlockingIOError:
                if time.monotonic() > end:
                    return False
                select.select([], [sock], [], 0.05)
            except OSError:
                return False
        return True

    def on_upstream(self, up):
        while True:
            try:
                data = up.sock.recv(READ)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                up.eof = True
                break
            up.data += data
        self.look(up)
        if up.eof:
            if up.tunnel is None and not up.judged and up.used < len(up.data):
                self.cut.append(up)
            self.drop(up)

    def look(self, up):
        """Whole requests are answered."""
        while up.tunnel is None and up.used < len(up.data) and not up.judged:
            state, message, end = reader.read_request(bytes(up.data), up.used)
            if state == reader.PART:
                return
            what = message if state == reader.WHOLE else end
            self.requests.append((state, what, bytes(up.data[up.used:end if state == reader.WHOLE else None])))
            if state == reader.BAD:
                up.judged = True
                self.drop(up)
                return
            up.used = end
            reply = self.answer(message, up)
            self.reply(up, reply)

    def reply(self, up, reply):
        """bytes, or a list of bytes and of words: "end", "reset"."""
        for part in reply if isinstance(reply, (list, tuple)) else [reply]:
            if part == "end":
                up.judged = True
                try:
                    up.sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            elif part == "reset":
                up.judged = True
                self.drop(up, reset=True)
                return
            elif part == "pause":
                time.sleep(0.001)
            elif part and not self.send(up.sock, part):
                return

    # --- the client ---

    def run(self, port, pieces, half_close=True, pause=0, seconds=5, until=None):
        """Sends all pieces and reads to the end. Returns (bytes, "eof" | "reset" | "open"). until(bytes): enough was read."""
        self.requests, self.cut, self.tunnels = [], [], []
        client = socket.create_connection(("127.0.0.1", port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        fd = client.fileno()
        self.poll.register(fd, EVENTS)
        got, end, waiting = bytearray(), None, list(pieces)
        deadline = time.monotonic() + seconds
        while end is None:
            while waiting and self.put(client, waiting):
                if pause and waiting:
                    self.turn(fd, pause)
            if not waiting and half_close:
                half_close = False
                try:
                    client.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
            if self.turn(fd, 0.01 if waiting else max(0.0, min(1.0, deadline - time.monotonic()))):
                end = self.receive(client, got)
            if end is None and until and not waiting and (time.monotonic() > deadline or until(bytes(got))):
                # Enough was read: what else there is comes before the end that our own end brings about.
                until, half_close, deadline = None, True, time.monotonic() + END_SECONDS
            elif end is None and time.monotonic() > deadline:
                end = "open"
        self.poll.unregister(fd)
        client.close()
        self.settle()
        return bytes(got), end

    def put(self, client, waiting):
        try:
            n = client.send(waiting[0])
        except BlockingIOError:
            return False
        except OSError:
            waiting.clear()
            return False
        waiting[0] = waiting[0][n:]
        if not waiting[0]:
            waiting.pop(0)
        return True

    @staticmethod
    def receive(client, got):
        while True:
            try:
                data = client.recv(READ)
            except BlockingIOError:
                return None
            except OSError:
                return "reset"
            if not data:
                return "eof"
            got += data

    def turn(self, client_fd, seconds):
        """Events of one turn; True if the client has one."""
        seen = False
        for fd, _ in self.poll.poll(seconds):
            if fd == client_fd:
                seen = True
            elif fd == self.listener.fileno():
                self.accept()
            elif fd in self.ups:
                self.on_upstream(self.ups[fd])
        return seen

    def settle(self):
        """What the proxy had sent before it ended the client's connection is read."""
        while any(fd != -1 for fd, _ in self.poll.poll(0)):
            self.turn(-1, 0)

    def begun(self, seconds=1):
        """Connections on which a request was begun and not ended; those that the proxy keeps open come last."""
        deadline = time.monotonic() + seconds
        while True:
            kept = [up for up in self.ups.values() if up.tunnel is None and not up.judged and up.used < len(up.data)]
            if not kept or time.monotonic() > deadline:
                for up in kept:
                    up.judged = True
                return self.cut + kept
            self.turn(-1, 0.02)
