"""Workers that die, hang or leave, and clients that go away: every stream ends once, every gauge returns to zero."""
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from plane_worker import PlaneWorker
from scripted import ScriptedWorker
from weir import DEADLINE_S, sse, until

GAUGES = ("dynamo_frontend_inflight_requests", "dynamo_frontend_active_requests",
          "dynamo_frontend_queued_requests")
# A machine without time to spare is not what these tests are about: workers that get none for the usual 5 seconds are
# alive, and with all of them avoided a request is refused. A killed one is noticed by its connections.
PATIENT = {"DYN_TCP_REQUEST_TIMEOUT": "60"}
# Of workers that are killed under streams: none of these ends before that, however late it comes.
SLOW = ("--speedup-ratio", "0.02")
CLIENTS = int(os.environ.get("WEIR_TEST_CLIENTS", "2000"))  # the long run takes 10,000


def all_free(fleet, mockers):
    def probe():
        series = fleet.front.metrics()
        busy = [k for k, v in series.items() if k.startswith(GAUGES) and v != 0]
        return not busy and not any(m.metric("requests_running") + m.metric("requests_waiting") for m in mockers)
    until("all gauges at zero", probe)


class Stream(threading.Thread):
    """One streamed chat, read to its end."""

    def __init__(self, front, **fields):
        super().__init__()
        self.front, self.fields = front, {"max_tokens": 400, "stream": True, **fields}
        self.first, self.body, self.status = threading.Event(), b"", None
        self.start()

    def run(self):
        c = self.front.connect()
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], **self.fields}
        c.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        r = c.getresponse()
        self.status = r.status
        while True:
            piece = r.read1(65536)
            if not piece:
                break
            self.body += piece
            self.first.set()
        self.first.set()
        c.close()

    def ended(self):
        """"stop", "error" or "broken"; a stream that began ends exactly once."""
        self.join(2 * DEADLINE_S)
        assert not self.is_alive(), "a stream hangs"
        if self.status != 200:
            return f"status {self.status}"
        events = sse(self.body)
        assert events.count("[DONE]") == 1 and events[-1] == "[DONE]", events[-3:]
        errors = [e for e in events[:-1] if "error" in e]
        finishes = [c["finish_reason"] for e in events[:-1] if "choices" in e for c in e["choices"] if c["finish_reason"]]
        assert len(errors) + len(finishes) == 1, (errors, finishes)
        return "error" if errors else finishes[0]


