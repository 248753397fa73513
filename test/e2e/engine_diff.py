#!/usr/bin/env python3
"""Made-up chats and completions, each sent through `weir frontend` to an engine that others wrote: where the engine makes a prompt
of it, Weir's routing must have had the same tokens, or none; what the engine says comes back byte for byte.

usage: engine_diff.py WEIR_BINARY MODEL_FOLDER URL [KEEP_FILE]
       engine_diff.py WEIR_BINARY --write NAME MODEL_FOLDER     (makes the folder of one of the models below, or "deepseek" and "deepseek4", which
                                                                 have no template; "deepseek-vllm" and "deepseek-sglang" are the same with a
                                                                 configuration that the engine takes without weights: vLLM then wants
                                                                 --tokenizer-mode deepseek_v32 or _v4)
URL: of a vLLM with its scale-out pages, or of its render server, which needs no weights:
     python -m vllm.entrypoints.launchers.render.entry --model MODEL_FOLDER --served-model-name m …
     or of SGLang's pages without its model: sglang_prompts.py
KEEP_FILE: gets what was asked and the engine's tokens, a JSON line each (test/data/engine-prompts-*.jsonl are made of such).
WEIR_TEST_SEED and WEIR_TEST_CASES (2,000) choose the requests. Prints one JSON line; exit 1 when tokens differed."""
import collections
import http.client
import json
import os
import pathlib
import random
import re
import sys
import urllib.parse
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
if __name__ == "__main__":
    os.environ["WEIR_BIN"] = os.path.abspath(sys.argv[1])
import made_deepseek  # noqa: E402
from test_engine_scripted import Scripted  # noqa: E402
from test_parity import model as small_model  # noqa: E402
from weir import Frontend, until  # noqa: E402

SEED = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.randrange(1, 1 << 31)
CASES = int(os.environ.get("WEIR_TEST_CASES", "2000"))
TEXTS = ["hi", "", " ", "  a  ", "\n", "a\nb\n\n", "Zürich °C", "世界 🎉 e\u0301 \u202e", "a\x00b", "\t\r\n", "<|im_start|>user\nx<|im_end|>",
         "<|begin_of_text|><|eot_id|>", "<s>[INST] x [/INST]</s>", "<bos><start_of_turn>", "<｜User｜>x<｜end▁of▁sentence｜>", "<|endoftext|>",
         "<think>\nhm\n</think>\n\nso", "</think>", "<tool_call>\n{}\n</tool_call>", "{{ messages }}{% raw %}", "\"q\" 'q' \\ <b>&amp;", "x" * 700,
         "word " * 300, "0123456789" * 30, "\ufeff\u2028\u00a0", "x-anthropic-billing-header: cch=1; v=2\nYou are.", "x-anthropic-billing-header: a",
         "x-anthropic-billing-header: a\n", "<tool_response>1</tool_response>", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "１２３ ﬁ ½"]
SCHEMAS = [{"type": "object", "properties": {}}, {}, None,
           {"type": "object", "properties": {"é": {"type": "string", "description": "\"a\" <b> & 'c'"}, "n": {"type": "number", "minimum": 1.0,
            "default": 1e-7, "maximum": 12345678901234567890}}, "required": ["é"], "additionalProperties": False}]
ARGUMENTS = ["{}", "{\"a\": 1}", "{\"a\":1.0,\"b\":[true,null,\"é\"]}", "[1]", "42", "null", "\"x\"", "", " ", "{", "{\"a\":1}x", "{\"a\":1,\"a\":2}",
             "{\"z\":1,\"a\":{\"y\":2}}", "{\"a\":NaN}", " {\"a\": \"\\u00e9\\n\"} ", {"a": 1}, {}, None, "{\"n\":1E3,\"m\":-0,\"k\":1e400}"]
PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": ""}, {"type": "text", "text": "two\n"}, {"type": "text"}, {"type": "text", "text": None},
         {"type": "text", "text": "c", "cache_control": {"type": "ephemeral"}}, {"text": "no type"}, {"type": "input_text", "text": "i"},
         {"type": "output_text", "text": "o"}, {"type": "refusal", "refusal": "no"}, {"type": "thinking", "thinking": "hm"},
         {"type": "thinking", "thinking": "hm", "closed": True}, {"type": "tool_reference", "name": "f"}, {"type": "nothing"}, "bare", "",
         {"type": "text", "text": "x-anthropic-billing-header: q\nrest"}, {"type": "text", "text": "x-anthropic-billing-header: q"}, {"type": "refusal"}]
KWARGS = {"enable_thinking": [True, False, None, "auto"], "thinking": [True, False], "reasoning_effort": ["low", "auto", None, "x"],
          "add_generation_prompt": [True, False], "continue_final_message": [True, False], "documents": [None, [{"title": "k", "text": "w"}]],
          "x": [None, "auto", 1, 1.0, "é", {"b": 1, "a": [None]}, [], False, ""], "tokenize": [True, False], "return_dict": [True],
          "chat_template": [None], "date_string": ["1 Jan 2025"], "bos_token": ["B"], "tools_in_user_message": [False], "tools": [None],
          "padding": [True], "messages": [[]], "builtin_tools": [["brave"]], "preserve_thinking": [True]}
DATE = {"date_string": "26 Jul 2024"}  # else templates print today's

# Models of one token a byte: their templates show what vLLM hands to them, and walk over contents in each way that it tells apart.
ECHO = ("{{ bos_token }}{{ messages|tojson }}|{{ tools|tojson if tools is defined else 'U' }}|{{ documents|tojson if documents is defined else "
        "'U' }}|{{ add_generation_prompt }}|{{ enable_thinking }}|{{ thinking }}|{{ reasoning_effort }}|{{ x|tojson if x is defined }}|{{ eos_token }}")
BODY = "{% if c is string %}{{ c }}{% else %}{% for i in c %}[{{ i }}]{% endfor %}{% endif %}"
LOOP = "{% for m in messages %}<{{ m.role }}>INNER</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
TEMPLATES = {
    "texts": ECHO,
    "parts": "{% for message in messages %}{% for c in message.content %}{% endfor %}{% endfor %}" + ECHO,
    "macro": "{% macro show(c) %}" + BODY + "{% endmacro %}" + LOOP.replace("INNER", "{{ show(m.content) }}"),
    "called-content": LOOP.replace("INNER", "{% set content = m.content %}" + BODY.replace("for i in c", "for i in content").replace("c ", "content ")),
    "other-name": LOOP.replace("INNER", "{% set c = m.content %}" + BODY),
    "developer": LOOP.replace("INNER", "{% if m.role == 'developer' %}{{ m|tojson }}{% endif %}{{ m.content }}"),
    "odd-target": "{% set ns = namespace(all=[]) %}{% set ns.all = messages %}" + LOOP.replace("INNER", "{% for c in m.content %}{{ c }}{% endfor %}"),
}


def write_model(name, folder):
    """The folder, a pathlib.Path, of one of them."""
    small_model(folder, template=TEMPLATES.get(name), bos=True)
    architecture = {"deepseek": "DeepseekV32ForCausalLM", "deepseek4": "DeepseekV4ForCausalLM", "deepseek-sglang": "DeepseekV3ForCausalLM"}.get(name, "Qwen3ForCausalLM")
    kind = {"deepseek": "deepseek_v32", "deepseek4": "deepseek_v4", "deepseek-sglang": "deepseek_v3"}.get(name, "qwen3")
    for file, more in (("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>"}),
                       ("config.json", {  # as much as vLLM wants to see of a model
                           "architectures": [architecture], "model_type": kind, "hidden_size": 64, "num_hidden_layers": 2,
                           "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "intermediate_size": 128, "vocab_size": 320,
                           "max_position_embeddings": 131072, "eos_token_id": 258, "torch_dtype": "bfloat16"})):
        path = folder / file
        path.write_text(json.dumps({k: v for k, v in {**json.loads(path.read_text()), **more}.items() if v is not None}))
    return folder


