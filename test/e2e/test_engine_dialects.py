"""The Responses and Messages APIs before HTTP engines: the engine gets the chat that a request stands for, and what it answers is
what the same chat answers from a worker of the request plane."""
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request

import pytest

from dialects import MESSAGES, RESPONSES, ask, chunks, front, said, stream, whole
from scripted import ScriptedWorker, cut
from test_engine_scripted import engines  # noqa: F401 (a fixture)
from test_engine_split import HOLD, KV, bodies
from test_engine_split import front as split_front
from test_engines import BLOCK, accesses, follows, start
from test_responses import CALL, HERE, TOOL
from testenv import node_with
from weir import DEADLINE_S, exposition, total, until

SAYS = "<think>\nhm “so”\n</think>\n\nA dam “across” a river.\n" + CALL + "\n" + CALL.replace("Ålesund", "Oslo")
CLIENT_TOOL = {"name": TOOL["name"], "input_schema": TOOL["parameters"]}


# ---- the same as from a worker ----------------------------------------------------------------------


def without_names(value):
    """Ids and times differ from answer to answer; a worker's deltas count, an engine's do not."""
    if isinstance(value, list):
        return [without_names(v) for v in value]
    if not isinstance(value, dict):
        return value
    gone = {"id", "item_id", "call_id", "created_at", "completed_at"} | ({"usage"} if value.get("type") == "content_block_delta" else set())
    return {k: without_names(v) for k, v in value.items() if k not in gone}


