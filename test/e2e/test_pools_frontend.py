"""`weir frontend --pools`: the grids of the global router over pools that the frontend finds itself."""
import json
import os
import subprocess
import threading

import pytest
from test_media import image, image_rows, text, user, vision_model
from weir import WEIR, until

AGG = {
    "mode": "agg", "num_agg_pools": 2, "agg_pool_dynamo_namespaces": ["pool0", "pool1"],
    "agg_pool_selection_strategy": {
        "ttft_min_ms": 10, "ttft_max_ms": 3000, "ttft_resolution": 2,
        "itl_min_ms": 5, "itl_max_ms": 200, "itl_resolution": 1, "agg_pool_mapping": [[0], [1]],
        "priority_overrides": [{"min_priority": 50, "max_priority": 100, "target_pool": 0}]},
}
SPLIT = {
    "num_prefill_pools": 2, "num_decode_pools": 2,
    "prefill_pool_dynamo_namespaces": ["pre0", "pre1"], "decode_pool_dynamo_namespaces": ["dec0", "dec1"],
    "prefill_pool_selection_strategy": {
        "ttft_min_ms": 10, "ttft_max_ms": 3000, "ttft_resolution": 1, "isl_min": 0, "isl_max": 2000,
        "isl_resolution": 2, "prefill_pool_mapping": [[0], [1]]},
    "decode_pool_selection_strategy": {
        "itl_min_ms": 10, "itl_max_ms": 500, "itl_resolution": 2, "context_length_min": 0,
        "context_length_max": 32000, "context_length_resolution": 1, "decode_pool_mapping": [[0, 1]]},
}


def worker(fleet, ns, *flags, component="backend", **more):
    return fleet.mocker("--endpoint", f"dyn://{ns}.{component}.generate", *flags, **more)


