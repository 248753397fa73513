"""The tokens of a byte-level tokenizer.json: what they say, and texts in tokens of any cut."""
import json
import os
import re


def _letters():
    """The letter that byte-level vocabularies write for each byte."""
    shown = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    out = {b: chr(b) for b in shown}
    for b in range(256):
        if b not in out:
            out[b] = chr(0x100 + len(out) - len(shown))
    return out


class Vocabulary:
    def __init__(self, folder):
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            doc = json.load(f)
        letter = _letters()
        byte = {c: b for b, c in letter.items()}
        self.words = {bytes(byte[c] for c in w): i for w, i in doc["model"]["vocab"].items() if all(c in byte for c in w)}
        self.added = {t["content"].encode(): t["id"] for t in doc["added_tokens"]}
        self.splits = re.compile(b"(" + b"|".join(map(re.escape, self.added)) + b")")
        self.text = {i: w for w, i in [*self.words.items(), *self.added.items()]}

    def decode(self, ids):
        return b"".join(self.text.get(i, b"<?>") for i in ids).decode("utf-8", "replace")

    def encode(self, text, rng, longest=12):
        """Tokens that say the text, cut at random; added ones are whole."""
        out = []
        for piece in self.splits.split(text.encode()):
            at = 0
            if piece in self.added:
                out.append(self.added[piece])
                at = len(piece)
            while at < len(piece):
                n = rng.randrange(1, longest + 1)
                while piece[at:at + n] not in self.words:
                    n = len(piece[at:at + n]) - 1
                n = min(n, len(piece) - at)
                out.append(self.words[piece[at:at + n]])
                at += n
        return out
