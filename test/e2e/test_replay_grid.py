"""`weir replay --grid`: every configuration equals a replay of its own, on the CPU and on the emulated device."""
import itertools
import json
import os
import re
import subprocess

import pytest
from test_replay import BLOCK, MOONCAKE, WEIR, groups, line, row, run

EMULATED = os.path.join(os.path.dirname(os.path.abspath(WEIR)), "test/libweir_cuda_emulated.so")
REAL = os.path.join(os.path.dirname(os.path.abspath(WEIR)), "libweir_cuda.so")
DEVICES = ["cpu", "cuda"]


def env(plugin):
    return {**os.environ, "WEIR_CUDA_PLUGIN": plugin}


def flags_of(device):
    if device == "cuda" and not os.path.exists(EMULATED):
        pytest.skip(f"the emulated device {EMULATED} is not built (sanitizers and fibers do not go together)")
    return ["--device", device]


def grid(path, text, *flags, plugin=EMULATED):
    r = subprocess.run([WEIR, "replay", "--trace", str(path), "--trace-block", str(BLOCK), "--grid", text, "--json", "-",
                        *flags], text=True, capture_output=True, timeout=300, env=env(plugin))
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout), r.stderr


def plain(path, options, *flags, block=BLOCK):
    words = [f"--{name}={value}" for name, value in options.items()]
    r = subprocess.run([WEIR, "replay", "--trace", str(path), "--trace-block", str(block), "--json", "-", *words, *flags],
                       text=True, capture_output=True, timeout=300)
    assert r.returncode == 0, r.stderr
    return row(json.loads(r.stdout), options["modes"])


def same(point, alone):
    want = {"token_hit_rate": alone["token_hit_rate"], "block_hit_rate": alone["block_hit_rate"],
            "prefill_max_over_mean": alone["prefill_tokens"]["max_over_mean"],
            "requests_max_over_mean": alone["requests"]["max_over_mean"], "ttft_mean_ms": alone["ttft_ms"]["mean"],
            "ttft_p50_ms": alone["ttft_ms"]["p50"], "ttft_p90_ms": alone["ttft_ms"]["p90"],
            "ttft_p99_ms": alone["ttft_ms"]["p99"], "e2e_p50_ms": alone["e2e_ms"]["p50"],
            "e2e_p99_ms": alone["e2e_ms"]["p99"], "makespan_s": alone["makespan_s"], "refused": alone["refused"],
            "preemptions": alone["preemptions"], "digest": alone["digest"]}
    assert {k: point[k] for k in want} == want, point["options"]


def trace_file(tmp_path, trace):
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(x) + "\n" for x in trace))
    return path


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("text", [
    "router-kv-overlap-score-weight=0,0.5,2 router-temperature=0,0.3 workers=2,5 modes=kv",
    "modes=kv,round-robin,random,power-of-two,least-loaded workers=3 seed=1,2 block-size=8,16",
    "router-kv-overlap-score-credit=0:2:3 active-prefill-tokens-threshold=None,900 kv-blocks=60,300",
    "router-kv-events=true,false router-assume-kv-reuse=true,false router-ttl-secs=0.05,120 trace-speedup=1,4",
    "router-selection-policy=linear,lmetric,fleet router-churn-half-life-secs=0.5,300 router-track-active-blocks=1,0",
])
def test_each_as_if_alone(tmp_path, device, text):
    path = trace_file(tmp_path, groups(250, 11, gap_ms=30))
    size = [] if "block-size" in text else ["--block-size", str(BLOCK)]
    flags = ["--max-num-batched-tokens", "512", "--prefill-tokens-per-s", "4000", *size]
    got, err = grid(path, text, *flags, *flags_of(device))
    axes = got["grid"]
    assert len(got["configurations"]) == got["n_configurations"] and err == ""
    seen = {tuple(x["options"].values()) for x in got["configurations"]}
    assert seen == set(itertools.product(*axes.values()))
    if device == "cuda":
        assert got["simulation"]["device"] == "emulated device" and got["simulation"]["fallen_back"] == 0
    for x in got["configurations"]:
        same(x, plain(path, x["options"], *flags))


def beats(p, q):
    keys = [(-1, "token_hit_rate"), (1, "ttft_p99_ms"), (1, "prefill_max_over_mean"), (1, "refused")]
    diffs = [s * p[k] - s * q[k] for s, k in keys]
    return max(diffs) <= 0 and min(diffs) < 0


@pytest.mark.parametrize("best,key,sign", [("hit-rate", "token_hit_rate", -1), ("ttft-p99", "ttft_p99_ms", 1),
                                           ("balance", "prefill_max_over_mean", 1)])
