"""The admission queue before prefill workers, before decode workers and before the pools of --pools.

Workers are frozen while requests gather before them, so that nothing depends on how fast the machine is."""
import json
import os
import threading

import pytest
from scripted import ScriptedWorker
from test_adapters import cards
from test_engine_scripted import engines  # noqa: F401 (a fixture)
from test_engine_split import front as engines_front, say
from test_engines import start as engine
from test_faults import PATIENT
from test_pools_frontend import AGG, SPLIT, ask as ask_pool, frontend as pools_frontend, pool_of, served, worker
from test_queue import BOOKED, LONG, ORDERED, Asked, explained, log_of, order_of
from weir import until


def rooms(front):
    """Each room by phase and pool."""
    return {(q["phase"], q.get("pool")): q for q in front.get("/v1/router/queue").json()["queues"]}


def waiting(front, phase, pool=None):
    q = rooms(front).get((phase, pool))
    return q["waiting_requests"] if q else 0


def admitted(front, phase, pool=None):
    q = rooms(front).get((phase, pool))
    return q["admitted_at_once"] if q else 0


def split_up(fleet, *flags, decode=(), prefill=()):
    """A prefill worker that reads 20,000 prompt tokens a second, and a decode worker."""
    pre = fleet.mocker("--disaggregation-mode", "prefill", "--speedup-ratio", "1", "--prefill-tokens-per-s", "20000",
                       *prefill)
    dec = fleet.mocker("--disaggregation-mode", "decode", *decode)
    front = fleet.frontend("--router-mode", "kv", *flags, env=PATIENT).ready()
    front.wait_line("model m has 1 prefill worker")
    return pre, dec, front


def test_prompts_wait_for_a_prefill_worker(fleet):
    """In the order of the queue, and the decode worker is no way round it."""
    pre, dec, front = split_up(fleet, "--router-queue-threshold", "0", "--router-queue-quantum-tokens", "2000",
                               "--enforce-disagg", *ORDERED, log_of(fleet))
    done = []

    def ask(name, **headers):
        t = Asked(lambda: front.chat(name + LONG, max_tokens=1, headers={**headers, "x-weir-explain": "1"}), done)
        t.name = name
        return t

    with pre.frozen():
        asked = [ask("first")]
        until("the prefill worker to be full", lambda: admitted(front, "prefill") == 1)
        for i, (name, headers) in enumerate([
                ("flood1", {"x-tenant-id": "a"}), ("flood2", {"x-tenant-id": "a"}), ("flood3", {"x-tenant-id": "a"}),
                ("other", {"x-tenant-id": "b"}), ("urgent", {"x-tenant-id": "a", "x-dynamo-request-strict-priority": "1"})]):
            asked.append(ask(name, **headers))
            until(f"{name} to wait", lambda n=i + 1: waiting(front, "prefill") == n)
        assert front.metric("weir_router_queue_requests", model="m", phase="prefill") == 5
        assert front.metric("weir_router_queue_requests", model="m", phase="serve") == 0
    for t in asked:
        assert t.wait().status == 200 and explained(t.answer)["leg"] == "decode", t.answer
    assert served(pre) == served(dec) == 6
    q = rooms(front)
    assert q["prefill", None]["admitted_after_waiting"] == 5 and q["serve", None]["admitted_at_once"] == 6
    assert front.metric("weir_router_queue_wait_seconds_count", model="m", phase="prefill") == 5
    order = order_of(fleet, front, asked, "prefill")
    assert order[:2] == ["first", "urgent"] and order.index("other") <= 3, order
    assert [n for n in order if n.startswith("flood")] == ["flood1", "flood2", "flood3"]


