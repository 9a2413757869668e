"""A socket of the LM Studio wire, spoken to frame by frame."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from websockets.sync.client import ClientConnection, connect

HANDSHAKE = {"authVersion": 1, "clientIdentifier": "test", "clientPasskey": "test"}


class Socket:
    """A namespace socket, spoken to frame by frame."""

    def __init__(self, address: str, namespace: str, handshake: Any = HANDSHAKE) -> None:
        self.opened = contextlib.ExitStack()
        self.socket: ClientConnection = self.opened.enter_context(
            connect(f"ws://{address}/{namespace}", proxy=None, max_size=None)
        )
        self.send(handshake)

    def __enter__(self) -> Socket:
        assert self.receive() == {"success": True}
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.close()

    def send(self, frame: Any) -> None:
        self.socket.send(frame if isinstance(frame, str | bytes) else json.dumps(frame))

    def receive(self) -> Any:
        return json.loads(self.socket.recv(timeout=20))

    def call(self, endpoint: str, parameter: Any = None, number: int = 1) -> Any:
        self.send({"type": "rpcCall", "endpoint": endpoint, "callId": number, "parameter": parameter})
        return self.receive()


def messages(socket: Socket, endpoint: str, parameter: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages of a channel; an error is the last."""
    socket.send({"type": "channelCreate", "endpoint": endpoint, "channelId": 5, "creationParameter": parameter})
    received: list[dict[str, Any]] = []
    while (frame := socket.receive())["type"] == "channelSend":
        received.append(frame["message"])
    return [*received, frame["error"]] if frame["type"] == "channelError" else received


def query(**fields: Any) -> dict[str, Any]:
    return {"type": "query", "query": fields}