def test_ranking_and_front(tmp_path, best, key, sign):
    path = trace_file(tmp_path, groups(200, 4, gap_ms=20))
    got, _ = grid(path, "router-kv-overlap-score-credit=0:3:7 router-temperature=0,0.5,2 workers=2,4 "
                  "active-prefill-tokens-threshold=None,300", "--best", best, "--kv-blocks", "100", "--block-size", "16")
    all_ = got["configurations"]
    assert [x["rank"] for x in all_] == list(range(1, 85)) and got["best_by"] == best
    order = [(x["refused"] > 0, sign * x[key]) for x in all_]
    assert order == sorted(order)
    # Figures are rounded in the report: a front by rounded figures may keep one more of two that look equal.
    exact = {x["configuration"] for x in all_ if x["pareto"]}
    naive = {x["configuration"] for x in all_ if not any(beats(y, x) for y in all_)}
    assert exact and exact == naive


def test_same_bytes_on_both(tmp_path):
    path = trace_file(tmp_path, groups(150, 9, gap_ms=10))
    flags = ["--block-size", "16", "--kv-blocks", "90"]
    text = "router-temperature=0:1:5 workers=1,2,3,40 modes=kv,random"
    cpu, _ = grid(path, text, *flags)
    one, _ = grid(path, text, *flags, "--threads", "1")
    emulated, _ = grid(path, text, *flags, *flags_of("cuda"))
    for x in (cpu, one, emulated):
        del x["simulation"]
    assert cpu == one == emulated


def test_waves(tmp_path):
    path = trace_file(tmp_path, groups(300, 2, gap_ms=10))
    text = "router-temperature=0:1:40 workers=8"
    one, _ = grid(path, text, "--block-size", "16", *flags_of("cuda"))
    few, _ = grid(path, text, "--block-size", "16", *flags_of("cuda"), "--device-memory-mb", "1")
    assert one["simulation"]["waves"] == 1 and few["simulation"]["waves"] >= 4
    assert one["configurations"] == few["configurations"]
    r = run(tmp_path, groups(2000, 2, gap_ms=10), "--grid", "workers=4096", "--device-memory-mb", "1")
    assert r.returncode == 1 and "not one configuration fits" in r.stderr and "--device-memory-mb" in r.stderr


def test_fall_back(tmp_path):
    path = trace_file(tmp_path, groups(60, 2))
    text = "router-temperature=0,1"
    want, _ = grid(path, text, "--block-size", "16")
    for plugin in ["/nowhere.so", *([REAL] if os.path.exists(REAL) else [])]:
        got, err = grid(path, text, "--block-size", "16", "--device", "cuda", plugin=plugin)
        if got["simulation"]["device"] == want["simulation"]["device"]:  # else there is a device
            assert err.count("\n") == 1 and "the CPU simulates in the device's place" in err
        assert got["configurations"] == want["configurations"]


def test_grid_of_a_file(tmp_path):
    path, file = trace_file(tmp_path, groups(40, 2)), tmp_path / "grid.txt"
    file.write_text("# weights\nrouter-prefill-load-scale=0.5:2:4   # four\n\n--workers=2,3 modes=kv,random\n")
    got, _ = grid(path, str(file), "--block-size", "16")
    assert got["grid"] == {"router-prefill-load-scale": ["0.5", "1", "1.5", "2"], "workers": ["2", "3"],
                           "modes": ["kv", "random"]}
    listed, _ = grid(path, "workers=2", "--modes", "random,kv", "--block-size", "16")
    assert listed["grid"] == {"workers": ["2"], "modes": ["random", "kv"]}


def test_reports(tmp_path):
    html = tmp_path / "g.html"
    r = run(tmp_path, groups(80, 1, gap_ms=20), "--grid", "router-temperature=0:2:9 workers=2,3", "--html", str(html),
            "--top", "5", "--label", "a <b>", "--best", "hit-rate")
    assert r.returncode == 0 and r.stderr == "", r.stderr
    lines = r.stdout.splitlines()
    assert lines[0].startswith("18 configurations of 80 requests by ") and lines[0].endswith("best by hit-rate")
    ranks = [x.split()[0].rstrip("*") for x in lines if re.match(r" *\d+[* ] ", x)]
    assert ranks[:5] == ["1", "2", "3", "4", "5"]
    page = html.read_text()
    assert page.count("<svg") == 3 and page.count("<circle class=\"d") >= 18 and "a &lt;b&gt;" in page
    assert page.endswith("</html>\n") and not re.search(r"<script|<link|src=|@import|nan|inf\b", page)


ONE = [line(0, 16, 1, [1])]


