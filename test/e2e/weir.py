"""Real processes for the end-to-end tests: `weir frontend`, `weir mocker`, and a plain HTTP client.

Nothing here sleeps: a process is waited for by the line it logs or by its exit, a state by asking
until it holds. Every wait has a deadline and names what it waited for.
"""
import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import threading
import time

WEIR = os.environ.get("WEIR_BIN", os.path.join(os.path.dirname(__file__), "../../build/release/weir"))
DEADLINE_S = float(os.environ.get("WEIR_TEST_DEADLINE_S", "60"))


def until(what, probe, deadline_s=None):
    """Asks `probe` until it gives something true, and returns that. `what`: in words, or a function that says in the end what
    is missing."""
    end = time.monotonic() + (deadline_s or DEADLINE_S)
    pause = threading.Event()
    while True:
        got = probe()
        if got:
            return got
        if time.monotonic() > end:
            raise AssertionError(f"gave up waiting for {what() if callable(what) else what}")
        pause.wait(0.01)


_kept = []


def kept_port():
    """A port of 127.0.0.1 that stays ours: we have it without listening, so that the system hands it out to nobody, and any of
    our servers may listen there (all take SO_REUSEADDR), end, and come back."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    _kept.append(s)
    return s.getsockname()[1]


class Process:
    """A child whose log lines are kept and can be waited for."""

    started = []  # those of the running test, for the report of a failure

    def __init__(self, argv, env=None, name=None, within=None):
        self.name = name or argv[1]
        merged = {k: v for k, v in os.environ.items() if not k.startswith(("DYN_", "WEIR_"))}
        merged["DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS"] = "0"  # nobody waits for those that leave
        merged.update(env or {})
        self._lines, self._rest = [], b""
        self.more = threading.Condition()
        # `within`: a network of its own (apart.py), whose addresses the process then has.
        self.child = subprocess.Popen([*(within.enter if within else ()), *argv], env=merged, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.ended = False
        Process.started.append(self)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _written(self, wait_ms=None):
        """Whether something is there to be read, or its end; without a time it waits for that."""
        pipe = select.poll()
        pipe.register(self.child.stdout.fileno(), select.POLLIN)
        return bool(pipe.poll(wait_ms))

    def _take(self):
        """Reads what the process has written; holds self.more."""
        data = os.read(self.child.stdout.fileno(), 1 << 16)
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self.ended and self._rest:
            lines.append(self._rest)
        self._lines += [line.decode("utf-8", "replace") for line in lines]
        self.more.notify_all()

    def _read(self):
        while not self.ended:
            self._written()
            with self.more:
                if not self.ended and self._written(0):  # else who asked for the lines has taken them
                    self._take()

    @property
    def lines(self):
        """All that it has written until now, read or not: what happened before the call is in it."""
        with self.more:
            while not self.ended and self._written(0):
                self._take()
            return self._lines

    def log(self):
        return "\n".join(self.lines)

    def wait_line(self, pattern, start=0, deadline_s=None):
        """First log line from index `start` on that matches; its match object."""
        end = time.monotonic() + (deadline_s or DEADLINE_S)
        at = start
        with self.more:
            while True:
                lines = self.lines
                while at < len(lines):
                    found = re.search(pattern, lines[at])
                    if found:
                        return found
                    at += 1
                if self.ended or time.monotonic() > end:
                    raise AssertionError(f"{self.name}: no line matches {pattern!r}; its log:\n" + self.log())
                self.more.wait(0.1)

    def kill(self):
        self.child.kill()
        return self.wait()

    def signal(self, number):
        self.child.send_signal(number)

    @contextlib.contextmanager
    def frozen(self):
        """Under SIGSTOP meanwhile: from when all its threads have stopped, which is some time after kill(2)."""
        self.child.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.child.pid}/task"

        def stopped():
            states = []
            for t in os.listdir(tasks):
                with open(f"{tasks}/{t}/stat", encoding="ascii") as f:
                    states.append(f.read().rsplit(")", 1)[1].split()[0])
            return set(states) == {"T"}
        try:
            until(f"{self.name} to stop", stopped)
            yield
        finally:
            self.child.send_signal(signal.SIGCONT)

    def wait(self, deadline_s=None):
        try:
            code = self.child.wait(deadline_s or DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not exit; its log:\n" + self.log()) from None
        self.reader.join(DEADLINE_S)
        return code

    def stop(self):
        """SIGTERM, and the exit status."""
        if self.child.poll() is None:
            self.child.terminate()
        return self.wait()

    def cpu_s(self):
        with open(f"/proc/{self.child.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def events(self):
        return sse(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


def sse(body):
    """Data of each frame of a whole stream, decoded but for [DONE]; error frames included."""
    out = []
    for frame in body.decode().split("\n\n"):
        data = [line[6:] for line in frame.split("\n") if line.startswith("data: ")]
        if data:
            out.append(data[0] if data[0] == "[DONE]" else json.loads(data[0]))
    return out


class Frontend(Process):
    def __init__(self, env, *flags, tls=None, within=None):
        self.host = within.side if within else "127.0.0.1"
        super().__init__([WEIR, "frontend", "--http-host", self.host, "--http-port", "0", *flags],
                         {**env, **(within.env if within else {})}, within=within)
        self.tls = tls
        self.port = int(self.wait_line(r"serving HTTPS? on \S+ port (\d+)").group(1))
        self.url = f"{'https' if tls else 'http'}://{self.host}:{self.port}"

    def connect(self, timeout=None):
        timeout = timeout or DEADLINE_S
        if self.tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def socket(self, timeout=None):
        s = socket.create_connection((self.host, self.port), timeout or DEADLINE_S)
        return self.tls.wrap_socket(s, server_hostname=self.host) if self.tls else s

    def ask(self, method, path, body=None, headers=None):
        c = self.connect()
        head = dict(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            head.setdefault("content-type", "application/json")
        c.request(method, path, body, head)
        r = c.getresponse()
        out = Answer(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        c.close()
        return out

    def get(self, path, headers=None):
        return self.ask("GET", path, headers=headers)

    def chat(self, text="hello", headers=None, **fields):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
        body.update(fields)
        return self.ask("POST", "/v1/chat/completions", body, headers)

    def hold(self, text="hello", **fields):
        """A chat's stream that nobody reads: its socket, whose end is the client's."""
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": text}]}
        body.update(fields)
        data = json.dumps(body).encode()
        s = self.socket()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                  b"content-length: %d\r\n\r\n" % len(data) + data)
        return s

    def complete(self, prompt="hello", headers=None, **fields):
        body = {"model": "m", "prompt": prompt, "max_tokens": 8}
        body.update(fields)
        return self.ask("POST", "/v1/completions", body, headers)

    def ready(self, model="m", workers=1):
        """Once the model is, and requests may go to so many workers: /health lists them a moment before the router does."""
        def probe():
            r = self.get(f"/v1/models/{model}/ready")
            if r.status != 200 or not r.json()["ready"]:
                return False
            there = [i for i in self.get("/health").json()["instances"] if i["endpoint"] == "generate"]
            return len(there) >= workers and self.metric("dynamo_component_router_worker_registered") >= workers
        until(f"model {model} with {workers} workers", probe)
        return self

    def metrics(self):
        """{name{labels}: value} of /metrics."""
        return exposition(self.get("/metrics").body)

    def metric(self, name, **labels):
        """Sum of the series of that name whose labels include these."""
        return total(self.metrics(), name, **labels)

    def counted(self):
        """Once all requests are: a loop counts a request behind its answer, and another loop may be asked for the page first."""
        until("all requests to be counted", lambda: self.metric("dynamo_frontend_inflight_requests") == 0)
        return self


def exposition(page):
    out = {}
    for line in page.decode().splitlines():
        if line and not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            out[key] = float(value)
    return out


def total(series, name, **labels):
    want = [f'{k}="{v}"' for k, v in labels.items()]
    return sum(v for k, v in series.items()
               if k.split("{")[0] == name and all(w in k for w in want))


class Mocker(Process):
    def __init__(self, env, *flags, model="m", workers=1, within=None):
        self.host = within.side if within else "127.0.0.1"
        env = {"DYN_SYSTEM_PORT": "0", "DYN_SYSTEM_HOST": self.host, **env, **(within.env if within else {})}
        super().__init__([WEIR, "mocker", "--model-name", model, "--num-workers", str(workers), *flags], env,
                         within=within)
        self.status_port = int(self.wait_line(r"status server on \S+ port (\d+)").group(1))
        self.ids = [int(self.wait_line_n(r"worker (\d+) serves model", i).group(1))
                    for i in range(workers)]

    def wait_line_n(self, pattern, n):
        at = 0
        for _ in range(n + 1):
            found = self.wait_line(pattern, at)
            at = next(i for i in range(at, len(self.lines)) if re.search(pattern, self.lines[i])) + 1
        return found

    def page(self):
        c = http.client.HTTPConnection(self.host, self.status_port, timeout=DEADLINE_S)
        c.request("GET", "/metrics")
        page = c.getresponse().read()
        c.close()
        return page

    def metrics(self):
        return exposition(self.page())

    def metric(self, name, **labels):
        return total(self.metrics(), "weir_mocker_" + name, **labels)


def knows(front, mockers):
    """Whether the frontend's index holds every block that the workers hold; how many. (That a prompt finds its prefix is
    no proof: it may meet the right worker by chance, and asked again and again it is everywhere in the end.)"""
    held = sum(m.metric("kv_cached_blocks") for m in mockers)
    return held if front.metric("weir_router_kv_index_entries") == held else None


class Fleet:
    """A folder for discovery and the processes that meet in it."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.processes = []
        self.env = {
            "DYN_FILE_KV": os.path.join(self.folder, "discovery"), "DYN_DISCOVERY_BACKEND": "file",
            "DYN_TCP_RPC_HOST": "127.0.0.1", "DYN_TCP_RESPONSE_STREAM_HOST": "127.0.0.1",
            "DYN_EVENT_PLANE_HOST": "127.0.0.1", "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", ""),
        }

    def mocker(self, *flags, env=None, **more):
        flags = ("--speedup-ratio", "0", "--block-size", "16", *flags)
        p = Mocker({**self.env, **(env or {})}, *flags, **more)
        self.processes.append(p)
        return p

    def frontend(self, *flags, env=None, **more):
        p = Frontend({**self.env, **(env or {})}, *flags, **more)
        self.processes.append(p)
        return p

    def expired(self, mocker):
        """Its records are as old as they would be some seconds after its last sign of life, which nobody has to wait for."""
        for path, _, names in os.walk(self.env["DYN_FILE_KV"]):
            for name in names:
                if name.rsplit("%2F", 1)[-1] in [f"{i:x}" for i in mocker.ids]:
                    os.utime(os.path.join(path, name), (0, 0))

    def close(self):
        """Ends everything; a process that crashed, leaked or tripped a sanitizer fails the test."""
        bad = []
        for p in reversed(self.processes):
            killed = p.child.poll() is not None
            code = p.child.returncode if killed else p.stop()
            expected = (0, -signal.SIGKILL, 1) if killed else (0,)
            if code not in expected or re.search(r"Sanitizer|runtime error:", p.log()):
                bad.append(f"{p.name} ended with {code}; its log:\n{p.log()[-8000:]}")
        assert not bad, "\n".join(bad)


def client_tls(ca, cert=None, key=None):
    context = ssl.create_default_context(cafile=ca)
    if cert:
        context.load_cert_chain(cert, key)
    return context
