"""Definitions of tools: what the model sees of a function, and how its arguments are converted."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import threading
from typing import Annotated, Any, Literal

import lmstudio
import msgspec
import pytest

from studiolo.config import prediction_config
from studiolo.config.raw_tools import parse_raw_tools
from studiolo.errors import ConfigError
from studiolo.protocol.kv import (
    TOOL_CHOICE_KEY,
    TOOLS_KEY,
    KvConfig,
    decode_prediction_config,
    encode_prediction_config,
    flatten,
    stack_of,
)
from studiolo.protocol.tools import encode_tool_use
from studiolo.sdk.tool_results import result_as_text
from studiolo.sdk.tools import BoundTool, ToolFunctionDef, bind_tools


def add(a: int, b: int = 2) -> int:
    """Add two numbers."""
    return a + b


LOCK = type(threading.Lock())


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0


def everything(
    text: str,
    number: float,
    flag: bool,
    choice: Literal["a", "b"],
    colour: Colour,
    points: list[Point],
    extra: dict[str, int] | None = None,
    note: Annotated[str, msgspec.Meta(description="For people.")] = "none",
    anything: Any = None,
    tags: list[str] = ["x"],  # noqa: B006 (what users write)
) -> None:
    """Take everything."""


def bound(tool: Any, **options: Any) -> BoundTool:
    (entry,) = bind_tools([tool], **{"allow_async": True, **options}).values()
    return entry


def test_a_function_is_defined_as_its_signature_and_docstring_say() -> None:
    function = bound(add).definition
    assert (function.name, function.description) == ("add", "Add two numbers.")
    assert function.parameters == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}},
        "required": ["a"],
    }


def test_the_official_client_defines_the_same() -> None:
    _, theirs = lmstudio.ToolFunctionDef.from_callable(add)._to_llm_tool_def()
    ours = bound(add).definition
    assert ours.definition == theirs.to_dict()


def test_every_type_that_a_signature_can_have() -> None:
    tool = bound(everything)
    schema = tool.definition.parameters
    assert schema is not None
    assert schema["required"] == ["text", "number", "flag", "choice", "colour", "points"]
    properties = schema["properties"]
    assert properties["choice"] == {"enum": ["a", "b"]}
    assert properties["points"] == {"type": "array", "items": {"$ref": "#/$defs/Point"}}
    assert properties["note"] == {"type": "string", "description": "For people.", "default": "none"}
    assert properties["anything"] == {"default": None}
    assert set(schema["$defs"]) == {"Point", "Colour"}
    given = {"text": "t", "number": 1, "flag": True, "choice": "b", "colour": "red", "points": [{"x": 1}]}
    values = tool.arguments(given)
    assert values["points"] == [Point(1.0)] and values["colour"] is Colour.RED
    assert isinstance(values["number"], float)
    assert (values["extra"], values["note"], values["tags"]) == (None, "none", ["x"])
    values["tags"].append("y")
    assert tool.arguments(given)["tags"] == ["x"], "a default is shared between calls"


@pytest.mark.parametrize("given", [{}, {"a": "x"}, {"a": 1, "b": None}, {"a": 1.5}])
def test_wrong_arguments_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        bound(add).arguments(given)


def test_definitions_of_every_form() -> None:
    def cryptic(a, b):  # type: ignore[no-untyped-def]
        return a + b

    definition = ToolFunctionDef(
        name="sum", description="Add.", parameters={"a": int, "b": {"type": int, "default": 3}}, implementation=cryptic
    )
    as_dict = {field.name: getattr(definition, field.name) for field in dataclasses.fields(definition)}
    named = ToolFunctionDef.from_callable(add, name="sum", description="Add.")
    for tool in (definition, as_dict, named):
        entry = bound(tool)
        assert (entry.name, entry.definition.description) == ("sum", "Add.")
        assert entry.call(**entry.arguments({"a": 1, "b": 1})) == 2
    assert bound(definition).arguments({"a": 1}) == {"a": 1, "b": 3}


def test_methods_partials_callable_objects_and_names_of_the_language() -> None:
    class Tool:
        """Double it."""

        def __call__(self, n: int) -> int:
            return 2 * n

        def method(self, n: int) -> int:
            """Triple it."""
            return 3 * n

    assert bound(Tool().method).call(n=2) == 6
    named = ToolFunctionDef.from_callable(Tool(), name="double")
    assert bound(named).definition.parameters == {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
    }
    assert bound(ToolFunctionDef.from_callable(functools.partial(add, 1), name="p", description="d")).call(b=1) == 2
    keyword = ToolFunctionDef(
        name="k", description="d", parameters={"class": str, "p0": int, "_x": int}, implementation=lambda **kw: kw
    )
    arguments = bound(keyword).arguments({"class": "c", "p0": 1, "_x": 2})
    assert bound(keyword).call(**arguments) == {"class": "c", "p0": 1, "_x": 2}


async def _async_tool(a: int) -> int:
    """Async."""
    return a


def test_async_tools_are_for_the_async_api() -> None:
    assert bound(_async_tool).is_async and not bound(add).is_async
    with pytest.raises(ConfigError, match="'_async_tool' is async"):
        bound(_async_tool, allow_async=False)
    with pytest.raises(lmstudio.LMStudioValueError):  # as the official client has it
        lmstudio.LLM("x", None).act("hi", [_async_tool])  # type: ignore[arg-type]


def _undocumented(a: int) -> int:
    return a


def _starred(*a: int) -> int:
    """Starred."""
    return sum(a)


def _unresolved(a: Nonesuch) -> int:  # type: ignore[name-defined]  # noqa: F821
    """Unresolved."""
    return 0


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([_undocumented], "'_undocumented' has no docstring"),
        ([_starred], "'a' of the tool '_starred' cannot be passed by name"),
        ([_unresolved], "'_unresolved' cannot be read"),
        ([add, add], "Duplicate tool names are not permitted: 'add'"),
        ([functools.partial(add, 1)], "has no name"),
        ([3], "A tool is a int"),
        (["add"], "A tool is a str"),
        ("add", "tools.*type str"),
        ([{"name": "a"}], "has no 'description'"),
        (
            [{"name": "a", "description": "d", "parameters": {}, "implementation": add, "x": 1}],
            "has no field 'x'",
        ),
        ([{"name": " ", "description": "d", "parameters": {}, "implementation": add}], "The name of a tool is ' '"),
        ([{"name": "a", "description": "d", "parameters": {}, "implementation": 3}], "cannot be called"),
        ([{"name": "a", "description": "d", "parameters": {"p": {}}, "implementation": add}], "'p' .* has no 'type'"),
        (
            [{"name": "a", "description": "d", "parameters": {"p": LOCK}, "implementation": add}],
            "'a' cannot be described",
        ),
    ],
)
def test_what_is_no_tool_is_refused_by_name(tools: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bind_tools(tools, allow_async=True)


def test_results_become_json() -> None:
    assert result_as_text("é") == '"é"'
    assert json.loads(result_as_text({1: Point(1.0), "c": Colour.RED})) == {"1": {"x": 1.0, "y": 0}, "c": "red"}
    assert json.loads(result_as_text(object())).startswith("<object object")


def decoded(values: dict[str, Any]) -> tuple[Any, bool, Any]:
    config = decode_prediction_config(values)
    return (*parse_raw_tools(config.raw_tools), config.tool_choice)


def test_the_settings_travel_there_and_back() -> None:
    tools = [bound(add).definition]
    values = flatten(stack_of(KvConfig(fields=encode_tool_use(tools, "required"))))
    assert values[TOOL_CHOICE_KEY] == {"type": "generic", "mode": "required"}
    assert decoded(values) == (tools, False, "required")
    assert flatten(stack_of(encode_prediction_config(decode_prediction_config(values)))) == values
    assert decoded(flatten(stack_of(KvConfig(fields=encode_tool_use(tools))))) == (tools, False, None)
    assert flatten(stack_of(KvConfig(fields=encode_tool_use([])))) == {TOOLS_KEY: {"type": "none"}}
    assert decoded({TOOLS_KEY: {"type": "none"}}) == decoded({}) == ([], False, None)
    assert decoded({TOOLS_KEY: {**values[TOOLS_KEY], "force": True}}) == (tools, True, None)
    assert decoded({TOOL_CHOICE_KEY: "none"}) == ([], False, "none")
    schema = {"type": "object", "properties": {"camelCase": {"additionalProperties": False}}}
    tool = {"type": "function", "function": {"name": "a", "parameters": schema}}
    config = prediction_config({"rawTools": {"type": "toolArray", "tools": [tool]}, "toolChoice": "required"})
    assert parse_raw_tools(config.raw_tools)[0][0].parameters == schema


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"type": "nonsense"}, "tools is malformed"),
        ({"type": "toolArray", "tools": [{"type": "function"}]}, r"\$.tools\[0\]"),
        ({"type": "toolArray", "tools": [{"function": {"name": ""}}]}, "empty name"),
        ({"type": "toolArray", "tools": [{"function": {"name": "a", "parameters": nested(100)}}]}, "'a' are nested"),
        ({"type": "toolArray", "tools": [{"function": {"name": "a"}}] * 2}, "Two tools .* 'a'"),
        ({"type": "toolArray", "tools": [{"function": {"name": "a", "parameters": {"type": "x"}}}]}, "'x'"),
    ],
)
def test_malformed_settings_are_refused_by_name(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_raw_tools(setting)


@pytest.mark.parametrize(
    ("key", "value"), [(TOOLS_KEY, 3), (TOOL_CHOICE_KEY, {"mode": "perhaps"}), (TOOL_CHOICE_KEY, 3)]
)
def test_settings_of_the_wrong_type_are_refused(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=r"raw_tools|tool_choice"):
        decode_prediction_config({key: value})
