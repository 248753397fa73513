"""The NATS planes with a real nats-server: requests, events, logins, TLS, and a server that dies, hangs and returns."""
import concurrent.futures
import itertools
import json
import os
import signal
import socket
import subprocess
import threading

import pytest

from etcd import Etcd
from nats_server import BINARY, USER, WHY_NOT, Key, NatsClient, NatsServer, heard, operator_config
from weir import DEADLINE_S, WEIR, Process, kept_port, knows, until

pytestmark = pytest.mark.skipif(BINARY is None, reason=WHY_NOT)
TEXT = "the quick brown fox jumps over the lazy dog " * 20


@pytest.fixture
def servers(tmp_path):
    """Starts servers; all are killed at the end, after the fleet."""
    running = []

    def start(*flags, **more):
        running.append(NatsServer(str(tmp_path), *flags, **more))
        return running[-1]

    yield start
    for s in running:
        s.kill()


@pytest.fixture
def nats(servers, fleet):
    """A server, and a fleet whose planes both run over it. (Set up before the fleet's processes, killed after them.)"""
    server = servers()
    use(fleet, server)
    return server


def use(fleet, server, **env):
    fleet.env.update({"NATS_SERVER": server.url, "DYN_REQUEST_PLANE": "nats", "DYN_EVENT_PLANE": "nats", **env})


def records(fleet, bucket):
    folder = os.path.join(fleet.env["DYN_FILE_KV"], "v1", bucket)
    out = []
    for name in os.listdir(folder):
        if not name.startswith(".tmp_"):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                out.append(json.load(f))
    return out


def all_at_once(front, n=300, concurrency=32, **fields):
    with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
        return list(pool.map(lambda i: front.chat(f"request {i}", stream=i % 2 == 0, **fields), range(n)))


def test_serving(nats, fleet):
    mockers = [fleet.mocker(), fleet.mocker()]
    front = fleet.frontend().ready(workers=2)
    r = front.chat("hello")
    assert r.status == 200 and r.json()["usage"]["completion_tokens"] == 8, r
    events = front.chat("hello", stream=True).events()
    assert events[-1] == "[DONE]" and any(c["finish_reason"] for e in events[:-1] for c in e["choices"]), events
    answers = all_at_once(front)
    assert [a.status for a in answers] == [200] * 300
    assert sum(m.metric("finished_total") for m in mockers) == 302
    # The records and subjects of the reference (shared spec "transport" 2.3, 4.5).
    for r in records(fleet, "instances"):
        if r["endpoint"] == "generate":
            assert r["transport"] == {"nats_tcp": f"dynamo_backend.generate-{r['instance_id']:x}"}
    prefix = "namespace.dynamo.component.backend.endpoint.generate"
    channels = records(fleet, "event_channels")
    assert channels and all(c["transport"] == {"kind": "Nats", "config": {"subject_prefix": prefix}} for c in channels)
    for s in records(fleet, "event_sources"):
        target = s["metadata"]["recovery_target"]
        assert target["transport"] == {"nats_tcp": f"dynamo_backend.{target['endpoint']}-{target['instance_id']:x}"}


def cached(front, text):
    r = front.chat(text)
    assert r.status == 200, r
    return (r.json()["usage"].get("prompt_tokens_details") or {}).get("cached_tokens", 0)


@pytest.mark.parametrize("requests", ["nats", "tcp"])
def test_routing_by_events(nats, fleet, requests):
    """Each prompt goes where its blocks are, by events over NATS; the mockers count what they found."""
    fleet.env["DYN_REQUEST_PLANE"] = requests
    mockers = [fleet.mocker() for _ in range(4)]
    flags = ("--router-mode", "kv")
    front = fleet.frontend(*flags).ready(workers=4)
    prompts = [f"{i} {TEXT}" for i in range(8)]
    for p in prompts:
        assert front.chat(p).status == 200
    full = len(TEXT) // 16 * 16 - 32
    until("the index to know the prompts", lambda: knows(front, mockers))
    before = sum(m.metric("cached_tokens_total") for m in mockers)
    for p in prompts * 3:
        assert cached(front, p) >= full
    assert sum(m.metric("cached_tokens_total") for m in mockers) - before >= full * len(prompts) * 3
    # A frontend that starts anew asks the workers, over the request plane.
    front.stop()
    again = fleet.frontend(*flags).ready(workers=4)
    until("a restored index", lambda: knows(again, mockers))
    assert all(cached(again, p) >= full for p in prompts)


