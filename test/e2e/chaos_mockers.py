"""The chaos test with `weir mocker` as workers: real processes that are killed, stopped and told to leave, and KV events."""
import asyncio
import json
import signal

from chaos import Entry
from chaos_run import GAUGES, Chaos
from weir import knows


class Mocked(Chaos):
    """With `weir mocker` as workers, which publish KV events: what the index holds is what they hold. Their text follows from
    the request too: what it is, one of them says in the calm."""

    def make(self, rng):
        i = rng.randrange(len(self.bodies))
        e = Entry(i, self.bodies[i]["max_tokens"])
        e.hows.append("mocker")
        return "/v1/completions", {**self.bodies[i], "stream": rng.random() < 0.7}, [e], 1

    def want(self, e):
        return self.calm_texts[e.x]

    async def join(self, kind=None, **card):
        m = self.fleet.mocker("--speedup-ratio", self.rng.choice(("0", "2", "20")), "--max-num-seqs", self.rng.choice(("4", "64")),
                              "--num-gpu-blocks-override", self.rng.choice(("300", "2000")))
        m.type, m.healthy, m.thaw, m.live, m.id, m.port = "aggregated", True, asyncio.Event(), 0, m.ids[0], 0
        m.thaw.set()
        m.unlist = lambda: None
        self.workers.append(m)
        self.all.append(m)
        return m

    async def serves(self):
        if not self.bodies:
            self.bodies = [{"model": "m", "prompt": f"{i % 3} " * self.rng.choice((5, 300, 1000)) + str(i), "seed": i,
                            "ignore_eos": True, "max_tokens": self.rng.choice((1, 3, 50, 200))} for i in range(20)]
        status, body = await self.get("/v1/completions", {**self.bodies[0], "max_tokens": 1})
        if status == 200 and not self.calm_texts:
            for body in self.bodies:
                status, data = await self.get("/v1/completions", body)
                assert status == 200, data
                self.calm_texts.append(json.loads(data)["choices"][0]["text"])
        return status == 200

    async def refusals(self):
        pass

    async def meddle(self, until):
        while not until.done():
            aim = self.ended + self.rng.randrange(1, 15)
            while self.ended < aim and not until.done():
                await self.stirred()
            living = [m for m in self.workers if m.thaw.is_set()]
            if until.done() or not living:
                continue
            m = self.rng.choice(living)
            what = self.rng.choice(("join", "leave", "kill", "freeze", "thaw", "thaw"))
            self.count("op " + what)
            if what == "join" and len(self.workers) < 5 or len(living) == 1:
                await self.join()
            elif what == "freeze":
                m.signal(signal.SIGSTOP)
                m.thaw.clear()
            elif what == "thaw":
                self.thaw_all()
            elif what in ("leave", "kill"):
                self.workers.remove(m)
                if what == "leave":
                    m.signal(signal.SIGTERM)
                    self.leaving.append(m)
                else:
                    m.child.kill()
                    self.killed.append(m)

    def thaw_all(self):
        for m in self.workers:
            m.signal(signal.SIGCONT)
            m.thaw.set()

    async def free(self):
        self.thaw_all()
        for m in self.killed:
            if not m.ended:
                m.wait()
            self.fleet.expired(m)
        for m in self.leaving:
            assert m.wait() == 0, m.log()[-3000:]
        _, page = await self.get("/metrics")
        busy = [line for line in page.decode().splitlines() if line.startswith(GAUGES) and float(line.rsplit(" ", 1)[1]) != 0]
        busy += [m.id for m in self.workers if m.metric("requests_running") + m.metric("requests_waiting")]
        if busy or not self.kv or knows(self.front, self.workers) is not None:
            return not busy or busy
        return [m.metric("kv_cached_blocks") for m in self.workers], self.front.metric("weir_router_kv_index_entries")

    async def round(self, seed, clients):
        self.kv = "kv" in self.flags
        await super().round(seed, clients)

    def end_workers(self):
        for m in self.workers:
            m.kill()
            self.fleet.expired(m)
