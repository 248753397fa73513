"""Durable KV events with a real nats-server and nats-py, the official client, as the other side of each message.

What others would read or write (events, snapshots, consumers) is read and written by nats-py; the snapshot's bytes by
the reader and writer of this file. What the index shall hold is what the mockers' own counters say.
"""
import contextlib
import itertools
import json
import os
import re
import socket
import struct
import subprocess
import threading
from datetime import datetime

import pytest

from nats_server import BINARY, WHY_NOT, NatsServer
from testenv import python_with
from weir import DEADLINE_S, WEIR, Process, knows, until

pytestmark = pytest.mark.skipif(BINARY is None, reason=WHY_NOT)
HERE = os.path.dirname(os.path.abspath(__file__))
STREAM = "namespace-dynamo-component-backend-kv-events"
BUCKET = "namespace-dynamo-component-backend-radix-bucket"
TEXT = "the quick brown fox jumps over the lazy dog " * 20
FLAGS = ("--router-mode", "kv", "--router-durable-kv-events")


class Jet:
    """A server with JetStream, and nats-py before it."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.server = NatsServer(self.folder, "-js", "-sd", os.path.join(self.folder, "jetstream"))
        self.python = python_with("nats-py")

    @classmethod
    def before(cls, server, folder):
        jet = cls.__new__(cls)
        jet.folder, jet.server, jet.python = str(folder), server, python_with("nats-py")
        return jet

    def run(self, command, *arguments):
        return subprocess.run([self.python, os.path.join(HERE, "jetstream_client.py"), self.server.url, command, *arguments],
                              capture_output=True, text=True, timeout=300)

    def py(self, command, *arguments):
        done = self.run(command, *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stream(self):
        return until("the stream", lambda: self.py("streams").get(STREAM))

    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def snapshot(self):
        """(events, what nats-py says of the object), or None while there is none, or not the one any more that is being read."""
        if f"OBJ_{BUCKET}" not in self.py("streams"):
            return None
        path = self.file("snapshot", b"")
        done = self.run("get", BUCKET, "radix-state", path)
        if done.returncode:
            return None
        with open(path, "rb") as f:
            return read_state(f.read()), json.loads(done.stdout)


@pytest.fixture
def jet(tmp_path, fleet):
    """(Set up before the fleet's processes, killed after them.)"""
    j = Jet(tmp_path)
    fleet.env["NATS_SERVER"] = j.server.url
    yield j
    fleet.close()
    fleet.processes.clear()
    j.server.kill()


# ---- snapshots, read and written as the reference's serializer does --------------------------------


def read_state(data):
    at = 0

    def take(form):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def optional(form):
        return take(form) if take("B") else None

    events = []
    for _ in range(take("Q")):
        worker, tier, event, kind = take("Q"), take("I"), take("Q"), take("I")
        assert kind == 0, "a dump has stored events only"
        parent, start = optional("Q"), optional("I")
        blocks = []
        for _ in range(take("Q")):
            blocks.append(take("QQ"))
            assert take("B") == 0
        events.append({"worker": worker, "tier": tier, "event": event, "parent": parent, "start": start, "blocks": blocks,
                       "rank": take("I")})
    assert at == len(data)
    return events


def write_state(events, tier=True, start=True):
    """`tier`, `start`: without them as older releases wrote."""
    out = bytearray(struct.pack("<Q", len(events)))
    for e in events:
        out += struct.pack("<Q", e["worker"]) + (struct.pack("<I", e["tier"]) if tier else b"")
        out += struct.pack("<QI", e["event"], 0)
        out += b"\0" if e["parent"] is None else struct.pack("<BQ", 1, e["parent"])
        out += b"\0" if start else b""
        out += struct.pack("<Q", len(e["blocks"]))
        for block in e["blocks"]:
            out += struct.pack("<QQB", *block, 0)
        out += struct.pack("<I", e["rank"])
    return bytes(out)


def chain_of(worker, n_events):
    """Events of 100 blocks each, one below the other."""
    return [{"worker": worker, "tier": 0, "event": i, "parent": i * 100 if i else None, "rank": 0, "start": None,
             "blocks": [(i * 100 + k, 5000000 + i * 100 + k) for k in range(1, 101)]} for i in range(n_events)]


def blocks_of(events):
    return sum(len(e["blocks"]) for e in events)


def stored(worker, event_id, blocks, parent=None):
    return {"worker_id": worker, "storage_tier": "device",
            "event": {"event_id": event_id, "dp_rank": 0,
                      "data": {"stored": {"parent_hash": parent, "start_position": None, "blocks": [
                          {"block_hash": b, "tokens_hash": t, "mm_extra_info": None} for b, t in blocks]}}}}


def removed(worker, event_id, hashes):
    return {"worker_id": worker, "event": {"event_id": event_id, "data": {"removed": {"block_hashes": hashes}}}}


def entries(front):
    return front.metric("weir_router_kv_index_entries")


def has(front, n):
    until(f"{n} blocks in the index", lambda: entries(front) == n)


def ask(front, n, what="prompt", at=0):
    for i in range(at, at + n):
        assert front.chat(f"{what} {i} {TEXT}").status == 200


def learnt(front, mockers):
    until("the index to be whole", lambda: knows(front, mockers))


# ---- events ------------------------------------------------------------------------------------------


def test_routed_by_the_stream(jet, fleet):
    """Workers write into the stream; two frontends read all of it, each with a consumer of its own; nothing is left to
    acknowledge; a consumer goes with its frontend."""
    mockers = [fleet.mocker("--durable-kv-events") for _ in range(2)]
    fronts = [fleet.frontend(*FLAGS).ready(workers=2) for _ in range(2)]
    ask(fronts[0], 8)
    for f in fronts:
        learnt(f, mockers)
    before = sum(m.metric("cached_tokens_total") for m in mockers)
    ask(fronts[1], 8)
    full = len(TEXT) // 16 * 16
    assert sum(m.metric("cached_tokens_total") for m in mockers) - before >= 8 * full
    s = jet.stream()
    assert s["subjects"] == [STREAM + ".*"] and s["max_age"] == 3600 and len(s["consumers"]) == 2, s
    until("acknowledgements", lambda: set(jet.stream()["consumers"].values()) == {jet.stream()["last"]})
    assert fronts[1].stop() == 0
    until("one consumer", lambda: len(jet.stream()["consumers"]) == 1)


def test_events_of_nats_py(jet, fleet):
    """Events that nats-py publishes change the index: stored, removed, cleared, nonsense, and of nobody."""
    mocker = fleet.mocker("--durable-kv-events")
    worker = mocker.ids[0]
    front = fleet.frontend(*FLAGS).ready()
    events = [stored(worker, 1, [(1, 101), (2, 102)]), stored(worker, 2, [(3, 103)], parent=2), {"nonsense": 1},
              stored(12345, 1, [(9, 109)]), removed(worker, 3, [3])]
    jet.py("publish", STREAM, jet.file("events", json.dumps(events).encode()))
    front.wait_line("message 3 cannot be read and is passed over")
    has(front, 2)
    cleared = {"worker_id": worker, "event": {"event_id": 4, "data": "cleared", "dp_rank": 0}}
    jet.py("publish", STREAM, jet.file("events", json.dumps([cleared, stored(worker, 5, [(7, 107)])]).encode()))
    has(front, 1)


def test_workers_without_durable_events_beside(jet, fleet):
    """They are followed as always, whatever the flag says: old manifests go on working."""
    mockers = [fleet.mocker("--durable-kv-events"), fleet.mocker()]
    front = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "3").ready(workers=2)
    def both_served():
        ask(front, 1, at=next(numbers))
        return mockers[0].metric("finished_total") >= 6 and mockers[1].metric("finished_total") >= 1
    numbers = itertools.count()
    until("both to have served", both_served)
    learnt(front, mockers)
    # Its blocks do not get into the snapshot of the others, where a later frontend would take them for true.
    assert {e["worker"] for e in until("a snapshot", jet.snapshot)[0]} == set(mockers[0].ids)


