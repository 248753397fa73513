"""Requests for embeddings made up member by member for interop_embeddings.py: every form of input, and values that are none."""
import json

TEXTS = ["hello", "", " ", "a\u0000b", "\u00e9\u0301 \U0001f468\u200d\U0001f469", "<|im_start|>user", "x" * 5000, "\ud83d\ude00", "\u202e\ufeff", "a\r\n\tb", "tail "]
IDS = [0, 1, 42, 151643, 151645, 151935]
ODD_IDS = [151936, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, -1, 1.0, 1.5, 1e3, True, None, "1", [1], {}, -0.0]
# Of a member: values that are taken, and some that are not.
MEMBERS = {
    "encoding_format": ["float", "base64", None, "FLOAT", "int8", "", 1, [], {"float": 1}],
    "dimensions": [1, 2, 4, 31, 32, 33, 1024, None, 0, -1, 2**31, 2**32 - 1, 2**32, 1.0, 1e1, -0.0, "2", True, [], 10**30],
    "user": ["u", "", " ", None, "\u0000", "x" * 1000, 1, [], {}, True],
    "add_special_tokens": [True, False, None, 0, 1, "true", [], {}],
    "truncate_prompt_tokens": [1, 2, 3, 1000, -1, None, 0, -2, -3, 2**31, 2**63, -2**63, 1.0, "1", True, [], 10**30],
    "nvext": [{}, {"annotations": ["token_ids"]}, {"annotations": ["formatted_prompt", "request_id", "x:y", ""]}, {"annotations": []}, None, {"annotations": None}, {"annotations": "a"},
              {"annotations": [1]}, {"annotations": {}}, {"x": 1}, {"cache_salt": "s"}, {"agent_hints": {"priority": 1}}, {"annotations": ["a"], "extra_fields": ["worker_id"]}, [], 1, "a"],
    "model": ["", "nope", None, 1, "Tokens", "tokens ", []],
    "foo": [1, None, {"a": [1]}], "stream": [True, False, None], "priority": [1], "extra_body": [{}], "input_type": ["query"], "instruction": ["a"], "": [1], "dimension": [3],
}


def made_input(rng):
    kind = rng.randrange(16)
    if kind < 3:
        return rng.choice(TEXTS)
    if kind < 6:
        return [rng.choice(TEXTS) for _ in range(rng.choice([0, 1, 1, 2, 3, 20]))]
    if kind < 8:
        return [rng.choice(IDS) for _ in range(rng.choice([1, 2, 5, 300]))]
    if kind < 10:
        return [[rng.choice(IDS) for _ in range(rng.choice([0, 1, 3]))] for _ in range(rng.choice([1, 2, 4]))]
    if kind < 12:
        ids = [rng.choice(IDS) for _ in range(3)]
        ids[rng.randrange(3)] = rng.choice(ODD_IDS)
        return ids if rng.randrange(2) else [ids, [1]]
    if kind < 14:
        mixed = [rng.choice(TEXTS + IDS + [[1], ["a"], None, {}, True]) for _ in range(2)]
        return mixed
    return rng.choice([None, True, 1, 1.5, {}, {"text": "a"}, [None], [[]], [[], []], [[[1]]], [""], [True], [{}], [["a"]]])


def made_embedding(rng):
    """The text of a request."""
    body = {"model": rng.choice(["tokens", "text"]), "input": made_input(rng)}
    for name in rng.sample(sorted(MEMBERS), rng.choice([0, 1, 1, 2, 2, 3])):
        body[name] = rng.choice(MEMBERS[name])
    if rng.randrange(40) == 0:
        del body[rng.choice(["model", "input"])]
    members = list(body.items())
    rng.shuffle(members)
    return json.dumps(dict(members), ensure_ascii=rng.randrange(2) == 0)
