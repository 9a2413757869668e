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
        super().__init__(stream._session, stream._parameter, stream._callbacks, stream._timeout)

    def __enter__(self) -> Self:
        self._start_once()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Fragment]:
        self._start_once()
        try:
            while (taken := self._next_blocking()) is not None:
                if (fragment := taken[1]) is not None:
                    yield fragment
        finally:
            self.close()

    @documented_as(AsyncPredictionStream[Any].start)
    def start(self) -> None:
        run(self._start())

    @documented_as(AsyncPredictionStream[Any].messages)
    def messages(self) -> Iterator[PredictMessage]:
        self._start_once()
        try:
            while (taken := self._next_blocking()) is not None:
                yield taken[0]
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

    def _start_once(self) -> None:
        if not self._state.started:  # without the lock for one that is: a fork may have copied it held
            with self._reading:
                if not self._state.started:
                    self.start()
