// What an application does with client.responses of the official Node SDK. usage: node responses_client.mjs BASE_URL
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "unused", maxRetries: 0 });
const tools = [{ type: "function", name: "look_up", strict: false,
    parameters: { type: "object", properties: { place: { type: "string" } } } }];

const whole = await client.responses.create({ model: "m", input: "What is a weir?", tools });
assert.equal(whole.status, "completed");
assert.deepEqual(whole.output.map((i) => i.type), ["reasoning", "message", "function_call"]);
assert.equal(whole.output_text.trim(), "A dam.");
assert.deepEqual(JSON.parse(whole.output[2].arguments), { place: "Ålesund" });

let text = "", last = null;
for await (const event of await client.responses.create({ model: "m", input: "What is a weir?", tools, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
}
assert.equal(last.type, "response.completed");
assert.equal(text, whole.output_text);
assert.equal(last.response.usage.total_tokens, whole.usage.total_tokens);

const stream = client.responses.stream({ model: "m", input: "What is a weir?", tools });
const final = await stream.finalResponse();
assert.equal(final.output_text, text);
assert.deepEqual(final.output.map((i) => i.type), whole.output.map((i) => i.type));

const count = await client.responses.inputTokens.count({ model: "m", input: "What is a weir?", tools });
assert.equal(count.input_tokens, whole.usage.input_tokens);

await assert.rejects(client.responses.create({ model: "nope", input: "x" }),
    (e) => e instanceof OpenAI.NotFoundError && /Model not found/.test(e.message));
await assert.rejects(client.responses.create({ model: "m", input: "x", previous_response_id: "resp_1" }),
    (e) => e.status === 501 && /previous_response_id/.test(e.message));
console.log("ok");
