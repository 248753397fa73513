"""What operators meet: files that are none, limits that are too low, terminals that go. Each start that cannot work ends
at once with one clear line and status 1, and what serves leaves in order."""
import http.server
import json
import os
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pytest

from etcd import certificates
from test_pools import AGG
from weir import DEADLINE_S, WEIR, Process, until


def start(*argv, env=None, seconds=60, **more):
    """Runs a command that must end by itself; its status and what it printed."""
    merged = {k: v for k, v in os.environ.items() if not k.startswith(("DYN_", "WEIR_"))}
    merged.update(env or {})
    done = subprocess.run([WEIR, *map(str, argv)], env=merged, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=seconds, **more)
    return done.returncode, done.stdout.decode("utf-8", "replace")


# ---- files --------------------------------------------------------------------------------------

KINDS = {"pipe": "a pipe or socket; give a file", "folder": "Is a directory", "missing": "No such file or directory"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("flags", [("--tls-cert-path", "FILE", "--tls-key-path", "FILE"), ("--workers-file", "FILE"),
                                   ("--router-policy-config", "FILE"), ("--pools", "FILE")], ids=lambda f: f[0])
def test_a_path_that_is_no_file(fleet, tmp_path, flags, kind):
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)  # nobody writes: who waits for it waits for ever
    elif kind == "folder":
        path.mkdir()
    code, text = start("frontend", "--http-port", "0", *[str(path) if f == "FILE" else f for f in flags],
                       env=fleet.env)
    assert code == 1 and f"{path}: {KINDS[kind]}" in text, text


def test_a_pipe_is_a_trace_for_a_command_that_ends(tmp_path):
    read, write = os.pipe()
    os.write(write, b"no trace\n")
    os.close(write)
    code, text = start("replay", "--trace", f"/dev/fd/{read}", pass_fds=[read])
    os.close(read)
    assert code == 1 and "line 1" in text, text


def test_a_discovery_folder_that_cannot_be_written(fleet, tmp_path):
    if os.geteuid() == 0 and not os.path.exists("/usr/bin/setpriv"):
        pytest.skip("as root every folder can be written, and there is no setpriv(1)")
    root = tmp_path / "discovery"
    for bucket in ("instances", "mdc", "event_channels", "event_sources"):
        (root / "v1" / bucket).mkdir(parents=True)
    for folder in tmp_path.parents:  # another user must reach it
        if folder.stat().st_uid == os.geteuid() and os.access(folder, os.W_OK) and len(folder.parts) > 2:
            folder.chmod(folder.stat().st_mode | 0o055)
    for folder in [root, *root.rglob("*")]:
        folder.chmod(0o555)
    tmp_path.chmod(0o755)
    argv = [WEIR, "mocker", "--model-name", "m", "--tokenizer", "bytes"]
    if os.geteuid() == 0:
        argv = ["/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *argv]
    done = subprocess.run(argv, env={**fleet.env, "DYN_FILE_KV": str(root)}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    text = done.stdout.decode()
    if "error while loading" in text or done.returncode in (126, 127):
        pytest.skip("the other user cannot run the program where it lies")
    assert done.returncode == 1 and re.search(rf"into {re.escape(str(root))}: Permission denied", text), text


# ---- streams and limits -------------------------------------------------------------------------

def test_a_full_output_is_an_error():
    with open("/dev/full", "wb") as full:
        for argv in (["--version"], ["help"], ["help", "replay"], ["frontend", "--help"], ["mocker", "--version"],
                     ["manual", "--markdown"]):
            done = subprocess.run([WEIR, *argv], stdout=full, stderr=subprocess.PIPE, timeout=60)
            assert done.returncode == 1 and b"cannot write to standard output: No space left" in done.stderr, argv


def test_closed_standard_streams_become_no_sockets(fleet):
    """Without them the first descriptors of the process would be its own: libuv refuses to close such, and errors would
    be printed into a connection."""
    fleet.mocker("--tokenizer", "bytes")
    log = os.path.join(fleet.folder, "log")
    port_file = ["sh", "-c", f'exec "$0" "$@" <&- >&- 2>{log}', WEIR, "frontend", "--http-host", "127.0.0.1",
                 "--http-port", "0"]
    child = subprocess.Popen(port_file, env={**os.environ, **fleet.env})
    try:
        def up():
            with open(log, encoding="utf-8") as f:
                return re.search(r"serving HTTP on \S+ port \d+", f.read())
        until("the frontend to serve", lambda: os.path.exists(log) and up())
        there = [os.readlink(f"/proc/{child.pid}/fd/{fd}") for fd in (0, 1)]
        assert there == ["/dev/null", "/dev/null"]
    finally:
        child.terminate()
        code = child.wait(60)
    with open(log, encoding="utf-8") as f:
        assert code == 0 and "ssertion" not in f.read()


@pytest.mark.parametrize("command", ["frontend", "mocker", "indexer"])
def test_too_few_open_files_are_named(fleet, command):
    code, text = start(command, env=fleet.env,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)))
    assert code == 1 and "only 16 files may be open at once" in text and "ulimit -n" in text, text


