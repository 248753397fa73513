"""Recorded requests, each changed in one place, sent to a real Dynamo frontend and to Weir's before the same workers: both
must answer alike. What Weir does otherwise on purpose stands in test/data/interop-http-known.txt with its reason.

Runs with WEIR_INTEROP=1. WEIR_TEST_SEED and WEIR_TEST_CHANGES (8,000) choose the changes. An answer is compared by its
status and, where it is an error, by its body; of an answer that is none the mock engine makes up the text, so its form is.
"""
import concurrent.futures
import copy
import http.client
import json
import os
import random
import re

import pytest

from interop_dynamo import BLOCK, VERSION, dynamo, dynamo_env, dynamo_front, files, model, pytestmark, theirs  # noqa: F401
from weir import Process

ROOT = os.path.join(os.path.dirname(__file__), "../..")
CASES = os.path.join(ROOT, "../shared/data/dynamo/http/cases.jsonl")
KNOWN = os.path.join(ROOT, "test/data/interop-http-known.txt")
PATHS = ("/v1/chat/completions", "/v1/completions")
RESPONSES = ("/v1/responses",)
MESSAGES = ("/v1/messages",)
SEED = int(os.environ.get("WEIR_TEST_SEED", "1"))
CHANGES = int(os.environ.get("WEIR_TEST_CHANGES", "8000"))
RESPONSES_CHANGES = CHANGES // 4
VALUES = [None, True, False, 0, 1, -1, 3, 1.5, -0.5, 1e300, 2**31, 2**32, 2**63, -2**63, "", "a", "1", "auto", "none", "required", [], [1], ["a"],
          {}, {"a": 1}, [[]], {"type": "text"}, "\u0000", "\ud83d\ude00"]


def recorded(paths):
    """Paths and bodies that JSON can say, each once."""
    seen = {}
    with open(CASES, encoding="utf-8") as f:
        for line in f:
            case = json.loads(line)
            r = case["request"]
            if case.get("setup", "base") != "base" or r.get("path") not in paths or r.get("method") != "POST":
                continue
            try:
                body = r["body_json"] if "body_json" in r else json.loads(r.get("body", ""))
            except ValueError:
                continue
            if isinstance(body, dict) and body and len(json.dumps(body)) < 20000:
                seen[r["path"] + json.dumps(body, sort_keys=True)] = (case["id"], r["path"], body)
    return list(seen.values())


def places(value, path=()):
    """Every place inside of a value: a path of keys and indices."""
    if path:
        yield path
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(v, (*path, k))


def change(rng, body, pool):
    """One step from a body: (what was done, the new text)."""
    body = copy.deepcopy(body)
    path = rng.choice(list(places(body)))
    parent = body
    for k in path[:-1]:
        parent = parent[k]
    key, kind = path[-1], rng.randrange(7)
    where = "/".join(map(str, path))
    if kind == 0:
        del parent[key]
        return f"without {where}", json.dumps(body)
    if kind <= 2:
        parent[key] = rng.choice(VALUES)
        return f"{where} = {parent[key]!r}", json.dumps(body)
    if kind == 3:
        name, value = rng.choice(pool)
        body[name] = value
        return f"with {name} = {value!r}", json.dumps(body)
    if kind == 4:
        parent[key] = [parent[key]]
        return f"{where} in a list", json.dumps(body)
    if kind == 5 and isinstance(key, str):
        name = rng.choice([key + "_", key.upper(), "unknown"])
        parent[name] = parent.pop(key)
        return f"{where} named {name}", json.dumps(body)
    text = json.dumps(body)
    if kind == 5:
        at = rng.randrange(len(text))
        return f"cut at {at}", text[:at]
    at, byte = rng.randrange(len(text)), rng.choice('{}[]",:0x \\')
    return f"{byte!r} at {at}", text[:at] + byte + text[at:]


def ask(port, path, text):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        c.request("POST", path, text.encode("utf-8", "surrogatepass"), {"content-type": "application/json"})
        r = c.getresponse()
        return form(r.status, r.getheader("content-type", ""), r.read())
    except TimeoutError:
        return "no answer within a minute"
    finally:
        c.close()


