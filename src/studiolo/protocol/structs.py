"""The base of every type that crosses the wire: camelCase there, snake_case here, absent fields left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from ..errors import ConfigError

S = TypeVar("S", bound=Struct)
T = TypeVar("T")


def always_sent(value: T) -> T:
    """Return the default of a field that is sent all the same, null included: LM Studio's clients require it."""
    return msgspec.field(default_factory=lambda: value)


def struct_from_dict(kind: type[S], data: Mapping[str, Any]) -> S:
    """An instance of ``kind`` from a dict with keys in camelCase or snake_case. Raises :class:`ConfigError`."""
    wire_name = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    try:
        return msgspec.convert({wire_name.get(key, key): value for key, value in data.items()}, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"This is not a {kind.__name__}: {data!r}", cause=str(error).replace("`", "'")) from None


class WireStruct(Struct, rename="camel", omit_defaults=True, frozen=True):
    """A JSON object. Fields that this version does not know are ignored, as both official clients do."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """An instance from a dict with keys in camelCase or snake_case. Raises :class:`ConfigError`."""
        return struct_from_dict(cls, data)

    def to_dict(self) -> dict[str, Any]:
        """The instance as a dict with keys in camelCase."""
        return msgspec.to_builtins(self, order="deterministic")


class Message(WireStruct, frozen=True, tag_field="type"):
    """A JSON object that is one of several, told apart by ``type``."""


AnyLMStudioStruct = WireStruct  # the official client's name
