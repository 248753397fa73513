"""A frontend under chaos: what its workers and clients do, and what must hold all the same."""
import asyncio
import json
import os
import random
import re
import signal

from chaos import MARK, Client, Engine, Entry, Job, Left, Weather, Worker, answer_items, request_bytes, sse, told, translated
from weir import DEADLINE_S

GAUGES = ("dynamo_frontend_inflight_requests", "dynamo_frontend_active_requests", "dynamo_frontend_queued_requests",
          "dynamo_frontend_model_inflight")
# Waits for workers that hang are short: they are what a run waits for.
ENV = {"DYN_TCP_REQUEST_TIMEOUT": "3", "DYN_TCP_CONNECT_TIMEOUT": "3", "WEIR_WORKER_BEGIN_TIMEOUT_SECS": "2",
       "DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS": "4", "WEIR_WORKER_LEFT_TIMEOUT_SECS": "2",
       "DYN_RUNTIME_INHIBITED_DURATION_SECS": "0.05", "DYN_TCP_HOST_IDLE_TTL_SECS": "1", "WEIR_ENGINE_POLL_SECS": "0.05",
       "WEIR_ENGINE_ANSWER_TIMEOUT_SECS": "1", "WEIR_HTTP_IDLE_TIMEOUT_MS": "60000",
       "DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS": "30"}


