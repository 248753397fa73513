"""Discovery through a real kube-apiserver (WEIR_KUBE_APISERVER names the program) over a real etcd: what kube_api.py only claims.
No kubelet and no controllers run: the test says who is ready, and objects of pods that are gone stay."""
import http.client
import json
import os
import re
import ssl
import subprocess

import pytest

from etcd import Etcd, certificates
from kube_api import LABELS
from test_etcd import Load, workers
from test_kube import DEPLOY, fails
from weir import kept_port, knows, until

BINARY = os.environ.get("WEIR_KUBE_APISERVER")
pytestmark = pytest.mark.skipif(not BINARY, reason="no kube-apiserver (name one in WEIR_KUBE_APISERVER)")
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/models"
CRS = "/apis/nvidia.com/v1alpha1/namespaces/models/dynamoworkermetadatas"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices"
PATHS = {"CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
         "ServiceAccount": "/api/v1/namespaces/models/serviceaccounts", "Role": RBAC + "/roles", "RoleBinding": RBAC + "/rolebindings"}


class Server:
    def __init__(self, folder):
        self.folder = str(folder)
        os.makedirs(self.folder + "/account")
        certificates(self.folder)
        subprocess.run(["openssl", "pkey", "-in", "server.key", "-pubout", "-out", "server.pub"], check=True, capture_output=True,
                       cwd=self.folder)
        self.etcd = Etcd(self.folder + "/etcd")
        with open(self.folder + "/tokens.csv", "w", encoding="ascii") as f:
            f.write("admin-token,admin,1,system:masters\n")
        self.context = ssl.create_default_context(cafile=self.folder + "/ca.pem")
        self.port = kept_port()
        self.log = open(self.folder + "/log", "ab")
        self.start()
        self.must("POST", "/api/v1/namespaces", {"metadata": {"name": "models"}})
        for name in ("crd.yaml", "rbac.yaml"):
            self.apply(name)
        until("the kind to be served", lambda: self.ask("GET", CRS)[0] == 200)
        self.rotate()
        with open(self.folder + "/account/namespace", "w", encoding="ascii") as f:
            f.write("models")
        os.symlink(self.folder + "/ca.pem", self.folder + "/account/ca.crt")

    def start(self):
        key = self.folder + "/server.key"
        self.child = subprocess.Popen(
            [BINARY, "--etcd-servers", self.etcd.url, "--secure-port", str(self.port), "--bind-address", "127.0.0.1",
             "--tls-cert-file", self.folder + "/server.pem", "--tls-private-key-file", key, "--token-auth-file",
             self.folder + "/tokens.csv", "--authorization-mode", "RBAC", "--service-account-key-file", self.folder + "/server.pub",
             "--service-account-signing-key-file", key, "--service-account-issuer", "https://kubernetes.default.svc",
             "--service-cluster-ip-range", "10.0.0.0/24", "--cert-dir", self.folder], stdout=self.log, stderr=self.log)

        def ready():
            assert self.child.poll() is None, "kube-apiserver ended: " + self.folder + "/log"
            try:
                return self.ask("GET", "/readyz")[0] == 200
            except (OSError, http.client.HTTPException):
                return False
        until("the API server", ready, 180)

    def stop(self):
        self.child.kill()
        self.child.wait()

    def close(self):
        self.stop()
        self.etcd.stop()
        self.log.close()

    def ask(self, method, path, body=None, kind="application/json"):
        c = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.context)
        data = json.dumps(body) if isinstance(body, dict) else body
        c.request(method, path, data, {"authorization": "Bearer admin-token", "content-type": kind, "accept": "application/json"})
        r = c.getresponse()
        text = r.read()
        c.close()
        return r.status, json.loads(text) if text.startswith(b"{") else text

    def must(self, *args, **kw):
        status, doc = self.ask(*args, **kw)
        assert status in (200, 201), (args[:2], status, doc)
        return doc

    def apply(self, name, change=lambda text: text):
        """A file of deploy/kubernetes as it stands there: the server reads YAML."""
        with open(os.path.join(DEPLOY, name), encoding="utf-8") as f:
            for doc in change(f.read()).split("\n---\n"):
                kind, name = (re.search(p, doc, re.M).group(1) for p in (r"^kind: (\S+)", r"^  name: (\S+)"))
                self.must("PATCH", f"{PATHS[kind]}/{name}?fieldManager=test&force=true", doc, kind="application/apply-patch+yaml")

    def rotate(self):
        doc = self.must("POST", PATHS["ServiceAccount"] + "/weir/token", {"spec": {"expirationSeconds": 3600}})
        with open(self.folder + "/account/token.new", "w", encoding="ascii") as f:
            f.write(doc["status"]["token"])
        os.rename(self.folder + "/account/token.new", self.folder + "/account/token")

    def env(self, pod=None):
        env = {"DYN_DISCOVERY_BACKEND": "kubernetes", "KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": "127.0.0.1",
               "KUBERNETES_SERVICE_PORT": str(self.port), "WEIR_KUBE_SERVICE_ACCOUNT_DIR": self.folder + "/account"}
        return {**env, **({"POD_NAME": pod, "POD_UID": "uid-of-" + pod} if pod else {})}

    def slice(self, name, *pods):
        ends = [{"addresses": ["10.1.1.1"], "conditions": {"ready": ready},
                 "targetRef": {"kind": "Pod", "name": pod, "uid": "uid-of-" + pod}} for pod, ready in pods]
        self.must("PATCH", f"{SLICES}/{name}?fieldManager=test&force=true",
                  {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": ends, "ports": [],
                   "metadata": {"name": name, "labels": LABELS}}, kind="application/apply-patch+yaml")

    def cr(self, name):
        status, doc = self.ask("GET", f"{CRS}/{name}")
        return doc if status == 200 else None

    def records(self, name):
        cr = self.cr(name)
        return cr and cr["spec"].get("data")

    def registered(self, name):
        until(f"{name} to register", lambda: (self.records(name) or {}).get("event_sources"))


