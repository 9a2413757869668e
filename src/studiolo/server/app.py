"""The app: every route that the server answers."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from litestar import Litestar, Request, WebSocket, get, websocket
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, WebSocketDisconnect
from litestar.response import Response

from .._version import __version__
from ..dialects.lmstudio.connection import Connection
from ..dialects.lmstudio.context import Context
from ..host.host import Host
from ..protocol.endpoints import NAMESPACES
from .token_file import TokenFile


def create_app(host: Host, *, is_daemon: bool = False, tokens: TokenFile | None = None) -> Litestar:
    """An app that answers for ``host``; starting and stopping the host is the caller's business.

    Parameters:
        is_daemon: whether it serves in the background.
        tokens: what lets clients in; by default everyone is.
    """

    @get("/lmstudio-greeting", sync_to_thread=False)
    def greeting() -> dict[str, Any]:
        """What LM Studio's clients look for when they search for a server."""
        return {"lmstudio": True, "studiolo": __version__}

    @get("/health", sync_to_thread=False)
    def health(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Whether the server is well. What it runs is told to those who are let in."""
        told: dict[str, Any] = {"status": "ok", "version": __version__}
        if tokens is None or tokens.knows_bearer(request.headers.get("authorization")):
            told["instances"] = [{"identifier": i.identifier, "state": i.state} for i in host.instances.all()]
        return told

    knows = None if tokens is None else tokens.knows
    sockets = [_namespace_socket(Context(host, namespace, is_daemon, knows=knows)) for namespace in NAMESPACES]
    return Litestar(
        [greeting, health, *sockets],
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: _http_error},
    )


def _namespace_socket(context: Context) -> Any:
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
            except (WebSocketDisconnect, RuntimeError, OSError) as error:  # uvicorn's words for a socket that is gone
                raise ConnectionError(str(error)) from None

        # LM Studio's client for Python connects with httpx, which says so; all others use other libraries.
        is_python = socket.headers.get("user-agent", "").startswith("python-httpx/")
        await Connection(replace(context, is_official_python=is_python), receive, send).run()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            await socket.send({"type": "websocket.close", "code": 1000, "reason": ""})

    return serve


def _http_error(_: ASGIConnection[Any, Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    return Response({"error": {"message": error.detail, "code": error.status_code}}, status_code=error.status_code)
