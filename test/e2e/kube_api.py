"""A Kubernetes API server as far as discovery goes: the objects of Dynamo's discovery in one namespace, over TLS with tokens.

LIST with pages, WATCH with bookmarks, GET, DELETE and server-side apply; authorisation by the rules of a Role. A test plays
operator and kubelet: it says which pods are ready. Only what the documentation of Kubernetes says is done here, so what it does
not know it answers with 404, 400 or 415, and a test fails.
"""
import copy
import http.server
import json
import os
import re
import socket
import ssl
import threading
import time
import urllib.parse
import uuid

from etcd import certificates
from weir import kept_port, until

LABELS = {"nvidia.com/dynamo-discovery-backend": "kubernetes", "nvidia.com/dynamo-discovery-enabled": "true"}
# Plural: (group, versions, kind).
KINDS = {
    "endpointslices": ("discovery.k8s.io", ["v1", "v1beta1"], "EndpointSlice"),
    "dynamoworkermetadatas": ("nvidia.com", ["v1alpha1"], "DynamoWorkerMetadata"),
    "pods": ("", ["v1"], "Pod"),
}
REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 410: "Expired",
           415: "UnsupportedMediaType", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}
EVERYTHING = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


class Refusal(Exception):
    def __init__(self, code, message, retry_after=None):
        super().__init__(message)
        self.code, self.message, self.retry_after = code, message, retry_after

    def status(self):
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
                "reason": REASONS[self.code], "code": self.code}


