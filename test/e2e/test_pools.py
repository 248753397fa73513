"""Pools of workers: `weir router` before each, `weir global-router` before those, a frontend in front."""
import json
import os
import threading

import pytest
from plane_worker import PlaneWorker
from scripted import ScriptedWorker, call
from weir import WEIR, Process, exposition, sse, total, until

import http.client


class Service(Process):
    """`weir router` or `weir global-router`."""

    def __init__(self, fleet, command, *flags):
        env = {**fleet.env, "DYN_SYSTEM_PORT": "0", "DYN_SYSTEM_HOST": "127.0.0.1"}
        super().__init__([WEIR, command, *flags], env)
        fleet.processes.append(self)
        self.status_port = int(self.wait_line(r"status server on \S+ port (\d+)").group(1))

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.status_port, timeout=30)
        c.request("GET", path)
        r = c.getresponse()
        page = r.read()
        c.close()
        return r.status, page

    def metric(self, name, **labels):
        return total(exposition(self.get("/metrics")[1]), name, **labels)

    def ready(self):
        until(f"{self.name} to be ready", lambda: self.get("/health")[0] == 200)
        return self


def pool_router(fleet, ns, component="backend", *flags):
    return Service(fleet, "router", "--endpoint", f"{ns}.{component}.generate", *flags)


def pool(fleet, ns, *flags, component="backend", **more):
    """Workers of a pool, under a name that the frontend does not serve, and their router."""
    mocker = fleet.mocker("--endpoint", f"dyn://{ns}.{component}.generate", *flags,
                          model="worker-of-" + ns, **more)
    return mocker, pool_router(fleet, ns, component)


AGG = {
    "mode": "agg", "num_agg_pools": 2, "agg_pool_dynamo_namespaces": ["pool0", "pool1"],
    "agg_pool_selection_strategy": {
        "ttft_min_ms": 10, "ttft_max_ms": 3000, "ttft_resolution": 2,
        "itl_min_ms": 5, "itl_max_ms": 200, "itl_resolution": 1, "agg_pool_mapping": [[0], [1]],
        "priority_overrides": [{"min_priority": 50, "max_priority": 100, "target_pool": 0}]},
}


