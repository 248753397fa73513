#!/usr/bin/env python3
"""Bodies that a live reference system 1.6.1 refused, each with its status and text, against the request parser.

test/data/openai-refusals-1.6.1.jsonl holds probes of every member and one-step mutations of the recorded cases. What
differs on purpose is told apart by a rule for the body and the answer, not by a list, and each rule must be needed."""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VECTORS = os.path.join(HERE, "..", "..", "data", "openai-refusals-1.6.1.jsonl")
IMPROVED = [
    (r'"safety_identifier"', r"200$", "the hint is ignored"),
    (r'"role": \d|"type": \d', r"400 .*expected variant identifier",
     "a number is no name of a variant, whatever serde makes of it"),
    (r'"messages": \[\["?\d', r"400 .*expected variant identifier", "the same, in a list that stands for a message"),
    (r'"logit_bias": \{"1": \[', r"400 .*must be a number, got \[",
     "a value is shown as the client wrote it, not as Rust prints it"),
    (r'"role": "\\u0000"', r"400 .*unknown variant ``", "NUL bytes are left out of a text for people"),
]
UNKNOWN = re.compile(r"^400 Validation: Unsupported parameter\(s\): (.*)$")


def same(want, got):
    """Unknown members come in no order there."""
    a, b = UNKNOWN.match(want), UNKNOWN.match(got)
    return sorted(a[1].split(", ")) == sorted(b[1].split(", ")) if a and b else want == got


def main():
    with open(VECTORS, encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    sent = "".join(f"{r['kind']} {r['body'].encode().hex()}\n" for r in rows)
    run = subprocess.run([sys.argv[1]], input=sent, capture_output=True, text=True, check=True, timeout=60)
    answers = run.stdout.split("\n")[:-1]
    assert len(answers) == len(rows), f"{len(answers)} answers to {len(rows)} bodies\n{run.stderr}"
    bad, needed = [], [0] * len(IMPROVED)
    for row, got in zip(rows, answers):
        want = f"{row['status']} {row['message']}".replace("\n", "\\n")
        if same(want, got):
            continue
        rule = next((i for i, (body, answer, _) in enumerate(IMPROVED)
                     if re.search(body, row["body"]) and re.match(answer, got)), None)
        if rule is not None:
            needed[rule] += 1
        else:
            bad.append(f"{row['kind']} {row['body']}\n    want {want}\n    got  {got}")
    print(f"{len(rows) - len(bad) - sum(needed)} equal, {sum(needed)} improved on purpose, {len(bad)} differ")
    bad += [f"no answer needs the rule: {why}" for (_, _, why), n in zip(IMPROVED, needed) if n == 0]
    print("\n".join(bad))
    return 1 if bad else 0


sys.exit(main())
