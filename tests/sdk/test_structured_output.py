"""Structured output: what a model is held to, and what is read from its answer.

It may say anything; its answers end because each value ends as soon as it may.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Literal

import msgspec
import pydantic
import pytest

import studiolo as lm
from tests.support.homes import SHORT_VALUES

pytestmark = [pytest.mark.served, pytest.mark.quick_model]

PROMPT = "The Hobbit, as JSON: "
CALM: dict[str, Any] = {"temperature": 0, "max_tokens": 200, "logit_bias": SHORT_VALUES}


class PydanticBook(pydantic.BaseModel):
    title: str = pydantic.Field(max_length=30)
    year: int = pydantic.Field(ge=1900, le=1999)
    genre: Literal["novel", "poem"]
    rating: float | None = None


class StructBook(msgspec.Struct):
    title: str
    year: int


@dataclasses.dataclass
class DataBook:
    title: str
    year: int


class OurBook(lm.BaseModel):
    title: str
    year: int


SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string", "maxLength": 30}, "year": {"type": "integer", "maximum": 1999}},
    "required": ["title", "year"],
}


@pytest.mark.parametrize(
    "form",
    [SCHEMA, PydanticBook, StructBook, DataBook, OurBook, {"type": "json", "jsonSchema": SCHEMA}],
    ids=["schema", "pydantic", "struct", "dataclass", "ours", "setting"],
)
def test_an_answer_has_the_form_that_is_asked_for(llm: lm.LLM, form: Any) -> None:
    result = llm.complete(PROMPT, response_format=form, config=CALM)
    assert result.stats.stop_reason == "eosFound"
    assert result.structured
    assert result.parsed == json.loads(result.content)
    assert isinstance(result.parsed["title"], str) and isinstance(result.parsed["year"], int)
    if isinstance(form, type):
        book = result.parsed_as(form)
        assert isinstance(book, form)
        assert (book.title, book.year) == (result.parsed["title"], result.parsed["year"])


def test_a_chat_is_held_to_a_form_too(llm: lm.LLM) -> None:
    result = llm.respond("Describe the book The Hobbit.", response_format=PydanticBook, config=CALM)
    assert PydanticBook.model_validate(result.parsed) == result.parsed_as(PydanticBook)
    stream = llm.respond_stream("Describe the book The Hobbit.", response_format=OurBook, config=CALM)
    text = "".join(fragment.content for fragment in stream)
    assert json.loads(text) == stream.result().parsed


async def test_the_async_client_does_the_same(place: tuple[str, int]) -> None:
    async with lm.AsyncClient(place[0]) as client:
        llm = await client.llm.model()
        result = await llm.complete(PROMPT, response_format=StructBook, config=CALM)
        assert result.parsed_as(StructBook).year == result.parsed["year"]
        answer = await llm.respond("Describe the book The Hobbit.", response_format=StructBook, config=CALM)
        assert answer.structured


def test_a_setting_in_the_config_does_the_same(llm: lm.LLM) -> None:
    config = {**CALM, "structured": {"type": "json", "jsonSchema": SCHEMA}}
    assert (
        llm.complete(PROMPT, config=config).parsed == llm.complete(PROMPT, config=CALM, response_format=SCHEMA).parsed
    )
    with pytest.raises(lm.ConfigError, match="response_format"):
        llm.complete(PROMPT, config=config, response_format=SCHEMA)
    assert llm.complete(PROMPT, config={**CALM, "structured": {"type": "json"}}).content[0] == "{"


def test_a_grammar_and_what_is_read_of_it(llm: lm.LLM) -> None:
    grammar = {"type": "gbnf", "gbnfGrammar": 'root ::= "yes" | "no"'}
    result = llm.complete(PROMPT, response_format=grammar, config=CALM)
    assert result.parsed == result.content in ("yes", "no")
    assert not result.structured
    json_grammar = lm.StructuredSetting(type="gbnf", gbnf_grammar=r'root ::= "{\"a\": " [0-9] "}"')
    result = llm.complete(PROMPT, response_format=json_grammar, config=CALM)
    assert list(result.parsed) == ["a"] and result.structured


@pytest.mark.parametrize("limit", [{"max_tokens": 4}, {"max_tokens": 1}])
def test_an_answer_that_was_cut_off_is_not_half_parsed(llm: lm.LLM, limit: dict[str, Any]) -> None:
    result = llm.complete(PROMPT, response_format=OurBook, config={**CALM, **limit})
    assert result.stats.stop_reason == "maxPredictedTokensReached"
    assert result.parsed == result.content
    assert not result.structured
    with pytest.raises(lm.ConfigError, match="it reached max_tokens"):
        result.parsed_as(OurBook)
    number = {"type": "integer", "minimum": 100000}
    result = llm.complete(PROMPT, response_format=number, config={**CALM, "max_tokens": 2})
    assert result.content.isdigit() and not result.structured


def test_a_cancelled_answer_is_not_parsed(llm: lm.LLM) -> None:
    ones = {"type": "array", "items": {"const": 1}, "minItems": 200}
    stream = llm.complete_stream(PROMPT, response_format=ones, config={"seed": 1})
    for _fragment in stream:
        stream.cancel()
    assert not stream.result().structured


def test_values_that_are_no_objects_are_parsed_too(llm: lm.LLM) -> None:
    forms: list[tuple[dict[str, Any], type]] = [
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}, list),
        ({"type": "integer", "minimum": 1, "maximum": 9}, int),
        ({"enum": ["a", "b"]}, str),
    ]
    for schema, kind in forms:
        result = llm.complete(PROMPT, response_format=schema, config=CALM)
        assert isinstance(result.parsed, kind) and result.parsed != result.content


def test_a_schema_that_cannot_be_used_is_refused_with_its_path(llm: lm.LLM) -> None:
    wrong: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "text"}}}}
    with pytest.raises(lm.ConfigError, match=r"\$\.properties\.a\.items\.type") as caught:
        llm.complete(PROMPT, response_format=wrong)
    assert caught.value.data["path"] == "$.properties.a.items.type"
    contradiction = {
        "allOf": [{"pattern": "^a.*[0-9]{40,}"}, {"pattern": "b{9}$"}, {"maxLength": 20}, {"type": "string"}]
    }
    with pytest.raises((lm.UnsupportedError, lm.ConfigError), match=r"at \$\.allOf"):
        llm.complete(PROMPT, response_format=contradiction)
    for nothing in (object, lambda: None, 3):
        with pytest.raises(lm.ConfigError, match="response_format"):
            llm.complete(PROMPT, response_format=nothing)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 100_000},
        {"type": "string", "minLength": 1000, "maxLength": 1000},
        {"type": "string", "pattern": r"^(ab|c){1000}$"},
        {"type": "string", "pattern": r"^[\s\S]{0,1000}$"},
        {"type": "array", "maxItems": 1000, "items": {"type": "number", "minimum": -0.5, "maximum": 123.25}},
    ],
)
def test_the_engine_takes_the_largest_counts(llm: lm.LLM, schema: dict[str, Any]) -> None:
    assert llm.complete(PROMPT, response_format=schema, config={**CALM, "max_tokens": 3}).content