def global_router(fleet, config, *flags):
    path = os.path.join(fleet.folder, "pools.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump(config, f)
    return Service(fleet, "global-router", "--config", path, "--model-name", "m", "--namespace", "front",
                   *flags)


def served_by(mocker):
    return mocker.metric("finished_total")


def frontend(fleet, *flags):
    front = fleet.frontend("--namespace", "front", *flags)
    until("the model", lambda: front.get("/v1/models").json()["data"])
    return front


@pytest.fixture
def agg(fleet):
    fleet.pools = [pool(fleet, "pool0"), pool(fleet, "pool1", workers=2)]
    for _, router in fleet.pools:
        router.ready()
    fleet.top = global_router(fleet, AGG).ready()
    fleet.front = frontend(fleet)
    return fleet


def test_targets_choose_the_pool(agg):
    (m0, _), (m1, r1) = agg.pools
    tight = {"router": {"ttft_target": 100}}
    relaxed = {"router": {"ttft_target": 2900}}
    r = agg.front.chat(nvext=tight)
    assert r.status == 200 and r.json()["usage"]["completion_tokens"] == 8, r
    assert (served_by(m0), served_by(m1)) == (1, 0)
    assert agg.front.chat(nvext=relaxed).status == 200
    assert (served_by(m0), served_by(m1)) == (1, 1)
    # The middle of the axis is a boundary: the upper bucket. A target of 0 is the tightest.
    assert agg.front.chat().status == 200
    assert (served_by(m0), served_by(m1)) == (1, 2)
    assert agg.front.chat(nvext={"router": {"ttft_target": 0}}).status == 200
    assert (served_by(m0), served_by(m1)) == (2, 2)
    # A priority that a rule names wins over the targets.
    assert agg.front.chat(nvext={**relaxed, "agent_hints": {"priority": 50}}).status == 200
    assert (served_by(m0), served_by(m1)) == (3, 2)
    assert agg.front.chat(nvext={**relaxed, "agent_hints": {"priority": 49}}).status == 200
    assert (served_by(m0), served_by(m1)) == (3, 3)
    requests = lambda pool: agg.top.metric("weir_global_router_pool_requests_total", pool=pool)
    assert (requests("0"), requests("1")) == (3, 3)
    assert r1.metric("dynamo_component_router_requests_total") == 3


def test_streams_pass_unchanged(agg):
    whole = agg.front.chat(max_tokens=40, seed=7).json()["choices"][0]["message"]["content"]
    for target in (100, 2900):
        r = agg.front.chat(max_tokens=40, seed=7, stream=True, nvext={"router": {"ttft_target": target}})
        events = r.events()
        assert events[-1] == "[DONE]"
        assert "".join(e["choices"][0]["delta"].get("content") or "" for e in events[:-1]) == whole


def test_no_embeddings_through_pools(agg):
    """As in Dynamo: what a global router registers is for chat and completions."""
    r = agg.front.ask("POST", "/v1/embeddings", {"model": "m", "input": "x"})
    assert r.status == 404 and "Model not found" in r.json()["message"], r


def test_the_router_of_a_pool_knows_its_caches(agg):
    (_, _), (m1, router) = agg.pools
    text = "the same beginning of a prompt " * 30
    relaxed = {"router": {"ttft_target": 2900}}
    before = router.metric("weir_router_index_blocks")
    first = agg.front.chat(text, nvext=relaxed).json()["usage"]
    until("the blocks in the router's index",
          lambda: router.metric("weir_router_index_blocks") >= before + first["prompt_tokens"] // 16)
    for _ in range(6):  # by chance they would meet two workers
        usage = agg.front.chat(text, nvext=relaxed).json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] >= first["prompt_tokens"] // 16 * 16


def test_questions_to_a_router(fleet):
    """best_worker_id and get_overlap_scores answer without routing."""
    mocker, router = pool(fleet, "pool0", workers=2)
    until("both workers", lambda: router.ready().metric("weir_router_workers") == 2 == router.metric("weir_router_ranks_live"))
    prompt = list(range(100)) + [7, 8, 9]
    ask = lambda endpoint, **more: call(fleet.env["DYN_FILE_KV"], "pool0", "router", endpoint,
                                        {"token_ids": prompt, **more})
    scores = ask("get_overlap_scores")[0]["data"]
    assert scores["block_size"] == 16 and scores["num_blocks"] == 6
    assert [(w["worker_id"], w["device_blocks"]) for w in sorted(scores["workers"], key=lambda w: w["worker_id"])] == \
        [(i, 0) for i in sorted(mocker.ids)]
    stop = {"max_tokens": 2}
    items = ask("generate", stop_conditions=stop)
    assert [t for i in items for t in i["data"]["token_ids"]] and items[-1]["data"]["finish_reason"] == "length"
    until("the prompt's blocks", lambda: router.metric("weir_router_index_blocks") == 6)
    scores = ask("get_overlap_scores")[0]["data"]
    holder = next(w for w in scores["workers"] if w["device_blocks"] > 0)
    assert (holder["device_blocks"], holder["host_pinned_blocks"], holder["disk_blocks"]) == (6, 6, 6)
    assert holder["router_credit_blocks"] == 6.0 and holder["host_pinned_extension_blocks"] == 0
    assert all(ask("best_worker_id") == [{"data": holder["worker_id"]}] for _ in range(4))
    # Without credit for what is held, chance decides.
    free = {"overlap_score_credit": 0, "track_prefill_tokens": False}
    assert {ask("best_worker_id", router_config_override=free)[0]["data"] for _ in range(40)} == set(mocker.ids)
    assert router.metric("dynamo_component_router_requests_total") == 1
    assert "error" in ask("best_worker_id", token_ids="x")[0]


def test_router_leaves_out_other_block_sizes(fleet):
    fleet.mocker("--endpoint", "dyn://pool0.backend.generate", "--block-size", "32")
    router = pool_router(fleet, "pool0", "backend", "--router-block-size", "16")
    router.wait_line("has blocks of 32 tokens, this router 16: it is left out")
    r = call(fleet.env["DYN_FILE_KV"], "pool0", "router", "generate", {"token_ids": [1], "stop_conditions": {"max_tokens": 1}})
    assert r[0]["event"] == "error" and router.metric("weir_router_rejected_total") == 1


@pytest.mark.parametrize("flags", [("--router-block-size", "16"), ()])
def test_router_takes_a_worker_whose_card_changes(fleet, flags):
    """(Failed before: a worker that had been left out was forgotten, where it is with it.)"""
    first = PlaneWorker(fleet, number=0x10)
    router = pool_router(fleet, "dynamo", "plane", *flags)
    router.wait_line("worker 16 joins; there are 1$")
    other = PlaneWorker(fleet, number=0x20, kv_cache_block_size=32)
    router.wait_line("worker 32 has blocks of 32 tokens, this router 16: it is left out")
    if flags:
        other.announce()  # where it is does not matter: its card still says another size
    third = PlaneWorker(fleet, number=0x30)
    router.wait_line("worker 48 joins; there are 2$")
    other.say(kv_cache_block_size=16)
    router.wait_line("worker 32 joins; there are 3$")
    for w in (first, other, third):
        w.close()


def test_many_streams_and_two_routers_of_a_pool(agg):
    second = pool_router(agg, "pool1").ready()
    until("both routers of pool 1",
          lambda: agg.top.metric("weir_global_router_pool_routers", pool="1") == 2)
    failed = []

    def run(n):
        for i in range(20):
            r = agg.front.chat(f"{n} {i}", stream=True, max_tokens=5,
                               nvext={"router": {"ttft_target": 100 if i % 2 else 2900}})
            if r.status != 200 or r.events()[-1] != "[DONE]" or len(r.events()) < 5:
                failed.append(r)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed[:3]
    assert second.metric("dynamo_component_router_requests_total") == 40
    assert agg.top.metric("weir_global_router_pool_failures_total") == 0


def test_missing_pool_is_named(fleet):
    pool(fleet, "pool0")[1].ready()
    top = global_router(fleet, AGG, "--pool-wait-secs", "0.2")
    top.wait_line(r"agg pool 1 has no router: pool1.router.generate has no instance; registering without it")
    front = frontend(fleet)
    assert top.get("/health")[0] == 503
    assert front.chat(nvext={"router": {"ttft_target": 100}}).status == 200
    r = front.chat(nvext={"router": {"ttft_target": 2900}})
    assert r.status == 503 and "no router in agg pool 1: pool1.router.generate has no instance" in r.body.decode()
    pool(fleet, "pool1")[1].ready()
    top.ready()
    assert front.chat(nvext={"router": {"ttft_target": 2900}}).status == 200


def test_waits_for_its_pools(fleet):
    top = global_router(fleet, AGG)
    pool(fleet, "pool0")[1].ready()
    pool(fleet, "pool1")[1].ready()
    top.ready()
    info = json.loads(top.wait_line(r"pools: (\{.*\})").group(1))
    assert info["agg_connected"] == ["pool0", "pool1"] and info["num_agg_pools"] == 2
    assert info["agg_pool_priorities"] == [0, 1] and info["mode"] == "agg"


RETRY = {**AGG, "num_agg_pools": 3, "enable_priority_retry": True,
         "agg_pool_dynamo_namespaces": ["pool0", "pool1", "pool2"],
         "agg_pool_selection_strategy": {**AGG["agg_pool_selection_strategy"], "agg_pool_mapping": [[2], [1]]}}


def three_pools(fleet, config, flags):
    pools = [pool(fleet, f"pool{i}", *flags[i]) for i in range(3)]
    for _, router in pools:
        router.ready()
    top = global_router(fleet, config).ready()
    return [p[0] for p in pools], top, frontend(fleet)


def test_failing_pools_are_followed_by_faster_ones(fleet):
    broken = ("--fail-rate", "1")
    mockers, top, front = three_pools(fleet, RETRY, [(), broken, broken])
    r = front.chat(nvext={"router": {"ttft_target": 100}})
    assert r.status == 200, r
    assert served_by(mockers[0]) == 1
    failures = lambda pool: top.metric("weir_global_router_pool_failures_total", pool=pool)
    assert [failures(str(i)) for i in range(3)] == [0, 1, 1]
    assert top.metric("weir_global_router_retries_total") == 2


@pytest.mark.parametrize("priorities, failing, served", [([5, 0, 10], 2, 0), ([10, 0, 5], 0, 2)])
def test_retry_takes_the_next_lower_priority(fleet, priorities, failing, served):
    grid = {**AGG["agg_pool_selection_strategy"], "agg_pool_mapping": [[failing], [failing]]}
    config = {**RETRY, "agg_pool_priorities": priorities, "agg_pool_selection_strategy": grid}
    flags = [("--fail-rate", "1") if i == failing else () for i in range(3)]
    mockers, _, front = three_pools(fleet, config, flags)
    assert front.chat().status == 200
    assert [served_by(m) for m in mockers] == [i == served for i in range(3)]


def test_without_retry_the_first_failure_counts(fleet):
    mockers, top, front = three_pools(fleet, {**RETRY, "enable_priority_retry": False},
                                      [(), (), ("--fail-rate", "1")])
    r = front.chat(nvext={"router": {"ttft_target": 100}})
    assert r.status == 500 and [served_by(m) for m in mockers] == [0, 0, 0]


def test_no_retry_behind_the_first_item(fleet):
    slow = ("--speedup-ratio", "1", "--decode-base-ms", "100")
    mockers, top, front = three_pools(fleet, RETRY, [(), (), slow])
    c = front.connect()
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 500, "stream": True,
            "nvext": {"router": {"ttft_target": 100}}}
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    r = c.getresponse()
    assert r.status == 200
    first = r.readline()
    mockers[2].kill()
    rest = (first + r.read()).decode()
    c.close()
    assert '"error"' in rest and rest.rstrip().endswith("[DONE]"), rest[-500:]
    assert [served_by(m) for m in mockers[:2]] == [0, 0]
    assert top.metric("weir_global_router_retries_total") == 0


