"""Conditional disaggregation: who computes a prompt, the prefill worker or the decode worker itself, and why."""
import json
import subprocess
import threading

import pytest
from scripted import ScriptedWorker
from weir import DEADLINE_S, WEIR, until

RULES = "--router-conditional-disagg-config"
KV = ("--router-mode", "kv", "--router-conditional-disagg")


def explained(answer):
    assert answer.status == 200, answer
    return json.loads(answer.headers["x-weir-explain"])


def ask(front, text):
    return explained(front.chat(text, headers={"x-weir-explain": "1"}, max_tokens=2))


def served(mocker):
    return mocker.metric("finished_total")


def test_cached_prompts_stay_on_the_decode_worker(fleet, tmp_path):
    log = tmp_path / "decisions.ndjson"
    pre = fleet.mocker("--disaggregation-mode", "prefill")
    dec = fleet.mocker("--disaggregation-mode", "decode", "--decode-kv-events")
    front = fleet.frontend(*KV, "--decision-log", str(log), "--router-explain-ring", "100")
    front.wait_line("model m has 1 worker")
    front.wait_line("model m has 1 prefill worker")
    text = "an agent asks again and again about this same file " * 20
    first = ask(front, text)
    rule = first["conditional_disagg"]
    assert (rule["policy"], rule["prefill"], rule["why"]) == ("isl_bounding", "remote", "no_reason_for_local_prefill")
    assert first["leg"] == "decode" and first["prefill_worker_id"] == pre.ids[0] and served(pre) == 1
    assert rule["cached_tokens"] == 0 and rule["prompt_tokens"] > len(text)
    again = until("the decode worker's cache to be known", lambda: (
        lambda e: e if e["conditional_disagg"]["prefill"] == "local" else None)(ask(front, text + "x")))
    rule = again["conditional_disagg"]
    assert rule["why"] == "few_tokens_to_compute" and again["leg"] == "whole"
    assert "prefill_worker_id" not in again and again["worker_id"] == dec.ids[0]
    assert rule["prompt_tokens"] - rule["cached_tokens"] < 0.7 * rule["prompt_tokens"]
    before = served(pre)
    for i in range(3):
        assert ask(front, text + str(i))["conditional_disagg"]["prefill"] == "local"
    assert served(pre) == before
    # Too much that is new: a prefill worker's work.
    long = ask(front, text + "and this new file " * 150)["conditional_disagg"]
    assert long["prefill"] == "remote" and long["prompt_tokens"] - long["cached_tokens"] >= 2048
    assert served(pre) == before + 1
    counts = {why: front.metric("weir_router_conditional_disagg_total", why=why)
              for why in ("few_tokens_to_compute", "no_reason_for_local_prefill")}
    assert counts["few_tokens_to_compute"] >= 4 and counts["no_reason_for_local_prefill"] >= 2
    a = front.chat("short", max_tokens=2)
    page = front.get("/v1/router/explain?request_id=" + a.json()["id"]).json()["decisions"]
    assert [d["leg"] for d in page] == ["prefill", "decode"]
    assert "conditional_disagg" in page[0] and "conditional_disagg" not in page[1]
    assert page[0]["worker_id"] == pre.ids[0] and page[1]["worker_id"] == dec.ids[0]
    assert front.stop() == 0

    # All of it comes out again: both legs' choices and the rules' verdicts.
    def replay():
        r = subprocess.run([WEIR, "replay", "--decisions", str(log), "--json", "-"], text=True, capture_output=True,
                           timeout=60)
        return json.loads(r.stdout)
    lines = [json.loads(x) for x in log.read_text().splitlines()]
    ruled = [x for x in lines if "conditional_disagg" in x]
    assert len(ruled) == sum(counts.values()) + 1
    assert {x["leg"] for x in lines} == {"prefill", "decode", "whole"}
    got = replay()
    assert got["decisions"] == got["equal"] == len(lines) and got["different"] == 0
    ruled[0]["conditional_disagg"]["why"] = "prefill_worker_busy"
    log.write_text("".join(json.dumps(x) + "\n" for x in lines))
    assert replay()["different"] == 1


