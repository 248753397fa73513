"""Requests for embeddings, sent to a real Dynamo frontend and to Weir's before the same worker of a real Dynamo
(dynamo_embedder.py): byte for byte the same answers, and the worker gets the same from both.

Runs with WEIR_INTEROP=1. What Weir does otherwise on purpose is in OTHERWISE, with its reason.
"""
import http.client
import json
import os
import random
import re
import shutil

import pytest

from interop_dynamo import Http, dynamo, dynamo_env, model, pytestmark, theirs  # noqa: F401
from interop_http import SEED, change
from made_embeddings import made_embedding
from weir import Process, until, kept_port

HERE = os.path.dirname(os.path.abspath(__file__))
TEXT = "hello there my friend"
CHANGES = int(os.environ.get("WEIR_TEST_CHANGES", "1000"))

CASES = [
    {"input": TEXT}, {"input": [TEXT, "a"]}, {"input": [1, 2, 3]}, {"input": [[1, 2], [3]]}, {"input": ""}, {"input": [""]}, {"input": [[]]},
    {"input": []}, {"input": TEXT, "encoding_format": "base64"}, {"input": TEXT, "encoding_format": "float"},
    {"input": TEXT, "encoding_format": None}, {"input": "a\u0000b"}, {"input": "<|im_start|>user"}, {"input": " \ud83d\ude00 "},
    {"input": [1, 999999]}, {"input": [[1], [151936]]}, {"input": [151935]},
    {"input": TEXT, "dimensions": 2, "user": "u", "nvext": {"annotations": ["token_ids", "x"]}}, {"input": TEXT, "dimensions": 0},
    {"input": TEXT, "dimensions": None, "user": None, "nvext": None, "add_special_tokens": None, "truncate_prompt_tokens": None},
    {"input": ["a", "b", "c", "d"], "dimensions": 3}, {"input": TEXT, "dimensions": 5},
    {"input": TEXT, "dimensions": 5, "encoding_format": "base64"}, {"input": TEXT, "dimensions": 7}, {"input": TEXT, "dimensions": 8},
    {"input": TEXT, "dimensions": 9}, {"input": TEXT, "dimensions": 10}, {"input": TEXT, "dimensions": 10, "encoding_format": "base64"},
    {"input": TEXT, "dimensions": 11}, {"input": TEXT, "dimensions": 12}, {"input": TEXT, "dimensions": 14},
    {"input": TEXT, "truncate_prompt_tokens": 1}, {"input": TEXT, "truncate_prompt_tokens": -1}, {"input": TEXT, "truncate_prompt_tokens": 0},
    {"input": TEXT, "truncate_prompt_tokens": -2}, {"input": TEXT, "truncate_prompt_tokens": 999999},
    {"input": [1, 2, 3], "truncate_prompt_tokens": 1}, {"input": TEXT, "add_special_tokens": False}, {"input": TEXT, "add_special_tokens": True},
    {"input": TEXT, "nvext": {"annotations": 1}}, {"input": TEXT, "nvext": 1}, {"input": TEXT, "nvext": {"foo": 1}},
    {"input": TEXT, "nvext": {"annotations": [1]}}, {"input": TEXT, "nvext": {"annotations": None}}, {"input": TEXT, "foo": 1, "stream": True},
    {"input": TEXT, "user": 1}, {"input": TEXT, "dimensions": 2**32}, {"input": TEXT, "dimensions": "1"}, {"input": TEXT, "dimensions": 1.5},
    {"input": TEXT, "dimensions": -1}, {"input": TEXT, "encoding_format": 1}, {"input": TEXT, "encoding_format": "hex"},
    {"input": TEXT, "truncate_prompt_tokens": "1"}, {"input": TEXT, "truncate_prompt_tokens": 1.5}, {"input": TEXT, "add_special_tokens": 1},
    {"input": {"a": 1}}, {"input": 1}, {"input": [1.5]}, {"input": [-1]}, {"input": [1, "a"]}, {"input": ["a", None]}, {"input": [2**32]},
    {"input": [["a"]]}, {"model": 1, "input": "x"}, {"model": None, "input": "x"}, {"model": "nope", "input": "x"}, {},
]
RAW = ['{"input":"a"}', '{"model":"tokens","input":"a","input":"b"}', '{"model":"tokens","input":"a"} x', '{"model":"tokens","input":"a\nb"}',
       '{"model":"tokens","input":"a","dimensions":1,"dimensions":2}', "[]", '"a"', "", '{"model":"tokens"', '{"encoding_format":"x","dimensions":-1}',
       '{"nvext":1,"dimensions":-1, "input":5}', '{"truncate_prompt_tokens":"x","dimensions":-1, "input":5}',
       '{"user":1,"dimensions":-1,"encoding_format":3}', '{"dimensions":-1,"model":1}', '{"input":1,"user":2,"model":3}']
