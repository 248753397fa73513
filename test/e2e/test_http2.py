"""HTTP/2 of `weir frontend`: the official SDK and curl, over TLS by ALPN and in plain text with prior knowledge."""
import json
import os
import signal
import socket
import subprocess

import pytest

from test_sdk import CHAT, HERE, at_rest, certificates, check, curl
from testenv import python_with
from weir import Fleet, client_tls, until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    f = Fleet(tmp_path_factory.mktemp("h2"))
    f.mocker()
    f.mocker("--speedup-ratio", "0.05", "--endpoint", "dyn://dynamo.slow.generate", model="slow")
    f.front = f.frontend("--router-mode", "kv").ready(workers=2)
    f.front.ready("slow")
    f.certs = certificates(tmp_path_factory.mktemp("certs"))
    f.tls = f.frontend("--router-mode", "kv", "--tls-cert-path", str(f.certs / "server.pem"), "--tls-key-path",
                       str(f.certs / "server.key"), tls=client_tls(str(f.certs / "ca.pem"))).ready(workers=2)
    f.tls.ready("slow")
    yield f
    f.close()


@pytest.mark.parametrize("tls", [False, True])
def test_python_sdk(front, tls):
    url = front.tls.url if tls else front.front.url
    check([python_with("openai", "h2"), os.path.join(HERE, "sdk_client.py"), url, *([str(front.certs / "ca.pem")] if tls else []),
           "--http2"])
    for f in (front.front, front.tls):
        until("no request in work", lambda: f.metric("dynamo_frontend_inflight_requests") == 0)  # noqa: B023


def stream_by_curl(f, max_tokens):
    body = {"model": "slow", "stream": True, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "hi"}]}
    return subprocess.Popen(["curl", "-sS", "-N", "--http2-prior-knowledge", f.url + "/v1/chat/completions", "-H",
                             "content-type: application/json", "-d", json.dumps(body)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("tls", [False, True])
def test_curl(front, tls):
    f = front.tls if tls else front.front
    trust = ["--cacert", str(front.certs / "ca.pem")] if tls else []
    http2 = trust or ["--http2-prior-knowledge"]
    with open(front.certs / "big", "w", encoding="ascii") as file:
        json.dump({**json.loads(CHAT), "messages": [{"role": "user", "content": "x" * 100_000}]}, file)
    asks = [CHAT, "@" + file.name, json.dumps({**json.loads(CHAT), "stream": True}), CHAT]
    argvs = [[*http2, "-sS", f.url + "/v1/chat/completions", "-H", "content-type: application/json", "-d", data,
              "-w", "\n%{http_version} %{http_code}\n"] for data in asks]
    if tls:  # at once on one connection; without TLS curl 7.88 cannot use one twice (mended in its 8.0)
        argvs = [["--parallel", *argvs[0], *(word for argv in argvs[1:] for word in ("--next", *argv))]]
    out = ""
    for argv in argvs:
        code, text, err = curl(*argv)
        assert code == 0, text + err
        out += text
    assert out.count("\n2 200\n") == 4 and out.count("data: [DONE]") == 1, out
    assert '"prompt_tokens":1000' in out
    # HTTP/1.1 goes on beside it.
    assert curl("--http1.1", *trust, "-w", "%{http_version}", "-o", os.devnull, f.url + "/live")[:2] == (0, "1.1")


def test_client_leaves(front):
    with stream_by_curl(front.front, 100000) as child:
        assert child.stdout.readline().startswith("data: ")
        child.kill()
    at_rest(front)


def test_turned_off(front):
    f = front.frontend("--router-mode", "kv", env={"WEIR_HTTP2": "false"})
    with socket.create_connection(("127.0.0.1", f.port)) as s:
        s.sendall(PREFACE)
        assert s.recv(12) == b"HTTP/1.1 505"


def test_drain(front):
    """SIGTERM: GOAWAY, the stream that is open ends, and the process with it."""
    f = front.frontend("--router-mode", "kv").ready("slow", workers=2)
    with stream_by_curl(f, 20) as child:
        assert child.stdout.readline().startswith("data: ")
        f.signal(signal.SIGTERM)
        rest = child.stdout.read()
        assert child.wait() == 0 and rest.rstrip().endswith("data: [DONE]")
    assert f.wait() == 0
