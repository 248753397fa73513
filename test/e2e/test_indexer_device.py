"""weir indexer, POST /query_batch: the answers of POST /query one by one, on the CPU and through a device, here the emulated
one (test/unit/cuda/emulated), whatever that does meanwhile; and against a naive model while events flow."""
import http.client
import json
import os
import random
import re
import threading

import pytest

from test_indexer import L0, L1, indexers, stored  # noqa: F401 (fixture)
from weir import DEADLINE_S, WEIR, until

PLUGIN = os.path.join(os.path.dirname(WEIR), "test", "libweir_cuda_emulated.so")
needs_device = pytest.mark.skipif(not os.path.exists(PLUGIN), reason="no emulated device in this build (fibers and sanitizers)")
PLUG = ("--device", "cuda", "--device-plugin", PLUGIN, "--device-min-blocks", "0", "--device-stall-ms")
DEVICE = (*PLUG, "60000")  # the machine may be busy, and the device is emulated


def removed(worker, rank, names, tier="device"):
    return {"worker_id": worker, "storage_tier": tier, "event": {"event_id": 0, "dp_rank": rank, "data": {"removed": {
        "block_hashes": names}}}}


def restore(x, events, block_size=4, key="m:default"):
    assert x.ask("POST", "/restore", {key: {"block_size": block_size, "events": events}})[0] == 200


def batch(x, queries, **more):
    status, body = x.ask("POST", "/query_batch", {"model_name": "m", "queries": queries, **more})
    return json.loads(body)["results"] if status == 200 else (status, body)


def singles(x, queries, **more):
    """Each query by itself."""
    pages = [("/query" if "token_ids" in q else "/query_by_hash", {"model_name": "m", **more, **q}) for q in queries]
    return [json.loads(x.ask("POST", page, body)[1]) for page, body in pages]


def metric(x, name):
    page = x.ask("GET", "/metrics")[1].decode()
    found = re.search(rf"^weir_indexer_{re.escape(name)} (\S+)$", page, re.M)
    return float(found.group(1)) if found else 0


def by_device(x):
    return metric(x, 'batches_total{by="device"}')


def on_device(x, queries):
    """The batch's answers once the device has given them; until then the CPU does."""
    before, got = by_device(x), []

    def asked():
        got[:] = [batch(x, queries)]
        assert isinstance(got[0], list), got
        return by_device(x) > before
    until("the device's answer", asked)
    return got[0]


def random_queries(rng, n=40, contents=3, depth=14):
    return [{"block_hashes": [rng.randrange(contents) for _ in range(rng.randrange(depth))]} for _ in range(n)]


class Engines:
    """Random events of a few ranks that an engine could send: names are used again, parents may be gone."""

    def __init__(self, rng, names=400):
        self.rng, self.names = rng, names

    def event(self):
        r, tiers = self.rng, ["device"] * 6 + ["host_pinned", "disk", "external"]
        worker, rank, tier = r.randrange(4), r.randrange(3), r.choice(tiers)
        if r.random() < 0.02:
            return {"worker_id": worker, "event": {"event_id": 0, "dp_rank": rank, "data": "cleared"}}
        if r.random() < 0.35:
            return removed(worker, rank, [r.randrange(self.names) for _ in range(r.randrange(1, 5))], tier)
        e = stored(worker, rank, [r.randrange(3) for _ in range(r.randrange(1, 6))], tier,
                   r.randrange(self.names) if r.random() < 0.7 else None)
        for b in e["event"]["data"]["stored"]["blocks"]:
            b["block_hash"] = r.randrange(self.names)
        return e


def test_a_batch_is_its_queries(indexers):
    x = indexers()
    assert batch(x, [{"token_ids": [1]}])[0] == 404
    restore(x, [stored(7, 0, [L0, L1]), stored(7, 1, [L0]), stored(9, 0, [L0])])
    queries = [{"token_ids": [1, 2, 3, 4, 5, 6, 7, 8, 9]}, {"token_ids": []}, {"block_hashes": [L0 - 2**64, L1]},
               {"token_ids": [1, 2, 3, 4], "cache_salt": "tenant"}, {"token_ids": [1, 2, 3, 4], "lora_name": "a\\u0062c\n"},
               {"block_hashes": [5]}, {"token_ids": [1, 2, 3, 4, 0]}, {"token_ids": [1, 2, 3, 4], "cache_salt": None}]
    got = batch(x, queries, what_is_not_known=[{"a": 1}])
    assert got == singles(x, queries)
    assert got[0]["scores"] == {"7": {"0": 8, "1": 4}, "9": {"0": 4}} and got[3]["scores"] == {}
    assert batch(x, [{"token_ids": [1, 2, 3, 4]}], cache_salt="tenant")[0]["scores"] == {}
    assert batch(x, []) == []
    assert metric(x, "batch_queries_total") == len(queries) + 1 and by_device(x) == 0


