"""Requests made up member by member, sent to a real Dynamo frontend and to Weir's, each before a scripted worker of its own
(plane_worker.py): status, headers, body or events, and the request that reached the worker must be the same.

Runs with WEIR_INTEROP=1. WEIR_TEST_SEED and WEIR_TEST_CASES (3,000) choose the requests: one or two members of a plain chat or
completion, each with a value of its list. What differs on purpose stands in KNOWN. Then a third as many conversations under several
templates (made_chats.py), whose prompts must be the same, and outputs of models for several parsers (made_outputs.py), which must
be read alike, or as they were meant; a quarter as many requests to the APIs beside chats, of calls that must come (made_apis.py), and streams of workers that
answer oddly (made_streams.py). What was mended stands with Dynamo's answers
in test/data/differential-1.6.1.jsonl (test_differential.py), which is asked again here.
"""
import json
import os
import random
import re
import threading

import pytest

import made_apis
import made_chats
import made_outputs
import made_streams
from interop_dynamo import VERSION, Http, dynamo, dynamo_front, model, pytestmark  # noqa: F401
from plane_worker import PlaneWorker, card_of_mocker
from test_differential import chosen_models, differences, observed, parsing, rows, with_parsers, worker_of
from vocabulary import Vocabulary
from weir import Fleet, Frontend, until

SEED = int(os.environ.get("WEIR_TEST_SEED", "1"))
CASES = int(os.environ.get("WEIR_TEST_CASES", "3000"))
NUMBERS = [None, True, 0, -0.0, 0.0, 1, -1, 2, 0.5, 1.0, 1.5, 2.0, 2.0000001, 2.1, -2.0, -2.01, -0.01, 1e-9, 0.1, 0.3333333333333333, 20,
           21, 128, 129, 255, 256, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -2**31, -2**63, 1e300,
           3.5e38, 10**40, "1", "", [], [1], {}]
FLAGS = [None, True, False, 0, 1, "true", "", [], {}]
TEXTS = [None, "", "a", "\ud83d\ude00", "   ", "x" * 300, 1, True, [], {}, ["a"]]
FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
TOOL = {"type": "function", "function": FUNCTION}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
STOPS = [None, "", "a", "the", [], [""], ["a", "b"], ["a"] * 5, list("abcdefghijklmnopqrstuvwxyzABCDEFG"), [None], [1], ["a", 1], 1, {},
         [["a"]], "x" * 1000, "\n", True]
