"""What the pages and the examples in deploy/ tell people to type: the options are there, metrics that are named are on a
page, the files are read by what reads them."""
import ctypes
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from weir import WEIR, Frontend

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
PAGES = sorted([*glob.glob(ROOT + "/*.md"), *glob.glob(ROOT + "/*/*.md"),
                *glob.glob(ROOT + "/deploy/*/README.md")])
COMPOSE = sorted(glob.glob(ROOT + "/deploy/compose/*/compose.yaml"))
# Of engines, of Dynamo and of the tools around, in the same examples.
OTHERS = {"HF_HUB_OFFLINE"}
ENGINES_FILES = {"jinja_template_utils.py", "serving_chat.py"}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def listed():
    """({command: flags}, {command: variables}) of docs/OPTIONS.md, which the program prints."""
    flags, variables = {}, {}
    for part in re.split(r"^## weir ", read(ROOT + "/docs/OPTIONS.md"), flags=re.M)[1:]:
        name = part.split("\n", 1)[0]
        rows = [re.split(r"(?<!\\)\|", line) for line in part.splitlines() if line.startswith("| `")]
        flags[name] = {f for r in rows for f in re.findall(r"--?[a-z][\w-]*", r[1])} | {"--help", "--version"}
        variables[name] = {v for r in rows for v in re.findall(r"\b[A-Z][A-Z0-9_]{3,}\b", r[1] + r[2])}
    return flags, variables


def typed(page):
    """Words of each `weir …` that a page shows: lines of blocks, and code within text."""
    text = read(page)
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.M | re.S)
    lines = [line for b in blocks for line in b.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]*)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    for line in lines:
        for command in re.split(r"\s&&?(?=\s|$)|\s#|\s\|\s|;|\s{4,}", line):
            command = re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\S*/)?(weir [a-z<].*)", command)
            try:
                if command:
                    yield shlex.split(command.group(1))
            except ValueError:  # a quotation that goes on elsewhere
                continue


def wrong_words(words, flags):
    name = words[1]
    if name not in flags:
        return [] if name in ("help", "manual", "version") else [name]
    return [w for w in (x.split("=")[0] for x in words[2:]) if re.match(r"--?[a-z]", w) and w not in flags[name]]


@pytest.mark.parametrize("page", [os.path.relpath(p, ROOT) for p in PAGES])
def test_flags_that_a_page_shows(page):
    flags, _ = listed()
    wrong = {" ".join(words): bad for words in typed(os.path.join(ROOT, page)) if (bad := wrong_words(words, flags))}
    assert not wrong