def test_bad_batches(indexers):
    x = indexers()
    restore(x, [stored(7, 0, [L0])])
    rows = [("{", "no JSON"), ("[]", "object"), ({"queries": []}, "model_name"), ({"model_name": 1, "queries": []}, "model_name"),
            ({"model_name": "m"}, "queries"), ({"model_name": "m", "queries": {}}, "queries"),
            ({"model_name": "m", "queries": [[]]}, "queries[0]: it must be an object"),
            ({"model_name": "m", "queries": [{"token_ids": []}, {}]}, "queries[1]: token_ids or block_hashes"),
            ({"model_name": "m", "queries": [{"token_ids": [], "block_hashes": []}]}, "not both"),
            ({"model_name": "m", "queries": [{"token_ids": [-1]}]}, "unsigned 32-bit"),
            ({"model_name": "m", "queries": [{"token_ids": [2**32]}]}, "unsigned 32-bit"),
            ({"model_name": "m", "queries": [{"block_hashes": ["1"]}]}, "64-bit"),
            ({"model_name": "m", "queries": [{"block_hashes": [1], "cache_salt": "x"}]}, "cache_salt"),
            ({"model_name": "m", "queries": [{"token_ids": [1], "lora_name": 5}]}, "lora_name"),
            ({"model_name": "m", "queries": [{"block_hashes": []}] * 65537}, "65536")]
    for body, says in rows:
        status, text = x.ask("POST", "/query_batch", body)
        assert status == 400 and says in json.loads(text)["error"], (body if len(str(body)) < 200 else "", text)
    assert x.ask("GET", "/query_batch")[0] == 405
    assert x.ask("POST", "/query_batch", b" " * (9 << 20))[0] == 413


def test_a_large_answer_arrives_in_pieces(indexers):
    x = indexers()
    restore(x, [stored(w, 0, [1, 2]) for w in range(300)])
    queries = [{"block_hashes": [1, 2, 3]}] * 1000
    assert batch(x, queries) == singles(x, queries[:1]) * 1000  # 30 MB
    names = [[w << 32 | k << 8 for k in range(128)] for w in range(1750)]
    for w in range(0, 1750, 250):
        restore(x, [stored(1 << 62, 0, names[v], name=1 << 60 | v << 8) for v in range(w, w + 250)])
    status, dump = x.ask("GET", "/dump")  # 17 MB and more: over what one queue of a connection takes
    told = {e["event"]["data"]["stored"]["blocks"][0]["block_hash"] for e in json.loads(dump)["m:default"]["events"]}
    assert status == 200 and len(dump) > 16 << 20 and told >= {1 << 60 | v << 8 for v in range(1750)}
    left = http.client.HTTPConnection("127.0.0.1", x.port, timeout=DEADLINE_S)
    left.request("POST", "/query_batch", json.dumps({"model_name": "m", "queries": queries}))
    left.close()  # a client that leaves is nobody's trouble
    assert len(batch(x, queries[:2])) == 2


