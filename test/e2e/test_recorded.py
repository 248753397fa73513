"""The recorded exchanges of a live reference system, replayed against `weir frontend` and `weir mocker`.

The cases and their player lie beside the repository in ../shared; without them this file skips. What
Weir answers better on purpose stands in test/data/recorded-improvements.txt, each with its reason: such a
case must differ (a list entry that no longer differs is an error too).
"""
import os
import re
import shlex
import subprocess
import sys

import pytest

from weir import Fleet, until

ROOT = os.path.join(os.path.dirname(__file__), "../..")
CASES = os.path.join(ROOT, "../shared/data/dynamo/http")
SKIPPED_AREAS = {"embeddings", "responses", "anthropic", "http2"}  # not served: see README.md
pytestmark = pytest.mark.skipif(not os.path.exists(os.path.join(CASES, "cases.jsonl")),
                                reason="the recorded cases (../shared/data/dynamo/http) are not here")


def improvements():
    out = {}
    with open(os.path.join(ROOT, "test/data/recorded-improvements.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                case, reason = line.split(None, 1)
                out[case] = reason.strip()
    return out


def model_flags():
    """The recordings were made with a real tokenizer; the counts of tokens in them are its counts."""
    path = os.environ.get("WEIR_TEST_MODEL_DIR")
    return ["--model-path", path] if path else []


def replay(front, setup, actions=()):
    argv = [sys.executable, os.path.join(CASES, "replay.py"), "--base-url", front.url, "--setup", setup,
            "--cases", os.path.join(CASES, "cases.jsonl"), "-q"]
    for name, command in actions:
        argv += ["--action", f"{name}={command}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=550)
    differs, name = {}, None
    for line in done.stdout.splitlines():
        head = re.match(r"differs (\S+) \[(\S+)\]", line)
        if head:
            name = head.group(1) if head.group(2) not in SKIPPED_AREAS else None
            if name:
                differs[name] = []
        elif name and line.startswith("        "):
            differs[name].append(line.strip())
    assert re.search(r"^\d+ passed, \d+ failed$", done.stdout, re.M), done.stdout + done.stderr
    passed = int(re.search(r"^(\d+) passed, \d+ failed$", done.stdout, re.M).group(1))
    return passed, differs


def judge(setup, passed, differs):
    known = improvements()
    bad = {k: v for k, v in differs.items() if k not in known}
    print(f"{setup}: {passed} passed, {len(differs) - len(bad)} improved on purpose, {len(bad)} differ")
    assert not bad, "\n".join(f"{k}\n    " + "\n    ".join(v) for k, v in bad.items())


DYNAMO = ("--router-mode", "kv", "--error-format", "dynamo")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    f = Fleet(tmp_path_factory.mktemp("base"))
    flags = model_flags()
    f.mocker(*flags, "--endpoint", "dyn://dynamo.backend.generate", workers=2)
    f.mocker(*flags, "--endpoint", "dyn://dynamo.small.generate", "--max-model-len", "64", model="org/small")
    f.mocker(*flags, "--endpoint", "dyn://dynamo.slow.generate", "--speedup-ratio", "0.3", model="slow")
    f.front = f.frontend(*DYNAMO).ready(workers=4)
    f.front.ready("org/small")
    f.front.ready("slow")
    yield f
    f.close()


def test_base(base):
    judge("base", *replay(base.front, "base"))


def test_busy(base):
    front = base.frontend(*DYNAMO).ready("slow", workers=4)
    judge("busy", *replay(front, "busy"))


def test_env(base):
    front = base.frontend(*DYNAMO, env={
        "DYN_IGNORE_OPENAI_FE_UNSUPPORTED_FIELDS": "1", "DYN_HTTP_BODY_LIMIT_MB": "1",
        "DYN_DISABLE_FRONTEND_ADMIN_API": "1", "DYN_DISABLE_FRONTEND_NVEXT": "1",
        "DYN_ENABLE_FORCE_INCLUDE_USAGE": "1", "DYN_CONTEXT_WINDOW": "777", "DYN_MAX_OUTPUT_TOKENS": "55"})
    front.ready("m", workers=4)
    judge("env", *replay(front, "env"))


def test_empty(fleet):
    judge("empty", *replay(fleet.frontend(*DYNAMO), "empty"))


def test_keepalive(fleet):
    fleet.mocker(*model_flags(), "--speedup-ratio", "0.01", model="glacial")
    front = fleet.frontend(*DYNAMO, env={"DYN_HTTP_SSE_KEEP_ALIVE_INTERVAL_MS": "50"}).ready("glacial")
    judge("keepalive", *replay(front, "keepalive"))


def test_fault(fleet):
    """The player kills and starts a worker through commands: they reach this test by files that it watches."""
    front = fleet.frontend(*DYNAMO)
    orders = os.path.join(fleet.folder, "orders")
    os.mkdir(orders)
    import threading
    stop = threading.Event()
    victims = []

    def obey(order):
        if order == "start-worker":
            if not victims:
                until("the dead worker to leave", lambda: not front.get("/health").json()["instances"])
                victims.append(fleet.mocker(*model_flags(), "--speedup-ratio", "0.2", model="victim"))
            front.ready("victim")
        elif order in ("kill-worker", "kill-worker-soon"):
            if order == "kill-worker-soon":
                until("a running request", lambda: victims[0].metric("requests_running") > 0)
            victims.pop().kill()
        elif order == "term-worker":
            victims.pop().stop()

    def serve():
        while not stop.wait(0.005):
            for name in os.listdir(orders):
                if not name.endswith(".done"):
                    try:
                        obey(name)
                    finally:
                        os.rename(os.path.join(orders, name), os.path.join(orders, name + ".done"))

    def command(name):
        path = shlex.quote(os.path.join(orders, name))
        return f"touch {path}; while [ ! -e {path}.done ]; do sleep 0.01; done; rm {path}.done"

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        names = ("start-worker", "kill-worker", "kill-worker-soon", "term-worker")
        result = replay(front, "fault", [(n, command(n)) for n in names])
    finally:
        stop.set()
        thread.join()
    judge("fault", *result)
