"""``act()`` of the official clients, unmodified, against our server, with a model that is held to the calls.

The clients have no setting that forces a call; a preset of the host's has. The calls end, whatever the model says,
because their arguments have few values.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from studiolo.paths import Home
from tests.support.official_clients import run_python, run_typescript
from tests.support.running import Server

SETTINGS = """
[presets."call tools"]
tool_choice = "required"

[models."smollm2-135m-instruct"]
load = { context_length = 2048 }
"""
pytestmark = [pytest.mark.quick_model, pytest.mark.server(settings=SETTINGS)]

PYTHON = """
import sys
from typing import Literal

import lmstudio as lm

Digit = Literal[1, 2, 3, 4, 5, 6, 7, 8, 9]

def add(a: Digit, b: Digit) -> int:
    \"\"\"Add two numbers.\"\"\"
    made.append((a, b))
    return a + b

def fail(why: Literal["so", "not so"]) -> str:
    \"\"\"Fail.\"\"\"
    raise ValueError("boom")

made, reported = [], []
with lm.Client(sys.argv[1]) as client:
    llm = client.llm.model("smollm2-135m-instruct")
    config = {"temperature": 0, "maxTokens": 60}
    chat = lm.Chat("Be brief.")
    chat.add_user_message("What is 3 plus 4?")
    result = llm.act(
        chat,
        [add],
        max_prediction_rounds=2,
        config=config,
        preset="call tools",
        on_message=chat.append,
        on_first_token=lambda index: reported.append(("first", index)),
        on_prediction_fragment=lambda fragment, index: reported.append(("fragment", index)),
        on_round_start=lambda index: reported.append(("start", index)),
        on_round_end=lambda index: reported.append(("end", index)),
        on_prediction_completed=lambda end: reported.append(("completed", end.round_index, end.stats.stop_reason)),
        on_prompt_processing_progress=lambda progress, index: reported.append(("progress", index)),
    )
    assert result.rounds == 2 and len(made) == 1, (result, made)
    assert isinstance(made[0][0], int)
    roles = [message["role"] for message in chat._get_history()["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant"], roles
    request = chat._get_history()["messages"][2]["content"][-1]["toolCallRequest"]
    assert (request["arguments"]["a"], request["arguments"]["b"]) == made[0]
    assert chat._get_history()["messages"][3]["content"][0]["content"] == str(sum(made[0]))
    assert ("completed", 0, "eosFound") in reported and ("first", 1) in reported, reported
    assert ("first", 0) not in reported, reported
    rounds = [entry for entry in reported if entry[0] in ("start", "end")]
    assert rounds == [("start", 0), ("end", 0), ("start", 1), ("end", 1)], rounds

    messages = []
    options = {"max_prediction_rounds": 2, "config": config, "preset": "call tools"}
    llm.act("Fail!", [fail], on_message=messages.append, **options)
    assert "boom" in messages[1].content[0].content

    def handle(error, request):
        raise error

    try:
        llm.act("Fail!", [fail], handle_invalid_tool_request=handle, **options)
    except lm.LMStudioPredictionError as error:
        assert "boom" in str(error), error
    else:
        raise AssertionError("no error")
    try:
        llm.act("hi", [add], config={**config, "maxTokens": 3}, preset="call tools")
    except lm.LMStudioPredictionError as error:
        assert "parse" in str(error), error
    else:
        raise AssertionError("no error")

    free = llm.act("Say hello.", [add], config=config, on_message=messages.append)
    assert free.rounds == 1 and messages[-1].role == "assistant"
    assert llm.respond(chat, config=config).content
print("all good")
"""

PYTHON_ASYNC = """
import asyncio, sys
from typing import Literal

import lmstudio as lm

Digit = Literal[1, 2, 3, 4, 5, 6, 7, 8, 9]

async def add(a: Digit, b: Digit) -> int:
    \"\"\"Add two numbers.\"\"\"
    made.append((a, b))
    return a + b

made, messages = [], []

async def main():
    async with lm.AsyncClient(sys.argv[1]) as client:
        llm = await client.llm.model("smollm2-135m-instruct")
        result = await llm.act(
            "What is 3 plus 4?",
            [add],
            max_prediction_rounds=2,
            config={"temperature": 0, "maxTokens": 60},
            preset="call tools",
            on_message=messages.append,
        )
    assert result.rounds == 2 and len(made) == 1
    assert [message.role for message in messages] == ["assistant", "tool", "assistant"]

asyncio.run(main())
print("all good")
"""

TYPESCRIPT = """
import { Chat, LMStudioClient, tool, rawFunctionTool } from "@lmstudio/sdk";
import assert from "node:assert";
import { z } from "zod";
const client = new LMStudioClient({ baseUrl: "ws://ADDRESS", verboseErrorMessages: false });
const llm = await client.llm.model("smollm2-135m-instruct", { verbose: false });
const made = [];
const add = tool({
  name: "add",
  description: "Add two numbers.",
  parameters: { a: z.number().int().min(1).max(9), b: z.number().int().min(1).max(9) },
  implementation: ({ a, b }) => { made.push([a, b]); return a + b; },
});
const reported = [], pieces = [], messages = [];
const note = name => (...args) => reported.push([name, ...args]);
const options = {
  preset: "call tools",
  temperature: 0,
  maxTokens: 60,
  maxPredictionRounds: 2,
  onMessage: message => messages.push(message),
  onRoundStart: note("start"),
  onRoundEnd: note("end"),
  onFirstToken: note("first"),
  onPredictionCompleted: result => reported.push(["completed", result.roundIndex, result.stats.stopReason]),
  onToolCallRequestStart: note("callStart"),
  onToolCallRequestNameReceived: note("callName"),
  onToolCallRequestArgumentFragmentGenerated: (round, id, content) => pieces.push(content),
  onToolCallRequestEnd: note("callEnd"),
  onToolCallRequestFailure: note("callFailed"),
};
const chat = Chat.from([{ role: "user", content: "What is 3 plus 4?" }]);
const result = await llm.act(chat, [add], options);
assert.equal(result.rounds, 2);
assert.equal(made.length, 1);
assert.deepEqual(JSON.parse(pieces.join("")), { a: made[0][0], b: made[0][1] });
assert.ok(pieces.length > 1, "the arguments came in one piece");
const [start, name, end] = reported.filter(entry => entry[0].startsWith("call"));
assert.deepEqual([start[0], name[0], end[0]], ["callStart", "callName", "callEnd"]);
assert.equal(name[3], "add");
assert.equal(end[3].toolCallRequest.id, start[3].toolCallId);
assert.ok(end[3].rawContent.includes("add"));
assert.ok(!reported.some(entry => entry[0] === "callFailed"));
assert.deepEqual(messages.map(message => message.getRole()), ["assistant", "tool", "assistant"]);
assert.equal(messages[1].getToolCallResults()[0].content, String(made[0][0] + made[0][1]));
assert.ok(reported.some(entry => entry[0] === "completed" && entry[2] === "eosFound"));

// Calls that are cut off are failures, paired with their starts.
reported.length = 0;
await assert.rejects(() => llm.act("hi", [add], { ...options, maxTokens: 3 }));
const calls = reported.map(entry => entry[0]).filter(name => name.startsWith("call"));
assert.deepEqual(calls, ["callStart", "callFailed"]);

// A tool with a raw schema and definitions in it.
const raw = rawFunctionTool({
  name: "paint it",
  description: "Paint.",
  parametersJsonSchema: {
    type: "object",
    properties: { colour: { $ref: "#/$defs/Colour" } },
    required: ["colour"],
    additionalProperties: false,
    $defs: { Colour: { enum: ["red", "blue"] } },
  },
  implementation: params => { made.push(params); return "ok"; },
});
made.length = 0;
const plain = { temperature: 0, maxTokens: 60, maxPredictionRounds: 2 };
await llm.act("Paint the wall.", [raw], { ...plain, preset: "call tools" });
assert.equal(made.length, 1);
assert.ok(["red", "blue"].includes(made[0].colour));

// Without the preset a key-value setting does it.
const setting = { key: "llm.prediction.toolChoice", value: { type: "generic", mode: "required" } };
made.length = 0;
await llm.act("Add 1 and 2.", [add], { ...plain, raw: { fields: [setting] } });
assert.equal(made.length, 1);
console.log("all good");
process.exit(0);
"""


@pytest.mark.parametrize("program", [PYTHON, PYTHON_ASYNC])
def test_act_of_the_official_python_client(program: str, server: Server, empty_home: Home) -> None:
    reported = run_python(program, empty_home, server.address)
    assert "all good" in reported


def test_act_of_the_official_typescript_client(server: Server, typescript_client: Path) -> None:
    program = TYPESCRIPT.replace("ADDRESS", server.address)
    assert "all good" in run_typescript(program, typescript_client, "act.mjs")