@pytest.mark.parametrize("text,flags,want", [
    ("workers", [], "--grid is neither name=value,value nor a file: workers: "),
    ("workers=", [], "'workers=' is not name=value,value"),
    ("=3", [], "'=3' is not name=value,value"),
    ("nonsense=1", [], "'nonsense' is no option of weir replay"),
    ("workers=2,x", [], "--workers x: not a whole number"),
    ("workers=0", [], "--workers 0: out of range"),
    ("workers=2,2", [], "workers has the value 2 twice"),
    ("workers=2 workers=3", [], "workers stands there twice"),
    ("workers=2", ["--workers", "3"], "workers is also given as a flag"),
    ("workers=1:4:1", [], "a range has at least 2 values"),
    ("workers=1:2:4", [], "--workers 1.33333333333: not a whole number"),
    ("router-temperature=0:1:5000", [], "more than 4096 values"),
    ("router-temperature=0:1:1000 router-prefill-load-scale=0:1:1000", [], "more than 262144 configurations"),
    ("limit=5", [], "limit is the same for all"),
    ("json-out=x", [], "json-out says how to report"),
    ("router-event-threads=1,2", [], "has no effect here"),
    ("router-replica-sync=true", [], "not supported by this build"),
    ("modes=kv,best", [], "'best' is none of kv"),
    ("kv-blocks=1", [], "give more --kv-blocks"),
    ("# nothing=1", [], "names no option"),
])
def test_bad_grid(tmp_path, text, flags, want):
    r = run(tmp_path, ONE if text != "kv-blocks=1" else [line(0, 32, 1, [1, 2])], "--grid", text, *flags)
    assert r.returncode == 1 and r.stdout == "" and want in r.stderr and r.stderr.count("\n") == 1, r.stderr


def test_mooncake(tmp_path):
    if not os.path.exists(MOONCAKE):
        pytest.skip("the trace shared/data/mooncake/conversation_trace.jsonl is not here")
    flags = ["--limit", "3000", "--kv-blocks", "4096", "--trace-spread"]
    r = subprocess.run([WEIR, "replay", "--trace", MOONCAKE, "--grid",
                        "router-kv-overlap-score-credit=0,1 workers=4,16 router-temperature=0,0.5", "--json", "-", *flags],
                       text=True, capture_output=True, timeout=300)
    assert r.returncode == 0, r.stderr
    for x in json.loads(r.stdout)["configurations"]:
        same(x, plain(MOONCAKE, x["options"], *flags, block=512))


@pytest.mark.parametrize("device", DEVICES)
def test_decisions(fleet, tmp_path, device):
    """A frontend's decisions made again by every configuration as by a replay with that one."""
    log = tmp_path / "decisions.ndjson"
    fleet.mocker(workers=3)
    front = fleet.frontend("--router-mode", "kv", "--decision-log", str(log)).ready(workers=3)
    for i in range(24):
        assert front.chat(f"{i % 4} " + "the quick brown fox " * 40 + str(i)).status == 200
    assert front.stop() == 0

    def again(*flags):
        return subprocess.run([WEIR, "replay", "--decisions", str(log), *flags], text=True, capture_output=True, timeout=60,
                              env=env(EMULATED))

    text = "router-prefill-load-scale=0,1,1000 router-temperature=0,0.4 modes=kv,fleet,random,round-robin seed=1,9"
    r = again("--grid", text, "--json", "-", *flags_of(device))
    assert r.returncode == 0 and r.stderr == "", r.stderr
    got = json.loads(r.stdout)
    assert got["compared"] == got["equal"] == 24 and len(got["configurations"]) == got["n_configurations"] == 48
    assert got["device"] == ("emulated device" if device == "cuda" else "CPU reference")
    hits = [x["hit_blocks"] for x in got["configurations"]]
    assert hits == sorted(hits, reverse=True) and hits[0] > hits[-1] and hits[0] <= got["best_blocks"]
    for x in got["configurations"]:
        alone = json.loads(again("--json", "-", *(f"--{k}={v}" for k, v in x["options"].items())).stdout)
        assert alone["prompt_blocks"] == got["prompt_blocks"] and alone["modes"][0]["hit_blocks"] == got["recorded_blocks"]
        for key in ("hit_blocks", "block_hit_rate", "same_worker", "digest"):
            assert x[key] == alone["modes"][1][key], (x, alone)
    assert "48 configurations of 24 decisions" in again("--grid", text).stdout
    for text, want in [("workers=1,2", "changes no decision in a recorded state"), ("modes=kv+fcfs", "nobody who waits")]:
        r = again("--grid", text)
        assert r.returncode == 1 and want in r.stderr and r.stderr.count("\n") == 1, r.stderr
    r = again("--grid", "seed=1,2", "--best", "balance")
    assert r.returncode == 1 and "hits alone" in r.stderr
