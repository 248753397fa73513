"""HTTP engines whose list of models changes, and lists of engines that name one twice."""
import json
import threading

import pytest
from test_engine_scripted import engines, front  # noqa: F401 (a fixture)
from test_engines import start
from weir import DEADLINE_S, exposition, total, until


def says(name):
    """An engine's answer: which engine it is, and which model it was asked for."""
    return lambda h, body: h.whole(200, json.dumps({"id": f"{name}:{json.loads(body)['model']}"}).encode())


def names(f):
    return sorted(m["id"] for m in f.get("/v1/models").json()["data"])


def test_an_engine_that_names_no_model_any_more_is_down(fleet, engines):  # noqa: F811
    e = engines(says("e"))
    f = front(fleet, e.url)
    e.models = ()
    f.wait_line("is down: it names no model")
    until("its model to be out", lambda: f.chat().status == 503)
    e.models = ("m",)
    f.ready()
    assert f.chat().json() == {"id": "e:m"}


def test_models_change_their_places(fleet, engines):  # noqa: F811
    """What an engine names first is the worker of its own id, whatever that was before; a name that it gives up is gone."""
    e, other = engines(says("e"), models=("a", "b")), engines(says("other"), models=("b",))
    f = fleet.frontend("--worker", e.url, "--worker", other.url, env={"WEIR_ENGINE_POLL_SECS": "0.05"}).ready("b", 3)
    at = len(f.lines)
    e.models = ("b", "c")
    f.wait_line("has changed", at)
    until("the new names", lambda: names(f) == ["b", "c"])
    assert f.chat(model="a").status == 404
    assert f.ready("b", 3).metric("dynamo_component_router_worker_registered") == 3
    e.models = ()
    until("the engine's other name to go", lambda: names(f) == ["b"])
    assert all(f.chat(model="b").json() == {"id": "other:b"} for _ in range(4))
    ready = f.get("/v1/models/b/ready").json()["namespaces"]
    assert sum(t["workers"] for ns in ready.values() for t in ns["worker_types"].values()) == 1, ready


def test_a_name_that_a_restarted_engine_has_no_longer_is_not_missed(fleet, engines):  # noqa: F811
    """503 is for names whose engines are down; one that came back without the name will not serve it."""
    e = engines(says("e"), models=("m", "n"))
    f = front(fleet, e.url)
    until("both", lambda: names(f) == ["m", "n"])
    e.models = ()
    f.wait_line("is down")
    until("its models to be out", lambda: f.chat(model="n").status == 503)
    e.models = ("m",)
    f.ready()
    until("the other name to be no model", lambda: f.chat(model="n").status == 404)


@pytest.mark.parametrize("entries,flags", [
    (("",), ()), ((",model=a", ",model=b"), ()), ((",block-size=16",), ("--kv-cache-block-size", "32"))])
def test_an_engine_that_lost_one_of_its_models_has_not_left(fleet, engines, entries, flags):  # noqa: F811
    """What it answers of the other may take as long as before. (Failed before: all at its address had the time of an engine that has
    left.) An engine that has, later, says when that would have been over."""
    over = threading.Event()

    def computes(name):
        def answer(h, body):
            over.wait(DEADLINE_S)
            says(name)(h, body)
        return answer
    stays, leaves = engines(computes("stays"), models=("a", "b")), engines(computes("leaves"), models=("c",))
    f = fleet.frontend(*(a for u in (*(stays.url + e for e in entries), leaves.url) for a in ("--worker", u)), *flags,
                       env={"WEIR_ENGINE_POLL_SECS": "0.05", "WEIR_WORKER_LEFT_TIMEOUT_SECS": "0.5"})
    until("all three", lambda: names(f) == ["a", "b", "c"])
    answers = {}
    asks = [threading.Thread(target=lambda m=m: answers.update({m: f.chat(model=m).status})) for m in "ac"]
    for a in asks:
        a.start()
    until("both to be asked", lambda: len(stays.seen) == len(leaves.seen) == 1)
    stays.models = ("a",)
    until("a and c alone", lambda: names(f) == ["a", "c"])
    leaves.models = ()
    f.wait_line("was silent")
    over.set()
    for a in asks:
        a.join(DEADLINE_S)
    assert answers == {"a": 200, "c": 503} and sum("was silent" in line for line in f.lines) == 1


