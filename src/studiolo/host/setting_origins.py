"""The load settings in force, and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from ..config import LoadConfig, explicit_fields
from ..config.mismatch import DEFAULTS

Origin = Literal["request", "modelSettings", "host", "default"]
"""The request, the model's table in ``config.toml``, the host's choice for this machine, or the default."""


class SettingInForce(Struct, frozen=True):
    """A load setting in force.

    Parameters:
        name: the field of the load config.
        value: its value.
        origin: where it comes from.
    """

    name: str
    value: Any
    origin: Origin


def origins(asked: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Origin]:
    """Return the origin of each setting that a request or the model's settings have; the request's go first."""
    return {name: "request" if name in asked else "modelSettings" for name in [*own, *asked]}


def settings_in_force(config: LoadConfig, known: Mapping[str, Origin]) -> list[SettingInForce]:
    """Return the settings of a config in which every default is filled in, in the order of its fields.

    Fields that are left to the engine are absent.

    Parameters:
        known: the origins of those that were not chosen by the host.
    """
    values = {name: value for name, value in DEFAULTS.items() if value not in ("", [])} | explicit_fields(config)
    found: list[SettingInForce] = []
    for name in LoadConfig.__struct_fields__:
        if name not in values:
            continue
        is_default = name in DEFAULTS and values[name] == DEFAULTS[name]
        found.append(SettingInForce(name, values[name], known.get(name) or ("default" if is_default else "host")))
    return found
