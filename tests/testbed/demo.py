# SPDX-License-Identifier: MIT
"""What ./demo shows: a story in commands, each printed as somebody would type it, with what it answers."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import hosts_state  # noqa: E402
from fleet import Fleet, TREE  # noqa: E402
from testbed import CommandFailed, TestbedError  # noqa: E402

PLAIN = not sys.stdout.isatty() or "NO_COLOR" in os.environ
BOLD, DIM, GREEN, RED, OFF = ("",) * 5 if PLAIN else ("\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m")
SHOP = "/root/shop"


def heading(text):
    print(f"\n{BOLD}{text}{OFF}", flush=True)


def say(text):
    print(f"  {text}", flush=True)


class Story:
    def __init__(self, fleet):
        self.fleet = fleet

    def type(self, host, line, shown=None, check=True, name=None):
        """Runs a shell line on a host, and shows both as a terminal would."""
        print(f"  {DIM}{name or host.name}${OFF} {BOLD}{shown or line}{OFF}", flush=True)
        process = host.spawn(["sh", "-c", line], env={"NO_COLOR": "1"})
        text = []
        for part in process.stdout:
            text.append(part)
            print("    " + part.rstrip("\n"), flush=True)
        if process.wait() != 0 and check:
            raise TestbedError(f"{line}: status {process.returncode}")
        return "".join(text)

    def laptop(self, line, **words):
        return self.type(self.fleet.client, line, name="laptop", **words)

    # --- chapters ------------------------------------------------------------------------------------------------

    def push(self):
        heading("A shop in git: node `web` needs python `auth` and the worker `mailer`")
        self.fleet.make_shop(SHOP)
        self.laptop(f"git -C {SHOP} push prod web-0.2.0^0:refs/heads/main", shown="git push prod web-0.2.0:main")
        self.laptop(f"git -C {SHOP} push prod web-0.2.1^0:refs/heads/main", shown="git push prod web-0.2.1:main")
        self.laptop(f"git -C {SHOP} push prod web-0.2.2^0:refs/heads/main", shown="git push prod web-0.2.2:main")

    def deploy(self):
        heading("Deployed: what it needs first, then two instances of web@0.2.2")
        self.laptop("stagecoachctl deploy auth")
        self.laptop("stagecoachctl deploy mailer")
        self.laptop("stagecoachctl deploy web@0.2.2 --instances=2")
        router = self.fleet.router
        self.laptop(f"curl -si -H 'Host: shop.example' -H 'Authorization: Bearer ann' http://{router.name}/")

    def upgrade(self):
        heading("A newer version, while 50 connections send requests without pause")
        with self.fleet.load(connections=50) as load:
            time.sleep(0.5)  # so that the load is there before the change
            self.laptop(f"git -C {SHOP} push prod main", shown="git push prod main")
            self.laptop("stagecoachctl deploy web@0.2.3 --instances=2")
            ended = time.time()
            time.sleep(0.5)  # and after it
            counted = load.stop()
        self.show_load(counted, ended)
        return counted.failed == 0 and counted["requests"] > 0

    def show_load(self, counted, ended):
        say(f"{counted['requests']} requests, {counted['per_second']:.0f} a second, median "
            f"{counted['p50_us'] / 1000:.1f} ms, slowest {counted['max_us'] / 1000:.0f} ms")
        for version, row in sorted(counted["versions"].items()):
            late = ", some of them sent after the deploy had ended" if version == "0.2.2" and counted.sent_to_after(
                version, ended) else ""
            say(f"{row['count']:>8} answered by web@{version}{late}")
        colour = GREEN if counted.failed == 0 else RED
        print(f"  {BOLD}{colour}{counted.failed:>8} failed{OFF}", flush=True)
        for reason, n in counted.why.items():
            say(f"{n:>8} {reason}")

    def look(self):
        heading("What is there now")
        self.laptop("stagecoachctl list")
        self.laptop("stagecoachctl servers")
        self.laptop("stagecoachctl ps")
        self.type(self.fleet.router, "journalctl --no-pager -o cat -u stagecoach-routerd | tail -n 15",
                  shown="journalctl -u stagecoach-routerd")


def tell(fleet, begun):
    story = Story(fleet)
    heading("Four hosts with systemd, and a laptop")
    fleet.up()
    story.push()
    story.deploy()
    good = story.upgrade()
    story.look()
    print(f"\n{BOLD}That took {time.monotonic() - begun:.0f} s.{OFF}")
    return good


def how_to_reach(fleet):
    hosts = os.path.relpath(os.path.join(TREE, "tests", "testbed", "hosts"))
    print(f"""
The hosts stay up ({', '.join(fleet.bed.by_name)}):
  sudo {hosts} enter client      the laptop: stagecoachctl list, cd shop, git push prod
  sudo {hosts} enter hub1        and the others: journalctl, systemctl
  sudo {hosts} exec client curl -s -H 'Host: shop.example' http://edge1/
  sudo {hosts} down              ends them; nothing stays behind""")


def main(words):
    begun = time.monotonic()
    keep = "--keep" in words
    if keep and hosts_state.is_up():
        print("demo: test hosts are up already; `tests/testbed/hosts down` ends them", file=sys.stderr)
        return 1
    fleet = Fleet(os.path.join(TREE, "build"), keep=keep, say=say)
    if keep:
        hosts_state.save(fleet.bed)
    good = False
    try:
        good = tell(fleet, begun)
    except (TestbedError, CommandFailed, subprocess.SubprocessError, ValueError, KeyError) as e:
        print(f"\n{RED}demo: {e}{OFF}\n\nThe last words of the daemons:", file=sys.stderr)
        fleet.explain(sys.stderr)
    finally:
        if keep and good:
            hosts_state.save(fleet.bed)
            how_to_reach(fleet)
        else:
            hosts_state.forget()
            fleet.close()
    return 0 if good else 1


sys.exit(main(sys.argv[1:]))
