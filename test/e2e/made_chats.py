"""Conversations made up for interop_diff.py: contents in every form and every role, histories of calls, and templates to read them."""

TEMPLATES = {
    # Texts; calls and tools as JSON.
    "texts": """{%- if tools %}{{ tools | tojson }}{% endif -%}
{%- for message in messages %}
<|im_start|>{{ message.role }}{% if message.name %} {{ message.name }}{% endif %}
{{ message.content if message.content is not none else '' }}
{%- for c in message.tool_calls or [] %}[{{ c.id }} {{ c.type }} {{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}
{%- if message.tool_call_id %}({{ message.tool_call_id }}){% endif %}<|im_end|>{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}""",
    # Parts.
    "parts": """{%- for message in messages %}<|im_start|>{{ message['role'] }}:
{%- if message['content'] is string %}{{ message['content'] }}
{%- else %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}?{{ part.type }}?{% endif %}{% endfor %}{% endif %}
{%- if message.tool_calls %}{% for c in message.tool_calls %}[{{ c.function.name }} {% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson }};{% endfor %}]{% endfor %}{% endif %}<|im_end|>
{%- endfor %}{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}""",
    # Turns that must take turns.
    "strict": """{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim + '\\n' %}{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}
{%- for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}
{%- if loop.first %}{{ system }}{% endif %}<|im_start|>{{ message['role'] }} {{ message['content'] | trim }}{% if not loop.last or message['role'] == 'user' %}<|im_end|>{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant{% endif %}""",
}
TEXTS = ["hi", "a", " two\nlines ", "", "x y", "\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 \u00e9", "{{ 1 }} {% raw %}", "<think>old</think>\n\nnew", "</think>x",
         "<tool_response>\ny\n</tool_response>", "<|im_end|>", "\t\\n \"q\" 'r'", "\u202bx\u00a0\ufeff", "<|endoftext|>a", "a\r\nb", "x-anthropic-billing-header: a;\nb"]
ARGUMENTS = ['{"a": 1}', "{}", '{"l": [1, "b", null, true], "o": {"x": {}}}', '{"s": "\u00e9<&>\'"}', '{"n": 12345678901234567890}']
ODD_ARGUMENTS = ["", '{"b": "\\u00e9 \\"x\\"", "a": -1.5}', '{"a":1}', '{"a": 1.0}', '{"a": 1e5}', "[1]", "1", "null", "{", '"x"', " ", '{"a": 1, "a": 2}', '{"z": 1, "a": 2}']
PARTS = [{"type": "text", "text": ""}, {"type": "text"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
         {"type": "image_url", "image_url": "x"}, {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
         {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}, {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AAAA"}},
         {"type": "refusal", "refusal": "no"}, {"type": "file", "file": {"file_id": "f"}}, {"type": "text", "text": None}, {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
         {"type": "text", "text": "u", "uuid": "1"}, {"type": "thinking", "thinking": "x"}, {"type": "TEXT", "text": "x"}, {}, "s", None, 1]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d\u00e9", "parameters": {
            "type": "object", "properties": {"a": {"type": "integer", "description": "<x> & 'y'"}, "b": {"type": "string", "enum": ["p", "q"]}}, "required": ["a"]}}},
         {"type": "function", "function": {"name": "g_2", "description": "", "parameters": {"type": "object", "properties": {}}}}]


SCHEMAS = [None, {}, {"type": "object"}, {"properties": {}}, {"b": 1, "a": 2.5}, {"type": None}, {"type": ["object", "null"], "properties": None},
           {"$ref": "#/x", "$defs": {"x": {"type": "object", "properties": {"q": {"default": None}}}}}]


def tool(rng):
    """One whose members are there or not."""
    f = {"name": rng.choice(["f", "g_2", "h"])}
    for name, values in (("description", [None, "", "d"]), ("parameters", SCHEMAS), ("strict", [None, False]), ("x", [1]), ("defer_loading", [True])):
        if rng.randrange(2):
            f[name] = rng.choice(values)
    members = list(f.items())
    rng.shuffle(members)
    return {"type": "function", "function": dict(members), **({"x": 1} if rng.randrange(8) == 0 else {})}


def content(rng, role):
    kind = rng.randrange(20)
    if kind < 9:
        return rng.choice(TEXTS)
    if kind < 15:
        return [{"type": "text", "text": rng.choice(TEXTS) or "e"} for _ in range(1 + rng.randrange(3))]
    if kind == 16:
        parts = [{"type": "text", "text": rng.choice(TEXTS) or "e"} for _ in range(rng.randrange(3))]
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(PARTS))
        return parts
    return rng.choice([None, 1, {}, {"type": "text", "text": "x"}, True]) if rng.randrange(60) == 0 else rng.choice(TEXTS)


