"""The fields of a form of settings, made from the type and the docstring of a config."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Struct

_ABBREVIATIONS = {"lora": "LoRA"} | {name: name.upper() for name in ("cpu", "gpu", "kv", "mtp", "vram")}

_ENTRY = re.compile(r"^    (?P<names>\w[\w, \n]*?): (?P<text>.+?)(?=^    \w|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class SettingField:
    """A field of the form.

    Parameters:
        name: the name in the config.
        help: its meaning, unit and default.
        choices: the texts to choose from; empty for a field to enter a value in JSON.
        is_number: whether it takes a number.
        can_be_off: whether it takes ``false``.
        is_long: whether it takes a list or an object.
    """

    name: str
    help: str
    choices: tuple[str, ...] = ()
    is_number: bool = False
    can_be_off: bool = False
    is_long: bool = False

    @property
    def title(self) -> str:
        """The name for people."""
        words = self.name.replace("_", " ").capitalize()
        return " ".join(_ABBREVIATIONS.get(word.casefold(), word) for word in words.split())


@cache
def setting_fields(config: type[Struct], without: Set[str] = frozenset()) -> tuple[SettingField, ...]:
    """Return a field for each field of a config, in its order.

    Parameters:
        config: the type, whose docstring describes its fields.
        without: the names of fields to leave out.
    """
    hints = get_type_hints(config, include_extras=True)
    texts = described_fields(inspect.getdoc(config) or "")
    return tuple(
        _field(name, hints[name], texts.get(name, "")) for name in config.__struct_fields__ if name not in without
    )


def described_fields(docstring: str) -> dict[str, str]:
    """Return the text of each parameter in a docstring; several that share a text have it each."""
    _, _, parameters = docstring.partition("Parameters:\n")
    found: dict[str, str] = {}
    for entry in _ENTRY.finditer(parameters):
        text = " ".join(entry["text"].replace("``", "").split())
        for name in entry["names"].replace("\n", " ").split(","):
            found[name.strip()] = text[:1].upper() + re.sub(r":class:`~?([\w.]+)`", r"\1", text[1:])
    return found


def _field(name: str, hint: Any, text: str) -> SettingField:
    kinds = list(_kinds(hint))
    literals = [str(value) for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    plain = {kind for kind in kinds if isinstance(kind, type)}
    if literals and not plain - {bool}:
        return SettingField(name, text, choices=(*literals, "false") if bool in plain else tuple(literals))
    if plain == {bool}:
        return SettingField(name, text, choices=("true", "false"))
    parts = [
        part for kind in kinds if isinstance(kind, type) and issubclass(kind, Struct) for part in kind.__struct_fields__
    ]
    if parts:
        text = f"{text} JSON with any of {', '.join(parts)}."
    return SettingField(
        name,
        text,
        is_number=bool(plain & {int, float}),
        can_be_off=bool in plain,
        is_long=bool(plain - {int, float, bool, str}),
    )


def _kinds(hint: Any) -> list[Any]:
    """Return the types that a hint stands for, without ``None``."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _kinds(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return [kind for each in get_args(hint) for kind in _kinds(each)]
    if hint is type(None):
        return []
    return [hint if origin in (None, Literal) else origin]
