#!/usr/bin/env python3
"""KV events of engines in every form, against a naive decoder and a naive engine.

usage: dialects.py PROBE [COUNT]          PROBE: event_probe, built from event_probe.c
       dialects.py PROBE COUNT official   the same with the official encoders (packages msgspec and msgpack)

Part 1, decoder: COUNT random batches, most of them right, some with a fault, each also cut short and with bytes changed.
What the product reads in a batch is compared, field by field and refusal by refusal, with naive(), which is written from
the spec pages (kvrouter 2.2, engines 2) over a slow MessagePack reader. Part 2, engine: a model that knows the true content
of its cache publishes every change in a random dialect; after each batch the index must find for any prompt exactly the
blocks that the engine holds. WEIR_TEST_SEED repeats a run."""
import os
import random
import struct
import subprocess
import sys
import time

from dialect_engine import Engine, run_engine
from dialect_wire import Bad, Ext, Map, Str, pack, unpack, unpack_depth

MAX_BLOCKS = 1 << 16
MAX_SKIP_DEPTH = 50  # deeper values are refused at a depth that depends on where they stand
TIERS = {b"cpu": 1, b"cpu_pinned": 1, b"cpu_tier1": 1, b"cpu_tier2": 2, b"disk": 2, b"nvme": 2, b"storage": 2,
         b"external": 3, b"network": 3, b"remote": 3, b"shared": 3}
MAIN = (b"full_attention", b"mla_attention", b"sink_full_attention")
STORED = ("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name", "extra_keys",
          "group_idx", "kv_cache_spec_kind", "cache_salt", "locality", "block_mm_infos")
REMOVED = ("block_hashes", "medium", "group_idx", "kv_cache_spec_kind", "locality")

# ---- the naive decoder -----------------------------------------------------------------------------------------------


def integer(v):
    return isinstance(v, int) and not isinstance(v, bool)


def number_of_hash(v):
    if integer(v):
        return v % (1 << 64)
    if isinstance(v, bytes) and not isinstance(v, Str) and len(v) >= 8:
        return int.from_bytes(v[-8:], "big")
    raise Bad("hash")


def u32(v):
    if not integer(v) or not 0 <= v < 1 << 32:
        raise Bad("id")
    return v


def tokens_of(v):
    """Ids, or pairs of neighbours: the firsts and the last second."""
    if not isinstance(v, list):
        raise Bad("tokens")
    if not v or not isinstance(v[0], list):
        return [u32(t) for t in v], 0
    if not all(isinstance(p, list) and len(p) == 2 for p in v):
        raise Bad("pair")
    return [u32(p[0]) for p in v[:-1]] + [u32(v[-1][0]), u32([u32(p[1]) for p in v][-1])], 1


def is_media_id(text):
    return len(text) == 64 and all(c in b"0123456789abcdefABCDEF" for c in text)


def naive_members(kind, value):
    """Named members of an event, whichever form it has."""
    if isinstance(value, Map):
        known = {"S": STORED, "R": REMOVED, "C": ("locality",), "O": ()}[kind]
        members = {}
        for key, v in value.pairs:
            name = key.decode("latin-1") if isinstance(key, Str) else ""
            if name in known:
                if name in members:
                    raise Bad("twice")
                members[name] = v
        return members
    slots = {"S": STORED[:8], "R": ("block_hashes", "medium")}.get(kind, ())
    members = dict(zip(slots, value[1:]))
    for v in value[1 + len(slots):] if slots else ():
        name = None
        if isinstance(v, list):
            name = "block_mm_infos"
        elif integer(v) and v >= 0:
            name = "group_idx"
        elif isinstance(v, Str):
            name = "locality" if v in (b"LOCAL", b"REMOTE") else "kv_cache_spec_kind"
        if name == "locality" or (name and name not in members):
            members[name] = v
    return members


