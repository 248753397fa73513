"""Prompts of DeepSeek V3.2 and V4, whose chats are rendered by code. The rows of test/data/deepseek-prompts.jsonl are those of a live Dynamo
(interop_deepseek.py), of vLLM and of SGLang (engine_diff.py): who made it, for which model_type where that is not V3.2's, the request, the
prompt."""
import json
import os
import subprocess

import pytest

from plane_worker import PlaneWorker, card_of_mocker
from test_engine_prompts import ids_of
from test_parity import model as small_model
from weir import WEIR, until

DATA = os.path.join(os.path.dirname(__file__), "../data/deepseek-prompts.jsonl")
TEMPLATE = "T {{ messages[0].content }}"


ARCHITECTURES = {"deepseek_v32": "DeepseekV32ForCausalLM", "deepseek_v4": "DeepseekV4ForCausalLM"}


def rows(engine, kind):
    with open(DATA, encoding="utf-8") as f:
        return [r for r in map(json.loads, f) if r["engine"].startswith(engine) and r.get("model", "deepseek_v32") == kind]


def write(folder, kind="deepseek_v32", template=None):
    small_model(folder)
    for file, change in (("tokenizer_config.json", {"chat_template": template}), ("config.json", {"model_type": kind, "architectures": [ARCHITECTURES.get(kind, "X")]})):
        path = folder / file
        path.write_text(json.dumps({k: v for k, v in {**json.loads(path.read_text()), **change}.items() if v is not None}))
    return str(folder)


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "v32")


def front_of(fleet, folder, name="m"):
    fleet.mocker("--model-path", folder, model=name)
    return fleet.frontend("--router-mode", "kv").ready(model=name)


def asked(front, body):
    r = front.ask("POST", "/tokenize", body)
    return r.json()["tokens"] if r.status == 200 else r.status


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_prompts_are_dynamos(fleet, tmp_path, kind):
    front, kept = front_of(fleet, write(tmp_path / "m", kind)), rows("dynamo", kind)
    bad = [(r["body"], r["prompt"]) for r in kept if asked(front, r["body"]) != ids_of(r["prompt"])]
    assert not bad and len(kept) > 40, "\n".join(map(str, bad[:5]))


@pytest.mark.parametrize("engine, kind", [("vllm", "deepseek_v32"), ("vllm", "deepseek_v4"), ("sglang", "deepseek_v32")])
def test_prompts_are_the_engines(tmp_path, engine, kind):
    kept = rows(engine, kind)
    p = subprocess.run([WEIR, "render", "--model-path", write(tmp_path / "m", kind), "--flavour", engine, "--lines"], input="".join(json.dumps(r["body"]) + "\n" for r in kept),
                       capture_output=True, text=True, timeout=60, check=True)
    got = [json.loads(line) for line in p.stdout.split("\n") if line]
    bad = [(r["body"], r["prompt"], g) for r, g in zip(kept, got) if r["prompt"] != g]
    assert not bad and len(got) > 25, "\n".join(map(str, bad[:5]))


@pytest.mark.parametrize("kind, name, template, prompt", [
    ("deepseek_v32", "m", TEMPLATE, "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜><think>"),
    ("deepseek_v32", "DeepSeek-V3.2-Exp", TEMPLATE, "T hi"), ("deepseek_v3", "DeepSeek-V3.2", TEMPLATE, "T hi"),
    ("deepseek_v32", "DeepSeek-V3.2-Exp", None, 400), ("deepseek_v4", "m", TEMPLATE, "<｜begin▁of▁sentence｜><｜User｜>hi<｜Assistant｜></think>"),
    ("deepseek_v41", "m", TEMPLATE, 400)])
def test_who_is_rendered_by_code_for_dynamo(fleet, tmp_path, kind, name, template, prompt):
    """As a live Dynamo 1.6.1 chose; V4.1 has code of its own there, which is not known here."""
    front = front_of(fleet, write(tmp_path / "m", kind, template=template), name)
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}], **({"reasoning_effort": "none"} if kind == "deepseek_v4" else {})}
    assert asked(front, body) == (ids_of(prompt) if isinstance(prompt, str) else prompt)
    status = front.ask("POST", "/v1/chat/completions", {**body, "max_tokens": 2}).status
    assert status == (prompt if prompt == 400 else 200)


def test_plain_text_of_responses_is_no_format(fleet, model):
    """A live Dynamo 1.6.1 shows a format of Responses in the prompt, but for plain text."""
    front = front_of(fleet, model)
    lengths = []
    for form in (None, {"type": "text"}, {"type": "json_object"}):
        r = front.ask("POST", "/v1/responses", {"model": "m", "input": "hi", "max_output_tokens": 2, **({"text": {"format": form}} if form else {})})
        assert r.status == 200, r
        lengths.append(r.json()["usage"]["input_tokens"])
    assert lengths[0] == lengths[1] < lengths[2]


def test_the_next_turn_has_the_form_of_answers_too(fleet, model):
    """`speculative_prefill`: its prompt begins as that of the turn before (failed before: the form was left out)."""
    worker = PlaneWorker(fleet, **card_of_mocker(fleet, model))
    front = fleet.frontend("--router-mode", "kv").ready()
    said = [{"token_ids": [104, 105]}, {"token_ids": [], "finish_reason": "stop"}]
    assert front.chat("hi", response_format={"type": "json_object"}, nvext={
        "annotations": ["script:" + json.dumps(said)], "agent_hints": {"speculative_prefill": True}}).status == 200
    until("the next turn", lambda: len(worker.requests) == 2)
    first, then = (q["token_ids"] for _, q in worker.requests)
    assert then[:len(first)] == first and len(then) > len(first)
    worker.close()
