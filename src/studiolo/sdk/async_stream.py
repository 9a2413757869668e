"""The async prediction stream."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import CancelledError, ChannelClosedError, UsageError
from ..protocol.llm import PREDICT, Fragment, PredictMessage, PredictParameter
from .prediction import Callbacks, PredictionResult, PredictionState, PredictionStreamBase
from .timeouts import get_sync_api_timeout, timed_out, within_limit
from .transports.base import ClientChannel
from .validation import sendable

if TYPE_CHECKING:
    from .async_client import AsyncClient


T = TypeVar("T")


class AsyncPredictionStream(PredictionStreamBase[T]):
    """A prediction as it happens: iterate over its fragments, then ask for its :meth:`result`.

    Leaving the iteration early, or the ``async with`` block, stops the engine's work.
    """

    def __init__(self, client: AsyncClient, parameter: PredictParameter, callbacks: Callbacks) -> None:
        super().__init__(PredictionState(callbacks))
        self._client = client
        self._parameter = parameter
        self._channel: ClientChannel[PredictMessage] | None = None
        self._pid = os.getpid()

    def __await__(self) -> Generator[Any, None, Self]:
        """Awaiting a stream gives the stream: LM Studio's async API hands streams out through ``await``."""
        yield from ()
        return self

    async def __aenter__(self) -> Self:
        if not self.state.started:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Send the request; reading the stream does so too. Raises :class:`UsageError` the second time."""
        self.state.begin()
        if self.state.cancelled:
            self.state.error = CancelledError("The prediction was cancelled before it was started")
            return
        with self.state.noting_failure():
            self._channel = await self._client.open("llm", PREDICT, sendable(self._parameter))

    async def __aiter__(self) -> AsyncIterator[Fragment]:
        if not self.state.started:
            await self.start()
        try:
            while not self.state.finished:
                for message in await self.next_messages():
                    if (fragment := self.state.take(message)) is not None:
                        yield fragment
        finally:
            await self.close()

    async def next_messages(self) -> Sequence[PredictMessage]:
        """The messages that have come since the last call, at least one, while the prediction runs."""
        if self._channel is None:
            return []
        with self.state.noting_failure():
            return self._checked(await within_limit(self._channel.receive(), "the prediction"))

    def next_messages_blocking(self) -> Sequence[PredictMessage]:
        """:meth:`next_messages`, for a thread that is not the event loop's."""
        if self._channel is None:
            return []
        with self.state.noting_failure():
            if self._pid != os.getpid():
                raise UsageError(
                    "The prediction was started before this process was forked, and belongs to its parent",
                    suggestion="Start another one here.",
                )
            try:
                return self._checked(self._channel.receive_blocking(get_sync_api_timeout()))
            except TimeoutError:
                raise timed_out("the prediction") from None

    def _checked(self, messages: list[PredictMessage]) -> list[PredictMessage]:
        if not messages and self.state.cancelled:
            self.state.error = CancelledError("The prediction was cancelled before it began")
        elif not messages:
            raise ChannelClosedError("The host ended the prediction without a result")
        return messages

    async def wait_for_result(self) -> PredictionResult[T]:
        """Read to the end and return the result."""
        async for _ in self:
            pass
        return self.result()

    async def cancel(self) -> None:
        """Stop the prediction. Go on reading for the result, which tells ``userStopped`` and what was generated."""
        self.state.cancelled = True
        if self._channel is not None and self._pid == os.getpid():
            self._channel.cancel()

    async def close(self) -> None:
        """Stop the prediction, if it still runs, and let go of it."""
        self.state.abandon()
        channel, self._channel = self._channel, None
        if channel is not None and self._pid == os.getpid():  # in a fork it goes on: it is the parent's
            await channel.close()

    aclose = close
    """LM Studio's name for the same."""
