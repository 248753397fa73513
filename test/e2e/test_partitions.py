"""Peers that are cut off: packets to them, from them or both are lost, so that TCP sees neither FIN nor reset.

Each test: requests run, the wire is cut, every request ends in time, others are served; healed, all is as before without a
restart. The times below are short, so that a test does not wait for those of production; none of them is asserted.
"""
import http.client
import json
import subprocess
import threading

import pytest

from apart import HERE, NEAR, alone, apart  # noqa: F401
from etcd import Etcd
from nats_server import BINARY as NATS, WHY_NOT, NatsServer
from test_engines import BLOCK, accesses, ask, follows, home_of, start, talk
from test_engines import front as engine_front
from test_faults import Stream, all_free, text_of
from test_replicas import acquainted, load
from weir import DEADLINE_S, exposition, knows, total, until

SHORT = {"WEIR_DEAD_PEER_TIMEOUT_SECS": "2", "WEIR_ENGINE_ANSWER_TIMEOUT_SECS": "3", "DYN_TCP_CONNECT_TIMEOUT": "2",
         # Of what a live worker of a busy machine may need, no less than always.
         "DYN_TCP_REQUEST_TIMEOUT": "60", "WEIR_WORKER_LEFT_TIMEOUT_SECS": "60"}
WAYS = pytest.mark.parametrize("lost", [{}, {"there": False}, {"back": False}], ids=["both", "answers", "requests"])


class Unary(threading.Thread):
    """One chat that is answered as a whole."""

    def __init__(self, front, **fields):
        super().__init__()
        self.front, self.fields, self.answer = front, fields, None
        self.start()

    def run(self):
        self.answer = self.front.chat(**self.fields)

    def ended(self):
        self.join(DEADLINE_S)
        assert not self.is_alive(), "a request hangs"
        return self.answer.status


def running(engine):
    return total(exposition(engine.get("/metrics")), "vllm:num_requests_running")


def listed(front):
    return len([i for i in front.get("/health").json()["instances"] if i["endpoint"] == "generate"])