OTHERWISE = [
    (r'^tokens .*"input": \[\]\}', "an empty list is refused before a worker is asked"),
    (r"^tokens .*(999999|151936|-2\})", "says what is wrong with the request: Dynamo says Invalid request"),
    (r'"dimensions": 7\}', "passes on what the worker says of it: Dynamo says Invalid request"),
    (r'^tokens .*"dimensions": 3\}', "an answer in two parts is numbered through: Dynamo begins anew with each"),
    (r'^tokens .*"dimensions": 10, "enc', "what is no base64 of floats is an error, also where base64 was asked for"),
    (r'^tokens .*"dimensions": 11\}', "lists of numbers are read, as releases before 1.6 sent them"),
    (r'^tokens .*"dimensions": 12\}', "an end without vectors is an error: Dynamo makes an empty list of it"),
    (r'^text .*"dimensions": 5, "enc', "base64 is given as it was asked for, whatever the worker sends"),
]


def ask(port, text):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    c.request("POST", "/v1/embeddings", text.encode("utf-8", "surrogatepass"), {"content-type": "application/json"})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r.status, data.decode("utf-8", "replace")


def side_by_side(fleet, theirs, dynamo, model):  # noqa: F811
    """The worker, Dynamo's port, our frontend."""
    worker = Process([dynamo, os.path.join(HERE, "dynamo_embedder.py"), model], dynamo_env(fleet), "dynamo_embedder")
    theirs.append(worker)
    port = kept_port()
    theirs.append(Process([dynamo, "-m", "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1"],
                          dynamo_env(fleet), "dynamo.frontend"))
    front = fleet.frontend("--router-mode", "round-robin", "--error-format", "dynamo")

    def serving(at):
        try:
            status, data = Http(at).ask("GET", "/v1/models")
        except OSError:
            return False
        return status == 200 and {m["id"] for m in json.loads(data)["data"]} == {"tokens", "text"}

    for at in (port, front.port):
        until("both models", lambda: serving(at), 120)
        Http(at).enabled("/v1/embeddings")
    return worker, port, front


@pytest.fixture
def both(fleet, theirs, dynamo, model):  # noqa: F811
    return side_by_side(fleet, theirs, dynamo, model)


def asked(both, text):
    """For Dynamo's and for ours: (answer, what the worker got of it)."""
    worker, reference, front = both
    out = []
    for port in (reference, front.port):
        seen = sum(" got " in line for line in worker.lines)
        answer = ask(port, text)

        def got(seen=seen):
            return [line for line in worker.lines if " got " in line][seen:]
        until("what the worker got", lambda: answer[0] != 200 or got())
        out.append((answer, got()))
    return out


def test_embeddings_are_answered_alike(both):
    _, reference, front = both
    bodies = [(f"{m} {json.dumps(c)}", json.dumps({"model": m, **c})) for m in ("tokens", "text") for c in CASES]
    bodies += [(text, text) for text in RAW]
    differ, used = [], set()

    for name, body in bodies:
        got = asked(both, body)
        if got[0] != got[1]:
            rows = [row for row, _ in OTHERWISE if re.search(row, name)]
            used.update(rows)
            if not rows:
                differ.append(f"{name}\n    Dynamo {got[0]}\n    Weir   {got[1]}")
    assert not differ, "\n".join(differ)
    assert used == {row for row, _ in OTHERWISE}
    # What both count of it.
    theirs_page = Http(reference).ask("GET", "/metrics")[1].decode()
    ours_page = front.counted().get("/metrics").body.decode()
    buckets = [{line.split("} ")[0] for line in page.splitlines() if line.startswith("dynamo_frontend_embedding_latency_seconds_bucket")}
               for page in (theirs_page, ours_page)]
    assert buckets[0] == buckets[1] and buckets[0]
    name = "dynamo_frontend_embedding_latency_seconds_count"
    assert front.metric(name) == front.metric("dynamo_frontend_requests_total", endpoint="embeddings", status="success") > 50


