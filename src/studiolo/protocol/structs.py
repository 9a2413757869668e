"""The base of every type that crosses the wire: camelCase there, snake_case here, absent fields left out."""

from __future__ import annotations

from msgspec import Struct


class WireStruct(Struct, rename="camel", omit_defaults=True, frozen=True):
    """A JSON object. Fields that this version does not know are ignored, as both official clients do."""


class Message(WireStruct, frozen=True, tag_field="type"):
    """A JSON object that is one of several, told apart by ``type``."""


AnyLMStudioStruct = WireStruct  # the official client's name
