"""Generated chat requests: every shape that clients send."""
import json

TEXTS = ["Hello!", "What's the weather in Zürich?", "  leading and trailing  ", "line\nbreak\n\n", "<b>&\"quotes\" 'single'</b>", "",
         "世界 🎉 мир", "{\"json\": [1, 2]}", "{{ not a template }}", "<think>hm</think>answer", "a" * 300, "tab\tand \\ backslash", "2 + 2 = ?",
         "<|im_end|> <s>[INST]", "\u2028\u00a0", "<think>\nlong\n</think>\n\nfinal"]
SCHEMAS = [
    {"type": "object", "properties": {"city": {"type": "string", "description": "Name of the city"},
                                      "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"}},
     "required": ["city"]},
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {"a": {"type": "number", "minimum": 0.5}, "b": {"type": ["integer", "null"]},
                                      "c": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "boolean"}}}},
                                      "e": {"anyOf": [{"type": "string"}, {"type": "number"}]}, "é": {"$ref": "#/x"}}, "required": []},
]


class Conversations:
    def __init__(self, rng):
        self.r = rng

    def pick(self, items):
        return items[int(self.r.random() * len(items))]

    def text(self):
        return self.pick(TEXTS)

    def content(self):
        k = self.r.random()
        if k < 0.75:
            return self.text()
        if k < 0.93:
            return [{"type": "text", "text": self.text()} for _ in range(self.pick([1, 2, 3]))]
        return [{"type": "text", "text": self.text()}, {"type": "image", "image": "x"}]

    def arguments(self, as_text):
        value = self.pick([{"city": "Zürich", "unit": "celsius"}, {}, {"a": 1.0, "b": None, "c": [{"d": True}]},
                           {"q": "say \"hi\" <&>\n", "n": 12345678901234567890, "f": 1e-7}])
        return json.dumps(value, ensure_ascii=False) if as_text else value

    def calls(self, as_text):
        return [{"id": f"call_{self.pick('abc')}12345678"[:9 + i], "type": "function",
                 "function": {"name": self.pick(["get_weather", "add", "search"]), "arguments": self.arguments(as_text)}}
                for i in range(self.pick([1, 1, 1, 2]))]

    def messages(self, as_text):
        out = []
        if self.r.random() < 0.6:
            out.append({"role": self.pick(["system", "system", "system", "developer"]), "content": self.content()})
        for _ in range(self.pick([1, 1, 2, 3])):
            out.append({"role": "user", "content": self.content()})
            k = self.r.random()
            if k < 0.35:
                m = {"role": "assistant", "content": self.pick([None, "", self.text()]), "tool_calls": self.calls(as_text)}
                if self.r.random() < 0.3:
                    m["reasoning_content"] = self.text()
                out.append(m)
                for c in m["tool_calls"]:
                    out.append({"role": "tool", "content": self.content(), "tool_call_id": c["id"],
                                **({"name": c["function"]["name"]} if self.r.random() < 0.5 else {})})
                if self.r.random() < 0.6:
                    out.append({"role": "assistant", "content": self.text()})
            elif k < 0.9:
                m = {"role": "assistant", "content": self.content()}
                if self.r.random() < 0.25:
                    m[self.pick(["reasoning_content", "reasoning", "thinking"])] = self.text()
                out.append(m)
        if self.r.random() < 0.7:
            out.append({"role": "user", "content": self.content()})
        if self.r.random() < 0.05:
            out.append({"role": self.pick(["user", "function", "assistant"]), "content": "twice"})
        if self.r.random() < 0.03:
            out = []
        return out

    def tools(self, lean=False):
        if self.r.random() < 0.5:
            return None
        out = []
        for name in ["get_weather", "add", "search", "no_args"][:self.pick([1, 2, 3, 4])]:
            f = {"name": name, "description": self.text(), "parameters": self.pick(SCHEMAS)}
            if lean and self.r.random() < 0.3:
                del f[self.pick(["description", "parameters"])]
            if lean and self.r.random() < 0.2:
                f["strict"] = True
            out.append({"type": "function", "function": f})
        return out

    def kwargs(self):
        out = {}
        for name, values in (("enable_thinking", [True, False]), ("thinking", [True, False]), ("reasoning_effort", ["low", "high"]),
                             ("preserve_thinking", [True, False]), ("date_string", ["26 Jul 2024"]), ("tools_in_user_message", [True, False]),
                             ("add_vision_id", [True]), ("model_identity", ["You are W."]), ("builtin_tools", [["browser", "python"]])):
            if self.r.random() < 0.15:
                out[name] = self.pick(values)
        return out

    def variables(self):
        """What transformers hands to a template."""
        documents = [{"title": "T", "text": self.text()}, {"title": "U", "text": self.text()}]
        return {"messages": self.messages(as_text=self.r.random() < 0.2), "tools": self.tools(),
                "documents": documents if self.r.random() < 0.1 else None,
                "add_generation_prompt": self.r.random() < 0.6, "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
                "unk_token": "<unk>", **self.kwargs()}
