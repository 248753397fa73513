"""Chats with images, videos and sounds before workers of the request plane: what a worker is sent, what is refused, where such a
chat goes, and that nothing is lost on the way through a second worker, a prefill worker or `weir router`.

test/data/media-1.6.1.jsonl: requests with what a worker of a live Dynamo 1.6.1 was sent, under TEMPLATE; images-1.6.1.jsonl: what it calls
images, and how many tokens they are for a Qwen3-VL. interop_media.py asks both again.
"""
import json
import os

import pytest

from plane_worker import PlaneWorker, card_of_mocker
from scripted import call
from test_parity import model as small_model
from test_pools import pool_router
from weir import Fleet, until

ROWS = os.path.join(os.path.dirname(__file__), "../data/media-1.6.1.jsonl")
IMAGES = os.path.join(os.path.dirname(__file__), "../data/images-1.6.1.jsonl")
# In the manner of Qwen2-VL's: texts or parts, and a token for each medium.
TEMPLATE = """{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}\
<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' or 'video' in content %}<|vision_start|><|video_pad|><|vision_end|>\
{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# As the template of the capture has it: images are counted, and written alike.
PARTS = ("multi_modal_data", "multi_modal_uuids", "mm_routing_info", "extra_args", "mm_processor_kwargs", "media_io_kwargs")
TEXT = "the quick brown fox jumps over the lazy dog " * 20
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def rows():
    with open(ROWS, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def image_rows():
    with open(IMAGES, encoding="utf-8") as f:
        return {row["id"]: row for row in map(json.loads, f)}


def image(url="http://example.com/a.png", **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def text(words):
    return {"type": "text", "text": words}


def user(*parts):
    return [{"role": "user", "content": list(parts)}]


def ask(front, *parts, **fields):
    return front.chat(messages=user(*parts), **fields)


def sent_parts(request):
    return {name: request.get(name) for name in PARTS}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """(frontend, worker) of a model with TEMPLATE."""
    folder = tmp_path_factory.mktemp("media")
    fleet = Fleet(folder)
    card = card_of_mocker(fleet, str(small_model(folder / "model", template=TEMPLATE)))
    worker = PlaneWorker(fleet, **card)
    front = fleet.frontend("--router-mode", "kv", "--enable-anthropic-api").ready()
    yield front, worker
    fleet.close()
    worker.close()


@pytest.mark.parametrize("row", rows(), ids=lambda r: r["id"])
def test_as_from_dynamo(seen, row):
    front, worker = seen
    n = len(worker.requests)
    r = front.ask("POST", row["path"], row["body"])
    assert r.status == row["status"], r
    assert (len(worker.requests) > n) == ("sent" in row)
    if "sent" in row:
        assert sent_parts(worker.last()[1]) == row["sent"]
    else:
        assert "ontent" in r.json()["error"]["message"], r  # where it is wrong, and how


def test_the_other_apis(seen):
    front, worker = seen
    r = front.ask("POST", "/v1/responses", {"model": "m", "input": [{"role": "user", "content": [
        {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "http://example.com/a", "detail": "high"}]}]})
    assert r.status == 200, r
    assert worker.last()[1]["multi_modal_data"] == {"image_url": [{"Url": "http://example.com/a"}]}
    assert worker.last()[1]["extra_args"]["messages"][0]["content"][1]["image_url"]["detail"] == "high"
    r = front.ask("POST", "/v1/responses", {"model": "m", "input": [
        {"role": "user", "content": "hi"}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": "http://example.com/b"}]}]})
    assert r.status == 200, r
    assert worker.last()[1]["multi_modal_data"] == {"image_url": [{"Url": "http://example.com/b"}]}
    assert worker.last()[1]["extra_args"]["messages"][2]["content"][0]["image_url"]["detail"] == "auto"
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    r = front.ask("POST", "/v1/messages", {"model": "m", "max_tokens": 3, "messages": user(block, text("b"))})
    assert r.status == 200, r
    assert worker.last()[1]["multi_modal_data"] == {"image_url": [{"Url": "data:image/png;base64,AAAA"}]}
    # Not by its place in the chat that was made of it (failed before).
    inside = {"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/a"}}
    r = front.ask("POST", "/v1/messages", {"model": "m", "max_tokens": 3, "system": "s", "messages": user(inside)})
    assert r.status == 400 and r.json()["error"]["message"].startswith("image: the URL is not passed on"), r
    told = front.ask("POST", "/v1/messages/count_tokens", {"model": "m", "messages": user(block)})
    assert told.status == 501 and "cannot be counted" in told.body.decode(), told
    r = ask(front, image(), text("a"), nvext={"extra_fields": ["prompt_token_ids"]})
    told = front.ask("POST", "/tokenize", {"model": "m", "messages": user(image(), text("a"))})
    assert told.json()["tokens"] == worker.last()[1]["token_ids"] and r.status == 200


@pytest.mark.parametrize("part, words", [
    (image("http://10.0.0.1/a"), "content[0].image_url.url: the URL is not passed on, because it names an address"),
    (image("http://example.com:8000/a"), "names a port"), (image("http://localhost/a"), "internal"),
    (image("http://m\u00fcnchen.de/a"), "xn--"), (image("http://a b/c"), "no host may hold"),
    ({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, "audio_url"),
    (image("data:image/png;base64," + "A" * (16 << 20)), "exceeds the 16777216-byte limit")])
def test_refused_with_words(seen, part, words):
    front, worker = seen
    n = len(worker.requests)
    r = ask(front, part, text("x"))
    assert r.status == 400 and words in r.json()["error"]["message"], r
    assert len(worker.requests) == n


def test_no_more_than_so_many(seen):
    front, worker = seen
    assert ask(front, *[image()] * 1024).status == 200
    assert len(worker.last()[1]["multi_modal_data"]["image_url"]) == 1024
    r = ask(front, *[image()] * 1025)
    assert r.status == 400 and "more than 1024" in r.json()["error"]["message"]


def test_megabytes(seen):
    front, worker = seen
    url = "data:image/png;base64," + "QUJD" * (1 << 18)
    assert ask(front, image(url), image(url)).status == 200
    assert worker.last()[1]["multi_modal_data"] == {"image_url": [{"Url": url}] * 2}


def test_counted(seen):
    front, _ = seen

    def sums():
        page = front.counted()
        return [page.metric(f"dynamo_frontend_{kind}_per_request_{what}", model="m") for kind in ("images", "videos", "audio")
                for what in ("sum", "count")]
    before = sums()
    assert ask(front, image(), image(), {"type": "audio_url", "audio_url": {"url": "data:,"}}).status == 200
    assert front.chat().status == 200
    assert [b - a for a, b in zip(before, sums())] == [2, 2, 0, 2, 1, 2]


def test_a_template_without_a_place(tmp_path, fleet):
    card = card_of_mocker(fleet, str(small_model(tmp_path / "model", template="{% for m in messages %}{{ m.content }}{% endfor %}")))
    worker = PlaneWorker(fleet, **card)
    front = fleet.frontend().ready()
    r = ask(front, image(), text("a"))
    assert r.status == 400 and "no place for image parts" in r.json()["error"]["message"], r
    assert not worker.requests
    worker.close()


def test_addresses_of_ones_own(tmp_path, fleet):
    card = card_of_mocker(fleet, str(small_model(tmp_path / "model", template=TEMPLATE)))
    worker = PlaneWorker(fleet, **card)
    front = fleet.frontend(env={"DYN_MM_ALLOW_INTERNAL": "1", "DYN_MM_MAX_DATA_URL_MB": "1"}).ready()
    assert ask(front, image("http://127.1:8000/a")).status == 200
    assert worker.last()[1]["multi_modal_data"] == {"image_url": [{"Url": "http://127.0.0.1:8000/a"}]}
    r = ask(front, image("data:," + "A" * (1 << 20)))
    assert r.status == 400 and "exceeds the 1048576-byte limit" in r.json()["error"]["message"], r
    worker.close()


# ---- images whose tokens are known ---------------------------------------------------------------

PAD = 259  # of the model below: the token that stands for an image
QWEN3 = {"model_type": "qwen3_vl", "image_token_id": PAD, "eos_token_id": 258}
SIZES = {"size": {"longest_edge": 16777216, "shortest_edge": 65536}, "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}


def vision_model(folder, config=QWEN3, preprocessor=SIZES, **tokenizer):
    """Its files, with the numbers of the kept images."""
    small_model(folder, template=TEMPLATE, special=["<|image_pad|>"])
    (folder / "config.json").write_text(json.dumps(config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    name = folder / "tokenizer_config.json"
    name.write_text(json.dumps({**json.loads(name.read_text()), **tokenizer}))
    return str(folder)


def known(*names):
    """As parts of a message, and the tokens that stand for each in what is compared: shared spec "kvrouter" 1.2."""
    rows = [image_rows()[name] for name in names]
    return [image(r["url"]) for r in rows], [[1000000 + (int(r["hash"], 16) & (1 << 30) - 1)] * r["tokens"] for r in rows], [r["hash"] for r in rows]


def expanded(ids, runs, front=()):
    out, runs = list(front), iter(runs)
    for t in ids:
        out += next(runs) if t == PAD else [t]
    return {"routing_token_ids": out + [0] * (-len(out) % 16), "block_mm_infos": [], "expanded_prompt_len": len(out)}


@pytest.fixture(scope="module")
def sees(tmp_path_factory):
    """(frontend, worker) of a Qwen3-VL."""
    folder = tmp_path_factory.mktemp("sees")
    fleet = Fleet(folder)
    worker = PlaneWorker(fleet, **card_of_mocker(fleet, vision_model(folder / "model")))
    yield fleet.frontend("--router-mode", "kv").ready(), worker
    fleet.close()
    worker.close()


@pytest.mark.parametrize("names", [["png"], ["jpeg"], ["webp"], ["gif"], ["webp animated", "png palette", "png palette", "jpeg progressive"]], ids="+".join)
def test_a_worker_is_told_what_the_prompt_becomes(sees, names):
    front, worker = sees
    images, runs, hashes = known(*names)
    assert ask(front, text("a"), *images, text("b")).status == 200
    sent = worker.last()[1]
    assert sent["token_ids"].count(PAD) == len(names)
    assert sent["mm_routing_info"] == expanded(sent["token_ids"], runs)
    assert sent["extra_args"]["mm_hashes"] == hashes


PNG = image_rows()["png"]["url"]


@pytest.mark.parametrize("fields, parts", [
    ({}, [{**image(PNG), "uuid": "u"}]), ({}, [image(PNG), image()]), ({}, [image(PNG), image("data:image/png;base64,AAAA")]),
    ({}, [image(PNG), text("<|image_pad|>")]), ({"mm_processor_kwargs": {"min_pixels": 5}}, [image(PNG)]),
    ({}, [image(PNG), {"type": "audio_url", "audio_url": {"url": "data:,"}}])],
    ids=["name", "address", "broken", "placeholder in a text", "other numbers", "a sound beside it"])
def test_nothing_is_told_of_what_is_not_known(sees, fields, parts):
    """As by Dynamo, but for addresses, of which it reads the first bytes."""
    front, worker = sees
    assert ask(front, *parts, **fields).status == 200
    sent = worker.last()[1]
    assert "mm_routing_info" not in sent and "mm_hashes" not in sent["extra_args"]


@pytest.mark.parametrize("card, tokenizer, front", [
    ({"media_decoder": {"image": {}}}, {}, None),
    ({}, {"add_bos_token": True, "bos_token": "<|endoftext|>"}, [256]), ({}, {"add_bos_token": True, "bos_token": "two tokens"}, [])],
    ids=["its frontend reads images", "begin of text", "begin of text is several"])
def test_of_other_models(tmp_path, fleet, card, tokenizer, front):
    worker = PlaneWorker(fleet, **{**card_of_mocker(fleet, vision_model(tmp_path / "model", **tokenizer)), **card})
    images, runs, _ = known("png")
    assert ask(fleet.frontend().ready(), *images).status == 200
    sent = worker.last()[1]
    assert sent.get("mm_routing_info") == (None if front is None else expanded(sent["token_ids"], runs, front))
    worker.close()


def test_no_more_is_told_than_the_model_has_room_for(tmp_path, fleet):
    """64 images of 46 bytes that say they are large became a million ids for each request (failed before)."""
    worker = PlaneWorker(fleet, **{**card_of_mocker(fleet, vision_model(tmp_path / "model")), "context_length": 218})
    front = fleet.frontend().ready()
    images, runs, _ = known("png", "jpeg")
    assert ask(front, images[0]).status == 200
    sent = worker.last()[1]
    assert sent["mm_routing_info"] == expanded(sent["token_ids"], runs) and sent["mm_routing_info"]["expanded_prompt_len"] == 218
    assert ask(front, *images).status == 200
    sent = worker.last()[1]
    assert "mm_routing_info" not in sent and "mm_hashes" not in sent["extra_args"] and len(sent["multi_modal_data"]["image_url"]) == 2
    worker.close()


def test_a_second_turn_finds_its_images(tmp_path, fleet):
    """(Failed before: blocks were compared up to the first image.)"""
    fleet.mocker("--model-path", vision_model(tmp_path / "model"), "--block-size", "16", workers=2)
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    (one, other), _, _ = known("png", "jpeg")
    assert hit_rate(front, text(TEXT), one, text(TEXT)) == 0
    until("the worker's blocks", lambda: hit_rate(front, text(TEXT), one, text(TEXT)) > 0.97)
    assert hit_rate(front, text(TEXT), one, text(TEXT), text("and then?" * 9)) > 0.8
    # the same size, but another image
    assert 0.4 < hit_rate(front, text(TEXT), other, text(TEXT)) < 0.5
    assert hit_rate(front, text(TEXT), image(), text(TEXT)) < 0.5


# ---- where it goes -------------------------------------------------------------------------------


def hit_rate(front, *parts):
    """Share of the prompt's blocks that the router believes to be held."""
    name = "dynamo_component_router_kv_hit_rate_sum"
    before = front.counted().metric(name)
    assert ask(front, *parts, max_tokens=2).status == 200
    return front.counted().metric(name) - before