class Maker:
    def __init__(self, rng):
        self.r = rng

    def some(self, chance):
        return self.r.random() < chance

    def text(self):
        return self.r.choice(TEXTS)

    def parts(self):
        usual = [{"type": "text", "text": self.text()} for _ in range(self.r.choice([0, 1, 1, 2, 3]))]
        return [self.r.choice(PARTS) for _ in range(self.r.choice([1, 2]))] + usual if self.some(0.4) else usual

    def calls(self):
        out = []
        for i in range(self.r.choice([0, 1, 1, 1, 2])):
            f = {"name": self.r.choice(["f", "get_weather"]), "arguments": self.r.choice(ARGUMENTS)}
            call = {"id": "abcdefgh" + str(i), "type": "function", "function": f}
            if self.some(0.1):
                del call[self.r.choice(list(call))]
            if self.some(0.1):
                f.pop(self.r.choice(list(f)))
            if self.some(0.1):
                call["index"] = i
            if self.some(0.05):
                f["more"] = 1
            out.append(dict(self.r.sample(list(call.items()), len(call))))
        return out

    def message(self, role):
        m = {"role": role}
        if not self.some(0.04):
            m["content"] = self.text() if self.some(0.65) else self.parts() if self.some(0.8) else None
        if role == "assistant" and self.some(0.4):
            m["tool_calls"] = self.calls() if self.some(0.9) else None
        if role == "assistant" and self.some(0.4):
            m[self.r.choice(["reasoning", "reasoning_content"])] = self.r.choice([self.text(), None])
        if role == "tool" and not self.some(0.1):
            m["tool_call_id"] = "abcdefgh0"
        if self.some(0.08):
            m["name"] = self.r.choice(["bob", "", "f"])
        if self.some(0.06):
            m.update(self.r.choice([{"refusal": "r"}, {"task": "t"}, {"audio": None}, {"foo": 1}, {"weight": 0}, {"function_call": None},
                                    {"tools": [{"type": "function", "function": {"name": "g"}}]}, {"tool_call_id": "x"}, {"tool_calls": []}]))
        return dict(self.r.sample(list(m.items()), len(m))) if self.some(0.3) else m

    def messages(self):
        if self.some(0.3):  # any order
            return [self.message(self.r.choice(["system", "developer", "user", "assistant", "tool", "function", "foo"]))
                    for _ in range(self.r.randrange(1, 6))]
        out = [self.message(self.r.choice(["system", "system", "developer"]))] if self.some(0.5) else []
        for _ in range(self.r.randrange(1, 4)):
            out.append(self.message("user"))
            out.append(self.message("assistant"))
            out += [self.message("tool") for _ in out[-1].get("tool_calls") or []]
            if len(out) > 3 and self.some(0.3):
                out.append(self.message("developer" if self.some(0.5) else "system"))
        return out if self.some(0.3) else out + [self.message("user")]

    def tools(self):
        out = []
        for name in self.r.sample(["f", "get_weather", "añ \"x\""], self.r.randrange(1, 4)):
            f = {"name": name, "description": self.text(), "parameters": self.r.choice(SCHEMAS)}
            for k in ("description", "parameters"):
                if self.some(0.15):
                    del f[k]
            f.update(self.r.choice([{}, {}, {}, {"strict": True}, {"strict": None}, {"strict": False}, {"foo": 1}, {"defer_loading": True}]))
            t = {"type": "function", "function": dict(self.r.sample(list(f.items()), len(f))) if self.some(0.3) else f}
            t.update(self.r.choice([{}, {}, {}, {}, {"defer_loading": True}, {"defer_loading": None}, {"bar": 2}, {"strict": True}]))
            if self.some(0.1):
                del t["type"]
            out.append(dict(self.r.sample(list(t.items()), len(t))) if self.some(0.2) else t)
        return out

    def chat(self):
        body = {"model": "m", "messages": self.messages(), "max_tokens": 1}
        if self.some(0.3):
            body["tools"] = self.tools()
            if self.some(0.4):
                body["tool_choice"] = self.r.choice(["auto", "none", "required", None, {"type": "function", "function": {"name": "f"}}])
        kwargs = dict(DATE)
        if self.some(0.3):
            kwargs.update({k: self.r.choice(KWARGS[k]) for k in self.r.sample(sorted(KWARGS), self.r.choice([1, 1, 2, 3]))})
        body["chat_template_kwargs"] = kwargs
        if self.some(0.15):
            body["reasoning_effort"] = self.r.choice(["none", "low", "medium", "high", "minimal", None, "max"])
        if self.some(0.2):
            body["continue_final_message"] = self.some(0.7)
            body["add_generation_prompt"] = self.some(0.3)
        if self.some(0.15):
            body.update(self.r.choice([
                {"add_special_tokens": True}, {"add_special_tokens": False}, {"documents": [{"title": "a", "text": "é"}]}, {"documents": None},
                {"add_generation_prompt": False}, {"truncate_prompt_tokens": 5}, {"chat_template": "x"}, {"chat_template_args": {"x": 2}},
                {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}, {"include_reasoning": False}, {"response_format": {"type": "json_object"}},
                {"prompt_token_ids": [1]}, {"truncate_prompt_tokens": -1}, {"kv_transfer_params": {"prompt_token_ids": [1, 2]}},
                {"stop": ["a"]}, {"reasoning": {"effort": "low"}}, {"functions": []}, {"nvext": {"annotations": []}}, {"top_k": -1}, {"user": ""}]))
        return "/v1/chat/completions", body

    def completion(self):
        text = "".join(self.text() for _ in range(self.r.choice([1, 1, 2, 4])))
        body = {"model": "m", "max_tokens": 1, "prompt": self.r.choice([text, text, text, [text], [text, "b"], [5, 6, 7], [[5, 6], [7]]])}
        if self.some(0.4):
            body.update(self.r.choice([{"add_special_tokens": False}, {"add_special_tokens": True}, {"truncate_prompt_tokens": 2}, {"suffix": "x"},
                                       {"echo": True}, {"truncate_prompt_tokens": None}, {"suffix": None}]))
        return "/v1/completions", body

    def request(self):
        path, body = self.completion() if self.some(0.1) else self.chat()
        return path, json.dumps(body, ensure_ascii=self.some(0.5))