def test_with_etcd(nats, fleet, tmp_path):
    """Records in etcd, requests and events over NATS: for long the default of the reference."""
    etcd = Etcd(tmp_path / "etcd")
    fleet.env.update(DYN_DISCOVERY_BACKEND="etcd", ETCD_ENDPOINTS=etcd.url)
    try:
        mockers = [fleet.mocker(), fleet.mocker()]
        front = fleet.frontend("--router-mode", "kv").ready(workers=2)
        full = len(TEXT) // 16 * 16 - 32
        assert front.chat(TEXT).status == 200
        until("the index", lambda: knows(front, mockers))
        assert all(cached(front, TEXT) >= full for _ in range(4))
        assert sum(m.metric("finished_total") for m in mockers) >= 5
        fleet.close()
    finally:
        fleet.processes.clear()
        etcd.stop()


def test_mixed_planes(nats, fleet):
    """Workers on TCP and ZeroMQ beside workers on NATS, behind one frontend that has NATS."""
    tcp = fleet.mocker(env={"DYN_REQUEST_PLANE": "tcp", "DYN_EVENT_PLANE": "zmq"})
    over = fleet.mocker()
    front = fleet.frontend("--router-mode", "round-robin").ready(workers=2)
    assert [a.status for a in all_at_once(front, 40, 8)] == [200] * 40
    counts = [tcp.metric("finished_total"), over.metric("finished_total")]
    assert sum(counts) == 40 and min(counts) >= 10, counts
    transports = {tuple(i["transport"]) for i in front.get("/health").json()["instances"] if i["endpoint"] == "generate"}
    assert transports == {("tcp",), ("nats_tcp",)}


def test_worker_over_nats_needs_a_frontend_with_nats(nats, fleet):
    fleet.mocker()
    front = fleet.frontend(env={"DYN_REQUEST_PLANE": "tcp", "DYN_EVENT_PLANE": "zmq"})
    front.wait_line("takes requests over NATS and is left out: start this process with --request-plane nats")
    assert front.chat("hello").status in (404, 503)


def test_client_leaves(nats, fleet):
    """A client that goes away ends its request at the worker."""
    mocker = fleet.mocker("--speedup-ratio", "1")
    front = fleet.frontend().ready()
    s = front.socket()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 100000})
    s.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
              f"content-length: {len(body)}\r\n\r\n{body}".encode())
    assert s.recv(1) == b"H"
    until("a running request", lambda: mocker.metric("requests_running") == 1)
    s.close()
    until("its end", lambda: mocker.metric("requests_running") == 0)


def test_too_large_for_the_server(nats, fleet):
    """A request over max_payload (1 MiB) is refused at once, and nothing else suffers."""
    fleet.mocker("--max-model-len", "4000000", "--num-gpu-blocks-override", "300000")
    front = fleet.frontend().ready()
    r = front.complete("x" * 3_000_000)
    assert r.status == 413 and b"max_payload" in r.body, r
    assert front.chat("hello").status == 200


def test_service(nats, fleet):
    """Tools of NATS find the workers as they find those of the reference (services protocol, ADR-32)."""
    mocker = fleet.mocker()
    front = fleet.frontend().ready()
    for i in range(5):
        assert front.chat(f"request {i}").status == 200
    client = NatsClient(nats)
    ping = json.loads(client.ask("$SRV.PING"))
    assert ping["type"] == "io.nats.micro.v1.ping_response" and ping["name"] == "dynamo_backend", ping
    assert json.loads(client.ask(f"$SRV.PING.dynamo_backend.{ping['id']}")) == ping
    info = json.loads(client.ask("$SRV.INFO.dynamo_backend"))
    subject = f"dynamo_backend.generate-{mocker.ids[0]:x}"
    assert info["id"] == ping["id"] and subject in [e["subject"] for e in info["endpoints"]], info
    # The last call-home streams may still be closing.
    def stats():
        return next(e for e in json.loads(client.ask("$SRV.STATS"))["endpoints"] if e["subject"] == subject)
    until("five requests", lambda: stats()["num_requests"] == 5 and stats()["average_processing_time"] > 0)
    assert stats()["num_errors"] == 0 and stats()["queue_group"] == "q" and stats()["name"] == subject.split(".")[1]
    # A request that cannot be read is acknowledged, dropped and counted; nothing else happens.
    assert client.ask(subject, b"nonsense") == b""
    until("the error to be counted", lambda: stats()["num_errors"] == 1)
    assert client.ask("dynamo_backend.generate-0") is None
    assert front.chat("hello").status == 200
    client.close()


