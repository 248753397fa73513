#!/usr/bin/env python3
"""Turns captures of real engines into events.txt: what the official decoder read in them (the captures' own `decoded`), in
the words of test/unit/wire/engine_event.c.

usage: extract.py FOLDER_OF_CAPTURES > events.txt"""
import json
import os
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


def main():
    print("# Batches that real engines published, and what they say as the official decoder read it.")
    print("# B file number payload-in-hex; then R rank, and one line an event.")
    for name in FILES:
        with open(os.path.join(sys.argv[1], name + ".jsonl"), encoding="utf-8") as f:
            for batch in map(json.loads, f):
                print("B", name, batch["seq"], batch["payload_hex"])
                decoded = batch["decoded"]
                print("R", decoded[2] if len(decoded) > 2 else -1)
                print("\n".join(map(line, decoded[1])))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
