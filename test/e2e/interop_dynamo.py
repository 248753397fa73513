"""A real Dynamo on the other side: its mock workers behind `weir frontend`, `weir mocker` behind its frontend.

Runs with WEIR_INTEROP=1 (it installs some 200 MB under build/testenv); DYNAMO_VERSION chooses the release.
Speaks over files, TCP and ZeroMQ, as both do by default, and over NATS where there is a nats-server.
"""
import concurrent.futures
import http.client
import json
import os
import random
import shutil
import subprocess
import sys

import pytest

import testenv
from nats_server import BINARY as NATS, WHY_NOT, NatsServer, heard
from plane_worker import PlaneWorker, card_of_mocker
from test_adapters import cards
from weir import WEIR, Fleet, Process, exposition, kept_port, sse, total, until

pytestmark = pytest.mark.skipif(os.environ.get("WEIR_INTEROP") != "1",
                                reason="set WEIR_INTEROP=1 to run against a real Dynamo")

VERSION = os.environ.get("DYNAMO_VERSION", "1.6.1")
# 1.6.1 names one package that cannot be installed everywhere, so its needs are listed here.
NEEDS = ["aiohttp", "certifi", "kubernetes<33", "msgspec", "prometheus-client>=0.23.1,<1", "pyzmq", "redis<9", "tqdm",
         "transformers>=4.56", "typing-extensions", "zstandard<1", "uvloop", "pydantic>=2.10.6,<=2.13.5"]
BLOCK = 16
TEXT = "the quick brown fox jumps over the lazy dog " * 20


@pytest.fixture(scope="session")
def dynamo():
    """A Python in which dynamo.frontend and dynamo.mocker run."""
    name = f"dynamo-{VERSION}"
    folder = os.path.join(testenv.HOME, name)
    python = os.path.join(folder, "bin", "python")

    def install():
        shutil.rmtree(folder, ignore_errors=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary", ":all:"]
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, text=True)
        if VERSION.startswith(("1.5", "1.6")):
            subprocess.run(pip + NEEDS, check=True, capture_output=True, text=True, timeout=600)
            subprocess.run(pip + ["--no-deps", f"ai-dynamo=={VERSION}", f"ai-dynamo-runtime=={VERSION}"], check=True,
                           capture_output=True, text=True, timeout=600)
        else:
            subprocess.run(pip + [f"ai-dynamo=={VERSION}", "uvloop"], check=True, capture_output=True, text=True,
                           timeout=900)

    testenv._once(name, install)
    return python


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A model directory without weights."""
    source = testenv.qwen3_tokenizer()
    folder = tmp_path_factory.mktemp("model")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(source, file), folder)
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28,
              "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
              "vocab_size": 151936, "max_position_embeddings": 131072, "bos_token_id": 151643, "eos_token_id": 151645}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643}))
    return str(folder)


def dynamo_env(fleet):
    # Releases before 1.6 take the name of an interface only.
    host = "127.0.0.1" if VERSION >= "1.6" else "lo"
    return {"DYN_REQUEST_PLANE": "tcp", "DYN_EVENT_PLANE": "zmq", **fleet.env, "HF_HUB_OFFLINE": "1",
            "DYN_TCP_RESPONSE_STREAM_HOST": host, "HOME": fleet.folder, "PATH": os.environ["PATH"]}


@pytest.fixture(params=["tcp+zmq", "nats", "tcp+nats"])
def planes(request, fleet):
    """How requests and events travel between both sides; gives the server, if there is one."""
    server = None
    if request.param != "tcp+zmq":
        if NATS is None:
            pytest.skip(WHY_NOT)
        server = NatsServer(fleet.folder)
        fleet.env.update(NATS_SERVER=server.url, DYN_EVENT_PLANE="nats", DYN_REQUEST_PLANE=request.param.split("+")[0])
    yield server
    try:
        fleet.close()
    finally:
        fleet.processes.clear()
        if server:
            server.kill()


@pytest.fixture
def theirs():
    """Processes of the other side: killed at the end, whatever happened; only ours are judged."""
    running = []
    yield running
    for p in running:
        p.kill()


def dynamo_mocker(theirs, fleet, python, model, workers=2):
    p = Process([python, "-m", "dynamo.mocker", "--model-path", model, "--model-name", "m", "--block-size", str(BLOCK),
                 "--num-workers", str(workers), "--speedup-ratio", "0"], dynamo_env(fleet), "dynamo.mocker")
    theirs.append(p)
    return p


def files(model):
    """Cards of 1.4 name files by hf:// addresses that do not exist for a local model."""
    return () if VERSION >= "1.6" else ("--model-path", model)