class Chaos:
    """One frontend, its workers and its clients."""

    def __init__(self, fleet, rng, split=False, engines=False):
        self.bodies, self.calm_texts = [], []
        self.fleet, self.rng, self.split, self.engines = fleet, rng, split, engines
        self.store = fleet.env["DYN_FILE_KV"]
        self.workers, self.entries, self.errors = [], {}, []
        self.change = asyncio.Event()
        self.n = self.ended = 0
        self.tally = {}
        self.weather = Weather(rng, 0, ["cut"])

    # ---- what the workers ask -------------------------------------------------------------------

    def broken(self, e):
        self.errors.append(e)
        self.stir()

    def stir(self):
        self.change.set()

    async def stirred(self):
        self.change.clear()
        await self.change.wait()

    async def some_progress(self):
        """Until other requests have ended, or all others wait so."""
        aim = self.ended + self.rng.randrange(1, 10)
        self.pausing += 1
        self.stir()
        try:
            while self.ended < aim and self.others > self.pausing:
                await self.stirred()
        finally:
            self.pausing -= 1

    def delivered(self, worker, request):
        """A request is at a worker: what it does with it."""
        ids = request["token_ids"]
        text = bytes(i for i in ids if i < 256)
        marks = MARK.findall(text)
        assert marks, text[:300]
        x, n = map(int, marks[-1])
        entry = self.entries[x]
        assert n == entry.n
        rng = random.Random(x * 1000 + len(entry.hows))
        how = self.weather.draw(rng)
        entry.hows.append((worker.id, how))
        self.tally[how] = self.tally.get(how, 0) + 1
        if how not in ("overloaded", "no such path", "closes unacked"):
            entry.taken += worker.type != "prefill"
            # One for each migration, one that the worker may not have said that it has, one over a connection that was stale.
            assert entry.taken <= self.migration + 3 and len(entry.hows) < 40, (self.flags, entry.hows)
        if worker.type == "prefill":
            assert request["stop_conditions"]["max_tokens"] == 1
            return how, Job(rng, [{"token_ids": [65], "finish_reason": "length", "disaggregated_params": {"x": x}}])
        left = request["stop_conditions"]["max_tokens"]
        done = n - left
        answer = told(x, n).encode()
        assert 0 <= done < max(n, 1), (done, n)
        assert text.endswith(answer[:done]), (text[-300:], answer[:done])
        if self.migration == 0:
            assert done == 0
        result = request.get("prefill_result")
        if result is not None:
            assert result["disaggregated_params"] == {"x": x}, result
        n_choices = (request.get("sampling_options") or {}).get("n") or 1
        return how, Job(rng, answer_items(rng, answer[done:], n_choices))

    def asked(self, engine, path, request):
        """The same of an HTTP engine."""
        n = request.get("max_tokens") or request["max_completion_tokens"]
        prompts = request["prompt"] if "prompt" in request else request["messages"][-1]["content"]
        if isinstance(prompts, list) and prompts and isinstance(prompts[0], dict):
            prompts = "".join(p["text"] for p in prompts)
        xs = [int(MARK.findall(p.encode())[-1][0]) for p in ([prompts] if isinstance(prompts, str) else prompts)]
        rng = random.Random(xs[0] * 1000 + len(self.entries[xs[0]].hows))
        how = self.weather.draw(rng)
        self.tally[how] = self.tally.get(how, 0) + 1
        for x in xs:
            assert self.entries[x].n == n
            self.entries[x].hows.append((engine.id, how))
        return how, rng, [told(x, n) for x in xs for _ in range(request.get("n") or 1)], n

    # ---- requests -------------------------------------------------------------------------------

    def entry(self, n):
        self.n += 1
        self.entries[self.n] = Entry(self.n, n)
        return self.entries[self.n]

    def prompt(self, rng, e, huge):
        """Some share beginnings."""
        filler = "x" * rng.choice((0, 10, 100, 1000, 1000000 if huge else 3000)) if rng.random() < 0.6 else ""
        return f"{filler}#{e.x}/{e.n}#"

    def make(self, rng):
        """(path, body, entries): one request of a random kind."""
        huge = rng.random() < 0.03
        n = rng.choice((1, 2, 5, 20, 100, 100, 400, 400, 1000))
        stream = rng.random() < 0.7
        n_choices = 1
        if rng.random() < 0.5:
            es = [self.entry(n) for _ in range(rng.choice((1, 1, 2, 3)))]
            prompts = [self.prompt(rng, e, huge) for e in es]
            body = {"model": "m", "prompt": prompts if len(es) > 1 else prompts[0]}
            path = "/v1/completions"
        elif rng.random() < 0.3:
            es = [self.entry(n)]
            path = rng.choice(("/v1/messages", "/v1/responses"))
            if path == "/v1/messages":
                return path, {"model": "m", "max_tokens": n, "stream": stream,
                              "messages": [{"role": "user", "content": self.prompt(rng, es[0], huge)}]}, es, 1
            return path, {"model": "m", "max_output_tokens": n, "stream": stream, "input": self.prompt(rng, es[0], huge)}, es, 1
        else:
            es = [self.entry(n)]
            n_choices = rng.choice((1, 1, 1, 2, 3))
            body = {"model": "m", "messages": [{"role": "user", "content": self.prompt(rng, es[0], huge)}]}
            path = "/v1/chat/completions"
        body.update({"max_tokens": n, "stream": stream, "ignore_eos": True})
        if n_choices > 1:
            body["n"] = n_choices
        if stream and rng.random() < 0.5:
            body["stream_options"] = {"include_usage": True}
        return path, body, es, n_choices

    def want(self, e):
        return told(e.x, e.n)

    def check(self, path, body, es, n_choices, status, head, data):
        """What any answer must be."""
        want = [self.want(e) for e in es for _ in range(n_choices)]
        texts, finishes = [""] * len(want), [[] for _ in want]
        what = (path, body.get("stream"), status, [e.hows for e in es])
        if status != 200:
            gone = status == 404 and b"Model" in data and b"not found" in data and not es[0].hows
            assert status in (400, 413, 429, 500, 502, 503, 504, 529) or gone, (what, data[:300])
            assert json.loads(data), what
            self.count(f"status {status}")
            self.lacking = self.lacking or not es[0].hows and status in (404, 503)
            if status == 400:
                assert any(how in ("refuses", "refuses 400") for e in es for _, how in e.hows), what
            return
        errors = []
        if path in ("/v1/messages", "/v1/responses"):
            texts, finishes, errors = translated(path, body, data, what)
        elif body["stream"]:
            assert head["content-type"].startswith("text/event-stream"), head
            events = sse(data)
            assert events and events[-1] == "[DONE]" and events.count("[DONE]") == 1, (what, events[-2:])
            events.pop()
            errors = [e for e in events if "error" in e]
            assert len(errors) <= 1 and (not errors or "error" in events[-1]), (what, events[-3:])
            for e in events:
                for c in e.get("choices", ()):
                    piece = c["text"] if "text" in c else c["delta"].get("content")
                    texts[c["index"]] += piece or ""
                    if c.get("finish_reason"):
                        finishes[c["index"]].append(c["finish_reason"])
        else:
            for c in json.loads(data)["choices"]:
                texts[c["index"]] += c["text"] if "text" in c else c["message"]["content"]
                finishes[c["index"]].append(c["finish_reason"])
        for text, w, fin in zip(texts, want, finishes):
            assert len(fin) <= 1, (what, fin)
            assert w.startswith(text), (what, text, w)
            if fin:
                assert fin == ["length"] and text == w, (what, fin, text, w)
            elif not errors:
                raise AssertionError((what, "no finish and no error", text, data[-500:]))
        self.count("error event" if errors else "ok")

    def count(self, what):
        self.tally["client " + what] = self.tally.get("client " + what, 0) + 1

    async def client(self, gate, seed):
        rng = random.Random(seed)
        async with gate:
            self.others += 1
            try:
                await asyncio.wait_for(self.visit(rng), 2 * DEADLINE_S)
                await self.recover()
            except asyncio.TimeoutError:
                self.broken(AssertionError(f"a client hangs: {seed}"))
            except Exception as e:  # the round tells it
                self.broken(e)
            finally:
                self.others -= 1
                self.ended += 1
                self.stir()

    async def recover(self):
        """Where nobody could be asked, the next clients come when somebody can, mostly."""
        async with self.lock:
            for _ in range(100):
                if not self.lacking or self.going:
                    break
                status, body = await self.get("/v1/models/m/ready")
                self.lacking = status != 200 or not json.loads(body)["ready"]
                await asyncio.sleep(0.02)
            self.lacking = False

    async def visit(self, rng):
        c = Client(self, rng)
        try:
            await c.open()
        except OSError:
            if self.going:
                return
            raise
        kind = rng.choice(("whole", "whole", "whole", "leaves", "leaves", "leaves early", "slow", "pipelined", "half-closed", "bad",
                           "pages"))
        self.count("kind " + kind)
        try:
            await getattr(self, kind.replace(" ", "_").replace("-", "_"))(c, rng)
        except Left:
            pass
        except (OSError, asyncio.IncompleteReadError) as e:
            if not self.going:
                raise AssertionError(f"{kind}: the connection broke: {e!r}") from e
        finally:
            c.close()

    async def one(self, c, rng, made=None):
        path, body, es, n_choices = made or self.make(rng)
        if made is None:
            c.writer.write(request_bytes(rng, path, body))
        try:
            status, head, data = await c.answer()
        except (OSError, asyncio.IncompleteReadError) as e:
            if self.going:
                raise
            what = (path, body.get("stream"), [e.hows for e in es])
            raise AssertionError(f"{what}: the connection broke behind {c.got} bytes: {e!r}") from e
        self.check(path, body, es, n_choices, status, head, data)
        c.closing = head.get("connection") == "close"

    async def whole(self, c, rng):
        for _ in range(rng.choice((1, 1, 1, 3))):
            await self.one(c, rng)
            if c.closing:
                return

    async def slow(self, c, rng):
        c.slow = True
        await self.one(c, rng)

    async def leaves(self, c, rng):
        c.leaves_at = rng.choice((1, 200, rng.randrange(1, 10000), rng.randrange(1, 300000)))
        await self.one(c, rng)

    async def leaves_early(self, c, rng):
        path, body, es, n_choices = self.make(rng)
        data = request_bytes(rng, path, body)
        c.writer.write(data[:rng.choice((len(data), rng.randrange(len(data) + 1)))])
        await c.writer.drain()
        if rng.random() < 0.5:
            await self.some_progress()

    async def pipelined(self, c, rng):
        made = [self.make(rng) for _ in range(rng.randrange(2, 5))]
        c.writer.write(b"".join(request_bytes(rng, path, body) for path, body, _, _ in made))
        for m in made:
            await self.one(c, rng, m)
            if c.closing:
                return

    async def half_closed(self, c, rng):
        """Whoever closes its half may be one that has gone: it gets its answer, or none."""
        path, body, es, n_choices = self.make(rng)
        try:
            c.writer.write(request_bytes(rng, path, body))
            await c.writer.drain()
            c.writer.write_eof()
            status, head, data = await c.answer()
        except (OSError, asyncio.IncompleteReadError):
            return
        self.check(path, body, es, n_choices, status, head, data)

    async def bad(self, c, rng):
        which = rng.choice((0, 1, 4) if self.engines else range(5))
        path, body, es, n_choices = self.make(rng)
        if which == 0:
            data, want = b'{"model":"m","messages":[}', (400,)
        elif which == 1:
            data, want = json.dumps({**body, "model": "other"}).encode(), (404,)
        elif which == 2:
            data, want = json.dumps({**body, "max_tokens": -1}).encode(), (400,)
        elif which == 3:
            data, want = json.dumps({**body, "stream": "yes"}).encode(), (400,)
        else:
            c.writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\nhost: a\r\n\r\n12345")
            status, head, data = await c.answer()
            assert status == 400, (status, data)
            return
        c.writer.write(request_bytes(rng, path, data))
        status, head, data = await c.answer()
        assert status in want or status in (404, 503), (which, status, data)  # nobody may serve the model just now

    async def pages(self, c, rng):
        path = rng.choice(("/metrics", "/health", "/v1/models", "/v1/router/queue", "/live", "/nothing"))
        c.writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        status, head, data = await c.answer()
        assert status in (200, 404, 503), (path, status)

    # ---- workers --------------------------------------------------------------------------------

    async def join(self, kind=None, **card):
        if self.engines:
            self.last_id = getattr(self, "last_id", 0) + 1
            w = await Engine(self, self.last_id).start()
            self.workers.append(w)
            self.all.append(w)
            self.list_engines()
            return w
        kind = kind or (self.rng.choice(("prefill", "decode")) if self.split else "aggregated")
        self.last_id = getattr(self, "last_id", 0x50) + 1
        if kind == "prefill" and self.rng.random() < 0.4:  # it meets the decode worker, which gets its request at once
            card["runtime_config"] = {"total_kv_blocks": 4096, "max_num_seqs": 64, "max_num_batched_tokens": 8192,
                                      "disaggregated_endpoint": {"bootstrap_host": "127.0.0.1", "bootstrap_port": 9}}
        w = await Worker(self, self.last_id, "prefill" if kind == "prefill" else "backend", kind, **card).start()
        self.workers.append(w)
        self.all.append(w)
        return w

    def list_engines(self):
        with open(self.list + ".new", "w", encoding="utf-8") as f:
            f.write("".join(f'[[worker]]\nurl = "{w.url}"\n' for w in self.workers))
        os.rename(self.list + ".new", self.list)

    async def leave(self, w):
        w.unlist()
        self.workers.remove(w)
        if self.engines:
            self.list_engines()
        w.thaw.set()
        self.leaving.append(w)

    async def meddle(self, until):
        """Something happens to the workers each time some clients have ended."""
        while not until.done():
            aim = self.ended + self.rng.randrange(1, 10)
            while self.ended < aim and not until.done():
                await self.stirred()
            if until.done():
                return
            w = self.rng.choice(self.workers) if self.workers else None
            if self.engines:
                if await self.meddle_engines(w):
                    continue
            what = self.rng.choice(("join", "leave", "kill", "freeze", "thaw", "thaw", "hang up", "card", "again", "weather"))
            self.count("op " + what)
            if what == "join" or w is None:
                if len(self.workers) < 8:
                    await self.join()
            elif what == "leave":
                await self.leave(w)
            elif what == "kill":
                w.kill()
                self.workers.remove(w)
                self.killed.append(w)
                if self.engines and self.rng.random() < 0.5:
                    self.list_engines()
            elif what == "freeze":
                w.thaw.clear()
            elif what == "thaw":
                w.thaw.set()
            elif what == "hang up":
                w.hang_up()
            elif self.engines and what in ("card", "again"):
                self.list_engines()
            elif what == "card":
                w.say(runtime_config={"total_kv_blocks": self.rng.choice((64, 1024, 4096)), "max_num_seqs": 8})
            elif what == "again":
                w.publish("instances")
            elif what == "weather":
                self.weather = self.some_weather((0, 0.02, 0.1, 0.5))
            if what in ("kill", "leave") and (self.rng.random() < 0.5 or not any(o.type == w.type for o in self.workers)):
                await self.join(w.type)

    async def meddle_engines(self, w):
        what = self.rng.choice(("restart", "sick", "garbage list", "usual", "usual"))
        others = [o for o in self.workers if o is not w and o.healthy and o.thaw.is_set()]
        if w is None or what == "usual" or not others:
            return False
        self.count("op " + what)
        if what == "restart":
            w.kill()
            await w.start()
        elif what == "sick":
            w.healthy = not w.healthy
        else:
            with open(self.list, "w", encoding="utf-8") as f:
                f.write("[[worker]]\nurl = 3\n")
            self.list_engines()
        return True

    def calm(self):
        self.weather = Weather(self.rng, 0)

    def some_weather(self, shares):
        kinds = self.rng.sample(Engine.KINDS, self.rng.randrange(1, 6)) if self.engines else None
        return Weather(self.rng, self.rng.choice(shares), kinds)

    # ---- rounds ---------------------------------------------------------------------------------

    async def ready(self):
        need = ("engine",) if self.engines else ("prefill", "decode") if self.split else ("aggregated",)
        for w in self.workers:
            w.healthy = True
        for kind in need:
            while sum(w.type == kind for w in self.workers) < 2:
                await self.join(kind)
        await self.asks("the model to be served", self.serves)

    async def get(self, path, body=None):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        if body is None:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        else:
            writer.write(request_bytes(random.Random(1), path, body, close=True))
        data = await reader.read()
        writer.close()
        head, body = data.split(b"\r\n\r\n", 1)
        return int(head.split()[1]), body

    async def serves(self):
        e = self.entry(5)
        status, body = await self.get("/v1/completions", {"model": "m", "prompt": f"#{e.x}/5#", "max_tokens": 5})
        return status == 200

    async def asks(self, what, probe):
        end = asyncio.get_running_loop().time() + 2 * DEADLINE_S
        said = None
        while True:
            said = await probe()
            if said is True:
                return
            assert asyncio.get_running_loop().time() < end, f"gave up waiting for {what}: {said}"
            assert not self.errors, self.errors[0]
            await asyncio.sleep(0.02)

    async def free(self):
        _, page = await self.get("/metrics")
        busy = [line for line in page.decode().splitlines() if line.startswith(GAUGES) and float(line.rsplit(" ", 1)[1]) != 0]
        live = [(f"{w.id:x}", w.live) for w in self.workers + self.leaving if w.live]
        return True if not busy and not live else (busy, live)

    def fds(self):
        out = []
        for fd in os.listdir(f"/proc/{self.front.child.pid}/fd"):
            try:
                out.append(os.readlink(f"/proc/{self.front.child.pid}/fd/{fd}"))  # /dev/null: spares of listeners, one each
            except FileNotFoundError:
                pass
        return [o for o in out if o != "/dev/null"]

    async def fds_back(self):
        now = self.fds()
        if len(now) <= self.baseline:
            return True
        with open("/proc/net/tcp", encoding="ascii") as f:
            rows = {r.split()[9]: r.split()[1:5] for r in f.readlines()[1:]}
        ports = {f"{w.port:04X}": f"worker {w.id:x}" for w in self.all}
        return len(now), self.baseline, [(rows.get(o[8:-1]), ports.get((rows.get(o[8:-1]) or ["", ":"])[1].split(":")[1]))
                                         for o in now if o.startswith("socket")], f"our port {self.port:04X}"

    def rss_mb(self):
        with open(f"/proc/{self.front.child.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) >> 10

    async def refusals(self):
        """What a worker refuses of a request says nothing against the worker."""
        self.weather = Weather(self.rng, 1, ["refuses 400", "429"] if self.engines else ["refuses"])
        for _ in range(10):
            e = self.entry(5)
            status, body = await self.get("/v1/completions", {"model": "m", "prompt": f"#{e.x}/5#", "max_tokens": 5})
            assert status in (400, 429), (status, body)

    async def round(self, seed, clients):
        self.calm()
        await self.ready()
        await self.refusals()
        self.weather = self.some_weather((0, 0.02, 0.1, 0.3))
        gate = asyncio.Semaphore(self.rng.choice((5, 30, 100)))
        crowd = asyncio.gather(*(self.client(gate, seed * 100000 + i) for i in range(clients)))
        crowd.add_done_callback(lambda _: self.stir())
        meddling = asyncio.ensure_future(self.meddle(crowd))
        while not crowd.done() and not self.errors:
            await self.stirred()
        if self.errors:
            crowd.cancel()
            raise self.errors[0]
        await meddling
        for w in self.workers:
            w.thaw.set()
        await self.asks("all gauges at zero and all legs at their ends", self.free)
        self.end_workers()
        self.workers, self.killed, self.leaving = [], [], []
        if self.engines:
            self.list_engines()
        await self.asks("the descriptors to be given back", self.fds_back)
        assert self.front.child.poll() is None, "the frontend died"

    def end_workers(self):
        for w in self.workers + self.killed + self.leaving:
            w.unlist()
        for w in self.workers + self.leaving:
            w.kill()

    async def run(self, seed, rounds, clients):
        self.pausing, self.all, self.lacking, self.lock = 0, [], False, asyncio.Lock()
        self.others, self.going, self.killed, self.leaving = 0, False, [], []
        rng = self.rng
        self.migration = rng.choice((0, 1, 3))
        flags = ["--router-mode", rng.choice(("kv", "kv", "kv", "round-robin", "least-loaded", "random")),
                 "--migration-limit", str(self.migration), "--enable-anthropic-api",
                 "--loops", str(rng.choice((1, 2, 3)))]
        if rng.random() < 0.4:
            flags += ["--router-queue-threshold", rng.choice(("0", "2"))]
        if self.split and rng.random() < 0.5:
            flags += ["--enforce-disagg"]
        self.flags = flags
        if self.engines:
            self.list = os.path.join(self.fleet.folder, "workers.toml")
            self.list_engines()
            flags += ["--workers-file", self.list, "--tokenizer", "bytes", "--parity-check", "off"]
        if rng.random() < 0.3:
            flags += ["--active-decode-blocks-threshold", "0.5"]
        env = dict(ENV)
        if rng.random() < 0.4:
            env["DYN_HTTP_SSE_KEEP_ALIVE_INTERVAL_MS"] = "20"
        self.front = self.fleet.frontend(*flags, env=env)
        self.port = self.front.port
        self.baseline = len(self.fds())
        for r in range(rounds):
            await self.round(seed + r, clients)
            print(f"round {r}: {self.front.name} {' '.join(flags)}: {self.rss_mb()} MB, {self.tally}")
            self.tally = {}
        await self.drain(seed)

    async def drain(self, seed):
        """SIGTERM while streams run: they end, and the process with them."""
        await self.ready()
        gate = asyncio.Semaphore(50)
        crowd = asyncio.gather(*(self.client(gate, seed + 777 + i) for i in range(100)))
        crowd.add_done_callback(lambda _: self.stir())
        await self.some_progress()
        self.going = True
        self.front.signal(signal.SIGTERM)
        await crowd
        if self.errors:
            raise self.errors[0]
        self.end_workers()
