"""What a worker is sent, and what becomes of what it answers: between `weir frontend` and a worker that does as it is told.

The expectations are what a live Dynamo 1.6.1 frontend did with the same requests and items,
but for what docs/COMPATIBILITY.md names as better.
"""
import json

import pytest

from plane_worker import PlaneWorker
from weir import Fleet, sse, until


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("plane"))
    worker = PlaneWorker(fleet)
    front = fleet.frontend("--router-mode", "kv", "--error-format", "dynamo").ready()
    yield front, worker
    fleet.close()
    worker.close()


def scripted(items, **nvext):
    return {**nvext, "annotations": ["script:" + json.dumps(items)]}


def unary(pair, items, nvext=None, completion=False, **fields):
    front = pair[0]
    r = (front.complete if completion else front.chat)(nvext=scripted(items, **(nvext or {})), max_tokens=None, **fields)
    return r


def streamed(pair, items, nvext=None, completion=False, **fields):
    r = unary(pair, items, nvext, completion, stream=True, **fields)
    assert r.status == 200, r
    events = sse(r.body)
    assert events.pop() == "[DONE]"
    return events


def tokens(text, **more):
    return {"token_ids": list(text.encode()), **more}


STOP = {"token_ids": [], "finish_reason": "stop"}
EOS = 256  # of the bytes tokenizer, which shows it as <|end|>


def sent(pair, headers=None, completion=False, **fields):
    """(control header, request) that a request becomes."""
    front, worker = pair
    r = (front.complete if completion else front.chat)(headers=headers, **fields)
    assert r.status == 200, r
    return worker.last()


# ---- what a worker is sent -----------------------------------------------------------------------


def test_the_sum_of_the_card_is_told(tmp_path):
    """`mdc_sum`, for the card of which Dynamo's checksum is recorded (shared data, mdcsum-vectors.json, 1.6.1)."""
    files = {"model_info": ("hf_config_json", "318d18836d3ccee44b7a4ee27fae972acae1369c48c392112a5630748cfc038e"),
             "prompt_formatter": ("hf_tokenizer_config_json", "462b64713e7a0c08d58f5da7fa54eb2e520172f25cb7b7c07b9d4ddb872aabe9"),
             "tokenizer": ("hf_tokenizer_json", "b0cb923fc505fdf0a53f0287654fa26577d3f333d4134350da0a97664b228739")}
    fleet = Fleet(tmp_path)
    worker = PlaneWorker(fleet, "f", **{k: {kind: {"path": "/nowhere", "checksum": "blake3:" + sum_}}
                                        for k, (kind, sum_) in files.items()})
    front = fleet.frontend("--tokenizer", "bytes").ready("f")  # the files are read for their contents, not for the sum
    for ask in (front.chat, front.complete):
        assert ask(model="f").status == 200
        assert worker.last()[1]["mdc_sum"] == "9526aa04dce98435e8ba616041006c097a4d0d8c3d73ac99a6c010d5f94f4237"
    fleet.close()
    worker.close()


def test_metadata_headers_travel_in_the_control_header(pair):
    control, _ = sent(pair, {"X-Dynamo-Meta-Foo": "bar", "x-dynamo-meta-b": "", "x-dynamo-meta-c": " blank ", "x-dynamo-meta-d": "\xe9"})
    assert control["metadata"] == {"foo": "bar", "b": "", "c": "blank"}
    assert "metadata" not in sent(pair)[0]
    front = pair[0]
    most = {f"x-dynamo-meta-{i}": "v" for i in range(64)}
    assert len(sent(pair, most)[0]["metadata"]) == 64
    r = front.chat(headers={**most, "x-dynamo-meta-64": "v"})
    assert r.status == 431 and r.json()["message"] == "metadata headers exceed the limit of 64 entries"
    raw = front.socket()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]}).encode()
    raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
                b"x-dynamo-meta-a: first\r\nX-DYNAMO-META-A: second\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    while raw.recv(4096):
        pass
    assert pair[1].last()[0]["metadata"] == {"a": "first"}


