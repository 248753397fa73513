"""Outputs of models made up for interop_diff.py: thoughts, texts and calls in the formats that Dynamo's parsers and ours share."""
import json

NAMES = ["look_up", "ring"]
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "d", "parameters": {"type": "object", "properties": {
            "place": {"type": "string"}, "days": {"type": "integer"}, "wet": {"type": "boolean"}, "notes": {"type": "array", "items": {"type": "string"}},
            "more": {"type": "object"}, "x": {"type": "number"}}}}},
         {"type": "function", "function": {"name": "ring", "description": "d", "parameters": {"type": "object", "properties": {}}}}]
PLACES = ["Oban", "Port \"Ellen\"", "\u00c9ze \U0001f30a", "a\nb", "x, y: {z}", "tail ", "C:\\x", "", "1", "true", "</b> & <i>", "[1, 2]", "null", "NULL", "nullx"]
WORDS = ["Checking. ", "One moment", "\u00dcber 3 < 4 and {a} [b] \"c\"", "So:\n\n", "\U0001f44b hi ", "The `x` is \\n. "]
THOUGHTS = ["Two steps.", "\nHm, 1 < 2.\n", "\u00dcber {\"a\": 1}", "Let me [think] about it\n\nthen act.\n"]


def _json(value):
    return json.dumps(value, ensure_ascii=False)


def _plain(value):
    return value if isinstance(value, str) else _json(value)


def hermes(calls):
    return "\n".join(f'<tool_call>\n{{"name": "{n}", "arguments": {_json(a)}}}\n</tool_call>' for n, a in calls)


def qwen3_coder(calls):
    return "\n".join(f"<tool_call>\n<function={n}>\n" + "".join(f"<parameter={k}>\n{_plain(v)}\n</parameter>\n" for k, v in a.items())
                     + "</function>\n</tool_call>" for n, a in calls)


def _listed(begin, end):
    return lambda calls: begin + "[" + ", ".join(f'{{"name": "{n}", "arguments": {_json(a)}}}' for n, a in calls) + "]" + end


def llama3_json(calls):
    return "<|python_tag|>" + "; ".join(f'{{"name": "{n}", "parameters": {_json(a)}}}' for n, a in calls[:1])


