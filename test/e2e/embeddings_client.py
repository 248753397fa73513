"""The official OpenAI SDK for Python as a client for embeddings: embeddings_client.py URL MODEL."""
import base64
import math
import struct
import sys

import openai

url, model = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)


def embed(given, **more):
    r = client.embeddings.create(model=model, input=given, **more)
    assert r.object == "list" and r.model == model, r
    assert [d.index for d in r.data] == list(range(len(r.data))) and {d.object for d in r.data} == {"embedding"}, r.data
    return r


texts = ["a weir", "another weir", "quite something else"]
packed = embed(texts)  # the SDK asks for base64 by itself, and unpacks it
plain = embed(texts, encoding_format="float")
assert len(packed.data) == 3 and packed.usage.prompt_tokens == packed.usage.total_tokens == sum(map(len, texts))
for a, b in zip(packed.data, plain.data):
    assert len(a.embedding) == 64 and math.isclose(sum(v * v for v in a.embedding), 1, rel_tol=1e-5)
    # What is written as text reads back as the same floats.
    assert struct.pack("<64f", *a.embedding) == struct.pack("<64f", *b.embedding)
raw = embed(texts[0], encoding_format="base64").data[0].embedding
assert isinstance(raw, str) and base64.b64decode(raw) == struct.pack("<64f", *packed.data[0].embedding)
# One of several is that of the input alone; ids stand for the text whose they are.
assert embed(texts[0]).data[0].embedding == packed.data[0].embedding
ids = [list(t.encode()) for t in texts]
assert [d.embedding for d in embed(ids).data] == [d.embedding for d in packed.data]
assert embed(ids[0]).data[0].embedding == packed.data[0].embedding
# Fewer dimensions are the first of them, of length one again.
few = embed(texts[0], dimensions=8, user="u").data[0].embedding
whole = packed.data[0].embedding[:8]
length = math.sqrt(sum(v * v for v in whole))
assert len(few) == 8 and all(math.isclose(a, b / length, abs_tol=1e-6) for a, b in zip(few, whole))


def refused(kind, **body):
    try:
        client.embeddings.create(**{"model": model, "input": "x", **body})
    except kind as e:
        return e.message
    raise AssertionError(f"not refused: {body}")


assert "dimensions" in refused(openai.BadRequestError, dimensions=65)
assert "dimensions" in refused(openai.BadRequestError, dimensions=0)
refused(openai.BadRequestError, input=[])
refused(openai.NotFoundError, model="nope")
assert model in {m.id for m in client.models.list().data}
print("ok")