@pytest.mark.parametrize("headers,context", [
    ({"x-dynamo-session-id": " s "}, {"session_id": "s"}),
    ({"x-dynamo-session-id": "s", "x-dynamo-parent-session-id": "p", "x-dynamo-session-final": "Yes"},
     {"session_id": "s", "parent_session_id": "p", "session_final": True}),
    ({"x-dynamo-session-id": "s", "x-dynamo-session-final": "0"}, {"session_id": "s", "session_final": False}),
    ({"x-dynamo-session-id": "s", "x-dynamo-session-final": "perhaps"}, {"session_id": "s"}),
    ({"x-dynamo-parent-session-id": "p"}, None),
    ({"x-claude-code-session-id": "a"}, {"session_id": "a", "agent_headers": {"x-claude-code-session-id": ["a"]}}),
    ({"x-claude-code-session-id": "a", "x-claude-code-agent-id": "g", "x-dynamo-parent-session-id": "p"},
     {"session_id": "g", "parent_session_id": "a",
      "agent_headers": {"x-claude-code-agent-id": ["g"], "x-claude-code-session-id": ["a"]}}),
    ({"x-claude-code-session-id": "a", "x-claude-code-agent-id": "g", "x-claude-code-parent-agent-id": "b", "x-session-id": "z"},
     {"session_id": "g", "parent_session_id": "b",
      "agent_headers": {"x-claude-code-agent-id": ["g"], "x-claude-code-parent-agent-id": ["b"], "x-claude-code-session-id": ["a"],
                        "x-session-id": ["z"]}}),
    ({"x-claude-code-agent-id": "g"}, None),
    ({"thread-id": "t", "x-codex-parent-thread-id": "c", "session-id": "s", "x-openai-subagent": "review"},
     {"session_id": "t", "parent_session_id": "c",
      "agent_headers": {"session-id": ["s"], "thread-id": ["t"], "x-codex-parent-thread-id": ["c"], "x-openai-subagent": ["review"]}}),
    ({"session-id": "s"}, None),
    ({"X-Session-Id": "s", "x-parent-session-id": "p"},
     {"session_id": "s", "parent_session_id": "p", "agent_headers": {"x-parent-session-id": ["p"], "x-session-id": ["s"]}}),
    ({"x-dynamo-session-id": "d", "thread-id": "t"}, {"session_id": "d", "agent_headers": {"thread-id": ["t"]}}),
    ({"thread-id": "\xe9", "x-session-id": "b"}, {"session_id": "b", "agent_headers": {"x-session-id": ["b"]}}),
])
def test_agents_are_named_to_the_worker(pair, headers, context):
    _, request = sent(pair, headers)
    got = request.get("agent_context")
    assert got == (context and {**context, "input_trigger": "user_message"})
    assert request.get("image_cache_scope") == (context and context["session_id"])


@pytest.mark.parametrize("roles,trigger", [
    (["user"], "user_message"), (["system"], "other"), (["user", "assistant"], "other"), (["user", "function"], "tool_result"),
    (["user", "tool"], "tool_result"), (["user", "tool", "user"], "user_message"), (["user", "developer"], "other")])
def test_why_an_agent_asks(pair, roles, trigger):
    more = {"function": {"name": "f"}, "tool": {"tool_call_id": "c"}}
    messages = [{"role": r, "content": "x", **more.get(r, {})} for r in roles]
    assert sent(pair, {"x-dynamo-session-id": "s"}, messages=messages)[1]["agent_context"]["input_trigger"] == trigger
    assert sent(pair, {"x-dynamo-session-id": "s"}, completion=True)[1]["agent_context"]["input_trigger"] == "other"


@pytest.mark.parametrize("headers,routing", [
    ({"x-dynamo-prefill-dp-rank": "3"}, {"prefill_dp_rank": 3}), ({"x-prefill-dp-rank": "0"}, {"prefill_dp_rank": 0}),
    ({"x-prefill-dp-rank": "4294967295"}, {}), ({"x-prefill-dp-rank": "-1"}, {}),
    ({"x-dynamo-request-priority": "+5", "x-dynamo-request-strict-priority": " +3 "}, {"priority": 5, "priority_jump": 5.0, "strict_priority": 3}),
    ({"x-dynamo-request-priority": "++5"}, {}), ({"x-dynamo-request-priority": "-5"}, {"priority": -5, "priority_jump": 0.0})])
def test_routing_headers(pair, headers, routing):
    got = dict(sent(pair, headers)[1]["routing"])
    assert got.pop("dp_rank") == 0 and got == routing


