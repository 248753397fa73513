"""Discovery through a real etcd: what stands there, and what happens when processes, etcd or the way to it fail."""
import os
import re
import signal
import subprocess
import threading

import pytest

from etcd import Etcd, Gateway, Relay, b64, certificates, client_context, cluster
from weir import DEADLINE_S, WEIR, Process, knows, total, until


def use(fleet, *urls, **env):
    """A lease that a busy machine keeps alive, and answers of etcd (a third of it is their time) too. Tests that wait for the
    end of a lease make it shorter."""
    fleet.env.update({"DYN_DISCOVERY_BACKEND": "etcd", "ETCD_ENDPOINTS": ",".join(urls), "ETCD_LEASE_TTL": "15", **env})


@pytest.fixture
def etcd(tmp_path, fleet):
    """The fleet is closed first, and so leaves an etcd that is still there."""
    e = Etcd(tmp_path / "etcd")
    fleet.etcd = e
    use(fleet, e.url)
    yield e
    if e.child.poll() is not None:
        e.start()
    e.child.send_signal(signal.SIGCONT)
    try:
        fleet.close()
    finally:
        fleet.processes.clear()
        e.stop()


@pytest.fixture
def relays(etcd):
    made = []

    def make():
        made.append(Relay(etcd.port))
        return made[-1]
    yield make
    for r in made:
        r.close()


def workers(front):
    there = front.get("/health").json()["instances"]
    return {i["instance_id"] for i in there if i["endpoint"] == "generate"}


def registered(mocker, start=0):
    mocker.wait_line(r"records are registered under the lease", start)
    return mocker


class Load(threading.Thread):
    """Chats one after another; every answer counts."""

    def __init__(self, front):
        super().__init__()
        self.front, self.going, self.bad, self.n = front, True, [], 0
        self.start()

    def run(self):
        while self.going:
            try:
                r = self.front.chat("hello", max_tokens=2)
            except OSError as e:
                self.bad.append(e)
                return
            self.n += 1
            if r.status != 200:
                self.bad.append(r)

    def more(self, n=30):
        at = self.n
        until(f"{n} more requests", lambda: self.n >= at + n)

    def end(self):
        self.going = False
        self.join()
        assert not self.bad, self.bad[:3]


def test_fleet_and_what_it_writes(fleet, etcd):
    mockers = [registered(fleet.mocker()) for _ in range(2)]
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    assert all(front.chat(f"request {i}").status == 200 for i in range(10))
    assert front.chat("x" * 400).json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    # KV events found their way: through channels and sources, whose records are at etcd too.
    until("the caches to be known", lambda: knows(front, mockers))
    assert front.chat("x" * 400).json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 200
    records = etcd.records()
    one = mockers[0].ids[0]
    kinds = {"v1/instances/": "Endpoint", "v1/mdc/": "Model", "v1/event_channels/": "EventChannel", "v1/event_sources/": "EventSource"}
    assert all(value["type"] == next(t for p, t in kinds.items() if key.startswith(p)) for key, (value, _) in records.items())
    value, lease = records[f"v1/instances/dynamo/backend/generate/{one:x}"]
    assert value["instance_id"] == one and list(value["transport"]) == ["tcp"] and lease != 0
    assert records[f"v1/mdc/dynamo/backend/generate/{one:x}"][0]["card_json"]["display_name"] == "m"
    scope = "namespace/dynamo/component/backend/endpoint/generate/topic/"
    topics = sorted(re.sub("/[0-9a-f]+$", "", key) for key, (_, l) in records.items() if l == lease)
    assert topics == sorted(["v1/instances/dynamo/backend/generate", "v1/mdc/dynamo/backend/generate",
                             "v1/event_channels/" + scope + "kv-events", "v1/event_channels/" + scope + "kv_metrics",
                             "v1/event_sources/" + scope + "kv-events"] +
                            [t for t in topics if "/worker_kv_query_source_" in t])
    # Leaving in order takes the records along: they are gone when the process is.
    assert mockers[0].stop() == 0
    assert {l for _, l in etcd.records().values()} == {l for _, l in records.values()} - {lease}
    until("one worker", lambda: workers(front) == {mockers[1].ids[0]})
    assert mockers[1].stop() == 0
    assert etcd.records() == {}
    until("the model to go", lambda: front.get("/v1/models").json()["data"] == [])


