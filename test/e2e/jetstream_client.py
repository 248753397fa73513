"""What the official Python client of NATS (nats-py) sees and does; run by test_durable.py in a Python that has it.

usage: jetstream_client.py URL COMMAND ARGUMENTS: one JSON document as the answer
  streams                      {name: {messages, first, last, consumers}}
  publish STREAM FILE          each element of a JSON list as a message on STREAM.queue, once there is such a stream
  put BUCKET NAME FILE [BYTES] the file's bytes as an object; makes the bucket, for BYTES at the most
  get BUCKET NAME FILE         an object's bytes into the file, as its client checks them
  drop-consumers STREAM        deletes every consumer
  consumer STREAM NAME         a durable consumer
  purge STREAM                 every message
"""
import asyncio
import json
import sys

import nats
import nats.js.errors


async def streams(js):
    out = {}
    for s in await js.streams_info():
        consumers = await js.consumers_info(s.config.name) if s.state.consumer_count else []
        out[s.config.name] = {"messages": s.state.messages, "first": s.state.first_seq, "last": s.state.last_seq,
                              "max_age": s.config.max_age, "subjects": s.config.subjects,
                              "consumers": {c.name: c.ack_floor.stream_seq for c in consumers}}
    return out


async def publish(js, stream, path):
    with open(path, encoding="utf-8") as f:
        messages = json.load(f)
    for m in messages:
        while True:
            try:
                await js.publish(f"{stream}.queue", json.dumps(m).encode())
                break
            except nats.js.errors.NoStreamResponseError:  # a worker or frontend is still making it
                await asyncio.sleep(0.05)
    return len(messages)


async def put(js, bucket, name, path, max_bytes=None):
    try:
        store = await js.object_store(bucket)
    except nats.js.errors.NotFoundError:
        store = await js.create_object_store(bucket, max_bytes=int(max_bytes) if max_bytes else None)
    with open(path, "rb") as f:
        await store.put(name, f.read())


async def get(js, bucket, name, path):
    store = await js.object_store(bucket)
    found = await store.get(name)
    with open(path, "wb") as f:
        f.write(found.data)
    return {"size": found.info.size, "chunks": found.info.chunks,
            "left": (await js.stream_info(f"OBJ_{bucket}")).state.messages}


async def drop_consumers(js, stream):
    names = [c.name for c in await js.consumers_info(stream)]
    for n in names:
        await js.delete_consumer(stream, n)
    return names


async def consumer(js, stream, name):
    await js.add_consumer(stream, durable_name=name, ack_policy="explicit")


async def purge(js, stream):
    await js.purge_stream(stream)


async def main(url, command, *arguments):
    connection = await nats.connect(url, connect_timeout=60)
    commands = {"streams": streams, "publish": publish, "put": put, "get": get, "drop-consumers": drop_consumers, "purge": purge,
                "consumer": consumer}
    js = connection.jetstream(timeout=60)
    print(json.dumps(await asyncio.wait_for(commands[command](js, *arguments), 60)))
    await connection.close()

asyncio.run(main(*sys.argv[1:]))
