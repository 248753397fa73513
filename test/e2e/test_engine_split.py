"""Prefill at one HTTP engine, decode at another: vLLM's kv_transfer_params and SGLang's bootstrap fields."""
import asyncio
import json
import random
import socket
import subprocess
import threading

import pytest
from test_engine_scripted import Scripted, engines, slam  # noqa: F401 (a fixture)
from test_engines import start
from weir import DEADLINE_S, WEIR, exposition, total, until

KV = {"remote_engine_id": "e-1", "remote_block_ids": [[1, 2], [3]], "remote_port": 5600, "odd": 1.5}
HOLD = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None, "remote_block_ids": None,
        "remote_host": None, "remote_port": None}


def front(fleet, prefill, decode, *flags, n=None, **more):
    urls = [u + ",role=prefill" + x for u, x in ((u, "") if isinstance(u, str) else u for u in prefill)]
    args = [a for u in urls + [u + ",role=decode" for u in decode] for a in ("--worker", u)]
    f = fleet.frontend(*args, *flags, env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem", **more})
    if decode:
        f.wait_line(f"model m has {n or len(decode)} worker")
    if prefill:
        f.wait_line(f"model m has {len(prefill)} prefill worker")
    return f


def say(text, **more):
    def answer(h, body):
        if json.loads(body).get("stream"):
            h.begin_stream()
            h.chunk(b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\ndata: [DONE]\n\n' % text.encode())
            h.chunk(b"")
        else:
            h.whole(200, json.dumps({"id": text, "usage": {"prompt_tokens": 5, "completion_tokens": 2}, **more}).encode())
    return answer


def bodies(engine):
    return [json.loads(b) for _, _, b in engine.seen]


# ---- vLLM -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_vllm_messages(fleet, engines, stream):
    pre, dec = engines(say("p", kv_transfer_params=KV)), engines(say("d"))
    f = front(fleet, [pre.url], [dec.url], "--enforce-disagg")
    body = {"model": "m", "messages": [{"role": "user", "content": "hé"}], "max_tokens": 50, "min_tokens": 7,
            "stream": stream, "vllm_xargs": {"a": 1.0}, "seed": 3, **({"stream_options": {"include_usage": True}} if stream else {})}
    r = f.ask("POST", "/v1/chat/completions", body, {"x-request-id": "rid-1", "authorization": "Bearer k"})
    assert r.status == 200
    assert b'"content":"d"' in r.body if stream else r.json()["id"] == "d"
    (p,), (d,) = bodies(pre), bodies(dec)
    same = {k: v for k, v in body.items() if k not in ("stream", "stream_options", "max_tokens", "min_tokens")}
    assert p == {**same, "stream": False, "max_tokens": 1, "kv_transfer_params": HOLD}
    assert d == {**body, "kv_transfer_params": KV}
    for e in (pre, dec):
        path, headers, _ = e.seen[0]
        assert path == "/v1/chat/completions"
        assert headers["x-request-id"] == "rid-1" and headers["authorization"] == "Bearer k"
    r = f.ask("POST", "/v1/completions", {"model": "m", "prompt": "x", "max_completion_tokens": 9, "n": 2})
    assert r.status == 200 and bodies(pre)[1]["n"] == 1 and bodies(pre)[1]["max_completion_tokens"] == 1
    assert bodies(dec)[1] == {"model": "m", "prompt": "x", "max_completion_tokens": 9, "n": 2, "kv_transfer_params": KV}


def test_a_refusal_of_the_prefill_engine_is_the_answer(fleet, engines):
    pre = engines(lambda h, body: h.whole(400, b'{"error":{"message":"too long for me"}}'))
    dec = engines(say("d"))
    f = front(fleet, [pre.url], [dec.url])
    r = f.chat()
    assert r.status == 400 and r.json() == {"error": {"message": "too long for me"}} and not dec.seen


@pytest.mark.parametrize("answer", [
    lambda h, body: h.whole(500, b"{}"),
    lambda h, body: h.whole(503, b"{}"),
    say("p"),  # no parameters
    lambda h, body: h.whole(200, b'{"kv_transfer_params":null}'),
    lambda h, body: h.whole(200, b'{"kv_transfer_params":{"x":1}'),
    lambda h, body: h.connection.shutdown(socket.SHUT_RDWR),
], ids=["500", "503", "none", "null", "cut", "closed"])
def test_failing_prefill_engines_give_way(fleet, engines, answer):
    bad, good, dec = engines(answer), engines(say("p", kv_transfer_params=KV)), engines(say("d"))
    f = front(fleet, [bad.url, good.url], [dec.url], "--enforce-disagg")
    for _ in range(4):
        assert f.chat().json()["id"] == "d"
    assert bad.seen and len(good.seen) == 4 and all(b["kv_transfer_params"] == KV for b in bodies(dec))


def test_a_silent_prefill_engine_is_avoided(fleet, engines):
    """As a decode engine is: who waited for it in vain is not followed by others. (Failed before.)"""
    over = threading.Event()
    hangs, good = engines(lambda h, body: over.wait(DEADLINE_S)), engines(say("p", kv_transfer_params=KV))
    f = front(fleet, [hangs.url, good.url], [engines(say("d")).url], "--enforce-disagg",
              DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS="2", DYN_RUNTIME_INHIBITED_DURATION_SECS="600")
    until("the engine that hangs to be asked", lambda: f.chat().json()["id"] == "d" and hangs.seen)
    for _ in range(8):
        assert f.chat().json()["id"] == "d"
    assert len(hangs.seen) == 1
    over.set()


@pytest.mark.parametrize("names", [("m",), ("m", "n")])
def test_a_prefill_engine_that_names_other_models_has_not_left(fleet, engines, names):
    """It may think as long as before. (Failed before: its calls had the time that one has whose engine has left, and were asked
    elsewhere.) The time of an engine that has, later, says when that would have been over."""
    over = threading.Event()

    def computes(h, body):
        over.wait(DEADLINE_S)
        say("p", kv_transfer_params=KV)(h, body)
    stays, leaves = engines(computes, models=names), engines(computes)
    f = front(fleet, [stays.url, leaves.url], [engines(say("d")).url], "--enforce-disagg",
              WEIR_WORKER_LEFT_TIMEOUT_SECS="0.5")
    answers = []
    chats = [threading.Thread(target=lambda: answers.append(f.chat().json()["id"])) for _ in range(2)]
    for c in chats:
        c.start()
    until("both to have a prompt", lambda: len(stays.seen) == 1 and len(leaves.seen) == 1)
    stays.models = ("m", "n") if names == ("m",) else ("m",)
    f.wait_line(f"model n has {len(stays.models) - 1} prefill worker")
    leaves.models = ()
    f.wait_line("failed: it was silent")
    over.set()
    for c in chats:
        c.join(DEADLINE_S)
    assert answers == ["d", "d"] and len(stays.seen) == 2 and len(leaves.seen) == 1
    assert sum("it was silent" in line for line in f.lines) == 1


def test_without_a_prefill_engine_one_does_all(fleet, engines):
    bad, dec = engines(lambda h, body: h.whole(500, b"{}")), engines(say("d"))
    f = front(fleet, [bad.url], [dec.url])
    body = b' { "model":"m" , "messages":[{"role":"user","content":"h\\u00e9"}]}\n'
    r = f.ask("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    assert r.json()["id"] == "d" and dec.seen[0][2] == body  # untouched
    two = f.ask("POST", "/v1/completions", {"model": "m", "prompt": ["a", "b"]})
    assert two.json()["id"] == "d" and "kv_transfer_params" not in bodies(dec)[1]
    strict = front(fleet, [bad.url], [dec.url], "--enforce-disagg")
    assert strict.chat().status == 503
    strict.wait_line(r"refused \(--enforce-disagg\)")


def test_another_decode_engine_gets_the_result_too(fleet, engines):
    pre = engines(say("p", kv_transfer_params=KV))
    busy, dec = engines(lambda h, body: h.whole(503, b"{}")), engines(say("d"))
    f = front(fleet, [pre.url], [busy.url, dec.url])
    for _ in range(4):
        assert f.chat().json()["id"] == "d"
    assert busy.seen and len(pre.seen) == 4  # what it computed was not asked for twice
    assert all(b["kv_transfer_params"] == KV for b in bodies(dec) + bodies(busy))


def running(engine):
    return total(exposition(engine.get("/metrics")), "vllm:num_requests_running")


def test_a_client_that_leaves_during_prefill_frees_the_engine(fleet):
    pre = start(fleet, "--disaggregation-mode", "prefill", "--speedup-ratio", "0.001")
    dec = start(fleet, "--disaggregation-mode", "decode")
    f = front(fleet, [pre.url], [dec.url], "--tokenizer", "bytes")
    s = f.socket()
    text = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 2000}]})
    s.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
              f"Content-Length: {len(text)}\r\n\r\n{text}".encode())
    until("the prefill engine's work", lambda: running(pre) == 1)
    s.close()
    until("its end", lambda: running(pre) == 0)
    assert running(dec) == 0