def test_a_client_that_leaves_frees_the_worker(agg):
    slow, router = pool(agg, "pool9", "--speedup-ratio", "1", "--decode-base-ms", "50")
    router.ready()
    config = {**AGG, "agg_pool_dynamo_namespaces": ["pool9", "pool9"]}
    path = os.path.join(agg.folder, "other.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump(config, f)
    Service(agg, "global-router", "--config", path, "--model-name", "slow", "--namespace", "front").ready()
    until("the slow model", lambda: len(agg.front.get("/v1/models").json()["data"]) == 2)
    c = agg.front.connect()
    body = {"model": "slow", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5000, "stream": True}
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    r = c.getresponse()
    assert r.readline().startswith(b"data:")
    assert slow.metric("requests_running") == 1
    r.close()
    c.close()
    until("the worker to be free", lambda: slow.metric("requests_running") == 0)
    assert slow.metric("finished_total") == 0


def test_a_slow_reader_gets_everything(agg):
    """Longer than what sockets hold: each process in between waits for the next one."""
    n = 60000
    c = agg.front.connect()
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": n, "stream": True}
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    r = c.getresponse()
    until("the worker to be done with it", lambda: sum(served_by(m) for m, _ in agg.pools) == 1)
    text = r.read()
    c.close()
    assert text.rstrip().endswith(b"data: [DONE]")
    assert sum(len(e["choices"][0]["delta"].get("content") or "") for e in sse(text)[:-1]) > n // 2


DISAGG = {
    "num_prefill_pools": 1, "num_decode_pools": 2,
    "prefill_pool_dynamo_namespaces": ["pre"], "decode_pool_dynamo_namespaces": ["dec0", "dec1"],
    "prefill_pool_selection_strategy": {
        "isl_min": 0, "isl_max": 32000, "isl_resolution": 1, "ttft_min_ms": 10, "ttft_max_ms": 3000,
        "ttft_resolution": 1, "prefill_pool_mapping": [[0]]},
    "decode_pool_selection_strategy": {
        "context_length_min": 0, "context_length_max": 32000, "context_length_resolution": 1,
        "itl_min_ms": 10, "itl_max_ms": 500, "itl_resolution": 2, "decode_pool_mapping": [[0, 1]]},
}


def test_check_draws_the_grid(fleet):
    path = os.path.join(fleet.folder, "g.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump(DISAGG, f)
    p = Process([WEIR, "global-router", "--check", path])
    assert p.wait() == 0
    assert "decode pools" in p.log() and "dec1" in p.log() and "itl>=255" in p.log(), p.log()
    with open(path, "w", encoding="ascii") as f:
        json.dump({**DISAGG, "num_decode_pools": 3}, f)
    p = Process([WEIR, "global-router", "--check", path])
    assert p.wait() == 1
    assert "num_decode_pools (3) does not match decode_pool_dynamo_namespaces length (2)" in p.log()


def test_build_grid(fleet):
    path = os.path.join(fleet.folder, "curves.json")
    plan = {"size": {"min": 0, "max": 32000, "resolution": 2}, "latency": {"min": 0, "max": 2000, "resolution": 2},
            "pools": [{"name": "big", "cost": 8, "curve": [[0, 100], [32000, 900]]},
                      {"name": "small", "cost": 1, "curve": [[0, 400], [32000, 4000]]}]}
    with open(path, "w", encoding="ascii") as f:
        json.dump(plan, f)
    p = Process([WEIR, "global-router", "--build-grid", path])
    assert p.wait() == 0
    # Middles 8000 and 24000: big 300, 700; small 1300, 3100; edges 1000 and 2000.
    assert json.loads(p.log()) == {"mapping": [[0, 1], [0, 0]], "pools": ["big", "small"]}
    plan["pools"][0]["curve"] = [[5, 1], [5, 2]]
    with open(path, "w", encoding="ascii") as f:
        json.dump(plan, f)
    p = Process([WEIR, "global-router", "--build-grid", path])
    assert p.wait() == 1 and "sizes of a curve must rise; 5 follows 5" in p.log()


# ---- prefill and decode in the frontend -------------------------------------------------------


def split(fleet, prefill=2, decode=2, prefill_flags=(), decode_flags=(), front=()):
    pre = [fleet.mocker("--disaggregation-mode", "prefill", *prefill_flags) for _ in range(prefill)]
    dec = [fleet.mocker("--disaggregation-mode", "decode", *decode_flags) for _ in range(decode)]
    f = fleet.frontend("--router-mode", "kv", *front)
    if decode and not prefill and "--enforce-disagg" in front:
        f.wait_line(f"model m has {decode} worker")
    elif decode:
        f.ready(workers=decode)
    if prefill:
        f.wait_line(f"model m has {prefill} prefill worker")
    return pre, dec, f


def test_prefill_then_decode(fleet):
    pre, dec, front = split(fleet)
    alone = fleet.mocker(model="alone")
    front.wait_line("model alone has 1 worker")
    r = front.chat("hello there", max_tokens=20, seed=3, nvext={"extra_fields": ["worker_id"]}).json()
    assert r["usage"]["completion_tokens"] == 20
    assert r["choices"][0]["message"] == front.chat("hello there", model="alone", max_tokens=20,
                                                    seed=3).json()["choices"][0]["message"]
    ids = r["nvext"]["worker_id"]
    assert ids["prefill_worker_id"] in [m.ids[0] for m in pre]
    assert ids["decode_worker_id"] in [m.ids[0] for m in dec]
    assert sum(served_by(m) for m in pre) == 1 and sum(m.metric("output_tokens_total") for m in pre) == 1
    assert sum(m.metric("received_tokens_total") for m in dec) == r["usage"]["prompt_tokens"]
    assert sum(m.metric("output_tokens_total") for m in dec) == 20
    assert served_by(alone) == 1


def prefill_of(front, answer):
    """The decision for an answer's prefill leg."""
    page = front.get("/v1/router/explain?request_id=" + answer["id"]).json()["decisions"]
    return next(d for d in page if d["leg"] == "prefill")


def test_prefill_is_routed_by_its_caches(fleet):
    pre, _, front = split(fleet, front=("--router-explain-ring", "1000"))
    text = "a long beginning that several prompts share " * 20
    first = front.chat(text).json()
    blocks, holder = first["usage"]["prompt_tokens"] // 16, prefill_of(front, first)["worker_id"]

    def known():
        """Only the first two blocks are shared: wherever these go, one worker alone holds the long beginning."""
        candidates = prefill_of(front, front.chat(text[:40] + "x").json())["candidates"]
        return any(c["worker_id"] == holder and c["device_blocks"] > 0 for c in candidates)

    until("the prefill worker's events", known)
    before = [served_by(m) for m in pre]
    for i in range(6):
        cached = front.chat(text + str(i)).json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached >= (blocks - 2) * 16
    assert sorted(served_by(m) - n for m, n in zip(pre, before)) == [0, 6]


def test_hundreds_of_streams_over_both_legs(fleet):
    pre, dec, front = split(fleet)
    failed = []

    def run(n):
        for i in range(40):
            r = front.chat(f"request {i} of client {n} " * 5, stream=True, max_tokens=6, seed=n)
            tokens = [e for e in r.events()[:-1] if e["choices"][0]["delta"].get("content")]
            if r.status != 200 or r.events()[-1] != "[DONE]" or not tokens:
                failed.append(r)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed[:3]
    assert sum(served_by(m) for m in pre) == 320 and all(served_by(m) for m in pre)
    assert sum(served_by(m) for m in dec) == 320 and all(served_by(m) for m in dec)
    assert sum(m.metric("output_tokens_total") for m in dec) == 320 * 6


def test_messages_of_both_legs(fleet):
    """As captured: shared data dynamo/wire/disagg-plain-1.6.1.json."""
    params = {"kv": [1, 2.5, "x"], "room": 2 ** 63 + 5}
    pre = ScriptedWorker(fleet.env["DYN_FILE_KV"], lambda _: (["a"], "length"), worker_id=0x61,
                         component="prefill", worker_type="prefill", params=params)
    dec = ScriptedWorker(fleet.env["DYN_FILE_KV"], lambda _: (["b", "c"], "stop"), worker_id=0x62,
                         worker_type="decode")
    front = fleet.frontend()
    front.ready(workers=1)
    front.wait_line("model m has 1 prefill worker")
    r = front.chat(max_tokens=9).json()
    assert r["choices"][0]["message"]["content"] == "bc"
    (p,), (d,) = pre.requests, dec.requests
    assert p["token_ids"] == d["token_ids"]
    assert p["stop_conditions"]["max_tokens"] == 1 and d["stop_conditions"]["max_tokens"] == 9
    assert p["routing"]["prefill_worker_id"] == 0x61 and p["routing"]["prefill_dp_rank"] == 0
    assert p["routing"]["dp_rank"] == 0 and p["router_config_override"] is None
    assert "prefill_result" not in p and "bootstrap_info" not in p
    assert d["prefill_result"] == {"disaggregated_params": params, "prompt_tokens_details": None}
    assert d["routing"]["prefill_worker_id"] == 0x61 and d["routing"]["dp_rank"] == 0
    assert d["router_config_override"] == {
        "overlap_score_credit": 0.0, "prefill_load_scale": None, "router_temperature": None,
        "assume_kv_reuse": False, "track_prefill_tokens": False, "shared_cache_multiplier": None}
    assert "bootstrap_info" not in d
    pre.close()
    dec.close()


def test_bootstrap_sends_both_at_once(fleet):
    """As captured: shared data dynamo/wire/disagg-bootstrap-1.6.1.json."""
    both = threading.Barrier(2)  # each answers only when the other has the request

    def answer(pieces):
        def fn(_):
            both.wait(30)
            return pieces, "length"
        return fn

    pre = ScriptedWorker(fleet.env["DYN_FILE_KV"], answer(["a"]), worker_id=0x61, component="prefill",
                         worker_type="prefill", params="dummy",
                         disaggregated_endpoint={"bootstrap_host": "192.0.2.7", "bootstrap_port": 9340})
    dec = ScriptedWorker(fleet.env["DYN_FILE_KV"], answer(["b"]), worker_id=0x62, worker_type="decode")
    front = fleet.frontend()
    front.ready(workers=1)
    front.wait_line("model m has 1 prefill worker")
    for _ in range(2):
        r = front.chat()
        assert r.status == 200, f"{r.body}\n{front.log()[-3000:]}"
        assert r.json()["choices"][0]["message"]["content"] == "b"
    rooms = set()
    for p, d in zip(pre.requests, dec.requests):
        meeting = p["bootstrap_info"]
        assert meeting == d["bootstrap_info"] and "prefill_result" not in d
        assert (meeting["bootstrap_host"], meeting["bootstrap_port"]) == ("192.0.2.7", 9340)
        assert len(meeting["handoff_id"]) == 36
        assert d["routing"]["prefill_dp_rank"] == 0
        rooms.add(meeting["bootstrap_room"])
    assert len(rooms) == 2
    pre.close()
    dec.close()


def test_without_prefill_workers_one_does_all(fleet):
    _, dec, front = split(fleet, prefill=0, decode=1)
    assert front.chat().status == 200
    assert dec[0].metric("received_tokens_total") == 0
    late = fleet.mocker("--disaggregation-mode", "prefill")
    front.wait_line("model m has 1 prefill worker")
    assert front.chat().status == 200 and served_by(late) == 1
    late.stop()
    front.wait_line("model m has 0 prefill workers")
    assert front.chat().status == 200 and served_by(dec[0]) == 3


def test_enforced_disaggregation_refuses(fleet):
    _, dec, front = split(fleet, prefill=0, decode=1, front=("--enforce-disagg",))
    assert front.get("/v1/models/m/ready").json()["ready"] is False
    r = front.chat()
    assert r.status == 503 and served_by(dec[0]) == 0, r
    fleet.mocker("--disaggregation-mode", "prefill")
    front.wait_line("model m has 1 prefill worker")
    assert front.chat().status == 200


@pytest.mark.parametrize("queue", [(), ("--router-queue-threshold", "0")])
def test_the_last_prefill_instance_goes_before_its_card(fleet, queue):
    """As it does when a worker leaves in order. Dynamo 1.6.1 answers a prompt that comes in between, or without any prefill
    worker, 503 in these words (shared spec "transport" 3.2, "frontend" 2.3). (Failed before: other words.)"""
    pre, dec, front = split(fleet, prefill=1, decode=1, front=("--enforce-disagg", *queue))
    assert front.chat().status == 200
    store = os.path.join(fleet.env["DYN_FILE_KV"], "v1", "instances")
    record, = (name for name in os.listdir(store) if "generate" in name and name.endswith(f"{pre[0].ids[0]:x}"))
    with pre[0].frozen():  # else it may have written its record again by then
        os.remove(os.path.join(store, record))
        front.wait_line("model m has 0 prefill workers")
        seen = len(front.lines)
        r = front.chat()
    assert r.status == 503 and r.json()["error"]["message"] == (
        "Model `m` is not ready to serve requests yet. The deployment may still be starting up or is not fully provisioned. "
        "Please retry shortly."), r
    assert served_by(dec[0]) == 1
    front.wait_line("model m has 1 prefill worker", seen)  # it writes its record again
    assert front.chat().status == 200


def test_failing_prefill_workers_give_way(fleet):
    pre, dec, front = split(fleet, prefill=1, decode=1)
    broken = fleet.mocker("--disaggregation-mode", "prefill", "--fail-rate", "1")
    front.wait_line("model m has 2 prefill workers")
    for i in range(12):
        assert front.chat(f"number {i}").status == 200
    assert served_by(pre[0]) == 12 and served_by(broken) == 0
    seen = len(front.lines)
    pre[0].stop()
    front.wait_line("model m has 1 prefill worker", seen)
    assert front.chat().status == 200  # only the broken one is left: the decode worker does it all
    assert served_by(dec[0]) == 13


@pytest.mark.parametrize("split_up", [False, True])
def test_connections_that_workers_closed_cost_no_request(fleet, split_up):
    """A worker closes an idle connection while a request is on its way to it: the frontend is held until both are
    there, and meets the request first. No byte of it was lost, so nobody may notice. (Failed before.)"""
    store = fleet.env["DYN_FILE_KV"]
    kind = "decode" if split_up else "aggregated"
    workers = [ScriptedWorker(store, lambda _: (["b"], "stop"), worker_id=0x62, worker_type=kind)]
    if split_up:
        workers.append(ScriptedWorker(store, lambda _: (["a"], "length"), worker_id=0x61, component="prefill",
                                      worker_type="prefill", params={"k": 1}))
    front = fleet.frontend("--enforce-disagg" if split_up else "--no-load-aware", "--loops", "1")
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    until("the model", lambda: front.ask("POST", "/v1/chat/completions", body).status == 200)
    client = front.connect()
    for hang_up in (False, True, True, True):
        with front.frozen():
            client.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
            for w in workers:
                if hang_up:
                    w.hang_up()
        answer = client.getresponse()
        page = answer.read()
        assert answer.status == 200, page
    client.close()
    for w in workers:
        w.close()


def test_a_client_that_leaves_during_prefill_frees_both(fleet):
    slow = ("--speedup-ratio", "1", "--prefill-tokens-per-s", "100")
    pre, dec, front = split(fleet, prefill=1, decode=1, prefill_flags=slow)
    c = front.connect()
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 5000}], "max_tokens": 50, "stream": True}
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    until("the prompt at the prefill worker", lambda: pre[0].metric("requests_running") == 1)
    c.close()
    until("the prefill worker to be free", lambda: pre[0].metric("requests_running") == 0)
    assert served_by(pre[0]) == 0 and dec[0].metric("prompt_tokens_total") == 0


