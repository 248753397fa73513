"""GET /v1/models/NAME/ready beside what a live Dynamo 1.6.1 answered for the same fleets."""
from plane_worker import PlaneWorker
from weir import until

NONE = "no namespace has all required worker types live"
AGG = {"workers": 1, "needs": []}
PRE, DEC = {"workers": 1, "needs": [["decode"]]}, {"workers": 1, "needs": [["prefill"]]}


def ready(front, wanted):
    """What it says once it says this, or in the end."""
    got = []

    def says():
        answer = front.get("/v1/models/m/ready")
        got[:] = [answer.json() if answer.status == 200 else answer.status]
        return got[0] == wanted
    try:
        until("the page to say so", says)
    except AssertionError:
        assert got[0] == wanted
    return got[0]


def space(ok, types, missing=(), reason=None):
    return {"ready": ok, **({"reason": reason} if reason else {}), "worker_types": types, "present": sorted(types),
            "missing_worker_types": list(missing)}


def test_prefill_and_decode(fleet):
    """(Failed before: all workers stood there as aggregated ones, and prefill workers not at all.)"""
    front = fleet.frontend("--enforce-disagg")
    ready(front, 404)
    pre = fleet.mocker("--disaggregation-mode", "prefill")
    ready(front, {"model": "m", "ready": False, "reason": NONE, "namespaces": {
        "dynamo": space(False, {"prefill": PRE}, ["decode"], "missing worker types: decode")}})
    fleet.mocker("--disaggregation-mode", "decode")
    ready(front, {"model": "m", "ready": True, "namespaces": {"dynamo": space(True, {"decode": DEC, "prefill": PRE})}})
    assert pre.stop() == 0
    ready(front, {"model": "m", "ready": False, "reason": NONE, "namespaces": {
        "dynamo": space(False, {"decode": DEC}, ["prefill"], "missing worker types: prefill")}})


def test_decode_workers_that_may_do_all(fleet):
    """Ready, where Dynamo is not: they are asked. Prefill workers of another namespace are used, too."""
    fleet.mocker("--disaggregation-mode", "decode")
    front = fleet.frontend()
    why = "missing worker types: prefill (prefilled elsewhere or by the decode workers)"
    ready(front, {"model": "m", "ready": True, "namespaces": {"dynamo": space(True, {"decode": DEC}, ["prefill"], why)}})
    assert front.chat().status == 200
    fleet.mocker("--disaggregation-mode", "prefill", "--endpoint", "another.prefill.generate")
    enforced = fleet.frontend("--enforce-disagg")
    ready(enforced, {"model": "m", "ready": True, "namespaces": {
        "another": space(False, {"prefill": PRE}, ["decode"], "missing worker types: decode"),
        "dynamo": space(True, {"decode": DEC}, ["prefill"], why)}})
    assert enforced.chat().status == 200


def test_namespaces_and_several_workers(fleet):
    fleet.mocker(workers=3)
    fleet.mocker("--endpoint", "other.backend.generate")
    fleet.mocker("--endpoint", "third.prefill.generate", "--disaggregation-mode", "prefill")
    ready(fleet.frontend(), {"model": "m", "ready": True, "namespaces": {
        "dynamo": space(True, {"aggregated": {**AGG, "workers": 3}}), "other": space(True, {"aggregated": AGG}),
        "third": space(False, {"prefill": PRE}, ["decode"], "missing worker types: decode")}})


def aggregated(front, n):
    ready(front, {"model": "m", "ready": True, "namespaces": {"dynamo": space(True, {"aggregated": {**AGG, "workers": n}})}})


