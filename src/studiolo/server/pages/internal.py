"""The listener of the pages' client: LM Studio's protocol on a free port of loopback, for one API token.

The server's own address does not do: it may be one with TLS, for names that are not of loopback, and the pages would
need one of the user's API tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncGenerator, Callable

import uvicorn
from litestar.types import ASGIApp

from ...credentials import ApiToken, new_api_token
from ...dialects.base import Dialect, Serving
from ..listeners import LOOPBACK, listen
from ..quiet_server import QuietServer

CreateApp = Callable[[Serving, dict[str, Dialect]], ASGIApp]


class _OneToken:
    """Credentials with one API token, in memory alone."""

    def __init__(self, token: ApiToken) -> None:
        self._token = token

    def accepts(self, identifier: str, passkey: str) -> bool:
        given = f"{identifier}:{passkey}".encode()
        return hmac.compare_digest(f"{self._token.identifier}:{self._token.passkey}".encode(), given)

    def identify(self, token: str) -> str | None:
        return self._token.identifier if hmac.compare_digest(str(self._token).encode(), token.encode()) else None

    def has(self, identifier: str) -> bool:
        return identifier == self._token.identifier


@contextlib.asynccontextmanager
async def internal_listener(
    serving: Serving, dialect: Dialect, create_app: CreateApp
) -> AsyncGenerator[tuple[str, str], None]:
    """Listen until the block is left. Yields the address and the API token."""
    token = new_api_token()
    inner = Serving(serving.host, serving.is_daemon, _OneToken(token), serving.store)
    sockets = await listen(LOOPBACK, 0)
    server = QuietServer(
        uvicorn.Config(
            create_app(inner, {"lmstudio": dialect}),
            lifespan="off",
            log_level="warning",
            access_log=False,
            ws_max_size=dialect.max_message_bytes,
            ws_ping_interval=None,
            timeout_graceful_shutdown=1,
        )
    )
    task = asyncio.create_task(server.serve(sockets), name="listen for the pages")
    try:
        yield f"{LOOPBACK}:{sockets[0].getsockname()[1]}", str(token)
    finally:
        server.should_exit = True
        await task
        for listener in sockets:
            listener.close()