@pytest.mark.parametrize("fields,where,value", [
    ({"cache_salt": "root", "nvext": {"cache_salt": "inner"}}, "routing.cache_salt", "inner"),
    ({"nvext": {"cache_salt": "inner"}, "cache_salt": "root"}, "extra_args.nvext.cache_salt", "inner"),
    ({"nvext": {"extra_fields": ["timing", "else"]}}, "extra_args", {"nvext": {"extra_fields": ["timing", "else"]}}),
    ({"nvext": {"metadata_upload": {"url": "s3://x"}}}, "extra_args.nvext", {"metadata_upload": {"url": "s3://x"}}),
    ({"nvext": {"token_data": [1, 2]}}, "extra_args.nvext", {"token_in": True}),
    ({"detokenize": False, "allowed_token_ids": [1, 2], "bad_words_token_ids": [[3]]}, "extra_args.sampling_options",
     {"detokenize": False, "allowed_token_ids": [1, 2], "bad_words_token_ids": [[3]]}),
    ({"skip_special_tokens": False}, "output_options.skip_special_tokens", False),
    ({"skip_special_tokens": True}, "output_options.skip_special_tokens", True),
    ({"return_tokens_as_token_ids": True}, "output_options.return_tokens_as_token_ids", True),
    ({"top_k": 0}, "sampling_options.top_k", -1), ({"top_k": 7}, "sampling_options.top_k", 7),
    ({"logprobs": True}, "output_options.logprobs", 1), ({"logprobs": True, "top_logprobs": 0}, "output_options.logprobs", 0),
    ({"ignore_eos": True}, "stop_conditions.stop_token_ids_hidden", None),
    ({"mm_processor_kwargs": {"a": 1}}, "mm_processor_kwargs", {"a": 1}), ({"media_io_kwargs": {"b": {}}}, "media_io_kwargs", {"b": {}}),
    ({"nvext": {"agent_hints": {"latency_sensitivity": 3.5}}}, "routing.priority_jump", 3.5),
    ({"nvext": {"agent_hints": {"priority": 2, "latency_sensitivity": 3.5}}}, "routing.priority_jump", 2.0),
])
def test_members_that_engines_read(pair, fields, where, value):
    got = sent(pair, **fields)[1]
    for name in where.split("."):
        got = got[name]
    assert got == value


def test_token_data_is_the_prompt_of_completions_too(pair):
    assert sent(pair, completion=True, nvext={"token_data": [7, 8, 9]})[1]["token_ids"] == [7, 8, 9]


def test_tool_calls_that_must_come_are_guided_without_a_parser(pair):
    f = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    named = {"type": "function", "function": {"name": "f"}}
    for choice, text in ((named, '{"a":"b"}'), ("required", '[{"name":"f","parameters":{"a":"b"}}]')):
        items = [tokens(c) for c in text] + [STOP]
        r = unary(pair, items, tools=[f], tool_choice=choice)
        guide = pair[1].last()[1]["sampling_options"]["guided_decoding"]["json"]
        assert guide == f["function"]["parameters"] if choice is named else guide["minItems"] == 1 and "$defs" not in guide
        whole = r.json()["choices"][0]
        assert whole["finish_reason"] == "tool_calls" and whole["message"]["content"] is None
        call = whole["message"]["tool_calls"][0]["function"]
        assert call == {"name": "f", "arguments": '{"a":"b"}'}
        chunks = [e["choices"][0] for e in streamed(pair, items, tools=[f], tool_choice=choice)]
        parts = [c["function"] for x in chunks for c in x["delta"].get("tool_calls", [])]
        assert parts[0]["name"] == "f" and "".join(p["arguments"] for p in parts) == '{"a":"b"}'
        assert chunks[-1]["finish_reason"] == "tool_calls"
    r = unary(pair, [tokens("no call"), STOP], tools=[f], tool_choice="required").json()["choices"][0]
    assert r["message"]["content"] == "no call" and r["finish_reason"] == "stop"


def tool(name, **parameters):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", **parameters}}}


def forced(name):
    return {"type": "function", "function": {"name": name}}


def guided(pair, **fields):
    """What the worker is told of the grammar."""
    return sent(pair, **fields)[1]["sampling_options"]["guided_decoding"]


def test_a_forced_call_comes_before_the_response_format(pair):
    """The format is about a text, and there is none. As the reference has it."""
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "title": "TEXT"}}}
    f = tool("f", properties={"a": {"type": "string"}})
    for response_format in (schema, {"type": "json_object"}):
        assert "title" not in json.dumps(guided(pair, tools=[f], tool_choice="required", response_format=response_format))
        assert guided(pair, tools=[f], tool_choice=forced("f"), response_format=response_format)["json"] == f["function"]["parameters"]
    assert guided(pair, tools=[f], response_format=schema)["json"]["title"] == "TEXT"


@pytest.mark.parametrize("own", [{"guided_regex": "a"}, {"guided_json": {"type": "object"}}, {"guided_choice": ["a"]}, {"guided_grammar": "g"}])
def test_a_forced_call_and_a_grammar_of_ones_own(pair, own):
    for choice in ("required", forced("f")):
        r = pair[0].chat("hi", tools=[tool("f")], tool_choice=choice, **own)
        assert r.status == 400 and "leave one of them out" in r.json()["message"], r


def test_definitions_of_forced_calls_stand_at_the_root(pair):
    place = {"type": "object", "properties": {"city": {"type": "string"}}}
    def using(name, definition):
        return tool(name, properties={"at": {"$ref": "#/$defs/Place"}}, **{"$defs": {"Place": definition}})
    guide = guided(pair, tools=[using("f", place), using("g", place)], tool_choice="required")["json"]
    assert guide["$defs"] == {"Place": place}
    assert [one["properties"]["parameters"] for one in guide["items"]["anyOf"]] == [
        {"type": "object", "properties": {"at": {"$ref": "#/$defs/Place"}}}] * 2
    r = pair[0].chat("hi", tools=[using("f", place), using("g", {"type": "string"})], tool_choice="required")
    assert r.status == 400 and 'different definitions of "Place"' in r.json()["message"], r
    wide = "\u20ac" * 40  # of three bytes each: what is shown of it ends with one
    tools = [tool(name, **{"$defs": {wide: {"type": kind}}}) for name, kind in (("f", "string"), ("g", "number"))]
    r = pair[0].chat("hi", tools=tools, tool_choice="required")
    assert r.status == 400 and f'of "{wide[:21]}"' in r.json()["message"], r.json()


