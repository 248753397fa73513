"""/v1/embeddings before workers of ids and of text and before HTTP engines, asked by the official SDK; what workers get, and
answers of every form; bad requests; workers that fail and clients that leave. (interop_embeddings.py has a real Dynamo.)"""
import base64
import json
import os
import shutil
import socket
import struct
import subprocess

import pytest

from plane_worker import PlaneWorker, card_of_mocker
from test_engines import front as engine_front, start as start_engine
from testenv import python_with
from weir import until

HERE = os.path.dirname(os.path.abspath(__file__))
PATH = "/v1/embeddings"


def embed(front, given="a weir", model="m", path=PATH, **fields):
    return front.ask("POST", path, {"model": model, "input": given, **fields})


def vectors(answer):
    assert answer.status == 200, answer
    return [d["embedding"] for d in answer.json()["data"]]


def check_sdk(front):
    r = subprocess.run([python_with("openai", "h2"), os.path.join(HERE, "embeddings_client.py"), front.url, "m"], capture_output=True,
                       text=True, timeout=120)
    assert r.returncode == 0 and r.stdout == "ok\n", r.stdout + r.stderr


@pytest.mark.parametrize("form", ["tokens", "text"])
@pytest.mark.parametrize("mode", ["kv", "round-robin", "least-loaded"])
def test_workers(fleet, form, mode):
    for _ in range(2):
        fleet.mocker("--embedding", form)
    f = fleet.frontend("--router-mode", mode).ready(workers=2)
    if mode == "kv":
        check_sdk(f)
        # They have no blocks, and spoil no hit rate.
        assert f.counted().metric("dynamo_component_router_kv_hit_rate_count") == 0
    else:
        assert len(vectors(embed(f, ["a", "b"]))) == 2


def test_an_answer_larger_than_what_may_wait(fleet):
    """The bound on bytes that wait for one client is for streams: a whole answer is whole."""
    fleet.mocker("--embedding", "tokens", "--embedding-dimensions", "1024")
    f = fleet.frontend(env={"WEIR_HTTP_WRITE_QUEUE_BYTES": "65536"}).ready()
    r = embed(f, ["a"] * 64, encoding_format="float")
    assert r.status == 200 and len(r.body) > 4 * 65536 and [len(v) for v in vectors(r)] == [1024] * 64


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_engines(fleet, kind):
    """Two of them and one command."""
    f = engine_front(fleet, *(start_engine(fleet, kind=kind).url for _ in range(2)))
    check_sdk(f)
    f.counted()
    done = f.metric("dynamo_frontend_requests_total", endpoint="embeddings", status="success", model="m")
    assert done > 5 and f.metric("dynamo_frontend_embedding_latency_seconds_count", model="m") == done


def test_an_engine_that_dies(fleet):
    """Its requests go to the other one, and nobody sees it."""
    dying, other = start_engine(fleet, "--exit-after", "2"), start_engine(fleet)
    f = engine_front(fleet, dying.url, other.url, mode="round-robin")
    assert all(embed(f).status == 200 for _ in range(8))
    dying.wait()


def test_an_engine_judges_its_requests(fleet):
    """What our parser would refuse is passed on; the engine's own words come back."""
    f = engine_front(fleet, start_engine(fleet).url)
    r = embed(f, {"no": "input"})
    assert r.status == 400 and r.json()["error"]["message"] == "the input cannot be read", r


def test_chat_and_embeddings_side_by_side(fleet):
    fleet.mocker("--embedding", "tokens", "--endpoint", "dyn://dynamo.embed.generate", model="e")
    fleet.mocker(model="m")
    f = fleet.frontend().ready("m", workers=2)
    f.ready("e", workers=2)
    assert {m["id"] for m in f.get("/v1/models").json()["data"]} == {"e", "m"}
    assert embed(f, model="e").status == 200 and f.chat("hello").status == 200
    for r in (embed(f, model="m"), f.chat("hello", model="e"), f.complete("hello", model="e")):
        assert r.status == 404 and r.json()["message"] == "Model not found", r