def copy_records(source, target):
    """Discovery's records, each at once; the paths of the copies."""
    copies = []
    for root, _, files in os.walk(source):
        for name in files:
            if not name.startswith(".tmp_"):
                folder = os.path.join(target, os.path.relpath(root, source))
                os.makedirs(folder, exist_ok=True)
                copies.append(os.path.join(folder, name))
                with open(os.path.join(root, name), "rb") as f, open(os.path.join(folder, ".tmp_copy"), "wb") as g:
                    g.write(f.read())
                os.rename(os.path.join(folder, ".tmp_copy"), copies[-1])
    return copies


@pytest.mark.parametrize("strangers", [0, 65536])
def test_worker_that_is_known_late(jet, fleet, strangers):
    """Its events have passed when its card comes: they are read again, for it alone. (Not so once many had come and gone: a frontend
    remembers so many, and no more were noted.)"""
    if strangers:
        events = [{"worker": 1 + w, "tier": 0, "event": 1, "parent": None, "rank": 0, "start": None, "blocks": [(1, 2)]} for w in range(strangers)]
        jet.py("put", BUCKET, "radix-state", jet.file("state", write_state(events)))
    first = fleet.mocker("--durable-kv-events")
    front = fleet.frontend(*FLAGS).ready()
    ask(front, 4)
    learnt(front, [first])
    # Out of this frontend's sight: the same component name in another discovery.
    elsewhere = {"DYN_FILE_KV": os.path.join(fleet.folder, "elsewhere")}
    second = fleet.mocker("--durable-kv-events", env=elsewhere)
    other = fleet.frontend(*FLAGS, env=elsewhere).ready()
    ask(other, 4, "elsewhere")
    learnt(other, [second])
    assert knows(front, [first])
    copies = copy_records(elsewhere["DYN_FILE_KV"], fleet.env["DYN_FILE_KV"])

    def alive():
        for path in copies:
            os.utime(path)  # nobody else keeps the copies alive
        return True
    until("the late worker to be seen", lambda: alive() and "is read again for 1 workers that came late" in front.log())
    until("the index to be whole", lambda: alive() and knows(front, [first, second]))


