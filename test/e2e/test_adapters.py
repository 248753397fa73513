"""LoRA adapters on the request plane: a second card of a worker, under its key and the adapter's slug.

The records are those that a real Dynamo frontend accepts (shared spec "transport" 1.3): the base's card with a name of its
own and "lora". The simulated workers hash their blocks with the adapter's name, as real publishers do.
"""
import contextlib
import copy
import json
import os
import signal
import threading
from urllib.parse import quote, unquote

from scripted import ScriptedWorker, call
from test_pools import pool
from weir import until

TEXT = "A weir is a low dam that is built across a river to raise the level of water upstream. " * 4


class Cards:
    """The model records in a folder; those written here are kept alive like a worker's own."""

    def __init__(self, fleet):
        self.where = os.path.join(fleet.env["DYN_FILE_KV"], "v1/mdc")
        self.draft = os.path.join(self.where, ".tmp_adapters")
        self.kept, self.closing, self.lock = set(), threading.Event(), threading.Lock()
        self.thread = threading.Thread(target=self._keep_alive, daemon=True)
        self.thread.start()

    def _keep_alive(self):
        while not self.closing.wait(2):
            with self.lock:
                for path in self.kept:
                    os.utime(path)

    def base(self, worker_id):
        """Key and record of a worker's own card, once it is there."""
        def probe():
            for name in os.listdir(self.where):
                key = unquote(name)
                if key.endswith(f"/{worker_id:x}"):
                    with open(os.path.join(self.where, name), encoding="utf-8") as f:
                        return key, json.load(f)
            return None
        return until(f"the card of {worker_id:x}", probe)

    def write(self, key, record):
        path = os.path.join(self.where, quote(key, safe=""))
        with open(self.draft, "w", encoding="utf-8") as f:
            json.dump(record, f)
        with self.lock:
            os.rename(self.draft, path)
            self.kept.add(path)

    def load(self, worker_id, lora, name=None, slug=None, **card):
        """What a worker does that has loaded an adapter."""
        key, record = self.base(worker_id)
        record = copy.deepcopy(record)
        slug = slug or lora
        record["model_suffix"] = slug
        record["card_json"].update({"display_name": name or lora, "slug": slug, "lora": {"name": lora}, **card})
        self.write(f"{key}/{slug}", record)
        return f"{key}/{slug}"

    def unload(self, key):
        path = os.path.join(self.where, quote(key, safe=""))
        with self.lock:
            self.kept.discard(path)
            os.unlink(path)

    def close(self):
        self.closing.set()
        self.thread.join()


@contextlib.contextmanager
def cards(fleet):
    c = Cards(fleet)
    try:
        yield c
    finally:
        c.close()


def names(front):
    return sorted(m["id"] for m in front.get("/v1/models").json()["data"])


def gone(front, name):
    until(f"{name} to be gone", lambda: name not in names(front))


def served(mocker):
    return mocker.metric("finished_total")


