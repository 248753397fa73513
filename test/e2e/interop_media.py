"""Chats with images, videos and sounds, sent to a real Dynamo frontend and to Weir's, each before a worker of its own
(plane_worker.py): what the workers are sent, and which URLs are passed on.

Runs with WEIR_INTEROP=1. What stands in test/data/media-1.6.1.jsonl and test/data/media-urls-1.6.1.jsonl (test_media.py, unit_wire_media)
is asked again, and conversations are made up (WEIR_TEST_SEED, WEIR_TEST_CASES: 300).
"""
import json
import os
import random
import shutil

import pytest

from interop_dynamo import VERSION, Http, dynamo, dynamo_front, model, pytestmark, theirs  # noqa: F401
from plane_worker import PlaneWorker, card_of_mocker
from test_media import PARTS, TEMPLATE, image, rows, sent_parts, text, user
from weir import Fleet

SEED = int(os.environ.get("WEIR_TEST_SEED", "1"))
CASES = int(os.environ.get("WEIR_TEST_CASES", "300"))
URLS = os.path.join(os.path.dirname(__file__), "../data/media-urls-1.6.1.jsonl")
FLAGS = ("--router-mode", "kv", "--enable-anthropic-api")


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


@pytest.fixture
def sides(request, tmp_path, fleet, theirs, dynamo, model):  # noqa: F811
    """Dynamo's and ours; with internal addresses, where the parameter says so."""
    if VERSION < "1.6":
        pytest.skip("answers are those of 1.6.1")
    folder = str(tmp_path / "vision")
    shutil.copytree(model, folder)
    with open(os.path.join(folder, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(TEMPLATE)
    card = card_of_mocker(fleet, folder)
    other = Fleet(tmp_path / "dynamo")
    os.makedirs(other.env["DYN_FILE_KV"])
    for f in (other, fleet):
        f.env.update(DYN_SELF_HOST_METADATA="0", DYN_MM_ALLOW_INTERNAL=str(int(getattr(request, "param", False))))
    out = [Side(other, lambda: dynamo_front(theirs, other, dynamo, *FLAGS).enabled("/v1/messages", "/v1/responses"), card),
           Side(fleet, lambda: Http(fleet.frontend(*FLAGS).port).serving(), card)]
    yield out
    for side in out:
        side.worker.close()


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
