#!/usr/bin/env python3
"""Generated expressions and templates, rendered by Python Jinja2 and by the engine: equal text, equal kinds of
errors. What the engine refuses ("unsupported", "limit") is counted, and must stay rare.

usage: differential.py DRIVER [--count N] [--seed S] [--only PART] [--verbose]"""
import argparse
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
try:
    import oracle
except ImportError as e:
    print(f"skipped: {e} (install jinja2)")
    sys.exit(77)

DATA = {
    "none": None, "t": True, "f": False, "zero": 0, "one": 1, "neg": -7, "big": 123456789012345678901234567890,
    "fl": 1.5, "tiny": 1e-7, "huge": 1e22, "negz": -0.0, "s": "hello world", "empty": "", "uni": "Grüße, 世界 🎉",
    "sp": "  padded\t\n", "multi": "one\ntwo\r\nthree\n\nfive", "html": "<a href=\"x\">'&'</a>", "num": "42",
    "numf": " 3.25 ", "hexs": "0x1f", "quote": "it's", "quotes": "both ' and \"", "esc": "tab\there\\ \u0001\u007f\u00ad\u200b",
    "csv": "a,b,,c", "ABC": "ABC", "Title": "Hello World Foo-bar", "sigma": "ΟΔΟΣ ΣΑΣ",
    "l": [1, 2, 3], "el": [], "mixed": [1, "a", None, True, 2.5, [1], {"k": "v"}], "ls": ["b", "A", "c", "a"],
    "nested": [[3, 1], [2], []], "d": {"a": 1, "b": [1, 2], "c": {"d": "e"}}, "ed": {}, "dn": {"z": 1, "B": 3, "y": 2},
    "ints": [5, 3, 9, 1, 3], "floats": [0.1, 2.0, 1e16, 123456789.123, 5e-324, 1.7976931348623157e308],
    "items": {"items": 1, "keys": 2, "get": 3, "x": 4},
    "users": [{"name": "Bo", "age": 30, "tags": ["x"], "o": {"p": 1}}, {"name": "al", "age": 25, "tags": []},
              {"name": "Cy", "age": 30, "tags": ["y", "z"], "o": {"p": 0}}],
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <b>"},
                 {"role": "assistant", "content": None, "tool_calls": [
                     {"type": "function", "id": "c1", "function": {"name": "f", "arguments": {"x": 1, "y": ["é", 2.0]}}}]},
                 {"role": "tool", "content": "42", "tool_call_id": "c1"},
                 {"role": "user", "content": [{"type": "text", "text": "and?"}, {"type": "image"}]}],
}
NAMES = list(DATA) + ["missing", "nope"]
FILTERS = ["abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape",
           "filesizeformat", "first", "float", "forceescape", "format", "groupby", "indent", "int", "items", "join",
           "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round",
           "safe", "select", "selectattr", "slice", "sort", "string", "striptags", "sum", "title", "tojson", "trim",
           "truncate", "unique", "upper", "urlencode", "wordcount", "xmlattr"]
TESTS = ["odd", "even", "divisibleby", "defined", "undefined", "filter", "test", "none", "boolean", "false", "true",
         "integer", "float", "lower", "upper", "string", "mapping", "number", "sequence", "iterable", "callable",
         "sameas", "escaped", "in", "eq", "equalto", "ne", "gt", "greaterthan", "ge", "lt", "lessthan", "le"]
