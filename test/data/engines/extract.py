#!/usr/bin/env python3
"""Turns captures of real engines into test vectors:

events    what the official decoder read in their KV events (the captures' own `decoded`), in the words of
          test/unit/wire/engine_event.c
answers   what they answered over HTTP, and what a reader must find in it (test/unit/engines/recorded.c); the mock engines are
          held to the same exchanges (test/e2e/test_engine_shapes.py)
replay    the frames of their replay sockets (test/unit/engines/feed.c, test/unit/worker/mock_feed.c)
metrics   their pages of metrics, every sample's value put in as the number of its line, and what a reader must find then;
          behind them a page that is made: SGLang's of several data-parallel ranks, which nobody could record

usage: extract.py FOLDER_OF_CAPTURES KIND > KIND.txt"""
import json
import os
import re
import sys

FILES = ("vllm-0.32.0-map-int", "vllm-0.32.0-map-bytes-lora", "vllm-0.32.0-dp2", "vllm-0.16.0-array-int", "sglang-0.5.23-map-int",
         "llmd-sim-array", "llmd-sim-map")
ARRAYS = {"BlockStored": ("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name"),
          "BlockRemoved": ("block_hashes", "medium"), "AllBlocksCleared": ()}


def number(h):
    """A name as 64 bits; captures write byte strings as hex:…"""
    return int(h[-16:], 16) if isinstance(h, str) else h % (1 << 64)


def line(e):
    if isinstance(e, list):
        e = {"type": e[0], **dict(zip(ARRAYS[e[0]], e[1:]))}
    names = ",".join(str(number(h)) for h in e.get("block_hashes", ()))
    if e["type"] != "BlockStored":
        return {"BlockRemoved": "removed " + names, "AllBlocksCleared": "cleared"}[e["type"]]
    parent, lora = e.get("parent_block_hash"), e.get("lora_name")
    # Of the captures' keys what is no adapter is the salt, and none holds media.
    keys = [k for k in (e.get("extra_keys") or [None])[0] or () if k != lora]
    return (f"stored {names} parent {'-' if parent is None else number(parent)} tokens {','.join(map(str, e['token_ids']))} "
            f"size {e['block_size']} lora {lora or '-'} salt {e.get('cache_salt') or (keys + ['-'])[0]}")


def events(folder):
    print("# Batches that real engines published, and what they say as the official decoder read it.")
    print("# B file number payload-in-hex; then R rank, and one line an event.")
    for name in FILES:
        with open(os.path.join(folder, name + ".jsonl"), encoding="utf-8") as f:
            for batch in map(json.loads, f):
                print("B", name, batch["seq"], batch["payload_hex"])
                decoded = batch["decoded"]
                print("R", decoded[2] if len(decoded) > 2 else -1)
                print("\n".join(map(line, decoded[1])))


# ---- answers -------------------------------------------------------------------------------------

ENGINES = ("vllm-0.32.0", "sglang-0.5.23")


def dump(x):
    return json.dumps(x, ensure_ascii=False, separators=(",", ":"))


def endpoint(text):
    """Where a consumer finds what the engine bound: [::ffff:a.b.c.d] is its way to bind one IPv4 address."""
    return re.sub(r"\[::ffff:([0-9.]+)\]", r"\1", text)


def counts(usage):
    return f"{usage['prompt_tokens']} {usage['completion_tokens']} {usage['prompt_tokens_details']['cached_tokens']}"


def found(path, body):
    """What each of our readers must find in this answer; no line of a kind: nothing, or a refusal."""
    if isinstance(body, str):
        chunks = [c[6:] for c in body.split("\n\n") if c.startswith("data: ")]
        if chunks:
            last = json.loads(chunks[-2])
            yield f"stream {len(chunks) - 1} {counts(last['usage'])}"
        return
    if path == "/v1/models":
        for m in body["data"]:
            yield f"model {m['id']} {m['max_model_len']} {m['parent'] or '-'} {m['owned_by']}"
    if path == "/kv_event_sources":
        for rank in sorted(body, key=int):
            s = body[rank]
            yield f"source {rank} {endpoint(s['endpoint'])} {endpoint(s['replay_endpoint'])} {s['topic']}"
    if path == "/tokenize":
        yield "tokens " + ",".join(map(str, body["tokens"]))
    if body.get("usage"):
        yield "usage " + counts(body["usage"])