# ---- SGLang ---------------------------------------------------------------------------------------


def test_sglang_messages(fleet, engines):
    both = threading.Barrier(2)  # each answers only when the other has the request

    def meet(answer):
        def fn(h, body):
            both.wait(30)
            answer(h, body)
        return fn
    pre = engines(meet(say("p")), owned_by="sglang")
    dec = engines(meet(say("d")), owned_by="sglang")
    f = front(fleet, [(pre.url, ",bootstrap-port=9001")], [dec.url])
    rooms = set()
    for stream in (False, True):
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": stream, "max_tokens": 3}
        r = f.ask("POST", "/v1/chat/completions", body)
        assert r.status == 200 and (b'"content":"d"' in r.body if stream else r.json()["id"] == "d")
        p, d = bodies(pre)[-1], bodies(dec)[-1]
        assert p == d == {**body, "bootstrap_host": "127.0.0.1", "bootstrap_port": 9001,
                          "bootstrap_room": p["bootstrap_room"]}
        rooms.add(p["bootstrap_room"])
    assert len(rooms) == 2 and all(0 <= r < 2 ** 63 for r in rooms)
    r = f.ask("POST", "/v1/completions", {"model": "m", "prompt": ["a", "b", "c"]})
    p, d = bodies(pre)[-1], bodies(dec)[-1]
    assert r.json()["id"] == "d" and p == d and p["bootstrap_port"] == [9001] * 3
    assert p["bootstrap_host"] == ["127.0.0.1"] * 3 and len(set(p["bootstrap_room"])) == 3


