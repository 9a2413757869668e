"""Random bodies for every HTTP route, which no OpenAPI document describes: damaged, too deep, cut off, of wrong types.

Whatever comes, the answer is no server error, and an error has the form of the dialect.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import studiolo_fake_engine as fake
from hypothesis import given
from hypothesis import strategies as st

from studiolo.dialects import dialects
from studiolo.dialects.base import Dialect
from studiolo.dialects.http.endpoint import Endpoint
from studiolo.errors import StudioloError
from studiolo.paths import Home
from tests.support.fake_host import SETTINGS
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread, serving_in_thread
from tests.support.logged_errors import logged_errors
from tests.support.spoilt_json import texts_of
from tests.support.web import Web

pytestmark = pytest.mark.fuzz

LIMIT_SEC = 30.0
"""An answer that takes longer is a fault: the fake engine answers at once."""

WORDS = ("alpha", "vectors", "text", "user", "assistant", "system", "tool", "function", "object", "json_schema", "auto")


@dataclass(frozen=True)
class Route:
    """A route that reads a body, of the dialect whose errors it answers with."""

    dialect: Dialect
    endpoint: Endpoint[Any]
    method: str

    @property
    def path(self) -> str:
        return re.sub(r"\{\w+(?::\w+)?\}", "x", self.endpoint.path)


ROUTES = [
    Route(dialect, endpoint, method)
    for dialect in dialects().values()
    for endpoint in dialect.endpoints
    for method in endpoint.methods
    if endpoint.request is not None
]

TYPES = [
    *[b"application/json"] * 4,
    *(
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data",
        b"multipart/form-data; boundary=b",
    ),
    *(b"application/json; charset=utf-16", b"application/msgpack", b"\xff", b'a/b; c="', b"x" * 5000),
]
CODINGS = [*[b""] * 6, b"Content-Encoding: gzip\r\n", b"Content-Encoding: identity\r\n", b"Expect: 100-continue\r\n"]


@dataclass
class Sent:
    """A request.

    Parameters:
        content: all of its bytes.
        whole: whether they are a whole request of HTTP, which must have an answer.
    """

    route: Route
    content: bytes
    whole: bool


@st.composite
def requests(draw: st.DrawFn, route: Route) -> Sent:
    words = () if "delete" in route.path else WORDS  # the models stay
    body = draw(texts_of(route.endpoint.request, words))
    kind = draw(st.sampled_from(TYPES))
    if route.endpoint.form and draw(st.booleans()):
        kind, body = b"multipart/form-data; boundary=b", _as_form(draw, body)
    head = f"{route.method} {route.path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    head += b"Content-Type: %b\r\n" % kind if kind else b""
    head += draw(st.sampled_from(CODINGS))
    form = draw(st.sampled_from(["length"] * 4 + ["chunked", "cut", "cut chunk", "damaged chunk"]))
    if form == "length":
        head += b"Content-Length: %d\r\n" % len(body)
    elif form == "cut":
        head += b"Content-Length: %d\r\n" % (len(body) + draw(st.sampled_from([1, 1000, 10**8])))
    else:
        head += b"Transfer-Encoding: chunked\r\n"
        ends = {"chunked": b"0\r\n\r\n", "cut chunk": b"", "damaged chunk": b"zz\r\n"}
        body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + ends[form]
    return Sent(route, head + b"\r\n" + body, form in ("length", "chunked"))


def _as_form(draw: st.DrawFn, body: bytes) -> bytes:
    """Return a body of one part or more, perhaps without an end."""
    names = st.sampled_from(['"file"; filename="a.wav"', '"model"', '"include[]"', '"a[b]"', '"a"', "x", '"'])
    parts = [
        b"--b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % (draw(names).encode(), body)
        for _ in range(draw(st.integers(0, 3)))
    ]
    return b"".join(parts) + draw(st.sampled_from([b"--b--\r\n", b"--b--", b"", b"--b"]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInThread]:
    home = Home(tmp_path_factory.mktemp("bodies") / "home")
    home.create()
    home.settings.write_text(SETTINGS)
    add_model(home, "alpha")
    add_model(home, "vectors", architecture="bert")
    fake.reset()
    with pytest.MonkeyPatch.context() as patch, Web() as hub:  # the hub has nothing
        patch.setenv("STUDIOLO_HOME", str(home.root))
        patch.setenv("HF_ENDPOINT", hub.url)
        with serving_in_thread() as server, logged_errors() as errors:
            yield server
            assert errors.records == []
    fake.reset()


def answer_to(server: ServerInThread, sent: Sent) -> bytes:
    """Send a request and nothing more, and return all that is answered."""
    address = urlsplit(server.url)
    found = b""
    with socket.create_connection((address.hostname, address.port or 0), timeout=LIMIT_SEC) as connection:
        try:
            connection.sendall(sent.content)
            if not sent.whole:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 20):
                found += piece
        except (ConnectionResetError, BrokenPipeError):
            # The server has refused a request before its end: the reset overtakes its answer.
            return found if sent.whole else b""
    return found


def shape(value: Any) -> Any:
    """Return the names of the fields of a value, and of those in it."""
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else ""


@given(st.sampled_from(ROUTES).flatmap(requests))
def test_any_body_is_answered_and_a_refusal_has_the_form_of_the_dialect_on_a_fake_engine(
    server: ServerInThread, sent: Sent
) -> None:
    answer = answer_to(server, sent).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not answer:
        assert not sent.whole
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status < 500, answer
    if status >= 400 and b"content-type: application/json" in head.lower():
        expected = sent.route.dialect.error(StudioloError("an error"), status).body
        assert shape(json.loads(body)).keys() >= {"error"} and shape(json.loads(body)).keys() == shape(expected).keys()
    elif status >= 400:
        assert not sent.whole or b"Invalid HTTP request" in body, answer
