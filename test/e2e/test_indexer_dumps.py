"""weir indexer's dumps and restores in steps: readers that are slow, leave or are too many; peers that break off."""
import http.client
import http.server
import json
import os
import socket
import threading

import pytest

from test_indexer import L0, Indexer, stored
from weir import DEADLINE_S, until

CHAINS, LENGTH = 1200, 100  # some 9 MB of text, more than sockets hold (4 MB of a sender)


@pytest.fixture
def indexers():
    running = []

    def start(*flags):
        running.append(Indexer(*flags))
        return running[-1]
    yield start
    for p in running:
        assert p.child.poll() is not None or p.stop() == 0, p.log()


def large():
    """The records, and what they hold: (rank, name, contents)."""
    lines, held = [], set()
    for c in range(CHAINS):
        worker, name = 1 + c % 7, 10**15 + c * LENGTH
        contents = [10**17 + name + i for i in range(LENGTH)]
        lines.append(json.dumps({"key": "m:default", "block_size": 4, "event": stored(worker, 0, contents, name=name)}))
        held.update((worker, name + i, h) for i, h in enumerate(contents))
    return "\n".join(line.replace('{"key": ', '{"key":') for line in lines) + "\n", held


def blocks_of(events):
    return {(e["worker_id"], b["block_hash"], b["tokens_hash"])
            for e in events for b in e["event"]["data"]["stored"]["blocks"]}


