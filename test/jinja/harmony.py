#!/usr/bin/env python3
"""The gpt-oss prompt of `weir render` against the official openai-harmony package, fed as vLLM feeds it.

usage: harmony.py WEIR FOLDER [--count N] [--seed S]
FOLDER keeps what the reference needs: the package, and its vocabulary rebuilt from the npm package tiktoken. Exit
status 77 when these cannot be had."""
import argparse
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from conversations import Conversations


def skip(text):
    print("skipped: " + text)
    sys.exit(77)


def reference(folder):
    """Installs what is missing and runs this script again with the Python that has the package."""
    os.makedirs(folder, exist_ok=True)
    ranks = os.path.join(folder, "encodings", "o200k_base.tiktoken")
    if not os.path.exists(ranks):
        try:
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, "tiktoken@1.0.22"],
                           check=True, capture_output=True, timeout=240)
        except (OSError, subprocess.SubprocessError) as e:
            skip(f"the npm package tiktoken cannot be fetched ({type(e).__name__})")
        with open(os.path.join(folder, "node_modules", "tiktoken", "encoders", "o200k_base.json"), encoding="utf-8") as f:
            lines = json.load(f)["bpe_ranks"].split("\n")
        os.makedirs(os.path.dirname(ranks), exist_ok=True)
        with open(ranks + ".new", "w", encoding="ascii") as f:
            for line in filter(None, lines):
                _, offset, *tokens = line.split(" ")
                f.writelines(f"{t} {int(offset) + i}\n" for i, t in enumerate(tokens))
        os.rename(ranks + ".new", ranks)
    os.environ["TIKTOKEN_ENCODINGS_BASE"] = os.path.dirname(ranks)
    try:
        import openai_harmony
    except ImportError:
        python = os.path.join(folder, "venv", "bin", "python")
        if os.path.abspath(sys.executable) == os.path.abspath(python):
            skip("openai-harmony does not load")
        done = subprocess.run(f"python3 -m venv {folder}/venv && {python} -m pip install -q openai-harmony==0.0.8 'jinja2>=3.1.6'",
                              shell=True, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            skip("openai-harmony cannot be installed: " + done.stderr[-200:])
        os.execv(python, [python, *sys.argv])
    return openai_harmony


def text_of(content):
    if content is None or isinstance(content, str):
        return content
    texts = [p["text"] for p in content if p.get("text") is not None]
    return "".join(texts) if texts else None


def prompt(H, encoding, request, date):
    """What vLLM builds: preamble, messages, thoughts before the last answer dropped."""
    messages, out = list(request["messages"]), []
    instructions = None
    if messages and messages[0]["role"] in ("system", "developer"):
        instructions = text_of(messages.pop(0).get("content"))
    system = H.SystemContent.new().with_conversation_start_date(date)
    if request.get("reasoning_effort"):
        system = system.with_reasoning_effort(getattr(H.ReasoningEffort, request["reasoning_effort"].upper()))
    out.append(H.Message.from_role_and_content(H.Role.SYSTEM, system))
    if instructions or request.get("tools"):
        developer = H.DeveloperContent.new()
        if instructions is not None:
            developer = developer.with_instructions(instructions)
        if request.get("tools"):
            developer = developer.with_function_tools([H.ToolDescription.new(
                t["function"]["name"], t["function"].get("description") or "", t["function"].get("parameters"))
                for t in request["tools"]])
        out.append(H.Message.from_role_and_content(H.Role.DEVELOPER, developer))
    names = {c["id"]: c["function"]["name"] for m in request["messages"] for c in m.get("tool_calls") or []}
    M = H.Message.from_role_and_content
    for m in messages:
        role, text, calls = m["role"], text_of(m.get("content")), m.get("tool_calls") or []
        if role == "assistant":
            if calls and text:
                out.append(M(H.Role.ASSISTANT, text).with_channel("commentary"))
            if m.get("reasoning"):
                out.append(M(H.Role.ASSISTANT, m["reasoning"]).with_channel("analysis"))
            if not calls and text:
                out.append(M(H.Role.ASSISTANT, text).with_channel("final"))
            for c in calls:
                out.append(M(H.Role.ASSISTANT, c["function"]["arguments"]).with_channel("commentary")
                           .with_recipient("functions." + c["function"]["name"]).with_content_type("json"))
        elif role == "tool":
            out.append(H.Message.from_author_and_content(H.Author.new(H.Role.TOOL, "functions." + names.get(m.get("tool_call_id"), "")),
                                                         text or "").with_channel("commentary").with_recipient("assistant"))
        elif role in ("system", "developer"):
            if text is not None:
                out.append(M(H.Role.DEVELOPER, H.DeveloperContent.new().with_instructions(text)))
        else:
            out.append(M(H.Role.USER, text or ""))
    finals = [i for i, m in enumerate(out) if m.author.role == "assistant" and m.channel == "final"]
    out = [m for i, m in enumerate(out) if not (finals and i < finals[-1] and m.channel == "analysis")]
    ids = encoding.render_conversation_for_completion(H.Conversation.from_messages(out), H.Role.ASSISTANT)
    return encoding.decode_utf8(ids)


def schema(r, depth=0):
    pick = lambda items: items[int(r.random() * len(items))]
    s = {}
    kind = pick(["string", "integer", "number", "boolean", "array", "object", "enum", "list", "none", "string"])
    if kind == "enum":
        s = {"type": pick(["string", "string", "integer"]), "enum": pick([["a"], ["a", "b\"c"], [], [1, "x"], [1, 2]])}
    elif kind == "list":
        s = {"type": pick([["string", "null"], ["integer", "number"], ["integer"], []])}
    elif kind == "array":
        s = {"type": "array", **({"items": schema(r, depth + 1)} if r.random() < 0.8 else {})}
    elif kind == "object" and depth < 3:
        s = {"type": "object", "properties": {k: schema(r, depth + 1) for k in ("b", "a", "é x", "c")[:pick([0, 1, 2, 4])]}}
        if r.random() < 0.5:
            s["required"] = pick([["a"], ["b", "c"], []])
    elif kind == "none":
        s = pick([{}, {"$ref": "#/x"}, {"anyOf": [{"type": "string"}]}, {"enum": ["x"]}])
    else:
        s = {"type": kind}
    if r.random() < 0.4:
        s["description"] = pick(["text", "two\nlines", "", "é"])
    if r.random() < 0.1:
        s["title"] = "Title"
    if r.random() < 0.1:
        s["examples"] = pick([["e1", "e2"], [1], []])
    if r.random() < 0.2:
        s["default"] = pick(["d", 1, True, None, "", -5])
    if r.random() < 0.1:
        s["nullable"] = pick([True, False])
    return s


def main():
    p = argparse.ArgumentParser()
    p.add_argument("weir")
    p.add_argument("folder")
    p.add_argument("--count", type=int, default=300)
    p.add_argument("--seed", type=int, default=None)
    args = p.parse_args()
    H = reference(args.folder)
    seed = args.seed if args.seed is not None else int(os.environ.get("WEIR_TEST_SEED", "20261126"))
    print(f"seed {seed} (repeat with WEIR_TEST_SEED)", flush=True)
    encoding = H.load_harmony_encoding(H.HarmonyEncodingName.HARMONY_GPT_OSS)
    model = os.path.join(args.folder, "model")
    os.makedirs(model, exist_ok=True)
    with open(os.path.join(model, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump({"added_tokens_decoder": {"200003": {"content": "<|constrain|>"}, "200005": {"content": "<|channel|>"},
                                            "200012": {"content": "<|call|>"}}}, f)
    weir = subprocess.Popen([args.weir, "render", "--model-path", model, "--lines", "--now", "1732633445"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, encoding="utf-8", env={**os.environ, "TZ": "UTC"})
    r = random.Random(seed)
    c = Conversations(r)
    passed = failed = 0
    for _ in range(args.count):
        request = {"messages": [m for m in c.messages(as_text=True) if m["role"] != "function"], "tools": c.tools(lean=True)}
        for m in request["messages"]:
            if isinstance(m.get("content"), list):
                m["content"] = [b for b in m["content"] if b["type"] == "text"]
        for t in request["tools"] or []:
            if r.random() < 0.7:
                t["function"]["parameters"] = schema(r) if r.random() < 0.2 else {
                    "type": "object", "properties": {k: schema(r) for k in ("z", "y", "x")[:int(r.random() * 4)]}, "required": ["y"]}
        if r.random() < 0.4:
            request["reasoning_effort"] = r.choice(["low", "medium", "high"])
        want = prompt(H, encoding, request, "2024-11-26")
        weir.stdin.write(json.dumps(request) + "\n")
        weir.stdin.flush()
        got = json.loads(weir.stdout.readline())
        if got == want:
            passed += 1
            continue
        failed += 1
        if failed <= 3:
            print(f"{json.dumps(request, ensure_ascii=False)}\n--- want\n{want}\n--- got\n{got}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
