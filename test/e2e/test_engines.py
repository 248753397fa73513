"""HTTP engines as workers: `weir mocker --engine` behind `weir frontend --worker`.

The mock engines name their blocks at random in each process, as real ones do, so nothing here works
by chance: what routing knows came through their KV events, hashed again from the tokens."""
import concurrent.futures
import http.client
import json
import os
import re

import pytest

import testenv
from weir import DEADLINE_S, WEIR, Answer, Process, exposition, kept_port, total, until

BLOCK = 16


class Engine(Process):
    def __init__(self, *flags, kind="vllm", port=0, model="m", within=None, block=BLOCK):
        self.within, self.host = within, within.wire if within else "127.0.0.1"
        port = port or (0 if within else kept_port())  # another may come in its place
        super().__init__([WEIR, "mocker", "--engine", kind, "--port", str(port), "--model-name", model,
                          *(("--host", "0.0.0.0") if within else ()),
                          "--block-size", str(block), *(flags if "--speedup-ratio" in flags else
                                                        ("--speedup-ratio", "0", *flags))],
                         name=f"{kind} engine", within=within)
        self.port = int(self.wait_line(r"engine serves model \S+ on \S+ port (\d+)").group(1))
        self.url = f"http://{self.host}:{self.port}"

    def events(self, rank=0):
        m = self.wait_line(rf"rank {rank} publishes KV events on (\S+), replay (\d+)")
        return m.group(1), "tcp://127.0.0.1:" + m.group(2)

    def ask(self, method, path, body=None):
        # Over a wire that no test cuts.
        c = http.client.HTTPConnection(self.within.side if self.within else self.host, self.port, timeout=DEADLINE_S)
        c.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
        r = c.getresponse()
        a = Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        c.close()
        return a

    def get(self, path, method="GET"):
        return self.ask(method, path).body


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


