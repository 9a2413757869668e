"""The LoRA adapters that a load or a prediction asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias, cast

from msgspec import Meta, Struct

from ..errors import ConfigError

MAX_SCALE = 1e6


class LoraSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """A LoRA adapter, and how much it changes the model.

    Parameters:
        adapter: its key in the library, or the path of its file.
        scale: 1 as it was trained, 0 not at all.
    """

    adapter: Annotated[str, Meta(min_length=1)]
    scale: Annotated[float, Meta(ge=-MAX_SCALE, le=MAX_SCALE)] = 1.0


LoraList: TypeAlias = list[LoraSetting | tuple[str, float] | str]
"""Adapters as users write them: a name alone has the scale 1. msgspec keeps no limits of text and numbers in such a
union: :func:`lora_settings` checks them."""


def lora_settings(given: LoraList) -> list[LoraSetting]:
    """Return each of ``given`` in its full form. Raise :class:`ConfigError` for one without a name, or named twice."""
    settings = [_setting(each) for each in given]
    seen: set[str] = set()
    for setting in settings:
        if not setting.adapter or not -MAX_SCALE <= setting.scale <= MAX_SCALE:
            raise ConfigError(
                f"The setting 'lora' has the adapter {setting.adapter!r} with the scale {setting.scale}",
                suggestion="Give the key or path of an adapter, and a scale such as 0.5.",
            )
        if setting.adapter in seen:
            raise ConfigError(f"The setting 'lora' names {setting.adapter!r} twice", suggestion="Name it once.")
        seen.add(setting.adapter)
    return settings


def full_form(given: LoraList | None) -> LoraList | None:
    """Return the value of a field in its full form; one of a wrong type as it is, for the check of all fields."""
    items = cast("object", given)
    if not isinstance(items, list) or not all(map(_is_one, cast("Iterable[object]", items))):
        return given
    return [*lora_settings(given or [])]


def _is_one(value: object) -> bool:
    match value:
        case LoraSetting() | str() | (str(), int() | float()):
            return True
        case _:
            return False


def _setting(given: LoraSetting | tuple[str, float] | str) -> LoraSetting:
    if isinstance(given, LoraSetting):
        return given
    if isinstance(given, str):
        return LoraSetting(given)
    return LoraSetting(given[0], float(given[1]))
