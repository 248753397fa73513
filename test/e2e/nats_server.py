"""A real nats-server for tests, its keys and its JWTs.

Keys are written by code of this file (base32, CRC) over key pairs of the openssl program, so the server judges
what `weir` derives from a seed by itself.
"""
import base64
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from weir import DEADLINE_S, kept_port, until

BINARY = shutil.which("nats-server")
WHY_NOT = "no nats-server in PATH (Debian package nats-server; scripts/setup ci installs it)"


class NatsServer:
    """Listens on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder, *flags, scheme="nats", within=None):
        self.folder = tempfile.mkdtemp(dir=folder, prefix="nats")
        self.flags, self.scheme, self.port, self.child = flags, scheme, -1 if within else kept_port(), None
        self.enter, self.host = (within.enter, within.wire) if within else ((), "127.0.0.1")
        self.start()

    def start(self):
        self.child = subprocess.Popen([*self.enter, BINARY, "-a", self.host, "-p", str(self.port), "--ports_file_dir", self.folder,
                                       "-l", os.path.join(self.folder, "log"), *self.flags])
        def listening():
            assert self.child.poll() is None, "nats-server ended: " + self.log()
            for path in glob.glob(os.path.join(self.folder, f"*_{self.child.pid}.ports")):
                with open(path, encoding="ascii") as f:
                    text = f.read()
                if text:
                    ports = json.loads(text)
                    self.cluster = ports.get("cluster", [None])[0]
                    return int(ports["nats"][0].rsplit(":", 1)[1])
            return None
        self.port = until("nats-server", listening)
        return self

    @property
    def url(self):
        return f"{self.scheme}://{self.host}:{self.port}"

    def log(self):
        with open(os.path.join(self.folder, "log"), encoding="utf-8") as f:
            return f.read()

    def signal(self, number):
        self.child.send_signal(number)
        # Threads stop one after another, and until then they still serve.
        while number == signal.SIGSTOP and not self.stopped():
            time.sleep(0.001)

    def stopped(self):
        def state(task):
            with open(f"/proc/{self.child.pid}/task/{task}/stat") as f:
                return f.read().rpartition(")")[2].split()[0]
        return all(state(task) == "T" for task in os.listdir(f"/proc/{self.child.pid}/task"))

    def kill(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait()


class NatsClient:
    """A few lines of the text protocol: asks and publishes. The server has no login."""

    def __init__(self, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), DEADLINE_S)
        self.file = self.socket.makefile("rb")
        assert self.file.readline().startswith(b"INFO ")
        self.send('CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}')
        self.send("SUB inbox 1")

    def info_again(self):
        """What the server tells a client that has just come."""
        with socket.create_connection(self.socket.getpeername(), DEADLINE_S) as s, s.makefile("rb") as f:
            return f.readline().decode()

    def send(self, line, payload=None):
        self.socket.sendall(line.encode() + b"\r\n" + (b"" if payload is None else payload + b"\r\n"))

    def ask(self, subject, payload=b""):
        """The first answer; None: nobody listens."""
        self.send(f"PUB {subject} inbox {len(payload)}", payload)
        while True:
            words = self.file.readline().split()
            if words[0] == b"PING":
                self.send("PONG")
            elif words[0] in (b"MSG", b"HMSG"):
                data = self.file.read(int(words[-1]) + 2)[:-2]
                return None if words[0] == b"HMSG" and b" 503" in data.split(b"\r\n")[0] else data
            else:
                assert words[0] in (b"PONG", b"INFO"), words

    def close(self):
        self.file.close()
        self.socket.close()


def heard(server, subject):
    """Whether the server takes somebody to listen there, dead or alive."""
    client = NatsClient(server)
    client.socket.settimeout(1)
    try:
        return client.ask(subject) is not None
    except TimeoutError:
        return True
    finally:
        client.close()


# ---- nkeys and JWTs -----------------------------------------------------------------------------

OPERATOR, ACCOUNT, USER, SEED = 14, 0, 20, 18


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc


def base32(data):
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).decode().rstrip("=")


class Key:
    def __init__(self, kind, folder):
        self.path = os.path.join(tempfile.mkdtemp(dir=folder), "key.der")
        def openssl(*argv):
            return subprocess.run(["openssl", *argv], check=True, capture_output=True).stdout
        openssl("genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", self.path)
        with open(self.path, "rb") as f:
            secret = f.read()[-32:]
        public = openssl("pkey", "-inform", "DER", "-in", self.path, "-pubout", "-outform", "DER")[-32:]
        prefix = kind << 3
        self.seed = base32(bytes([SEED << 3 | prefix >> 5, (prefix & 31) << 3]) + secret)
        self.public = base32(bytes([prefix]) + public)

    def sign(self, data):
        path = self.path + ".data"
        with open(path, "wb") as f:
            f.write(data)
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", self.path, "-in", path],
                              check=True, capture_output=True).stdout


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def jwt(issuer, subject, name, claims):
    body = {"jti": base64.b32encode(os.urandom(20)).decode(), "iat": int(time.time()) - 60, "iss": issuer.public, "name": name,
            "sub": subject.public, "nats": {"version": 2, **claims}}
    text = url64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode()) + "." + url64(json.dumps(body).encode())
    return text + "." + url64(issuer.sign(text.encode()))


ANY = {"subs": -1, "data": -1, "payload": -1}


def operator_config(folder):
    """(configuration of a server that trusts an operator, credentials file of a user)"""
    operator, account, user = (Key(kind, folder) for kind in (OPERATOR, ACCOUNT, USER))
    o = jwt(operator, operator, "op", {"type": "operator"})
    a = jwt(operator, account, "acc", {"type": "account", "limits": {
        **ANY, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}})
    u = jwt(account, user, "usr", {"type": "user", "pub": {}, "sub": {}, **ANY})
    config, creds = os.path.join(folder, "operator.conf"), os.path.join(folder, "user.creds")
    with open(config, "w", encoding="ascii") as f:
        f.write(f"operator: {o}\nresolver: MEMORY\nresolver_preload: {{ {account.public}: {a} }}\n")
    with open(creds, "w", encoding="ascii") as f:
        f.write(f"-----BEGIN NATS USER JWT-----\n{u}\n------END NATS USER JWT------\n\n"
                f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n")
    return config, creds