def test_the_soft_limit_of_open_files_is_raised(fleet):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 512:
        pytest.skip(f"the hard limit is {hard}")
    front = Process(["sh", "-c", 'ulimit -S -n 256 && exec "$0" "$@"', WEIR, "frontend", "--http-port", "0"], fleet.env,
                    name="frontend")
    fleet.processes.append(front)
    front.wait_line("serving HTTP")
    with open(f"/proc/{front.child.pid}/limits", encoding="ascii") as f:
        soft, hard = re.search(r"Max open files\s+(\d+)\s+(\d+)", f.read()).groups()
    assert soft == hard


# ---- addresses and signals ----------------------------------------------------------------------

@pytest.mark.parametrize("host", ["[::1]", " [::1] ", "[::]"])
def test_an_ipv6_address_may_stand_in_brackets(fleet, host):
    front = Process([WEIR, "frontend", "--http-port", "0"], {**fleet.env, "DYN_HTTP_HOST": host}, name="frontend")
    fleet.processes.append(front)
    port = front.wait_line(r"serving HTTP on .* port (\d+)").group(1)
    got = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://[::1]:{port}/live"],
                         capture_output=True, text=True, timeout=60)
    assert got.stdout == "200", got


@pytest.mark.parametrize("host", ["localhost", "[::", "::1]", "[]"])
def test_a_host_that_is_no_address(fleet, host):
    code, text = start("frontend", "--http-host", host, env=fleet.env)
    assert code == 1 and "not an IP address" in text, text


@pytest.mark.parametrize("command", ["mocker", "router"])
def test_a_terminal_that_goes_ends_a_worker_in_order(fleet, command):
    flags = {"mocker": ["--model-name", "m", "--tokenizer", "bytes"], "router": ["--endpoint", "dynamo.backend.generate"]}
    p = Process([WEIR, command, *flags[command]], fleet.env, name=command)
    instances = os.path.join(fleet.env["DYN_FILE_KV"], "v1", "instances")
    until("its records", lambda: os.path.isdir(instances) and
          [n for n in os.listdir(instances) if "generate" in n])
    p.signal(signal.SIGHUP)
    assert p.wait() == 0
    assert os.listdir(instances) == []


def test_nohup_is_kept(fleet):
    p = Process(["sh", "-c", 'trap "" HUP; exec "$0" "$@"', WEIR, "mocker", "--model-name", "m", "--tokenizer", "bytes"],
                fleet.env, name="mocker")
    fleet.processes.append(p)
    p.wait_line("serves model")
    with open(f"/proc/{p.child.pid}/status", encoding="ascii") as f:
        ignored = int(re.search(r"SigIgn:\s+([0-9a-f]+)", f.read()).group(1), 16)
    assert ignored >> (signal.SIGHUP - 1) & 1


LONG = "x" + "\u20ac" * 120  # no bound of ours is one byte more than whole characters of three


@pytest.mark.parametrize("flags", [
    ("frontend", "--http-host", LONG), ("frontend", "--model-path", "/" + LONG), ("router", "--endpoint", LONG), ("indexer", "--peers", LONG),
    ("indexer", "--trace-id-header", LONG), ("indexer", "--access-log", "/none/" + LONG), ("parse", "--tools", LONG),
    ("frontend", "--router-policy-config", "FILE")], ids=lambda f: f[0] + f[1])
