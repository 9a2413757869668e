"""The sync prediction stream."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from ..protocol.llm import Fragment, PredictMessage
from .async_stream import AsyncPredictionStream, PredictionStreamBase
from .background import finish, run
from .blocking import documented_as
from .prediction import PredictionResult

T = TypeVar("T")


class PredictionStream(PredictionStreamBase[T]):
    """A running prediction: iterate over its fragments, then get its :meth:`result`.

    Leaving the iteration early, or the ``with`` block, stops the engine's work. :meth:`cancel` may be called from
    another thread.
    """

    def __init__(self, stream: AsyncPredictionStream[T]) -> None:
        super().__init__(stream._session, stream._parameter, stream._callbacks)

    def __enter__(self) -> Self:
        if not self._state.started:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Fragment]:
        if not self._state.started:
            self.start()
        try:
            while not self._state.finished:
                for message in self._receive_blocking():
                    if (fragment := self._state.take(message)) is not None:
                        yield fragment
        finally:
            self.close()

    @documented_as(AsyncPredictionStream[Any].start)
    def start(self) -> None:
        run(self._start())

    @documented_as(AsyncPredictionStream[Any].messages)
    def messages(self) -> Iterator[PredictMessage]:
        if not self._state.started:
            self.start()
        try:
            while not self._state.finished:
                for message in self._receive_blocking():
                    self._state.take(message)
                    yield message
        finally:
            self.close()

    @documented_as(AsyncPredictionStream[Any].wait_for_result)
    def wait_for_result(self) -> PredictionResult[T]:
        for _ in self:
            pass
        return self.result()

    @documented_as(AsyncPredictionStream[Any].cancel)
    def cancel(self) -> None:
        run(self._cancel())

    @documented_as(AsyncPredictionStream[Any].close)
    def close(self) -> None:
        finish(self._close())