class KubeApi:
    def __init__(self, folder, namespace="models", rules=EVERYTHING, versions=("v1", "v1beta1")):
        self.folder, self.namespace, self.rules, self.versions = str(folder), namespace, rules, versions
        os.makedirs(self.folder, exist_ok=True)
        certificates(self.folder)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.folder + "/server.pem", self.folder + "/server.key")
        self.context.load_verify_locations(self.folder + "/ca.pem")
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.more = threading.Condition()
        self.objects = {plural: {} for plural in KINDS}
        self.version, self.oldest = 1000, 1000
        self.history = []  # (version, plural, type, object, what it was)
        self.pages = {}  # snapshots that a continue token goes on with
        self.page = None  # a limit in place of the one asked for
        self.calls = []  # (verb, plural, query)
        self.called = []  # the time of each
        self.no_watch = None  # (code, version): answers watches from older ones
        self.error_event = None  # code: all that watches say
        self.collects = False  # every CR at once, as of an owner that is no pod
        self.faults = []  # [verb, plural, code, seconds or None]: each for one call
        self.closing = 0  # watches with a lower number end
        self.watches = {plural: 0 for plural in KINDS}
        self.began = 0  # watches so far
        self.connections = set()
        self.tokens = {}
        self.account = self.folder + "/account"
        os.makedirs(self.account, exist_ok=True)
        self.write("account/namespace", namespace)
        self.write("account/ca.crt", open(self.folder + "/ca.pem", encoding="ascii").read())
        self.rotate()
        self.port = kept_port()
        self.server = None
        self.start()

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path + ".new", "w", encoding="ascii") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def rotate(self):
        """A new token, the only one that is valid from now on."""
        token = "token-" + uuid.uuid4().hex
        self.tokens = {token: "system:serviceaccount:models:weir"}
        self.write("account/token", token)
        self.write("kubeconfig", json.dumps(self.kubeconfig(token)))  # JSON is YAML

    def kubeconfig(self, token, **user):
        return {"apiVersion": "v1", "kind": "Config", "current-context": "here", "preferences": {},
                "contexts": [{"name": "here", "context": {"cluster": "fake", "user": "worker", "namespace": self.namespace}}],
                "clusters": [{"name": "fake", "cluster": {"server": f"https://127.0.0.1:{getattr(self, 'port', 1)}",
                                                          "certificate-authority": self.folder + "/ca.pem"}}],
                "users": [{"name": "worker", "user": user or {"token": token}}]}

    def env(self, pod=None, uid=None):
        """As Kubernetes sets it in a pod."""
        env = {"DYN_DISCOVERY_BACKEND": "kubernetes", "KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": "127.0.0.1",
               "KUBERNETES_SERVICE_PORT": str(self.port), "WEIR_KUBE_SERVICE_ACCOUNT_DIR": self.account}
        if pod:
            env.update(POD_NAME=pod, POD_UID=uid or "uid-of-" + pod, POD_NAMESPACE=self.namespace)
        return env

    # ---- life

    def start(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                with outer.more:
                    outer.connections.add(self.connection)

            def finish(self):
                with outer.more:
                    outer.connections.discard(self.connection)
                try:
                    super().finish()
                except OSError:
                    pass

            def log_message(self, *args):
                pass

            def do_GET(self):
                outer._serve(self)

            do_PATCH = do_DELETE = do_POST = do_PUT = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that left, or knows no TLS

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.write("kubeconfig", json.dumps(self.kubeconfig(next(iter(self.tokens)))))

    def cut(self):
        """Every connection breaks."""
        with self.more:
            for c in self.connections:
                try:
                    with socket.socket(fileno=os.dup(c.fileno())) as s:
                        s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.closing += 1
            self.more.notify_all()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            self.cut()

    def end_watches(self):
        """In order, as the server does after some minutes."""
        with self.more:
            self.closing += 1
            self.more.notify_all()

    def compact(self):
        """Nothing can go on from any version that was seen until now."""
        with self.more:
            self.version += 1
            self.oldest = self.version
            self.history.clear()

    def fail(self, verb, plural, code, retry_after=None, times=1):
        with self.more:
            self.faults += [[verb, plural, code, retry_after] for _ in range(times)]

    def count(self, verb, plural):
        with self.more:
            return sum(1 for v, p, _ in self.calls if (v, p) == (verb, plural))

    def wait_call(self, verb, plural, n=1):
        until(f"{n} times {verb} {plural}", lambda: self.count(verb, plural) >= n)

    # ---- operator and kubelet

    def put(self, plural, obj):
        group, versions, kind = KINDS[plural]
        with self.more:
            old = self.objects[plural].get(obj["metadata"]["name"])
            self.version += 1
            meta = {"namespace": self.namespace, "uid": old["metadata"]["uid"] if old else str(uuid.uuid4()),
                    "creationTimestamp": "2026-11-27T00:00:00Z"}
            obj = {"kind": kind, "apiVersion": f"{group}/{versions[0]}".strip("/"), **obj,
                   "metadata": {**meta, **obj["metadata"], "resourceVersion": str(self.version)}}
            self.objects[plural][obj["metadata"]["name"]] = obj
            self.history.append((self.version, plural, "MODIFIED" if old else "ADDED", obj, old))
            self.more.notify_all()
            return obj

    def delete(self, plural, name):
        with self.more:
            obj = copy.deepcopy(self.objects[plural].pop(name))
            self.version += 1
            obj["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, plural, "DELETED", obj, obj))
            self.more.notify_all()

    def slice(self, name, *pods):
        """An EndpointSlice: (pod, ready) or (pod, ready, uid) each."""
        ends = []
        for pod, ready, *uid in pods:
            ends.append({"addresses": ["127.0.0.1"], "conditions": {"ready": ready, "serving": ready, "terminating": False},
                         "targetRef": {"kind": "Pod", "name": pod, "namespace": self.namespace,
                                       "uid": uid[0] if uid else "uid-of-" + pod}})
        self.put("endpointslices", {"metadata": {"name": name, "labels": {**LABELS, "kubernetes.io/service-name": name}},
                                    "addressType": "IPv4", "ports": [{"name": "system", "port": 9090}], "endpoints": ends or None})

    def bookmark(self):
        with self.more:
            self.version += 1
            for plural in KINDS:
                self.history.append((self.version, plural, "BOOKMARK", None, None))
            self.more.notify_all()

    def records(self, name):
        """{bucket: {path: record}} of a CR; None without one."""
        with self.more:
            cr = self.objects["dynamoworkermetadatas"].get(name)
        return cr and cr["spec"]["data"]

    def registered(self, name, *kinds):
        return until(f"{name} to register", lambda: (r := self.records(name)) and all(r.get(k) for k in kinds or ("endpoints",)) and r)

    # ---- requests

    def _serve(self, h):
        body = h.rfile.read(int(h.headers.get("content-length") or 0))
        try:
            self._route(h, body)
        except Refusal as r:
            self._answer(h, r.code, r.status(), r.retry_after)
        except OSError:
            h.close_connection = True

    @staticmethod
    def _answer(h, code, doc, retry_after=None):
        data = json.dumps(doc).encode()
        h.send_response(code)
        h.send_header("content-type", "application/json")
        h.send_header("content-length", str(len(data)))
        if retry_after is not None:
            h.send_header("retry-after", str(retry_after))
        h.end_headers()
        h.wfile.write(data)

    def _allow(self, user, verb, plural):
        group = KINDS[plural][0]
        for rule in self.rules:
            if ({group, "*"} & set(rule["apiGroups"]) and {plural, "*"} & set(rule["resources"])
                    and {verb, "*"} & set(rule["verbs"])):
                return
        name = f"{plural}.{group}".strip(".")
        raise Refusal(403, f'{name} is forbidden: User "{user}" cannot {verb} resource "{plural}" in API group "{group}" '
                           f'in the namespace "{self.namespace}"')

    def _route(self, h, body):
        url = urllib.parse.urlsplit(h.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        path = re.fullmatch(r"/(?:api/(v1)|apis/([^/]+)/([^/]+))/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?", url.path)
        user = self.tokens.get((h.headers.get("authorization") or "").removeprefix("Bearer "))
        if not user and not h.headers.get("authorization"):
            subject = (h.connection.getpeercert() or {}).get("subject", ())
            user = dict(pair for part in subject for pair in part).get("commonName")
        if not user:
            raise Refusal(401, "Unauthorized")
        if not path:
            raise Refusal(404, "the server could not find the requested resource")
        core, group, version, namespace, plural, name = path.groups()
        if plural not in KINDS or KINDS[plural][0] != (group or "") or (core or version) not in KINDS[plural][1]:
            raise Refusal(404, "the server could not find the requested resource")
        if plural == "endpointslices" and version not in self.versions:
            raise Refusal(404, "the server could not find the requested resource")
        verb = {"PATCH": "patch", "DELETE": "delete", "POST": "create", "PUT": "update"}.get(h.command) or (
            "get" if name else "watch" if query.get("watch") in ("true", "1") else "list")
        with self.more:
            self.calls.append((verb, plural, query))
            self.called.append(time.monotonic())
            fault = next((f for f in self.faults if f[:2] == [verb, plural]), None)
            if fault:
                self.faults.remove(fault)
        if namespace != self.namespace:
            raise Refusal(403, f'{plural} is forbidden: User "{user}" cannot {verb} it in the namespace "{namespace}"')
        self._allow(user, verb, plural)
        if fault and fault[2] == "page":
            raise Refusal(410, "The provided continue parameter is too old")
        if fault:
            raise Refusal(fault[2], "a fault that the test asked for", fault[3])
        if verb == "list":
            self._list(h, plural, query, version)
        elif verb == "watch":
            self._watch(h, plural, query)
        elif verb == "patch":
            self._apply(h, user, plural, name, query, body)
        elif verb in ("get", "delete") and name:
            with self.more:
                obj = self.objects[plural].get(name)
            if obj is None:
                raise Refusal(404, f'{plural} "{name}" not found')
            if verb == "delete":
                self.delete(plural, name)
            self._answer(h, 200, obj)
        else:
            raise Refusal(400, "not known here: " + verb)

    @staticmethod
    def _selects(query, obj):
        if obj is None:
            return False
        selector = query.get("labelSelector", "")
        labels = obj["metadata"].get("labels", {})
        return all(labels.get(k) == v for k, v in (part.split("=", 1) for part in selector.split(",") if part))

    def _list(self, h, plural, query, version):
        group, versions, kind = KINDS[plural]
        with self.more:
            token = query.get("continue")
            if token:
                if token not in self.pages:
                    raise Refusal(410, "The provided continue parameter is too old to display a consistent list result")
                items, at = self.pages.pop(token)
            else:
                items = [o for _, o in sorted(self.objects[plural].items()) if self._selects(query, o)]
                at = self.version
            limit = self.page or int(query.get("limit", 0))
            meta = {"resourceVersion": str(at)}
            if limit and len(items) > limit:
                meta["continue"] = "next/" + uuid.uuid4().hex + "=="
                self.pages[meta["continue"]] = (items[limit:], at)
                items = items[:limit]
        if "PartialObjectMetadataList" in (h.headers.get("accept") or ""):
            kind, items = "PartialObjectMetadata", [{"metadata": o["metadata"]} for o in items]
        self._answer(h, 200, {"kind": kind + "List", "apiVersion": f"{group}/{version or versions[0]}".strip("/"), "metadata": meta,
                              "items": items})

    def _watch(self, h, plural, query):
        at = int(query.get("resourceVersion") or 0)
        with self.more:
            if self.no_watch and at < self.no_watch[1]:
                raise Refusal(self.no_watch[0], "the test lets nobody watch from this version")
            closing = self.closing
            h.send_response(200)
            h.send_header("content-type", "application/json")
            h.send_header("transfer-encoding", "chunked")
            h.end_headers()
            if self.error_event:
                self._event(h, "ERROR", Refusal(self.error_event, "the test lets nobody watch").status())
                h.wfile.write(b"0\r\n\r\n")
                return
            if at < self.oldest:
                self._event(h, "ERROR", Refusal(410, f"too old resource version: {at} ({self.oldest})").status())
                h.wfile.write(b"0\r\n\r\n")
                return
            self.watches[plural] += 1
            self.began += 1
            self.more.notify_all()
            try:
                while self.closing == closing:
                    for version, _, change, obj, old in [e for e in self.history if e[0] > at and e[1] == plural]:
                        at = version
                        if change == "BOOKMARK":
                            if query.get("allowWatchBookmarks") == "true":
                                group, versions, kind = KINDS[plural]
                                self._event(h, change, {"kind": kind, "apiVersion": f"{group}/{versions[0]}".strip("/"),
                                                        "metadata": {"resourceVersion": str(version), "creationTimestamp": None}})
                        elif self._selects(query, obj):
                            self._event(h, change if self._selects(query, old) or change == "DELETED" else "ADDED", obj)
                        elif self._selects(query, old):
                            self._event(h, "DELETED", obj)
                    self.more.wait(60)
            finally:
                self.watches[plural] -= 1
            h.wfile.write(b"0\r\n\r\n")

    @staticmethod
    def _event(h, change, obj):
        line = json.dumps({"type": change, "object": obj}).encode() + b"\n"
        h.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        h.wfile.flush()

    def _apply(self, h, user, plural, name, query, body):
        if not h.headers.get("content-type", "").startswith("application/apply-patch+yaml"):
            raise Refusal(415, "only server-side apply is known here")
        manager = query.get("fieldManager")
        if not manager:
            raise Refusal(400, "fieldManager is required for apply patch")
        want = json.loads(body)
        group, versions, kind = KINDS[plural]
        if (want.get("kind"), want.get("apiVersion"), want["metadata"].get("name")) != (kind, f"{group}/{versions[0]}", name):
            raise Refusal(400, "the object is not the one in the path")
        with self.more:
            old = self.objects[plural].get(name)
            if old is None:
                self._allow(user, "create", plural)
            else:
                other = old["metadata"]["managedFields"][0]["manager"]
                if other != manager and query.get("force") != "true":
                    raise Refusal(409, f"Apply failed with a conflict with {other}")
            meta = {**want["metadata"], "managedFields": [{"manager": manager, "operation": "Apply"}]}
            same = old and old["spec"] == want["spec"] and old["metadata"].get("ownerReferences") == meta.get("ownerReferences")
            obj = old if same else self.put(plural, {"metadata": meta, "spec": want["spec"]})
            if self.collects:
                self.delete(plural, name)
        self._answer(h, 200 if old else 201, obj)