@needs_device
def test_the_device_gives_the_same_answers(indexers):
    seed = int(os.environ.get("WEIR_TEST_SEED", random.randrange(1 << 30)))
    print("seed", seed, "(repeat with WEIR_TEST_SEED)")
    rng = random.Random(seed)
    x, engines = indexers(*DEVICE), Engines(rng)
    restore(x, [engines.event() for _ in range(200)])
    for _ in range(12):
        restore(x, [engines.event() for _ in range(rng.choice([1, 5, 60]))])
        queries = random_queries(rng)
        assert on_device(x, queries) == singles(x, queries)
    assert metric(x, "device_up") == 1 and metric(x, "device_events_total") > 100 and metric(x, "device_behind_total") == 0
    # A rank that goes takes its blocks along, and may come back.
    reg = {"instance_id": 2, "endpoint": "tcp://127.0.0.1:9", "model_name": "m", "block_size": 4}
    for i in 2, 3:
        assert x.ask("POST", "/register", {**reg, "instance_id": i})[0] == 201
    assert x.ask("POST", "/unregister", {"instance_id": 2, "model_name": "m"})[0] == 200
    queries = random_queries(rng)
    assert on_device(x, queries) == singles(x, queries)
    restore(x, [stored(2, 0, [0, 1, 2])])
    assert on_device(x, queries) == singles(x, queries)
    # The last one takes the group along, and what comes then begins with nothing, here and there.
    assert x.ask("POST", "/unregister", {"instance_id": 3, "model_name": "m"})[0] == 200
    assert batch(x, queries)[0] == 404
    restore(x, [stored(4, 0, [0, 1, 2])])
    assert on_device(x, queries) == singles(x, queries)
    assert all(set(r["scores"]) <= {"4"} for r in batch(x, queries))
    assert batch(x, queries, routing_group="other")[0] == 404
    assert batch(x, []) == [] and batch(x, [{"block_hashes": []}])[0]["scores"] == {}
    assert metric(x, 'device_fallbacks_total{reason="memory"}') == 0


class Model:
    """What a fleet holds, naively: each rank's prompts as a set of prefixes, all on the device."""

    def __init__(self):
        self.held = {}

    def store(self, worker, prefix):
        for n in range(1, len(prefix) + 1):
            self.held.setdefault(worker, set()).add(tuple(prefix[:n]))

    def remove(self, worker, prefix):
        self.held[worker].discard(tuple(prefix))

    def scores(self, query):
        out = {}
        for w, held in self.held.items():
            n = 0
            while n < len(query) and tuple(query[:n + 1]) in held:
                n += 1
            if n:
                out[str(w)] = {"0": n * 4}
        return out


@needs_device
def test_a_batch_is_of_one_moment_while_events_flow(indexers):
    """One event brings a whole prompt, the next takes its first block away: a batch must be the model's answer after some
    number of events, the same for all its queries, between those applied before it was sent and when it was answered."""
    x, model, want = indexers(*DEVICE), Model(), []
    prompts = [[100 + p * 10 + i for i in range(6)] for p in range(5)]
    queries = [{"block_hashes": p} for p in prompts]
    steps, applied = [], [0]
    for k in range(160):
        p, w = prompts[k % 5], k // 5 % 4
        gone = tuple(p) in model.held.get(w, ())
        if gone:
            for n in range(6, 0, -1):
                model.remove(w, p[:n])
            steps.append(removed(w, 0, [1000 * (k % 5) + i for i in range(6)]))
        else:
            model.store(w, p)
            steps.append(stored(w, 0, p, name=1000 * (k % 5)))
        want.append([model.scores(q["block_hashes"]) for q in queries])
    restore(x, steps[:1])
    on_device(x, queries)

    more, moved = threading.Semaphore(0), threading.Condition()

    def flow():
        for k, event in enumerate(steps[1:], 1):
            more.acquire()
            restore(x, [event])
            with moved:
                applied[0] = k
                moved.notify()
    thread = threading.Thread(target=flow)
    before, seen, rounds = by_device(x), set(), range(16, len(steps), 16)
    thread.start()
    for upto in rounds:  # sixteen events beside three batches, then the next ones
        more.release(16)
        for _ in range(3):
            first = applied[0]
            got = [r["scores"] for r in batch(x, queries)]
            last = min(applied[0] + 1, len(want) - 1)
            assert got in want[first:last + 1], (first, last)
            seen.add(json.dumps(got))
        with moved:
            assert moved.wait_for(lambda upto=upto: applied[0] >= upto, DEADLINE_S)
    more.release(len(steps))
    thread.join()
    assert [r["scores"] for r in batch(x, queries)] == want[-1]
    assert by_device(x) == before + 3 * len(rounds) + 1 and len(seen) > 3


