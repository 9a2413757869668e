"""``act()`` with a model that is held to the form of a call: what clients do, embedded and served alike.

It may say anything; its calls end because their arguments have few values.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

import studiolo as lm
from studiolo.protocol.kv import KvConfig, KvField, stack_of
from studiolo.protocol.llm import PREDICT, PredictParameter
from studiolo.protocol.models import specify
from studiolo.protocol.tools import (
    ToolCallArguments,
    ToolCallEnd,
    ToolCallFailed,
    ToolCallName,
    ToolCallStart,
    encode_tool_use,
)
from studiolo.sdk.tools import bind_tools
from tests.support.homes import ENDLESS

pytestmark = pytest.mark.quick_model

QUESTION = "What is 3 plus 4?"
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 45}
REQUIRED: dict[str, Any] = {"tool_choice": "required", "config": GREEDY}


Digit = Literal[1, 2, 3, 4, 5, 6, 7, 8, 9]


def add(a: Digit, b: Digit) -> int:
    """Add two numbers."""
    return a + b


def colour(name: Literal["red", "blue"], shade: Digit = 1) -> str:
    """Choose a colour."""
    return f"{name} {shade}"


def test_a_round_with_a_call_then_one_with_an_answer(llm: lm.LLM) -> None:
    rounds: list[lm.PredictionRoundResult] = []
    fragments: list[tuple[str, int]] = []
    messages: list[Any] = []
    made: list[tuple[int, int]] = []

    def noted_add(a: Digit, b: Digit) -> int:
        """Add two numbers."""
        made.append((a, b))
        return a + b

    result = llm.act(
        QUESTION,
        [noted_add],
        on_prediction_completed=rounds.append,
        on_prediction_fragment=lambda fragment, index: fragments.append((fragment.content, index)),
        on_message=messages.append,
        **REQUIRED,
    )
    assert result.rounds == len(rounds) >= 2
    first, last = rounds[0], rounds[-1]
    assert (first.round_index, first.content, first.stats.stop_reason) == (0, "", "eosFound")
    assert first.stats.predicted_tokens_count and first.stats.time_to_first_token_sec is not None
    assert first.prediction_config.tool_choice == "required"
    assert last.content == "".join(text for text, index in fragments if index == last.round_index) != ""
    assert [text for text, index in fragments if index == 0] == []
    assert len(made) == len(rounds) - 1 and all(isinstance(a, int) for pair in made for a in pair)
    assert [message.role for message in messages[:2]] == ["assistant", "tool"] and messages[-1].role == "assistant"
    request = messages[0].content[-1].tool_call_request
    assert (request.arguments["a"], request.arguments["b"]) == made[0]
    (answer,) = messages[1].content
    assert (answer.content, answer.tool_call_id) == (str(sum(made[0])), request.id)


@pytest.mark.served
def test_the_same_call_comes_of_the_same_prompt(llm: lm.LLM) -> None:
    seen: list[Any] = []
    for _ in range(2):
        llm.act(QUESTION, [add, colour], max_prediction_rounds=2, on_message=seen.append, **REQUIRED)
    first, second = (message.content[-1].tool_call_request for message in (seen[0], seen[3]))
    assert (first.name, first.arguments) == (second.name, second.arguments)
    assert first.id != second.id


@pytest.mark.served
async def test_the_async_api_does_the_same(place: tuple[str, int]) -> None:
    async def slow(n: Digit) -> int:
        """Take a number."""
        await asyncio.sleep(0.01)
        return n

    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        messages: list[Any] = []
        result = await llm.act(
            QUESTION,
            [slow, add],
            max_prediction_rounds=2,
            on_message=messages.append,
            tool_choice="required",
            config=GREEDY,
        )
    assert result.rounds == 2
    assert [message.role for message in messages] == ["assistant", "tool", "assistant"]


def test_a_call_that_the_token_limit_cuts_off_is_reported_as_such(llm: lm.LLM) -> None:
    with pytest.raises(lm.PredictionError, match="cannot be read") as info:
        llm.act(QUESTION, [add], tool_choice="required", config={"temperature": 0, "max_tokens": 4})
    assert info.value.data["rawContent"].startswith('{"name"')


@pytest.mark.served
def test_names_that_a_model_cannot_write_are_given_to_it_in_a_form_that_it_can(llm: lm.LLM) -> None:
    tool = lm.ToolFunctionDef.from_callable(add, name="add: two numbers!")
    messages: list[Any] = []
    llm.act(QUESTION, [tool], max_prediction_rounds=2, on_message=messages.append, **REQUIRED)
    assert messages[0].content[-1].tool_call_request.name == "add: two numbers!"
    assert messages[1].content[0].content.isdigit()


def test_tools_left_to_the_model_are_offered_and_not_forced(llm: lm.LLM) -> None:
    rounds: list[lm.PredictionRoundResult] = []
    result = llm.act("Say hello.", [colour], config=GREEDY, on_prediction_completed=rounds.append)
    assert result.rounds == 1 and rounds[0].stats.stop_reason in ("eosFound", "maxPredictedTokensReached")
    assert (rounds[0].stats.prompt_tokens_count or 0) > 100, "the prompt lacks the tool"
    assert rounds[0].content


@pytest.mark.served
async def test_every_event_of_a_call_travels(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        for force in (False, True):
            tools = [tool.definition for tool in bind_tools([add], allow_async=False).values()]
            fields = encode_tool_use(tools, None if force else "required")
            if force:
                fields[0].value["force"] = True
            fields.append(KvField(key="llm.prediction.temperature", value=0))
            chat = lm.Chat()
            chat.add_user_message(QUESTION)
            parameter = PredictParameter(
                model_specifier=specify(llm.identifier),
                history=chat.history_data(),
                prediction_config_stack=stack_of(KvConfig(fields=fields)),
            )
            events: list[Any] = []
            async with client._session.messages("llm", PREDICT, parameter) as messages:
                async for message in messages:
                    events.append(message)
            calls = [event for event in events if isinstance(event, ToolCallStart | ToolCallName | ToolCallEnd)]
            start, name, end = calls
            assert name.name == end.tool_call_request.name == "add"
            assert start.tool_call_id == end.tool_call_request.id
            pieces = [event.content for event in events if isinstance(event, ToolCallArguments)]
            assert len(pieces) > 1 and json.loads("".join(pieces)) == end.tool_call_request.arguments
            assert end.raw_content.startswith("{") and "".join(pieces) in end.raw_content
            assert events.index(start) < events.index(name) < events.index(end) < len(events) - 1
            assert events[-1].stats.stop_reason == "eosFound"
            assert not any(isinstance(event, ToolCallFailed) for event in events)


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"raw_tools": {"type": "nonsense"}}, lm.ConfigError, "tools is malformed"),
        ({"raw_tools": {"type": "toolArray", "tools": [{"function": {"name": ""}}]}}, lm.ConfigError, "empty name"),
        (
            {
                "raw_tools": {"type": "toolArray", "tools": [{"function": {"name": "a"}}]},
                "structured": {"type": "gbnf", "gbnf_grammar": 'root ::= "x"'},
            },
            lm.UnsupportedError,
            "both tools and a grammar of its own",
        ),
    ],
)
def test_what_cannot_be_is_refused(llm: lm.LLM, config: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        llm.respond("hi", config=config)


@pytest.mark.served
def test_a_chat_with_calls_can_go_on_without_tools(llm: lm.LLM) -> None:
    chat = lm.Chat()
    chat.add_user_message(QUESTION)
    llm.act(chat, [add], max_prediction_rounds=2, on_message=chat.append, **REQUIRED)
    chat.add_user_message("Thank you.")
    assert llm.respond(chat, config=GREEDY).content


def test_leaving_act_in_the_middle_frees_the_slot(llm: lm.LLM) -> None:
    def stop() -> None:
        """Stop."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llm.act(QUESTION, [stop], **REQUIRED)
    assert llm.respond("hi", config={"max_tokens": 2}).content is not None