def slug(heading):
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def broken_links(page):
    wrong = []
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", re.sub(r"^```.*?^```", "", read(page), flags=re.M | re.S)):
        path, _, place = target.partition("#")
        file = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
        if "://" in target:
            continue
        if not os.path.exists(file) or place and place not in map(slug, re.findall(r"^#+ (.*)$", read(file), re.M)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", [os.path.relpath(p, ROOT) for p in PAGES])
def test_links_lead_somewhere(page):
    """(Failed before: two of a bold line that was no heading.)"""
    assert not broken_links(os.path.join(ROOT, page))


def test_broken_links_are_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n[1](#a-b-c) [2](#nowhere) [3](none.md) [4](page.md#a-b-c) [5](https://example.org/x)\n")
    assert broken_links(str(page)) == ["#nowhere", "none.md"]


@pytest.mark.parametrize("page", [os.path.relpath(p, ROOT) for p in PAGES])
def test_files_that_a_page_names(page):
    """`folder/file.c` and `file.c` in code: of this tree, by the whole path or its end."""
    there = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=False).stdout.split()
    if not there:
        pytest.skip("no list of the sources")
    code = re.findall(r"`([^`\n]+)`", read(os.path.join(ROOT, page)))
    named = {w for c in code for w in re.findall(r"(?<![\w./<*-])[a-z_][\w/-]*\.(?:c|h|py|cu|def|mjs)(?![\w.*])", c)}
    ends = {f[i:] for f in there for i in [0, *(m.end() for m in re.finditer("/", f))]}
    assert not {n for n in named if n not in ends} - ENGINES_FILES


def test_pages_show_commands():
    """Else the ones above would prove nothing."""
    seen = [words for p in PAGES for words in typed(p)]
    assert {w[1] for w in seen} >= {"frontend", "mocker", "router", "global-router", "bench", "replay", "indexer"}
    assert len(seen) > 60 and wrong_words(["weir", "frontend", "--no-such"], listed()[0]) == ["--no-such"]


@pytest.mark.parametrize("path", [os.path.relpath(p, ROOT) for p in COMPOSE])
def test_compose(path):
    yaml = pytest.importorskip("yaml")
    flags, variables = listed()
    file = yaml.safe_load(read(os.path.join(ROOT, path)))
    assert "frontend" in file["services"]
    for name, service in file["services"].items():
        words = service["command"] if isinstance(service["command"], list) else shlex.split(service["command"])
        assert {"image", "restart"} <= set(service), name
        if words[0] != "weir":
            continue
        assert not wrong_words(words, flags), (name, words)
        told = set(service.get("environment") or {})
        assert told <= variables[words[1]] | OTHERS, (name, told - variables[words[1]])
        for volume in service.get("volumes", []):
            assert not re.match(r"[a-z]\w*:", volume) or volume.split(":")[0] in file["volumes"], volume
        for port in service.get("ports", []):
            assert str(port).split(":")[1] == words[words.index("--http-port") + 1]


def test_unit_file(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze")
    text = read(ROOT + "/deploy/systemd/weir.service")
    assert "ExecStart=/usr/local/bin/weir frontend\n" in text
    # Neither the program nor its manual is installed where the tests run.
    unit = re.sub(r"^Documentation=.*\n", "", text.replace("/usr/local/bin/weir", os.path.abspath(WEIR)), flags=re.M)
    path = tmp_path / "weir.service"
    path.write_text(unit)
    r = subprocess.run([analyze, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=60,
                       env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    said = [line for line in (r.stdout + r.stderr).splitlines() if "weir.service" in line]
    assert not said and r.returncode == 0, r


def test_the_services_environment_and_list_start_it(tmp_path):
    """The two files beside the unit, with their paths brought here."""
    _, variables = listed()
    lines = [line for line in read(ROOT + "/deploy/systemd/frontend.env").splitlines() if line and not line.startswith("#")]
    env = dict(line.split("=", 1) for line in lines)
    assert set(env) <= variables["frontend"]
    env["DYN_MODEL_PATH"] = str(tmp_path)
    env["WEIR_WORKERS_FILE"] = ROOT + "/deploy/systemd/workers.toml"
    (tmp_path / "tokenizer.json").write_text("{}")
    front = Frontend(env)  # --http-port 0 wins over the file's
    front.wait_line(r"engine http://10\.0\.0\.1[12]:8000")
    assert front.get("/live").status == 200
    assert front.stop() == 0


class Restricted:
    """What the unit's RestrictAddressFamilies= leaves."""
    side, env = "127.0.0.1", {}

    def __init__(self):
        text = read(ROOT + "/deploy/systemd/weir.service")
        families = re.search(r"^RestrictAddressFamilies=(.*)$", text, flags=re.M).group(1).split()
        self.enter = (sys.executable, os.path.join(os.path.dirname(__file__), "families.py"), *families, "--")


def test_the_services_limits_let_it_work(fleet):
    """With events of its own before workers of Dynamo's kind, for which the machine's addresses are asked (over netlink). (libzmq ended the
    process there, and before that 127.0.0.1 was told to workers elsewhere.)"""
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("no libseccomp")
    fleet.mocker()
    front = fleet.frontend("--router-mode", "kv", "--router-replica-sync", within=Restricted()).ready()
    assert front.chat("hello").status == 200


def test_metrics_that_pages_name():
    """Every weir_* metric of a page is a name in the sources."""
    files = subprocess.run(["git", "-C", ROOT, "ls-files", "*.c", "*.h"], capture_output=True, text=True, check=False).stdout.split()
    if not files:
        pytest.skip("no list of the sources")
    source = "\n".join(read(os.path.join(ROOT, f)) for f in files)
    prefixes = set(re.findall(r'"!?(weir_[a-z_]+_)"', source))
    quoted = set(re.findall(r'"!?((?:weir|dynamo)_[a-z0-9_]+)"', source))
    tails = set(re.findall(r'"([a-z0-9_]+)"', source))

    def there(name):
        return name in quoted or any(name.startswith(p) and name[len(p):] in tails for p in prefixes)
    missing = {}
    for page in PAGES:
        text = re.sub(r"\b(weir_[a-z0-9_]+)\{([a-z_,]+)\}(_[a-z_]+)",
                      lambda m: " ".join(m.group(1) + x + m.group(3) for x in m.group(2).split(",")), read(page))
        for name in re.findall(r"\bweir_[a-z0-9_]+_(?:total|bytes|entries|requests|up|seconds)\b", text):
            if not there(name):
                missing.setdefault(os.path.relpath(page, ROOT), set()).add(name)
    assert not missing
