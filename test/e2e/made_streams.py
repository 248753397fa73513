"""Streams of a worker made up for interop_diff.py: items that are empty, late, doubled, mixed, or of forms that nobody sends every day."""
import json

TOPS = [{"rank": 1, "token_id": 264, "token": " a", "logprob": -0.5}, {"rank": 2, "token_id": 11, "token": ",", "logprob": -1.25, "bytes": [44]}]
FINISHES = ["stop", "eos", "length", "content_filter", "cancelled", "abort"]
USAGES = [{"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, {"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 39, "prompt_tokens_details": {"cached_tokens": 4}},
          {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_tokens_details": {"cached_tokens": 0}},
          {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6, "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": 2}}, None]
ERRORS = [{"error_type": "Unknown", "message": "it broke"}, {"error_type": "InvalidArgument", "message": "no such thing"},
          {"error_type": "Unavailable", "message": "gone"}, {"error_type": "Cancelled", "message": "c"},
          {"error_type": "Unknown", "message": json.dumps({"message": "slow down", "code": 429})},
          {"error_type": "Unknown", "message": json.dumps({"message": "teapot", "code": 503})}, {"error_type": "x", "message": ""}]
# What an item may have besides: some of it nobody reads.
BESIDES = {"cum_log_probs": [-1.5, None, 0], "stop_reason": ["</x>", 7, None, ""], "disaggregated_params": [{"a": 1}, None, [], "x"],
           "kv_transfer_params": [{"a": 1}, None], "engine_data": [{"a": [1]}, None, 1], "extra_args": [{"a": 1}, None],
           "worker_trace_link": [{"trace_id": "t", "span_id": "s"}, None], "output_type": ["text"],
           "foo": [1, None], "content_parts": [None, []], "mm": [None]}


def tops(rng, token, logprob):
    """Alternatives of one token: itself is there or not, always with the same value."""
    own = {"rank": 1, "token_id": token, "token": None, "logprob": logprob}
    return rng.choice([[], [own], [t for t in TOPS if t["token_id"] != token][:1 + rng.randrange(2)]])


def item(rng, vocabulary, ids, logprobs, n, gives_text):
    """One of an engine with so many choices, which gives their text or does not: these ids, and what else it may say."""
    out = {"token_ids": ids}
    if gives_text:
        out["text"] = rng.choice(["", "x", " told", "e\u0301\U0001f600", "\u0000", "\n\n", "sto"])
    elif rng.randrange(8) == 0:
        out["text"] = None
    if rng.randrange(12) == 0:
        out["finish_reason"] = None
    if n > 1:
        out["index"] = rng.randrange(n)
    elif rng.randrange(12) == 0:
        out["index"] = rng.choice([0, 0, 0, None])
    if logprobs:
        out["log_probs"] = [round(-0.25 * (k + 1), 4) for k, _ in enumerate(ids)]
        if rng.randrange(4):
            out["top_logprobs"] = [tops(rng, i, p) for i, p in zip(ids, out["log_probs"])]
        if "text" in out:
            out["tokens"] = [vocabulary.decode([i]) for i in ids]
    if rng.randrange(10) == 0:
        name = rng.choice(sorted(BESIDES))
        out[name] = rng.choice(BESIDES[name])
    if rng.randrange(12) == 0:
        out["completion_usage"] = rng.choice(USAGES)
    return out


def made_stream(rng, vocabulary, n, logprobs):
    """Items of a worker of the request plane (plane_worker.py); all choices end."""
    items, gives_text = [], rng.randrange(6) == 0
    for _ in range(rng.randrange(7)):
        text = rng.choice(["Hello", " stop here", "e\u0301\U0001f468\u200d\U0001f469", "  \n", "st", "op", "<think>", "</think>", " a, b"])
        ids = vocabulary.encode(text, rng, rng.choice([1, 3, 12]))
        while ids:
            k = rng.choice([0, 1, 1, 1, 2, 5])
            items.append(item(rng, vocabulary, ids[:k], logprobs, n, gives_text))
            del ids[:k]
    kind = rng.randrange(24)
    at = rng.randrange(len(items) + 1)
    if kind < 2:
        items.insert(at, {"raise": rng.choice(ERRORS)})
    elif kind == 2 and n == 1:
        items.insert(at, {"token_ids": [], "finish_reason": rng.choice([{"error": "it broke"}, {"error": ""}])})
    elif kind < 5:
        items.insert(at, {"annotated": rng.choice([
            {"event": "x", "comment": ["a", "b"]}, {"event": "x"}, {"comment": ["\"a\""]}, {"data": None}, {}, {"id": "5", "data": {"token_ids": [11]}},
            {"event": "llm_metrics", "comment": ["{}"]}, {"event": "error", "comment": ["it broke"]}, {"event": "request_id", "comment": ["\"1\""]}, {"comment": []}, {"event": "error"}])})
    elif kind == 5:
        items.insert(at, {"annotated": {"data": rng.choice([{}, {"token_ids": None}, {"token_ids": [-1]}, {"token_ids": [2**32]}, {"token_ids": ["a"]}, [], 1,
                                                            {"token_ids": [11], "text": 1}, {"token_ids": [11], "index": -1}, {"token_ids": [1.0]}])}})
    for k in rng.sample(range(n), n):
        end = item(rng, vocabulary, rng.choice([[], [], [], [9707], [] if logprobs else [151645]]), logprobs, n, gives_text)
        end["finish_reason"] = rng.choice(FINISHES[:3] if rng.randrange(4) else FINISHES)
        if n > 1:
            end["index"] = k
        items.append(end)
    if rng.randrange(2):
        items[-1]["completion_usage"] = rng.choice(USAGES)
    return items


