"""Endpoints: what a dialect declares of each of its routes, and how a server answers them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from litestar import Request, route
from litestar.types import ASGIApp, ControllerRouterHandler

from ...errors import StoreError
from ...host.host import Host
from ..base import Serving
from .answers import Answer, AnswerApp, Client, Streamed
from .attachments import resolve_attachments
from .fields import Fields, header_value, read_body, read_fields
from .limits import body_of, check_encoding, check_load, check_tools, limited
from .uploads import read_form

if TYPE_CHECKING:
    from ...store.store import Store

B = TypeVar("B")

IGNORED_FIELDS_HEADER = "studiolo-ignored-fields"

MAX_LOGGED = 1000
"""Unknown fields that are logged, once each."""

_log = logging.getLogger("studiolo.server")


@dataclass(frozen=True)
class Call(Generic[B]):
    """A request.

    Parameters:
        serving: the server.
        body: the body, or ``None`` for an endpoint without one.
        owner: the identifier of the API token that it came with; empty without one.
        address: the client's, on whose behalf it waits for a slot.
        path: the path's parameters.
        query: the query's, the last one of each name.
        headers: the request's, in lower case.
        ignored: what in the body has no effect: fields that nobody knows, and those that a handler adds. The answer's
            header names them.
    """

    serving: Serving
    body: B
    owner: str
    address: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    ignored: list[str] = field(default_factory=list[str])

    @property
    def host(self) -> Host:
        """The host that serves it."""
        return self.serving.host

    @property
    def store(self) -> Store:
        """The server's store. Raise :class:`StoreError` if it has none."""
        if self.serving.store is None:
            raise StoreError("This server stores nothing", suggestion='Send "store": false.')
        return self.serving.store

    @property
    def client(self) -> str:
        """On whose behalf it waits for a slot."""
        return self.owner or self.address


Method = Literal["GET", "HEAD", "POST", "DELETE"]


@dataclass(frozen=True, kw_only=True)
class Endpoint(Generic[B]):
    """A route of a dialect.

    Parameters:
        methods: the HTTP methods.
        path: the path; its parameters are in braces, as Litestar has them.
        summary: what it does, for the documentation.
        handle: answers a request.
        request: the type of the body; ``None`` for none.
        fields: how each field of the body is treated.
        response: the type of the whole answer, for the documentation.
        media_type: the content type of the whole answer, for the documentation.
        stream_type: the content type of a streamed answer, for the documentation; ``None`` where there is none.
        strict: whether unknown fields are refused in any case, as the upstream service does.
        status: the HTTP status of a whole answer.
        attachments: fields of the body whose messages may have documents, or images by their addresses.
        form: whether the body is a form with files, rather than JSON.
    """

    methods: Sequence[Method]
    path: str
    summary: str
    handle: Callable[[Call[B]], Awaitable[Answer]]
    request: type[B] | None = None
    fields: Fields = field(default_factory=dict[str, Any])
    response: Any = None
    media_type: str = "application/json"
    stream_type: str | None = None
    strict: bool = False
    status: int = 200
    attachments: Sequence[str] = ()
    form: bool = False


def handlers(
    endpoints: Iterable[Endpoint[Any]],
    serving: Serving,
    answer_headers: Callable[[], Mapping[str, str]] | None = None,
) -> list[ControllerRouterHandler]:
    """Return Litestar's handlers of ``endpoints``.

    Parameters:
        answer_headers: returns headers for each answer.
    """
    return [_handler(endpoint, serving, answer_headers) for endpoint in endpoints]


def _handler(
    endpoint: Endpoint[Any], serving: Serving, answer_headers: Callable[[], Mapping[str, str]] | None
) -> ControllerRouterHandler:
    logged: set[str] = set()

    async def answer(request: Request[Any, Any, Any]) -> ASGIApp:
        headers = dict(answer_headers()) if answer_headers is not None else {}
        body: Any = None
        ignored: list[str] = []
        limits = serving.host.settings.current().server
        deadline = asyncio.get_running_loop().time() + limits.request_limit_sec
        if endpoint.request is not None:
            check_load(serving.load, limits)
            check_encoding(request.headers.get("content-encoding", ""))
            content = await body_of(request.stream(), limits)
            content_type = request.headers.get("content-type", "")
            value = read_form(content_type, content) if endpoint.form else read_body(content)
            strict = endpoint.strict or limits.strict_fields
            body, ignored = read_fields(value, endpoint.request, endpoint.fields, strict=strict, of_text=endpoint.form)
            check_tools(body, limits)
            new = [name for name in ignored if name not in logged][: MAX_LOGGED - len(logged)]
            logged.update(new)
            if new:
                _log.warning("%s ignores unknown fields: %s", endpoint.path, header_value(new))
        client = Client(request.receive)
        try:
            async with limited(deadline, limits):
                found = await answered(request, body, ignored, client)
        except BaseException:
            await client.close()
            raise
        if ignored:
            headers[IGNORED_FIELDS_HEADER] = header_value(ignored)
        return AnswerApp(found, headers, client, limits, deadline)

    async def answered(request: Request[Any, Any, Any], body: Any, ignored: list[str], client: Client) -> Answer:
        if endpoint.attachments:
            await client.wait_for(resolve_attachments(serving.host, body, endpoint.attachments))
        call = Call(
            serving,
            body,
            owner=serving.owner(request.headers) or "",
            address=request.client.host if request.client else "",
            path={name: str(value) for name, value in request.path_params.items()},
            query={name: str(value) for name, value in request.query_params.items()},
            headers={name.lower(): value for name, value in request.headers.items()},
            ignored=ignored,
        )
        found = await client.wait_for(endpoint.handle(call))
        if isinstance(found, Streamed):
            await found.begin(client)
        return found

    return route(endpoint.path, http_method=list(endpoint.methods), status_code=endpoint.status)(answer)