def test_sglang_decode_engines_need_the_other(fleet, engines):
    dec = engines(say("d"), owned_by="sglang")
    f = front(fleet, [], [dec.url])
    assert f.chat().status == 503 and not dec.seen
    f.wait_line(r"refused \(its engines only decode\): there is no prefill engine")


def test_sglang_pairs_are_made_anew(fleet, engines):
    """A prefill engine that fails leaves its decode engine waiting: both are asked again, in another room."""
    gone = threading.Event()

    def wait(h, body):
        if json.loads(body)["bootstrap_port"] == 1:
            h.connection.settimeout(30)
            assert h.rfile.read(1) == b""  # given up by the frontend
            gone.set()
            return
        say("d")(h, body)
    bad = engines(lambda h, body: h.whole(500, b"{}"), owned_by="sglang")
    good, dec = engines(say("p"), owned_by="sglang"), engines(wait, owned_by="sglang")
    f = front(fleet, [(bad.url, ",bootstrap-port=1"), (good.url, ",bootstrap-port=2")], [dec.url])
    for _ in range(4):
        assert f.chat().json()["id"] == "d"
    assert bad.seen and gone.wait(30)
    assert {b["bootstrap_room"] for b in bodies(good)} <= {b["bootstrap_room"] for b in bodies(dec)}


