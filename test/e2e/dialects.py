"""What tests of the Responses and Messages APIs before HTTP engines share: frontends, requests, and answers as engines write them."""
import json

PLACES = ({"place": "Ålesund"}, {"place": "Oslo"})
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


def front(fleet, *urls, env=None, mode="kv", flags=("--tokenizer", "bytes")):
    args = [a for u in urls for a in ("--worker", u)]
    return fleet.frontend("--router-mode", mode, "--enable-anthropic-api", "--error-format", "openai", *args, *flags,
                          env={"WEIR_ENGINE_POLL_SECS": "0.05", "DYN_DISCOVERY_BACKEND": "mem", **(env or {})}
                          ).ready(workers=len(urls))


def ask(f, path, words="hello", headers=None, **more):
    body = {"model": "m", "input": words, **more} if path.startswith(RESPONSES) else \
        {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": words}], **more}
    return f.ask("POST", path, body, headers)


def said(path, answer):
    """Text of a whole answer, or of a stream."""
    if answer.headers["content-type"] == "application/json":
        parts = [p for i in answer.json()["output"] for p in i["content"]] if path == RESPONSES else answer.json()["content"]
        return "".join(p.get("text", "") for p in parts)
    key = "response.output_text.delta" if path == RESPONSES else "content_block_delta"
    deltas = [e["delta"] for e in answer.events()[:-1] if e["type"] == key]
    return "".join(d if isinstance(d, str) else d.get("text", "") for d in deltas)


def chunks(*deltas, finish="stop", usage=True, **last):
    """Frames of a chat's stream, each delta an event."""
    frames = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in ({"role": "assistant", "content": ""}, *deltas)]
    if finish:
        frames.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish, **last}]})
    if usage:
        frames.append({"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 7, "total_tokens": 57,
                                                "prompt_tokens_details": {"cached_tokens": 32}}})
    return b"".join(b"data: " + json.dumps(x).encode() + b"\n\n" for x in frames)


def stream(h, data, done=True):
    h.begin_stream()
    h.chunk(data + (b"data: [DONE]\n\n" if done else b""))
    h.chunk(b"")


def whole(message, finish="stop", usage=None, **choice):
    usage = usage or {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 32}}
    return json.dumps({"object": "chat.completion", "usage": usage,
                       "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}]}).encode()


# ---- an answer with all parts, as vLLM and SGLang write it; to the result of a call a text ------------

CALLS = [{"id": f"c{i}", "type": "function", "function": {"name": "look_up", "arguments": json.dumps(p)}} for i, p in enumerate(PLACES)]


def vllm(h, body):
    q = json.loads(body)
    if q["messages"][-1]["role"] == "tool":
        h.whole(200, whole({"content": "It rains.", "reasoning": None, "tool_calls": []}, stop_reason=None))
    elif q.get("stream"):
        parts = [{"reasoning": "h"}, {"reasoning": "m", "reasoning_content": "m"}, {"content": "So"}, {"content": ": ", "reasoning": None}]
        for i, c in enumerate(CALLS):
            parts.append({"tool_calls": [{"index": i, **c, "function": {"name": "look_up"}}]})
            text = c["function"]["arguments"]
            parts += [{"tool_calls": [{"index": i, "function": {"arguments": t}}]} for t in (text[:7], text[7:])]
        stream(h, chunks(*parts, finish="tool_calls"))
    else:
        h.whole(200, whole({"content": "So: ", "reasoning": "hm", "tool_calls": CALLS}, "tool_calls"))


def sglang(h, body):
    q = json.loads(body)
    usage = {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 32}, "reasoning_tokens": 2}
    if q["messages"][-1]["role"] == "tool":
        h.whole(200, whole({"content": "It rains.", "reasoning_content": None, "tool_calls": None}, usage=usage, matched_stop=5))
    elif q.get("stream"):
        parts = [{"reasoning_content": "hm", "content": None}, {"content": "So: ", "reasoning_content": None}]
        for i, c in enumerate(CALLS):
            parts.append({"tool_calls": [{"index": i, **c, "function": {"name": "look_up", "arguments": ""}}], "reasoning_content": None})
            parts.append({"tool_calls": [{"index": i, "id": None, "type": "function",
                                          "function": {"name": None, "arguments": c["function"]["arguments"]}}]})
        stream(h, chunks(*parts, finish="tool_calls", usage=False, matched_stop=None) +
               b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n")
    else:
        h.whole(200, whole({"content": "So: ", "reasoning_content": "hm", "tool_calls": CALLS}, "tool_calls", usage))