def test_two_entries_of_one_engine_with_a_model_each(fleet, engines):  # noqa: F811
    e = engines(says("e"), models=("a", "b"))
    f = fleet.frontend("--worker", f"{e.url},model=a", "--worker", f"{e.url},model=b",
                       env={"WEIR_ENGINE_POLL_SECS": "0.05"})
    until("both", lambda: names(f) == ["a", "b"])
    for _ in range(3):
        assert f.chat(model="a").json() == {"id": "e:a"} and f.chat(model="b").json() == {"id": "e:b"}
    e.models = ("a",)
    until("the second to be down", lambda: f.chat(model="b").status == 503)
    assert f.chat(model="a").json() == {"id": "e:a"} and f.metric("weir_engine_up") == 1
    e.models = ("a", "b")
    until("it to be back", lambda: names(f) == ["a", "b"])
    assert f.metric("weir_engine_downs_total") == 0
    e.models = ()
    until("both to be down", lambda: names(f) == [])
    assert f.metric("weir_engine_up") == 0 and f.metric("weir_engine_downs_total") == 1


@pytest.mark.parametrize("following", ["ab", "b"])
def test_two_entries_of_one_engine_count_its_batches_once(fleet, engines, following):  # noqa: F811
    """Each follows its KV events, which are the server's. (Failed before: each counted them; then nobody did where the first does
    not follow them.)"""
    e, publisher = engines(says("e"), models=("a", "b")), start(fleet)
    events, replay = publisher.events()
    f = fleet.frontend("--router-mode", "kv", "--tokenizer", "bytes", "--parity-check", "off",
                       *(a for m in "ab" for a in ("--worker", f"{e.url},model={m},block-size=16" + (
                           f",kv-events={events},replay={replay}" if m in following else ""))),
                       env={"WEIR_ENGINE_POLL_SECS": "0.05"})
    until("both", lambda: names(f) == ["a", "b"])
    for i in range(6):
        publisher.ask("POST", "/v1/completions", {"model": "m", "prompt": f"{i} " * 100, "max_tokens": 1})
        published = total(exposition(publisher.get("/metrics")), "weir_mocker_kv_next_sequence")
        until("all batches to be counted", lambda n=published: f.metric("weir_engine_kv_batches_total") == n)
    assert published >= 6 and f.metric("weir_engine_kv_next_sequence") == published


def test_two_names_of_one_engine(fleet, engines):  # noqa: F811
    """It is served once, whichever name it is known by."""
    e = engines(says("e"))
    f = fleet.frontend("--worker", e.url, "--worker", f"http://localhost:{e.port}", env={"WEIR_ENGINE_POLL_SECS": "0.05"})
    f.ready()
    f.wait_line("another entry leads to the same server")
    assert f.chat().json() == {"id": "e:m"}
    assert f.metric("dynamo_component_router_worker_registered") == 1


def test_a_worker_that_takes_an_engine_s_place(fleet, engines):  # noqa: F811
    """An engine that changes gives its place to the worker that waited for it, and has it again when that is gone. (Failed before:
    never again.)"""
    e = engines(says("e"))
    f = front(fleet, e.url)
    worker = fleet.mocker()
    f.wait_line("model m has HTTP engines and workers of the request plane")
    assert f.chat().json() == {"id": "e:m"}
    e.page = b'vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1.0\n'
    f.wait_line("is left out no longer")
    until("the worker to serve", lambda: (r := f.chat(max_tokens=1)).status == 200 and "choices" in r.json())
    worker.stop()
    until("the engine to serve", lambda: (r := f.chat()).status == 200 and r.json() == {"id": "e:m"})
