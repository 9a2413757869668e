"""The responses of a llama-server as they come over the connection: whole ones, and the events of streamed ones.

A connection that breaks comes out as :class:`ConnectionError`, whatever comes that is no answer as
:class:`~studiolo.errors.PredictionError`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from typing import Protocol, TypeVar

import aiohttp

from .answers import MALFORMED, unreadable

MAX_EVENT_BYTES = 16 << 20
"""The longest event of a stream; llama-server's are kilobytes."""

MAX_ANSWER_BYTES = 512 << 20
"""The longest answer to a call that does not stream: the tokens of a text of a hundred megabytes."""

LOOK_SEC = 1.0
"""How often the connection of a response that is waited for is looked at."""

PACE_SEC = 1 / 30
PACE_PER_TOKEN_SEC = 0.002
"""Tokens that come faster than sixty a second are read together, thirty times a second: every wake-up of this process
takes a core from the engine's threads, which wait for each other. A stream gets there by two milliseconds a token, so
that a short answer is not held up, and the last token that is allowed is read when it is due. Slower tokens are passed
on as they come: to wait for the next one costs two wake-ups as well."""


@contextlib.asynccontextmanager
async def broken_connections_reported() -> AsyncGenerator[None, None]:
    try:
        yield
    except aiohttp.ClientError as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from None


@contextlib.asynccontextmanager
async def limited(path: str, limit_sec: float | None) -> AsyncGenerator[None]:
    """Raise :class:`ConnectionError` in the block when the answer to ``path`` has taken ``limit_sec``."""
    try:
        async with asyncio.timeout(limit_sec):
            yield
    except TimeoutError:
        raise ConnectionError(f"{path} was not answered within {limit_sec:g} s") from None


class Reader:
    """Reads a response as it comes.

    aiohttp does not wake its reader where it closes the connection for a fault in the transfer encoding. So this looks
    at the connection from time to time, while it is waited for.

    Parameters:
        response: its status and headers have come.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        self._connection = response.connection
        self._waits = self._was_closed = False
        self._look_later()

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection; ``None`` where it has ended."""
        return self._connection.transport if self._connection is not None else None

    async def read(self) -> bytes:
        """Return what has come; nothing at the end. Raise :class:`ConnectionError` if the connection breaks."""
        self._waits, self._was_closed = True, False
        try:
            return await self._content.readany()
        except RuntimeError as error:  # aiohttp's word for a connection that went while nobody was reading
            raise ConnectionError(str(error)) from None
        finally:
            self._waits = False

    def close(self) -> None:
        """Stop looking."""
        self._timer.cancel()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_SEC, self._look)

    def _look(self) -> None:
        transport = self.transport
        is_closed = self._waits and (transport is None or transport.is_closing())
        if is_closed and self._was_closed:  # and its end has not come meanwhile
            self._content.set_exception(ConnectionError("The connection was closed in the middle of an answer"))
            return
        self._was_closed = is_closed
        self._look_later()


@contextlib.contextmanager
def reading(response: aiohttp.ClientResponse) -> Generator[Reader]:
    """Read a response in the block."""
    reader = Reader(response)
    try:
        yield reader
    finally:
        reader.close()


async def body_of(path: str, reader: Reader) -> bytes:
    """Return the body of a response. Raise :class:`PredictionError` if it has no end."""
    pieces: list[bytes] = []
    length = 0
    while piece := await reader.read():
        pieces.append(piece)
        length += len(piece)
        if length > MAX_ANSWER_BYTES:
            raise unreadable(path, pieces[0], f"It is longer than {MAX_ANSWER_BYTES >> 20} MiB")
    return b"".join(pieces)


class _Counted(Protocol):
    """An event with the number of tokens so far."""

    @property
    def tokens_predicted(self) -> int: ...


E = TypeVar("E", bound=_Counted)


async def events_of(reader: Reader, decode_event: Callable[[bytes], E], max_tokens: int | None) -> AsyncIterator[E]:
    """Yield the server-sent events of a response, each decoded once.

    Parameters:
        max_tokens: how many the answer has at most.
    """
    rest = b""
    clock = asyncio.get_running_loop().time
    first: tuple[int, float] | None = None
    asked = clock()
    while chunk := await reader.read():
        began = clock()
        *events, rest = (rest + chunk).split(b"\n\n")
        if len(rest) > MAX_EVENT_BYTES:
            raise unreadable("a streamed request", rest, f"An event is longer than {MAX_EVENT_BYTES >> 20} MiB")
        tokens = 0
        for text in events:
            if (data := _data(text)) is not None and data != b"[DONE]":
                try:
                    event = decode_event(data)
                except MALFORMED as error:
                    raise unreadable("a streamed request", text, str(error)) from None
                tokens = event.tokens_predicted
                yield event
        pause = min(PACE_SEC, tokens * PACE_PER_TOKEN_SEC)
        if max_tokens is not None and tokens:
            first = first or (tokens, began)
            each = (began - first[1]) / max(tokens - first[0], 1)
            pause = min(pause, each * (max_tokens - tokens))
        pause -= clock() - began
        if began - asked > PACE_SEC / 2:
            pause = 0.0
        if pause > 0 and (transport := reader.transport) is not None:
            transport.pause_reading()  # what comes meanwhile waits in the kernel
            try:
                await asyncio.sleep(pause)
            finally:
                transport.resume_reading()
        asked = clock()
    if rest.strip():  # neither an event nor the end of the stream
        raise unreadable("a streamed request", rest, "It ended in the middle of an event")


def _data(text: bytes) -> bytes | None:
    """Return what a server-sent event says; ``None`` for a comment. Raise :class:`PredictionError` if it is none."""
    if text.startswith(b"data: ") and b"\n" not in text:
        return text[6:]
    found: list[bytes] = []
    for line in text.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            found.append(value.removeprefix(b" "))
        elif name == b"error":  # how older servers report one
            return b'{"error":%b}' % value
        elif name not in (b"", b"event", b"id", b"retry"):
            raise unreadable("a streamed request", text, "It is no event of a stream")
    return b"\n".join(found) if found else None