def test_an_engine_with_other_blocks_waits(fleet):
    """Beside others of its model its hits could not be found; once they have gone it is the model. (Failed before: left out
    until it was started anew.)"""
    engines = {BLOCK: start(fleet), 2 * BLOCK: start(fleet, block=2 * BLOCK)}
    f = front(fleet, *(e.url for e in engines.values()), n=1)
    late = int(f.wait_line(r"a worker of model m has block size (\d+), the others \d+; it is left out").group(1))
    assert f.chat().status == 200
    next(e for size, e in engines.items() if size != late).kill()
    # And its events are followed: what it holds is found.
    again = {"messages": [{"role": "user", "content": "a" * 400}]}
    until("a hit", lambda: f.chat(**again).status == 200 and accesses(f, 1)[0][1] >= 400 // late)


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
    until("all to be counted", lambda: f.metric("dynamo_frontend_requests_total", status="success") >= 3)


def follows(f, *engines):
    """The router has seen every batch that the engines have published."""
    def same():
        told = {f"{e.host}:{e.port}": exposition(e.get("/metrics")) for e in engines}
        seen = f.metrics()
        for where, page in told.items():
            for key, n in page.items():
                if key.startswith("weir_mocker_kv_next_sequence") and n > 0:
                    rank = re.search(r'rank="(\d+)"', key).group(1)
                    if not any(k.startswith("weir_engine_kv_next_sequence") and where in k and
                               f'dp_rank="{rank}"' in k and v == n for k, v in seen.items()):
                        return False
        return True
    until("the router to have seen all KV events", same)


def ask(f, body):
    """One chat; its worker, the blocks that the router expected, the tokens the engine had."""
    seen = len(f.lines)
    r = f.ask("POST", "/v1/chat/completions", body)
    assert r.status == 200, (r, f.log()[-3000:])
    worker, overlap = accesses(f, 1, seen)[0]
    a = r.json()
    return a["choices"][0]["message"]["content"], worker, overlap, \
        a["usage"]["prompt_tokens_details"]["cached_tokens"]


def talk(f, engines, who, turns=4, **extra):
    """A conversation that grows. Each turn's prediction must be what the engine then found."""
    history, workers, hits = [], [], []
    for t in range(turns):
        history.append({"role": "user", "content": f"{who} asks question {t}: " + f"{who}{t} " * 40})
        text, worker, overlap, cached = ask(f, {"model": "m", "messages": history, "max_tokens": 24, **extra})
        assert overlap * BLOCK == cached, (who, t, overlap, cached, f.log()[-3000:])
        history.append({"role": "assistant", "content": text})
        workers.append(worker)
        hits.append(cached)
        follows(f, *engines)
    return workers, hits


def test_turns_go_to_the_engine_that_holds_them(fleet):
    a, b = start(fleet), start(fleet)
    f = front(fleet, a.url, b.url)
    homes = set()
    for who in range(20):
        workers, hits = talk(f, (a, b), f"w{who}")
        assert len(set(workers)) == 1, (who, workers)
        assert hits[0] < 3 * BLOCK < hits[1] < hits[2] < hits[3], hits
        homes.add(workers[0])
        if who >= 3 and len(homes) == 2:
            return
    raise AssertionError("20 conversations, between idle engines, all went to one")


def test_what_was_cached_before_is_known(fleet):
    """A frontend that comes later learns everything through the replay."""
    a, b = start(fleet), start(fleet)
    first = front(fleet, a.url, b.url)
    history = [{"role": "user", "content": "remember this " * 60}]
    body = {"model": "m", "messages": history, "max_tokens": 8}
    _, home, _, _ = ask(first, body)
    follows(first, a, b)
    second = front(fleet, b.url, a.url)
    follows(second, a, b)
    _, worker, overlap, cached = ask(second, body)
    assert worker == home and overlap * BLOCK == cached > 10 * BLOCK


def test_engine_that_starts_anew_has_nothing(fleet):
    a, b = start(fleet), start(fleet)
    f = front(fleet, a.url, b.url)
    workers, _ = talk(f, (a, b), "eve", turns=2)
    follows(f, a, b)
    body = {"model": "m", "messages": [{"role": "user", "content": "old times " * 50}], "max_tokens": 8}
    _, home, _, _ = ask(f, body)
    follows(f, a, b)
    gone, stays = (a, b) if home_of(f, a) == home else (b, a)
    at = len(f.lines)
    gone.kill()
    again = start(fleet, port=gone.port)
    # Real engines take half a minute for it; here it is within one look at the engine.
    f.wait_line(r"is down|blocks are forgotten|has changed", at)
    f.ready(workers=2)
    follows(f, again, stays)
    for _ in range(3):
        _, _, overlap, cached = ask(f, body)
        assert overlap * BLOCK == cached, f.log()[-3000:]
        follows(f, again, stays)
    assert cached > 0


def home_of(f, engine):
    """The worker id of an engine, as the access log writes it."""
    where = f"{engine.host}:{engine.port}"
    for i in f.get("/health").json()["instances"]:
        if where in json.dumps(i["transport"]):
            return f"{float(i['instance_id']):.16g}"
    raise AssertionError(f"{where} is not among the instances")


def test_reset_of_a_cache_is_told_with_the_next_batch(fleet):
    a = start(fleet)
    f = front(fleet, a.url)
    talk(f, (a,), "fay", turns=2)
    assert a.get("/reset_prefix_cache", "POST") == b'{"success":true}'
    body = {"model": "m", "messages": [{"role": "user", "content": "something else"}], "max_tokens": 20}
    ask(f, body)
    follows(f, a)
    _, hits = talk(f, (a,), "fay", turns=2)  # exact again
    assert hits[0] == 0


def test_salts_part_equal_prompts(fleet):
    a, b = start(fleet), start(fleet)
    f = front(fleet, a.url, b.url)
    _, plain = talk(f, (a, b), "gus", turns=2)
    _, salted = talk(f, (a, b), "gus", turns=3, cache_salt="tenant-1")
    assert salted[0] == 0 < salted[1]
    _, other = talk(f, (a, b), "gus", turns=2, cache_salt="tenant-2")
    assert other[0] == 0
    _, again = talk(f, (a, b), "gus", turns=1, cache_salt="tenant-1")
    assert again[0] > 0 and plain[1] > 0
    # A tenant header isolates as well, although the engine knows nothing of it.
    body = {"model": "m", "messages": [{"role": "user", "content": "gus asks question 0: " + "gus0 " * 40}],
            "max_tokens": 4}
    r = f.ask("POST", "/v1/chat/completions", body, {"x-tenant-id": "tenant-3"}).json()
    assert r["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_block_of_the_last_token_is_computed_anyway(fleet, kind):
    """Found with vLLM 0.16: a prompt that is cached to its end was expected with one block more than the engine uses."""
    a = start(fleet, kind=kind)
    events, replay = a.events()
    f = front(fleet, f"{a.url},kv-events={events},replay={replay}")
    for n in (4 * BLOCK, 4 * BLOCK + 1, 4 * BLOCK - 1, BLOCK, 1):
        ids = [(7 * n + i) % 200 + 3 for i in range(n)]
        found = []
        for _ in range(2):
            seen = len(f.lines)
            r = f.complete(ids, max_tokens=2)
            overlap = accesses(f, 1, seen)[0][1]
            found.append(r.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
            assert overlap * BLOCK == found[-1], (n, overlap, found)
            follows(f, a)
        assert found == [0, (n - 1) // BLOCK * BLOCK], (n, found)


def test_strict_tool_with_a_loose_schema_is_the_engines_affair(fleet):
    """Dynamo refuses it, engines take it: the prompt is read all the same, and what is cached of it known."""
    e = start(fleet)
    f = front(fleet, e.url)
    body = {"model": "m", "messages": [{"role": "user", "content": "High water? " * 10}], "max_tokens": 4, "tools": [
        {"type": "function", "function": {"name": "now", "strict": True, "parameters": {"type": "object", "properties": {}}}}]}
    assert ask(f, body)[2:] == (0, 0)
    follows(f, e)
    overlap, cached = ask(f, body)[2:]
    assert overlap * BLOCK == cached > 0, (overlap, cached, f.log()[-2000:])


def test_probabilities_of_a_prompt_are_computed_anew(fleet):
    """As seen of vLLM 0.32: whoever asks for them gets no cached token (the mock engine does not know that)."""
    a = start(fleet)
    f = front(fleet, a.url)
    ids = list(range(3, 3 + 6 * BLOCK + 5))
    expected = []
    for extra in ({}, {}, {"prompt_logprobs": 1}, {"prompt_logprobs": 0}, {"echo": True, "logprobs": 1}, {"echo": True},
                  {"logprobs": 1}, {"prompt_logprobs": None}):
        seen = len(f.lines)
        assert f.complete(ids, max_tokens=2, **extra).status == 200
        expected.append(accesses(f, 1, seen)[0][1])
        follows(f, a)
    assert expected == [0, 6, 0, 0, 0, 6, 6, 6], expected
    seen = len(f.lines)
    for extra in ({}, {}, {"prompt_logprobs": 1}):
        assert f.chat("say " * 40, **extra).status == 200
        follows(f, a)
    assert [n > 0 for _, n in accesses(f, 3, seen)] == [False, True, False]


def test_sglang(fleet):
    """One's sockets are named by the operator, the other's by its own /server_info."""
    a, b = start(fleet, kind="sglang"), start(fleet, kind="sglang")
    events, replay = a.events()
    f = front(fleet, f"{a.url},kv-events={events},replay={replay}", b.url)
    for who in ("hal", "ida", "jan"):
        workers, hits = talk(f, (a, b), who)
        assert len(set(workers)) == 1 and hits[1] > 0
    _, salted = talk(f, (a, b), "hal", turns=2, cache_salt="s")
    assert salted[0] == 0 < salted[1]


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_prompts_are_made_as_the_engine_makes_them(fleet, kind):
    """Parts of a text and tools that may not be called: each engine shapes them in its own way."""
    model = testenv.qwen3_tokenizer()
    e = start(fleet, "--model-path", model, kind=kind)
    events, replay = e.events()
    f = fleet.frontend("--router-mode", "kv", "--model-path", model, "--worker",
                       f"{e.url},kv-events={events},replay={replay}",
                       env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem"}).ready(workers=1)
    tool = {"type": "function", "function": {"name": "weather", "description": "tells the weather " * 20,
                                             "parameters": {"type": "object", "properties": {}}}}
    parts = [{"type": "text", "text": "one word and another " * 30}, {"type": "text", "text": "and more " * 60}]
    body = {"model": "m", "messages": [{"role": "user", "content": parts}], "max_tokens": 4,
            "tools": [tool], "tool_choice": "none"}
    # SGLang shows a named tool alone.
    other = {"type": "function", "function": {"name": "tide", "description": "tells the tide " * 20}}
    named = dict(body, tools=[other, tool], tool_choice={"type": "function", "function": {"name": "weather"}})
    for b in (body, named):
        b["messages"] = [{"role": "system", "content": str(b["tool_choice"]) * 8}, *b["messages"]]
        _, _, overlap, cached = ask(f, b)
        follows(f, e)
        assert overlap * BLOCK == cached
        _, _, overlap, cached = ask(f, b)
        assert overlap * BLOCK == cached > 10 * BLOCK, (b["tool_choice"], overlap, cached)


def test_vllm_of_old_array_events(fleet):
    a = start(fleet, "--kv-events-form", "array")
    events, replay = a.events()
    f = front(fleet, f"{a.url},kv-events={events},replay={replay}")
    _, hits = talk(f, (a,), "kim")
    assert hits[1] > 0


def test_data_parallel_ranks_are_pinned(fleet):
    a = start(fleet, "--data-parallel-size", "2")
    f = front(fleet, a.url)
    for who in range(20):
        _, hits = talk(f, (a,), f"w{who}")  # exact only if the rank that was chosen serves
        assert hits[1] > 0
        page = exposition(a.get("/metrics"))
        if all(page[f'weir_mocker_cached_tokens{{rank="{r}"}}'] > 0 for r in (0, 1)):
            return
    raise AssertionError("20 conversations, between idle ranks, all went to one")


def test_evictions_are_followed(fleet):
    a = start(fleet, "--num-gpu-blocks-override", "64")
    f = front(fleet, a.url)
    for i in range(12):
        talk(f, (a,), f"p{i}", turns=2)
    _, hits = talk(f, (a,), "p0", turns=1)
    assert hits[0] == 0


def test_publishers_that_connect_to_us(fleet):
    """Two engines publish to one port of ours; their topics tell them apart."""
    there = f"tcp://127.0.0.1:{kept_port()}"
    a, b = (start(fleet, "--kv-events-connect", there, kind=kind) for kind in ("vllm", "sglang"))
    f = front(fleet, a.url, b.url)
    for who in ("quo", "ray", "sue"):
        workers, hits = talk(f, (a, b), who)
        assert len(set(workers)) == 1 and hits[1] > 0


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_tokens_asked_of_the_engine(fleet, kind):
    """Without any tokenizer here routing is as exact: /tokenize makes the tokens, of streams too (SGLang's refuses one)."""
    a, b = start(fleet, kind=kind), start(fleet, kind=kind)
    named = ["{},kv-events={},replay={}".format(e.url, *e.events()) for e in (a, b)]
    f = fleet.frontend("--router-mode", "kv", "--worker", named[0], "--worker", named[1],
                       env={"WEIR_ENGINE_POLL_SECS": "0.05"}).ready(workers=2)
    workers, hits = talk(f, (a, b), "pam")
    assert len(set(workers)) == 1 and hits[1] > 0
    seen = len(f.lines)
    for _ in range(2):
        s = f.chat("streamed " * 40, stream=True, stream_options={"include_usage": True})
        follows(f, a, b)
    assert accesses(f, 2, seen)[1][1] * BLOCK == s.events()[-2]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    seen = len(f.lines)
    f.complete("text " * 50)
    follows(f, a, b)
    r = f.complete("text " * 50).json()
    assert accesses(f, 2, seen)[1][1] * BLOCK == r["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    # Each counts once: to ask for tokens is no choice.
    for name in ("dynamo_component_router_kv_hit_rate_count", "dynamo_frontend_router_admission_received_total"):
        assert f.counted().metric(name) == f.metric("dynamo_frontend_requests_total", status="success"), name


def test_engine_killed_in_mid_stream(fleet):
    a = start(fleet, "--speedup-ratio", "1", "--decode-base-ms", "20")
    f = front(fleet, a.url, mode="round-robin")
    c = f.connect()
    c.request("POST", "/v1/chat/completions", json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 4000, "stream": True}),
        {"content-type": "application/json"})
    r = c.getresponse()
    assert r.status == 200 and r.readline().startswith(b"data: ")
    a.kill()
    rest = r.read().decode()
    frames = [x for x in rest.split("\n\n") if x]
    assert frames[-1] == "data: [DONE]" and "error" in json.loads(frames[-2].split("data: ", 1)[1])
    c.close()


def test_engine_that_hangs_is_given_up(fleet):
    """Its connections stay and its system takes every byte: what it had begun ends, the rest goes to another. (Failed before:
    requests of an engine that was known to be down waited for ever.)"""
    slow = ("--speedup-ratio", "1", "--decode-base-ms", "20")
    a, b = start(fleet, *slow), start(fleet, *slow)
    f = front(fleet, a.url, b.url, mode="round-robin",
              env={"WEIR_ENGINE_ANSWER_TIMEOUT_SECS": "2", "WEIR_WORKER_LEFT_TIMEOUT_SECS": "1"})
    at_home = {"x-dynamo-worker-instance-id": str(int(float(home_of(f, a))))}
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 100000, "stream": True}
    c = f.connect()
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json", **at_home})
    r = c.getresponse()
    assert r.status == 200 and r.readline().startswith(b"data: ")
    running = lambda e: total(exposition(e.get("/metrics")), "vllm:num_requests_running")
    assert running(a) == 1
    with concurrent.futures.ThreadPoolExecutor() as pool:
        whole = [pool.submit(f.chat, max_tokens=200) for _ in range(4)]
        until("all to run", lambda: running(a) + running(b) == 5)
        assert running(a) > 1
        at = len(f.lines)
        with a.frozen():
            f.wait_line(r"is down", at)
            assert [w.result(DEADLINE_S).status for w in whole] == [200] * 4
            frames = [x for x in r.read().decode().split("\n\n") if x]
            assert frames[-1] == "data: [DONE]" and "error" in json.loads(frames[-2].split("data: ", 1)[1])
            assert f.chat(max_tokens=2).status == 200
            until("no request", lambda: f.metric("dynamo_frontend_inflight_requests") == 0)
    c.close()
    f.ready(workers=2)
    until("its work to have ended", lambda: running(a) == 0)


def test_request_goes_elsewhere_before_its_first_byte(fleet):
    """An engine that is gone, and one that dies with the request in its hands."""
    a = start(fleet)
    b = start(fleet, "--exit-after", "2")
    f = front(fleet, a.url, b.url, mode="round-robin", env={"WEIR_ENGINE_POLL_SECS": "60"})
    for i in range(12):
        assert f.chat(text=f"number {i}").status == 200
    assert b.wait() == 1
    assert any("did not answer" in l for l in f.lines)


def test_errors_of_an_engine_pass_and_do_not_mark_it(fleet):
    a = start(fleet, "--fail-rate", "1")
    f = front(fleet, a.url, mode="round-robin")
    for _ in range(5):
        r = f.chat()
        assert r.status == 500 and r.json()["error"]["message"].startswith("injected failure")
    assert f.get("/v1/models").json()["data"]


def test_client_that_leaves_ends_the_work(fleet):
    a = start(fleet, "--speedup-ratio", "1", "--decode-base-ms", "20")
    f = front(fleet, a.url, mode="round-robin")
    s = f.hold(max_tokens=100000)
    running = lambda: total(exposition(a.get("/metrics")), "vllm:num_requests_running")
    until("the engine to run it", lambda: running() == 1)
    s.close()
    until("the engine to be idle", lambda: running() == 0)


def test_log_names_a_request_as_its_answer_does(fleet):
    e = start(fleet)
    f = front(fleet, e.url)
    own = "0b3bd2f1-6c1f-4c56-9d4a-50c3a4a3f0aa"
    r = f.chat(headers={"x-request-id": own})
    assert r.json()["id"] == "chatcmpl-" + own
    f.wait_line("request completed request_id=" + own)
    r = f.chat()
    f.wait_line("request completed request_id=" + r.json()["id"].removeprefix("chatcmpl-"))


def test_model_whose_engines_are_down_is_missed(fleet, tmp_path):
    """Clients try again on a 503, and give up on a 404."""
    a = start(fleet)
    path = tmp_path / "workers.toml"
    path.write_text(f'[[worker]]\nurl = "{a.url}"\n')
    f = fleet.frontend("--workers-file", str(path), "--tokenizer", "bytes",
                       env={"WEIR_ENGINE_POLL_SECS": "0.05"}).ready()
    at = len(f.lines)
    a.kill()
    f.wait_line(r"is down", at)

    def told():
        r = f.chat()
        assert r.status == 503 and r.headers["retry-after"], r
        return "engines of this model are down" in r.json()["error"]["message"]
    until("requests to be told so", told)
    assert f.chat(model="never").status == 404 and not f.get("/v1/models").json()["data"]
    start(fleet, port=a.port)
    f.ready()
    assert f.chat().status == 200
    path.write_text("")  # taken from the list on purpose
    until("model m to go", lambda: f.chat().status == 404)


def test_list_is_read_again(fleet, tmp_path):
    a, b = start(fleet), start(fleet, model="n")
    path = tmp_path / "workers.toml"
    path.write_text(f'[[worker]]\nurl = "{a.url}"\n')
    f = fleet.frontend("--workers-file", str(path), "--tokenizer", "bytes",
                       env={"WEIR_ENGINE_POLL_SECS": "0.05"}).ready()
    path.write_text(f'[[worker]]\nurl = "{a.url}"\n[[worker]]\nurl = "{b.url}"\n')
    f.ready(model="n", workers=2)
    assert f.chat(model="n").status == 200
    at = len(f.lines)
    path.write_text("[[worker]]\nurl = 3\n")
    f.wait_line(r"stays as it was", at)
    assert f.chat(model="n").status == 200
    path.write_text(f'[[worker]]\nurl = "{b.url}"\n')
    until("model m to go", lambda: f.chat().status == 404)
    assert f.chat(model="n").status == 200
