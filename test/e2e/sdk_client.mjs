// What an application does with the official Node SDK. usage: node sdk_client.mjs BASE_URL
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "What is a weir?" }];

const whole = await client.chat.completions.create({ model: "m", messages, max_tokens: 12, seed: 3 });
assert.equal(whole.choices[0].finish_reason, "length");
assert.equal(whole.usage.completion_tokens, 12);

let text = "", usage = null;
for await (const chunk of await client.chat.completions.create({
    model: "m", messages, max_tokens: 12, seed: 3, stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
}
assert.equal(text, whole.choices[0].message.content);
assert.equal(usage.completion_tokens, 12);

const runner = client.chat.completions.stream({ model: "m", messages, max_tokens: 12, seed: 3 });
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].message.content, text);

const batch = await client.completions.create({ model: "m", prompt: ["one", "two"], max_tokens: 4, n: 2 });
assert.deepEqual(batch.choices.map((c) => c.index), [0, 1, 2, 3]);

const ids = [];
for await (const m of client.models.list()) ids.push(m.id);
assert.ok(ids.includes("m"));
assert.equal((await client.models.retrieve("m")).id, "m");

// The Node SDK reads only the nested error object: code and message must survive.
await assert.rejects(client.chat.completions.create({ model: "nope", messages, max_tokens: 1 }),
    (e) => e instanceof OpenAI.NotFoundError && /Model not found/.test(e.message));
await assert.rejects(client.chat.completions.create({ model: "m", messages, max_tokens: 1, temperature: 9 }),
    (e) => e instanceof OpenAI.BadRequestError && /Temperature must be between 0 and 2/.test(e.message));
await assert.rejects(
    client.chat.completions.create({ model: "slow", messages, max_tokens: 5000 }, { timeout: 300 }),
    OpenAI.APIConnectionTimeoutError);

const stream = await client.chat.completions.create({ model: "slow", messages, max_tokens: 5000, stream: true });
for await (const chunk of stream) {
    assert.ok(chunk.id);
    stream.controller.abort();
    break;
}
console.log("ok");
