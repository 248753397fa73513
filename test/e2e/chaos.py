"""Workers and clients of the chaos test: one asyncio loop, every answer's text follows from its request.

The text of request X is known to both sides (`told`), so a token that is lost, doubled or comes from another request
always shows. What happens to a delivery is drawn from a generator seeded by the request and the number of the delivery.
Wire of the request plane: shared spec "transport" 1.3, 2.2, 2.4, 2.5, 3.3; JSON.
"""
import asyncio
import json
import os
import random
import re
import struct
from urllib.parse import quote

MARK = re.compile(rb"#(\d+)/(\d+)#")
REFUSALS = {"overloaded": b"Server overloaded: try elsewhere", "no such path": b"Unknown endpoint: x"}


def told(x, n):
    """The n tokens (characters) of request x's answer."""
    out = ""
    i = 0
    while len(out) < n:
        out += f"<{x}.{i}>"
        i += 1
    return out[:n]


def two_part(header=b"", body=b""):
    return struct.pack(">QQQ", len(header), len(body), 0) + header + body


class Weather:
    """What goes wrong, and how often: shares of the deliveries to a worker."""

    ENDS = ("overloaded", "no such path", "closes unacked", "never calls", "hangs up", "breaks off", "error prologue",
            "bad prologue", "cut", "malformed", "error item", "stalls", "no complete_final", "late data", "refuses", "huge frame",
            "no finish", "broken json")

    def __init__(self, rng, share, kinds=None):
        self.share = share
        self.kinds = kinds or rng.sample(self.ENDS, rng.randrange(1, 6))

    def draw(self, rng):
        return rng.choice(self.kinds) if rng.random() < self.share else "well"


class Mortal:
    def kill(self):
        """As kill -9 does it: connections reset or end, nobody listens; a worker's records stay until they are taken for stale."""
        self.dead = True
        self.thaw.set()
        self.server.close()
        for w in list(self.conns):
            w.transport.abort() if self.chaos.rng.random() < 0.5 else w.close()
        for t in list(self.tasks):
            t.cancel()


