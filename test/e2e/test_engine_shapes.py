"""`weir mocker --engine` answers as the real engines did: each recorded exchange (test/data/engines/answers*.txt) is asked of
the mock engine, and status, members and their types are compared; its metrics have the names, types and labels of real pages."""
import json
import os
import re
import socket

import pytest

from test_engines import start
from weir import exposition, total

DATA = os.path.join(os.path.dirname(__file__), "../data/engines")
KINDS = {"vllm": "vllm-0.32.0", "sglang": "sglang-0.5.23", "older vllm": "vllm-0.16.0"}
# Recorded, and not served by a mock engine: a router asks none of them.
NOT_SERVED = {"render", "generate"}
# Answers with tokens: what ours lack is left out of the comparison, what they have must be of the recorded kind; but for these,
# null each, which Dynamo's answers have and a mock engine's with them.
GENERATED = re.compile("^/v1/(chat/)?completions$")
OURS = {"refusal", "audio_tokens", "system_fingerprint", "service_tier"}
# Says everything about a model's embeddings, of which a mock engine has none; a cut recording of all options.
PARTS = {"/model_info": {"embedding"}, "/server_info": None}


def exchanges(kind):
    found = []
    for name in ("answers.txt", "answers-own.txt"):
        with open(os.path.join(DATA, name), encoding="utf-8") as f:
            lines = f.read().splitlines()
        for line in lines:
            if line.startswith("Q\t"):
                _, engine, name, method, path, request = line.split("\t")
                found.append([engine, name, method, path, None if request == "-" else json.loads(request)])
            elif line.startswith("S "):
                found[-1].append(int(line[2:]))
            elif line[:2] in ("J ", "T "):
                found[-1].append(json.loads(line[2:]))
    return [e[1:] for e in found if e[0] == KINDS[kind]]


def shape(x):
    """Members and types; lists by their first element, numbers of both kinds are one."""
    if isinstance(x, dict):
        return {k: shape(v) for k, v in x.items()}
    if isinstance(x, list):
        return [shape(x[0])] if x else []
    return {bool: "truth", int: "number", float: "number", str: "text", type(None): "null"}[type(x)]


def misfits(ours, real, where="", exact=True):
    """Places where ours is not of the recorded shape. Not exact: members may be missing, and what was null may be something."""
    if isinstance(ours, dict) and isinstance(real, dict):
        more = set(ours) - set(real) - (set() if exact else {k for k in OURS if ours.get(k) == "null"})
        if more:
            yield f"{where}: not in the real one: {more}"
        if exact and set(real) - set(ours):
            yield f"{where}: missing: {set(real) - set(ours)}"
        for k in set(ours) & set(real):
            yield from misfits(ours[k], real[k], f"{where}.{k}", exact)
    elif isinstance(ours, list) and isinstance(real, list):
        if ours and real:
            yield from misfits(ours[0], real[0], where + "[]", exact)
    elif ours != real and (exact or "null" not in (ours, real)):
        yield f"{where}: {ours}, the real one has {real}"


def cut(text):
    """A recording that was cut, up to its last whole member."""
    while text:
        text = text[:text.rfind(',"')]
        try:
            return json.loads(text + "}")
        except ValueError:
            continue
    raise AssertionError("nothing of it can be read")


def events(text):
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(e.removeprefix("data: ")) for e in text.split("\n\n")[:-2]]


