"""Networks of their own for processes, and wires between them and the tests that can be cut.

A cut loses every packet without a word: no link goes down and no ICMP comes, so that TCP sees neither FIN nor reset, as
behind a dead switch. It is made by sending to an Ethernet address that nobody has. Needs a network of our own around it
(run-apart makes one), so that nothing of the machine's is touched.
"""
import os
import subprocess
import types

import pytest

HERE = "10.77.0.1"  # of the tests, from every network
NOBODY = "02:00:00:00:ff:ff"
NEAR = types.SimpleNamespace(enter=(), wire=HERE, side=HERE)  # where the tests are, in the place of an Apart


def ip(*argv, within=()):
    subprocess.run([*within, "ip", *argv], check=True, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def alone():
    """This process is in a network of its own, whose loopback has HERE."""
    if os.environ.get("WEIR_TEST_APART") != "yes":
        pytest.skip("not in a network of its own: test/e2e/run-apart runs this file")
    ip("link", "set", "lo", "up")
    ip("address", "replace", HERE + "/32", "dev", "lo")
    probe = subprocess.run(["ip", "link", "add", "name", "probe", "type", "veth", "peer", "name", "probe2"],
                           capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip("no pairs of network devices (veth): " + (probe.stderr.strip() or "no reason given"))
    ip("link", "delete", "probe")


class Apart:
    """A network with one process or several in it. Two wires lead there: `wire` is the one that is cut; over `side` a test
    asks what goes on there, cut off or not."""

    made = 0

    def __init__(self):
        Apart.made += 1
        self.n = n = Apart.made
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo there; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"there\n"
        pid = str(self.holder.pid)
        self.enter = ["nsenter", "-t", pid, "-n"]
        self.wire, self.side = f"10.77.{n}.2", f"10.78.{n}.2"
        self.ours, self.theirs = f"02:00:00:00:{n:02x}:01", f"02:00:00:00:{n:02x}:02"
        ip("link", "set", "lo", "up", within=self.enter)
        for kind, net in (("w", 77), ("s", 78)):
            ip("link", "add", "name", f"{kind}{n}", "type", "veth", "peer", "name", kind, "netns", pid)
            ip("link", "set", f"{kind}{n}", "address", self.ours)
            ip("link", "set", kind, "address", self.theirs, within=self.enter)
            ip("address", "add", f"10.{net}.{n}.1/24", "dev", f"{kind}{n}")
            ip("address", "add", f"10.{net}.{n}.2/24", "dev", kind, within=self.enter)
            ip("link", "set", f"{kind}{n}", "up")
            ip("link", "set", kind, "up", within=self.enter)
        ip("route", "add", "default", "via", f"10.77.{n}.1", within=self.enter)
        self.heal()
        # What a process that meets others over Dynamo's planes is to tell them.
        self.env = {"DYN_TCP_RPC_HOST": self.wire, "DYN_TCP_RESPONSE_STREAM_HOST": self.wire, "DYN_EVENT_PLANE_HOST": self.wire}

    def _neighbours(self, theirs, ours):
        n = self.n
        ip("neigh", "replace", self.wire, "lladdr", theirs, "dev", f"w{n}", "nud", "permanent")
        ip("neigh", "replace", f"10.77.{n}.1", "lladdr", ours, "dev", "w", "nud", "permanent", within=self.enter)

    def cut(self, there=True, back=True):
        """From now on what goes there, what comes back, or both is lost."""
        self._neighbours(NOBODY if there else self.theirs, NOBODY if back else self.ours)

    def heal(self):
        self._neighbours(self.theirs, self.ours)

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()
        for kind in "ws":  # they go with the network, some time after its last process
            subprocess.run(["ip", "link", "delete", f"{kind}{self.n}"], capture_output=True, check=False)


@pytest.fixture
def apart(alone):  # pylint: disable=redefined-outer-name,unused-argument
    """A function that makes a network."""
    made = []

    def make():
        made.append(Apart())
        return made[-1]
    yield make
    for a in made:
        a.close()