@pytest.mark.parametrize(
    ("parameters", "path"),
    [({"type": "nonsense"}, "$.properties.a.type"), ({"$ref": "#/$defs/Nonesuch"}, "$.properties.a.$ref")],
)
@pytest.mark.parametrize("force", [True, False])
def test_a_tool_whose_schema_is_wrong_is_refused_with_the_path(
    llm: lm.LLM, parameters: Any, path: str, force: bool
) -> None:
    schema = {"type": "object", "properties": {"a": parameters}, "required": ["a"]}
    tools = {
        "type": "toolArray",
        "tools": [{"type": "function", "function": {"name": "t", "parameters": schema}}],
        "force": force,
    }
    with pytest.raises(lm.ConfigError, match="JSON schema of the tool 't'") as info:
        llm.respond("hi", config={**GREEDY, "raw_tools": tools})
    assert info.value.data["path"] == path
    assert llm.respond("hi", config={"max_tokens": 2}).stats.predicted_tokens_count == 2


@pytest.mark.served
async def test_a_call_whose_arguments_break_the_schema_is_a_failed_call(place: tuple[str, int]) -> None:
    digit: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 9}

    async def forced_call(client: lm.AsyncClient, kind: dict[str, Any]) -> ToolCallEnd | ToolCallFailed:
        parameters = {"type": "object", "properties": {"a": kind}, "required": ["a"]}
        function = {"type": "function", "function": {"name": "t", "parameters": parameters}}
        tools = {"type": "toolArray", "tools": [function], "force": True}
        fields = [KvField(key="llm.prediction.tools", value=tools), KvField(key="llm.prediction.temperature", value=0)]
        parameter = PredictParameter(
            model_specifier=specify((await client.llm.model()).identifier),
            history=lm.Chat.from_history("hi").history_data(),
            prediction_config_stack=stack_of(KvConfig(fields=fields)),
        )
        async with client._session.messages("llm", PREDICT, parameter) as messages:
            events = [message async for message in messages]
        (end,) = [event for event in events if isinstance(event, ToolCallEnd | ToolCallFailed)]
        return end

    async with lm.AsyncClient(place[0]) as client:
        # llguidance has no "not": only the check of the finished call sees that it is broken. The model is shown the
        # schema, and may choose another digit for it.
        said: list[int] = []
        call = await forced_call(client, digit)
        while isinstance(call, ToolCallEnd) and len(said) < 6:
            said.append((call.tool_call_request.arguments or {})["a"])
            call = await forced_call(client, {**digit, "not": {"enum": said}})
    assert isinstance(call, ToolCallFailed)
    assert "$.properties.a.not" in str(call.error.cause) and str(call.raw_content).startswith('{"name": "t"')


