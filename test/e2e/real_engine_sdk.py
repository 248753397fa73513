"""What an application does with the official Python SDK, through Weir to a real engine. Tool calls of a model of random
weights are made certain by a strict schema of one value.

usage: real_engine_sdk.py BASE_URL MODEL TOKENIZER_JSON; prints [[id of an answer, its cached tokens], …]."""
import asyncio
import json
import re
import sys
import unittest
import uuid

import openai

base, model, tokenizer = sys.argv[1] + "/v1", sys.argv[2], sys.argv[3]
client = openai.OpenAI(base_url=base, api_key="unused", max_retries=0, timeout=120)
with open(tokenizer, encoding="utf-8") as f:
    VOCAB = json.load(f)["model"]["vocab"]
# JSON may hold blanks without end, and a random model likes them.
BLANKS = {str(i): -100 for t, i in VOCAB.items() if re.fullmatch("[ĠĊĉč]+", t)}
CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris"]}}, "required": ["city"],
        "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "How the weather is in a city.", "strict": True,
                                           "parameters": CITY}},
         {"type": "function", "function": {"name": "now", "description": "The time in a city.", "strict": True,
                                           "parameters": CITY}}]
refused = unittest.TestCase().assertRaises
seen = []


def note(r):
    seen.append([r.id, (r.usage.prompt_tokens_details and r.usage.prompt_tokens_details.cached_tokens) or 0])
    return r


def named(name):
    return {"type": "function", "function": {"name": name}}


def agent():
    """Calls in both forms, their results, and more turns on top."""
    messages = [{"role": "system", "content": "You help. " * 20}, {"role": "user", "content": f"{uuid.uuid4()} Weather in Paris?"}]
    for turn, tool in enumerate(["weather", "now", "weather", "now"]):
        ask = {"model": model, "messages": messages, "tools": TOOLS, "tool_choice": named(tool), "max_tokens": 120,
               "temperature": 0, "logit_bias": BLANKS}
        if turn % 2 == 0:
            choice = note(client.chat.completions.create(**ask)).choices[0]
        else:
            with client.chat.completions.stream(**ask, stream_options={"include_usage": True}) as stream:
                for _ in stream:
                    pass
                choice = note(stream.get_final_completion()).choices[0]
        calls = choice.message.tool_calls
        assert calls and len(calls) == 1 and calls[0].function.name == tool, choice
        assert json.loads(calls[0].function.arguments) == {"city": "Paris"}, calls
        messages.append(choice.message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
        messages.append({"role": "tool", "tool_call_id": calls[0].id, "content": json.dumps({"answer": f"{turn} degrees"})})
        if turn == 1:
            r = note(client.chat.completions.create(model=model, messages=messages, tools=TOOLS, tool_choice="none",
                                                    max_tokens=12, temperature=0))
            assert r.choices[0].message.content and not r.choices[0].message.tool_calls
            messages.append({"role": "assistant", "content": r.choices[0].message.content})
            messages.append({"role": "user", "content": "And now?"})
        if turn == 2:
            note(client.chat.completions.create(model=model, messages=messages, tools=TOOLS, max_tokens=12, temperature=0))


def answers():
    messages = [{"role": "user", "content": f"{uuid.uuid4()} What is a weir?"}]
    whole = note(client.chat.completions.create(model=model, messages=messages, max_tokens=16, temperature=0, logprobs=True,
                                                top_logprobs=2))
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
    text, usage = "", None
    for c in client.chat.completions.create(model=model, messages=messages, max_tokens=16, temperature=0, stream=True,
                                            stream_options={"include_usage": True}):
        usage = c.usage or usage
        text += "".join(x.delta.content or "" for x in c.choices)
    assert text == whole.choices[0].message.content and usage.completion_tokens == whole.usage.completion_tokens
    two = client.chat.completions.create(model=model, messages=messages, max_tokens=4, n=2)
    assert [c.index for c in two.choices] == [0, 1]
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY}}
    r = note(client.chat.completions.create(model=model, messages=messages, max_tokens=60, temperature=0, response_format=form,
                                            logit_bias=BLANKS))
    assert json.loads(r.choices[0].message.content) == {"city": "Paris"}, r
    r = note(client.completions.create(model=model, prompt="once upon a time " * 20, max_tokens=4))
    assert r.choices[0].text is not None and r.usage.completion_tokens <= 4


def lists_and_refusals():
    assert model in {m.id for m in client.models.list()}
    assert client.models.retrieve(model).id == model
    refused(openai.NotFoundError, lambda: client.models.retrieve("nope"))
    messages = [{"role": "user", "content": "a"}]
    refused(openai.NotFoundError, lambda: client.chat.completions.create(model="nope", messages=messages))
    refused(openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages=messages, temperature=-3))
    refused(openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages="x"))
    refused(openai.APITimeoutError, lambda: client.with_options(timeout=0.4).chat.completions.create(
        model=model, messages=messages, max_tokens=4000, extra_body={"ignore_eos": True}))


async def many():
    a = openai.AsyncOpenAI(base_url=base, api_key="unused", max_retries=0, timeout=120)
    got = await asyncio.gather(*(a.chat.completions.create(
        model=model, messages=[{"role": "user", "content": f"number {i}"}], max_tokens=5, extra_body={"ignore_eos": True})
        for i in range(24)))
    assert all(r.usage.completion_tokens == 5 for r in got)


agent()
answers()
lists_and_refusals()
asyncio.run(many())
print(json.dumps(seen))
