"""HTTP engines whose every byte the test writes: what reaches them, and what becomes of odd answers."""
import http.server
import json
import ssl
import subprocess
import threading
import urllib.request

import pytest

from weir import until


class Scripted:
    """An engine that names its `models` (m) to who has its `key`, shows its `page` of metrics (none), and hands inference to `answer(handler, body)`, /tokenize to
    `tokenize(handler, body)`."""

    def __init__(self, answer, tls=None, owned_by=None, tokenize=lambda h, body: h.whole(404, b"{}"), models=("m",), key=None):
        outer = self
        owner = {"owned_by": owned_by} if owned_by else {}
        self.seen, self.models, self.page = [], models, None

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def whole(self, status, body, kind="application/json"):
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                if self.path == "/health":
                    self.whole(200, b"")
                elif key and self.headers["authorization"] != f"Bearer {key}":
                    self.whole(401, b'{"error":"Unauthorized"}')
                elif self.path == "/v1/models":
                    named = [{"id": name, "parent": None, **owner} for name in outer.models]
                    self.whole(200, json.dumps({"object": "list", "data": named}).encode())
                elif self.path == "/metrics" and outer.page:
                    self.whole(200, outer.page, "text/plain")
                else:
                    self.whole(404, b'{"detail":"Not Found"}')

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/tokenize":
                    tokenize(self, body)
                    return
                outer.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer(self, body)

            def begin_stream(self):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream; charset=utf-8")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()

            def chunk(self, data):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # clients that leave are part of the tests

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def engines():
    made = []

    def make(answer, **more):
        made.append(Scripted(answer, **more))
        return made[-1]

    yield make
    for e in made:
        e.close()


def front(fleet, *urls, env=None):
    args = [a for u in urls for a in ("--worker", u)]
    return fleet.frontend(*args, env={"WEIR_ENGINE_POLL_SECS": "0.05", **(env or {})}).ready(workers=len(urls))


@pytest.mark.parametrize("key", ["k" * 2000, "key\n"])
def test_a_key_of_its_own(fleet, engines, key):
    """Keys may be long, and a secret that comes from a file ends in a line break."""
    e = engines(lambda h, body: h.whole(200, b"{}"), key=key.strip())
    front(fleet, e.url, env={"WEIR_ENGINE_API_KEY": key})


def behind_a_comment(fleet, engines, status, text):
    """What a stream says when its engine gives a whole answer once the stream has begun with a comment."""
    gate = threading.Event()

    def answer(h, body):
        gate.wait(120)
        h.whole(status, text.encode())
    f = front(fleet, engines(answer).url, env={"DYN_HTTP_SSE_KEEP_ALIVE_INTERVAL_MS": "30"})
    r = urllib.request.urlopen(urllib.request.Request(
        f.url + "/v1/chat/completions", b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}',
        {"content-type": "application/json"}))
    until("a comment", lambda: r.readline() == b":\n")
    gate.set()
    return r.read().decode()


def test_a_refusal_after_a_comment(fleet, engines):
    """The stream has begun with a comment when the engine says no: its own words are the stream's error."""
    words = "no such adapter " + "x" * 3000
    rest = behind_a_comment(fleet, engines, 400, json.dumps({"error": {"message": words, "type": "BadRequestError", "code": 400}}))
    assert words in rest and rest.endswith("data: [DONE]\n\n")


def test_a_whole_answer_after_a_comment(fleet, engines):
    """What is no stream cannot go on one, however well it says what it says. (Failed before: an error with code 200.)"""
    rest = behind_a_comment(fleet, engines, 200, '{"choices":[]}')
    error, done = (line[6:] for line in rest.split("\n") if line.startswith("data: "))
    assert json.loads(error)["error"]["code"] == 502 and done == "[DONE]"


