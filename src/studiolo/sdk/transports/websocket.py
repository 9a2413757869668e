"""A host behind a server that speaks LM Studio's WebSocket protocol: studiolo's, or LM Studio's own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
import time
import uuid
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from ...addresses import Address
from ...credentials import ApiToken
from ...errors import AuthenticationError, ConnectionFailedError, ProtocolError, StudioloError, UsageError
from ...merging_queue import MergingQueue
from ...protocol import frames
from ...protocol.declarations import Channel, Rpc
from ...protocol.errors import deserialize_error
from ...struct_types import examined
from ..timeouts import heartbeat_interval, timed_out, while_not_silent, within_limit
from ..tls import tls_fault
from .base import ClientChannel, merge_messages

P = TypeVar("P")
R = TypeVar("R")

CONNECT_LIMIT_SEC = 10.0

CLOSE_LIMIT_SEC = 2.0
"""How long to wait for the server to close a connection: a server that hangs must not keep a program from ending."""

PING_INTERVAL_SEC = 20.0
PING_LIMIT_SEC = 60.0
"""A connection whose server answers no ping for so long is closed. It notices servers that vanished, because a cable
was pulled or this machine slept, and sent no farewell."""

_log = logging.getLogger("studiolo.client")

_inherited: list[object] = []
"""The parent's connections after a fork: kept from the garbage collector, because only the parent may close them."""


