"""Model files on the frontend's side must be those that the worker serves with."""
import json
import os
import shutil

import pytest

import testenv
from test_engines import start
from test_parity import model as small_model


HERE = {"DYN_SELF_HOST_METADATA": "0"}  # cards name the files by their paths on this machine


@pytest.fixture
def model(tmp_path):
    source = testenv.qwen3_tokenizer()
    folder = tmp_path / "model"
    folder.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(source, file), folder)
    (folder / "config.json").write_text('{"model_type":"qwen3","eos_token_id":151645}')
    (folder / "generation_config.json").write_text('{"eos_token_id":[151645,151643]}')
    return folder


def test_same_files_serve(fleet, model):
    fleet.mocker("--model-path", str(model), env=HERE)
    front = fleet.frontend().ready()
    assert front.chat("hello").status == 200


@pytest.mark.parametrize("file", ["tokenizer_config.json", "generation_config.json"])
def test_a_changed_file_is_refused(fleet, model, file):
    fleet.mocker("--model-path", str(model), env=HERE)
    with open(model / file, "a", encoding="utf-8") as f:
        f.write("\n")
    front = fleet.frontend()
    front.wait_line(rf"{file} is not the file that the worker serves with: blake3:\w+ in \S+, blake3:\w+ in its card")
    assert front.get("/v1/models").json()["data"] == []


def test_a_missing_file_is_refused(fleet, model):
    fleet.mocker("--model-path", str(model), env=HERE)
    os.unlink(model / "generation_config.json")
    front = fleet.frontend()
    front.wait_line(r"generation_config.json, which the card names, is not in ")
    assert front.get("/v1/models").json()["data"] == []
    assert front.chat("hello").status == 503


@pytest.mark.parametrize("kind", ["engines", "workers"])
def test_files_that_cannot_be_used_are_a_lasting_reason(fleet, tmp_path, kind):
    """As of an embedding model of the BERT kind. Clients, the model's page and its readiness say so, and name no path. (Failed
    before: "The deployment may still be starting up", to be asked again.)"""
    folder = small_model(tmp_path / "m")
    if kind == "workers":
        fleet.mocker("--model-path", str(folder), env=HERE)
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["model"] = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                      "vocab": {"[UNK]": 0, "a": 1}}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    if kind == "engines":
        front = fleet.frontend("--worker", start(fleet).url, "--model-path", str(folder), env={"WEIR_ENGINE_POLL_SECS": "0.05"})
    else:
        front = fleet.frontend()
    front.wait_line(r"ERROR models: model m is not served: .*" + ("model\\.type" if kind == "engines" else "not the file that the worker serves with"))
    why = "the frontend cannot use the model's files. Its log says why (`is not served`); coming again does not help until they are mended"
    asks = [front.chat("hello"), front.complete("hello"), front.ask("POST", "/v1/responses", {"model": "m", "input": "x"}), front.get("/v1/models/m")]
    for r in asks:
        assert r.status == 503 and why in json.dumps(r.json()) and str(tmp_path) not in r.body.decode(), r
        assert r.headers["x-should-retry"] == "false" and "retry-after" not in r.headers, r.headers
    page = front.get("/v1/models/m/ready").json()
    assert page["ready"] is False and page["reason"] == why
    assert [s["reason"] for s in page["namespaces"].values()] == [why]
    assert front.get("/v1/models").json()["data"] == []


def test_tokenizer_and_its_cache_are_measured(fleet, tmp_path):
    """One segment long enough to be remembered, asked for twice, then another."""
    fleet.mocker("--model-path", str(small_model(tmp_path / "m")))
    front = fleet.frontend("--loops", "1").ready()  # each loop remembers words of its own
    same = "remember me " * 40
    for text in (same, same, "something else " * 40):
        assert front.chat(text).status == 200
    segments = lambda result: front.metric("weir_tokenizer_segments_total", model="m", result=result)  # noqa: E731
    assert (segments("hit"), segments("miss"), segments("evicted")) == (1, 2, 0)
    assert front.metric("weir_tokenizer_segment_bytes", model="m") > len(same)
    assert front.metric("dynamo_frontend_tokenizer_cache_hits_total") == 1  # at each scrape, not once more
    assert front.metric("dynamo_frontend_tokenizer_cache_misses_total") == 2
    # Another text of known words: not a segment that is remembered, but its words are.
    words = lambda result: front.metric("weir_tokenizer_words_total", model="m", result=result)  # noqa: E731
    hits, misses = words("hit"), words("miss")
    assert misses > 3 and front.chat("remember me " * 41).status == 200
    assert segments("miss") == 3 and words("hit") >= hits + 80 and words("miss") <= misses + 3
    for name in ("tokenize_seconds", "template_seconds", "tokenizer_latency_ms"):
        assert front.metric(f"dynamo_frontend_{name}_count") >= 3
        assert front.metric(f"dynamo_frontend_{name}_sum") > 0
