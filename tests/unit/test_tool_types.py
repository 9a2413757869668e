"""Tools from ordinary Python types: what the model sees, what the function gets, and what its result becomes."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import numpy
import numpy.typing
import pydantic
import pytest

from studiolo.errors import ConfigError
from studiolo.sdk.tool_results import MAX_ITEMS, result_as_text
from studiolo.sdk.tools import BoundTool, bind_tools


@dataclasses.dataclass
class Place:
    path: Path
    at: decimal.Decimal = decimal.Decimal(0)


class Inner(pydantic.BaseModel):
    a: int = pydantic.Field(ge=1, description="one or more")


class Outer(pydantic.BaseModel):
    inner: Inner
    tags: set[str] = set()


@dataclasses.dataclass
class WithModel:
    inner: Inner


class Level(enum.Enum):
    LOW = 1
    HALF = 0.5
    AUTO = "auto"
    OFF = False
    UNSET = None


LEVELS = {"enum": [1, 0.5, "auto", False, None]}


class Point(enum.Enum):
    ORIGIN = (0, 0)


@dataclasses.dataclass
class Setting:
    level: Level
    place: Place
    others: list[Level] = dataclasses.field(default_factory=lambda: [Level.OFF])
    shown: Level = Level.AUTO


class SettingDict(TypedDict):
    level: Level
    others: NotRequired[list[Level]]


class SettingTuple(NamedTuple):
    place: Place
    level: Level = Level.AUTO


@dataclasses.dataclass
class Endless:
    level: Level
    more: list[Endless]


PLACE = Place(Path("/a"))


def tool(kind: Any, default: Any = ...) -> BoundTool:
    def function(value: Any) -> None:
        """Take it."""

    function.__annotations__ = {"value": kind}
    if default is not ...:
        function.__defaults__ = (default,)
    (bound,) = bind_tools([function], allow_async=False).values()
    return bound


NUMBER = {"type": "integer"}
DECIMAL = {"type": "string", "pattern": r"^-?[0-9]{1,40}(\.[0-9]{1,40})?$"}


@pytest.mark.parametrize(
    ("kind", "schema", "given", "expected"),
    [
        (decimal.Decimal, DECIMAL, "5.10", decimal.Decimal("5.10")),
        (set[str], {"type": "array", "items": {"type": "string"}}, ["a", "b", "a"], {"a", "b"}),
        (frozenset[int], {"type": "array", "items": NUMBER}, [1], frozenset({1})),
        (collections.deque[int], {"type": "array", "items": NUMBER}, [1, 2], collections.deque([1, 2])),
        (collections.deque, {"type": "array"}, [1, "a"], collections.deque([1, "a"])),
        (Iterable[int], {"type": "array", "items": NUMBER}, [1, 2], [1, 2]),
        (list[Iterator[int]] | None, None, [[1]], [[1]]),
        (dict[int, str], {"type": "object", "additionalProperties": {"type": "string"}}, {"1": "a"}, {1: "a"}),
        (Path, {"type": "string"}, "/a", Path("/a")),
        (fractions.Fraction, {"type": "string"}, "1/3", fractions.Fraction(1, 3)),
        (
            datetime.datetime,
            {"type": "string", "format": "date-time"},
            "2026-01-02T03:04:05",
            datetime.datetime(2026, 1, 2, 3, 4, 5),
        ),
        (numpy.int64, NUMBER, 3, numpy.int64(3)),
        (numpy.uint8, {"type": "integer", "minimum": 0}, 3, numpy.uint8(3)),
        (numpy.float32, {"type": "number"}, 0.5, numpy.float32(0.5)),
        (numpy.bool_, {"type": "boolean"}, True, numpy.bool_(True)),
        (list[Place], None, [{"path": "/a", "at": "1.5"}], [Place(Path("/a"), decimal.Decimal("1.5"))]),
        (Annotated[int, pydantic.Field(ge=1)], {"type": "integer", "minimum": 1}, 3, 3),
        (pydantic.conint(le=9), {"type": "integer", "maximum": 9}, 3, 3),
        (Outer, None, {"inner": {"a": 1}, "tags": ["x"]}, Outer(inner=Inner(a=1), tags={"x"})),
        (list[Inner], None, [{"a": 1}], [Inner(a=1)]),
        (WithModel, None, {"inner": {"a": 1}}, WithModel(Inner(a=1))),
        *((Level, LEVELS, each.value, each) for each in Level),
        (Level, LEVELS, 1.0, Level.LOW),
        (list[Level], {"type": "array", "items": LEVELS}, ["auto", 1], [Level.AUTO, Level.LOW]),
        (dict[str, Level], {"type": "object", "additionalProperties": LEVELS}, {"a": False}, {"a": Level.OFF}),
        (Annotated[Level, msgspec.Meta(description="how")], LEVELS | {"description": "how"}, 1, Level.LOW),
        (Literal["auto", 1], None, 1, 1),
        (Literal["auto", True], None, True, True),
        (Literal[Level.LOW, "none"], {"enum": [1, "none"]}, 1, Level.LOW),
        (Setting, None, {"level": "auto", "place": {"path": "/a"}}, Setting(Level.AUTO, PLACE)),
        (
            dict[str, Setting],
            None,
            {"a": {"level": 1, "place": {"path": "/a"}, "others": [0.5], "shown": None}},
            {"a": Setting(Level.LOW, PLACE, [Level.HALF], Level.UNSET)},
        ),
        (SettingDict, None, {"level": 1}, {"level": Level.LOW}),
        (SettingDict | None, None, {"level": 1, "others": ["auto"]}, {"level": Level.LOW, "others": [Level.AUTO]}),
        (SettingTuple, None, [{"path": "/a"}, 1], SettingTuple(PLACE, Level.LOW)),
        (SettingTuple, None, [{"path": "/a"}], SettingTuple(PLACE)),
    ],
)
def test_types_of_parameters(kind: Any, schema: dict[str, Any] | None, given: Any, expected: Any) -> None:
    bound = tool(kind)
    parameters = json.loads(json.dumps(bound.definition.parameters))
    if schema is not None:
        assert parameters["properties"]["value"] == schema
    value = bound.arguments({"value": given})["value"]
    assert value == expected and type(value) is type(expected)


def test_arrays_of_numpy() -> None:
    value = tool(numpy.ndarray).arguments({"value": [1, 2]})["value"]
    assert isinstance(value, numpy.ndarray) and value.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Annotated[int, pydantic.Field(ge=1)], 0),
        (Outer, {"inner": {"a": 0}}),
        (numpy.int64, "3"),
        (numpy.int64, True),
        (Path, 5),
        (decimal.Decimal, "x"),
        (Iterable[int], ["x"]),
        (collections.deque[int], ["x"]),
        (Level, True),
        (Level, "1"),
        (Level, 0),
        (Level, [1]),
        (Literal["auto", True], 1),
        (Setting, {"level": "auto"}),
        (Setting, {"level": "loud", "place": {"path": "/a"}}),
        (Setting, "auto"),
        (SettingDict, {}),
        (SettingTuple, []),
        (SettingTuple, [{"path": "/a"}, 1, 1]),
        (SettingTuple, {"level": 1}),
    ],
)
def test_arguments_that_do_not_fit(kind: Any, given: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        tool(kind).arguments({"value": given})


def test_the_schema_of_types_with_an_enum_of_several_types() -> None:
    def shown(kind: Any) -> Any:
        return json.loads(json.dumps(tool(kind).definition.parameters))

    place = {"$ref": "#/$defs/Place"}
    whole = shown(dict[str, Setting])
    assert set(whole["$defs"]) == {"Place"}
    assert whole["properties"]["value"]["additionalProperties"] == {
        "title": "Setting",
        "type": "object",
        "properties": {
            "level": LEVELS,
            "place": place,
            "others": {"type": "array", "items": LEVELS},
            "shown": LEVELS | {"default": "auto"},
        },
        "required": ["level", "place"],
    }
    required = shown(SettingDict)["properties"]["value"]["required"]
    assert required == ["level"]
    items = shown(SettingTuple)["properties"]["value"]
    second = LEVELS | {"default": "auto"}
    assert items == {"type": "array", "prefixItems": [place, second], "minItems": 1, "maxItems": 2}
    assert tool(Level, Level.LOW).definition.parameters["properties"]["value"] == LEVELS | {"default": 1}  # type: ignore[index]


def test_definitions_of_pydantic_models_are_those_of_the_tool() -> None:
    parameters: Any = tool(Outer).definition.parameters
    assert set(parameters["$defs"]) == {"Inner"}
    assert parameters["properties"]["value"]["properties"]["inner"] == {"$ref": "#/$defs/Inner"}
    assert parameters["$defs"]["Inner"]["properties"]["a"]["description"] == "one or more"


@pytest.mark.parametrize(
    ("default", "shown"),
    [
        (Path("/a"), "/a"),
        (numpy.int64(3), 3),
        (decimal.Decimal("1.5"), "1.5"),
        ({1}, [1]),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (Inner(a=1), {"a": 1}),
        (None, None),
        (object(), ...),
        (print, ...),
    ],
)
def test_defaults_that_are_no_json(default: Any, shown: Any) -> None:
    bound = tool(Any, default)
    parameters: Any = bound.definition.parameters
    assert parameters["properties"]["value"].get("default", ...) == shown
    assert "value" not in parameters.get("required", [])
    assert bound.arguments({})["value"] == default


def test_pydantics_field_as_a_default() -> None:
    bound = tool(int, pydantic.Field(ge=1, default=3))
    assert bound.arguments({}) == {"value": 3}
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        bound.arguments({"value": 0})
    assert tool(int, pydantic.Field(ge=1)).definition.parameters["required"] == ["value"]  # type: ignore[index]


def test_a_type_without_a_schema_names_the_tool() -> None:
    for kind in (complex, type("Mine", (), {}), Point, list[Point], Literal[b"a"], enum.Enum("Nothing", []), Endless):
        with pytest.raises(ConfigError, match="The parameter 'value' of the tool 'function' cannot be described"):
            tool(kind)


class Text(str):
    def __str__(self) -> str:
        return "other"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


class Table:
    columns = ("a",)

    def to_dict(self, orient: str) -> list[dict[str, int]]:
        assert orient == "records"
        return [{"a": 1}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (numpy.int64(3), 3),
        (numpy.float32(0.5), 0.5),
        (numpy.array([[1.0, numpy.nan]], dtype="float32"), [[1.0, None]]),
        (numpy.datetime64("2026-01-02"), "2026-01-02"),
        (Path("/a"), "/a"),
        (Inner(a=1), {"a": 1}),
        (float("nan"), None),
        ({"mean": float("inf")}, {"mean": None}),
        (Place(Path("/a"), decimal.Decimal("1.5")), {"path": "/a", "at": "1.5"}),
        ([{(1, 2): Path("/a"), None: 1, True: 2}], [{"(1, 2)": "/a", "null": 1, "true": 2}]),
        (ValueError("no"), "ValueError: no"),
        (fractions.Fraction(1, 3), "1/3"),
        (range(3), [0, 1, 2]),
        ((each for each in "ab"), ["a", "b"]),
        ({1: 2}.items(), [[1, 2]]),
        (Text("mine"), "mine"),
        (b"\0\1", "AAE="),
        (datetime.timedelta(seconds=3), "PT3S"),
        (Table(), [{"a": 1}]),
        (Broken(), "(Broken, whose str() raised RuntimeError)"),
        (int, "<class 'int'>"),
        ("x" * 2**20, "x" * 2**20),
    ],
)
def test_results_of_every_kind_become_json(value: Any, expected: Any) -> None:
    assert json.loads(result_as_text(value)) == expected


def test_results_without_end_are_bounded() -> None:
    def endless() -> Iterator[int]:
        while True:
            yield 1

    items = json.loads(result_as_text(endless()))
    assert len(items) == MAX_ITEMS + 1 and items[-1] == f"(more than {MAX_ITEMS} items)"
    cycle: list[Any] = []
    cycle.append(cycle)
    assert result_as_text(cycle).startswith("[[[[")