def kind_of(value):
    if isinstance(value, list):
        if not value:
            raise Bad("empty event")
        tag = value[0]
    else:
        tags = [v for k, v in value.pairs if isinstance(k, Str) and k == b"type"]
        if len(tags) > 1:
            raise Bad("two types")
        tag = tags[0] if tags else None
    return {b"BlockStored": "S", b"BlockRemoved": "R", b"AllBlocksCleared": "C"}.get(tag if isinstance(tag, Str) else None, "O")


class Stored:
    """Adapter, salt and media of a stored event."""

    def __init__(self, m, has_parent):
        self.lid = int(m.get("lora_id") is not None)
        self.lora, self.salt, self.media = b"", b"", None
        self.has_parent = has_parent
        lora = m.get("lora_name")
        if isinstance(lora, Map):
            for k, v in lora.pairs:
                if isinstance(k, Str) and k == b"cache_salt":
                    self.see_salt(v)
        elif isinstance(lora, Str):
            self.lora = bytes(lora)
        elif lora is not None:
            self.lid = 1
        if "cache_salt" in m:
            self.see_salt(m["cache_salt"])
        self.see_list(m.get("block_mm_infos"), lambda i, v: self.see_media(i) if v is not None else None)
        self.see_list(m.get("extra_keys"), self.see_keys)

    def see_media(self, block):
        self.media = block if self.media is None else min(self.media, block)

    def see_salt(self, v):
        if isinstance(v, Str):
            self.salt = bytes(v)
        elif v is not None:
            self.see_media(0)

    def see_list(self, v, fn):
        if isinstance(v, list):
            for i, item in enumerate(v):
                fn(i, item)
        elif v is not None:
            self.see_media(0)

    def see_keys(self, block, keys):
        left = [k for k in (keys if isinstance(keys, list) else [keys]) if k is not None]
        if self.lora and self.lora in [bytes(k) for k in left if isinstance(k, Str)]:
            at = next(i for i, k in enumerate(left) if isinstance(k, Str) and k == self.lora)
            del left[at]
        for k in left:
            if not isinstance(k, Str) or is_media_id(k):
                self.see_media(block)
            elif not self.salt and block == 0 and not self.has_parent:
                self.salt = bytes(k)
            elif k != self.salt:
                self.see_media(block)


def naive_event(value):
    if not isinstance(value, (list, Map)):
        return "O"
    kind = kind_of(value)
    m = naive_members(kind, value)
    remote = int(m.get("locality") is not None and not (isinstance(m["locality"], Str) and m["locality"] == b"LOCAL"))
    if kind == "O":
        return "O"
    if kind == "C":
        return f"C r={remote}"
    hashes = m.get("block_hashes", [])
    if not isinstance(hashes, list) or len(hashes) > MAX_BLOCKS:
        raise Bad("hashes")
    hashes = [number_of_hash(h) for h in hashes]
    medium, group, spec = m.get("medium"), m.get("group_idx"), m.get("kv_cache_spec_kind")
    tier = TIERS.get(bytes(medium).lower(), 0) if isinstance(medium, Str) else 0
    group = min(group, (1 << 31) - 1) if integer(group) and group >= 0 else -1
    attention = 0 if not isinstance(spec, Str) or not spec else 1 if spec in MAIN else 2
    text = f"{kind} {','.join(map(str, hashes))} tier={tier} r={remote} g={group} a={attention}"
    if kind == "R":
        return text
    parent = m.get("parent_block_hash")
    parent = None if parent is None else number_of_hash(parent)
    ids, eagle = tokens_of(m.get("token_ids", []))
    size = m.get("block_size", 0)
    if not integer(size) or not 0 <= size:
        raise Bad("size")
    s = Stored(m, parent is not None)
    return (text + f" p={'' if parent is None else parent} t={','.join(map(str, ids))} bs={min(size, (1 << 32) - 1)} "
            f"eagle={eagle} lid={s.lid} lora={s.lora.hex()} salt={s.salt.hex()} m={'' if s.media is None else s.media}")


