"""What happens in a host, for those who watch its logs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Generator
from importlib.metadata import version

from ..engines.base import Engine
from ..protocol.diagnostics import (
    LogEvent,
    LogLevel,
    PredictionInputLog,
    PredictionOutputLog,
    RuntimeLog,
    ServerLog,
)
from ..protocol.llm import Fragment, PredictionStats
from ..protocol.tools import ToolCallEnd, ToolCallFailed
from .events import Events, Subscription

MAX_LOGGED_CHARS = 1_000_000
"""Characters of a prompt, or of an answer, that a log event has at most."""

UNPUBLISHED = "studiolo.lmstudio.warnings"
"""The logger of what clients warn of: a client may warn of a log event, which must not make another one."""

LogEvents = Events[LogEvent]

_LEVELS: dict[int, LogLevel] = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn"}


class PredictionLog:
    """The log events of one prediction: what its model is given, and what it answers.

    Parameters:
        events: where they are published; ``None`` for nowhere.
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
        """Whether anybody listens."""
        return self._events is not None and self._events.heard

    def input(self, text: str) -> None:
        """Publish the text that the model is given. Of a prompt that is cut to its tokens it is the whole."""
        if self._events is not None and self._events.heard:
            self._output = []
            data = PredictionInputLog(
                model_path=self._model_path, model_identifier=self._identifier, input=text[:MAX_LOGGED_CHARS]
            )
            self._events.publish(_now(data))

    def add(self, event: object) -> None:
        """Note what the model says, where its input was published."""
        if self._output is None or self._length >= MAX_LOGGED_CHARS:
            return
        text = ""
        if isinstance(event, Fragment):
            text = event.content
        elif isinstance(event, ToolCallEnd | ToolCallFailed):
            text = event.raw_content or ""
        self._output.append(text)
        self._length += len(text)

    def end(self, stats: PredictionStats) -> None:
        """Publish what the model has said, where its input was published."""
        if self._events is not None and self._output is not None:
            output = "".join(self._output)[:MAX_LOGGED_CHARS]
            data = PredictionOutputLog(model_identifier=self._identifier, output=output, stats=stats)
            self._events.publish(_now(data))


def publish_engine_log(
    events: LogEvents,
    level: LogLevel,
    message: str,
    engine: Engine,
    *,
    identifier: str,
    reference: str,
) -> None:
    """Publish something that has happened to the engine of an instance."""
    if not events.heard:
        return
    data = RuntimeLog(
        level=level,
        message=message,
        engine_name=engine.name,
        engine_version=engine.version or _bundled_version(),
        engine_type="llama.cpp",
        model_identifier=identifier,
        instance_reference=reference,
        pid=engine.pid,
    )
    events.publish(_now(data))


@contextlib.contextmanager
def watching(events: LogEvents, backlog: int) -> Generator[Subscription[LogEvent], None, None]:
    """Subscribe to ``events``, and to what the process itself logs, while the block lasts."""
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
        data = ServerLog(content=record.getMessage(), level=_LEVELS.get(record.levelno, "error"))
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._subscription.put, LogEvent(record.created * 1000, data))


def _now(data: PredictionInputLog | PredictionOutputLog | RuntimeLog) -> LogEvent:
    return LogEvent(time.time() * 1000, data)


@functools.cache
def _bundled_version() -> str:
    return version("xllamacpp")