def answers(folder):
    print("# What engines answered. Q engine, name, method, path, request (-: none); S status; then the body: J JSON, or T a")
    print("# JSON string that holds it; then what is found in it, one line a finding.")
    for engine in ENGINES:
        with open(os.path.join(folder, f"http-{engine}.json"), encoding="utf-8") as f:
            for a in json.load(f):
                body = a["answer"]
                request = "-" if a["request"] is None else dump(a["request"])
                print("Q", engine, a["name"].replace(" ", "_"), a["method"], a["path"], request, sep="\t")
                print("S", a["status"])
                print("T" if isinstance(body, str) else "J", dump(body))
                for words in found(a["path"], body):
                    print(words)


# ---- replay --------------------------------------------------------------------------------------

def frame(text):
    named = {"": "-", "<topic>": "TOPIC", "<seq 8 bytes>": "SEQ", "<payload>": "PAYLOAD"}
    return named.get(text, text)


def replay(folder):
    print("# Frames of replay sockets: engine, those of an answer, those of the end mark. -: an empty frame.")
    with open(os.path.join(folder, "replay.json"), encoding="utf-8") as f:
        for engine, forms in json.load(f).items():
            if isinstance(forms, dict) and "answer_frames" in forms:
                print(engine, " ".join(map(frame, forms["answer_frames"])), " ".join(map(frame, forms["end_frames_hex"])),
                      sep="\t")


# ---- metrics -------------------------------------------------------------------------------------

GAUGES = {"vllm:num_requests_running": "running", "vllm:num_requests_waiting": "waiting", "vllm:kv_cache_usage_perc": "usage",
          "sglang:num_running_reqs": "running", "sglang:num_queue_reqs": "waiting", "sglang:token_usage": "usage"}


def sample(text):
    name, labels, value = re.fullmatch(r"([^{ ]+)(?:\{(.*)\})? (\S+)", text).groups()
    return name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")), value


def metrics(folder):
    print("# Pages of metrics. P engine; | its lines; then what is found in them.")
    for engine in ENGINES:
        print("P", engine)
        ranks, config = {}, {}
        with open(os.path.join(folder, f"metrics-{engine}.txt"), encoding="utf-8") as f:
            for n, text in enumerate(f.read().splitlines(), 1):
                if text.startswith("#") or not text:
                    print("|" + text)
                    continue
                name, labels, value = sample(text)
                told = name in ("sglang:page_size", "sglang:num_pages")
                print("|" + text[:len(text) - len(value)] + (value if told else str(n)))
                if name in GAUGES:
                    ranks.setdefault(int(labels.get("engine", labels.get("dp_rank", 0))), {})[GAUGES[name]] = n
                if name == "vllm:cache_config_info":
                    config = {"size": int(labels["block_size"]), "n": int(labels["num_gpu_blocks_override"])}
                if told:
                    config["size" if name == "sglang:page_size" else "n"] = int(float(value))
        for rank, found_there in sorted(ranks.items()):
            print("rank", rank, *(found_there[k] for k in ("running", "waiting", "usage")))
        print("blocks", config["size"], config["n"])
    several_ranks(folder)


def several_ranks(folder):
    """The recorded samples of one rank, once for each of three: SGLang names a rank by a label dp_rank where there are
    several, and labels are sorted. Rank 1 is told of last, as a scheduler that came up late would be."""
    print("P sglang-0.5.23 made: three ranks")
    ranks, told = {}, {}
    with open(os.path.join(folder, "metrics-sglang-0.5.23.txt"), encoding="utf-8") as f:
        rows = [(n, sample(text)) for n, text in enumerate(f.read().splitlines(), 1) if text and not text.startswith("#")]
    for rank in (0, 2, 1):
        for n, (name, labels, value) in rows:
            fixed = name in ("sglang:page_size", "sglang:num_pages")
            if "tp_rank" not in labels or not (fixed or name in GAUGES or name == "sglang:num_used_tokens"):
                continue
            all_labels = ",".join(f'{k}="{v}"' for k, v in sorted({**labels, "dp_rank": str(rank)}.items()))
            shown = value if fixed else str(10 * n + rank)
            print(f"|{name}{{{all_labels}}} {shown}")
            if name in GAUGES:
                ranks.setdefault(rank, {})[GAUGES[name]] = shown
            if fixed:
                told[name] = int(float(value))
    for rank, found_there in sorted(ranks.items()):
        print("rank", rank, *(found_there[k] for k in ("running", "waiting", "usage")))
    print("blocks", told["sglang:page_size"], told["sglang:num_pages"])


KINDS = {k.__name__: k for k in (events, answers, replay, metrics)}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in KINDS:
        sys.exit(__doc__)
    KINDS[sys.argv[2]](sys.argv[1])
