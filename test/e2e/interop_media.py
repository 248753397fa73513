"""Chats with images, videos and sounds, sent to a real Dynamo frontend and to Weir's, each before a worker of its own
(plane_worker.py): what the workers are sent, and which URLs are passed on.

Runs with WEIR_INTEROP=1. What stands in test/data/media-1.6.1.jsonl, media-urls-1.6.1.jsonl (test_media.py, unit_wire_media), images-1.6.1.jsonl
and image-rules-1.6.1.jsonl (unit_images) is asked again, and conversations are made up (WEIR_TEST_SEED, WEIR_TEST_CASES: 300).
Of the rules WEIR_TEST_RULES (3) are drawn.
"""
import base64
import json
import os
import random
import shutil
import struct
import zlib

import pytest

from interop_dynamo import VERSION, Http, dynamo, dynamo_front, model, pytestmark, theirs  # noqa: F401
from plane_worker import PlaneWorker, card_of_mocker
from test_media import PARTS, SIZES, TEMPLATE, image, image_rows, rows, sent_parts, text, user
from weir import Fleet

SEED = int(os.environ.get("WEIR_TEST_SEED", "1"))
CASES = int(os.environ.get("WEIR_TEST_CASES", "300"))
RULES_ASKED = int(os.environ.get("WEIR_TEST_RULES", "3"))
URLS = os.path.join(os.path.dirname(__file__), "../data/media-urls-1.6.1.jsonl")
RULES = os.path.join(os.path.dirname(__file__), "../data/image-rules-1.6.1.jsonl")
FLAGS = ("--router-mode", "kv", "--enable-anthropic-api")
PAD = 151655  # <|image_pad|>
VISION = {"architectures": ["X"], "model_type": "qwen3_vl", "image_token_id": PAD, "eos_token_id": 151645, "vocab_size": 151936, "max_position_embeddings": 131072}