def test_kill_one_of_two(fleet):
    victim = fleet.mocker(*SLOW)
    other = fleet.mocker("--speedup-ratio", "0.5")
    fleet.front = fleet.frontend("--router-mode", "round-robin", env=PATIENT).ready(workers=2)
    fleet.front.wait_line("model m has 2 workers")  # /health knows them before: requests go to all from here on
    streams = [Stream(fleet.front) for _ in range(20)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    hit = int(victim.metric("requests_running"))
    assert 0 < hit < 20
    victim.kill()
    ends = [s.ended() for s in streams]
    assert ends.count("error") == hit and ends.count("length") == 20 - hit, ends
    # New requests go elsewhere, at once.
    for _ in range(10):
        assert fleet.front.chat(max_tokens=2).status == 200
    fleet.expired(victim)
    until("the dead worker to leave", lambda: len([i for i in fleet.front.get("/health").json()["instances"]
                                                   if i["endpoint"] == "generate"]) == 1)
    all_free(fleet, [other])


def text_of(stream):
    return "".join(c["delta"].get("content") or "" for e in sse(stream.body)[:-1] if "choices" in e for c in e["choices"])


@pytest.mark.parametrize("model", ["bytes"])
def test_streams_move_to_another_worker(fleet, model):
    """Killed workers cost no stream and no token: each text equals that of an undisturbed run."""
    stays = fleet.mocker("--speedup-ratio", "2")
    fleet.front = fleet.frontend("--router-mode", "round-robin", "--migration-limit", "3", env=PATIENT).ready()
    calm = [Stream(fleet.front, seed=i, max_tokens=300) for i in range(10)]
    assert [s.ended() for s in calm] == ["length"] * 10
    want = [text_of(s) for s in calm]
    victims = [fleet.mocker(*SLOW) for _ in range(2)]
    fleet.front.wait_line("model m has 3 workers")
    streams = [Stream(fleet.front, seed=i % 10, max_tokens=300) for i in range(60)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    for victim in victims:
        victim.kill()
    assert [s.ended() for s in streams] == ["length"] * 60
    assert [text_of(s) for s in streams] == want * 6
    moved = fleet.front.counted().metric("dynamo_frontend_model_migration_total", migration_type="ongoing_request")
    assert moved > 0
    assert moved == fleet.front.metric("dynamo_frontend_model_migration_duration_seconds_count", migration_type="ongoing_request")
    assert fleet.front.metric("dynamo_frontend_model_migration_duration_seconds_count", outcome="success") >= 1
    all_free(fleet, [stays])


def test_a_migration_without_a_worker_has_failed(fleet):
    """Each migration that was counted has an outcome. (Failed before: with nobody left it had none.)"""
    victim = fleet.mocker(*SLOW)
    fleet.front = fleet.frontend("--router-mode", "round-robin", "--migration-limit", "3", env=PATIENT).ready()
    stream = Stream(fleet.front)
    assert stream.first.wait(DEADLINE_S)
    victim.kill()
    assert stream.ended() == "error"
    assert fleet.front.counted().metric("dynamo_frontend_model_migration_total") == 1
    assert fleet.front.metric("dynamo_frontend_model_migration_duration_seconds_count", outcome="failure") == 1


def test_requests_too_long_do_not_move(fleet):
    victim = fleet.mocker(*SLOW)
    other = fleet.mocker("--speedup-ratio", "0.5")
    fleet.front = fleet.frontend("--router-mode", "round-robin", "--migration-limit", "3",
                                 "--migration-max-seq-len", "10", env=PATIENT).ready(workers=2)
    fleet.front.wait_line("model m has 2 workers")  # /health knows them before: requests go to all from here on
    streams = [Stream(fleet.front) for _ in range(4)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    victim.kill()
    assert sorted(s.ended() for s in streams) == ["error", "error", "length", "length"]
    assert fleet.front.counted().metric("dynamo_frontend_model_migration_max_seq_len_exceeded_total") == 2
    all_free(fleet, [other])


def test_stopped_worker_is_given_up(fleet):
    env = {"WEIR_WORKER_LEFT_TIMEOUT_SECS": "1"}
    victim = fleet.mocker(*SLOW)
    fleet.front = fleet.frontend("--router-mode", "round-robin", env=env).ready()
    streams = [Stream(fleet.front) for _ in range(4)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    with victim.frozen():
        fleet.expired(victim)
        assert [s.ended() for s in streams] == ["error"] * 4
        all_free(fleet, [])
        assert fleet.front.chat(max_tokens=2).status in (503, 504, 404)


def test_hanging_worker_meets_the_stream_deadline(fleet):
    fleet.mocker("--hang-rate", "1")
    fleet.front = fleet.frontend(env={"DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS": "0.3"}).ready()
    r = fleet.front.chat()
    assert r.status in (503, 504), r
    all_free(fleet, [])


@pytest.mark.parametrize("how", ["never calls", "hangs up", "hangs up behind its prologue", "breaks off"])
def test_request_that_a_worker_takes_and_drops(fleet, how):
    """It hangs nowhere: it goes to another worker, or ends with a status; counters tell; a worker that mends is used again."""
    bad, good = PlaneWorker(fleet), fleet.mocker()
    # Where a connection tells, no time does: the good worker may need some.
    env = {"WEIR_WORKER_BEGIN_TIMEOUT_SECS": "60" if how.startswith("hangs up") else "3", "DYN_RUNTIME_INHIBITED_DURATION_SECS": "0.2"}
    flags = ("--router-mode", "round-robin")
    moves = fleet.frontend(*flags, "--migration-limit", "1", env=env).ready(workers=2)
    fleet.front = fails = fleet.frontend(*flags, env=env).ready(workers=2)
    for front in (moves, fails):
        front.wait_line("model m has 2 workers")
    bad.drops = how
    try:
        until("it to take one", lambda: moves.chat(max_tokens=2).status == 200 and bad.requests)
        assert [moves.chat(max_tokens=2, stream=i % 2 == 0).status for i in range(6)] == [200] * 6
        assert moves.metric("dynamo_frontend_model_migration_total", migration_type="new_request") > 0
        assert moves.metric("dynamo_transport_tcp_errors_total") > 0
        del bad.requests[:]
        ends = []
        until("one that it took", lambda: ends.append(fails.chat(max_tokens=2).status) or bad.requests)
        assert set(ends) <= {200, 503, 504} and ends[-1] in (503, 504), ends
        until("its failure to be counted", lambda: fails.metric("dynamo_frontend_failures_total") == 1)
        all_free(fleet, [good])
        assert moves.counted().metric("dynamo_frontend_requests_total", status="error") == 0
        bad.drops = None
        del bad.requests[:]
        until("it to be used again", lambda: fails.chat(max_tokens=2).status == 200 and bad.requests)
    finally:
        bad.close()


def test_failing_worker_has_its_status(fleet):
    fleet.mocker("--fail-rate", "1")
    fleet.front = fleet.frontend().ready()
    assert fleet.front.chat().status == 500
    r = fleet.front.chat(stream=True)
    assert r.status == 500 and r.json()["error"]["message"], r  # nothing was sent yet: a real status
    all_free(fleet, [])


def test_drain_lets_streams_finish(fleet):
    worker = fleet.mocker("--speedup-ratio", "0.05")
    fleet.front = fleet.frontend(env={"DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "60"}).ready()
    streams = [Stream(fleet.front, max_tokens=30) for _ in range(3)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    with worker.frozen():  # the frontend leaves with the last stream
        fleet.front.signal(signal.SIGTERM)
        until("readiness to fail", lambda: fleet.front.get("/live").status == 503)
        assert fleet.front.get("/health").status == 503
        assert fleet.front.chat().status == 503
    assert [s.ended() for s in streams] == ["length"] * 3
    assert fleet.front.wait() == 0


def test_worker_drain_lets_streams_finish(fleet):
    leaving = fleet.mocker("--speedup-ratio", "1")
    fleet.front = fleet.frontend().ready()
    streams = [Stream(fleet.front, max_tokens=200) for _ in range(3)]
    for s in streams:
        assert s.first.wait(DEADLINE_S)
    leaving.signal(signal.SIGTERM)
    assert [s.ended() for s in streams] == ["length"] * 3
    assert leaving.wait() == 0


@pytest.fixture
def unaware(fleet, tmp_path):
    """Makes a frontend that sees for good what discovery has now: to it nobody ever leaves."""
    over = threading.Event()

    def make(workers):
        folder = shutil.copytree(fleet.env["DYN_FILE_KV"], tmp_path / "as it was")
        files = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]

        def touch():
            while not over.wait(2):
                for name in files:
                    os.utime(name)
        threading.Thread(target=touch, daemon=True).start()
        return fleet.frontend("--router-mode", "round-robin", env={"DYN_FILE_KV": str(folder)}).ready(workers=workers)
    yield make
    over.set()


def records(fleet):
    return [name for _, _, names in os.walk(os.path.join(fleet.env["DYN_FILE_KV"], "v1", "instances")) for name in names
            if "generate" in name]


def test_leaving_worker_serves_those_who_have_not_seen_it(fleet, unaware):
    """As in the reference system: the records go first, then comes the grace period, then requests are refused."""
    stays, leaves = fleet.mocker(), fleet.mocker(env={"DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS": "600"})
    fleet.front = unaware(workers=2)
    leaves.signal(signal.SIGTERM)
    until("its record to go", lambda: len(records(fleet)) == 1)
    before = leaves.metric("finished_total")
    assert [fleet.front.chat(max_tokens=2).status for _ in range(6)] == [200] * 6
    assert leaves.metric("finished_total") == before + 3
    assert leaves.stop() == 0  # a second signal ends it at once
    assert [fleet.front.chat(max_tokens=2).status for _ in range(4)] == [200] * 4
    all_free(fleet, [stays])


def test_grace_period_of_a_leaving_worker_ends(fleet):
    worker = fleet.mocker("--speedup-ratio", "1", env={"DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS": "0.1"})
    fleet.front = fleet.frontend().ready()
    stream = Stream(fleet.front, max_tokens=200)
    assert stream.first.wait(DEADLINE_S)
    worker.signal(signal.SIGTERM)
    worker.wait_line("requests are taken for another 0.1 s")
    worker.wait_line("no more requests are taken; 1 are running")
    assert stream.ended() == "length" and worker.wait() == 0


def test_requests_that_no_worker_has_read_go_to_another(fleet):
    stays, goes = fleet.mocker(), fleet.mocker()
    fleet.front = fleet.frontend("--router-mode", "round-robin", env=PATIENT).ready(workers=2)
    fleet.front.wait_line("model m has 2 workers")
    assert [fleet.front.chat(max_tokens=2).status for _ in range(4)] == [200] * 4  # there is a connection to each
    with goes.frozen():
        streams = [Stream(fleet.front, max_tokens=2) for _ in range(8)]
        until("those of the other to end", lambda: fleet.front.metric("dynamo_frontend_inflight_requests") == 4)
        goes.kill()
    assert [s.ended() for s in streams] == ["length"] * 8
    assert fleet.front.counted().metric("dynamo_frontend_requests_total", status="error") == 0
    all_free(fleet, [stays])


def test_request_that_may_have_ended_its_worker_meets_two_at_the_most(fleet):
    bad = [PlaneWorker(fleet, number=n) for n in (0x71, 0x72, 0x73)]
    for worker in bad:
        worker.acknowledges = False
    try:
        fleet.front = fleet.frontend().ready(workers=3)
        assert fleet.front.chat(max_tokens=2).status == 503
        assert sum(len(worker.requests) for worker in bad) == 2
        all_free(fleet, [])
    finally:
        for worker in bad:
            worker.close()


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_request_that_ends_its_workers_meets_as_many_as_may_be(fleet, limit):
    """They have said that they have it: --migration-limit is the whole bound, and without one nobody else is asked."""
    bad = [PlaneWorker(fleet, number=n) for n in (0x71, 0x72, 0x73, 0x74)]
    for worker in bad:
        worker.drops = "hangs up"
    try:
        fleet.front = fleet.frontend("--migration-limit", str(limit)).ready(workers=4)
        assert fleet.front.chat(max_tokens=2).status in (503, 504)
        assert sum(len(worker.requests) for worker in bad) == limit + 1
        all_free(fleet, [])
    finally:
        for worker in bad:
            worker.close()


def test_client_gone_frees_the_worker_within_50_ms(fleet):
    m = fleet.mocker("--speedup-ratio", "0.02")
    fleet.front = fleet.frontend().ready()
    body = json.dumps({"model": "m", "stream": True, "max_tokens": 5000,
                       "messages": [{"role": "user", "content": "hello"}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    for _ in range(5):
        s = fleet.front.socket()
        s.sendall(head % len(body) + body)
        until("the request at the worker", lambda: m.metric("requests_running") == 1)
        s.close()
        until("the worker to be free", lambda: m.metric("requests_running") == 0)
    until("all to be counted", lambda: fleet.front.metric("dynamo_frontend_model_cancellation_total") == 5)


@pytest.mark.parametrize("seed", [1])
def test_clients_that_leave_at_random_points(fleet, seed):
    m = [fleet.mocker("--speedup-ratio", "20", "--max-num-seqs", "512") for _ in range(2)]
    fleet.front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    rng = random.Random(seed)

    async def client(gate):
        async with gate:
            stream = rng.random() < 0.7
            body = json.dumps({"model": "m", "stream": stream, "max_tokens": rng.randrange(1, 60), "n": rng.choice((1, 1, 2)),
                               "messages": [{"role": "user", "content": "x" * rng.randrange(1, 3000)}]}).encode()
            raw = (b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
                   b"content-length: %d\r\n\r\n" % len(body)) + body
            reader, writer = await asyncio.open_connection("127.0.0.1", fleet.front.port)
            kind = rng.randrange(4)
            try:
                if kind == 0:    # in the middle of the request
                    writer.write(raw[:rng.randrange(len(raw))])
                    await writer.drain()
                elif kind == 1:  # at once behind it
                    writer.write(raw)
                    await writer.drain()
                elif kind == 2:  # after some of the answer
                    writer.write(raw)
                    await reader.read(rng.randrange(1, 2000))
                else:            # after all of it
                    writer.write(raw)
                    await reader.readuntil(b"\r\n\r\n")
                    await reader.read(1 << 16)
                if rng.random() < 0.5:
                    writer.transport.abort()
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

    async def crowd():
        gate = asyncio.Semaphore(200)
        await asyncio.gather(*(client(gate) for _ in range(CLIENTS)))

    asyncio.run(crowd())
    all_free(fleet, m)
    assert fleet.front.chat(max_tokens=2).status == 200


# ---- a worker killed under 200 running streams, again and again ---------------------------------

AT_ONCE = 200
STREAMS = int(os.environ.get("WEIR_TEST_STREAMS", "400"))  # the long run takes 10,000


class Crowd:
    """AT_ONCE streamed chats at once, read by one loop; the i-th is the same request each time."""

    TOKENS = 250  # less than the period of the mock text: a token lost or doubled always shows

    def __init__(self, front):
        self.front, self.seen, self.ended, self.bodies = front, [0] * AT_ONCE, 0, [b""] * AT_ONCE
        self.stir = asyncio.Event()

    async def stream(self, i):
        body = json.dumps({"model": "m", "stream": True, "max_tokens": self.TOKENS, "seed": i, "ignore_eos": True,
                           "stream_options": {"include_usage": True},
                           "messages": [{"role": "user", "content": f"stream {i}"}]}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.front.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
                     b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head + await reader.read()
        while size := int(await reader.readline(), 16):
            piece = (await reader.readexactly(size + 2))[:-2]
            self.bodies[i] += piece
            self.seen[i] += piece.count(b"data: ")
            self.stir.set()
        self.ended += 1
        assert await reader.read() == b"\r\n"
        writer.close()

    async def reach(self, state):
        while not state():
            self.stir.clear()
            await self.stir.wait()

    async def run(self, *kills):
        """Each of `kills` is (share, worker): killed when every stream has begun and that share of all tokens has come.
        Returns how many streams ran on the killed ones, and how many of all had not ended at the first kill."""
        streams = asyncio.gather(*(self.stream(i) for i in range(AT_ONCE)))

        async def killer():
            await self.reach(lambda: all(n >= 3 for n in self.seen))
            hit, running = 0, None
            for share, victim in kills:
                await self.reach(lambda s=share: sum(self.seen) >= s * AT_ONCE * self.TOKENS)
                hit += int(victim.metric("requests_running"))
                victim.child.kill()
                running = AT_ONCE - self.ended if running is None else running
            return hit, running

        both = asyncio.gather(streams, killer()) if kills else streams
        got = await asyncio.wait_for(both, 300)
        return got[1] if kills else (0, AT_ONCE)

    def texts(self):
        return [self.text(body) for body in self.bodies]

    def text(self, body):
        """The text of a stream that ended once, as one answer of one id with all its tokens counted."""
        events = sse(body)
        assert events.count("[DONE]") == 1 and events[-1] == "[DONE]", events[-3:]
        events.pop()
        assert not any("error" in e for e in events), events[-1]
        assert len({e["id"] for e in events}) == 1
        choices = [c for e in events for c in e["choices"]]
        assert [c["finish_reason"] for c in choices if c.get("finish_reason")] == ["length"]
        assert not any("role" in c["delta"] for c in choices[1:])
        assert [e["usage"]["completion_tokens"] for e in events if e.get("usage") and not e["choices"]] == [self.TOKENS]
        text = "".join(c["delta"].get("content") or "" for c in choices)
        assert len(text) == self.TOKENS  # the byte model's tokens are characters
        return text


def test_kill_9_under_many_streams(fleet):
    """Every stream ends once with the text of an undisturbed run, whoever dies and whenever."""
    rng = random.Random(8)

    def worker():
        return fleet.mocker("--speedup-ratio", "0.5", "--max-num-seqs", "512")

    living = [worker() for _ in range(3)]
    fleet.front = fleet.frontend("--router-mode", "kv", "--migration-limit", "3", env=PATIENT).ready(workers=3)

    def moved():
        return int(fleet.front.metric("dynamo_frontend_model_migration_total", migration_type="ongoing_request"))

    def round_of(*kills):
        crowd = Crowd(fleet.front)
        hit, running = asyncio.run(crowd.run(*kills))
        return crowd.texts(), hit, running

    calm, _, _ = round_of()
    assert len(set(calm)) == AT_ONCE and moved() == 0
    all_hit, least = 0, AT_ONCE
    for done in range(0, STREAMS, AT_ONCE):
        before = moved()
        # One dies early; in every other round a second one, which has some of the first one's streams.
        count = 1 + (done // AT_ONCE) % 2
        victims = [living.pop(rng.randrange(len(living))) for _ in range(count)]
        shares = sorted(rng.uniform(0.02, 0.6) for _ in victims)
        texts, hit, running = round_of(*zip(shares, victims))
        wrong = [i for i in range(AT_ONCE) if texts[i] != calm[i]]
        assert not wrong, (done, wrong, texts[wrong[0]], calm[wrong[0]])
        # `hit` is no bound: streams on their way to the second victim do not run there yet, and connections to
        # workers killed before, whose records have not expired, count as moves once the free retries are used up.
        # On a machine that stood still the streams of the victims may all have ended before it died.
        assert moved() > before or hit < 10, (hit, moved(), before)
        all_hit, least = all_hit + hit, min(least, running)
        for v in victims:
            v.wait()
        living += [worker() for _ in victims]
        new = {m.ids[0] for m in living}
        until("the new workers", lambda: new <= {i["instance_id"] for i in fleet.front.get("/health").json()["instances"]})
    print(f"{STREAMS} streams, at least {least} running at a kill; {all_hit} ran on killed workers, {moved()} moves")
    all_free(fleet, living)


class Dead(ScriptedWorker):
    """A worker that died: still listed, and nobody listens at its address."""

    def __init__(self, store, number, **more):
        super().__init__(store, None, worker_id=number, **more)
        self.listener.shutdown(socket.SHUT_RDWR)  # also for the thread that accepts


class Live(ScriptedWorker):
    """One that keeps its first requests until `gate` is set: busier than the dead ones, which so come first."""

    def __init__(self, store, number, n_held, answer, **more):
        self.gate, self.n_held = threading.Event(), n_held

        def fn(request):
            if len(self.requests) > n_held:
                return answer(request)
            assert self.gate.wait(60)
            return ["h"], "stop"
        super().__init__(store, fn, worker_id=number, **more)

    def stream(self, control, request):
        def run():
            try:
                ScriptedWorker.stream(self, control, request)
            except ConnectionError:
                pass
        threading.Thread(target=run, daemon=True).start()

    def fill(self, front):
        head = {"x-dynamo-prefill-instance-id" if self.component == "prefill" else "x-dynamo-worker-instance-id": str(self.id)}
        self.asked = [threading.Thread(target=front.chat, kwargs={"headers": head}) for _ in range(self.n_held)]
        for t in self.asked:
            t.start()
        until("them to be held", lambda: len(self.requests) == self.n_held)

    def let_go(self):
        self.gate.set()
        for t in self.asked:
            t.join(60)
        self.close()


def test_dead_workers_that_are_still_listed_use_up_no_migration(fleet):
    """However many: nothing was sent to them. (Failed before: three were passed over, others were migrations.)"""
    broken = []

    def breaks_once(_):
        def pieces():
            yield "a"
            raise ConnectionError
        if broken:
            return ["b"], "stop"
        broken.append(True)
        return pieces(), "stop"

    store = fleet.env["DYN_FILE_KV"]
    dead = [Dead(store, n) for n in range(1, 8)]
    live = [Live(store, n, 1, breaks_once) for n in (0x61, 0x62)]
    front = fleet.frontend("--router-mode", "least-loaded", "--migration-limit", "1")
    front.wait_line("model m has 9 workers")
    for w in live:
        w.fill(front)
    r = front.chat()
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "ab", r
    assert front.metric("dynamo_frontend_model_migration_total") == 1
    for w in live:
        w.let_go()
    for w in dead:
        w.close()


def test_dead_prefill_workers_that_are_still_listed(fleet):
    """The live one is found behind them. (Failed before: three were asked.)"""
    store = fleet.env["DYN_FILE_KV"]
    kind = {"component": "prefill", "worker_type": "prefill", "params": {"k": 1}}
    dead = [Dead(store, n, **kind) for n in range(1, 8)]
    live = Live(store, 0x61, 1, lambda _: (["p"], "length"), **kind)
    decode = ScriptedWorker(store, lambda _: (["d"], "stop"), worker_id=0x62, worker_type="decode")
    front = fleet.frontend("--router-mode", "least-loaded", "--enforce-disagg").ready()
    front.wait_line("model m has 8 prefill workers")
    live.fill(front)
    r = front.chat()
    assert r.status == 200 and r.json()["choices"][0]["message"]["content"] == "d", r
    live.let_go()
    for w in [*dead, decode]:
        w.close()


class AtOnce(ScriptedWorker):
    """One that takes the next request while it answers one. Of those that it `drops` nothing comes."""

    def __init__(self, store, answer, drops, **more):
        self.drops = drops
        super().__init__(store, answer, **more)

    def stream(self, control, request):
        def run():
            try:
                if not self.drops(request):
                    ScriptedWorker.stream(self, control, request)
            except ConnectionError:
                pass  # that is part of the test
        threading.Thread(target=run, daemon=True).start()


def test_a_leg_that_moves_while_the_client_does_not_read(fleet):
    """Its new worker is held back too. (Failed before: what it said came above the bound of what waits for a client, and the
    client was dropped.)"""
    piece, n = "x" * 60000, 400
    sent, asked = {"a": 0, "b": 0}, []

    def answer(request):
        which = chr(request["token_ids"][0])

        def pieces():
            for _ in range(n):
                yield piece
                sent[which] += 1
        return pieces(), "stop"

    def drops(request):
        asked.append(chr(request["token_ids"][0]))
        return asked[-1] == "b" and asked.count("b") == 1
    workers = [AtOnce(fleet.env["DYN_FILE_KV"], answer, drops, worker_id=i) for i in (0x61, 0x62)]
    front = fleet.frontend("--router-mode", "round-robin", "--migration-limit", "1",
                           env={"WEIR_WORKER_BEGIN_TIMEOUT_SECS": "3"}).ready(workers=2)
    front.wait_line("model m has 2 workers")
    c = front.connect()
    c.request("POST", "/v1/completions", json.dumps({"model": "m", "prompt": ["a", "b"], "stream": True, "max_tokens": 10000}),
              {"content-type": "application/json"})
    r = c.getresponse()
    pause, last = threading.Event(), {}

    def rests(which):
        same, last[which] = last.get(which) == sent[which], sent[which]
        return same and sent[which] > 0 and not pause.wait(0.2) and last[which] == sent[which]
    until("the first worker to be held", lambda: rests("a"))
    assert sent["a"] < n
    until("the other leg to have moved", lambda: asked.count("b") == 2)
    until("its worker to be held", lambda: rests("b"))
    body = r.read()
    assert sent == {"a": n, "b": n} and body.count(piece.encode()) == 2 * n and body.endswith(b"data: [DONE]\n\n")
    c.close()
    for w in workers:
        w.close()


class NoInotify:
    """A user namespace in which no process can watch a file: as where fs.inotify.max_user_instances is used up."""
    side, env = "127.0.0.1", {}
    enter = ["unshare", "-Ur", "sh", "-c", 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"', "sh"]

    @classmethod
    def why_not(cls):
        if shutil.which("unshare") is None:
            return "no unshare (util-linux)"
        ran = subprocess.run([*cls.enter, "true"], capture_output=True, text=True, check=False)
        return f"no user namespace of one's own: {ran.stderr.strip()}" if ran.returncode else None


def test_without_inotify(fleet):
    """Workers that come, change and go are found by looking; a network file system tells nobody either."""
    if NoInotify.why_not():
        pytest.skip(NoInotify.why_not())
    front = fleet.frontend(within=NoInotify)
    front.wait_line("cannot watch files: .*the folders are looked at every 500 ms instead")
    one = fleet.mocker()
    front.ready()
    assert front.chat("x").status == 200
    two = fleet.mocker(within=NoInotify)
    front.ready(workers=2)
    one.stop()
    front.ready(workers=1)
    until("the first to be gone", lambda: [i["instance_id"] for i in front.get("/health").json()["instances"]
                                           if i["endpoint"] == "generate"] == two.ids)
    assert front.chat("x").status == 200