def naive_head(value):
    """Time, events, rank."""
    if isinstance(value, Map):
        m = {}
        for k, v in value.pairs:
            if isinstance(k, Str) and k in (b"ts", b"events", b"data_parallel_rank"):
                if bytes(k) in m:
                    raise Bad("twice")
                m[bytes(k)] = v
        if b"ts" not in m or b"events" not in m:
            raise Bad("missing")
        members = [m[b"ts"], m[b"events"], m.get(b"data_parallel_rank")]
    elif isinstance(value, list) and len(value) >= 2:
        members = value
    else:
        raise Bad("batch")
    ts, events = members[0], members[1]
    rank = members[2] if len(members) > 2 else None
    if not (integer(ts) or isinstance(ts, float)) or ts != ts or abs(float(ts)) == float("inf") or not isinstance(events, list):
        raise Bad("head")
    rank = rank if integer(rank) and rank >= 0 else -1
    if rank >= 1 << 31 and isinstance(value, Map):
        raise Bad("rank")
    return float(ts), events, rank if rank < 1 << 31 else None


def naive(payload):
    """Lines of the events before a fault, and how it ends: None for refused."""
    try:
        ts, events, rank = naive_head(unpack(payload))
    except Bad:
        return None, None
    lines = []
    for e in events:
        try:
            lines.append(naive_event(e))
        except Bad:
            return lines, None
    return lines, None if rank is None else f"= ok {struct.pack('>d', ts).hex()} {rank} {len(events)}"


# ---- random batches --------------------------------------------------------------------------------------------------

TEXTS = [b"", b"ad", b"s", b"tenant-a", b"LOCAL", b"REMOTE", b"full_attention", b"x" * 40, b"ab" * 32, b"\xff\xfe",
         b"dynamo-cache-salt:t"]
MEDIA = [b"GPU", b"gpu", b"CPU", b"CPU_PINNED", b"cpu_tier2", b"DISK", b"NVMe", b"EXTERNAL", b"what", b""]
KINDS = [b"full_attention", b"mla_attention", b"sink_full_attention", b"sliding_window", b"mamba", b""]