def test_a_worker_registers_at_once(fleet, etcd):
    """Not with the next beat, five seconds later. (Failed before: what was published while a new connection was tried out
    waited for it. A machine may stand still for that long; not ten times.)"""
    def stamp(mocker, words):
        line = mocker.wait_line(rf"^\S+T(\d+):(\d+):(\S+)Z .*{words}")
        return sum(float(n) * unit for n, unit in zip(line.groups(), (3600, 60, 1)))

    def took():
        m = fleet.mocker()
        s = (stamp(m, "records are registered") - stamp(m, "connected to etcd")) % 86400
        assert m.stop() == 0
        return s
    assert any(took() < 3 for _ in range(10))


def test_routers_register_too(fleet, etcd):
    registered(fleet.mocker())
    router = Process([WEIR, "router", "--endpoint", "dynamo.backend.generate"], fleet.env)
    fleet.processes.append(router)
    registered(router)
    names = {key.split("/")[4] for key in etcd.records() if key.startswith("v1/instances/")}
    assert any("worker_kv_query" in n for n in names) and len(names - {"generate"}) > 1, names


def test_killed_worker_goes_with_its_lease(fleet, etcd):
    fleet.env["ETCD_LEASE_TTL"] = "2"
    victim, other = registered(fleet.mocker()), registered(fleet.mocker())
    front = fleet.frontend().ready(workers=2)
    victim.kill()
    until("its records to expire", lambda: not any(f"{victim.ids[0]:x}" in key for key in etcd.records()))
    until("one worker", lambda: workers(front) == {other.ids[0]})
    other.kill()
    until("the model to go", lambda: front.get("/v1/models").json()["data"] == [])


def test_etcd_dies_and_returns_under_load(fleet, etcd):
    mockers = [registered(fleet.mocker()) for _ in range(2)]
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    load = Load(front)
    load.more()
    connects, seen = front.metric("weir_etcd_connects_total"), {p: len(p.lines) for p in (front, *mockers)}
    etcd.kill()
    for p, at in seen.items():
        p.wait_line("what is known stays in use", at)
    assert front.metric("weir_etcd_connected") == 0 and front.metric("weir_etcd_failures_total") > 0
    load.more()
    at = len(front.lines)
    etcd.start()
    front.wait_line("connected to etcd", at)
    assert front.metric("weir_etcd_connected") == 1 and front.metric("weir_etcd_connects_total") == connects + 1
    late = registered(fleet.mocker())
    until("three workers", lambda: workers(front) == {m.ids[0] for m in (*mockers, late)})
    load.more()
    load.end()
    assert len([k for k in etcd.records() if k.startswith("v1/mdc/")]) == 3


def test_etcd_returns_empty(fleet, etcd):
    """Its data is lost: nobody is forgotten before the workers had the time to register again."""
    fleet.env["ETCD_LEASE_TTL"] = "9"
    mockers = [registered(fleet.mocker()) for _ in range(2)]
    front = fleet.frontend().ready(workers=2)
    gone = registered(fleet.mocker())
    until("three workers", lambda: len(workers(front)) == 3)
    load = Load(front)
    ends = [len(m.lines) for m in mockers]
    etcd.kill()
    load.end()
    for m in mockers:
        m.signal(signal.SIGSTOP)  # so that the frontend sees the empty store first
    gone.kill()
    etcd.wipe()
    etcd.start()
    front.wait_line("etcd has lost its data")
    assert {m.ids[0] for m in mockers} <= workers(front)
    for m in mockers:
        m.signal(signal.SIGCONT)
    for m, end in zip(mockers, ends):
        registered(m, end)
    # Who did not come back is forgotten after a lease's time; the others never left.
    until("the dead one to go", lambda: workers(front) == {m.ids[0] for m in mockers})
    counts = [int(n) for n in re.findall(r"model m has (\d+) worker", front.log())]
    assert min(counts[counts.index(3):]) == 2, counts
    assert front.chat().status == 200