METHODS = {
    str: ["capitalize", "casefold", "center", "count", "endswith", "expandtabs", "find", "index", "isalnum", "isalpha",
          "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle",
          "isupper", "join", "ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind",
          "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase",
          "title", "upper", "zfill", "format"],
    dict: ["get", "items", "keys", "values", "copy", "pop", "update", "setdefault", "clear", "popitem"],
    list: ["count", "index", "copy", "append", "pop", "sort", "reverse"],
    int: ["bit_length", "conjugate", "real", "imag", "numerator", "denominator"],
    float: ["is_integer", "real", "imag"],
}
ALL_METHODS = sorted({m for ms in METHODS.values() for m in ms})
LITERALS = ["0", "1", "2", "-1", "10", "3.0", "0.1", "1e3", "''", "'a'", "'b'", "' '", "'o'", "','", "'\\n'", "'name'", "'age'", "'%s'",
            "'%d items'", "'o.p'", "true", "false", "none", "[]", "{}", "()", "[1, 2]", "['a', 'b']", "(1,)", "{'a': 1}",
            "{'x': 'y', 1: none}", "range(3)", "range(5, 1, -2)", "'ä'", "5", "'1_0'", "7", "100", "'b,a'", "'{} {}'", "'xX'"]


class Gen:
    def __init__(self, rng):
        self.r = rng

    def pick(self, items):
        return items[int(self.r.random() * len(items))]

    def atom(self):
        return self.pick(NAMES) if self.r.random() < 0.6 else self.pick(LITERALS)

    def args(self, depth, most=2):
        n = self.pick([0, 0, 1, 1, 1, 2, 2, 3])
        out = [self.small(depth) for _ in range(min(n, most + 1))]
        if self.r.random() < 0.12:
            out.append(self.pick(["attribute", "default", "first", "width", "reverse", "case_sensitive", "indent", "sep",
                                  "by", "boolean", "maxsplit", "blank", "sort_keys", "ensure_ascii"]) + "=" + self.small(depth))
        return ", ".join(out)

    def small(self, depth):
        return self.pick(LITERALS) if self.r.random() < 0.7 else self.expr(depth - 2)

    def slice_(self):
        part = lambda: self.pick(["", "", "0", "1", "-1", "2", "-3", "10", "none"])
        step = self.pick(["", "", ":" + self.pick(["1", "-1", "2", "-2", ""])])
        return f"[{part()}:{part()}{step}]"

    def expr(self, depth=3):
        if depth <= 0:
            return self.atom()
        k = self.r.random()
        e = lambda: self.expr(depth - 1)
        if k < 0.10:
            return self.atom()
        if k < 0.30:
            f = self.pick(FILTERS)
            a = self.args(depth)
            if f in ("map", "select", "reject"):
                a = self.pick(["'upper'", "attribute='name'", "'string'", "'abs'", "attribute='o.p'", "'odd'", "'defined'",
                               "'gt', 2", "", "attribute='x', default='D'", "'replace', 'a', 'b'", "'length'", "'none'"])
            elif f in ("selectattr", "rejectattr"):
                a = self.pick(["'age', 'eq', 30", "'tags'", "'o', 'defined'", "'name', 'in', ['Bo']", "", "'role', 'equalto', 'user'"])
            elif f in ("sort", "groupby", "unique", "min", "max", "sum") and self.r.random() < 0.5:
                a = self.pick(["attribute='age'", "attribute='name'", "case_sensitive=true", "attribute='age,name'", "'age'"])
            return f"({e()})|{f}" + (f"({a})" if a or self.r.random() < 0.1 else "")
        if k < 0.45:
            t = self.pick(TESTS)
            neg = self.pick(["", "", "not "])
            a = self.args(depth, 1) if t in ("divisibleby", "sameas", "in", "eq", "equalto", "ne", "gt", "greaterthan", "ge",
                                             "lt", "lessthan", "le") else ""
            return f"({e()}) is {neg}{t}" + (f"({a})" if a else "")
        if k < 0.62:
            op = self.pick(["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "~", "+"])
            left, right = e(), e()
            if op == "**":
                left, right = self.pick(["2", "3", "0", "-2", "1.5", "one", "fl"]), self.pick(["0", "1", "2", "3", "-1", "0.5", "10"])
            if op == "*" and self.r.random() < 0.7:
                right = self.pick(["2", "0", "-1", "3", "1.5", "'a'"])
            p = self.r.random()
            if p < 0.3:
                return f"{left} {op} {right}"
            return f"({left}) {op} ({right})"
        if k < 0.66:
            return f"{self.pick(['not ', '-', '+'])}({e()})"
        if k < 0.72:
            return f"({e()})[{self.small(depth)}]"
        if k < 0.77:
            # Not of constants: Jinja2 folds those with other rules for errors.
            return f"({self.pick([n for n in NAMES if n != 'none'])}|{self.pick(['list', 'd(1)', 'string', 'sort', 'default(l)', 'd(s)'])}){self.slice_()}"
        if k < 0.90:
            m = self.pick(ALL_METHODS)
            return f"({e()}).{m}" + (f"({self.args(depth)})" if self.r.random() < 0.95 else "")
        if k < 0.93:
            return f"({e()}).{self.pick(['name', 'a', 'b', 'x', 'role', 'c', 'o', '__class__', '_x', '0', '1'])}"
        if k < 0.96:
            return f"({e()} if {e()}" + (f" else {e()})" if self.r.random() < 0.8 else ")")
        if k < 0.98:
            return f"[{e()}, {e()}]" if self.r.random() < 0.6 else f"({e()}, {e()})"
        return f"{{{self.pick(['1', chr(39) + 'k' + chr(39), e()])}: {e()}}}"

    def expression_case(self):
        wrap = self.pick(["{{ %s }}", "{{ %s }}", "{{ (%s)|list }}", "{%% for q in %s %%}<{{ q }}>{%% else %%}none{%% endfor %%}",
                          "{%% if %s %%}yes{%% else %%}no{%% endif %%}", "{{ (%s)|tojson }}", "{%% set v = %s %%}{{ v }}|{{ v is defined }}"])
        return wrap % self.expr(self.pick([1, 2, 2, 3, 3, 4]))

    # ---- templates ------------------------------------------------------------------------------

    def ws(self):
        return self.pick(["", "", " ", "\n", "\n  ", "  \n", "\n\n", "\t", " x ", "\n y"])

    def tag(self, body):
        return "{%" + self.pick(["", "", "-", "+", "-"]) + " " + body + " " + self.pick(["", "", "-", "+", "-"]) + "%}"

    def out(self, e):
        return "{{" + self.pick(["", "", "-", " "]) + " " + e + " " + self.pick(["", "", "-"]) + "}}"

    def var(self):
        return self.pick(["x", "y", "z", "item", "ns.v", "loop.index", "loop.last", "loop.previtem", "loop.nextitem", "loop.length",
                          "loop.first", "loop.revindex0", "s", "one", "l", "ns.w", "a", "b", "m", "caller", "varargs", "kwargs",
                          "loop.depth", "loop.cycle('p', 'q')", "loop.changed(x)", "loop.index0"])

    def value(self):
        return self.pick(["1", "x", "y ~ 'k'", "s", "loop.index", "x if y else z", "[x, y]", "ns.v", "'lit'", "one + 1", "a", "l",
                          "x|default('dx')", "namespace(v=2)", "item", "(1, 2)"])

    def target(self):
        return self.pick(["x", "y", "z", "ns.v", "ns.w", "x, y", "item", "ns"])

    def stmts(self, depth):
        return "".join(self.stmt(depth) for _ in range(self.pick([1, 1, 2, 2, 3])))

    def stmt(self, depth):
        w = self.ws
        k = self.r.random()
        if depth <= 0 or k < 0.30:
            return w() + self.out(self.var() if self.r.random() < 0.8 else self.value()) + w()
        body = lambda: w() + self.stmts(depth - 1) + w()
        if k < 0.45:
            return self.tag(f"set {self.target()} = {self.value()}") + w()
        if k < 0.60:
            mid = (self.tag(f"elif {self.value()}") + body()) if self.r.random() < 0.3 else ""
            other = (self.tag("else") + body()) if self.r.random() < 0.5 else ""
            return self.tag(f"if {self.value()}") + body() + mid + other + self.tag("endif") + w()
        if k < 0.78:
            target, source = self.pick([("item", "l"), ("x", "ls"), ("x, y", "dn.items()"), ("y", "nested"), ("item", "users"),
                                        ("x", "range(3)"), ("item", "missing"), ("y", "'abc'"), ("x", "l|reverse"), ("item", "d"),
                                        ("x, y", "nested"), ("item", "x"), ("x", "ints|select('odd')")])
            cond = f" if {self.value()}" if self.r.random() < 0.2 else ""
            rec = " recursive" if self.r.random() < 0.1 else ""
            inner = body()
            if rec and self.r.random() < 0.7:
                inner += "{% if loop.depth < 3 %}" + self.out("loop(nested[0])") + "{% endif %}"
            if self.r.random() < 0.25:
                inner += self.tag("if " + self.value()) + self.tag(self.pick(["break", "continue"])) + self.tag("endif") + body()
            other = (self.tag("else") + body()) if self.r.random() < 0.3 else ""
            return self.tag(f"for {target} in {source}{cond}{rec}") + inner + other + self.tag("endfor") + w()
        if k < 0.86:
            sig = self.pick(["a", "a, b=2", "", "a='q', b=x", "x", "a, caller=none"])
            name = self.pick(["m", "n"])
            call = self.pick([f"{name}(1)", f"{name}(b=3)", f"{name}()", f"{name}(1, 2, 3)", f"{name}(x, z=1)", f"{name}(*[1])",
                              f"{name}(**{{'a': 5}})"])
            return self.tag(f"macro {name}({sig})") + body() + self.tag("endmacro") + w() + self.out(call) + w()
        if k < 0.90:
            return self.tag(self.pick(["call m(1)", "call(a) m()", "call n()"])) + body() + self.tag("endcall") + w()
        if k < 0.93:
            return self.tag("set " + self.pick(["x", "y", "ns.v"]) + self.pick(["", " | upper", " | trim | length"])) + body() + self.tag("endset") + w()
        if k < 0.95:
            return self.tag("filter " + self.pick(["upper", "trim", "replace('a', 'b')", "length|string", "indent(2)"])) + body() + self.tag("endfilter")
        if k < 0.97:
            return self.tag("with " + self.pick(["x = 1", "x = y, y = x", "z = s", ""])) + body() + self.tag("endwith")
        if k < 0.98:
            return self.tag("generation") + body() + self.tag("endgeneration") + w()
        if k < 0.99:
            return "{#" + self.pick(["", "-", "+"]) + w() + "c }}" + w() + self.pick(["", "-", "+"]) + "#}" + w()
        return "{%" + self.pick(["", "-"]) + " raw " + self.pick(["", "-"]) + "%}" + w() + "{{ r }} {% x" + w() + self.tag("endraw") + w()

    def template_case(self):
        start = self.pick(["", "{% set ns = namespace(v=1, w='w') %}", "{%- set ns = namespace(v=0) -%}\n",
                           "{% macro m(a) %}<{{ a }}{{ caller() if caller else '' }}>{% endmacro %}\n"])
        return start + self.ws() + self.stmts(3)

    def damaged_case(self):
        """A template with a piece cut out, doubled or replaced: mostly syntax errors."""
        t = self.template_case()
        for _ in range(self.pick([1, 1, 2])):
            i = int(self.r.random() * (len(t) + 1))
            j = min(len(t), i + self.pick([1, 1, 2, 3, 8]))
            t = t[:i] + self.pick(["", t[i:j] * 2, "}", "%}", "{{", "'", "(", " in ", "|", ".", "-", " if ", "\\"]) + t[j:]
        return t


def unicode_cases():
    """Code points through the methods that depend on tables."""
    def kind(c):
        s = chr(c)
        return (s.upper() != s, s.lower() != s, s.title() != s, s.casefold() != s, s.isalpha(), s.isdecimal(), s.isdigit(),
                s.isnumeric(), s.islower(), s.isupper(), s.isprintable(), s.isspace())

    # Where a property or a mapping changes, both sides; and all that have a mapping.
    plain = [c for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000]
    kinds = {c: kind(c) for c in plain}
    points = [c for c in plain if c < 128 or any(kinds[c][:4]) or kinds.get(c - 1) != kinds[c] or kinds.get(c + 1) != kinds[c]]
    for i in range(0, len(points), 512):
        block = [chr(c) for c in points[i:i + 512]]
        for expr in ("c.upper()", "c.lower()", "c.title()", "c.casefold()", "c.swapcase()", "('a' ~ c ~ 'Σ' ~ c).lower()",
                     "('a' ~ c ~ 'b').title()", "c.capitalize()"):
            yield {"t": "{% for c in cs %}{{ " + expr + " }}\n{% endfor %}", "d": {"cs": block}}
        yield {"t": "{% for c in cs %}{{ [c.isalpha(), c.isdecimal(), c.isdigit(), c.isnumeric(), c.islower(), c.isupper(), "
                    "c.isprintable(), c.isspace(), c.istitle(), c.isalnum(), (c ~ 'x').strip(), c.split(), c|title, "
                    "(c ~ c).splitlines()|length, [c], c|wordcount, c|int(7)] }}\n{% endfor %}", "d": {"cs": block}}


def exhaustive_cases():
    """Each filter and test on each value, each method with a few arguments."""
    values = list(DATA) + ["missing", "range(3)", "d.items()", "(1, 2)", "loop", "namespace(a=1)", "x.y", "'<b>'|safe", "cycler(1, 2)"]
    for v in values:
        for f in FILTERS:
            for a in ("", "(1)", "('a')", "('a', 'b')", "(2, 'x')", "(none)", "(attribute='name')"):
                yield {"t": "{{ %s|%s%s }}" % (v, f, a), "d": DATA}
                yield {"t": "{{ (%s|%s%s)|list }}" % (v, f, a), "d": DATA}
        for t in TESTS:
            for a in ("", "(2)", "('a')", "(l)", "(s)"):
                yield {"t": "{{ %s is %s%s }}" % (v, t, a), "d": DATA}
        for m in ALL_METHODS:
            for a in ("()", "('o')", "('l', 'L')", "(3)", "(1, 2)", "(12, '*')", "(['a', 'b'])", "(none)", "('a', 2)", "('l', 1, -1)"):
                yield {"t": "{{ (%s).%s%s }}" % (v, m, a), "d": DATA}
        for w in values:
            for op in ("+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">=", "in", "not in"):
                yield {"t": "{{ %s %s %s }}" % (v, op, w), "d": DATA}
    flags = ["", "-", "0", "+", " ", "#", "-5", "05", "+8", "10", ".2", "8.3", "-8.1", "08.2", "+.0"]
    for conv in "diuoxXeEfFgGcrsa%":
        for flag in flags:
            for v in ("one", "neg", "fl", "s", "uni", "l", "none", "huge", "t", "zero", "tiny", "missing", "num"):
                yield {"t": "{{ '[%%%s%s]' %% %s }}" % (flag, conv, v), "d": DATA}
    for spec in ("", "5", "<5", ">8", "^9", "*^9", "05", "+", " ", "+08.2f", ".3", ".2f", "e", "g", "x", "#x", "b", "o", "X", "d", "n", ",", "_",
                 ",.2f", "%", ".1%", "s", "10s", ".2s", "c", "=+5", "<", "é>6"):
        for v in ("one", "neg", "fl", "s", "uni", "l", "none", "t", "zero", "huge", "big"):
            yield {"t": "{{ '[{:%s}]'.format(%s) }}" % (spec, v), "d": DATA}
    for f in ("{}", "{0}{0}", "{a}", "{} {}", "{0!r}", "{!s:>4}", "{{}}", "{", "}", "{1}", "{0} {}", "{a.b}", "{a!x}"):
        for a in ("()", "(1)", "('x', 2)", "(a=1)", "(s, a=l)"):
            yield {"t": "{{ '%s'.format%s }}" % (f, a), "d": DATA}
    for f in ("%Y-%m-%d", "%d %b %Y", "%A %B %-d, %Y %H:%M:%S", "%%", "", "%j %U %p %y %f|%z|%Z", "%B %d"):
        yield {"t": "{{ strftime_now(%r) }}" % f, "d": {}, "now": 1732633445}
    for n in range(0, 130):
        yield {"t": "{{ %s }} {{ [%s] }} {{ %s|tojson }}" % ((repr(random.Random(n).random() * 10 ** (n - 60)),) * 3), "d": {}}


class Written:
    """Objects in all the ways to write JSON: what `tojson` may copy from the request and what it may not."""
    STRINGS = ['""', '"a"', '"role"', '"plain text of some length, more than sixteen bytes"', r'"a \"quote\" and \\"', r'"\\"', r'"\n\t\r\b\f"',
               r'"\/"', r'"\u0041"', r'"\u00e9"', r'"\ud83d\ude00"', r'"\u0007"', '"\u00e9\u4e2d\U0001f600"', '"a, b: c"', '"{[,:]}"',
               '"\x7f"', '"<b>&\'"']
    OTHERS = ["0", "-0", "1", "-17", "1.0", "1.50", "1e5", "1E+2", "-0.0", "123456789012345678901234567890", "true", "false", "null",
              "{}", "[]"]

    def __init__(self, rng):
        self.rng = rng

    def blank(self, usual):
        style = self.style if self.style < 3 else self.rng.randrange(4)
        return usual if style == 0 else "" if style == 1 else self.rng.choice(["", " "]) if style == 2 and usual else \
            self.rng.choice(["", "", " ", "  ", "\t", "\r"]) if style == 3 else ""

    def value(self, depth):
        n = self.rng.random()
        if depth > 0 and n < 0.45:
            return self.object(depth - 1)
        if depth > 0 and n < 0.6:
            items = [self.value(depth - 1) for _ in range(self.rng.randrange(4))]
            return self.row("[", items, "]")
        if n < 0.85 or self.tame:
            return self.rng.choice(self.STRINGS[:7] if self.tame else self.STRINGS)
        return self.rng.choice(self.OTHERS)

    def row(self, begin, items, end):
        text = begin + self.blank("")
        for i, item in enumerate(items):
            text += ("," + self.blank(" ") if i else "") + item + self.blank("")
        return text + end

    def object(self, depth):
        keys = [self.rng.choice(self.STRINGS[:-1] + ['"k%d"' % k for k in range(12)]) for _ in range(self.rng.choice([0, 1, 2, 3, 4, 12]))]
        if self.tame:
            keys = ['"k%d"' % i for i in range(len(keys))]
        return self.row("{", [k + self.blank("") + ":" + self.blank(" ") + self.value(depth) for k in keys], "}")

    def case(self):
        self.style = self.rng.randrange(4)
        self.tame = self.rng.random() < 0.5
        text = '{"d":%s}' % self.object(4)
        t = self.rng.choice(["{{ d|tojson }}", "{{ d|tojson }}", "{% for k, v in d.items() %}{{ v|tojson }}|{{ [v, d]|tojson }};{% endfor %}",
                             "{{ d|tojson(indent=1) }}", "{{ d|tojson(ensure_ascii=true) }}", "{{ d|tojson(separators=(',', ':')) }}",
                             "{{ d|tojson(sort_keys=true) }}", "{{ dict(d, z=1)|tojson }}", "{{ d }}{{ d|tojson|length }}"])
        return {"t": t, "d": json.loads(text), "json": text}


def sample(cases, one_in, seed):
    return (case for i, case in enumerate(cases) if (i * 7919 + seed) % one_in == 0)


def same(ours, want, case):
    if "out" in want:
        if "out" not in ours:
            return False
        return ours["out"] == want["out"] and ours.get("ranges") == want.get("ranges")
    if "out" in ours or ours["err"] != want["err"]:
        return False
    if want["err"] in ("UndefinedError", "TemplateError"):
        return ours["text"] == want["text"][:511] or len(want["text"].encode()) > 500
    return True


def unstable(want):
    """Python prints an address, or the error is one of Python's own limits."""
    text = want.get("out", want.get("text", ""))
    return " at 0x" in text or want.get("err") in ("MemoryError", "AttributeError_", "limit")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("driver")
    p.add_argument("--count", type=int, default=20000)
    p.add_argument("--seed", type=int, default=None)
    p.add_argument("--only", default=None)
    p.add_argument("--sample", type=int, default=1, help="take one in so many of the exhaustive and Unicode cases")
    p.add_argument("--show", type=int, default=20)
    p.add_argument("--log", type=argparse.FileType("w"), help="file for all differences, one JSON line each")
    args = p.parse_args()
    seed = args.seed if args.seed is not None else int(os.environ.get("WEIR_TEST_SEED", "20261126"))
    print(f"seed {seed} (repeat with WEIR_TEST_SEED), jinja2 {oracle.jinja2.__version__}, python {sys.version.split()[0]}", flush=True)
    driver = subprocess.Popen([args.driver], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    gen, written = Gen(random.Random(seed)), Written(random.Random(seed))
    parts = {
        "exhaustive": sample(exhaustive_cases(), args.sample, seed),
        "unicode": sample(unicode_cases(), args.sample, seed),
        "expressions": ({"t": gen.expression_case(), "d": DATA} for _ in range(args.count)),
        "templates": ({"t": gen.template_case(), "d": DATA} for _ in range(args.count)),
        "generation": ({"t": gen.template_case(), "d": DATA, "g": True} for _ in range(args.count // 10)),
        "written": (written.case() for _ in range(args.count)),
        "damaged": ({"t": gen.damaged_case(), "d": DATA} for _ in range(args.count)),
    }
    failed = passed = 0
    for name, cases in parts.items():
        if args.only and name != args.only:
            continue
        n = bad = refused = skipped = errors = 0
        shown = {}
        for case in cases:
            want = oracle.render(case)
            line = json.dumps({k: v for k, v in case.items() if k not in ("d", "json")})
            driver.stdin.write(line[:-1] + ', "d": ' + case.get("json", json.dumps(case["d"])) + "}\n")
            driver.stdin.flush()
            line = driver.stdout.readline()
            if not line:
                print(f"the driver died ({driver.wait()}) at {case['t']!r}")
                return 1
            ours = json.loads(line)
            n += 1
            if unstable(want):
                skipped += 1
            elif ours.get("err") in ("unsupported", "limit"):
                refused += 1
                shown[ours["text"][:60]] = shown.get(ours["text"][:60], 0) + 1
            elif same(ours, want, case):
                errors += "err" in want
            else:
                bad += 1
                if args.log:
                    args.log.write(json.dumps([name, case["t"], want, ours]) + "\n")
                if bad <= args.show:
                    print(f"{name}: {case['t']!r}\n   want {str(want)[:600]}\n   got  {str(ours)[:600]}")
        print(f"{name}: {n} cases, {bad} differ, {errors} equal errors, {refused} refused, {skipped} without a stable answer", flush=True)
        for text, count in sorted(shown.items(), key=lambda i: -i[1])[:12]:
            print(f"    refused {count}: {text}")
        failed += bad
        passed += n - bad
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
