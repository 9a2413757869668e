"""The events of the host's log: prompts, answers, engines, and the process's own log records."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Generator

from ..domain.events import EngineMessage, HostMessage, LogEvent, LogLevel, PredictionInput, PredictionOutput
from ..domain.generation import Fragment, PredictionResult, ToolCallFailed, ToolCallFinished
from ..engines.base import Engine
from .events import Events, Subscription

MAX_LOGGED_CHARS = 1_000_000
"""Characters of a prompt, or of an answer, in a log event at most."""

UNPUBLISHED = "studiolo.lmstudio.warnings"
"""The logger of clients' warnings, which are no log events: a client may warn about a log event."""

LogEvents = Events[LogEvent]

_LEVELS: dict[int, LogLevel] = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning"}


class PredictionLog:
    """The log events of one prediction: the model's input and output.

    Parameters:
        events: receives them; ``None`` for no log.
        model_path: the model's, relative to the models folder.
        identifier: the instance's.
    """

    def __init__(self, events: LogEvents | None, model_path: str, identifier: str) -> None:
        self._events = events
        self._model_path = model_path
        self._identifier = identifier
        self._output: list[str] | None = None
        self._length = 0

    @property
    def watched(self) -> bool:
        """Whether there is a subscriber."""
        return self._events is not None and self._events.subscribed

    def input(self, text: str) -> None:
        """Publish the text that the model is given, before it is shortened to fit the context."""
        if self._events is not None and self._events.subscribed:
            self._output = []
            entry = PredictionInput(
                model_path=self._model_path, identifier=self._identifier, text=text[:MAX_LOGGED_CHARS]
            )
            self._events.publish(LogEvent(time.time(), entry))

    def add(self, event: object) -> None:
        """Collect the model's output, if its input was published."""
        if self._output is None or self._length >= MAX_LOGGED_CHARS:
            return
        text = ""
        if isinstance(event, Fragment):
            text = event.text
        elif isinstance(event, ToolCallFinished | ToolCallFailed):
            text = event.raw or ""
        self._output.append(text)
        self._length += len(text)

    def end(self, result: PredictionResult) -> None:
        """Publish the model's output, if its input was published."""
        if self._events is not None and self._output is not None:
            output = "".join(self._output)[:MAX_LOGGED_CHARS]
            entry = PredictionOutput(identifier=self._identifier, text=output, result=result)
            self._events.publish(LogEvent(time.time(), entry))


def publish_engine_log(
    events: LogEvents,
    level: LogLevel,
    message: str,
    engine: Engine,
    *,
    identifier: str,
    reference: str,
) -> None:
    """Publish an event of the engine of an instance."""
    if not events.subscribed:
        return
    entry = EngineMessage(
        level=level,
        text=message,
        engine=engine.name,
        engine_version=engine.version,
        identifier=identifier,
        instance=reference,
        pid=engine.process.pid,
    )
    events.publish(LogEvent(time.time(), entry))


@contextlib.contextmanager
def subscribed_log(events: LogEvents, backlog: int) -> Generator[Subscription[LogEvent], None, None]:
    """Subscribe to ``events``, and to the log records of the process, while the block lasts."""
    with events.subscribe(backlog) as subscription:
        handler = _Handler(subscription)
        logger = logging.getLogger("studiolo")
        logger.addHandler(handler)
        try:
            yield subscription
        finally:
            logger.removeHandler(handler)


class _Handler(logging.Handler):
    """Log records of any thread, as log events of one subscription."""

    def __init__(self, subscription: Subscription[LogEvent]) -> None:
        super().__init__()
        self._subscription = subscription
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == UNPUBLISHED:
            return
        entry = HostMessage(level=_LEVELS.get(record.levelno, "error"), text=record.getMessage())
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._subscription.put, LogEvent(record.created, entry))