def cached(answer):
    assert answer.status == 200, answer
    return (answer.json()["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", 0)


def test_requests_go_where_the_adapter_is(fleet):
    """Also where another worker holds the prompt; and an adapter's blocks are not the base's."""
    one, two = fleet.mocker(), fleet.mocker()
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    with cards(fleet) as c:
        key = c.load(two.ids[0], "adapter-a", aliases=["short"])
        front.ready("adapter-a", workers=2)
        assert names(front) == ["adapter-a", "m"]
        for i in range(6):
            before = served(two)
            answer = front.chat(f"{i} {TEXT}", model="adapter-a" if i % 2 else "short")
            assert answer.status == 200
            assert served(two) == before + 1 and served(one) == 0
        until("the adapter's blocks in the index", lambda: front.metric("weir_router_kv_index_entries") > 0)
        # The same prompt again: its blocks are found, in full, by the engine's own count and by the router's.
        again = until("the router to see them", lambda: (a := front.chat(
            f"1 {TEXT}", model="adapter-a", headers={"x-weir-explain": "1"})) and cached(a) and a)
        assert cached(again) >= len(TEXT) // 16 * 16 - 16
        # For the base they are other blocks, wherever it goes.
        assert cached(front.chat(f"1 {TEXT}", nvext={"backend_instance_id": two.ids[0]})) == 0
        # Pinned to a worker that has not loaded it: no such worker for this model.
        refused = front.chat("x", model="adapter-a", nvext={"backend_instance_id": one.ids[0]})
        assert refused.status == 400, refused
        # The base's requests use both.
        for m in (one, two):
            before = served(m)
            assert front.chat("other text", nvext={"backend_instance_id": m.ids[0]}).status == 200
            assert served(m) == before + 1
        # Loaded there too: both serve it.
        other = c.load(one.ids[0], "adapter-a", aliases=["short"])
        until("both workers", lambda: front.get("/v1/models/adapter-a/ready").json()["namespaces"]["dynamo"]
              ["worker_types"]["aggregated"]["workers"] == 2)
        for m in (one, two):
            before = served(m)
            assert front.chat("new", model="adapter-a", nvext={"backend_instance_id": m.ids[0]}).status == 200
            assert served(m) == before + 1
        c.unload(key)
        until("one worker", lambda: front.get("/v1/models/adapter-a/ready").json()["namespaces"]["dynamo"]
              ["worker_types"]["aggregated"]["workers"] == 1)
        before = served(two)
        for i in range(4):
            assert front.chat(f"1 {TEXT}", model="adapter-a").status == 200
        assert served(two) == before
        c.unload(other)
        gone(front, "adapter-a")
        assert front.chat("x", model="adapter-a").status == 404
        assert front.chat("x").status == 200


def test_what_the_worker_gets(fleet):
    """The adapter's name in `model` and in `routing`, as a real frontend sends it; nothing of it for the base."""
    with cards(fleet) as c:
        worker = ScriptedWorker(fleet.env["DYN_FILE_KV"], lambda _: (["a"], "stop"))
        c.load(worker.id, "org/adapter", name="tuned", slug="org-adapter")
        front = fleet.frontend("--router-mode", "round-robin").ready("tuned")
        assert front.chat("x", model="tuned").status == 200
        assert front.chat("x", model="m").status == 200
        assert front.complete("x", model="tuned", stream=True).status == 200
        tuned, base, stream = worker.requests
        assert tuned["model"] == "tuned" and tuned["routing"]["lora_name"] == "org/adapter"
        assert base["model"] == "m" and not (base.get("routing") or {}).get("lora_name")
        assert stream["model"] == "tuned" and stream["routing"]["lora_name"] == "org/adapter"
        assert worker.failure is None


def test_cards_in_any_order(fleet):
    """An adapter waits for its worker's own card, goes with it, and comes back with it; a worker that dies takes all."""
    mocker = fleet.mocker()
    with cards(fleet) as c:
        key, record = c.base(mocker.ids[0])
        c.load(mocker.ids[0], "adapter-a")
        front = fleet.frontend("--router-mode", "kv").ready("adapter-a")
        path = os.path.join(c.where, quote(key, safe=""))
        # A worker writes a record of its own again that somebody has deleted. (Halted, so that the frontend sees it gone.)
        mocker.signal(signal.SIGSTOP)
        os.unlink(path)
        front.wait_line(r"model m has 0 workers")
        mocker.signal(signal.SIGCONT)
        front.ready().ready("adapter-a")
        assert front.chat("x", model="adapter-a").status == 200
        # A worker whose own card never comes has no adapter either.
        lone = copy.deepcopy(record)
        lone.update({"instance_id": 0x77, "model_suffix": "b"})
        lone["card_json"].update({"display_name": "b", "slug": "b", "lora": {"name": "b"}})
        c.write("dynamo/backend/generate/77/b", lone)
        # A key that says adapter and a card that does not.
        lone["card_json"].update({"display_name": "none", "slug": "none"})
        lone["card_json"].pop("lora")
        c.write("dynamo/backend/generate/77/none", lone)
        front.wait_line(r"77/none is left out: its key is that of an adapter")
        # The base's name for an adapter: the model stays what it is.
        c.load(mocker.ids[0], "thief", name="m")
        front.wait_line(r"adapter thief of worker .* is left out: model m is something else")
        assert names(front) == ["adapter-a", "m"]
        assert front.chat("x").status == 200
        mocker.kill()
        fleet.expired(mocker)
        gone(front, "adapter-a")
        assert front.chat("x", model="adapter-a").status in (404, 503)


def test_a_worker_whose_model_has_the_name_of_an_adapter(fleet):
    """It is no worker of the adapter's base, and is served when the adapter is gone."""
    one = fleet.mocker()
    front = fleet.frontend("--router-mode", "kv").ready()
    with cards(fleet) as c:
        key = c.load(one.ids[0], "adapter-a", aliases=["short"])
        front.ready("adapter-a")
        two, three = fleet.mocker("--model-name", "adapter-a"), fleet.mocker("--model-name", "short")
        front.wait_line(rf"worker {two.ids[0]} is left out: its model's name adapter-a is that of an adapter of model m")
        front.wait_line(rf"worker {three.ids[0]} is left out: its model's name short is that of an adapter of model m")
        for model in ("m", "adapter-a", "short") * 2:
            assert front.chat("x", model=model).status == 200
        assert served(one) == 6 and front.metric("dynamo_component_router_worker_registered") == 1
        c.unload(key)
        front.ready("adapter-a", workers=3).ready("short", workers=3)
        assert front.chat("x", model="adapter-a").status == 200 and served(two) == 1
        assert front.chat("x", model="short").status == 200 and served(three) == 1


def test_loads_are_shared_with_the_base(fleet):
    """Streams of the base keep a worker busy: the adapter's next requests go to the other one that has it."""
    one, two = fleet.mocker("--speedup-ratio", "1", "--decode-base-ms", "20"), fleet.mocker("--speedup-ratio", "1",
                                                                                            "--decode-base-ms", "20")
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    with cards(fleet) as c:
        for m in (one, two):
            c.load(m.ids[0], "adapter-a")
        front.ready("adapter-a", workers=2)
        until("both workers", lambda: front.get("/v1/models/adapter-a/ready").json()["namespaces"]["dynamo"]
              ["worker_types"]["aggregated"]["workers"] == 2)
        held = [front.hold(f"{i} {TEXT}", max_tokens=100000, nvext={"backend_instance_id": one.ids[0]}) for i in range(4)]
        until("four streams", lambda: one.metric("requests_running") == 4)
        for i in range(3):
            assert front.chat(f"{i}", model="adapter-a", max_tokens=1).status == 200
        assert served(two) == 3
        for s in held:
            s.close()
        until("all to be over", lambda: one.metric("requests_running") == 0)


def test_a_router_of_its_own(fleet):
    """`weir router`: an adapter's requests go to workers that have it, or to any; one that is unloaded leaves its worker."""
    _, router = pool(fleet, "pool0", workers=3)
    until("the workers", lambda: router.ready().metric("weir_router_workers") == 3)
    with cards(fleet) as c:
        def best(lora=None):
            asked = {"token_ids": list(range(100)), "routing": {"lora_name": lora} if lora else None}
            return call(fleet.env["DYN_FILE_KV"], "pool0", "router", "best_worker_id", asked)[0]["data"]
        everyone = {best() for _ in range(60)}
        assert len(everyone) == 3
        where = sorted(everyone)[:2]
        keys = [c.load(w, "adapter-a") for w in where]
        until("it to be known", lambda: {best("adapter-a") for _ in range(40)} == set(where))
        assert {best("nobody-has-it") for _ in range(60)} == everyone == {best() for _ in range(60)}
        c.unload(keys[0])
        until("one to be left", lambda: {best("adapter-a") for _ in range(40)} == {where[1]})
        assert router.metric("weir_router_workers") == 3 and {best() for _ in range(60)} == everyone
        c.unload(keys[1])
        until("none to be left", lambda: {best("adapter-a") for _ in range(60)} == everyone)
