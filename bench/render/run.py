#!/usr/bin/env python3
"""Rendering of one chat request (10 messages, 4 tools) by Weir, minijinja and Jinja2 in one run: JSON lines.

usage: run.py BUILD_FOLDER [--template FILE] [--rounds N]
Without --template: Qwen3's, out of the package that test/jinja/models.py fetches too; without it a template of the
repository. minijinja needs cargo, Jinja2 python3 with jinja2; a peer that is missing is named."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "test", "jinja"))


def request():
    def tool(name, text):
        return {"type": "function", "function": {"name": name, "description": text, "parameters": {
            "type": "object", "properties": {
                "location": {"type": "string", "description": "The city and state, as the user wrote it, e.g. San Francisco, CA"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "description": "Unit of the answer"},
                "days": {"type": "integer", "minimum": 1, "maximum": 14, "default": 3}, "verbose": {"type": "boolean"}},
            "required": ["location", "unit"], "additionalProperties": False}}}

    tools = [tool("get_current_weather", "Get the current weather in a given location, with wind and humidity"),
             tool("get_forecast", "Forecast of the next days for a location; only when the user asks about the future"),
             tool("search_web", "Search the web and return the first results with title, address and a snippet of text"),
             tool("send_mail", "Send a mail to a person of the address book")]
    messages = [{"role": "system", "content": "You are a helpful assistant that answers with short sentences. " * 3}]
    for i in range(3):
        messages += [
            {"role": "user", "content": "What is the weather like in San Francisco, and should I take an umbrella tomorrow? " * 3},
            {"role": "assistant", "content": "Let me look that up.", "tool_calls": [
                {"id": f"call_{i}", "type": "function", "function": {
                    "name": "get_current_weather",
                    "arguments": json.dumps({"location": "San Francisco, CA", "unit": "celsius", "days": 3})}}]},
            {"role": "tool", "tool_call_id": f"call_{i}", "content": json.dumps(
                {"temperature": 18.5, "unit": "celsius", "description": "Partly cloudy with a gentle breeze, humidity 62 %"})}]
    return json.dumps({"messages": messages, "tools": tools})


def template_of(build):
    try:
        import models
        for name, text in models.public_templates(os.path.join(build, "templates")):
            if name == "trl/qwen3":
                return name, text
    except Exception as e:  # noqa: BLE001
        print(f"# public templates: {e}", file=sys.stderr)
    path = os.path.join(ROOT, "test", "jinja", "templates", "blocks.jinja")
    return "blocks", open(path, encoding="utf-8").read()


def jinja2_line(text, body):
    import oracle
    template = oracle.env.from_string(text)
    runs = []
    for _ in range(5):
        begin, n = time.process_time(), 0
        while time.process_time() - begin < 0.2:
            data = json.loads(body)
            out = template.render(messages=data["messages"], tools=data["tools"], documents=None, add_generation_prompt=True)
            n += 1
        runs.append((time.process_time() - begin) / n * 1e6)
    runs.sort()
    return {"bench": "render", "peer": "jinja2", "request_bytes": len(body), "prompt_bytes": len(out.encode()), "us": round(runs[2], 2),
            "us_min": round(runs[0], 2), "us_max": round(runs[4], 2)}


def minijinja(build):
    if shutil.which("cargo") is None:
        print("# minijinja: no cargo", file=sys.stderr)
        return None
    target = os.path.join(build, "peer-render")
    done = subprocess.run(["cargo", "build", "--release", "-q", "--manifest-path", os.path.join(HERE, "peer", "Cargo.toml"),
                           "--target-dir", target], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"# minijinja: {done.stderr[-300:]}", file=sys.stderr)
        return None
    return os.path.join(target, "release", "peer-render")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build")
    p.add_argument("--template")
    p.add_argument("--rounds", type=int, default=2)
    args = p.parse_args()
    name, text = (args.template, open(args.template, encoding="utf-8").read()) if args.template else template_of(args.build)
    path = os.path.join(args.build, "bench-render.jinja")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    body = request()
    programs = [p for p in (os.path.join(args.build, "bench", "render"), minijinja(args.build)) if p]
    for i in range(args.rounds):
        for program in programs:
            done = subprocess.run([program, path], input=body, capture_output=True, text=True)
            for line in done.stdout.splitlines():
                print(json.dumps({**json.loads(line), "template": name, "round": i}), flush=True)
            if done.returncode != 0:
                print(f"# {program}: {done.stderr[-300:]}", file=sys.stderr)
        try:
            print(json.dumps({**jinja2_line(text, body), "template": name, "round": i}), flush=True)
        except ImportError as e:
            print(f"# jinja2: {e}", file=sys.stderr)


if __name__ == "__main__":
    main()
