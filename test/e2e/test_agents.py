"""Agent loops of the official OpenAI SDKs over several streamed turns with tool calls, in eight formats.

The SDKs come from their registries into the build folder; without them the tests are skipped.
"""
import json
import os
import shutil
import subprocess
import sys

import pytest
from test_tools import FORMATS, TOOLS, scripted  # noqa: F401

HERE = os.path.dirname(os.path.abspath(__file__))
PLACE = os.path.join(os.path.dirname(os.path.abspath(os.environ.get("WEIR_BIN", "build/release/weir"))), "agents")
PYTHON_SDK = "openai>=2,<4"
TURNS = [[("look_up", {"place": "Port Ellen", "days": 3}), ("ring", {})], [("look_up", {"place": "Oban", "days": 1})]]


def install(mark, *commands):
    """Runs the commands once for this build folder; skips when one fails."""
    done = os.path.join(PLACE, "ready-" + mark)
    if os.path.exists(done):
        return
    os.makedirs(PLACE, exist_ok=True)
    for c in commands:
        r = subprocess.run(c, cwd=PLACE, capture_output=True, text=True)
        if r.returncode != 0:
            pytest.skip(f"{' '.join(c[:4])} failed: {r.stderr[-200:]}")
    open(done, "w").close()


@pytest.fixture(scope="session")
def python():
    install("python", [sys.executable, "-m", "venv", "venv"], ["venv/bin/pip", "install", "-q", PYTHON_SDK])
    return [os.path.join(PLACE, "venv/bin/python"), os.path.join(HERE, "agent_loop.py")]


@pytest.fixture(scope="session")
def node():
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")
    install("node", ["npm", "install", "--no-fund", "--no-audit", "--prefix", PLACE, "openai"])
    # A module finds its packages beside itself.
    script = os.path.join(PLACE, "agent_loop.mjs")
    shutil.copy(os.path.join(HERE, "agent_loop.mjs"), script)
    return ["node", script]


def loop(front, program):
    r = subprocess.run([*program, front.url, json.dumps(TOOLS)], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stderr + front.log()
    return json.loads(r.stdout)


@pytest.mark.parametrize("sdk", ["python", "node"])
@pytest.mark.parametrize("parser", sorted(FORMATS))
def test_agent_loop(scripted, request, parser, sdk):  # noqa: F811
    program = request.getfixturevalue(sdk)
    render, reasoning = FORMATS[parser]
    thought = "<think>Which harbour?</think>" if reasoning else ""
    texts = [thought + "One moment. " + render(TURNS[0]), thought + render(TURNS[1]), thought + "High at noon."]
    front = scripted(texts, tool_call_parser=parser, reasoning_parser=reasoning).ready()
    got = loop(front, program)
    assert got["calls"] == [[n, a] for turn in TURNS for n, a in turn]
    assert got["content"] == "High at noon."
    assert got["reasoning"] == ("Which harbour?" * 3 if reasoning else "")
    prompts = [bytes(i for i in r["token_ids"] if i < 256).decode("utf-8", "replace") for r in front.worker.requests]
    assert "result 1" in prompts[1] and "result 2" in prompts[1] and "result 3" in prompts[2]
