"""Official OpenAI SDKs and curl as black-box clients, over HTTP and TLS."""
import json
import os
import shutil
import subprocess

import pytest

from testenv import node_with, python_with
from weir import Fleet, client_tls, until

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    f = Fleet(tmp_path_factory.mktemp("sdk"))
    f.mockers = [f.mocker(), f.mocker("--speedup-ratio", "0.05", "--endpoint", "dyn://dynamo.slow.generate", model="slow")]
    f.front = f.frontend("--router-mode", "kv").ready(workers=2)
    f.front.ready("slow")
    yield f
    f.close()


def certificates(folder):
    """An authority, and a server certificate for 127.0.0.1 signed by it."""
    def openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, capture_output=True, cwd=folder)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test authority", "-addext", "basicConstraints=critical,CA:TRUE")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "ext")
    return folder


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    folder = certificates(tmp_path_factory.mktemp("certs"))
    f = Fleet(tmp_path_factory.mktemp("tls"))
    f.certs = folder
    f.mocker()
    f.mocker("--speedup-ratio", "0.05", "--endpoint", "dyn://dynamo.slow.generate", model="slow")
    f.front = f.frontend("--router-mode", "kv", "--tls-cert-path", str(folder / "server.pem"),
                         "--tls-key-path", str(folder / "server.key"), tls=client_tls(str(folder / "ca.pem")))
    f.front.ready(workers=2)
    f.front.ready("slow")
    yield f
    f.close()


def check(argv, cwd=None, env=None):
    r = subprocess.run(argv, capture_output=True, text=True, timeout=180, cwd=cwd, env={**os.environ, **(env or {})})
    assert r.returncode == 0 and r.stdout.endswith("ok\n"), r.stdout + r.stderr


def at_rest(f):
    until("no request in work", lambda: f.front.metric("dynamo_frontend_inflight_requests") == 0)


def test_python(front):
    check([python_with("openai", "h2"), os.path.join(HERE, "sdk_client.py"), front.front.url])
    at_rest(front)


def test_python_over_tls(tls):
    check([python_with("openai", "h2"), os.path.join(HERE, "sdk_client.py"), tls.front.url, str(tls.certs / "ca.pem")])
    at_rest(tls)


def run_node(f, env=None):
    folder = node_with("openai")
    shutil.copy(os.path.join(HERE, "sdk_client.mjs"), folder)
    check(["node", "sdk_client.mjs", f.front.url], cwd=folder, env=env)
    at_rest(f)


def test_node(front):
    run_node(front)


def test_node_over_tls(tls):
    run_node(tls, {"NODE_EXTRA_CA_CERTS": str(tls.certs / "ca.pem")})


def curl(*argv):
    r = subprocess.run(["curl", "-sS", "--max-time", "30", *argv], capture_output=True, text=True)
    return r.returncode, r.stdout, r.stderr


CHAT = json.dumps({"model": "m", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]})


def test_curl(front, tls):
    for f, extra in ((front, []), (tls, ["--cacert", str(tls.certs / "ca.pem")])):
        code, out, err = curl(*extra, f.front.url + "/v1/chat/completions", "-H", "content-type: application/json", "-d", CHAT)
        assert code == 0 and json.loads(out)["usage"]["completion_tokens"] == 4, out + err
        # A chunked upload, and a large one behind Expect: 100-continue.
        code, out, _ = curl(*extra, f.front.url + "/v1/chat/completions", "-H", "content-type: application/json",
                            "-H", "transfer-encoding: chunked", "-d", CHAT)
        assert code == 0 and json.loads(out)["object"] == "chat.completion"
        big = json.loads(CHAT)
        big["messages"][0]["content"] = "x" * 100000
        code, out, _ = curl(*extra, f.front.url + "/v1/chat/completions", "-H", "content-type: application/json",
                            "-H", "expect: 100-continue", "-d", json.dumps(big))
        assert code == 0 and json.loads(out)["usage"]["prompt_tokens"] > 100000
    assert curl(tls.front.url + "/live")[0] != 0  # an unknown authority is not trusted


def test_mutual_tls(tls):
    folder = tls.certs
    front = tls.frontend("--tls-cert-path", str(folder / "server.pem"), "--tls-key-path", str(folder / "server.key"),
                         "--tls-client-ca-cert-path", str(folder / "ca.pem"),
                         tls=client_tls(str(folder / "ca.pem"), str(folder / "client.pem"), str(folder / "client.key")))
    assert front.get("/live").status == 200
    assert curl("--cacert", str(folder / "ca.pem"), front.url + "/live")[0] != 0
    code, out, _ = curl("--cacert", str(folder / "ca.pem"), "--cert", str(folder / "client.pem"),
                        "--key", str(folder / "client.key"), front.url + "/live")
    assert code == 0 and json.loads(out)["status"] == "live"
