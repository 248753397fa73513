"""A real etcd of one member, asked over its JSON gateway, and a TCP relay to cut somebody off from it."""
import base64
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from weir import kept_port, until

BINARY = os.environ.get("WEIR_ETCD") or shutil.which("etcd")


def b64(text):
    return base64.b64encode(text.encode()).decode()


def plain(text):
    return base64.b64decode(text).decode()


class Etcd:
    """Its own process; what it holds stays in `folder` when it is killed."""

    PEER = ("--listen-peer-urls", "http://127.0.0.1:0", "--initial-advertise-peer-urls", "http://127.0.0.1:1",
            "--initial-cluster", "default=http://127.0.0.1:1")

    def __init__(self, folder, *flags, scheme="http", context=None, peer=PEER, wait=True, within=None):
        if not BINARY:
            pytest.skip("no etcd (Debian package etcd-server; or name one in WEIR_ETCD)")
        self.peer, self.wait, self.enter = peer, wait, within.enter if within else ()
        # Where others find it, where a test asks it.
        self.host, self.asked = (within.wire, within.side) if within else ("127.0.0.1", "127.0.0.1")
        self.folder, self.flags, self.scheme, self.context = str(folder), flags, scheme, context
        self.child = self.token = None
        os.makedirs(self.folder, exist_ok=True)
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.port = kept_port()  # its gateway connects to the port as it was given, so 0 is none
        self.start()

    @property
    def url(self):
        return f"{self.scheme}://{self.host}:{self.port}"

    def _launch(self):
        """False: it has ended."""
        self.child = subprocess.Popen(
            [*self.enter, BINARY, "--data-dir", os.path.join(self.folder, "data"), "--listen-client-urls",
             f"{self.scheme}://{self.host if self.host == self.asked else '0.0.0.0'}:{self.port}",
             "--advertise-client-urls", self.url, "--heartbeat-interval", "20", "--election-timeout", "200", *self.peer,
             *self.flags], stdout=self.log, stderr=self.log)
        return not self.wait or until("etcd to answer", self.answers) != "ended"

    def answers(self):
        """Whether it has a leader; "ended" when it ended."""
        if self.child.poll() is not None:
            return "ended"
        try:
            return self.ask("/health", method="GET")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def start(self):
        assert self._launch(), "etcd ended: " + self.folder

    def ask(self, path, body=None, method="POST"):
        make = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        more = {"context": self.context} if self.scheme == "https" else {}
        c = make(self.asked, self.port, timeout=10, **more)
        c.request(method, path, json.dumps(body or {}), {"authorization": self.token} if self.token else {})
        r = c.getresponse()
        data = r.read()
        c.close()
        try:
            return r.status, json.loads(data)
        except ValueError:
            return r.status, data

    def must(self, path, body):
        """Its answer, which is no error. A token that ran out on the way there (they may live for a second) is renewed."""
        def answered():
            status, doc = self.ask(path, body)
            if status == 401 and self.token:
                self.login()
                return None
            return status, doc
        status, doc = until("etcd to take the token", answered)
        assert status == 200, (path, status, doc)
        return doc

    def records(self):
        """{key: (value, lease)} of all that Dynamo's buckets hold."""
        doc = self.must("/v3/kv/range", {"key": b64("v1/"), "range_end": b64("v10")})
        return {plain(kv["key"]): (json.loads(plain(kv["value"])), int(kv.get("lease", 0))) for kv in doc.get("kvs", [])}

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.kill()
        self.log.close()

    def wipe(self):
        shutil.rmtree(os.path.join(self.folder, "data"))

    def add_users(self):
        """root, and `weir` with the password `secret` and what Weir needs."""
        for user, password in (("root", "top"), ("weir", "secret")):
            self.must("/v3/auth/user/add", {"name": user, "password": password})
            self.must("/v3/auth/role/add", {"name": user})
            self.must("/v3/auth/user/grant", {"user": user, "role": user})
        self.must("/v3/auth/role/grant", {"name": "weir", "perm": {"permType": "READWRITE", "key": b64("v1/"),
                                                                  "range_end": b64("v10")}})
        self.must("/v3/auth/enable", {})
        self.login()

    def login(self):
        self.token = None
        self.token = self.must("/v3/auth/authenticate", {"name": "root", "password": "top"})["token"]