def test_a_full_prefill_queue(fleet):
    """One worker does all, unless that is refused; then the refusal says when to come again."""
    pre, dec, front = split_up(fleet, "--router-queue-threshold", "0", "--router-queue-max-requests", "1")
    strict = fleet.frontend("--router-mode", "kv", "--router-queue-threshold", "0", "--router-queue-max-requests", "1",
                            "--enforce-disagg", env=PATIENT).ready()
    strict.wait_line("model m has 1 prefill worker")
    for f in (front, strict):
        done, own = [], str(f.port)  # what the first frontend's prompts left in the cache is not asked for

        begun = admitted(f, "prefill")
        with pre.frozen():
            asked = [Asked(lambda: f.chat(own + LONG, max_tokens=1), done)]
            until("the prefill worker to be full", lambda: admitted(f, "prefill") == begun + 1)
            asked.append(Asked(lambda: f.chat("b" + own + LONG, max_tokens=1), done))
            until("one to wait", lambda: waiting(f, "prefill") == 1)
            r = f.chat("c", max_tokens=1, headers={"x-weir-explain": "1"})
            if f is front:
                assert r.status == 200 and explained(r)["leg"] == "whole"
                assert not any(t.answer for t in asked)
            else:
                details = r.json()["details"]
                assert r.status == 529 and (details["reason"], details["limit"]) == ("queue_requests", 1)
                assert int(r.headers["retry-after"]) == details["retry_after_s"] >= 1
        assert [t.wait().status for t in asked] == [200, 200]
        assert f.metric("weir_router_queue_refused_total", phase="prefill", reason="queue_requests") == 1
        assert f.metric("dynamo_frontend_router_queue_backpressure_total", worker_type="prefill", policy_class="default",
                        reason="queue_requests") == 1
        assert f.metric("dynamo_frontend_router_admission_received_total", worker_type="prefill") == begun + 3


def test_waiting_for_prefill_ends(fleet):
    """After the request's patience, and with the client that leaves."""
    pre, dec, front = split_up(fleet, "--router-queue-threshold", "0", "--enforce-disagg")
    done = []
    with pre.frozen():
        running = Asked(lambda: front.chat("a" + LONG, max_tokens=1), done)
        until("the prefill worker to be full", lambda: admitted(front, "prefill") == 1)
        s = front.hold("b")
        until("it to wait", lambda: waiting(front, "prefill") == 1)
        s.close()
        until("its place to be free", lambda: waiting(front, "prefill") == 0)
        late = front.chat("c", headers={"x-weir-queue-timeout-ms": "50"})
    assert late.status == 529, late
    assert (late.json()["details"]["reason"], late.json()["details"]["limit"]) == ("queue_timeout_ms", 50)
    assert running.wait().status == 200 and front.chat("d").status == 200
    assert served(pre) == served(dec) == 2


def test_prefill_workers_of_another_size_while_prompts_wait(fleet):
    """Those that wait go to the others, which take the place of the pool that they waited before. (Failed before: they were refused.)"""
    pre, dec, front = split_up(fleet, "--router-queue-threshold", "0", "--enforce-disagg")
    other = fleet.mocker("--endpoint", "dynamo.more.generate", "--disaggregation-mode", "prefill", "--block-size", "32")
    front.wait_line("a prefill worker of model m has block size 32, the others 16; it is left out")
    done = []
    with pre.frozen():
        running = Asked(lambda: front.chat("a" + LONG, max_tokens=1), done)
        until("the prefill worker to be full", lambda: admitted(front, "prefill") == 1)
        asked = [Asked(lambda i=i: front.chat(f"{i}" + LONG, max_tokens=1), done) for i in range(2)]
        until("two to wait", lambda: waiting(front, "prefill") == 2)
        # Its card goes, and the others are there before the instance goes, too.
        for bucket in ("mdc", "instances"):
            for folder, _, names in os.walk(os.path.join(fleet.env["DYN_FILE_KV"], "v1", bucket)):
                for name in names:
                    if name.endswith(f"%2F{pre.ids[0]:x}"):
                        os.remove(os.path.join(folder, name))
        front.wait_line(rf"worker {other.ids[0]} of model m is left out no longer")
        assert [t.wait().status for t in asked] == [200] * 2
        assert served(other) == 2
    assert running.wait().status == 200