@pytest.fixture
def server(tmp_path, fleet):
    s = Server(tmp_path / "kube")
    fleet.env.update(s.env(), DYN_LOG="info,kube=debug")
    yield s
    try:
        fleet.close()
    finally:
        fleet.processes.clear()
        s.close()


def test_a_fleet(fleet, server):
    names = [f"w{i}" for i in range(3)]
    mockers = [fleet.mocker(env=server.env(name)) for name in names]
    for name in names:
        server.registered(name)
    cr = server.cr("w0")
    assert [f["manager"] for f in cr["metadata"]["managedFields"]] == ["dynamo-worker"]
    assert cr["metadata"]["ownerReferences"][0]["uid"] == "uid-of-w0"
    server.slice("workers", *((name, True) for name in names))
    front = fleet.frontend("--router-mode", "kv").ready(workers=3)
    assert workers(front) == {m.ids[0] for m in mockers}
    front.chat("x" * 400)
    until("the caches to be known", lambda: knows(front, mockers))
    load = Load(front)
    # Not ready; ready again.
    server.slice("workers", ("w0", True), ("w1", True), ("w2", False))
    until("two workers", lambda: len(workers(front)) == 2)
    server.slice("workers", *((name, True) for name in names))
    until("three workers", lambda: len(workers(front)) == 3)
    # The server is away, and comes back with nothing to go on from.
    server.stop()
    front.wait_line("what is known stays in use")
    load.more(20)
    at = len(front.lines)
    server.start()
    front.wait_line("connected to the API server", at)
    load.more(20)
    load.end()
    server.slice("workers", ("w0", True), ("w1", False), ("w2", True))
    until("two workers", lambda: len(workers(front)) == 2)
    server.rotate()
    # One leaves in order.
    assert mockers[0].stop() == 0
    assert not any((server.records("w0") or {}).values())
    until("one worker", lambda: workers(front) == {mockers[2].ids[0]})
    assert all(front.chat(f"again {i}").status == 200 for i in range(20))
    server.must("DELETE", f"{CRS}/w2")
    until("the model to go", lambda: front.get("/v1/models").json()["data"] == [])


def test_histories_that_are_gone(fleet, server):
    """410 of a real server: watches that go on from a version which etcd has compacted away."""
    mocker = fleet.mocker(env=server.env("w0"))
    server.registered("w0")
    server.slice("workers", ("w0", True), ("other", True))
    front = fleet.frontend().ready()
    server.stop()
    front.wait_line("what is known stays in use")
    revision = server.etcd.must("/v3/kv/range", {"key": "AA==", "range_end": "AA==", "limit": 1})["header"]["revision"]
    server.start()
    for i in range(5):
        server.slice("more", (f"x{i}", True))
    revision = server.etcd.must("/v3/kv/range", {"key": "AA==", "range_end": "AA==", "limit": 1})["header"]["revision"]
    server.stop()
    server.etcd.must("/v3/kv/compaction", {"revision": revision, "physical": True})
    server.start()
    server.slice("workers", ("w0", False))
    until("the model to go", lambda: front.get("/v1/models").json()["data"] == [])
    server.slice("workers", ("w0", True))
    front.ready()
    assert workers(front) == {mocker.ids[0]}


def test_missing_rights(fleet, server):
    front = ("frontend", "--http-port", "0", "--http-host", "127.0.0.1")
    mocker = ("mocker", "--model-name", "m")
    server.apply("rbac.yaml", lambda t: t.replace('["list", "watch"]', '["list"]'))
    code, log = fails(fleet.env, *front)
    assert code == 1 and "may not watch endpointslices.discovery.k8s.io" in log, log
    server.apply("rbac.yaml", lambda t: t.replace('["list", "watch"]', '["watch"]'))
    code, log = fails(fleet.env, *front)
    assert code == 1 and "may not list endpointslices.discovery.k8s.io" in log, log
    for verb in ("create", "patch"):
        server.apply("rbac.yaml", lambda t, verb=verb: t.replace(f', "{verb}"', ""))
        code, log = fails({**fleet.env, **server.env("w0")}, *mocker)
        assert code == 1 and "needs the verb patch, and create" in log, log
    server.apply("rbac.yaml")
    server.must("DELETE", PATHS["CustomResourceDefinition"] + "/dynamoworkermetadatas.nvidia.com")
    until("the kind to go", lambda: server.ask("GET", CRS)[0] == 404)
    code, log = fails(fleet.env, *front)
    assert code == 1 and "is the CRD of Dynamo's operator installed" in log, log
    with open(server.folder + "/account/token", "w", encoding="ascii") as f:
        f.write("forged")
    code, log = fails(fleet.env, *front)
    assert code == 1 and "the token is refused" in log, log