class Slow:
    """Asks for a dump, and reads of the answer what it is told to."""

    def __init__(self, x, query=""):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(("127.0.0.1", x.port))
        self.sock.sendall(f"GET /dump{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        self.answer = http.client.HTTPResponse(self.sock, method="GET")
        self.answer.begin()

    def close(self):
        self.answer.close()
        self.sock.close()


def rss_mib(x):
    with open(f"/proc/{x.child.pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1]) / 1024


def metric(x, name):
    text = x.ask("GET", "/metrics")[1].decode()
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def test_slow_readers(indexers):
    x = indexers("--max-dumps", "4")
    text, held = large()
    assert x.ask("POST", "/restore", text) == (200, b'{"status":"1200 events applied"}')
    before = rss_mib(x)
    readers = [Slow(x, "?format=ndjson") for _ in range(3)] + [Slow(x)]
    assert all(r.answer.status == 200 and r.answer.getheader("transfer-encoding") == "chunked" for r in readers)
    assert metric(x, "weir_indexer_dumps") == 4
    # Nobody has read a body: all is served in between, an event too, and one more dump is refused.
    assert x.query([1, 2, 3, 4])["scores"] == {}
    assert x.ask("POST", "/restore", {"m:default": {"block_size": 4, "events": [stored(99, 0, [L0])]}})[0] == 200
    for _ in range(100):
        assert x.query([1, 2, 3, 4])["scores"] == {"99": {"0": 4}}
    refused = Slow(x)
    assert refused.answer.status == 503 and refused.answer.getheader("retry-after") == "1"
    assert "--max-dumps" in json.loads(refused.answer.read())["error"]
    refused.close()
    assert metric(x, "weir_indexer_dumps") == 4 and metric(x, "weir_indexer_dumps_refused_total") == 1
    if "ASAN_OPTIONS" not in os.environ and not os.environ.get("WEIR_TEST_SANITIZED"):
        assert rss_mib(x) - before < 16  # four dumps have some 36 MB of text
    # Who leaves makes room at once.
    readers.pop(0).close()
    until("the dump to be freed", lambda: metric(x, "weir_indexer_dumps") == 3)
    readers.append(Slow(x, "?format=ndjson"))
    # What is read in the end is all of it, in both forms.
    for r in readers[:1] + readers[3:]:
        records = [json.loads(line) for line in r.answer.read().splitlines()]
        assert {(k["key"], k["block_size"]) for k in records} == {("m:default", 4)}
        assert [k["event"]["event"]["event_id"] for k in records] == list(range(len(records)))
        assert blocks_of(k["event"] for k in records) - {(99, 1000, L0)} == held
    readers.pop(1).close()
    whole = json.loads(readers[1].answer.read())
    assert list(whole) == ["m:default"] and blocks_of(whole["m:default"]["events"]) - {(99, 1000, L0)} == held
    until("all dumps to end", lambda: metric(x, "weir_indexer_dumps") == 0)
    for r in readers:
        r.close()


def test_head_and_http10(indexers):
    x = indexers()
    assert x.ask("POST", "/restore", large()[0])[0] == 200
    assert x.ask("HEAD", "/dump") == (200, b"")
    s = socket.create_connection(("127.0.0.1", x.port), timeout=DEADLINE_S)
    s.sendall(b"GET /dump HTTP/1.0\r\n\r\n")
    with s.makefile("rb") as f:
        text = f.read()
    s.close()
    assert text.endswith(b"]}}") and json.loads(text[text.index(b"\r\n\r\n"):])["m:default"]["block_size"] == 4
    until("all dumps to end", lambda: metric(x, "weir_indexer_dumps") == 0)


def with_tokens():
    """As many records, whose contents are made of tokens here (hashing is a step before they are applied)."""
    return "".join(f'{{"key":"m:default","block_size":4,"event":{{"type":"BlockStored","worker_id":{1 + c % 7},"parent_block_hash":null,'
                   f'"block_hashes":{[10**15 + c * LENGTH + i for i in range(LENGTH)]},"token_ids":{[c] * LENGTH * 4}}}}}\n'
                   for c in range(CHAINS))


MADE = {"plain": lambda: large()[0], "tokens": with_tokens, "backslash": lambda: large()[0].replace('"block_size"', '"x": "\\n", "block_size"')}


@pytest.mark.parametrize("made", MADE)
def test_who_leaves_ends_its_restore(indexers, made):
    """The log says how much of it was applied. (Failed before: one with tokens, or with a backslash, went on to its end.)"""
    x = indexers()
    text = MADE[made]()
    body = text.encode()
    s = socket.create_connection(("127.0.0.1", x.port), timeout=DEADLINE_S)
    s.sendall(f"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    s.close()
    n = int(x.wait_line(r"a restore ends before its end: its client has left.*; the (\d+) events").group(1))
    assert n < CHAINS
    # What it leaves is whole events, and other restores go on.
    records = [json.loads(line) for line in x.ask("GET", "/dump?format=ndjson")[1].splitlines()]
    assert len({(w, name) for w, name, _ in blocks_of(k["event"] for k in records)}) == n * LENGTH
    assert x.ask("POST", "/restore", text[:text.index("\n") + 1]) == (200, b'{"status":"1 events applied"}')


def test_stopped_in_the_midst(indexers):
    """Dumps and restores on their way end with the process, in good order. (Failed before: a step, or the end of an exchange, came
    when what it works on was freed.)"""
    text = large()[0]

    def read_on(reader, begun):
        try:
            while reader.answer.read(1 << 16):
                begun.release()
        except (OSError, http.client.HTTPException):
            pass

    def restore(port, begun):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as s:
                body = text.encode()
                s.sendall(f"POST /restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                begun.release()
                s.recv(1)
        except OSError:
            pass
    for _ in range(3):
        x, begun = indexers(), threading.Semaphore(0)
        assert x.ask("POST", "/restore", text)[0] == 200
        readers = [Slow(x) for _ in range(3)]
        threads = [threading.Thread(target=read_on, args=(r, begun)) for r in readers[1:]]
        threads += [threading.Thread(target=restore, args=(x.port, begun)) for _ in range(3)]
        for t in threads:
            t.start()
        for _ in threads:
            begun.acquire()
        assert x.stop() == 0, x.log()
        for t in threads:
            t.join()
        for r in readers:
            r.close()


class Peer:
    """An indexer of another kind: answers each time with the next of its answers; None: the connection breaks inside one."""

    def __init__(self, *answers):
        answers = list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body, whole = answers.pop(0)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body) if whole else len(body) + 1000))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_a_large_peer(indexers):
    a = indexers()
    text, held = large()
    assert a.ask("POST", "/restore", text)[0] == 200
    b = indexers("--peers", a.url)
    b.wait_line(rf"events from peer {a.url}")
    dumped = json.loads(b.ask("GET", "/dump")[1])
    assert blocks_of(dumped["m:default"]["events"]) == held


def test_peers_that_break_off(indexers):
    """What came of a broken dump stays, and the next peer is asked; one that knows no lines answers with an object."""
    def line(worker):
        return json.dumps({"block_size": 4, "event": stored(worker, 0, [L0])}).replace("{", '{"key":"m:default",', 1).encode()
    whole = json.dumps({"m:default": {"block_size": 4, "events": [stored(3, 0, [L0])]}}).encode()
    peers = [Peer((line(1) + b"\n" + line(2)[:50], False)), Peer((line(4) + b"\n" + b'{"key":7}\n', True)), Peer((whole, True))]
    try:
        x = indexers("--peers", ",".join(p.url for p in peers))
        x.wait_line(rf"3 events from peer {peers[2].url}")
        assert x.query([1, 2, 3, 4])["scores"] == {str(w): {"0": 4} for w in (1, 3, 4)}
    finally:
        for p in peers:
            p.close()


def test_what_is_not_applied_is_told(indexers):
    """(Failed before: an event whose parent nobody holds was counted as applied.)"""
    x = indexers()
    orphan = stored(1, 0, [L0])
    orphan["event"]["data"]["stored"]["parent_hash"] = 4711
    for form in (lambda events: {"m:default": {"block_size": 4, "events": events}},
                 lambda events: "".join(json.dumps({"key": "m:default", "block_size": 4, "event": e}, separators=(",", ":")) + "\n" for e in events)):
        status, answer = x.ask("POST", "/restore", form([stored(2, 0, [L0]), orphan]))
        assert (status, json.loads(answer)) == (200, {"status": "1 events applied, 1 not: their parents are not there, or the index is full"})
    assert x.query([1, 2, 3, 4])["scores"] == {"2": {"0": 4}}