# ---- workers that go ----------------------------------------------------------------------------


def test_killed_worker(nats, fleet):
    """Nobody listens on its subject: the next worker gets the request, and nobody waits."""
    mockers = [fleet.mocker(), fleet.mocker()]
    front = fleet.frontend("--router-mode", "round-robin").ready(workers=2)
    mockers[0].kill()
    until("the server to know of it", lambda: not heard(nats, f"dynamo_backend.generate-{mockers[0].ids[0]:x}"))
    assert [a.status for a in all_at_once(front, 60, 8)] == [200] * 60


def test_draining_worker_under_load(nats, fleet):
    """A worker that leaves serves what is on its way to it: no request fails or waits for its acknowledgement."""
    mockers = [fleet.mocker(), fleet.mocker()]
    front = fleet.frontend("--router-mode", "round-robin").ready(workers=2)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        running = [pool.submit(front.chat, f"request {i}") for i in range(400)]
        until("some answers", lambda: sum(r.done() for r in running) > 50)
        assert mockers[0].stop() == 0
        assert [r.result().status for r in running] == [200] * 400
    until("all to be counted", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)


def test_stopped_worker(nats, fleet):
    """SIGSTOP: its acknowledgement is missed in time; the request goes on to another where that is allowed."""
    env = {"DYN_NATS_REQUEST_TIMEOUT_SECS": "2"}  # which the other meets
    mockers = [fleet.mocker(), fleet.mocker()]
    front = fleet.frontend("--router-mode", "round-robin", "--migration-limit", "3", env=env).ready(workers=2)
    mockers[0].signal(signal.SIGSTOP)
    try:
        assert [a.status for a in all_at_once(front, 20, 4)] == [200] * 20
    finally:
        mockers[0].signal(signal.SIGCONT)


# ---- a server that goes -------------------------------------------------------------------------


class Load:
    """Requests one after the other on some threads, until told to stop."""

    def __init__(self, front, threads=8):
        self.front, self.stop, self.statuses, self.lock = front, threading.Event(), [], threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(threads)]
        for t in self.threads:
            t.start()

    def _run(self, thread):
        n = 0
        while not self.stop.is_set():
            n += 1
            status = self.front.chat(f"{thread} {n} {TEXT}", stream=n % 2 == 0).status
            with self.lock:
                self.statuses.append(status)

    def served(self):
        with self.lock:
            return self.statuses.count(200)

    def end(self):
        self.stop.set()
        for t in self.threads:
            t.join(DEADLINE_S)
            assert not t.is_alive(), "a request hangs"
        return self.statuses


def served_more(load, n, what):
    seen = load.served()
    until(f"answers {what}", lambda: load.served() >= seen + n)


def test_server_restarts_under_load(nats, fleet):
    """Killed and started again, three times: every request ends, all is served afterwards, the index is whole."""
    mockers = [fleet.mocker(), fleet.mocker()]
    front = fleet.frontend("--router-mode", "kv").ready(workers=2)
    load = Load(front)
    for _ in range(3):
        served_more(load, 50, "before the server is killed")
        seen = {p: len(p.lines) for p in (front, *mockers)}
        nats.kill()
        for p, at in seen.items():
            p.wait_line("nats: connection lost", at)
        nats.start()
        for p, at in seen.items():  # else one that is slow has nothing to lose the next time
            p.wait_line("nats: connected", at)
        served_more(load, 50, "with the new server")
    statuses = load.end()
    # What was under way when the connection broke may be told so; it never waits, and nothing else fails.
    assert set(statuses) <= {200, 503}, set(statuses)
    assert [a.status for a in all_at_once(front, 50, 8)] == [200] * 50
    full = len(TEXT) // 16 * 16 - 32
    prompt = f"afterwards {TEXT}"
    front.chat(prompt)
    until("the index to be whole", lambda: knows(front, mockers))
    assert all(cached(front, prompt) >= full for _ in range(4))
    until("no request", lambda: front.metric("dynamo_frontend_inflight_requests") == 0)


