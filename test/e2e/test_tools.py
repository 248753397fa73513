"""Tool calls and reasoning through the frontend: HTTP in, a scripted worker behind."""
import json
import os

import pytest
from scripted import ScriptedWorker, cut

TOOLS = [
    {"type": "function", "function": {"name": "look_up", "parameters": {
        "type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}}}},
    {"type": "function", "function": {"name": "ring", "parameters": {"type": "object", "properties": {}}}},
]


def compact(args):
    return json.dumps(args)


def hermes(calls):
    return "".join(f'<tool_call>\n{{"name": "{n}", "arguments": {compact(a)}}}\n</tool_call>\n' for n, a in calls)


def xml(calls):
    def one(n, a):
        return f"<tool_call>\n<function={n}>\n" + "".join(
            f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in a.items()) + "</function>\n</tool_call>\n"
    return "".join(one(n, a) for n, a in calls)


def deepseek(calls):
    return "<｜tool▁calls▁begin｜>" + "".join(
        f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{compact(a)}<｜tool▁call▁end｜>" for n, a in calls) + "<｜tool▁calls▁end｜>"


def kimi(calls):
    return "<|tool_calls_section_begin|>" + "".join(
        f"<|tool_call_begin|>functions.{n}:{i}<|tool_call_argument_begin|>{compact(a)}<|tool_call_end|>"
        for i, (n, a) in enumerate(calls)) + "<|tool_calls_section_end|>"


def mistral(calls):
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{compact(a)}" for n, a in calls)


def llama(calls):
    return "<|python_tag|>" + "; ".join(f'{{"name": "{n}", "parameters": {compact(a)}}}' for n, a in calls)


def pythonic(calls):
    return "[" + ", ".join(f"{n}({', '.join(f'{k}={v!r}' for k, v in a.items())})" for n, a in calls) + "]"


def glm(calls):
    return "".join(f"<tool_call>{n}" + "".join(
        f"<arg_key>{k}</arg_key><arg_value>{v}</arg_value>" for k, v in a.items()) + "</tool_call>" for n, a in calls)


FORMATS = {"hermes": (hermes, "qwen3"), "qwen3_coder": (xml, "qwen3"), "deepseek_v3_1": (deepseek, None),
           "kimi_k2": (kimi, "kimi_k25"), "mistral": (mistral, None), "llama3_json": (llama, None),
           "pythonic": (pythonic, None), "glm47": (glm, "glm45")}
CALLS = [("look_up", {"place": 'Port "Ellen" é', "days": 3}), ("ring", {})]


@pytest.fixture
def scripted(fleet):
    """start(texts, flags…, card fields…) gives a frontend before a worker that answers with these texts in turn."""
    workers = []

    def start(texts, *flags, finish="stop", **card):
        left = list(texts)

        def answer(_request):
            return cut(left.pop(0) if len(left) > 1 else left[0]), finish
        workers.append(ScriptedWorker(fleet.env["DYN_FILE_KV"], answer, **card))
        front = fleet.frontend(*flags)
        front.worker = workers[-1]
        return front
    yield start
    for w in workers:
        w.close()


def unary(front, **fields):
    r = front.chat(tools=TOOLS, max_tokens=500, **fields)
    assert r.status == 200, r
    return r.json()["choices"][0]


def stream(front, **fields):
    """The deltas joined as an SDK joins them, and the events themselves."""
    r = front.chat(tools=TOOLS, max_tokens=500, stream=True, **fields)
    assert r.status == 200, r
    events = r.events()
    assert events[-1] == "[DONE]"
    out = {"content": "", "reasoning": "", "calls": [], "finish": None}
    for e in events[:-1]:
        choice = e["choices"][0]
        delta = choice["delta"]
        out["content"] += delta.get("content") or ""
        out["reasoning"] += delta.get("reasoning_content") or delta.get("reasoning") or ""
        for t in delta.get("tool_calls", []):
            if "id" in t:
                assert t["index"] == len(out["calls"]) and t["type"] == "function" and t["function"]["name"]
                out["calls"].append({"id": t["id"], "name": t["function"]["name"], "arguments": ""})
            out["calls"][t["index"]]["arguments"] += t["function"]["arguments"]
        if choice["finish_reason"]:
            assert out["finish"] is None
            out["finish"] = choice["finish_reason"]
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    return out, events[:-1]


@pytest.mark.parametrize("parser", sorted(FORMATS))
def test_formats(scripted, parser):
    render, reasoning = FORMATS[parser]
    text = ("<think>Two steps.</think>" if reasoning else "") + "Checking. " + render(CALLS)
    front = scripted([text], tool_call_parser=parser, reasoning_parser=reasoning).ready()
    choice = unary(front)
    message = choice["message"]
    assert choice["finish_reason"] == "tool_calls"
    assert message["content"].strip() == "Checking."
    assert message.get("reasoning_content") == ("Two steps." if reasoning else None)
    got = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]]
    assert got == CALLS
    assert len({c["id"] for c in message["tool_calls"]}) == 2
    joined, events = stream(front)
    assert joined["finish"] == "tool_calls" and joined["content"].strip() == "Checking."
    assert joined["reasoning"] == ("Two steps." if reasoning else "")
    assert [(c["name"], json.loads(c["arguments"])) for c in joined["calls"]] == CALLS
    parts = [t for e in events for t in e["choices"][0]["delta"].get("tool_calls", [])]
    assert len(parts) > 4, "arguments come in pieces"


def test_whole_deltas(scripted):
    front = scripted([hermes(CALLS)], "--tool-call-deltas", "whole", tool_call_parser="hermes").ready()
    joined, events = stream(front)
    parts = [t for e in events for t in e["choices"][0]["delta"].get("tool_calls", [])]
    assert len(parts) == 2 and all("id" in p for p in parts)
    assert [(c["name"], json.loads(c["arguments"])) for c in joined["calls"]] == CALLS


def test_flags_stand_in_for_the_card(scripted):
    front = scripted(["<think>Hm.</think>" + hermes(CALLS)], "--tool-call-parser", "hermes",
                     "--reasoning-parser", "qwen3", "--reasoning-field-name", "reasoning").ready()
    message = unary(front)["message"]
    assert message["reasoning"] == "Hm." and message["content"] is None
    assert len(message["tool_calls"]) == 2


def test_cut_off(scripted):
    text = "Wait. " + hermes(CALLS)[:70]
    front = scripted([text], "--tool-call-deltas", "checked", finish="length", tool_call_parser="hermes").ready()
    choice = unary(front)
    assert choice["finish_reason"] == "length" and "tool_calls" not in choice["message"]
    assert choice["message"]["content"] == text
    joined, _ = stream(front)
    assert joined["content"] == text and joined["calls"] == [] and joined["finish"] == "length"


@pytest.mark.parametrize("finish", ["stop", "length"])
@pytest.mark.parametrize("parser", ["hermes", None])
def test_forced_calls_that_are_none(scripted, parser, finish):
    """A forced call that breaks off, a second one where one was named, text before a forced one: docs/COMPATIBILITY.md."""
    required, named = {"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "look_up"}}}
    call = '[{"name": "look_up", "parameters": {"place": "Oban"}}]'
    once = [("look_up", '{"place": "Oban"}')]
    cases = [
        # choice, text; whole: content, calls; streamed: content, calls
        (required, call[:45], (call[:45], []), ("", [("look_up", '{"place": ')])),
        (named, '{"place": "Ob', ('{"place": "Ob', []), ("", [("look_up", '{"place": "Ob')])),
        (required, call[:-1] + ', {"name": "ri', ('{"name": "ri', once), ('{"name": "ri', once)),
        (named, '{"place": "Oban"}{"place": "Ayr"}', ('{"place": "Ayr"}', once), ('{"place": "Ayr"}', once)),
        (required, "Sure. " + call, ("Sure. ", once), ("Sure. ", once)),
    ]
    front = scripted([text for _, text, _, _ in cases for _ in range(2)], finish=finish, **({"tool_call_parser": parser} if parser else {})).ready()
    for choice, text, whole, streamed in cases:
        end = "tool_calls" if whole[1] and finish == "stop" else finish
        got = unary(front, **choice)
        calls = [(c["function"]["name"], c["function"]["arguments"]) for c in got["message"].get("tool_calls", [])]
        assert (got["message"]["content"] or "", calls, got["finish_reason"]) == (*whole, end), text
        got, _ = stream(front, **choice)
        assert (got["content"], [(c["name"], c["arguments"]) for c in got["calls"]], got["finish"]) == (*streamed, end), text


def test_choice(scripted):
    guided = json.dumps([{"name": n, "parameters": a} for n, a in CALLS])
    front = scripted([hermes(CALLS), guided, json.dumps(CALLS[0][1]), hermes(CALLS), hermes(CALLS)],
                     tool_call_parser="hermes").ready()
    assert unary(front, tool_choice="none")["message"]["content"] == hermes(CALLS)
    assert len(unary(front, tool_choice="required")["message"]["tool_calls"]) == 2
    schema = front.worker.requests[-1]["sampling_options"]["guided_decoding"]["json"]
    assert schema["type"] == "array" and schema["minItems"] == 1
    assert [one["properties"]["name"]["enum"] for one in schema["items"]["anyOf"]] == [["look_up"], ["ring"]]
    named = unary(front, tool_choice={"type": "function", "function": {"name": "look_up"}})["message"]
    assert [c["function"]["name"] for c in named["tool_calls"]] == ["look_up"]
    assert json.loads(named["tool_calls"][0]["function"]["arguments"]) == CALLS[0][1]
    schema = front.worker.requests[-1]["sampling_options"]["guided_decoding"]["json"]
    assert schema == TOOLS[0]["function"]["parameters"]
    assert len(unary(front, parallel_tool_calls=False)["message"]["tool_calls"]) == 1
    assert len(stream(front, parallel_tool_calls=False)[0]["calls"]) == 1


def test_prompt_that_opens_reasoning(scripted):
    """The built-in template has no such prompt: a parser that always starts inside shows the same."""
    front = scripted(["Thinking.</think>Done."], reasoning_parser="deepseek_r1").ready()
    message = unary(front)["message"]
    assert message["reasoning_content"] == "Thinking." and message["content"] == "Done."
    off = unary(front, chat_template_args={"thinking": False})["message"]
    assert off["content"] == "Thinking.</think>Done." and "reasoning_content" not in off


def test_unknown_parser_is_refused(scripted, fleet):
    front = scripted(["x"], tool_call_parser="hermez")
    front.wait_line(r'model m is not served: unknown tool-call parser "hermez"; did you mean "hermes"\?')
    assert front.get("/v1/models").json()["data"] == []


def test_unknown_flag_is_refused():
    import subprocess
    r = subprocess.run([os.environ.get("WEIR_BIN", "build/release/weir"), "frontend", "--http-port", "0",
                        "--reasoning-parser", "qwen4"], capture_output=True, text=True, timeout=60,
                       env={**os.environ, "DYN_DISCOVERY_BACKEND": "mem"})
    assert r.returncode != 0 and 'unknown reasoning parser "qwen4"; did you mean "qwen3"?' in r.stderr