@pytest.mark.parametrize("rules, capacity, why", [
    ({"policy": "prefill_load"}, 0, "no_reason_for_local_prefill"),  # nobody is busy without a threshold
    ({"policy": "prefill_load", "prefill_busy_threshold": 0}, 0, "prefill_worker_busy"),
    ({"policy": "isl_or_load", "prefill_busy_threshold": 0}, 0, "prefill_worker_busy"),
    ({"policy": "isl_bounding", "prefill_busy_threshold": 0}, 0, "no_reason_for_local_prefill"),
    ({"policy": "isl_bounding", "eff_isl_ratio_threshold": 1, "eff_isl_threshold": 0}, 0,
     "no_reason_for_local_prefill"),
    ({"policy": "prefill_load", "prefill_busy_threshold": 0, "decode_busy_threshold": 0.5}, 1000, "prefill_worker_busy"),
    ({"policy": "prefill_load", "prefill_busy_threshold": 0, "decode_busy_threshold": 0.01}, 1000, "decode_worker_busy"),
    ({"policy": "prefill_load", "prefill_busy_threshold": 0, "decode_busy_threshold": 0.5}, 0,
     "decode_capacity_unknown"),
])
def test_load_of_both_pools(fleet, rules, capacity, why):
    """One prompt is being computed by the only prefill worker when the next one comes."""
    store, hold = fleet.env["DYN_FILE_KV"], threading.Event()

    def prefill(request):
        if len(pre.requests) == 1:
            hold.wait(120)
        return ["a"], "length"

    size = {"total_kv_blocks": capacity} if capacity else {}
    pre = ScriptedWorker(store, prefill, worker_id=0x61, component="prefill", worker_type="prefill", params={"k": 1})
    dec = ScriptedWorker(store, lambda _: (["b"], "stop"), worker_id=0x62, worker_type="decode", **size)
    front = fleet.frontend(*KV, RULES, json.dumps(rules))
    front.wait_line("model m has 1 worker")
    front.wait_line("model m has 1 prefill worker")
    first = threading.Thread(target=front.chat, args=("first " * 100,))
    first.start()
    until("the first prompt's prefill", lambda: len(pre.requests) == 1)
    pre.answer = lambda _: (["a"], "length")
    second = {}

    def run():
        second["got"] = ask(front, "second " * 50)
    t = threading.Thread(target=run)
    t.start()
    if why == "prefill_worker_busy":
        t.join(DEADLINE_S)  # the decode worker answers while the prefill worker is still busy
        assert not hold.is_set() and len(pre.requests) == 1 and "prefill_result" not in dec.requests[0]
    until("the second decision", lambda: front.metric("weir_router_conditional_disagg_total") == 2)
    hold.set()
    t.join(DEADLINE_S)
    first.join(DEADLINE_S)
    rule = second["got"]["conditional_disagg"]
    assert rule["why"] == why and rule["policy"] == rules["policy"]
    assert (second["got"]["leg"] == "whole") == (rule["prefill"] == "local") == (why == "prefill_worker_busy")
    if rules["policy"] != "isl_bounding" and "prefill_busy_threshold" in rules:
        assert rule["prefill_tokens"] >= 600
    pre.close()
    dec.close()


@pytest.mark.parametrize("flags, want", [
    (("--router-conditional-disagg",),
     "--router-conditional-disagg needs --router-mode kv and --router-kv-events: it goes by what decode workers hold"),
    (("--router-conditional-disagg", "--router-mode", "kv", "--no-router-kv-events"), "needs --router-mode kv and"),
    (("--router-conditional-disagg", "--router-mode", "kv", "--load-aware"), "needs --router-mode kv and"),
    (("--router-mode", "kv", RULES, "{}"), RULES + " needs --router-conditional-disagg"),
    ((*KV, RULES, '{"policy":"always"}'), RULES + ": policy must be isl_bounding, prefill_load or isl_or_load"),
    ((*KV, RULES, '{"eff_isl":1}'), RULES + ": eff_isl is not known; there are policy, eff_isl_threshold,"),
    ((*KV, RULES, "isl_bounding"), RULES + ": not a JSON object: expected value at byte 1"),
])
def test_bad_settings(fleet, flags, want):
    r = subprocess.run([WEIR, "frontend", "--http-port", "0", *flags], env=fleet.env, text=True, capture_output=True,
                       timeout=30)
    assert r.returncode != 0 and want in r.stdout + r.stderr, r.stdout + r.stderr