@pytest.mark.parametrize("shift", range(3))
def test_texts_are_cut_between_characters(fleet, tmp_path, flags, shift):
    """What is too long to be shown whole. (Failed before: "%.80s" cuts between bytes, and the line was no UTF-8.)"""
    name = "y" * shift + LONG
    (tmp_path / "policy.yaml").write_text(f"{name}: 1\n", encoding="utf-8")
    flags = [str(tmp_path / "policy.yaml") if f == "FILE" else f.replace(LONG, name) for f in flags]
    code, text = start(*flags, *(["--http-port", "0"] if flags[0] == "frontend" else []), env=fleet.env)
    assert code != 0 and "\u20ac\u20ac\u20ac" in text and name not in text, text
    assert "\ufffd" not in text, text


# ---- metrics ------------------------------------------------------------------------------------

def read_page(page):
    """{family: (type, help, [(name, labels, value)])} of a metrics page, held to the text format: what promtool would say
    about headers, order and repetition fails here."""
    families, current, seen = {}, None, set()
    for line in page.decode().splitlines():
        if line.startswith("# HELP "):
            _, _, current, text = line.split(" ", 3)
            assert current not in families and text, line
            families[current] = [None, text, []]
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current and families[name][0] is None, line
            families[name][0] = kind
        elif line:
            name, labels, value = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line).groups()
            kind = families[current][0]
            assert name == current or kind == "histogram" and re.fullmatch(current + "_(bucket|sum|count)", name), line
            assert (name, labels) not in seen, line
            seen.add((name, labels))
            pairs = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""))
            families[current][2].append((name, pairs, float(value)))
    return families


def histograms(families):
    for family, (kind, _, series) in families.items():
        sets = {}
        for name, labels, value in series if kind == "histogram" else []:
            key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
            part = sets.setdefault(key, {"buckets": []})
            if name.endswith("_bucket"):
                part["buckets"].append((labels["le"], value))
            else:
                part[name[len(family) + 1:]] = value
        for part in sets.values():
            yield family, part


def test_the_metrics_page_is_what_prometheus_reads(pair):
    """Also after requests of each outcome; the bounds of routing times are the reference's 0.01 ms times 3, 17 of them."""
    assert pair.front.chat("a weir is a small dam " * 20).status == 200
    assert pair.front.chat("x", max_tokens=-1).status == 400
    assert pair.front.chat("x", model="none").status == 404
    families = read_page(pair.front.get("/metrics").body)
    bounds = {}
    for family, part in histograms(families):
        values = [v for _, v in part["buckets"]]
        les = [float(le) for le, _ in part["buckets"]]
        assert les == sorted(les) and part["buckets"][-1][0] == "+Inf", family
        assert values == sorted(values) and values[-1] == part["count"] and "sum" in part, family
        bounds[family] = les[:-1]
    want = [0.01 * 3 ** k for k in range(17)]
    assert bounds["dynamo_router_overhead_scheduling_ms"] == pytest.approx(want)
    for family, (kind, _, _) in families.items():
        assert kind in ("counter", "gauge", "histogram")
        assert kind == "counter" or not family.endswith("_total"), family


# ---- slips --------------------------------------------------------------------------------------

@pytest.mark.parametrize("argv,says", [
    (["fronted"], "unknown command fronted; did you mean frontend?"),
    (["help", "repaly"], "unknown command repaly; did you mean replay?"),
    (["serve"], "unknown command serve; see 'weir --help'"),
    (["mocker", "--engine", "vllm", "--num-workers", "2"], "with --engine a process is one server; start more"),
    (["frontend", "--http-port", "0", "--http-host", "192.0.2.1"], "this machine has no such address"),
    (["frontend", "--http-port", "0", "--worker", "http://h:1", "--worker", "http://H:1"],
     "worker H port 1 is named twice: name it once"),
    (["frontend", "--http-port", "0", "--worker", "http://h:1,model=a", "--worker", "http://h:1"], "is named twice"),
], ids=lambda x: "-" if isinstance(x, str) else " ".join(x))
def test_a_slip_is_told_with_what_to_do(fleet, argv, says):
    """(Failed before: no advice, and a server named twice was two workers.)"""
    code, text = start(*argv, env=fleet.env)
    assert code == 1 and says in text, text