def test_bytes_and_headers_reach_the_engine(fleet, engines):
    def answer(h, body):
        h.whole(200, b'{ "odd" :  "spacing", "usage":{"prompt_tokens":5,"completion_tokens":2} }')
    e = engines(answer)
    f = front(fleet, e.url)
    body = b' { "model":"m" , "messages":[{"role":"user","content":"h\\u00e9 \xc3\xa9"}], "vllm_xargs":{"a":1.0e0} }\n'
    r = f.ask("POST", "/v1/chat/completions", body,
              {"content-type": "application/json", "authorization": "Bearer k", "traceparent": "00-1", "cookie": "no",
               "x-request-id": "rid-1"})
    assert r.status == 200 and r.body.startswith(b'{ "odd" :  "spacing"') and r.headers["x-request-id"] == "rid-1"
    path, headers, got = e.seen[0]
    assert path == "/v1/chat/completions" and got == body
    assert headers["authorization"] == "Bearer k" and headers["traceparent"] == "00-1"
    assert headers["x-request-id"] == "rid-1" and "cookie" not in headers
    assert headers["host"] == f"127.0.0.1:{e.port}" and "x-data-parallel-rank" not in headers
    until("its tokens to be counted", lambda: f.metric("dynamo_frontend_output_tokens_total", model="m") == 2)


def test_salt_of_the_tenant_is_spliced_in(fleet, engines):
    e = engines(lambda h, body: h.whole(200, b"{}"))
    f = front(fleet, e.url)
    base = {"model": "m", "prompt": [1, 2, 3]}
    f.ask("POST", "/v1/completions", base, {"x-tenant-id": 't"1'})
    f.ask("POST", "/v1/completions", {**base, "cache_salt": "own"})
    f.ask("POST", "/v1/completions", {**base, "nvext": {"cache_salt": "n"}})
    assert [json.loads(b).get("cache_salt") for _, _, b in e.seen] == ['t"1', "own", "n"]


def test_503_goes_elsewhere_and_comes_back_when_all_say_it(fleet, engines):
    def busy(h, body):
        h.whole(503, b'{"error":{"message":"engine sleeps"}}')
    a, b = engines(busy), engines(lambda h, body: h.whole(200, b'{"id":"b"}'))
    f = front(fleet, a.url, b.url)
    for _ in range(4):
        assert f.chat().json() == {"id": "b"}
    assert a.seen  # it was asked
    only = front(fleet, a.url)
    r = only.chat()
    assert r.status == 503 and r.json()["error"]["message"] == "engine sleeps"
    assert only.get("/v1/models/m/ready").json()["ready"]


def test_an_answer_without_a_type_has_none(fleet, engines):
    """Not that of the engine which was asked before. (Failed before: text/first.)"""
    def plain(h, body):
        h.send_response(200)
        h.send_header("content-length", "2")
        h.end_headers()
        h.wfile.write(b"{}")
    f = front(fleet, *(engines(a).url for a in (lambda h, body: h.whole(503, b"no", "text/first"), plain)))
    for _ in range(3):
        r = f.chat()
        assert (r.status, r.body) == (200, b"{}") and "content-type" not in r.headers, r.headers


def test_metadata_of_vectors_in_bytes(fleet, engines):
    """`encoding_format: bytes` of vLLM: where each vector stands in the body is said in a header alone. (Failed before: it was dropped.)"""
    where = '{"data": [{"index": 0, "embed_dtype": "float32", "start": 0, "end": 4, "shape": [1]}]}'

    def vectors(h, body):
        h.send_response(200)
        h.send_header("content-type", "application/octet-stream")
        h.send_header("metadata", where)
        h.send_header("transfer-encoding", "chunked")
        h.end_headers()
        h.chunk(b"\x00\x00\x80?")
        h.chunk(b"")
    f = front(fleet, engines(vectors).url)
    r = f.ask("POST", "/v1/embeddings", {"model": "m", "input": "x", "encoding_format": "bytes"})
    assert (r.status, r.body, r.headers["metadata"]) == (200, b"\x00\x00\x80?", where), r.headers


def test_refusals_are_the_answer(fleet, engines):
    e = engines(lambda h, body: h.whole(429, b"slow down", "text/plain"))
    f = front(fleet, e.url)
    r = f.chat()
    assert (r.status, r.body, r.headers["content-type"]) == (429, b"slow down", "text/plain")
    assert len(e.seen) == 1


