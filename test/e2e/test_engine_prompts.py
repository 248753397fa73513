"""Prompts as HTTP engines make them of a request. The rows of test/data/engine-prompts-*.jsonl are a real vLLM's and SGLang's
(engine_diff.py found them): the model's name in engine_diff.TEMPLATES, the request, the prompt that the engine made of it."""
import json
import os
import re

import pytest

from engine_diff import TEMPLATES, Asked, write_model
from test_engine_scripted import Scripted
from test_engines import ask, follows, start
from test_parity import SPECIAL, byte_alphabet, model as small_model
from weir import until

DATA = os.path.join(os.path.dirname(__file__), "../data/engine-prompts-%s.jsonl")
CHAT = "/v1/chat/completions"


def rows(engine, name):
    with open(DATA % engine, encoding="utf-8") as f:
        return [r for r in map(json.loads, f) if r["model"] == name]


def ids_of(text):
    """Tokens of the small model: one a byte, in the order of the characters that stand for them, and three special ones."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    bytes_in_order = kept + [b for b in range(256) if b not in kept]
    number = {c: i for i, c in enumerate(sorted(byte_alphabet()))}
    of_byte = {b: number[c] for b, c in zip(bytes_in_order, byte_alphabet())}
    out = []
    for piece in re.split("(" + "|".join(map(re.escape, SPECIAL)) + ")", text):
        out += [256 + SPECIAL.index(piece)] if piece in SPECIAL else [of_byte[b] for b in piece.encode()]
    return out


class Watched:
    """A frontend before an engine that answers anything, with the requests that reached it."""

    def __init__(self, fleet, folder, sglang=False):
        self.sglang = sglang
        self.engine = Scripted(lambda h, body: h.whole(200, b'{"choices":[]}'), owned_by="sglang" if sglang else None)
        self.f = fleet.frontend("--router-mode", "kv", "--model-path", str(folder), "--parity-check", "off", "--error-format", "openai",
                                "--worker", self.engine.url + ",block-size=16", env={"DYN_DISCOVERY_BACKEND": "mem"}).ready()
        self.front = Asked(self.f.url)

    def tokens(self, path, body):
        """Of /tokenize, or its refusal. `add_special_tokens` is a member of that page, not of SGLang's chats."""
        asked = json.loads(body) if path == CHAT else {**json.loads(body), "prompt": first_prompt(body)}
        if self.sglang:
            asked.pop("add_special_tokens", None)
        status, answer = self.front.post("/tokenize", json.dumps(asked).encode())
        return json.loads(answer)["tokens"] if status == 200 else status

    def routed(self, path, body, headers=None):
        """How many tokens routing saw; 0: it went by load."""
        seen = len(self.f.lines)
        assert self.front.post(path, body, headers)[0] == 200, body
        line = until("the access line", lambda: next((x for x in self.f.lines[seen:] if "request completed" in x), None))
        return int(re.search(r"input_tokens=(\d+)", line).group(1))


def first_prompt(body):
    p = json.loads(body)["prompt"]
    return p[0] if isinstance(p, list) else p


@pytest.fixture
def watched(fleet, tmp_path):
    made = []

    def make(folder, sglang=False):
        made.append(Watched(fleet, folder, sglang))
        return made[-1]
    yield make
    for w in made:
        w.engine.close()


@pytest.mark.parametrize("engine, name", [("vllm-0.32", n) for n in TEMPLATES] + [("sglang-0.5.23", n) for n in ("texts", "parts", "odd-target")])
def test_prompts_are_the_engines(watched, tmp_path, engine, name):
    w = watched(write_model(name, tmp_path / "m"), engine.startswith("sglang"))
    bad = []
    assert len(rows(engine, name)) > 5
    for row in rows(engine, name):
        want, body = ids_of(row["prompt"]), row["body"].encode()
        if w.tokens(row["path"], body) != want or w.routed(row["path"], body) != len(want):
            bad.append(row)
    assert not bad, (len(bad), bad[:3])