def test_kv_transfer_takes_time(fleet):
    delay = ("--speedup-ratio", "1", "--kv-transfer-bandwidth", "0.1", "--kv-bytes-per-token", "1000000",
             "--decode-base-ms", "0")
    _, dec, front = split(fleet, prefill=1, decode=1, decode_flags=delay)
    r = front.chat("x" * 40, max_tokens=2, nvext={"extra_fields": ["timing"]}).json()
    n = r["usage"]["prompt_tokens"]  # 10 ms a token
    assert r["nvext"]["timing"]["total_time_ms"] >= n * 10


def test_split_pools_behind_global_router(fleet):
    """2 prefill and 2 decode workers behind three routers and a global router."""
    pre = fleet.mocker("--endpoint", "dyn://pre.prefill.generate", "--disaggregation-mode", "prefill",
                       model="worker-of-pre", workers=2)
    routers = [pool_router(fleet, "pre", "prefill", "--no-router-track-active-blocks")]
    dec = []
    for ns in ("dec0", "dec1"):
        m, router = pool(fleet, ns, "--disaggregation-mode", "decode")
        dec.append(m)
        routers.append(router)
    for router in routers:
        router.ready()
    top = global_router(fleet, DISAGG).ready()
    front = frontend(fleet)
    front.wait_line("model m has 1 prefill worker")
    for i in range(20):
        r = front.chat(f"prompt {i}", stream=True, max_tokens=6, nvext={"router": {"itl_target": 20 if i % 4 else 400}})
        assert r.status == 200 and r.events()[-1] == "[DONE]", r
    assert served_by(pre) == 20
    assert [served_by(m) for m in dec] == [15, 5]
    assert all(m.metric("received_tokens_total") > 0 for m in dec)
    requests = lambda kind: top.metric("weir_global_router_pool_requests_total", type=kind)
    assert (requests("prefill"), requests("decode")) == (20, 20)
