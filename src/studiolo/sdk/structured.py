"""Structured output: the form of an answer, and the value decoded from it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import msgspec

from ..config import StructuredSetting, prediction_config
from ..errors import ConfigError
from ..struct_types import examined

V = TypeVar("V")


@runtime_checkable
class ModelSchema(Protocol):
    """A class that has a JSON schema, such as a pydantic model."""

    @classmethod
    def model_json_schema(cls) -> Mapping[str, Any]:
        """Return the JSON schema of the class."""
        ...


class BaseModel(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A base for classes that define the form of an answer, for programs without pydantic.

    >>> class Book(BaseModel):
    ...     title: str
    ...     year: int
    """

    @classmethod
    def model_json_schema(cls) -> Mapping[str, Any]:
        """Return the JSON schema of the class."""
        return _schema_of(cls)


ResponseFormat = type[Any] | Mapping[str, Any] | StructuredSetting
"""A class (pydantic model, :class:`BaseModel`, msgspec Struct, dataclass, ...), a JSON schema, or a setting."""


# The official client's names.
ResponseSchema = ResponseFormat
DictObject = Mapping[str, Any]
DictSchema = Mapping[str, Any]
ValidationError = msgspec.ValidationError


def structured_setting(response_format: ResponseFormat) -> StructuredSetting:
    """Return the setting that constrains an answer to ``response_format``.

    Raises:
        ConfigError: it has no JSON schema.
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
        schema: Any = response_format.model_json_schema()
        if not isinstance(schema, Mapping):
            raise ConfigError(f"{response_format!r}.model_json_schema() returned a {type(schema).__name__}, not a dict")
        return StructuredSetting(type="json", json_schema=dict(cast("Mapping[str, Any]", schema)))
    return StructuredSetting(type="json", json_schema=_schema_of(response_format))


def _schema_of(kind: Any) -> dict[str, Any]:
    try:
        schema = msgspec.json.schema(kind)
    except (TypeError, NotImplementedError) as error:
        raise ConfigError(
            f"The response_format {kind!r} has no JSON schema",
            cause=str(error),
            suggestion="Pass a JSON schema, or a class that has one.",
        ) from None
    reference = schema.pop("$ref", None)
    if reference is not None:  # LM Studio does not accept it at the top
        schema |= schema["$defs"][str(reference).rpartition("/")[2]]
    return schema


def parse(content: str, answer: str, setting: StructuredSetting | None) -> Any:
    """Return the value of a finished answer, decoded from JSON; the text itself if it is not JSON.

    Parameters:
        content: the whole text.
        answer: the text without reasoning.
    """
    if setting is None or setting.type == "none":
        return content
    try:
        return json.loads(answer)
    except ValueError:
        return content


def convert(value: Any, kind: type[V]) -> V:
    """Return ``value`` as an instance of ``kind``.

    Raises:
        ConfigError: it does not match.
    """
    validate: Any = getattr(kind, "model_validate", None)
    try:
        if validate is not None:
            return validate(value)
        strict = not dataclasses.is_dataclass(kind)
        return msgspec.convert(value, examined(kind), strict=strict)
    except (ValueError, TypeError) as error:  # pydantic's and msgspec's errors are ValueErrors
        raise ConfigError(f"The answer does not match {kind.__name__}", cause=str(error)) from None