def test_stopped_etcd_is_given_up_and_found_again(fleet, etcd):
    mocker = registered(fleet.mocker())
    front = fleet.frontend().ready()
    load = Load(front)
    etcd.child.send_signal(signal.SIGSTOP)
    for p in (front, mocker):
        p.wait_line("what is known stays in use")
    load.more()
    at, end = len(front.lines), len(mocker.lines)
    etcd.child.send_signal(signal.SIGCONT)
    front.wait_line("connected to etcd", at)
    mocker.wait_line("connected to etcd", end)
    late = registered(fleet.mocker())
    until("both workers", lambda: workers(front) == {mocker.ids[0], late.ids[0]})
    load.end()


def test_what_happened_while_cut_off(fleet, etcd, relays):
    """A worker left, one came, and the history between is compacted away: the list tells, without phantoms."""
    way = relays()
    stays, leaves = registered(fleet.mocker()), registered(fleet.mocker())
    front = fleet.frontend(env={"ETCD_ENDPOINTS": way.url}).ready(workers=2)
    way.cut()
    front.wait_line("what is known stays in use")
    assert workers(front) == {stays.ids[0], leaves.ids[0]}
    at = len(front.lines)
    assert leaves.stop() == 0
    came = registered(fleet.mocker())
    for _ in range(10):
        etcd.must("/v3/kv/put", {"key": b64("other"), "value": b64("x")})
    revision = etcd.must("/v3/kv/range", {"key": b64("v1/")})["header"]["revision"]
    etcd.must("/v3/kv/compaction", {"revision": revision, "physical": True})
    way.mend()
    until("the two that are there", lambda: workers(front) == {stays.ids[0], came.ids[0]})
    counts = [int(n) for n in re.findall(r"model m has (\d+) worker", "\n".join(front.lines[at:]))]
    assert counts and min(counts) >= 1 and all(front.chat().status == 200 for _ in range(10)), counts
    # The watch goes on behind the list.
    assert came.stop() == 0
    until("one worker", lambda: workers(front) == {stays.ids[0]})


def test_next_endpoint(fleet, etcd, relays):
    ways = [relays(), relays()]
    use(fleet, *(w.url for w in ways))
    mocker = registered(fleet.mocker())
    front = fleet.frontend().ready()
    lease = {l for _, l in etcd.records().values()}
    for way in ways:  # whichever is in use, it is cut once
        way.cut()
        late = registered(fleet.mocker())
        until("another worker", lambda late=late: late.ids[0] in workers(front))
        assert late.stop() == 0
        until("it to leave", lambda: workers(front) == {mocker.ids[0]})
        way.mend()
    assert {l for _, l in etcd.records().values()} == lease


def test_cluster_loses_members(fleet, tmp_path):
    """Three members; each is killed or stopped in turn, whichever the processes use, and requests go on."""
    members = cluster(str(tmp_path))
    try:
        # A member that hangs costs a third of the lease, and so does the next beat.
        use(fleet, *(m.url for m in members))
        mocker = registered(fleet.mocker())
        # A worker that leaves while the frontend is between two members still gets requests: they move.
        front = fleet.frontend("--migration-limit", "3").ready()
        load = Load(front)
        for i, member in enumerate(members):
            other = members[i - 1]
            member.child.send_signal(signal.SIGKILL if i % 2 else signal.SIGSTOP)
            until("a leader", lambda other=other: other.answers() is True)
            late = registered(fleet.mocker())
            until("another worker", lambda late=late: late.ids[0] in workers(front))
            assert late.stop() == 0
            until("it to leave", lambda: workers(front) == {mocker.ids[0]})
            until("its records", lambda other=other: f"v1/mdc/dynamo/backend/generate/{mocker.ids[0]:x}" in other.records())
            if i % 2:
                member.child.wait()
                member.start()
            else:
                member.child.send_signal(signal.SIGCONT)
            until("the member to be back", lambda member=member: member.answers() is True)
        load.end()
        fleet.close()
    finally:
        fleet.processes.clear()
        for m in members:
            m.stop()


