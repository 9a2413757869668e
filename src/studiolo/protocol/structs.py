"""Base classes of the types on the wire: camelCase keys, fields with their default value left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from ..errors import ConfigError
from ..struct_types import examined

S = TypeVar("S", bound=Struct)
T = TypeVar("T")


def always_sent(value: T) -> T:
    """Return a field default that is encoded nevertheless, null included: LM Studio's clients require the key."""
    return msgspec.field(default_factory=lambda: value)


def struct_from_dict(kind: type[S], data: Mapping[str, Any]) -> S:
    """Return a ``kind`` from a dict with camelCase or snake_case keys. Raise :class:`ConfigError` if invalid."""
    if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"The argument 'data' is of type {type(data).__name__}, not a dict of a {kind.__name__}")
    wire_name = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    try:
        return msgspec.convert({wire_name.get(key, key): value for key, value in data.items()}, examined(kind))
    except msgspec.ValidationError as error:
        raise ConfigError(f"Invalid {kind.__name__}: {data!r}", cause=str(error).replace("`", "'")) from None


class WireStruct(Struct, rename="camel", omit_defaults=True, frozen=True):
    """A JSON object. Unknown fields are ignored, as in both official clients."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return an instance from a dict with camelCase or snake_case keys. Raise :class:`ConfigError` if invalid."""
        return struct_from_dict(cls, data)

    def to_dict(self) -> dict[str, Any]:
        """Return the instance as a dict with camelCase keys."""
        return msgspec.to_builtins(self, order="deterministic")


class Message(WireStruct, frozen=True, tag_field="type"):
    """A JSON object of a union, distinguished by ``type``."""


AnyLMStudioStruct = WireStruct  # the official client's name
