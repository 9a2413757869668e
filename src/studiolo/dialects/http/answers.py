"""Answers of endpoints, whole and streamed, and clients that leave before they have them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from litestar.types import Receive, Scope, Send

from ...errors import CancelledError, StudioloError
from ...settings import ServerSettings
from .limits import limited

T = TypeVar("T")

_log = logging.getLogger("studiolo.server")

KEEP_ALIVE_SEC = 4.0
"""A stream that has nothing to say for so long sends a sign of life, where its dialect has one."""

_encode = msgspec.json.Encoder().encode


class Client:
    """The client of a request, which may leave at any time.

    Parameters:
        receive: the request's; its body was read.
    """

    def __init__(self, receive: Receive) -> None:
        self._gone = asyncio.create_task(_until_gone(receive), name="client of a request")

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Return what ``work`` returns. If the client leaves first, cancel it and raise :class:`CancelledError`."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, self._gone), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _cancelled(task)
            raise
        if not task.done():
            await _cancelled(task)
            raise CancelledError("The client has closed the connection")
        return task.result()

    @property
    def is_gone(self) -> bool:
        """Whether it has closed the connection."""
        return self._gone.done()

    async def close(self) -> None:
        """Stop watching the connection."""
        await _cancelled(self._gone)


@dataclass(frozen=True)
class Whole:
    """An answer that is sent at once.

    Parameters:
        body: anything that msgspec encodes, or the bytes themselves.
        status: the HTTP status.
        headers: further headers.
        media_type: the content type.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    media_type: str = "application/json"

    async def send(self, send: Send, headers: Mapping[str, str]) -> None:
        """Send it, with ``headers`` besides its own."""
        body = self.body if isinstance(self.body, bytes) else _encode(self.body)
        own = {"content-type": self.media_type, "content-length": str(len(body))}
        await send(_start(self.status, {**headers, **self.headers, **own}))
        await send({"type": "http.response.body", "body": body, "more_body": False})


class Streamed:
    """An answer that is sent as it is made.

    It begins with its first frame, so that an error until then is the answer, with a status of its own. Where that
    takes longer than ``patience_sec``, it begins with a sign of life instead.

    Parameters:
        frames: what is sent, in pieces; closed at the end.
        media_type: the content type.
        failure: returns the frame that reports an error after the beginning; the stream ends with it.
        keep_alive: what is sent where there is nothing to say; ``None`` for a dialect without a sign of life.
        patience_sec: how long the first frame is waited for.
        headers: further headers.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        media_type: str,
        failure: Callable[[StudioloError], bytes],
        *,
        keep_alive: bytes | None = None,
        patience_sec: float = 1.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._frames = frames
        self._media_type = media_type
        self._failure = failure
        self._keep_alive = keep_alive
        self._patience_sec = patience_sec
        self._headers = headers or {}
        self._first: asyncio.Task[bytes | None] | None = None
        self._sending_since: float | None = None
        self._is_stuck = False

    async def begin(self, client: Client) -> None:
        """Wait for the first frame. Raise what prevents it."""
        self._first = asyncio.create_task(_first(self._frames), name="first frame of a stream")
        try:
            async with asyncio.timeout(self._patience_sec):
                await client.wait_for(asyncio.shield(self._first))
        except TimeoutError:
            failure = self._first.exception() if self._first.done() else None
            if failure is not None:
                await self.close()
                raise failure from None
        except BaseException:
            await self.close()
            raise

    async def send(
        self, send: Send, headers: Mapping[str, str], client: Client, limits: ServerSettings, deadline: float
    ) -> None:
        """Send it, with ``headers`` besides its own, until it or its client is gone, or its time is over."""
        assert self._first is not None
        own = {"content-type": self._media_type, "cache-control": "no-store", "x-accel-buffering": "no"}
        await send(_start(200, {**headers, **self._headers, **own}))
        pump = asyncio.create_task(self._pump(self._first, send, limits, deadline), name="stream to a client")
        watch = asyncio.create_task(self._watch(pump, limits.idle_limit_sec), name="client that may stop reading")
        try:
            await client.wait_for(pump)
        except CancelledError:
            pass
        except asyncio.CancelledError:
            if not self._is_stuck:
                raise
            _log.warning("closed a connection: its client took nothing for %g s", limits.idle_limit_sec)
        finally:
            watch.cancel()

    async def close(self) -> None:
        """End whatever makes its frames."""
        if self._first is not None:
            await _cancelled(self._first)
        await self._frames.aclose()

    async def _watch(self, pump: asyncio.Task[None], idle_limit_sec: float) -> None:
        """End the pump of a client that has stopped reading."""
        now = asyncio.get_running_loop().time
        while True:
            since = self._sending_since
            if since is not None and now() - since >= idle_limit_sec:
                self._is_stuck = True
                pump.cancel()
                return
            await asyncio.sleep(idle_limit_sec if since is None else max(since + idle_limit_sec - now(), 0.01))

    async def _pump(
        self, first: asyncio.Task[bytes | None], send: Send, limits: ServerSettings, deadline: float
    ) -> None:
        now = asyncio.get_running_loop().time
        last = now() - KEEP_ALIVE_SEC if not first.done() else now()

        async def put(data: bytes) -> None:
            nonlocal last
            last = self._sending_since = now()
            await send({"type": "http.response.body", "body": data, "more_body": True})
            self._sending_since = None

        async def keep_alive(sign: bytes) -> None:
            while True:
                if now() - last >= KEEP_ALIVE_SEC:
                    await put(sign)
                await asyncio.sleep(max(last + KEEP_ALIVE_SEC - now(), 0.01))

        beside = None if self._keep_alive is None else asyncio.create_task(keep_alive(self._keep_alive))
        try:
            async with limited(deadline, limits):
                if frame := await first:
                    await put(frame)
                async for frame in self._frames:
                    if frame:
                        await put(frame)
        except StudioloError as error:
            await put(self._failure(error))
        except Exception as error:
            _log.error("a stream failed", exc_info=error)
            await put(self._failure(StudioloError(f"Internal error: {type(error).__name__}")))
        finally:
            if beside is not None:
                beside.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


Answer = Whole | Streamed


class AnswerApp:
    """The ASGI app that sends an answer."""

    def __init__(
        self, answer: Answer, headers: Mapping[str, str], client: Client, limits: ServerSettings, deadline: float
    ) -> None:
        self._answer = answer
        self._headers = headers
        self._client = client
        self._limits = limits
        self._deadline = deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if isinstance(self._answer, Whole):
                await self._answer.send(send, self._headers)
            else:
                await self._answer.send(send, self._headers, self._client, self._limits, self._deadline)
        finally:
            if isinstance(self._answer, Streamed):
                await self._answer.close()
            await self._client.close()


def sse(data: Any, event: str | None = None) -> bytes:
    """Return a server-sent event."""
    head = b"" if event is None else b"event: " + event.encode() + b"\n"
    return head + b"data: " + _encode(data) + b"\n\n"


SSE = "text/event-stream; charset=utf-8"
NDJSON = "application/x-ndjson"
SSE_COMMENT = b": keep-alive\n\n"
SSE_DONE = b"data: [DONE]\n\n"


def ndjson(data: Any) -> bytes:
    """Return a line of NDJSON."""
    return _encode(data) + b"\n"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first(frames: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(frames, None)


async def _cancelled(task: asyncio.Future[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


def _start(status: int, headers: Mapping[str, str]) -> Any:
    encoded = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": encoded}