class Http:
    """What is asked of either frontend."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        c.request(method, path, json.dumps(body) if body else None, {"content-type": "application/json"})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def chat(self, text, **more):
        body = {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": text}], **more}
        return self.ask("POST", "/v1/chat/completions", body)

    def complete(self, text, **more):
        return self.ask("POST", "/v1/completions", {"model": "m", "max_tokens": 4, "prompt": text, **more})

    def cached(self, text):
        status, data = self.chat(text)
        assert status == 200, data
        usage = json.loads(data)["usage"]
        return (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0), usage["prompt_tokens"]

    def serving(self):
        def probe():
            try:
                status, data = self.ask("GET", "/v1/models")
            except OSError:
                return False
            return status == 200 and any(m["id"] == "m" for m in json.loads(data)["data"])
        until("model m", probe, 120)
        return self.enabled("/v1/chat/completions", "/v1/completions")

    def enabled(self, *paths):
        """Once it has these paths: Dynamo's frontend lists a model some milliseconds before, and then answers 404."""
        for path in paths:
            until(path, lambda p=path: self.ask("POST", p, {"no": "request"})[0] != 404)
        return self

    def hit_rate(self):
        series = exposition(self.ask("GET", "/metrics")[1])
        name = "dynamo_component_router_kv_hit_rate"
        return total(series, name + "_sum"), total(series, name + "_count")

    def known(self, text):
        """Share of the prompt's blocks that the router believes to be held, by its own figures."""
        before, n = self.hit_rate()
        assert self.chat(text)[0] == 200
        after, m = self.hit_rate()
        return (after - before) / (m - n) if m > n else 0


def whole(status, data, stream):
    """Whether an answer came to its end, once, by reaching max_tokens."""
    if status != 200:
        return False
    events = sse(data) if stream else [json.loads(data)]
    if stream and (events.pop() != "[DONE]" or "[DONE]" in events):
        return False
    return [c["finish_reason"] for e in events for c in e["choices"] if c.get("finish_reason")] == ["length"]


