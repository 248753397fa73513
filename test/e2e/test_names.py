"""A name and a word of JSON are what they read as, however they are spelled: "mod\\u0065l" is "model".

Outside stands Python's json: it must read both spellings of a body as one value before a worker is asked.
"""
import json

import pytest

from plane_worker import PlaneWorker
from weir import Fleet

TOOL = {"name": "look_up", "parameters": {"type": "object", "properties": {"place": {"$ref": "#/$defs/place"}},
                                          "$defs": {"place": {"type": "string", "maxLength": 9}}}}
FUNCTION = {"type": "function", "function": TOOL}
ASK = [{"role": "user", "content": "Where?"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}

CHATS = {
    "samplings": {"temperature": 0.5, "top_k": 7, "stop": ["x"], "logit_bias": {"7": 1}, "nvext": {"greed_sampling": True},
                  "seed": 3},
    "a format": {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}},
    "json only": {"response_format": {"type": "json_object"}},
    "a named call": {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "look_up"}}},
    "a call that must come": {"tools": [FUNCTION], "tool_choice": "required"},
    "no thinking": {"thinking": {"type": "disabled"}},
    "token data": {"nvext": {"token_data": [1, 2, 3]}},
    "parts": {"messages": [{"role": "system", "content": "Be brief."},
                           {"role": "user", "content": [{"type": "text", "text": "Where?"}]}]},
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("names"))
    worker = PlaneWorker(fleet)
    front = fleet.frontend("--router-mode", "kv", "--enable-anthropic-api").ready()
    yield front, worker
    fleet.close()
    worker.close()


def escaped(text, every):
    return '"' + "".join(f"\\u{ord(c):04x}" if i % every == 0 else json.dumps(c)[1:-1] for i, c in enumerate(text)) + '"'


def spelled(value, every):
    """JSON whose names and words are written with escapes: each n-th letter."""
    if isinstance(value, dict):
        return "{" + ",".join(escaped(k, every) + ":" + spelled(v, every) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spelled(v, every) for v in value) + "]"
    return escaped(value, every) if isinstance(value, str) else json.dumps(value)


def ask(pair, path, text):
    front, worker = pair
    r = front.ask("POST", path, text.encode(), {"content-type": "application/json"})
    assert r.status == 200, r.body
    request = worker.last()[1]
    # The template of the bytes tokenizer shows tools as they came, escapes and all.
    unlike = {"request_timestamp_ms", *(["token_ids"] if '"look_up"' in json.dumps(json.loads(text)) else [])}
    return {k: v for k, v in request.items() if k not in unlike}


def same(pair, path, body):
    plain = ask(pair, path, json.dumps(body))
    assert ask(pair, path, json.dumps(body)) == plain, "a plain body is not sent twice alike"
    for every in (1, 2, 3):
        text = spelled(body, every)
        assert json.loads(text) == body
        assert ask(pair, path, text) == plain, text
    return plain


@pytest.mark.parametrize("case", CHATS)
def test_a_chat_is_the_same_to_the_worker(pair, case):
    request = same(pair, "/v1/chat/completions", {"model": "m", "messages": ASK, "max_tokens": 3, **CHATS[case]})
    if case in ("a format", "json only", "a named call", "a call that must come"):
        assert request["sampling_options"]["guided_decoding"]["json"]


def test_other_endpoints(pair):
    same(pair, "/v1/completions", {"model": "m", "prompt": [1, 2, 3], "max_tokens": 3, "stop": ["a"], "stream": False})
    same(pair, "/v1/responses", {"model": "m", "max_output_tokens": 3, "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where?"}]},
        {"type": "function_call", "call_id": "c", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "here"}],
        "tools": [{"type": "function", **TOOL}], "tool_choice": {"type": "function", "name": "look_up"}})
    same(pair, "/v1/messages", {"model": "m", "max_tokens": 3, "tools": [{"name": "look_up", "input_schema": TOOL["parameters"]}],
                                "tool_choice": {"type": "tool", "name": "look_up"}, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Where?"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "look_up", "input": {"place": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "here"}]}]})


def test_a_member_given_twice_is_refused_however_it_is_spelled(pair):
    for name in ("model", "temperature"):
        text = '{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":0,' + escaped(name, 2) + ":null}"
        r = pair[0].ask("POST", "/v1/chat/completions", text.encode(), {"content-type": "application/json"})
        assert r.status == 400 and f"duplicate field `{name}`" in r.body.decode(), r.body


def test_names_of_definitions_stay_as_they_were_spelled(pair):
    """Python's json.dumps escapes what is not ASCII: the guide refers to the definition by that name."""
    place = {"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"$ref": "#/$defs/Ö"}}, "$defs": {"Ö": {"type": "string"}}}}}
    text = json.dumps({"model": "m", "messages": ASK, "tools": [place], "tool_choice": "required", "max_tokens": 3})
    assert "\\u00d6" in text
    assert list(ask(pair, "/v1/chat/completions", text)["sampling_options"]["guided_decoding"]["json"]["$defs"]) == ["Ö"]


@pytest.mark.parametrize("meaning", ["string", "integer"])
def test_definitions_of_two_tools_are_compared_however_their_names_are_spelled(pair, meaning):
    tools = [{"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {"a": {"$ref": "#/$defs/Ö"}}, "$defs": {"Ö": {"type": kind}}}}}
        for name, kind in (("f", "string"), ("g", meaning))]
    escaped_twice = json.dumps({"model": "m", "messages": ASK, "tools": tools, "tool_choice": "required", "max_tokens": 3})
    first, last = escaped_twice.rsplit("\\u00d6", 1)
    for text in (escaped_twice, first + "Ö" + last):
        assert json.loads(text)["tools"] == tools
        if meaning == "string":
            guide = ask(pair, "/v1/chat/completions", text)["sampling_options"]["guided_decoding"]["json"]
            assert guide["$defs"] == {"Ö": {"type": "string"}}
        else:
            r = pair[0].ask("POST", "/v1/chat/completions", text.encode(), {"content-type": "application/json"})
            assert r.status == 400 and "different definitions" in r.body.decode(), r.body
