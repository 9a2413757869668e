"""A namespace socket: the handshake, then concurrent calls and channels.

A malformed or unknown frame does not close the socket, which would end its other calls: the response is an error or a
warning.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec

from ...deadline import Deadline
from ...domain.progress import HEARTBEAT_SEC
from ...errors import HostError, ProtocolError, StudioloError
from ...host.log_events import UNPUBLISHED
from ...protocol import frames
from ...protocol.errors import SerializedError, serialize_error
from .context import Context, ServerChannel
from .dispatch import find_channel, find_rpc

HANDSHAKE_LIMIT_SEC = 10.0
MAX_OPEN_CALLS = 1000
"""Concurrent calls, and open channels, per socket at most. Further calls are read once an earlier one has ended;
further channels are refused, because only the client can close some."""

MIN_HEARTBEAT_SEC = 0.05
"""The shortest interval of heartbeats that a client gets."""

MAX_REPAIRED_CHARS = 4 * 2**20
"""The longest malformed frame that is searched for the call to answer, in characters."""

AUTH_VERSION = 1

TOKEN_NEEDED = (
    "Missing or invalid API token. "
    "Set LM_API_TOKEN in the environment, or pass api_token (Python) or apiToken (TypeScript) to the client."
)

_log = logging.getLogger("studiolo.lmstudio")
_warnings_log = logging.getLogger(UNPUBLISHED)


class Connection:
    """One socket of a client.

    Parameters:
        context: the host and the namespace.
        receive: returns the next frame; ``None`` once the client has disconnected.
        send: sends a frame; waits while the client does not read.
    """

    def __init__(
        self,
        context: Context,
        receive: Callable[[], Awaitable[str | bytes | None]],
        send: Callable[[str], Awaitable[None]],
    ) -> None:
        self._context = context
        self._receive = receive
        self._send_text = send
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._channels: dict[int, tuple[ServerChannel[Any], asyncio.Task[None]]] = {}
        self._intervals: dict[asyncio.Task[None], float] = {}
        """The intervals of heartbeats that open calls and channels need."""
        self._interval_added = asyncio.Event()

    async def run(self) -> None:
        """Serve the socket until the client disconnects, then cancel its open calls and channels."""
        try:
            if await self._handshake():
                while (frame := await self._receive()) is not None:
                    await self._handle(frame)
        finally:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def _handshake(self) -> bool:
        try:
            async with asyncio.timeout(HANDSHAKE_LIMIT_SEC):
                frame = await self._receive()
        except TimeoutError:
            await self._refuse(f"No authentication within {HANDSHAKE_LIMIT_SEC:.0f} s.")
            return False
        if frame is None:
            return False
        try:
            handshake = frames.decode_handshake(frame)
        except frames.MALFORMED as error:
            await self._refuse(f"The first frame is not a valid authentication: {error}")
            return False
        if handshake.auth_version != AUTH_VERSION:
            await self._refuse(f"Authentication version {handshake.auth_version} is not known; {AUTH_VERSION} is.")
            return False
        if self._context.accepts is not None and not self._context.accepts(
            handshake.client_identifier, handshake.client_passkey
        ):
            await self._refuse(TOKEN_NEEDED)
            return False
        self._context = replace(self._context, client=handshake.client_identifier)
        await self._send(frames.HandshakeAnswer(success=True))
        if handshake.studiolo_heartbeats:
            self._spawn(self._send_heartbeats())
        return True

    async def _send_heartbeats(self) -> None:
        """Send a heartbeat at intervals while a call or channel is open, so that its silence means a dead host."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            left = last + min(self._intervals.values(), default=HEARTBEAT_SEC) - loop.time()
            if left > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._interval_added.wait()
                self._interval_added.clear()
                continue
            last = loop.time()
            if self._calls or self._channels:
                await self._send(frames.Heartbeat())

    def _needs_heartbeats(self, task: asyncio.Task[None], interval_sec: float | None) -> None:
        """Send heartbeats at this interval, where it is shorter than the usual one, until ``task`` ends."""
        if interval_sec is not None and interval_sec < HEARTBEAT_SEC:
            self._intervals[task] = max(interval_sec, MIN_HEARTBEAT_SEC)
            self._interval_added.set()
            task.add_done_callback(lambda _: self._intervals.pop(task))

    async def _refuse(self, reason: str) -> None:
        await self._send(frames.HandshakeRefusal(success=False, error=reason))

    async def _handle(self, raw: str | bytes) -> None:
        try:
            frame = frames.decode_client_frame(raw)
        except frames.MALFORMED as error:
            await self._reject_frame(raw, error)
            return
        match frame:
            case frames.RpcCall():
                while len(self._calls) >= MAX_OPEN_CALLS:
                    await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
                call = self._spawn(self._answer(frame))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
                self._needs_heartbeats(call, frame.studiolo_heartbeat_sec)
            case frames.ChannelCreate():
                await self._open(frame)
            case frames.RawChannelSend():
                await self._deliver(frame)
            case frames.KeepAlive():
                await self._send(frames.KeepAliveAck())
            case frames.SignalSubscribe():
                error = self._serialized(_no_signal(self._context.namespace, frame.endpoint))
                await self._send(frames.SignalError(subscribe_id=frame.subscribe_id, error=error))
            case frames.WritableSignalSubscribe():
                error = self._serialized(_no_signal(self._context.namespace, frame.endpoint))
                await self._send(frames.WritableSignalError(subscribe_id=frame.subscribe_id, error=error))
            case frames.CommunicationWarning():
                _warnings_log.warning("%s warns (%s): %s", self._context.client, frame.kind or "unknown", frame.warning)
            case _:
                pass  # acknowledgements, and unsubscriptions: no subscription succeeds

    async def _reject_frame(self, raw: str | bytes, fault: Exception) -> None:
        """Answer a malformed frame with an error if its call can be identified, else with a warning.

        Clients write NaN and lone surrogates as Python and JavaScript do, or a value of a wrong type, and would wait
        forever for the response.
        """
        what = "a valid call" if isinstance(fault, msgspec.ValidationError) else "valid JSON"
        error = self._serialized(ProtocolError(f"The call is not {what}", cause=str(fault)))
        match _loosely_decoded(raw) if len(raw) < MAX_REPAIRED_CHARS else None:
            case {"type": "rpcCall", "callId": number} if _is_number(number):
                await self._send(frames.RpcError(call_id=number, error=error))
            case {"type": "channelCreate", "channelId": number} if _is_number(number) and number not in self._channels:
                await self._send(frames.ChannelError(channel_id=number, error=error))
            case _:
                await self._warn(f"Malformed frame: {fault}")

    async def _answer(self, call: frames.RpcCall) -> None:
        what = f"{self._context.namespace}/{call.endpoint}"
        try:
            endpoint, function = find_rpc(self._context.namespace, call.endpoint)
            parameter = frames.decode_opaque(call.parameter, endpoint.parameter, f"The parameter of {what}")
            async with Deadline(call.studiolo_time_limit_sec).enforced(what):
                result = await function(self._context, parameter)
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise  # the socket is closed
            error = HostError(f"The host cancelled {what}")
            await self._send(frames.RpcError(call_id=call.call_id, error=self._serialized(error)))
        except Exception as error:
            _log_unexpected(what, error)
            await self._send(frames.RpcError(call_id=call.call_id, error=self._serialized(error)))
        else:
            await self._send(frames.RpcResult(call_id=call.call_id, result=result))

    async def _open(self, create: frames.ChannelCreate) -> None:
        number = create.channel_id
        if number in self._channels:
            await self._warn(f"The channel {number} is already open.")
            return
        if len(self._channels) >= MAX_OPEN_CALLS:
            error = ProtocolError(
                f"This socket has {MAX_OPEN_CALLS} channels open, which is the limit",
                suggestion="Wait for some of them to end.",
            )
            await self._send(frames.ChannelError(channel_id=number, error=self._serialized(error)))
            return

        async def send(message: Any) -> None:
            await self._send(frames.ChannelSend(channel_id=number, message=message))

        channel: ServerChannel[Any] = ServerChannel(send, self._warn)
        task = self._spawn(self._serve(create, channel))
        self._channels[number] = (channel, task)
        self._needs_heartbeats(task, create.studiolo_heartbeat_sec)

    async def _serve(self, create: frames.ChannelCreate, channel: ServerChannel[Any]) -> None:
        number = create.channel_id
        what = f"{self._context.namespace}/{create.endpoint}"
        last: frames.ChannelClose | frames.ChannelError = frames.ChannelClose(channel_id=number)
        try:
            endpoint, function = find_channel(self._context.namespace, create.endpoint)
            channel.request = endpoint.request
            parameter = frames.decode_opaque(create.creation_parameter, endpoint.parameter, f"The parameter of {what}")
            await function(self._context, parameter, channel)
        except asyncio.CancelledError:
            pass  # the client cancelled, or disconnected
        except Exception as error:
            _log_unexpected(what, error)
            last = frames.ChannelError(channel_id=number, error=self._serialized(error))
        finally:
            del self._channels[number]
        await self._send(last)

    async def _deliver(self, frame: frames.RawChannelSend) -> None:
        if frame.ack_id is not None:
            await self._send(frames.ChannelAck(channel_id=frame.channel_id, ack_id=frame.ack_id))
        opened = self._channels.get(frame.channel_id)
        if opened is None:
            return  # it has just ended, while the client's frame was on its way
        channel, task = opened
        await asyncio.sleep(0)  # a channel opened just now sets ``request`` and ``on_cancel`` first
        accepted = dict[str, Any] if channel.request is None else channel.request
        try:
            message = frames.decode_opaque(frame.message, accepted, f"The message to channel {frame.channel_id}")
            if channel.request is not None:
                channel.requests.put_nowait(message)
                return
        except ProtocolError as error:
            await self._warn(str(error))
            return
        except asyncio.QueueFull:
            await self._warn(f"The channel {frame.channel_id} already has {channel.requests.maxsize} unread messages.")
            return
        if message.get("type") not in ("cancel", "stop"):
            await self._warn(f"The channel {frame.channel_id} accepts no messages of type {message.get('type')!r}.")
        elif channel.on_cancel is not None:
            channel.on_cancel()
        else:
            task.cancel()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _serialized(self, error: Exception) -> SerializedError:
        return serialize_error(error, one_not_found=self._context.is_official_python)

    async def _warn(self, warning: str) -> None:
        await self._send(frames.CommunicationWarning(warning=warning))

    async def _send(self, frame: Any) -> None:
        with contextlib.suppress(ConnectionError):  # ``run`` notices that the client has disconnected
            await self._send_text(frames.encode(frame).decode())


def _loosely_decoded(raw: str | bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    """Return whether a value can be the number of a call: a whole one of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _no_signal(namespace: str, name: str) -> ProtocolError:
    return ProtocolError(f"Unknown signal {name!r} in the namespace {namespace!r}")


def _log_unexpected(what: str, error: Exception) -> None:
    if not isinstance(error, StudioloError):
        _log.error("%s failed", what, exc_info=error)