def test_an_endpoint_that_vanishes(jet, fleet):
    """Its card stays: what the router dropped with it is read again. (It was not, and a snapshot without it was written.)"""
    worker = fleet.mocker("--durable-kv-events")
    front = fleet.frontend(*FLAGS).ready()
    ask(front, 4)
    learnt(front, [worker])
    [path] = [os.path.join(at, name) for at, _, names in os.walk(fleet.env["DYN_FILE_KV"]) for name in names
              if "instances" in os.path.join(at, name) and "generate" in os.path.join(at, name)]
    os.unlink(path)  # the worker puts it back
    front.wait_line("is read again for 1 workers that came late")
    learnt(front, [worker])


# ---- snapshots ---------------------------------------------------------------------------------------


def test_snapshot_is_written_and_read(jet, fleet):
    """Over the threshold the whole index goes into the object store, where nats-py finds it, and the stream is purged.
    A frontend that starts later has the snapshot and what came behind it."""
    mockers = [fleet.mocker("--durable-kv-events") for _ in range(2)]
    front = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "0").ready(workers=2)
    ask(front, 8)
    learnt(front, mockers)
    held = entries(front)
    def covered():
        got = jet.snapshot()
        return got if got and blocks_of(got[0]) == held else None
    events, about = until("a snapshot with every block", covered)
    for m in mockers:
        assert blocks_of(e for e in events if e["worker"] == m.ids[0]) == m.metric("kv_cached_blocks")
    seen = set()
    for e in events:
        assert e["parent"] is None or (e["worker"], e["parent"]) in seen, "a parent comes later"
        seen |= {(e["worker"], b) for b, _ in e["blocks"]}
    # Chunks of older snapshots are gone: those of this one and its record are left.
    def alone():
        got = jet.snapshot()
        return got and got[1]["left"] == got[1]["chunks"] + 1
    until("one snapshot's messages", alone)
    until("an emptied stream", lambda: jet.stream()["messages"] == 0)
    for name in ("snapshots_written", "purges", "messages"):
        until(name, lambda n=name: front.metric(f"weir_router_kv_stream_{n}_total") > 0)
    assert front.metric("weir_router_kv_streams", state="live") == 1
    assert front.stop() == 0
    again = fleet.frontend(*FLAGS).ready(workers=2)
    again.wait_line("a snapshot of .* events was read")
    learnt(again, mockers)