class Worker(Mortal):
    """A worker on the request plane. Everything it does stops while it is `frozen`, and ends with kill()."""

    def __init__(self, chaos, number, component="backend", worker_type="aggregated", **card):
        self.chaos, self.id, self.component, self.type = chaos, number, component, worker_type
        self.path = f"{number:x}/dynamo/{component}/generate"
        self.card = card
        self.server, self.files, self.conns, self.tasks = None, [], set(), set()
        self.thaw = asyncio.Event()
        self.thaw.set()
        self.live = 0  # deliveries whose stream the frontend has not ended
        self.dead = False

    async def start(self):
        self.server = await asyncio.start_server(self._conn, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        place = {"namespace": "dynamo", "component": self.component, "endpoint": "generate", "instance_id": self.id}
        card = {"display_name": "m", "slug": "m", "kv_cache_block_size": 16, "migration_limit": 0,
                "model_type": "" if self.type == "prefill" else "Chat | Completions", "model_input": "Tokens",
                "worker_type": self.type, "needs": [], "tokenizer": {"weir_builtin": "bytes"},
                "context_length": 4000000,
                "runtime_config": {"total_kv_blocks": 4096, "max_num_seqs": 64, "max_num_batched_tokens": 8192}, **self.card}
        self.records = {"mdc": {"type": "Model", **place, "card_json": card},
                        "instances": {"type": "Endpoint", **place, "request_plane_codec": "json",
                                      "transport": {"tcp": f"127.0.0.1:{self.port}/{self.path}"}}}
        for bucket in self.records:
            self.publish(bucket)
        self._task(self._touch())
        return self

    def publish(self, bucket):
        folder = os.path.join(self.chaos.store, "v1", bucket)
        os.makedirs(folder, exist_ok=True)
        name = quote(f"dynamo/{self.component}/generate/{self.id:x}", safe="")
        path, draft = os.path.join(folder, name), os.path.join(folder, f".tmp_{self.id:016x}")
        with open(draft, "w", encoding="utf-8") as f:
            json.dump(self.records[bucket], f)
        os.rename(draft, path)
        if path not in self.files:
            self.files.append(path)

    def say(self, **card):
        """These members of its card are others from now on."""
        self.records["mdc"]["card_json"].update(card)
        self.publish("mdc")

    def unlist(self):
        for path in self.files:
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
        self.files = []

    def hang_up(self):
        """Closes what requests come on."""
        for w in list(self.conns):
            if getattr(w, "is_request", False):
                w.close()

    async def drained(self):
        while self.live:
            await self.chaos.stirred()

    def _task(self, coro):
        t = asyncio.ensure_future(coro)
        self.tasks.add(t)
        t.add_done_callback(self._over)
        return t

    def _over(self, t):
        self.tasks.discard(t)
        if not t.cancelled() and t.exception() is not None:
            self.chaos.broken(t.exception())

    async def _touch(self):
        while True:
            await asyncio.sleep(2)
            await self.thaw.wait()
            for f in self.files:
                try:
                    os.utime(f)
                except FileNotFoundError:
                    pass

    async def _conn(self, reader, writer):
        writer.is_request = True
        self.conns.add(writer)
        self.tasks.add(asyncio.current_task())
        try:
            while True:
                await self.thaw.wait()
                await reader.readexactly(struct.unpack(">H", await reader.readexactly(2))[0])
                await reader.readexactly(struct.unpack(">H", await reader.readexactly(2))[0])
                payload = await reader.readexactly(struct.unpack(">I", await reader.readexactly(4))[0])
                n_head, n_body, _ = struct.unpack(">QQQ", payload[:24])
                control = json.loads(payload[24:24 + n_head])
                request = json.loads(payload[24 + n_head:24 + n_head + n_body])
                await self.thaw.wait()
                how, job = self.chaos.delivered(self, request)
                if how == "closes unacked":
                    return
                refusal = REFUSALS.get(how, b"")
                writer.write(struct.pack(">I", len(refusal)) + refusal)
                await writer.drain()
                if not refusal:
                    self._task(self._answer(control, request, how, job))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as e:  # the test looks at it
            self.chaos.broken(e)
        finally:
            self.conns.discard(writer)
            self.tasks.discard(asyncio.current_task())
            writer.close()

    async def _answer(self, control, request, how, job):
        if how == "never calls":
            return
        info = json.loads(control["connection_info"]["info"])
        host, port = info["address"].rsplit(":", 1)
        self.live += 1
        writer = None
        try:
            await self.thaw.wait()
            reader, writer = await asyncio.open_connection(host, int(port))
            self.conns.add(writer)
            await self._stream(reader, writer, info["subject"], how, job)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.live -= 1
            self.chaos.stir()
            if writer is not None:
                self.conns.discard(writer)
                writer.close()

    async def _stream(self, reader, writer, subject, how, job):
        rng = job.rng
        parts = [two_part(json.dumps({"subject": subject, "stream_type": "response"}).encode())]
        shake = parts[0]

        async def send(data):
            """In one piece or several."""
            await self.thaw.wait()
            if rng.random() < 0.15 and len(data) > 1:
                at = rng.randrange(1, len(data))
                writer.write(data[:at])
                await writer.drain()
                await asyncio.sleep(0)
                data = data[at:]
            writer.write(data)
            await writer.drain()
            if rng.random() < job.turns:
                await asyncio.sleep(0)

        if how == "breaks off":
            return await send(shake[:rng.randrange(len(shake))])
        await send(shake)
        if how == "hangs up":
            return
        if how == "error prologue":
            await send(two_part(b'{"error":"it does not like this"}'))
            return await reader.read()
        if how == "bad prologue":
            return await send(two_part(rng.choice([b'{"error"', b"7", b'"sentinel"', b'{"x":1}']), b""))
        await send(two_part(b'{"error":null}'))
        if how == "refuses":
            await send(two_part(body=json.dumps({"data": {"event": "error", "comment": ["no"], "error": {
                "error_type": "InvalidArgument", "message": "that is too much"}}, "complete_final": False}).encode()))
            return await reader.read()
        cut = rng.randrange(len(job.items) + 1)
        for i, item in enumerate(job.items):
            if how in ("cut", "malformed", "error item", "stalls", "huge frame", "broken json") and i == cut:
                break
            data = dict(item)
            if how == "no finish":
                data.pop("finish_reason", None)
            await send(two_part(body=json.dumps({"data": {"data": data}, "complete_final": False}).encode()))
        if how in ("cut", "no complete_final"):
            if rng.random() < 0.5 and writer.transport is not None:
                writer.transport.abort()
            return
        if how == "malformed":
            return await send(rng.choice([two_part(b'"what"'), struct.pack(">QQQ", 1 << 60, 5, 0), two_part(b"x", b"y"),
                                          two_part(body=b'{"complete_final":false'), two_part(body=b"[]"),
                                          bytes(24) * 3 + b"\xff" * 30]))
        if how == "huge frame":
            return await send(struct.pack(">QQQ", 0, 1 << 31, 0) + b"x" * 100)
        if how == "broken json":
            return await send(two_part(body=b'{"data":{"data":{"token_ids":[65,}},"complete_final":false}'))
        if how == "error item":
            kind = rng.choice(["Unknown", "ResourceExhausted", "Disconnected", {"Backend": "EngineShutdown"}, "CannotConnect"])
            await send(two_part(body=json.dumps({"data": {"event": "error", "error": {"error_type": kind, "message": "oh"}},
                                                 "complete_final": False}).encode()))
            return await reader.read()
        if how == "stalls":
            return await reader.read()
        await send(two_part(body=b'{"complete_final":true}'))
        if how == "late data":
            await send(two_part(body=json.dumps({"data": {"data": {"token_ids": [65]}}, "complete_final": False}).encode()))
        await send(two_part(b'"sentinel"'))
        await reader.read()


class Job:
    """One delivery: the items that answer it."""

    def __init__(self, rng, items):
        self.rng, self.items = rng, items
        self.turns = rng.choice((0, 0.05, 0.5, 1))  # how often others have a turn behind an item


class Entry:
    """What is known of a request: its number, its tokens, what became of its deliveries."""

    def __init__(self, x, n):
        self.x, self.n, self.hows, self.taken = x, n, [], 0


def answer_items(rng, tokens, n_choices):
    """Items that say these tokens, one or several in each; of several choices in turn."""
    at, items, usual = [0] * n_choices, [], rng.random() < 0.7
    apart = rng.random() < 0.3
    while True:
        open_ = [i for i in range(n_choices) if at[i] < len(tokens)]
        if not open_:
            break
        i = rng.choice(open_)
        k = 1 if usual else rng.choice((1, 1, 2, 5, 40))
        ids = list(tokens[at[i]:at[i] + k])
        at[i] += len(ids)
        item = {"token_ids": ids}
        if n_choices > 1:
            item["index"] = i
        if at[i] == len(tokens):
            if apart:
                items.append(item)
                item = {**item, "token_ids": []}
            item["finish_reason"] = "length"
        items.append(item)
    if not tokens:
        items = [{"token_ids": [], "finish_reason": "length"}]
    return items


class Engine(Mortal):
    """An OpenAI-compatible HTTP engine; ends with kill() and may come back at its port."""

    KINDS = ("503", "429", "500", "closes", "cut head", "cut", "no done", "half a frame", "bad chunk", "stalls", "silent",
             "close framed", "refuses 400")
    type = "engine"

    def __init__(self, chaos, number):
        self.chaos, self.id, self.port = chaos, number, 0
        self.conns, self.tasks, self.live, self.dead = set(), set(), 0, False
        self.healthy = True
        self.thaw = asyncio.Event()
        self.thaw.set()

    async def start(self):
        self.server = await asyncio.start_server(self._conn, "127.0.0.1", self.port, reuse_address=True)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.dead = False
        return self

    def hang_up(self):
        for w in list(self.conns):
            w.close()

    def unlist(self):
        pass

    async def _conn(self, reader, writer):
        self.conns.add(writer)
        self.tasks.add(asyncio.current_task())
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass
        except Exception as e:  # the test looks at it
            self.chaos.broken(e)
        finally:
            self.conns.discard(writer)
            self.tasks.discard(asyncio.current_task())
            writer.close()

    async def _request(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)", head)
        body = await reader.readexactly(int(length.group(1))) if length else b""
        await self.thaw.wait()
        path = head.split()[1]

        async def whole(status, data, kind="application/json"):
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
            await writer.drain()
            return True
        if path == "/health":
            return await whole(200 if self.healthy else 503, b"")
        if path == "/v1/models":
            return await whole(200, b'{"object":"list","data":[{"id":"m","parent":null}]}')
        if not path.endswith("completions"):
            return await whole(404, b'{"detail":"Not Found"}')
        request = json.loads(body)
        how, rng, answers, n = self.chaos.asked(self, path, request)
        self.live += 1
        gone = asyncio.ensure_future(reader.read(1)) if how in ("stalls", "silent") else None
        try:
            return await self._answer(writer, path, request, how, rng, answers, whole, gone)
        finally:
            self.live -= 1
            self.chaos.stir()

    async def _answer(self, writer, path, request, how, rng, answers, whole, gone):
        chat = "chat" in path
        if how == "503":
            return await whole(503, b'{"error":{"message":"it sleeps"}}')
        if how == "429":
            return await whole(429, b'{"error":{"message":"slow down"}}')
        if how == "500":
            return await whole(500, b'{"error":{"message":"oh"}}')
        if how == "refuses 400":
            return await whole(400, b'{"error":{"message":"no","type":"BadRequestError","code":400}}')
        if how == "closes":
            return False
        if how == "cut head":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-ty")
            return False
        if how == "silent":
            await gone
            return False
        if not request.get("stream"):
            said = [{"message": {"role": "assistant", "content": a}} if chat else {"text": a} for a in answers]
            choices = [{"index": i, "finish_reason": "length", **a} for i, a in enumerate(said)]
            usage = {"prompt_tokens": 3, "completion_tokens": 4}
            data = json.dumps({"id": "x", "object": "y", "choices": choices, "usage": usage}).encode()
            if how in ("cut", "no done", "half a frame", "bad chunk", "stalls"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data)
                             + data[:rng.randrange(len(data))])
                await writer.drain()
                if how == "stalls":
                    await gone
                return False
            if how == "close framed":
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n" + data)
                return False
            return await whole(200, data)
        framed = how == "close framed"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                     + (b"connection: close\r\n\r\n" if framed else b"transfer-encoding: chunked\r\n\r\n"))

        async def send(data):
            writer.write(data if framed else b"%x\r\n%s\r\n" % (len(data), data))
            await self.thaw.wait()
            await writer.drain()
            if rng.random() < 0.2:
                await asyncio.sleep(0)
        frames = []
        at = [0] * len(answers)
        while open_ := [i for i in range(len(answers)) if at[i] < len(answers[i])]:
            i = rng.choice(open_)
            piece = answers[i][at[i]:at[i] + rng.choice((1, 1, 3, 20))]
            at[i] += len(piece)
            choice = {"index": i, "finish_reason": "length" if at[i] == len(answers[i]) else None}
            choice.update({"delta": {"content": piece}} if chat else {"text": piece})
            frames.append(b"data: " + json.dumps({"id": "x", "object": "y", "choices": [choice]}).encode() + b"\n\n")
        cut = rng.randrange(len(frames) + 1) if how in ("cut", "half a frame", "bad chunk", "stalls") else len(frames)
        data = b"".join(frames[:cut])
        if rng.random() < 0.5:
            while data:  # cut anywhere
                k = rng.choice((1, 50, 1000, 10000))
                await send(data[:k])
                data = data[k:]
        else:
            for f in frames[:cut]:
                await send(f)
        if how == "half a frame":
            await send(b'data: {"choices":[{"ind')
        if how == "bad chunk":
            writer.write(b"zz\r\n")
        if how == "stalls":
            await gone
        if how in ("cut", "half a frame", "bad chunk", "stalls"):
            return False
        if how != "no done":
            await send(b"data: [DONE]\n\n")
        if not framed:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return not framed


