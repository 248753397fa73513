"""The Responses API through the official SDKs: what an application does with client.responses, before scripted workers."""
import json
import os
import shutil
import subprocess
import sys

import pytest

from dialects import PLACES, front as before, sglang, vllm
from plane_worker import PlaneWorker
from scripted import ScriptedWorker, cut
from test_engine_scripted import engines  # noqa: F401 (a fixture)
from testenv import node_with, python_with
from weir import until

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
CALL = '<tool_call>\n{"name": "look_up", "arguments": {"place": "Ålesund"}}\n</tool_call>'


@pytest.fixture(scope="session")
def openai():
    """The package, from the environment where the SDK's clients run."""
    python = python_with("openai", "h2")
    folder = subprocess.run([python, "-c", "import openai, os; print(os.path.dirname(os.path.dirname(openai.__file__)))"],
                            check=True, capture_output=True, text=True).stdout.strip()
    sys.path.insert(0, folder)
    try:
        import openai as package
    except ImportError as e:
        pytest.skip(f"the official Python SDK does not load in this Python: {e}")
    return package


@pytest.fixture
def serve(fleet, openai):
    """serve(texts, finish, flags, card fields…) gives (client, frontend); `front.worker` keeps what it was sent."""
    workers = []

    def start(texts, finish="stop", flags=(), **card):
        left = list(texts)
        # usage: so that the answer shows how many tokens of the prompt were cached.
        worker = ScriptedWorker(fleet.env["DYN_FILE_KV"],
                                lambda _: (cut(left.pop(0) if len(left) > 1 else left[0]), finish),
                                **{"tool_call_parser": "hermes", "reasoning_parser": "qwen3", **card})
        workers.append(worker)
        front = fleet.frontend("--error-format", "openai", *flags).ready()
        front.worker = worker
        return openai.OpenAI(base_url=front.url + "/v1", api_key="unused", max_retries=0), front
    yield start
    for w in workers:
        w.close()