@pytest.mark.parametrize("tier,start", [(True, True), (True, False), (False, False)])
def test_snapshot_of_nats_py(jet, fleet, tier, start):
    """One that others wrote, in each form that releases of the reference had, is applied; the stream goes on top of it."""
    mocker = fleet.mocker("--durable-kv-events")
    worker = mocker.ids[0]
    # More than one chunk of the object store (128 KiB).
    chain = chain_of(worker, 100)
    gone = {"worker": 777, "tier": 0, "event": 100, "parent": None, "rank": 0, "start": None, "blocks": [(1, 2)]}
    jet.py("put", BUCKET, "radix-state", jet.file("state", write_state(chain + [gone], tier, start)))
    jet.py("publish", STREAM, jet.file("events", json.dumps([removed(worker, 1, [10000])]).encode()))
    front = fleet.frontend(*FLAGS).ready()
    has(front, 9999)


def test_snapshots_over_the_bound(jet, fleet):
    """--router-snapshot-max-mib: a larger one is neither read nor written, with a word about it."""
    worker = fleet.mocker("--durable-kv-events").ids[0]
    state = write_state(chain_of(worker, 700))
    assert len(state) > 1 << 20
    jet.py("put", BUCKET, "radix-state", jet.file("state", state))
    small = fleet.frontend(*FLAGS, "--router-snapshot-max-mib", "1", "--router-snapshot-threshold", "0").ready()
    small.wait_line(r"the snapshot in bucket \S+ is too large: more than 1 MiB \(--router-snapshot-max-mib\)")
    large = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "0").ready()
    large.wait_line(rf"a snapshot of 700 events was read \({len(state)} bytes\)")
    has(large, 70000)
    assert entries(small) == 0
    assert large.stop() == 0
    # And written: by one that may. The other may have written a part in its place, while it had no more than that.
    more = [stored(worker, i, [(8000000 + i * 100 + k, 9000000 + i * 100 + k) for k in range(100)]) for i in range(700)]
    jet.py("publish", STREAM, jet.file("events", json.dumps(more).encode()))
    small.wait_line("no snapshot: it takes more than the 1 MiB of --router-snapshot-max-mib; the stream is not purged")
    assert jet.stream()["messages"] > 0
    assert small.stop() == 0
    again = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "0").ready()
    until("an emptied stream", lambda: jet.stream()["messages"] == 0)
    assert blocks_of(jet.snapshot()[0]) == entries(again) >= 70000


