// The same loop as agent_loop.py by the Node SDK's own runner: tools are called as their calls come in.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2] + "/v1", apiKey: "none", maxRetries: 0, timeout: 60000 });
const calls = [];
const tools = JSON.parse(process.argv[3]).map((tool) => ({
  type: "function",
  function: {
    ...tool.function,
    parse: JSON.parse,
    function: (args) => {
      calls.push([tool.function.name, args]);
      return `result ${calls.length}`;
    },
  },
}));
let reasoning = "";
const runner = client.chat.completions
  .runTools({ model: "m", stream: true, max_tokens: 500, tools, messages: [{ role: "user", content: "How is the tide?" }] })
  .on("chunk", (chunk) => (reasoning += chunk.choices[0]?.delta?.reasoning_content ?? ""));
const content = await runner.finalContent();
console.log(JSON.stringify({ calls, content, reasoning }));
