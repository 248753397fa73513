"""A worker of a real Dynamo that serves embedding models, for the interop tests: dynamo_embedder.py MODEL_FOLDER.

Two models as Dynamo's own workers register them: "tokens" gets token ids, "text" the client's request. A vector is made of
the input alone, so that answers can be compared; some inputs ask for an answer that is none. Each request is printed.
"""
import asyncio
import base64
import json
import struct
import sys

from dynamo.llm import ModelInput, ModelType, WorkerType, register_model
from dynamo.runtime import dynamo_worker

ODD = [1.0, -0.5, 0.1, 1e-7, 123456.78, 3.4028235e38, 1.1754944e-38, 1e-45, 1e16, 1e15, 16777216.0, 0.0, -0.0, 1e-5, 9.999e-6, 1 / 3,
       0.0001, 8388608.5, 2.5e-8, 1e10]


def vector(ids):
    out = [((i * 2654435761 + k * 40503) % 65536) / 65536 - 0.5 for k, i in enumerate(ids or [0])]
    return (out + ODD)[:32]


def packed(values):
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


async def tokens(request, context):
    print("tokens got", json.dumps(request, sort_keys=True), flush=True)
    dims = request.get("dimensions")
    if dims == 7:
        raise ValueError("dimensions must not be 7")
    if dims == 8:
        raise RuntimeError("the engine broke")
    if dims == 9:
        yield {"embeddings": [], "prompt_tokens": 0, "total_tokens": 0}
        return
    if dims == 10:
        yield {"embeddings": ["????"], "prompt_tokens": 0, "total_tokens": 0}
        return
    if dims == 11:
        yield {"embeddings": [[0.5, 0.25]], "prompt_tokens": 0, "total_tokens": 0}
        return
    if dims == 12:
        return
    if dims == 13:  # until the client leaves: it has begun by then, with much
        yield {"embeddings": [packed([0.5] * 30000)], "prompt_tokens": 1, "total_tokens": 1}
        await context.async_killed_or_stopped()
        print("tokens left", flush=True)
        return
    if dims == 14:
        yield {"embeddings": [packed([float("nan"), float("inf")])], "prompt_tokens": 0, "total_tokens": 0}
        return
    n = sum(len(ids) for ids in request["token_ids"])
    half = max(1, len(request["token_ids"]) // 2) if dims == 3 else len(request["token_ids"])
    for part in (request["token_ids"][:half], request["token_ids"][half:]):
        if part or half == len(request["token_ids"]) == 0:
            yield {"embeddings": [packed(vector(ids)[:dims]) for ids in part], "prompt_tokens": n, "total_tokens": n + 1}


async def text(request, context):
    print("text got", json.dumps(request, sort_keys=True), flush=True)
    given = request["input"]
    many = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    data = []
    dims = request.get("dimensions")
    if dims == 7:
        raise ValueError("dimensions must not be 7")
    for i, one in enumerate(many):
        values = vector(list(one.encode()) if isinstance(one, str) else one)
        data.append({"object": "embedding", "index": i, "embedding": values if dims == 5 else packed(values)})
    yield {"object": "list", "data": data, "model": request["model"], "usage": {"prompt_tokens": 3, "total_tokens": 4}}


@dynamo_worker()
async def main(runtime):
    serving = []
    for name, handler, kind in (("tokens", tokens, ModelInput.Tokens), ("text", text, ModelInput.Text)):
        endpoint = runtime.endpoint(f"dynamo.{name}.generate")
        await register_model(kind, ModelType.Embedding, endpoint, sys.argv[1], name, worker_type=WorkerType.Aggregated, needs=[])
        serving.append(endpoint.serve_endpoint(handler))
    await asyncio.gather(*serving)


asyncio.run(main())
