"""Tools of MCP servers: real ones, over standard input and output and over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from studiolo.errors import ConfigError, ConnectionFailedError, HostError
from studiolo.paths import Home
from studiolo.sdk.mcp import mcp_tools, mcp_tools_from_thread, server_configs
from tests.support.command_line import MCP_SERVER
from tests.support.running import command_of, free_port, wait_until

pytestmark = [pytest.mark.quick_model, pytest.mark.slow]

STDIO: dict[str, Any] = {"command": sys.executable, "args": [MCP_SERVER], "env": {"GREETING": "salve"}}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with listening() as port:
        yield f"http://127.0.0.1:{port}/mcp"


@contextlib.contextmanager
def listening(*options: str) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, MCP_SERVER, str(port), *options], stderr=subprocess.DEVNULL)
    try:

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(answers, "the MCP server to listen")
        yield port
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["stdio", "http", "http with headers"])
def server(request: pytest.FixtureRequest) -> Any:
    if request.param == "stdio":
        return {"mcpServers": {"test": STDIO}}
    url = request.getfixturevalue("url")
    return url if request.param == "http" else {"name": "test", "url": url, "headers": {"X-Test": "1"}}


@pytest.fixture(autouse=True)
def _own_home(empty_home: Home) -> None:
    """The servers' logs are written under the home."""


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if command_of(child)[-1:] == [MCP_SERVER]]


async def test_the_tools_of_a_server_are_listed_and_called(server: Any) -> None:
    async with mcp_tools([server]) as tools:
        assert list(tools) == ["multiply", "greet", "environment", "broken", "picture"]
        function = tools["multiply"].definition
        assert function.description == "Multiply two numbers."
        assert function.parameters is not None and function.parameters["required"] == ["a", "b"]
        assert function.parameters["properties"]["a"]["type"] == "integer"
        assert await tools["multiply"].call(a=6, b=7) == "42"
        greetings = await asyncio.gather(*(tools["greet"].call(name=str(number)) for number in range(5)))
        assert greetings == [f"Hello, {number}!" for number in range(5)]
        with pytest.raises(Exception, match="it is broken"):
            await tools["broken"].call()
        with pytest.raises(Exception, match="b"):
            await tools["multiply"].call(a=1)
        (picture,) = await tools["picture"].call()
        assert (picture["type"], picture["mimeType"]) == ("image", "image/png") and "data" not in picture


async def test_an_endpoint_of_the_older_kind() -> None:
    with listening("sse") as port:
        server = {"name": "old", "url": f"http://127.0.0.1:{port}/sse", "type": "sse", "headers": {"X-Test": "1"}}
        async with mcp_tools([server]) as tools:
            assert await tools["multiply"].call(a=6, b=7) == "42"


async def test_a_program_gets_its_environment_and_ends_with_the_block() -> None:
    async with mcp_tools([STDIO]) as tools:
        assert await tools["environment"].call(name="GREETING") == "salve"
        (process,) = [child for child in children() if child.is_running()]
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the server to end")


def test_a_thread_can_use_them_too() -> None:
    with mcp_tools_from_thread([STDIO]) as tools:
        assert not tools["multiply"].is_async
        assert tools["multiply"].call(a=6, b=7) == "42"
    wait_until(lambda: not children(), "the server to end")


def test_a_call_that_gets_no_answer_is_cancelled_when_the_thread_leaves(tmp_path: Path) -> None:
    program = tmp_path / "silent.py"
    program.write_text(
        "import asyncio\nfrom mcp.server.mcpserver import MCPServer\nserver = MCPServer('silent')\n"
        "@server.tool()\nasync def wait() -> str:\n    'Wait.'\n    await asyncio.sleep(600)\nserver.run()\n"
    )
    with ThreadPoolExecutor() as pool:
        with mcp_tools_from_thread([{"command": sys.executable, "args": [str(program)]}]) as tools:
            call = pool.submit(tools["wait"].call)
            time.sleep(0.2)
            assert not call.done()
        with pytest.raises(HostError, match="cancelled"):
            call.result(10)
    wait_until(lambda: not children(), "the server to end")