def mock(fleet, kind, *flags):
    older = ("--kv-events-form", "array") if kind.startswith("older") else ()
    return start(fleet, *older, *flags, kind=kind.split()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_answers_have_the_recorded_shape(fleet, kind):
    e = mock(fleet, kind, "--data-parallel-size", "2" if kind == "vllm" else "1", "--num-gpu-blocks-override", "4096")
    seen = 0
    for name, method, path, request, status, body in exchanges(kind):
        if name in NOT_SERVED:
            continue
        got = e.ask(method, path, request)
        assert got.status == status, (name, got.status, got.body)
        seen += 1
        if path == "/server_info" and isinstance(body, str):
            body = cut(body)
        if isinstance(body, str) and got.headers.get("content-type", "").startswith("text/event-stream"):
            ours, real = events(got.body.decode()), events(body)
            # First and last as there; between them each as one of theirs: where an engine cuts its text is its own affair.
            bad = [m for i in (0, -1) for m in misfits(shape(ours[i]), shape(real[i]), exact=False)]
            bad += [o for o in ours[1:-1]
                    if all(list(misfits(shape(o), shape(r), exact=False)) for r in real[1:-1])]
        elif isinstance(body, str):
            bad = [] if got.body.decode() == body else [f"{got.body} is not {body!r}"]
        else:
            ours, exact = json.loads(got.body), not GENERATED.match(path) and status == 200
            if path in PARTS:
                left_out = set(body) - set(ours) if PARTS[path] is None else PARTS[path]
                body = {k: v for k, v in body.items() if k not in left_out}
                ours = {k: v for k, v in ours.items() if PARTS[path] is not None or k in body}
            bad = list(misfits(shape(ours), shape(body), exact=exact))
        assert not bad, (name, bad)
        if name == "tokenize_with_strings":  # of the same bytes, in the vocabulary's writing
            assert ours["token_strs"] == body["token_strs"]
    assert seen >= (6 if kind.startswith("older") else 19), seen


def alphabet_model(folder):
    """The tokenizer of the recordings: one token for each byte, in the order of GPT-2's alphabet, and three special ones. (And a
    post-processor that puts the first of these before a prompt, which theirs had not.)"""
    letters = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    vocab = {chr(c): i for i, c in enumerate([*letters, *range(0x100, 0x144)])}
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    folder.mkdir()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [{"id": 256 + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                          "special": True} for i, t in enumerate(special)],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": special[0], "type_id": 0}},
                                                                    {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {special[0]: {"id": special[0], "ids": [256], "tokens": [special[0]]}}},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": []}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": special[2], "chat_template":
            "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"}))
    (folder / "config.json").write_text(json.dumps({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
                                                    "max_position_embeddings": 8192, "eos_token_id": 258}))
    return str(folder)


VECTORS = [
    ("<|im_start|>hi é\n", None, [256, 257, 71, 72, 220, 127, 102, 198], ["<|endoftext|>", "<|im_start|>", "h", "i", "Ġ", "Ã", "©", "Ċ"]),
    ("<|im_start|>hi é\n", False, [257, 71, 72, 220, 127, 102, 198], ["<|im_start|>", "h", "i", "Ġ", "Ã", "©", "Ċ"]),
    ("a 字", True, [256, 64, 220, 161, 255, 245], ["<|endoftext|>", "a", "Ġ", "å", "Ń", "Ĺ"]),
    ("a 字", False, [64, 220, 161, 255, 245], ["a", "Ġ", "å", "Ń", "Ĺ"])]


def test_tokens_as_vllm_tells_them(fleet, tmp_path):
    """`/tokenize` of `weir frontend`: what recorded vLLMs answered, member for member. (Failed before: texts instead of what the
    vocabulary writes, no `token_strs` unless asked for, special tokens of a prompt as text.)"""
    model = alphabet_model(tmp_path / "alphabet")
    fleet.mocker("--model-path", model)
    f = fleet.frontend("--model-path", model).ready()
    seen = set()
    for kind in ("vllm", "older vllm"):
        for name, method, path, request, status, body in exchanges(kind):
            if not name.startswith("tokenize"):
                continue
            if "prompt" in request:
                request["add_special_tokens"] = False
            got = f.ask(method, path, request)
            assert got.status == status and {**got.json(), "max_model_len": 0} == {**body, "max_model_len": 0}, name
            seen.add(name)
    assert seen == {"tokenize", "tokenize_chat", "tokenize_with_strings"}
    # What AutoTokenizer of transformers 5.19.0 makes of these files: encode() and convert_ids_to_tokens().
    for prompt, special, ids, strings in VECTORS:
        got = f.ask("POST", "/tokenize", {"model": "m", "prompt": prompt, "return_token_strs": True,
                                          **({} if special is None else {"add_special_tokens": special})}).json()
        assert (got["tokens"], got["token_strs"], got["count"]) == (ids, strings, len(ids))


def running(e):
    return total(exposition(e.get("/metrics")), "vllm:num_requests_running")


