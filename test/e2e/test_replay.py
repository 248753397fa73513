"""`weir replay`: traces in, figures out, held against naive models of the cache and of the engine's clock."""
import collections
import json
import math
import os
import random
import re
import subprocess

import pytest

WEIR = os.environ.get("WEIR_BIN", "build/release/weir")
MOONCAKE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                        "../../../shared/data/mooncake/conversation_trace.jsonl")
BLOCK = 16
ALL = ["kv", "round-robin", "random", "power-of-two", "least-loaded"]


def line(at_ms, n_in, n_out, ids):
    return {"timestamp": at_ms, "input_length": n_in, "output_length": n_out, "hash_ids": ids}


def run(tmp_path, trace, *flags):
    path = tmp_path / "trace.jsonl"
    path.write_text(trace if isinstance(trace, str) else "".join(json.dumps(x) + "\n" for x in trace))
    return subprocess.run([WEIR, "replay", "--trace", str(path), "--trace-block", str(BLOCK), "--block-size", str(BLOCK),
                           *flags], text=True, capture_output=True, timeout=120)


def replay(tmp_path, trace, *flags):
    r = run(tmp_path, trace, "--json", "-", *flags)
    assert r.returncode == 0 and all("deprecated" in x for x in r.stderr.splitlines()), r.stderr
    return json.loads(r.stdout)


def row(result, name):
    return next(x for x in result["best"] + result["modes"] if name in (x.get("mode"), x.get("cache")))


# ---- traces: prompts of groups that share a beginning, so far apart that no two run at once ----

