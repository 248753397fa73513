"""Model files that are not on the frontend's machine: served by the worker itself, by any HTTP server, or named by
hf:// addresses. What is served otherwise than the card says is never used."""
import contextlib
import glob
import hashlib
import http.server
import json
import os
import shutil
import threading

import pytest

from test_model_files import HERE
from test_parity import model as small_model
from weir import until

def cards(fleet):
    """The model records of the fleet's discovery folder."""
    return sorted(glob.glob(os.path.join(fleet.env["DYN_FILE_KV"], "v1", "mdc", "*")))


def files_of(card):
    """Every {"path", "checksum"} of a card."""
    if isinstance(card, dict):
        if "path" in card and "checksum" in card:
            yield card
        else:
            for value in card.values():
                yield from files_of(value)


def rewrite(fleet, change):
    """Puts a changed record in the place of each."""
    until("the card is there", lambda: cards(fleet))
    for name in cards(fleet):
        with open(name, encoding="utf-8") as f:
            record = json.load(f)
        card = record["card_json"]
        card["source_path"] = "nobody/knows"
        for file in files_of(card):
            change(file)
        temporary = os.path.join(fleet.folder, "record")
        with open(temporary, "w", encoding="utf-8") as f:
            json.dump(record, f)
        os.replace(temporary, name)
    return cards(fleet)


