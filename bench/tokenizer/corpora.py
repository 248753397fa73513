#!/usr/bin/env python3
"""Makes the corpora of bench/tokenizer from what lies on this machine and from two Debian packages: English documentation,
Chinese manuals, code. Each is 150 distinct prompts of about 36,000 bytes; paragraphs that repeat are dropped.
usage: corpora.py FOLDER   writes english.bin, chinese.bin, code.bin (records: u32 length, bytes)"""
import glob
import gzip
import os
import random
import re
import struct
import subprocess
import sys

PROMPTS, BYTES = 150, 36000


def read(path):
    try:
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rb") as f:
            return f.read().decode("utf-8")
    except (OSError, UnicodeDecodeError, EOFError):
        return ""


def find(roots, ends, least=2000):
    out = []
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders.sort()
            out += [os.path.join(folder, n) for n in sorted(names) if n.endswith(ends)]
    return [p for p in out if os.path.isfile(p) and os.path.getsize(p) > least]


def plain_manual(text):
    """Manual source without its markup, paragraphs kept."""
    text = re.sub(r'(?m)^\.\\".*$|^\'.*$', "", text)
    text = re.sub(r"(?m)^\.(SH|SS|TP|PP|IP|BR|B|I|TH|RS|RE|fi|nf|sp|br|LP|P)\b ?", "", text)
    return re.sub(r"\\f[BIRP]|\\-|\\&|\\\(..", "", text)


def plain_html(text):
    return re.sub(r"[ \t]+", " ", re.sub(r"<[^>]*>", "", text))


def prompts(texts, seed):
    rng = random.Random(seed)
    seen, parts = set(), []
    for t in texts:
        for p in re.split(r"(?<=\n)\n+", t):
            key = p.strip()
            if len(key) > 20 and key not in seen:
                seen.add(key)
                parts.append(p + "\n\n")
    # Documents stay together in runs, so that a prompt reads like a document.
    runs = [parts[i:i + 20] for i in range(0, len(parts), 20)]
    rng.shuffle(runs)
    out, buf = [], b""
    for run in runs:
        buf += "".join(run).encode()
        while len(buf) >= BYTES and len(out) < PROMPTS:
            cut = BYTES
            while buf[cut] & 0xC0 == 0x80:
                cut -= 1
            out.append(buf[:cut])
            buf = buf[cut:]
        if len(out) == PROMPTS:
            break
    return out


def chinese(folder):
    for package in ("manpages-zh", "debian-reference-zh-cn"):
        if not glob.glob(os.path.join(folder, package + "*.deb")):
            subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True)
        for deb in glob.glob(os.path.join(folder, package + "*.deb")):
            subprocess.run(["dpkg-deb", "-x", deb, os.path.join(folder, "zh")], check=True)
    manuals = find([os.path.join(folder, "zh/usr/share/man/zh_CN")], (".gz",), 400)
    texts = [plain_manual(read(p)) for p in manuals]
    reference = find([os.path.join(folder, "zh/usr/share")], (".html", ".txt.gz"), 2000)
    texts += [plain_html(read(p)) for p in reference]
    return [t for t in texts if sum(c >= "\u4e00" for c in t[:4000]) > len(t[:4000]) // 5]


def english():
    roots = ["/usr/share/doc"] + glob.glob(os.path.expanduser("~/.cargo/registry/src")) + glob.glob("/usr/lib/node_modules")
    files = find(roots, (".md", ".rst", "README.gz", ".txt", ".txt.gz", "NEWS.gz", "README"))
    rustdoc = find(glob.glob(os.path.expanduser("~/.rustup/toolchains/*/share/doc/rust/html/book")), (".html",))
    texts = [plain_html(read(p)) for p in rustdoc] + [read(p) for p in files]
    return [t for t in texts if t and sum(c > "\x7f" for c in t) < len(t) // 50]


def code():
    roots = sorted(glob.glob("/usr/lib/python3*")) + glob.glob(os.path.expanduser("~/.cargo/registry/src")) + ["/usr/include"]
    files = find(roots, (".py", ".rs", ".h"))
    random.Random(1).shuffle(files)
    return (t for t in (read(p) for p in files[:4000]) if t)


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    for name, texts in (("english", english()), ("chinese", chinese(folder)), ("code", list(code()))):
        out = prompts(texts, name)
        with open(os.path.join(folder, name + ".bin"), "wb") as f:
            for p in out:
                f.write(struct.pack("=I", len(p)) + p)
        print(f"{name}: {len(out)} prompts, {sum(map(len, out))} bytes")


main()