@WAYS
def test_engine(apart, fleet, lost):  # noqa: F811
    away = apart()
    # What runs at the one that is cut off does not end before.
    a, b = (start(fleet, "--speedup-ratio", "1", "--decode-base-ms", ms, within=w) for ms, w in (("40", away), ("20", None)))
    f = engine_front(fleet, a.url, b.url, mode="round-robin", env=SHORT)
    streams = [Stream(f, max_tokens=200) for _ in range(4)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    hit = int(running(a))
    whole = [Unary(f, max_tokens=200) for _ in range(4)]
    until("requests at both", lambda: running(a) + running(b) == 8)
    assert 0 < hit < 4 and running(a) > hit
    at = len(f.lines)
    away.cut(**lost)
    ends = [s.ended() for s in streams]
    assert ends.count("error") == hit and ends.count("length") == 4 - hit, ends
    assert [u.ended() for u in whole] == [200] * 4  # nothing of an answer had come: another engine gave it
    f.wait_line(rf"engine http://{a.host}:{a.port}\S* is down", at)
    until("it to leave", lambda: listed(f) == 1)
    assert [f.chat(max_tokens=2).status for _ in range(6)] == [200] * 6
    until("its requests to be counted", lambda: f.metric("dynamo_frontend_requests_total", status="error") == hit)
    assert (f.metric("weir_engine_up"), f.metric("weir_engine_downs_total")) == (1, 1)
    all_free(type("Here", (), {"front": f}), [])
    away.heal()
    f.wait_line(rf"engine http://{a.host}:{a.port}\S* is up", at)
    f.ready(workers=2)
    assert f.metric("weir_engine_up") == 2
    at = len(f.lines)
    assert [f.chat(max_tokens=2).status for _ in range(6)] == [200] * 6
    assert home_of(f, a) in {worker for worker, _ in accesses(f, 6, at)}


def test_engines_of_a_rack(apart, fleet):  # noqa: F811
    """A request that reached none of them goes on to the one that is left, however many there are. (Failed before: with the
    fourth that did not take the connection.)"""
    away = apart()
    gone, left = [start(fleet, within=away) for _ in range(5)], start(fleet, "--speedup-ratio", "1", "--decode-base-ms", "20")
    f = engine_front(fleet, *[e.url for e in (*gone, left)], mode="least-loaded",
                     env={**SHORT, "WEIR_ENGINE_ANSWER_TIMEOUT_SECS": "60"})
    busy = Stream(f, max_tokens=700, nvext={"backend_instance_id": int(home_of(f, left))})
    assert busy.first.wait(DEADLINE_S) and running(left) == 1
    away.cut()
    assert f.chat(max_tokens=2).status == 200
    assert busy.ended() == "length"


def chat_at(engine, text):
    """A request that comes to an engine without the router's doing."""
    c = http.client.HTTPConnection(engine.within.side, engine.port, timeout=DEADLINE_S)
    c.request("POST", "/v1/chat/completions", json.dumps(
        {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": text}]}), {"content-type": "application/json"})
    r = c.getresponse()
    assert r.status == 200, r.read()
    r.read()
    c.close()


@pytest.mark.parametrize("leaves", [False, True], ids=["gap", "leaves"])
def test_publisher(apart, fleet, leaves):  # noqa: F811
    """What an engine publishes meanwhile is made good afterwards: the prediction is what the engine has."""
    away = apart()
    a, b = start(fleet, "--num-gpu-blocks-override", "128", within=away), start(fleet)
    f = engine_front(fleet, a.url, b.url, env=SHORT)
    for who in ("ann", "ben"):
        talk(f, (a, b), who, turns=2)
    texts = [f"text {i} that is new " * 30 for i in range(6)]
    at = len(f.lines)
    away.cut()
    for t in texts[:5]:  # more than it holds: some are evicted again
        chat_at(a, t)
    f.wait_line(rf"publisher {a.host} port \d+ is gone", at)
    if leaves:
        f.wait_line(rf"engine http://{a.host}:{a.port}\S* is down", at)
    chat_at(a, texts[5])
    away.heal()
    f.ready(workers=2)
    follows(f, a, b)
    found = []
    for t in reversed(texts):
        _, _, overlap, cached = ask(f, {"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": t}]})
        assert overlap * BLOCK == cached, (t, overlap, cached)
        found.append(cached)
        follows(f, a, b)
    assert found[0] > 0, found
    until("what was missed to be told", lambda: f.metric("weir_engine_kv_batches_replayed_total") > 0 or
          leaves and f.metric("weir_engine_downs_total") > 0)  # it was found anew, and asked for all


@WAYS
def test_worker(apart, fleet, lost):  # noqa: F811
    """A worker of the TCP plane that stays listed: its streams go on elsewhere and lose no token."""
    away = apart()
    fleet.env.update(SHORT, DYN_TCP_RESPONSE_STREAM_HOST=HERE)
    b = fleet.mocker("--speedup-ratio", "1")
    fleet.front = f = fleet.frontend("--router-mode", "round-robin", "--migration-limit", "3").ready()
    calm = [Stream(f, seed=i, max_tokens=150) for i in range(4)]
    assert [s.ended() for s in calm] == ["length"] * 4
    a = fleet.mocker("--speedup-ratio", "0.2", within=away)  # its streams do not end before it is cut off
    f.wait_line("model m has 2 workers")
    streams = [Stream(f, seed=i % 4, max_tokens=150) for i in range(12)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    hit = int(a.metric("requests_running"))
    assert 0 < hit < 12
    away.cut(**lost)
    whole = [Unary(f, max_tokens=20) for _ in range(6)]
    assert [s.ended() for s in streams] == ["length"] * 12
    assert [text_of(s) for s in streams] == [text_of(s) for s in calm] * 3
    assert [u.ended() for u in whole] == [200] * 6
    assert f.metric("dynamo_frontend_model_migration_total", migration_type="ongoing_request") >= hit
    assert [f.chat(max_tokens=2).status for _ in range(6)] == [200] * 6
    all_free(fleet, [a, b])
    away.heal()
    returns(f, a)


def returns(front, worker):
    """Its share of the traffic comes back."""
    until("an answer", lambda: front.chat(max_tokens=1).status == 200)
    def served():
        streams = [Stream(front, max_tokens=20) for _ in range(4)]
        for s in streams:
            assert s.first.wait(DEADLINE_S)
        got = worker.metric("requests_running") > 0
        assert [s.ended() for s in streams] == ["length"] * 4
        return got
    until("traffic to return", served)


def test_worker_without_another(apart, fleet):  # noqa: F811
    """Nobody else can do it: the requests end with an error, and the frontend holds nothing of them."""
    away = apart()
    fleet.env.update(SHORT, DYN_TCP_RESPONSE_STREAM_HOST=HERE)
    a = fleet.mocker("--speedup-ratio", "0.2", within=away)
    fleet.front = f = fleet.frontend("--migration-limit", "3").ready()
    streams = [Stream(f, max_tokens=200) for _ in range(3)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    away.cut()
    assert [s.ended() for s in streams] == ["error"] * 3
    assert f.chat(max_tokens=2).status in (503, 504)
    all_free(fleet, [a])
    away.heal()
    returns(f, a)


def test_cache_of_a_worker(apart, fleet):  # noqa: F811
    """Another frontend, on its side of the cut, gives it work: ours learns afterwards what it missed."""
    away = apart()
    fleet.env.update(SHORT, DYN_TCP_RESPONSE_STREAM_HOST=HERE)
    a, b = fleet.mocker("--num-gpu-blocks-override", "256", within=away), fleet.mocker()
    f = fleet.frontend("--router-mode", "kv").ready(workers=2)
    beyond = fleet.frontend("--router-mode", "kv", within=away).ready(workers=2)
    pin = {"x-dynamo-worker-instance-id": str(a.ids[0])}
    assert beyond.chat("before " * 60, pin).status == 200
    until("both to know", lambda: knows(f, [a, b]))
    at = len(f.lines)
    away.cut()
    for i in range(8):
        assert beyond.chat(f"meanwhile {i} " * 60, pin).status == 200
    f.wait_line(rf"publisher {away.wire} port \d+ is gone", at)
    assert beyond.chat("at last " * 60, pin).status == 200
    away.heal()
    until("ours to know what it missed", lambda: knows(f, [a, b]))
    until("that to be told", lambda: f.metric("weir_router_kv_gaps_replayed_total") > 0)
    assert f.metric("weir_router_kv_ranks_given_up_total") == 0
    until("it to be asked again", lambda: f.chat("at last " * 60, pin).status == 200)
    usage = f.chat("at last " * 60, pin).json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 0, usage


@pytest.mark.parametrize("plane", ["zmq", "nats"])
def test_replica(apart, nats, fleet, plane):  # noqa: F811
    """What another frontend tells of its requests' ends is lost meanwhile: they do not stay booked. (Failed before: for an
    hour.)"""
    away = apart()
    fleet.env.update(SHORT, DYN_TCP_RPC_HOST=HERE, DYN_TCP_RESPONSE_STREAM_HOST=HERE, DYN_EVENT_PLANE_HOST=HERE)
    if plane == "nats":
        fleet.env.update(NATS_SERVER=nats(NEAR).url, DYN_EVENT_PLANE="nats")
    m = fleet.mocker("--speedup-ratio", "1", "--decode-base-ms", "1000", "--num-gpu-blocks-override", "100000")
    flags = ("--router-mode", "kv", "--router-replica-sync")
    ours, beyond = fleet.frontend(*flags).ready(), fleet.frontend(*flags, within=away).ready()
    acquainted(ours, beyond)
    leaves = beyond.hold("leaves " * 200, max_tokens=100000, ignore_eos=True)
    until("both to count it", lambda: load(beyond) and load(ours) == load(beyond))
    at, theirs = len(ours.lines), len(beyond.lines)
    away.cut()
    leaves.close()
    until("its frontend to count it no more", lambda: not load(beyond))
    if plane == "zmq":
        ours.wait_line(rf"publisher {away.wire} port \d+ is gone", at)
    else:
        beyond.wait_line("nats: connection lost", theirs)
    assert load(ours)
    away.heal()
    if plane == "nats":  # the server had no word to lose: what comes next shows that something is missing
        until("it to be told of again", lambda: beyond.metric("weir_nats_connected") == 1)
        until("the worker to answer it", lambda: beyond.chat("next", max_tokens=1).status == 200)
    until("nobody to count it", lambda: not load(ours))
    acquainted(ours, beyond)
    until("the worker to be free", lambda: m.metric("requests_running") == 0)


@pytest.fixture
def etcd(apart, tmp_path):  # noqa: F811
    """Starts one; ended after the fleet, which the test names behind it."""
    made = []

    def make(within):
        made.append(Etcd(tmp_path / "etcd", within=within))
        return made[-1]
    yield make
    for e in made:
        e.stop()


def use_etcd(fleet, server):
    fleet.env.update(SHORT, DYN_DISCOVERY_BACKEND="etcd", ETCD_ENDPOINTS=server.url, ETCD_LEASE_TTL="6",
                     DYN_TCP_RESPONSE_STREAM_HOST=HERE)


def test_worker_that_etcd_loses_too(apart, etcd, fleet):  # noqa: F811
    """It leaves the table, and is in it again when it can register."""
    away = apart()
    use_etcd(fleet, etcd(NEAR))
    a, b = fleet.mocker("--speedup-ratio", "1", within=away), fleet.mocker("--speedup-ratio", "1")
    fleet.front = f = fleet.frontend("--router-mode", "round-robin", "--migration-limit", "3").ready(workers=2)
    f.wait_line("model m has 2 workers")
    streams = [Stream(f, max_tokens=300) for _ in range(6)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    at = len(f.lines)
    away.cut()
    f.wait_line("model m has 1 worker", at)
    assert [s.ended() for s in streams] == ["length"] * 6
    assert [f.chat(max_tokens=2).status for _ in range(4)] == [200] * 4
    all_free(fleet, [b])
    at = len(f.lines)
    away.heal()
    f.wait_line("model m has 2 workers", at)
    returns(f, a)
    assert total(a.metrics(), "weir_etcd_leases_lost_total") >= 1


def test_etcd(apart, etcd, fleet):  # noqa: F811
    """Nobody can reach it, and its leases end: what is known stays in use, and is registered again."""
    away = apart()
    server = etcd(away)
    use_etcd(fleet, server)
    mockers = [fleet.mocker("--speedup-ratio", "1") for _ in range(2)]
    fleet.front = f = fleet.frontend("--router-mode", "round-robin").ready(workers=2)
    f.wait_line("model m has 2 workers")
    streams = [Stream(f, max_tokens=300) for _ in range(4)]
    at = len(f.lines)
    away.cut()
    f.wait_line("what is known stays in use", at)
    until("the leases to end", lambda: not server.records())
    assert [f.chat(max_tokens=2).status for _ in range(4)] == [200] * 4
    assert [s.ended() for s in streams] == ["length"] * 4
    assert listed(f) == 2
    away.heal()
    until("the records to be there again", lambda: sum(v["type"] == "Endpoint" for v, _ in server.records().values()) >= 2)
    until("the frontend to be connected", lambda: f.metric("weir_etcd_connected") == 1)
    third = fleet.mocker()
    f.ready(workers=3)
    assert f.metric("weir_etcd_connects_total") == 2 and f.metric("weir_etcd_failures_total") > 0
    all_free(fleet, [*mockers, third])


@pytest.fixture
def nats(apart, tmp_path):  # noqa: F811
    """Starts one; ended after the fleet, which the test names behind it."""
    made = []

    def make(within):
        if NATS is None:
            pytest.skip(WHY_NOT)
        made.append(NatsServer(str(tmp_path), within=within))
        return made[-1]
    yield make
    for s in made:
        s.kill()


def test_nats(apart, nats, fleet):  # noqa: F811
    """Both planes over it. Streams that run go on; requests end in time; what events it lost is asked for."""
    away = apart()
    fleet.env.update(SHORT, NATS_SERVER=nats(away).url, DYN_REQUEST_PLANE="nats", DYN_EVENT_PLANE="nats",
                     DYN_NATS_REQUEST_TIMEOUT_SECS="3")
    mockers = [fleet.mocker("--speedup-ratio", "1") for _ in range(2)]
    fleet.front = f = fleet.frontend("--router-mode", "kv").ready(workers=2)
    assert f.chat("before " * 60).status == 200
    until("it to know", lambda: knows(f, mockers))
    streams = [Stream(f, max_tokens=400, messages=[{"role": "user", "content": f"stream {i} " * 40}]) for i in range(4)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    seen = {p: len(p.lines) for p in (f, *mockers)}
    away.cut()
    whole = [Unary(f) for _ in range(4)]
    assert [s.ended() for s in streams] == ["length"] * 4
    assert {u.ended() for u in whole} <= {503, 504}
    for p, at in seen.items():
        p.wait_line("nats: connection lost", at)
    assert f.metric("weir_nats_connected") == 0 and f.metric("weir_nats_disconnects_total") == 1
    away.heal()
    until("answers again", lambda: f.chat(max_tokens=2).status == 200)
    until("it to know what it missed", lambda: knows(f, mockers))
    all_free(fleet, mockers)
    assert f.metric("weir_nats_connects_total") == 2
    until("what was missing to be told", lambda: f.metric("weir_router_kv_looks_total") + f.metric("weir_router_kv_gaps_replayed_total") > 0)


def test_client(apart, fleet):  # noqa: F811
    """Who cannot be told any more that its stream goes on gives its place at the worker free."""
    away = apart()
    m = fleet.mocker("--speedup-ratio", "0.2")
    fleet.front = f = fleet.frontend("--http-host", "0.0.0.0", env={**SHORT, "WEIR_HTTP_WRITE_STALL_TIMEOUT_MS": "2000"}).ready()
    body = json.dumps({"model": "m", "stream": True, "max_tokens": 100000, "messages": [{"role": "user", "content": "hello"}]})
    code = ("import http.client as h\n"
            f"c = h.HTTPConnection('{HERE}', {f.port})\n"
            f"c.request('POST', '/v1/chat/completions', {body!r}, {{'content-type': 'application/json'}})\n"
            "r = c.getresponse()\n"
            "while r.read1(): print('some', flush=True)\n")
    client = subprocess.Popen([*away.enter, "python3", "-c", code], stdout=subprocess.PIPE)
    try:
        assert client.stdout.readline() == b"some\n"
        assert m.metric("requests_running") == 1
        away.cut()
        all_free(fleet, [m])
        until("it to be counted", lambda: f.metric("dynamo_frontend_model_cancellation_total") == 1)
        away.heal()
        assert f.chat(max_tokens=2).status == 200
    finally:
        client.kill()
        client.communicate()
