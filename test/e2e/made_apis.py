"""Requests to the APIs beside plain chats, made up for interop_diff.py: lists of prompts, calls that must come, the Responses and
Messages APIs, embeddings. Each has what the worker says to it; a member is often one that no client should send."""
import json

NUMBERS = [None, True, 0, 0.0, -0.0, 1, -1, 2, 3, 5, 6, 20, 21, 0.5, 1.5, 2.1, 1e-7, 128, 2**31, 2**32, 2**63, 2**64, 1e300, "1", "", [], {}]
FLAGS = [None, True, False, 0, 1, "true", []]
TEXTS = [None, "", "a", "é\U0001f600", 1, [], {}, True]
SCHEMAS = [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}, {}, {"type": "object"},
           {"type": "array", "items": {}}, {"b": 1, "a": {"q": None}}, True, None, "x", []]
STREAM_OPTIONS = [None, {}, {"include_usage": True}, {"include_usage": False}, {"continuous_usage_stats": True}, {"include_usage": None},
                  {"include_usage": True, "continuous_usage_stats": True}, {"include_usage": "a"}, {"x": 1}, [], 1]
FORMATS = [None, {"type": "text"}, {"type": "json_object"}, {"type": "x"}, {}, 1,
           *({"type": "json_schema", "json_schema": {"name": n, "schema": s, "strict": strict}} for s in SCHEMAS for n, strict in (("n", True), ("n", None), ("", False)))]
PROMPTS = [[], [""], ["a"], ["a", "b"], ["a", ""], ["hello there", "x" * 40, "\U0001f600"], [1], [1, 2, 3], [[1]], [[1, 2], [3]], [[1], []], [[]], [[[1]]],
           ["a", 1], [1, "a"], [[1], "a"], [None], [True], [1.0], [-1], [[-1]], [[1.5]], [2**32], [[151936]], [151668, 151644], "", "a", " ", "é", 0, {}, None]


def chosen(rng, body, members, most=3):
    """Some of the members, each with a value of its list."""
    for name in rng.sample(sorted(members), rng.randrange(most + 1)):
        body[name] = rng.choice(members[name])
    return body


def scripted(rng, body, items):
    """With what its worker says, where the body leaves room for it."""
    ext = body.get("nvext", {})
    if isinstance(ext, dict) and "annotations" not in ext and rng.randrange(20):
        body["nvext"] = {**ext, "annotations": ["script:" + json.dumps(items)]}
    return body


def told(rng, vocabulary, text, logprobs=False, finish=None):
    """Items that say a text, with log probabilities where they are asked for."""
    ids, items = vocabulary.encode(text, rng, rng.choice([1, 4])), []
    while ids:
        n = rng.choice([1, 1, 2, 5])
        item = {"token_ids": ids[:n]}
        if logprobs:
            item["log_probs"] = [-0.25 * (k + 1) for k in range(len(ids[:n]))]
            if rng.randrange(2):
                item["top_logprobs"] = [[{"rank": r, "token_id": i + r, "token": None, "logprob": -0.25 * (k + 1 + r)} for r in range(rng.choice([1, 2, 3]))]
                                        for k, i in enumerate(ids[:n])]
        items.append(item)
        del ids[:n]
    end = {"token_ids": [], "finish_reason": finish or rng.choice(["stop", "stop", "length", "eos"])}
    if rng.randrange(3) == 0:
        end["completion_usage"] = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}}
    return items + [end]


