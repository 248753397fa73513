"""The Messages API through Anthropic's SDK: what an application does with client.messages, before scripted workers."""
import json
import subprocess
import sys

import pytest

from dialects import PLACES, front as before, sglang, vllm
from scripted import ScriptedWorker, cut
from test_engine_scripted import engines  # noqa: F401 (a fixture)
from testenv import python_with
from weir import until

TOOL = {"name": "look_up", "description": "Weather of a place.",
        "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}}}
CALL = '<tool_call>\n{"name": "look_up", "arguments": {"place": "Ålesund"}}\n</tool_call>'
ASK = [{"role": "user", "content": "What is a weir?"}]


@pytest.fixture(scope="session")
def anthropic():
    """The package, from the environment where it was installed."""
    python = python_with("anthropic")
    folder = subprocess.run([python, "-c", "import anthropic, os; print(os.path.dirname(os.path.dirname(anthropic.__file__)))"],
                            check=True, capture_output=True, text=True).stdout.strip()
    sys.path.insert(0, folder)
    try:
        import anthropic as package
    except ImportError as e:
        pytest.skip(f"Anthropic's Python SDK does not load in this Python: {e}")
    return package


def client_of(anthropic, front):
    return anthropic.Anthropic(base_url=front.url, api_key="unused", max_retries=0)


@pytest.fixture
def serve(fleet, anthropic):
    """serve(texts, finish, flags, card fields…) gives (client, frontend); `front.worker` keeps what it was sent."""
    workers = []

    def start(texts, finish="stop", flags=(), **card):
        left = list(texts)
        worker = ScriptedWorker(fleet.env["DYN_FILE_KV"],
                                lambda _: (cut(left.pop(0) if len(left) > 1 else left[0]), finish),
                                **{"tool_call_parser": "hermes", "reasoning_parser": "qwen3", **card})
        workers.append(worker)
        front = fleet.frontend("--enable-anthropic-api", *flags).ready()
        front.worker = worker
        return client_of(anthropic, front), front
    yield start
    for w in workers:
        w.close()


def chat(front, messages, **more):
    body = {"model": "m", "max_tokens": 5, "messages": messages, **more}
    # As the SDK writes JSON: this template shows it as it came.
    r = front.ask("POST", "/v1/chat/completions", json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode(),
                  {"content-type": "application/json"})
    assert r.status == 200, r.body
    return front.worker.requests[-1]["token_ids"]


def test_whole(serve):
    client, front = serve(["<think>\nhm\n</think>\n\nA dam across a river."])
    m = client.messages.create(model="m", max_tokens=500, system="Be brief.", messages=ASK, metadata={"user_id": "u"},
                               extra_body={"temperature": 0.5, "top_k": 7, "top_p": 0.5})
    assert [b.type for b in m.content] == ["thinking", "text"] and m.content[1].text == "A dam across a river."
    assert m.content[0].thinking.strip() == "hm" and m.content[0].signature == "erased"
    assert m.id.startswith("msg_") and m.type == "message" and m.role == "assistant" and m.model == "m"
    assert m.stop_reason == "end_turn" and m.stop_sequence is None
    assert m.usage.input_tokens > 10 and m.usage.output_tokens > 10 and m.usage.cache_creation_input_tokens == 0
    sent = front.worker.requests[-1]
    assert sent["stop_conditions"]["max_tokens"] == 500
    assert [sent["sampling_options"][k] for k in ("temperature", "top_k", "top_p")] == [0.5, 7, 0.5]
    # The same conversation as a chat has the same tokens; so has its count, which nothing is generated for.
    assert chat(front, [{"role": "system", "content": "Be brief."}, *ASK]) == sent["token_ids"]
    count = client.messages.count_tokens(model="m", system="Be brief.", messages=ASK)
    assert count.input_tokens == m.usage.input_tokens and len(front.worker.requests) == 2


def test_stream(serve):
    """The SDK's accumulator makes of the events what the whole answer is."""
    client, front = serve(["<think>\nhm\n</think>\n\nA dam “across” a river.\n" + CALL])
    ask = {"model": "m", "max_tokens": 500, "messages": ASK, "tools": [TOOL]}
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        events = list(stream)
        final = stream.get_final_message()
    types = [e.type for e in events]
    assert types[0] == "message_start" and types[-1] == "message_stop" and types.count("message_delta") == 1
    assert [b.type for b in final.content] == [b.type for b in whole.content] == ["thinking", "text", "tool_use"]
    assert final.content[0].thinking == whole.content[0].thinking and final.content[1].text == whole.content[1].text
    assert final.content[0].signature == whole.content[0].signature == "erased"
    assert final.content[2].input == whole.content[2].input == {"place": "Ålesund"} and final.content[2].name == "look_up"
    assert final.stop_reason == whole.stop_reason == "tool_use"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)
    # Each block begins once the last has ended.
    order = [(e.type, e.index) for e in events if e.type in ("content_block_start", "content_block_stop")]
    assert order == [(t, i) for i in range(3) for t in ("content_block_start", "content_block_stop")]
    # Bytes: every event has its name, and [DONE] comes once, as from the reference system.
    r = front.ask("POST", "/v1/messages", {**ask, "stream": True})
    assert r.body.count(b"data: [DONE]\n\n") == 1 and r.body.endswith(b"data: [DONE]\n\n")
    for block in r.body.decode().strip().split("\n\n")[:-1]:
        name, data = block.split("\n")
        assert name == "event: " + json.loads(data[6:])["type"]


