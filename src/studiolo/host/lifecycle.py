"""The states of an instance, and the decisions about instances. Plain functions: nothing here waits or does I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from ..config import LoadConfig

State = Literal["loading", "ready", "draining", "crashed", "quarantined", "gone"]
"""The state of an instance.

- ``loading``: its engine is being started: for the first time, after a crash, or with another draft model.
- ``ready``: its engine runs.
- ``draining``: its engine runs, and the instance is unloaded when the last lease is released.
- ``crashed``: no engine runs; the next request starts one.
- ``quarantined``: crashed so often that no engine is started for a while.
- ``gone``: it takes no leases; its engine is being stopped, or has ended.
"""

TIMER_RESOLUTION_SEC = 0.001
"""How early a timer may fire. Without this margin, one that did would be set again and again for the rest."""

TRANSITIONS: dict[State, frozenset[State]] = {
    "loading": frozenset({"ready", "crashed", "quarantined", "gone"}),
    "ready": frozenset({"loading", "draining", "crashed", "quarantined", "gone"}),
    "draining": frozenset({"loading", "crashed", "quarantined", "gone"}),
    "crashed": frozenset({"loading", "quarantined", "gone"}),
    "quarantined": frozenset({"loading", "crashed", "gone"}),
    "gone": frozenset(),
}
"""The states that may follow each state."""


class Managed(Protocol):
    """What the decisions look at."""

    @property
    def state(self) -> State: ...
    @property
    def leases(self) -> Collection[object]: ...
    @property
    def evictable(self) -> bool: ...
    @property
    def ttl_sec(self) -> float | None: ...
    @property
    def idle_sec(self) -> float: ...


class Drafting(Protocol):
    """What the choice of an instance for a draft model looks at."""

    @property
    def state(self) -> State: ...
    @property
    def leases(self) -> Collection[object]: ...
    @property
    def model_path(self) -> Path: ...
    @property
    def draft_path(self) -> Path | None: ...
    @property
    def next_draft_path(self) -> Path | None: ...
    @property
    def undrafted_config(self) -> LoadConfig: ...


M = TypeVar("M", bound=Managed)
D = TypeVar("D", bound=Drafting)


def to_evict(instances: Iterable[M]) -> list[M]:
    """Return the instances that a load on demand replaces: those loaded on demand, but not those still loading."""
    return [each for each in instances if each.evictable and each.state != "loading"]


def overdue(instances: Iterable[M]) -> list[M]:
    """Return the instances that have been idle for their time to live."""
    return [each for each in instances if (left := _seconds_left(each)) is not None and left <= TIMER_RESOLUTION_SEC]


def next_deadline_sec(instances: Iterable[M]) -> float | None:
    """Return the seconds until an idle instance is overdue; ``None`` where none has a deadline."""
    return min((left for each in instances if (left := _seconds_left(each)) is not None), default=None)


def _seconds_left(instance: Managed) -> float | None:
    if instance.ttl_sec is None or instance.leases or instance.state in ("loading", "gone"):
        return None
    return instance.ttl_sec - instance.idle_sec


def place_draft(current: D, instances: Iterable[D], draft: Path) -> D | Literal["restart", "load"]:
    """Return where a prediction runs that names a draft model and holds the only or one of the leases of ``current``.

    An instance with the draft model is returned, of the same model and load config. Where there is none: ``restart``,
    where ``current`` may be restarted with the draft model because nobody else uses it; ``load`` for an instance of
    its own.

    Parameters:
        current: the instance that the request has resolved to.
        instances: all instances.
        draft: the file of the draft model.
    """
    same = [
        each
        for each in instances
        if each.model_path == current.model_path
        and each.state != "gone"
        and each.undrafted_config == current.undrafted_config
        and draft in (each.draft_path, each.next_draft_path)
    ]
    if current in same:
        return current
    if same:
        return min(same, key=lambda each: each.state == "draining")
    if current.draft_path is None and len(current.leases) <= 1:
        return "restart"
    return "load"
