"""Dialects are plug-ins: one of another package is mounted beside the built-in one, with errors in its own form."""

from __future__ import annotations

import ast
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

import studiolo.server.app as app_module
from studiolo.dialects import dialects
from studiolo.dialects.base import Serving
from studiolo.host.host import Host
from studiolo.server.app import create_app

PLUGIN = """
from litestar import get

from studiolo.dialects.base import ErrorAnswer
from studiolo.errors import BusyError


class Shouting:
    max_message_bytes = 0
    prefixes = ("/shout",)
    header = "x-shouting"
    shared_prefix = "/v1"
    authenticates = False
    endpoints = ()

    def routes(self, serving):
        @get("/shout/models")
        async def models() -> list[str]:
            return [instance.identifier.upper() for instance in serving.host.instances.all()]

        @get("/shout/busy")
        async def busy() -> None:
            raise BusyError("The model is busy")

        @get("/shout/broken")
        async def broken() -> None:
            raise ZeroDivisionError("a secret")

        @get("/v1/models")
        async def shared() -> str:
            return "LOUD"

        return [models, busy, broken, shared]

    def error(self, error, status):
        return ErrorAnswer(status, {"shouted": error.title.upper(), "status": status}, {"x-loud": "yes"})
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting_dialect.py").write_text(PLUGIN)
    info = tmp_path / "shouting_dialect-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-dialect\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[studiolo.dialects]\nshouting = shouting_dialect:Shouting\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shouting_dialect", raising=False)


@pytest.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setenv("STUDIOLO_HOME", str(tmp_path / "home"))
    host = Host()
    yield host
    await host.stop()


def _client(host: Host) -> httpx.AsyncClient:
    app = create_app(Serving(host), dialects())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://studiolo.test")


async def test_a_dialect_of_another_package_is_mounted_beside_the_built_in_one(plugin: None, host: Host) -> None:
    found = dialects()
    assert set(found) == {*dialects.__globals__["BUILT_IN"], "shouting"}
    async with _client(host) as client:
        assert (await client.get("/shout/models")).json() == []
        assert (await client.get("/lmstudio-greeting")).json()["lmstudio"] is True
        assert (await client.get("/health")).json()["status"] == "ok"


async def test_each_dialect_reports_errors_in_its_own_form(plugin: None, host: Host) -> None:
    async with _client(host) as client:
        busy = await client.get("/shout/busy")
        assert (busy.status_code, busy.json()) == (503, {"shouted": "THE MODEL IS BUSY", "status": 503})
        assert busy.headers["x-loud"] == "yes"
        broken = await client.get("/shout/broken")
        assert broken.status_code == 500 and "SECRET" not in broken.text and "shouted" in broken.json()
        unknown = await client.get("/nothing/here")
        assert unknown.status_code == 404 and unknown.json()["error"]["code"] == 404
        in_its_form = await client.get("/shout/nothing")
        assert (
            in_its_form.status_code == 404 and in_its_form.json()["shouted"] == "THERE IS NO ROUTE GET /SHOUT/NOTHING"
        )
        wrong_method = await client.post("/shout/models")
        assert wrong_method.status_code == 405 and "GET" in wrong_method.headers["allow"]
        missing_prefix = await client.post("/chat/completions")
        assert missing_prefix.status_code == 404 and "/v1/chat/completions" in missing_prefix.text


@pytest.mark.slow
async def test_a_header_decides_on_a_path_that_two_dialects_have(plugin: None, host: Host) -> None:
    async with _client(host) as client:
        assert (await client.get("/v1/models", headers={"x-shouting": "1"})).text == "LOUD"
        assert (await client.get("/v1/models")).json()["object"] == "list"
        assert (await client.get("/v1/nothing", headers={"x-shouting": "1"})).json()["status"] == 404
        assert (await client.get("/health", headers={"x-shouting": "1"})).json()["status"] == "ok"


def test_the_app_names_no_dialect() -> None:
    source = Path(app_module.__file__).read_text()
    imported = {node.module or "" for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    assert {module for module in imported if "dialects" in module} == {"dialects.base"}
    assert not any(name in source.lower() for name in dialects())