def test_a_tool_is_called_and_its_result_goes_back(serve):
    client, front = serve(["<think>\nlook\n</think>\n\n" + CALL, "It rains."])
    said = [{"role": "user", "content": "Weather in Ålesund?"}]
    first = client.messages.create(model="m", max_tokens=50, messages=said, tools=[TOOL], tool_choice={"type": "auto"})
    call = first.content[-1]
    assert first.stop_reason == "tool_use" and call.name == "look_up" and call.input == {"place": "Ålesund"}
    # As the SDK's documentation does it: all blocks of the answer go back as they came.
    said.append({"role": "assistant", "content": first.content})
    said.append({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "rain"}]},
        {"type": "text", "text": "Well?"}]})
    second = client.messages.create(model="m", max_tokens=50, messages=said, tools=[TOOL])
    assert second.content[-1].text == "It rains."
    sent = front.worker.requests[-1]["token_ids"]
    tool = {"type": "function", "function": {"name": TOOL["name"], "description": TOOL["description"],
                                             "parameters": TOOL["input_schema"]}}
    assert chat(front, [
        said[0], {"role": "assistant", "content": "", "reasoning_content": first.content[0].thinking, "tool_calls": [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": '{"place":"Ålesund"}'}}]},
        {"role": "tool", "tool_call_id": call.id, "content": "rain"}, {"role": "user", "content": "Well?"}],
        tools=[tool]) == sent


def test_a_tool_must_be_called(serve):
    client, front = serve(['{"place": "x"}'], reasoning_parser="")
    m = client.messages.create(model="m", max_tokens=50, messages=ASK, tools=[TOOL, {**TOOL, "name": "other"}],
                               tool_choice={"type": "tool", "name": "look_up", "disable_parallel_tool_use": True})
    assert [b.type for b in m.content] == ["tool_use"] and m.content[0].input == {"place": "x"} and m.stop_reason == "tool_use"
    assert "place" in json.dumps(front.worker.requests[-1]["sampling_options"]["guided_decoding"])


def test_stop_sequence(serve):
    client, _ = serve(["one two STOP three"], reasoning_parser="", tool_call_parser="")
    ask = {"model": "m", "max_tokens": 50, "messages": ASK, "stop_sequences": ["zzz", "STOP"]}
    m = client.messages.create(**ask)
    assert m.stop_reason == "stop_sequence" and m.stop_sequence == "STOP" and m.content[0].text == "one two "
    with client.messages.stream(**ask) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence, final.content[0].text) == ("stop_sequence", "STOP", "one two ")


def test_cut_short(serve):
    client, _ = serve(["so far"], finish="length")
    m = client.messages.create(model="m", max_tokens=6, messages=ASK)
    assert m.stop_reason == "max_tokens" and m.content[0].text == "so far"


def test_preamble(serve):
    """What Claude Code tells the vendor's billing is no part of the prompt, unless it is asked for."""
    line = "x-anthropic-billing-header: cc_version=2.1.77; cch=abc12;"
    client, front = serve(["x"])
    for system in ("Be brief.", line + "\nBe brief.",
                   [{"type": "text", "text": line}, {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]):
        client.messages.create(model="m", max_tokens=5, messages=ASK, system=system)
        assert front.worker.requests[-1]["token_ids"] == front.worker.requests[0]["token_ids"]


def test_preamble_kept(serve):
    client, front = serve(["x"], flags=("--no-strip-anthropic-preamble",))
    line = "x-anthropic-billing-header: cc_version=2.1.77; cch=abc12;"
    client.messages.create(model="m", max_tokens=5, messages=ASK, system=line)
    kept = front.worker.requests[0]["token_ids"]
    assert chat(front, [{"role": "system", "content": line}, *ASK]) == kept
    # (Failed before: chats and Messages dropped it alike on the way to Dynamo's workers, as vLLM does of chats.)
    assert chat(front, [{"role": "system", "content": ""}, *ASK]) != kept


def test_refusals(serve, anthropic):
    client, front = serve(["x"])
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    for fields, kind, words in [
            ({"model": "nope"}, anthropic.NotFoundError, "Model 'nope' not found"),
            ({"extra_body": {"temperature": 3}}, anthropic.BadRequestError, "Temperature must be between 0 and 2"),
            ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens: must be greater than 0"),
            ({"messages": []}, anthropic.BadRequestError, "messages: field required"),
            ({"messages": [{"role": "tool", "content": "x"}]}, anthropic.BadRequestError, "messages[0].role: unknown variant `tool`"),
            ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, anthropic.BadRequestError,
             'messages[0].content[0]: content block type "document" is not supported'),
            ({"messages": [*ASK, {"role": "assistant", "content": [image]}]}, anthropic.BadRequestError, 'type "image"'),
            ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, anthropic.BadRequestError,
             'tools[0]: server tool type "web_search_20250305" is not supported'),
            ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, anthropic.BadRequestError, 'tool named "g"')]:
        for stream in (False, True):
            with pytest.raises(kind) as e:
                client.messages.create(**{"model": "m", "max_tokens": 5, "messages": ASK, "stream": stream, **fields})
            assert e.value.body["type"] == "error" and words in e.value.body["error"]["message"], e.value.body
            assert e.value.body["error"]["type"] == ("not_found_error" if "model" in fields else "invalid_request_error")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nope", messages=ASK)
    r = front.ask("POST", "/v1/messages", "{", {"content-type": "text/plain"})
    assert r.status == 415 and r.json()["error"]["type"] == "invalid_request_error" and not front.worker.requests
    assert front.ask("GET", "/v1/messages").status == 405
    assert front.ask("GET", "/v1/messages/x").json()["error"]["type"] == "not_found_error"


