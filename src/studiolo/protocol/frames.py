"""The frames of a namespace socket.

Parameters, messages and results stay undecoded here; :func:`decode_opaque` decodes them as the types of their endpoint.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from ..errors import ProtocolError
from ..struct_types import examined
from .errors import SerializedError
from .structs import Message, WireStruct

MAX_FRAME_BYTES = 64 * 2**20
"""The largest frame that either side accepts. The largest content is an image in base64."""


class Handshake(WireStruct, frozen=True):
    """The client's first frame."""

    auth_version: int
    client_identifier: str
    client_passkey: str
    studiolo_heartbeats: bool = False
    """Whether the client wants a :class:`Heartbeat` from time to time. Clients of LM Studio never do."""


class HandshakeAnswer(WireStruct, frozen=True, omit_defaults=False):
    success: bool


class HandshakeRefusal(WireStruct, frozen=True, omit_defaults=False):
    success: bool
    error: str


class CommunicationWarning(Message, frozen=True, tag="communicationWarning"):
    warning: str
    kind: str | None = None
    """The kind of fault, such as ``rpcResultTypeError``; sent since LM Studio's SDK 2.0.0."""


class KeepAlive(Message, frozen=True, tag="keepAlive"):
    pass


class KeepAliveAck(Message, frozen=True, tag="keepAliveAck"):
    pass


class Heartbeat(Message, frozen=True, tag="studioloHeartbeat"):
    """Sent by the server at intervals while a call or channel of the socket is open: the host is alive."""


class ChannelCreate(Message, frozen=True, tag="channelCreate", kw_only=True):
    endpoint: str
    channel_id: int
    creation_parameter: Raw = Raw(b"null")
    studiolo_heartbeat_sec: float | None = None
    """The interval of heartbeats that the client needs while the channel is open."""


class RawChannelSend(Message, frozen=True, tag="channelSend", kw_only=True):
    channel_id: int
    message: Raw = Raw(b"null")
    ack_id: int | None = None


class ChannelAck(Message, frozen=True, tag="channelAck", kw_only=True):
    channel_id: int
    ack_id: int


class RpcCall(Message, frozen=True, tag="rpcCall", kw_only=True):
    endpoint: str
    call_id: int
    parameter: Raw = Raw(b"null")
    studiolo_heartbeat_sec: float | None = None
    """The interval of heartbeats that the client needs until the answer."""
    studiolo_time_limit_sec: float | None = None
    """The time after which the host gives the call up."""


class SignalSubscribe(Message, frozen=True, tag="signalSubscribe", kw_only=True):
    endpoint: str
    subscribe_id: int
    creation_parameter: Raw = Raw(b"null")


class SignalUnsubscribe(Message, frozen=True, tag="signalUnsubscribe", kw_only=True):
    subscribe_id: int


class WritableSignalSubscribe(Message, frozen=True, tag="writableSignalSubscribe", kw_only=True):
    endpoint: str
    subscribe_id: int
    creation_parameter: Raw = Raw(b"null")


class WritableSignalUnsubscribe(Message, frozen=True, tag="writableSignalUnsubscribe", kw_only=True):
    subscribe_id: int


class WritableSignalUpdate(Message, frozen=True, tag="writableSignalUpdate", kw_only=True):
    subscribe_id: int
    patches: list[Any]
    tags: list[str]


ClientFrame = (
    CommunicationWarning
    | KeepAlive
    | ChannelCreate
    | RawChannelSend
    | ChannelAck
    | RpcCall
    | SignalSubscribe
    | SignalUnsubscribe
    | WritableSignalSubscribe
    | WritableSignalUnsubscribe
    | WritableSignalUpdate
)


class ChannelSend(Message, frozen=True, tag="channelSend", kw_only=True):
    channel_id: int
    message: Any


class ChannelClose(Message, frozen=True, tag="channelClose", kw_only=True):
    channel_id: int


class ChannelError(Message, frozen=True, tag="channelError", kw_only=True):
    channel_id: int
    error: SerializedError


class RpcResult(Message, frozen=True, tag="rpcResult", kw_only=True):
    call_id: int
    result: Any = None


class RawRpcResult(Message, frozen=True, tag="rpcResult", kw_only=True):
    call_id: int
    result: Raw = Raw(b"null")


class RpcError(Message, frozen=True, tag="rpcError", kw_only=True):
    call_id: int
    error: SerializedError


class SignalError(Message, frozen=True, tag="signalError", kw_only=True):
    subscribe_id: int
    error: SerializedError


class WritableSignalError(Message, frozen=True, tag="writableSignalError", kw_only=True):
    subscribe_id: int
    error: SerializedError


ServerFrame = (
    CommunicationWarning
    | KeepAliveAck
    | Heartbeat
    | RawChannelSend
    | ChannelAck
    | ChannelClose
    | ChannelError
    | RawRpcResult
    | RpcError
    | SignalError
    | WritableSignalError
)

MALFORMED = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What the decoders raise for a malformed frame; :class:`RecursionError` for one that is nested too deeply."""

encode = msgspec.json.Encoder().encode
decode_client_frame = msgspec.json.Decoder(examined(ClientFrame)).decode
decode_server_frame = msgspec.json.Decoder(examined(ServerFrame)).decode
decode_handshake = msgspec.json.Decoder(examined(Handshake)).decode


def decode_opaque(raw: Raw, kind: Any, what: str) -> Any:
    """Decode an opaque part as the type that its endpoint declares.

    Parameters:
        raw: the undecoded part.
        kind: a type for msgspec; ``None`` if the endpoint declares none, in which case the part is ignored.
        what: the subject of the error, such as ``"The parameter of llm/listLoaded"``.

    Raises:
        ProtocolError: the part is not of that type; the cause includes the path to the fault.
    """
    if kind is None:
        return None
    try:
        return msgspec.json.decode(raw, type=examined(kind))
    except MALFORMED as error:
        raise ProtocolError(f"{what} is malformed", cause=str(error)) from None