async def test_names_that_are_taken_get_the_servers_before_them() -> None:
    servers = {"mcpServers": {"one": STDIO, "the other": STDIO}}
    async with mcp_tools([servers], taken=["greet"]) as tools:
        assert "greet" not in tools and "one_greet" in tools
        assert await tools["the_other_multiply"].call(a=2, b=2) == await tools["multiply"].call(a=2, b=2) == "4"


def test_servers_are_named_as_in_mcp_json(empty_home: Home, tmp_path: Path) -> None:
    entries = {
        "a": {"command": "x"},
        "b": {"url": "http://b/", "headers": {"K": "v"}},
        "c": {"url": "u", "disabled": True},
    }
    (empty_home.root / "mcp.json").write_text(json.dumps({"mcpServers": entries}))
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"mcpServers": {"d": {"command": "y", "unknown": 1}}}))
    configs = server_configs(["a", "c", other, "http://e/mcp", {"command": "z"}])
    assert {name: config.command or config.url for name, config in configs.items()} == {
        "a": "x",
        "d": "y",
        "http://e/mcp": "http://e/mcp",
        "z": "z",
    }
    assert server_configs([empty_home.root / "mcp.json"])["b"].headers == {"K": "v"}


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        (["nonesuch"], "There is no MCP server 'nonesuch'"),
        ("nonesuch", "not a list"),
        (["gone.json"], "gone.json cannot be read"),
        ([{"mcpServers": 3}], "lists no MCP servers"),
        ([{"mcpServers": {"a": {}}}], "'a' needs either a command or a url"),
        ([{"mcpServers": {"a": {"command": 3}}}], "'a' is malformed"),
        ([{"command": "x"}, {"command": "x"}], "Two MCP servers"),
    ],
)
def test_wrong_servers_are_refused_by_name(servers: Any, words: str, empty_home: Home) -> None:
    with pytest.raises(ConfigError, match=words):
        server_configs(servers)


def test_a_broken_mcp_json_is_named(empty_home: Home) -> None:
    (empty_home.root / "mcp.json").write_text("{")
    with pytest.raises(ConfigError, match=r"mcp\.json cannot be read"):
        server_configs(["a"])


@pytest.mark.parametrize(
    "server",
    [
        {"command": "/nonesuch/program"},
        {"command": sys.executable, "args": ["-c", "pass"]},
        {"url": f"http://127.0.0.1:{free_port()}/mcp"},
    ],
)
async def test_a_server_that_does_not_come_up_is_named(server: Any) -> None:
    for servers in ([server], [{**STDIO, "name": "good"}, server]):
        with pytest.raises(ConnectionFailedError, match=r"cannot be (started|reached)"):
            async with mcp_tools(servers):
                pass
    with pytest.raises(ConnectionFailedError):
        await asyncio.to_thread(lambda: mcp_tools_from_thread([server]).__enter__())


async def test_what_is_raised_inside_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with mcp_tools([STDIO]):
            raise KeyError("x")
    with pytest.raises(ConfigError, match="Duplicate tool names are not permitted"):
        async with mcp_tools([STDIO], taken=["greet", re.sub(r"\W+", "_", f"{sys.executable}_greet").strip("_")]):
            pass


async def test_a_server_that_dies_fails_its_calls_alone() -> None:
    async with mcp_tools([STDIO]) as tools:
        for child in children():
            child.kill()
        with pytest.raises(Exception, match=r"(?i)closed"):
            await asyncio.wait_for(tools["multiply"].call(a=1, b=1), 30)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigError, match=r'pip install "studiolo\[mcp\]"'), mcp_tools_from_thread([STDIO]):
        pass
