#!/usr/bin/env python3
"""Compares what the request parser says with what a live reference system said: every recorded chat, completions and Responses
case that ends in the parser (400 or 501) must give the same status and text, and every one that got further must pass.
Deliberate differences stand in test/data/openai-improvements.txt with their reason."""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.environ.get("WEIR_SHARED", os.path.join(HERE, "..", "..", "..", "..", "shared"))
CASES = os.path.join(SHARED, "data", "dynamo", "http", "cases.jsonl")
# Refusals that need more than the request: a worker, a model, headers, the whole body's size.
LATER = ("Model not found", "Invalid request", "Failed to generate", "`max_output_tokens`", "Request body exceeds",
         "Expected request with Content-Type", "metadata headers", "Model `", "Service")
BIG = re.compile(r"(?<![\d.])\d{12,20}(?![\d.])")


def body_of(request):
    if "body" in request:
        return request["body"].encode()
    if "body_json" in request:
        return json.dumps(request["body_json"]).encode()
    if "body_hex" in request:
        return bytes.fromhex(request["body_hex"])
    if "body_parts" in request:
        return b"".join((bytes.fromhex(p["hex"]) if "hex" in p else p["text"].encode()) * p.get("times", 1)
                        for p in request["body_parts"])
    return None


def cases():
    with open(CASES, encoding="utf-8") as f:
        for case in map(json.loads, f):
            request, expect = case["request"], case["expect"]
            kind = {"/v1/chat/completions": "chat", "/v1/completions": "completion", "/v1/responses": "responses", "/v1/embeddings": "embeddings"}.get(request.get("path"))
            body = body_of(request) if "raw" not in request else None
            usable = kind and body is not None and len(body) < 1 << 20 and request.get("method") == "POST"
            if usable and case.get("setup", "base") in ("base", "busy") and "any_of" not in expect and "status" in expect:
                yield case, kind, body


def wanted(expect):
    body = expect.get("body")
    message = body.get("message", "") if isinstance(body, dict) else ""
    if expect["status"] in (400, 501) and not message.startswith(LATER):
        return f"{expect['status']} {message}"
    return "200"


def main():
    if not os.path.exists(CASES):
        print(f"skipped: no recorded cases at {os.path.relpath(CASES)} (WEIR_SHARED names the folder above data/)")
        return 77
    improved = {}
    with open(os.path.join(HERE, "..", "..", "data", "openai-improvements.txt"), encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                name, reason = line.split(None, 1)
                improved[name] = reason.strip()
    todo = list(cases())
    feed = "".join(f"{kind} {body.hex()}\n" for _, kind, body in todo)
    out = subprocess.run([sys.argv[1]], input=feed, capture_output=True, text=True, check=True,
                         errors="replace").stdout.split("\n")
    passed, failed = 0, 0
    for (case, _, _), got in zip(todo, out):
        want = wanted(case["expect"])
        if case["expect"]["status"] in (404, 405, 413, 415, 431, 503, 529) and want == "200" and got != "200":
            want = got  # refused for another reason before the body was looked at
        if BIG.sub("<int>", got) == want or case["id"] in improved:
            passed += 1
        else:
            failed += 1
            print(f"{case['id']}:\n  want {want[:300]}\n  got  {got[:300]}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
