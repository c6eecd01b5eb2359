# SPDX-License-Identifier: MIT
"""A worker without a port: would send the mails that wait, and says once a minute that it is there."""

import os
import signal
import sys
import threading

VERSION = os.environ.get("STAGECOACH_VERSION", "dev")
PAUSE_S = 60

ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())

if "PORT" in os.environ:
    sys.exit("a worker was given a port")
print(f"mailer {VERSION} has no mails to send", flush=True)
while not ended.wait(PAUSE_S):
    print("still no mails to send", flush=True)
print("mailer ends", flush=True)