def test_a_forced_call_without_arguments(pair):
    """JSON takes white space anywhere; this does not."""
    assert guided(pair, tools=[tool("f", properties={}, additionalProperties=False)], tool_choice=forced("f")) == {"regex": "\\{\\}"}
    for open_one in (tool("f"), tool("f", additionalProperties=False, minProperties=1), tool("f", additionalProperties=False, patternProperties={})):
        assert guided(pair, tools=[open_one], tool_choice=forced("f")) == {"json": open_one["function"]["parameters"]}
    bare = {"type": "function", "function": {"name": "f"}}
    assert guided(pair, tools=[bare], tool_choice=forced("f"))["json"] == {"type": "object", "properties": {}}


# ---- what becomes of its items -------------------------------------------------------------------


@pytest.mark.parametrize("completion", [False, True])
def test_special_tokens_are_skipped_unless_asked_for(pair, completion):
    items = [{"token_ids": [*b"a", EOS, *b"b"]}, STOP]

    def text(**more):
        c = unary(pair, items, completion=completion, ignore_eos=True, **more).json()["choices"][0]
        return c["text"] if completion else c["message"]["content"]
    assert text() == text(skip_special_tokens=True) == "ab" and text(skip_special_tokens=False) == "a<|end|>b"


@pytest.mark.parametrize("stops", [{"stop_token_ids": [ord(",")]}, {"stop": [ord(",")]}, {"stop": [ord(",")], "include_stop_str_in_output": True}])
def test_a_stop_id_is_not_shown_and_ends_the_count(pair, stops):
    r = unary(pair, [tokens("ab,cd"), tokens("ef"), STOP], {"extra_fields": ["stop_reason"]}, **stops).json()
    assert r["choices"][0]["message"]["content"] == "ab" and r["choices"][0]["finish_reason"] == "stop"
    assert r["usage"]["completion_tokens"] == 3 and r["nvext"] == {"stop_reason": ord(",")}


def test_tokens_behind_a_stop_string_do_not_count(pair):
    r = unary(pair, [tokens("abXYcd"), STOP], stop="XY").json()
    assert r["choices"][0]["message"]["content"] == "ab" and r["usage"]["completion_tokens"] == 4


def test_ids_beyond_the_vocabulary_have_no_text(pair):
    r = unary(pair, [{"token_ids": [97, 99999, 98]}, STOP]).json()
    assert r["choices"][0]["message"]["content"] == "ab" and r["usage"]["completion_tokens"] == 3


SHOWN = 'plain words, "quotes", \\ and \n, \x01, ü → 😀; ' * 4


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("completion", [False, True])
def test_tokens_that_come_one_by_one_or_together(pair, completion, gathers):
    """Each item has a frame of its own, whatever else came with it."""
    ids = list(SHOWN.encode())
    for at in (1, 70, 71):
        ids.insert(at, 99999)  # engines pad their vocabulary: such ids have no text
    items = [{"token_ids": [i]} for i in ids] + [STOP]

    def pieces(**more):
        events = streamed(pair, items, completion=completion, **more)
        parts = [e["choices"][0].get("text") if completion else e["choices"][0]["delta"].get("content") for e in events if e["choices"]]
        return [p for p in parts if p], events
    try:
        pair[1].gathers = gathers
        assert pieces()[0] == list(SHOWN)
        shown, events = pieces(stream_options={"include_usage": True})
        assert shown == list(SHOWN) and events[-1]["usage"]["completion_tokens"] == len(ids)
        assert pieces(nvext={"extra_fields": ["completion_token_ids"]})[0] == list(SHOWN)
        assert pieces(stream_options={"include_usage": True, "continuous_usage_stats": True})[0] == list(SHOWN)
        assert pieces(stop=["; "])[0] and "".join(pieces(stop=["; "])[0]) == SHOWN.split("; ")[0]
        assert "".join(pieces(stop_token_ids=[ord("a")])[0]) == SHOWN.split("a")[0]
        whole = unary(pair, items, completion=completion).json()
        assert (whole["choices"][0]["text"] if completion else whole["choices"][0]["message"]["content"]) == SHOWN
        assert whole["usage"]["completion_tokens"] == len(ids)
    finally:
        pair[1].gathers = False