def test_records_that_somebody_removed(fleet, etcd):
    fleet.env["ETCD_LEASE_TTL"] = "9"
    mocker = registered(fleet.mocker())
    front = fleet.frontend().ready()
    end = len(mocker.lines)
    key = f"v1/instances/dynamo/backend/generate/{mocker.ids[0]:x}"
    etcd.must("/v3/kv/deleterange", {"key": b64(key)})
    mocker.wait_line("was removed; it is written again", end)
    registered(mocker, end)
    front.ready()
    # The lease itself: all records come back under another.
    before = etcd.records()
    end = len(mocker.lines)
    etcd.must("/v3/lease/revoke", {"ID": str(before[key][1])})
    mocker.wait_line("has expired; records are registered again", end)
    registered(mocker, end)
    figures = {n: total(mocker.metrics(), f"weir_etcd_{n}_total") for n in ("records_rewritten", "leases", "leases_lost")}
    assert figures == {"records_rewritten": 1, "leases": 2, "leases_lost": 1}
    after = etcd.records()
    assert {k: v for k, (v, _) in after.items()} == {k: v for k, (v, _) in before.items()}
    assert after[key][1] != before[key][1]
    front.ready()
    assert front.chat().status == 200


def test_foreign_records_are_left_alone(fleet, etcd):
    """Broken ones, and those of other buckets, cost nothing but a line; a key that is taken is not overwritten."""
    for key, value in (("v1/instances/dynamo/backend/generate/1", "{"), ("v1/mdc/x", "[]"), ("v1/instances", "y"),
                       ("v1/kv_routers/dynamo/1", "{}"), ("v0/instances/a/b/c/1", "{}")):
        etcd.must("/v3/kv/put", {"key": b64(key), "value": b64(value)})
    registered(fleet.mocker())
    front = fleet.frontend().ready()
    front.wait_line("record v1/instances/dynamo/backend/generate/1 is left out")
    assert front.chat().status == 200


@pytest.fixture
def gateway(etcd):
    g = Gateway(etcd)
    yield g
    g.close()


def test_lists_in_pages(fleet, etcd, gateway):
    """A record a page, all at the revision of the first."""
    registered(fleet.mocker(workers=3))
    n = len(etcd.records())
    gateway.limit = 1
    fleet.frontend("--router-mode", "kv", env={"ETCD_ENDPOINTS": gateway.url}).ready(workers=3)
    until("the watch", lambda: gateway.watches)
    pages = [doc for path, doc in gateway.calls if path == "/v3/kv/range" and "keys_only" not in doc]
    assert n > 10 and len(pages) == n == len({doc["key"] for doc in pages})
    assert len({doc["revision"] for doc in pages[1:]}) == 1


def test_history_is_compacted_under_a_watch(fleet, etcd, gateway):
    """What the watch missed comes with a list in the same session; who stayed never leaves."""
    stays, leaves = registered(fleet.mocker()), registered(fleet.mocker())
    front = fleet.frontend(env={"ETCD_ENDPOINTS": gateway.url, "DYN_LOG": "info,etcd=debug"}).ready(workers=2)
    until("the watch", lambda: gateway.watches)

    def change():
        assert leaves.stop() == 0
        return registered(fleet.mocker())
    came = gateway.swallow(change)
    assert workers(front) == {stays.ids[0], leaves.ids[0]}
    at = len(front.lines)
    gateway.say('{"result":{"header":{"revision":"1"},"canceled":true,"compact_revision":"7"}}')
    front.wait_line("the watched revisions are gone", at)
    until("the two that are there", lambda: workers(front) == {stays.ids[0], came.ids[0]})
    counts = [int(n) for n in re.findall(r"model m has (\d+) worker", "\n".join(front.lines[at:]))]
    assert counts and min(counts) >= 1, counts
    assert front.metric("weir_etcd_connects_total") == 1 and front.metric("weir_etcd_lists_total") == 2
    assert came.stop() == 0
    until("one worker", lambda: workers(front) == {stays.ids[0]})


@pytest.mark.parametrize("line", ["{", '{"error":{"code":14,"message":"etcdserver: no leader"}}', '{"result":{"canceled":true}}'])
def test_watch_that_breaks(fleet, etcd, gateway, line):
    """Whatever ends a watch, or makes it unreadable: a new session, and nothing is forgotten or missed."""
    stays, leaves = registered(fleet.mocker()), registered(fleet.mocker())
    front = fleet.frontend(env={"ETCD_ENDPOINTS": gateway.url}).ready(workers=2)
    until("the watch", lambda: gateway.watches)
    assert gateway.swallow(leaves.stop) == 0
    gateway.failures = 3
    at = len(front.lines)
    gateway.say(line)
    front.wait_line("connected to etcd", at)
    until("one worker", lambda: workers(front) == {stays.ids[0]})
    assert gateway.failures == 0 and front.chat().status == 200