def test_whole(serve):
    client, front = serve(["<think>\nhm\n</think>\n\nA dam across a river."])
    r = client.responses.create(model="m", input="What is a weir?", instructions="Be brief.", temperature=0.5,
                                metadata={"a": "b"}, max_output_tokens=500, store=True, user="u", truncation="disabled")
    assert r.output_text == "A dam across a river." and r.status == "completed" and r.error is None
    assert [i.type for i in r.output] == ["reasoning", "message"] and r.output[0].content[0].text.strip() == "hm"
    assert r.id.startswith("resp_") and r.object == "response" and r.model == "m"
    assert r.temperature == 0.5 and r.metadata == {"a": "b"} and r.instructions == "Be brief." and r.max_output_tokens == 500
    assert r.store is False  # nothing is, whatever is asked
    u = r.usage
    assert u.input_tokens > 10 and u.output_tokens > 10 and u.total_tokens == u.input_tokens + u.output_tokens
    assert 0 < u.output_tokens_details.reasoning_tokens < u.output_tokens and u.input_tokens_details.cached_tokens == 0
    sent = front.worker.requests[-1]
    assert sent["stop_conditions"]["max_tokens"] == 500 and sent["sampling_options"]["temperature"] == 0.5
    # The same conversation as a chat has the same tokens.
    chat = client.chat.completions.create(model="m", max_tokens=5, messages=[
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a weir?"}])
    assert front.worker.requests[-1]["token_ids"] == sent["token_ids"] and chat.usage.prompt_tokens == u.input_tokens
    # So has its count, which nothing is generated for.
    count = client.responses.input_tokens.count(model="m", input="What is a weir?", instructions="Be brief.")
    assert count.input_tokens == u.input_tokens and count.object == "response.input_tokens"
    assert len(front.worker.requests) == 2


def test_stream(serve):
    """The SDK's accumulator makes of the events what the whole answer is."""
    text = "<think>\nhm\n</think>\n\nA dam “across” a river.\n" + CALL
    client, front = serve([text])
    whole = client.responses.create(model="m", input="hello", tools=[TOOL], max_output_tokens=500)
    with client.responses.stream(model="m", input="hello", tools=[TOOL], max_output_tokens=500) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [e.sequence_number for e in events] == list(range(len(events)))
    types = [e.type for e in events]
    assert types[:2] == ["response.created", "response.in_progress"] and types[-1] == "response.completed"
    assert events[0].response.status == "in_progress" and events[0].response.id == final.id
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == final.output_text == whole.output_text
    assert "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta") == final.output[-1].arguments
    assert [i.type for i in final.output] == [i.type for i in whole.output] == ["reasoning", "message", "function_call"]
    assert json.loads(final.output[2].arguments) == json.loads(whole.output[2].arguments) == {"place": "Ålesund"}
    # Each item is added, ends, and stands in the last event as it ended.
    added = [e for e in events if e.type == "response.output_item.added"]
    done = [e for e in events if e.type == "response.output_item.done"]
    assert [e.output_index for e in added] == [e.output_index for e in done] == [0, 1, 2]
    assert [e.item.id for e in added] == [e.item.id for e in done] == [i.id for i in events[-1].response.output]
    assert len({e.item.id for e in added}) == 3
    assert (final.usage.input_tokens, final.usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)
    # Bytes: every event has its name, and [DONE] comes once, as from the reference system.
    r = front.ask("POST", "/v1/responses", {"model": "m", "input": "hello", "stream": True})
    assert r.body.count(b"data: [DONE]\n\n") == 1 and r.body.endswith(b"data: [DONE]\n\n")
    for block in r.body.decode().strip().split("\n\n")[:-1]:
        name, data = block.split("\n")
        assert name == "event: " + json.loads(data[6:])["type"]


def test_a_tool_is_called_and_its_result_goes_back(serve):
    client, front = serve(["<think>\nlook\n</think>\n\n" + CALL, "It rains."])
    said = [{"role": "user", "content": "Weather in Ålesund?"}]
    first = client.responses.create(model="m", input=said, tools=[TOOL], tool_choice="auto")
    call = next(i for i in first.output if i.type == "function_call")
    assert call.name == "look_up" and call.status == "completed" and json.loads(call.arguments) == {"place": "Ålesund"}
    assert first.tools[0].name == "look_up" and first.output_text == ""
    # As the SDK's documentation does it: all items of the answer go back as they came.
    said += first.output
    said.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
    second = client.responses.create(model="m", input=said, tools=[TOOL])
    assert second.output_text == "It rains."
    chat_tools = [{"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}]
    client.chat.completions.create(model="m", tools=chat_tools, messages=[
        said[0], {"role": "assistant", "content": "", "reasoning_content": "look\n", "tool_calls": [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}]},
        {"role": "tool", "tool_call_id": call.call_id, "content": "rain"}])
    assert front.worker.requests[-1]["token_ids"] == front.worker.requests[-2]["token_ids"]


def test_a_tool_must_be_called(serve):
    client, front = serve(['[{"name": "look_up", "parameters": {"place": "x"}}]'], reasoning_parser="")
    r = client.responses.create(model="m", input="x", tools=[TOOL, {**TOOL, "name": "other"}],
                                tool_choice={"type": "allowed_tools", "mode": "required",
                                             "tools": [{"type": "function", "name": "look_up"}]})
    assert [i.type for i in r.output] == ["function_call"] and r.tool_choice.mode == "required"
    guide = json.dumps(front.worker.requests[-1]["sampling_options"]["guided_decoding"])
    assert "look_up" in guide and "other" not in guide


def test_structured_output(serve, openai):
    import pydantic

    class Weir(pydantic.BaseModel):
        name: str
        height_m: float

    client, front = serve(['{"name": "Teddington", "height_m": 2.5}'])
    r = client.responses.parse(model="m", input="A weir.", text_format=Weir)
    assert r.output_parsed == Weir(name="Teddington", height_m=2.5)
    assert front.worker.requests[-1]["sampling_options"]["guided_decoding"]["json"]["title"] == "Weir"
    with client.responses.stream(model="m", input="A weir.", text_format=Weir) as stream:
        assert stream.get_final_response().output_parsed == r.output_parsed


def test_cut_short(serve):
    client, _ = serve(["so far"], finish="length")
    r = client.responses.create(model="m", input="x", max_output_tokens=6)
    assert r.status == "incomplete" and r.incomplete_details.reason == "max_output_tokens"
    assert r.output_text == "so far" and r.output[0].status == "incomplete"
    events = list(client.responses.create(model="m", input="x", max_output_tokens=6, stream=True))
    assert events[-1].type == "response.incomplete" and events[-1].response.output_text == "so far"
    assert events[-1].response.incomplete_details.reason == "max_output_tokens" and events[-1].response.usage.output_tokens > 0


def test_refusals(serve, openai):
    client, front = serve(["x"])
    create = client.responses.create
    for fields, kind, words in [
            ({"model": "nope", "input": "x"}, openai.NotFoundError, "Model not found"),
            ({"input": "x", "temperature": 3}, openai.BadRequestError, "Temperature must be between 0 and 2"),
            ({"input": "x", "previous_response_id": "resp_1"}, openai.APIStatusError, "`previous_response_id` is not supported"),
            ({"input": "x", "conversation": "c"}, openai.APIStatusError, "`conversation` is not supported"),
            ({"input": "x", "background": True}, openai.APIStatusError, "`background: true` is not supported"),
            ({"input": "x", "tools": [{"type": "web_search"}]}, openai.BadRequestError, "Unsupported Responses tools type 'web_search'"),
            ({"input": [{"type": "item_reference", "id": "x"}]}, openai.BadRequestError, "not supported"),
            ({"input": "x", "stream": True, "max_output_tokens": 0}, openai.BadRequestError, "Max tokens must be greater than 0"),
            ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://10.0.0.1/", "detail": "auto"}]}]},
             openai.BadRequestError, "names an address")]:
        with pytest.raises(kind) as e:
            create(**{"model": "m", **fields})
        assert words in e.value.message, e.value.message
        assert e.value.status_code == (501 if kind is openai.APIStatusError else e.value.status_code)
    with pytest.raises(openai.NotFoundError):
        client.responses.input_tokens.count(model="nope", input="x")
    r = front.ask("POST", "/v1/responses", "{", {"content-type": "text/plain"})
    assert r.status == 415 and not front.worker.requests
    assert front.ask("GET", "/v1/responses").status == 405 and front.ask("GET", "/v1/responses/resp_1").status == 404


def test_metrics_and_log(serve):
    client, front = serve(["some text"])
    client.responses.create(model="m", input="x")
    list(client.responses.create(model="m", input="x", stream=True))
    client.responses.input_tokens.count(model="m", input="x")
    front.counted()
    for name in ("dynamo_frontend_requests_total", "dynamo_frontend_requests_started_total"):
        for kind in ("unary", "stream"):
            assert front.metric(name, model="m", endpoint="responses", request_type=kind) == 1
    assert front.metric("dynamo_frontend_requests_total", endpoint="chat_completions") == 0
    until("the requests to be logged", lambda: front.log().count("endpoint=responses") == 3)


def test_path_from_the_environment(fleet):
    fleet.mocker()
    front = fleet.frontend(env={"DYN_HTTP_SVC_RESPONSES_PATH": "/elsewhere"}).ready()
    body = {"model": "m", "input": "x", "max_output_tokens": 2}
    assert front.ask("POST", "/elsewhere", body).json()["status"] == "incomplete"
    assert front.ask("POST", "/elsewhere/input_tokens", body).json()["input_tokens"] > 1
    for path in ("/v1/responses", "/v1/responses/input_tokens", "/elsewhere/"):
        assert front.ask("POST", path, body).status == 404


def test_log_probabilities(fleet, openai):
    """Those of a chat, in the answer and in the events of a stream."""
    worker = PlaneWorker(fleet)
    front = fleet.frontend().ready()
    client = openai.OpenAI(base_url=front.url + "/v1", api_key="unused", max_retries=0)
    tops = [{"rank": 1, "token_id": 104, "token": "h", "logprob": -0.5}, {"rank": 2, "token_id": 98, "token": "b", "logprob": -1.5}]
    items = [{"token_ids": [104], "log_probs": [-0.5], "top_logprobs": [tops]},
             {"token_ids": [105], "log_probs": [-0.25], "top_logprobs": [[]]}, {"token_ids": [], "finish_reason": "stop"}]
    ask = {"model": "m", "extra_body": {"nvext": {"annotations": ["script:" + json.dumps(items)]}}}
    chat = client.chat.completions.create(messages=[{"role": "user", "content": "x"}], logprobs=True, top_logprobs=2, **ask)
    wanted = [e.model_dump() for e in chat.choices[0].logprobs.content]
    assert [e["token"] for e in wanted] == ["h", "i"] and len(wanted[0]["top_logprobs"]) == 2
    r = client.responses.create(input="x", include=["message.output_text.logprobs"], top_logprobs=2, **ask)
    assert worker.last()[1]["output_options"]["logprobs"] == 2
    assert r.output_text == "hi" and [e.model_dump() for e in r.output[0].content[0].logprobs] == wanted
    events = list(client.responses.create(input="x", include=["message.output_text.logprobs"], top_logprobs=2, stream=True, **ask))
    assert [e.logprobs[0].token for e in events if e.type == "response.output_text.delta"] == ["h", "i"]
    assert [e.model_dump() for e in events[-1].response.output[0].content[0].logprobs] == wanted
    plain = client.responses.create(input="x", include=["message.output_text.logprobs"], **ask)
    assert [(e.logprob, e.top_logprobs) for e in plain.output[0].content[0].logprobs] == [(-0.5, []), (-0.25, [])]
    worker.close()


def test_what_the_frontend_adds_to_chats(fleet):
    """The explained decision, the next turn sent ahead, and what `nvext` asks of the answer."""
    worker = PlaneWorker(fleet)
    front = fleet.frontend("--router-mode", "kv").ready()
    items = [{"token_ids": list(b"8849 m")}, {"token_ids": [], "finish_reason": "stop"}]
    body = {"model": "m", "input": "How high is Everest?",
            "nvext": {"agent_hints": {"speculative_prefill": True}, "extra_fields": ["worker_id"], "annotations": ["script:" + json.dumps(items)]}}
    for stream in (False, True):
        r = front.ask("POST", "/v1/responses", {**body, "stream": stream}, {"x-weir-explain": "1"})
        assert json.loads(r.headers["x-weir-explain"])["worker_id"] == 0x77
        answer = r.events()[-2]["response"] if stream else r.json()
        assert answer["output"][0]["content"][0]["text"] == "8849 m"
        assert answer["nvext"]["worker_id"]["decode_worker_id"] == 0x77
    until("both next turns", lambda: front.metric("weir_frontend_speculative_prefills_total", result="done") == 2)
    turns = [{"role": "user", "content": "How high is Everest?"}, {"role": "assistant", "content": "8849 m"}]
    whole = front.ask("POST", "/tokenize", {"model": "m", "messages": turns, "add_generation_prompt": False}).json()
    assert worker.last()[1]["token_ids"] == whole["tokens"]
    worker.close()


def test_before_http_engines(fleet, engines, openai):
    """What engines have parsed, and the results of calls."""
    for answer, reasoning in ((vllm, 0), (sglang, 2)):
        e = engines(answer)
        f = before(fleet, e.url)
        client = openai.OpenAI(base_url=f.url + "/v1", api_key="unused", max_retries=0)
        turns = [{"role": "user", "content": "Weather?"}]
        r = client.responses.create(model="m", input=turns, tools=[TOOL])
        with client.responses.stream(model="m", input=turns, tools=[TOOL]) as events:
            seen = list(events)
            final = events.get_final_response()
        for x in (r, final):
            assert [i.type for i in x.output] == ["reasoning", "message", "function_call", "function_call"]
            assert x.output[0].content[0].text == "hm" and x.output_text == "So: " and x.status == "completed"
            assert tuple(json.loads(i.arguments) for i in x.output[2:]) == PLACES and [i.call_id for i in x.output[2:]] == ["c0", "c1"]
            assert (x.usage.input_tokens, x.usage.input_tokens_details.cached_tokens, x.usage.output_tokens) == (50, 32, 7)
            assert x.usage.output_tokens_details.reasoning_tokens == reasoning
        assert [s.sequence_number for s in seen] == list(range(len(seen)))
        turns += r.output
        turns += [{"type": "function_call_output", "call_id": i.call_id, "output": "rain"} for i in r.output[2:]]
        assert client.responses.create(model="m", input=turns, tools=[TOOL]).output_text == "It rains."
        chat = json.loads(e.seen[-1][2])["messages"]
        assert [m["role"] for m in chat] == ["user", "assistant", "tool", "tool"] and chat[1]["reasoning_content"] == "hm"
        assert [(c["id"], json.loads(c["function"]["arguments"])) for c in chat[1]["tool_calls"]] == list(zip(("c0", "c1"), PLACES))
    refusing = before(fleet, engines(lambda h, body: h.whole(400, b'{"error":{"message":"too long for me"}}')).url)
    client = openai.OpenAI(base_url=refusing.url + "/v1", api_key="unused", max_retries=0)
    for streams in (False, True):
        with pytest.raises(openai.BadRequestError) as r:
            client.responses.create(model="m", input="x", stream=streams)
        assert "too long for me" in r.value.message


def test_a_client_that_leaves(fleet, openai):
    mocker = fleet.mocker("--speedup-ratio", "0.02")
    front = fleet.frontend().ready()
    client = openai.OpenAI(base_url=front.url + "/v1", api_key="unused", max_retries=0)
    stream = client.responses.create(model="m", input="x", stream=True, max_output_tokens=5000)
    for event in stream:
        if event.type == "response.output_text.delta":
            break
    assert mocker.metric("requests_running") == 1
    stream.close()
    until("the worker to be told", lambda: mocker.metric("requests_running") == 0)
    until("the end in the metrics", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)
    assert front.metric("dynamo_frontend_requests_total", endpoint="responses", error_type="cancelled") == 1


def test_a_worker_that_dies(fleet, openai):
    """What was said is in the last event; the stream ends once."""
    mocker = fleet.mocker("--speedup-ratio", "0.02")
    front = fleet.frontend("--migration-limit", "0").ready()
    client = openai.OpenAI(base_url=front.url + "/v1", api_key="unused", max_retries=0)
    events = []
    for event in client.responses.create(model="m", input="x", stream=True, max_output_tokens=5000):
        events.append(event)
        if event.type == "response.output_text.delta" and not mocker.ended:
            mocker.kill()
    last = events[-1]
    assert last.type == "response.failed" and last.response.status == "failed" and last.response.error.code == "server_error"
    said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert last.response.output_text == said and last.response.output[0].status == "incomplete"
    assert [e.sequence_number for e in events] == list(range(len(events)))


def test_node_sdk(serve):
    folder = node_with("openai")
    shutil.copy(os.path.join(HERE, "responses_client.mjs"), folder)
    _, front = serve(["<think>\nhm\n</think>\n\nA dam.\n" + CALL])
    r = subprocess.run(["node", "responses_client.mjs", front.url], cwd=folder, capture_output=True, text=True, timeout=180)
    assert r.returncode == 0 and r.stdout.endswith("ok\n"), r.stdout + r.stderr


def test_log_probabilities_behind_the_last_text(fleet):
    """Of tokens without a text, at the end of a stream: the whole answer has them, too. (Failed before: lost in streams.)"""
    worker = PlaneWorker(fleet)
    front = fleet.frontend().ready()
    items = [{"token_ids": [104], "log_probs": [-0.5], "top_logprobs": [[]]},
             {"token_ids": [60000], "log_probs": [-0.25], "top_logprobs": [[]], "finish_reason": "stop"}]
    body = {"model": "m", "input": "x", "include": ["message.output_text.logprobs"], "top_logprobs": 2,
            "nvext": {"annotations": ["script:" + json.dumps(items)]}}
    whole = front.ask("POST", "/v1/responses", body).json()["output"][0]["content"][0]
    assert whole["text"] == "h" and [e["logprob"] for e in whole["logprobs"]] == [-0.5, -0.25]
    events = front.ask("POST", "/v1/responses", {**body, "stream": True}).events()
    assert events[-2]["response"]["output"][0]["content"][0] == whole
    worker.close()