def test_a_file_that_names_a_server_twice(fleet, tmp_path):
    path = tmp_path / "workers.toml"
    path.write_text('[[worker]]\nurl = "http://127.0.0.1:1"\n' * 2)
    code, text = start("frontend", "--http-port", "0", "--workers-file", path, env=fleet.env)
    assert code == 1 and f"{path}: worker 127.0.0.1 port 1 is named twice" in text, text
    path.write_text('[[worker]]\nurl = "http://127.0.0.1:1"\nmodel = "a"\n[[worker]]\nurl = "http://127.0.0.1:1"\nmodel = "b"\n')
    front = fleet.frontend("--workers-file", str(path))
    assert front.stop() == 0


def test_options_without_effect_are_named(fleet, tmp_path):
    front = fleet.frontend("--router-temperature", "0.5", "--router-churn-weight", "1", "--model-path", str(tmp_path),
                           env={"DYN_ROUTER_PREFILL_LOAD_SCALE": "2"})
    for line in (r"no effect without --router-mode kv: --router-prefill-load-scale, --router-temperature$",
                 r"no effect without --router-mode kv --router-selection-policy fleet: --router-churn-weight$",
                 rf"--model-path {re.escape(str(tmp_path))}: there is neither a tokenizer.json nor a tiktoken file",
                 rf"processes meet in the folder {re.escape(fleet.env['DYN_FILE_KV'])}"):
        front.wait_line(line)
    assert front.ask("GET", "/docs").status == 303
    (tmp_path / "tokenizer.json").write_text("{}")
    other = fleet.frontend("--router-mode", "kv", "--router-temperature", "0.5", "--router-selection-policy", "fleet",
                           "--router-churn-weight", "1", "--model-path", str(tmp_path))
    assert other.stop() == 0 and "no effect" not in other.log() and "neither" not in other.log()


@pytest.mark.parametrize("name, is_one", [("tokenizer.model", True), ("qwen.tiktoken", True), ("tiktoken.model", True),
                                          ("tokenization_tiktoken.py", False), ("tokenizer.json.bak", False)])
def test_what_is_a_tokenizer_is_decided_by_who_reads_it(fleet, tmp_path, name, is_one):
    """(Failed before: a tokenizer.model was none, a Python file was one.)"""
    (tmp_path / name).write_text("x")
    front = fleet.frontend("--model-path", str(tmp_path))
    assert front.stop() == 0 and ("neither" in front.log()) != is_one


def test_an_engine_that_names_no_model_is_told_once(fleet):
    """(Failed before: a line each second.)"""
    empty = fleet.frontend()  # it serves, and has no model
    front = fleet.frontend("--worker", f"http://127.0.0.1:{empty.port},model=y", "--worker", "http://127.0.0.1:1",
                           "--worker", f"https://127.0.0.1:{empty.port},model=x", env={"WEIR_ENGINE_POLL_SECS": "0.01"})
    front.wait_line("does not serve yet: it does not name the model of its entry")
    front.wait_line("does not serve yet: cannot connect: connection refused")
    front.wait_line(r"does not serve yet: TLS error: .+ \(WEIR_ENGINE_CA_PATH names who is trusted\)")
    engine = Process([WEIR, "mocker", "--engine", "vllm", "--port", "0", "--model-name", "m"], fleet.env, name="mocker")
    fleet.processes.append(engine)  # a whole start later there were many looks
    engine.wait_line("engine serves model m")
    assert front.log().count("it does not name the model of its entry") == 1


def test_a_full_disk_leaves_no_half_decision(fleet, tmp_path):
    """A limit of the file's size stands for the disk. (Failed before: half a line, with the next one behind it, and a
    line in the log for each decision.)"""
    fleet.mocker("--tokenizer", "bytes")
    path = tmp_path / "decisions.ndjson"
    front = fleet.frontend("--router-mode", "kv", "--decision-log", str(path)).ready()
    resource.prlimit(front.child.pid, resource.RLIMIT_FSIZE, (5000, 5000))

    def dropped():
        assert front.chat(max_tokens=1).status == 200
        return front.metric("weir_router_decisions_dropped_total") >= 5
    until("decisions to be left out", dropped)
    assert front.stop() == 0
    text = path.read_text()
    assert text.endswith("\n") and all(json.loads(line) for line in text.splitlines())
    assert front.log().count("decisions are left out until there is room") == 1