@needs_device
def test_a_snapshot_is_copied_to_the_device(indexers, tmp_path):
    rng = random.Random(7)
    queries = random_queries(rng)
    a = indexers("--snapshot-dir", str(tmp_path))
    restore(a, [Engines(rng).event() for _ in range(400)])
    want = singles(a, queries)
    assert a.stop() == 0
    b = indexers("--snapshot-dir", str(tmp_path), *DEVICE)
    assert batch(b, queries) == want
    # By whom is a race with the copy, which takes a millisecond.
    assert by_device(b) + metric(b, 'device_fallbacks_total{reason="behind"}') + metric(
        b, 'device_fallbacks_total{reason="opening"}') == 1
    assert on_device(b, queries) == want
    assert metric(b, "device_copies_total") == 1
    restore(b, [stored(3, 1, [1, 0, 2])])
    assert on_device(b, queries) == singles(b, queries)


@needs_device
def test_an_index_at_its_budget_stays_on_the_cpu(indexers):
    """Blocks give way in the index alone: the copy must not answer any more."""
    x = indexers(*DEVICE, "--max-index-mb", "1")
    queries = [{"block_hashes": [h << 8 | k for k in range(128)]} for h in range(0, 400, 7)]
    restore(x, [stored(1, 0, queries[0]["block_hashes"], name=0)])
    on_device(x, queries)
    for h in range(400):
        restore(x, [stored(1, 0, [h << 8 | k for k in range(128)], name=h << 8)])
    assert batch(x, queries) == singles(x, queries)
    assert metric(x, "device_behind_total") >= 1


@needs_device
def test_no_request_fails_with_the_device(indexers, tmp_path, monkeypatch):
    fault = tmp_path / "fault"
    monkeypatch.setenv("EMU_FAULT_FILE", str(fault))
    rng = random.Random(11)
    queries = random_queries(rng)

    def start(*flags):
        x = indexers(*flags)
        restore(x, [Engines(rng).event() for _ in range(200)])
        return x
    # Its memory is full, and then it is not.
    x = start(*DEVICE)
    fault.write_text("memory")
    want = singles(x, queries)
    until("a fall-back", lambda: batch(x, queries) == want and metric(x, 'device_fallbacks_total{reason="memory"}') >= 2)
    fault.unlink()
    assert on_device(x, queries) == want
    assert x.log().count("its memory is full") == 1
    # It is lost.
    fault.write_text("lost")
    until("the end", lambda: batch(x, queries) == singles(x, queries) and metric(x, "device_up") == 0)
    fault.unlink()
    restore(x, [stored(6, 0, [0, 1, 1, 2])])
    assert batch(x, queries) == singles(x, queries)
    assert metric(x, 'device_fallbacks_total{reason="lost"}') == 1 and metric(x, 'device_fallbacks_total{reason="missing"}') >= 1
    assert x.log().count("cannot be used until Weir starts again") == 1
    # It does not answer, and then it does; events go on meanwhile.
    x = start(*PLUG, "100")
    on_device(x, queries)
    (tmp_path / "new").write_text("hang")
    os.rename(tmp_path / "new", fault)
    want = singles(x, queries)
    until("a fall-back", lambda: batch(x, queries) == want and metric(x, 'device_fallbacks_total{reason="busy"}') >= 3)
    restore(x, [stored(5, 0, [0, 1, 1, 2])])
    assert batch(x, queries) == singles(x, queries)
    fault.unlink()
    assert on_device(x, queries) == singles(x, queries)
    assert "no answer for 100 ms" in x.log() and "it answers again" in x.log()


def test_without_a_plugin(indexers, tmp_path):
    for device in ("cuda", "auto"):
        x = indexers("--device", device, "--device-plugin", str(tmp_path / "none.so"), "--device-min-blocks", "0")
        restore(x, [stored(7, 0, [1, 2])])
        until("the attempt", lambda: "the CPU answers bulk queries" in x.log())
        assert batch(x, [{"block_hashes": [1, 2]}])[0]["scores"] == {"7": {"0": 8}}
        assert metric(x, "device_up") == 0 and metric(x, 'device_fallbacks_total{reason="missing"}') == 1
        assert ("WARN" in x.log()) == (device == "cuda"), x.log()