# ---- SGLang: its classes refuse more, so less of that, and what only it knows ----

S_ARGUMENTS = ["{}", "{\"a\": 1}", "{\"a\":1.0,\"b\":[true,null,\"é\"]}", "{\"a\":1,\"a\":2}", "{\"z\":1,\"a\":{\"y\":2}}", " {\"a\": \"\\u00e9\\n\"} ",
               {"a": 1}, {}, None, "{\"n\":1E3,\"m\":-0,\"k\":-0.0,\"b\":12345678901234567890}", {"x": [1e-7, None]}]
S_SCHEMAS = [*SCHEMAS, {"type": "dict", "properties": {"a": {"type": "varchar(20)"}, "b": {"type": "Int"}, "c": {"type": ["int", "null"]},
             "d": {"type": "list", "items": {"type": "float"}}, "e": {"anyOf": [{"type": "bool"}, {"type": "NULL"}]}, "f": {"type": "enum", "enum": ["x"]}}},
             {"type": "object", "properties": {"type": {"type": "str"}, "k": {"type": "any"}}, "$defs": {"q": {"type": "decimal(3,1)"}}},
             {"type": "object", "if": {"type": "long"}, "additionalProperties": {"type": "timestamp"}, "x": {"type": "varchar"}}, True, {"type": "nothing"}]