def test_snapshot_that_finds_no_room(jet, fleet):
    """The store takes some chunks of the new one and then no more: the one before stands, and the stream is not purged."""
    worker = fleet.mocker("--durable-kv-events").ids[0]
    old = write_state(chain_of(worker, 10))
    jet.py("put", BUCKET, "radix-state", jet.file("state", old), str(600 << 10))
    front = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "0").ready()
    front.wait_line("a snapshot of 10 events was read")
    more = [stored(worker, i, [(8000000 + i * 100 + k, 9000000 + i * 100 + k) for k in range(100)]) for i in range(700)]
    jet.py("publish", STREAM, jet.file("events", json.dumps(more).encode()))
    front.wait_line(f"the snapshot was not written to bucket {BUCKET}")
    has(front, 71000)
    assert jet.stream()["messages"] > 0
    # What was stored of it is removed. (It stayed, in a bucket without an age, and more of it with each try, one a second.)
    until("its chunks to go", lambda: (got := jet.snapshot()) and got[1]["left"] == got[1]["chunks"] + 1)
    failed = re.compile(rf"(?m)^(\S+)Z .*the snapshot was not written to bucket {BUCKET}")
    times = until("three tries", lambda: (t := failed.findall(front.log())) and len(t) > 2 and [datetime.fromisoformat(x) for x in t])
    assert (times[2] - times[1]).total_seconds() >= 2, times
    assert front.stop() == 0
    again = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "1000000").ready()
    has(again, 71000)


def test_two_that_write_at_once(jet, fleet):
    """Each sees the same length of the stream at about the same time. One snapshot stands at the end, and nothing of others beside
    it. (Chunks of whoever was replaced in between stayed for ever.)"""
    worker = fleet.mocker("--durable-kv-events").ids[0]
    fronts = [fleet.frontend(*FLAGS, "--router-snapshot-threshold", "0").ready() for _ in range(3)]
    events = [stored(worker, i, [(8000000 + i * 100 + k, 9000000 + i * 100 + k) for k in range(100)]) for i in range(700)]
    for at in range(0, 700, 70):
        jet.py("publish", STREAM, jet.file("events", json.dumps(events[at:at + 70]).encode()))
    for f in fronts:
        has(f, 70000)
    until("an emptied stream", lambda: jet.stream()["messages"] == 0)
    until("one snapshot's messages", lambda: (got := jet.snapshot()) and got[1]["left"] == got[1]["chunks"] + 1)
    again = fleet.frontend(*FLAGS).ready()
    has(again, 70000)


class Held:
    """Before a NATS server: what its clients send goes on until one says `what`; then it waits for `go`."""

    def __init__(self, port, what):
        self.what, self.port, self.seen, self.go = what, port, threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self.listener.getsockname()[1]}"
        self.run(self.accept)

    @staticmethod
    def run(f, *arguments):
        threading.Thread(target=f, args=arguments, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            server = socket.create_connection(("127.0.0.1", self.port))
            self.run(self.pass_on, client, server, self.what)
            self.run(self.pass_on, server, client, None)

    def pass_on(self, source, target, what):
        last = b""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if what and what in last + data:
                    self.seen.set()
                    self.go.wait(DEADLINE_S)
                last = data[-len(what):] if what else b""
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_snapshot_that_is_overtaken(jet, fleet):
    """While a router is about to write one another writes a newer one, and purges behind that. (The older one replaced it: what lay
    between was nowhere any more.)"""
    worker = fleet.mocker("--durable-kv-events").ids[0]
    held = Held(jet.server.port, b"STREAM.CREATE.OBJ_")
    front = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "1", env={"NATS_SERVER": held.url}).ready()
    events = [stored(worker, i, [(i, 100 + i)]) for i in (1, 2, 3)]
    jet.py("publish", STREAM, jet.file("events", json.dumps(events[:2]).encode()))
    assert held.seen.wait(DEADLINE_S)
    jet.py("publish", STREAM, jet.file("events", json.dumps(events[2:]).encode()))
    has(front, 3)
    state = [{"worker": worker, "tier": 0, "event": i, "parent": None, "rank": 0, "start": None, "blocks": [(i, 100 + i)]} for i in (1, 2, 3)]
    jet.py("put", BUCKET, "radix-state", jet.file("state", write_state(state)))
    jet.py("purge", STREAM)
    held.go.set()
    until("its own", lambda: front.metric("weir_router_kv_stream_snapshots_written_total") or "was not written" in front.log())
    again = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "1000000").ready()
    again.wait_line("a snapshot of .* events was read")
    has(again, 3)


