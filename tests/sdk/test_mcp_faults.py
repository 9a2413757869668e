"""MCP servers that are silent, die, write other text or list too much: stubs that speak the protocol themselves."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import logging
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studiolo.errors import ConfigError, ConnectionFailedError
from studiolo.mcp import connections as mcp
from studiolo.mcp import program as mcp_program
from studiolo.mcp.connections import McpToolError
from studiolo.paths import Home
from studiolo.sdk.mcp import mcp_tools, mcp_tools_from_thread
from tests.support.running import children, wait_until

pytestmark = pytest.mark.slow

SERVER = str(Path(__file__).parents[1] / "support" / "faulty_mcp_server.py")


@pytest.fixture(autouse=True)
def _own_home(empty_home: Home) -> None:
    """The servers' logs are written under the home."""


def faulty(*fault: str, **settings: Any) -> dict[str, Any]:
    return {"name": "s", "command": sys.executable, "args": [SERVER, *fault], **settings}


@pytest.mark.parametrize(("method", "limit_sec"), [("initialize", 1), ("tools/list", 8)])
async def test_stub_a_server_that_is_silent_is_named_with_the_step_and_its_log(
    method: str, limit_sec: int, empty_home: Home
) -> None:
    before = children()
    with pytest.raises(ConnectionFailedError) as caught:
        async with mcp_tools([faulty("silent", method, timeout=limit_sec)]):
            pass
    text = str(caught.value)
    assert f"The MCP server 's' cannot be started: it did not answer '{method}'." in text
    assert f"No answer within {limit_sec} s" in text and str(empty_home.logs / "mcp-s.log") in text
    wait_until(lambda: children() <= before, "the server to end")


async def test_stub_without_a_timeout_the_start_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "START_LIMIT_SEC", 0.5)
    with pytest.raises(ConnectionFailedError, match=r"No answer within 0\.5 s"):
        async with mcp_tools([faulty("silent", "tools/list")]):
            pass


async def test_stub_servers_connect_side_by_side() -> None:
    silent = {"mcpServers": {f"s{number}": faulty("silent", "tools/list", timeout=8) for number in range(4)}}
    for entry in silent["mcpServers"].values():
        del entry["name"]
    before = children()

    async def connect() -> None:
        async with mcp_tools([silent]):
            pass

    connecting = asyncio.create_task(connect())
    while len(children() - before) < 4:  # none has answered, and none is given up yet
        assert not connecting.done()
        await asyncio.sleep(0.05)
    with pytest.raises(ConnectionFailedError, match=r"tools/list|initialize"):
        await connecting


@pytest.mark.parametrize("settings", [{}, {"timeout": 8}])
async def test_stub_a_silent_call_fails_the_tool_at_its_limit(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp, "CALL_LIMIT_SEC", 0.5)
    async with mcp_tools([faulty("silent", "tools/call", **settings)]) as tools:
        with pytest.raises(McpToolError) as caught:
            await tools["work"].call()
    limit_sec = settings.get("timeout", 0.5)
    assert f"The MCP server 's' sent neither an answer nor progress for {limit_sec} s" in str(caught.value)
    assert "Its log is" in str(caught.value)


def test_stub_a_silent_call_from_a_thread_fails_the_tool_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "CALL_LIMIT_SEC", 0.5)
    with (
        mcp_tools_from_thread([faulty("silent", "tools/call")]) as tools,
        pytest.raises(McpToolError, match="neither an answer nor progress"),
    ):
        tools["work"].call()


async def test_stub_progress_extends_the_limit_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "CALL_LIMIT_SEC", 5)
    async with mcp_tools([faulty("progress")]) as tools:
        began = time.monotonic()
        assert await tools["work"].call() == "done"
        assert time.monotonic() - began > 5