def test_metrics_and_log(serve):
    client, front = serve(["some text"])
    client.messages.create(model="m", max_tokens=5, messages=ASK)
    list(client.messages.create(model="m", max_tokens=5, messages=ASK, stream=True))
    client.messages.count_tokens(model="m", messages=ASK)
    front.counted()
    for name in ("dynamo_frontend_requests_total", "dynamo_frontend_requests_started_total"):
        for kind in ("unary", "stream"):
            assert front.metric(name, model="m", endpoint="anthropic_messages", request_type=kind) == 1
    assert front.metric("dynamo_frontend_requests_total", endpoint="chat_completions") == 0
    until("the requests to be logged", lambda: front.log().count("endpoint=anthropic_messages") == 3)


def test_path_and_switch(fleet):
    fleet.mocker()
    body = {"model": "m", "max_tokens": 2, "messages": ASK}
    env = {"DYN_HTTP_SVC_ANTHROPIC_PATH": "/elsewhere", "DYN_ENABLE_ANTHROPIC_API": "true"}
    front = fleet.frontend(env=env).ready()
    assert front.ask("POST", "/elsewhere", body).json()["stop_reason"] == "max_tokens"
    assert front.ask("POST", "/elsewhere/count_tokens", body).json()["input_tokens"] > 1
    assert front.ask("POST", "/v1/messages", body).status == 404
    assert fleet.frontend().ready().ask("POST", "/v1/messages", body).status == 404