class Left(Exception):
    """The client went away, on purpose."""


class Client:
    """One HTTP connection and what is done with it."""

    def __init__(self, chaos, rng):
        self.chaos, self.rng = chaos, rng
        self.leaves_at = None  # bytes of the answer after which it goes
        self.slow = False
        self.got = 0

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.chaos.port, limit=1 << 16)

    def close(self, abort=None):
        if abort if abort is not None else self.rng.random() < 0.5:
            self.writer.transport.abort()
        else:
            self.writer.close()

    def took(self, n):
        self.got += n
        if self.leaves_at is not None and self.got >= self.leaves_at:
            raise Left

    async def line(self):
        line = await self.reader.readuntil(b"\r\n")
        self.took(len(line))
        return line[:-2]

    async def answer(self):
        """Status, headers, body of the next answer; the body's pieces in order."""
        status = await self.line()
        while status.startswith(b"HTTP/1.1 100"):
            assert await self.line() == b""
            status = await self.line()
        assert status.startswith(b"HTTP/1.1 "), status
        head = {}
        while line := await self.line():
            k, v = line.split(b":", 1)
            head[k.strip().lower().decode()] = v.strip().decode()
        body = b""
        if head.get("transfer-encoding") == "chunked":
            while size := int(await self.line(), 16):
                piece = await self.reader.readexactly(size + 2)
                assert piece.endswith(b"\r\n")
                body += piece[:-2]
                self.took(len(piece))
                if self.slow and self.rng.random() < 0.05:
                    await self.chaos.some_progress()
            assert await self.line() == b""
        else:
            body = await self.reader.readexactly(int(head["content-length"]))
            self.took(len(body))
        return int(status.split()[1]), head, body


