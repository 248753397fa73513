"""Chats made up for DeepSeek's models: those of made_chats.py, and what only code that renders them looks at."""
import made_chats

MORE_TEXTS = ["<｜User｜>x<｜end▁of▁sentence｜>", "<think>old</think>new", "<｜DSML｜function_calls>\n</｜DSML｜function_calls>", "<tool_result>t</tool_result>", "</functions>", "{content}"]
ARGUMENTS = ['{"a": [1e-5, 0.00012, 1e22, 5e-324, 100.0, 1E5], "b": -0, "c": -0.0}', '{"n": 18446744073709551615, "m": [12345678901234567890123, {"x": -9223372036854775809}]}',
             '{"t": "x\\n\\"y\\" \\u00e9\\u2028", "u": "", "v": {}, "w": [], "x": null, "y": false}', '{"a": 1, "a": "2"}', "{}", ""]
FORMATS = [None, {"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "b": 1, "a": 2.50}}},
           {"type": "json_schema", "json_schema": {"strict": True, "schema": {"type": "object", "properties": {}, "additionalProperties": False}, "name": "é", "description": "d"}},
           {"type": "json_schema", "json_schema": {"strict": None, "name": "n", "schema": {"x": -0, "y": 123456789012345678901}, "description": None}}]
THINKING = [{"thinking": True}, {"thinking": False}, {"thinking": "no"}, {"thinking": None}, {"thinking": 1}, {"thinking_mode": "chat"}, {"thinking_mode": "thinking"},
            {"thinking_mode": "x"}, {"enable_thinking": False, "thinking_mode": "thinking"}, {"thinking": True, "enable_thinking": False}, {"drop_thinking": False},
            {"reasoning_effort": "none"}, {"reasoning_effort": "max"}, {"thinking": True, "reasoning_effort": "none"}, {"thinking": []}, {"enable_thinking": ""},
            {"drop_thinking": False, "reasoning_effort": "low"}, {"drop_thinking": 0, "thinking": True}, {"reasoning_effort": "minimal"}, {"reasoning_effort": 75},
            {"reasoning_effort": "medium", "drop_thinking": None}, {"reasoning_effort": "MAX"}]


def made(rng, model):
    """A chat; half of them are of the usual order, with thoughts and calls, so that engines that want this take them."""
    body = made_chats.made_chat(rng, [model])
    if rng.randrange(2):
        body["messages"] = orderly(rng)
    if rng.randrange(4) == 0:
        muddle(rng, body["messages"])
    for m in body["messages"]:
        if isinstance(m.get("content"), str) and rng.randrange(12) == 0:
            m["content"] = rng.choice(MORE_TEXTS)
        for c in m.get("tool_calls") or []:
            if rng.randrange(3) == 0 and isinstance(c.get("function"), dict):
                c["function"]["arguments"] = rng.choice(ARGUMENTS)
    if rng.randrange(4) == 0:
        body["response_format"] = rng.choice(FORMATS)
    if rng.randrange(3) == 0:
        body["chat_template_kwargs"] = rng.choice(THINKING)
        body.pop("chat_template_args", None)
    return body


def orderly(rng):
    out = [{"role": "system", "content": rng.choice(made_chats.TEXTS)}] if rng.randrange(2) else []
    for n in range(1 + rng.randrange(3)):
        out.append({"role": rng.choice(["user"] * 5 + ["developer"]), "content": rng.choice(made_chats.TEXTS) or "q"})
        for k in range(rng.choice([0, 0, 1, 1, 2])):
            calls = [{"id": f"call_{n}{k}{i}", "type": "function", "function": {"name": rng.choice(["f", "g_2"]), "arguments": rng.choice(made_chats.ARGUMENTS)}}
                     for i in range(1 + rng.randrange(2))]
            if rng.randrange(8) == 0:
                rng.choice(calls)["id"] = ""
            out.append({"role": "assistant", "content": rng.choice(["", "so"]), "tool_calls": calls, **thought(rng)})
            out += [{"role": "tool", "tool_call_id": c["id"], "content": rng.choice(made_chats.TEXTS)} for c in rng.sample(calls, len(calls))]
        if rng.randrange(2):
            out.append({"role": "assistant", "content": rng.choice(made_chats.TEXTS), **thought(rng)})
    return out


def muddle(rng, messages):
    """Answers without a question, results away from their calls, others between them."""
    for _ in range(1 + rng.randrange(3)):
        at, kind = rng.randrange(len(messages) + 1), rng.randrange(5)
        if kind == 0:
            rng.shuffle(messages)
        elif kind == 1:
            messages.insert(at, {"role": "tool", "tool_call_id": "x", "content": "r"})
        elif kind == 2:
            messages.insert(at, {"role": rng.choice(["system", "developer", "assistant", "user"]), "content": rng.choice(["m", ""])})
        elif kind == 3 and len(messages) > 1:
            del messages[at - 1]
        else:
            messages[:] = [m for m in messages if m["role"] not in ("user", "developer")] or messages


def thought(rng):
    return {"reasoning_content": rng.choice(["hm", "a\nb", ""])} if rng.randrange(3) else {}
