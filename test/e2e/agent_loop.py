"""The agent loop of an OpenAI user in Python: streamed turns until the model calls no more tools.

usage: agent_loop.py BASE_URL; prints {"calls": [[name, arguments], …], "content": …, "reasoning": …}.
"""
import json
import sys

import openai

TOOLS = json.loads(sys.argv[2])
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="none", max_retries=0, timeout=60)
messages = [{"role": "user", "content": "How is the tide?"}]
calls, reasoning, content = [], "", None
for turn in range(10):
    with client.chat.completions.stream(model="m", messages=messages, tools=TOOLS, max_tokens=500) as stream:
        pieces = 0
        for event in stream:
            if event.type == "chunk":
                delta = event.chunk.choices[0].delta if event.chunk.choices else None
                reasoning += getattr(delta, "reasoning_content", None) or ""
            pieces += event.type == "tool_calls.function.arguments.delta"
        message = stream.get_final_completion().choices[0].message
    messages.append(message.model_dump(include={"role", "content", "tool_calls"}, exclude_none=True))
    if not message.tool_calls:
        content = message.content
        break
    assert pieces >= len(message.tool_calls)
    for call in message.tool_calls:
        calls.append([call.function.name, json.loads(call.function.arguments)])
        messages.append({"role": "tool", "tool_call_id": call.id, "content": f"result {len(calls)}"})
print(json.dumps({"calls": calls, "content": content, "reasoning": reasoning}))