@pytest.mark.parametrize("reason", ["END", 42])
def test_the_workers_stop_reason(pair, reason):
    items = [tokens("a"), {**STOP, "stop_reason": reason}]
    assert unary(pair, items, {"extra_fields": ["stop_reason"]}).json()["nvext"] == {"stop_reason": reason}
    assert streamed(pair, items, {"extra_fields": ["stop_reason"]})[-1]["nvext"] == {"stop_reason": reason}
    assert "nvext" not in unary(pair, items).json()


def test_extra_fields_of_chunks(pair):
    items = [tokens("ab", engine_data={"x": 1}), tokens("c"), {**tokens("d", engine_data={"y": [2]}), "finish_reason": "stop"}]
    fields = ["worker_id", "completion_token_ids", "engine_data", "timing"]
    chunks = [e["nvext"] for e in streamed(pair, items, {"extra_fields": fields})]
    assert [c["completion_token_ids"] for c in chunks] == [[97, 98], [99], [100]]
    assert [c.get("engine_data") for c in chunks] == [{"x": 1}, None, {"y": [2]}]
    assert all(c["worker_id"]["decode_worker_id"] == 0x77 for c in chunks)
    assert ["timing" in c for c in chunks] == [False, False, True]
    whole = unary(pair, items, {"extra_fields": fields}).json()["nvext"]
    assert whole["completion_token_ids"] == [97, 98, 99, 100] and whole["engine_data"] == {"y": [2]} and "timing" in whole
    items = [tokens("a", engine_data={"prompt_logprobs": [None, {"1": {"logprob": -1.5}}], "routed_experts": "x"}), STOP]
    got = unary(pair, items, {"extra_fields": ["prompt_logprobs", "routed_experts"]}, prompt_logprobs=1).json()["nvext"]
    assert got == {"prompt_logprobs": [None, {"1": {"logprob": -1.5}}], "routed_experts": "x"}


def test_usage_as_the_worker_counts_it(pair):
    def usage(**counts):
        return unary(pair, [tokens("ab"), {**STOP, **({"completion_usage": counts} if counts else {})}]).json()["usage"]
    plain = usage()
    assert "prompt_tokens_details" not in plain and plain["completion_tokens"] == 2
    assert usage(prompt_tokens=50, completion_tokens=9, total_tokens=59) == {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}
    got = usage(prompt_tokens=50, completion_tokens=9, total_tokens=59, prompt_tokens_details={"cached_tokens": 16, "audio_tokens": None},
                completion_tokens_details={"reasoning_tokens": 4})
    assert got["prompt_tokens_details"] == {"cached_tokens": 16} and got["completion_tokens_details"] == {"reasoning_tokens": 4}
    items = [tokens("a"), {**STOP, "completion_usage": {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51}}]
    assert streamed(pair, items, stream_options={"include_usage": True})[-1]["usage"]["prompt_tokens"] == 50


def test_events_of_the_worker(pair):
    """What it tells beside its output: a stream of chunks has it where it came, as Dynamo's; behind the answer's end nothing comes."""
    told = [{"annotated": {"event": "x", "comment": ['{"a": 1}', "b"]}}, tokens("a"), {"annotated": {"event": "y"}},
            {"annotated": {"event": "z\n\ndata: [DONE]", "comment": ["c\r\nd"]}}, {"annotated": {"comment": ["nothing"]}}, {"annotated": {"event": ""}}]
    late = [{"annotated": {"event": "late"}}, {"raise": {"error_type": "Unknown", "message": "broke"}}, {"token_ids": [], "finish_reason": {"error": "broke"}}]
    pair[1].gathers = True
    for completion in (False, True):
        r = unary(pair, [*told, tokens("b"), STOP, *late], completion=completion, stream=True)
        frames = r.body.decode().split("\n\n")
        kinds = ["chunk" if f.startswith("data: {") else f for f in frames]
        assert kinds == ['event: x\n: {"a": 1}\n: b', "chunk", "event: y", "event: z  data: [DONE]\n: c  d", "chunk", "chunk", "data: [DONE]", ""], frames
    whole = unary(pair, [*told, tokens("b"), STOP, *late])
    assert whole.status == 200 and whole.json()["choices"][0]["message"]["content"] == "ab", whole
    response = pair[0].ask("POST", "/v1/responses", {"model": "m", "input": "hi", "stream": True, "nvext": scripted([*told, STOP])})
    assert response.status == 200 and b"event: x" not in response.body and b"response.completed" in response.body, response
    pair[1].gathers = False


@pytest.fixture(scope="module")
def thinker(pair, tmp_path_factory):
    """The same with a parser of reasoning in the card."""
    fleet = Fleet(tmp_path_factory.mktemp("thinker"))
    worker = PlaneWorker(fleet, runtime_config={"total_kv_blocks": 1024, "max_num_seqs": 8, "max_num_batched_tokens": 8192,
                                                "reasoning_parser": "deepseek_r1"})
    front = fleet.frontend("--router-mode", "kv").ready()
    yield front, worker
    fleet.close()
    worker.close()