class Random:
    """One batch after the other; `wrong` is the share of members of a wrong type."""

    def __init__(self, rng):
        self.rng = rng
        self.wrong = 0.0

    def pick(self, *choices):
        return self.rng.choice(choices)

    def some(self, p):
        return self.rng.random() < p

    def anything(self, depth=0):
        r = self.rng
        what = r.randrange(11 if depth < 3 else 8)
        return [lambda: None, lambda: r.random() < 0.5, lambda: r.randrange(-40, 300), lambda: r.getrandbits(64),
                lambda: -r.getrandbits(63) - 1, lambda: r.random(), lambda: Str(r.choice(TEXTS)),
                lambda: bytes(r.choice(TEXTS)), lambda: [self.anything(depth + 1) for _ in range(r.randrange(3))],
                lambda: Map([(self.anything(depth + 1), self.anything(depth + 1)) for _ in range(r.randrange(3))]),
                lambda: Ext(r.randrange(-128, 128), bytes(r.randrange(20)))][what]()

    def maybe_wrong(self, v):
        return self.anything() if self.some(self.wrong) else v

    def text(self):
        return Str(self.rng.choice(TEXTS))

    def hash(self, form):
        r = self.rng
        if form == "bytes":
            return r.randbytes(self.pick(8, 9, 32, 32, 32) if not self.some(self.wrong) else 7)
        v = self.pick(r.getrandbits(64), r.getrandbits(32), r.randrange(200), (1 << 63), (1 << 64) - 1)
        return v - (1 << 64) if form == "signed" and v >= 1 << 63 else v

    def key(self, lora):
        r = self.rng
        return self.pick(lora, Str(b"tenant-a"), Str(b"s"), [Str(b"ab" * 32), r.randrange(99)], Str(b"0f" * 32), None,
                         r.randbytes(32), 17, Str(b""))

    def extra_keys(self, n, lora):
        rows = []
        for i in range(n):
            rows.append(self.pick(None, None, [lora] if lora else None, [lora, Str(b"tenant-a")] if i == 0 and lora else None,
                                  [Str(b"tenant-a")] if i == 0 else None, [self.key(lora) for _ in range(self.rng.randrange(4))],
                                  self.key(lora)))
        return rows

    def ids(self, n):
        r = self.rng
        return [self.pick(r.randrange(128), r.randrange(1 << 16), r.randrange(152000), r.getrandbits(32)) for _ in range(n)]

    def stored(self):
        r = self.rng
        form = self.pick("unsigned", "signed", "bytes", "mixed")
        n = self.pick(0, 1, 1, 2, 3, 20)
        one = (lambda: self.hash(self.pick("unsigned", "signed", "bytes"))) if form == "mixed" else (lambda: self.hash(form))
        size = self.pick(1, 16, 32, 64, 0, 1 << 20, (1 << 20) + 16, (1 << 32) + 16)
        ids = self.ids(n * min(size, 4))
        if self.some(0.1) and len(ids) > 1:
            ids = [[a, b] for a, b in zip(ids, ids[1:])]
        lora = self.pick(None, None, Str(b"ad"), Str(b"tenant-a"), Str(b""))
        return {"block_hashes": [self.maybe_wrong(one()) for _ in range(n)],
                "parent_block_hash": self.pick(None, one(), 0), "token_ids": ids, "block_size": size,
                "lora_id": self.pick(None, None, 1, 0), "medium": self.pick(None, Str(r.choice(MEDIA))),
                "lora_name": lora, "extra_keys": self.pick(None, self.extra_keys(n, lora), self.extra_keys(n + 1, lora)),
                "group_idx": self.pick(None, 0, 1, 63, 64, 1 << 40), "kv_cache_spec_kind": self.pick(None, Str(r.choice(KINDS))),
                "cache_salt": self.pick(None, None, Str(b"tenant-a"), self.text()),
                "locality": self.pick(None, None, Str(b"LOCAL"), Str(b"REMOTE"), Str(b"ELSE"), Str(b"")),
                "block_mm_infos": self.pick(None, None, [self.pick(None, None, Map([(Str(b"mm_objects"), [])])) for _ in range(n)])}

    def removed(self):
        form = self.pick("unsigned", "signed", "bytes")
        return {"block_hashes": [self.maybe_wrong(self.hash(form)) for _ in range(self.pick(0, 1, 1, 5, 40))],
                "medium": self.pick(None, Str(self.rng.choice(MEDIA))), "group_idx": self.pick(None, 0, 1),
                "kv_cache_spec_kind": self.pick(None, Str(self.rng.choice(KINDS))),
                "locality": self.pick(None, Str(b"LOCAL"), Str(b"REMOTE"))}

    def as_map(self, tag, members):
        pairs = [(Str(k.encode()), self.maybe_wrong(v)) for k, v in members.items()
                 if v is not None or self.some(0.5)]
        if self.some(0.3):
            pairs.append((Str(self.pick(b"ownership", b"session_id", b"new")), self.anything()))
        if self.some(0.05):
            pairs.append((self.anything(), self.anything()))
        if self.some(0.03) and pairs:
            pairs.append(self.rng.choice(pairs))
        if self.some(0.3):
            self.rng.shuffle(pairs)
        pairs.insert(0 if self.some(0.8) else self.rng.randrange(len(pairs) + 1), (Str(b"type"), tag))
        if self.some(0.02):
            pairs.append((Str(b"type"), tag))
        if self.some(0.03):
            pairs = [p for p in pairs if p[0] != b"type"]
        return Map(pairs)

    def as_array(self, tag, members, slots):
        row = [tag] + [self.maybe_wrong(members.get(s)) for s in slots]
        if "lora_name" in slots and self.some(0.15):
            row[7] = Map([(Str(b"cache_salt"), members.get("cache_salt")), (Str(b"x"), 1)])
        tail = [members.get(s) for s in ("block_mm_infos", "group_idx", "kv_cache_spec_kind")]
        tail = [v for v in tail if v is not None or self.some(0.5)] + self.pick([], [4096], [None, 128], [Str(b"LOCAL")],
                                                                               [self.anything()])
        if self.some(0.2):
            self.rng.shuffle(tail)
        row = row[:self.rng.randrange(1, len(row) + 1)] if self.some(0.2) else row + self.pick([], tail)
        return row

    def event(self):
        what = self.rng.randrange(20)
        array = self.some(0.5)
        if what < 11:
            tag, members, slots = Str(b"BlockStored"), self.stored(), STORED[:8]
        elif what < 16:
            tag, members, slots = Str(b"BlockRemoved"), self.removed(), ("block_hashes", "medium")
        elif what < 18:
            tag, members, slots = Str(b"AllBlocksCleared"), {}, ()
            members = {"locality": Str(b"REMOTE")} if self.some(0.1) else members
        elif what < 19:
            tag, members, slots = Str(self.pick(b"Ignored", b"BlockMoved", b"")), self.pick({}, self.stored()), ()
        else:
            return self.anything()
        if self.some(self.wrong):
            tag = self.anything()
        return self.as_array(tag, members, slots) if array else self.as_map(tag, members)

    def batch(self):
        self.wrong = self.pick(0.0, 0.0, 0.0, 0.002, 0.02)
        r = self.rng
        ts = self.maybe_wrong(self.pick(1790000000.25 + r.random(), r.randrange(1 << 31), -0.0, 1e308))
        events = [self.event() for _ in range(self.pick(0, 1, 1, 2, 5, 20))]
        rank = self.maybe_wrong(self.pick(0, 0, 3, None, -1, (1 << 31) - 1))
        if self.some(0.1):
            pairs = [(Str(b"ts"), ts), (Str(b"events"), events)] + self.pick([], [(Str(b"data_parallel_rank"), rank)])
            if self.some(0.2):
                pairs.append((Str(self.pick(b"new", b"ts")), self.anything()))
            if self.some(0.3):
                r.shuffle(pairs)
            return Map(pairs)
        return [ts, events] + self.pick([], [rank], [rank], [rank], [rank], [rank, self.anything()])