def test_workers_of_one_model_with_other_cards(fleet):
    """As with Dynamo: the first card settles it, others wait until its workers have gone. (Failed before: all were served.)"""
    first = [fleet.mocker(workers=2)]
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    other = fleet.mocker("--max-model-len", "4096")
    front.wait_line(rf"ERROR models: worker {other.ids[0]} of model m is left out: its card \(checksum [0-9a-f]{{16}}…\)")
    first.append(fleet.mocker())
    aggregated(front, 3)
    for i in range(8):
        assert front.chat(f"hello {i}").status == 200
    assert other.metric("finished_total") == 0
    for m in first:
        assert m.stop() == 0
    front.wait_line(rf"worker {other.ids[0]} of model m is left out no longer")
    aggregated(front, 1)
    assert front.chat().status == 200 and other.metric("finished_total") == 1
    # Another endpoint is another set, and another part, too.
    fleet.mocker("--endpoint", "dynamo.more.generate")
    aggregated(front, 2)


def test_workers_of_one_model_with_other_blocks(fleet):
    """Of another endpoint, so their cards may differ, but not the size of a block. (Failed before: they were forgotten.)"""
    first = fleet.mocker()
    front = fleet.frontend("--router-mode", "kv").ready()
    other = fleet.mocker("--endpoint", "dynamo.more.generate", "--block-size", "32")
    changes = PlaneWorker(fleet, component="changes", kv_cache_block_size=64)
    for size in (32, 64):
        front.wait_line(f"a worker of model m has block size {size}, the others 16; it is left out")
    changes.say(kv_cache_block_size=16)
    aggregated(front, 2)
    changes.close()
    aggregated(front, 1)
    assert first.stop() == 0
    front.wait_line(rf"worker {other.ids[0]} of model m is left out no longer")
    aggregated(front, 1)
    assert front.chat().status == 200 and other.metric("finished_total") == 1


def test_prefill_workers_with_other_blocks(fleet):
    """Of other endpoints, as above. (Failed before: a pool kept the block size of its first card although that worker had gone.)"""
    first = fleet.mocker("--disaggregation-mode", "prefill")
    fleet.mocker("--disaggregation-mode", "decode")
    front = fleet.frontend("--router-mode", "kv").ready()
    front.wait_line("model m has 1 prefill worker$")
    other = fleet.mocker("--endpoint", "dynamo.more.generate", "--disaggregation-mode", "prefill", "--block-size", "32")
    changes = PlaneWorker(fleet, component="changes", kv_cache_block_size=64, worker_type="prefill", model_type="")
    for size in (32, 64):
        front.wait_line(f"a prefill worker of model m has block size {size}, the others 16; it is left out")
    changes.say(kv_cache_block_size=16)
    front.wait_line("model m has 2 prefill workers$")
    seen = len(front.lines)
    changes.close()
    front.wait_line("model m has 1 prefill worker$", start=seen)
    assert first.stop() == 0
    front.wait_line(rf"worker {other.ids[0]} of model m is left out no longer")
    long = {"messages": [{"role": "user", "content": "a" * 400}]}
    for n in (1, 2):
        assert front.chat(**long).status == 200 and other.metric("finished_total") == n
    # Back to the first size: the pool that there was.
    seen = len(front.lines)
    assert other.stop() == 0
    front.wait_line("model m has 0 prefill workers$", start=seen)
    seen = len(front.lines)
    again = fleet.mocker("--disaggregation-mode", "prefill")
    front.wait_line("model m has 1 prefill worker$", start=seen)
    assert front.chat(**long).status == 200 and again.metric("finished_total") == 1


def test_prefill_workers_with_other_cards(fleet):
    pre = fleet.mocker("--disaggregation-mode", "prefill")
    fleet.mocker("--disaggregation-mode", "decode", "--max-model-len", "4096")
    front = fleet.frontend().ready()
    front.wait_line("model m has 1 prefill worker$")
    other = fleet.mocker("--disaggregation-mode", "prefill", "--max-model-len", "4096")
    front.wait_line(rf"worker {other.ids[0]} of model m is left out: its card")
    assert front.chat().status == 200 and pre.metric("finished_total") == 1
    assert pre.stop() == 0
    front.wait_line(rf"worker {other.ids[0]} of model m is left out no longer")
    until("it to serve", lambda: front.chat().status == 200 and other.metric("finished_total"))
