#!/usr/bin/env python3
"""Our tokenizer and its peers in turn, a slice of work at a time: one JSON line a figure.

usage: rounds.py BUILD_FOLDER FOLDER MODEL_DIR [--rounds N] [--no-hf] [--corpus NAME ...]
FOLDER holds the corpora (corpora.py), the peers' programs and our compiled tokenizer. bench/README.md tells what the figures mean."""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "render"))

STEADY = 1.15  # a slice counts as steady when the yardsticks around it differ by less
FULL = 1.10  # and as taken at full speed when they are this near to the fastest of the run
TRIES, TRIES_SLOW, TRIES_FULL = 4, 2, 8  # for a steady slice; where a try takes a second; for one at full speed
FRESH, HF_PROMPTS, SAME, LONG_REPEATS, DECODE_REPEATS = 3, 3, 100, 5, 9
SEGMENTS = 64 << 20


class Program:
    """A program that answers each line by a line of JSON."""

    def __init__(self, name, command):
        self.name = name
        env = {**os.environ, "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: no answer to {command[:40]!r}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Bench:
    def __init__(self, ours):
        self.ours = ours
        self.fastest = float("inf")
        self.lines = {}  # (figure, corpus) -> what was found in each round
        self.wasted = 0
        ours.ask("yard")

    def yard(self):
        """Seconds of a fixed piece of work, the least of three: what a peer did has left the caches to it."""
        s = min(self.ours.ask("yard")["s"] for _ in range(3))
        self.fastest = min(self.fastest, s)
        return s

    def side_by_side(self, works, flip, tries=TRIES, before=None, full=False):
        """Each of the works (name -> function that gives seconds or another number) once, one after the other; the order
        turns with `flip`. Repeated while the machine changes its speed meanwhile; with `full` also while it is not at full
        speed. Returns name -> (value, yardstick), and how far the yardsticks lie apart."""
        best, least = None, float("inf")
        for attempt in range(tries):
            if before:
                before()
            order = list(works.items())
            if flip ^ (attempt % 2 == 1):
                order.reverse()
            yards, found = [self.yard()], {}
            for name, work in order:
                value = work()
                yards.append(self.yard())
                found[name] = (value, max(yards[-2:]))
            spread = max(yards) / min(yards)
            badness = max(yards) if full else spread
            if badness < least:
                best, least = (found, spread), badness
            if spread < STEADY and (not full or max(yards) < self.fastest * FULL):
                break
            self.wasted += 1
        return best

    def add(self, figure, corpus, found):
        self.lines.setdefault((figure, corpus), []).append(found)

    def round(self, figure, corpus, works, flip, **more):
        found = self.side_by_side(works, flip, **more)
        self.add(figure, corpus, found)
        return found


# figure -> unit, factor from what was measured, is more better, goal for our value, goals for ratios
FIGURES = {
    "never_seen": ("MB/s", 1e-6, True, None, {"fastokens": 1.5}),
    "again": ("MB/s", 1e-6, True, None, {}),
    "again_segment_cache": ("MB/s", 1e-6, True, None, {"fastokens": 2.0}),
    "same_prompt": ("MB/s", 1e-6, True, None, {}),
    "same_prompt_segment_cache": ("MB/s", 1e-6, True, None, {"fastokens": 2.0}),
    "long_prompt": ("ms", 1e3, False, 2.5, {}),
    "decode": ("ns/token", 1e9, False, None, {}),
    "decode_with_stops": ("ns/token", 1e9, False, 15, {}),
    "turns": ("GB/s", 1e-9, True, 4, {}),
    "shared_beginning": ("MB/s", 1e-6, True, None, {}),
    "word_of_1_mb": ("ms", 1e3, False, 100, {}),
    "word_of_1_mb_random": ("ms", 1e3, False, 100, {}),
    "load": ("ms", 1e3, False, 5, {}),
    "render": ("us", 1.0, False, 10, {}),
    "memory": ("MB", 1.0, False, 40, {}),
}


def shown(x):
    return float(f"{x:.4g}")


def line_of(bench, figure, corpus, rounds):
    unit, factor, more_is_better, goal, ratio_goals = FIGURES[figure]
    line = {"figure": figure, **({"corpus": corpus} if corpus else {}), "unit": unit}
    values = {}
    for found, _ in rounds:
        for name, (value, yard) in found.items():
            values.setdefault(name, []).append((value * factor, yard))
    ours = [v for v, _ in values["weir"]]
    at_full = [v for v, yard in values["weir"] if yard < bench.fastest * FULL]
    line["weir"] = shown(statistics.median(ours))
    line["weir_range"] = [shown(min(ours)), shown(max(ours))]
    line["weir_at_full_speed"] = shown(statistics.median(at_full)) if at_full else None
    line["full_speed_rounds"] = len(at_full)
    for name, found in values.items():
        if name == "weir":
            continue
        theirs = [v for v, _ in found]
        ratios = [a / b if more_is_better else b / a for a, b in zip(ours, theirs)]
        line[name] = shown(statistics.median(theirs))
        line[f"ratio_{name}"] = shown(statistics.median(ratios))
        line[f"ratio_{name}_range"] = [shown(min(ratios)), shown(max(ratios))]
    line["rounds"] = len(rounds)
    line["unsteady"] = sum(spread >= STEADY for _, spread in rounds)
    met = []
    if goal is not None:
        line["goal"] = goal
        best = line["weir_at_full_speed"] if at_full else line["weir"]
        met.append(best >= goal if more_is_better else best <= goal)
    for name, want in ratio_goals.items():
        if f"ratio_{name}" in line:
            line[f"goal_ratio_{name}"] = want
            met.append(line[f"ratio_{name}"] >= want)
    if met:
        line["met"] = all(met)
    return line


def speed(answer):
    return answer["bytes"] / answer["s"]


def same_ids(what, answers):
    if len({(a["tokens"], a["ids"]) for a in answers}) != 1:
        sys.exit(f"{what}: the engines' ids differ: {answers}")


def corpus_round(bench, corpus, peers, flip):
    ours, fast, hf, newest = bench.ours, peers.get("fastokens"), peers.get("hf"), peers.get("newest")
    answers = {}

    def work(program, command, measure=speed):
        def run():
            answers[program.name] = program.ask(command)
            return measure(answers[program.name])
        return run

    def fresh():
        ours.ask("load 0")
        if fast:
            fast.ask("load")

    def works(command, hf_command=None, measure=speed):
        w = {"weir": work(ours, command, measure)}
        if fast:
            w["fastokens"] = work(fast, command, measure)
        if hf and hf_command:
            w["hf"] = work(hf, hf_command, measure)
        return w

    def seconds(answer):
        return answer["s"]

    # Fresh tokenizers, or it is not the first time; then the same ones go on. The slow peer takes part with a few prompts.
    for i in range(FRESH):
        bench.round("never_seen", corpus, works("pass", f"pass {HF_PROMPTS}"), flip ^ (i % 2 == 1), tries=TRIES_SLOW, before=fresh)
    if fast:
        same_ids(corpus, [answers["weir"], answers["fastokens"]])
    if hf:
        same_ids(corpus, [ours.ask(f"pass {HF_PROMPTS}"), answers["hf"]])
    for program in filter(None, (ours, fast)):
        program.ask("pass")
    bench.round("again", corpus, works("pass", f"pass {HF_PROMPTS}"), flip)
    bench.round("same_prompt", corpus, works(f"same {SAME}", "same 2"), flip)
    # Words known, the text as a whole not; the peers get the same bytes.
    long = ours.ask("long 1")
    w = {"weir": work(ours, f"long {LONG_REPEATS}", seconds)}
    for program, repeats in ((fast, LONG_REPEATS), (hf, 1)):
        if program:
            w[program.name] = work(program, f"long {repeats} {long['bytes']}", seconds)
    bench.round("long_prompt", corpus, w, flip, full=True)
    for figure, command in (("decode", "decode"), ("decode_with_stops", "stops")):
        w = {"weir": work(ours, f"{command} {DECODE_REPEATS}", seconds)}
        if hf:
            w["hf"] = work(hf, "decode 1", seconds)
        if newest:
            newest.ask("ids " + ours.ask("ids")["list"])
            w["newest"] = work(newest, f"decode {DECODE_REPEATS}", seconds)
        bench.round(figure, corpus, w, flip, tries=TRIES_FULL, full=True)
    for command in ("turns", "shared"):
        bench.round({"shared": "shared_beginning"}.get(command, command), corpus, {"weir": work(ours, command)}, flip)
    # With segment caches: ours, as the frontend has it, beside fastokens as it comes and with its own.
    ours.ask(f"load {SEGMENTS}")
    w = {"again_segment_cache": "pass", "same_prompt_segment_cache": f"same {SAME}"}
    cached = peers.get("fastokens_segment_cache")
    for program in filter(None, (ours, cached)):
        program.ask("pass")
        program.ask("pass")
    for figure, command in w.items():
        both = works(command)
        if cached:
            both[cached.name] = work(cached, command)
        bench.round(figure, corpus, both, flip)


def once_round(bench, peers, flip, render):
    ours = bench.ours
    w = {"weir": lambda: statistics.median(ours.ask("load 0")["s"] for _ in range(5))}
    for name in ("fastokens", "hf"):
        if name in peers:
            w[name] = lambda p=peers[name]: p.ask("load")["s"]
    bench.round("load", None, w, flip, tries=TRIES_SLOW)
    for figure, command in (("word_of_1_mb", "word a"), ("word_of_1_mb_random", "word random")):
        bench.round(figure, None, {"weir": lambda c=command: ours.ask(c)["s"]}, flip)
    bench.add("memory", None, ({"weir": (ours.ask("memory")["mb"], bench.yard())}, 1.0))
    if render:
        bench.round("render", None, render, flip, full=True)


def render_works(build):
    """A run of each program a slice; the request and the template are those of bench/render."""
    import run as render
    _, text = render.template_of(build)
    path = os.path.join(build, "bench-render.jinja")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    body = render.request()

    def work(program):
        def run():
            out = subprocess.run([program, path, "1"], input=body, capture_output=True, text=True, check=True).stdout
            return json.loads(out.splitlines()[0])["us"]
        return run

    works = {"weir": work(os.path.join(build, "bench", "render"))}
    peer = render.minijinja(build)
    if peer:
        works["minijinja"] = work(peer)
    return works


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build")
    p.add_argument("folder")
    p.add_argument("model")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--no-hf", action="store_true", help="without the official crates")
    p.add_argument("--corpus", action="append", choices=["english", "chinese", "code"])
    args = p.parse_args()
    if hasattr(os, "sched_setaffinity"):  # all on one core, so that they share its fate
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    bench = Bench(Program("weir", [os.path.join(args.build, "bench", "tokenizer"), args.model, args.folder]))
    peer = os.path.join(args.folder, "peer", "release", "peer")
    names = ["fastokens", "fastokens_segment_cache", *([] if args.no_hf else ["hf", "newest"])]
    peers = {n: Program(n, [peer, n.split("_")[0], os.path.join(args.model, "tokenizer.json")])
             for n in names if os.access(peer, os.X_OK)}
    programs = [bench.ours, *peers.values()]
    render = render_works(args.build)
    corpora = args.corpus or ["english", "chinese", "code"]
    for program in programs:
        program.ask("load 0")
    if "fastokens_segment_cache" in peers:
        peers["fastokens_segment_cache"].ask(f"cache {SEGMENTS}")
    for i in range(args.rounds):
        for corpus in corpora:
            for program in programs:
                program.ask("corpus " + os.path.join(args.folder, corpus + ".bin"))
            corpus_round(bench, corpus, peers, i % 2 == 1)
        once_round(bench, peers, i % 2 == 1, render)
        print(f"# round {i + 1} of {args.rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    for program in programs:
        program.close()
    for figure in FIGURES:
        for corpus in [*corpora, None]:
            if (figure, corpus) in bench.lines:
                print(json.dumps(line_of(bench, figure, corpus, bench.lines[figure, corpus])), flush=True)
    print(json.dumps({"figure": "yardstick", "fastest_us": shown(bench.fastest * 1e6), "slices_repeated": bench.wasted}))


if __name__ == "__main__":
    main()
