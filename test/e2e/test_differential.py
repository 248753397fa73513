"""Requests that Dynamo 1.6.1 and Weir once answered differently, with Dynamo's answers and what its worker was sent.

test/data/differential-1.6.1.jsonl: one a line; `expect` has a value for each place of {status, body, wire} that counts, as
captured before a worker of plane_worker.py, whose script stands in the request's annotations. Rows with "model" were captured
with Qwen3's tokenizer and need it. interop_diff.py asks a real Dynamo again.
"""
import json
import os
import shutil

import pytest

from made_chats import TEMPLATES
from plane_worker import PlaneWorker, card_of_mocker
from testenv import qwen3_model

ROWS = os.path.join(os.path.dirname(__file__), "../data/differential-1.6.1.jsonl")
ABSENT = "<absent>"


def rows():
    with open(ROWS, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def at(value, place):
    """What stands at a/0/b; the last of a list is -1."""
    for key in place.split("/"):
        if isinstance(value, list) and -len(value) <= int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return ABSENT
    return value


def observed(front, worker, row):
    """{status, body, wire} of one request; the events of a stream are a list."""
    n = len(worker.requests)
    r = front.ask(row.get("method", "POST"), row["path"], row["body"].encode(), {"content-type": "application/json"})
    stream = r.headers.get("content-type", "").startswith("text/event-stream")
    return {"status": r.status, "body": r.events() if stream else r.json(),
            "wire": worker.requests[n][1] if len(worker.requests) > n else None}


def differences(row, seen):
    return [f"{row['id']}: {place} is {at(seen, place)!r}, {want!r} from Dynamo\n    sent {row['body']}"
            for place, want in row["expect"].items() if at(seen, place) != want]


def chosen_models(tmp_path, folder):
    """Folders of models by their names: that one, and those with the templates of made_chats.py."""
    out = {"m": folder}
    for name, template in TEMPLATES.items():
        out[name] = str(tmp_path / f"template-{name}")
        shutil.copytree(folder, out[name])
        with open(os.path.join(out[name], "chat_template.jinja"), "w", encoding="utf-8") as f:
            f.write(template)
    return out


def with_parsers(card, tool, reasoning):
    parsers = {"tool_call_parser": tool, "reasoning_parser": reasoning}
    return {**card, "runtime_config": {**card["runtime_config"], **parsers}}


def parsing(card):
    """Cards by names: of a model that thinks, and of one whose markers are special tokens and whose template is told that it thinks."""
    return {"thinks": with_parsers(card, "hermes", "deepseek_v3_2"), "marks": with_parsers(card, "kimi_k2", "kimi_k25")}


def worker_of(workers, row):
    """That of the model which a request names, or of the first."""
    try:
        return workers[json.loads(row["body"])["model"]]
    except (ValueError, TypeError, KeyError):
        return workers["m"]


@pytest.fixture
def qwen(tmp_path_factory):
    """A directory with the tokenizer of the capture; without it None."""
    try:
        return qwen3_model(tmp_path_factory.mktemp("qwen3"))
    except pytest.skip.Exception as e:
        print(f"no real tokenizer, rows that need it are left out: {e}")
        return None


def test_answers_as_dynamo(fleet, qwen, tmp_path):
    cards = {n: card_of_mocker(fleet, f) for n, f in chosen_models(tmp_path, qwen).items()} if qwen else {"m": {}}
    if qwen:
        cards.update(parsing(cards["m"]))
    workers = {name: PlaneWorker(fleet, name, 0x77 + n, f"plane{n}", **card) for n, (name, card) in enumerate(cards.items())}
    front = fleet.frontend("--router-mode", "kv", "--enable-anthropic-api", "--error-format", "dynamo")
    for name in workers:
        front.ready(name)
    chosen = [row for row in rows() if qwen or not row.get("model")]
    bad = [line for row in chosen for line in differences(row, observed(front, worker_of(workers, row), row))]
    for w in workers.values():
        w.close()
    assert len(chosen) > 30
    assert not bad, "\n".join(bad)
