"""The OpenAPI document is valid and true: whatever it allows or forbids is answered, and never with a server error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
import studiolo_fake_engine as fake
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from studiolo.dialects import dialects
from studiolo.paths import Home
from studiolo.server.api_document import openapi
from tests.support.fake_host import SETTINGS as FAKE_ENGINE
from tests.support.fake_models import add_model
from tests.support.http_server import ServerInThread, serving_in_thread
from tests.support.web import Web

ALIASES = '\n[server.aliases]\n"*" = "alpha"\n'

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

OPERATIONS = {
    (method, path): bool(operation.keys() & {"parameters", "requestBody"})
    for path, operations in openapi(dialects())["paths"].items()
    for method, operation in operations.items()
}
"""The operations, and whether there is more than one request of each."""

EXAMPLES = max(8, -(-settings.default.max_examples // sum(OPERATIONS.values())) if settings.default else 0)
"""Requests of each operation: 8, and 10,000 of all operations together with ``make fuzz``."""


@pytest.fixture(scope="module")
def document() -> BaseSchema:
    """The document as schemathesis reads it: not when this file is imported, which takes every process seconds."""
    return schemathesis.openapi.from_dict(openapi(dialects()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerInThread]:
    """A server on the fake engine where every name of a model means one."""
    home = Home(tmp_path_factory.mktemp("openapi") / "home")
    home.create()
    home.settings.write_text(FAKE_ENGINE + ALIASES)
    add_model(home, "alpha")
    fake.reset()
    with pytest.MonkeyPatch.context() as patch, Web() as hub:  # the hub has nothing
        patch.setenv("STUDIOLO_HOME", str(home.root))
        patch.setenv("HF_ENDPOINT", hub.url)
        with serving_in_thread() as server:
            yield server
    fake.reset()


@pytest.mark.fuzz
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_the_document_says_holds_on_a_fake_engine(
    method: str, path: str, document: BaseSchema, server: ServerInThread
) -> None:
    operation = document[path][method]
    cases = operation.as_strategy()
    if operation.body or operation.path_parameters:  # else there is nothing that a request could have wrong
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def holds(case: Case) -> None:
        nonlocal sent
        sent += 1
        case.call_and_validate(base_url=server.url, checks=CHECKS)

    sent = 0
    holds()
    assert sent >= (EXAMPLES if OPERATIONS[method, path] else 1)


def test_the_document_and_the_page_are_served(server: ServerInThread) -> None:
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert document == openapi(dialects())
    assert set(document["paths"]) >= {"/v1/models", "/v1/chat/completions"}
    page = httpx.get(f"{server.url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert all(path in page.text for path in document["paths"])
    assert "http://" not in page.text and "https://" not in page.text  # it asks no other host for anything


def test_every_endpoint_says_what_it_does() -> None:
    for dialect in dialects().values():
        for endpoint in dialect.endpoints:
            assert endpoint.summary and Path(endpoint.path).is_absolute()