def test_models(serve):
    client, _ = serve(["x"])
    models = client.get("/v1/models", cast_to=object)
    assert [m["id"] for m in models["data"]] == ["m"] and models["data"][0]["type"] == "model" and models["has_more"] is False


def test_before_http_engines(fleet, engines, anthropic):
    """What engines have parsed, and the results of calls."""
    for answer in (vllm, sglang):
        client = client_of(anthropic, before(fleet, engines(answer).url))
        question = {"model": "m", "max_tokens": 50, "tools": [TOOL], "messages": [{"role": "user", "content": "Weather?"}]}
        m = client.messages.create(**question)
        with client.messages.stream(**question) as events:
            final = events.get_final_message()
        for x in (m, final):
            assert [b.type for b in x.content] == ["thinking", "text", "tool_use", "tool_use"] and x.stop_reason == "tool_use"
            assert x.content[0].thinking == "hm" and x.content[1].text == "So: " and tuple(b.input for b in x.content[2:]) == PLACES
            assert x.usage.output_tokens == 7
        assert m.usage.input_tokens == 50 - 32
        question["messages"] += [{"role": "assistant", "content": m.content}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": b.id, "content": "rain"} for b in m.content[2:]]}]
        assert client.messages.create(**question).content[0].text == "It rains."
    client = client_of(anthropic, before(fleet, engines(lambda h, body: h.whole(400, b'{"error":{"message":"too long for me"}}')).url))
    for streams in (False, True):
        with pytest.raises(anthropic.BadRequestError) as r:
            client.messages.create(model="m", max_tokens=5, messages=ASK, stream=streams)
        assert r.value.body["error"] == {"type": "invalid_request_error", "message": "too long for me"}


def test_a_client_that_leaves(fleet, anthropic):
    mocker = fleet.mocker("--speedup-ratio", "0.02")
    front = fleet.frontend("--enable-anthropic-api").ready()
    stream = client_of(anthropic, front).messages.create(model="m", max_tokens=5000, messages=ASK, stream=True)
    for event in stream:
        if event.type == "content_block_delta":
            break
    assert mocker.metric("requests_running") == 1
    stream.close()
    until("the worker to be told", lambda: mocker.metric("requests_running") == 0)
    until("the end in the metrics", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)
    assert front.metric("dynamo_frontend_requests_total", endpoint="anthropic_messages", error_type="cancelled") == 1


def test_a_worker_that_dies(fleet, anthropic):
    """The stream ends once, with an error that the SDK raises."""
    mocker = fleet.mocker("--speedup-ratio", "0.02")
    front = fleet.frontend("--enable-anthropic-api", "--migration-limit", "0").ready()
    seen = []
    with pytest.raises(anthropic.APIStatusError) as e:
        for event in client_of(anthropic, front).messages.create(model="m", max_tokens=5000, messages=ASK, stream=True):
            seen.append(event.type)
            if event.type == "content_block_delta" and not mocker.ended:
                mocker.kill()
    assert e.value.body["error"]["type"] in ("overloaded_error", "api_error"), e.value.body
    assert seen[0] == "message_start" and "message_stop" not in seen and "message_delta" not in seen
