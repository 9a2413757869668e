"""Decisions between several answers."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

from msgspec import Struct

from ..errors import ConfigError

T = TypeVar("T")
C = TypeVar("C", str, int, float)
E = TypeVar("E", bound=enum.Enum)


class Decision(Struct, Generic[T], frozen=True):
    """Which of several answers a model finds likeliest.

    Parameters:
        choice: the likeliest one.
        probabilities: of each choice, in their order; together they are 1.
    """

    choice: T
    probabilities: dict[T, float]


class Option(NamedTuple):
    """A choice, and its text as an answer."""

    value: Any
    text: str


def choices_of(choices: Any) -> list[Option]:
    """Return the choices of a type or of a list of values. Raise :class:`ConfigError` for anything else."""
    if choices is bool:
        return [Option(True, "Yes"), Option(False, "No")]
    if isinstance(choices, type) and issubclass(choices, enum.Enum):
        options = [Option(each, str(each.value)) for each in choices]
    elif isinstance(choices, str | bytes | type) or not isinstance(choices, Iterable):
        raise ConfigError(f"choices is {choices!r:.80}", suggestion="Give bool, an Enum, or a list of values.")
    else:
        options = [Option(each, str(each)) for each in cast("Iterable[Any]", choices)]
    if len(options) < 2:
        raise ConfigError(f"choices has {len(options)} values, and a decision needs at least 2")
    return options


def decision(options: Sequence[Option], probabilities: Sequence[float]) -> Decision[Any]:
    """Return the decision between ``options``."""
    found = {option.value: each for option, each in zip(options, probabilities, strict=True)}
    return Decision(max(found, key=lambda value: found[value]), found)
