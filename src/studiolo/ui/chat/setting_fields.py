"""The prediction settings as fields of a form, made from the type and the docstring of the prediction config."""

from __future__ import annotations

import inspect
import re
import types
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ...config import PredictionConfig

_OTHER_NAMES = {"top_k", "top_p", "min_p"}
"""Second names of fields."""

_ELSEWHERE = {"structured", "system_prompt", "raw_tools"}
"""Fields that have an editor of their own, or that tools set."""

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
        return self.name.replace("_", " ").capitalize()


@cache
def setting_fields() -> tuple[SettingField, ...]:
    """Return every field, in the order of the config."""
    hints = get_type_hints(PredictionConfig, include_extras=True)
    texts = described_fields(inspect.getdoc(PredictionConfig) or "")
    skipped = _OTHER_NAMES | _ELSEWHERE
    return tuple(
        _field(name, hints[name], texts.get(name, ""))
        for name in PredictionConfig.__struct_fields__
        if name not in skipped
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
        choices = (*literals, "false") if bool in plain else tuple(literals)
        return SettingField(name, text, choices=choices)
    if plain == {bool}:
        return SettingField(name, text, choices=("true", "false"))
    if plain & {int, float}:
        return SettingField(name, text, is_number=True, can_be_off=bool in plain)
    return SettingField(name, text, is_long=plain != {str})


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
