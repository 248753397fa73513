#!/usr/bin/env python3
"""Conversations through `weir frontend` to engines that others wrote and that run already: each turn goes to the
engine that holds it, and what the router expected is what the engine then found. The last turn goes through a new
frontend, which has learned all of it from the replay.

usage: real_engines.py WEIR_BINARY BLOCK_SIZE WORKER… [-- flags of the frontend]
WORKER is what stands behind --worker. Prints one JSON line; exit 1 when a prediction was wrong, a turn went elsewhere,
or an engine got no conversation."""
import json
import os
import re
import sys
import threading
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["WEIR_BIN"] = os.path.abspath(sys.argv[1])
from weir import Frontend, until  # noqa: E402

DIALOGS, TURNS = 6, 4
RUN = uuid.uuid4().hex[:8]  # engines remember: no run may find what an earlier one left


def ask(f, body):
    """One chat: text, worker, tokens that the router expected there, tokens that the engine had."""
    name = str(uuid.uuid4())
    r = f.ask("POST", "/v1/chat/completions", body, {"x-dynamo-request-id": name})
    assert r.status == 200, r
    line = until("the access line", lambda: next((l for l in f.lines if "request completed" in l and name in l), None), 10)
    a = r.json()
    cached = (a["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return (a["choices"][0]["message"]["content"], re.search(r"worker_id=(\S+)", line).group(1),
            int(re.search(r"overlap_blocks=(\d+)", line).group(1)), cached)


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


class Dialog:
    def __init__(self, number):
        self.number, self.history = number, []
        self.turns = []  # (worker, expected, cached)

    def turn(self, f, model, block):
        t = len(self.turns)
        self.history.append({"role": "user", "content": f"{self.number} {RUN} conversation, question {t}: "
                             + f"word{self.number}{t} " * 60})
        text, worker, overlap, cached = ask(f, {"model": model, "messages": self.history, "max_tokens": 40,
                                                "temperature": 0})
        if overlap * block != cached:
            print(f"dialog {self.number} turn {t}: expected {overlap * block}, engine had {cached}", file=sys.stderr)
        self.turns.append((worker, overlap * block, cached))
        self.history.append({"role": "assistant", "content": text or "."})


def main():
    block, rest = int(sys.argv[2]), sys.argv[3:]
    flags = rest[rest.index("--") + 1:] if "--" in rest else []
    workers = rest[:rest.index("--")] if "--" in rest else rest
    args = [a for w in workers for a in ("--worker", w)]
    f = Frontend({}, "--router-mode", "kv", *args, *flags)
    model = until("a model", lambda: (f.get("/v1/models").json()["data"] or [{}])[0].get("id"), 300)
    f.ready(model=model, workers=len(workers))
    pause = threading.Event()
    settled(f, pause)
    dialogs = [Dialog(d) for d in range(DIALOGS)]
    # All first questions at once: load parts them.
    first = [threading.Thread(target=d.turn, args=(f, model, block)) for d in dialogs]
    for t in first:
        t.start()
    for t in first:
        t.join()
    for _ in range(TURNS - 1):
        settled(f, pause)
        for d in dialogs:
            d.turn(f, model, block)
    settled(f, pause)
    f.stop()
    # A frontend that comes later learns all of it from the replay.
    f = Frontend({}, "--router-mode", "kv", *args, *flags).ready(model=model, workers=len(workers))
    settled(f, pause)
    for d in dialogs:
        d.turn(f, model, block)
    # With a tokenizer of our own the engines' tokens are compared with ours: canned ones and every count.
    alike = {r: f.metric("weir_parity_checks_total", model=model, result=r) for r in ("same", "differs")}
    own = "--model-path" in flags
    f.stop()
    turns = [t for d in dialogs for t in d.turns]
    homes = {}
    for d in dialogs:
        homes[d.turns[0][0]] = homes.get(d.turns[0][0], 0) + 1
    report = {"engines": len(workers), "requests": len(turns), "exact": sum(e == c for _, e, c in turns),
              "moved": sum(w != d.turns[0][0] for d in dialogs for w, _, _ in d.turns),
              "cached_tokens": sum(c for _, _, c in turns), "homes": homes, "parity": alike}
    print(json.dumps(report))
    return 0 if report["exact"] == len(turns) == DIALOGS * (TURNS + 1) and report["moved"] == 0 and \
        report["cached_tokens"] and len(homes) == len(workers) and \
        alike["differs"] == 0 and alike["same"] >= (len(workers) * 15 if own else 0) else 1


if __name__ == "__main__":
    sys.exit(main())