S_PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": ""}, {"type": "text", "text": "two\n", "cache_control": {"type": "ephemeral"}},
           {"type": "tool_reference", "name": "f"}, {"type": "tool_reference", "name": "f", "x": 1}]
S_THOUGHTS = [{"type": "thinking", "thinking": "hm"}, {"type": "reasoning", "text": "hm", "x": 1}]
S_EFFORTS = ["none", "low", "medium", "high", "minimal", None, "max", "ultra", 0, 0.5, "0.25", 1, "x", True]


class SglangMaker(Maker):
    ROLES = ["system", "system", "developer", "user", "user", "assistant", "assistant", "tool", "function", "latest_reminder", "root", "System", "TOOL"]

    def parts(self, role="user"):
        out = [self.r.choice(S_PARTS) for _ in range(self.r.choice([0, 1, 2]))]
        out += [{"type": "text", "text": self.text()} for _ in range(self.r.choice([0, 1, 1, 2]))]
        if role == "assistant" and self.some(0.2):
            out.insert(self.r.randrange(len(out) + 1), self.r.choice(S_THOUGHTS))
        return out + [self.r.choice(PARTS)] if self.some(0.02) else out

    def calls(self):
        out = super().calls()
        for c in out:
            if "arguments" in c.get("function", {}) and self.some(0.95):
                c["function"]["arguments"] = self.r.choice(S_ARGUMENTS)
            if self.some(0.05):
                c["index"] = self.r.choice(["1", 1.0, True, None])
        return out

    def own_tools(self):
        return self.tools() if self.some(0.8) else self.r.choice([None, []])

    def message(self, role):
        m = {"role": role}
        if role == "user" or not self.some(0.04):
            m["content"] = self.text() if self.some(0.6) else self.parts(role) if self.some(0.85) or role == "user" else None
        if role == "assistant" and self.some(0.4) or self.some(0.02):
            m["tool_calls"] = self.calls() if self.some(0.9) else None
        if role == "assistant" and self.some(0.4):
            m[self.r.choice(["reasoning", "reasoning_content", "reasoning_content"])] = self.r.choice([self.text(), None])
        if role == "tool" and not self.some(0.1):
            m["tool_call_id"] = "abcdefgh0"
        if self.some(0.15):
            m.update(self.r.choice([{"name": "bob"}, {"name": ""}, {"refusal": "r"}, {"foo": 1}, {"phase": "final_answer"}, {"phase": None}, {"prefix": True},
                                    {"prefix": False}, {"prefix": "yes"}, {"tool_call_id": "x"}, {"tool_calls": []}, {"tools": self.own_tools()}]))
        if role in ("system", "developer", "root") and self.some(0.08):
            m["tools"] = self.own_tools()
        return dict(self.r.sample(list(m.items()), len(m))) if self.some(0.3) else m

    def messages(self):
        return [self.message(self.r.choice(self.ROLES)) for _ in range(self.r.randrange(1, 6))] if self.some(0.4) else super().messages()

    def tools(self):
        out = super().tools()
        for t in out:
            if self.some(0.5):
                t["function"]["parameters"] = self.r.choice(S_SCHEMAS)
            if self.some(0.04):
                t["function"]["strict"] = self.r.choice(["true", 1, 0.0])
            if self.some(0.03):
                t["type"] = "custom"
        return out

    def chat(self):
        path, body = super().chat()
        for k in [k for k in (body["chat_template_kwargs"] or {}) if k in ("messages", "tools", "tokenize", "chat_template", "add_generation_prompt", "return_dict")]:
            if self.some(0.8):
                del body["chat_template_kwargs"][k]
        if self.some(0.1):
            body["chat_template_kwargs"].update(self.r.choice([
                {"reasoning_effort": "low"}, {"reasoning_effort": None}, {"reasoning_effort": 0.5}, {"max_length": 3}, {"low_effort": True}, {"continue_final_message": None},
                {"truncation": True}, {"return_tensors": "pt"}, {"tokenizer_kwargs": {}}, {"return_assistant_tokens_mask": True}, {"conversation": []}]))
        elif self.some(0.05):
            body["chat_template_kwargs"] = self.r.choice([None, {}])
        if body.get("messages")[-1].get("role") == "assistant" and self.some(0.5):
            body["continue_final_message"] = True
        if self.some(0.15):
            body["reasoning_effort"] = self.r.choice(S_EFFORTS)
        if self.some(0.15):
            body["reasoning"] = self.r.choice([{"effort": e} for e in S_EFFORTS] + [{"enabled": e} for e in (True, False, None, "Yes", "no", 1, 0, " on ", [])] + [
                {}, None, "high", {"reasoning_effort": "low"}, {"enable": True}, {"enabled": None, "enable": "1"}, {"effort": "none", "enabled": True}, {"effort": "1e-1"}])
        if self.some(0.1):
            body.update(self.r.choice([{"separate_reasoning": False}, {"stream_reasoning": False}, {"input_ids": [1, 2]}, {"input_ids": None}, {"task": "query"}, {"ignore_eos": True},
                                       {"stop_token_ids": [1]}, {"parallel_tool_calls": False}, {"continue_final_message": "true"}, {"tools": []}, {"thinking": True},
                                       {"skip_special_tokens": False}, {"chat_template": None}, {"prompt": "x"}, {"extra_key": "k"}]))
        return path, body

    def completion(self):
        path, body = super().completion()
        if self.some(0.2):
            body["prompt"] = self.r.choice([["", "b"], "", [[]], [], ["a", "", "c"], [7]])
        return path, body


