"""A model of an engine that knows the true content of its cache, and publishes every change in a random dialect."""
import hashlib

from dialect_wire import Map, Str, pack

BLOCK, DEPTH = 4, 6
HASH = "0123456789abcdef" * 4  # how an id of media looks


def named(**members):
    """Members as a map has them; None is left out."""
    return [(Str(k.encode()), v) for k, v in members.items() if v is not None]


class Prompt:
    """A conversation: adapter, salt, blocks of tokens, and the media that some blocks hold."""

    def __init__(self, lora, salt, blocks, media):
        self.lora, self.salt, self.blocks, self.media = lora, salt, blocks, media

    def identity(self, i):
        """What makes block i another block than one of equal tokens."""
        return (self.lora, self.salt, tuple(self.blocks[:i + 1]), tuple(sorted((b, m) for b, m in self.media.items() if b <= i)))

    def ids(self):
        return [t for b in self.blocks for t in b]


class Engine:
    def __init__(self, rng, mode):
        self.rng, self.mode = rng, mode
        self.device, self.host = {}, {}  # identity: copies; the dict's order is that of storing
        self.prompts = []
        roots = [[self.block() for _ in range(2)] for _ in range(3)]
        for i in range(16):
            blocks = roots[i % 3] + [self.block() for _ in range(DEPTH - 2)]
            lora = rng.choice(("", "", "ad", "other"))
            salt = rng.choice(("", "", "tenant-a", "s", "ad"))  # a salt may be spelled like an adapter
            media = {rng.randrange(DEPTH): f"{i % 2:064x}"} if rng.random() < 0.25 else {}
            self.prompts.append(Prompt(lora, salt, [tuple(b) for b in blocks], media))

    def block(self):
        return tuple(self.rng.randrange(100000) for _ in range(BLOCK))

    # ---- how things are written --------------------------------------------------------------------------------------

    def name(self, identity, form):
        v = int.from_bytes(hashlib.blake2b(repr(identity).encode(), digest_size=8).digest(), "big") | 1
        if form == "bytes":
            return hashlib.blake2b(repr(identity).encode(), digest_size=24).digest() + v.to_bytes(8, "big")
        return v - (1 << 64) if form == "signed" and v >= 1 << 63 else v

    def salt_text(self, salt):
        """Dynamo's workers put something in front of what they give to vLLM."""
        return Str((("dynamo-cache-salt:" if self.mode == "dynamo" and self.rng.random() < 0.7 else "") + salt).encode())

    def extra_keys(self, p, first, n):
        rows = []
        for i in range(first, first + n):
            row = [Str(p.lora.encode())] if p.lora else []
            if i in p.media:
                row.append(self.rng.choice(([Str(p.media[i].encode()), 3], Str(p.media[i].encode()), b"\x01" * 32)))
            if i == 0 and p.salt:
                row.append(self.salt_text(p.salt))
            rows.append(row or None)
        return rows if any(rows) or self.rng.random() < 0.5 else None

    def stored(self, p, first, n, tier, group=0):
        """The event in one of the dialects that can say all of it."""
        media = any(first <= b < first + n for b in p.media)
        able = ["array", "map", "map"]
        if not p.lora and not media:
            able += ["sglang", "sglang-array"]
        if not media and (first > 0 or not p.salt):
            able += ["array-0.16", "llmd"]
        how = self.rng.choice(able)
        form = "signed" if how.startswith("sglang") else self.rng.choice(("unsigned", "bytes" if how == "map" else "unsigned"))
        hashes = [self.name(p.identity(i), form) for i in range(first, first + n)]
        parent = self.name(p.identity(first - 1), form) if first > 0 else 0 if how == "llmd" else None
        ids = [t for b in p.blocks[first:first + n] for t in b]
        lora = Str(p.lora.encode()) if p.lora else None
        lora_id, medium = (1 if p.lora else None), Str(tier)
        kind = Str(b"sliding_window" if group else b"full_attention")
        if how in ("array-0.16", "llmd"):
            row = [Str(b"BlockStored"), hashes, parent, ids, BLOCK, lora_id, medium, lora]
            return row + [None, group, kind] if group or how == "llmd" else row
        if how == "array":
            tail = [group, kind] + self.rng.choice(([], [4096], [None]))
            return [Str(b"BlockStored"), hashes, parent, ids, BLOCK, lora_id, medium, lora, self.extra_keys(p, first, n)] + tail
        if how == "sglang-array":
            slot = Map([(Str(b"cache_salt"), Str(p.salt.encode()))]) if p.salt else None
            return [Str(b"BlockStored"), hashes, parent, ids, BLOCK, None, medium, slot] + ([None, group, kind] if group else [])
        members = named(block_hashes=hashes, token_ids=ids, block_size=BLOCK, medium=medium)
        members.append((Str(b"parent_block_hash"), parent))
        if how == "sglang":
            members += named(cache_salt=Str(p.salt.encode()) if p.salt else None, group_idx=group or None,
                             kv_cache_spec_kind=kind if group else None)
        else:
            members += named(lora_id=lora_id, lora_name=lora, extra_keys=self.extra_keys(p, first, n), group_idx=group,
                             kv_cache_spec_kind=kind, locality=Str(b"LOCAL") if self.rng.random() < 0.2 else None)
        if self.rng.random() < 0.2:
            self.rng.shuffle(members)
        return Map([(Str(b"type"), Str(b"BlockStored"))] + members)

    def removed(self, identities, tier, group=0):
        form = self.rng.choice(("unsigned", "signed", "bytes"))
        hashes = [self.name(i, form) for i in identities]
        if self.rng.random() < 0.5:
            return [Str(b"BlockRemoved"), hashes, Str(tier)] + ([group] if group or self.rng.random() < 0.5 else [])
        return Map([(Str(b"type"), Str(b"BlockRemoved"))] + named(block_hashes=hashes, medium=Str(tier), group_idx=group))

    # ---- what happens ------------------------------------------------------------------------------------------------

    def depth(self, p, held):
        d = 0
        while d < DEPTH and p.identity(d) in held:
            d += 1
        return d

    def store(self, held, tier):
        """More of a conversation, in one event or, as prefill goes, in several."""
        p = self.rng.choice(self.prompts)
        at, end = self.depth(p, held), self.rng.randrange(1, DEPTH + 1)
        if held is self.host:
            end = min(end, self.depth(p, self.device))
        while at < end:
            n = self.rng.randrange(1, end - at + 1)
            for i in range(at, at + n):
                held[p.identity(i)] = 1
            yield self.stored(p, at, n, tier)
            if self.rng.random() < 0.2:
                yield self.stored(p, at, n, tier, group=1)
            at += n

    def copy(self):
        """SGLang stores equal pages of another branch of its tree once more."""
        p = self.rng.choice([p for p in self.prompts if not p.lora and not p.media])
        d = self.depth(p, self.device)
        if d:
            for i in range(d):
                self.device[p.identity(i)] += 1
            yield self.stored(p, 0, d, b"GPU")

    def evict(self, held, tier):
        """Leaves first; several removals in one event, or one in each."""
        gone = []
        for _ in range(self.rng.randrange(1, 5)):
            # Of two branches that share a block's name, the deepest copy goes first.
            leaves = [i for i in held if not any(self.child(i, j) and held[j] >= held[i] for j in held)]
            if not leaves:
                break
            i = self.rng.choice(leaves)
            gone.append(i)
            held[i] -= 1
            if not held[i]:
                del held[i]
        if gone and self.rng.random() < 0.5:
            yield self.removed(gone, tier)
        else:
            for i in gone:
                yield self.removed([i], tier)
        if gone and self.rng.random() < 0.2:
            yield self.removed(gone, tier, group=1)

    @staticmethod
    def child(a, b):
        """b stands behind a."""
        return a[:2] == b[:2] and len(b[2]) == len(a[2]) + 1 and b[2][:-1] == a[2] and \
            tuple(m for m in b[3] if m[0] < len(a[2])) == a[3]

    def noise(self):
        """What says nothing about this cache."""
        p = self.rng.choice(self.prompts)
        return self.rng.choice((
            [Str(b"Ignored")], [Str(b"BlockMoved"), [1], None], Map([(Str(b"type"), Str(b"Later")), (Str(b"block_hashes"), 3)]),
            Map([(Str(b"type"), Str(b"BlockStored"))] + named(
                block_hashes=[self.name(p.identity(i), "unsigned") for i in range(DEPTH)], token_ids=p.ids(), block_size=BLOCK,
                locality=Str(b"REMOTE"))),
            Map([(Str(b"type"), Str(b"BlockStored"))] + named(
                block_hashes=[self.rng.getrandbits(64)], token_ids=list(p.blocks[0]) * 2, block_size=2 * BLOCK))))

    def batch(self):
        events = []
        for _ in range(self.rng.randrange(1, 4)):
            dice = self.rng.randrange(100)
            if dice < 40:
                events += self.store(self.device, b"GPU")
            elif dice < 50:
                events += self.store(self.host, b"CPU")
            elif dice < 58:
                events += self.copy()
            elif dice < 84:
                events += self.evict(self.device, b"GPU")
            elif dice < 90:
                events += self.evict(self.host, b"CPU")
            elif dice < 98:
                events.append(self.noise())
            else:  # what follows in the batch is held again
                self.device.clear()
                self.host.clear()
                events.append(self.rng.choice(([Str(b"AllBlocksCleared")], Map([(Str(b"type"), Str(b"AllBlocksCleared"))]))))
        return [1.5, events, 0]

    def held_of(self, p):
        """Blocks of the prompt without its media, on the device and behind those on the host."""
        plain = Prompt(p.lora, p.salt, p.blocks, {})
        device = self.depth(plain, self.device)
        host = device
        while host < DEPTH and plain.identity(host) in self.host:
            host += 1
        return device, host - device


def run_engine(probe, engine, steps):
    """Number of wrong answers, of questions, of blocks found."""
    probe.tell(f"N {BLOCK} {engine.mode}")
    wrong = asked = found = 0

    def hexed(text):
        return text.encode().hex() or "-"

    for step in range(steps):
        payload = pack(engine.batch(), engine.rng if engine.rng.random() < 0.5 else None)
        questions = [f"Q {hexed(p.lora)} {hexed(p.salt)} {','.join(map(str, p.ids()))}" for p in engine.prompts]
        answers = [a[-1] for a in probe.ask(["B " + payload.hex()] + questions)]
        if answers[0] != "= ok":
            wrong += 1
            print(f"step {step}: refused: {payload.hex()}", flush=True)
        for p, a in zip(engine.prompts, answers[1:]):
            device, host = (int(x) for x in a.split()[1:3])
            asked += 1
            found += device
            if (device, host) != engine.held_of(p):
                wrong += 1
                if wrong <= 3:
                    print(f"step {step}: {p.lora!r} {p.salt!r} media {p.media}: found {device}+{host}, held "
                          f"{engine.held_of(p)}, after {payload.hex()}", flush=True)
    return wrong, asked, found