def test_events_missed_in_an_outage_are_asked_for(nats, servers, fleet):
    """Only the frontend is cut off. What the workers published meanwhile is asked for when it is back."""
    gate = Gate(nats.port)
    try:
        fleet.env["DYN_REQUEST_PLANE"] = "tcp"
        mockers = [fleet.mocker(), fleet.mocker()]
        env = {"NATS_SERVER": f"nats://127.0.0.1:{gate.port}"}
        front = fleet.frontend("--router-mode", "kv", env=env).ready(workers=2)
        other = fleet.frontend("--router-mode", "random").ready(workers=2)
        assert front.chat("warm").status == 200
        until("the index", lambda: knows(front, mockers))
        seen = len(front.lines)
        gate.close()
        front.wait_line("nats: connection lost", seen)
        prompts = itertools.count()

        def learnt_behind_its_back():
            # Its first look at the workers, over TCP, may still be under way: then they have to learn something else.
            assert other.chat(f"{next(prompts)} {TEXT}").status == 200
            return not knows(front, mockers)
        until("blocks that it does not know, whatever it looks at", lambda: all(learnt_behind_its_back() for _ in range(5)))
        seen = len(front.lines)
        gate.open()
        front.wait_line("nats: connected to", seen)
        # No further event tells of the gap.
        until("the index to be whole", lambda: knows(front, mockers))
        assert front.metric("weir_nats_connects_total") == 2 and front.metric("weir_nats_disconnects_total") == 1
    finally:
        gate.end()


class Gate:
    """A TCP relay that can be shut."""

    def __init__(self, to):
        self.to, self.port, self.child = to, kept_port(), None
        self.open()

    def open(self):
        code = ("import socket,sys,threading\n"
                "s=socket.create_server(('127.0.0.1',int(sys.argv[1])))\nprint('port',s.getsockname()[1],flush=True)\n"
                "def pump(a,b):\n"
                "    try:\n"
                "        while True:\n"
                "            d=a.recv(65536)\n"
                "            if not d: break\n"
                "            b.sendall(d)\n"
                "    except OSError: pass\n"
                "    for x in (a,b):\n"
                "        try: x.shutdown(2)\n"
                "        except OSError: pass\n"
                "while True:\n"
                "    a,_=s.accept()\n"
                "    b=socket.create_connection(('127.0.0.1',int(sys.argv[2])))\n"
                "    for x,y in ((a,b),(b,a)): threading.Thread(target=pump,args=(x,y),daemon=True).start()\n")
        self.child = Process(["python3", "-c", code, str(self.port), str(self.to)], name="gate")
        self.child.wait_line(f"port {self.port}")

    def close(self):
        self.child.kill()

    def end(self):
        if self.child.child.poll() is None:
            self.child.kill()


def test_stopped_server(nats, fleet):
    """SIGSTOP of the server: requests end in their time, the processes go on, and all is well when it continues."""
    fleet.mocker()
    front = fleet.frontend("--router-mode", "kv", env={"DYN_NATS_REQUEST_TIMEOUT_SECS": "1"}).ready()
    assert front.chat("hello").status == 200
    nats.signal(signal.SIGSTOP)
    try:
        assert {a.status for a in all_at_once(front, 8, 8)} <= {503, 504}
        assert front.get("/health").status == 200  # its loops are not blocked
    finally:
        nats.signal(signal.SIGCONT)
    until("answers again", lambda: front.chat("hello").status == 200)


def test_server_that_is_not_there_yet(servers, fleet):
    """Processes start without their server, say so, and serve when it comes."""
    server = servers()
    use(fleet, server)
    server.kill()
    mocker = fleet.mocker()
    front = fleet.frontend()
    front.wait_line(r"NATS at nats://127.0.0.1:\d+: No server available for connection; trying again")
    server.start()
    front.ready()
    until("an answer", lambda: front.chat("hello").status == 200)
    assert mocker.metric("finished_total") >= 1


