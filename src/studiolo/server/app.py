"""The app: the routes of every dialect, and the server's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from litestar import Litestar, Request, Router, get
from litestar.exceptions import HTTPException
from litestar.response import Response

from .._version import __version__
from ..dialects.base import Dialect, Serving
from ..errors import StudioloError

_log = logging.getLogger("studiolo.server")

ErrorBody = Callable[[StudioloError, int], Any]


def create_app(serving: Serving, dialects: Iterable[Dialect]) -> Litestar:
    """Return an app that answers for a host; the caller starts and stops the host."""
    host, credentials = serving.host, serving.credentials

    @get("/health", sync_to_thread=False)
    def health(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Return whether the server is well; with its instances for clients that may use it."""
        answer: dict[str, Any] = {"status": "ok", "version": __version__}
        if credentials is None or credentials.accepts_bearer(request.headers.get("authorization")):
            answer["instances"] = [{"identifier": i.identifier, "state": i.activity} for i in host.instances.all()]
        return answer

    routers = [
        Router("/", route_handlers=dialect.routes(serving), exception_handlers=_handlers(dialect.error_body))
        for dialect in dialects
    ]
    return Litestar([health, *routers], openapi_config=None, logging_config=None, exception_handlers=_handlers(_body))


def _body(error: StudioloError, status: int) -> dict[str, Any]:
    return {"error": {"message": str(error), "code": status}}


def _handlers(body: ErrorBody) -> dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Response[Any]]]:
    def respond(error: StudioloError, status: int) -> Response[Any]:
        return Response(body(error, status), status_code=status)

    def of_host(_: Request[Any, Any, Any], error: StudioloError) -> Response[Any]:
        return respond(error, error.http_status)

    def of_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        return respond(StudioloError(error.detail), error.status_code)

    def unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return respond(StudioloError(f"Internal error: {type(error).__name__}"), 500)

    return {StudioloError: of_host, HTTPException: of_http, Exception: unexpected}