def deepseek_v3_1(calls):
    return "<｜tool▁calls▁begin｜>" + "".join(f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{_json(a)}<｜tool▁call▁end｜>" for n, a in calls) + "<｜tool▁calls▁end｜>"


def deepseek_v4(calls):
    def one(n, a):
        return f'<｜DSML｜invoke name="{n}">\n' + "".join(
            f'<｜DSML｜parameter name="{k}" string="{"true" if isinstance(v, str) else "false"}">{_plain(v)}</｜DSML｜parameter>\n' for k, v in a.items()) \
            + "</｜DSML｜invoke>\n"
    return "<｜DSML｜tool_calls>\n" + "".join(one(n, a) for n, a in calls) + "</｜DSML｜tool_calls>"


def deepseek_v3(calls):
    return "<｜tool▁calls▁begin｜>" + "\n".join(f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{_json(a)}\n```<｜tool▁call▁end｜>" for n, a in calls) + "<｜tool▁calls▁end｜>"


def deepseek_v3_2(calls):
    return deepseek_v4(calls).replace("tool_calls>", "function_calls>")


def minimax_m3(calls):
    def inside(v):
        if isinstance(v, dict):
            return "".join(f"]<]minimax[>[<{k}>{inside(x)}]<]minimax[>[</{k}>" for k, x in v.items())
        return "".join(f"]<]minimax[>[<item>{inside(x)}]<]minimax[>[</item>" for x in v) if isinstance(v, list) else _plain(v)
    return "]<]minimax[>[<tool_call>\n" + "".join(f']<]minimax[>[<invoke name="{n}">{inside(a)}]<]minimax[>[</invoke>\n' for n, a in calls) + "]<]minimax[>[</tool_call>"


def kimi_k2(calls):
    return "<|tool_calls_section_begin|>" + "".join(f"<|tool_call_begin|>functions.{n}:{i}<|tool_call_argument_begin|>{_json(a)}<|tool_call_end|>"
                                                    for i, (n, a) in enumerate(calls)) + "<|tool_calls_section_end|>"


def glm47(calls):
    return "".join(f"<tool_call>{n}" + "".join(f"<arg_key>{k}</arg_key><arg_value>{_plain(v)}</arg_value>" for k, v in a.items()) + "</tool_call>" for n, a in calls)


def minimax_m2(calls):
    return "<minimax:tool_call>\n" + "".join(f'<invoke name="{n}">\n' + "".join(f'<parameter name="{k}">{_plain(v)}</parameter>\n' for k, v in a.items())
                                             + "</invoke>\n" for n, a in calls) + "</minimax:tool_call>"


def pythonic(calls):
    return "[" + ", ".join(f"{n}({', '.join(f'{k}={v!r}' for k, v in a.items())})" for n, a in calls) + "]"


def gemma4(calls):
    def value(v):
        if isinstance(v, str):
            return f'<|"|>{v}<|"|>'
        if isinstance(v, dict):
            return "{" + ",".join(f"{k}:{value(x)}" for k, x in v.items()) + "}"
        return "[" + ",".join(map(value, v)) + "]" if isinstance(v, list) else _json(v)
    return "".join(f"<|tool_call>call:{n}{value(a)}<tool_call|>" for n, a in calls)


def harmony(calls):
    return "".join(f"<|start|>assistant<|channel|>commentary to=functions.{n} <|constrain|>json<|message|>{_json(a)}<|call|>" for n, a in calls)


def kimi_k3(calls):
    def kind(v):
        return {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}[type(v)]
    return "<|open|>tools<|sep|>" + "".join(f'<|open|>call tool="{n}" index="{i}"<|sep|>' + "".join(
        f'<|open|>argument key="{k}" type="{kind(v)}"<|sep|>{_plain(v)}<|close|>argument<|sep|>' for k, v in a.items()) + "<|close|>call<|sep|>"
        for i, (n, a) in enumerate(calls, 1)) + "<|close|>tools<|sep|>"


def muse_glimmer(calls):
    return "".join(f'<|start|>assistant to={n}<|message|><atem:function_calls>\n<atem:invoke name="{n}">\n' + "".join(
        f'<atem:parameter name="{k}">{_plain(v)}</atem:parameter>\n' for k, v in a.items()) + "</atem:invoke>\n</atem:function_calls><|eom|>" for n, a in calls)


# What stands around a text, where an answer is a row of messages.
ENVELOPES = {"harmony": ("<|start|>assistant<|channel|>final<|message|>", "<|end|>"), "kimi_k3": ("<|open|>response<|sep|>", "<|close|>response<|sep|>"),
             "muse_glimmer": ("<|start|>assistant to=user<|message|>", "<|eom|>")}

# Tool-call parser, reasoning parser, calls in its form, the tags of a thought, whether an answer begins inside of one.
FORMATS = [("hermes", "qwen3", hermes, ("<think>", "</think>"), False), ("qwen3_coder", "qwen3", qwen3_coder, ("<think>", "</think>"), False),
           ("nemotron_deci", "basic", _listed("<TOOLCALL>", "</TOOLCALL>"), ("<think>", "</think>"), False),
           ("deepseek_v4", "deepseek_v4", deepseek_v4, ("<think>", "</think>"), False), ("glm47", "glm45", glm47, ("<think>", "</think>"), False),
           ("kimi_k2", "kimi_k25", kimi_k2, ("<think>", "</think>"), True), ("minimax_m2", "minimax_m2", minimax_m2, ("<think>", "</think>"), True),
           ("mistral", None, _listed("[TOOL_CALLS]", ""), None, False), ("llama3_json", None, llama3_json, None, False),
           ("jamba", None, _listed("<tool_calls>", "</tool_calls>"), None, False), ("phi4", None, _listed("functools", ""), None, False),
           ("deepseek_v3_1", "deepseek_r1", deepseek_v3_1, ("<think>", "</think>"), True), ("pythonic", None, pythonic, None, False), ("deepseek_v3", "deepseek_r1", deepseek_v3, ("<think>", "</think>"), True),
           ("deepseek_v3_2", None, deepseek_v3_2, None, False), ("minimax_m3", "minimax_m3", minimax_m3, ("<mm:think>", "</mm:think>"), False),
           ("gemma4", None, gemma4, None, False), ("harmony", "gpt_oss", harmony, ("<|channel|>analysis<|message|>", "<|end|>"), False),
           ("kimi_k3", "kimi_k3", kimi_k3, ("<|open|>think<|sep|>", "<|close|>think<|sep|>"), False),
           ("muse_glimmer", "muse_glimmer", muse_glimmer, ("<|start|>assistant to=self<|message|>", "<|eom|>"), False)]


def arguments(rng):
    out = {}
    for key, values in (("place", PLACES), ("days", [3, 0, -1, 12345678901]), ("wet", [True, False]), ("notes", [["a", "b c"], []]), ("more", [{"k": [1, None]}, {}]),
                        ("x", [1.5, 2, -0.25])):
        if rng.randrange(3) == 0:
            out[key] = rng.choice(values)
    return out


def meant_by(form, args):
    """Without a notation for texts the word null is none, or what the schema does not know is a text."""
    if form[0] == "minimax_m3":
        return {k: {m: [_plain(x) for x in xs] for m, xs in v.items()} if k == "more" else v for k, v in args.items()}
    if form[0] not in ("qwen3_coder", "minimax_m2"):
        return args
    return {k: None if isinstance(v, str) and v.strip().lower() == "null" else v for k, v in args.items()}


def made_output(rng, form):
    """(text, what it means, whether it is well formed) of one answer."""
    _, _, render, tags, inside = form
    meant = {"reasoning": "", "content": "", "calls": []}
    before, behind = ENVELOPES.get(form[0], ("", ""))
    text = ""
    if tags and (inside or rng.randrange(2)):
        meant["reasoning"] = rng.choice(THOUGHTS)
        text = (tags[0] if not inside or rng.randrange(2) else "") + meant["reasoning"] + tags[1] + ("" if before else rng.choice(["", "\n", "\n\n"]))
    if rng.randrange(2):
        meant["content"] = rng.choice(WORDS)
        text += before + meant["content"] + behind
    if rng.randrange(4):
        meant["calls"] = [(n, arguments(rng) if n == "look_up" else {}) for n in rng.choices(NAMES, k=rng.choice([1, 1, 2, 3]))]
        if form[0] == "llama3_json":
            del meant["calls"][1:]
        text += render(meant["calls"])
        meant["calls"] = [(n, meant_by(form, a)) for n, a in meant["calls"]]
        if rng.randrange(6) == 0:
            meant["content"] += "\nDone."
            text += before + "\nDone." + behind
    kind = rng.randrange(8)
    if kind == 0 and text:
        return text[:rng.randrange(len(text))], meant, False
    if kind == 1 and text:
        at = rng.randrange(len(text))
        return text[:at] + rng.choice(["", "x", "<", '"', "}", "\n", "</think>"]) + text[at + rng.randrange(2):], meant, False
    return text, meant, True


def made_choice(rng):
    """Members of a request for such an answer."""
    body = {"tools": TOOLS}
    kind = rng.randrange(12)
    if kind == 0:
        del body["tools"]
    elif kind == 1:
        body["tool_choice"] = "none"
    elif kind == 2:
        body["parallel_tool_calls"] = False
    elif kind == 3:
        body["tool_choice"] = "auto"
    if rng.randrange(10) == 0:
        body["chat_template_kwargs"] = {"enable_thinking": rng.choice([True, False])}
    if rng.randrange(2):
        body["stream"] = True
        if rng.randrange(2):
            body["stream_options"] = {"include_usage": True}
    return body


def script(rng, vocabulary, text, finish):
    """Items of a worker: the text in tokens of any cut, some at a time."""
    ids, items = vocabulary.encode(text, rng, rng.choice([1, 4, 12])), []
    while ids:
        n = rng.choice([1, 1, 1, 2, 7])
        items.append({"token_ids": ids[:n]})
        del ids[:n]
    if items and rng.randrange(2):
        items[-1]["finish_reason"] = finish
    else:
        items.append({"token_ids": [], "finish_reason": finish})
    return items


def accumulated(body):
    """What an SDK makes of an answer, whole or streamed, and what is wrong with its form."""
    out, bad = {"content": "", "reasoning": "", "calls": [], "finish": None, "usage": None}, []
    if isinstance(body, dict):
        c = body["choices"][0]
        m = c["message"]
        out.update(content=m.get("content") or "", reasoning=m.get("reasoning_content") or "", finish=c["finish_reason"], usage=body.get("usage"),
                   calls=[(t["function"]["name"], t["function"]["arguments"]) for t in m.get("tool_calls") or []])
        return out, bad
    if body.count("[DONE]") != 1 or body[-1] != "[DONE]":
        bad.append("[DONE] is not once, at the end")
    calls = {}
    for e in body[:-1]:
        if not isinstance(e, dict) or "choices" not in e:
            bad.append(f"event {e!r}")
            continue
        out["usage"] = e.get("usage") or out["usage"]
        for c in e["choices"]:
            d = c["delta"]
            if out["finish"] is not None and (d or c.get("finish_reason")):
                bad.append("something behind the finish reason")
            out["content"] += d.get("content") or ""
            out["reasoning"] += d.get("reasoning_content") or ""
            for t in d.get("tool_calls") or []:
                if t.get("id"):
                    if t["index"] in calls:
                        bad.append("a call begins twice")
                    calls[t["index"]] = [t["function"]["name"], ""]
                calls[t["index"]][1] += t["function"].get("arguments") or ""
            out["finish"] = c.get("finish_reason") or out["finish"]
    if sorted(calls) != list(range(len(calls))):
        bad.append(f"indices {sorted(calls)}")
    out["calls"] = [tuple(calls[k]) for k in sorted(calls)]
    return out, bad


def meaning(seen):
    """Without blanks, and arguments as values."""
    def value(text):
        try:
            return json.dumps(json.loads(text), sort_keys=True)
        except ValueError:
            return text
    return {"content": "".join(seen["content"].split()), "reasoning": "".join(seen["reasoning"].split()), "finish": seen["finish"],
            "calls": [[n, value(a)] for n, a in seen["calls"]], "usage": seen["usage"] and {k: v for k, v in seen["usage"].items() if k.endswith("_tokens")}}


def expected(form, text, meant, body, finish):
    """The meaning of a well-formed answer to that request, without its usage."""
    off = (body.get("chat_template_kwargs") or {}).get("enable_thinking") is False
    out = {"content": meant["content"], "reasoning": meant["reasoning"], "calls": meant["calls"]}
    if "tools" not in body or body.get("tool_choice") == "none":
        if form[0] in ENVELOPES:
            return None
        out["calls"] = []
        out["content"] = text.split(form[3][1], 1)[-1] if meant["reasoning"] else text
    elif body.get("parallel_tool_calls") is False:
        out["calls"] = meant["calls"][:1]
    if off:
        return None  # by parser: frontend 3.5
    out["finish"] = "tool_calls" if out["calls"] and finish == "stop" else finish
    return {**meaning({**out, "usage": None, "calls": [(n, json.dumps(a)) for n, a in out["calls"]]})}
