"""What an application does with the official Python SDK. usage: sdk_client.py BASE_URL [CA_FILE] [--http2]"""
import asyncio
import ssl
import sys

import openai

try:
    import httpx2 as httpx  # since release 3
except ImportError:
    import httpx

words = [w for w in sys.argv[1:] if w != "--http2"]
http2 = len(words) + 1 < len(sys.argv)
base = words[0] + "/v1"
how = {"verify": ssl.create_default_context(cafile=words[1]) if len(words) > 1 else True,
       "http1": not http2, "http2": http2}
client = openai.OpenAI(base_url=base, api_key="unused", max_retries=0, http_client=httpx.Client(**how))
messages = [{"role": "user", "content": "What is a weir?"}]


def refused(kind, call):
    try:
        call()
    except kind as e:
        return e
    raise AssertionError(f"{kind.__name__} was not raised")


def chat():
    r = client.chat.completions.create(model="m", messages=messages, max_tokens=12, seed=3)
    assert r.choices[0].finish_reason == "length" and r.usage.completion_tokens == 12
    assert r.choices[0].message.role == "assistant"
    s = client.chat.completions.create(model="m", messages=messages, max_tokens=12, seed=3, stream=True,
                                       stream_options={"include_usage": True})
    text, usage, finish = "", None, []
    for chunk in s:
        usage = chunk.usage or usage
        for c in chunk.choices:
            text += c.delta.content or ""
            finish += [c.finish_reason] if c.finish_reason else []
    assert text == r.choices[0].message.content and finish == ["length"] and usage.completion_tokens == 12


def choices_and_logprobs():
    r = client.chat.completions.create(model="m", messages=messages, max_tokens=3, n=3, logprobs=True, top_logprobs=2)
    assert [c.index for c in r.choices] == [0, 1, 2]
    for c in r.choices:
        assert len(c.logprobs.content) == 3 and len(c.logprobs.content[0].top_logprobs) == 2
        assert bytes(c.logprobs.content[0].bytes).decode() == c.logprobs.content[0].token


def stop_strings():
    whole = client.chat.completions.create(model="m", messages=messages, max_tokens=60).choices[0].message.content
    stop = whole[20:24]
    cut = client.chat.completions.create(model="m", messages=messages, max_tokens=60, stop=[stop])
    assert cut.choices[0].finish_reason == "stop" and cut.choices[0].message.content == whole[:whole.index(stop)]
    streamed = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(
        model="m", messages=messages, max_tokens=60, stop=[stop], stream=True))
    assert streamed == cut.choices[0].message.content


def completions():
    r = client.completions.create(model="m", prompt=["one", "two"], max_tokens=4)
    assert len(r.choices) == 2 and r.usage.prompt_tokens == 6
    text = "".join(c.choices[0].text for c in client.completions.create(model="m", prompt="one", max_tokens=4, stream=True)
                   if c.choices)
    assert text == r.choices[0].text


def models():
    assert {m.id for m in client.models.list()} == {"m", "slow"}
    assert client.models.retrieve("m").id == "m"
    assert "not found" in refused(openai.NotFoundError, lambda: client.models.retrieve("nope")).message.lower()


def errors():
    e = refused(openai.NotFoundError, lambda: client.chat.completions.create(model="nope", messages=messages, max_tokens=1))
    assert "Model not found" in e.message, e.message
    e = refused(openai.BadRequestError,
                lambda: client.chat.completions.create(model="m", messages=messages, max_tokens=1, temperature=9))
    assert "Temperature must be between 0 and 2" in e.message, e.message
    e = refused(openai.BadRequestError, lambda: client.chat.completions.create(model="m", messages=[], max_tokens=1))
    assert e.message and e.status_code == 400


def timeout_and_abort():
    slow = client.with_options(timeout=0.3)
    refused(openai.APITimeoutError, lambda: slow.chat.completions.create(model="slow", messages=messages, max_tokens=5000))
    s = client.chat.completions.create(model="slow", messages=messages, max_tokens=5000, stream=True)
    next(iter(s))
    s.close()


async def many():
    a = openai.AsyncOpenAI(base_url=base, api_key="unused", max_retries=0, http_client=httpx.AsyncClient(**how))
    got = await asyncio.gather(*(a.chat.completions.create(model="m", messages=messages, max_tokens=5) for _ in range(50)))
    assert all(r.usage.completion_tokens == 5 for r in got)


for case in (chat, choices_and_logprobs, stop_strings, completions, models, errors, timeout_and_abort):
    case()
asyncio.run(many())
print("ok")