# ---- comparing -------------------------------------------------------------------------------------------------------


class Probe:
    def __init__(self, path):
        self.p = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, lines):
        """One question at a time, so that neither pipe can fill up; the lines of each answer."""
        answers = []
        for question in lines:
            self.tell(question)
            self.p.stdin.flush()
            answer = []
            while not answer or not answer[-1].startswith("= "):
                line = self.p.stdout.readline().decode()
                if not line:
                    raise SystemExit(f"the probe has ended: {self.p.wait()}")
                answer.append(line.rstrip("\n"))
            answers.append(answer)
        return answers

    def tell(self, line):
        self.p.stdin.write((line + "\n").encode())

    def close(self):
        self.p.stdin.close()
        return self.p.wait()


def compare(probe, payloads, tally):
    bad = 0
    for payload, got in zip(payloads, probe.ask(["D " + p.hex() for p in payloads])):
        lines, end = naive(payload)
        what = "refused" if end is None else "read"
        if unpack_depth(payload) > MAX_SKIP_DEPTH:
            continue
        if lines is None:
            same = got[-1] == "= invalid"  # events before the fault may have been handed out
        else:
            same = got[:-1] == lines and got[-1] == (end or "= invalid")
        tally[what] = tally.get(what, 0) + 1
        tally["events"] = tally.get("events", 0) + len(lines or ())
        if not same:
            bad += 1
            if bad <= 5:
                print(f"differs: {payload.hex()}\n  product {got}\n  naive   {lines} {end or '= invalid'}", flush=True)
    return bad


