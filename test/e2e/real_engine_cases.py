#!/usr/bin/env python3
"""Cases over engines that others wrote and that run already, through `weir frontend`. In each of them what the router
expected (`overlap_blocks` of the access line) must be what the engine then found (`cached_tokens`).

usage: real_engine_cases.py WEIR_BINARY BLOCK_SIZE CASE,… WORKER… [-- flags of the frontend]
WORKER is what stands behind --worker. CASE: a function below that has @case. Prints one JSON line a case; exit 1 when
something did not hold. WEIR_TEST_SEED repeats a random case."""
import base64
import http.client
import json
import math
import os
import random
import re
import shlex
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ["WEIR_BIN"] = os.path.abspath(sys.argv[1])
from weir import Frontend, exposition, total, until  # noqa: E402

SEED = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.randrange(1, 1 << 31)
CASES = {}
ADAPTER_PATH = os.environ.get("WEIR_TEST_ADAPTER", "")  # of an adapter that is loaded while the engine runs


def case(fn):
    CASES[fn.__name__] = fn
    return fn


class Engine:
    """One of them, asked directly."""

    def __init__(self, worker):
        self.url = worker.split(",")[0]
        self.host, self.port = re.match(r"http://(.*):(\d+)$", self.url).groups()

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=300)

    def ask(self, method, path, body=None, headers=None):
        data = None if body is None else json.dumps(body).encode()
        q = urllib.request.Request(self.url + path, data, {"content-type": "application/json", **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(q, timeout=60) as r:
                return r.status, r.read()
        except urllib.error.HTTPError as e:
            return e.code, e.read()

    def metrics(self):
        return exposition(self.ask("GET", "/metrics")[1])

    def busy(self):
        page = self.metrics()
        return sum(total(page, n) for n in ("vllm:num_requests_running", "vllm:num_requests_waiting",
                                            "sglang:num_running_reqs", "sglang:num_queue_reqs"))

    def nudge(self, model):
        """A request to each rank, with which vLLM tells what it has not told yet."""
        ranks = {m for k in self.metrics() for m in re.findall(r'^vllm:num_requests_running\{.*engine="(\d+)"', k)}
        for r in sorted(ranks):
            self.ask("POST", "/v1/completions", {"model": model, "prompt": uuid.uuid4().hex, "max_tokens": 1},
                     {"x-data-parallel-rank": r} if len(ranks) > 1 else {})

    def names(self):
        """Of its models, as requests name them: SGLang lists an adapter by its own name, and takes base:adapter."""
        return {f"{m['parent']}:{m['id']}" if m.get("parent") and m["owned_by"] == "sglang" else m["id"]
                for m in json.loads(self.ask("GET", "/v1/models")[1])["data"]}

    def sglang(self):
        return any(k.startswith("sglang:") for k in self.metrics())


class Run:
    def __init__(self, block, workers, flags, name):
        self.block, self.workers, self.flags = block, workers, flags
        self.engines = [Engine(w) for w in workers]
        self.rng = random.Random(f"{SEED} {name}")  # engines remember: no case may find what another one left
        self.pause = threading.Event()
        self.f = None
        self.bad, self.exact, self.asked, self.cached = [], 0, 0, 0
        self.places = {}  # (worker, rank): requests

    def start(self):
        args = [a for w in self.workers for a in ("--worker", w)]
        self.f = Frontend({}, "--router-mode", "kv", "--enable-anthropic-api", *args, *self.flags)
        listed = set().union(*(e.names() for e in self.engines))
        until(f"the models {listed}", lambda: {m["id"] for m in self.f.get("/v1/models").json()["data"]} == listed, 60)
        self.models = sorted(listed, key=lambda i: i != "m")
        self.model = self.models[0]
        self.f.ready(model=self.model, workers=len([w for w in self.workers if "role=prefill" not in w]))
        self.settle()
        return self

    def stop(self):
        self.hold("weir's end", self.f.stop() == 0, self.f.log()[-1500:])

    def address(self, i):
        """Of an engine, as metrics have it."""
        keys = [k for k in self.f.metrics() if k.startswith("weir_engine_up{") and f":{self.engines[i].port}" in k]
        return re.search(r'engine="([^"]+)"', keys[0]).group(1)

    def hold(self, what, ok, more=""):
        if not ok:
            self.bad.append(f"{what}: {more}"[:600])
            print(f"did not hold: {what}: {more}"[:1500], file=sys.stderr)
        return ok

    def settle(self):
        """Real engines publish a little after they answer: until nothing new has come for a while."""
        def now():
            return {k: v for k, v in self.f.metrics().items() if k.startswith("weir_engine_kv_next_sequence")}
        last, quiet = now(), 0
        while quiet < 5:
            self.pause.wait(0.06)
            this = now()
            quiet = quiet + 1 if this == last else 0
            last = this

    def send(self, path, body, headers=None, settle=True):
        """One request: answer, (worker, rank), tokens expected, tokens found there."""
        name = str(uuid.uuid4())
        r = self.f.ask("POST", path, body, {"x-dynamo-request-id": name, "x-weir-explain": "1", **(headers or {})})
        line = until("the access line",
                     lambda: next((l for l in self.f.lines if "request completed" in l and name in l), None), 10)
        if settle:
            self.settle()
        if r.status != 200:
            return r, None, None, None
        cached = cached_of(r, body.get("stream"))
        d = json.loads(r.headers["x-weir-explain"])
        expected = int(re.search(r"overlap_blocks=(\d+)", line).group(1)) * self.block
        return r, (d["worker_id"], d["dp_rank"]), expected, cached

    def exactly(self, path, body, headers=None, what="", pardon=False):
        """One request whose prediction must hold (`pardon`: may fail, and is not counted); tokens found."""
        r, place, expected, cached = self.send(path, body, headers)
        if not self.hold(f"{what} {path}", r.status == 200, r):
            return 0
        if pardon:
            return cached
        self.asked += 1
        self.cached += cached
        self.places[place] = self.places.get(place, 0) + 1
        if self.hold(f"exact: {what}", expected == cached, f"expected {expected}, engine had {cached}, {place} {str(body)[:300]}"):
            self.exact += 1
        return cached

    def chat(self, text, what="", headers=None, pardon=False, **fields):
        messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
        body = {"model": self.model, "messages": messages, "max_tokens": 8, "temperature": 0, **fields}
        if body.get("stream"):
            body.setdefault("stream_options", {"include_usage": True})
        return self.exactly("/v1/chat/completions", body, headers, what, pardon)

    def words(self, n, tag=""):
        tag = tag or f"{self.rng.randrange(1 << 30):x}"
        return f"{tag} " + " ".join(f"{self.rng.choice('abcdefgh')}{self.rng.randrange(1000)}" for _ in range(n))


def cached_of(r, stream):
    """What the engine found, in the words of each API."""
    said = [e.get("response", e) for e in r.events() if e != "[DONE]"] if stream else [r.json()]
    usage = next((e["usage"] for e in reversed(said) if e.get("usage")), {})
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    return details.get("cached_tokens") or usage.get("cache_read_input_tokens") or 0


@case
def apis(run):
    """One conversation whose turns come as chats, Responses and Messages, whole and streamed; thinking on and off."""
    def ask(n, turns, stream, what, **more):
        path, body = [("/v1/responses", {"input": turns, "max_output_tokens": 8}), ("/v1/messages", {"messages": turns, "max_tokens": 8}),
                      ("/v1/chat/completions", {"messages": turns, "max_tokens": 8, "stream_options": {"include_usage": True}})][n % 3]
        if not stream:
            body.pop("stream_options", None)
        return run.exactly(path, {"model": run.model, "temperature": 0, "stream": stream, **body, **more}, what=f"{what} {n}")
    turns = [{"role": "system", "content": run.words(40)}, {"role": "user", "content": run.words(120)}]
    for n in range(6):
        got = ask(n, turns, n % 2 == 1, "turn")
        run.hold("a turn finds those before", (got > 0) == (n > 0), got)
        turns += [{"role": "assistant", "content": run.words(5)}, {"role": "user", "content": run.words(20)}]
    for n, more in ((0, {"reasoning": {"effort": "low"}}), (1, {"thinking": {"type": "disabled"}}), (1, {"thinking": {"type": "adaptive"}})):
        turns[0]["content"] = run.words(40)
        for stream in (False, True):
            got = ask(n, turns, stream, str(more), **more)
            run.hold(f"{more} finds itself", (got > 0) == stream, got)


@case
def forms(run):
    """One text in every form of a request: chat, completion, ids; whole and streamed."""
    text = run.words(120)
    for stream in (False, True):
        for n in (0, 1):
            got = run.chat(text, f"chat {stream} {n}", stream=stream)
            run.hold("a chat finds itself", (got > 0) == (stream or n == 1), got)
    for stream in (False, True):
        body = {"model": run.model, "prompt": text, "max_tokens": 8, "temperature": 0, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        got = run.exactly("/v1/completions", body, what=f"text {stream}")
        run.hold("a text finds itself", (got > 0) == stream, got)
    ids = [run.rng.randrange(3, 200) for _ in range(300)]
    for n in (0, 1):
        got = run.exactly("/v1/completions", {"model": run.model, "prompt": ids, "max_tokens": 4}, what="ids")
        run.hold("ids find themselves", (got > 0) == (n == 1), got)
    # Probabilities of the prompt are computed anew, whatever is held.
    for extra in ({"echo": True, "logprobs": 1}, {} if run.engines[0].sglang() else {"prompt_logprobs": 1}):
        run.exactly("/v1/completions", {"model": run.model, "prompt": text, "max_tokens": 1, **extra}, what=str(extra))
    # A part list, a system prompt, an empty assistant turn.
    turns = [{"role": "system", "content": run.words(60)},
             {"role": "user", "content": [{"type": "text", "text": run.words(40)}, {"type": "text", "text": run.words(40)}]},
             {"role": "assistant", "content": "é 世界 🎉 " * 20}, {"role": "user", "content": "and?"}]
    for n in (0, 1):
        got = run.chat(turns, "parts")
        run.hold("parts find themselves", (got > 0) == (n == 1), got)


def vector(d):
    """The numbers of one embedding, in either form."""
    v = d["embedding"]
    return list(struct.unpack(f"<{len(v) * 3 // 4 // 4}f", base64.b64decode(v))) if isinstance(v, str) else v


def likeness(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def as_said(r):
    """An answer without what differs from one to the next: status, type, header and body."""
    def timeless(text):
        return {k: v for k, v in json.loads(text).items() if k not in ("id", "created")}
    kind = r.headers["content-type"]
    return r.status, kind, timeless(r.headers.get("metadata", "{}")), timeless(r.body) if kind == "application/json" else r.body


@case
def embeddings(run):
    """An embedding model: in whatever form it is asked, through Weir comes what the engine answers when it is asked itself, one
    at a time and many at once; texts of like meaning are near each other."""
    path, engine = "/v1/embeddings", run.engines[0]
    texts = ["A kitten sleeps on the rug.", "The cat naps on the carpet.", "The central bank has raised interest rates."]
    long = "word " * 2000
    forms = [{"input": i, **more} for i in (texts[0], texts, [101, 2000, 102], [[101, 2000, 102], [5, 6]])
             for more in ({}, {"encoding_format": "base64"}, {"encoding_format": "float", "user": "u"})]
    forms += [{"input": texts[0], **more} for more in (
        {"truncate_prompt_tokens": 3}, {"add_special_tokens": False}, {"of_no_api": 1}, {"encoding_format": "bytes"}, {"encoding_format": "hex"},
        {"encoding_format": "base64", "embed_dtype": "float16"}, {"dimensions": 8}, {"dimensions": 0}, {"dimensions": "8"})]
    forms += [{"input": i} for i in ([], "", [""], long, [texts[0], long], ["a", ["b"]], [1 << 30], [-1], {"a": 1}, None)]
    forms += [{"input": long, "truncate_prompt_tokens": -1}, {}, {"messages": [{"role": "user", "content": texts[0]}]}]
    for form in forms:
        body = {"model": run.model, **form}
        plain, r = Frontend.ask(engine, "POST", path, body), run.f.ask("POST", path, body)
        run.asked += 1
        run.exact += run.hold(f"the engine's answer to {str(form)[:200]}", as_said(r) == as_said(plain), (r, plain))
        run.places[r.status] = run.places.get(r.status, 0) + 1
    run.hold("answers and refusals", run.places.get(200, 0) >= 15 and run.places.get(400, 0) >= 5, run.places)

    r = run.f.ask("POST", path, {"model": run.model, "input": texts})
    kitten, cat, bank = (vector(d) for d in r.json()["data"])
    run.hold("meanings", likeness(kitten, cat) > 0.5 > likeness(kitten, bank), (likeness(kitten, cat), likeness(kitten, bank)))
    run.hold("the name of no model", run.f.ask("POST", path, {"model": "nope", "input": "x"}).status == 404)

    def client(who):
        rng = random.Random(f"{SEED} {who}")
        for _ in range(15):
            given = [rng.choice(texts) for _ in range(rng.randrange(1, 9))]
            r = run.f.ask("POST", path, {"model": run.model, "input": given, "encoding_format": rng.choice(["float", "base64"])})
            got = [vector(d) for d in r.json()["data"]] if r.status == 200 else []
            run.hold("among many", len(got) == len(given) and all(likeness(v, [kitten, cat, bank][texts.index(t)]) > 0.999
                                                                  for v, t in zip(got, given)), r)
    crowd = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join(120)
    run.f.counted()
    sent = sum(v for k, v in run.f.metrics().items() if k.startswith("dynamo_frontend_requests_total{") and 'endpoint="embeddings"' in k
               and 'status="success"' in k)
    run.hold("counted", sent == run.places[200] + 1 + 8 * 15, sent)


@case
def evictions(run):
    """More prompts than the caches hold, then all of them again: what was evicted is not expected."""
    page = [e.metrics() for e in run.engines]
    room = sum(float(re.search(r'num_gpu_blocks="(\d+)"', k).group(1)) * run.block for p in page for k in p
               if k.startswith("vllm:cache_config_info")) or sum(total(p, "sglang:max_total_num_tokens") for p in page)
    run.hold("the size of the caches", room > 0, page[0])
    texts, size = [], 0
    while size < 1.5 * room:
        texts.append(run.words(500))
        r, *_ = run.send("/v1/chat/completions", {"model": run.model, "max_tokens": 4,
                                                  "messages": [{"role": "user", "content": texts[-1]}]})
        size += r.json()["usage"]["prompt_tokens"]
    found = [run.chat(t, f"prompt {i} again") for i, t in reversed(list(enumerate(texts)))]
    run.hold("some were there, some were not", any(found) and not all(found), found)


@case
def salts(run):
    """Equal prompts under other salts are other blocks."""
    text = run.words(150)
    a, b = (f"tenant-{run.rng.randrange(1 << 30)}" for _ in range(2))
    got = [run.chat(text, "plain"), run.chat(text, "plain again"),
           run.chat(text, "salt a", cache_salt=a), run.chat(text, "salt a again", cache_salt=a),
           run.chat(text, "salt b", cache_salt=b), run.chat(text, "plain, third", stream=True),
           run.chat(text, "salt b streamed", cache_salt=b, stream=True),
           run.chat(text, "tenant header", headers={"x-tenant-id": a}),
           run.chat(text, "tenant header of its own", headers={"x-tenant-id": a + "-x"})]
    run.hold("only equal salts share", [g > 0 for g in got] ==
             [False, True, False, True, False, True, True, True, False], got)
    longer = [{"role": "user", "content": text}, {"role": "assistant", "content": "go on"},
              {"role": "user", "content": run.words(60)}]
    for salt in (a, b):
        first = run.chat(longer, "next turn", cache_salt=salt, max_tokens=40)
        run.hold("a salt keeps its prefix", first > 0, first)


@case
def reset(run):
    """The cache is emptied: vLLM says so with its next request, SGLang at once."""
    texts = [run.words(150) for _ in range(2 * len(run.engines))]
    for t in texts:
        run.chat(t, "before")
    run.hold("held", all(run.chat(t, "held") > 0 for t in texts))
    sglang = run.engines[0].sglang()
    for e in run.engines:
        status, body = e.ask("POST", "/flush_cache" if sglang else "/reset_prefix_cache")
        run.hold("emptied", status == 200, (status, body))
    run.settle()
    for e in run.engines:
        e.nudge(run.model)
    run.settle()
    run.hold("nothing is left", not any(run.chat(t, "after") for t in texts))
    run.hold("held again", all(run.chat(t, "held again") > 0 for t in texts))
    # Emptied while it works: an engine may refuse that; either way nothing is expected that is not there.
    stop = threading.Event()
    crowd = [threading.Thread(target=busy_client, args=(run, i, stop)) for i in range(3)]
    for t in crowd:
        t.start()
    for _ in range(3):
        run.pause.wait(0.7)
        for e in run.engines:
            e.ask("POST", "/flush_cache" if sglang else "/reset_prefix_cache")
    stop.set()
    for t in crowd:
        t.join(60)
    for e in run.engines:
        e.nudge(run.model)
    run.settle()
    for t in texts:
        run.chat(t, "after a reset under load")


def busy_client(run, who, stop):
    rng = random.Random(SEED + who)
    texts = [f"busy {who} {i} " + "zu viel " * 60 for i in range(4)]
    while not stop.is_set():
        r = run.f.chat(rng.choice(texts), model=run.model, max_tokens=rng.randrange(1, 60), stream=rng.random() < 0.5,
                       ignore_eos=True)
        run.hold("busy client", r.status == 200, r)


@case
def killed(run):
    """The first engine dies without a word and comes back on its ports, with an empty cache: nothing is expected there that
    it does not hold. WEIR_TEST_RESTART: file of its process group, command that starts it and waits."""
    pid_file, *command = shlex.split(os.environ["WEIR_TEST_RESTART"])
    texts = [run.words(150) for _ in range(3 * len(run.engines))]
    for t in texts:
        run.chat(t, "before")
    run.hold("held", all(run.chat(t, "held") > 0 for t in texts))
    with open(pid_file, encoding="ascii") as p:
        os.killpg(int(p.read()), signal.SIGKILL)
    until("the death to be noticed", lambda: not run.f.metric("weir_engine_up", engine=run.address(0)), 30)
    r = run.f.chat(texts[0], model=run.model, max_tokens=2)
    run.hold("the others serve, or 503", r.status == (503 if len(run.engines) == 1 else 200), r)
    subprocess.run(command, check=True, stdout=sys.stderr)
    run.f.ready(model=run.model, workers=len(run.engines))
    run.settle()
    found = [run.chat(t, "after") for t in texts]
    run.hold("what died with it is gone", not all(found) if len(run.engines) > 1 else not any(found), found)
    run.hold("held again", all(run.chat(t, "held again") > 0 for t in texts))


@case
def leaving(run):
    """A client that leaves ends the work of the engine, in a stream and before a whole answer."""
    for stream in (True, False):
        for e in run.engines:
            until("an idle engine", lambda e=e: e.busy() == 0, 60)
        open_ones = []
        for i in range(4):
            c = http.client.HTTPConnection("127.0.0.1", run.f.port, timeout=60)
            c.request("POST", "/v1/chat/completions", json.dumps(
                {"model": run.model, "messages": [{"role": "user", "content": f"{run.words(30)} {i}"}], "max_tokens": 4000,
                 "ignore_eos": True, "stream": stream}), {"content-type": "application/json"})
            if stream:
                r = c.getresponse()
                run.hold("a stream begins", r.status == 200 and r.readline().startswith(b"data:"), r.status)
            open_ones.append(c)
        until("the engines at work", lambda: sum(e.busy() for e in run.engines) == 4, 60)
        start = time.monotonic()
        for c in open_ones:
            c.sock.close() if c.sock else None
            c.close()
        open_ones = r = None
        until("the engines at rest", lambda: sum(e.busy() for e in run.engines) == 0, 30)
        print(json.dumps({"left": "stream" if stream else "whole", "engines_at_rest_s": round(time.monotonic() - start, 2)}))
        until("nothing in work", lambda: run.f.metric("dynamo_frontend_inflight_requests") == 0, 10)
    text = run.words(150)
    run.chat(text, "after that")
    run.hold("still routes", run.chat(text, "after that, again") > 0)


@case
def names(run):
    """Names that no engine listed are 404, whatever the engine would take; those that are listed are served."""
    for path, what in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
                       ("/v1/completions", {"prompt": "a"})):
        for name in ("nope", "", run.model + " ", run.model.upper()):
            r = run.f.ask("POST", path, {"model": name, "max_tokens": 1, **what})
            run.hold(f"name {name!r}", r.status in (400, 404) and "error" in r.json() or r.status == 404, r)
    listed = set().union(*(e.names() for e in run.engines))
    run.hold("all names of the engines", listed == set(run.models), (listed, run.models))
    for m in sorted(listed):
        r = run.f.get("/v1/models/" + m)
        run.hold(f"model {m}", r.status == 200 and r.json()["id"] == m, r)
        run.hold("it answers", run.f.chat("hello", model=m, max_tokens=2).json().get("model") == m)


@case
def adapters(run):
    """Equal prompts with other adapters are other blocks; adapters that come and go while the engine runs are followed."""
    run.hold("adapters", len(run.models) >= 3, run.models)
    # They answer, not the model below them: one text, greedy, is continued in as many ways.
    asked = {"prompt": run.words(40), "max_tokens": 24, "temperature": 0, "ignore_eos": True}
    said = {m: run.f.ask("POST", "/v1/completions", {"model": m, **asked}).json()["choices"][0]["text"] for m in run.models}
    run.hold("each speaks for itself", len(set(said.values())) == len(run.models), said)
    text = run.words(150)
    for m in run.models:
        got = [run.chat(text, m, model=m), run.chat(text, m + " again", model=m)]
        run.hold(f"{m} finds only its own", got[0] == 0 < got[1], got)
        got = [run.chat(text, m + " salted", model=m, cache_salt="s"), run.chat(text, m + " salted", model=m, cache_salt="s")]
        run.hold(f"{m} with a salt finds only its own", got[0] == 0 < got[1], got)
    if not ADAPTER_PATH:
        return
    e = run.engines[0]
    v1, late = ("", "m:late") if e.sglang() else ("/v1", "late")
    for _ in range(2):
        status, body = e.ask("POST", v1 + "/load_lora_adapter", {"lora_name": "late", "lora_path": ADAPTER_PATH})
        run.hold("loaded", status == 200, body)
        run.f.ready(model=late)
        run.settle()
        got = [run.chat(text, "late", model=late), run.chat(text, "late again", model=late)]
        run.hold("late finds only its own", got[0] == 0 < got[1], got)
        run.hold("the others keep theirs", all(run.chat(text, m + " after", model=m) > 0 for m in run.models))
        status, body = e.ask("POST", v1 + "/unload_lora_adapter", {"lora_name": "late"})
        run.hold("unloaded", status == 200, body)
        until("its name to go", lambda: run.f.chat("a", model=late).status == 404)
        text = run.words(150)
        for m in run.models:
            run.chat(text, m, model=m)


@case
def ranks(run):
    """Data parallel: conversations are spread over the ranks of one server, and stay where they are."""
    for d in range(8):
        turns, homes = [], set()
        for t in range(3):
            turns.append({"role": "user", "content": run.words(80)})
            before = dict(run.places)
            got = run.chat(turns, f"dialog {d} turn {t}", max_tokens=24)
            homes |= {p for p, n in run.places.items() if n != before.get(p, 0)}
            run.hold("a later turn finds the earlier ones", (got > 2 * run.block) == (t > 0), got)
            turns.append({"role": "assistant", "content": "so it is"})
        run.hold("it stays", len(homes) == 1, homes)
    run.hold("all ranks", {r for _, r in run.places} == {0, 1}, run.places)


TOOLS = [{"type": "function", "function": {"name": n, "description": f"The {n} of a town. " * 12, "parameters": {
    "type": "object", "properties": {"town": {"type": "string", "description": "°C & \"wind\""}}, "required": ["town"]}}}
    for n in ("weather", "tide")]
TOOLS += [{"type": "function", "function": {"parameters": {"type": "object", "properties": {}}, "strict": True, "name": "now"}},
          {"type": "function", "function": {"description": None, "name": "later", "parameters": {"type": "object", "properties": {}}}}]


@case
def tools(run):
    """Chats with tools, under each choice of them: the engine shows the model what routing thinks it does."""
    call = {"id": "c1", "type": "function", "function": {"name": "tide", "arguments": "{\"town\": \"Ulm\"}"}}
    for choice in (None, "auto", "none", "required", {"type": "function", "function": {"name": "tide"}}):
        extra = {"tools": TOOLS, **({"tool_choice": choice} if choice else {})}
        turns = [{"role": "system", "content": run.words(20)}, {"role": "user", "content": "High water?"}]
        for turn in range(2):
            for n in (0, 1):
                got = run.chat(turns, f"choice {choice} turn {turn}", stream=n == 1, **extra)
                run.hold(f"choice {choice} finds itself", got > 2 * run.block if n else turn or got == 0, got)
            turns += [{"role": "assistant", "content": None, "tool_calls": [call]},
                      {"role": "tool", "tool_call_id": "c1", "content": "{\"at\": \"7:12\"}"}]


@case
def sdk(run):
    """An application with the official SDK, tools included; the prediction of each of its requests."""
    python, tokenizer = os.environ["WEIR_TEST_SDK_PYTHON"], os.environ["WEIR_TEST_TOKENIZER"]
    r = subprocess.run([python, os.path.join(os.path.dirname(os.path.abspath(__file__)), "real_engine_sdk.py"), run.f.url,
                        run.model, tokenizer], capture_output=True, text=True, timeout=300, check=False)
    if not run.hold("the SDK's part", r.returncode == 0, r.stdout[-500:] + r.stderr[-1500:]):
        return
    for name, cached in json.loads(r.stdout.splitlines()[-1]):
        uid = re.sub("^(chat)?cmpl-", "", name)
        line = until("the access line", lambda uid=uid: next((l for l in run.f.lines if "request completed" in l and uid in l), None))
        expected = int(re.search(r"overlap_blocks=(\d+)", line).group(1)) * run.block
        run.asked += 1
        run.cached += cached
        # The SDK does not wait for the engine's events: what an engine had a moment ago may not be known yet.
        run.exact += run.hold("the SDK's prediction", expected <= cached, (name, expected, cached))


@case
def split(run):
    """The first engine computes prompts, the second generates with the blocks that it gets from there."""
    pre, dec = run.engines

    def figures():
        a, b = pre.metrics(), dec.metrics()
        return {"prefilled": total(a, "vllm:prompt_tokens_total"), "generated": total(b, "vllm:generation_tokens_total"),
                "moved": total(b, "vllm:external_prefix_cache_hits_total")}
    for i in range(6):
        text, stream, chat = run.words(150), i % 2 == 1, i < 4
        body = {"model": run.model, "max_tokens": 24, "temperature": 0, "ignore_eos": True, "stream": stream,
                **({"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text})}
        if stream:
            body["stream_options"] = {"include_usage": True}
        path = "/v1/chat/completions" if chat else "/v1/completions"
        before = figures()
        r = run.f.ask("POST", path, body, {"x-weir-explain": "1"})
        if not run.hold("an answer", r.status == 200, r):
            continue
        after = figures()
        moved = {k: after[k] - before[k] for k in after}
        whole = r.json() if not stream else None
        got = "".join((c["delta"].get("content") or "") if chat else c["text"] for e in r.events() if e != "[DONE]"
                      for c in e.get("choices", [])) if stream else \
            whole["choices"][0]["message"]["content"] if chat else whole["choices"][0]["text"]
        run.hold("the prompt was computed there, its blocks came here",
                 moved["prefilled"] > 300 and moved["moved"] > 300 and moved["generated"] == 24, moved)
        # Alone, the other engine says the same.
        alone = json.loads(pre.ask("POST", path, {**{k: v for k, v in body.items() if k != "stream_options"}, "stream": False})[1])
        want = alone["choices"][0]["message"]["content"] if chat else alone["choices"][0]["text"]
        run.hold("the text is that of one engine", got == want, (got, want))
        d = json.loads(r.headers["x-weir-explain"])
        run.hold("two workers", d.get("prefill_worker_id") not in (None, d["worker_id"]), d)
        print(json.dumps({"form": path, "stream": stream, **moved}))
    for e in run.engines:
        until("an idle engine", lambda e=e: e.busy() == 0, 60)
    # Clients that leave in either part.
    for after_lines in (0, 3):
        c = run.f.connect()
        c.request("POST", "/v1/chat/completions", json.dumps(
            {"model": run.model, "messages": [{"role": "user", "content": run.words(600)}], "max_tokens": 3000,
             "ignore_eos": True, "stream": True}), {"content-type": "application/json"})
        if after_lines:
            r = c.getresponse()
            for _ in range(after_lines):
                r.readline()
            r.close()
        c.close()
        for e in run.engines:
            until("an engine at rest", lambda e=e: e.busy() == 0, 60)
        until("nothing in work", lambda: run.f.metric("dynamo_frontend_inflight_requests") == 0, 10)


@case
def random_mix(run):
    """Anything in any order: shared prefixes, salts, adapters, streams, clients that leave, resets."""
    rng, sglang = run.rng, run.engines[0].sglang()
    roots = [run.words(rng.randrange(20, 200)) for _ in range(5)]
    dialogs = []
    salted = "salts" not in os.environ.get("WEIR_TEST_LEAVE_OUT", "")
    for step in range(int(os.environ.get("WEIR_TEST_STEPS", "120"))):
        kind = rng.random()
        if kind < 0.04:
            for e in run.engines:
                e.ask("POST", "/flush_cache" if sglang else "/reset_prefix_cache")
                e.nudge(run.model)
            run.settle()
        elif kind < 0.12:
            c = run.f.connect()
            c.request("POST", "/v1/chat/completions", json.dumps(
                {"model": run.model, "messages": [{"role": "user", "content": rng.choice(roots) + run.words(40)}],
                 "max_tokens": 500, "ignore_eos": True, "stream": True}), {"content-type": "application/json"})
            r = c.getresponse()
            for _ in range(rng.randrange(1, 40)):
                r.readline()
            r.close()
            c.close()
            for e in run.engines:
                until("an idle engine", lambda e=e: e.busy() == 0, 60)
            run.settle()
        elif kind < 0.3:
            ids = [7 + (i * 31 + rng.randrange(2) * 1000) % 200 for i in range(rng.randrange(1, 600))]
            run.exactly("/v1/completions", {"model": rng.choice(run.models), "prompt": rng.choice([ids, [7] * len(ids)]),
                                            "max_tokens": rng.randrange(1, 80)}, what=f"step {step}")
        else:
            if dialogs and rng.random() < 0.7:
                d = rng.choice(dialogs)
            else:
                d = {"turns": [{"role": "system", "content": rng.choice(roots)}], "model": rng.choice(run.models),
                     "salt": rng.choice([None, None, "a", "b"]) if salted else None}
                dialogs.append(d)
            if len(d["turns"]) == 1 or rng.random() < 0.8:
                d["turns"].append({"role": "user", "content": run.words(rng.randrange(1, 120))})
            extra = {"cache_salt": d["salt"]} if d["salt"] else {}
            run.chat(d["turns"], f"step {step}", model=d["model"], stream=rng.random() < 0.5,
                     max_tokens=rng.randrange(1, 80), **extra)
            if rng.random() < 0.7:
                d["turns"].append({"role": "assistant", "content": run.words(rng.randrange(1, 40))})
    run.hold("something was found", run.cached > 0, run.cached)


def main():
    block, names_of, rest = int(sys.argv[2]), sys.argv[3].split(","), sys.argv[4:]
    flags = rest[rest.index("--") + 1:] if "--" in rest else []
    workers = rest[:rest.index("--")] if "--" in rest else rest
    worst = 0
    for name in names_of:
        run = Run(block, workers, flags, name).start()
        before = {k: v for k, v in run.f.metrics().items() if k.startswith("weir_engine_kv_left_out")}
        try:
            CASES[name](run)
        except (AssertionError, OSError, subprocess.CalledProcessError) as e:
            run.hold("to the end", False, "".join(traceback.format_exception(e))[-500:])
        left = {k: v - before.get(k, 0) for k, v in run.f.metrics().items()
                if k.startswith("weir_engine_kv_left_out") and v > before.get(k, 0)}
        differs = run.f.metric("weir_parity_checks_total", result="differs")
        run.hold("parity", differs == 0, differs)
        run.stop()
        print(json.dumps({"case": name, "exact": f"{run.exact} of {run.asked}", "cached_tokens": run.cached,
                          "places": len(run.places), "left_out": left, "seed": SEED, "bad": run.bad}), flush=True)
        worst |= bool(run.bad)
    return worst


if __name__ == "__main__":
    sys.exit(main())