def test_damaged_snapshot(jet, fleet):
    mocker = fleet.mocker("--durable-kv-events")
    jet.py("put", BUCKET, "radix-state", jet.file("state", b"not a snapshot"))
    front = fleet.frontend(*FLAGS).ready()
    front.wait_line("the snapshot cannot be read .* and is passed over")
    ask(front, 2)
    learnt(front, [mocker])


def test_reset_states(jet, fleet):
    """Messages and snapshot of before are gone; what comes is learnt."""
    mocker = fleet.mocker("--durable-kv-events")
    front = fleet.frontend(*FLAGS, "--router-snapshot-threshold", "2").ready()
    ask(front, 4)
    until("a snapshot", jet.snapshot)
    assert front.stop() == 0
    again = fleet.frontend(*FLAGS, "--router-reset-states").ready()
    until("no bucket", lambda: f"OBJ_{BUCKET}" not in jet.py("streams"))
    until("an emptied stream", lambda: jet.stream()["messages"] == 0)
    assert entries(again) == 0
    before = mocker.metric("kv_cached_blocks")
    ask(again, 2, "new")
    until("the new blocks", lambda: entries(again) >= mocker.metric("kv_cached_blocks") - before > 0)


# ---- faults ------------------------------------------------------------------------------------------


def test_server_restarts(jet, fleet):
    """What is told while the server is away comes when it is back; nobody restarts."""
    mockers = [fleet.mocker("--durable-kv-events") for _ in range(2)]
    fronts = [fleet.frontend(*FLAGS).ready(workers=2) for _ in range(2)]
    ask(fronts[0], 4)
    for i in range(2):
        jet.server.kill()
        for p in (*fronts, *mockers):
            until("the loss to be seen", lambda p=p: p.log().count("nats: connection lost") > i)
        ask(fronts[0], 4, f"meanwhile {i}")
        jet.server.start()
        for p in (*fronts, *mockers):
            until("the connection", lambda p=p: p.log().count("nats: connected to") > i + 1)
        for f in fronts:
            learnt(f, mockers)
    ask(fronts[1], 4, "afterwards")
    for f in fronts:
        learnt(f, mockers)


def test_stream_made_anew(jet, fleet):
    """A server that comes back with an empty store: told, and all that is new is learnt by old and new."""
    mocker = fleet.mocker("--durable-kv-events")
    front = fleet.frontend(*FLAGS).ready()
    ask(front, 4)
    learnt(front, [mocker])
    jet.server.kill()
    jet.server.flags = ("-js", "-sd", os.path.join(jet.folder, "another"))
    jet.server.start()
    ask(front, 4, "afterwards")
    front.wait_line("was made anew")
    learnt(front, [mocker])


def test_consumers_deleted(jet, fleet):
    """As the routers of the reference do with those of routers that they do not know."""
    mocker = fleet.mocker("--durable-kv-events")
    front = fleet.frontend(*FLAGS).ready()
    ask(front, 2)
    learnt(front, [mocker])
    until("our consumer", lambda: jet.stream()["consumers"])
    assert len(jet.py("drop-consumers", STREAM)) == 1
    ask(front, 2, "afterwards")
    learnt(front, [mocker])


def routers(fleet):
    """{instance id: file} of the records by which routers know each other."""
    folder = os.path.join(fleet.env["DYN_FILE_KV"], "v1", "instances")
    prefix = "dynamo%2Fbackend%2Frouter%2Ddiscovery%2F"
    return {int(n[len(prefix):], 16): os.path.join(folder, n) for n in os.listdir(folder) if n.startswith(prefix) and "." not in n}


