"""The frames of a namespace socket.

The opaque parts (parameters, messages, results) stay undecoded here: an endpoint's own types decode them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from ..errors import ProtocolError
from .errors import SerializedError
from .structs import Message, WireStruct

MAX_FRAME_BYTES = 64 * 2**20
"""The largest frame that either side takes; an image in base64 is the largest thing that travels."""


class Handshake(WireStruct):
    """The client's first frame."""

    auth_version: int
    client_identifier: str
    client_passkey: str


class HandshakeAnswer(WireStruct, omit_defaults=False):
    success: bool


class HandshakeRefusal(WireStruct, omit_defaults=False):
    success: bool
    error: str


class CommunicationWarning(Message, tag="communicationWarning"):
    warning: str


class KeepAlive(Message, tag="keepAlive"):
    pass


class KeepAliveAck(Message, tag="keepAliveAck"):
    pass


class ChannelCreate(Message, tag="channelCreate", kw_only=True):
    endpoint: str
    channel_id: int
    creation_parameter: Raw = Raw(b"null")


class RawChannelSend(Message, tag="channelSend", kw_only=True):
    channel_id: int
    message: Raw = Raw(b"null")
    ack_id: int | None = None


class ChannelAck(Message, tag="channelAck", kw_only=True):
    channel_id: int
    ack_id: int


class RpcCall(Message, tag="rpcCall", kw_only=True):
    endpoint: str
    call_id: int
    parameter: Raw = Raw(b"null")


class SignalSubscribe(Message, tag="signalSubscribe", kw_only=True):
    endpoint: str
    subscribe_id: int
    creation_parameter: Raw = Raw(b"null")


class SignalUnsubscribe(Message, tag="signalUnsubscribe", kw_only=True):
    subscribe_id: int


class WritableSignalSubscribe(Message, tag="writableSignalSubscribe", kw_only=True):
    endpoint: str
    subscribe_id: int
    creation_parameter: Raw = Raw(b"null")


class WritableSignalUnsubscribe(Message, tag="writableSignalUnsubscribe", kw_only=True):
    subscribe_id: int


class WritableSignalUpdate(Message, tag="writableSignalUpdate", kw_only=True):
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


class ChannelSend(Message, tag="channelSend", kw_only=True):
    channel_id: int
    message: Any


class ChannelClose(Message, tag="channelClose", kw_only=True):
    channel_id: int


class ChannelError(Message, tag="channelError", kw_only=True):
    channel_id: int
    error: SerializedError


class RpcResult(Message, tag="rpcResult", kw_only=True):
    call_id: int
    result: Any = None


class RawRpcResult(Message, tag="rpcResult", kw_only=True):
    call_id: int
    result: Raw = Raw(b"null")


class RpcError(Message, tag="rpcError", kw_only=True):
    call_id: int
    error: SerializedError


class SignalError(Message, tag="signalError", kw_only=True):
    subscribe_id: int
    error: SerializedError


class WritableSignalError(Message, tag="writableSignalError", kw_only=True):
    subscribe_id: int
    error: SerializedError


ServerFrame = (
    CommunicationWarning
    | KeepAliveAck
    | RawChannelSend
    | ChannelAck
    | ChannelClose
    | ChannelError
    | RawRpcResult
    | RpcError
    | SignalError
    | WritableSignalError
)

encode = msgspec.json.Encoder().encode
decode_client_frame = msgspec.json.Decoder(ClientFrame).decode
decode_server_frame = msgspec.json.Decoder(ServerFrame).decode
decode_handshake = msgspec.json.Decoder(Handshake).decode


def decode_opaque(raw: Raw, kind: Any, what: str) -> Any:
    """Decode an opaque part as the type that its endpoint declares.

    Parameters:
        raw: the part as it came.
        kind: a type for msgspec; ``None`` where nothing is expected, and then whatever came is ignored.
        what: the name for the error, such as ``"the parameter of llm/listLoaded"``.

    Raises:
        ProtocolError: what came is not of that type; the message names the path to the fault.
    """
    if kind is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"{what} is malformed", cause=str(error)) from None