def test_leaving_without_a_server(nats, fleet):
    """Nothing is waited for at the end that cannot come."""
    env = {"DYN_WORKER_GRACEFUL_SHUTDOWN_TIMEOUT": "3600", "DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "3600"}
    mocker = fleet.mocker(env=env)
    front = fleet.frontend("--router-mode", "kv", env=env).ready()
    assert front.chat("hello").status == 200
    nats.kill()
    for p in (mocker, front):
        p.wait_line("nats: connection lost")
        assert p.stop() == 0


def test_second_server(servers, fleet):
    """Several addresses: one that is not there is passed over."""
    gone, there = servers(), servers()
    gone.kill()
    use(fleet, there, NATS_SERVER=f"{gone.url},{there.url}")
    fleet.mocker()
    assert fleet.frontend().ready().chat("hello").status == 200


def test_servers_that_the_cluster_names(servers, fleet):
    """Only the first is configured. When it dies, the processes know the second from it, and serve on."""
    name = ("--cluster_name", "c", "--cluster")
    first = servers(*name, "nats://127.0.0.1:-1")
    second = servers(*name, "nats://127.0.0.1:-1", "--routes", first.cluster)
    use(fleet, first)
    mocker = fleet.mocker()
    front = fleet.frontend("--router-mode", "kv").ready()
    assert front.chat("hello").status == 200
    client = NatsClient(first)  # the servers have met when one tells of the other
    until("the cluster", lambda: f":{second.port}" in client.info_again())
    client.close()
    first.kill()
    for p in (mocker, front):
        p.wait_line(f"nats: connected to nats://127.0.0.1:{second.port}")
    until("an answer", lambda: front.chat("hello").status == 200)


# ---- logging in ---------------------------------------------------------------------------------


def fails(fleet, words, **env):
    p = Process([WEIR, "frontend", "--http-host", "127.0.0.1", "--http-port", "0"], {**fleet.env, **env})
    assert p.wait() == 1, p.log()
    assert "wr0ng" not in p.log()
    assert words in p.log(), p.log()


def serves(fleet):
    fleet.mocker()
    assert fleet.frontend().ready().chat("hello").status == 200


def test_user_and_password(servers, fleet):
    use(fleet, servers("--user", "ada", "--pass", "se:cr@et"))
    fails(fleet, "Authorization Violation; the server refuses the login: check NATS_AUTH_*")
    fails(fleet, "check NATS_AUTH_*", NATS_AUTH_USERNAME="ada", NATS_AUTH_PASSWORD="wrong")
    fleet.env.update(NATS_AUTH_USERNAME="ada", NATS_AUTH_PASSWORD="se:cr@et")
    serves(fleet)


def test_login_in_the_address(servers, fleet):
    """It comes before the variables, and into no log line."""
    server = servers("--user", "ada", "--pass", "h1dden")
    use(fleet, server, NATS_SERVER=server.url.replace("//", "//ada:h1dden@"), NATS_AUTH_USERNAME="other")
    fails(fleet, "check NATS_AUTH_*", NATS_SERVER=server.url.replace("//", "//ada:wr0ng@"))
    serves(fleet)
    for p in fleet.processes:
        assert "connected to" in p.log() and "h1dden" not in p.log() and "ada" not in p.log(), p.log()


def test_default_login_is_that_of_the_reference(servers, fleet):
    use(fleet, servers("--user", "user", "--pass", "user"))
    serves(fleet)


def test_token(servers, fleet):
    use(fleet, servers("--auth", "t0ken"))
    fails(fleet, "check NATS_AUTH_*", NATS_AUTH_TOKEN="other")
    fleet.env["NATS_AUTH_TOKEN"] = "t0ken"
    serves(fleet)


def test_nkey(servers, fleet, tmp_path):
    key, other = Key(USER, str(tmp_path)), Key(USER, str(tmp_path))
    config = tmp_path / "nkey.conf"
    config.write_text(f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}\n")
    use(fleet, servers("-c", str(config)))
    fails(fleet, "check NATS_AUTH_*", NATS_AUTH_NKEY=other.seed)
    fails(fleet, "is not the seed of a user", NATS_AUTH_NKEY=key.public)
    fleet.env["NATS_AUTH_NKEY"] = key.seed
    serves(fleet)


# A key of nobody and what a server may give it to sign; the signature begins with a byte 0.
UNLUCKY_SEED, UNLUCKY_NONCE = "SUAMYQQT5B5Y7TXWR52Q2WNOLVY3CTUZUCYTZCJZGPZAURDSQNOMH5OJGI", "tlDciy6DvCSt0cM"


class SignatureServer(threading.Thread):
    """Takes a login that is signed, whatever the signature; gives the unlucky nonce first, then another."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "nats://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.signatures = []
        self.start()

    def run(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client, "another" if self.signatures else UNLUCKY_NONCE), daemon=True).start()

    def serve(self, client, nonce):
        with client, client.makefile("rb") as lines:
            client.sendall(b"INFO " + json.dumps({
                "server_id": "S", "version": "2.9.10", "proto": 1, "headers": True, "max_payload": 1 << 20, "auth_required": True,
                "nonce": nonce}).encode() + b"\r\n")
            for line in lines:
                if line.startswith(b"CONNECT "):
                    self.signatures.append(json.loads(line[8:]).get("sig"))
                    if not self.signatures[-1]:
                        return client.sendall(b"-ERR 'Authorization Violation'\r\n")
                elif line.startswith(b"PING"):
                    client.sendall(b"PONG\r\n")


@pytest.mark.parametrize("kind", ["nkey", "credentials"])
def test_signature_that_begins_with_zero(fleet, tmp_path, kind):
    """nats.c leaves such a signature out; we log in again, with another."""
    if kind == "nkey":
        fleet.env["NATS_AUTH_NKEY"] = UNLUCKY_SEED
    else:
        path = tmp_path / "user.creds"
        path.write_text(f"-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n"
                        f"-----BEGIN USER NKEY SEED-----\n{UNLUCKY_SEED}\n------END USER NKEY SEED------\n")
        fleet.env["NATS_AUTH_CREDENTIALS_FILE"] = str(path)
    server = SignatureServer()
    use(fleet, server)
    fleet.frontend().wait_line("connected to")
    assert any(server.signatures), server.signatures
    server.listener.close()


def test_credentials_file(servers, fleet, tmp_path):
    config, creds = operator_config(str(tmp_path))
    use(fleet, servers("-c", config))
    fails(fleet, "check NATS_AUTH_*")
    fails(fleet, "/nowhere cannot be read", NATS_AUTH_CREDENTIALS_FILE="/nowhere")
    fleet.env["NATS_AUTH_CREDENTIALS_FILE"] = creds
    serves(fleet)


# ---- TLS ----------------------------------------------------------------------------------------


def certificates(folder):
    """ca.pem; server (127.0.0.1), elsewhere (another name), client: each .pem and .key"""
    def openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, capture_output=True, cwd=folder)
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    for name, alt in (("server", "IP:127.0.0.1,DNS:localhost"), ("elsewhere", "DNS:elsewhere.test"), ("client", "DNS:client")):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        with open(os.path.join(folder, "ext"), "w", encoding="ascii") as f:
            f.write(f"subjectAltName={alt}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", "ext", "-out", f"{name}.pem")
    return lambda name: os.path.join(folder, name)


def test_tls(servers, fleet, tmp_path):
    at = certificates(str(tmp_path))
    server = servers("--tls", "--tlscert", at("server.pem"), "--tlskey", at("server.key"))
    use(fleet, server)
    fails(fleet, "check NATS_TLS_*")  # used without being asked for, as the server wants it; but verified
    fails(fleet, "check NATS_TLS_*", NATS_SERVER=server.url.replace("nats:", "tls:"))  # not an authority of this machine
    fleet.env["NATS_TLS_CA_CERT_PATH"] = at("ca.pem")
    serves(fleet)


def test_tls_of_another_name(servers, fleet, tmp_path):
    at = certificates(str(tmp_path))
    use(fleet, servers("--tls", "--tlscert", at("elsewhere.pem"), "--tlskey", at("elsewhere.key")))
    fails(fleet, "check NATS_TLS_*", NATS_TLS_CA_CERT_PATH=at("ca.pem"))
    fleet.env["NATS_TLS_INSECURE"] = "true"
    serves(fleet)


def test_tls_with_client_certificate(servers, fleet, tmp_path):
    at = certificates(str(tmp_path))
    use(fleet, servers("--tlsverify", "--tlscert", at("server.pem"), "--tlskey", at("server.key"), "--tlscacert", at("ca.pem")))
    fleet.env["NATS_TLS_CA_CERT_PATH"] = at("ca.pem")
    fleet.env.update(NATS_TLS_CLIENT_CERT_PATH=at("client.pem"), NATS_TLS_CLIENT_KEY_PATH=at("client.key"))
    serves(fleet)
    assert all_at_once(fleet.processes[-1], 50, 8)[-1].status == 200


# ---- without NATS -------------------------------------------------------------------------------


def threads(process):
    names = []
    for task in os.listdir(f"/proc/{process.child.pid}/task"):
        with open(f"/proc/{process.child.pid}/task/{task}/comm", encoding="ascii") as f:
            names.append(f.read().strip())
    return names


def test_no_threads_without_a_plane(nats, fleet):
    """NATS_SERVER alone starts nothing."""
    front = fleet.frontend(env={"DYN_REQUEST_PLANE": "tcp", "DYN_EVENT_PLANE": "zmq"})
    plain = threads(front)
    assert "nats" not in plain
    with_nats = threads(fleet.frontend())
    assert "nats" in with_nats and len(with_nats) > len(plain)