def test_consumers_of_other_routers(jet, fleet):
    """Routers know each other by records, as those of the reference did: whose record goes, or who has none, loses its
    consumer, and nobody else's is touched. (Failed before: we had no record, and left consumers of the dead.)"""
    fleet.mocker("--durable-kv-events")

    def consumers():
        return set(jet.stream()["consumers"])

    def front():
        before = consumers()
        f = fleet.frontend(*FLAGS).ready()
        name = until("its consumer", lambda: consumers() - before).pop()
        record = until("its record", lambda: routers(fleet).get(int(name)))
        with open(record, encoding="utf-8") as r:
            said = json.load(r)
        assert said == {"type": "Endpoint", "namespace": "dynamo", "component": "backend", "endpoint": "router-discovery",
                        "instance_id": int(name), "request_plane_codec": "json",
                        "transport": {"nats_tcp": f"dynamo_backend.router-discovery-{int(name):x}"}}
        return f, name
    one, first = front()
    for name in ("12345", "777", "monitor"):
        jet.py("consumer", STREAM, name)
    with open(routers(fleet)[int(first)], encoding="utf-8") as f:
        record = {**json.load(f), "instance_id": 777}
    path = routers(fleet)[int(first)].replace(f"{int(first):x}", f"{777:x}")
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        json.dump(record, f)
    os.rename(path + ".tmp", path)
    two, second = front()
    two.wait_line("the router of consumer 12345 is gone: it is deleted")
    until("the deletion", lambda: consumers() == {first, second, "777", "monitor"})
    os.unlink(path)
    until("the deletion", lambda: consumers() == {first, second, "monitor"})
    one.kill()  # its record is left to its age, or to us
    os.unlink(routers(fleet)[int(first)])
    until("the deletion", lambda: consumers() == {second, "monitor"})
    until("the count", lambda: two.metric("weir_router_kv_stream_orphans_total") == 3)
    assert two.metric("weir_router_kv_stream_restarts_total") == 0
    assert two.stop() == 0
    assert consumers() == {"monitor"} and not routers(fleet)


def test_messages_gone_unseen(jet, fleet):
    """A purge while the frontend is cut off: it knows that it knows nothing, and begins again."""
    mocker = fleet.mocker("--durable-kv-events")
    worker = mocker.ids[0]
    front = fleet.frontend(*FLAGS).ready()
    jet.py("publish", STREAM, jet.file("events", json.dumps([stored(worker, 1, [(1, 101), (2, 102)])]).encode()))
    has(front, 2)
    with front.frozen():
        jet.py("publish", STREAM, jet.file("events", json.dumps([removed(worker, i, [i]) for i in range(1, 600)]).encode()))
        jet.py("drop-consumers", STREAM)
        jet.py("purge", STREAM)
        jet.py("publish", STREAM, jet.file("events", json.dumps([stored(worker, 700, [(5, 105)])]).encode()))
    front.wait_line("messages are gone that were not read")
    has(front, 1)


def test_without_jetstream(jet, fleet):
    """A server without it: said, and everything else works; when it is turned on, events flow."""
    jet.server.kill()
    with_it, jet.server.flags = jet.server.flags, ()
    jet.server.start()
    mocker = fleet.mocker("--durable-kv-events")
    front = fleet.frontend(*FLAGS).ready()
    front.wait_line("does the NATS server have JetStream on")
    ask(front, 4)
    mocker.wait_line("is there a NATS server with JetStream on")
    jet.server.kill()
    jet.server.flags = with_it
    jet.server.start()
    learnt(front, [mocker])


def test_standalone_router(jet, fleet):
    """`weir router` reads the stream too."""
    mocker = fleet.mocker("--durable-kv-events")
    router = Process([WEIR, "router", "--endpoint", "dynamo.backend.generate", "--router-durable-kv-events"], fleet.env)
    fleet.processes.append(router)
    jet.py("publish", STREAM, jet.file("events", json.dumps([stored(mocker.ids[0], 1, [(1, 101)])]).encode()))
    until("its acknowledgement", lambda: 1 in jet.stream()["consumers"].values())


def test_refused_without_events(fleet):
    p = Process([WEIR, "frontend", "--router-mode", "kv", "--router-durable-kv-events", "--no-router-kv-events"], fleet.env)
    assert p.wait() == 1 and "--router-durable-kv-events needs --router-kv-events" in p.log()
