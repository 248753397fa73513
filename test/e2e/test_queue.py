"""Why a request went where it went, who waits how long, and who stays where: explain, the decision
log, the admission queue, session affinity."""
import contextlib
import json
import os
import re
import threading

from test_faults import PATIENT
from weir import DEADLINE_S, WEIR, Process, sse, until

LONG = "the quick brown fox jumps over the lazy dog. " * 40


def explained(answer):
    return json.loads(answer.headers["x-weir-explain"])


def test_explain_header(fleet):
    fleet.mocker(workers=3)
    front = fleet.frontend("--router-mode", "kv").ready(workers=3)
    plain = front.chat(LONG)
    assert plain.status == 200 and "x-weir-explain" not in plain.headers
    first = explained(front.chat(LONG, headers={"x-weir-explain": "1"}))
    assert first["mode"] == "kv" and first["n_candidates"] == 3 and len(first["candidates"]) == 3
    winner = first["candidates"][0]
    assert winner["worker_id"] == first["worker_id"]
    assert winner["cost"] == min(c["cost"] for c in first["candidates"])
    # The prompt is cached where it went: the record shows the blocks.
    again = until("the cache to be known", lambda: (lambda e: e if any(
        c["device_blocks"] > 0 for c in e["candidates"]) else None)(
            explained(front.chat(LONG, headers={"x-weir-explain": "1"}))))
    assert again["candidates"][0]["device_blocks"] == max(c["device_blocks"] for c in again["candidates"])
    assert again["why"].startswith("lowest_cost")
    stream = front.chat(LONG, headers={"x-weir-explain": "1"}, stream=True)
    assert explained(stream)["worker_id"] in {c["worker_id"] for c in first["candidates"]}
    assert sse(stream.body)[-1] == "[DONE]"
    assert front.get("/v1/router/explain?request_id=x").status == 404


def test_explain_page_and_decision_log(fleet, tmp_path):
    log = tmp_path / "decisions.ndjson"
    fleet.mocker(workers=2)
    front = fleet.frontend("--router-mode", "kv", "--router-explain-ring", "4",
                           "--decision-log", str(log)).ready(workers=2)
    ids = [front.chat(f"{i} " + LONG).json()["id"] for i in range(6)]
    page = front.get(f"/v1/router/explain?request_id={ids[-1]}")
    assert page.status == 200
    (decision,) = page.json()["decisions"]
    assert ids[-1].endswith(decision["request_id"])
    assert decision["model"] == "m" and len(decision["inputs"]["rng"]) == 4
    assert front.get(f"/v1/router/explain?request_id={ids[0]}").status == 404, "the ring holds four"
    assert front.get("/v1/router/explain").status == 400
    assert front.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert ["chatcmpl-" + line["request_id"] for line in lines] == ids
    for line in lines:
        chosen = line["candidates"][line["winner"]]
        assert chosen["worker_id"] == line["worker_id"]
        assert chosen["cost"] == min(c["cost"] for c in line["candidates"])


def queue_of(front):
    (q,) = front.get("/v1/router/queue").json()["queues"]
    return q


class Asked(threading.Thread):
    """A request on its way; `answer` when it is over."""

    def __init__(self, ask, done):
        super().__init__(daemon=True)
        self.ask, self.done, self.answer = ask, done, None
        self.start()

    def run(self):
        self.answer = self.ask()
        self.done.append(self)

    def wait(self):
        self.join(2 * DEADLINE_S)
        assert self.answer is not None, "no answer"
        return self.answer


# One loop, so that the log of decisions has them in the order in which the room let requests in.
ORDERED = ("--loops", "1", "--decision-log")


def log_of(fleet):
    return os.path.join(fleet.folder, "decisions.ndjson")