HELLO = [{"role": "user", "content": "hello"}]
IMAGE = [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "text", "text": "a"}]


@pytest.mark.parametrize("path, more", [
    (CHAT, {"truncate_prompt_tokens": 3}), (CHAT, {"chat_template": "x"}), (CHAT, {"kv_transfer_params": {"prompt_token_ids": [1]}}),
    (CHAT, {"chat_template_kwargs": {"tools": [{}]}}), (CHAT, {"add_generation_prompt": "false"}), (CHAT, {"add_special_tokens": 1}),
    # A role of no class of OpenAI's: only the engine can judge, so the parts are looked at here.
    (CHAT, {"messages": [*HELLO, {"role": "foo", "content": IMAGE}]}),
    ("/v1/completions", {"truncate_prompt_tokens": 3}), ("/v1/completions", {"suffix": "b"})])
def test_what_is_not_followed_goes_by_load(watched, tmp_path, path, more):
    w = watched(write_model("parts", tmp_path / "m"))
    plain = {"model": "m", **({"messages": HELLO} if path == CHAT else {"prompt": "hello"})}
    assert w.routed(path, json.dumps(plain).encode()) > 0
    body = json.dumps({**plain, **more}).encode()
    assert w.routed(path, body) == 0
    assert w.engine.seen[-1][2] == body
    if "messages" not in more:  # as a page of its own it takes no image, which is not for it to say
        assert w.tokens(path, body) == 501


@pytest.mark.parametrize("more", [
    {"input_ids": [1, 2, 3]}, {"chat_template_kwargs": {"chat_template": "x"}}, {"reasoning": {"effort": "0.5"}}, {"reasoning_effort": "0.5"},
    {"continue_final_message": 1}, {"messages": [{"role": "system", "content": "hello", "prefix": "yes"}, *HELLO]},
    {"tools": [{"type": "function", "function": {"name": "f", "strict": "true"}}]},
    {"messages": [*HELLO, {"role": "assistant", "tool_calls": [{"index": "1", "function": {"name": "f", "arguments": "{}"}}]}, *HELLO]},
    {"messages": [{"role": "user", "content": IMAGE}]}])
def test_what_is_not_followed_before_sglang_goes_by_load(watched, tmp_path, more):
    w = watched(write_model("parts", tmp_path / "m"), sglang=True)
    plain = {"model": "m", "messages": HELLO, "chat_template": "x", "truncate_prompt_tokens": 3}  # members that mean nothing to it
    assert w.routed(CHAT, json.dumps(plain).encode()) > 0
    body = json.dumps({**plain, **more}).encode()
    assert w.routed(CHAT, body) == 0
    assert w.engine.seen[-1][2] == body


@pytest.mark.parametrize("asked, low", [({"reasoning_effort": "low"}, False), ({"reasoning_effort": "high"}, True),
                                        ({"reasoning_effort": "low", "chat_template_kwargs": {"low_effort": False}}, True), ({}, True)])
def test_an_effort_that_sglang_maps_by_template(watched, tmp_path, asked, low):
    """Nemotron's templates get `low_effort` of it, if none of a row of other rules comes first. (Failed before.)"""
    folder = write_model("texts", tmp_path / "m")
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": "{{ low_effort }}{{ truncate_history_thinking }}{{ messages }}"}))
    w = watched(folder, sglang=True)
    assert (w.routed(CHAT, json.dumps({"model": "m", "messages": HELLO, **asked}).encode()) > 0) == low