def test_tokens_of_reasoning_are_counted(thinker):
    """As a live 1.6.1 counts them: not the tag that opens, all that is thought, the tag that closes; nothing where thinking
    is off, and the worker's own count before ours. (Failed before: none were told.)"""
    def details(*texts, items=(), **fields):
        usage = unary(thinker, [*(tokens(t) for t in texts), *items, STOP], **fields).json()["usage"]
        events = streamed(thinker, [*(tokens(t) for t in texts), *items, STOP], stream_options={"include_usage": True}, **fields)
        assert events[-1]["usage"] == usage
        return usage.get("completion_tokens_details")
    assert details("<think>", "ab", "c", "</think>", "x", "y") == {"reasoning_tokens": 11}
    assert details("<think>", "ab", "</think>", "\n\n", "x") == {"reasoning_tokens": 10}
    assert details("<think>", "</think>", "x") == {"reasoning_tokens": 0}
    assert details("ab", "c") == {"reasoning_tokens": 3}
    assert details("a<", "b", "</thi", "nk>", "x") == {"reasoning_tokens": 11}
    assert details("a", "</think>", "x", "<think>", "b", "</think>", "y") == {"reasoning_tokens": 18}
    assert details("ab", chat_template_args={"enable_thinking": False}) is None
    assert details("<think>", "ab", completion=True) is None
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "completion_tokens_details": {"reasoning_tokens": 1}}
    assert details("ab", items=[{"token_ids": [], "completion_usage": usage}]) == {"reasoning_tokens": 1}
    several = [{**tokens("a"), "index": 0}, {**tokens("bc"), "index": 1}, {**STOP, "index": 1}]
    assert details(items=several, n=2, temperature=1) == {"reasoning_tokens": 3}
    running = streamed(thinker, [tokens("<think>"), tokens("ab"), tokens("</think>"), tokens("x"), STOP],
                       stream_options={"include_usage": True, "continuous_usage_stats": True})
    assert [(e["choices"][0]["delta"].get("reasoning_content"), e["usage"]["completion_tokens_details"]["reasoning_tokens"])
            for e in running if e["choices"]] == [("ab", 2), (None, 10), (None, 10)]


def lp(text, *entries):
    """An item with a log probability for each byte; entries: alternatives of each, (id, token, logprob)."""
    tops = [[{"rank": i + 1, "token_id": t, "token": name, "logprob": p} for i, (t, name, p) in enumerate(e)] for e in entries]
    return tokens(text, log_probs=[-0.5 * (i + 1) for i in range(len(text.encode()))], **({"top_logprobs": tops} if entries else {}))


def test_alternatives_of_completions_that_are_written_alike(pair):
    """Bytes that are no character: an object has one name once, and the last counts. (Failed before: several times.)"""
    items = [lp("a", [(97, "a", -0.5), (0xc3, None, -1.5), (0xe4, None, -2.5), (98, "b", -3.0)]), {**lp("b", [(0xc3, "x", -0.1), (120, "x", -0.2)]),
                                                                                                  "finish_reason": "stop"}]
    page = unary(pair, items, completion=True, logprobs=2).body
    pairs = []
    json.loads(page, object_pairs_hook=lambda p: pairs.append(p))
    assert [("a", -0.5), ("\ufffd", -2.5), ("b", -3.0)] in pairs and [("x", -0.2), ("b", -0.5)] in pairs, page


def test_logprobs_of_whole_completions_have_every_token(pair):
    items = [lp("a", [(97, "a", -0.5), (98, "b", -1.5)]), lp("bc", [(120, None, -0.1)], [(99, "c", -1.0)]), {**lp("d"), "finish_reason": "stop"}]
    got = unary(pair, items, completion=True, logprobs=2).json()["choices"][0]["logprobs"]
    assert got == {"tokens": ["a", "b", "c", "d"], "token_logprobs": [-0.5, -0.5, -1.0, -0.5],
                   "top_logprobs": [{"a": -0.5, "b": -1.5}, {"x": -0.1, "b": -0.5}, {"c": -1.0}], "text_offset": [0, 1, 2, 3]}
    pieces = [e["choices"][0]["logprobs"] for e in streamed(pair, items, completion=True, logprobs=2)]
    assert {k: [x for p in pieces for x in p[k]] for k in got} == got
    named = unary(pair, items, completion=True, logprobs=1, return_tokens_as_token_ids=True).json()["choices"][0]["logprobs"]
    assert named["tokens"] == ["token_id:97", "token_id:98", "token_id:99", "token_id:100"]
    cut = unary(pair, [lp("abXYcd"), STOP], completion=True, logprobs=1, stop="XY").json()["choices"][0]
    assert cut["text"] == "ab" and cut["logprobs"]["tokens"] == ["a", "b", "X", "Y"]


