"""The pages' address on the server. The pages are started by the first visit that is let through to them.

A visit needs the cookie of a session, which a one-time link begins; see ``docs/security.md``. Requests come from the
pages themselves: other pages of this machine have other ports, and cookies and ``SameSite`` do not distinguish those.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from http.cookies import CookieError, SimpleCookie
from typing import Any, cast
from urllib.parse import parse_qs

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from ...dialects.base import Dialect, Serving
from ...errors import ConfigError
from ...page_contract import BUILT_IN, GROUP, OWNER, PREFIX, ApiTokens, PageContext, Pages
from ...plugins import find
from ..access import is_own_page
from .answers import SECURITY, answer_json, answer_page, plain_page, refuse
from .internal import CreateApp, internal_listener
from .key import create_key, read_key
from .sessions import SESSION_SEC, PageSessions, sign_link

_CONTENT = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""NiceGUI's pages begin with scripts in the page, and compile templates. No other host is reached in any way."""

INSTALL = "pip install 'studiolo[ui]'"

_log = logging.getLogger("studiolo.server")


class PageGate:
    """The ASGI app of everything below ``/ui``.

    Parameters:
        serving: the server.
        dialect: LM Studio's, which the pages' client speaks.
        create_app: makes an app of dialects.
        address_for_users: the server's URL.
        api_tokens: changes the API tokens, where clients need one.
    """

    def __init__(
        self,
        serving: Serving,
        dialect: Dialect,
        create_app: CreateApp,
        address_for_users: str,
        api_tokens: ApiTokens | None = None,
    ) -> None:
        self._serving = serving
        self._dialect = dialect
        self._create_app = create_app
        self._address_for_users = address_for_users
        self._api_tokens = api_tokens
        credentials = serving.credentials
        self._sessions = PageSessions(credentials.has if credentials is not None else lambda _: False)
        self._running: asyncio.Task[None] | None = None
        self._started: asyncio.Future[ASGIApp] | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope["path"]
        if not is_own_page(scope):
            await refuse(scope, send, 403, "Not allowed", "Other pages may not use this address.")
        elif path == f"{PREFIX}/link":
            await self._make_link(scope, send)
        elif path == f"{PREFIX}/enter":
            await self._enter(scope, send)
        elif (owner := self._owner(scope)) is None:
            await refuse(
                scope,
                send,
                401,
                "Open the pages with a link",
                "Run `studiolo ui` on the computer of this server. It opens them with a link that can be used once.",
                "A link begins a session of seven days in this browser. This browser has none, or it has ended.",
            )
        else:
            await self._forward(owner, scope, receive, send)

    async def stop(self) -> None:
        """Stop the pages, if they were started."""
        self._stop.set()
        if self._running is not None:
            await self._running

    async def _make_link(self, scope: Scope, send: Send) -> None:
        """Answer the holder of an API token with a link, for a browser of its own."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await refuse(scope, send, 405, "Not allowed", "Run `studiolo ui` to get a link.")
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        owner = self._serving.owner(headers) if self._serving.credentials is not None else None
        if not owner:
            message = "A link needs an API token of the server, or studiolo ui on its computer."
            await answer_json(send, 401, {"error": {"message": message, "code": 401}})
            return
        try:
            code = sign_link(create_key(self._serving.host.home), _port(scope), owner)
        except ConfigError as error:
            await answer_json(send, 500, {"error": {"message": str(error), "code": 500}})
            return
        await answer_json(send, 200, {"path": f"{PREFIX}/enter?code={code}"})

    async def _enter(self, scope: Scope, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"), max_num_fields=4)
        code = query.get("code", [""])[0]
        key = self._key()
        cookie = self._sessions.begin(key, _port(scope), code) if key is not None else None
        if cookie is None:
            await refuse(
                scope,
                send,
                403,
                "This link is not valid",
                "A link can be used once, within five minutes. Run `studiolo ui` for another one.",
            )
            return
        attributes = f"Path={PREFIX}; Max-Age={SESSION_SEC:.0f}; HttpOnly; SameSite=Strict"
        secure = "; Secure" if scope["scheme"] in ("https", "wss") else ""
        # Not a redirect: a browser that came from elsewhere would send no strict cookie with it.
        await answer_page(
            send,
            200,
            plain_page("Opening", head=f'<meta http-equiv="refresh" content="0;url={PREFIX}/">'),
            {"set-cookie": f"{_cookie_name(scope)}={cookie}; {attributes}{secure}"},
        )

    def _owner(self, scope: Scope) -> str | None:
        if (key := self._key()) is None:
            return None
        for name, value in scope["headers"]:
            if name.lower() == b"cookie":
                with contextlib.suppress(CookieError):
                    morsel = SimpleCookie(value.decode("latin-1")).get(_cookie_name(scope))
                    if morsel is not None:
                        return self._sessions.owner(key, _port(scope), morsel.value)
        return None

    def _key(self) -> bytes | None:
        """Return the key of the pages; ``None`` if there is none that can be used."""
        try:
            return read_key(self._serving.host.home)
        except ConfigError as error:
            _log.error("nobody can open the pages: %s", error)
            return None

    async def _forward(self, owner: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            app = await self._app()
        except ImportError as error:
            _log.info("the pages cannot be imported: %s", error)
            await refuse(
                scope,
                send,
                501,
                "The pages are not installed",
                f"Install them for the Python of this server, and restart it: `{INSTALL}`",
            )
            return
        scope[OWNER] = owner  # pyright: ignore[reportGeneralTypeIssues]
        is_asset = scope["path"].startswith(f"{PREFIX}/_nicegui/")

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = {**SECURITY, "content-security-policy": _CONTENT}
                if is_asset:  # their addresses have the version
                    added["cache-control"] = "private, max-age=31536000, immutable"
                fields = [(name.encode(), value.encode()) for name, value in added.items()]
                kept = [(name, value) for name, value in message["headers"] if name.decode().lower() not in added]
                message["headers"] = [*kept, *fields]
            await send(message)

        await app(scope, receive, send_secured)

    async def _app(self) -> ASGIApp:
        """Return the app of the pages, started with the first call. Raise :class:`ImportError` if it is missing."""
        if self._started is None or (self._started.done() and self._started.exception() is not None):
            self._started = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._started), name="the pages")
        return await asyncio.shield(self._started)

    async def _run(self, started: asyncio.Future[ASGIApp]) -> None:
        try:
            async with self._opened() as app:
                started.set_result(app)
                await self._stop.wait()
        except Exception as error:
            if started.done():
                _log.error("the pages have failed", exc_info=error)
            else:
                started.set_exception(error)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Any, None]:
        point = find(GROUP, BUILT_IN)["ui"]
        pages = cast(Pages, await asyncio.to_thread(point.load))  # it takes a second
        host, store = self._serving.host, self._serving.store
        assert store is not None, "a server has a store"
        async with internal_listener(self._serving, self._dialect, self._create_app) as (address, token):
            context = PageContext(
                address=address,
                api_token=token,
                home=host.home,
                store=store,
                address_for_users=self._address_for_users,
                needs_token=self._serving.credentials is not None,
                shares_mcp_json=host.settings.current().server.mcp_json,
                api_tokens=self._api_tokens,
            )
            async with pages(context) as app:
                yield app


def _port(scope: Scope) -> int:
    server = scope["server"]
    return (server[1] if server is not None else None) or 0


def _cookie_name(scope: Scope) -> str:
    return f"studiolo-{_port(scope)}"