class WebSocketTransport:
    """The transport to a server. One socket a namespace, opened on first use and reopened when the connection is lost.

    Parameters:
        address: the server's address.
        token: the API token, for a server that requires one.
        token_fault: what is wrong with the API token that the user gave, if it is not a valid one.
        tls: the settings of TLS; ``None`` for a server without it.
    """

    def __init__(
        self,
        address: Address,
        token: ApiToken | None = None,
        *,
        token_fault: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self.address = str(address)
        self._token_fault = token_fault
        self._tls = tls
        self._identity = token or ApiToken(f"guest:{uuid.uuid4()}", str(uuid.uuid4()))
        self._sockets: dict[str, _Socket] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    async def call(
        self,
        namespace: str,
        endpoint: Rpc[P, R],
        parameter: P,
        limit_sec: float | None,
        time_limit_sec: float | None = None,
    ) -> R:
        """See :meth:`.base.Transport.call`."""
        what = f"the result of {namespace}/{endpoint.name}"
        socket = await within_limit(self._socket(namespace), what)
        raw = await socket.call(endpoint.name, parameter, limit_sec, what, time_limit_sec)
        return frames.decode_opaque(raw, endpoint.result, f"The result of {namespace}/{endpoint.name}")

    async def open(
        self, namespace: str, endpoint: Channel[P, R], parameter: P, limit_sec: float | None
    ) -> ClientChannel[R]:
        """See :meth:`.base.Transport.open`."""
        what = f"{namespace}/{endpoint.name}"
        socket = await within_limit(self._socket(namespace), what)
        return await socket.open(endpoint, parameter, limit_sec, what)

    async def close(self) -> None:
        """See :meth:`.base.Transport.close`."""
        self._adopt_loop()
        sockets, self._sockets = list(self._sockets.values()), {}
        await asyncio.gather(*(socket.close() for socket in sockets))

    def _adopt_loop(self) -> None:
        """Drop the sockets of another process or of an event loop that is closed.

        Raises:
            UsageError: the sockets belong to another event loop that still runs.
        """
        here = asyncio.get_running_loop()
        if self._pid != os.getpid():
            _inherited.append((self._sockets, self._loop))
        elif self._loop is here:
            return
        elif self._sockets and self._loop is not None and not self._loop.is_closed():
            raise UsageError(
                "This AsyncClient is connected in another event loop that still runs",
                suggestion="Make a client for each event loop, or close this one there first.",
            )
        self._sockets, self._locks = {}, {}
        self._loop, self._pid = here, os.getpid()

    async def _socket(self, namespace: str) -> _Socket:
        self._adopt_loop()
        async with self._locks.setdefault(namespace, asyncio.Lock()):
            socket = self._sockets.get(namespace)
            if socket is None or socket.lost:
                if socket is not None:
                    await socket.close()
                socket = _Socket(await self._connect(namespace), self.address)
                self._sockets[namespace] = socket
            return socket

    async def _connect(self, namespace: str) -> ClientConnection:
        url = f"{'ws' if self._tls is None else 'wss'}://{self._address.authority}/{namespace}"
        handshake = frames.Handshake(
            auth_version=1,
            client_identifier=self._identity.identifier,
            client_passkey=self._identity.passkey,
            studiolo_heartbeats=True,
        )
        try:
            async with asyncio.timeout(CONNECT_LIMIT_SEC):
                connection = await connect(
                    url,
                    ssl=self._tls,
                    max_size=frames.MAX_FRAME_BYTES,
                    proxy=None,
                    compression=None,
                    close_timeout=CLOSE_LIMIT_SEC,
                    ping_interval=PING_INTERVAL_SEC,
                    ping_timeout=PING_LIMIT_SEC,
                )
                try:
                    await connection.send(frames.encode(handshake).decode())
                    answer = msgspec.json.decode(await connection.recv(), type=examined(_HandshakeAnswer))
                except BaseException:
                    connection.transport.abort()
                    raise
        except ssl.SSLError as error:
            raise unreachable(self._address, *tls_fault(error)) from None
        except (OSError, TimeoutError, WebSocketException, ValueError, *frames.MALFORMED) as error:
            raise unreachable(self._address, f"{type(error).__name__}: {error}") from None
        if not answer.success:
            await connection.close()
            causes = " ".join(filter(None, (answer.error, self._token_fault)))
            raise AuthenticationError(f"The server at {self.address} refused this client", cause=causes)
        return connection


def unreachable(address: Address, cause: str, suggestion: str | None = None) -> ConnectionFailedError:
    """Return the error for a server that does not answer."""
    return ConnectionFailedError(
        f"The server at {address} is not reachable",
        cause=cause,
        suggestion=suggestion or 'Start one with "studiolo serve", or use Client("embedded") to run without one.',
    )


class _HandshakeAnswer(msgspec.Struct):
    success: bool
    error: str | None = None


class _Socket:
    """One namespace socket with its open calls and channels."""

    def __init__(self, connection: ClientConnection, address: str) -> None:
        self._connection = connection
        self._address = address
        self._last_id = 0
        self._calls: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self._channels: dict[int, WebSocketChannel[Any]] = {}
        self.lost = False
        self.last_frame_at = time.monotonic()
        self._reader = asyncio.create_task(self._read(), name=f"read {address}")

    async def call(
        self, name: str, parameter: Any, limit_sec: float | None, what: str, time_limit_sec: float | None
    ) -> msgspec.Raw:
        number = self._next_id()
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        try:
            frame = frames.RpcCall(
                endpoint=name,
                call_id=number,
                parameter=msgspec.Raw(frames.encode(parameter)),
                studiolo_heartbeat_sec=heartbeat_interval(limit_sec),
                studiolo_time_limit_sec=time_limit_sec,
            )
            async with self.silence_limit(limit_sec, what):
                await self.send(frame)
                return await answer
        finally:
            del self._calls[number]
            if answer.done() and not answer.cancelled():
                answer.exception()  # mark it as retrieved: send() may have raised the same loss

    async def open(
        self, endpoint: Channel[Any, R], parameter: Any, limit_sec: float | None, what: str
    ) -> WebSocketChannel[R]:
        number = self._next_id()
        channel: WebSocketChannel[R] = WebSocketChannel(self, number, endpoint, what)
        self._channels[number] = channel
        frame = frames.ChannelCreate(
            endpoint=endpoint.name,
            channel_id=number,
            creation_parameter=msgspec.Raw(frames.encode(parameter)),
            studiolo_heartbeat_sec=heartbeat_interval(limit_sec),
        )
        try:
            async with self.silence_limit(limit_sec, what):
                await self.send(frame)
        except BaseException:
            self.forget(number)
            raise
        return channel

    def remaining(self, began: float, limit_sec: float) -> float:
        """Seconds until the server will have been silent for ``limit_sec``, to someone who waits since ``began``."""
        return max(began, self.last_frame_at) + limit_sec - time.monotonic()

    def silence_limit(self, limit_sec: float | None, what: str) -> AbstractAsyncContextManager[None]:
        """Raise :class:`RequestTimeoutError` in the block once the server is silent for ``limit_sec``.

        Every frame that arrives on the socket restarts the limit, whatever it is for.
        """
        if limit_sec is None:
            return contextlib.nullcontext()
        began = time.monotonic()
        return while_not_silent(lambda: self.remaining(began, limit_sec), limit_sec, what)

    def forget(self, number: int) -> None:
        self._channels.pop(number, None)

    async def send(self, frame: Any) -> None:
        try:
            await self._connection.send(frames.encode(frame).decode())
        except ConnectionClosed as error:
            raise self._loss(error) from None

    async def close(self) -> None:
        await self._connection.close()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        error: Exception | None = None
        try:
            async for text in self._connection:
                self.last_frame_at = time.monotonic()
                try:
                    self._take(frames.decode_server_frame(text))
                except frames.MALFORMED as fault:
                    _log.warning("received a malformed frame from the server: %s", fault)
        except ConnectionClosed as closed:
            error = closed
        except asyncio.CancelledError:
            self._connection.transport.abort()  # the event loop ends and the client was not closed
            raise
        finally:
            self.lost = True
            loss = self._loss(error)
            for call in self._calls.values():
                if not call.done():
                    call.set_exception(loss)
            for channel in self._channels.values():
                channel.queue.close(loss)

    def _take(self, frame: Any) -> None:
        match frame:
            case frames.RawChannelSend(channel_id=number) if number in self._channels:
                self._channels[number].take(frame.message)
            case frames.ChannelClose(channel_id=number) if number in self._channels:
                self._channels.pop(number).queue.close()
            case frames.ChannelError(channel_id=number) if number in self._channels:
                self._channels.pop(number).queue.close(deserialize_error(frame.error))
            case frames.RawRpcResult(call_id=number) if number in self._calls:
                self._resolve(number, frame.result)
            case frames.RpcError(call_id=number) if number in self._calls:
                self._resolve(number, deserialize_error(frame.error))
            case frames.CommunicationWarning():
                _log.warning("the server warns: %s", frame.warning)
            case _:
                pass  # a heartbeat, or the answer to a call that was given up

    def _resolve(self, number: int, answer: msgspec.Raw | StudioloError) -> None:
        call = self._calls[number]
        if call.done():
            return
        if isinstance(answer, StudioloError):
            call.set_exception(answer)
        else:
            call.set_result(answer)

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _loss(self, error: Exception | None) -> ConnectionFailedError:
        return ConnectionFailedError(
            f"The connection to the server at {self._address} was lost",
            cause=str(error) if error else None,
            suggestion="The next call reconnects.",
        )


class WebSocketChannel(Generic[R]):
    """A channel on a namespace socket."""

    def __init__(self, socket: _Socket, number: int, endpoint: Channel[Any, R], what: str) -> None:
        self._socket = socket
        self._number = number
        self._endpoint = endpoint
        self._what = what
        self._cancelling: asyncio.Task[None] | None = None
        self.queue: MergingQueue[R] = MergingQueue(merge_messages)

    def take(self, message: msgspec.Raw) -> None:
        """Decode a message and put it in the queue."""
        try:
            decoded = frames.decode_opaque(message, self._endpoint.message, f"A message of {self._endpoint.name}")
        except ProtocolError as error:
            _log.warning("%s", error)  # probably from another version: ignore the message
        else:
            self.queue.put(decoded)

    async def receive(self, limit_sec: float | None) -> list[R]:
        """See :meth:`.base.ClientChannel.receive`."""
        async with self._socket.silence_limit(limit_sec, self._what):
            return await self.queue.get_all()

    def receive_blocking(self, limit_sec: float | None) -> list[R]:
        """See :meth:`.base.ClientChannel.receive_blocking`."""
        began, left = time.monotonic(), limit_sec
        while True:
            try:
                return self.queue.get_all_blocking(left)
            except TimeoutError:
                assert limit_sec is not None
                if (left := self._socket.remaining(began, limit_sec)) <= 0:
                    raise timed_out(self._what, limit_sec) from None

    def fail(self, error: Exception) -> None:
        """See :meth:`.base.ClientChannel.fail`."""
        self.queue.close(error)

    def cancel(self) -> None:
        """See :meth:`.base.ClientChannel.cancel`."""
        if self._cancelling is None:
            self._cancelling = asyncio.create_task(self._send_cancel())

    async def close(self) -> None:
        """See :meth:`.base.ClientChannel.close`."""
        if not self.queue.closed:
            self.cancel()
        if self._cancelling is not None:
            await self._cancelling
        self._socket.forget(self._number)
        self.queue.close()

    async def _send_cancel(self) -> None:
        message = msgspec.Raw(b'{"type":"cancel"}')
        with contextlib.suppress(ConnectionFailedError, TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_SEC):
                await self._socket.send(frames.RawChannelSend(channel_id=self._number, message=message))