class Origin(http.server.ThreadingHTTPServer):
    """Serves a folder; `answers` may hold a function for a path, which writes the whole answer itself."""
    daemon_threads = True

    def __init__(self, folder):
        origin = self
        self.asked, self.answers, self.folder = [], {}, str(folder)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                origin.asked.append((self.path, self.headers.get("authorization")))
                special = origin.answers.get(self.path)
                if special:
                    return special(self)
                path = os.path.join(origin.folder, os.path.basename(self.path))
                if not os.path.exists(path):
                    return self.send_error(404)
                with open(path, "rb") as f:
                    data = f.read()
                self.send_response(200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def paths(self):
        return [p for p, _ in self.asked]


@pytest.fixture
def origins():
    with contextlib.ExitStack() as stack:
        def make(folder):
            o = Origin(folder)
            stack.callback(o.server_close)
            stack.callback(o.shutdown)
            return o
        yield make


@pytest.fixture
def files(tmp_path):
    return small_model(tmp_path / "files")


@pytest.fixture
def home(fleet, tmp_path):
    """A cache that nothing was ever put into."""
    fleet.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    os.mkdir(fleet.env["XDG_CACHE_HOME"])
    return tmp_path / "cache"


def fetched(home):
    return sorted(os.path.basename(p) for p in glob.glob(str(home / "weir" / "models" / "*" / "*")))


def to(url):
    def change(file):
        file["path"] = url + "/" + os.path.basename(file["path"])
    return change


def test_a_worker_serves_its_files(fleet, files, home):
    """With a status port the card names the worker's own server, and no other copy is needed."""
    port = fleet.mocker("--model-path", str(files)).status_port
    seen = []
    rewrite(fleet, lambda f: seen.append(f["path"]))
    base = f"http://127.0.0.1:{port}/v1/metadata/dynamo/backend/generate/m/_base/"
    assert sorted(seen) == sorted(base + n for n in os.listdir(files))
    front = fleet.frontend().ready()
    assert front.chat("hello").status == 200
    assert fetched(home) == sorted(os.listdir(files))
    ids = front.ask("POST", "/tokenize", {"model": "m", "prompt": "ab"}).json()["tokens"]
    assert len(ids) == 2


def test_files_served_by_another_server_are_kept(fleet, files, home, origins):
    fleet.mocker("--model-path", str(files), env=HERE)
    origin = origins(files)
    rewrite(fleet, to(origin.url))
    assert fleet.frontend().ready().chat("hello").status == 200
    n = len(origin.asked)
    assert n == len(os.listdir(files)) and all(token is None for _, token in origin.asked)
    assert fleet.frontend().ready().chat("hello").status == 200
    assert len(origin.asked) == n, "asked again for what it had"


def test_redirects_are_followed(fleet, files, home, origins):
    fleet.mocker("--model-path", str(files), env=HERE)
    here, there = origins(files), origins(files)

    def elsewhere(h):
        h.send_response(307)
        h.send_header("location", there.url + h.path)
        h.send_header("content-length", "5")
        h.end_headers()
        h.wfile.write(b"there")

    def up(h):
        h.send_response(302)
        h.send_header("location", "/moved/config.json")
        h.send_header("content-length", "0")
        h.end_headers()

    here.answers = {"/tokenizer.json": elsewhere, "/config.json": up}
    rewrite(fleet, to(here.url))
    assert fleet.frontend().ready().chat("hello").status == 200
    assert there.paths() == ["/tokenizer.json"] and "/moved/config.json" in here.paths()


def test_redirects_without_end(fleet, files, home, origins):
    fleet.mocker("--model-path", str(files), env=HERE)
    origin = origins(files)

    def again(h):
        h.send_response(302)
        h.send_header("location", h.path)
        h.send_header("content-length", "0")
        h.end_headers()

    origin.answers["/tokenizer.json"] = again
    rewrite(fleet, to(origin.url))
    front = fleet.frontend()
    front.wait_line(r"model m is not served: .*/tokenizer.json: too many redirects")
    assert len(origin.asked) == 6 and fetched(home) == []


def test_other_bytes_are_refused(fleet, files, home, origins, tmp_path):
    fleet.mocker("--model-path", str(files), env=HERE)
    other = tmp_path / "other"
    shutil.copytree(files, other)
    with open(other / "tokenizer_config.json", "a", encoding="utf-8") as f:
        f.write("\n")
    rewrite(fleet, to(origins(other).url))
    front = fleet.frontend()
    front.wait_line(r"model m is not served: tokenizer_config.json is not the file that the worker serves with")
    assert front.chat("hello").status == 503 and "tokenizer_config.json" not in fetched(home)


def test_a_spoilt_copy_is_fetched_anew(fleet, files, home, origins):
    fleet.mocker("--model-path", str(files), env=HERE)
    origin = origins(files)
    rewrite(fleet, to(origin.url))
    fleet.frontend().ready().stop()
    [kept] = glob.glob(str(home / "weir" / "models" / "*" / "tokenizer.json"))
    with open(kept, "a", encoding="utf-8") as f:
        f.write("x")
    before = len(origin.asked)
    assert fleet.frontend().ready().chat("hello").status == 200
    assert origin.paths()[before:] == ["/tokenizer.json"]


@pytest.mark.parametrize("trouble", ["busy", "cut", "closed"])
def test_a_server_in_trouble_is_asked_again(fleet, files, home, origins, trouble):
    fleet.mocker("--model-path", str(files), env=HERE)
    origin = origins(files)

    def answer(h):
        del origin.answers["/tokenizer.json"]
        h.close_connection = True
        if trouble == "busy":
            h.send_error(503)
        elif trouble == "cut":
            h.send_response(200)
            h.send_header("content-length", "1000")
            h.end_headers()
            h.wfile.write(b"half of it")

    origin.answers["/tokenizer.json"] = answer
    rewrite(fleet, to(origin.url))
    front = fleet.frontend()
    front.wait_line(r"files of model m cannot be had yet: .*/tokenizer.json: ")
    assert front.ready().chat("hello").status == 200
    assert origin.paths().count("/tokenizer.json") == 2


def asked_in_vain(fleet, files, origins):
    """A worker whose files' server is gone, and a frontend that has asked it."""
    mocker = fleet.mocker("--model-path", str(files), env=HERE)
    gone = origins(files)
    gone.server_close()
    rewrite(fleet, to(gone.url))
    front = fleet.frontend()
    front.wait_line(r"files of model m cannot be had yet: .*connection refused")
    return mocker, front


def test_another_worker_may_have_them(fleet, files, home, origins):
    """The first worker's server is gone; the second one of the model has one that answers."""
    _, front = asked_in_vain(fleet, files, origins)
    fleet.mocker("--model-path", str(files))
    assert front.ready(workers=2).chat("hello").status == 200


def test_a_model_that_leaves_is_not_asked_for(fleet, files, home, origins):
    mocker, front = asked_in_vain(fleet, files, origins)
    mocker.stop()
    until("the model is gone", lambda: front.chat("x").status == 404)
    assert front.stop() == 0


def test_a_frontend_that_ends_is_done_with_asking(fleet, files, home, origins):
    """(Failed before under the sanitizer: the thread that asks told a loop that was freed.)"""
    _, front = asked_in_vain(fleet, files, origins)
    assert front.stop() == 0


@pytest.mark.parametrize("path,why", [
    ("ftp://h/tokenizer.json", "the tokenizer files that its card names are not on this machine"),
    ("http:///tokenizer.json", "is not an http or https URL"), ("http://h/a/..", "is not a name of a model file"),
    ("http://h:99999/tokenizer.json", "is not an http or https URL"),
    ("http://u@h/tokenizer.json", "is not an http or https URL"),
    ("hf:///tokenizer.json", "is not an address of a file"), ("hf://../../x/tokenizer.json", "is not an address of a file")])
def test_addresses_that_are_none(fleet, files, home, path, why):
    fleet.mocker("--model-path", str(files), env=HERE)

    def change(file):
        if file["path"].endswith("tokenizer.json"):
            file["path"] = path

    rewrite(fleet, change)
    front = fleet.frontend()
    front.wait_line(rf"model m is not served: .*{why}")
    assert fetched(home) == []


# ---- hf:// -------------------------------------------------------------------------------------------------------


def hub(file):
    file["path"] = "hf://org/some-model/" + os.path.basename(file["path"])


def test_hub_files(fleet, files, home, origins):
    """From the endpoint, whose token goes nowhere else."""
    fleet.mocker("--model-path", str(files), env=HERE)
    here, there = origins(files), origins(files)

    def elsewhere(h):
        h.send_response(302)
        h.send_header("location", there.url + "/blob/tokenizer.json")
        h.send_header("content-length", "0")
        h.end_headers()

    here.answers["/org/some-model/resolve/main/tokenizer.json"] = elsewhere
    rewrite(fleet, hub)
    front = fleet.frontend(env={"HF_ENDPOINT": here.url + "/", "HF_TOKEN": "secret\n", "HF_HOME": str(home)})
    assert front.ready().chat("hello").status == 200
    assert set(here.paths()) == {f"/org/some-model/resolve/main/{n}" for n in os.listdir(files)}
    assert {token for _, token in here.asked} == {"Bearer secret"}
    assert there.asked == [("/blob/tokenizer.json", None)]


def test_hub_revision(fleet, files, home, origins):
    fleet.mocker("--model-path", str(files), env=HERE)
    origin = origins(files)
    rewrite(fleet, lambda f: f.update(path="hf://name@v1.0/" + os.path.basename(f["path"])))
    fleet.frontend(env={"HF_ENDPOINT": origin.url, "HF_HOME": str(home)}).ready()
    assert set(origin.paths()) == {f"/name/resolve/v1.0/{n}" for n in os.listdir(files)}


def test_hub_cache_of_the_machine(fleet, files, home, tmp_path):
    """As huggingface_hub lays it out: refs name a commit, a snapshot links to blobs."""
    fleet.mocker("--model-path", str(files), env=HERE)
    root = tmp_path / "hub" / "models--org--some-model"
    snapshot = root / "snapshots" / "abc123"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc123")
    (root / "blobs").mkdir()
    snapshot.mkdir(parents=True)
    for name in os.listdir(files):
        blob = hashlib.sha256(name.encode()).hexdigest()
        shutil.copy(files / name, root / "blobs" / blob)
        os.symlink(f"../../blobs/{blob}", snapshot / name)
    rewrite(fleet, hub)
    front = fleet.frontend(env={"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"})
    assert front.ready().chat("hello").status == 200
    assert fetched(home) == []


def test_hub_offline(fleet, files, home, tmp_path):
    fleet.mocker("--model-path", str(files), env=HERE)
    rewrite(fleet, hub)
    front = fleet.frontend(env={"HF_HUB_CACHE": str(tmp_path / "none"), "HF_HUB_OFFLINE": "1"})
    front.wait_line(r"model m is not served: hf://org/some-model/\S+ is not on this machine and HF_HUB_OFFLINE is set; "
                    r"name the model's directory with --model-path")
    front.stop()
    front = fleet.frontend("--model-path", str(files), env={"HF_HUB_OFFLINE": "1"})
    assert front.ready().chat("hello").status == 200
