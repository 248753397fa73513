"""The main job: a chat answer, whole and streamed, through frontend, router, plane and engine."""
from weir import until


def test_unary(pair):
    r = pair.front.chat()
    assert r.status == 200, r
    body = r.json()
    assert body["object"] == "chat.completion" and body["model"] == "m"
    choice = body["choices"][0]
    assert choice["finish_reason"] == "length" and choice["message"]["role"] == "assistant"
    usage = body["usage"]
    assert usage["completion_tokens"] == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + 8
    assert len(choice["message"]["content"].encode()) == 8  # one byte a token


def test_stream_equals_unary(pair):
    whole = pair.front.chat(max_tokens=40, seed=7).json()
    r = pair.front.chat(max_tokens=40, seed=7, stream=True, stream_options={"include_usage": True})
    assert r.status == 200 and r.headers["content-type"].startswith("text/event-stream")
    events = r.events()
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"] == [] and events[-2]["usage"]["completion_tokens"] == 40
    deltas = [e["choices"][0] for e in events[:-2]]
    text = "".join(d["delta"].get("content") or "" for d in deltas)
    assert text == whole["choices"][0]["message"]["content"]
    assert [d["finish_reason"] for d in deltas if d["finish_reason"]] == ["length"]
    assert deltas[0]["delta"]["role"] == "assistant"
    assert not any("role" in d["delta"] for d in deltas[1:])


def test_second_turn_finds_its_prefix(pair):
    history = [{"role": "user", "content": "tell me about weirs " * 20}]
    before = pair.front.metric("weir_router_kv_index_entries")
    first = pair.front.chat(messages=history, max_tokens=32).json()
    until("the worker's events in the index", lambda: pair.front.metric("weir_router_kv_index_entries") >=
          before + first["usage"]["prompt_tokens"] // 16)
    history += [first["choices"][0]["message"] | {}, {"role": "user", "content": "and more"}]
    history[1] = {"role": "assistant", "content": history[1]["content"]}
    second = pair.front.chat(messages=history, max_tokens=8).json()
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"] // 16 * 16


def test_completions_batch(pair):
    r = pair.front.complete(["one", "two"], n=2, max_tokens=4).json()
    assert [c["index"] for c in r["choices"]] == [0, 1, 2, 3]
    assert r["usage"]["prompt_tokens"] == 6 and r["usage"]["completion_tokens"] == 16
