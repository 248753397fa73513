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


DEADLINE_S = 120


def kept_port():
    """A socket that has a port without listening: the system hands it out to nobody else meanwhile."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    return s


def until(what, probe):
    deadline = time.monotonic() + DEADLINE_S
    while not probe():
        assert time.monotonic() < deadline, f"gave up waiting for {what}"
        time.sleep(0.02)


def wait_for_model(url, processes):
    def there():
        assert all(p.poll() is None for p in processes), "a process ended while it was starting"
        try:
            with urllib.request.urlopen(url + "/v1/models", timeout=DEADLINE_S) as r:
                return json.load(r)["data"]
        except OSError:
            return False
    until("the model", there)


def succeeded(url):
    with urllib.request.urlopen(url + "/metrics", timeout=DEADLINE_S) as r:
        page = r.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines()
               if line.startswith("dynamo_frontend_requests_total{") and 'status="success"' in line)


def bench(url, *args, status=0):
    command = [WEIR, "bench", "--url", url, "--no-progress", "--json", "-", *args]
    p = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
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
    # All but the first find two trace blocks; those that came at once with it, as the machine stood still, find none.
    assert replay["tokens"]["cached"] in range(1024, 7 * 1024 + 1, 1024), replay["tokens"]
    assert replay["throughput"]["window_s"] >= 0.35
    failed = bench(url, "--model", "nobody", "--requests", "5", status=2)
    assert failed["errors"]["http_status"]["count"] == 5 and failed["http_statuses"] == {"404": 5}, failed["errors"]
    bench(url, "--model", "nobody", "--requests", "5", "--max-error-share", "1")
    assert "--isl" in bench(url, "--isl", "x", status=1)
    before = succeeded(url)
    long = subprocess.Popen([WEIR, "bench", "--url", url, "--rate", "20", "--duration-s", "600", "--json", "-",
                             "--no-progress"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        until("some requests of a run of ten minutes", lambda: succeeded(url) >= before + 5)
        long.send_signal(signal.SIGINT)
        out, _ = long.communicate(timeout=DEADLINE_S)
    finally:
        long.kill()
    stopped = json.loads(out)
    assert long.returncode == 0 and stopped["interrupted"] and stopped["requests"]["ok"] > 0, stopped["requests"]


def main():
    with kept_port() as kept, tempfile.TemporaryDirectory() as folder:
        port = kept.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        env = dict(os.environ, DYN_FILE_KV=os.path.join(folder, "kv"), DYN_TCP_RPC_HOST="127.0.0.1", DYN_LOG="warn",
                   DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS="0")
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
                p.wait(timeout=DEADLINE_S)
    print("1 passed, 0 failed")


main()
