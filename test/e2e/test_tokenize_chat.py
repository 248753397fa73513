"""/tokenize of a chat before workers of the request plane: the tokens that such a chat's worker gets, or the chat's refusal."""
import json
import unicodedata

import pytest

from test_engine_scripted import Scripted
from test_parity import model as small_model

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "hi"}
IMAGE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}
DEEP = json.loads('{"a":' * 90 + "1" + "}" * 90)
TEMPLATE = ("{% for m in messages %}<|start|>{{ m.role }}{{ m.content }}<|end|>{% endfor %}{{ (tools or []) | length }}{{ documents }}"
            "{{ enable_thinking }}{{ thinking }}{{ thinking_mode }}{{ reasoning_effort }}{{ x }}{{ add_generation_prompt }}")


@pytest.fixture
def front(fleet, tmp_path):
    model = str(small_model(tmp_path / "m", template=TEMPLATE))
    fleet.mocker("--model-path", model)
    return fleet.frontend("--model-path", model).ready()


@pytest.mark.parametrize("more", [
    {}, {"reasoning_effort": "none"}, {"reasoning_effort": "high"}, {"thinking": {"type": "disabled"}}, {"thinking": True},
    {"chat_template_args": {"x": 1}}, {"chat_template_kwargs": {"x": None}}, {"chat_template_kwargs": {"x": "auto"}},
    {"chat_template_kwargs": {"add_generation_prompt": False}}, {"chat_template_kwargs": {"tools": [TOOL]}},
    {"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}, {"chat_template_kwargs": {"documents": [{"a": 1}]}},
    {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "none"}, {"messages": [{"role": "user", "content": "a\0b"}]},
    {"add_generation_prompt": False}, {"messages": [USER, {"role": "assistant", "content": "a"}], "add_generation_prompt": False, "continue_final_message": True},
    {"continue_final_message": True}, {"documents": [{"a": 1}]}, {"truncate_prompt_tokens": 3}, {"chat_template_kwargs": {"chat_template": "a"}},
    {"messages": [{"role": "critic", "content": "a"}]}, {"messages": []}, {"temperature": 9},
    {"messages": [IMAGE]}, {"tools": [{"type": "function", "function": {"name": "f", "parameters": DEEP}}]},
    {"messages": [{"role": "system", "content": "x-anthropic-billing-header: a;\nb"}, USER]}], ids=json.dumps)
def test_the_tokens_of_the_chat(front, more):
    """(Failed before: the body was read as vLLM's server would read it, so most of these told other tokens than the worker got.)"""
    body = {"messages": [USER], **more}
    chat = front.ask("POST", "/v1/chat/completions", {"model": "m", "max_tokens": 1, **body, "nvext": {"extra_fields": ["prompt_token_ids"]}})
    for named in ({"model": "m"}, {}):
        told = front.ask("POST", "/tokenize", {**named, **body, "return_token_strs": True})
        assert told.status == chat.status, (chat.body, told.body)
        if chat.status == 200:
            assert told.json()["count"] == chat.json()["usage"]["prompt_tokens"], (chat.body, told.body)
            assert told.json()["tokens"] == chat.json()["nvext"]["prompt_token_ids"]


def test_texts_that_grow_when_they_are_normalized(fleet, tmp_path):
    """Four bytes of U+1D160 are twelve in its normal form, and as many tokens here: more than the room that is taken at first. Also of a
    string that is long enough to be lent to the prompt."""
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    path = str(small_model(tmp_path / "m", template=template, normalizer={"type": "NFC"}))
    fleet.mocker("--model-path", path)
    f = fleet.frontend("--model-path", path).ready()
    words = "one two three " * 60
    for text in ("\U0001D160" * 40, words + "\U0001D160" * 5000 + " x" + words):
        normal = unicodedata.normalize("NFC", text)
        assert len(normal.encode()) > 2 * len(text.encode())
        ids = []
        for content in (text, normal):
            for ask in (f.chat, f.complete):
                r = ask(content, max_tokens=1, nvext={"extra_fields": ["prompt_token_ids"]})
                assert r.status == 200, r.body
                assert r.json()["usage"]["prompt_tokens"] == len(normal.encode())
                ids.append(r.json()["nvext"]["prompt_token_ids"])
        assert ids.count(ids[0]) == 4


def test_what_says_nothing_is_no_member(front):
    told = front.ask("POST", "/tokenize", {"messages": [USER], "chat_template": None, "return_token_strs": None, "truncate_prompt_tokens": None})
    assert told.status == 200, told.body


def test_images_are_the_engines_to_count(fleet, tmp_path):
    """Routing has no tokens of such a chat, so the page tells none. (Failed before: those of the text around them.)"""
    template = "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    engine = Scripted(lambda h, body: h.whole(200, b'{"choices":[]}'))
    f = fleet.frontend("--model-path", str(small_model(tmp_path / "m", template=template)), "--parity-check", "off", "--worker",
                       engine.url + ",block-size=16", env={"DYN_DISCOVERY_BACKEND": "mem"}).ready()
    try:
        assert f.ask("POST", "/tokenize", {"messages": [USER]}).json()["count"] == 2
        told = f.ask("POST", "/tokenize", {"messages": [USER, IMAGE]})
        assert told.status == 400 and "image parts" in told.body.decode(), told.body
    finally:
        engine.close()
