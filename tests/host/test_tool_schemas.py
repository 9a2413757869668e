"""Schemas of tools: references, and bounds and formats that generators write, the same for every tool choice."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from studiolo.domain.chat import Tool
from studiolo.engines.llama_cpp.tool_parameters import for_converter
from studiolo.engines.schemas.process import Schemas
from studiolo.errors import ConfigError
from studiolo.host.structured import prepare_parameters
from tests.support import walk_grammar
from tests.support.running import processor_sec

TEXT: dict[str, Any] = {"type": "string"}
SAFE = 2**53 - 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def schemas() -> AsyncIterator[Schemas]:
    made = Schemas()
    await made.prepare({})
    yield made
    await made.close()


def with_y(y: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"y": y}, "required": ["y"], **more}


REFERENCES: list[tuple[dict[str, Any], Any, Any]] = [
    (
        {
            "type": "object",
            "properties": {"v": TEXT, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "required": ["v"],
        },
        {"v": "a", "next": {"v": "b", "next": None}},
        {"v": "a", "next": {"name": "f"}},
    ),
    ({"type": "object", "properties": {"x": TEXT, "y": {"$ref": "#/properties/x"}}}, {"x": "a", "y": "b"}, {"y": 1}),
    (
        {
            "type": "object",
            "properties": {"x": {"type": "array", "items": TEXT}, "y": {"$ref": "#/properties/x/items"}},
        },
        {"x": ["a"], "y": "b"},
        {"y": ["b"]},
    ),
    (with_y({"$ref": "#/$defs/A~1B%20C"}, **{"$defs": {"A/B C": TEXT}}), {"y": "a"}, {"y": 1}),
    (with_y({"$ref": "#name"}, **{"$defs": {"A": {"$anchor": "name", **TEXT}}}), {"y": "a"}, {"y": 1}),
    (with_y({"$ref": "#/definitions/A"}, definitions={"A": TEXT}), {"y": "a"}, {"y": 1}),
    ({"type": "object", "properties": {"$ref": TEXT}, "required": ["$ref"]}, {"$ref": "a"}, {"$ref": 1}),
    (with_y({"$ref": "#/$defs/A"}, **{"$id": "https://tools.example/x", "$defs": {"A": TEXT}}), {"y": "a"}, {"y": 1}),
    (with_y(True), {"y": [1]}, {}),
]

GENERATED: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "integer", "minimum": -SAFE, "maximum": SAFE}, -SAFE, SAFE + 1),
    ({"type": "integer", "exclusiveMinimum": 0, "maximum": SAFE}, 1, 0),
    ({"type": "integer", "format": "int64", "minimum": -(2**63), "maximum": 2**63 - 1}, -(2**63), 2**63),
    ({"type": "integer", "format": "uint64", "minimum": 0, "maximum": 2**64 - 1}, 2**64 - 1, -1),
    ({"type": "integer", "format": "uint32", "minimum": 0}, 2**32, -1),
    ({"type": "object", "propertyNames": TEXT, "additionalProperties": {"type": "number"}}, {"a": 1.5}, {"a": "x"}),
    (
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
        {"a": 1},
        {"c": 1},
    ),
    (
        {"type": "object", "propertyNames": {"pattern": "^[a-z]+$"}, "additionalProperties": {"type": "integer"}},
        {"ab": 1},
        {"A": 1},
    ),
    ({"type": "string", "maxLength": 1_000_000}, "a", 1),
    ({"type": "string", "minLength": 1, "maxLength": 1_000_000}, "a", ""),
    ({"type": "array", "items": TEXT, "maxItems": 100_000}, ["a"], [1]),
    ({"type": "number", "format": "double"}, 1.5, "a"),
    ({"type": "string", "format": "binary"}, "a", 1),
    ({"type": "string", "format": "date"}, "2026-01-02", "today"),
    ({"type": "string", "pattern": "^(?=.*[0-9])[a-z0-9]{4,}$"}, "abc1", "a1"),
    ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, [1, 2], ["a"]),
    ({"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}]}, "1.5", []),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [*REFERENCES, *((with_y(kind), {"y": good}, {"y": bad}) for kind, good, bad in GENERATED)],
)
async def test_what_generators_write_is_accepted_with_little_work(
    schemas: Schemas, schema: dict[str, Any], good: Any, bad: Any
) -> None:
    began = processor_sec(os.getpid())
    parameters = await prepare_parameters(schemas, [Tool("f", "", schema)], str)
    assert processor_sec(os.getpid()) - began < 0.5
    assert walk_grammar.allows(parameters["f"].grammar_json, json.dumps(good))
    assert await schemas.check(parameters["f"], json.dumps(good)) is None
    assert not walk_grammar.allows(parameters["f"].grammar_json, json.dumps(bad)) or await schemas.check(
        parameters["f"], json.dumps(bad)
    )
    references = re.findall(r'"\$ref": "([^"]*)"', json.dumps(for_converter(schema)))
    assert all(re.fullmatch(r"#/(\$defs|definitions)/A", each) for each in references), "the engine knows no others"


@pytest.mark.asyncio(loop_scope="module")
async def test_a_wrong_reference_names_the_tool_and_the_place(schemas: Schemas) -> None:
    tools = [Tool("good", "", with_y(TEXT)), Tool("bad_one", "", with_y({"$ref": "#/$defs/none"}))]
    with pytest.raises(ConfigError, match=r"tool 'bad one' is wrong at \$\.properties\.y\.\$ref") as caught:
        await prepare_parameters(schemas, tools, lambda name: name.replace("_", " "))
    assert caught.value.data["path"] == "$.properties.y.$ref"


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
async def test_a_schema_without_a_grammar_is_left_to_the_validation(schemas: Schemas) -> None:
    """What no grammar can hold is accepted for every tool choice; a call that breaks it is a failed call."""
    impossible = with_y({"type": "string", "not": {"type": "string"}})
    deep: dict[str, Any] = TEXT
    for _ in range(60):
        deep = {"type": "array", "items": deep}
    wide = {"type": "object", "properties": {f"p{number}": TEXT for number in range(900)}, "required": ["p0"]}
    parameters = await prepare_parameters(schemas, [Tool("deep", "", with_y(deep)), Tool("wide", "", wide)], str)
    assert walk_grammar.allows(parameters["wide"].grammar_json, json.dumps({"p0": "a"}))
    assert await schemas.check(parameters["wide"], json.dumps({"p0": 1})) is not None
    assert "breaks" in str(await schemas.check(parameters["deep"], json.dumps({"y": 1})))
    unsatisfied = await prepare_parameters(schemas, [Tool("never", "", impossible)], str)
    assert await schemas.check(unsatisfied["never"], json.dumps({"y": "a"})) is not None
