"""The events of a response in the background, kept so that its stream can be read again from any of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from ...errors import PredictionError, StudioloError
from ..http.answers import SSE, SSE_COMMENT, Streamed, sse
from ..http.fields import wrong
from .errors import error_object

MAX_RECORD_BYTES = 8 * 2**20
"""The size of the events of one response at most: those of about 25,000 tokens."""


class Record:
    """The frames of a response, as far as it is made.

    Parameters:
        frames: those of one that has ended; ``None`` for one that begins.
    """

    def __init__(self, frames: Sequence[str] | None = None) -> None:
        self.frames = list(frames or ())
        self._size = 0
        self._has_ended = frames is not None
        self._changed = asyncio.Event()

    def add(self, frame: bytes) -> None:
        """Add a frame. Raise :class:`PredictionError` if there are too many to be kept."""
        self._size += len(frame)
        if self._size > MAX_RECORD_BYTES:
            raise PredictionError("The response has more events than are kept", suggestion='Leave out "stream".')
        self.frames.append(frame.decode())
        self._wake()

    def end(self, frames: Sequence[bytes] = ()) -> None:
        """End it, with ``frames``."""
        self.frames += [frame.decode() for frame in frames]
        self._has_ended = True
        self._wake()

    def streamed(self, after: int = -1) -> Streamed:
        """Return a stream of the events after the one of this number. It does not end the response when it ends."""
        return Streamed(self._following(after + 1), SSE, _interruption, keep_alive=SSE_COMMENT)

    async def _following(self, index: int) -> AsyncGenerator[bytes, None]:
        while True:
            while index < len(self.frames):
                yield self.frames[index].encode()
                index += 1
            if self._has_ended:
                return
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def wants_stream(query: Mapping[str, str]) -> bool:
    """Return whether a response is retrieved as a stream."""
    return query.get("stream", "false").lower() not in ("false", "0", "")


def starting_after(query: Mapping[str, str]) -> int:
    """Return the number of the event after which a stream begins; -1 for its beginning."""
    text = query.get("starting_after", "-1")
    if text != "-1" and not (text.isascii() and text.isdigit()):
        raise wrong("starting_after", "expected the sequence_number of an event")
    return int(text)


def _interruption(error: StudioloError) -> bytes:
    found = error_object(error)
    event = {"type": "error", "code": found["code"], "message": found["message"], "param": None, "sequence_number": 0}
    return sse(event, "error")