def test_the_path_and_the_metrics(fleet):
    fleet.mocker("--embedding", "tokens")
    f = fleet.frontend(env={"DYN_HTTP_SVC_EMB_PATH": "/embed", "DYN_METRICS_EMBEDDING_LATENCY_MIN": "0.5",
                            "DYN_METRICS_EMBEDDING_LATENCY_MAX": "2", "DYN_METRICS_EMBEDDING_LATENCY_COUNT": "3"}).ready()
    assert embed(f).status == 404
    assert embed(f, path="/embed").status == 200
    assert f.get("/embed").status == 405
    assert embed(f, [], path="/embed").status == 400
    f.counted()
    name = "dynamo_frontend_requests_total"
    assert f.metric(name, endpoint="embeddings", status="success", request_type="unary") == 1
    assert f.metric(name, endpoint="embeddings", error_type="validation") == 1
    assert f.metric("dynamo_frontend_embedding_latency_seconds_count", model="m") == 1
    bounds = [k.split('le="')[1].rstrip('"}') for k in f.metrics() if k.startswith("dynamo_frontend_embedding_latency_seconds_bucket")]
    assert bounds == ["0", "1", "2", "+Inf"]


def card(**more):
    return {"model_type": "Embedding", "kv_cache_block_size": 0, **more}


def packed(*values):
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


@pytest.fixture
def scripted(fleet):
    """Asks with the items that the worker is to answer with; its last request. model_input: of its card."""
    workers = {"tokens": PlaneWorker(fleet, "tokens", 0x77, **card()),
               "text": PlaneWorker(fleet, "text", 0x78, component="text", **card(model_input="Text"))}
    f = fleet.frontend("--error-format", "dynamo").ready("tokens", workers=2)
    f.ready("text", workers=2)

    def ask(model, items, given="ab", **fields):
        script = "script:" + json.dumps(items)
        r = embed(f, given, model, nvext={"annotations": [script]}, **fields)
        return r, workers[model].last()[1]

    yield ask
    for w in workers.values():
        w.close()


def test_what_workers_get(scripted):
    """Members and their values as from a Dynamo 1.6.1 (interop_embeddings.py compares)."""
    one = [{"embeddings": [packed(1)], "prompt_tokens": 2, "total_tokens": 2}]
    r, got = scripted("tokens", one, "ab", dimensions=3, encoding_format="base64", truncate_prompt_tokens=1, user="u")
    assert got.pop("annotations") and got.pop("mdc_sum")
    assert got == {"token_ids": [[97]], "model": "tokens", "encoding_format": "base64", "truncate_prompt_tokens": 1, "dimensions": 3}
    r, got = scripted("tokens", one, [7, 8], truncate_prompt_tokens=1)
    assert got["token_ids"] == [[7, 8]] and "encoding_format" not in got and got["dimensions"] is None
    one = [{"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": packed(1)}], "model": "x",
            "usage": {"prompt_tokens": 5, "total_tokens": 6}}]
    r, got = scripted("text", one, ["a", "\u00fc\n"], dimensions=3, user="u", add_special_tokens=False, foo=1, encoding_format="float")
    assert got.pop("nvext")
    assert got == {"model": "text", "input": ["a", "\u00fc\n"], "encoding_format": "float", "user": "u", "dimensions": 3,
                   "add_special_tokens": False}
    assert list(got) == ["model", "input", "encoding_format", "user", "dimensions", "add_special_tokens"]
    assert r.status == 500  # one vector for two inputs


@pytest.fixture
def wordpiece(tmp_path):
    """A folder of an encoder's files, which name no end of sequence. Truncation and padding are set to 8 in them; a Dynamo 1.6.1
    turns both off when it reads the file."""
    shutil.copy(os.path.join(HERE, "..", "fuzz", "corpus", "tokenizer_json", "wordpiece.json"), tmp_path / "tokenizer.json")
    (tmp_path / "config.json").write_text('{"model_type": "bert", "max_position_embeddings": 64}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 64}')
    return str(tmp_path)