# ---- simulated engines ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_whole_fleet(fleet, kind):
    pre = [start(fleet, "--disaggregation-mode", "prefill", kind=kind) for _ in range(2)]
    dec = [start(fleet, "--disaggregation-mode", "decode", kind=kind) for _ in range(2)]
    alone = start(fleet, model="alone")
    f = front(fleet, [e.url + events(e) for e in pre], [e.url + events(e) for e in dec],
              "--worker", alone.url, "--tokenizer", "bytes", "--router-mode", "kv", "--router-explain-ring", "1000")
    f.wait_line("model alone has 1 worker")
    want = f.chat("hello", model="alone", seed=5, max_tokens=12).json()["choices"][0]["message"]["content"]
    failed, used = [], []

    def run(k):
        for i in range(20):
            r = f.chat("hello", seed=5, max_tokens=12, stream=True, headers={"x-weir-explain": "1"})
            used.append(json.loads(r.headers["x-weir-explain"])["prefill_worker_id"])
            got = r.events() if r.status == 200 else [r]
            text = "".join(x["choices"][0]["delta"].get("content") or "" for x in got[:-1]) if got[-1] == "[DONE]" else got
            if text != want:
                failed.append((k, i, text))
    threads = [threading.Thread(target=run, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not failed, failed[:3]
    assert len(used) == 120

    def another():
        """Of equal ones that have nothing to do either may be chosen."""
        used.append(prefill_of(f, f"{len(used)} is new to all", least=0))
        return len(set(used)) == 2
    until("both prefill engines to work", another)
    # What is held draws equal beginnings to where it is.
    text = "a beginning that many prompts share " * 30
    assert f.chat(text, max_tokens=1).status == 200
    until("the cache to be known", lambda: prefill_of(f, text + "x", least=60))
    assert all(prefill_of(f, text + str(i), least=60) for i in range(5))


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_clients_leave_and_engines_fail_at_random(fleet, kind):
    """Whatever ends first, the client, the prefill engine or the decode engine: nothing is left behind, and the next
    request is served. (Under the address sanitizer this is the test of who may still be called.)"""
    pre = [start(fleet, "--disaggregation-mode", "prefill", "--speedup-ratio", "20", "--fail-rate", rate, kind=kind)
           for rate in ("0", "0.3")]
    dec = [start(fleet, "--disaggregation-mode", "decode", "--speedup-ratio", "20", "--fail-rate", "0.1", kind=kind)
           for _ in range(2)]
    f = front(fleet, [e.url for e in pre], [e.url for e in dec], "--tokenizer", "bytes")
    rng = random.Random(1)

    async def client(gate):
        async with gate:
            body = json.dumps({"model": "m", "stream": rng.random() < 0.6, "max_tokens": rng.randrange(1, 30),
                               "messages": [{"role": "user", "content": "x" * rng.randrange(1, 2000)}]}).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", f.port)
            try:
                writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
                             b"content-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                patience = rng.choice((0, 0, 1, 2000, 1 << 20))  # 0: leaves while the engines are at work
                if patience:
                    await reader.read(patience)
                if rng.random() < 0.5:
                    writer.transport.abort()
            except ConnectionError:
                pass
            finally:
                writer.close()

    async def crowd():
        gate = asyncio.Semaphore(40)
        await asyncio.gather(*(client(gate) for _ in range(400)))
    asyncio.run(crowd())
    name = "vllm:num_requests_running" if kind == "vllm" else "sglang:num_running_reqs"
    for e in (*pre, *dec):
        until("an idle engine", lambda: total(exposition(e.get("/metrics")), name) == 0)
    until("nothing in flight", lambda: f.metric("dynamo_frontend_inflight_requests") == 0)
    until("an answer", lambda: f.chat(max_tokens=2).status == 200)


def events(engine):
    at, replay = engine.events()
    return f",kv-events={at},replay={replay}"


def prefill_of(f, text, least):
    """The prefill engine of a request; None when it is not known to hold so many blocks of the prompt."""
    a = f.chat(text, max_tokens=1, headers={"x-weir-explain": "1"})
    own = json.loads(a.headers["x-weir-explain"])["request_id"]
    page = f.get("/v1/router/explain?request_id=" + own).json()["decisions"]
    first = page[0]
    assert first["leg"] == "prefill"
    chosen = next(c for c in first["candidates"] if c["worker_id"] == first["worker_id"])
    return first["worker_id"] if chosen["device_blocks"] >= least else None


def test_a_prefill_engine_with_other_blocks_waits(fleet):
    """Beside others of its model; once they have gone it prefills. (Failed before: left out until it was started anew, and then
    too, for the pool kept its first block size.)"""
    engines = {size: start(fleet, "--disaggregation-mode", "prefill", block=size) for size in (16, 32)}
    dec = start(fleet, "--disaggregation-mode", "decode", block=32)
    f = fleet.frontend(*(a for e in engines.values() for a in ("--worker", e.url + ",role=prefill")), "--worker", dec.url + ",role=decode",
                       "--tokenizer", "bytes", "--router-mode", "kv", env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem"})
    late = int(f.wait_line(r"a prefill worker of model m has block size (\d+), the others \d+; it is left out").group(1))
    f.wait_line("model m has 1 prefill worker$")
    f.ready()
    next(e for size, e in engines.items() if size != late).kill()
    until("the other to prefill", lambda: f.chat("hello").status == 200 and total(
        exposition(engines[late].get("/metrics")), "vllm:prefix_cache_queries_total"))


def test_conditional_disaggregation_of_engines(fleet):
    pre = start(fleet, "--disaggregation-mode", "prefill")
    dec = start(fleet, "--disaggregation-mode", "decode")
    f = front(fleet, [pre.url + events(pre)], [dec.url + events(dec)], "--tokenizer", "bytes", "--router-mode", "kv",
              "--router-conditional-disagg")
    text = "asked again and again about the same file " * 20

    def rule(t):
        a = f.chat(t, max_tokens=1, headers={"x-weir-explain": "1"})
        assert a.status == 200
        return json.loads(a.headers["x-weir-explain"])["conditional_disagg"]["prefill"]
    assert rule(text) == "remote"
    until("the decode engine's cache to be known", lambda: rule(text + "x") == "local")
    before = f.metric("weir_router_conditional_disagg_total", prefill="remote")
    asked = total(exposition(pre.get("/metrics")), "vllm:prefix_cache_queries_total")
    assert rule(text + "y") == "local" and f.metric("weir_router_conditional_disagg_total", prefill="remote") == before
    assert total(exposition(pre.get("/metrics")), "vllm:prefix_cache_queries_total") == asked


@pytest.mark.parametrize("spec, want", [
    ("role=both", "role=prefill, role=decode"),
    ("bootstrap-port=9", "bootstrap-port= needs role=prefill"),
    ("role=prefill,bootstrap-port=0", "bootstrap-port=N"),
    ("role=prefill,bootstrap-port=65536", "bootstrap-port=N"),
])
def test_bad_settings(fleet, spec, want):
    r = subprocess.run([WEIR, "frontend", "--http-port", "0", "--worker", "http://127.0.0.1:1," + spec], env=fleet.env,
                       text=True, capture_output=True, timeout=30)
    assert r.returncode != 0 and want in r.stdout + r.stderr, r.stdout + r.stderr


def test_a_prompt_that_ends_prefill_engines(fleet, engines):
    """Whichever part of the work it is that they die of. (Failed before: three of them had it, then the one that decodes.)"""
    dead, decodes = [engines(slam) for _ in range(4)], engines(say("x"))
    f = front(fleet, [e.url for e in dead], [decodes.url])
    r = f.chat()
    assert r.status == 502 and "it is not sent to a third" in r.json()["error"]["message"], r
    assert sum(len(e.seen) for e in dead) == 2 and not decodes.seen


def test_a_prompt_that_ends_an_engine_of_either_kind(fleet, engines):
    """One that prefills, one that decodes: that is two."""
    pre, dead, good = engines(slam), [engines(slam) for _ in range(2)], engines(say("x"))
    f = front(fleet, [pre.url], [e.url for e in dead])
    assert f.chat().status == 502 and len(pre.seen) == 1 and sum(len(e.seen) for e in dead) == 1
    f = front(fleet, [pre.url], [good.url])
    assert f.chat().status == 200