class TlsEngine:
    """An engine behind TLS that answers nothing but 404; who asks has trusted its certificate."""

    def __init__(self, folder):
        asked = self.asked = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.set()
                self.send_error(404)

            def log_message(self, *_):
                pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # who does not trust it breaks off
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


PLANE_PROGRAMS = {
    "mocker": ["--model-name", "m", "--tokenizer", "bytes"],
    "router": ["--endpoint", "dynamo.backend.generate"],
    "global-router": [],
}


@pytest.mark.parametrize("command", PLANE_PROGRAMS)
def test_the_request_planes_certificates_are_read_again(fleet, tmp_path, command):
    """At SIGHUP, by whatever listens to the request plane. (Failed before: that ended it; they were read at start alone.)"""
    old, new, used = tmp_path / "old", tmp_path / "new", tmp_path / "used"
    for folder in old, new, used:
        folder.mkdir()
        try:
            certificates(folder)
        except FileNotFoundError:
            pytest.skip("there is no program openssl")
    for name in "server.pem", "server.key":
        shutil.copy(old / name, used / name)
    flags = list(PLANE_PROGRAMS[command])
    if command == "global-router":
        (tmp_path / "pools.json").write_text(json.dumps(AGG))
        flags += ["--config", str(tmp_path / "pools.json"), "--model-name", "m"]
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        p = Process([WEIR, command, *flags], {**fleet.env, "DYN_TCP_RPC_PORT": str(port),
                    "DYN_TCP_TLS_CERT_PATH": str(used / "server.pem"), "DYN_TCP_TLS_KEY_PATH": str(used / "server.key")},
                    name=command)
        fleet.processes.append(p)

        def shown():
            try:
                return ssl.get_server_certificate(("127.0.0.1", port), timeout=DEADLINE_S)
            except ConnectionRefusedError:
                return None
        assert until("it to listen", shown) == (old / "server.pem").read_text()
        # One of the pair alone does not load, and the last good one stays.
        os.replace(new / "server.pem", used / "server.pem")
        p.signal(signal.SIGHUP)
        p.wait_line("connections to this process: the last good certificate stays in use")
        assert shown() == (old / "server.pem").read_text()
        os.replace(new / "server.key", used / "server.key")
        p.signal(signal.SIGHUP)
        p.wait_line("connections to this process: certificate reloaded")
        assert shown() == (used / "server.pem").read_text()


def test_the_engines_authorities_are_read_again(fleet, tmp_path):
    """At SIGHUP, as every other certificate. (Failed before: WEIR_ENGINE_CA_PATH was read at start alone.)"""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in old, new:
        folder.mkdir()
        try:
            certificates(folder)
        except FileNotFoundError:
            pytest.skip("there is no program openssl")
    engine = TlsEngine(new)
    ca = tmp_path / "ca.pem"
    shutil.copy(old / "ca.pem", ca)
    fleet.env["WEIR_ENGINE_CA_PATH"] = str(ca)
    front = fleet.frontend("--worker", engine.url)
    front.wait_line(r"certificate")  # it is not trusted
    assert not engine.asked.is_set()
    os.replace(new / "ca.pem", ca)
    front.signal(signal.SIGHUP)
    front.wait_line("engines: certificate reloaded")
    assert engine.asked.wait(DEADLINE_S)
    engine.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no program curl")
@pytest.mark.parametrize("command,status", [("exit 3", 3), ("[ -n \"$URL\" ]", 0), ("kill -TERM $PPID", 130)])
def test_a_command_with_the_demo(command, status):
    """Its status is the demo's, and one that was broken off has not done its work. (Failed before: that was 0, and `make pgo` built by half
    a profile after Ctrl-C.)"""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]  # the demo takes the next free one where this is none any more
    done = subprocess.run([os.path.join(os.path.dirname(__file__), "../../scripts/run-demo"), WEIR, "sh", "-c", command],
                          env={**os.environ, "PORT": str(port)}, capture_output=True, timeout=2 * DEADLINE_S)
    assert done.returncode == status, (done.stdout, done.stderr)
