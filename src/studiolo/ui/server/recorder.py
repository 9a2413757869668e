"""Records the prompts and answers of predictions, as the engine has them, while a user wants it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from dataclasses import dataclass

from ...errors import StudioloError
from ...protocol.diagnostics import LogEvent, PredictionInputLog, PredictionOutputLog
from ..backend import backend
from ..notices import describe
from ..tasks import begin
from ..watchers import Watchers

KEPT = 100
"""Entries that are kept."""

MAX_CHARS = 200_000
"""Characters of an entry that are kept at most."""


@dataclass(frozen=True)
class Entry:
    """A prompt or an answer.

    Parameters:
        number: counts up.
        time: in seconds since 1970.
        kind: ``"prompt"`` or ``"answer"``.
        model: the identifier of the instance.
        text: exactly what the engine read or wrote.
        about: figures of an answer.
    """

    number: int
    time: float
    kind: str
    model: str
    text: str
    about: str = ""


class Recorder:
    """Records while it is on."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=KEPT)
        self.error = ""
        self.watchers = Watchers()
        self._numbers = itertools.count(1)
        self._task: asyncio.Task[None] | None = None

    @property
    def is_on(self) -> bool:
        """Whether it records."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin to record."""
        if not self.is_on:
            self.error = ""
            self._task = begin(self._run(), "record requests")

    async def stop(self) -> None:
        """Stop. What was recorded is kept."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self.watchers.call()

    def clear(self) -> None:
        """Forget what was recorded."""
        self.entries.clear()
        self.watchers.call()

    async def _run(self) -> None:
        stream = backend().client.diagnostics.stream_logs("llm.prediction.input", "llm.prediction.output")
        try:
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    if (entry := self._entry(event)) is not None:
                        self.entries.append(entry)
                        self.watchers.call()
        except StudioloError as error:
            self.error = describe(error)
            self.watchers.call()

    def _entry(self, event: LogEvent) -> Entry | None:
        number, moment = next(self._numbers), event.timestamp / 1000
        match event.data:
            case PredictionInputLog(model_identifier=model, input=text):
                return Entry(number, moment, "prompt", model, text[:MAX_CHARS])
            case PredictionOutputLog(model_identifier=model, output=text, stats=stats):
                about = ""
                if stats is not None:
                    about = f"{stats.predicted_tokens_count or 0} tokens, stop reason {stats.stop_reason}"
                return Entry(number, moment, "answer", model, text[:MAX_CHARS], about)
            case _:
                return None


_recorders: list[Recorder] = []


def recorder() -> Recorder:
    """Return the recorder of the pages."""
    if not _recorders:
        _recorders.append(Recorder())
    return _recorders[0]


async def stop_recorder() -> None:
    """Stop it and forget what it has, at the end of the pages."""
    for each in _recorders:
        await each.stop()
    _recorders.clear()