def damaged(rng, payload):
    """Cut short, bytes changed, inserted, left out."""
    out = [payload[:rng.randrange(len(payload))] for _ in range(3)]
    for _ in range(6):
        b = bytearray(payload)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = rng.randrange(len(b))
            how = rng.randrange(5)
            if how == 0:
                b[at] ^= 1 << rng.randrange(8)
            elif how == 1:
                b[at] = rng.choice((0x00, 0x7f, 0x80, 0x90, 0xa0, 0xc0, 0xc1, 0xc4, 0xca, 0xcb, 0xcc, 0xcf, 0xd3, 0xd9, 0xdc,
                                    0xdd, 0xdf, 0xe0, 0xff))
            elif how == 2:
                b[at] = rng.randrange(256)
            elif how == 3:
                b.insert(at, rng.randrange(256))
            elif len(b) > 1:
                del b[at]
        out.append(bytes(b))
    return out + [payload + bytes([rng.randrange(256)])]


def deep(n):
    v = 1
    for i in range(n):
        v = [v] if i % 2 else Map([(Str(b"a"), v)])
    return v


def edges(probe):
    """Bounds, one by one."""
    bad = 0
    stored = [Str(b"BlockStored"), [1], None, [1], 1]
    for value, ok in (([1.0, [stored + [None, None, None, None, None, deep(60)]]], True),
                      ([1.0, [stored + [None, None, None, None, None, deep(200)]]], False),
                      ([1.0, [[Str(b"BlockRemoved"), [7] * MAX_BLOCKS]]], True),
                      ([1.0, [[Str(b"BlockRemoved"), [7] * (MAX_BLOCKS + 1)]]], False),
                      ([1.0, [], (1 << 31) - 1], True), ([1.0, [], 1 << 31], False),
                      ([float("nan"), []], False), ([float("inf"), []], False), ([], False), ([1.0], False), (Map([]), False)):
        got = probe.ask(["D " + pack(value).hex()])[0][-1].startswith("= ok")
        bad += got != ok
        if got != ok:
            print(f"differs: {str(value)[:200]}: read {got}, want {ok}", flush=True)
    return bad


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    seed = int(os.environ.get("WEIR_TEST_SEED", "0")) or random.randrange(1, 1 << 31)
    print(f"seed {seed} (repeat with WEIR_TEST_SEED), {count} batches", flush=True)
    rng = random.Random(seed)
    encoders = None
    if "official" in sys.argv[3:]:
        import dialect_official
        encoders = dialect_official.load()
        if encoders is None:
            return 77
    probe, gen, tally, bad, start = Probe(os.path.abspath(sys.argv[1])), Random(rng), {}, 0, time.time()
    bad += edges(probe)
    for _ in range(count):
        value = gen.batch()
        payload = pack(value, rng if rng.random() < 0.5 else None)
        if encoders is not None:
            bad += encoders.same(payload)
            if rng.random() < 0.5:
                payload = encoders.batch(rng, gen)
        worse = damaged(rng, payload)
        if encoders is not None:
            bad += sum(encoders.same(p) for p in worse)
        bad += compare(probe, [payload] + worse, tally)
    print(f"decoder: {tally}, {bad} different ({time.time() - start:.1f} s)", flush=True)
    if not tally.get("read") or not tally.get("refused"):
        bad += 1
    start = time.time()
    for mode in ("plain", "dynamo"):
        wrong, asked, found = run_engine(probe, Engine(random.Random(f"{seed} {mode}"), mode), max(200, count // 2))
        print(f"engine, {mode}: {asked} prompts, {found} blocks found, {wrong} different ({time.time() - start:.1f} s)", flush=True)
        bad += wrong + (found == 0)
    bad += probe.close() != 0
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