MEMBERS = {
    **dict.fromkeys(("temperature", "top_p", "n", "max_tokens", "max_completion_tokens", "min_tokens", "presence_penalty",
                     "frequency_penalty", "repetition_penalty", "min_p", "top_k", "seed", "top_logprobs", "best_of", "prompt_logprobs",
                     "thinking_token_budget", "length_penalty"), NUMBERS),
    **dict.fromkeys(("ignore_eos", "stream", "echo", "store", "parallel_tool_calls", "add_generation_prompt", "continue_final_message",
                     "skip_special_tokens", "include_stop_str_in_output", "return_tokens_as_token_ids", "detokenize"), FLAGS),
    **dict.fromkeys(("suffix", "user", "cache_salt", "guided_regex", "guided_grammar", "guided_decoding_backend", "model",
                     "prompt_cache_key"), TEXTS),
    "logprobs": [*NUMBERS, *FLAGS], "stop": STOPS,
    "stop_token_ids": [None, [], [1], [-1], [2**32], ["a"], 1, [1.5], [151645], {}],
    "allowed_token_ids": [None, [], [1], "a"], "bad_words_token_ids": [None, [], [[1], [2, 3]], [1]],
    "logit_bias": [None, {}, {"1": 1}, {"1": 100.5}, {"1": -101}, {"a": 1}, {"1": "a"}, [], 1, {"-1": 1}],
    "reasoning_effort": [*TEXTS, "none", "minimal", "low", "medium", "high", "xhigh", "max"],
    "service_tier": [*TEXTS, "auto", "default", "flex", "scale", "priority", "fast"],
    "stream_options": [None, {}, {"include_usage": True}, {"include_usage": False}, {"include_usage": 1}, {"continuous_usage_stats": True},
                       {"include_usage": True, "continuous_usage_stats": True}, {"x": 1, "include_usage": True}, 1, "a"],
    "metadata": [None, {}, {"a": "b"}, {"a": 1}, [], 1, "a"],
    "response_format": [None, {"type": "text"}, {"type": "json_object"}, {"type": "json_schema"}, {"type": "x"}, {"type": 1}, {}, "text", 1,
                        *({"type": "json_schema", "json_schema": s} for s in (
                            {"name": "n", "schema": SCHEMA}, {"name": "n", "schema": SCHEMA, "strict": True}, {"name": "n"},
                            {"schema": SCHEMA}, {"name": "n", "schema": {}}, {"name": "n", "schema": True}, None))],
    "tools": [None, [], [TOOL], [TOOL, TOOL], [{}], [{"type": "function"}], [{"type": "function", "function": {"name": ""}}],
              [{"type": "function", "function": {**FUNCTION, "name": "f g"}}], [{"type": "x", "function": FUNCTION}], {}, 1, [None], [1]],
    "tool_choice": [None, "none", "auto", "required", "any", "", 1, {}, {"type": "function", "function": {"name": "f"}},
                    {"type": "function", "function": {"name": "z"}}, {"type": "function"}, {"type": "auto"}, True],
    "functions": [None, [], [FUNCTION], {}], "function_call": [None, "auto", {"name": "f"}, {}],
    "guided_json": [None, SCHEMA, {}, "a", [], 1, True], "guided_choice": [None, [], ["a"], ["a", 1], "a", {}],
    "chat_template_kwargs": [None, {}, {"enable_thinking": False}, {"a": 1}, {"messages": []}, {"tools": [TOOL]},
                             {"add_generation_prompt": False}, 1, "a"],
    "modalities": [None, [], ["text"], ["audio"], ["x"], "text", 1], "audio": [None, {}, {"voice": "alloy", "format": "wav"}, 1],
    "mm_processor_kwargs": [None, {}, {"a": 1}, 1], "media_io_kwargs": [None, {}, {"a": 1}, 1], "thinking": [None, {}, {"type": "enabled"}, 1],
    "foo": [1, None], "": [1],
    "nvext": [None, {}, 1, "a", {"x": 1}, *({name: v} for name, values in {
        "use_raw_prompt": FLAGS, "max_thinking_tokens": NUMBERS, "dp_rank": [None, 0, -1, "a"], "cache_salt": TEXTS,
        "request_timestamp_ms": NUMBERS, "token_data": [None, [1, 2, 3], [-1], ["a"], 1, [2**32], [151935]],
        "annotations": [None, [], ["formatted_prompt"], ["token_ids"], ["llm_metrics"], ["x", "x"], [1], "a"],
        "extra_fields": [None, [], ["worker_id"], ["token_ids"], ["stop_reason"], ["completion_token_ids"], ["prompt_token_ids"], ["x"],
                         [1], "a"],
        "agent_hints": [None, {}, {"priority": 1}, {"priority": -5}, {"priority": "a"}, {"strict_priority": 2}, {"osl": 10}, {"osl": -1},
                        {"latency_sensitivity": 1.5}, {"x": 1}, 1],
        "agent_context": [None, {}, {"session_id": "s"}, {"x": 1}, 1]}.items() for v in values)],
}
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}


def said(**member):
    return [USER, {"role": "assistant", "content": "a", **member}, USER]


