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

import httpx
import msgspec
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
from tests.support.spoilt_json import spoilt, texts_of
from tests.support.web import Web

pytestmark = pytest.mark.fuzz

LIMIT_SEC = 30.0
"""An answer that takes longer is a fault: the fake engine answers at once."""

LEFT_THE_FORM = b"The engine left the form required of the answer"
"""What may be the matter with the fake engine: it says the same, whatever schema it is to hold to."""

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

_HI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "1 2"}]
_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}
_FUNCTION = {"name": "f", "description": "does", "parameters": _SCHEMA}
_CHAT = {
    "model": "alpha",
    "messages": _HI,
    "tools": [{"type": "function", "function": _FUNCTION}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA}},
    "metadata": {"a": "b"},
    "logit_bias": {"1": 1},
    "chat_template_kwargs": {"a": 1},
    "temperature": 0.5,
    "stop": ["x"],
    "seed": 1,
    "max_tokens": 5,
    "stream": False,
}
_TEXT = {"model": "alpha", "prompt": "hi", "max_tokens": 5, "logprobs": 1, "stop": ["x"], "echo": False, "n": 1}
_OLLAMA = {
    "model": "alpha",
    "stream": False,
    "options": {"num_predict": 5, "stop": ["x"]},
    "keep_alive": 5,
    "think": False,
}
SENSIBLE: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": _CHAT,
    "/api/v0/chat/completions": {key: value for key, value in _CHAT.items() if key != "metadata"},
    "/v1/completions": _TEXT,
    "/api/v0/completions": _TEXT,
    "/v1/embeddings": {"model": "vectors", "input": ["a", "b"], "encoding_format": "float"},
    "/api/v0/embeddings": {"model": "vectors", "input": "a"},
    "/v1/responses": {
        "model": "alpha",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "instructions": "be",
        "tools": [{"type": "function", **_FUNCTION}],
        "text": {"format": {"type": "json_schema", "name": "a", "schema": _SCHEMA}},
        "metadata": {"a": "b"},
        "max_output_tokens": 5,
        "store": True,
    },
    "/v1/messages": {
        "model": "alpha",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "system": [{"type": "text", "text": "be"}],
        "tools": [{"name": "f", "description": "does", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "auto"},
        "metadata": {"user_id": "a"},
        "stop_sequences": ["x"],
    },
    "/v1/messages/count_tokens": {"model": "alpha", "messages": _HI, "system": "be"},
    "/api/chat": {
        **_OLLAMA,
        "messages": _HI,
        "tools": [{"type": "function", "function": _FUNCTION}],
        "format": _SCHEMA,
    },
    "/api/generate": {**_OLLAMA, "prompt": "hi", "system": "be", "format": _SCHEMA},
    "/api/embed": {"model": "vectors", "input": ["a", "b"], "options": {"num_ctx": 64}, "truncate": True},
    "/api/embeddings": {"model": "vectors", "prompt": "a"},
    "/api/show": {"model": "alpha", "verbose": False},
    "/api/v1/chat": {"model": "alpha", "input": [{"type": "text", "content": "hi"}], "temperature": 0.5, "store": True},
    "/api/v1/models/load": {"model": "alpha", "context_length": 64, "echo_load_config": True},
}
"""Bodies that are answered, by their routes: what is wrong with one is then all that is."""

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
    if route.path in SENSIBLE and draw(st.booleans()):
        body = draw(spoilt(json.dumps(SENSIBLE[route.path]).encode()))
        kind = TYPES[0]
    else:
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
        capabilities = msgspec.structs.replace(
            fake.CAPABILITIES, grammars=frozenset({"llguidance"}), log_probabilities=True
        )
        patch.setattr(fake, "CAPABILITIES", capabilities)
        patch.setattr(fake.FakeEngine, "capabilities", capabilities)
        fake.models["alpha"] = fake.FakeModel(tokens=('{"a":', "1", "}"))
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


@pytest.mark.parametrize("path", SENSIBLE)
def test_the_bodies_that_are_then_spoilt_are_answered_on_a_fake_engine(server: ServerInThread, path: str) -> None:
    """Before the random ones, of which one may load the model with a context that is too small for these."""
    answer = httpx.post(f"{server.url}{path}", json=SENSIBLE[path], timeout=LIMIT_SEC)
    assert answer.status_code == 200, answer.text


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
    assert status < 500 or LEFT_THE_FORM in body, answer
    if status >= 400 and b"content-type: application/json" in head.lower():
        expected = sent.route.dialect.error(StudioloError("an error"), status).body
        assert shape(json.loads(body)).keys() >= {"error"} and shape(json.loads(body)).keys() == shape(expected).keys()
    elif status >= 400:
        assert not sent.whole or b"Invalid HTTP request" in body, answer