def test_text_offsets_count_characters(pair):
    items = [tokens("\u00e9a", log_probs=[-1, -1, -1]), STOP]
    assert unary(pair, items, completion=True, logprobs=0).json()["choices"][0]["logprobs"]["text_offset"] == [0, 1, 1]


def test_logprobs_of_chats(pair):
    items = [lp("a", [(97, "a", -0.5), (98, "b", -1.5)]), lp("b", [(120, None, -0.1)]), {**lp("c"), "finish_reason": "stop"}]

    def content(**more):
        return unary(pair, items, logprobs=True, **more).json()["choices"][0]["logprobs"]["content"]
    for top in (None, 1, 2):  # what the worker gave, and the sampled token whatever it gave
        got = content(**({} if top is None else {"top_logprobs": top}))
        assert [c["token_id"] for c in got] == [97, 98, 99] and got[0]["bytes"] == [97]
        assert [[(t["token"], t["logprob"]) for t in c["top_logprobs"]] for c in got] == [
            [("a", -0.5), ("b", -1.5)], [("x", -0.1), ("b", -0.5)], [("c", -0.5)]]
    assert all(c["top_logprobs"] == [] for c in content(top_logprobs=0))
    pieces = [e["choices"][0]["logprobs"]["content"] for e in streamed(pair, items, logprobs=True)]
    assert sum(pieces, []) == content()