def form(status, kind, data):
    """What is compared of an answer."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}", "ID", data.decode("utf-8", "replace"))
    # Dynamo names them in no order.
    text = re.sub(r"(?<=Unsupported parameter\(s\): )[^\"]+", lambda m: ", ".join(sorted(m.group().split(", "))), text)
    if status != 200:
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text
    if kind.startswith("text/event-stream"):
        events = re.findall(r"^(event: .*|data: \[DONE\])$", text, re.M)
        return status, kind, sorted(set(events))
    try:
        doc = json.loads(text)
    except ValueError:
        return status, kind, text
    if doc.get("object") == "response":
        usage = doc["usage"]
        counts = usage.pop("input_tokens"), usage.pop("total_tokens")
        return status, kind, known_of(doc), counts
    if doc.get("type") == "message":
        usage = doc["usage"]
        tokens = usage.pop("input_tokens") + usage.pop("cache_read_input_tokens", 0)
        return status, kind, sorted(doc), [b["type"] for b in doc["content"]], tokens, sorted(usage)
    return status, kind, sorted(doc), (doc.get("usage") or {}).get("prompt_tokens"), doc.get("model")


def known_of(response):
    """All of a Response but what the mock engine and the clock make up."""
    made_up = {"created_at": 0, "completed_at": 0, "text": "TEXT", "cached_tokens": 0}

    def plain(key, v):
        if isinstance(v, dict):
            return {k: plain(k, v[k]) for k in sorted(v)}
        if isinstance(v, list):
            return [plain(key, x) for x in v]
        if isinstance(v, float):
            return float(f"{v:.5g}")  # Dynamo shows what an f32 is
        return made_up.get(key, v) if v is not None else v

    return plain(None, response)


def known():
    """[(pattern over change and both answers, reason)]"""
    out = []
    if os.path.exists(KNOWN):
        with open(KNOWN, encoding="utf-8") as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    pattern, reason = line.rstrip("\n").split("\t")
                    out.append((re.compile(pattern), reason))
    return out


@pytest.fixture
def both_fronts(fleet, theirs, dynamo, model):  # noqa: F811
    """Ports of a Dynamo frontend and of ours before the same mock workers."""
    if not os.path.exists(CASES):
        pytest.skip("the recorded cases (../shared/data/dynamo/http) are not here")
    theirs.append(Process([dynamo, "-m", "dynamo.mocker", "--model-path", model, "--model-name", "m", "--block-size", str(BLOCK),
                           "--num-workers", "2", "--speedup-ratio", "0", "--max-model-len", "2048"], dynamo_env(fleet),
                          "dynamo.mocker"))
    flags = ("--router-mode", "kv", "--enable-anthropic-api")
    reference = dynamo_front(theirs, fleet, dynamo, *flags).enabled(*RESPONSES, *MESSAGES)
    front = fleet.frontend(*flags, "--error-format", "dynamo", *files(model))
    front.ready(workers=2)
    return reference.port, front.port


def compare(ports, cases, n, fixed):
    """Sends n changes of the requests to both; `fixed`: members that are never put into another request."""
    pool = sorted({(k, json.dumps(v)) for _, _, body in cases for k, v in body.items() if k not in fixed})
    pool = [(k, json.loads(v)) for k, v in pool]
    rng = random.Random(SEED)

    def both(change_made):
        case, path, what, text = change_made
        # A mock engine makes up its tokens, so that an answer may differ from the last: three times is none of that.
        for _ in range(3):
            a, b = (ask(port, path, text) for port in ports)
            if a == b:
                return None
        return f"{case}: {what}", text, a, b

    def changes():
        for _ in range(n):
            case, path, body = rng.choice(cases)
            yield (case, path, *change(rng, body, pool))

    rows = known()
    with concurrent.futures.ThreadPoolExecutor(4) as workers:
        differ = [d for d in workers.map(both, list(changes())) if d]
    new, used = [], set()
    for what, text, a, b in differ:
        line = f"{what} | {text[:600]} | {a} | {b}"
        matching = [pattern for pattern, _ in rows if pattern.search(line)]
        used.update(matching)
        if not matching:
            new.append(f"{what}\n    sent   {text[:600]}\n    Dynamo {a}\n    Weir   {b}")
    for pattern, reason in rows:
        if pattern not in used:
            print(f"not met with this seed: {reason}")
    print(f"seed {SEED}: {n} changes of {len(cases)} requests, {len(differ)} answered otherwise, {len(new)} of them unexpectedly")
    assert not new, "\n".join(new)


@pytest.mark.skipif(VERSION < "1.6", reason="the cases were recorded from 1.6.1")
def test_changed_requests_are_answered_alike(both_fronts):
    cases = recorded(PATHS)
    compare(both_fronts, cases, CHANGES, ("messages", "prompt", "model"))
    assert len(cases) > 200


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
RESULT = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "4"}]}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "a weir", "annotations": []}, {"type": "refusal", "refusal": "no"}]}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
           "content": [{"type": "reasoning_text", "text": "t"}]}
USER = {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]}
GENERATED = [
    {"input": [{"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, USER, SAID, {"role": "system", "content": "x"},
               {"role": "user", "content": "c"}], "instructions": "i"},
    {"input": [USER, THOUGHT, SAID, CALL, {**CALL, "call_id": "d"}, RESULT, {**RESULT, "call_id": "d", "output": "5"}]},
    {"input": [USER, {"role": "assistant", "content": "1"}, {"role": "assistant", "content": "2"}, USER], "top_p": 0.25, "temperature": 0.7},
    {"input": "x", "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
     "tools": [{"type": "function", "name": n, "description": "d", "parameters": {"type": "object", "properties": {}}} for n in "fg"]},
    {"input": "x", "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": False,
     "tools": [{"type": "function", "name": "f", "description": "d", "strict": False, "parameters": {"type": "object", "properties": {}}}]},
    {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
     "reasoning": {"effort": "none", "summary": "auto"}, "prompt_cache_retention": "24h", "service_tier": "priority"},
]


@pytest.mark.skipif(VERSION < "1.6", reason="the cases were recorded from 1.6.1")
def test_changed_responses_are_answered_alike(both_fronts):
    cases = recorded(RESPONSES)
    cases += [(f"generated {i}", RESPONSES[0], {"model": "m", "max_output_tokens": 2, **body}) for i, body in enumerate(GENERATED)]
    compare(both_fronts, cases, RESPONSES_CHANGES, ("input", "model"))
    assert len(cases) > 30


TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
SAYS = {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "z"},
                                         {"type": "text", "text": "y"}, {"type": "text", "text": "z"}]}
PARTS = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}]}
GENERATED_MESSAGES = [
    {"messages": [PARTS, SAYS, {"role": "system", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}, PARTS]},
    {"messages": [PARTS], "system": "x-anthropic-billing-header: cc_version=2.1.77; cch=abc12;\n\nBe brief."},
    {"messages": [PARTS], "system": [{"type": "text", "text": "x-anthropic-billing-header: a;"}, {"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
    {"messages": [PARTS], "temperature": 0.5, "top_p": 0.25, "top_k": 3, "stop_sequences": ["qqqq", "zzzz"], "metadata": {"user_id": "u"}},
    {"messages": [PARTS], "tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    {"messages": [PARTS], "tools": [TOOL, {**TOOL, "type": "custom", "name": "g"}], "tool_choice": {"type": "none"}},
]


@pytest.mark.skipif(VERSION < "1.6", reason="the cases were recorded from 1.6.1")
def test_changed_messages_are_answered_alike(both_fronts):
    cases = [c for c in recorded(MESSAGES) if c[2].get("model") == "m"]
    cases += [(f"generated {i}", MESSAGES[0], {"model": "m", "max_tokens": 2, **body}) for i, body in enumerate(GENERATED_MESSAGES)]
    compare(both_fronts, cases, RESPONSES_CHANGES, ("messages", "model"))
    assert len(cases) > 20
