"""Crashes of engines: the reports, the back-off before a restart, and the quarantine of a model."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..domain.events import CrashReport
from ..errors import EngineError, QuarantinedError
from ..settings import LimitSettings

BACKOFF_SEC = 0.5
"""The wait before the second restart within the window; the first does not wait, each further one twice as long."""

BACKOFF_LIMIT_SEC = 30.0

KEPT_REPORTS = 50


KEPT_RECORDS = 1000


class CrashKey(NamedTuple):
    """What crashes are counted by: the content of a model, and where its engine ran.

    Parameters:
        path, size_bytes, modified_ns: the model's file. One that has changed is another model.
        node: the machine; empty for this one.
    """

    path: Path
    size_bytes: int
    modified_ns: int
    node: str = ""


def crash_key(path: Path, node: str = "") -> CrashKey:
    """Return the key of the model at ``path`` as its file is now."""
    try:
        status = path.stat()
    except OSError:
        return CrashKey(path, 0, 0, node)
    return CrashKey(path, status.st_size, status.st_mtime_ns, node)


@dataclass
class _Record:
    times: deque[float] = field(default_factory=deque[float])
    quarantined_until: float = 0.0
    reason: str = ""


class Crashes:
    """The crashes of a host's engines.

    Parameters:
        clock: the time in seconds, from any start.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.reports: deque[CrashReport] = deque(maxlen=KEPT_REPORTS)
        self._clock = clock
        self._records: OrderedDict[CrashKey, _Record] = OrderedDict()

    def note(self, key: CrashKey, error: EngineError, limits: LimitSettings) -> None:
        """Count a crash; the last of too many puts the model in quarantine."""
        record = self._records.setdefault(key, _Record())
        self._records.move_to_end(key)
        if len(self._records) > KEPT_RECORDS:
            self._records.popitem(last=False)
        now = self._clock()
        record.times.append(now)
        record.reason = error.title
        _drop_old(record, now, limits)
        if len(record.times) >= limits.crash_limit:
            record.quarantined_until = now + limits.quarantine_sec
            record.times.clear()

    def forgive(self, key: CrashKey) -> None:
        """Forget the crashes of a model, because a user loads it explicitly."""
        self._records.pop(key, None)

    def quarantine_sec(self, key: CrashKey) -> float:
        """Return the seconds until the quarantine of a model ends; 0 where it is in none."""
        record = self._records.get(key)
        return 0.0 if record is None else max(record.quarantined_until - self._clock(), 0.0)

    def check(self, key: CrashKey, model_key: str) -> None:
        """Raise :class:`QuarantinedError` if the model is in quarantine."""
        left = self.quarantine_sec(key)
        if left:
            raise QuarantinedError(
                f"{model_key} is in quarantine for {left:.0f} s: its engine keeps crashing",
                cause=f"The last time: {self._records[key].reason}",
                suggestion="Load it explicitly (studiolo load) to try at once; studiolo status shows the crashes.",
                data={"model": model_key, "secondsLeft": round(left, 1)},
            )

    def restart_delay_sec(self, key: CrashKey, limits: LimitSettings) -> float:
        """Return the seconds to wait before the model's engine is restarted."""
        record = self._records.get(key)
        if record is None:
            return 0.0
        _drop_old(record, self._clock(), limits)
        earlier = len(record.times) - 1
        return min(BACKOFF_SEC * 2 ** (earlier - 1), BACKOFF_LIMIT_SEC) if earlier > 0 else 0.0


def _drop_old(record: _Record, now: float, limits: LimitSettings) -> None:
    while record.times and record.times[0] < now - limits.crash_window_sec:
        record.times.popleft()
