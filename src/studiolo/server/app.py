"""The app: the routes of every dialect, and the server's own."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from litestar import Litestar, MediaType, Request, get
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.plugins.base import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.response import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from .._version import __version__
from ..dialects.base import Dialect, ErrorAnswer, Serving
from ..errors import AuthenticationError, NoSuchRouteError, StudioloError, WrongMethodError
from ..page_contract import PREFIX
from .api_document import openapi, page
from .metrics import MEDIA_TYPE, metrics

_log = logging.getLogger("studiolo.server")

ToAnswer = Callable[[StudioloError, int], ErrorAnswer]


def create_app(serving: Serving, dialects: Mapping[str, Dialect], pages: ASGIApp | None = None) -> ASGIApp:
    """Return an app that answers for a host; the caller starts and stops the host.

    Parameters:
        pages: answers for the pages in the browser.
    """
    paths: set[str] = set()
    spoken = [(dialect, _dialect_app(dialect, serving, paths)) for dialect in dialects.values()]
    own = _own_app(serving, dialects)

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if pages is not None and _is_below(scope["path"], PREFIX):
            app = pages
        else:
            app = own if scope["path"] in OWN_PATHS else _chosen(scope, spoken) or own
        await app(scope, receive, send)

    return dispatch


class _App(Litestar):
    """Litestar without what it adds for pydantic and attrs, wherever these are installed, and which no route needs.

    That takes as long as a third of the server's start. Where a dialect of another package has imported pydantic, it
    may need it.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        if "pydantic" in sys.modules:
            return Litestar._get_default_plugins(plugins)
        return [*plugins, MsgspecDIPlugin()]


OWN_PATHS = ("/health", "/metrics", "/openapi.json", "/docs")


def _own_app(serving: Serving, dialects: Mapping[str, Dialect]) -> ASGIApp:
    @get("/health", sync_to_thread=False)
    def health(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Return whether the server is well; with its instances for clients that may use it."""
        answer: dict[str, Any] = {"status": "ok", "version": __version__}
        if serving.owner(request.headers) is not None:
            found = serving.host.instances.all()
            answer["instances"] = [{"identifier": i.identifier, "state": i.activity} for i in found]
        return answer

    @get("/metrics", media_type=MEDIA_TYPE, sync_to_thread=False)
    def figures(request: Request[Any, Any, Any]) -> str:
        """Return the figures of the server for Prometheus, to clients that may use it."""
        if serving.owner(request.headers) is None:
            raise _no_token()
        return metrics(serving)

    @get("/openapi.json", sync_to_thread=False)
    def document() -> dict[str, Any]:
        """Return the description of the routes for programs."""
        return openapi(dialects)

    @get("/docs", media_type=MediaType.HTML, sync_to_thread=False)
    def docs() -> str:
        """Return the description of the routes for people."""
        return page(dialects)

    return _App(
        [health, figures, document, docs],
        openapi_config=None,
        logging_config=None,
        exception_handlers=_handlers(_plain_answer),
    )


def _dialect_app(dialect: Dialect, serving: Serving, paths: set[str]) -> ASGIApp:
    """Return the app of one dialect, which answers for unknown paths and wrong methods in the dialect's form, too.

    Parameters:
        paths: takes the dialect's; those of all dialects are suggested where one was asked for without its beginning.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:  # else in a thread
        if serving.owner(connection.headers) is None:
            raise _no_token()

    app = _App(
        dialect.routes(serving),
        guards=[] if dialect.authenticates else [guard],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=serving.host.settings.current().server.max_body_bytes,
        exception_handlers=_handlers(dialect.error, paths),
    )
    paths.update(route.path for route in app.routes)

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        is_request = scope["type"] == "http"
        serving.load.requests += is_request
        try:
            await app(scope, receive, send)
        finally:
            serving.load.requests -= is_request

    return counted


def _no_token() -> AuthenticationError:
    return AuthenticationError(
        "Missing or invalid API token",
        suggestion="Send one of the server's: Authorization: Bearer TOKEN, or x-api-key: TOKEN.",
    )


def _chosen(scope: Scope, spoken: list[tuple[Dialect, ASGIApp]]) -> ASGIApp | None:
    """Return the app of the dialect that a request is for, by its path, then by its headers."""
    path, names = scope["path"], {name.decode("latin-1").lower() for name, _ in scope["headers"]}
    found: tuple[bool, int] = (False, -1)
    chosen: ASGIApp | None = None
    for dialect, app in spoken:
        lengths = [len(prefix) for prefix in dialect.prefixes if _is_below(path, prefix)]
        if dialect.header is not None and dialect.header in names and _is_below(path, dialect.shared_prefix):
            lengths.append(len(dialect.shared_prefix))
            rank = (True, max(lengths))
        elif lengths:
            rank = (False, max(lengths))
        else:
            continue
        if rank > found:
            found, chosen = rank, app
    return chosen


def _is_below(path: str, prefix: str) -> bool:
    return path == prefix.removesuffix("$") or prefix == "/" or path.startswith(f"{prefix}/")


def _near(path: str, paths: Collection[str]) -> str | None:
    """Return the route that is meant by a path without its beginning, or with another beginning before it."""
    path = re.sub("/+", "/", path).removesuffix("/")
    without = [known for known in paths if path and known.endswith(path)]
    before = [known for known in paths if known.count("/") > 1 and path.endswith(known)]
    return min(without, key=len) if without else max(before, key=len, default=None)


def _plain_answer(error: StudioloError, status: int) -> ErrorAnswer:
    return ErrorAnswer(status, {"error": {"message": str(error), "code": status}})


def _handlers(
    to_answer: ToAnswer,
    paths: Collection[str] = (),
) -> dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]]:
    def respond(error: StudioloError, status: int, headers: Mapping[str, str] | None = None) -> Response[Any]:
        answer = to_answer(error, status)
        usual = {"WWW-Authenticate": "Bearer"} if answer.status == 401 else {}
        return Response(answer.body, status_code=answer.status, headers={**usual, **(headers or {}), **answer.headers})

    def of_host(_: Request[Any, Any, Any], error: StudioloError) -> Response[Any]:
        return respond(error, error.http_status)

    def of_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        path = request.scope["path"]
        match error.status_code:
            case 404:
                near = _near(path, paths)
                suggestion = None if near is None else f"Did you mean {near}?"
                return respond(
                    NoSuchRouteError(f"There is no route {request.method} {path}", suggestion=suggestion), 404
                )
            case 405:
                return respond(WrongMethodError(f"{path} does not take {request.method}"), 405, error.headers)
            case status:
                return respond(StudioloError(error.detail), status, error.headers)

    def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return respond(StudioloError(f"Internal error: {type(error).__name__}"), 500)

    return {StudioloError: of_host, HTTPException: of_http, Exception: unexpected}
