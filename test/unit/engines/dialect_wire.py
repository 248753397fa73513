"""MessagePack, slowly and plainly, from its specification: what dialects.py writes and what its naive decoder reads."""
import struct


class Bad(Exception):
    """Not MessagePack, or not what the spec page allows."""


class Str(bytes):
    """A text, as bytes; bare bytes are a binary."""


class Map:
    def __init__(self, pairs):
        self.pairs = pairs

    def __repr__(self):
        return f"Map({self.pairs})"


class Ext:
    def __init__(self, kind, data):
        self.kind, self.data = kind, data


# ---- writing ---------------------------------------------------------------------------------------------------------


def _sized(n, heads):
    """The head of n things; `heads`: (largest n, format of struct, type byte or None for one with n inside)."""
    for most, form, head in heads:
        if n <= most:
            return struct.pack(">B" + form, head, n) if form else bytes([head | n])
    raise ValueError(n)


def _wide(heads, n, rng):
    """One of the forms that hold n; without rng the shortest."""
    fit = [h for h in heads if n <= h[0]]
    return _sized(n, [fit[0] if rng is None else rng.choice(fit)])


def _pack_int(v, rng):
    forms = []
    if 0 <= v <= 0x7f or -32 <= v < 0:
        forms.append(struct.pack("b", v))
    for head, form in ((0xcc, "B"), (0xcd, "H"), (0xce, "I"), (0xcf, "Q")) if v >= 0 else ():
        if v < 1 << 8 * struct.calcsize(form):
            forms.append(struct.pack(">B" + form, head, v))
    if v < 0 or rng is not None:
        for head, form in ((0xd0, "b"), (0xd1, "h"), (0xd2, "i"), (0xd3, "q")):
            if -(1 << 8 * struct.calcsize(form) - 1) <= v < 1 << 8 * struct.calcsize(form) - 1:
                forms.append(struct.pack(">B" + form, head, v))
    return forms[0] if rng is None else rng.choice(forms)


def pack(v, rng=None):
    """In the shortest forms, or with rng in any that the format allows."""
    if v is None:
        return b"\xc0"
    if isinstance(v, bool):
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        return _pack_int(v, rng)
    if isinstance(v, float):
        short = rng is not None and struct.unpack(">f", struct.pack(">f", v))[0] == v if abs(v) < 1e30 else False
        return struct.pack(">Bf", 0xca, v) if short else struct.pack(">Bd", 0xcb, v)
    if isinstance(v, Str):
        return _wide(((31, "", 0xa0), (0xff, "B", 0xd9), (0xffff, "H", 0xda), (0xffffffff, "I", 0xdb)), len(v), rng) + bytes(v)
    if isinstance(v, bytes):
        return _wide(((0xff, "B", 0xc4), (0xffff, "H", 0xc5), (0xffffffff, "I", 0xc6)), len(v), rng) + v
    if isinstance(v, Ext):
        fixed = {1: 0xd4, 2: 0xd5, 4: 0xd6, 8: 0xd7, 16: 0xd8}.get(len(v.data))
        head = bytes([fixed]) if fixed else _wide(((0xff, "B", 0xc7), (0xffff, "H", 0xc8)), len(v.data), rng)
        return head + struct.pack("b", v.kind) + v.data
    if isinstance(v, Map):
        head = _wide(((15, "", 0x80), (0xffff, "H", 0xde), (0xffffffff, "I", 0xdf)), len(v.pairs), rng)
        return head + b"".join(pack(k, rng) + pack(x, rng) for k, x in v.pairs)
    head = _wide(((15, "", 0x90), (0xffff, "H", 0xdc), (0xffffffff, "I", 0xdd)), len(v), rng)
    return head + b"".join(pack(x, rng) for x in v)


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, data):
        self.data, self.at, self.deepest = data, 0, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise Bad("cut short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def array(self, n, depth):
        if n > len(self.data) - self.at:
            raise Bad("count")
        return [self.value(depth + 1) for _ in range(n)]

    def map(self, n, depth):
        if n > len(self.data) - self.at:
            raise Bad("count")
        return Map([(self.value(depth + 1), self.value(depth + 1)) for _ in range(n)])

    def value(self, depth):
        self.deepest = max(self.deepest, depth)
        if depth > 400:
            raise Bad("depth")
        c = self.take(1)[0]
        if c <= 0x7f:
            return c
        if c <= 0x8f:
            return self.map(c & 15, depth)
        if c <= 0x9f:
            return self.array(c & 15, depth)
        if c <= 0xbf:
            return Str(self.take(c & 31))
        if c >= 0xe0:
            return c - 256
        if c == 0xc0:
            return None
        if c in (0xc2, 0xc3):
            return c == 0xc3
        for head, forms, read in ((0xc4, "BHI", lambda n: self.take(n)), (0xc7, "BHI", lambda n: Ext(self.number("b"), self.take(n))),
                                  (0xd9, "BHI", lambda n: Str(self.take(n))), (0xcc, "BHIQ", lambda n: n),
                                  (0xd0, "bhiq", lambda n: n), (0xca, "fd", lambda n: n),
                                  (0xdc, "HI", lambda n: self.array(n, depth)), (0xde, "HI", lambda n: self.map(n, depth))):
            if head <= c < head + len(forms):
                return read(self.number(forms[c - head]))
        if 0xd4 <= c <= 0xd8:
            return Ext(self.number("b"), self.take(1 << (c - 0xd4)))
        raise Bad("no such type")


def unpack(data):
    """One value and nothing behind it."""
    r = _Reader(data)
    v = r.value(0)
    if r.at != len(data):
        raise Bad("something behind it")
    return v


def unpack_depth(data):
    """How deep its values lie, as far as they can be read."""
    r = _Reader(data)
    try:
        r.value(0)
    except Bad:
        pass
    return r.deepest