async def test_cancelling_act_in_the_middle_frees_the_slot(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        begun = asyncio.Event()
        task = asyncio.create_task(
            llm.act("Count to a thousand.", [colour], config=ENDLESS, on_first_token=lambda _: begun.set())
        )
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(4):  # as many as there are slots
            assert (await llm.respond("hi", config={"max_tokens": 1})).stats.predicted_tokens_count == 1


MCP_SERVER = """
from typing import Literal

from mcp.server.mcpserver import MCPServer

server = MCPServer("digits")


@server.tool()
def double(a: Literal[1, 2, 3]) -> int:
    \"\"\"Double a number.\"\"\"
    return 2 * a


server.run()
"""


@pytest.fixture
def mcp_server(tmp_path: Path) -> dict[str, Any]:
    """An MCP server with one tool; its calls end, whatever the model says."""
    program = tmp_path / "digits.py"
    program.write_text(MCP_SERVER)
    return {"command": sys.executable, "args": [str(program)]}


@pytest.mark.served
def test_tools_of_an_mcp_server_are_called(llm: lm.LLM, mcp_server: dict[str, Any]) -> None:
    messages: list[Any] = []
    options: dict[str, Any] = {"mcp": [mcp_server], "max_prediction_rounds": 2, "on_message": messages.append}
    result = llm.act("Double 3.", **options, **REQUIRED)
    assert result.rounds == 2
    request, answer = messages[0].content[-1].tool_call_request, messages[1].content[0].content
    assert request.name == "double"
    assert answer == json.dumps(str(2 * request.arguments["a"]))


@pytest.mark.served
async def test_tools_of_an_mcp_server_with_the_async_api(place: tuple[str, int], mcp_server: dict[str, Any]) -> None:
    messages: list[Any] = []
    options: dict[str, Any] = {"mcp": [mcp_server], "max_prediction_rounds": 2, "on_message": messages.append}
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        await llm.act("Hi.", [add], **options, **REQUIRED)
    assert [message.role for message in messages] == ["assistant", "tool", "assistant"]