def groups(n, seed, n_groups=8, shared=20, gap_ms=10000, most_out=40):
    rng, fresh, out = random.Random(seed), 1000, []
    for k in range(n):
        group, own = rng.randrange(n_groups), rng.randrange(1, 6)
        depth = rng.choice([shared, shared, shared // 2])
        ids = [100 * group + i for i in range(depth)] + list(range(fresh, fresh + own))
        fresh += own
        n_in = BLOCK * len(ids) - rng.choice([0, 0, rng.randrange(BLOCK)])
        out.append(line(k * gap_ms, n_in, rng.randrange(1, most_out), ids))
    return out


# ---- naive models -----------------------------------------------------------------------------

class Pool:
    """The block pool of one engine with one request at a time: a list of idle blocks, evicted from its front."""

    def __init__(self, n):
        self.idle = [None] * n  # names; None = holds nothing

    def serve(self, number, x):
        n_in, total = x["input_length"], x["input_length"] + x["output_length"] - 1
        keys = x["hash_ids"][:n_in // BLOCK]
        hits = 0
        while hits < (n_in - 1) // BLOCK and hits < len(keys) and keys[hits] in self.idle:
            hits += 1
        held = keys[:hits]
        for key in held:
            self.idle.remove(key)
        fresh = math.ceil(n_in / BLOCK) - hits
        del self.idle[:fresh]
        for key in keys[hits:]:
            fresh -= 1
            if key in self.idle:  # computed again for its last token only: the old copy is kept
                self.idle.remove(key)
                self.idle.insert(0, None)
            held.append(key)
        held += [None] * fresh
        while len(held) < math.ceil(total / BLOCK):
            del self.idle[0]
            held.append(None)
        for i in range(len(keys), total // BLOCK):
            held[i] = ("answer", number, i)
        for key in reversed(held):
            self.idle.insert(0 if key is None else len(self.idle), key)
        return hits


def one_cache(trace, capacity):
    lru, hit = collections.OrderedDict(), 0
    for number, x in enumerate(trace):
        n_in = x["input_length"]
        n = (n_in + x["output_length"] - 1) // BLOCK
        keys = [x["hash_ids"][i] if i < n_in // BLOCK else ("answer", number, i) for i in range(n)]
        hits = 0
        while hits < (n_in - 1) // BLOCK and keys[hits] in lru:
            hits += 1
        for key in keys[:hits] + keys[::-1]:
            lru.pop(key, None)
            if len(lru) == capacity:
                lru.popitem(last=False)
            lru[key] = True
        hit += hits
    return hit


@pytest.mark.parametrize("seed", range(4))
def test_naive_models(tmp_path, seed):
    trace, workers, blocks = groups(400, seed), 3, 70
    got = replay(tmp_path, trace, "--workers", str(workers), "--kv-blocks", str(blocks))
    pools = [Pool(blocks) for _ in range(workers)]
    rr = row(got, "round-robin")
    requests = [len(trace[w::workers]) for w in range(workers)]
    assert sorted(rr["requests"]["workers"]) == sorted(requests)
    hits = [pools[i % workers].serve(i, x) for i, x in enumerate(trace)]
    assert rr["hit_blocks"] == sum(hits) > 0
    work = [x["input_length"] - BLOCK * h for x, h in zip(trace, hits)]
    per_worker = [sum(work[w::workers]) for w in range(workers)]
    mean = sum(per_worker) / workers
    assert sorted(rr["prefill_tokens"]["workers"]) == sorted(per_worker)
    assert rr["prefill_tokens"]["max_over_mean"] == pytest.approx(max(per_worker) / mean, abs=1e-6)
    assert rr["prefill_tokens"]["stdev"] == pytest.approx(
        math.sqrt(sum((v - mean) ** 2 for v in per_worker) / workers), abs=1e-5)
    # Nobody waits: the time to the first token is that of one pass.
    ttft = sorted(t / 20 + 5 for t in work)
    assert rr["ttft_ms"]["mean"] == pytest.approx(sum(ttft) / len(ttft), abs=1e-3)
    assert rr["ttft_ms"]["p50"] == pytest.approx(ttft[math.ceil(len(ttft) * 0.5) - 1], abs=1e-3)
    assert rr["ttft_ms"]["p99"] == pytest.approx(ttft[math.ceil(len(ttft) * 0.99) - 1], abs=1e-3)
    assert row(got, "one-cache")["hit_blocks"] == one_cache(trace, workers * blocks)
    assert row(got, "endless-cache")["hit_blocks"] == one_cache(trace, 10 ** 9)
    for x in got["best"] + got["modes"]:
        assert x["prompt_tokens"] == sum(y["input_length"] for y in trace)
        assert x["prompt_blocks"] == sum(y["input_length"] // BLOCK for y in trace)
        assert x["cached_tokens"] == BLOCK * x["hit_blocks"]
        assert x["token_hit_rate"] == pytest.approx(x["cached_tokens"] / x["prompt_tokens"], abs=1e-6)
        assert x["block_hit_rate"] == pytest.approx(x["hit_blocks"] / x["prompt_blocks"], abs=1e-6)


def test_order_of_the_modes(tmp_path):
    """Eight beginnings, four workers with room for some three each: only who knows the caches finds them."""
    got = replay(tmp_path, groups(600, 7, gap_ms=50), "--workers", "4", "--kv-blocks", "100")
    rate = {name: row(got, name)["token_hit_rate"] for name in ["endless-cache", "one-cache", *ALL]}
    assert rate["endless-cache"] >= rate["one-cache"] >= rate["kv"]
    assert all(rate["kv"] > 1.2 * rate[name] for name in ALL[1:]), rate
    predicted = replay(tmp_path, groups(600, 7, gap_ms=50), "--workers", "4", "--kv-blocks", "100", "--modes", "kv",
                       "--no-router-kv-events")
    assert rate["round-robin"] < row(predicted, "kv")["token_hit_rate"] <= rate["one-cache"]
    blind = replay(tmp_path, groups(600, 7, gap_ms=50), "--workers", "4", "--kv-blocks", "100", "--modes", "kv",
                   "--router-kv-overlap-score-credit", "0")
    assert row(blind, "kv")["token_hit_rate"] < rate["kv"]


def test_same_seed_same_bytes(tmp_path):
    trace = groups(300, 3, gap_ms=20)
    flags = ["--workers", "5", "--kv-blocks", "80", "--json", "-", "--router-temperature", "0.5"]
    first, again = (run(tmp_path, trace, *flags) for _ in range(2))
    other = run(tmp_path, trace, *flags, "--seed", "2")
    assert first.returncode == 0 and first.stdout == again.stdout
    a, b = json.loads(first.stdout), json.loads(other.stdout)
    assert row(a, "random")["requests"] != row(b, "random")["requests"]
    assert row(a, "round-robin")["hit_blocks"] > 0 and a["best"] == b["best"]


def test_load(tmp_path):
    """Everything at once on one worker: requests queue, thresholds refuse, a small cache makes some start over."""
    trace = groups(200, 5, gap_ms=0)
    alone = row(replay(tmp_path, trace, "--workers", "1", "--kv-blocks", "100", "--modes", "kv"), "kv")
    assert alone["refused"] == 0 and alone["requests"]["workers"] == [200] and alone["preemptions"] > 0
    assert alone["ttft_ms"]["p50"] < alone["ttft_ms"]["p99"] <= alone["e2e_ms"]["max"] <= 1000 * alone["makespan_s"]
    busy = row(replay(tmp_path, trace, "--workers", "2", "--modes", "round-robin", "--active-prefill-tokens-threshold",
                      "1000"), "round-robin")
    assert busy["refused"] > 0 and sum(busy["requests"]["workers"]) == 200 - busy["refused"]


def test_reports(tmp_path):
    html, out = tmp_path / "r.html", tmp_path / "r.json"
    r = run(tmp_path, groups(50, 1), "--html", str(html), "--json", str(out), "--limit", "40", "--label", "a <b>")
    assert r.returncode == 0 and r.stderr == ""
    assert [x.split()[0] for x in r.stdout.splitlines()[-7:]] == ["endless-cache", "one-cache", *ALL]
    assert json.loads(out.read_text())["requests"] == 40
    page = html.read_text()
    assert page.count("<svg") == 3 and "a &lt;b&gt;" in page and page.endswith("</html>\n")
    assert not re.search(r"<script|<link|src=|@import|nan|inf\b", page)
    assert all(page.count(f"<td>{name}</td>") == 1 for name in ["endless-cache", "one-cache", *ALL])


@pytest.mark.parametrize("text,flags,want", [
    ('{"timestamp":0,"input_length":16,"output_length":1,"hash_ids":[1]}\n\nnonsense\n', [], "line 3: "),
    ('{"timestamp":0,"input_length":17,"output_length":1,"hash_ids":[1]}\n', [], "line 1: 17 tokens are 2 blocks of 16"),
    ('{"timestamp":5,"input_length":16,"output_length":1,"hash_ids":[1]}\n' * 2 +
     '{"timestamp":4,"input_length":16,"output_length":1,"hash_ids":[1]}\n', [], "line 3: its timestamp"),
    ('{"timestamp":0,"input_length":16,"hash_ids":[1]}\n', [], "line 1: needs timestamp"),
    ("", [], "the trace is empty"),
    ('{"timestamp":0,"input_length":16,"output_length":17,"hash_ids":[1]}\n', ["--kv-blocks", "2"],
     "request 1 of the trace has 33 tokens, a worker's cache room for 32: give more --kv-blocks"),
    ('{"timestamp":0,"input_length":16,"output_length":1,"hash_ids":[1]}\n', ["--modes", "kv,best"], "'best' is none of"),
    ('{"timestamp":0,"input_length":16,"output_length":1,"hash_ids":[1]}\n', ["--modes", "kv,kv"], "kv stands there twice"),
])
def test_bad_input(tmp_path, text, flags, want):
    r = run(tmp_path, text, *flags)
    assert r.returncode == 1 and r.stdout == "" and want in r.stderr and r.stderr.count("\n") == 1, r.stderr


def test_decision_log(fleet, tmp_path):
    """What a real frontend logged is decided again, bit for bit; other modes see the same states."""
    log = tmp_path / "decisions.ndjson"
    fleet.mocker(workers=3)
    front = fleet.frontend("--router-mode", "kv", "--decision-log", str(log)).ready(workers=3)
    for i in range(24):
        assert front.chat(f"{i % 4} " + "the quick brown fox " * 40 + str(i)).status == 200
    assert front.stop() == 0
    lines = [json.loads(x) for x in log.read_text().splitlines()]

    def again(*flags):
        r = subprocess.run([WEIR, "replay", "--decisions", str(log), *flags], text=True, capture_output=True, timeout=60)
        return r if r.returncode or "--json" not in flags else json.loads(r.stdout)

    got = again("--json", "-")
    held = [[c["device_blocks"] for c in x["candidates"]] for x in lines]
    assert got["decisions"] == got["equal"] == got["compared"] == 24 and got["different"] == got["incomplete"] == 0
    assert got["prompt_blocks"] == sum(x["prompt_blocks"] for x in lines)
    assert got["best_blocks"] == sum(map(max, held)) > 0
    modes = {x["mode"]: x for x in got["modes"]}
    assert list(modes) == ["recorded", *ALL]
    assert modes["recorded"]["hit_blocks"] == sum(h[x["winner"]] for h, x in zip(held, lines))
    assert modes["recorded"]["same_worker"] == 24
    assert all(m["hit_blocks"] <= got["best_blocks"] for m in modes.values())
    greedy = again("--json", "-", "--modes", "kv", "--router-prefill-load-scale", "1000000")["modes"][1]
    assert greedy["hit_blocks"] == got["best_blocks"]
    assert "24 made again as recorded" in again().stdout
    lines[5]["winner"] = (lines[5]["winner"] + 1) % 3
    log.write_text("".join(json.dumps(x) + "\n" for x in lines))
    changed = again("--json", "-")
    assert (changed["equal"], changed["different"]) == (23, 1)
    log.write_text(json.dumps(lines[0]) + "\n{}\n")
    assert again().returncode == 1 and "decisions, line 2: no record" in again().stderr


def test_no_trace():
    r = subprocess.run([WEIR, "replay"], text=True, capture_output=True, timeout=60)
    assert r.returncode == 1 and "give --trace or --decisions" in r.stderr
    r = subprocess.run([WEIR, "replay", "--trace", "/no/such/file"], text=True, capture_output=True, timeout=60)
    assert r.returncode == 1 and "/no/such/file" in r.stderr


def test_mooncake(tmp_path):
    if not os.path.exists(MOONCAKE):
        pytest.skip("the trace shared/data/mooncake/conversation_trace.jsonl is not here")
    r = subprocess.run([WEIR, "replay", "--trace", MOONCAKE, "--limit", "3000", "--block-size", "512", "--kv-blocks",
                        "2048", "--json", "-"], text=True, capture_output=True, timeout=300)
    got, seen, hit = json.loads(r.stdout), set(), 0
    with open(MOONCAKE, encoding="utf-8") as f:
        for x in (json.loads(f.readline()) for _ in range(3000)):
            keys = x["hash_ids"][:x["input_length"] // 512]
            usable = keys[:(x["input_length"] - 1) // 512]
            hit += next((i for i, key in enumerate(usable) if key not in seen), len(usable))
            seen.update(keys)
    assert row(got, "endless-cache")["hit_blocks"] == hit > 0
    rate = {name: row(got, name)["token_hit_rate"] for name in ["endless-cache", "one-cache", *ALL]}
    assert rate["endless-cache"] > rate["one-cache"] > rate["kv"] > max(rate[name] for name in ALL[1:])