def cluster(folder, n=3):
    """So many members that know each other."""
    peers = [f"http://127.0.0.1:{kept_port()}" for _ in range(n)]
    names = ",".join(f"m{i}={url}" for i, url in enumerate(peers))
    members = [Etcd(os.path.join(folder, f"m{i}"), "--name", f"m{i}", wait=False,
                    peer=("--listen-peer-urls", url, "--initial-advertise-peer-urls", url, "--initial-cluster", names))
               for i, url in enumerate(peers)]
    for m in members:
        assert until("a member to answer", m.answers) is True, "etcd ended: " + m.folder
    return members


class Relay:
    """Passes TCP connections on while it is open; cut() ends all of them and refuses new ones."""

    def __init__(self, port):
        self.target = port
        self.lock = threading.Lock()
        self.pairs = []
        self.open = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                a, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if not self.open:
                    a.close()
                    continue
                try:
                    b = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    a.close()
                    continue
                self.pairs.append((a, b))
            for x, y in ((a, b), (b, a)):
                threading.Thread(target=self._pump, args=(x, y), daemon=True).start()

    @staticmethod
    def _pump(x, y):
        try:
            while data := x.recv(65536):
                y.sendall(data)
        except OSError:
            pass
        for s in (x, y):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            self.open = False
            for pair in self.pairs:
                for s in pair:
                    try:
                        s.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            self.pairs.clear()

    def mend(self):
        with self.lock:
            self.open = True

    def close(self):
        self.cut()
        self.listener.close()


class Gateway:
    """An HTTP relay before an etcd that can answer in its place what etcd says rarely, or only under load."""

    def __init__(self, etcd):
        self.etcd = etcd
        self.limit = None  # of each page of a list, in place of what was asked for
        self.mute, self.swallowed = False, 0  # events of watches are swallowed; the revision of the last one
        self.hold = None  # a path whose calls are not answered before close()
        self.held, self.release = threading.Event(), threading.Event()
        self.failures = 0  # so many calls are answered with "no leader"
        self.calls = []
        self.watches = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                outer._post(self, json.loads(self.rfile.read(int(self.headers["content-length"]))))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _post(self, h, doc):
        self.calls.append((h.path, doc))
        if h.path == self.hold:
            self.held.set()
            self.release.wait(60)
        if self.failures > 0:
            self.failures -= 1
            self._answer(h, 503, b'{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}')
            return
        if self.limit and h.path == "/v3/kv/range":
            doc["limit"] = str(self.limit)
        c = http.client.HTTPConnection("127.0.0.1", self.etcd.port, timeout=60)
        c.request("POST", h.path, json.dumps(doc))
        r = c.getresponse()
        if h.path != "/v3/watch":
            self._answer(h, r.status, r.read())
            return
        h.send_response(r.status)
        h.send_header("transfer-encoding", "chunked")
        h.end_headers()
        self.watches.append(h)
        try:
            while line := r.readline():
                if self.mute and b'"events"' in line:
                    self.swallowed = max(int(e["kv"]["mod_revision"]) for e in json.loads(line)["result"]["events"])
                elif line.strip():
                    self._chunk(h, line)
        except OSError:
            h.close_connection = True  # the other side has left

    @staticmethod
    def _answer(h, status, body):
        h.send_response(status)
        h.send_header("content-length", str(len(body)))
        h.end_headers()
        h.wfile.write(body)

    @staticmethod
    def _chunk(h, data):
        h.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        h.wfile.flush()

    def swallow(self, change):
        """Makes a change of records that no watch is told of: its last event has come, and gone, when this returns."""
        self.mute = True
        got = change()
        last = int(self.etcd.must("/v3/kv/range", {"key": b64("v1/")})["header"]["revision"])
        until(f"the event of revision {last}", lambda: self.swallowed >= last)
        self.mute = False
        return got

    def say(self, line):
        """One line to the newest watch."""
        until("a watch", lambda: self.watches)
        self._chunk(self.watches[-1], line.encode() + b"\n")

    def close(self):
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


def certificates(folder):
    """ca.pem, and for `server` and `client` a key and a certificate, all below `folder`."""
    def openssl(*argv):
        subprocess.run(["openssl", *argv], check=True, capture_output=True, cwd=folder)
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    for name in ("server", "client"):
        with open(os.path.join(folder, name + ".ext"), "w", encoding="ascii") as f:
            # The gateway shows etcd's own certificate to etcd, as a client.
            f.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", *ec, "-keyout", name + ".key", "-out", name + ".csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
                name + ".pem", "-days", "2", "-extfile", name + ".ext")


def client_context(folder):
    context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
    context.load_cert_chain(os.path.join(folder, "client.pem"), os.path.join(folder, "client.key"))
    return context