# The same things as in interop-http-known.txt, and those above: a pattern over "sent | Dynamo | Weir", and why.
KNOWN = [
    (r"invalid type: [^|]*, expected variant identifier|expected string or map", "a list or an object in the place of a word"),
    (r"400, [^|]*(unknown field|invalid type|invalid value|unknown variant|missing field|duplicate field|data did not match)[^|]* "
     r"\| \(400, [^|]*(EOF while parsing|expected value|expected `:`|expected `,` or|key must be a string|expected ident|trailing|lone)",
     "a body that is no JSON is refused for that, whatever else is wrong before the place"),
    (r"\| \(400, [^|]*invalid type: sequence, expected struct", "a list in the place of an object: Dynamo's parser takes its values for the members"),
    (r"Invalid request[^|]* \| \(400,", "says what is wrong"),
    (r"must not be an empty list|vocabulary of", "refused before a worker is asked"),
    (r"\| \(200, [^|]*\| \(500, .*Internal server error", "one vector for each input, or none"),
    (r"\\u0000", "the message ends at a NUL"),
    (r"invalid length 0, expected struct NvExt", "an empty list in the place of an object"), (r"truncate_prompt_tokens (is|must)", "says what is wrong"),
    (r"duplicate field", "where the second one stands is told otherwise"),
    (r'"dimensions": (3|5|7|8|9|10|11|12|14)\b', "answers that are none, as above"),
]


def test_changed_embeddings_are_answered_alike(both):
    """A thousand requests, each one step from one that is known."""
    _, reference, front = both
    rng = random.Random(SEED)
    bodies = [{"model": m, **c} for m in ("tokens", "text") for c in CASES if c and c.get("dimensions") != 13]
    pool = sorted({(k, json.dumps(v)) for b in bodies for k, v in b.items() if k not in ("input", "model")})
    pool = [(k, json.loads(v)) for k, v in pool]
    differ = []
    for _ in range(CHANGES):
        what, text = change(rng, rng.choice(bodies), pool)
        if '"dimensions": 13' in text:
            continue
        a, b = (ask(port, text) for port in (reference, front.port))
        line = f"{text} | {a} | {b}"
        if a != b and not any(re.search(row, line) for row, _ in KNOWN):
            differ.append(f"{what}\n    sent   {text}\n    Dynamo {a}\n    Weir   {b}")
    assert not differ, "\n".join(differ)


def test_made_embeddings_are_answered_alike(both):
    """Requests made up member by member (made_embeddings.py), and what the worker gets of them."""
    rng = random.Random(SEED)
    differ = []
    for _ in range(CHANGES // 2):
        text = made_embedding(rng)
        a, b = asked(both, text)
        line = f"{text} | {a[0]} | {b[0]}"
        if a != b and not any(re.search(row, line) for row, _ in KNOWN):
            differ.append(f"sent   {text}\n    Dynamo {a}\n    Weir   {b}")
    assert not differ, "\n".join(differ[:20])


def test_a_client_that_leaves(both):
    """The worker, which has begun to answer, is told."""
    worker, _, front = both
    c = http.client.HTTPConnection("127.0.0.1", front.port, timeout=60)
    c.request("POST", "/v1/embeddings", json.dumps({"model": "tokens", "input": "x", "dimensions": 13}), {"content-type": "application/json"})
    until("the beginning of the answer", lambda: front.metric("dynamo_transport_tcp_bytes_received_total") > 100000)
    c.close()
    until("the request to end", lambda: front.metric("dynamo_frontend_model_cancellation_total", endpoint="embeddings") == 1)
    worker.wait_line("tokens left")


def test_a_wordpiece_model_has_the_same_ids(fleet, theirs, dynamo, tmp_path):  # noqa: F811
    """An encoder's file with truncation and padding to 8 tokens, and an end of sequence, without which Dynamo does not load it."""
    shutil.copy(os.path.join(HERE, "..", "fuzz", "corpus", "tokenizer_json", "wordpiece.json"), tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512, "eos_token_id": 3}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 512}')
    both = side_by_side(fleet, theirs, dynamo, str(tmp_path))
    rng = random.Random(SEED)
    parts = ["hello", "Hello", "worlds", "Caf\u00e9", " Noir", "cafe\u0301", "unbelievable", "\u4f60\u597d", "it's", "12345", " ", "  ", "[MASK]", " [MASK]", "[CLS]",
             "\u0007", "\u00ad", "\u3000", "\U0001f600", "a" * 21, "\u0130", "!", ",", "qqq", "\ufffd"]
    for i in range(CHANGES // 5):
        given = ["".join(rng.choice(parts) for _ in range(rng.randint(0, 12))) for _ in range(rng.randint(1, 4))]
        more = rng.choice([{}, {}, {"add_special_tokens": False}, {"add_special_tokens": True}, {"truncate_prompt_tokens": rng.randint(1, 5)}])
        a, b = asked(both, json.dumps({"model": "tokens", "input": given, **more}))
        assert a == b and a[0][0] == 200, f"sent {given} {more}\n    Dynamo {a}\n    Weir   {b}"
