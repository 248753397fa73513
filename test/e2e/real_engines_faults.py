#!/usr/bin/env python3
"""One real engine of two dies under load and comes back: no request is lost that had not begun to answer, none hangs, and
nothing is expected of the new process that it does not hold. Before that, every route once in both forms.

usage: real_engines_faults.py WEIR_BINARY BLOCK_SIZE MODEL_DIR VICTIM_URL OTHER_URL VICTIM_PID_FILE RESTART_COMMAND…
Prints one JSON line; exit 1 when something of this did not hold."""
import json
import os
import signal
import subprocess
import sys
import threading
import time

weir, block, model_dir, victim, other, pid_file = (os.path.abspath(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:7])
restart = sys.argv[7:]
os.environ["WEIR_BIN"] = weir
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from real_engines import ask, settled  # noqa: E402
from weir import Frontend, until  # noqa: E402

report, bad = {}, []


def hold(what, ok, more=""):
    if not ok:
        bad.append(f"{what}: {more}")


def text_of(answer, chat):
    choice = answer["choices"][0]
    return choice["message"]["content"] if chat else choice["text"]


def streamed_text(events, chat):
    parts = [c for e in events if e != "[DONE]" for c in e.get("choices", [])]
    return "".join((c["delta"].get("content") or "") if chat else c["text"] for c in parts)


def routes(f, model):
    """Every route in both forms; the stream says what the whole answer says."""
    ids = [m["id"] for m in f.get("/v1/models").json()["data"]]
    hold("/v1/models", ids == [model], ids)
    for path, chat, prompt in (("/v1/chat/completions", True, {"messages": [{"role": "user", "content": "héllo 世界 " * 9}]}),
                               ("/v1/completions", False, {"prompt": "once upon a time " * 9})):
        body = {"model": model, "max_tokens": 24, "temperature": 0, "ignore_eos": True, **prompt}
        whole = f.ask("POST", path, body)
        hold(path, whole.status == 200, whole)
        s = f.ask("POST", path, {**body, "stream": True, "stream_options": {"include_usage": True}})
        events = s.events()
        hold(path + " ends", events[-1] == "[DONE]", events[-1])
        hold(path + " usage", events[-2]["usage"]["completion_tokens"] == whole.json()["usage"]["completion_tokens"] == 24,
             events[-2])
        hold(path + " text", streamed_text(events, chat) == text_of(whole.json(), chat), (events, whole))
    r = f.ask("POST", "/v1/completions", {"model": model, "prompt": [[5, 6, 7], [8, 9]], "max_tokens": 3, "ignore_eos": True})
    hold("two prompts of ids", r.status == 200 and len(r.json()["choices"]) == 2 and r.json()["usage"]["prompt_tokens"] == 5, r)
    for want, body in ((404, {"model": "nope", "prompt": "a"}), (400, {"model": model, "prompt": {"no": "prompt"}}),
                       (400, {"model": model, "prompt": "a " * 40000, "max_tokens": 4}), (400, b"{ not json")):
        r = f.ask("POST", "/v1/completions", body, {"content-type": "application/json"})
        hold(f"refusal {want}", r.status == want and "error" in r.json() or r.status == want, r)


def client(f, model, who, until_set, out):
    """Short conversations, unary and streamed by turns, until told to stop."""
    turn = 0
    while not until_set.is_set():
        turn += 1
        body = {"model": model, "max_tokens": 24, "temperature": 0, "ignore_eos": True, "stream": turn % 2 == 0,
                "messages": [{"role": "user", "content": f"client {who} of turn {turn // 4}: " + f"w{who} " * (40 + turn % 4 * 40)}]}
        start = time.monotonic()
        try:
            r = f.ask("POST", "/v1/chat/completions", body)
        except OSError as e:
            out.append(("client error", str(e), 0.0))
            continue
        took = time.monotonic() - start
        if not body["stream"]:
            out.append(("unary", r.status if r.status != 200 or r.json()["usage"]["completion_tokens"] == 24 else "short", took))
        elif r.status != 200:
            out.append(("stream", r.status, took))
        else:
            events = r.events()
            broken = any(e != "[DONE]" and "error" in e for e in events)
            out.append(("stream", "unended" if events[-1] != "[DONE]" else "cut" if broken else 200, took))


def tally(out):
    seen = {}
    for kind, what, _ in out:
        seen[f"{kind} {what}"] = seen.get(f"{kind} {what}", 0) + 1
    return seen


def load(f, model, act):
    """Four clients; `act` between a settled second and the end. What they got."""
    stop, out = threading.Event(), []
    crowd = [threading.Thread(target=client, args=(f, model, i, stop, out)) for i in range(4)]
    for t in crowd:
        t.start()
    until("a first dozen of answers", lambda: len(out) >= 12)
    act(out)
    n = len(out)
    until("three dozen more", lambda: len(out) >= n + 36, 120)
    stop.set()
    for t in crowd:
        t.join(120)
        hold("no client hangs", not t.is_alive())
    return out


def exact(f, model, prompts, pause):
    """Asks each prompt twice; how often the expectation was what the engine found, and the tokens that were found."""
    right, found = 0, 0
    for p in prompts * 2:
        _, _, overlap, cached = ask(f, {"model": model, "messages": [{"role": "user", "content": p}], "max_tokens": 4,
                                        "temperature": 0})
        right += overlap * block == cached
        found += cached
        if overlap * block != cached:
            print(f"expected {overlap * block}, engine had {cached}", file=sys.stderr)
        settled(f, pause)
    return right, found


def instances(f):
    return len(f.get("/health").json()["instances"])


def main():
    f = Frontend({}, "--router-mode", "kv", "--worker", victim, "--worker", other, "--model-path", model_dir)
    model = until("a model", lambda: (f.get("/v1/models").json()["data"] or [{}])[0].get("id"), 300)
    f.ready(model=model, workers=2)
    pause = threading.Event()
    routes(f, model)
    settled(f, pause)
    prompts = [f"before the fall {i}: " + f"p{i} " * 120 for i in range(6)]
    before = exact(f, model, prompts, pause)
    hold("exact before", before[0] == 12 and before[1] > 0, before)

    def kill(_):
        with open(pid_file, encoding="ascii") as p:
            os.killpg(int(p.read()), signal.SIGKILL)
        start = time.monotonic()
        until("the death to be noticed", lambda: instances(f) == 1)
        report["noticed_s"] = round(time.monotonic() - start, 2)
    out = load(f, model, kill)
    report["load"] = tally(out)
    report["longest_s"] = round(max(t for _, _, t in out), 2)
    hold("what had not begun was saved", not {k for k in report["load"] if k not in ("unary 200", "stream 200", "stream cut")},
         report["load"])
    hold("cut streams", report["load"].get("stream cut", 0) <= 4, report["load"])

    at = len(f.lines)
    subprocess.run(restart, check=True, stdout=sys.stderr)
    f.ready(model=model, workers=2)
    settled(f, pause)
    after = exact(f, model, prompts, pause)
    hold("exact after the restart", after[0] == 12 and after[1] > 0, after)
    again = tally(load(f, model, lambda _: None))
    hold("load after", set(again) == {"unary 200", "stream 200"}, again)
    report.update(exact_before=f"{before[0]} of 12", exact_after=f"{after[0]} of 12", load_after=again,
                  said=[l for l in f.lines[at:] if "request completed" not in l][:8], bad=bad)
    hold("weir's end", f.stop() == 0, f.log()[-2000:])
    print(json.dumps(report))
    return 1 if bad else 0


sys.exit(main())
