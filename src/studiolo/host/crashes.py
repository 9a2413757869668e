"""Crashes of engines: what is told of them, how long a restart waits, and when a model is given up for a while."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from ..domain.events import CrashReport
from ..errors import EngineError, QuarantinedError
from ..settings import LimitSettings

BACKOFF_SEC = 0.5
"""The wait before the second restart within the window; the first does not wait, each further one twice as long."""

BACKOFF_LIMIT_SEC = 30.0

KEPT_REPORTS = 50


@dataclass
class _Record:
    stamp: tuple[int, int] | None
    times: deque[float] = field(default_factory=deque[float])
    quarantined_until: float = 0.0
    reason: str = ""


class Crashes:
    """What is known of crashes, by model file. A file that has changed begins anew."""

    def __init__(self) -> None:
        self.reports: deque[CrashReport] = deque(maxlen=KEPT_REPORTS)
        self._records: dict[Path, _Record] = {}

    def note(self, path: Path, error: EngineError, limits: LimitSettings) -> None:
        """Count a crash of the model at ``path``."""
        record = self._record(path)
        now = time.monotonic()
        record.times.append(now)
        record.reason = error.title
        _drop_old(record, now, limits)
        if len(record.times) >= limits.crash_limit:
            record.quarantined_until = now + limits.quarantine_sec
            record.times.clear()

    def forgive(self, path: Path) -> None:
        """Begin anew: somebody has decided to load the model."""
        self._records.pop(path, None)

    def quarantine_sec(self, path: Path) -> float:
        """Seconds that the model at ``path`` is still in quarantine; 0 where it is not."""
        return max(self._record(path).quarantined_until - time.monotonic(), 0.0)

    def check(self, path: Path, key: str) -> None:
        """Raises :class:`QuarantinedError` where the model is in quarantine."""
        left = self.quarantine_sec(path)
        if left:
            raise QuarantinedError(
                f"{key} is in quarantine for {left:.0f} s: its engine keeps crashing",
                cause=f"The last time: {self._record(path).reason}",
                suggestion="Load it explicitly (studiolo load) to try at once; studiolo status shows the crashes.",
                data={"model": key, "secondsLeft": round(left, 1)},
            )

    def restart_delay_sec(self, path: Path, limits: LimitSettings) -> float:
        """Seconds to wait before the engine of the model at ``path`` is started anew."""
        record = self._record(path)
        _drop_old(record, time.monotonic(), limits)
        earlier = len(record.times) - 1
        return min(BACKOFF_SEC * 2 ** (earlier - 1), BACKOFF_LIMIT_SEC) if earlier > 0 else 0.0

    def _record(self, path: Path) -> _Record:
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
        except OSError:
            stamp = None
        record = self._records.get(path)
        if record is None or record.stamp != stamp:
            record = self._records[path] = _Record(stamp)
        return record


def _drop_old(record: _Record, now: float, limits: LimitSettings) -> None:
    while record.times and record.times[0] < now - limits.crash_window_sec:
        record.times.popleft()