def urls():
    with open(URLS, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


class Side:
    def __init__(self, fleet, api, card):
        self.worker = PlaneWorker(fleet, **card)
        self.api = api()

    def ask(self, body, path="/v1/chat/completions"):
        """(status, what the worker was sent or None)"""
        n = len(self.worker.requests)
        status, _ = self.api.ask("POST", path, {"model": "m", **({} if "input" in body else {"max_tokens": 3}), **body})
        return status, self.worker.requests[n][1] if len(self.worker.requests) > n else None


def vision_folder(folder, model, config, preprocessor, **tokenizer):  # noqa: F811
    """The model with TEMPLATE and these files; a text is a file itself, None is none."""
    shutil.copytree(model, folder)
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as f:
        tokenizer = {**json.load(f), "chat_template": TEMPLATE, **tokenizer}
    files = {"tokenizer_config.json": tokenizer, "config.json": config, "preprocessor_config.json": preprocessor}
    for name, value in files.items():
        if value is not None:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(value if isinstance(value, str) else json.dumps(value))
    return str(folder)


@pytest.fixture
def start(tmp_path, fleet, theirs, dynamo, model):  # noqa: F811
    """Dynamo's and ours, of a model with these files."""
    if VERSION < "1.6":
        pytest.skip("answers are those of 1.6.1")
    out = []

    def both(config, preprocessor, internal=False):
        card = card_of_mocker(fleet, vision_folder(tmp_path / "model", model, config, preprocessor))
        other = Fleet(tmp_path / "dynamo")
        os.makedirs(other.env["DYN_FILE_KV"])
        for f in (other, fleet):
            f.env.update(DYN_SELF_HOST_METADATA="0", DYN_MM_ALLOW_INTERNAL=str(int(internal)))
        out.append(Side(other, lambda: dynamo_front(theirs, other, dynamo, *FLAGS).enabled("/v1/messages", "/v1/responses"), card))
        out.append(Side(fleet, lambda: Http(fleet.frontend(*FLAGS).port).serving(), card))
        return out
    yield both
    for side in out:
        side.worker.close()


@pytest.fixture
def sides(request, start):
    """Of a model that knows no images; with internal addresses, where the parameter says so."""
    return start({**VISION, "model_type": "qwen3"}, None, getattr(request, "param", False))


@pytest.fixture
def seeing(start):
    return start(VISION, SIZES)


@pytest.mark.parametrize("sides", [False, True], indirect=True)
def test_kept_urls_are_still_dynamos(sides, request):
    internal = request.node.callspec.params["sides"]
    bad = []
    for row in urls():
        for side in sides:
            status, sent = side.ask({"messages": user(image(row["url"]))})
            want = row["sent"] if internal or not row["refused"] else None
            got = sent["multi_modal_data"]["image_url"][0]["Url"] if sent else None
            if (status, got) != (200 if want else 400, want):
                bad.append((row["url"], "Dynamo" if side is sides[0] else "Weir", status, got, want))
    assert not bad, bad


def test_kept_requests_are_still_dynamos(sides):
    bad = []
    for row in rows():
        seen = [side.ask(row["body"], row["path"]) for side in sides]
        for name, (status, sent) in zip(("Dynamo", "Weir"), seen):
            if status != row["status"] or (sent is not None and sent_parts(sent) != row["sent"]):
                bad.append((row["id"], name, status, sent and sent_parts(sent)))
        if seen[0][1] and seen[0][1]["token_ids"] != seen[1][1]["token_ids"]:
            bad.append((row["id"], "tokens"))
    assert not bad, bad


def made_part(rng):
    kind = rng.choice(["text", "text", "image_url", "image_url", "video_url", "audio_url"])
    if kind == "text":
        return text(rng.choice(["a", "two\nlines", "\u00e9 \"q\"", " ", "<|image_pad|>"]))
    part = {"type": kind, kind: {"url": rng.choice([r["url"] for r in urls()] + ["data:image/png;base64,AAAA", "https://example.com/a"] * 40)}}
    if rng.randrange(5) == 0:
        part["uuid"] = rng.choice(["u", "a/b", "", None, "\u00e9"])
        if part["uuid"] and rng.randrange(3) == 0:
            part[kind] = None
    if rng.randrange(5) == 0 and part[kind]:
        part[kind][rng.choice(["detail", "uuid", "x"])] = rng.choice(["auto", "high", "3fa85f64-5717-4562-b3fc-2c963f66afa6", None, 1])
    return part


def made_chat(rng):
    messages = [{"role": "system", "content": "s"}] if rng.randrange(2) else []
    for n in range(1 + rng.randrange(3)):
        content = [made_part(rng) for _ in range(1 + rng.randrange(4))]
        if all(p["type"] == "text" for p in content):  # several texts alone are one, or not: TEMPLATES.md
            content = content[0]["text"]
        messages.append({"role": "user", "content": content})
        if n % 2:
            messages.append({"role": "assistant", "content": "ok"})
    return {"messages": messages}


def unguarded(body, theirs, ours):
    """Dynamo's guard does not look at a request that names any of its media."""
    refused = {r["url"] for r in urls() if r["refused"]}
    media = [p for m in body["messages"] if isinstance(m["content"], list) for p in m["content"] if p["type"] != "text"]
    inside = [p for p in media if p["type"] == "image_url" and (p["image_url"] or {}).get("url") in refused]
    return (theirs[0], ours[0]) == (200, 400) and inside and any(p.get("uuid") for p in media)


def test_made_chats(sides):
    """The same tokens, media, names and messages, or refused by both."""
    rng, bad, served = random.Random(SEED), [], 0
    for _ in range(CASES):
        body = made_chat(rng)
        seen = [side.ask(body) for side in sides]
        told = [(status, sent and (sent["token_ids"], {k: sent.get(k) for k in PARTS})) for status, sent in seen]
        served += told[0][0] == 200
        if told[0] != told[1] and not unguarded(body, *told):
            bad.append(f"{json.dumps(body)}\n    Dynamo {told[0]}\n    Weir   {told[1]}"[:1500])
    print(f"seed {SEED}: {CASES} chats, {served} served by Dynamo, {len(bad)} otherwise")
    assert not bad, "\n".join(bad[:10])


# ---- images that become tokens -------------------------------------------------------------------


def made_png(width, height):
    """As far as its pixels, of which there are none."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x")).decode()


def counted(sent):
    """(tokens of the one image, the token in front of all or None)"""
    info = sent.get("mm_routing_info")
    if info is None:
        return None, None
    first = info["routing_token_ids"][0]
    bos = first if first != sent["token_ids"][0] else None
    return info["expanded_prompt_len"] - len(sent["token_ids"]) + 1 - (bos is not None), bos


def test_kept_images_are_still_dynamos(seeing):
    """And Weir's, but for those that it does not know."""
    bad = []
    for row in image_rows().values():
        seen = [side.ask({"messages": user(text("a"), image(row.get("asked", row["url"])))})[1] for side in seeing]
        theirs_, ours = ((counted(sent)[0], (sent["extra_args"].get("mm_hashes") or [None])[0]) for sent in seen)
        if theirs_ != (row["tokens"], row["hash"]):
            bad.append((row["id"], "Dynamo", theirs_))
        if ours != (theirs_ if row.get("here", True) else (None, None)):
            bad.append((row["id"], "Weir", ours))
        if ours[0] is not None and seen[0]["mm_routing_info"] != seen[1]["mm_routing_info"]:
            bad.append((row["id"], "info"))
    assert not bad, bad


def test_made_sizes(seeing):
    """Several images of a chat, of sizes that are drawn: the same tokens, names and ids all through."""
    rng, bad = random.Random(SEED), []
    for _ in range(CASES):
        sizes = [(rng.randrange(1, 1 << rng.randrange(3, 14)), rng.randrange(1, 1 << rng.randrange(3, 14))) for _ in range(1 + rng.randrange(3))]
        parts = [p for w, h in sizes for p in (text("a" * rng.randrange(20)), image(made_png(w, h)))]
        seen = [side.ask({"messages": user(*parts)})[1] for side in seeing]
        told = [(sent["mm_routing_info"], sent["extra_args"]["mm_hashes"]) for sent in seen]
        if told[0] != told[1]:
            bad.append((sizes, [t[0]["expanded_prompt_len"] for t in told]))
    assert not bad, (SEED, bad[:10])


def rules():
    """Those of this seed: each takes a frontend of its own, ten seconds."""
    with open(RULES, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    return random.Random(SEED).sample(rows, min(RULES_ASKED, len(rows)))


@pytest.mark.parametrize("row", rules(), ids=lambda r: r["id"].replace(" ", "-"))
def test_kept_rules_are_still_dynamos(row, tmp_path, fleet, theirs, dynamo, model):  # noqa: F811
    """A frontend for each: of its models those of other files would be the same one."""
    if VERSION < "1.6":
        pytest.skip("answers are those of 1.6.1")
    folder = tmp_path / row["source"]
    card = card_of_mocker(fleet, vision_folder(folder, model, row["config"], row["preprocessor"], **row["tokenizer_config"]))
    fleet.env["DYN_SELF_HOST_METADATA"] = "0"
    side = Side(fleet, lambda: dynamo_front(theirs, fleet, dynamo, *FLAGS), {**card, "context_length": 0})
    sizes = row["counts"] or [[64, 64, None]]
    got = [[w, h, *counted(side.ask({"messages": user(image(made_png(w, h)))})[1])] for w, h, _ in sizes]
    assert got == [[w, h, n, row["bos"]] for w, h, n in sizes]
    side.worker.close()
