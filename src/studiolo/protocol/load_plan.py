"""Messages about the settings of a load and the memory that it takes: additions of studiolo's."""

from __future__ import annotations

from typing import Any, Literal

from .declarations import Rpc
from .models import EstimateUsageParameter, SpecifierParameter
from .structs import WireStruct


class SettingInForce(WireStruct, frozen=True):
    """A load setting in force.

    Parameters:
        name: the field of the load config.
        value: its value.
        origin: ``request``; ``modelSettings`` for the model's table in ``config.toml``; ``host`` for what the host
            chose for this machine; ``default``.
    """

    name: str
    value: Any
    origin: Literal["request", "modelSettings", "host", "default"]


class DeviceNeed(WireStruct, frozen=True):
    """The memory of a device that a load takes, and what is free there for models, in bytes."""

    name: str
    needed_bytes: int
    available_bytes: int


class LoadPlan(WireStruct, frozen=True, kw_only=True):
    """What a load would take, and the settings that would be in force: an addition of studiolo's.

    Parameters:
        context_length: tokens of each prediction.
        max_parallel_predictions: predictions that run at once.
        weights_bytes, kv_cache_bytes, total_bytes: its memory; the total has further parts.
        devices: the total by device; main memory first.
        guardrail: the level in force, or bytes.
        granted_bytes: what the guardrail grants of main memory; absent for no limit.
        fits: whether the guardrail grants it.
        largest_context_length: the longest context that it would grant; absent where none is short enough.
        settings: the settings in force; those that are left to the engine are absent.
    """

    context_length: int
    max_parallel_predictions: int
    weights_bytes: int
    kv_cache_bytes: int
    total_bytes: int
    devices: list[DeviceNeed]
    guardrail: str | int
    granted_bytes: int | None = None
    fits: bool
    largest_context_length: int | None = None
    settings: list[SettingInForce]


PLAN_LOAD: Rpc[EstimateUsageParameter, LoadPlan] = Rpc("studiolo.planLoad", EstimateUsageParameter, LoadPlan)
GET_LOAD_SETTINGS: Rpc[SpecifierParameter, list[SettingInForce]] = Rpc(
    "studiolo.getLoadSettings", SpecifierParameter, list[SettingInForce]
)