@pytest.mark.parametrize("how", ["cut", "no done", "half a frame"])
def test_broken_stream_ends_with_an_error_event(fleet, engines, how):
    def answer(h, body):
        h.begin_stream()
        h.chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        if how == "half a frame":
            h.chunk(b'data: {"choices":[{"del')
        if how == "no done":
            h.chunk(b"")
            h.wfile.write(b"\r\n")
        h.wfile.flush()
        h.close_connection = True
    f = front(fleet, engines(answer).url)
    events = f.chat(stream=True).events()
    assert events[0]["choices"][0]["delta"]["content"] == "a"
    assert events[-1] == "[DONE]" and "error" in events[-2] and len(events) == 3, events


@pytest.mark.parametrize("how", ["resets", "waits", "pings"])
def test_a_stream_that_has_said_done_has_ended(fleet, engines, how):
    """Whatever becomes of its connection. (Failed before: an error event and a second [DONE] followed.)"""
    gate, left = threading.Event(), threading.Event()

    def answer(h, body):
        h.begin_stream()
        h.chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n')
        h.close_connection = True
        if how == "waits":
            gate.wait(120)
        try:
            for _ in range(80 if how == "pings" else 0):
                h.chunk(b": ping\n\n")
                gate.wait(0.2)
        except OSError:
            left.set()
    f = front(fleet, engines(answer).url, env={"DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS": "3"})
    events = f.chat(stream=True).events()
    if how == "pings":
        until("the engine to be left", left.is_set)
    gate.set()
    assert len(events) == 2 and events[0]["choices"][0]["delta"]["content"] == "a" and events[1] == "[DONE]", events
    assert f.counted().metric("dynamo_frontend_requests_total", status="success") == 1


def test_stream_that_breaks_before_its_first_frame_goes_elsewhere(fleet, engines):
    def bad(h, body):
        h.begin_stream()
        h.chunk(b'data: {"cho')
        h.close_connection = True

    def good(h, body):
        h.begin_stream()
        h.chunk(b'data: {"choices":[{"delta":{"content":"good"}}]}\n\ndata: [DONE]\n\n')
        h.chunk(b"")
    a, b = engines(bad), engines(good)
    f = front(fleet, a.url, b.url)
    for _ in range(2):
        assert f.chat(stream=True).events()[0]["choices"][0]["delta"]["content"] == "good"


def slam(h, body):
    """It ends with the request in its hands, as a process that dies of it does."""
    h.close_connection = True


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_ends_its_engine_meets_two(fleet, engines, stream):
    """Four engines die of it, as SGLang 0.5.23 on the CPU does of ids outside of its vocabulary. (Failed before: all four had it.)"""
    def dies(h, body):
        if stream:  # the head of an answer may be there by then
            h.begin_stream()
        slam(h, body)
    poisoned = [engines(dies) for _ in range(4)]
    f = front(fleet, *(e.url for e in poisoned))
    r = f.chat(stream=stream, headers={"x-request-id": "10d9ab54-6f5b-4e0f-9c3c-0d6c8a0d2f11"})
    assert r.status == 502 and "2 engines broke off while they had this request; it is not sent to a third" in r.json()["error"]["message"], r
    # It is not the client's turn to do what is not done here: SDKs follow this, and would else come again with it.
    assert r.headers["x-should-retry"] == "false" and "retry-after" not in r.headers, r.headers
    assert sum(len(e.seen) for e in poisoned) == 2
    line = f.wait_line(r"10d9ab54-6f5b-4e0f-9c3c-0d6c8a0d2f11: engines (\S+) and (\S+) broke off while they had this request; it is not sent to a third")
    assert line.group(1) != line.group(2) and " WARN " in line.string, line.string


def test_an_engine_that_ends_costs_its_requests_one_move(fleet, engines):
    """It may have been the engine's own fault: one other is asked. Refusals do not count, whatever comes before or behind them."""
    ends, busy, good = engines(slam), [engines(lambda h, body: h.whole(503, b"{}")) for _ in range(2)], engines(lambda h, body: h.whole(200, b"{}"))
    f = front(fleet, ends.url, *(e.url for e in busy), good.url)
    assert [f.chat().status for _ in range(12)] == [200] * 12 and ends.seen and all(e.seen for e in busy)