def test_what_is_aborted_ends_with_what_there_is(fleet):
    """POST /abort_requests, by the caller's id or the answer's; unknown ids are counted, too."""
    e = mock(fleet, "vllm", "--speedup-ratio", "1", "--decode-base-ms", "5")
    body = {"model": "m", "prompt": "hello", "max_tokens": 10000, "stream": True}
    with socket.create_connection((e.host, e.port), timeout=30) as s, s.makefile("rb") as answer:
        raw = json.dumps(body).encode()
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: mine\r\n"
                  b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw)
        while b'"text"' not in answer.readline():
            pass
        assert running(e) == 1
        got = e.ask("POST", "/abort_requests", {"request_ids": ["nobody", "mine"]})
        assert got.status == 200 and got.json() == {"status": "aborted", "aborted": 2}
        rest = answer.read().decode()
    assert '"finish_reason":"abort"' in rest and "data: [DONE]" in rest
    assert running(e) == 0
    assert e.ask("POST", "/abort_requests", {"request_ids": 1}).status == 400


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("named", [{"rid": "mi-ne"}, {"abort_all": True}, {"rid": None, "abort_all": True}])
def test_what_is_aborted_ends_with_what_there_is_sglang(fleet, named, chat):
    """POST /abort_request, by the caller's `rid`, which is the answer's id, or everything; 200 and nothing whatever there was. A
    real 0.5.23 was asked the same on both paths."""
    e = mock(fleet, "sglang", "--speedup-ratio", "1", "--decode-base-ms", "5")
    path = "/v1/chat/completions" if chat else "/v1/completions"
    body = {"model": "m", "max_tokens": 10000, "stream": True, "rid": "mi-ne", "stream_options": {"include_usage": True},
            **({"messages": [{"role": "user", "content": "hello"}]} if chat else {"prompt": "hello"})}

    def there():
        return total(exposition(e.get("/metrics")), "sglang:num_running_reqs")
    with socket.create_connection((e.host, e.port), timeout=30) as s, s.makefile("rb") as answer:
        raw = json.dumps(body).encode()
        s.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
                  f"content-length: {len(raw)}\r\n\r\n".encode() + raw)
        line = b""
        while b'"id":"mi-ne"' not in line:
            line = answer.readline()
        for other in ({}, {"rid": ""}, {"rid": "ne"}, {"rid": "nobody"}, {"rid": None, "abort_all": False}):
            got = e.ask("POST", "/abort_request", other)
            assert (got.status, got.body) == (200, b"")
        assert there() == 1
        assert e.ask("POST", "/abort_request", named).status == 200
        rest = answer.read().decode()
    assert '"finish_reason":"abort"' in rest and '"completion_tokens":' in rest and "data: [DONE]" in rest
    assert there() == 0
    assert e.ask("POST", "/abort_request", {"rid": 1}).status == 400 and e.ask("POST", "/abort_request", [1]).status == 400
    assert e.ask("POST", "/abort_requests", {"request_ids": ["x"]}).status == 404  # vLLM's


def samples(page):
    """Name and label names of each sample, and the types that are told."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M))
    found = {}
    for line in page.splitlines():
        m = re.match(r"([^#{\s]+)(?:\{(.*)\})? \S+$", line)
        if m:
            found.setdefault(m[1], set()).add(frozenset(re.findall(r'(\w+)="', m[2] or "")))
    return types, found


def recorded_page(kind):
    with open(os.path.join(DATA, "metrics.txt"), encoding="utf-8") as f:
        pages = re.split(r"^P (\S+)$", f.read(), flags=re.M)
    page = pages[pages.index(KINDS[kind]) + 1]
    return samples("\n".join(l[1:] for l in page.splitlines() if l.startswith("|")))


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_metrics_have_the_recorded_names_and_labels(fleet, kind):
    e = start(fleet, kind=kind)
    types, ours = samples(e.get("/metrics").decode())
    real_types, real = recorded_page(kind)
    n = 0
    for name, labels in ours.items():
        if name.startswith("weir_"):
            continue
        assert name in real and types[name] == real_types[name], name
        if name == "vllm:cache_config_info":  # thirty settings of the engine; ours has the ones that a router reads
            assert all(any(a <= b for b in real[name]) for a in labels), (name, labels)
        else:
            assert labels <= real[name], (name, labels, real[name])
        n += 1
    assert n >= 8, ours


def test_older_vllm_has_no_metric_by_reason(fleet):
    assert b"by_reason" not in mock(fleet, "older vllm").get("/metrics")
