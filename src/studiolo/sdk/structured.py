"""Structured output: what form an answer is held to, and what was read from it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from ..config import StructuredSetting, prediction_config
from ..errors import ConfigError

V = TypeVar("V")


@runtime_checkable
class ModelSchema(Protocol):
    """A class that tells its JSON schema, such as a pydantic model."""

    @classmethod
    def model_json_schema(cls) -> Mapping[str, Any]:
        """The JSON schema of the class."""
        ...


class BaseModel(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A base for classes that say what form an answer has, for programs that have no use for pydantic.

    >>> class Book(BaseModel):
    ...     title: str
    ...     year: int
    """

    @classmethod
    def model_json_schema(cls) -> Mapping[str, Any]:
        """The JSON schema of the class."""
        return _schema_of(cls)


ResponseFormat = type[Any] | Mapping[str, Any] | StructuredSetting
"""A class (pydantic model, :class:`BaseModel`, msgspec Struct, dataclass, ...), a JSON schema, or a setting."""


# The official client's names.
ResponseSchema = ResponseFormat
DictObject = Mapping[str, Any]
DictSchema = Mapping[str, Any]
ValidationError = msgspec.ValidationError


def structured_setting(response_format: ResponseFormat) -> StructuredSetting:
    """The setting that holds an answer to ``response_format``.

    Raises:
        ConfigError: it is nothing that an answer can be held to.
    """
    if isinstance(response_format, StructuredSetting):
        return response_format
    if isinstance(response_format, Mapping):
        given = dict(response_format)
        kind = given.get("type")
        if kind == "gbnf" or (kind == "json" and given.keys() & {"jsonSchema", "json_schema"}) or kind == "none":
            return prediction_config({"structured": given}).structured or StructuredSetting(type="none")
        return StructuredSetting(type="json", json_schema=given)
    if hasattr(response_format, "model_json_schema"):
        told: Any = response_format.model_json_schema()
        if not isinstance(told, Mapping):
            raise ConfigError(f"The model_json_schema() of {response_format!r} is a {type(told).__name__}, not a dict")
        return StructuredSetting(type="json", json_schema=dict(cast("Mapping[str, Any]", told)))
    return StructuredSetting(type="json", json_schema=_schema_of(response_format))


def _schema_of(kind: Any) -> dict[str, Any]:
    try:
        schema = msgspec.json.schema(kind)
    except (TypeError, NotImplementedError) as error:
        raise ConfigError(
            f"The response_format {kind!r} is nothing that an answer can be held to",
            cause=str(error),
            suggestion="Give a JSON schema, or a class that has one.",
        ) from None
    reference = schema.pop("$ref", None)
    if reference is not None:  # LM Studio does not like it at the top
        schema |= schema["$defs"][str(reference).rpartition("/")[2]]
    return schema


def parse(content: str, answer: str, setting: StructuredSetting | None) -> Any:
    """The value that a finished answer is the JSON of; the text itself where it is none.

    Parameters:
        content: the whole text.
        answer: what of it is no thought.
    """
    if setting is None or setting.type == "none":
        return content
    try:
        return json.loads(answer)
    except ValueError:
        return content


def convert(value: Any, kind: type[V]) -> V:
    """``value`` as an instance of ``kind``.

    Raises:
        ConfigError: it does not have that form.
    """
    validate: Any = getattr(kind, "model_validate", None)
    try:
        if validate is not None:
            return validate(value)
        strict = not dataclasses.is_dataclass(kind)
        return msgspec.convert(value, kind, strict=strict)
    except (ValueError, TypeError) as error:  # pydantic's and msgspec's errors are ValueErrors
        raise ConfigError(f"The answer has not the form of {kind.__name__}", cause=str(error)) from None
