# SPDX-License-Identifier: MIT
"""What all tests on test hosts share: a fleet per file, and the daemons' last words when a test fails."""

import io
import os
import sys

import pytest

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TREE, "tests", "testbed"))

from fleet import Fleet  # noqa: E402
from testbed import Testbed, why_impossible  # noqa: E402

BUILD = os.environ.get("STAGECOACH_BUILD", os.path.join(TREE, "build"))


def pytest_collection_modifyitems(items):
    reason = why_impossible()
    if reason:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module")
def bed():
    """Hosts without Stagecoach."""
    with Testbed() as bed:
        yield bed


@pytest.fixture(scope="module")
def fleet(request):
    """A hub, two drones, a router and a laptop, joined. A file says FLEET = {…} for another one."""
    with Fleet(BUILD, **getattr(request.module, "FLEET", {})) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def shop(fleet):
    """The example's repository on the laptop, web 0.2.0 to 0.2.2 pushed, what web needs deployed."""
    where = fleet.make_shop()
    for version in ("0.2.0", "0.2.1", "0.2.2"):
        fleet.push(where, f"web-{version}^0:refs/heads/main")
    deploys = [fleet.client.spawn(["stagecoachctl", "deploy", service]) for service in ("auth", "mailer")]
    for deploy in deploys:
        said, _ = deploy.communicate(timeout=60)
        assert deploy.returncode == 0, said
    return where


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    fleet = item.funcargs.get("fleet") if hasattr(item, "funcargs") else None
    if report.failed and fleet is not None:
        words = io.StringIO()
        try:
            fleet.explain(words, lines=25)
        except Exception as e:  # the hosts may be what failed
            words.write(str(e))
        report.sections.append(("daemons", words.getvalue()))