def before_a_worker(fleet, says=SAYS, finish="stop"):
    """A worker of the request plane with its frontend, and what an engine that says the same answers."""
    worker = ScriptedWorker(fleet.env["DYN_FILE_KV"], lambda _: (cut(says), finish), tool_call_parser="hermes",
                            reasoning_parser="qwen3", usage=lambda q: {"prompt_tokens": len(q["token_ids"]),
                                                                       "prompt_tokens_details": {"cached_tokens": 16}})
    dynamo = fleet.frontend("--enable-anthropic-api").ready()

    def as_chat(h, body):
        r = dynamo.ask("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
        if json.loads(body).get("stream") and r.status == 200:
            stream(h, r.body, done=False)
        else:
            h.whole(r.status, r.body)
    return worker, dynamo, as_chat


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_answers_are_those_of_a_worker(fleet, engines, finish):
    """A worker says something; an engine says what Weir made of that as a chat. The answers of the two APIs are the same."""
    worker, dynamo, as_chat = before_a_worker(fleet, finish=finish)
    f = front(fleet, engines(as_chat).url)
    for path, tools in ((RESPONSES, [TOOL]), (MESSAGES, [CLIENT_TOOL])):
        for more in ({}, {"tools": tools}, {"temperature": 0.5, "metadata": {"user_id": "b"}}):
            one, two = (ask(x, path, **more) for x in (dynamo, f))
            assert one.status == two.status == 200 and without_names(one.json()) == without_names(two.json())
            one, two = (ask(x, path, stream=True, **more).events() for x in (dynamo, f))
            assert without_names(one) == without_names(two) and two[-1] == "[DONE]" and two.count("[DONE]") == 1
    worker.close()


def test_node_sdk(fleet, engines):
    folder = node_with("openai")
    shutil.copy(os.path.join(HERE, "responses_client.mjs"), folder)
    worker, _, as_chat = before_a_worker(fleet, "<think>\nhm\n</think>\n\nA dam.\n" + CALL)
    f = front(fleet, engines(as_chat).url)
    r = subprocess.run(["node", "responses_client.mjs", f.url], cwd=folder, capture_output=True, text=True, timeout=180)
    assert r.returncode == 0 and r.stdout.endswith("ok\n"), r.stdout + r.stderr
    worker.close()


def test_ends_of_answers(fleet, engines):
    """Which stop sequence ended it, and that it was cut; a call that had to come ends with "stop" at engines."""
    now = {}

    def answer(h, body):
        stream(h, chunks(now["message"], finish=now["finish"], **now["more"])) if json.loads(body).get("stream") else \
            h.whole(200, whole(now["message"], now["finish"], **now["more"]))
    f = front(fleet, engines(answer).url)
    call = {"content": None, "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    for path in (RESPONSES, MESSAGES):
        for message, finish, more, status, reason in [
                ({"content": "x"}, "length", {}, "incomplete", "max_tokens"), ({"content": "x"}, "stop", {}, "completed", "end_turn"),
                ({"content": "x"}, "stop", {"stop_reason": "STOP"}, "completed", "stop_sequence"),
                ({"content": "x"}, "stop", {"matched_stop": "STOP"}, "completed", "stop_sequence"),
                ({"content": "x"}, "stop", {"stop_reason": 151645}, "completed", "end_turn"), (call, "stop", {}, "completed", "tool_use")]:
            now.update(message=message, finish=finish, more=more)
            asked = {} if path == RESPONSES else {"stop_sequences": ["STOP"]}
            one, two = ask(f, path, **asked).json(), ask(f, path, stream=True, **asked).events()[:-1]
            if path == RESPONSES:
                assert one["status"] == two[-1]["response"]["status"] == status
            else:
                assert one["stop_reason"] == two[-2]["delta"]["stop_reason"] == reason
                assert one["stop_sequence"] == two[-2]["delta"].get("stop_sequence") == ("STOP" if reason == "stop_sequence" else None)


def test_log_probabilities(fleet, engines):
    """Those of the engine, with the text that they belong to, also where it came in an event after them."""
    one, two, three, end = ({"token": t, "logprob": -0.5, "bytes": [104], "top_logprobs": []} for t in "hey.")

    def answer(h, body):
        q = json.loads(body)
        assert q["logprobs"] is True and q["top_logprobs"] == 2
        if not q.get("stream"):
            h.whole(200, whole({"content": "hey"}, logprobs={"content": [one, two, three, end]}))
            return
        events = [{"index": 0, "delta": {"content": c}, "logprobs": {"content": l}} for c, l in (("h", [one]), ("", [two]), ("ey", [three]))]
        data = b"".join(b"data: " + json.dumps({"choices": [e]}).encode() + b"\n\n" for e in events)
        stream(h, data + chunks({"content": ""}, logprobs={"content": [end]}))
    f = front(fleet, engines(answer).url)
    more = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    assert ask(f, RESPONSES, **more).json()["output"][0]["content"][0]["logprobs"] == [one, two, three, end]
    events = ask(f, RESPONSES, stream=True, **more).events()[:-1]
    assert [e["logprobs"] for e in events if e["type"] == "response.output_text.delta"] == [[one], [two, three]]
    for part in (events[-1]["response"]["output"][0]["content"][0],
                 next(e for e in events if e["type"] == "response.output_text.done")):
        assert part["logprobs"] == [one, two, three, end]  # (failed before: the last was lost)


# ---- what the engine gets ---------------------------------------------------------------------------


def test_the_engine_gets_the_chat(fleet, engines):
    e = engines(lambda h, body: stream(h, chunks({"content": "x"})) if json.loads(body).get("stream") else h.whole(200, whole({"content": "x"})))
    f = front(fleet, e.url)
    r = ask(f, RESPONSES, instructions="Be brief.", max_output_tokens=9, temperature=0.5, tools=[TOOL], tool_choice="required",
            text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}, metadata={"a": "b"},
            store=False, chat_template_kwargs={"enable_thinking": False}, cache_salt="s",
            headers={"authorization": "Bearer k", "x-request-id": "rid-1"})
    assert r.status == 200, r
    path, headers, body = e.seen[-1]
    assert path == "/v1/chat/completions" and headers["authorization"] == "Bearer k" and headers["x-request-id"] == "rid-1"
    args = json.loads(body)["chat_template_kwargs"]
    assert json.loads(body) == {
        "model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
        "tools": [{"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}], "tool_choice": "required",
        "max_tokens": 9, "temperature": 0.5, "cache_salt": "s", "chat_template_kwargs": args,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}}
    assert args["enable_thinking"] is False
    ask(f, MESSAGES, system="Be brief.", stop_sequences=["a"], top_k=7, thinking={"type": "enabled", "budget_tokens": 2000}, stream=True,
        headers={"x-tenant-id": "t"})
    got = json.loads(e.seen[-1][2])
    args = got.pop("chat_template_kwargs")
    assert args["enable_thinking"] is True
    assert got == {"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}],
                   "stream": True, "stream_options": {"include_usage": True}, "max_completion_tokens": 500, "top_k": 7, "stop": ["a"],
                   "thinking_token_budget": 2000, "cache_salt": "t"}


def test_images_reach_the_engine_and_are_not_counted(fleet, engines):
    e = engines(lambda h, body: h.whole(200, whole({"content": "a cat"})))
    f = front(fleet, e.url)
    url = "data:image/png;base64,AAAA"
    parts = {RESPONSES: [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": url, "detail": "auto"}],
             MESSAGES: [{"type": "text", "text": "What?"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]}
    for path, content in parts.items():
        turns = [{"role": "user", "content": content}]
        more = {"input": turns} if path == RESPONSES else {"messages": turns}
        assert said(path, ask(f, path, **more)) == "a cat"
        sent = json.loads(e.seen[-1][2])["messages"][0]["content"]
        assert [p["type"] for p in sent] == ["text", "image_url"] and sent[1]["image_url"]["url"] == url
        r = ask(f, path + ("/input_tokens" if path == RESPONSES else "/count_tokens"), **{"input": turns, "messages": turns})
        assert r.status == 501 and "images" in r.json()["error"]["message"]


def test_split_engines(fleet, engines):
    def decode(h, body):
        stream(h, chunks({"content": "d"})) if json.loads(body).get("stream") else h.whole(200, whole({"content": "d"}))
    pre = engines(lambda h, body: h.whole(200, json.dumps({"kv_transfer_params": KV}).encode()))
    dec = engines(decode)
    bad = engines(lambda h, body: h.whole(400, b'{"error":{"message":"too long for me"}}'))
    f = split_front(fleet, [pre.url], [dec.url], "--enforce-disagg", "--enable-anthropic-api")
    refusing = split_front(fleet, [bad.url], [dec.url], "--enable-anthropic-api")
    for path in (RESPONSES, MESSAGES):
        for streams in (False, True):
            r = ask(f, path, stream=streams)
            assert r.status == 200 and said(path, r) == "d"
            p, d = bodies(pre)[-1], bodies(dec)[-1]
            assert p["kv_transfer_params"] == HOLD and p["stream"] is False and "stream_options" not in p and p["max_tokens"] == 1
            assert d["kv_transfer_params"] == KV and d["messages"] == p["messages"] and d.get("stream", False) is streams
        r = ask(refusing, path)
        assert r.status == 400 and r.json()["error"]["message"] == "too long for me"


def test_split_engines_of_sglang(fleet):
    pre, dec = start(fleet, "--disaggregation-mode", "prefill", kind="sglang"), start(fleet, "--disaggregation-mode", "decode", kind="sglang")
    f = split_front(fleet, [pre.url], [dec.url], "--tokenizer", "bytes", "--enable-anthropic-api")
    for path in (RESPONSES, MESSAGES):
        for streams in (False, True):
            r = ask(f, path, stream=streams)
            assert r.status == 200 and said(path, r)


# ---- routing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind,tokens", [("vllm", "here"), ("sglang", "here"), ("vllm", "asked"), ("sglang", "asked")])
def test_turns_go_to_the_engine_that_holds_them(fleet, kind, tokens):
    """Whole answers and streams in turn: the blocks that the router expects are those that the engine finds."""
    ours = start(fleet, kind=kind), start(fleet, kind=kind)
    f = front(fleet, *(e.url for e in ours), flags=("--tokenizer", "bytes") if tokens == "here" else ())
    for path, word in ((RESPONSES, "word "), (MESSAGES, "other ")):
        workers = set()
        turns = [{"role": "user", "content": word * 40}]
        for turn in range(4):
            seen = len(f.lines)
            more = {"input": turns, "max_output_tokens": 20} if path == RESPONSES else {"messages": turns, "max_tokens": 20}
            r = ask(f, path, stream=turn % 2 == 1, **more)
            assert r.status == 200, r
            if path == RESPONSES:
                usage = (r.events()[-2]["response"] if turn % 2 else r.json())["usage"]
                cached, prompt = usage["input_tokens_details"]["cached_tokens"], usage["input_tokens"]
            else:
                usage = (r.events()[-3] if turn % 2 else r.json())["usage"]
                cached = usage.get("cache_read_input_tokens", 0)
                prompt = usage["input_tokens"] + cached
            (worker, overlap), = accesses(f, 1, seen)
            workers.add(worker)
            assert overlap * BLOCK == cached and (cached > 4 * BLOCK) == (turn > 0)
            count = ask(f, path + ("/input_tokens" if path == RESPONSES else "/count_tokens"), **more)
            assert count.json()["input_tokens"] == prompt
            follows(f, *ours)
            turns += [{"role": "assistant", "content": said(path, r)}, {"role": "user", "content": f"and {turn}?"}]
        assert len(workers) == 1


def test_ranks_are_pinned(fleet):
    a = start(fleet, "--data-parallel-size", "2")
    f = front(fleet, a.url)
    for who in range(20):
        for turn in range(2):
            r = ask(f, RESPONSES, f"{who} " * 100, max_output_tokens=4)
            follows(f, a)
        cached = r.json()["usage"]["input_tokens_details"]["cached_tokens"]  # only if the rank that was chosen serves
        assert cached == accesses(f, 1)[0][1] * BLOCK > 0
        page = exposition(a.get("/metrics"))
        if all(page[f'weir_mocker_cached_tokens{{rank="{r}"}}'] > 0 for r in (0, 1)):
            return
    raise AssertionError("20 conversations, between idle ranks, all went to one")


def test_counts_of_engines_that_fail(fleet, engines):
    """Without a tokenizer an engine without /tokenize cannot be asked; one that is gone gives way."""
    f = front(fleet, engines(lambda h, body: h.whole(200, whole({"content": "x"}))).url, flags=())
    for path in (RESPONSES + "/input_tokens", MESSAGES + "/count_tokens"):
        r = ask(f, path)
        assert r.status == 501 and "--model-path" in r.json()["error"]["message"]
    ours = start(fleet), start(fleet)
    f = front(fleet, *(e.url for e in ours), flags=(), env={"WEIR_ENGINE_POLL_SECS": "1"})
    ours[0].kill()
    for _ in range(4):
        assert ask(f, RESPONSES + "/input_tokens").json()["input_tokens"] > 5
    ours[1].kill()
    r = ask(f, MESSAGES + "/count_tokens")
    assert r.status == 503 and r.json()["error"]["type"] == "overloaded_error"


def test_counts_that_engines_refuse(fleet, engines):
    now = {"how": lambda h, body: h.whole(200, b'{"tokens":[1,2,3],"count":3}')}
    gate = threading.Event()
    e = engines(lambda h, body: h.whole(500, b""), tokenize=lambda h, body: now["how"](h, body))
    f = front(fleet, e.url, flags=(), env={"DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS": "2", "WEIR_ENGINE_POLL_SECS": "1"})
    path = RESPONSES + "/input_tokens"
    assert ask(f, path, instructions="Be brief.", stream=True).json() == {"object": "response.input_tokens", "input_tokens": 3}

    def looks(h, body):
        now["body"] = json.loads(body)
        h.whole(200, b'{"tokens":[1,2]}')
    now["how"] = looks
    assert ask(f, MESSAGES + "/count_tokens", thinking={"type": "disabled"}, stream=True).json() == {"input_tokens": 2}
    # What no engine makes a prompt of, or what nobody here knows the prompt of, is said so.
    for more, status in (({"messages": []}, 400), ({"tools": []}, 501)):
        r = ask(f, path, chat_template_kwargs=more)
        assert r.status == status and "chat_template_kwargs" in r.json()["error"]["message"], r
    assert now["body"].pop("chat_template_kwargs")["enable_thinking"] is False
    assert now["body"] == {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    # With an effort the page's body is written anew: a stream is none of it all the same. (Failed before.)
    assert ask(f, path, reasoning={"effort": "low"}, stream=True).json()["input_tokens"] == 2
    assert "stream" not in now["body"] and now["body"]["chat_template_kwargs"]["reasoning_effort"] == "low"
    # What the page would tell is not what the chat gets: the refusal says so. (Failed before: unavailable.)
    for args, status in (({"tools": []}, 501), ({"messages": []}, 400)):
        r = ask(f, path, chat_template_kwargs=args)
        assert r.status == status and "chat_template_kwargs" in r.json()["error"]["message"], r
    for how, status, words in [
            (lambda h, body: h.whole(400, b'{"error":{"message":"too long","code":400}}'), 400, "too long"),
            (lambda h, body: h.whole(200, b'{"tokens":"many"}'), 502, "/tokenize"), (lambda h, body: h.whole(503, b""), 503, "unavailable"),
            (lambda h, body: gate.wait(120) and h.whole(200, b"{}"), 504, "deadline")]:
        now["how"] = how
        r = ask(f, path)
        assert r.status == status and words in r.json()["error"]["message"], r
    gate.set()
    assert not e.seen  # nothing was generated


def test_counts_are_let_finish(fleet, engines):
    """A count that waits for an engine is work that runs: a frontend that leaves waits for it. (Failed before: it was cut.)"""
    asked, gate, got = threading.Event(), threading.Event(), []

    def tokenize(h, body):
        if b"Be brief." in body:  # not one that only asks whether there is a /tokenize
            asked.set()
            gate.wait(120)
        h.whole(200, b'{"tokens":[1,2,3],"count":3}')
    f = front(fleet, engines(lambda h, body: h.whole(500, b""), tokenize=tokenize).url, flags=())
    client = threading.Thread(target=lambda: got.append(ask(f, RESPONSES + "/input_tokens", instructions="Be brief.")))
    client.start()
    assert asked.wait(DEADLINE_S)
    f.signal(signal.SIGTERM)
    f.wait_line("no new requests; 1 are running")
    assert f.get("/live").status == 503
    gate.set()
    client.join(DEADLINE_S)
    assert got[0].status == 200 and got[0].json()["input_tokens"] == 3
    assert f.wait() == 0


# ---- what goes wrong --------------------------------------------------------------------------------


REFUSALS = [
    (b'{"error":{"message":"too long","type":"BadRequestError","param":null,"code":400}}', "application/json", 400, "too long"),
    (b'{"object":"error","message":"no such tool","type":"BadRequestError","param":null,"code":400}', "application/json", 400, "no such tool"),
    (b'{"detail":"Unauthorized"}', "application/json", 401, "Unauthorized"),
    (b'{"detail":[{"loc":["body"],"msg":"m"}]}', "application/json", 422, '[{"loc":["body"],"msg":"m"}]'),
    (b'{"error":"Unauthorized"}', "application/json", 401, "Unauthorized"),
    (b"slow down", "text/plain", 429, "slow down"), (b"", "text/plain", 500, "The engine answered 500 without a word")]


def test_refusals_are_errors_of_the_api(fleet, engines):
    now = {}
    e = engines(lambda h, _: h.whole(*now["answer"]))
    f = front(fleet, e.url)
    for body, kind, status, words in REFUSALS:
        now["answer"] = status, body, kind
        for streams in (False, True):
            for path in (RESPONSES, MESSAGES):
                r = ask(f, path, stream=streams)
                assert r.status == status and r.headers["content-type"] == "application/json" and r.json()["error"]["message"] == words
                assert r.json().get("type") == ("error" if path == MESSAGES else None)
    assert len(e.seen) == 4 * len(REFUSALS)  # none was asked twice


def test_503_goes_elsewhere_and_comes_back_when_all_say_it(fleet, engines):
    a = engines(lambda h, body: h.whole(503, b'{"error":{"message":"engine sleeps"}}'))
    b = engines(lambda h, body: h.whole(200, whole({"content": "b"})))
    f, only = front(fleet, a.url, b.url, mode="round-robin"), front(fleet, a.url)
    for path in (RESPONSES, MESSAGES):
        for _ in range(2):
            assert said(path, ask(f, path)) == "b"
        assert a.seen
        r = ask(only, path)
        assert r.status == 503 and r.json()["error"]["message"] == "engine sleeps"


@pytest.mark.parametrize("path,data", [(RESPONSES, b""), (MESSAGES, chunks(finish=None, usage=False))], ids=["nothing", "a role"])
def test_stream_that_breaks_before_it_says_anything_goes_elsewhere(fleet, engines, path, data):
    def bad(h, body):
        h.begin_stream()
        h.chunk(data + b'data: {"cho')
        h.connection.shutdown(socket.SHUT_RDWR)
    a, b = engines(bad), engines(lambda h, body: stream(h, chunks({"content": "good"})))
    f = front(fleet, a.url, b.url, mode="round-robin")
    for _ in range(2):
        assert said(path, ask(f, path, stream=True)) == "good"
    assert a.seen


def broken(h, how):
    """A stream that begins well."""
    good = chunks({"content": "so"}, finish=None, usage=False)
    if how == "cut":
        h.begin_stream()
        h.chunk(good)
        h.connection.shutdown(socket.SHUT_RDWR)
        return
    more = {"no done": b"", "no finish": b"data: [DONE]\n\n", "aborted": chunks(finish="abort") + b"data: [DONE]\n\n",
            "error": b'data: {"error":{"message":"out of blocks","type":"InternalServerError","code":500}}\n\ndata: [DONE]\n\n',
            "not JSON": b"data: {]\n\ndata: [DONE]\n\n", "a list": b"data: [1]\n\ndata: [DONE]\n\n",
            "a part of no call": chunks({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}) + b"data: [DONE]\n\n",
            "too long": b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * (5 << 20) + b'"}}]}\n\ndata: [DONE]\n\n'}[how]
    stream(h, good + more, done=False)


def ends_with_an_error(f, how, path):
    r = ask(f, path, stream=True)
    events = r.events()
    assert r.status == 200 and events.pop() == "[DONE]" and "[DONE]" not in events, (how, path, events)
    last, error = events[-1], events[-1].get("response", events[-1])["error"]
    assert last["type"] == ("response.failed" if path == RESPONSES else "error") and error["message"], (how, last)
    assert [e["type"] for e in events].count(last["type"]) == 1
    assert not {e["type"] for e in events} & {"response.completed", "message_stop", "message_delta"}
    assert how != "error" or error["message"] == "out of blocks"
    if path == RESPONSES:
        assert [e["sequence_number"] for e in events] == list(range(len(events))), how
        assert last["response"]["output"][0]["content"][0]["text"] == "so" and error["code"] == "server_error"
    else:
        assert [e["delta"]["text"] for e in events if e["type"] == "content_block_delta"] == ["so"], how


def test_broken_streams_end_with_an_error(fleet, engines):
    now = {}
    f = front(fleet, engines(lambda h, body: broken(h, now["how"])).url)
    for path in (RESPONSES, MESSAGES):
        for now["how"] in ("no finish", "aborted", "error", "not JSON", "a list", "a part of no call", "too long"):
            ends_with_an_error(f, now["how"], path)
    until("the end in the metrics", lambda: f.metric("dynamo_frontend_inflight_requests") == 0)


@pytest.mark.parametrize("path,how", [(RESPONSES, "cut"), (MESSAGES, "no done")])
def test_engine_that_breaks_off(fleet, engines, path, how):
    """After it the router leaves the engine alone for a while."""
    ends_with_an_error(front(fleet, engines(lambda h, body: broken(h, how)).url), how, path)


def test_whole_answers_that_are_none(fleet, engines):
    now = {}
    f = front(fleet, engines(lambda h, body: now["how"](h)).url)
    for path in (RESPONSES, MESSAGES):
        for how, status, words in [
                (lambda h: h.whole(200, b"[]"), 502, "no chat"), (lambda h: h.whole(200, b'{"choices":[{"message":'), 502, "no chat"),
                (lambda h: h.whole(200, whole({"content": [1]})), 502, "no chat"), (lambda h: h.whole(200, whole({"content": "x"}, None)), 502, "finish"),
                (lambda h: h.whole(200, whole({"content": "x"}, "abort")), 500, "aborted"), (lambda h: h.whole(200, b"{}"), 502, "finish"),
                (lambda h: h.whole(200, whole({"tool_calls": [{"function": {"name": "f"}}]})), 502, "no chat"),
                (lambda h: h.whole(200, b'{"error":{"message":"odd","code":400}}'), 400, "odd"), (lambda h: h.whole(204, b""), 502, "204"),
                (lambda h: stream(h, chunks({"content": "x"})), 502, "stream")]:
            now["how"] = how
            r = ask(f, path)
            assert r.status == status and words in r.json()["error"]["message"], r
            assert r.headers.get("x-should-retry") == ("false" if status == 502 else None), r.headers
        # A gateway before an engine that is just started anew says so, too: as in a chat, nothing forbids to come again. (Failed before: false.)
        now["how"] = lambda h: h.whole(502, b"Bad Gateway", "text/plain")
        r = ask(f, path)
        assert r.status == 502 and r.json()["error"]["message"] == "Bad Gateway" and "x-should-retry" not in r.headers, r.headers
        now["how"] = lambda h: h.whole(200, whole({"content": "x"}))
        r = ask(f, path, stream=True)
        assert r.status == 502 and "whole" in r.json()["error"]["message"]
        # An error as the first event still has its own status.
        now["how"] = lambda h: stream(h, b'data: {"error":{"message":"bad schema","code":400}}\n\n')
        r = ask(f, path, stream=True)
        assert r.status == 400 and r.json()["error"]["message"] == "bad schema"


def test_nothing_follows_the_end(fleet, engines):
    def answer(h, body):
        h.begin_stream()
        h.chunk(chunks({"content": "a"}) + b"data: [DONE]\n\n")
        h.chunk(chunks({"content": "b"}))
        h.chunk(b"")
    f = front(fleet, engines(answer).url)
    for path in (RESPONSES, MESSAGES):
        assert said(path, ask(f, path, stream=True)) == "a"


def test_the_key_is_where_engines_look_for_it(fleet, engines):
    e = engines(lambda h, body: h.whole(200, whole({"content": "x"})))
    f = front(fleet, e.url)
    key, bearer = {"x-api-key": "k1", "content-type": "application/json"}, {"authorization": "Bearer k2", "content-type": "application/json"}
    for path, headers in ((MESSAGES, key), (MESSAGES, {**key, **bearer}), (RESPONSES, key)):
        assert ask(f, path, headers=headers).status == 200
    assert [h.get("authorization") for _, h, _ in e.seen] == ["Bearer k1", "Bearer k2", None]


def test_an_end_that_the_engine_keeps_to_itself(fleet, engines):
    """[DONE] is the end: an engine, or what stands before it, that leaves the connection open then is not waited for."""
    gate = threading.Event()

    def answer(h, body):
        h.begin_stream()
        h.chunk(chunks({"content": "a"}) + b"data: [DONE]\n\n")
        gate.wait(120)
    f = front(fleet, engines(answer).url)
    for path, name in ((RESPONSES, "responses"), (MESSAGES, "anthropic_messages")):
        assert said(path, ask(f, path, stream=True)) == "a"
        until("a success", lambda: f.metric("dynamo_frontend_requests_total", endpoint=name, status="success") == 1)
    gate.set()


def test_nothing_is_generated_for_a_question(fleet, engines):
    e = engines(lambda h, body: h.whole(200, whole({"content": "x"})))
    r = ask(front(fleet, e.url), RESPONSES, nvext={"annotations": ["query_instance_id:"]})
    assert r.status == 501 and "query_instance_id" in r.json()["error"]["message"] and not e.seen


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES])
def test_client_that_leaves_ends_the_work(fleet, path):
    a = start(fleet, "--speedup-ratio", "1", "--decode-base-ms", "20")
    f = front(fleet, a.url)
    body = {"model": "m", "stream": True, "max_tokens": 50000, "input": "x",
            "messages": [{"role": "user", "content": "x"}]}
    r = urllib.request.urlopen(urllib.request.Request(f.url + path, json.dumps(body).encode(), {"content-type": "application/json"}))
    until("a delta", lambda: b"delta" in r.readline())
    running = lambda: total(exposition(a.get("/metrics")), "vllm:num_requests_running")
    assert running() == 1
    r.close()
    until("the engine to be idle", lambda: running() == 0)
    until("the end in the metrics", lambda: f.metric("dynamo_frontend_inflight_requests") == 0)
    name = "responses" if path == RESPONSES else "anthropic_messages"
    assert f.metric("dynamo_frontend_requests_total", endpoint=name, error_type="cancelled") == 1


def test_slow_client_holds_the_engine_back(fleet, engines):
    sent, n = [0], 3000  # 48 MB: more than all buffers between

    def answer(h, body):
        h.begin_stream()
        for _ in range(n):
            h.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 16000 + b'"}}]}\n\n')
            sent[0] += 1
        h.chunk(chunks() + b"data: [DONE]\n\n")
        h.chunk(b"")
    f = front(fleet, engines(answer).url)
    c = f.connect()
    c.request("POST", MESSAGES, json.dumps({"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}),
              {"content-type": "application/json"})
    r = c.getresponse()
    last, pause = [-1], threading.Event()

    def rests():
        same, last[0] = last[0] == sent[0], sent[0]
        return same and sent[0] > 0
    until("the engine to be held", lambda: not pause.wait(0.2) and rests())
    assert sent[0] < n
    body = r.read()
    assert body.count(b"event: content_block_delta") == n and body.endswith(b"data: [DONE]\n\n")
    c.close()


def test_silence_is_filled(fleet, engines):
    gate = threading.Event()

    def answer(h, body):
        gate.wait(120)
        stream(h, chunks({"content": "x"}))
    f = front(fleet, engines(answer).url, env={"DYN_HTTP_SSE_KEEP_ALIVE_INTERVAL_MS": "30"})
    r = urllib.request.urlopen(urllib.request.Request(f.url + RESPONSES, b'{"model":"m","input":"x","stream":true}',
                                                      {"content-type": "application/json"}))
    until("a comment", lambda: r.readline() == b":\n")
    gate.set()
    rest = r.read().decode()
    assert '"type":"response.completed"' in rest and rest.endswith("data: [DONE]\n\n")


def test_metrics_and_log(fleet, engines):
    e = engines(lambda h, body: stream(h, chunks({"content": "x"})) if json.loads(body).get("stream") else h.whole(200, whole({"content": "x"})))
    f = front(fleet, e.url)
    for path, name in ((RESPONSES, "responses"), (MESSAGES, "anthropic_messages")):
        for kind in ("unary", "stream"):
            assert ask(f, path, stream=kind == "stream").status == 200
            until("it to be counted", lambda: f.metric("dynamo_frontend_requests_total", model="m", endpoint=name, request_type=kind) == 1)
    until("the requests to be logged", lambda: f.log().count("endpoint=responses") == f.log().count("endpoint=anthropic_messages") == 2)
    assert f.metric("dynamo_frontend_output_tokens_total", model="m") == 4 * 7
    assert f.metric("dynamo_frontend_time_to_first_token_seconds_count", model="m") == 4