@pytest.mark.parametrize("method", ["initialize", "tools/list", "tools/call"])
async def test_stub_a_server_that_dies_is_named_at_each_step(method: str, empty_home: Home) -> None:
    with pytest.raises((ConnectionFailedError, McpToolError), match="MCP server 's'") as caught:
        async with mcp_tools([faulty("dies", method)]) as tools:
            await tools["work"].call()
    assert isinstance(caught.value, McpToolError if method == "tools/call" else ConnectionFailedError)
    assert (empty_home.logs / "mcp-s.log").read_text() == "out of luck\n"


async def test_stub_other_text_on_standard_output_goes_to_the_log(empty_home: Home) -> None:
    async with mcp_tools([faulty("noisy")]) as tools:
        assert await tools["work"].call() == "done"
    assert "Listening on stdio ..." in (empty_home.logs / "mcp-s.log").read_text()


async def test_stub_ten_thousand_tools_are_listed() -> None:
    async with mcp_tools([faulty("many")]) as tools:
        assert len(tools) == 10_000
        assert await tools["tool_9999"].call() == "done"


async def test_stub_a_list_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "_PAGES", 20)
    with pytest.raises(ConfigError, match="'s' lists tools without end"):
        async with mcp_tools([faulty("endless")]):
            pass


async def test_stub_errors_repeat_references_and_not_their_values(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    monkeypatch.setenv("MY_TOKEN", "hunter2-hunter2")
    with caplog.at_level(logging.DEBUG, "studiolo.client"), pytest.raises(ConnectionFailedError) as caught:
        async with mcp_tools([faulty("secret", "${MY_TOKEN}")]):
            pass
    assert "The token ${MY_TOKEN} is not valid" in str(caught.value)
    assert "hunter2" not in str(caught.value) + caplog.text


@pytest.fixture
def needs_login() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Bearer resource_metadata="http://127.0.0.1/x"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://name:hunter2@127.0.0.1:{server.server_port}/mcp"
        server.shutdown()


async def test_stub_an_address_that_needs_a_login_says_so_without_credentials(needs_login: str) -> None:
    with pytest.raises(ConnectionFailedError) as caught:
        async with mcp_tools([needs_login]):
            pass
    text = str(caught.value)
    assert "cannot be reached" in text and '"Authorization"' in text
    assert "hunter2" not in text


async def test_stub_where_the_home_cannot_be_written_the_log_is_temporary(
    empty_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_home.logs.write_text("a file in place of the folder")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with mcp_tools([faulty("noisy")]) as tools:
        assert await tools["work"].call() == "done"
    assert not list(tmp_path.glob("studiolo-*"))  # nothing has named it
    with pytest.raises(ConnectionFailedError, match=r"studiolo-\w+-mcp-s\.log") as caught:
        async with mcp_tools([faulty("dies", "tools/list")]):
            pass
    named = re.search(r"Its log is (\S+)\.$", str(caught.value))
    assert named is not None and Path(named[1]).read_text() == "out of luck\n"


async def test_stub_without_any_place_for_a_log_the_server_works(
    empty_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_home.logs.write_text("a file in place of the folder")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nonesuch"))
    async with mcp_tools([faulty("noisy")]) as tools:
        assert await tools["work"].call() == "done"


async def test_stub_a_program_that_ignores_the_end_of_its_input_gets_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs such as docker end what they run elsewhere only then."""
    for name in ("END_SEC", "INTERRUPTED_END_SEC"):  # how long it has until SIGKILL
        monkeypatch.setattr(mcp_program, name, 30)
    monkeypatch.setattr(mcp, "ABANDON_LIMIT_SEC", 60)
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('ended').touch(), sys.exit()))\n"
        f"sys.argv = ['', 'none']\nexec(pathlib.Path({SERVER!r}).read_text())\ntime.sleep(600)\n"
    )
    server = {"name": "s", "command": sys.executable, "args": [str(stubborn)], "cwd": str(tmp_path)}
    with contextlib.suppress(KeyError):
        async with mcp_tools([server]):
            raise KeyError
    assert (tmp_path / "ended").exists()
