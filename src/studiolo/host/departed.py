"""Instances that are no longer loaded: why, for the errors of those who still ask for them."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

KEPT = 256
"""The number of departed instances that are remembered, the newest ones."""

RECENT_START_SEC = 3600.0
"""How long after its start a host says that what was loaded before is gone."""


@dataclass(frozen=True)
class Departure:
    """The end of an instance.

    Parameters:
        identifier: the instance.
        model_key: its model.
        reason: a clause, such as ``after 2 s of idleness (its ttl)``.
    """

    identifier: str
    model_key: str
    reason: str
    at: float = field(default_factory=time.monotonic)

    @property
    def cause(self) -> str:
        """What happened, in a sentence."""
        ago = max(time.monotonic() - self.at, 0)
        model = "" if self.model_key == self.identifier else f" (model {self.model_key})"
        return f"{self.identifier!r}{model} was unloaded {self.reason}, {_duration(ago)} ago"

    @property
    def suggestion(self) -> str:
        """How to load it again."""
        named = self.identifier != self.model_key
        command = f"studiolo load {self.model_key}" + (f" --identifier {self.identifier}" if named else "")
        arguments = f"{self.model_key!r}" + (f", {self.identifier!r}" if named else "")
        return f"Load it again: {command}, or load_new_instance({arguments})."


class Departures:
    """The instances that left last, by identifier and by reference."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Departure] = OrderedDict()
        self._started = time.monotonic()

    def note(self, departure: Departure, reference: str) -> None:
        """Remember the end of an instance."""
        for name in (departure.identifier, reference):
            self._known.pop(name, None)
            self._known[name] = departure
        while len(self._known) > 2 * KEPT:
            self._known.popitem(last=False)

    def of(self, name: str | None) -> Departure | None:
        """Return the end of the instance with this identifier or reference; ``None`` if none is known."""
        return None if name is None else self._known.get(name)

    def restart(self) -> str | None:
        """Return a sentence about a host that started recently; ``None`` for any other."""
        uptime = time.monotonic() - self._started
        if uptime > RECENT_START_SEC:
            return None
        return f"This host started {_duration(uptime)} ago; what was loaded before its start is gone"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
