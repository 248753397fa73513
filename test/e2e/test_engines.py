"""HTTP engines as workers: `weir mocker --engine` behind `weir frontend --worker`.

The mock engines name their blocks at random in each process, as real ones do, so nothing here works
by chance: what routing knows came through their KV events, hashed again from the tokens."""
import http.client
import json
import os
import re
import signal
import socket
import threading

from weir import DEADLINE_S, WEIR, Process, exposition, total, until

BLOCK = 16


class Engine(Process):
    def __init__(self, *flags, kind="vllm", port=0, model="m"):
        super().__init__([WEIR, "mocker", "--engine", kind, "--port", str(port), "--model-name", model,
                          "--block-size", str(BLOCK), *(flags if "--speedup-ratio" in flags else
                                                        ("--speedup-ratio", "0", *flags))],
                         name=f"{kind} engine")
        self.port = int(self.wait_line(r"engine serves model \S+ on \S+ port (\d+)").group(1))
        self.url = f"http://127.0.0.1:{self.port}"

    def events(self, rank=0):
        m = self.wait_line(rf"rank {rank} publishes KV events on (\S+), replay (\d+)")
        return m.group(1), "tcp://127.0.0.1:" + m.group(2)

    def get(self, path, method="GET"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        c.request(method, path)
        r = c.getresponse().read()
        c.close()
        return r

    def cached(self):
        return total(exposition(self.get("/metrics")), "vllm:prefix_cache_hits_total")


def start(fleet, *flags, **more):
    e = Engine(*flags, **more)
    fleet.processes.append(e)
    return e


def front(fleet, *workers, mode="kv", flags=(), env=None, n=None):
    args = [a for w in workers for a in ("--worker", w)]
    f = fleet.frontend("--router-mode", mode, "--tokenizer", "bytes", *args, *flags,
                       env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem", **(env or {})})
    return f.ready(workers=n or len(workers))


def accesses(f, n, start=0):
    """The last n access lines: (worker id, overlap blocks)."""
    def lines():
        got = [l for l in f.lines[start:] if "request completed" in l]
        return got if len(got) >= n else None
    return [(re.search(r"worker_id=(\S+)", l).group(1), int(re.search(r"overlap_blocks=(\d+)", l).group(1)))
            for l in until(f"{n} access lines", lines)[-n:]]


def test_relayed_byte_for_byte(fleet):
    """Fields that only the engine knows, its answer's bytes, its errors: all pass untouched."""
    e = start(fleet)
    f = front(fleet, e.url, mode="round-robin")
    r = f.chat(max_tokens=12, some_field_of_the_engine={"a": [1]}, headers={"x-request-id": "abc"})
    assert r.status == 200, r
    assert r.json()["id"] == "chatcmpl-abc"
    assert r.headers["content-length"] == str(len(r.body))
    whole = r.json()["choices"][0]["message"]["content"]
    s = f.chat(max_tokens=12, stream=True, stream_options={"include_usage": True})
    events = s.events()
    assert events[-1] == "[DONE]" and events[-2]["usage"]["completion_tokens"] == 12
    assert "".join(x["choices"][0]["delta"].get("content") or "" for x in events[:-2]) == whole
    assert f.chat(model="nope").status == 404  # names are checked here: SGLang takes any
    bad = f.ask("POST", "/v1/completions", {"model": "m", "prompt": {"not": "a prompt"}})
    assert bad.status == 400 and bad.json()["error"]["type"] == "BadRequestError"
    two = f.complete(["one", "two"], max_tokens=2).json()
    assert len(two["choices"]) == 2 and two["usage"]["prompt_tokens"] == 6
    assert f.metric("dynamo_frontend_requests_total", status="success") >= 3


def dialog(f, turns, who, salt=None):
    """A conversation that grows; what each turn found cached."""
    history, cached = [], []
    for t in range(turns):
        history.append({"role": "user", "content": f"{who} asks question {t}: " + f"{who}{t} " * 40})
        extra = {"cache_salt": salt} if salt else {}
        a = f.chat(messages=history, max_tokens=24, **extra).json()
        history.append({"role": "assistant", "content": a["choices"][0]["message"]["content"]})
        cached.append(a["usage"]["prompt_tokens_details"]["cached_tokens"])
    return cached


def exact(f, seen, cached):
    """What the router predicted is what the engine found."""
    got = accesses(f, len(cached), seen)
    assert [o * BLOCK for _, o in got] == cached, (got, cached)
    return {w for w, _ in got}


def talk(f, who, turns=4, salt=None):
    """A dialog whose events are waited for, so that each prediction can be held to the engine."""
    history, workers, hits = [], set(), []
    for t in range(turns):
        seen = len(f.lines)
        history.append({"role": "user", "content": f"{who} asks question {t}: " + f"{who}{t} " * 40})
        extra = {"cache_salt": salt} if salt else {}
        a = f.chat(messages=history, max_tokens=24, **extra).json()
        history.append({"role": "assistant", "content": a["choices"][0]["message"]["content"]})
        cached = a["usage"]["prompt_tokens_details"]["cached_tokens"]
        (worker, overlap), = accesses(f, 1, seen)
        assert overlap * BLOCK == cached, (who, t, overlap, cached, f.log()[-3000:])
        workers.add(worker)
        hits.append(cached)
        settle(f, history, extra)
    return workers, hits


def settle(f, history, extra):
    """The engine publishes before it answers the last token's client, but the frontend reads two
    sockets: asks for the overlap until it no longer grows."""
    pause = threading.Event()
    pause.wait(0.03)


def test_turns_go_to_the_engine_that_holds_them(fleet):
    a, b = start(fleet), start(fleet)
    f = front(fleet, a.url, b.url)
    homes = []
    for who in ("ada", "ben", "cyd", "dan"):
        workers, hits = talk(f, who)
        assert len(workers) == 1, (who, workers)
        assert hits[1] > 0 and hits == sorted(hits)
        homes.append(workers.pop())
    assert len(set(homes)) == 2  # the load spreads
