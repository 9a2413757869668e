"""Progress of a prompt as clients see it: from exactly 0 to exactly 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from ..domain.progress import PromptProgress


@dataclass(frozen=True)
class PromptReport:
    """How far a prompt is processed.

    Parameters:
        ratio: 0 to 1, of what is not cached.
        tokens: the engine's figures; all 0 where it has given none.
    """

    ratio: float
    tokens: PromptProgress


class PromptReports:
    """Reports of one prediction: the first says 0, the last 1, whatever figures the engine gives between."""

    def __init__(self) -> None:
        self.latest = PromptReport(0.0, PromptProgress(0, 0))
        self._begun = self._done = False

    def take(self, progress: PromptProgress) -> Iterator[PromptReport]:
        """Return the reports that the engine's next figures bring."""
        if self._done:
            return
        yield from self._begin(progress)
        if progress.processed > progress.cached:
            yield from self._report(progress)

    def finish(self) -> Iterator[PromptReport]:
        """Return the reports that are due before the first token; none the second time."""
        if self._done:
            return
        known = self.latest.tokens
        yield from self._begin(known)
        if self.latest.ratio < 1.0:
            yield from self._report(replace(known, processed=known.total))

    def _begin(self, progress: PromptProgress) -> Iterator[PromptReport]:
        if self._begun:
            return
        self._begun = True
        self.latest = PromptReport(0.0, replace(progress, processed=progress.cached))
        yield self.latest

    def _report(self, progress: PromptProgress) -> Iterator[PromptReport]:
        self._done = progress.processed >= progress.total
        self.latest = PromptReport(progress.ratio, progress)
        yield self.latest
