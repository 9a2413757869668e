"""Tool calls as text: reading them, and the schema that holds a model to them. No engine here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studiolo.domain.chat import Message, Text, Tool, ToolCall, ToolResult
from studiolo.domain.generation import (
    Fragment,
    LogProb,
    TokenLogProbs,
    ToolCallArguments,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from studiolo.engines.tool_format import ToolNames, call_schema, with_instructions, without_tools
from studiolo.engines.tool_reader import ToolCallReader

NAMES = ToolNames(["add", "get the weather"])


def read(pieces: list[str], **options: Any) -> list[Any]:
    reader = ToolCallReader(NAMES, **options)
    events = [event for piece in pieces for event in reader.feed(Fragment(piece))]
    return [*events, *reader.finish()]


def summary(events: list[Any]) -> tuple[str, list[Any]]:
    """The text outside calls, and the calls' events with their pieces of arguments joined."""
    text = "".join(event.text for event in events if isinstance(event, Fragment))
    calls: list[Any] = []
    for event in events:
        match event:
            case ToolCallStarted():
                calls.append("start")
            case ToolCallNamed(name=name):
                calls.append(name)
            case ToolCallArguments(text=content) if isinstance(calls[-1], list):
                calls[-1][0] += content
            case ToolCallArguments(text=content):
                calls.append([content])
            case ToolCallFinished(call=call):
                calls.append((call.name, call.arguments))
            case ToolCallFailed(raw=raw):
                calls.append(("failed", raw))
            case _:
                pass
    return text, calls


TEXT = 'Let me see.\n[TOOL_REQUEST]\n{"name": "add", "arguments": {"a": 3, "t": "}\\""}}\n[END_TOOL_REQUEST]\nSo [TOOL'


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_call_is_read_whatever_the_pieces_it_comes_in(size: int) -> None:
    text, calls = summary(read([TEXT[i : i + size] for i in range(0, len(TEXT), size)]))
    assert text == "Let me see.\n\nSo [TOOL"
    assert calls == ["start", "add", ['{"a": 3, "t": "}\\""}'], ("add", {"a": 3, "t": '}"'})]


def test_several_calls_follow_each_other_with_an_identifier_each() -> None:
    one = '[TOOL_REQUEST]{"name": "add", "arguments": {}}[END_TOOL_REQUEST]'
    events = read([one + "\n" + one])
    assert summary(events) == ("\n", ["start", "add", ["{}"], ("add", {})] * 2)
    starts = [event.id for event in events if isinstance(event, ToolCallStarted)]
    ends = [event.call.id for event in events if isinstance(event, ToolCallFinished)]
    assert starts == ends and len({*starts}) == 2
    assert all(len(identifier) == 9 and identifier.isdigit() for identifier in starts)


def test_a_call_with_its_fields_the_other_way_round_is_reported_at_its_end() -> None:
    _, calls = summary(read(list('[TOOL_REQUEST]{"arguments": "{\\"a\\": 1}", "name": "add"}')))
    assert calls == ["start", "add", ['{"a": 1}'], ("add", {"a": 1})]


def test_the_name_that_the_model_writes_becomes_the_tools_own() -> None:
    assert NAMES.for_model("get the weather") == "get_the_weather"
    _, calls = summary(read(['[TOOL_REQUEST]{"name": "get_the_weather", "arguments": {}}']))
    assert calls[1] == "get the weather" and calls[-1] == ("get the weather", {})


def test_names_that_would_be_written_alike_are_kept_apart() -> None:
    names = ToolNames(["a b", "a_b", "a-b", "é", "ü", "x" * 100])
    written = [names.for_model(name) for name in ["a b", "a_b", "a-b", "é", "ü", "x" * 100]]
    assert written == ["a_b", "a_b_2", "a-b", "tool", "tool_2", "x" * 64]
    assert [names.original(name) for name in written] == ["a b", "a_b", "a-b", "é", "ü", "x" * 100]


@pytest.mark.parametrize(
    ("naming", "written"),
    [
        (None, "get_The-Weather2_now"),
        ("removeSpecial", "get_The-Weather2_now"),
        ("passThrough", "get The-Weather2/now!"),
        ("snakeCase", "get_the_weather_2_now"),
        ("camelCase", "getTheWeather2Now"),
    ],
)
def test_names_are_written_as_the_naming_says(naming: Any, written: str) -> None:
    names = ToolNames(["get The-Weather2/now!", "!"], naming)
    assert names.for_model("get The-Weather2/now!") == written
    assert names.original(written) == "get The-Weather2/now!"
    assert names.for_model("!") == ("!" if naming == "passThrough" else "tool")


@pytest.mark.parametrize(
    ("words", "naming", "written"),
    [
        ("HTMLPage", "snakeCase", "html_page"),
        ("HTMLPage", "camelCase", "htmlPage"),
        ("x" * 100, "snakeCase", "x" * 64),
        ("x" * 100, "passThrough", "x" * 100),
    ],
)
def test_words_in_names(words: str, naming: Any, written: str) -> None:
    assert ToolNames([words], naming).for_model(words) == written


@pytest.mark.parametrize(
    "raw",
    [
        "nonsense",
        '{"name": "add", "arguments": {"a": ]}}',
        '{"name": 3, "arguments": {}}',
        '{"arguments": {}}',
        '{"name": "add", "arguments": [1]}',
        '{"name": "ad\\q", "arguments": {}}',
        "[" * 3000 + "]" * 3000,
    ],
)
def test_what_is_no_call_is_reported_as_such_and_the_text_continues(raw: str) -> None:
    text, calls = summary(read([f"a [TOOL_REQUEST]{raw}[END_TOOL_REQUEST] b"]))
    assert text == "a  b"
    assert calls[0] == "start" and calls[-1] == ("failed", raw)


