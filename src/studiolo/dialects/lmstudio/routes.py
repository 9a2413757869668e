"""The HTTP routes of LM Studio's WebSocket protocol: a greeting, and a socket for each namespace."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from litestar import WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.types import ControllerRouterHandler

from ..._version import __version__
from ...errors import StudioloError
from ...protocol.declarations import NAMESPACES
from ...protocol.frames import MAX_FRAME_BYTES
from ..base import ErrorAnswer, Serving
from .connection import Connection
from .context import Context


class LmStudio:
    """See :class:`studiolo.dialects.base.Dialect`."""

    max_message_bytes = MAX_FRAME_BYTES
    prefixes = ("/",)
    header = None
    shared_prefix = ""
    authenticates = True
    endpoints = ()

    def routes(self, serving: Serving) -> Sequence[ControllerRouterHandler]:
        """See :meth:`studiolo.dialects.base.Dialect.routes`."""
        accepts = None if serving.credentials is None else serving.credentials.accepts
        contexts = [Context(serving.host, namespace, serving.is_daemon, accepts=accepts) for namespace in NAMESPACES]
        return [_greeting, *(_namespace_socket(context) for context in contexts)]

    def error(self, error: StudioloError, status: int) -> ErrorAnswer:
        """See :meth:`studiolo.dialects.base.Dialect.error`."""
        return ErrorAnswer(status, {"error": {"message": str(error), "code": status}})


@get("/lmstudio-greeting", sync_to_thread=False)
def _greeting() -> dict[str, Any]:
    """Answer the probe by which LM Studio's clients discover a server."""
    return {"lmstudio": True, "studiolo": __version__}


def _namespace_socket(context: Context) -> ControllerRouterHandler:
    @websocket(f"/{context.namespace}")
    async def serve(socket: WebSocket[Any, Any, Any]) -> None:
        await socket.accept()

        async def receive() -> str | bytes | None:
            try:
                event = await socket.receive()
            except WebSocketDisconnect:
                return None
            if event["type"] != "websocket.receive":
                return None
            text = event.get("text")
            return text if text is not None else event.get("bytes")

        async def send(text: str) -> None:
            try:
                await socket.send({"type": "websocket.send", "text": text, "bytes": None})
            except (WebSocketDisconnect, RuntimeError, OSError) as error:  # what uvicorn raises for a closed socket
                raise ConnectionError(str(error)) from None

        # LM Studio's client for Python connects with httpx, which sends this header; no other client does.
        is_python = socket.headers.get("user-agent", "").startswith("python-httpx/")
        await Connection(replace(context, is_official_python=is_python), receive, send).run()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            await socket.send({"type": "websocket.close", "code": 1000, "reason": ""})

    return serve