class Orderly:
    """Half of the chats are those for DeepSeek's models, of which engines refuse what is in no order."""

    def __init__(self, maker):
        self.maker = maker

    def request(self):
        if self.maker.some(0.4):
            return self.maker.request()
        return "/v1/chat/completions", json.dumps(made_deepseek.made(self.maker.r, "m"))


class Asked:
    """A server; answers as (status, bytes)."""

    def __init__(self, url):
        u = urllib.parse.urlsplit(url)
        self.place = u.hostname, u.port

    def post(self, path, body, headers=None):
        c = http.client.HTTPConnection(*self.place, timeout=120)
        c.request("POST", path, body, {"content-type": "application/json", **(headers or {})})
        r = c.getresponse()
        answer = r.status, r.read()
        c.close()
        return answer


class Between(Scripted):
    """Weir's worker: the real engine's page that makes a prompt and generates nothing, and what it last said. Its pages tell
    vLLM from SGLang."""

    def __init__(self, url):
        self.engine, self.said = Asked(url), None
        self.sglang = self.engine.post("/v1/chat/completions/render", b"{}")[0] == 404
        super().__init__(self.pass_on, owned_by="sglang" if self.sglang else None)

    def pass_on(self, h, body):
        self.said = self.engine.post(h.path if self.sglang else h.path + "/render", body)
        h.whole(*self.said)


def tokens_of(answer):
    """Of the first prompt."""
    a = json.loads(answer)
    ids = (a[0] if isinstance(a, list) else a)["token_ids"]
    return ids[0] if ids and isinstance(ids[0], list) else ids


def text_of(engine, tokens):
    said = json.loads(engine.post("/detokenize", json.dumps({"model": "m", "tokens": tokens, "skip_special_tokens": False}))[1])
    return said["prompt"] if "prompt" in said else said["text"]


def ours(front, path, text, sglang=False):
    """(status, tokens or what it says) of Weir's /tokenize, which has the members of a chat; 501 and 400 are refusals."""
    q = json.loads(text)
    if path == "/v1/completions":
        prompt = q["prompt"][0] if isinstance(q["prompt"], list) and q["prompt"] else q["prompt"]
        if not isinstance(prompt, str) or "" in q["prompt"] and isinstance(q["prompt"], list):
            return 0, "ids, or an empty one in a list"
        q["prompt"] = prompt
    if sglang:
        q.pop("add_special_tokens", None)  # a member of Weir's own page, not of SGLang's chats and completions
    if sglang or path == "/v1/completions":
        text = json.dumps(q)
    status, answer = front.post("/tokenize", text.encode())
    answer = json.loads(answer)
    return status, answer["tokens"] if status == 200 else answer["error"]["message"]