def test_busy_thresholds_of_an_adapter(fleet):
    """They are those of its base's workers, prefill workers included. (Failed before: these were left out.)"""
    pre, dec, front = split_up(fleet)
    with cards(fleet) as c:
        c.load(dec.ids[0], "adapter-a")
        front.ready("adapter-a")
        done = []
        with pre.frozen():
            held = Asked(lambda: front.chat("a" + LONG, max_tokens=1), done)
            until("a prompt to be there", lambda: front.metric(BOOKED, worker_id=pre.ids[0]) > 1)
            r = front.ask("POST", "/busy_threshold", b'{"model":"adapter-a","active_prefill_tokens_threshold":1}',
                          {"content-type": "application/json"})
            assert r.status == 200
            # The prefill worker is busy, so one worker does all.
            assert front.chat("b" + LONG, max_tokens=1).status == 200
            assert served(dec) == 1
        assert held.wait().status == 200


def test_prefill_workers_that_leave_while_prompts_wait(fleet):
    """Those that wait are served by one worker."""
    pre, dec, front = split_up(fleet, "--router-queue-threshold", "0", prefill=("--prefill-tokens-per-s", "100"))
    done = []
    asked = [Asked(lambda: front.chat("a" + LONG, max_tokens=1), done)]
    until("the prefill worker to be full", lambda: admitted(front, "prefill") == 1)
    asked += [Asked(lambda i=i: front.chat(f"{i}" + LONG, max_tokens=1, headers={"x-weir-explain": "1"}), done)
              for i in range(3)]
    until("three to wait", lambda: waiting(front, "prefill") == 3)
    pre.kill()
    assert [t.wait().status for t in asked] == [200] * 4
    assert {explained(t.answer)["leg"] for t in asked[1:]} == {"whole"}
    assert waiting(front, "prefill") == 0 and served(dec) == 4


def test_decode_legs_wait_for_blocks(fleet):
    """--router-queue-decode-threshold: prefilled elsewhere, they wait until the decode worker has room."""
    pre, dec, front = split_up(fleet, "--router-queue-decode-threshold", "0.3", prefill=("--prefill-tokens-per-s", "1000000"),
                               decode=("--num-gpu-blocks-override", "300", "--speedup-ratio", "1", "--decode-base-ms", "50"))
    s = front.hold(LONG, max_tokens=2000)  # some 110 of the 300 blocks, for a hundred seconds if nobody ends it
    until("its decode", lambda: admitted(front, "serve") == 1)
    done = []
    second = Asked(lambda: front.chat("b" + LONG, max_tokens=2, headers={"x-weir-explain": "1"}), done)
    until("it to wait", lambda: waiting(front, "serve") == 1)
    assert served(pre) == 2 and rooms(front)["serve", None]["decode_threshold"] == 0.3
    late = front.chat("c" + LONG, headers={"x-weir-queue-timeout-ms": "50"})
    assert late.status == 529 and late.json()["details"]["reason"] == "queue_timeout_ms"
    assert not second.answer
    s.close()
    assert second.wait().status == 200 and explained(second.answer)["leg"] == "decode"
    assert rooms(front)["serve", None]["admitted_after_waiting"] == 1
    until("all to be over", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)


def test_rendezvous_decode_legs_wait_too(fleet):
    """The prefill worker has the prompt at once and its decode leg waits; a client that leaves frees both."""
    pre = ScriptedWorker(fleet.env["DYN_FILE_KV"], lambda _: (["a"], "length"), worker_id=0x61, component="prefill",
                         worker_type="prefill", params="dummy",
                         disaggregated_endpoint={"bootstrap_host": "192.0.2.7", "bootstrap_port": 9340})
    fleet.mocker("--disaggregation-mode", "decode", "--num-gpu-blocks-override", "300", "--speedup-ratio", "1",
                 "--decode-base-ms", "50")
    front = fleet.frontend("--router-mode", "kv", "--router-queue-decode-threshold", "0.3").ready()
    front.wait_line("model m has 1 prefill worker")
    s = front.hold(LONG, max_tokens=2000)
    until("its decode", lambda: admitted(front, "serve") == 1)
    left = front.hold("b" + LONG, max_tokens=2)
    until("it to wait", lambda: waiting(front, "serve") == 1 and len(pre.requests) == 2)
    left.close()
    until("its place to be free", lambda: waiting(front, "serve") == 0)
    done = []
    third = Asked(lambda: front.chat("c" + LONG, max_tokens=2), done)
    until("it to wait", lambda: waiting(front, "serve") == 1)
    s.close()
    assert third.wait().status == 200 and len(pre.requests) == 3
    until("nothing to run", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)
    pre.close()


