"""weir indexer over HTTP: the reference's paths and bodies, dump and restore, peers, snapshots."""
import http.client
import json
import re
import signal

import pytest

from weir import WEIR, DEADLINE_S, Process, until

# Content hashes of tokens 1..4 and 5..8 and the chain over them: shared spec "kvrouter" 1.5.
L0, L1 = 14643705804678351452, 16777012769546811212


class Indexer(Process):
    def __init__(self, *flags):
        super().__init__([WEIR, "indexer", "--host", "127.0.0.1", "--port", "0", *flags])
        self.port = int(self.wait_line(r"serving on \S+ port (\d+)").group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        data = body if isinstance(body, (bytes, str, type(None))) else json.dumps(body)
        c.request(method, path, data)
        r = c.getresponse()
        out = r.status, r.read()
        c.close()
        return out

    def query(self, tokens, **more):
        status, body = self.ask("POST", "/query", {"token_ids": tokens, "model_name": "m", **more})
        return json.loads(body) if status == 200 else status


def stored(worker, rank, blocks, tier="device", parent=None, name=1000):
    return {"worker_id": worker, "storage_tier": tier, "event": {"event_id": 0, "dp_rank": rank, "data": {"stored": {
        "parent_hash": parent, "blocks": [{"block_hash": name + i, "tokens_hash": h, "mm_extra_info": None}
                                          for i, h in enumerate(blocks)]}}}}


@pytest.fixture
def indexers():
    running = []

    def start(*flags):
        running.append(Indexer(*flags))
        return running[-1]
    yield start
    for p in running:
        assert p.child.poll() is not None or p.stop() == 0, p.log()


def test_query_and_its_forms(indexers):
    x = indexers()
    assert x.query([1, 2, 3, 4]) == 404
    dump = {"m:default": {"block_size": 4, "events": [stored(7, 0, [L0, L1]), stored(7, 1, [L0]), stored(9, 0, [L0])]}}
    assert x.ask("POST", "/restore", dump)[0] == 200
    got = x.query([1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert got["scores"] == {"7": {"0": 8, "1": 4}, "9": {"0": 4}} and got["frequencies"] == []
    assert got["instances"]["7"] == {"longest_matched": 8, "gpu": 8, "dp": {"0": 8, "1": 4}, "cpu": 8, "disk": 8}
    by_hash = json.loads(x.ask("POST", "/query_by_hash", {
        "block_hashes": [L0 - 2**64, L1 - 2**64], "model_name": "m"})[1])
    assert by_hash == got
    assert x.query([1, 2, 3, 4], cache_salt="tenant")["scores"] == {}
    assert x.query([1, 2, 3])["scores"] == {}
    assert x.ask("POST", "/query_by_hash", {"block_hashes": [1], "model_name": "m", "cache_salt": "x"})[0] == 400


def test_lower_tiers(indexers):
    """The vector of shared spec kvrouter 6.1: (device 2, host 1, disk 2) and (device 1, disk 1), block size 16."""
    x = indexers()
    h = [11, 22, 33, 44, 55]
    events = [stored(5, 0, h[:2]), stored(5, 0, h[2:3], "host_pinned", 1001, 2000), stored(5, 0, h[3:], "disk", 2000, 3000),
              stored(5, 1, h[:1]), stored(5, 1, h[1:2], "disk", 1000, 4000)]
    assert x.ask("POST", "/restore", {"m:default": {"block_size": 16, "events": events}})[0] == 200
    got = json.loads(x.ask("POST", "/query_by_hash", {"block_hashes": h, "model_name": "m"})[1])
    assert got["instances"]["5"] == {"longest_matched": 80, "gpu": 32, "dp": {"0": 32, "1": 16}, "cpu": 48, "disk": 80}


def test_refusals(indexers):
    x = indexers()
    rows = [("POST", "/query", "{", 400), ("POST", "/query", "[]", 400), ("POST", "/query", {"token_ids": [1]}, 400),
            ("POST", "/query", {"model_name": "m"}, 400), ("GET", "/query", None, 405), ("GET", "/nope", None, 404),
            ("POST", "/register", {}, 400),
            ("POST", "/register", {"instance_id": 1, "endpoint": "tcp://127.0.0.1:9", "model_name": "m"}, 400),
            ("POST", "/register", {"instance_id": -1, "endpoint": "tcp://127.0.0.1:9", "model_name": "m", "block_size": 4}, 400),
            ("POST", "/register", {"instance_id": 1, "endpoint": "nonsense", "model_name": "m", "block_size": 4}, 400),
            ("POST", "/register", {"instance_id": 1, "endpoint": "tcp://127.0.0.1:9", "model_name": "m", "block_size": 0}, 400),
            ("POST", "/unregister", {"instance_id": 1, "model_name": "m"}, 404),
            ("POST", "/deregister_peer", {"url": "http://x"}, 404), ("POST", "/restore", "[1]", 400),
            ("POST", "/restore", '{"key":"nocolon","block_size":4,"event":{}}\n', 400)]
    for method, path, body, status in rows:
        got, text = x.ask(method, path, body)
        assert got == status, (method, path, body, got, text)
        if status == 400:
            assert json.loads(text)["error"]
    assert x.ask("POST", "/query", b" " * (9 << 20))[0] == 413


def test_registrations(indexers):
    x = indexers()
    reg = {"instance_id": 2**63 + 5, "endpoint": "tcp://127.0.0.1:9", "model_name": "m", "block_size": 16, "additional_salt": "s"}
    assert x.ask("POST", "/register", reg)[0] == 201
    assert x.ask("POST", "/register", reg)[0] == 201
    assert x.ask("POST", "/register", {**reg, "endpoint": "tcp://127.0.0.1:10"})[0] == 409
    assert x.ask("POST", "/register", {**reg, "instance_id": 6, "block_size": 32})[0] == 409
    assert x.ask("POST", "/register", {**reg, "dp_rank": 1, "tenant_id": "other"})[0] == 201
    workers = json.loads(x.ask("GET", "/workers")[1])
    assert [(w["instance_id"], w["routing_group"], w["dp_rank"]) for w in workers] == [(2**63 + 5, "default", 0), (2**63 + 5, "other", 1)]
    assert len(json.loads(x.ask("GET", "/workers?routing_group=other")[1])) == 1
    assert json.loads(x.ask("GET", "/workers?model_name=x%20y")[1]) == []
    assert x.ask("POST", "/unregister", {"instance_id": 2**63 + 5, "model_name": "m"})[0] == 200
    assert json.loads(x.ask("GET", "/workers")[1]) == []


def test_memory_is_given_back_without_events(indexers):
    """What readers have let go of is used again by idle work: nothing else happens after the removal."""
    x = indexers()

    def held():
        figures = x.ask("GET", "/metrics")[1].decode()
        return [int(float(re.search(rf"^weir_indexer_{name}{{[^}}]*}} (\S+)", figures, re.M).group(1)))
                for name in ("entries", "bytes")]
    chains = range(48)  # 2 KiB of blocks each, fewer removals than the index lets gather by itself
    names = [[1 << 20 | i << 8 | k for k in range(128)] for i in chains]
    events = [stored(7, 0, range(1 + (i << 8), 129 + (i << 8)), name=names[i][0]) for i in chains]
    assert x.ask("POST", "/restore", {"m:default": {"block_size": 4, "events": events}})[0] == 200
    entries, full = held()
    assert entries == 48 * 128
    removed = [{"worker_id": 7, "storage_tier": "device", "event": {"event_id": 1, "dp_rank": 0, "data": {
        "removed": {"block_hashes": n}}}} for n in names]
    assert x.ask("POST", "/restore", {"m:default": {"block_size": 4, "events": removed}})[0] == 200
    assert held()[0] == 0
    until("the blocks' memory", lambda: held()[1] < full - 32 * 1024)


def test_peer_and_snapshot(indexers, tmp_path):
    a = indexers("--snapshot-dir", str(tmp_path))
    dump = {"org/m:v1:default": {"block_size": 4, "events": [stored(7, 0, [L0, L1])]}}
    assert a.ask("POST", "/restore", dump)[0] == 200
    assert "org/m:v1:default" in json.loads(a.ask("GET", "/dump")[1])
    b = indexers("--peers", "http://127.0.0.1:1", "--peers", a.url)

    def held(x):
        return x.ask("POST", "/query", {"token_ids": [1, 2, 3, 4, 5, 6, 7, 8], "model_name": "org/m:v1"})
    want = held(a)
    assert want[0] == 200 and b'"7"' in want[1]
    until("the peer's blocks", lambda: held(b) == want)
    assert a.ask("GET", "/dump?format=ndjson")[1] == b.ask("GET", "/dump?format=ndjson")[1]
    assert a.ask("POST", "/register_peer", {"url": b.url})[0] == 201
    assert json.loads(a.ask("GET", "/peers")[1]) == [b.url]
    assert a.stop() == 0
    c = indexers("--snapshot-dir", str(tmp_path))
    assert held(c) == want
    assert b"weir_indexer_entries" in c.ask("GET", "/metrics")[1]
    c.signal(signal.SIGINT)
    assert c.wait() == 0