def request_bytes(rng, path, body, close=False):
    """One HTTP request, in the ways that HTTP has."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    if close:
        head += "connection: close\r\n"
    if rng.random() < 0.1:
        head += "expect: 100-continue\r\n"
    if rng.random() < 0.2:
        pieces = []
        at = 0
        while at < len(data):
            k = rng.choice((1, 7, 100, 5000, 100000)) if len(data) < 10000 else rng.randrange(1, len(data))
            piece = data[at:at + k]
            pieces.append(b"%x\r\n%s\r\n" % (len(piece), piece))
            at += k
        return head.encode() + b"transfer-encoding: chunked\r\n\r\n" + b"".join(pieces) + b"0\r\n\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(data) + data


def sse(body):
    out = []
    for part in body.decode().split("\n\n"):
        data = [line[6:] for line in part.split("\n") if line.startswith("data: ")]
        if data:
            out.append(data[0] if data[0] == "[DONE]" else json.loads(data[0]))
    return out


def translated(path, body, data, what):
    """Text, finish reasons and errors of an answer of the Messages API or the Responses API."""
    ends = {"max_tokens": "length", "incomplete": "length"}
    if not body["stream"]:
        a = json.loads(data)
        if path == "/v1/messages":
            return ["".join(b["text"] for b in a["content"])], [[ends.get(a["stop_reason"], a["stop_reason"])]], []
        return (["".join(c["text"] for o in a["output"] for c in o["content"])], [[ends.get(a["status"], a["status"])]], [])
    events = sse(data)
    assert events and events[-1] == "[DONE]" and events.count("[DONE]") == 1, (what, events[-2:])
    events.pop()
    text, finishes, errors = "", [], []
    for i, e in enumerate(events):
        kind = e["type"]
        if kind == "content_block_delta":
            text += e["delta"]["text"]
        elif kind == "response.output_text.delta":
            text += e["delta"]
        elif kind == "message_delta":
            finishes.append(ends.get(e["delta"]["stop_reason"], e["delta"]["stop_reason"]))
        elif kind in ("response.incomplete", "response.completed"):
            finishes.append(ends.get(e["response"]["status"], e["response"]["status"]))
        elif kind in ("error", "response.failed"):
            errors.append(e)
            finishes = []
        if kind in ("error", "response.failed", "response.incomplete", "message_stop"):
            assert i == len(events) - 1 or kind == "error" and i == len(events) - 2, (what, i, events[i:])
    assert len(errors) <= 2, (what, errors)
    return [text], [finishes], errors