def call(rng, n):
    c = {"id": f"call_{n}", "type": "function", "function": {
        "name": rng.choice(["f", "g_2", "other"]), "arguments": rng.choice(ARGUMENTS if rng.randrange(4) else ODD_ARGUMENTS)}}
    kind = rng.randrange(100)
    if kind == 0:
        del c[rng.choice(["id", "type", "function"])]
    elif kind == 1:
        c["function"]["arguments"] = rng.choice([{"a": 1}, None, 1, []])
    elif kind == 2:
        c.update(rng.choice([{"index": 0}, {"type": "x"}, {"id": ""}, {"id": None}, {"extra": 1}]))
    elif kind == 3:
        c["function"].pop(rng.choice(["name", "arguments"]))
    return c


def message(rng, role, n):
    m = {"role": role, "content": content(rng, role)}
    if role == "assistant":
        if rng.randrange(3) == 0:
            m["tool_calls"] = [call(rng, n * 10 + k) for k in range(1 + rng.randrange(2))]
            if rng.randrange(2):
                m["content"] = ""
            elif rng.randrange(8) == 0:
                m["content"] = None
        if rng.randrange(5) == 0:
            m[rng.choice(["reasoning_content", "reasoning"])] = rng.choice([*TEXTS, None, ["x", "y"], 1])
    if role == "tool" and rng.randrange(8):
        m["tool_call_id"] = rng.choice(["call_0", "call_10", "", f"call_{n * 10}"])
    if rng.randrange(25) == 0:
        m.update(rng.choice([{"name": "bob"}, {"name": None}, {"refusal": "r"}, {"refusal": None}, {"tool_calls": []}, {"tool_calls": None}, {"x": 1},
                             {"audio": {"id": "a"}}, {"function_call": None}, {"prefix": True}, {"tool_call_id": "c"}, {"reasoning_content": "t"}]))
    return m


def made_chat(rng, models):
    """A chat: the members that a prompt is made of."""
    roles = []
    if rng.randrange(2):
        roles.append(rng.choice(["system", "system", "developer"]))
    for _ in range(1 + rng.randrange(3)):
        roles.append("user")
        if rng.randrange(2):
            roles.append("assistant")
            roles += ["tool"] * rng.choice([0, 0, 1, 2])
    if rng.randrange(3) == 0:
        roles[rng.randrange(len(roles))] = rng.choice(["system", "developer", "user", "assistant", "tool", "function"])
    body = {"model": rng.choice(models), "messages": [message(rng, r, n) for n, r in enumerate(roles)], "max_tokens": 3}
    if rng.randrange(4) == 0:
        body["tools"] = TOOLS[:1 + rng.randrange(2)] if rng.randrange(2) else [tool(rng) for _ in range(1 + rng.randrange(2))]
        if rng.randrange(2):
            body["tool_choice"] = rng.choice(["none", "auto", "required", {"type": "function", "function": {"name": "f"}}])
    if rng.randrange(4) == 0:
        body[rng.choice(["chat_template_kwargs", "chat_template_args"])] = rng.choice([
            {"enable_thinking": False}, {"enable_thinking": True}, {"thinking": False}, {"reasoning_effort": "none"}, {"add_generation_prompt": False}, {"x": [1]},
            {"enable_thinking": None}, {"continue_final_message": True}, {"bos_token": "B"}, {"tools": None}, {"documents": []}])
    if rng.randrange(4) == 0:
        body.update(rng.choice([{"add_generation_prompt": False}, {"add_generation_prompt": True}, {"add_generation_prompt": False, "continue_final_message": True},
                                {"continue_final_message": True}, {"continue_final_message": False}, {"reasoning_effort": "none"}, {"reasoning_effort": "high"},
                                {"thinking": False}, {"thinking": {"type": "disabled"}}, {"thinking": True}]))
    return body


def explained(body, theirs, ours):
    """Why both may answer a chat otherwise: docs/COMPATIBILITY.md and tokenizer/TEMPLATES.md say more. None: nothing known."""
    messages = body["messages"]
    parts = [m["content"] for m in messages if isinstance(m.get("content"), list)]
    arguments = [(c.get("function") or {}).get("arguments") for m in messages for c in m.get("tool_calls") or []]
    refused = theirs["status"] == 400 and theirs["body"].get("message") == "Invalid request"
    for is_it, why in (
            ("text only" in str(ours["body"]), "says that the model takes text only"),
            (refused and ours["status"] == 400, "says what the template refuses"),
            (refused and any(m.get("content") is None for m in messages), "content may be null where tool calls stand"),
            (refused and body.get("continue_final_message") and not messages[-1].get("content"), "an empty message is continued, too"),
            (any(m["role"] == "tool" and m.get("name") for m in messages), "a tool message has its name, as from vLLM; Dynamo leaves it out"),
            (any(a not in ARGUMENTS for a in arguments), "arguments of calls stand in the prompt as vLLM writes them"),
            (any(not (p.get("text") if isinstance(p, dict) else p) for c in parts for p in c), "an empty text is no part"),
            (body["model"] == "parts" and any(len(c) > 1 for c in parts), "a template that loops over parts gets parts"),
            (body["model"] != "m" and any(m.get("reasoning") or m.get("reasoning_content") for m in messages), "the template does not read thoughts")):
        if is_it:
            return why
    return None
