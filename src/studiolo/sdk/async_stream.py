"""Prediction streams: what the sync and the async one share, and the async one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Generator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ..deadline import UNLIMITED, Deadline
from ..errors import CancelledError, ChannelClosedError, UsageError
from ..protocol.llm import (
    INFILL,
    PREDICT,
    Fragment,
    InfillParameter,
    PredictionStats,
    PredictMessage,
    PredictParameter,
    with_time_limit,
)
from ..protocol.models import LlmInstanceInfo
from .arguments import validated
from .chat_parts import upload_media
from .prediction import PredictionCallbacks, PredictionResult, PredictionState
from .process_bound import ProcessBound
from .session import Session
from .timeouts import silence_limit
from .transports.base import ClientChannel

T = TypeVar("T")

HOST_GRACE_SEC = 0.2
"""How long after its time limit a host may end a prediction by itself; then it is cancelled."""

CANCEL_GRACE_SEC = 2.0
"""How long a host may take to end a prediction that is cancelled at its time limit."""


class PredictionStreamBase(ProcessBound, Generic[T]):
    """What the sync and the async stream share."""

    def __init__(
        self,
        session: Session,
        parameter: PredictParameter | InfillParameter,
        callbacks: PredictionCallbacks,
        timeout: float | Deadline | None = None,
    ) -> None:
        self._timeout = timeout
        self._deadline = UNLIMITED
        self._timer: asyncio.TimerHandle | None = None
        self._session = session
        self._parameter = parameter
        self._callbacks = callbacks
        self._state = PredictionState(callbacks)
        self._channel: ClientChannel[PredictMessage] | None = None
        self._pid = os.getpid()
        self._reading = threading.RLock()
        """Held by the one thread that starts the prediction, or waits for a message and processes it."""
        self._received: deque[PredictMessage] = deque()

    @property
    def stats(self) -> PredictionStats | None:
        """The stats; ``None`` until the prediction has ended."""
        return self._state.outcome.stats if self._state.outcome else None

    @property
    def queue_position(self) -> int | None:
        """While the prediction waits for a slot of the model: its position in the queue, from 1."""
        return self._state.queue_position

    @property
    def model_info(self) -> LlmInstanceInfo | None:
        """The model; ``None`` until the prediction has ended."""
        return self._state.outcome.model_info if self._state.outcome else None

    def result(self) -> PredictionResult[T]:
        """Return the result of a prediction that has ended; does not wait.

        Raises:
            UsageError: it has not ended.
            StudioloError: the error that it failed with.
        """
        return self._state.result()

    async def _start(self) -> None:
        self._state.begin()
        if self._state.error is not None:
            return  # closed before it was started
        if self._state.cancelled:
            self._state.error = CancelledError("The prediction was cancelled before it was started")
            return
        deadline = self._timeout if isinstance(self._timeout, Deadline) else Deadline(self._timeout, "The prediction")
        self._deadline = deadline
        with self._state.noting_failure():
            async with deadline.enforced("The prediction"):
                self._channel = await self._open(deadline)
        if (left := deadline.remaining()) is not None:
            self._timer = asyncio.get_running_loop().call_later(left + HOST_GRACE_SEC, self._cancel_at_limit)

    async def _open(self, deadline: Deadline) -> ClientChannel[PredictMessage]:
        if isinstance(self._parameter, InfillParameter):
            gap = validated(with_time_limit(self._parameter, deadline.remaining()))
            return await self._session.open("llm", INFILL, gap)
        await upload_media(self._session, self._parameter.history, deadline)
        parameter = validated(with_time_limit(self._parameter, deadline.remaining()))
        return await self._session.open("llm", PREDICT, parameter)

    def _cancel_at_limit(self) -> None:
        """Stop a prediction that its host has not ended at the time limit; fail it where that has no effect."""
        if (channel := self._channel) is not None:
            self._state.time_limit_reached = True
            channel.cancel()
            failure = self._deadline.error("The prediction")
            self._timer = asyncio.get_running_loop().call_later(CANCEL_GRACE_SEC, channel.fail, failure)

    async def _receive(self) -> Sequence[PredictMessage]:
        if self._channel is None:
            return []
        with self._state.noting_failure():
            return self._checked(await self._channel.receive(silence_limit("the prediction")))

    def _next_blocking(self) -> tuple[PredictMessage, Fragment | None] | None:
        """Wait for a message and process it; return it with its fragment, ``None`` at the end."""
        if self._channel is not None and self._pid != os.getpid():  # before the lock, which a fork may have copied held
            with self._state.noting_failure():
                raise UsageError(
                    "The prediction was started before this process was forked, and belongs to its parent",
                    suggestion="Start another one here.",
                )
        with self._reading:
            while not self._received:
                channel = self._channel
                if channel is None or self._state.finished:
                    return None
                with self._state.noting_failure():
                    self._received.extend(self._checked(channel.receive_blocking(silence_limit("the prediction"))))
            message = self._received.popleft()
            return message, self._state.take(message)

    def _checked(self, messages: list[PredictMessage]) -> list[PredictMessage]:
        if not messages and self._state.finished:
            return messages  # another thread has read the end, or closed the stream
        if not messages and self._state.time_limit_reached:
            raise self._deadline.error("The prediction")
        if not messages and self._state.cancelled:
            self._state.error = CancelledError("The prediction was cancelled before it began")
        elif not messages:
            raise ChannelClosedError("The host ended the prediction without a result")
        return messages

    async def _cancel(self) -> None:
        self._state.cancelled = True
        if self._channel is not None and self._pid == os.getpid():
            self._channel.cancel()

    async def _close(self) -> None:
        self._state.abandon()
        if self._timer is not None:
            self._timer.cancel()
        channel, self._channel = self._channel, None
        if channel is not None and self._pid == os.getpid():  # in a fork it continues: it is the parent's
            await channel.close()


class AsyncPredictionStream(PredictionStreamBase[T]):
    """A running prediction: iterate over its fragments, then get its :meth:`result`.

    Leaving the iteration early, or the ``async with`` block, stops the engine's work.
    """

    def __await__(self) -> Generator[Any, None, Self]:
        """Return the stream itself: LM Studio's async API returns streams from coroutines."""
        yield from ()
        return self

    async def __aenter__(self) -> Self:
        if not self._state.started:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def __aiter__(self) -> AsyncIterator[Fragment]:
        if not self._state.started:
            await self.start()
        try:
            while not self._state.finished:
                for message in await self._receive():
                    if (fragment := self._state.take(message)) is not None:
                        yield fragment
        finally:
            await self.close()

    async def start(self) -> None:
        """Send the request; reading the stream does so, too. Raise :class:`UsageError` on a second call."""
        await self._start()

    async def messages(self) -> AsyncIterator[PredictMessage]:
        """Iterate over all messages of the host, each after its callbacks were called."""
        if not self._state.started:
            await self.start()
        try:
            while not self._state.finished:
                for message in await self._receive():
                    self._state.take(message)
                    yield message
        finally:
            await self.close()

    async def wait_for_result(self) -> PredictionResult[T]:
        """Read to the end and return the result."""
        async for _ in self:
            pass
        return self.result()

    async def cancel(self) -> None:
        """Stop the prediction. Keep reading for the result, with the stop reason ``userStopped``."""
        await self._cancel()

    async def close(self) -> None:
        """Stop the prediction, if it still runs, and release its channel."""
        await self._close()

    aclose = close
    """LM Studio's name for :meth:`close`."""