def made_request(rng, model):
    """(path, body, n, whether log probabilities are asked for): what makes a difference for the answer's form."""
    chat = rng.randrange(3) > 0
    n = rng.choice([1, 1, 1, 1, 2, 3])
    body = {"model": model, "max_tokens": 50, **({"messages": [{"role": "user", "content": "hi"}]} if chat else {"prompt": "hi"})}
    logprobs = rng.randrange(3) == 0
    if n > 1:
        body["n"] = n
    if logprobs and chat:
        body["logprobs"] = True
        body.update(rng.choice([{}, {"top_logprobs": 0}, {"top_logprobs": 1}, {"top_logprobs": 2}, {"top_logprobs": 5}]))
    elif logprobs:
        body["logprobs"] = rng.choice([0, 1, 2, 5])
    if rng.randrange(4):
        body["stream"] = True
        if rng.randrange(2):
            body["stream_options"] = rng.choice([{"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}])
    if rng.randrange(4) == 0:
        body["stop"] = rng.choice(["stop", ["stop", "e"], ["x", " here"], "\n"])
        if rng.randrange(3) == 0:
            body["include_stop_str_in_output"] = True
    if rng.randrange(12) == 0 and not logprobs:
        body["stop_token_ids"] = [264]
    if rng.randrange(12) == 0:
        body[rng.choice(["ignore_eos", "skip_special_tokens", "return_tokens_as_token_ids"])] = True
    if rng.randrange(12) == 0:
        body["min_tokens"] = rng.choice([1, 3])
    extra = {}
    if rng.randrange(4) == 0:
        extra["extra_fields"] = rng.sample([*["stop_reason", "completion_token_ids", "engine_data"][:3 if n == 1 else 0], "prompt_token_ids", "worker_id"], 2)
    return "/v1/chat/completions" if chat else "/v1/completions", body, extra, n, logprobs


# ---- what is compared -----------------------------------------------------------------------------------------------------

def _without_bytes(value):
    """Dynamo has three bytes of U+FFFD for any part of a character, and no offsets."""
    if isinstance(value, dict):
        return {k: _without_bytes(v) for k, v in value.items() if k not in ("bytes", "text_offset")}
    return [_without_bytes(v) for v in value] if isinstance(value, list) else value


def _events(body):
    """(events and comments as they came, data decoded) of a stream."""
    lines = [line for line in body.decode().split("\n") if line]
    return [line for line in lines if not line.startswith("data: {")], [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def told(answer, stops):
    """What an answer says in all its pieces together: by choice the text, the end and the log probabilities; the usage, nvext, and events
    of the worker; stops: it may have ended before the worker counted. Of an answer that failed only that: with Dynamo most errors behind the first item are a 500, and pieces before them may be lost."""
    if answer.status != 200:
        return "failed"
    lines, chunks = _events(answer.body) if answer.headers["content-type"] == "text/event-stream" else ([], [answer.json()])
    if any("error" in c for c in chunks):
        return "failed"
    choices, rest = {}, {}
    for chunk in chunks:
        for c in chunk["choices"]:
            out = choices.setdefault(c["index"], {"text": "", "finish": None})
            piece = c.get("delta") or c.get("message") or {}
            out["text"] += c.get("text") or piece.get("content") or ""
            out["finish"] = c.get("finish_reason") or out["finish"]
            for name, values in (c.get("logprobs") or {}).items():
                if values and name != "text_offset":
                    out[name] = out.get(name, []) + _without_bytes(values)
        rest["usage"] = chunk.get("usage") or rest.get("usage")
        for name, value in (chunk.get("nvext") or {}).items():
            rest[name] = rest.get(name, []) + value if name.endswith("_token_ids") else value
    if stops and rest["usage"]:
        rest["usage"] = rest["usage"]["completion_tokens"]
    details = not stops and (rest["usage"] or {}).get("completion_tokens_details")
    if details:
        rest["usage"]["completion_tokens_details"] = {k: v for k, v in details.items() if v is not None}
    return choices, rest, lines


def ill_formed(answer):
    """What is wrong with the form of a stream."""
    if answer.headers["content-type"] != "text/event-stream":
        return None
    lines, chunks = _events(answer.body)
    if lines[-1:] != ["data: [DONE]"] or lines.count("data: [DONE]") != 1:
        return "[DONE] is not once, at the end"
    begun, ended = set(), set()
    for chunk in chunks:
        for c in chunk.get("choices", ()):
            if c["index"] in ended:
                return "something behind the finish reason"
            if "delta" in c and ("role" in c["delta"]) == (c["index"] in begun):
                return "the role is not in the first piece alone"
            begun.add(c["index"])
            if c.get("finish_reason"):
                ended.add(c["index"])
    return "something behind an error" if any("error" in c for c in chunks[:-1]) else None


def stops_in_given_text(body, items):
    """Stop strings hold for text that the worker gives, too; Dynamo looks at tokens alone."""
    return "stop" in body and any(i.get("text") for i in items)
