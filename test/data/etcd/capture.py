"""Asks a real etcd over its JSON gateway and writes what it answers: answers.tsv, one answer a line.

usage: capture.py ETCD_BINARY… >answers.tsv     (needs nothing but Python; each etcd runs in a temporary folder)

Columns: version, case, HTTP status, the body (of a watch: one line of it), and the same as Python's json and base64 read it.
"""
import base64
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading


def b64(text):
    return base64.b64encode(text.encode()).decode()


def plain(value):
    return base64.b64decode(value).decode()


def told(doc):
    """The decoded form: what the C reader is expected to say."""
    doc = doc.get("result", doc)
    error = doc.get("error") if isinstance(doc.get("error"), dict) else doc
    text = error.get("message") or doc.get("cancel_reason") or ""
    out = [f"rev={doc.get('header', {}).get('revision', 0)}", f"lease={doc.get('ID', 0)}", f"ttl={doc.get('TTL', 0)}",
           f"more={int(doc.get('more', False))}", f"ok={int(doc.get('succeeded', False))}",
           f"created={int(doc.get('created', False))}", f"canceled={int(doc.get('canceled', False))}",
           f"compact={doc.get('compact_revision', 0)}", f"error={int('code' in error or 'error' in doc)}", f"text={text}"]
    kvs = [(0, e.get("type"), e["kv"]) for e in doc.get("events", [])] + [(0, None, kv) for kv in doc.get("kvs", [])]
    for op, response in enumerate(doc.get("responses", [])):
        kvs += [(op, None, kv) for kv in response.get("response_range", {}).get("kvs", [])]
    for op, kind, kv in kvs:
        out.append(f"{op}:{'-' if kind == 'DELETE' else '+'}{plain(kv['key'])}={plain(kv.get('value', ''))}"
                   f"@{kv.get('mod_revision', 0)}/{kv.get('lease', 0)}")
    out += [f"0:+{plain(key)}=@0/0" for key in doc.get("keys", [])]
    return " ".join(out)


class Etcd:
    def __init__(self, binary, folder):
        self.version = re.search(r"etcd Version: (\S+)",
                                 subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout).group(1)
        client, peer = "127.0.0.1:23790", "127.0.0.1:23800"
        self.child = subprocess.Popen(
            [binary, "--data-dir", folder, "--listen-client-urls", f"http://{client}", "--advertise-client-urls",
             f"http://{client}", "--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}",
             "--initial-cluster", f"default=http://{peer}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.token = None
        pause = threading.Event()
        while True:
            try:
                self.ask("kv/range", {"key": b64("x")})
                return
            except OSError:
                pause.wait(0.1)

    def ask(self, path, body, lines=0):
        c = http.client.HTTPConnection("127.0.0.1", 23790, timeout=10)
        head = {"authorization": self.token} if self.token else {}
        c.request("POST", "/v3/" + path, json.dumps(body), head)
        r = c.getresponse()
        got = [r.readline() for _ in range(lines)] if lines else [r.read()]
        c.close()
        return r.status, [line.decode().strip() for line in got]

    def show(self, case, path, body, lines=0):
        status, got = self.ask(path, body, lines)
        for n, line in enumerate(got):
            doc = json.loads(line)
            if "token" in doc:
                doc["token"] = line = "secret"
                continue
            print(self.version, f"{case}{n or ''}", status, line, told(doc), sep="\t")


def put(key, value, lease):
    return {"compare": [{"key": b64(key), "target": "VERSION", "result": "EQUAL", "version": "0"}],
            "success": [{"request_put": {"key": b64(key), "value": b64(value), "lease": lease}}],
            "failure": [{"request_range": {"key": b64(key)}}]}


def capture(binary, folder):
    e = Etcd(binary, folder)
    everything = {"key": b64("v1/"), "range_end": b64("v10")}
    e.show("grant", "lease/grant", {"TTL": "30", "ID": "4660"})
    e.show("kept", "lease/keepalive", {"ID": "4660"})
    e.show("kept-unknown", "lease/keepalive", {"ID": "99"})
    e.show("put", "kv/txn", put("v1/a", "x \u00e9 {\"<&>\"}", "4660"))
    e.show("put-again", "kv/txn", put("v1/a", "x", "4660"))
    e.show("put-no-lease", "kv/txn", put("v1/b", "x", "77"))
    e.ask("kv/txn", put("v1/b", "", "0"))
    e.ask("kv/txn", put("v1/c", "z" * 100, "4660"))
    e.show("keys", "lease/timetolive", {"ID": "4660", "keys": True})
    e.show("keys-unknown", "lease/timetolive", {"ID": "77", "keys": True})
    e.show("range", "kv/range", everything)
    e.show("range-cut", "kv/range", {**everything, "limit": "2"})
    e.show("range-none", "kv/range", {"key": b64("w"), "range_end": b64("x")})
    e.show("delete", "kv/txn", {"compare": [{"key": b64("v1/a"), "target": "LEASE", "result": "EQUAL", "lease": "4660"}],
                                "success": [{"request_delete_range": {"key": b64("v1/a")}}]})
    e.show("watch", "watch", {"create_request": {**everything, "start_revision": "1", "fragment": True}}, 2)
    e.ask("kv/compaction", {"revision": "4"})
    e.show("watch-compacted", "watch", {"create_request": {**everything, "start_revision": "1"}}, 2)
    e.show("range-compacted", "kv/range", {**everything, "revision": "1"})
    e.show("range-future", "kv/range", {**everything, "revision": "1000"})
    e.show("revoke-unknown", "lease/revoke", {"ID": "4661"})
    e.show("revoke", "lease/revoke", {"ID": "4660"})
    e.show("login-off", "auth/authenticate", {"name": "a", "password": "b"})
    for user in ("root", "w"):
        e.ask("auth/user/add", {"name": user, "password": "p"})
        e.ask("auth/role/add", {"name": user})
        e.ask("auth/user/grant", {"user": user, "role": user})
    e.ask("auth/enable", {})
    e.show("no-user", "kv/range", everything)
    e.show("login-wrong", "auth/authenticate", {"name": "w", "password": "x"})
    e.show("login-nobody", "auth/authenticate", {"name": "nobody", "password": "x"})
    status, got = e.ask("auth/authenticate", {"name": "w", "password": "p"})
    e.token = json.loads(got[0])["token"]
    e.show("no-permission", "kv/range", everything)
    e.show("watch-no-permission", "watch", {"create_request": everything}, 1)
    e.token = "stale.1"
    e.show("stale-token", "kv/range", everything)
    e.show("stale-token-kept", "lease/keepalive", {"ID": "1"})
    e.child.send_signal(signal.SIGTERM)
    e.child.wait()


for name in sys.argv[1:]:
    with tempfile.TemporaryDirectory() as home:
        capture(name, os.path.join(home, "data"))