def test_a_member_of_sglangs_page_alone(fleet):
    """SGLang's chats know no `add_generation_prompt`, its /tokenize does: what that says is not their prompt. (Failed before.)"""
    asked = []

    def tokenize(h, body):
        asked.append(json.loads(body))
        h.whole(200, b'{"tokens":[1,2,3],"count":3,"max_model_len":99}')
    e = Scripted(lambda h, body: h.whole(200, b'{"choices":[]}'), owned_by="sglang", tokenize=tokenize)
    f = fleet.frontend("--router-mode", "kv", "--worker", e.url + ",block-size=16", env={"DYN_DISCOVERY_BACKEND": "mem"}).ready()
    for more, want in (({}, 1), ({"add_generation_prompt": False}, 0), ({"add_generation_prompt": None}, 1)):
        asked.clear()
        assert Asked(f.url).post(CHAT, json.dumps({"model": "m", "messages": HELLO, **more}).encode())[0] == 200
        assert len(asked) == want, more
    e.close()


def test_sglang_encodes_the_text_that_it_continues_by_itself(watched, tmp_path):
    """SGLang 0.5.23 gave these ids of this model, whose only merge makes 256 of "ab". (Failed before: the joint was merged.)"""
    folder = write_model("texts", tmp_path / "m")
    files = {name: json.loads((folder / name).read_text()) for name in ("tokenizer.json", "tokenizer_config.json")}
    t = files["tokenizer.json"]
    t["model"]["vocab"]["ab"], t["model"]["merges"] = 256, [["a", "b"]]
    for i, token in enumerate(t["added_tokens"]):
        token["id"] = 257 + i
    t["post_processor"]["special_tokens"][SPECIAL[0]]["ids"] = [257]
    files["tokenizer_config.json"]["chat_template"] = "{% for m in messages %}{{ m.content }}|{% endfor %}{% if add_generation_prompt %}a{% endif %}"
    for name, what in files.items():
        (folder / name).write_text(json.dumps(what))
    w = watched(folder, sglang=True)
    for content, ids in (("bc", [87, 91, 64, 65, 66]), ("<|endoftext|>ab", [87, 91, 64, 257, 256])):
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": content}],
                           "continue_final_message": True}).encode()
        assert w.tokens(CHAT, body) == ids and w.routed(CHAT, body) == len(ids)
    assert w.tokens(CHAT, b'{"model":"m","messages":[{"role":"user","content":"xab"}]}') == [87, 256, 91, 64]


def test_a_chat_that_only_the_engine_can_judge_is_routed_and_salted(watched, tmp_path):
    """Its role is in no API; the salt of the tenant's header must part its blocks all the same. (Failed before.)"""
    w = watched(write_model("texts", tmp_path / "m"))
    body = json.dumps({"model": "m", "messages": [{"role": "critic", "content": "hello"}]}).encode()
    assert w.routed(CHAT, body, {"x-tenant-id": "t1"}) == len(w.tokens(CHAT, body))
    assert json.loads(w.engine.seen[-1][2]) == {"cache_salt": "t1", **json.loads(body)}


def test_effort_and_documents_where_the_engine_makes_the_tokens(fleet, tmp_path):
    """vLLM's /tokenize knows neither, its chats do: they are arguments of the template there. (Failed before: half was expected.)"""
    template = ("{% for m in messages %}<|start|>{{ m.role }}{{ m.content }}<|end|>{% endfor %}{{ documents|tojson }}{{ reasoning_effort }}"
                "{{ enable_thinking }} and then so much more text that it takes some blocks, whatever the size of a block may be in this test")
    e = start(fleet, "--model-path", str(small_model(tmp_path / "m", template=template)))
    f = fleet.frontend("--router-mode", "kv", "--worker", e.url, env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem"}).ready()
    for more in ({"reasoning_effort": "none"}, {"documents": [{"title": "a", "text": "b" * 50}]},
                 {"reasoning_effort": "high", "documents": [{"a": "b"}], "chat_template_kwargs": {"enable_thinking": False}, "stream": False}):
        body = {"model": "m", "messages": [{"role": "user", "content": f"{more} hello " * 9}], "max_tokens": 2, **more}
        ask(f, body)
        follows(f, e)
        _, _, overlap, cached = ask(f, body)
        follows(f, e)
        assert overlap * 16 == cached > 200, more