def test_leaving_when_etcd_does_not_answer(fleet, etcd, gateway):
    """A second signal with a request still running, and an etcd that holds its answer back: the end comes all the same."""
    fleet.env["ETCD_LEASE_TTL"] = "6"
    mocker = registered(fleet.mocker("--speedup-ratio", "0.01", env={"ETCD_ENDPOINTS": gateway.url}))
    front = fleet.frontend().ready()
    s = front.socket()
    body = b'{"model":"m","prompt":"x","max_tokens":1000,"stream":true}'
    s.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
              % (len(body), body))
    until("the request at the worker", lambda: mocker.metric("requests_running") == 1)
    gateway.hold = "/v3/lease/revoke"
    mocker.signal(signal.SIGTERM)
    mocker.wait_line("no more requests are taken; 1 are running")
    mocker.signal(signal.SIGTERM)
    assert mocker.wait() == 0 and gateway.held.wait(DEADLINE_S)
    s.close()
    until("its records to expire", lambda: etcd.records() == {})


def test_a_key_that_is_taken(fleet, etcd, gateway):
    """Another's record under our key is not overwritten; ours comes when it goes."""
    sentinel = {"path": None}
    plain_post = gateway._post

    def post(h, doc):
        if h.path == "/v3/kv/txn" and sentinel["path"] is None and doc.get("success", [{}])[0].get("request_put"):
            key = doc["compare"][-1]["key"]
            sentinel["path"] = key
            etcd.must("/v3/kv/put", {"key": key, "value": b64('{"type":"Foreign"}')})
        plain_post(h, doc)
    gateway._post = post
    mocker = fleet.mocker(env={"ETCD_ENDPOINTS": gateway.url})
    mocker.wait_line("is there already, and is another process's")
    assert [v for v, _ in etcd.records().values() if v == {"type": "Foreign"}]
    etcd.must("/v3/kv/deleterange", {"key": sentinel["path"]})
    registered(mocker)
    assert all(l != 0 for _, l in etcd.records().values())
    fleet.frontend().ready()


def fails(env, *argv):
    p = Process([WEIR, *argv], env)
    code = p.wait()
    return code, p.log()


@pytest.mark.parametrize("command", [("frontend", "--http-port", "0"), ("mocker", "--model-name", "m")])
def test_refusals_end_the_program(fleet, tmp_path, command):
    e = Etcd(tmp_path / "etcd")
    try:
        e.add_users()
        use(fleet, e.url)
        code, log = fails(fleet.env, *command)
        assert code == 1 and "set ETCD_AUTH_USERNAME and ETCD_AUTH_PASSWORD" in log, log
        code, log = fails({**fleet.env, "ETCD_AUTH_USERNAME": "weir", "ETCD_AUTH_PASSWORD": "wrong"}, *command)
        assert code == 1 and "refuses the user 'weir'" in log and "wrong" not in log.replace("is wrong", ""), log
        e.must("/v3/auth/user/revoke", {"name": "weir", "role": "weir"})
        code, log = fails({**fleet.env, "ETCD_AUTH_USERNAME": "weir", "ETCD_AUTH_PASSWORD": "secret"}, *command)
        assert code == 1 and "its role needs readwrite on the prefix v1/" in log, log
    finally:
        e.stop()
    for bad in ("unix:///tmp/x", "http://a/b", ""):
        code, log = fails({**fleet.env, "ETCD_ENDPOINTS": bad or ","}, *command)
        assert code == 1 and "ETCD_ENDPOINTS" in log, log


def test_no_gateway_is_refused(fleet, tmp_path):
    e = Etcd(tmp_path / "etcd", "--enable-grpc-gateway=false")
    try:
        use(fleet, e.url)
        code, log = fails(fleet.env, "frontend", "--http-port", "0")
        assert code == 1 and "--enable-grpc-gateway" in log and "HTTP 404" in log, log
    finally:
        e.stop()