def test_a_wordpiece_model_before_engines(fleet, wordpiece):
    """(Failed before: a line in the log, and no model.)"""
    f = fleet.frontend("--router-mode", "least-loaded", "--worker", start_engine(fleet).url, "--model-path", wordpiece,
                       env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem"}).ready()
    assert len(vectors(embed(f, ["hello", "world"]))) == 2


def test_a_wordpiece_model(fleet, wordpiece):
    """Ids as the official package gives them. (Failed before: the model was refused.)"""
    worker = PlaneWorker(fleet, "m", 0x77, **{**card_of_mocker(fleet, wordpiece), **card(context_length=64)})
    f = fleet.frontend("--error-format", "dynamo").ready()
    script = "script:" + json.dumps([{"embeddings": [packed(1), packed(2)], "prompt_tokens": 2, "total_tokens": 2}])
    given = ["Hello, Caf\u00e9 NOIR unbelievable worlds  [MASK] cafe\u0301!", "\u4f60\u597dHello\u0007 it's 12345"]
    bare = [[5, 32, 48, 39, 40, 41, 6, 7, 13, 4, 27, 34], [24, 25, 5, 10, 11, 12, 16, 17, 18, 19, 20]]
    for fields, ids in (({}, [[2, *i, 3] for i in bare]), ({"add_special_tokens": True}, [[2, *i, 3] for i in bare]),
                        ({"add_special_tokens": False}, bare), ({"truncate_prompt_tokens": 3}, [[2, *i[:2]] for i in bare])):
        assert embed(f, given, nvext={"annotations": [script]}, **fields).status == 200
        assert worker.last()[1]["token_ids"] == ids
    r = f.ask("POST", "/v1/embeddings", {"model": "m", "input": "hello " * 63})
    assert r.status == 400 and "65" in r.json()["message"], r  # [CLS] and [SEP] count
    assert f.ask("POST", "/tokenize", {"model": "m", "prompt": given[0]}).json()["tokens"] == [2, *bare[0], 3]
    said = f.ask("POST", "/detokenize", {"model": "m", "tokens": bare[1]}).json()["prompt"]
    assert said == "\u4f60 \u597d hello it ' s 12345"
    worker.close()


def text_item(*vectors, **usage):
    return {"object": "list", "model": "x", "usage": {"prompt_tokens": 5, "total_tokens": 6, **usage},
            "data": [{"index": i, "object": "embedding", "embedding": v} for i, v in enumerate(vectors)]}


def test_answers_of_every_form(scripted):
    usage = {"prompt_tokens": 5, "total_tokens": 6}
    values = (1, -0.5, 0.1, 1e-7, 123456.78, 3.4028235e38, 1e-45, 1e13, 1e12, -0.0, 1e-6, 1 / 3)
    # As a Dynamo 1.6.1 writes these floats.
    wanted = "[1.0,-0.5,0.1,1e-7,123456.78,3.4028235e+38,1e-45,1e+13,1000000000000.0,-0.0,0.000001,0.33333334]"
    head = '{"object":"list","model":"%s","data":[{"index":0,"object":"embedding","embedding":%s}],'
    tail = '"usage":{"prompt_tokens":5,"total_tokens":6}}'
    for form in (packed(*values), list(values)):
        for model, item in (("tokens", {"embeddings": [form], **usage}), ("text", text_item(form))):
            r, _ = scripted(model, [item])
            assert (r.status, r.body.decode()) == (200, head % (model, wanted) + tail), r
            r, _ = scripted(model, [item], encoding_format="base64")
            assert (r.status, r.body.decode()) == (200, head % (model, '"' + packed(*values) + '"') + tail), r
    # In two parts; no number has a text.
    r, _ = scripted("tokens", [{"embeddings": [packed(1)], **usage}, {"embeddings": [packed(float("nan"), float("inf"))], **usage}],
                    ["a", "b"])
    assert [d["index"] for d in r.json()["data"]] == [0, 1] and vectors(r) == [[1], [None, None]]
    assert r.json()["usage"] == {"prompt_tokens": 10, "total_tokens": 12}


@pytest.mark.parametrize("model,items", [
    ("tokens", []), ("tokens", [{"embeddings": [], "prompt_tokens": 0, "total_tokens": 0}]), ("tokens", [{"prompt_tokens": 1}]),
    ("tokens", [{"embeddings": ["????"]}]), ("tokens", [{"embeddings": [packed(1)[:-2]]}]), ("tokens", [{"embeddings": [["a"]]}]),
    ("tokens", [{"embeddings": [[None]]}]), ("tokens", [{"embeddings": [packed(1), packed(2)]}]), ("tokens", [{"embeddings": packed(1)}]),
    ("tokens", [{"token_ids": [1]}]), ("text", [{"data": [{"embedding": packed(1)}]}]), ("text", [{"data": [{"index": 0}]}]),
    ("text", [text_item(packed(1), prompt_tokens=-1)]), ("text", [{}])])
def test_answers_that_are_none(scripted, model, items):
    r, _ = scripted(model, items)
    assert r.status == 500 and r.json() == {"message": "Internal server error", "type": "Internal Server Error", "code": 500}, r


@pytest.mark.parametrize("parts,status", [
    ([[0, 1]], 200), ([[1, 0]], 200), ([[1], [0]], 200), ([[0, 0]], 500), ([[1], [1]], 500), ([[0, 2]], 500), ([[1, 2]], 500)])
def test_each_input_has_one_vector(scripted, parts, status):
    """Workers that read text say which input a vector is of. (Failed before: one input twice and another never passed.)"""
    items = [{"object": "list", "model": "x", "usage": {"prompt_tokens": 1, "total_tokens": 1},
              "data": [{"index": i, "object": "embedding", "embedding": packed(i)} for i in part]} for part in parts]
    r, _ = scripted("text", items, ["a", "b"])
    assert r.status == status
    if status == 200:
        assert sorted((d["index"], d["embedding"]) for d in r.json()["data"]) == [(0, [0]), (1, [1])]


def test_refusals_of_workers(scripted):
    for kind, status, text in (("InvalidArgument", 400, "too many dimensions"), ("ResourceExhausted", 529, "Service temporarily overloaded"),
                               ("Unknown", 500, "Internal server error")):
        r, _ = scripted("tokens", [{"raise": {"error_type": kind, "message": "too many dimensions"}}])
        assert (r.status, r.json()["message"]) == (status, text), r


def test_bad_requests(fleet):
    """(Those of the wrong shape: interop_embeddings.py, test_recorded.py.)"""
    fleet.mocker("--embedding", "tokens", "--max-model-len", "8")
    f = fleet.frontend().ready()
    assert embed(f, "x" * 8).status == 200
    for given, fields, words in (("x" * 9, {}, "maximum context length is 8 tokens. However, input 0 has 9"),
                                 (["a", "x" * 9], {}, "input 1 has 9"),
                                 ("x", {"truncate_prompt_tokens": 9}, "greater than the model's context length of 8"),
                                 ("x", {"truncate_prompt_tokens": -2}, "must be -1 or more, got -2"), ([], {}, "must not be an empty list"),
                                 ([257000], {}, "token id 257000 is outside"), ([[]] * 65537, {}, "65537 items, and 65536 are allowed")):
        r = embed(f, given, **fields)
        assert r.status == 400 and words in r.json()["message"], (given, r)
    assert embed(f, "x" * 9, truncate_prompt_tokens=-1).json()["usage"]["prompt_tokens"] == 8
    assert vectors(embed(f, "x" * 9, truncate_prompt_tokens=2)) == vectors(embed(f, "xx"))


def test_a_client_that_leaves(fleet):
    fleet.mocker("--embedding", "tokens", "--hang-rate", "1")
    f = fleet.frontend().ready()
    c = f.connect()
    c.request("POST", PATH, json.dumps({"model": "m", "input": "x"}), {"content-type": "application/json"})
    until("the request to run", lambda: f.metric("dynamo_frontend_inflight_requests") == 1)
    c.close()
    until("the request to end", lambda: f.metric("dynamo_frontend_model_cancellation_total", endpoint="embeddings") == 1)
    f.counted()


def test_workers_that_fail_or_are_gone(fleet):
    """One that cannot be reached is passed over; what is left is an error with its own status."""
    gone = PlaneWorker(fleet, number=0x79, **card(kv_cache_block_size=16, context_length=0))
    f = fleet.frontend("--router-mode", "round-robin").ready()
    gone.listener.shutdown(socket.SHUT_RDWR)  # also for who waits in accept()
    assert embed(f).status == 503
    gone.close()
    until("the model to go", lambda: embed(f).status == 404)
    fleet.mocker("--embedding", "tokens", "--fail-rate", "1")
    f.ready()
    r = embed(f)
    assert r.status == 500 and r.json()["message"] == "Internal server error", r
