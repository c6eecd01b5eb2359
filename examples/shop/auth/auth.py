# SPDX-License-Identifier: MIT
"""Says who a customer is. Answers 200 and a name for "Bearer NAME", else 401."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("STAGECOACH_VERSION", "dev")
INSTANCE = os.environ.get("STAGECOACH_INSTANCE", "local")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "auth/" + VERSION

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, "ok\n")
        kind, _, name = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or not name.isalnum():
            return self.answer(401, "who are you?\n")
        return self.answer(200, name + "\n")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Version", VERSION)
        self.send_header("X-Instance", INSTANCE)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8081")))
    server = ThreadingHTTPServer(address, Handler)
    # shutdown() waits for serve_forever(), which is this very thread: so it is called from another one.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"auth {VERSION} listens on {address[0]}:{address[1]}", flush=True)
    server.serve_forever()


main()