def order_of(fleet, front, asked, leg="whole"):
    """Names of the requests in the order of their decisions; ends the frontend. (That of the answers is no proof: threads read
    them here.)"""
    assert front.stop() == 0
    names = {t.answer.json()["id"].removeprefix("chatcmpl-"): t.name for t in asked}
    with open(log_of(fleet), encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    return [names[d["request_id"]] for d in lines if d["leg"] == leg]


def slow_worker(fleet, *flags):
    """One worker that reads 20,000 prompt tokens a second, so that answers come one after another, and a frontend that lets one
    prompt in at a time. While a queue is filled the worker is stopped."""
    worker = fleet.mocker("--speedup-ratio", "1", "--prefill-tokens-per-s", "20000")
    return worker, fleet.frontend("--router-mode", "kv", "--router-queue-threshold", "0", *flags, env=PATIENT).ready()


def test_queue_orders_by_priority_and_tenant(fleet):
    worker, front = slow_worker(fleet, "--router-queue-quantum-tokens", "2000", *ORDERED, log_of(fleet))
    done = []

    def ask(name, **headers):
        t = Asked(lambda: front.chat(name + LONG, max_tokens=1, headers=headers), done)
        t.name = name
        return t

    with worker.frozen():
        first = ask("first")
        until("the worker to be full", lambda: queue_of(front)["admitted_at_once"] == 1)
        waiting = []
        for i, (name, headers) in enumerate([
                ("flood1", {"x-tenant-id": "a"}), ("flood2", {"x-tenant-id": "a"}), ("flood3", {"x-tenant-id": "a"}),
                ("other", {"x-tenant-id": "b"}), ("urgent", {"x-tenant-id": "a", "x-dynamo-request-strict-priority": "1"}),
        ]):
            waiting.append(ask(name, **headers))
            until(f"{name} to wait", lambda n=i + 1: queue_of(front)["waiting_requests"] == n)
        q = queue_of(front)
        assert q["waiting_tenants"] == 2 and q["waiting_priorities"] == 2 and q["policy"] == "fcfs"
        assert q["waiting_uncached_tokens"] > 5 * 1500
        assert front.metric("weir_router_queue_requests", model="m") == 5
    for t in [first, *waiting]:
        assert t.wait().status == 200
    q = queue_of(front)
    assert q["waiting_requests"] == 0 and q["admitted_after_waiting"] == 5
    assert front.metric("weir_router_queue_wait_seconds_count", model="m") == 5
    order = order_of(fleet, front, [first, *waiting])
    assert order[0] == "first" and order[1] == "urgent"
    assert order.index("other") <= 3, order  # not behind the whole flood
    assert [n for n in order if n.startswith("flood")] == ["flood1", "flood2", "flood3"]


def back_pressure(front, worker_type="decode"):
    """Under Dynamo's names, by class, what is not 0."""
    page = front.metrics()

    def by(name, *keys):
        out = {}
        for k, v in page.items():
            labels = dict(re.findall(r'(\w+)="([^"]*)"', k))
            if k.startswith("dynamo_frontend_router_" + name + "{") and v and labels["worker_type"] == worker_type:
                assert labels["model"] == "m"
                out[tuple(labels[x] for x in keys) if len(keys) > 1 else labels[keys[0]]] = v
        return out
    late = by("admission_rejected_total", "policy_class", "reason")
    assert {r for _, r in late} <= {"due_time_passed"}
    return {"received": by("admission_received_total", "policy_class"),
            "refused": by("queue_backpressure_total", "policy_class", "reason"), "late": {c: n for (c, _), n in late.items()}}


def test_queue_refuses_what_does_not_fit(fleet):
    worker, front = slow_worker(fleet, "--router-queue-max-requests", "1")
    done = []
    with worker.frozen():
        running = Asked(lambda: front.chat("a" + LONG, max_tokens=1), done)
        until("the worker to be full", lambda: queue_of(front)["admitted_at_once"] == 1)
        waiting = Asked(lambda: front.chat("b" + LONG, max_tokens=1, nvext={"extra_fields": ["timing"]}), done)
        until("one to wait", lambda: queue_of(front)["waiting_requests"] == 1)
        refused = front.chat("c" + LONG)
        assert refused.status == 529
        details = refused.json()["details"]
        assert details["reason"] == "queue_requests" and details["limit"] == 1 and details["waiting"] == 1
        assert int(refused.headers["retry-after"]) == details["retry_after_s"] >= 1
    assert running.wait().status == 200 and waiting.wait().status == 200
    assert front.metric("weir_router_queue_refused_total", model="m", reason="queue_requests") == 1
    assert back_pressure(front) == {"received": {"default": 3}, "refused": {("default", "queue_requests"): 1}, "late": {}}


def test_queue_wait_has_an_end_and_a_client_that_leaves_frees_its_place(fleet):
    worker, front = slow_worker(fleet, "--router-queue-timeout-secs", "0.2")
    done = []
    with worker.frozen():
        running = Asked(lambda: front.chat("a" + LONG * 4, max_tokens=1), done)
        until("the worker to be full", lambda: queue_of(front)["admitted_at_once"] == 1)
        late = front.chat("b" + LONG)
        assert late.status == 529 and late.json()["details"]["reason"] == "queue_timeout_ms"
        s = front.hold("c", stream=False)
        until("it to wait or have waited", lambda: queue_of(front)["waiting_requests"] == 1 or
              queue_of(front)["left"] == 2)
        s.close()
        until("its place to be free", lambda: queue_of(front)["waiting_requests"] == 0)
    assert running.wait().status == 200
    assert front.chat("d").status == 200
    got = back_pressure(front)
    assert got["received"] == {"default": 4} and got["refused"] == {} and got["late"]["default"] >= 1  # "c" may have left first


def test_queue_classes_and_patience(fleet):
    worker, front = slow_worker(fleet, "--router-queue-class", "batch:1:1", "--router-queue-class", "default:3")
    done = []
    with worker.frozen():
        running = Asked(lambda: front.chat("a" + LONG * 2, max_tokens=1), done)
        until("the worker to be full", lambda: queue_of(front)["admitted_at_once"] == 1)
        batch = {"x-dynamo-meta-policy-class": "batch"}
        waiting = Asked(lambda: front.chat("b" + LONG, max_tokens=1, headers=batch), done)
        until("one to wait", lambda: queue_of(front)["waiting_requests"] == 1)
        classes = {c["class"]: (c["weight"], c["waiting_requests"]) for c in queue_of(front)["classes"]}
        assert classes == {"default": (3, 0), "batch": (1, 1)}
        refused = front.chat("c" + LONG, headers=batch)
        assert refused.status == 529 and refused.json()["details"]["reason"] == "class_requests"
        unknown = front.chat("d", headers={"x-dynamo-meta-policy-class": "nobody"})
        assert unknown.status == 400 and "--router-queue-class" in unknown.json()["message"]
        hasty = front.chat("e" + LONG, headers={"x-weir-queue-timeout-ms": "50"})
        assert hasty.status == 529 and hasty.json()["details"]["limit"] == 50
    assert running.wait().status == 200 and waiting.wait().status == 200
    assert back_pressure(front) == {"received": {"default": 2, "batch": 2}, "refused": {("batch", "class_requests"): 1},
                                    "late": {"default": 1}}


def test_queue_loses_nobody(fleet):
    """Many at once through a narrow gate, on all loops; each is answered, the queue is empty afterwards."""
    fleet.mocker("--speedup-ratio", "100", workers=2)
    front = fleet.frontend("--router-mode", "kv", "--router-queue-threshold", "0", "--loops", "4",
                           "--router-queue-policy", "wspt").ready(workers=2)
    done = []
    asked = [Asked(lambda i=i: front.chat(f"{i}" + LONG, max_tokens=4, headers={"x-tenant-id": str(i % 5)}), done)
             for i in range(80)]
    assert [t.wait().status for t in asked] == [200] * 80
    q = queue_of(front)
    assert q["waiting_requests"] == 0 and q["admitted_at_once"] + q["admitted_after_waiting"] == 80
    until("gauges at zero", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)


def test_queue_of_one_worker_holds_nobody_up(fleet):
    """Requests that name a full worker wait for it; others go to the one that has room."""
    workers = [fleet.mocker("--speedup-ratio", "1", "--prefill-tokens-per-s", "20000") for _ in range(2)]
    front = fleet.frontend("--router-mode", "kv", "--router-queue-threshold", "0", env=PATIENT).ready(workers=2)
    done = []
    explain = {"x-weir-explain": "1"}
    home = explained(front.chat("a", max_tokens=1, headers=explain))["worker_id"]
    pinned = {"x-dynamo-worker-instance-id": str(home), **explain}
    with next(w for w in workers if w.ids[0] == home).frozen():
        asked = [Asked(lambda: front.chat("b" + LONG * 4, max_tokens=1, headers=pinned), done)]
        until("the worker to be full", lambda: queue_of(front)["admitted_at_once"] == 2)
        asked += [Asked(lambda: front.chat("c" + LONG, max_tokens=1, headers=pinned), done)]
        until("one to wait", lambda: queue_of(front)["waiting_requests"] == 1)
        free = front.chat("d", max_tokens=1, headers=explain)
        assert free.status == 200 and explained(free)["worker_id"] != home
        assert not any(t.answer for t in asked) and queue_of(front)["waiting_requests"] == 1
        late = front.chat("e", headers={**pinned, "x-weir-queue-timeout-ms": "20"})
        assert late.status == 529 and late.json()["details"]["reason"] == "queue_timeout_ms"
    for t in asked:
        assert t.wait().status == 200 and explained(t.answer)["worker_id"] == home
    assert front.chat("f", headers={"x-dynamo-worker-instance-id": "12345"}).status == 400


POLICY = """
default_policy_family: regular
uncached_isl_buckets: [{min_tokens: 0, bucket: short}, {min_tokens: 50000, bucket: long}]
policy_classes:
  - {name: regular, policy_family: regular, cache_bucket: short, quantum: 2500, prefill_busy_threshold: 0,
     request_queue_limit_per_worker: 3}
  - {name: premium, policy_family: premium, cache_bucket: short, quantum: 8000, prefill_busy_threshold: 0}
  - {name: regular_long, policy_family: regular, cache_bucket: long, quantum: 1, prefill_busy_threshold: 0,
     request_queue_limit_per_worker: 0}
  - {name: premium_long, policy_family: premium, cache_bucket: long, quantum: 1}
  - {name: at_once, quantum: 1}
"""


def test_queue_policy_file(fleet, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    worker = fleet.mocker("--speedup-ratio", "1", "--prefill-tokens-per-s", "20000")
    front = fleet.frontend("--router-mode", "kv", "--router-policy-config", str(tmp_path / "policy.yaml"), *ORDERED, log_of(fleet),
                           env=PATIENT).ready()
    done = []

    def ask(name, policy_class=None, text=LONG):
        t = Asked(lambda: front.chat(name + text, max_tokens=1, headers={"x-dynamo-meta-policy-class": policy_class or ""}),
                  done)
        t.name = name
        return t

    with worker.frozen():
        asked = [ask("first")]
        until("the worker to be full", lambda: queue_of(front)["admitted_at_once"] == 1)
        for i, (name, policy_class) in enumerate([("r1", None), ("r2", "regular"), ("r3", "nobody"), ("p1", "premium"),
                                                  ("p2", "premium"), ("p3", "premium")]):
            asked.append(ask(name, policy_class))
            until(f"{name} to wait", lambda n=i + 1: queue_of(front)["waiting_requests"] == n)
        q = queue_of(front)
        classes = {c["class"]: c for c in q["classes"]}
        assert q["policy"] == "classes" and list(classes) == ["regular", "premium", "regular_long", "premium_long", "at_once"]
        assert classes["regular"]["waiting_requests"] == 3 and classes["premium"]["waiting_requests"] == 3
        assert classes["premium"]["waiting_isl_tokens"] == classes["premium"]["waiting_uncached_tokens"] > 3 * 1500
        for text, reason, limit, klass in ((LONG, "request_limit", 3, "regular"),
                                           (LONG * 30, "request_limit", 0, "regular_long")):
            refused = front.chat("r4" + text)
            assert refused.status == 529 and int(refused.headers["retry-after"]) >= 1
            details = refused.json()["details"]
            assert (details["reason"], details["limit"], details["policy_class"]) == (reason, limit, klass)
        free = ask("free", "at_once", "")
        until("it to go past them", lambda: queue_of(front)["admitted_at_once"] == 2)
    for t in [*asked, free]:
        assert t.wait().status == 200
    assert front.metric("weir_router_queue_refused_total", model="m", reason="request_limit") == 2
    assert back_pressure(front) == {
        "received": {"regular": 5, "premium": 3, "regular_long": 1, "at_once": 1}, "late": {},
        "refused": {("regular", "request_limit"): 1, ("regular_long", "request_limit"): 1}}
    every = {(m.group(1), m.group(2)) for m in re.finditer(
        r'router_queue_backpressure_total{model="m",policy_class="(\w+)",worker_type="decode",reason="(\w+)"}',
        front.get("/metrics").body.decode())}
    assert every == {(c, r) for c in ("regular", "premium", "regular_long", "premium_long", "at_once")
                     for r in ("request_limit", "raw_isl_token_limit", "cached_token_limit")}
    # A regular one, then premium spends its quantum, then the rest.
    order = order_of(fleet, front, [*asked, free])
    assert [n for n in order if n[0] in "rp"] == ["r1", "p1", "p2", "p3", "r2", "r3"], order


def test_queue_policy_file_that_is_wrong(fleet, tmp_path):
    path = tmp_path / "policy.yaml"
    for text, message in ((POLICY.replace("quantum: 8000", "quantum: 0"), "quantum must be greater than zero"),
                          (POLICY + "colour: red\n", "unknown field `colour`"), (None, "No such file or directory")):
        path.unlink(missing_ok=True)
        if text:
            path.write_text(text)
        front = Process([WEIR, "frontend", "--http-port", "0", "--router-policy-config", str(path)], fleet.env)
        assert front.wait() == 1
        assert message in front.log() and str(path) in front.log(), front.log()
    path.write_text(POLICY)
    front = Process([WEIR, "frontend", "--http-port", "0", "--router-policy-config", str(path), "--router-queue-class", "a:1"],
                    fleet.env)
    assert front.wait() == 1 and "give one of them" in front.log()


def test_policy_file_settings_and_costs(fleet, tmp_path):
    """They go before the flags; each kind of workers has its own cost."""
    (tmp_path / "policy.yaml").write_text("""
router: {host_cache_hit_weight: 0.5, router_track_prefill_tokens: true}
worker_selection:
  aggregated: cost
  instances:
    - {name: cost, type: dynamo-default-cost-fn, parameters: {prefill_load_scale: 2.5, overlap_score_credit_decay: 0.25}}
""")
    fleet.mocker("--disaggregation-mode", "prefill")
    fleet.mocker("--disaggregation-mode", "decode")
    front = fleet.frontend("--router-mode", "kv", "--router-host-cache-hit-weight", "0.9", "--router-prefill-load-scale", "7",
                           "--router-policy-config", str(tmp_path / "policy.yaml"), "--router-explain-ring", "10").ready()
    front.wait_line("model m has 1 prefill worker")
    assert front.get("/v1/router/queue").json()["queues"] == [], "no classes, no queue"
    r = front.chat()
    page = front.get("/v1/router/explain?request_id=" + r.json()["id"]).json()["decisions"]
    assert [d["leg"] for d in page] == ["prefill", "decode"]
    params = [d["inputs"] for d in page]
    assert [(p["prefill_load_scale"], p["overlap_credit_decay"], p["host_weight"]) for p in params] == \
        [(7, 0, 0.5), (2.5, 0.25, 0.5)], params
    (tmp_path / "bad.yaml").write_text("request_classifier: {type: thunderagent}\n")
    front = Process([WEIR, "frontend", "--http-port", "0", "--router-policy-config", str(tmp_path / "bad.yaml")], fleet.env)
    assert front.wait() == 1 and 'unknown request-classifier type "thunderagent"' in front.log()


def shares_of(front):
    (shares,) = front.get("/v1/router/queue").json()["shares"]
    return shares


@contextlib.contextmanager
def flooded(fleet, *flags, begun):
    """Two workers, and three long prompts of one tenant after a chat of another; when `begun(front)` holds the workers that have
    none of them go on, the others stand still until the end."""
    workers = [fleet.mocker("--speedup-ratio", "1", "--prefill-tokens-per-s", "20000") for _ in range(2)]
    front = fleet.frontend("--router-mode", "kv", *flags, env=PATIENT).ready(workers=2)
    done = []
    assert front.chat("hello", max_tokens=1, headers={"x-tenant-id": "small"}).status == 200
    until("its end to be booked", lambda: front.metric(BOOKED) == 0)
    with contextlib.ExitStack() as still:
        stops = {w.ids[0]: still.enter_context(contextlib.ExitStack()) for w in workers}
        for w in workers:
            stops[w.ids[0]].enter_context(w.frozen())
        flood = [Asked(lambda i=i: front.chat(f"{i} " + LONG * 4, max_tokens=1,
                                              headers={"x-tenant-id": "flood", "x-weir-explain": "1"}), done)
                 for i in range(3)]
        until("the flood", lambda: begun(front))
        idle = [number for number in stops if front.metric(BOOKED, worker_id=number) == 0]
        assert len(idle) < 2
        for number in idle:
            stops[number].close()
        yield front, flood


BOOKED = "dynamo_frontend_worker_active_prefill_tokens"


def test_tenants_leave_each_other_workers(fleet):
    with flooded(fleet, begun=lambda f: sum(t["prefill_tokens"] for t in shares_of(f)["tenants"]) > 3 * 4000) as (front, flood):
        small = others_go_on(front, flood)
    assert [t.wait().status for t in flood] == [200] * 3
    (home,) = {explained(t.answer)["worker_id"] for t in flood}
    assert explained(small)["worker_id"] != home


def others_go_on(front, flood):
    shares = shares_of(front)
    assert shares["ranks"] == 2 and shares["held_ranks"] == 1 and shares["active_tenants"] == 2
    (big,) = [t for t in shares["tenants"] if t["prefill_tokens"] > 0]
    assert (big["held_ranks"], big["limit_ranks"], big["reserved_ranks"]) == (1, 1, 1)
    small = front.chat("hello again", max_tokens=1, headers={"x-tenant-id": "small", "x-weir-explain": "1"})
    assert not any(t.answer for t in flood), "it waited for a long prompt"
    assert small.status == 200
    share = explained(small)["tenant_share"]
    assert share["active_tenants"] == 2 and share["left_out_candidates"] == 1
    return small


def test_tenants_wait_for_their_share_and_hold_nobody_up(fleet):
    with flooded(fleet, "--router-queue-threshold", "0", begun=lambda f: queue_of(f)["waiting_requests"] == 2) as (front, flood):
        small = front.chat("hello again", max_tokens=1, headers={"x-tenant-id": "small", "x-weir-explain": "1"})
        assert small.status == 200 and not any(t.answer for t in flood)
        assert queue_of(front)["waiting_requests"] == 2 and shares_of(front)["held_ranks"] == 1
    assert [t.wait().status for t in flood] == [200] * 3


def test_tenants_without_shares(fleet):
    with flooded(fleet, "--router-tenant-window-secs", "0", begun=lambda f: f.metric(BOOKED) > 3 * 4000) as (front, flood):
        assert front.get("/v1/router/queue").json()["shares"] == []
    assert [t.wait().status for t in flood] == [200] * 3
    assert len({explained(t.answer)["worker_id"] for t in flood}) == 2
    assert not any("tenant_share" in explained(t.answer) for t in flood)


def test_session_affinity(fleet):
    mockers = [fleet.mocker(), fleet.mocker(), fleet.mocker()]
    front = fleet.frontend("--router-session-affinity-ttl-secs", "600", "--router-explain-ring", "100").ready(workers=3)

    def where(session, text="hi"):
        head = {"x-weir-explain": "1", **({"x-dynamo-session-id": session} if session else {})}
        a = front.chat(text, headers=head)
        assert a.status == 200
        return explained(a)

    assert len({where(None)["worker_id"] for _ in range(6)}) == 3, "round robin"
    homes = {s: where(s)["worker_id"] for s in ("s1", "s2", "s3", "s4")}
    for _ in range(3):
        for s, home in homes.items():
            e = where(s)
            assert e["worker_id"] == home and e["why"] == "session"
    gone = next(m for m in mockers if m.ids[0] == homes["s1"])
    seen = len(front.lines)
    gone.stop()
    front.wait_line("model m has 2 workers", seen)
    new = where("s1")["worker_id"]
    assert new != homes["s1"]
    assert where("s1")["worker_id"] == new