def test_numbers_that_are_ids_of_no_vocabulary(fleet, engines):
    """vLLM 0.32 refuses them (400); SGLang 0.5.23 looks them up. What else we cannot read of a prompt is the engine's to judge. Both read
    it with Pydantic, whose List[int] takes 5e9 and "5000000000", the latter where not all of the list are texts. (Failed before: the engine had them.)"""
    e = engines(lambda h, body: h.whole(200, b"{}"))
    f = front(fleet, e.url)
    for path, field in (("/v1/completions", "prompt"), ("/v1/embeddings", "input")):
        for bad in ([1, -1], [4294967296], [10 ** 30], [[1], [2, -3]], [1, 5e9], [1, "5000000000"], [["-1"]], ["-1", True]):
            r = f.ask("POST", path, {"model": "m", field: bad})
            assert r.status == 400 and r.json()["error"]["message"] and not e.seen, r
    odd = [[1, True], [1.0, 2], ["a", {"b": "1"}], [[True], [1.0]], {"a": [-1]}]
    assert [f.complete(p).status for p in odd] == [200] * len(odd) and len(e.seen) == len(odd)


def test_silence_is_filled_and_bounded(fleet, engines):
    gate = threading.Event()

    def answer(h, body):
        h.begin_stream()
        h.chunk(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
        gate.wait(120)
        h.close_connection = True
    e = engines(answer)
    f = front(fleet, e.url, env={"DYN_HTTP_SSE_KEEP_ALIVE_INTERVAL_MS": "30",
                                 "DYN_HTTP_BACKEND_STREAM_TIMEOUT_SECS": "3"})
    r = f.chat(stream=True)
    gate.set()
    assert b"\n:\n\n" in r.body
    events = r.events()
    assert "error" in events[-2] and events[-1] == "[DONE]", events


def test_slow_client_holds_the_engine_back(fleet, engines):
    sent = [0]
    frame = b'data: {"choices":[{"delta":{"content":"' + b"x" * 4000 + b'"}}]}\n\n'
    n = 6000  # 24 MB: more than all buffers between

    def answer(h, body):
        h.begin_stream()
        for _ in range(n):
            h.chunk(frame)
            sent[0] += 1
        h.chunk(b"data: [DONE]\n\n")
        h.chunk(b"")
    f = front(fleet, engines(answer).url)
    c = f.connect()
    c.request("POST", "/v1/chat/completions",
              json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}),
              {"content-type": "application/json"})
    r = c.getresponse()
    last = [-1]

    def rests():
        same, last[0] = last[0] == sent[0], sent[0]
        return same and sent[0] > 0
    pause = threading.Event()
    until("the engine to be held", lambda: not pause.wait(0.2) and rests())
    assert sent[0] < n
    body = r.read()
    assert body.count(b"data: ") == n + 1 and body.endswith(b"data: [DONE]\n\n")
    c.close()


def test_tokens_that_come_as_a_stream_are_no_answer(fleet, engines):
    """What an engine says about the tokens of a prompt stays between it and us, whatever it calls it."""
    def tokenize(h, body):
        if json.loads(body).get("prompt") == "weir":  # can it?
            h.whole(200, b'{"count":1,"tokens":[7]}')
            return
        h.begin_stream()
        h.chunk(b'data: {"choices":[{"delta":{"content":"of the tokens"}}]}\n\ndata: [DONE]\n\n')
        h.chunk(b"")
    e = engines(lambda h, body: h.whole(200, b'{"id":"answer"}'), tokenize=tokenize)
    f = fleet.frontend("--worker", e.url, "--router-mode", "kv", "--enable-anthropic-api",
                       env={"WEIR_ENGINE_POLL_SECS": "0.05"}).ready()
    assert f.chat().json() == {"id": "answer"} and len(e.seen) == 1
    counted = f.ask("POST", "/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
    assert counted.status == 502 and "something else than tokens" in counted.json()["error"]["message"], counted


def test_tls(fleet, engines, tmp_path):
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    e = engines(lambda h, body: h.whole(200, b'{"id":"tls"}'), tls=(cert, key))
    f = front(fleet, f"https://localhost:{e.port}", env={"WEIR_ENGINE_CA_PATH": cert})
    assert f.chat().json() == {"id": "tls"}
