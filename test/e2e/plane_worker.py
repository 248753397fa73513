"""A worker of the request plane that does what a test says: it keeps what the frontend sends and answers with the items that
the request's own annotation `script:[…]` lists.

An item is an LLMEngineOutput; {"raise": {…}} sends an error object, {"annotated": {…}} what stands around an output. Without a
script the answer is one letter. Records in the discovery folder, frames and envelopes as of shared spec "transport" 1.3, 2.2, 2.4, 2.5, 3.3; JSON.
"""
import json
import os
import socket
import struct
import threading

from weir import until


def read(s, n):
    out = b""
    while len(out) < n:
        try:
            got = s.recv(n - len(out))
        except ConnectionResetError:
            got = b""
        if not got:
            return None
        out += got
    return out


def two_part(header=b"", body=b""):
    return struct.pack(">QQQ", len(header), len(body), 0) + header + body


def card_of_mocker(fleet, model):
    """The card of a worker with this model that was here."""
    fleet.env["DYN_SELF_HOST_METADATA"] = "0"  # its files are read where they are: it is gone by then
    mocker = fleet.mocker("--model-path", model, "--block-size", "16")
    folder = os.path.join(fleet.env["DYN_FILE_KV"], "v1", "mdc")
    name, = until("its card", lambda: [f for f in os.listdir(folder) if "." not in f])
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        card = json.load(f)["card_json"]
    assert mocker.stop() == 0
    return {k: v for k, v in card.items() if k != "display_name"}


class PlaneWorker:
    def __init__(self, fleet, model="m", number=0x77, component="plane", **card):
        self.requests, self.more = [], threading.Condition()
        self.drops = None  # what becomes of requests that it has acknowledged: see _drop
        self.drops_ahead = None  # the same for those without a script
        self.acknowledges = True  # else it closes the connection that a request came on
        self.gathers = False  # all items leave in one write
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.path = f"{number:x}/dynamo/{component}/generate"
        where = {"namespace": "dynamo", "component": component, "endpoint": "generate", "instance_id": number}
        port = self.listener.getsockname()[1]
        records = {
            "mdc": {"type": "Model", **where, "card_json": {
                "display_name": model, "slug": model, "tokenizer": {"weir_builtin": "bytes"}, "context_length": 0, "kv_cache_block_size": 16,
                "migration_limit": 0, "model_type": "Chat | Completions", "model_input": "Tokens", "worker_type": "aggregated",
                "needs": [], "runtime_config": {"total_kv_blocks": 1024, "max_num_seqs": 8, "max_num_batched_tokens": 8192}, **card}},
            "instances": {"type": "Endpoint", **where, "transport": {"tcp": f"127.0.0.1:{port}/{self.path}"},
                          "request_plane_codec": "json"}}
        self.card, self.instance = records["mdc"], records["instances"]
        self.files = []
        for bucket, record in records.items():
            folder = os.path.join(fleet.env["DYN_FILE_KV"], "v1", bucket)
            os.makedirs(folder, exist_ok=True)
            self.files.append(os.path.join(folder, f"dynamo%2F{component}%2Fgenerate%2F{number:x}"))
            self._write(self.files[-1], record)
        self.closed = threading.Event()
        threading.Thread(target=self._touch, daemon=True).start()
        threading.Thread(target=self._accept, daemon=True).start()

    @staticmethod
    def _write(name, record):
        with open(name + ".tmp", "w", encoding="utf-8") as f:
            json.dump(record, f)
        os.rename(name + ".tmp", name)

    def say(self, **card):
        """These members of its card are others from now on."""
        self.card["card_json"].update(card)
        self._write(self.files[0], self.card)

    def announce(self):
        """Its instance once more, a little different."""
        self.instance["device_type"] = "cpu"
        self._write(self.files[1], self.instance)

    def close(self):
        self.closed.set()
        self.listener.close()
        for name in self.files:
            os.unlink(name)

    def last(self):
        """(control header, request) of the newest."""
        with self.more:
            assert self.requests, "nothing has been sent to the worker"
            return self.requests[-1]

    def _touch(self):
        """Records that nobody touches are taken for those of a dead process."""
        while not self.closed.wait(2):
            for name in self.files:
                try:
                    os.utime(name)
                except FileNotFoundError:
                    return

    def _accept(self):
        while not self.closed.is_set():
            try:
                s = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        with s:
            while True:
                head = read(s, 2)
                if head is None:
                    return
                read(s, struct.unpack(">H", head)[0])
                read(s, struct.unpack(">H", read(s, 2))[0])
                payload = read(s, struct.unpack(">I", read(s, 4))[0])
                n_control, n_body, _ = struct.unpack(">QQQ", payload[:24])
                control = json.loads(payload[24:24 + n_control])
                request = json.loads(payload[24 + n_control:24 + n_control + n_body])
                with self.more:
                    self.requests.append((control, request))
                if not self.acknowledges:
                    return
                s.sendall(struct.pack(">I", 0))
                threading.Thread(target=self._answer, args=(control, request), daemon=True).start()

    def _drop(self, home, how):
        """The request is taken, and nothing comes of it."""
        if how == "never calls":
            return
        host, port = home["address"].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as s:
            handshake = two_part(json.dumps({"subject": home["subject"], "stream_type": "response"}).encode())
            s.sendall({"hangs up": handshake, "hangs up behind its prologue": handshake + two_part(b'{"error":null}'),
                       "breaks off": handshake[:20]}[how])

    def _answer(self, control, request):
        home = json.loads(control["connection_info"]["info"])
        told = request.get("annotations") or (request.get("nvext") or {}).get("annotations")  # of embeddings of text
        script = [json.loads(a[7:]) for a in told or [] if a.startswith("script:")]
        drops = self.drops or (None if script else self.drops_ahead)
        if drops:
            self._drop(home, drops)
            return
        items = script[0] if script else [{"token_ids": [65]}, {"token_ids": [], "finish_reason": "stop"}]
        host, port = home["address"].rsplit(":", 1)
        with socket.create_connection((host, int(port))) as s:
            try:
                s.sendall(two_part(json.dumps({"subject": home["subject"], "stream_type": "response"}).encode())
                          + two_part(b'{"error":null}'))
                frames = []
                for item in items:
                    data = {"event": "error", "error": item["raise"]} if "raise" in item else item.get("annotated", {"data": item})
                    frames.append(two_part(body=json.dumps({"data": data, "complete_final": False}).encode()))
                frames.append(two_part(body=b'{"complete_final":true}') + two_part(b'"sentinel"'))
                for part in [b"".join(frames)] if self.gathers else frames:
                    s.sendall(part)
                while s.recv(4096):
                    pass
            except OSError:
                pass  # the frontend has heard enough
