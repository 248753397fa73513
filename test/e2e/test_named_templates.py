"""Which of a model's chat templates serves a request: as transformers chooses, for every way to keep them."""
import json
import os
import subprocess

import pytest

import testenv
from test_parity import model as small_model
from weir import WEIR

PLAIN = {"messages": [{"role": "user", "content": "hi"}]}
TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}]

# Where the templates lie: of chat_template.jinja, in additional_chat_templates, in tokenizer_config.json.
LAYOUTS = {
    "config text": (None, {}, "C"),
    "config list": (None, {}, {"default": "CD", "tool_use": "CT", "rag": "CR"}),
    "config list without tool_use": (None, {}, {"rag": "CR", "default": "CD"}),
    "config list without default": (None, {}, {"rag": "CR", "tool_use": "CT"}),
    "config list of one other": (None, {}, {"rag": "CR"}),
    "file": ("J", {}, None),
    "file over config": ("J", {}, "C"),
    "file over config list": ("J", {}, {"default": "CD", "tool_use": "CT"}),
    "file and additional": ("J", {"tool_use": "AT", "rag": "AR"}, "C"),
    "file and other additional": ("J", {"rag": "AR"}, "C"),
    "additional over config": (None, {"tool_use": "AT"}, "C"),
    "additional over config list": (None, {"rag": "AR"}, {"default": "CD", "tool_use": "CT"}),
    "additional with default": (None, {"default": "AD", "tool_use": "AT"}, None),
    "additional default over file": ("J", {"default": "AD"}, None),
    "no template": (None, {}, None),
    "other files beside": ("J", {"tool_use": "AT", "notes.txt": "N"}, None),
}

ORACLE = """
import json, sys
from transformers import AutoTokenizer
tools, out = json.loads(sys.argv[1]), {}
for path in sys.argv[2:]:
    t = AutoTokenizer.from_pretrained(path)
    for with_tools in (None, tools, []):
        try:
            got = t.apply_chat_template([{"role": "user", "content": "hi"}], tools=with_tools, tokenize=False)
        except ValueError as e:
            got = None
        out.setdefault(path, []).append(got)
print("ANSWER " + json.dumps(out))
"""


def write(folder, layout):
    jinja, additional, config = LAYOUTS[layout]
    small_model(folder)
    path = folder / "tokenizer_config.json"
    c = json.loads(path.read_text())
    del c["chat_template"]
    c["tokenizer_class"] = "PreTrainedTokenizerFast"

    def text(name):
        return name + ":{{ messages[0].content }}{{ tools | length if tools else '' }}{{ eos_token }}"
    if isinstance(config, dict):
        c["chat_template"] = [{"name": k, "template": text(v)} for k, v in config.items()]
    elif config:
        c["chat_template"] = text(config)
    path.write_text(json.dumps(c))
    if jinja:
        (folder / "chat_template.jinja").write_text(text(jinja))
    if additional:
        (folder / "additional_chat_templates").mkdir()
        for k, v in additional.items():
            (folder / "additional_chat_templates" / (k if "." in k else k + ".jinja")).write_text(text(v))
    return str(folder)


def rendered(path, tools):
    """What `weir render` says, which needs no tokenizer; None when it refuses."""
    request = dict(PLAIN, model="m", add_generation_prompt=False)
    if tools is not None:
        request["tools"] = tools
    p = subprocess.run([WEIR, "render", "--model-path", path, "--flavour", "plain", "--lines"],
                       input=json.dumps(request) + "\n", capture_output=True, text=True, timeout=60)
    if p.returncode != 0:
        return None
    got = json.loads(p.stdout)
    return got if isinstance(got, str) else None


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: write(root / str(i), name) for i, name in enumerate(LAYOUTS)}


def test_as_transformers_chooses(models):
    python = testenv.python_with("transformers==5.19.0", "jinja2==3.1.6")
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    p = subprocess.run([python, "-c", ORACLE, json.dumps(TOOLS), *models.values()], capture_output=True, text=True,
                       env=env, timeout=300)
    assert p.returncode == 0, p.stderr[-3000:]
    want = json.loads([line for line in p.stdout.splitlines() if line.startswith("ANSWER ")][0][7:])
    seen = set()
    for name, path in models.items():
        for tools, expected in zip((None, TOOLS, []), want[path]):
            assert rendered(path, tools) == expected, (name, tools)
            seen.add(expected and expected[:2])
    assert {"C:", "CD", "CT", "J:", "AT", "AD", None} <= seen


def test_a_loaded_model_has_them_too(fleet, models):
    """The same through wtok_load(): what the frontend renders and tokenizes."""
    path = models["file and additional"]
    fleet.mocker("--model-path", path)
    f = fleet.frontend("--model-path", path).ready()
    for tools, want in ((None, "J:hi<|end|>"), (TOOLS, "AT:hi1<|end|>")):
        body = {"model": "m", **PLAIN, "add_generation_prompt": False, **({"tools": tools} if tools else {})}
        tokens = f.ask("POST", "/tokenize", body).json()["tokens"]
        assert f.ask("POST", "/detokenize", {"model": "m", "tokens": tokens}).json()["prompt"] == want
