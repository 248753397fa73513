"""Tokens that differ between `weir frontend` and its workers: found at start-up by canned conversations, later by
the counts of answers; told with the likely cause; and no routing by a cache that cannot be matched."""
import json
import re

import pytest

from scripted import ScriptedWorker
from test_engine_scripted import engines  # noqa: F401 (a fixture)
from test_engines import accesses, ask, follows, start
from weir import until

SPECIAL = ["<|endoftext|>", "<|start|>", "<|end|>"]
SPLIT = "{%- for m in messages %}<|start|>{{ m.role }}\n"
CALLS = "{%- for c in m.tool_calls or [] %}[{{ c.function.name }}({{ c.function.arguments | tojson }})]{% endfor %}"
TURN = SPLIT + "{{ m.content or '' }}" + CALLS + "<|end|>\n{%- endfor %}"
TOOLS = "{%- if tools %}<|start|>tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|end|>\n{% endif %}"
PROMPT = "{%- if add_generation_prompt %}<|start|>assistant\n{% endif %}"


def byte_alphabet():
    """The characters that stand for bytes in byte-level vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def model(folder, template=TOOLS + TURN + PROMPT, alphabet=None, bos=False, normalizer=None, special=()):
    """Files of a model with one token a byte; with `bos` a plain prompt gets <|endoftext|> in front. `special`: more such tokens,
    from 259 on."""
    folder.mkdir()
    vocab = {c: i for i, c in enumerate(alphabet or sorted(byte_alphabet()))}
    added = [{"id": 256 + i, "content": s, "special": True, "normalized": False, "lstrip": False, "rstrip": False,
              "single_word": False} for i, s in enumerate([*SPECIAL, *special])]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    front = [{"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}] if bos else []
    post = {"type": "TemplateProcessing", "single": front + [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": front + [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [256], "tokens": [SPECIAL[0]]}} if bos else {}}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": level, "post_processor": post if bos else level, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": []}}))
    (folder / "config.json").write_text('{"model_type": "small", "eos_token_id": 258}')
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": SPECIAL[2], "chat_template": template}))
    return folder


def front(fleet, path, *urls, flags=(), n=None):
    args = [a for u in urls for a in ("--worker", u)]
    f = fleet.frontend("--router-mode", "kv", "--model-path", str(path), *args, *flags,
                       env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem"})
    return f.ready(workers=n or len(urls))


def checks(f, source, result):
    return f.counted().metric("weir_parity_checks_total", model="m", source=source, result=result)


def conversation(f, engines, turns=3):
    """Overlaps that the router expected of one conversation, and tokens that the engine had."""
    history, seen = [], []
    for t in range(turns):
        history.append({"role": "user", "content": f"question {t} " * 20})
        text, _, overlap, cached = ask(f, {"model": "m", "messages": history, "max_tokens": 8})
        history.append({"role": "assistant", "content": text})
        seen.append((overlap, cached))
        follows(f, *engines)
    return seen


def test_same_files_are_the_same_tokens(fleet, tmp_path):
    files = model(tmp_path / "m")
    e = start(fleet, "--model-path", str(files))
    f = front(fleet, files, e.url)
    until("the canned conversations", lambda: checks(f, "tokenize", "same") >= 15)
    seen = conversation(f, [e])
    assert all(overlap * 16 == cached for overlap, cached in seen) and seen[-1][1] > 0
    assert f.complete("hello").status == 200
    assert checks(f, "usage", "same") == 4
    assert checks(f, "tokenize", "differs") == checks(f, "usage", "differs") == 0
    assert f.metric("weir_parity_fallback", model="m") == 0
    assert not [l for l in f.lines if "other tokens" in l]


def test_sglang_shapes_are_compared_its_way(fleet, tmp_path):
    files = model(tmp_path / "m")
    e = start(fleet, "--model-path", str(files), kind="sglang")
    events, replay = e.events()
    f = front(fleet, files, f"{e.url},kv-events={events},replay={replay}")
    until("the canned conversations", lambda: checks(f, "tokenize", "same") + checks(f, "tokenize", "differs") >= 15)
    assert checks(f, "tokenize", "differs") == 0
    assert f.metric("weir_parity_fallback", model="m") == 0


DIFFERENT = {
    "vocabulary": ("text", {"alphabet": sorted(byte_alphabet(), reverse=True)}),
    "bos_missing_here": ("prompt", {"bos": True}),
    "template": ("one question", {"template": TOOLS + TURN.replace("role }}\n", "role }}:") + PROMPT}),
    "system_prompt": ("one question", {
        "template": "{%- if messages[0].role != 'system' %}<|start|>system\nYou are nice.<|end|>\n{%- endif %}"
                    + TOOLS + TURN + PROMPT}),
    "generation_prompt": ("one question", {"template": TOOLS + TURN + PROMPT.replace("ant\n", "ant\n<think>\n")}),
    "tools": ("a tool", {"template": TOOLS.replace("tojson", "tojson(indent=2)") + TURN + PROMPT}),
    "content": ("reasoning in the history", {
        "template": TOOLS + TURN.replace("m.content or ''", "(m.content or '').split('</think>')[-1]") + PROMPT}),
}


@pytest.mark.parametrize("cause", sorted(DIFFERENT))
def test_a_difference_is_named_and_heals_with_the_worker(fleet, tmp_path, cause):
    canned, change = DIFFERENT[cause]
    ours, theirs = model(tmp_path / "ours"), model(tmp_path / "theirs", **change)
    good, bad = start(fleet, "--model-path", str(ours)), start(fleet, "--model-path", str(theirs))
    f = front(fleet, ours, good.url, bad.url)
    line = f.wait_line(r"model m: engine \S+ makes other tokens of the canned conversation \"([^\"]+)\".*Likely cause: "
                       r"(.*)\. Requests of this model are routed by load alone")
    assert line.group(1) == canned, line.group(0)
    assert f.metric("weir_parity_mismatches_total", model="m", cause=cause) == 1, line.group(0)
    assert f":{bad.port}/" in line.group(0) and f":{good.port}/" not in line.group(0)
    assert f.metric("weir_parity_fallback", model="m") == 1
    until("the good engine's conversations", lambda: checks(f, "tokenize", "same") >= 15)
    assert checks(f, "tokenize", "differs") == 1
    # The same prompt twice: nothing is expected to be there, and load alone sends it to both in turn.
    body = {"model": "m", "messages": [{"role": "user", "content": "again and again " * 20}], "max_tokens": 4}
    for _ in range(4):
        assert ask(f, body)[2] == 0
    at = len(f.lines)
    bad.kill()
    again = start(fleet, "--model-path", str(ours), port=bad.port)
    f.wait_line("no worker is left whose tokens differ from ours", at)
    f.ready(workers=2)
    assert f.metric("weir_parity_fallback", model="m") == 0
    seen = conversation(f, [good, again])
    assert all(overlap * 16 == cached for overlap, cached in seen) and seen[-1][0] > 0, seen


def test_report_changes_no_routing_and_off_asks_nothing(fleet, tmp_path):
    ours = model(tmp_path / "ours")
    theirs = model(tmp_path / "theirs", bos=True)  # differs for plain prompts only: chats still match
    e = start(fleet, "--model-path", str(theirs))
    f = front(fleet, ours, e.url, flags=("--parity-check", "report"))
    f.wait_line(r"begin-of-sequence token in front and we do not.*Routing stays as it is")
    assert f.metric("weir_parity_fallback", model="m") == 0
    assert conversation(f, [e])[-1][0] > 0
    off = front(fleet, ours, e.url, flags=("--parity-check", "off"))
    assert conversation(off, [e])[-1][0] > 0
    assert off.metric("weir_parity_checks_total") == 0
    assert not [l for l in off.lines if "other tokens" in l]


def chats(f, n, **fields):
    for _ in range(n):
        assert f.chat("hi", **fields).status == 200


def test_counts_of_answers(fleet, engines, tmp_path):  # noqa: F811
    """An engine without /tokenize: what it counts is compared, and believed when it differs five times in a row."""
    off = {"by": 0}
    length = len("Suser\nhiE") + len("Sassistant\n")  # S, E: one token each

    def answer(h, body):
        q = json.loads(body)
        text = b'{"usage":{"prompt_tokens":%d,"completion_tokens":1}}' % (length + off["by"])
        if q.get("stream"):
            h.begin_stream()
            h.chunk(b"data: " + text + b"\n\n")
            h.chunk(b"data: [DONE]\n\n")
            h.chunk(b"")
        else:
            h.whole(200, text)
    files = model(tmp_path / "m")
    e = engines(answer)
    f = front(fleet, files, e.url)
    chats(f, 3)
    chats(f, 1, stream=True, stream_options={"include_usage": True})
    assert checks(f, "usage", "same") == 4 and checks(f, "usage", "differs") == 0
    off["by"] = 1
    # Requests whose count proves nothing.
    chats(f, 6, chat_template="{{ messages }}")
    for _ in range(6):
        assert f.chat("hi", n=2).status == 200
    assert f.ask("POST", "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "http://x/y"}}]}]}).status == 200
    for prompt in (["a", "b"], [1, 2, 3], [[1], [2]]):
        assert f.complete(prompt).status == 200
    assert checks(f, "usage", "differs") == 0
    # A few in a row are not yet believed, and an answer that agrees begins anew.
    chats(f, 4)
    off["by"] = 0
    chats(f, 1)
    off["by"] = 1
    chats(f, 4)
    assert checks(f, "usage", "differs") == 8 and f.metric("weir_parity_fallback", model="m") == 0
    chats(f, 1, stream=True, stream_options={"include_usage": True})
    line = f.wait_line(r"has counted other prompt tokens than we in 5 answers in a row, the last one (\d+) where we make "
                       r"(\d+)\. Likely cause: the engine counts one token more")
    assert int(line.group(1)) == int(line.group(2)) + 1 == length + 1
    assert f.metric("weir_parity_fallback", model="m") == 1
    assert f.metric("weir_parity_mismatches_total", model="m", cause="one_more_there") == 1
    chats(f, 3)
    assert len([l for l in f.lines if "answers in a row" in l]) == 1


def test_worker_that_does_not_run_what_it_was_sent(fleet, tmp_path):
    """On the request plane the worker gets ids: its count must be theirs."""
    extra = {"n": 0}

    def usage(request):
        return {"prompt_tokens": len(request["token_ids"]) + extra["n"], "completion_tokens": 2, "total_tokens": 0}
    w = ScriptedWorker(fleet.env["DYN_FILE_KV"], lambda request: (["a", "b"], "stop"), usage=usage)
    try:
        f = fleet.frontend("--router-mode", "kv").ready()
        chats(f, 3)
        assert checks(f, "usage", "same") == 3
        extra["n"] = 1
        chats(f, 5)
        f.wait_line("the worker does not run the tokens that it was sent")
        assert checks(f, "usage", "differs") == 5
        assert f.metric("weir_parity_fallback", model="m") == 1
    finally:
        w.close()


@pytest.mark.parametrize("mode", ["kv", "round-robin"])
@pytest.mark.parametrize("owner", ["vllm", "sglang"])
def test_ids_that_no_model_of_that_size_has(fleet, engines, tmp_path, owner, mode):
    """vLLM 0.32 refuses them (400: "Token id 300 is out of vocabulary", of a larger tokenizer or config.json's vocab_size), SGLang 0.5.23
    ends. (Failed before: the engine had them.)"""
    e = engines(lambda h, body: h.whole(200, b"{}"), owned_by=owner)
    folder = model(tmp_path / "model")
    (folder / "config.json").write_text('{"model_type": "small", "eos_token_id": 258, "vocab_size": 300}')
    f = fleet.frontend("--router-mode", mode, "--model-path", str(folder), "--worker", e.url, env={"WEIR_ENGINE_POLL_SECS": "0.05"}).ready()
    asks = [("/v1/completions", "prompt"), ("/v1/embeddings", "input")]
    for path, field in asks:
        for bad in ([1, 2, 300], [[1], [99999]]):
            r = f.ask("POST", path, {"model": "m", field: bad})
            assert r.status == 400 and "outside of the model's vocabulary of 300" in r.json()["error"]["message"], r
        # So are those of bodies that our parser leaves to the engine, written as numbers of any kind. (Failed before: the engine had them.)
        for more in ({field: [300], "temperature": 3}, {field: [[1], [2, 300]], "stop": list("abcdefghijk"), "dimensions": "x"}, {field: [1.0, 3e2]}):
            r = f.ask("POST", path, {"model": "m", **more})
            assert r.status == 400 and "token id 300 is outside of the model's vocabulary of 300" in r.json()["error"]["message"], (more, r)
    assert not e.seen
    for path, field in asks:
        assert f.ask("POST", path, {"model": "m", field: [1, 299]}).status == 200
    assert len(e.seen) == 2


def test_ids_that_another_tokenizer_may_have(fleet, engines, tmp_path):
    """An engine whose tokens are not ours is the judge of its ids."""
    def tokenize(h, body):
        h.whole(200, b'{"count":2,"max_model_len":100,"tokens":[77,5000]}')
    e = engines(lambda h, body: h.whole(200, b"{}"), tokenize=tokenize)
    f = fleet.frontend("--router-mode", "kv", "--model-path", str(model(tmp_path / "model")), "--worker", e.url,
                       env={"WEIR_ENGINE_POLL_SECS": "0.05"}).ready()
    until("the difference to be found", lambda: f.metric("weir_parity_fallback", model="m") == 1)
    assert f.complete([1, 5000]).status == 200 and len(e.seen) == 1
