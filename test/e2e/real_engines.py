#!/usr/bin/env python3
"""Conversations through `weir frontend` to engines that others wrote and that run already: each turn goes to the
engine that holds it, and what the router expected is what the engine then found.

usage: real_engines.py WEIR_BINARY BLOCK_SIZE WORKER… [-- flags of the frontend]
WORKER is what stands behind --worker. Prints one JSON line; exit 1 when a prediction was wrong."""
import json
import os
import re
import sys
import threading

weir, block = os.path.abspath(sys.argv[1]), int(sys.argv[2])
rest = sys.argv[3:]
flags = rest[rest.index("--") + 1:] if "--" in rest else []
workers = rest[:rest.index("--")] if "--" in rest else rest
os.environ["WEIR_BIN"] = weir
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from weir import Frontend, until  # noqa: E402

DIALOGS, TURNS = 6, 4


def access(f, start):
    line = until("the access line", lambda: next((l for l in f.lines[start:] if "request completed" in l), None))
    return re.search(r"worker_id=(\S+)", line).group(1), int(re.search(r"overlap_blocks=(\d+)", line).group(1))


def next_sequences(f):
    return {k: v for k, v in f.metrics().items() if k.startswith("weir_engine_kv_next_sequence")}


def settled(f, pause):
    """Real engines publish a little after they answer: until nothing new has come for a while."""
    last = next_sequences(f)
    quiet = 0
    while quiet < 5:
        pause.wait(0.1)
        now = next_sequences(f)
        quiet = quiet + 1 if now == last else 0
        last = now


def main():
    args = [a for w in workers for a in ("--worker", w)]
    f = Frontend({}, "--router-mode", "kv", *args, *flags)
    model = until("a model", lambda: (f.get("/v1/models").json()["data"] or [{}])[0].get("id"), 300)
    f.ready(model=model, workers=len(workers))
    pause = threading.Event()
    report = {"engines": len(workers), "requests": 0, "exact": 0, "moved": 0, "cached_tokens": 0, "homes": {}}
    for d in range(DIALOGS):
        history, home = [], None
        for t in range(TURNS):
            history.append({"role": "user", "content": f"conversation {d}, question {t}: " + f"word{d}{t} " * 60})
            start = len(f.lines)
            r = f.ask("POST", "/v1/chat/completions",
                      {"model": model, "messages": history, "max_tokens": 40, "temperature": 0})
            assert r.status == 200, r
            worker, overlap = access(f, start)
            a = r.json()
            cached = (a["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            report["requests"] += 1
            report["exact"] += overlap * block == cached
            report["moved"] += t > 0 and worker != home
            report["cached_tokens"] += cached
            if overlap * block != cached:
                print(f"dialog {d} turn {t}: expected {overlap * block}, engine had {cached}", file=sys.stderr)
            home = worker
            history.append({"role": "assistant", "content": a["choices"][0]["message"]["content"] or "."})
            settled(f, pause)
        report["homes"][home] = report["homes"].get(home, 0) + 1
    f.stop()
    print(json.dumps(report))
    return 0 if report["exact"] == report["requests"] and report["moved"] == 0 and report["cached_tokens"] else 1


sys.exit(main())
