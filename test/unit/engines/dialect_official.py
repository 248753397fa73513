"""The official packages beside dialects.py: msgpack reads the same in every message as the slow reader, or refuses with
it; msgspec writes batches from structures of each generation of vLLM and SGLang."""
import os
import subprocess
import sys

from dialect_wire import Bad, Ext, Map, Str, unpack

PACKAGES = ("msgspec==0.22.0", "msgpack==1.2.1")
HOME = os.path.join("build", "testenv", "py-event-encoders")


def load():
    """None: they cannot be had, and the reason is printed."""
    python = os.path.join(HOME, "bin", "python")
    site = os.path.join(HOME, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")
    done = os.path.join(HOME, "done")
    try:
        if not os.path.exists(done):
            subprocess.run([sys.executable, "-m", "venv", HOME], check=True, capture_output=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True,
                           capture_output=True, text=True, timeout=300)
            with open(done, "w", encoding="ascii"):
                pass
        sys.path.insert(0, site)
        return Encoders()
    except (OSError, ImportError, subprocess.SubprocessError) as e:
        words = (getattr(e, "stderr", "") or str(e)).strip().splitlines()
        print(f"skipped: {' and '.join(PACKAGES)} cannot be had: {words[-1] if words else e}")
        return None


def bare(v):
    """A value of the slow reader as the official one gives it."""
    if isinstance(v, Str):
        return ("s", bytes(v))
    if isinstance(v, Ext):
        return ("e", v.kind, bytes(v.data))
    if isinstance(v, Map):
        return ("m", [(bare(k), bare(x)) for k, x in v.pairs])
    if isinstance(v, list):
        return [bare(x) for x in v]
    return ("b", bytes(v)) if isinstance(v, bytes) else v


class Encoders:
    def __init__(self):
        import msgpack
        import msgspec
        self.msgpack, self.packer = msgpack, msgspec.msgpack.Encoder()

        def struct(name, fields, array, tag=True):
            return msgspec.defstruct(name, fields, tag=tag, array_like=array, omit_defaults=True)

        old = [("block_hashes", list), ("parent_block_hash", object), ("token_ids", list), ("block_size", int), ("lora_id", object)]
        more = [("medium", object, None), ("lora_name", object, None), ("extra_keys", object, None), ("group_idx", object, None),
                ("kv_cache_spec_kind", object, None), ("kv_cache_spec_sliding_window", object, None),
                ("locality", object, None), ("ownership", object, None), ("session_id", object, None)]
        sglang = [("medium", object, None), ("cache_salt", object, None)]
        self.stored = [struct("BlockStored", old + more[:n], True) for n in (0, 1, 2, 3, 4, 6)] + \
            [struct("BlockStored", old + more[:n], False) for n in (6, 9)] + [struct("BlockStored", old + sglang, False)]
        hashes, one, two = [("block_hashes", list)], [("medium", object, None)], [("group_idx", object, None)]
        self.removed = [struct("BlockRemoved", hashes + m, a) for m in ([], one, one + two) for a in (True, False)]
        self.cleared = [struct("AllBlocksCleared", [], a) for a in (True, False)]
        head = [("ts", float), ("events", list)]
        self.batches = [struct("KVEventBatch", head + r, a, tag=None) for r, a in (
            ([], True), ([("data_parallel_rank", object, None)], True), ([("data_parallel_rank", object, None)], False))]

    def same(self, payload):
        """1 where the two readers differ."""
        try:
            slow = bare(unpack(payload))
            if "('e', -1, " in repr(slow):  # a time to the package, which refuses some of them
                return 0
        except Bad:
            slow = Bad
        try:
            fast = self.read(payload)
        except Exception:  # pylint: disable=broad-exception-caught
            fast = Bad  # it has many kinds of them
        if repr(slow) == repr(fast):
            return 0
        print(f"readers differ: {payload.hex()}\n  slow {slow}\n  official {fast}", flush=True)
        return 1

    def read(self, payload):
        """Texts are marked by their place: raw and binary are alike to the package unless texts are decoded."""
        v = self.msgpack.unpackb(payload, raw=False, strict_map_key=False, unicode_errors="surrogateescape",
                                 object_pairs_hook=lambda pairs: ("m", list(pairs)),
                                 ext_hook=lambda kind, data: ("e", kind, data))
        return self.marked(v)

    def marked(self, v):
        if isinstance(v, str):
            return ("s", v.encode("utf-8", "surrogateescape"))
        if isinstance(v, bytes):
            return ("b", v)
        if isinstance(v, tuple) and v[0] == "m":
            return ("m", [(self.marked(k), self.marked(x)) for k, x in v[1]])
        return [self.marked(x) for x in v] if isinstance(v, list) else v

    # ---- batches -----------------------------------------------------------------------------------------------------

    def plain(self, v):
        """A value of the generator as Python's own."""
        if isinstance(v, Str):
            return bytes(v).decode("utf-8", "replace")
        if isinstance(v, Map):
            return {self.plain(k): self.plain(x) for k, x in v.pairs if isinstance(k, Str)}
        return [self.plain(x) for x in v] if isinstance(v, list) else v

    def fill(self, rng, kinds, members):
        kind = rng.choice(kinds)
        return kind(**{f: self.plain(members[f]) if f in members else None for f in kind.__struct_fields__})

    def batch(self, rng, gen):
        gen.wrong = 0.0
        events = []
        for _ in range(rng.choice((0, 1, 2, 6))):
            dice = rng.random()
            events.append(self.fill(rng, self.stored, gen.stored()) if dice < 0.6 else
                          self.fill(rng, self.removed, gen.removed()) if dice < 0.9 else rng.choice(self.cleared)())
        kind = rng.choice(self.batches)
        return self.packer.encode(kind(*[1790000000.5 + rng.random(), events] + ([rng.choice((None, 0, 5))] if len(
            kind.__struct_fields__) > 2 else [])))