@needs_device
def test_too_many_batches_are_told_to_come_later(indexers, tmp_path, monkeypatch):
    fault = tmp_path / "fault"
    monkeypatch.setenv("EMU_FAULT_FILE", str(fault))
    x = indexers(*PLUG, "600000", "--batch-queue", "1")
    restore(x, [stored(7, 0, [1, 2])])
    query = [{"block_hashes": [1, 2]}]
    want = on_device(x, query)
    (tmp_path / "new").write_text("hang")
    os.rename(tmp_path / "new", fault)
    got = []
    thread = threading.Thread(target=lambda: got.append(batch(x, query)))
    thread.start()

    def refused():
        c = http.client.HTTPConnection("127.0.0.1", x.port, timeout=0.5)
        try:
            c.request("POST", "/query_batch", json.dumps({"model_name": "m", "queries": query}))
            r = c.getresponse()
            return r.status == 503 and r.getheader("retry-after") == "1" and "batch-queue" in r.read().decode()
        except TimeoutError:  # it came first: the thread's is refused
            return False
        finally:
            c.close()
    until("a refusal", lambda: refused() or got)
    assert x.ask("GET", "/health")[0] == 200  # the loop waits for nobody
    fault.unlink()
    thread.join()
    assert got[0] == want or got[0][0] == 503
    assert metric(x, "batches_refused_total") >= 1


def engine_event(worker, names, tokens, parent=None, block_size=4, **more):
    return json.dumps({"key": "m:default", "block_size": block_size, "event": {
        "type": "BlockStored", "worker_id": worker, "block_hashes": names, "parent_block_hash": parent, "token_ids": tokens, **more}})


@pytest.mark.parametrize("device", [(), pytest.param(DEVICE, marks=needs_device)], ids=["cpu", "device"])
def test_a_dump_with_tokens(indexers, device):
    rng = random.Random(5)
    x = indexers(*device)
    if device:
        restore(x, [stored(1, 0, [1])])
        on_device(x, [{"block_hashes": [1]}])
    tokens = [rng.randrange(2**32) for _ in range(4000)]
    lines = [engine_event(7, list(range(100, 1100)), tokens, medium="GPU"),
             json.dumps({"key": "m:default", "block_size": 4, "event": stored(8, 1, [L0, L1])}),
             engine_event(8, [-5], [9, 10, 11, 12], 1001, dp_rank=1, medium="cpu_tier1", lora_name=None),
             engine_event(9, [1, 2], [1, 2, 3, 4, 5, 6, 7, 8], cache_salt="tenant-a", lora_name="adapter-a", unknown=[{}]), "",
             json.dumps({"key": "wide:default", "block_size": 64, "event": {"type": "BlockStored", "worker_id": 3, "block_hashes": [1, 2],
                         "parent_block_hash": None, "token_ids": list(range(128))}})]
    status, text = x.ask("POST", "/restore", "\n".join(lines))
    assert (status, json.loads(text)) == (200, {"status": "5 events applied"})
    assert x.query(tokens + [1, 2, 3])["scores"] == {"7": {"0": 4000}}
    got = x.query(list(range(1, 13)))
    assert got["scores"] == {"8": {"1": 8}} and got["instances"]["8"]["cpu"] == 12
    assert x.query([1, 2, 3, 4, 5, 6, 7, 8], cache_salt="tenant-a", lora_name="adapter-a")["scores"] == {"9": {"0": 8}}
    status, text = x.ask("POST", "/query", {"model_name": "wide", "token_ids": list(range(130))})
    assert json.loads(text)["scores"] == {"3": {"0": 128}}
    by = "device" if device else "cpu"
    assert metric(x, f'token_restores_total{{by="{by}"}}') == 1
    bad = [(engine_event(1, [1], [1, 2, 3]), "block_size tokens"), (engine_event(1, [1], [1, 2, 3, -4]), "unsigned 32-bit"),
           (engine_event(1, ["a"], [1, 2, 3, 4]), "64-bit"), (engine_event(1, [1], [1, 2, 3, 4], "x"), "parent_block_hash"),
           (engine_event(1, [1], [1, 2, 3, 4], type="BlockRemoved"), "BlockStored"), (engine_event("a", [1], [1, 2, 3, 4]), "worker_id"),
           (engine_event(1, [1], [1, 2, 3, 4])[:-1], "key")]
    for line, says in bad:
        status, text = x.ask("POST", "/restore", lines[1] + "\n" + line)
        assert status == 400 and says in json.loads(text)["error"] and "event 1" in json.loads(text)["error"], (line, text)