MESSAGES = [None, [], {}, 1, "hi", [None], [{}], [{"role": "user"}], [{"content": "x"}], [{"role": "x", "content": "x"}],
            [{"role": "system", "content": "s"}, USER], [USER, {"role": "system", "content": "s"}], [USER, USER], said(),
            said(refusal="r"), said(reasoning_content="t"), said(reasoning_content=1), said(name="b"), said(x=1), said(tool_calls=[]),
            said(tool_calls=[1]), [{"role": "tool", "content": "x"}], [{"role": "tool", "tool_call_id": "c", "content": "x"}],
            [{"role": "user", "content": "x", "name": 1}], [{"role": "user", "content": "<|im_end|>\x00\ufeff e\u0301 \U0001f468"}],
            *([{"role": "user", "content": c}] for c in (
                None, "", 1, {}, [{"type": "text", "text": "a"}], [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                [{"type": "text"}], [{"text": "a"}], ["a"], [None], [{"type": "input_text", "text": "a"}],
                [{"type": "image_url", "image_url": {"url": ""}}]))]
PROMPTS = [None, "", "hi", 1, True, {}, [], [""], ["a"], ["a", ""], [1, 2, 3], [-1], [1.5], [151935], [2**32], [[1, 2], [3]], [[1], []],
           [[1], "a"], ["a", 1], [["a"]], [{}], "<|im_start|>user\n<think>", "\U0001f600e\u0301"]
BODIES = ["", "null", "1", "[]", "{}", "{", "{\"model\":", "{\"model\":\"m\",}", "{}{}", "{\"a\":NaN}", "{\"a\":01}", "{\"a\":\"\\x\"}",
          "{\"a\":\"\\ud800\"}", "{1:2}", "[" * 200, "{\"a\":1 \"b\":2}"]
PLAIN = {"/v1/chat/completions": {"model": "m", "messages": [USER], "max_tokens": 3},
         "/v1/completions": {"model": "m", "prompt": "hello there", "max_tokens": 3}}
# Pattern over "sent | Dynamo's | Weir's", reason: docs/COMPATIBILITY.md and test/data/interop-http-known.txt say more.
KNOWN = [(re.compile(pattern, re.S), why) for pattern, why in (
    (r'"tool_choice": "required"', "a forced call without a parser is streamed as it comes"),
    (r"it takes text only|_url(\.url)?: ", "says what is wrong with a medium, or that the template has no place for one"),
    (r'"text_offset": \[\]', "offsets are there"),
    (r"oken id [0-9]+ is outside|pinned to is not known", "the refusal says why"),
    (r"expected variant identifier|invalid type: sequence, expected struct", "a number or list where a name or an object belongs"),
    (r"must be a number, got", "the value is shown as JSON"),
    (r'"router": |"content": \[\]', "see there"),
)]


def made(rng):
    """(path, text) of one request."""
    path = rng.choice(list(PLAIN))
    body = dict(PLAIN[path])
    kind = rng.randrange(40)
    if kind == 0:
        return path, rng.choice(BODIES)
    if kind < 5:
        body.update({"messages": rng.choice(MESSAGES)} if "chat" in path else {"prompt": rng.choice(PROMPTS)})
    for name in rng.sample(sorted(MEMBERS), 1 if kind < 25 else 2):
        body[name] = rng.choice(MEMBERS[name])
    if rng.randrange(2):
        body["stream"] = True
    return path, json.dumps(body)


def plain(value):
    """Without what is made up anew each time."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22,}|[0-9a-f]{32}", "ID", json.dumps(value, sort_keys=True))
    text = re.sub(r'"created": \d+', '"created": 0', text)
    # Dynamo names them in no order.
    return re.sub(r"(?<=Unsupported parameter\(s\): )[^\"]+", lambda m: ", ".join(sorted(m.group().split(", "))), text)


class Asker(Frontend):
    """What test_differential asks of a frontend, of any process."""

    def __init__(self, port):  # pylint: disable=super-init-not-called
        self.host, self.port, self.tls = "127.0.0.1", port, None


def cards_of(tmp_path, fleet, model):  # noqa: F811
    """Of each model that is asked for: some have templates of made_chats.py, some parsers (as many as file watches allow)."""
    out = {name: card_of_mocker(fleet, folder) for name, folder in chosen_models(tmp_path, model).items()}
    out.update(parsing(out["m"]))
    for form in random.Random(SEED).sample(made_outputs.FORMATS, 2):
        out["parse-" + form[0]] = with_parsers(out["m"], *form[:2])
    return out


@pytest.fixture(scope="module")
def both(tmp_path_factory, dynamo, model):  # noqa: F811
    """((frontend, its workers by model) of Dynamo, of Weir), each in a discovery folder of its own; for all tests, as each start takes many seconds."""
    if VERSION < "1.6":
        pytest.skip("answers are those of 1.6.1")
    folder, theirs = tmp_path_factory.mktemp("both"), []
    fleet = Fleet(folder)
    cards = cards_of(folder, fleet, model)
    other = Fleet(folder / "dynamo")
    other.env["DYN_SELF_HOST_METADATA"] = "0"
    os.makedirs(other.env["DYN_FILE_KV"])  # and with it its folder
    flags = ("--router-mode", "kv", "--enable-anthropic-api")
    workers = [{name: PlaneWorker(f, name, 0x77 + n, f"plane{n}", **card) for n, (name, card) in enumerate(cards.items())}
               for f in (other, fleet)]
    try:
        reference = dynamo_front(theirs, other, dynamo, *flags).enabled("/v1/responses", "/v1/messages")
        ours = Http(fleet.frontend(*flags, "--error-format", "dynamo").port).serving()
        for api in (reference, ours):
            until("all models", lambda a=api: len(json.loads(a.ask("GET", "/v1/models")[1])["data"]) == len(cards), 120)
        yield [(Asker(api.port), w) for api, w in zip((reference, ours), workers)]
    finally:
        for p in theirs:
            p.kill()
        for side in workers:
            for w in side.values():
                w.close()
        fleet.close()


def choice_of(event):
    """Streams of a batch are mixed in any order."""
    choices = event.get("choices") if isinstance(event, dict) else None
    return choices[0]["index"] if choices else 1 << 20


def seen_by(side, path, text, out):
    front, workers = side
    try:
        seen = observed(front, workers["m"], {"path": path, "body": text})
        if isinstance(seen["body"], list):
            seen["body"].sort(key=choice_of)
        out.append(plain(seen))
    except ValueError as e:  # no JSON: an empty body
        out.append(f"{type(e).__name__}")


def test_made_requests_are_answered_alike(both):
    rng = random.Random(SEED)
    new, known = [], 0
    for _ in range(CASES):
        path, text = made(rng)
        for _ in range(3):  # a batch's pieces come in any order, and a stop may come before the worker's count
            outs = [], []
            t = threading.Thread(target=seen_by, args=(both[0], path, text, outs[0]))
            t.start()
            seen_by(both[1], path, text, outs[1])
            t.join()
            if outs[0] == outs[1]:
                break
        if outs[0] == outs[1]:
            continue
        line = f"{path} {text} | {outs[0][0]} | {outs[1][0]}"
        if any(pattern.search(line) for pattern, _ in KNOWN):
            known += 1
        else:
            new.append(f"{path} {text[:600]}\n    Dynamo {outs[0][0][:1500]}\n    Weir   {outs[1][0][:1500]}")
    print(f"seed {SEED}: {CASES} requests, {known + len(new)} answered otherwise, {len(new)} of them unexpectedly")
    assert not new, "\n".join(new[:20])


def test_kept_answers_are_still_dynamos(both):
    front, workers = both[0]
    bad = [line for row in rows() for line in differences(row, observed(front, worker_of(workers, row), row))]
    assert not bad, "\n".join(bad)


# What is answered otherwise on purpose by the APIs beside chats, over "sent | Dynamo's | Weir's".
KNOWN_APIS = [(re.compile(pattern, re.S), why) for pattern, why in (
    (r"invalid type: sequence, expected struct", "a list in the place of an object"),
    (r"oken id [0-9]+ is outside|Guided decoding cannot be used|text only: message parts", "the refusal says why"),
    (r'"top_logprobs": [0-9]+', "Responses: log probabilities are there, so their number has its bound"),
    (r"images are supported in user messages|File input content is not yet supported|items of type [^|]* are not supported", "refused, not left out"),
    (r'"type": "(output_text|refusal)".*InputItemWire', "parts of an answer are read in every message"),
    (r'"content": \[\].*InputItemWire|"type": "function_call"', "an empty content, or a call without text before it, is rendered with an empty text"),
    (r'"(temperature|top_p)": [0-9.]+e-', "a float far below 1 is shown as it was written"), (r'"structural_tag": |"parse-kimi_k3".*"tool_choice": "required"', "a forced call is asked for as JSON, whatever the parser"),
    (r'"output_config": ', "is read: Dynamo ignores it"), (r'"type": "tool_use"|"content": (null|""|\[\])', "calls as vLLM writes them, empty contents"),
    (r'content block type \\*"(tool_result|image)', "a result or an image in a message that is not the user's"), (r'"type": "thinking"', "a thought goes to the template"),
)]


def api_differs(both, vocabulary, rng):
    """One request of another API: a line when both take it, and tell workers and clients other things; or one alone takes it."""
    name = rng.choice(["m", "m", "thinks"])
    kind = rng.randrange(3)
    path, body = (made_apis.made_completion(rng, vocabulary) if kind == 0 else (made_apis.made_response if kind == 1 else made_apis.made_message)(rng, vocabulary, name))
    row = {"path": path, "body": json.dumps(body)}
    try:
        seen = [observed(front, worker_of(workers, row), row) for front, workers in both]
    except ValueError as e:
        return f"{row['body']}: {e}"
    if kind > 0 and all(s["status"] >= 400 for s in seen):
        return None  # the words are compared by interop_http.py
    tell = (made_apis.completion_told, made_apis.response_told, made_apis.message_told)[kind]
    told = [plain(tell(s) if s["status"] == 200 else [s["status"], s["body"]]) for s in seen]
    line = " | ".join([row["body"], *told])
    if told[0] == told[1] or any(pattern.search(line) for pattern, _ in KNOWN_APIS):
        return None
    at = next((i for i, (a, b) in enumerate(zip(*told)) if a != b), 0)
    return f"{path} {row['body'][:600]}\n    Dynamo … {told[0][max(0, at - 100):at + 300]}\n    Weir   … {told[1][max(0, at - 100):at + 300]}"


def forced_differs(both, vocabulary, rng):
    """A chat that says what has to come: what the worker is sent for it, or the refusal."""
    name = rng.choice([n for n in both[0][1] if n.startswith("parse-")])
    form, = (f for f in made_outputs.FORMATS if "parse-" + f[0] == name)
    body, text, finish = made_apis.made_forced(rng, rng.choice(["m", name, name]), form, made_outputs.TOOLS, made_outputs.arguments)
    said = made_outputs.script(rng, vocabulary, text, finish)
    row = {"path": "/v1/chat/completions", "body": json.dumps({**body, "nvext": {"annotations": ["script:" + json.dumps(said)]}})}
    seen = [observed(front, worker_of(workers, row), row) for front, workers in both]
    told = [plain(s["wire"] if s["status"] == 200 else [s["status"], s["body"]]) for s in seen]
    bad = made_outputs.accumulated(seen[1]["body"])[1] if seen[1]["status"] == 200 else []
    if told[0] != told[1] and not any(pattern.search(" | ".join([row["body"], *told])) for pattern, _ in KNOWN_APIS):
        bad.append(told)
    return f"{row['body'][:900]}: {bad}" if bad else None


def test_made_requests_of_other_apis(both, model):  # noqa: F811
    rng, vocabulary = random.Random(SEED), Vocabulary(model)
    new = [line for differs in (api_differs, forced_differs) for line in (differs(both, vocabulary, rng) for _ in range(CASES // 4)) if line]
    print(f"seed {SEED}: {CASES // 4} requests of other APIs and as many of forced calls, {len(new)} answered otherwise unexpectedly")
    assert not new, "\n".join(new[:20])


def prompts_differ(both, vocabulary, rng):
    """One conversation: a line when the prompts differ and nothing that is known explains it."""
    body = made_chats.made_chat(rng, ["m", *made_chats.TEMPLATES])
    row = {"path": "/v1/chat/completions", "body": json.dumps(body)}
    theirs, ours = (observed(front, worker_of(workers, row), row) for front, workers in both)
    told = [v["wire"]["token_ids"] if v["status"] == 200 else v["body"] for v in (theirs, ours)]
    if told[0] == told[1] or made_chats.explained(body, theirs, ours):
        return None
    shown = [vocabulary.decode(t) if isinstance(t, list) else t for t in told]
    return f"{row['body']}\n    Dynamo {shown[0]!r}\n    Weir   {shown[1]!r}"


def readings_differ(both, vocabulary, rng):
    """One output: a line when it is read neither as by Dynamo nor as it was meant, or comes in no form."""
    name = rng.choice([n for n in both[0][1] if n.startswith("parse-")])
    form, = (f for f in made_outputs.FORMATS if "parse-" + f[0] == name)
    text, meant, well = made_outputs.made_output(rng, form)
    finish = rng.choice(["stop"] * 5 + ["length"])
    body = {"model": name, "messages": [USER], **made_outputs.made_choice(rng)}
    said = made_outputs.script(rng, vocabulary, text, finish)
    row = {"path": "/v1/chat/completions", "body": json.dumps({**body, "nvext": {"annotations": ["script:" + json.dumps(said)]}})}
    seen = [observed(front, worker_of(workers, row), row) for front, workers in both]
    bad = [f"status {v['status']}" for v in seen if v["status"] != 200]
    if not bad:
        bad = made_outputs.accumulated(seen[1]["body"])[1]
        theirs, ours = (made_outputs.meaning(made_outputs.accumulated(v["body"])[0]) for v in seen)
        if ours["usage"] != theirs["usage"]:
            bad.append(f"usage {ours['usage']}, not {theirs['usage']}")
        want = made_outputs.expected(form, text, meant, body, finish)
        if well and want and ours != theirs and {**ours, "usage": None} != want:
            bad.append(f"read as {ours}, by Dynamo as {theirs}, meant {want}")
    return f"{body} answered with {text!r}, {finish}: {bad}" if bad else None


def test_made_conversations_and_outputs(both, model):  # noqa: F811
    rng, vocabulary = random.Random(SEED), Vocabulary(model)
    new = [line for differ in (prompts_differ, readings_differ) for line in (differ(both, vocabulary, rng) for _ in range(CASES // 3)) if line]
    print(f"seed {SEED}: {CASES // 3} conversations and as many outputs, {len(new)} answered otherwise unexpectedly")
    assert not new, "\n".join(new[:20])


def streams_differ(both, vocabulary, rng):
    """One answer of a worker: a line when the client is told otherwise, or in no form."""
    path, body, extra, n, logprobs = made_streams.made_request(rng, "m")
    items = made_streams.made_stream(rng, vocabulary, n, logprobs)
    body["nvext"] = {"annotations": ["script:" + json.dumps(items)], **extra}
    seen = [front.ask("POST", path, body) for front, _ in both]
    bad = made_streams.ill_formed(seen[1])
    if not bad and not made_streams.stops_in_given_text(body, items):
        theirs, ours = (made_streams.told(a, "stop" in body or "stop_token_ids" in body) for a in seen)
        bad = theirs != ours and f"by Dynamo {theirs}\n    by Weir   {ours}"
    return f"{path} {json.dumps(body)}: {bad}" if bad else None


def test_made_streams(both, model):  # noqa: F811
    rng, vocabulary = random.Random(SEED), Vocabulary(model)
    new = [line for line in (streams_differ(both, vocabulary, rng) for _ in range(CASES // 4)) if line]
    print(f"seed {SEED}: {CASES // 4} streams, {len(new)} answered otherwise unexpectedly")
    assert not new, "\n".join(new[:20])
