"""Bad input, row by row: exact status and body. The rows of test/data/bad-input.jsonl are answers that a live
reference system gave to the same bytes; the others are Weir's own limits."""
import json
import os
import socket

import pytest

from weir import Fleet

DATA = os.path.join(os.path.dirname(__file__), "../data/bad-input.jsonl")


def rows():
    with open(DATA, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def send(front, row):
    body = bytes.fromhex(row["body_hex"]) if "body_hex" in row else row["body"].encode() if "body" in row else None
    return front.ask(row["method"], row["path"], body, row["headers"])


@pytest.fixture(scope="module")
def fleet_of_formats(tmp_path_factory):
    f = Fleet(tmp_path_factory.mktemp("bad"))
    f.mocker(workers=2)
    f.mocker("--endpoint", "dyn://dynamo.small.generate", "--max-model-len", "64", model="org/small")
    f.fronts = {form: f.frontend("--router-mode", "kv", "--error-format", form) for form in ("dynamo", "openai", "both")}
    for front in f.fronts.values():
        front.ready(workers=3)
        front.ready("org/small")
    yield f
    f.close()


def test_rows(fleet_of_formats):
    assert len(rows()) >= 120
    wrong = []
    for row in rows():
        r = send(fleet_of_formats.fronts["dynamo"], row)
        if "answer" in row:
            ok = r.status == row["status"] and r.body and r.json() == row["answer"]
        else:
            ok = r.status == row["status"] and r.body.decode() == row.get("answer_text", "")
        if not ok:
            wrong.append(f"{row['id']}: want {row['status']} {row.get('answer', row.get('answer_text'))}\n     got {r}")
    assert not wrong, "\n".join(wrong)


def test_rows_reach_every_kind_of_client(fleet_of_formats):
    """The same refusals in OpenAI's nested form, and both in one body, with the same words."""
    for row in rows():
        if "message" not in row.get("answer", {}):
            continue
        flat = row["answer"]
        nested = send(fleet_of_formats.fronts["openai"], row).json()
        assert list(nested) == ["error"] and nested["error"]["message"] == flat["message"], row["id"]
        assert set(nested["error"]) == {"message", "type", "param", "code"}, row["id"]
        both = send(fleet_of_formats.fronts["both"], row).json()
        assert both["error"] == nested["error"] and {k: both[k] for k in flat} == flat, row["id"]


def raw(front, pieces, timeout=20):
    """Sends pieces (bytes, or seconds of silence) and reads to the end: (status, whole answer). The time for that is less than
    the limits that a frontend has by itself."""
    s = front.socket(timeout)
    out = b""
    try:
        for piece in pieces:
            if isinstance(piece, bytes):
                s.sendall(piece)
            else:
                s.settimeout(piece)
                try:
                    got = s.recv(65536)
                    out += got
                    if not got:
                        break
                except socket.timeout:
                    pass
                s.settimeout(timeout)
        while True:
            got = s.recv(65536)
            if not got:
                break
            out += got
    except ConnectionError:
        pass
    finally:
        s.close()
    return (int(out[9:12]) if out.startswith(b"HTTP/1.1 ") else None), out


TIMES = {"WEIR_HTTP_HEADER_TIMEOUT_MS": "1000", "WEIR_HTTP_BODY_TIMEOUT_MS": "1000", "WEIR_HTTP_IDLE_TIMEOUT_MS": "1000",
         "WEIR_HTTP_BODY_TOTAL_TIMEOUT_MS": "2500", "WEIR_HTTP_WRITE_STALL_TIMEOUT_MS": "1000"}
SIZES = {"WEIR_HTTP_HEADER_COUNT": "20", "WEIR_HTTP_HEADER_BYTES": "4096", "WEIR_HTTP_TARGET_BYTES": "200", "DYN_HTTP_BODY_LIMIT_MB": "1",
         "WEIR_HTTP_WRITE_QUEUE_BYTES": "65536"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    f = Fleet(tmp_path_factory.mktemp("limited"))
    f.mocker("--num-gpu-blocks-override", "200000")
    f.front = f.frontend(env={**SIZES, **TIMES}).ready()
    f.patient = f.frontend(env=SIZES).ready()  # a busy machine may need a second for what is no matter of time
    yield f
    f.close()


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize("name,pieces,status", [
    ("silent from the start", [], None),
    ("half a head", [b"GET /live HTTP/1.1\r\nhost:"], 408),
    ("a head, byte by byte and too slowly", [b"G", .1, b"E", .1, b"T", .1, b" ", .1, b"/"], 408),
    ("a body that does not come", [HEAD + b"content-length: 10\r\n\r\n"], 408),
    ("half a body", [HEAD + b"content-length: 10\r\n\r\n{\"mod"], 408),
    ("half a chunk", [HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{\"m"], 408),
    ("a body that trickles on and on", [HEAD + b"content-length: 100\r\n\r\n"] + [b" ", .2] * 20, 408),
    ("too many fields", [b"GET /live HTTP/1.1\r\nhost: a\r\n" + b"x-a: b\r\n" * 30 + b"\r\n"], 431),
    ("too long a head", [b"GET /live HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 5000 + b"\r\n\r\n"], 431),
    ("too long a target", [b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nhost: a\r\n\r\n"], 414),
    ("a declared body over the limit", [HEAD + b"content-length: 1048577\r\n\r\n"], 413),
    ("a declared body over the limit, with Expect", [HEAD + b"expect: 100-continue\r\ncontent-length: 1048577\r\n\r\n"], 413),
    ("a chunked body over the limit", [HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"100000\r\n" + b" " * 0x100000 + b"\r\n1\r\n \r\n"], 413),
    ("a body that ends early", [HEAD + b"content-length: 10\r\n\r\n{}", "fin"], 400),
])
def test_limits_and_slow_clients(limited, name, pieces, status):
    front = limited.front if status in (408, None) else limited.patient
    if pieces and pieces[-1] == "fin":
        s = front.socket()
        s.sendall(pieces[0])
        s.shutdown(socket.SHUT_WR)
        out = b""
        while got := s.recv(65536):
            out += got
        s.close()
        assert int(out[9:12]) == status, out
        return
    got, out = raw(front, pieces)
    assert got == status, (name, out[:300])
    if status is not None:
        assert b"connection: close" in out.lower(), out[:300]
    assert front.get("/live").status == 200


def test_slow_reader_is_cut_and_costs_no_memory(limited):
    """An answer larger than all buffers, to a client that reads nothing: the engine is held back, then the client is cut."""
    body = json.dumps({"model": "m", "stream": True, "max_tokens": 200000,
                       "messages": [{"role": "user", "content": "hi"}]}).encode()
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", limited.front.port))
    s.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body)
    from weir import until
    until("the cut", lambda: limited.front.metric("dynamo_frontend_model_cancellation_total") >= 1)
    s.close()
    until("no request in work", lambda: limited.front.metric("dynamo_frontend_inflight_requests") == 0)
    with open(f"/proc/{limited.front.child.pid}/status", encoding="ascii") as f:
        rss_kb = int(next(line for line in f if line.startswith("VmRSS")).split()[1])
    if "ASAN_OPTIONS" not in os.environ and not os.environ.get("WEIR_TEST_SANITIZED"):
        assert rss_kb < 100 * 1024


@pytest.mark.parametrize("request_bytes,status", [
    (b"GET /live HTTP/1.1\r\n\r\n", 400), (b"GET /live HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
    (b"GET  /live HTTP/1.1\r\nhost: a\r\n\r\n", 400), (b"GET /live HTTP/3.0\r\nhost: a\r\n\r\n", 400),
    (b"POST /live HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
])
def test_requests_that_are_no_http(fleet_of_formats, request_bytes, status):
    for form, front in fleet_of_formats.fronts.items():
        got, out = raw(front, [request_bytes])
        body = out.partition(b"\r\n\r\n")[2]
        assert got == status and b"connection: close" in out.lower(), out
        if form == "dynamo":
            assert body == b""
        else:
            assert json.loads(body)["error"]["message"]


def test_json_types_of_the_admin_page(fleet_of_formats):
    front = fleet_of_formats.fronts["dynamo"]
    for kind in ("APPLICATION/JSON", "application/vnd.x+json", "application/json;charset=x"):
        r = front.ask("POST", "/busy_threshold", b'{"model":"m"}', {"content-type": kind})
        assert r.status == 200 and r.json()["model"] == "m", kind