def slow_pools(fleet, config, *flags):
    """Both pools read 20,000 prompt tokens a second."""
    workers = [worker(fleet, f"pool{i}", "--speedup-ratio", "1", "--prefill-tokens-per-s", "20000") for i in (0, 1)]
    return workers, pools_frontend(fleet, config, *flags, workers=2, env=PATIENT)


def fill(front, pool, n, ttft, done):
    """Requests to one pool, whose worker is frozen: it has the first, the others wait."""
    begun = admitted(front, "serve", pool)
    asked = [Asked(lambda: ask_pool(front, "a" + LONG, ttft=ttft, max_tokens=1), done)]
    until("the pool to be full", lambda: admitted(front, "serve", pool) == begun + 1)
    for i in range(n):
        asked.append(Asked(lambda i=i: ask_pool(front, f"{i}" + LONG, ttft=ttft, max_tokens=1), done))
        until("it to wait", lambda i=i: waiting(front, "serve", pool) == i + 1)
    return asked


@pytest.mark.parametrize("policy", [False, True])
def test_a_full_pool_holds_up_nobody_else(fleet, tmp_path, policy):
    flags = ("--router-queue-threshold", "0")
    if policy:
        (tmp_path / "policy.yaml").write_text(
            "default_policy_family: a\nuncached_isl_buckets: [{min_tokens: 0, bucket: all}]\npolicy_classes:\n"
            "  - {name: all, policy_family: a, cache_bucket: all, quantum: 100, prefill_busy_threshold: 0,\n"
            "     request_queue_limit_per_worker: 2}\n")
        flags = ("--router-policy-config", str(tmp_path / "policy.yaml"))
    workers, front = slow_pools(fleet, AGG, *flags)
    done = []
    with workers[1].frozen():
        asked = fill(front, 1, 2, 2900, done)
        assert pool_of(ask_pool(front, "quick", ttft=100, max_tokens=1))["index"] == 0
        assert not any(t.answer for t in asked) and waiting(front, "serve", 1) == 2
        q = rooms(front)
        assert q["serve", 0]["namespace"] == "pool0" and q["serve", 1]["namespace"] == "pool1"
        assert q["serve", 0]["admitted_at_once"] == 1 and q["serve", 0]["waiting_requests"] == 0
        assert front.metric("weir_router_queue_requests", model="m", phase="serve") == 2
        if policy:  # two a worker, and the pool has one
            r = ask_pool(front, "more" + LONG, ttft=2900)
            assert r.status == 529 and r.json()["details"]["limit"] == 2, r
    for t in asked:
        assert pool_of(t.wait())["index"] == 1
    assert [served(w) for w in workers] == [1, 3]


def test_a_full_queue_gives_way_to_the_next_pool(fleet):
    workers, front = slow_pools(fleet, {**AGG, "enable_priority_retry": True}, "--router-queue-threshold", "0",
                                "--router-queue-max-requests", "1")
    done = []
    with workers[1].frozen():
        asked = fill(front, 1, 1, 2900, done)
        r = ask_pool(front, "quick", ttft=2900, max_tokens=1)
        assert (pool_of(r)["index"], pool_of(r)["by"]) == (0, "retry")
        with workers[0].frozen():
            asked += fill(front, 0, 1, 100, done)
            r = ask_pool(front, "quick", ttft=2900)
            assert r.status == 529 and r.json()["details"]["reason"] == "queue_requests"
    for t in asked:
        assert t.wait().status == 200


def test_workers_of_a_pool_that_leave_while_requests_wait(fleet):
    """They go to the next pool where the file lets them."""
    workers, front = slow_pools(fleet, {**AGG, "enable_priority_retry": True}, "--router-queue-threshold", "0",
                                "--migration-limit", "1")
    done = []
    with workers[1].frozen():
        asked = fill(front, 1, 3, 2900, done)
        workers[1].kill()
    for t in asked:
        assert t.wait().status == 200
    assert [pool_of(t.answer)["index"] for t in asked[1:]] == [0] * 3 and served(workers[0]) == 4