def check_serving(api, requests=200, at_once=16):
    """Chat and completions, unary and streamed, one alone and many at once."""
    status, data = api.chat("hello")
    answer = json.loads(data)
    assert status == 200 and answer["choices"][0]["finish_reason"] == "length", data
    assert answer["usage"]["completion_tokens"] == 4
    status, data = api.chat("hello", stream=True)
    assert status == 200 and data.rstrip().endswith(b"data: [DONE]"), data
    status, data = api.complete("once upon", max_tokens=3)
    assert status == 200 and json.loads(data)["usage"]["completion_tokens"] == 3, data

    def one(i):
        stream = i % 2 == 0
        status, data = (api.chat if i // 2 % 2 else api.complete)(f"request {i}", stream=stream, ignore_eos=True)
        return None if whole(status, data, stream) else (i, status, data)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        bad = [a for a in pool.map(one, range(requests)) if a]
    assert not bad, (len(bad), bad[:3])


def check_streams(api, model="m", requests=1000, at_once=32):
    """None of a thousand streams is lost."""
    def one(i):
        status, data = api.chat(f"stream {i}", stream=True, ignore_eos=True, model=model)
        return None if whole(status, data, True) else (i, status, data)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        bad = [a for a in pool.map(one, range(requests)) if a]
    assert not bad, (len(bad), bad[:3])


def check_routing(api, restart, usage=True):
    """A prompt goes where it is held, and a frontend that starts anew finds that out by itself."""
    assert api.chat(TEXT)[0] == 200
    # Events travel on their own: the second request may come before them, the later ones may not.
    until("the router to know the prompt", lambda: api.known(TEXT) > 0.8)
    assert all(api.known(TEXT) > 0.8 for _ in range(4))
    if usage:
        cached, prompt = api.cached(TEXT)
        assert cached >= prompt - 2 * BLOCK
    again = restart()
    until("a restored cache", lambda: again.known(TEXT) > 0.8)
    return again


def test_dynamo_workers_behind_weir(fleet, planes, theirs, dynamo, model):
    workers = dynamo_mocker(theirs, fleet, dynamo, model)
    front = fleet.frontend("--router-mode", "kv", *files(model))
    api = Http(front.port).serving()
    check_serving(api, 1000, 64)

    def restart():
        front.stop()
        return Http(fleet.frontend("--router-mode", "kv", *files(model)).port).serving()

    again = check_routing(api, restart, usage=VERSION >= "1.6")  # older workers send no usage
    # Killed: its records expire, and the model goes.
    workers.kill()
    until("the model to go", lambda: json.loads(again.ask("GET", "/v1/models")[1])["data"] == [], 60)


def test_weir_workers_behind_dynamo(fleet, planes, theirs, dynamo, model):
    fleet.mocker("--model-path", model, "--block-size", str(BLOCK), workers=2)

    def start():
        # The reference has no way to say which port it took: one that is kept for it is named.
        port = kept_port()
        theirs.append(Process([dynamo, "-m", "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1",
                                "--router-mode", "kv"], dynamo_env(fleet), "dynamo.frontend"))
        return Http(port).serving()

    def restart():
        theirs[-1].kill()
        return start()

    api = start()
    check_serving(api, 1000, 64)
    check_routing(api, restart)


@pytest.mark.parametrize("more", [
    {},
    {"runtime_config": {"runtime_data": {"vllm_inference_v1_generate": True, "vllm_enable_tower_connector_lora": "yes"}}},
    {"architectural_max_context_length": 32768, "context_length": 4096, "aliases": ["other", "x"], "source_path": "/nowhere",
     "prompt_context": ["oai_chat", "llama3_date_time"]},
])
def test_both_tell_a_worker_the_same_sum_of_its_card(fleet, theirs, dynamo, model, more):
    """`mdc_sum`: one card, and what the worker hears of each frontend, for the model and for an adapter of it."""
    if VERSION < "1.6":
        pytest.skip("what counts is of 1.6.1")
    worker = PlaneWorker(fleet, **{**card_of_mocker(fleet, model), **more})
    sums = []
    with cards(fleet) as c:
        c.load(0x77, "adapter")
        for api in (dynamo_front(theirs, fleet, dynamo), Http(fleet.frontend(*files(model)).port).serving()):
            for name in ("m", "adapter"):
                until(name, lambda: api.chat("hello", model=name)[0] == 200)
                _, told = worker.last()
                assert told["routing"].get("lora_name") == (None if name == "m" else name)
                sums.append(told["mdc_sum"])
    assert len(sums[0]) == 64 and set(sums) == {sums[0]}
    worker.close()


def test_both_kinds_of_workers_in_one_fleet(fleet, theirs, dynamo, model):
    """One model, one worker of each kind: either gets its turn."""
    dynamo_mocker(theirs, fleet, dynamo, model, workers=1)
    front = fleet.frontend("--router-mode", "round-robin", *files(model))
    api = Http(front.port).serving()
    ours = fleet.mocker("--model-path", model, "--block-size", str(BLOCK), workers=1)
    front.ready(workers=2)
    assert all(api.chat(f"request {i}")[0] == 200 for i in range(20))
    assert 5 <= ours.metric("finished_total") <= 15


def test_both_send_the_next_turn_ahead(fleet, theirs, dynamo, model):
    """`speculative_prefill`: one conversation, and what a worker gets of each frontend behind its answer."""
    if VERSION < "1.6":
        pytest.skip("1.4 knows the hint under another name")
    worker = PlaneWorker(fleet, **card_of_mocker(fleet, model))
    said = [{"token_ids": [40, 41]}, {"token_ids": [42, 43]}, {"token_ids": [], "finish_reason": "stop"}]
    ahead = []
    for api in (dynamo_front(theirs, fleet, dynamo, "--router-mode", "kv"),
                Http(fleet.frontend("--router-mode", "kv", *files(model)).port).serving()):
        n = len(worker.requests)
        status, data = api.chat("How high is Everest?", nvext={"annotations": ["script:" + json.dumps(said)],
                                                               "agent_hints": {"speculative_prefill": True}})
        assert status == 200, data
        until("the next turn", lambda: len(worker.requests) == n + 2)
        ahead.append(worker.last()[1])
    assert ahead[0]["token_ids"] == ahead[1]["token_ids"] and len(ahead[0]["token_ids"]) > 10
    assert ahead[0]["stop_conditions"]["max_tokens"] == ahead[1]["stop_conditions"]["max_tokens"] == 1
    worker.close()


# ---- how much is found in the workers' caches ----------------------------------------------------


def workers_of(api):
    instances = json.loads(api.ask("GET", "/health")[1])["instances"]
    return len({i["instance_id"] for i in instances if i["endpoint"] == "generate"})


def conversations(groups=5, members=7, turns=4):
    """Chats of several turns, some of which begin alike, in a fixed order: one turn of every chat, then the next."""
    rng = random.Random(6)

    def words(n):
        return " ".join(rng.choice(("red", "blue", "seven", "river", "stone", "seldom", "cloud", "walks")) for _ in range(n))

    chats = []
    for g in range(groups):
        system = {"role": "system", "content": f"group {g} " + words(rng.randrange(100, 400))}
        chats += [[system] for _ in range(members)]
    rng.shuffle(chats)
    for _ in range(turns):
        for i, chat in enumerate(chats):
            chats[i] = chat + [{"role": "user", "content": words(rng.randrange(30, 90))}]
            yield chats[i]
            chats[i] = chats[i] + [{"role": "assistant", "content": words(rng.randrange(20, 60))}]


def routed_to(api):
    """How many workers its router may choose, which both count alike: /health shows them earlier."""
    return total(exposition(api.ask("GET", "/metrics")[1]), "dynamo_component_router_worker_registered")


def found_share(api):
    """Share of the prompt tokens that the workers say they held, and the number of prompt tokens."""
    def events():
        series = exposition(api.ask("GET", "/metrics")[1])
        return total(series, "dynamo_component_kv_cache_events_applied", event_type="stored", status="ok")

    found = tokens = 0
    for messages in conversations():
        before = events()
        status, data = api.ask("POST", "/v1/chat/completions", {"model": "m", "max_tokens": 1, "messages": messages})
        assert status == 200, data
        usage = json.loads(data)["usage"]
        found += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        tokens += usage["prompt_tokens"]
        # Every turn has new blocks, told of in one event: the router knows them before the next request.
        until("the event of that prompt", lambda: events() > before)
    return found / tokens, tokens


def test_hit_rate_equals_that_of_dynamos_frontend(theirs, dynamo, model, tmp_path):
    """The same chats before the same workers, started anew for each frontend; the workers count."""
    if VERSION < "1.6":
        pytest.skip("workers of 1.4 send no usage")
    got = {}
    for kind in ("weir", "dynamo"):
        fleet = Fleet(tmp_path / kind)
        os.mkdir(fleet.folder)
        try:
            dynamo_mocker(theirs, fleet, dynamo, model, workers=4)
            if kind == "weir":
                front = Http(fleet.frontend("--router-mode", "kv").port).serving()
            else:
                front = dynamo_front(theirs, fleet, dynamo, "--router-mode", "kv")
            until("four workers", lambda f=front: workers_of(f) == 4 == routed_to(f))
            got[kind] = found_share(front)
        finally:
            fleet.close()
            while theirs:
                theirs.pop().kill()
    (ours, our_tokens), (reference, their_tokens) = got["weir"], got["dynamo"]
    print(f"hit rate by the workers' count: weir {ours:.4f}, dynamo {reference:.4f}, of {our_tokens} prompt tokens")
    assert our_tokens == their_tokens
    assert reference > 0.6  # round robin finds 0.42 of these chats
    assert abs(ours - reference) <= 0.02 * reference


# ---- split pools and global routers -------------------------------------------------------------


def dynamo_part(theirs, fleet, python, model, *flags, workers=1):
    p = Process([python, "-m", "dynamo.mocker", "--model-path", model, "--model-name", "m", "--block-size", str(BLOCK),
                 "--speedup-ratio", "0", "--num-workers", str(workers), *flags], dynamo_env(fleet), "dynamo.mocker")
    theirs.append(p)
    return p


def dynamo_process(theirs, fleet, python, module, *flags):
    p = Process([python, "-m", module, *flags], dynamo_env(fleet), module)
    theirs.append(p)
    return p


def weir_service(fleet, command, *flags):
    p = Process([WEIR, command, *flags], fleet.env)
    fleet.processes.append(p)
    return p


def dynamo_front(theirs, fleet, python, *flags):
    port = kept_port()
    dynamo_process(theirs, fleet, python, "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1", *flags)
    return Http(port).serving()


def listens(port):
    """Whether something listens on that port, without connecting to it."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in list(f)[1:])


@pytest.mark.parametrize("planes", ["nats"], indirect=True)
def test_a_worker_of_dynamo_that_is_gone(fleet, planes, theirs, dynamo, model):
    """Over NATS: nobody listens on its subject, so the other worker gets every request at once."""
    gone = dynamo_mocker(theirs, fleet, dynamo, model, workers=1)
    ours = fleet.mocker("--model-path", model, "--block-size", str(BLOCK))
    front = fleet.frontend("--router-mode", "round-robin", *files(model))
    front.ready(workers=2)
    subject, = (i["transport"]["nats_tcp"] for i in front.get("/health").json()["instances"]
                if i["endpoint"] == "generate" and i["instance_id"] not in ours.ids)
    gone.kill()
    until("the server to know of it", lambda: not heard(planes, subject))
    assert all(front.chat(f"request {i}", max_tokens=4).status == 200 for i in range(20))


@pytest.mark.parametrize("bootstrap", [False, True])
def test_dynamo_split_workers_behind_weir(fleet, theirs, dynamo, model, bootstrap):
    port = kept_port()
    meeting = ("--bootstrap-ports", str(port)) if bootstrap else ()
    n = 1 if bootstrap else 2
    dynamo_part(theirs, fleet, dynamo, model, "--disaggregation-mode", "prefill", *meeting, workers=n)
    dynamo_part(theirs, fleet, dynamo, model, "--disaggregation-mode", "decode", workers=2)
    front = fleet.frontend("--router-mode", "kv", "--enforce-disagg", *files(model))
    front.wait_line(f"model m has {n} prefill worker", deadline_s=120)
    front.wait_line("model m has 2 workers", deadline_s=120)
    api = Http(front.port).serving()
    if bootstrap:  # their prefill worker announces itself before it listens there
        until("the bootstrap port", lambda: listens(port))
    check_serving(api)
    check_streams(api)


def test_dynamo_split_workers_behind_weir_routers(fleet, theirs, dynamo, model):
    """2 prefill and 2 decode mockers of theirs, `weir router` before each pool, `weir global-router` before those."""
    for kind, endpoint in (("prefill", "pre.prefill.generate"), ("decode", "dec.backend.generate")):
        dynamo_part(theirs, fleet, dynamo, model, "--disaggregation-mode", kind, "--endpoint", "dyn://" + endpoint, workers=2)
        router = weir_service(fleet, "router", "--endpoint", endpoint, "--router-block-size", str(BLOCK),
                              *(("--no-router-track-active-blocks",) if kind == "prefill" else ()))
        router.wait_line("joins; there are 2", deadline_s=120)
    path = os.path.join(fleet.folder, "split.json")
    axis = {"min": 10, "max": 3000}
    with open(path, "w", encoding="ascii") as f:
        json.dump({"num_prefill_pools": 1, "num_decode_pools": 1, "prefill_pool_dynamo_namespaces": ["pre"],
                   "decode_pool_dynamo_namespaces": ["dec"],
                   "prefill_pool_selection_strategy": {
                       "ttft_min_ms": axis["min"], "ttft_max_ms": axis["max"], "ttft_resolution": 1, "isl_min": 0,
                       "isl_max": 2000, "isl_resolution": 1, "prefill_pool_mapping": [[0]]},
                   "decode_pool_selection_strategy": {
                       "itl_min_ms": axis["min"], "itl_max_ms": axis["max"], "itl_resolution": 1, "context_length_min": 0,
                       "context_length_max": 32000, "context_length_resolution": 1, "decode_pool_mapping": [[0]]}}, f)
    weir_service(fleet, "global-router", "--config", path, "--model-name", "m", "--model-path", model, "--namespace", "front")
    front = fleet.frontend("--namespace", "front", "--enforce-disagg", *files(model))
    front.wait_line("model m has 1 prefill worker", deadline_s=120)
    check_streams(Http(front.port).serving())


def test_weir_split_workers_behind_dynamo(fleet, theirs, dynamo, model):
    flags = ("--model-path", model, "--block-size", str(BLOCK), "--disaggregation-mode")
    pre = fleet.mocker(*flags, "prefill", workers=2)
    dec = fleet.mocker(*flags, "decode", workers=2)
    api = dynamo_front(theirs, fleet, dynamo, "--router-mode", "kv")
    # Their frontend lists the model before it knows the prefill workers, and refuses requests in between.
    theirs[-1].wait_line("Prefill router (target activated|activated successfully)", deadline_s=120)
    check_serving(api)
    assert pre.metric("finished_total") == dec.metric("finished_total") == 203
    assert dec.metric("received_tokens_total") == dec.metric("prompt_tokens_total") > 0


def pool_file(fleet):
    path = os.path.join(fleet.folder, "pools.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump({"mode": "agg", "num_agg_pools": 2, "agg_pool_dynamo_namespaces": ["pool0", "pool1"],
                   "agg_pool_selection_strategy": {
                       "ttft_min": 10, "ttft_max": 3000, "ttft_resolution": 2, "itl_min": 5, "itl_max": 200,
                       "itl_resolution": 1, "agg_pool_mapping": [[0], [1]]}}, f)
    return path


def check_pools(api, mockers):
    """Tight targets go to pool 0, relaxed ones to pool 1."""
    for target, served in ((100, (1, 0)), (2900, (1, 1)), (2900, (1, 2)), (100, (2, 2))):
        status, data = api.chat("hello", nvext={"router": {"ttft_target": target}})
        assert status == 200, data
        assert tuple(m.metric("finished_total") for m in mockers) == served
    check_serving(api)
    check_streams(api)


def weir_pool(fleet, model, ns):
    return fleet.mocker("--model-path", model, "--block-size", str(BLOCK), "--endpoint", f"dyn://{ns}.backend.generate",
                        model="worker-of-" + ns)


def test_dynamo_frontend_before_weir_global_router(fleet, theirs, dynamo, model):
    mockers = [weir_pool(fleet, model, ns) for ns in ("pool0", "pool1")]
    for ns in ("pool0", "pool1"):
        weir_service(fleet, "router", "--endpoint", f"{ns}.backend.generate")
    weir_service(fleet, "global-router", "--config", pool_file(fleet), "--model-name", "m", "--model-path", model,
                 "--namespace", "front")
    check_pools(dynamo_front(theirs, fleet, dynamo, "--namespace", "front"), mockers)


def test_weir_before_dynamo_routers_before_weir_workers(fleet, theirs, dynamo, model):
    """The reference's routers take ours for a worker's, and ours theirs for routers."""
    mockers = [weir_pool(fleet, model, ns) for ns in ("pool0", "pool1")]
    for ns in ("pool0", "pool1"):
        dynamo_process(theirs, fleet, dynamo, "dynamo.router", "--endpoint", f"{ns}.backend.generate",
                       "--router-block-size", str(BLOCK))
    weir_service(fleet, "global-router", "--config", pool_file(fleet), "--model-name", "m", "--model-path", model,
                 "--namespace", "front", "--pool-wait-secs", "120")
    front = fleet.frontend("--namespace", "front")
    check_pools(Http(front.port).serving(), mockers)


def test_weir_before_dynamo_global_router(fleet, theirs, dynamo, model):
    mockers = [weir_pool(fleet, model, ns) for ns in ("pool0", "pool1")]
    for ns in ("pool0", "pool1"):
        weir_service(fleet, "router", "--endpoint", f"{ns}.backend.generate").wait_line("get_overlap_scores")
    dynamo_process(theirs, fleet, dynamo, "dynamo.global_router", "--config", pool_file(fleet), "--model-name", model,
                   "--namespace", "front")
    front = fleet.frontend("--namespace", "front")
    def name():
        data = front.get("/v1/models").json()["data"]
        return data and data[0]["id"]
    until("a model", name, 120)
    r = front.chat(model=name(), nvext={"router": {"ttft_target": 100}})
    assert r.status == 200, r
    assert tuple(m.metric("finished_total") for m in mockers) == (1, 0)
    check_streams(Http(front.port), name())


def test_replica_sync_with_dynamo(fleet, theirs, dynamo, model):
    """A frontend of each kind before the same workers: each counts what the other has sent."""
    if VERSION < "1.6":
        pytest.skip("frontends of 1.4 tell of each other's load by another topic")
    fleet.mocker("--model-path", model, "--block-size", str(BLOCK), "--speedup-ratio", "1", "--decode-base-ms", "1000")
    port = kept_port()
    dynamo_process(theirs, fleet, dynamo, "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1",
                   "--router-mode", "kv", "--router-replica-sync")
    front = fleet.frontend("--router-mode", "kv", "--router-replica-sync", *files(model))
    api = Http(port).serving()
    Http(front.port).serving()

    def stream(to):
        c = http.client.HTTPConnection("127.0.0.1", to, timeout=60)
        c.request("POST", "/v1/chat/completions", json.dumps(
            {"model": "m", "max_tokens": 2000, "stream": True, "ignore_eos": True,
             "messages": [{"role": "user", "content": TEXT + str(to)}]}), {"content-type": "application/json"})
        c.answer = c.getresponse()
        return c

    def ours(name="worker_active_decode_blocks"):
        return sum(v for k, v in front.metrics().items() if name in k)

    def counted():
        page = api.ask("GET", "/metrics")[1]
        return total(exposition(page), "dynamo_frontend_worker_active_decode_blocks")

    def told_of(to, count, what):
        """A frontend tells of a request when it begins, and who does not listen yet never hears of it: it is asked again
        until the other has heard."""
        asked = []

        def heard():
            if not asked or count() == 0 and settled(asked[-1]):
                asked.append(stream(to))
            return count() > 5
        until(what, heard)
        for c in asked:
            c.answer.close()
            c.close()

    def settled(c):
        """Whether that stream has given several items since it began: whoever listened has heard of it."""
        return sum(c.answer.readline().startswith(b"data: ") for _ in range(6)) > 0

    told_of(port, ours, "ours to count their request")
    until("ours to forget it", lambda: ours() == 0)
    told_of(front.port, counted, "theirs to count our request")
    until("theirs to forget it", lambda: counted() == 0)
