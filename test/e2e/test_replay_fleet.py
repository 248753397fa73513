"""256 simulated workers, the whole conversation trace at four loads: hits near the best possible, first tokens not late.

Skips where the trace is not there (it is not part of this repository)."""
import json
import os
import subprocess

import pytest
from test_replay import MOONCAKE, WEIR


def test_fleet_policy_keeps_hits_and_first_tokens():
    if not os.path.exists(MOONCAKE):
        pytest.skip("the trace shared/data/mooncake/conversation_trace.jsonl is not here")
    r = subprocess.run([WEIR, "replay", "--trace", MOONCAKE, "--trace-spread", "--workers", "256", "--loads", "16,32,64,128",
                        "--modes", "least-loaded,fleet", "--no-progress", "--json", "-"], text=True, capture_output=True)
    assert r.returncode == 0, r.stderr
    got = json.loads(r.stdout)
    best = got["best"][0]["cached_tokens"]
    assert got["requests"] == 12031 and len(got["loads"]) == 4
    for load in got["loads"]:
        least, fleet = load["modes"]
        assert sum(fleet["requests"]["workers"]) == 12031 and fleet["refused"] == 0
        assert 0.95 * best <= fleet["cached_tokens"] <= best, load["trace_speedup"]
        for q in ["p50", "p90", "p99"]:
            assert fleet["ttft_ms"][q] < least["ttft_ms"][q], (load["trace_speedup"], q)
        assert fleet["prefill_tokens"]["max_over_mean"] < 1.35
