# SPDX-License-Identifier: MIT
"""Where a bed that outlives its maker is written down: one at a time, in the source tree's own state directory."""

import json
import os

from testbed import Testbed, TestbedError

STATE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".state", "bed.json")


def save(bed):
    os.makedirs(os.path.dirname(STATE), exist_ok=True)
    with open(STATE, "w") as f:
        json.dump(bed.describe(), f)


def forget():
    try:
        os.unlink(STATE)
        os.rmdir(os.path.dirname(STATE))
    except OSError:
        pass


def attached():
    """The bed that is up; TestbedError when none is."""
    try:
        with open(STATE) as f:
            state = json.load(f)
    except FileNotFoundError:
        raise TestbedError("no test hosts are up") from None
    bed = Testbed.attach(state)
    if bed is None:
        forget()
        raise TestbedError("the test hosts are gone")
    return bed


def is_up():
    try:
        attached()
        return True
    except TestbedError:
        return False
