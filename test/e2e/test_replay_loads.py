"""`weir replay --loads`: a fleet at several loads. Nothing is lost, nothing counted twice, and the same twice."""
import json
import random
import re
import subprocess

import pytest
from test_replay import BLOCK, WEIR

MODES = ["round-robin", "random", "power-of-two", "least-loaded", "kv", "kv+fcfs", "kv+lcfs", "kv+wspt", "lmetric", "fleet",
         "fleet+fcfs", "fleet+lcfs", "fleet+wspt"]
LOADS = [1, 4, 32]


def conversations(n, seed, turns=4, gap_ms=40):
    """Each goes on from a prompt of its own and comes back with all that was said, some of them at once with others."""
    rng, fresh, open_ones, out = random.Random(seed), 1, [], []
    for k in range(n):
        if open_ones and rng.random() < 0.7:
            ids = open_ones.pop(rng.randrange(len(open_ones)))
        else:
            ids = [0]
        own = rng.randrange(2, 40)
        ids = ids + list(range(fresh, fresh + own))
        fresh += own
        if len(ids) < 40 * turns:
            open_ones.append(ids)
        out.append({"timestamp": k * gap_ms, "input_length": BLOCK * len(ids) - rng.randrange(BLOCK),
                    "output_length": rng.randrange(1, 30), "hash_ids": ids})
    return out


def run(tmp_path, trace, *flags):
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(x) + "\n" for x in trace))
    return subprocess.run([WEIR, "replay", "--trace", str(path), "--trace-block", str(BLOCK), "--block-size", str(BLOCK),
                           "--workers", "12", "--kv-blocks", "1500", "--prefill-tokens-per-s", "4000",
                           "--max-num-batched-tokens", "512", "--modes", ",".join(MODES), "--router-queue-threshold", "1",
                           *flags], text=True, capture_output=True, timeout=300)


def fleet_run(tmp_path, trace, *flags):
    r = run(tmp_path, trace, "--json", "-", *flags)
    assert r.returncode == 0 and all("deprecated" in x for x in r.stderr.splitlines()), r.stderr
    return json.loads(r.stdout)


def by_mode(load):
    return {x["mode"]: x for x in load["modes"]}


@pytest.mark.parametrize("seed", range(2))
def test_conservation(tmp_path, seed):
    trace = conversations(500, seed)
    got = fleet_run(tmp_path, trace, "--loads", ",".join(map(str, LOADS)))
    total = sum(x["input_length"] for x in trace)
    endless, one = got["best"]
    assert [x["trace_speedup"] for x in got["loads"]] == LOADS
    for load in got["loads"]:
        assert load["offered"] == pytest.approx(
            total / (trace[-1]["timestamp"] / 1000 / load["trace_speedup"] * 12 * 4000), abs=1e-6)
        assert [x["mode"] for x in load["modes"]] == MODES
        for x in load["modes"]:
            # Every request was served, once; every prompt token was either found or computed.
            assert x["refused"] == 0 and sum(x["requests"]["workers"]) == len(trace)
            assert x["prompt_tokens"] == total == x["cached_tokens"] + sum(x["prefill_tokens"]["workers"])
            assert 0 < x["cached_tokens"] <= endless["cached_tokens"]
            assert x["ttft_ms"]["p50"] <= x["ttft_ms"]["p90"] <= x["ttft_ms"]["p99"] <= x["ttft_ms"]["max"]
            assert x["waited"] == 0 or "+" in x["mode"]
    assert one["cached_tokens"] <= endless["cached_tokens"]
    busiest = by_mode(got["loads"][-1])
    assert all(busiest[x]["waited"] > 0 for x in MODES if "+" in x)
    # Shortest first is best for most, last come first served worst for the one who waits longest.
    for policy in ["kv", "fleet"]:
        ttft = {x: busiest[f"{policy}+{x}"]["ttft_ms"] for x in ["fcfs", "lcfs", "wspt"]}
        assert ttft["wspt"]["mean"] < ttft["fcfs"]["mean"] and ttft["lcfs"]["max"] > ttft["fcfs"]["max"]


def test_same_bytes_and_each_load_for_itself(tmp_path):
    trace = conversations(250, 3)
    flags = ["--json", "-", "--router-temperature", "0.1", "--loads", "2,16"]
    first, again = (run(tmp_path, trace, *flags).stdout for _ in range(2))
    assert first == again
    got = json.loads(first)
    for load in got["loads"]:
        alone = fleet_run(tmp_path, trace, "--router-temperature", "0.1", "--trace-speedup", str(load["trace_speedup"]))
        assert alone["modes"] == load["modes"] and alone["best"] == got["best"]


def test_fleet_keeps_hits_where_the_sum_of_terms_loses_them(tmp_path):
    """Twelve workers, most of them idle, and turns that come while others of theirs still run."""
    got = fleet_run(tmp_path, conversations(800, 5), "--loads", "1,2,4,8")
    best = got["best"][0]["cached_tokens"]
    for load in got["loads"]:
        modes = by_mode(load)
        assert modes["fleet"]["cached_tokens"] >= 0.95 * best > modes["kv"]["cached_tokens"]
        assert modes["fleet"]["ttft_ms"]["p99"] < modes["least-loaded"]["ttft_ms"]["p99"]


def test_reports(tmp_path):
    html, out = tmp_path / "r.html", tmp_path / "r.json"
    r = run(tmp_path, conversations(60, 1), "--html", str(html), "--json", str(out), "--loads", "1,8", "--label", "a <b>")
    assert r.returncode == 0
    rows = [x.split()[0] for x in r.stdout.splitlines() if x]
    assert [x for x in rows if x in MODES] == MODES * 2 and rows.count("speedup") == 2
    assert json.loads(out.read_text())["label"] == "a <b>"
    page = html.read_text()
    assert page.count("<svg") == 6 and "a &lt;b&gt;" in page and page.endswith("</html>\n")
    assert not re.search(r"<script|<link|src=|@import|nan|inf\b", page)
    assert all(page.count(f"<td>{name}</td>") == 2 for name in MODES)


@pytest.mark.parametrize("flags,want", [
    (["--loads", "4,2"], "--loads: '2' is no speedup"),
    (["--loads", "1,x"], "--loads: 'x' is no speedup"),
    (["--loads", "1,,2"], "--loads: '' is no speedup"),
    (["--loads", "1,2,3,4,5,6,7,8,9"], "--loads: at most 8"),
    (["--modes", "kv+best"], "'kv+best' is none of"),
    (["--modes", "kv+"], "'kv+' is none of"),
    (["--modes", "kv,kv+fcfs,kv+fcfs"], "kv+fcfs stands there twice"),
    (["--router-queue-threshold", "none"], "kv+fcfs: a queue needs --router-queue-threshold"),
])
def test_bad_input(tmp_path, flags, want):
    r = run(tmp_path, conversations(5, 1), *flags)
    assert r.returncode == 1 and r.stdout == "" and want in r.stderr, r.stderr
