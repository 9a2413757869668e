"""Which model a request is for."""

from __future__ import annotations

import unicodedata
from typing import Literal

from msgspec import Struct

from ..errors import ConfigError

Domain = Literal["llm", "embedding"]
"""The kind of a model: it generates text, or it computes embeddings."""


class ModelReference(Struct, frozen=True, kw_only=True):
    """Which model a request is for. A reference without any field set means any model of the request's domain.

    Parameters:
        name: an instance's identifier, or any name of a model (its key, path, catalog name, …).
        path: any name of a model; narrows ``name`` down.
        instance: the reference of one loaded instance, which is never loaded on demand.
        vision: whether the model has to see images, or must not.
        domain: the domain that the model must have.
        device: the machine that has the model; ``None`` for this one.
    """

    name: str | None = None
    path: str | None = None
    instance: str | None = None
    vision: bool | None = None
    domain: str | None = None
    device: str | None = None

    @property
    def is_any(self) -> bool:
        """Whether any model of the request's domain will do."""
        return self.name is None and self.path is None and self.instance is None

    @property
    def names(self) -> tuple[str, ...]:
        """The path and the name, as far as they are given: what a model of the library may be found by."""
        return tuple(each for each in (self.path, self.name) if each is not None)

    @property
    def wanted(self) -> str | None:
        """The name by which the model can be loaded; ``None`` for any model."""
        return self.path if self.name is None else self.name


def check_identifier(identifier: str) -> None:
    """Raise :class:`ConfigError` for an identifier of an instance that nobody can read or type."""
    control = next((letter for letter in identifier if unicodedata.category(letter) in ("Cc", "Zl", "Zp")), None)
    if control is not None:
        raise ConfigError(
            f"The identifier {identifier!r} contains a control character",
            cause=f"It is U+{ord(control):04X}, at position {identifier.index(control)}.",
            suggestion="Leave it out.",
        )
    if not any(letter.isprintable() and not letter.isspace() for letter in identifier):
        raise ConfigError(
            f"The identifier {identifier!r} has no visible character",
            suggestion="Choose one that has, or leave it out for the model's key.",
        )