def test_etcd_that_comes_later(fleet, tmp_path):
    e = Etcd(tmp_path / "etcd")
    e.kill()
    try:
        use(fleet, e.url)
        mocker, front = fleet.mocker(), fleet.frontend()
        for p in (mocker, front):
            p.wait_line("connection refused; trying again")
        assert front.chat().status in (404, 503)
        e.start()
        registered(mocker)
        assert front.ready().chat().status == 200
        fleet.close()
    finally:
        fleet.processes.clear()
        e.stop()


def signing_keys(folder):
    subprocess.run(["openssl", "genrsa", "-out", "jwt.key", "2048"], check=True, capture_output=True, cwd=folder)
    subprocess.run(["openssl", "rsa", "-in", "jwt.key", "-pubout", "-out", "jwt.pub"], check=True, capture_output=True, cwd=folder)


def test_user_and_tokens_that_expire(fleet, tmp_path):
    signing_keys(tmp_path)
    token = f"jwt,pub-key={tmp_path}/jwt.pub,priv-key={tmp_path}/jwt.key,sign-method=RS256,ttl=1s"
    e = Etcd(tmp_path / "etcd", "--auth-token", token)
    try:
        e.add_users()
        use(fleet, e.url, ETCD_LEASE_TTL="6", ETCD_AUTH_USERNAME="weir", ETCD_AUTH_PASSWORD="secret", DYN_LOG="info,etcd=debug")
        mocker = registered(fleet.mocker())
        front = fleet.frontend().ready()
        # Signs of life come every two seconds, tokens last one.
        until("two renewals", lambda: front.log().count("the token has expired") >= 2)
        # 3.4 does not look at the token of a keep-alive, so a worker learns of it with its next record.
        end = len(mocker.lines)
        key = f"v1/instances/dynamo/backend/generate/{mocker.ids[0]:x}"
        e.login()
        e.must("/v3/kv/deleterange", {"key": b64(key)})
        registered(mocker, end)
        assert "the token has expired" in mocker.log()
        late = registered(fleet.mocker())
        until("both workers", lambda: workers(front) == {mocker.ids[0], late.ids[0]})
        fleet.close()
    finally:
        fleet.processes.clear()
        e.stop()


@pytest.mark.parametrize("as_text", [False, True])
def test_tls_with_client_certificates(fleet, tmp_path, as_text):
    certificates(tmp_path)
    e = Etcd(tmp_path / "etcd", "--client-cert-auth", "--trusted-ca-file", str(tmp_path / "ca.pem"), "--cert-file",
             str(tmp_path / "server.pem"), "--key-file", str(tmp_path / "server.key"), scheme="https",
             context=client_context(tmp_path))
    names = {"ETCD_AUTH_CA": "ca.pem", "ETCD_AUTH_CLIENT_CERT": "client.pem", "ETCD_AUTH_CLIENT_KEY": "client.key"}
    value = {k: (tmp_path / v).read_text() if as_text else str(tmp_path / v) for k, v in names.items()}
    try:
        use(fleet, e.url, **value)
        registered(fleet.mocker())
        assert fleet.frontend().ready().chat().status == 200
        assert "BEGIN" not in fleet.processes[-1].log()
        # Without a scheme the certificates say that it is TLS; names are verified.
        fleet.frontend(env={"ETCD_ENDPOINTS": f"localhost:{e.port}"}).ready()
        run = ("frontend", "--http-port", "0")
        code, log = fails({**fleet.env, "ETCD_AUTH_CA": ""}, *run)
        assert code == 1 and "TLS: " in log and "certificate" in log, log
        code, log = fails({k: v for k, v in fleet.env.items() if "CLIENT" not in k}, *run)
        assert code == 1 and "TLS: " in log and "certificate" in log, log
        plain = fleet.frontend(env={"ETCD_ENDPOINTS": f"http://127.0.0.1:{e.port}"})
        plain.wait_line("does it want https://")
        code, log = fails({**fleet.env, "ETCD_AUTH_CA": os.devnull}, *run)
        assert code == 1 and "ETCD_AUTH_CA" in log and "no CA certificates" in log, log
        fleet.close()
    finally:
        fleet.processes.clear()
        e.stop()