SAMPLING = {**dict.fromkeys(("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "min_p", "top_k", "repetition_penalty", "min_tokens"), NUMBERS),
            "stop": [None, "", "b", ["b"], ["a", "lo"], [], ["x"] * 5, 1, [1]], "ignore_eos": FLAGS, "user": TEXTS, "logit_bias": [None, {}, {"5": 1}, {"5": "x"}],
            "stream_options": STREAM_OPTIONS}
COMPLETION = {**SAMPLING, **dict.fromkeys(("n", "best_of", "logprobs", "max_tokens"), NUMBERS), **dict.fromkeys(("echo", "return_tokens_as_token_ids"), FLAGS),
              "suffix": TEXTS, "response_format": FORMATS, "nvext": [{"extra_fields": ["token_ids", "prompt_token_ids"]}, {"token_data": [1, 2]}, {"annotations": ["token_ids"]}, {}]}


def made_completion(rng, vocabulary):
    body = {"model": "m", "prompt": rng.choice(PROMPTS), "max_tokens": rng.choice([3, 20])}
    for name, values in (("n", [1, 2, 3]), ("echo", [True]), ("logprobs", [0, 1, 3, 5]), ("stream", [True])):
        if rng.randrange(3) == 0:
            body[name] = rng.choice(values)
    chosen(rng, body, COMPLETION, 2)
    return "/v1/completions", scripted(rng, body, told(rng, vocabulary, rng.choice(["hello", "a b\nc", ""] + ([] if "logprobs" in body else ["\U0001f600é"])), "logprobs" in body))


TOOL_CHOICES = [None, "none", "auto", "required", "required", {"type": "function", "function": {"name": "look_up"}}, {"type": "function", "function": {"name": "ring"}},
                {"type": "function", "function": {"name": "nobody"}}, {"type": "function", "function": {}}, {"type": "function"}, {"type": "x"}, "any", 1, {}, []]


def _loose(args):
    return json.dumps(args, ensure_ascii=False)


def made_forced(rng, model, form, tools, arguments):
    """A chat whose tool_choice, tools and response_format are of any kind, and an answer that fits it, or another's."""
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "tools": rng.choice([tools, tools, tools[:1], [], None]),
            "tool_choice": rng.choice(TOOL_CHOICES)}
    if rng.randrange(12) == 0:
        del body["tools"]
    for name, values in (("response_format", FORMATS), ("parallel_tool_calls", [True, False, False, None, 1]), ("stream", [True, True, False]),
                         ("stream_options", STREAM_OPTIONS), ("guided_json", [SCHEMAS[0]]), ("guided_regex", ["a+"])):
        if rng.randrange(12 if name.startswith("guided") else 3) == 0:
            body[name] = rng.choice(values)
    calls = [(n, arguments(rng) if n == "look_up" else {}) for n in rng.choices(["look_up", "ring"], k=rng.choice([1, 1, 2]))]
    text = rng.choice([json.dumps([{"name": n, "parameters": a} for n, a in calls]), _loose(calls[0][1]), form[2](calls), "It rains.", ""])
    if rng.randrange(6) == 0:
        text = text[:rng.randrange(len(text) + 1)]
    return body, text, rng.choice(["stop"] * 4 + ["length"])


# ---- /v1/responses --------------------------------------------------------------------------------------------------------

R_TOOLS = [[{"type": "function", "name": "look_up", "description": "d", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}],
           [{"type": "function", "name": "look_up"}, {"type": "function", "name": "ring", "parameters": {}, "strict": False}],
           [{"type": "function", "name": "look_up", "strict": True, "parameters": SCHEMAS[0]}], [{"type": "function"}], [{"type": "web_search"}], [{}], [], None, 1,
           [{"type": "function", "name": ""}], [{"type": "function", "name": "look_up", "parameters": None, "description": None}],
           [{"type": "custom", "name": "c"}]]
R_CHOICES = [None, "auto", "none", "required", "x", {"type": "function", "name": "look_up"}, {"type": "function", "name": "nobody"}, {"type": "function"}, {},
             {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look_up"}]},
             {"type": "allowed_tools", "mode": "auto", "tools": []}, 1, {"type": "web_search"}]
R_PARTS = [{"type": "input_text", "text": "b"}, {"type": "input_text", "text": "c\n"}, {"type": "input_text"}, {"type": "text", "text": "b"}, {"type": "output_text", "text": "b"},
           {"type": "input_image", "image_url": "data:image/png;base64,AA"}, {"type": "input_file", "file_id": "f"}, "b", {}, None]
R_FORMATS = [None, {}, {"format": None}, {"format": {"type": "text"}}, {"format": {"type": "json_object"}}, {"verbosity": "low"}, {"format": {"type": "x"}}, 1,
             *({"format": {"type": "json_schema", "name": "n", "schema": s, "strict": True}} for s in SCHEMAS)]
RESPONSES = {**dict.fromkeys(("temperature", "top_p", "max_output_tokens", "top_logprobs", "max_tool_calls"), NUMBERS),
             **dict.fromkeys(("parallel_tool_calls", "store", "background"), FLAGS), **dict.fromkeys(("instructions", "user", "prompt_cache_key", "safety_identifier"), TEXTS),
             "text": R_FORMATS, "tool_choice": R_CHOICES, "tools": R_TOOLS,
             "reasoning": [None, {}, {"effort": "low"}, {"effort": "none"}, {"effort": "x"}, {"effort": None, "summary": "auto"}, {"summary": "x"}, 1, "low"],
             "metadata": [None, {}, {"a": "b"}, {"a": 1}, 1], "truncation": [None, "auto", "disabled", "x", 1],
             "include": [None, [], ["reasoning.encrypted_content"], ["x"], "x", [1]], "service_tier": [None, "auto", "flex", "priority", "x", 1],
             "previous_response_id": [None, "", "resp_1"], "prompt": [None, {"id": "p"}], "stream_options": [None, {}, {"include_obfuscation": False}, {"include_usage": True}, 1],
             "prompt_cache_retention": [None, "24h", "x"], "nvext": [{}, None, 1, {"extra_fields": ["worker_id"]}, {"agent_hints": {"priority": 2}}], "foo": [1], "model": ["", None, 1, "x"]}


def r_item(rng, n):
    kind = rng.randrange(12)
    role = rng.choice(["user", "user", "assistant", "system", "developer", "tool", "x"] if rng.randrange(4) == 0 else ["user", "user", "system", "developer", "assistant"])
    if kind < 5:
        return {"role": role, "content": rng.choice(["hi", " a\n", "", "é"])}
    if kind < 8:
        parts = [rng.choice(R_PARTS[:2])] + ([rng.choice(R_PARTS)] if rng.randrange(3) == 0 else [])
        return {"type": "message", "role": rng.choice(["user", "system", "developer"]), "content": parts}
    if kind == 8:
        return {"type": "message", "id": f"msg_{n}", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": rng.choice(["t", ""]), "annotations": []}]}
    if kind == 9:
        return {"type": "function_call", "call_id": f"c{n}", "name": "look_up", "arguments": rng.choice(["{}", '{"place": "Oban"}', "", "x"])}
    if kind == 10:
        return {"type": "function_call_output", "call_id": rng.choice([f"c{n - 1}", "c"]), "output": rng.choice(["5", "", [{"type": "input_text", "text": "5"}], None, {}])}
    return rng.choice([{"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "s"}]}, {"role": role}, {"content": "x"}, {}, "x", None,
                       {"type": "item_reference", "id": "i"}, {"type": "x"}, {"role": role, "content": None}, {"role": role, "content": []}])


def made_response(rng, vocabulary, model):
    body = {"model": model, "input": rng.choice(["hi", "", "é", None, 1, {}, [], ["a"]]) if rng.randrange(3) == 0 else [{"role": "user", "content": "hi"}] + [
        r_item(rng, n) for n in range(rng.randrange(4))]}
    if rng.randrange(2):
        body["stream"] = True
    chosen(rng, body, RESPONSES)
    text = rng.choice(["It rains.", "", "a\nb \U0001f600", "<think>hm</think>\n\nSo.", "{\"a\": \"b\"}"])
    return "/v1/responses", scripted(rng, body, told(rng, vocabulary, text))


# ---- /v1/messages ---------------------------------------------------------------------------------------------------------

M_TOOL = {"name": "look_up", "description": "d", "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}}}
M_BLOCKS = [{"type": "text", "text": "b"}, {"type": "text", "text": "c\n", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": ""}, {"type": "text"}, {"text": "b"}, "b", {}, None,
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}, {"type": "x"}, {"type": "thinking", "thinking": "t", "signature": "s"}]
MESSAGES = {**dict.fromkeys(("temperature", "top_p", "top_k", "max_tokens"), NUMBERS), "stop_sequences": [None, [], ["b"], ["a", "lo"], [""], "b", [1], ["x"] * 6],
            "system": [None, "", "s", [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}], [], 1, [1], [{"type": "x"}], {}],
            "tools": [None, [], [M_TOOL], [{"name": "look_up"}], [{**M_TOOL, "description": None}], [{"name": "look_up", "input_schema": {}}], [{"input_schema": {}}], [{}], 1,
                      [{"type": "web_search_20250305", "name": "web_search"}], [{**M_TOOL, "type": "custom"}], [{**M_TOOL, "name": ""}], [{**M_TOOL, "input_schema": 1}]],
            "tool_choice": [None, {"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": "look_up"}, {"type": "tool", "name": "nobody"}, {"type": "x"}, "auto", {}],
            "metadata": [None, {}, {"user_id": "u"}, {"user_id": 1}, 1], "service_tier": [None, "auto", "standard_only", "x", 1], "foo": [1], "model": ["", None, 1, "x"],
            "nvext": [None, {}, 1, {"agent_hints": {"priority": 2}}], "container": [None, "c"], "output_config": [None, {}, {"effort": "low"}, {"effort": "x"}, {"format": {"type": "json_schema", "schema": SCHEMAS[0]}}, 1]}


def m_content(rng, role, n):
    kind = rng.randrange(12)
    if kind < 5:
        return rng.choice(["hi", " a\n", "é"])
    if kind < 9:
        return [rng.choice(M_BLOCKS[:2])] + ([rng.choice(M_BLOCKS)] if rng.randrange(3) == 0 else [])
    if kind < 11 and role == "assistant":
        return [{"type": "text", "text": "t"}, {"type": "tool_use", "id": f"toolu_{n}", "name": "look_up", "input": rng.choice([{}, {"place": "Oban"}])}]
    if kind < 11:
        return [{"type": "tool_result", "tool_use_id": f"toolu_{n - 1}", "content": rng.choice(["5", [{"type": "text", "text": "5"}], "", None, []])}]
    return rng.choice(["", None, [], 1, {}, [[]]])


def made_message(rng, vocabulary, model):
    roles = ["user", "assistant"] * 2 if rng.randrange(4) else [rng.choice(["user", "assistant", "system", "tool", ""]) for _ in range(3)]
    body = {"model": model, "max_tokens": 20, "messages": [{"role": r, "content": m_content(rng, r, n)} for n, r in enumerate(roles[:1 + rng.randrange(4)])]}
    if rng.randrange(10) == 0:
        body["messages"] = rng.choice([None, [], {}, "hi", [None], [{}], [{"role": "user"}], [{"content": "x"}]])
    if rng.randrange(2):
        body["stream"] = rng.choice([True, True, True, True, 1, None])
    chosen(rng, body, MESSAGES)
    text = rng.choice(["It rains.", "a\nb \U0001f600", "<think>hm</think>\n\nSo.", "{\"a\": \"b\"}"])
    return "/v1/messages", scripted(rng, body, told(rng, vocabulary, text))


# ---- what is compared -----------------------------------------------------------------------------------------------------

def completion_told(seen):
    """Per choice what its pieces say together; offsets are ours alone."""
    if seen["status"] != 200:
        return seen["status"], seen["body"]
    events = seen["body"] if isinstance(seen["body"], list) else [seen["body"]]
    choices, rest = {}, []
    for e in events:
        for c in (e.get("choices") or []) if isinstance(e, dict) else []:
            out = choices.setdefault(c["index"], {"text": "", "finish": None})
            out["text"] += c["text"]
            out["finish"] = c.get("finish_reason") or out["finish"]
            for name, values in (c.get("logprobs") or {}).items():
                if name != "text_offset":
                    out[name] = out.get(name, []) + values
        rest.append({k: v for k, v in e.items() if k not in ("choices", "id", "created")} if isinstance(e, dict) and not e.get("choices") else "x" if isinstance(e, dict) else e)
    return choices, [r for r in rest if r != "x"], seen["wire"]


def response_told(seen):
    """Text, calls, end and usage of an answer."""
    body = seen["body"]
    if isinstance(body, list):
        if body[-1] != "[DONE]":
            return "no [DONE]", body
        body = body[-2].get("response") or body[-2]
    out = body["output"]
    text = "".join(p.get("text", "") for i in out if i["type"] == "message" for p in i["content"]).strip()
    same = {k: body.get(k) for k in ("status", "error", "incomplete_details", "tools", "tool_choice", "text", "metadata", "max_output_tokens",
                                     "instructions", "parallel_tool_calls", "truncation", "service_tier", "model")}
    same.update({k: float(body[k]) for k in ("temperature", "top_p")})
    return text, [(i["name"], i["arguments"]) for i in out if i["type"] == "function_call"], same, (body.get("usage") or {}).get("output_tokens"), seen["wire"]


def message_told(seen):
    body = seen["body"]
    if isinstance(body, list):
        events = [e for e in body if isinstance(e, dict)]
        text = "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta").strip()
        end, = (e for e in events if e["type"] == "message_delta")
        return text, end["delta"], end["usage"].get("output_tokens"), seen["wire"]
    return "".join(c.get("text", "") for c in body["content"]).strip(), {k: body[k] for k in ("stop_reason", "stop_sequence")}, body["usage"]["output_tokens"], seen["wire"]

