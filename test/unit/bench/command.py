#!/usr/bin/env python3
"""`weir bench` against a real frontend and mock worker: counts, equal content for any number of loops, exit statuses.
usage: command.py PATH_OF_WEIR"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

WEIR = sys.argv[1]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_model(url, processes):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert all(p.poll() is None for p in processes), "a process ended while it was starting"
        try:
            with urllib.request.urlopen(url + "/v1/models", timeout=2) as r:
                if json.load(r)["data"]:
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("no model after 30 s")


def bench(url, *args, status=0):
    command = [WEIR, "bench", "--url", url, "--no-progress", "--json", "-", *args]
    p = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert p.returncode == status, f"{args}: exit {p.returncode}, not {status}: {p.stderr}"
    return json.loads(p.stdout) if p.stdout else p.stderr


def check(url, folder):
    closed = bench(url, "--requests", "40", "--warmup", "10", "--concurrency", "4", "--isl", "uniform:50-90",
                   "--osl", "uniform:2-9")
    assert closed["requests"]["ok"] == 40 and closed["requests"]["warmup"] == 10, closed["requests"]
    assert closed["latency_ms"]["ttft"]["count"] == 40
    assert closed["tokens"]["stream_events_with_text"] == closed["tokens"]["completion"]
    assert closed["latency_ms"]["itl"]["count"] == closed["tokens"]["completion"] - 40
    # The same seed asks the same, whatever the number of loops and the kind of load.
    page = os.path.join(folder, "page.html")
    opened = bench(url, "--requests", "40", "--warmup", "10", "--rate", "400", "--loops", "3", "--isl",
                   "uniform:50-90", "--osl", "uniform:2-9", "--html", page)
    for member in ("prompt", "completion"):
        assert opened["tokens"][member] == closed["tokens"][member], (opened["tokens"], closed["tokens"])
    text = open(page, encoding="utf-8").read()
    assert text.count("<svg") >= 5 and not re.search(r"(src|href)=", text)
    unary = bench(url, "--requests", "10", "--no-stream", "--endpoint", "completions", "--isl", "128", "--osl", "4")
    assert unary["tokens"]["prompt"] == 1280 and unary["tokens"]["completion"] == 40, unary["tokens"]
    talks = bench(url, "--conversations", "5", "--turns", "3", "--concurrency", "5", "--isl", "200", "--osl", "30",
                  "--think-time-ms", "5")
    assert talks["requests"]["ok"] == 15 and talks["tokens"]["cached"] > 0, talks
    trace = os.path.join(folder, "trace.jsonl")
    with open(trace, "w", encoding="utf-8") as f:
        for i in range(8):
            f.write(json.dumps({"timestamp": i * 100, "input_length": 1100, "output_length": 3,
                                "hash_ids": [1, 2, 10 + i]}) + "\n")
    replay = bench(url, "--trace", trace, "--trace-speedup", "2", "--endpoint", "completions")
    assert replay["requests"]["ok"] == 8 and replay["tokens"]["prompt"] == 8800, replay["tokens"]
    assert replay["tokens"]["cached"] == 7 * 1024, replay["tokens"]  # all but the first find two trace blocks
    assert replay["throughput"]["window_s"] >= 0.35
    failed = bench(url, "--model", "nobody", "--requests", "5", status=2)
    assert failed["errors"]["http_status"]["count"] == 5 and failed["http_statuses"] == {"404": 5}, failed["errors"]
    bench(url, "--model", "nobody", "--requests", "5", "--max-error-share", "1")
    assert "--isl" in bench(url, "--isl", "x", status=1)
    long = subprocess.Popen([WEIR, "bench", "--url", url, "--rate", "20", "--duration-s", "600", "--json", "-",
                             "--no-progress"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        time.sleep(1)  # some requests of a run of ten minutes
        long.send_signal(signal.SIGINT)
        out, _ = long.communicate(timeout=30)
    finally:
        long.kill()
    stopped = json.loads(out)
    assert long.returncode == 0 and stopped["interrupted"] and stopped["requests"]["ok"] > 0, stopped["requests"]


def main():
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, DYN_FILE_KV=os.path.join(folder, "kv"), DYN_TCP_RPC_HOST="127.0.0.1", DYN_LOG="warn")
        processes = [
            subprocess.Popen([WEIR, "mocker", "--model-name", "mock", "--speedup-ratio", "0"], env=env),
            subprocess.Popen([WEIR, "frontend", "--http-host", "127.0.0.1", "--http-port", str(port), "--router-mode",
                              "kv"], env=env)]
        try:
            wait_for_model(url, processes)
            check(url, folder)
        finally:
            for p in processes:
                p.terminate()
            for p in processes:
                p.wait(timeout=20)
    print("1 passed, 0 failed")


main()
