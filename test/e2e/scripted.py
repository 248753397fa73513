"""A worker whose answers a test writes: discovery records in files, the TCP request plane, no library.

The shapes are those of the shared spec "transport", 2.11 "proven minimum": JSON payloads, one item
per piece of text.
"""
import json
import os
import socket
import struct
import threading
from urllib.parse import quote, unquote


def two_part(header=b"", body=b""):
    return struct.pack(">QQQ", len(header), len(body), 0) + header + body


def exactly(sock, n):
    out = b""
    while len(out) < n:
        more = sock.recv(n - len(out))
        if not more:
            raise ConnectionError("the other side closed")
        out += more
    return out


class ScriptedWorker:
    """`answer(request)` gives (pieces of text, finish reason); `request` is the decoded payload."""

    def __init__(self, folder, answer, model="m", worker_id=0x51, component="backend", worker_type="aggregated",
                 params=None, usage=None, **runtime_config):
        """params: disaggregated_params of the first item; usage(request): completion_usage of the last."""
        self.params, self.usage = params, usage
        self.answer, self.id = answer, worker_id
        self.requests, self.names, self.failure, self.conns = [], [], None, []
        self.closing = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.component = component
        self.path = f"{worker_id:x}/dynamo/{component}/generate"
        place = {"namespace": "dynamo", "component": component, "endpoint": "generate",
                 "instance_id": worker_id}
        port = self.listener.getsockname()[1]
        card = {"display_name": model, "slug": model, "kv_cache_block_size": 16, "migration_limit": 0,
                "model_type": "" if worker_type == "prefill" else "Chat | Completions",
                "model_input": "Tokens", "worker_type": worker_type,
                "needs": [], "tokenizer": {"weir_builtin": "bytes"}, "context_length": 100000,
                "runtime_config": runtime_config}
        self.files = [
            self.publish(folder, "v1/instances", {"type": "Endpoint", **place, "request_plane_codec": "json",
                                                  "transport": {"tcp": f"127.0.0.1:{port}/{self.path}"}}),
            self.publish(folder, "v1/mdc", {"type": "Model", **place, "card_json": card})]
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self.serve, self.keep_alive)]
        for t in self.threads:
            t.start()

    def publish(self, folder, bucket, record):
        where = os.path.join(folder, bucket)
        os.makedirs(where, exist_ok=True)
        name = quote(f"dynamo/{self.component}/generate/{self.id:x}", safe="")
        path = os.path.join(where, name)
        draft = os.path.join(where, f".tmp_{self.id:016x}")
        with open(draft, "w", encoding="utf-8") as f:
            json.dump(record, f)
        os.rename(draft, path)
        return path

    def keep_alive(self):
        while not self.closing.wait(2):
            for f in self.files:
                os.utime(f)

    def serve(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.connection, args=(conn,), daemon=True).start()

    def hang_up(self):
        """Closes the connections on which requests come; whoever asks again opens new ones."""
        for conn in self.conns:
            try:
                conn.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already
        self.conns.clear()

    def connection(self, conn):
        self.conns.append(conn)
        try:
            while True:
                exactly(conn, struct.unpack(">H", exactly(conn, 2))[0])
                exactly(conn, struct.unpack(">H", exactly(conn, 2))[0])
                payload = exactly(conn, struct.unpack(">I", exactly(conn, 4))[0])
                head, body, _ = struct.unpack(">QQQ", payload[:24])
                conn.sendall(bytes(4))
                control = json.loads(payload[24:24 + head])
                try:
                    self.stream(control, json.loads(payload[24 + head:24 + head + body]))
                except ConnectionError:
                    pass  # nobody wants this answer any more; the next request may come here all the same
        except (ConnectionError, OSError):
            conn.close()
        except Exception as e:  # the test looks at it
            self.failure = e

    def stream(self, control, request):
        self.requests.append(request)
        self.names.append(control["id"])
        info = json.loads(control["connection_info"]["info"])
        host, port = info["address"].rsplit(":", 1)
        pieces, finish = self.answer(request)
        with socket.create_connection((host, int(port))) as out:
            def say(header=b"", body=None):
                out.sendall(two_part(header, json.dumps(body).encode() if body is not None else b""))
            say(json.dumps({"subject": info["subject"], "stream_type": "response"}).encode())
            say(b'{"error":null}')
            for i, text in enumerate(pieces):
                data = {"token_ids": [65], "text": text}
                if i == 0 and self.params is not None:
                    data["disaggregated_params"] = self.params
                say(body={"data": {"data": data}, "complete_final": False})
            last = {"token_ids": [], "finish_reason": finish}
            if self.usage:
                last["completion_usage"] = self.usage(request)
            say(body={"data": {"data": last}, "complete_final": False})
            say(body={"complete_final": True})
            say(b'"sentinel"')
            try:
                out.recv(1)
            except ConnectionError:
                pass

    def close(self):
        self.closing.set()
        for f in self.files:
            os.unlink(f)
        self.listener.close()
        assert self.failure is None, self.failure


def cut(text, step=3):
    """In pieces, as tokens come: markers fall apart anywhere."""
    return [text[i:i + step] for i in range(0, len(text), step)]


def frame(conn):
    head, body, _ = struct.unpack(">QQQ", exactly(conn, 24))
    return exactly(conn, head), exactly(conn, body)


def call(folder, ns, component, endpoint, request):
    """Sends one request to an instance of an endpoint, in JSON; its items without their wrapper."""
    start = f"{ns}/{component}/{endpoint}/"
    where = os.path.join(folder, "v1/instances")
    name = next(n for n in os.listdir(where) if unquote(n).startswith(start))
    with open(os.path.join(where, name), encoding="utf-8") as f:
        address, path = json.load(f)["transport"]["tcp"].split("/", 1)
    host, port = address.rsplit(":", 1)
    identity = "5a2b7f50-0000-4000-8000-000000000001"
    items = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        info = {"address": f"127.0.0.1:{listener.getsockname()[1]}", "subject": identity, "context": identity,
                "stream_type": "response"}
        control = {"id": identity, "request_type": "single_in", "response_type": "many_out", "payload_codec": "json",
                   "connection_info": {"transport": "tcp_server", "info": json.dumps(info)}}
        payload = two_part(json.dumps(control).encode(), json.dumps(request).encode())
        with socket.create_connection((host, int(port))) as out:
            out.sendall(struct.pack(">H", len(path)) + path.encode() + struct.pack(">H", 2) + b"{}" +
                        struct.pack(">I", len(payload)) + payload)
            listener.settimeout(30)
            home, _ = listener.accept()
            with home:
                assert json.loads(frame(home)[0])["subject"] == identity
                prologue = json.loads(frame(home)[0])
                assert prologue["error"] is None, prologue
                while True:
                    item = json.loads(frame(home)[1])
                    if item.get("data") is not None:
                        items.append(item["data"])
                    if item["complete_final"]:
                        return items