def test_errors_of_a_worker(pair):
    def first(item):
        r = unary(pair, [item])
        return r.status, r.json()

    def later(item):
        return streamed(pair, [tokens("a"), item])[-1]["error"]
    asserted = {"error_type": "Unknown", "message": json.dumps({"message": "why", "code": 422})}
    assert first({"raise": asserted}) == (400, {"message": "why", "type": "Bad Request", "code": 400})
    for code, kind in ((400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"), (404, "not_found_error"),
                       (409, "invalid_request_error"), (415, "invalid_request_error"), (422, "invalid_request_error"), (429, "rate_limit_error")):
        got = later({"raise": {"error_type": "Unknown", "message": json.dumps({"message": "why", "code": code})}})
        assert got == {"message": "why", "type": kind, "code": 400 if code == 422 else code}
    assert first({"raise": {"error_type": "Unknown", "message": "secret"}})[1] == {
        "message": "Internal server error", "type": "Internal Server Error", "code": 500, "details": {"backend_status": 500}}
    assert later({"raise": {"error_type": "ConnectionTimeout", "message": "x"}})["type"] == "timeout_error"
    ended = {"token_ids": [], "finish_reason": {"error": json.dumps({"message": "why", "code": 404})}}
    assert first(ended) == (404, {"message": "why", "type": "Not Found", "code": 404})
    assert first({"token_ids": [], "finish_reason": "odd"})[1]["details"] == {"backend_status": 500}
    assert unary(pair, [tokens("a"), ended]).json() == {"message": "Internal server error", "type": "Internal Server Error", "code": 500}


# ---- which worker would it be? -------------------------------------------------------------------


def test_a_query_for_the_worker_generates_nothing(pair):
    front, worker = pair
    before = len(worker.requests)
    ask = {"annotations": ["query_instance_id:"], "extra_fields": ["timing"]}
    where = {"prefill_worker_id": 0x77, "prefill_dp_rank": 0, "decode_worker_id": 0x77, "decode_dp_rank": 0}
    r = front.chat("hi", nvext=ask, n=2).json()
    assert r["choices"] == [{"index": 0, "message": {"content": None, "refusal": None, "role": "assistant"}, "finish_reason": None,
                             "logprobs": None}]
    assert "usage" not in r and r["nvext"]["worker_id"] == where and set(r["nvext"]) == {"worker_id", "token_ids"}
    ids = r["nvext"]["token_ids"]
    assert bytes(i for i in ids if i < 256).decode().count("hi") == 1
    events = front.chat("hi", nvext=ask, stream=True, stream_options={"include_usage": True}).events()
    assert len(events) == 2 and events[1] == "[DONE]" and events[0]["choices"][0]["delta"] == {"role": "assistant"}
    assert events[0]["nvext"] == {"worker_id": where, "token_ids": ids}
    r = front.complete(["a", "b"], nvext=ask).json()
    assert r["choices"] == [{"text": "", "index": 0}, {"text": "", "index": 1}] and r["usage"] is None
    events = front.complete(["a", "b"], nvext=ask, stream=True).events()
    assert [e["nvext"]["token_ids"] for e in events[:-1]] == [[97], [98]] and events[-1] == "[DONE]"
    assert len(worker.requests) == before
    until("all to be over", lambda: front.metric("dynamo_frontend_active_requests", model="m") == 0)


def test_without_nvext_the_salt_and_who_asks_are_left(tmp_path):
    fleet = Fleet(tmp_path)
    worker = PlaneWorker(fleet)
    front = fleet.frontend("--router-mode", "kv", env={"DYN_DISABLE_FRONTEND_NVEXT": "1"}).ready()

    def request(headers=None, nvext=None):
        assert front.chat(headers=headers, nvext=nvext).status == 200
        return worker.last()[1]
    plain = request()
    plain.pop("token_ids")
    for nvext in ({"agent_hints": {"priority": 5, "osl": 3}}, {"token_data": [1, 2]}, {"decode_worker_id": 9}, {"max_thinking_tokens": 3},
                  {"greed_sampling": True}, {"annotations": ["query_instance_id:", "a:b"]}, {"extra_fields": ["timing"]}):
        got = request(nvext=nvext)
        assert len(got.pop("token_ids")) > 2 and got == plain
    for headers in ({"x-dynamo-request-priority": "4"}, {"x-prefill-dp-rank": "2"}, {"x-worker-instance-id": "9"}):
        assert "token_ids" in request(headers) and {k: v for k, v in worker.last()[1].items() if k != "token_ids"} == plain
    assert request(nvext={"cache_salt": "s"})["extra_args"] == {"nvext": {"cache_salt": "s"}}
    assert request({"x-tenant-id": "t"})["routing"]["cache_salt"] == "t"
    assert request({"x-dynamo-session-id": "a"})["agent_context"] == {"session_id": "a", "input_trigger": "user_message"}
    assert front.chat(nvext={"unknown": 1}).status == 400
    fleet.close()
    worker.close()


# ---- metrics -------------------------------------------------------------------------------------


def test_metrics_of_a_request(pair):
    front = pair[0]

    def figures():
        names = ("failures_total", "requests_total")
        got = {k: v for k, v in front.metrics().items() if any("dynamo_frontend_" + n in k for n in names)}
        for n in ("requests_started_total", "requests_total", "input_sequence_tokens_count", "input_sequence_tokens_sum",
                  "output_sequence_tokens_sum", "time_to_first_token_seconds_count"):
            got[n] = front.metric("dynamo_component_router_" + n)
        for n in ("dynamo_request_plane_roundtrip_ttft_seconds_count", "dynamo_router_overhead_total_ms_count"):
            got[n] = front.metric(n)
        return got

    def grows(act, want, pick=lambda grown: grown):
        """What `pick` says of the series that grew. A request is counted when its answer is written: whoever reads it may ask
        for the page (of another loop) a moment earlier."""
        until("earlier requests to be counted", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)
        before = figures()
        act()

        def seen():
            return pick({k: v - before.get(k, 0) for k, v in figures().items() if v != before.get(k, 0)})
        until(f"{want} in {seen()}", lambda: seen() == want)
    grows(lambda: unary(pair, [tokens("abc"), STOP], completion=True), {
        "requests_started_total": 1, "requests_total": 1, "input_sequence_tokens_count": 1, "input_sequence_tokens_sum": 5,
        "output_sequence_tokens_sum": 3, "time_to_first_token_seconds_count": 1,
        "dynamo_request_plane_roundtrip_ttft_seconds_count": 1, "dynamo_router_overhead_total_ms_count": 1,
        'dynamo_frontend_requests_total{model="m",endpoint="completions",request_type="unary",status="success",error_type=""}': 1})

    def failures(act, kind):
        def of_failures(grown):
            return {tuple(part.split('"')[1] for part in k.split("{")[1].split(",")): v for k, v in grown.items() if "failures_total" in k}
        grows(act, {kind: 1}, of_failures)

    def raising(code):
        return lambda: unary(pair, [{"raise": {"error_type": "Unknown", "message": json.dumps({"message": "x", "code": code})}}])
    for code, kind in ((401, ("Unauthenticated", "request.unauthenticated")), (403, ("PermissionDenied", "request.permission_denied")),
                       (409, ("Conflict", "request.conflict")), (413, ("PayloadTooLarge", "request.payload_too_large")),
                       (422, ("InvalidRequest", "request.invalid")), (429, ("RateLimited", "request.rate_limited")),
                       (500, ("Internal", "runtime.internal")), (529, ("CapacityExhausted", "capacity.exhausted"))):
        failures(raising(code), kind)
    failures(lambda: front.chat(temperature=9), ("InvalidRequest", "request.invalid"))
    failures(lambda: front.chat(model="nobody"), ("NotFound", "request.not_found"))
    failures(lambda: front.ask("POST", "/v1/chat/completions", b"{}", {"content-type": "text/plain"}),
             ("UnsupportedMedia", "request.unsupported_media"))
    grows(raising(429), 1, lambda grown: sum(v for k, v in grown.items() if 'error_type="overload"' in k and 'status="error"' in k))
    assert 'dynamo_router_overhead_scheduling_ms_bucket{router_id="0",le="430467.21"}' in front.metrics()
