"""The main job: a chat answer, whole and streamed, through frontend, router, plane and engine."""
from scripted import ScriptedWorker
from weir import knows, until


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
    first = pair.front.chat(messages=history, max_tokens=32).json()
    until("the workers' events in the index", lambda: knows(pair.front, pair.mockers))
    history += [first["choices"][0]["message"] | {}, {"role": "user", "content": "and more"}]
    history[1] = {"role": "assistant", "content": history[1]["content"]}
    second = pair.front.chat(messages=history, max_tokens=8).json()
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"] // 16 * 16


def test_completions_batch(pair):
    r = pair.front.complete(["one", "two"], n=2, max_tokens=4).json()
    assert [c["index"] for c in r["choices"]] == [0, 1, 2, 3]
    assert r["usage"]["prompt_tokens"] == 6 and r["usage"]["completion_tokens"] == 16


def scripted(fleet, answer):
    worker = ScriptedWorker(fleet.env["DYN_FILE_KV"], answer)
    return worker, fleet.frontend().ready()


def test_prompts_of_one_request_have_names_of_their_own(fleet):
    """A Dynamo worker takes two requests of one id for the same and drops the first."""
    worker, front = scripted(fleet, lambda _: (["a"], "stop"))
    name = "6b7f3c1e-0000-4000-8000-000000000001"
    assert front.complete(["x", "y", "z"], headers={"x-dynamo-request-id": name}).status == 200
    assert sorted(worker.names) == [f"{name}-{i}" for i in range(3)]
    worker.names.clear()
    assert front.complete(["x"], headers={"x-dynamo-request-id": name}).status == 200
    assert worker.names == [name]
    worker.close()


def test_a_worker_that_gives_fewer_choices(fleet):
    """Dynamo's mock worker knows nothing of n: the client gets the choices that there are."""
    worker, front = scripted(fleet, lambda _: (["a", "b"], "stop"))
    answer = front.chat(n=3, temperature=1).json()
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in answer["choices"]] == [(0, "ab", "stop")]
    events = front.chat(n=3, temperature=1, stream=True).events()
    assert events[-1] == "[DONE]" and not any("error" in e for e in events[:-1])
    assert [c["finish_reason"] for e in events[:-1] for c in e["choices"] if c["finish_reason"]] == ["stop"]
    worker.close()
