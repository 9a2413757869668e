"""The settings of MCP servers: references to the environment, files of other editors, what a program inherits."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from studiolo.errors import ConfigError
from studiolo.mcp.config import ServerConfig, server_configs
from studiolo.mcp.environment import program_environment
from studiolo.paths import Home
from studiolo.sdk.mcp import mcp_tools
from tests.support.command_line import MCP_SERVER

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _variables(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOPE", "NOPE2"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MY_TOKEN", "abc")
    monkeypatch.setenv("EMPTY", "")


def expanded(text: str) -> str | None:
    return ServerConfig(command=text).expanded("x").command


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${MY_TOKEN}", "abc"),
        ("${env:MY_TOKEN}", "abc"),
        ("Bearer ${MY_TOKEN}!", "Bearer abc!"),
        ("${NOPE:-x}", "x"),
        ("${env:NOPE:-x y}", "x y"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("${NOPE:-}", ""),
        ("${MY_TOKEN:-${NOPE}}", "abc"),
        ("${NOPE:-${MY_TOKEN}}/x", "abc/x"),
        ("${NOPE:-${NOPE2:-${MY_TOKEN}}}", "abc"),
        ('${NOPE:-{"a": {}}}', '{"a": {}}'),
        ("$${MY_TOKEN}", "${MY_TOKEN}"),
        (r"\${MY_TOKEN}", "${MY_TOKEN}"),
        ("$HOME $1 $", "$HOME $1 $"),
        ("}{", "}{"),
    ],
)
def test_references_are_replaced(text: str, value: str) -> None:
    assert expanded(text) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${NOPE}", "refers to the environment variable NOPE, which is not set"),
        ("${NOPE:-${NOPE2}}", "variable NOPE2, which is not set"),
        ("${}", r"contains \$\{\}, which is not a reference"),
        ("${input:key}", r"contains \$\{input:key\}, which is not a reference"),
        ("${MY_TOKEN", r"contains \$\{MY_TOKEN, which is not a reference"),
        ("${NOPE:-${MY_TOKEN}", "which is not a reference"),
        ("${NOPE:-" * 2000 + "x" + "}" * 2000, "more than 8 deep"),
    ],
)
@pytest.mark.parametrize("field", ["command", "args", "env", "cwd", "url", "headers"])
def test_a_wrong_reference_is_named_with_server_and_field(text: str, words: str, field: str) -> None:
    of_kind: dict[str, Any] = {"args": ["x", text], "env": {"K": text}, "headers": {"K": text}}
    start = {"url": "http://x/"} if field in ("url", "headers") else {"command": "x"}
    place = {"args": r"args\[1\]", "env": r"env\.K", "headers": r"headers\.K"}.get(field, field)
    (config,) = server_configs([{"name": "the server", **start, field: of_kind.get(field, text)}]).values()
    with pytest.raises(ConfigError, match=rf"(?s)field '{place}' of the MCP server 'the server' .*{words}"):
        config.expanded("the server")


async def test_nothing_is_started_where_a_reference_is_wrong(tmp_path: Path) -> None:
    first = {"command": sys.executable, "args": ["-c", f"open({str(tmp_path / 'started')!r}, 'w')"]}
    with pytest.raises(ConfigError, match="NOPE"):
        async with mcp_tools([first, {"command": "${NOPE}"}]):
            pass
    assert not (tmp_path / "started").exists()


async def test_a_program_gets_the_values() -> None:
    names = {"T": "${MY_TOKEN}", "T2": "${env:MY_TOKEN}", "T3": "${NOPE:-x}"}
    async with mcp_tools([{"command": sys.executable, "args": ["${NOPE:-" + MCP_SERVER + "}"], "env": names}]) as tools:
        assert [await tools["environment"].call(name=name) for name in names] == ["abc", "abc", "x"]


@pytest.mark.parametrize(
    ("value", "message", "expected"),
    [
        ("hunter2-hunter2", "no hunter2-hunter2s here", "no ${V}s here"),
        ("a", "a path: a.b, data", "${V} path: ${V}.b, data"),
        ("secret", "secretary: secret", "secretary: ${V}"),
        ("", "nothing", "nothing"),
    ],
)
def test_messages_show_references_and_short_values_replace_no_parts_of_words(
    value: str, message: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V", value)
    assert ServerConfig(command="x", env={"K": "${NOPE:-${V}}", "L": "${V}"}).without_values(message) in (
        expected,
        expected.replace("${V}", "${NOPE:-${V}}"),
    )


def test_messages_show_no_headers_and_no_passwords() -> None:
    config = ServerConfig(url="https://name:word@host/mcp", headers={"Authorization": "Bearer hunter2"})
    said = config.without_values("Illegal 'Bearer hunter2' for https://name:word@host/mcp")
    assert said == "Illegal '(the header Authorization)' for https://host/mcp"
    assert config.where == "https://host/mcp"
    assert list(server_configs(["https://name:word@host/mcp"])) == ["https://host/mcp"]


def test_keys_that_mean_nothing_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "studiolo.client"):
        server_configs([{"name": "x", "command": "y", "wrongKey": "hunter2"}])
    assert caplog.messages == ["The MCP server 'x' has the unknown key 'wrongKey', which is ignored"]


ENTRY = {"mcpServers": {"a": {"command": "x // no comment", "args": ["/* none */", ",]", 'a "quoted", }']}}}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + json.dumps(ENTRY).encode(),
        json.dumps(ENTRY, indent=2).replace("\n", "\r\n").encode(),
        ("// a comment\n/* more\n */" + json.dumps(ENTRY).replace("]", ", ]").replace("}}}", "},},// end\n}")).encode(),
    ],
    ids=["byte order mark", "CRLF", "comments and trailing commas"],
)
def test_files_of_every_editor_are_read(content: bytes, empty_home: Home) -> None:
    content = content.replace(b'", , ]"', b'",]"').replace(b'",, ]"', b'",]"')
    (empty_home.root / "mcp.json").write_bytes(content)
    config = server_configs(["a"])["a"]
    assert config.command == "x // no comment"
    assert config.args == ENTRY["mcpServers"]["a"]["args"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps(ENTRY).encode("utf-16"), "UTF-16.*Save it as UTF-8"),
        ('{"mcpServers": {"ä": 1}}'.encode("latin-1"), "Latin-1.*line 1.*Save it as UTF-8"),
        (b'{\n  "mcpServers": {"a" 3}\n}', "line 2 column 22"),
        (b'{ // fine\n  "mcpServers": {"a":: 3}\n}', "line 2 column 22"),
        (b"[" * 100_000, r"mcp\.json cannot be read"),
        (b'{"mcpServers": {} /* no end', "line 1 column 19"),
    ],
)
def test_files_that_cannot_be_read_say_where_and_why(content: bytes, words: str, empty_home: Home) -> None:
    (empty_home.root / "mcp.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"(?s)mcp\.json.*{words}|{words}"):
        server_configs(["a"])


PASSED = {
    **dict.fromkeys(["HTTPS_PROXY", "http_proxy", "All_Proxy"], "http://proxy:3128"),
    "NO_PROXY": "localhost,.example",
    **dict.fromkeys(["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"], "/certificates"),
    **dict.fromkeys(["NODE_EXTRA_CA_CERTS", "TMPDIR", "XDG_CACHE_HOME", "UV_CACHE_DIR", "HOME"], "/folder"),
    **dict.fromkeys(["LANG", "LC_ALL", "TZ", "PATH", "SystemRoot", "UV_KEYRING_PROVIDER"], "x"),
    **dict.fromkeys(["NPM_CONFIG_REGISTRY", "npm_config_cache", "UV_MONKEY", "UV_KEYBOARD_AUTHOR"], "x"),
    "DOCKER_HOST": "ssh://me@host",
}
WITHHELD = dict.fromkeys(
    [
        *("OPENAI_API_KEY", "HF_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "LM_API_TOKEN", "PYTHONPATH"),
        *("UV_PUBLISH_TOKEN", "UV_INDEX_HOUSE_PASSWORD", "NPM_CONFIG__AUTH", "npm_config_//host/:_authToken"),
        *("NPM_CONFIG_//HOST/:_AUTHTOKEN", "NPM_CONFIG_KEY", "NPM_CONFIG_OTP", "XDG_SECRETS", "STUDIOLO_HOME"),
    ],
    "hunter2",
)


def test_programs_get_what_they_need_and_no_secrets() -> None:
    function = {"LC_FUNCTION": "() { :; }"}
    assert program_environment(None, {**PASSED, **WITHHELD, **function}) == (PASSED, [])
    assert program_environment({"HF_TOKEN": "x"}, WITHHELD) == ({"HF_TOKEN": "x"}, [])


@pytest.mark.parametrize(
    ("name", "value", "passed"),
    [
        ("HTTPS_PROXY", "http://me:hunter2@proxy:3128/", "http://proxy:3128/"),
        ("https_proxy", "me:hunter2@proxy:3128", "proxy:3128"),
        ("ALL_PROXY", "socks5h://me:hun@ter/2@proxy", "socks5h://proxy"),
        ("UV_INDEX", "a=https://me:hunter2@a/simple b=https://hunter2@b/", "a=https://a/simple b=https://b/"),
        ("NPM_CONFIG_HTTPS_PROXY", "http://hunter2@proxy", "http://proxy"),
    ],
)
def test_addresses_lose_user_names_and_passwords_unless_they_are_named(name: str, value: str, passed: str) -> None:
    assert program_environment(None, {name: value}) == ({name: passed}, [name])
    assert program_environment({name: value}, {name: value}) == ({name: value}, [])


async def test_a_real_program_gets_the_proxy_and_its_log_says_what_is_missing(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:hunter2@proxy:3128")
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates")
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    async with mcp_tools([{"name": "x", "command": sys.executable, "args": [MCP_SERVER]}]) as tools:
        call = tools["environment"].call
        assert await call(name="HTTPS_PROXY") == "http://proxy:3128"
        assert await call(name="SSL_CERT_FILE") == "/certificates"
        assert await call(name="HF_TOKEN") == ""
    log = (empty_home.logs / "mcp-x.log").read_text()
    assert "without the user names and passwords in their addresses: HTTPS_PROXY." in log and "hunter2" not in log