def test_prefill_and_decode_pools_with_queues(fleet):
    """Each pool of each phase has a room of its own."""
    pre = [worker(fleet, f"pre{i}", "--disaggregation-mode", "prefill", "--speedup-ratio", "1", "--prefill-tokens-per-s", "20000",
                  component="prefill") for i in (0, 1)]
    dec = [worker(fleet, f"dec{i}", "--disaggregation-mode", "decode") for i in (0, 1)]
    front = pools_frontend(fleet, SPLIT, "--enforce-disagg", "--router-queue-threshold", "0", workers=2, env=PATIENT)
    front.wait_line("model m has 2 prefill worker")
    done = []
    with pre[1].frozen():
        asked = [Asked(lambda: ask_pool(front, LONG, itl=20, max_tokens=1), done)]
        until("the pool to be full", lambda: admitted(front, "prefill", 1) == 1)
        asked.append(Asked(lambda: ask_pool(front, "b" + LONG, itl=20, max_tokens=1), done))
        until("it to wait", lambda: waiting(front, "prefill", 1) == 1)
        assert ask_pool(front, "short", itl=400, max_tokens=1).status == 200 and not asked[1].answer
    assert [t.wait().status for t in asked] == [200, 200]
    assert set(rooms(front)) == {(phase, i) for phase in ("prefill", "serve") for i in (0, 1)}
    assert [served(w) for w in (*pre, *dec)] == [1, 2, 2, 1]


def test_prompts_wait_for_a_prefill_engine(fleet):
    pre = engine(fleet, "--disaggregation-mode", "prefill", "--speedup-ratio", "1", "--prefill-tokens-per-s", "4000")
    dec = engine(fleet, "--disaggregation-mode", "decode")
    f = engines_front(fleet, [pre.url], [dec.url], "--router-mode", "kv", "--tokenizer", "bytes", "--enforce-disagg",
                      "--router-queue-threshold", "0")
    done = []
    asked = [Asked(lambda: f.chat("a" + LONG * 12, max_tokens=1), done)]  # some five seconds; frozen it would be taken for dead
    until("the engine to be full", lambda: admitted(f, "prefill") == 1)
    asked += [Asked(lambda i=i: f.chat(f"{i}" + LONG, max_tokens=1), done) for i in range(3)]
    until("three to wait", lambda: waiting(f, "prefill") == 3)
    assert [t.wait().status for t in asked] == [200] * 4
    assert rooms(f)["prefill", None]["admitted_after_waiting"] == 3


def test_pairs_of_engines_wait_together(fleet, engines):
    """SGLang: neither engine gets a prompt that waits for the prefill engine."""
    gate = threading.Event()

    def room(body):
        return json.loads(body)["bootstrap_room"]

    def prefill(h, body):
        assert gate.wait(60)
        say("p")(h, body)

    def decode(h, body):
        """As the real one it has nothing to say before the other has the prompt too."""
        assert gate.wait(60)
        until("the prefill engine", lambda: room(body) in [room(b) for _, _, b in pre.seen])
        say("d")(h, body)

    pre, dec = engines(prefill, owned_by="sglang"), engines(decode, owned_by="sglang")
    f = engines_front(fleet, [pre.url], [dec.url], "--router-mode", "kv", "--tokenizer", "bytes",
                      "--router-queue-threshold", "0")
    done = []
    asked = [Asked(lambda: f.chat("a" + LONG), done)]
    until("both engines to have the first", lambda: len(pre.seen) == len(dec.seen) == 1)
    asked += [Asked(lambda i=i: f.chat(f"{i}" + LONG), done) for i in range(2)]
    until("two to wait", lambda: waiting(f, "prefill") == 2)
    assert len(pre.seen) == len(dec.seen) == 1
    gate.set()
    assert [t.wait().json()["id"] for t in asked] == ["d"] * 3
    assert len(pre.seen) == len(dec.seen) == 3
