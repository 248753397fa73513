"""`weir parse` on the command line: recorded cases in, what a client gets out."""
import json
import os
import subprocess

WEIR = os.environ.get("WEIR_BIN", "build/release/weir")
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../data/parsers")


def parse(cases, *flags):
    r = subprocess.run([WEIR, "parse", "--tools", os.path.join(DATA, "tools.json"), *flags], text=True,
                       input="".join(json.dumps(c) + "\n" for c in cases), capture_output=True, timeout=60)
    return r, [json.loads(line) for line in r.stdout.splitlines()]


def joined(stream):
    out = {"content": "", "reasoning_content": "", "tool_calls": []}
    for d in stream:
        for key in ("content", "reasoning_content"):
            out[key] += d.get(key, "")
        for t in d.get("tool_calls", []):
            if "id" in t:
                out["tool_calls"].append({"name": t["name"], "arguments": ""})
            out["tool_calls"][t["index"]]["arguments"] += t.get("arguments", "")
    return out


def words(text):
    return (text or "").split()


def test_recorded_cases():
    with open(os.path.join(DATA, "cases.jsonl"), encoding="utf-8") as f:
        cases = [json.loads(line) for line in f]
    r, out = parse(cases)
    assert r.returncode == 0 and r.stderr == "" and len(out) == len(cases)
    for case, got in zip(cases, out):
        unary, stream = got["unary"], joined(got["stream"])
        assert [stream[k] or None for k in ("content", "reasoning_content")] == \
            [unary["content"], unary["reasoning_content"]], case["id"]
        assert stream["tool_calls"] == unary["tool_calls"], case["id"]
        assert got["stream"][-1] == {"finish_reason": unary["finish_reason"]}
        for call, want in zip(unary["tool_calls"], case.get("ideal", {}).get("tool_calls", [])):
            assert json.loads(call["arguments"]) == want["arguments"], case["id"]


def test_deliveries():
    text = '<tool_call>{"name": "ring_bell", "arguments": {"times": 3}}</tool_call>'
    case = {"parser": "hermes", "tools": "@std", "chunks": [text[i:i + 4] for i in range(0, len(text), 4)]}
    shapes = {}
    for how in ("pieces", "checked", "whole"):
        _, out = parse([case], "--tool-call-deltas", how)
        parts = [t for d in out[0]["stream"] for t in d.get("tool_calls", [])]
        assert "".join(p.get("arguments", "") for p in parts) == '{"times": 3}'
        shapes[how] = len(parts)
    assert shapes["whole"] == 1 and shapes["checked"] == 2 and shapes["pieces"] > 3


def test_errors_are_told_and_the_rest_goes_on():
    good = {"parser": None, "tools": None, "chunks": ["Hi"], "finish": "length"}
    r, out = parse([{"parser": "hermas"}, {"chunks": [1]}, good])
    assert r.returncode == 1
    assert out[0] == {"error": 'unknown tool-call parser "hermas"; did you mean "hermes"?'}
    assert out[1] == {"error": "chunks must be a list of strings"}
    assert out[2]["unary"] == {"content": "Hi", "reasoning_content": None, "tool_calls": [], "finish_reason": "length"}
    r = subprocess.run([WEIR, "parse", "--tools", "/nowhere"], input="", capture_output=True, text=True, timeout=60)
    assert r.returncode == 1 and "--tools /nowhere: cannot be opened" in r.stderr


def test_list():
    r = subprocess.run([WEIR, "parse", "--list"], capture_output=True, text=True, timeout=60)
    names = [line.split() for line in r.stdout.splitlines()]
    assert ["tool-call", "qwen3_coder"] in names and ["reasoning", "deepseek_r1"] in names and len(names) > 60