class Comparison:
    def __init__(self, folder, url):
        self.between = Between(url)
        self.f = Frontend({"DYN_DISCOVERY_BACKEND": "mem", "WEIR_PARITY_CHECK": "off"}, "--router-mode", "kv", "--model-path", folder,
                          "--error-format", "openai", "--worker", self.between.url + ",block-size=16").ready()
        self.front = Asked(self.f.url)

    def close(self):
        self.f.stop()
        self.between.close()

    def verdict(self, path, text):
        """(kind, the engine's tokens, what Weir makes of it or says). The request passes through Weir, so that its routing is
        seen too: how many tokens it had, 0 where it chose by load."""
        name, self.between.said = str(uuid.uuid4()), None
        status, answer = self.front.post(path, text.encode(), {"x-dynamo-request-id": name})
        if (status, answer) != self.between.said:
            return "altered", None, f"{status} {answer[:300]!r}"
        if status != 200:
            return f"refused there, {status}", None, answer.decode("utf-8", "replace")
        tokens = tokens_of(answer)
        line = until("the access line", lambda: next((x for x in self.f.lines[-50:] if "request completed" in x and name in x), None))
        routed = int(re.search(r"input_tokens=(\d+)", line).group(1))
        status, got = ours(self.front, path, text, self.between.sglang)
        if routed not in (0, len(tokens)) or (status == 200 and got != tokens):
            return "other tokens", tokens, got if status == 200 and got != tokens else f"routed by {routed}"
        return "same" if routed else "same, but routed by load" if status == 200 else "not foretold", tokens, got


def main():
    if sys.argv[2] == "--write":
        write_model(sys.argv[3], pathlib.Path(sys.argv[4]))
        return 0
    folder, url = sys.argv[2:4]
    keep = open(sys.argv[4], "w", encoding="utf-8") if len(sys.argv) > 4 else None
    c, engine = Comparison(folder, url), Asked(url)
    maker = (SglangMaker if c.between.sglang else Maker)(random.Random(SEED))
    if "deepseek" in os.path.basename(folder.rstrip("/")):
        maker = Orderly(maker)
    seen, why, bad = collections.Counter(), collections.Counter(), []
    for _ in range(CASES):
        path, text = maker.request()
        kind, tokens, got = c.verdict(path, text)
        seen[kind] += 1
        if kind == "not foretold" or kind.startswith("refused there, 5"):
            why[got] += 1
        if kind in ("other tokens", "altered", "same, but routed by load"):
            bad.append((kind, path, text, tokens, got))
        if keep and kind == "same":
            keep.write(json.dumps({"path": path, "body": text, "tokens": tokens}, ensure_ascii=False) + "\n")
    for kind, path, text, tokens, got in bad[:int(os.environ.get("WEIR_TEST_SHOW", "5"))]:
        print(f"{kind}: {path} {text[:1000]}", file=sys.stderr)
        if kind == "other tokens" and isinstance(got, list):
            texts = [text_of(engine, t) for t in (tokens, got)]
            same = max(len(os.path.commonprefix(texts)) - 60, 0)
            print(f"    engine …{texts[0][same:same + 260]!r}\n    weir   …{texts[1][same:same + 260]!r}", file=sys.stderr)
        elif kind != "same, but routed by load":
            print(f"    engine {len(tokens or [])} tokens {c.between.said if tokens is None else ''}, weir {got}", file=sys.stderr)
    print(json.dumps({"model": os.path.basename(folder.rstrip("/")), "seed": SEED, **seen, "why": why.most_common(20)}, ensure_ascii=False))
    c.close()
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