def test_blocks_are_compared_up_to_the_first_image(tmp_path, fleet):
    """The mocker's own blocks are those of the ids it gets, which are the same for every image."""
    fleet.mocker("--model-path", str(small_model(tmp_path / "model", template=TEMPLATE)), "--block-size", "16", workers=2)
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    plain, one = (text(TEXT), text(TEXT)), (text(TEXT), image(PIXEL), text(TEXT))
    assert hit_rate(front, *plain) == 0
    until("the worker's blocks", lambda: hit_rate(front, *plain) > 0.9)
    rates = [hit_rate(front, *one) for _ in range(3)] + [hit_rate(front, text(TEXT), image(), text(TEXT))]
    assert all(0.4 < r < 0.5 for r in rates), rates
    assert hit_rate(front, image(), text(TEXT)) < 0.2
    assert hit_rate(front, *plain) > 0.9


def test_blocks_behind_an_image_are_load(tmp_path, fleet):
    """(Failed before: a worker busy with images looked idle once they were prefilled.)"""
    fleet.mocker("--model-path", str(small_model(tmp_path / "model", template=TEMPLATE)), "--block-size", "16", "--speedup-ratio", "1",
                 "--decode-base-ms", "20")
    front = fleet.frontend("--router-mode", "kv").ready()
    held = front.hold(messages=user(image(PIXEL), text(TEXT)), max_tokens=100000, ignore_eos=True)
    until("its blocks", lambda: front.metric("dynamo_frontend_worker_active_decode_blocks") >= len(TEXT) // 16)
    held.close()


def test_another_worker_gets_the_same(tmp_path, fleet):
    card = card_of_mocker(fleet, str(small_model(tmp_path / "model", template=TEMPLATE)))
    workers = [PlaneWorker(fleet, "m", 0x77 + n, f"plane{n}", **{**card, "migration_limit": 3}) for n in range(2)]
    front = fleet.frontend("--migration-limit", "3").ready(workers=2)
    script = [{"token_ids": [97]}, {"raise": {"http_status": 503, "message": "gone"}}]
    for w in workers:
        w.drops = "hangs up behind its prologue"
    ask(front, text("a"), image(PIXEL), nvext={"annotations": ["script:" + json.dumps(script)]})
    got = [q for w in workers for _, q in w.requests]
    assert len(got) >= 2 and all(q["multi_modal_data"] == {"image_url": [{"Url": PIXEL}]} for q in got)
    for w in workers:
        w.close()


def test_prefill_and_decode(tmp_path, fleet):
    folder = str(small_model(tmp_path / "model", template=TEMPLATE))
    pre = fleet.mocker("--model-path", folder, "--disaggregation-mode", "prefill")
    dec = fleet.mocker("--model-path", folder, "--disaggregation-mode", "decode")
    front = fleet.frontend("--router-mode", "kv").ready(workers=1)
    front.wait_line("model m has 1 prefill worker")
    for _ in range(3):
        assert ask(front, text(TEXT), image(PIXEL), text("x"), max_tokens=4).status == 200
    assert pre.metric("finished_total") == dec.metric("finished_total") == 3


def test_through_a_router_of_its_own(tmp_path, fleet):
    """`weir router` passes all of it on, and looks for blocks of those tokens alone that say what they hold."""
    card = card_of_mocker(fleet, str(small_model(tmp_path / "model", template=TEMPLATE)))
    worker = PlaneWorker(fleet, "m", component="backend", **card)
    router = pool_router(fleet, "dynamo").ready()
    until("its worker", lambda: router.metric("weir_router_workers") == 1)
    data = {"image_url": [{"Url": PIXEL}, {"UuidOnly": "u"}, {"Decoded": {"shape": [1, 2]}}], "video_url": [{"Url": "http://h/v"}]}
    request = {"token_ids": list(range(100)), "multi_modal_data": data, "stop_conditions": {"max_tokens": 2},
               "multi_modal_uuids": {"image_url": [None, "u", None], "video_url": [None]}, "extra_args": {"messages": []}}
    routing = {"routing_token_ids": list(range(64)) + [0] * 16, "block_mm_infos": [], "expanded_prompt_len": 70}

    def blocks(**more):
        return call(fleet.env["DYN_FILE_KV"], "dynamo", "router", "get_overlap_scores", {**request, **more})[0]["data"]["num_blocks"]
    call(fleet.env["DYN_FILE_KV"], "dynamo", "router", "generate", {**request, "mm_routing_info": routing})
    got = worker.last()[1]
    assert {k: got[k] for k in request if k != "stop_conditions"} == {k: v for k, v in request.items() if k != "stop_conditions"}
    assert got["mm_routing_info"] == routing
    assert blocks() == 0 and blocks(mm_routing_info=routing) == 4 and blocks(multi_modal_data=None, multi_modal_uuids=None) == 6
    # ids that do not say all of their blocks
    named = {**routing, "block_mm_infos": [None, {"mm_objects": [{"mm_hash": 1, "offsets": [[16, 17]]}]}]}
    assert blocks(mm_routing_info=named) == 0 and blocks(mm_routing_info={**routing, "routing_token_ids": []}) == 0
    worker.close()