def test_a_call_that_is_cut_off_is_reported_as_such() -> None:
    text, calls = summary(read(['{"name": "add", "argu'], forced=True))
    assert text == "" and calls == ["start", ("failed", '{"name": "add", "argu')]
    _, calls = summary(read(['{"name": "add", "arguments": {"a": 1'], forced=True))
    assert calls == ["start", "add", ['{"a": 1'], ("failed", '{"name": "add", "arguments": {"a": 1')]


def test_what_a_model_thinks_is_not_read_for_calls() -> None:
    reader = ToolCallReader(NAMES)
    thought = Fragment("[TOOL_REQUEST]{", reasoning="reasoning")
    assert reader.feed(Fragment("[TOO")) == []
    assert reader.feed(thought) == [Fragment("[TOO"), thought]


def test_tokens_are_accounted_for_outside_calls() -> None:
    events = read(["a", "[TOOL", "b"])
    assert sum(event.tokens for event in events) == 3


def test_log_probabilities_stay_with_the_text_outside_calls() -> None:
    reader = ToolCallReader(NAMES)
    pieces = ["a [TOOL", " b", '[TOOL_REQUEST]{"name": "add", "arguments": {}}', "c", "[TO"]
    fed = [Fragment(piece, logprobs=[TokenLogProbs(LogProb(piece, -1.0))]) for piece in pieces]
    events = [event for fragment in fed for event in reader.feed(fragment)] + reader.finish()
    summary = [entry.token.text for event in events if isinstance(event, Fragment) for entry in event.logprobs or []]
    assert summary == ["a [TOOL", " b", "c", "[TO"]


@given(
    st.lists(st.sampled_from(["[TOOL_REQUEST]", "[END_TOOL_REQUEST]", '{"name":', '"add"', "}", "{", '"', ",", " x"]))
)
def test_any_text_is_read_to_its_end_and_the_same_in_one_piece_or_in_many(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert summary(read([whole])) == summary(read(pieces)) == summary(read(list(whole)))


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists, max_leaves=8),
        max_size=4,
    ),
    st.booleans(),
)
def test_any_arguments_come_through(arguments: dict[str, Any], forced: bool) -> None:
    raw = json.dumps({"name": "add", "arguments": arguments}, ensure_ascii=False)
    text, calls = summary(read(list(raw) if forced else ["[TOOL_REQUEST]", *raw], forced=forced))
    assert text == "" and calls[-1] == ("add", arguments) and json.loads(calls[2][0]) == arguments


def tool(name: str, **parameters: Any) -> Tool:
    schema = {"type": "object", "properties": parameters, "required": list(parameters)}
    return Tool(name, "What it does.", schema)


def test_the_schema_of_a_call_keeps_each_tools_definitions_apart() -> None:
    tools = [tool("a", x={"$ref": "#/$defs/N"}), tool("b", x={"type": "array", "items": {"$ref": "#/$defs/N"}})]
    for entry, kind in zip(tools, ["integer", "string"], strict=True):
        assert entry.parameters is not None
        entry.parameters["$defs"] = {"N": {"type": kind}}
    schema = call_schema(ToolNames(["a", "b"]).rename_tools(tools))
    assert schema["$defs"] == {"tool0.N": {"type": "integer"}, "tool1.N": {"type": "string"}}
    first, second = schema["anyOf"]
    assert first["properties"]["name"] == {"const": "a"}
    assert first["properties"]["arguments"]["properties"]["x"] == {"$ref": "#/$defs/tool0.N"}
    assert second["properties"]["arguments"]["properties"]["x"]["items"] == {"$ref": "#/$defs/tool1.N"}
    assert "$defs" not in first["properties"]["arguments"]


def test_references_to_a_tools_own_parameters_stay_within_them() -> None:
    kinds = {"v": {"type": "string"}, "next": {"$ref": "#"}, "w": {"$ref": "#/properties/v"}}
    linked = Tool("linked", "", {"type": "object", "properties": kinds, "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {}}})
    alone: Any = call_schema([linked])
    assert alone["properties"]["arguments"]["properties"]["next"] == {"$ref": "#/properties/arguments"}
    both: Any = call_schema([linked, linked])
    inner = both["anyOf"][1]["properties"]["arguments"]["properties"]
    assert inner["w"] == {"$ref": "#/anyOf/1/properties/arguments/properties/v"}
    assert both["$defs"]["tool1.A"] == {"$ref": "#/$defs/tool1.B"}


def test_a_chat_with_tools_becomes_plain_text_for_a_model_that_knows_none() -> None:
    call = ToolCall("add", {"a": 1})
    chat = [
        Message("system", [Text("Be brief.")]),
        Message("user", [Text("hi")]),
        Message("assistant", [Text("Well."), call, call]),
        Message("tool", [ToolResult(text) for text in "23"]),
    ]
    messages = with_instructions(chat, NAMES.rename_tools([tool("add", a={"type": "integer"})]))
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0].text.startswith("Be brief.") and '"name": "add"' in messages[0].text
    written = '[TOOL_REQUEST]{"name": "add", "arguments": {"a": 1}}[END_TOOL_REQUEST]'
    assert messages[2].text == f"Well.{written}{written}"
    assert messages[3].text == "[TOOL_RESULT]2[END_TOOL_RESULT][TOOL_RESULT]3[END_TOOL_RESULT]"
    assert without_tools(messages) == messages


def test_calls_in_a_chat_go_by_the_names_that_the_model_sees() -> None:
    call = ToolCall("get the weather", {}, "1")
    message = Message("assistant", [Text("x"), call])
    (renamed,) = NAMES.rename_messages([message])
    assert renamed.parts[1] == ToolCall("get_the_weather", {}, "1")
    assert call.name == "get the weather"