def pools_file(fleet, config):
    path = os.path.join(fleet.folder, "pools.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump(config, f)
    return path


def frontend(fleet, config, *flags, workers=1, **more):
    """Ready with so many workers that the router may choose (their instances show before their cards)."""
    f = fleet.frontend("--pools", pools_file(fleet, config), "--router-mode", "kv", *flags, **more)
    f.wait_line(f"model m has {workers} worker")
    return f


def served(mocker):
    return mocker.metric("finished_total")


def ask(front, text="hello", ttft=None, itl=None, priority=None, **fields):
    nvext = {"router": {k: v for k, v in (("ttft_target", ttft), ("itl_target", itl)) if v is not None}}
    if priority is not None:
        nvext["agent_hints"] = {"priority": priority}
    return front.chat(text, headers={"x-weir-explain": "1"}, nvext=nvext, **fields)


def pool_of(answer):
    assert answer.status == 200, answer
    return json.loads(answer.headers["x-weir-explain"])["pool"]


def two_pools(fleet, config, *flags):
    """A fast one and a slow one, both under the model's name."""
    fast = worker(fleet, "pool0", workers=2)
    slow = worker(fleet, "pool1", "--speedup-ratio", "1", "--decode-base-ms", "2")
    return fast, slow, frontend(fleet, config, *flags, workers=3)


def test_targets_and_priority_choose_the_pool(fleet, tmp_path):
    log = tmp_path / "decisions.ndjson"
    fast, slow, front = two_pools(fleet, AGG, "--decision-log", str(log))
    cases = [({"ttft": 100}, 0, "grid", 0), ({"ttft": 2900}, 1, "grid", 1), ({}, 1, "grid", 1),
             ({"ttft": 0}, 0, "grid", 0), ({"ttft": 99999}, 1, "grid", 1), ({"ttft": 2900, "priority": 60}, 0, "priority", 1),
             ({"ttft": 2900, "priority": 49}, 1, "grid", 1), ({"ttft": 100, "priority": 100}, 0, "priority", 0)]
    for i, (what, index, by, bucket) in enumerate(cases):
        before = served(fast), served(slow)
        answer = ask(front, f"question {i}", **what)
        assert pool_of(answer) == {"phase": "agg", "index": index, "namespace": f"pool{index}", "by": by,
                                   "bucket": {"ttft": bucket, "itl": 0}}, what
        record = json.loads(answer.headers["x-weir-explain"])
        assert record["worker_id"] in (fast, slow)[index].ids and record["n_candidates"] == (2, 1)[index]
        assert (served(fast) - before[0], served(slow) - before[1]) == ((1, 0), (0, 1))[index]
    chosen = [sum(1 for c in cases if c[1] == i) for i in (0, 1)]
    assert [front.metric("weir_router_pool_requests_total", phase="agg", pool=str(i)) for i in (0, 1)] == chosen
    assert front.stop() == 0
    lines = [json.loads(x) for x in log.read_text().splitlines()]
    assert [x["pool"]["index"] for x in lines] == [c[1] for c in cases]
    r = subprocess.run([WEIR, "replay", "--decisions", str(log), "--json", "-"], text=True, capture_output=True, timeout=60)
    assert json.loads(r.stdout)["equal"] == len(cases)


def test_default_target(fleet):
    _, _, front = two_pools(fleet, AGG, "--default-ttft-target-ms", "100", "--default-itl-target-ms", "20")
    assert pool_of(ask(front))["index"] == 0 and pool_of(ask(front, ttft=2900))["index"] == 1


def test_an_image_is_a_token_for_the_grid(tmp_path, fleet):
    """As for a global router, which counts the ids that it is sent (failed before, by those that the image becomes)."""
    folder, isl = vision_model(tmp_path / "model"), {"isl_min": 0, "isl_max": 320, "isl_resolution": 2, "agg_pool_mapping": [[[0], [0]], [[1], [1]]]}
    for ns in ("pool0", "pool1"):
        worker(fleet, ns, "--model-path", folder)
    front = frontend(fleet, {**AGG, "agg_pool_selection_strategy": {**AGG["agg_pool_selection_strategy"], **isl}}, workers=2)
    for words, index in (("", 0), ("x" * 100, 1)):
        answer = front.chat(messages=user(image(image_rows()["png"]["url"]), text(words)), headers={"x-weir-explain": "1"}, max_tokens=2)
        assert pool_of(answer)["index"] == index


def test_caches_count_inside_the_pool(fleet):
    """A prompt that the other pool holds is no reason to go there."""
    fast, slow, front = two_pools(fleet, AGG)
    text = "a long beginning that both pools will hold some day " * 20
    assert pool_of(ask(front, text, ttft=2900))["index"] == 1
    until("the slow pool's cache to be known", lambda: any(
        c["device_blocks"] > 0 for c in json.loads(ask(front, text + "x", ttft=2900).headers["x-weir-explain"])["candidates"]))
    record = json.loads(ask(front, text + "y", ttft=100).headers["x-weir-explain"])
    assert record["pool"]["index"] == 0 and all(c["device_blocks"] == 0 for c in record["candidates"])
    assert record["worker_id"] in fast.ids


def test_many_streams_in_both_pools(fleet):
    fast, slow, front = two_pools(fleet, AGG)
    failed = []

    def run(k):
        for i in range(20):
            r = ask(front, f"{k} {i}", ttft=(100, 2900)[i % 2], stream=True, max_tokens=4)
            if r.status != 200 or r.events()[-1] != "[DONE]":
                failed.append((k, i, r))
    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not failed, failed[:3]
    assert (served(fast), served(slow)) == (80, 80)


MISSING = "no worker in agg pool 1: namespace pool1 has none of model m"


def test_missing_pool_is_named(fleet):
    fast = worker(fleet, "pool0")
    front = frontend(fleet, AGG)
    assert pool_of(ask(front, ttft=100))["index"] == 0
    r = ask(front, ttft=2900)
    assert r.status == 503 and r.json()["message"] == MISSING and r.headers["retry-after"]
    front.wait_line(r"agg pool 1 \(pool1\): " + MISSING)
    assert served(fast) == 1
    worker(fleet, "pool1")
    until("the pool's worker", lambda: ask(front, ttft=2900).status == 200)


def test_a_faster_pool_takes_over(fleet):
    """enable_priority_retry: a pool without workers, and one whose worker has just died."""
    fast = worker(fleet, "pool0")
    front = frontend(fleet, {**AGG, "enable_priority_retry": True})
    assert pool_of(ask(front, ttft=2900)) == {"phase": "agg", "index": 0, "namespace": "pool0", "by": "retry",
                                              "bucket": {"ttft": 1, "itl": 0}}
    slow = worker(fleet, "pool1")
    until("the slow pool", lambda: pool_of(ask(front, ttft=2900))["index"] == 1)
    slow.kill()
    assert ask(front, ttft=2900).status == 200
    assert front.metric("weir_router_pool_retries_total", pool="0") >= 2
    assert served(fast) >= 2
    # The fast one has nobody to give way to: pools are tried towards lower numbers only.
    fast.kill()
    until("no pool at all", lambda: ask(front, ttft=100).status != 200)


def test_workers_elsewhere_are_left_out(fleet):
    worker(fleet, "pool0")
    stranger = worker(fleet, "pool2")
    wrong = worker(fleet, "pool1", "--disaggregation-mode", "prefill")
    front = frontend(fleet, AGG)
    front.wait_line("a prefill worker of namespace pool1 is left out: the pool file has that namespace for others")
    for _ in range(4):
        assert pool_of(ask(front, ttft=100))["index"] == 0
    assert ask(front, ttft=2900).json()["message"] == MISSING
    assert served(stranger) == served(wrong) == 0
    # Who names a worker of a pool gets it, whatever the grid says.
    assert front.chat(headers={"x-dynamo-worker-instance-id": str(stranger.ids[0])}).status == 400


def test_prefill_and_decode_pools(fleet):
    pre = [worker(fleet, f"pre{i}", "--disaggregation-mode", "prefill", component="prefill") for i in (0, 1)]
    dec = [worker(fleet, f"dec{i}", "--disaggregation-mode", "decode") for i in (0, 1)]
    front = frontend(fleet, SPLIT, "--enforce-disagg", "--router-explain-ring", "100", workers=2)
    front.wait_line("model m has 2 prefill worker")
    n = 0
    for text, prefill in (("short", 0), ("long " * 300, 1)):
        for itl, decode in ((20, 0), (400, 1)):
            r = ask(front, text, itl=itl)
            assert pool_of(r)["index"] == decode and pool_of(r)["phase"] == "decode"
            page = front.get("/v1/router/explain?request_id=" + r.json()["id"]).json()["decisions"]
            assert [(d["leg"], d["pool"]["phase"], d["pool"]["index"]) for d in page] == \
                [("prefill", "prefill", prefill), ("decode", "decode", decode)]
            assert page[0]["worker_id"] == pre[prefill].ids[0] and page[1]["worker_id"] == dec[decode].ids[0]
            n += 1
    assert [served(w) for w in (*pre, *dec)] == [2, 2, 2, 2] and n == 4
    seen = len(front.lines)
    pre[1].stop()
    front.wait_line("model m has 1 prefill worker", seen)
    r = ask(front, "long " * 300, itl=20)
    assert r.status == 503
    assert r.json()["message"] == "no worker in prefill pool 1: namespace pre1 has none of model m"
    assert ask(front, "short", itl=20).status == 200


def test_without_prefill_workers_the_decode_pools_do_all(fleet):
    dec = [worker(fleet, f"dec{i}", "--disaggregation-mode", "decode") for i in (0, 1)]
    front = frontend(fleet, SPLIT, workers=2)
    for itl, decode in ((20, 0), (400, 1)):
        r = ask(front, "hello", itl=itl)
        assert pool_of(r)["index"] == decode and json.loads(r.headers["x-weir-explain"])["leg"] == "whole"
    assert [served(w) for w in dec] == [1, 1]


@pytest.mark.parametrize("config, flags, want", [
    ({**AGG, "num_agg_pools": 3}, (), "pools.json: num_agg_pools (3) does not match agg_pool_dynamo_namespaces length (2)"),
    ({**AGG, "agg_pool_dynamo_namespaces": ["a", "a"]}, (),
     "--pools: agg pools 0 and 1 have the same namespace a: a worker can be in one only"),
    ({**SPLIT, "prefill_pool_dynamo_namespaces": ["a", "a"]}, (), "--pools: prefill pools 0 and 1 have the same namespace a"),
    (AGG, ("--namespace", "x"), "--pools names the namespaces itself: leave --namespace out"),
    (AGG, ("--namespace-prefix", "x"), "--pools names the namespaces itself: leave --namespace-prefix out"),
    (AGG, ("--worker", "http://127.0.0.1:1"), "--pools is for workers that discovery shows: leave --worker out"),
    (None, (), "cannot read the pool file"),
    (None, ("--default-ttft-target-ms", "5"), "--default-ttft-target-ms and --default-itl-target-ms need --pools"),
])
def test_bad_settings(fleet, config, flags, want):
    path = pools_file(fleet, config) if config else os.path.join(fleet.folder, "none.json")
    pools = () if want.endswith("need --pools") else ("--pools", path)
    r = subprocess.run([WEIR, "frontend", "--http-port", "0", *pools, *flags], env=fleet.env, text=True,
                       capture_output=True, timeout=30)
    assert r.returncode != 0 and want in r.stdout + r.stderr, r.stdout + r.stderr
