"""Which MCP servers there are: entries of ``mcp.json``, dicts of the same form, and URLs."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from ..errors import ConfigError
from ..paths import Home
from ..struct_types import examined
from ..text_file import read_text_file
from .environment import url_without_userinfo
from .references import expanded, values, without_values

McpServer = str | Path | Mapping[str, Any]
"""A server: its URL, its name in the user's ``mcp.json``, the path of an ``mcp.json``, or a dict of either form."""

_log = logging.getLogger("studiolo.client")

_COMMENT_OR_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:[^"\\\n]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)


class ServerConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=False):
    """A server, as an entry of ``mcpServers`` in ``mcp.json``.

    Parameters:
        command, args, env, cwd: a program to start, with its arguments, environment and working directory.
        url, headers: an endpoint, and the HTTP headers of every request.
        type: ``sse`` for an endpoint of the older kind; otherwise the form is seen from the other fields.
        timeout: seconds that the start may take, and that a call may take without an answer or a progress
            notification. Default: :data:`studiolo.mcp.connections.START_LIMIT_SEC` and ``CALL_LIMIT_SEC``.
        disabled: leave it out.

    ``${NAME}``, ``${env:NAME}`` and ``${NAME:-default}`` in the texts are replaced by :meth:`expanded`.
    """

    command: str | None = None
    args: list[str] = msgspec.field(default_factory=list[str])
    env: dict[str, str] | None = None
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    type: str | None = None
    timeout: float | None = None
    disabled: bool = False

    def expanded(self, server: str) -> ServerConfig:
        """Return the server with references to variables of the environment replaced by their values.

        Raises:
            ConfigError: a variable is not set, or a reference has another form; names the server and the field.
        """

        def text(field: str, value: str | None) -> Any:
            return value and expanded(value, f"The field {field!r} of the MCP server {server!r}")

        def texts(field: str, values: dict[str, str] | None) -> Any:
            return values and {key: text(f"{field}.{key}", value) for key, value in values.items()}

        return msgspec.structs.replace(
            self,
            command=text("command", self.command),
            args=[text(f"args[{index}]", value) for index, value in enumerate(self.args)],
            env=texts("env", self.env),
            cwd=text("cwd", self.cwd),
            url=text("url", self.url),
            headers=texts("headers", self.headers),
        )

    @property
    def where(self) -> str:
        """The command or the address, as it is written, without a user name and password."""
        return url_without_userinfo(self.url) if self.url else " ".join((self.command or "", *self.args))

    def without_values(self, message: str) -> str:
        """Return a message with references in place of their values, and the names of headers in place of theirs."""
        headers = self.headers or {}
        names = {value: f"(the header {header})" for header, value in headers.items() if value}
        for written in (self.command, self.cwd, self.url, *self.args, *(self.env or {}).values(), *headers.values()):
            names |= dict(values(written or ""))
        return url_without_userinfo(without_values(message, names))


def mcp_json(home: Home | None = None) -> Path:
    """Return the path of the user's list of servers: ``mcp.json`` under ``STUDIOLO_HOME``."""
    return (home or Home.default()).root / "mcp.json"


def listed_servers(home: Home) -> dict[str, ServerConfig]:
    """Return the servers of the user's ``mcp.json`` by name. Blocks. Raise :class:`ConfigError` if it is malformed."""
    path = mcp_json(home)
    known = dict(_all(_read(path), str(path))) if path.exists() else {}
    return {name: config for name, config in known.items() if not config.disabled}


def server_configs(servers: Iterable[McpServer]) -> dict[str, ServerConfig]:
    """Return the servers by name.

    Raises:
        ConfigError: a file cannot be read, an entry is malformed, or a name is unknown or used twice.
    """
    found: dict[str, ServerConfig] = {}
    for server in servers:
        for name, config in _named(server):
            if name in found:
                raise ConfigError(f"Two MCP servers have the name {name!r}")
            if not config.disabled:
                found[name] = config
    return found


def _named(server: McpServer) -> Iterable[tuple[str, ServerConfig]]:
    if isinstance(server, Mapping):
        if "mcpServers" in server:
            return _all(server, "the dict")
        name = str(
            server.get("name") or server.get("command") or url_without_userinfo(str(server.get("url") or "server"))
        )
        return [(name, _config(name, {key: value for key, value in server.items() if key != "name"}))]
    if not isinstance(server, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"An MCP server is a {type(server).__name__}",
            cause="It can be a name in mcp.json, the path of such a file, a URL, or a dict of its settings.",
        )
    if isinstance(server, str) and re.match(r"https?://", server):
        return [(url_without_userinfo(server), ServerConfig(url=server))]
    if isinstance(server, Path) or server.endswith(".json"):
        return _all(_read(Path(server)), str(server))
    path = mcp_json()
    known = dict(_all(_read(path), str(path))) if path.exists() else {}
    if server not in known:
        raise ConfigError(
            f"There is no MCP server {server!r}",
            cause=f"{path} names {', '.join(known)}." if known else f"{path} names none.",
            suggestion="Add it there, or pass its command or URL.",
        )
    return [(server, known[server])]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content: Any = json.loads(_plain_json(read_text_file(path)))
    except ConfigError as error:
        raise ConfigError(
            f"{path} cannot be read as a list of MCP servers",
            cause=f"{error.title}. {error.cause or ''}".rstrip(),
            suggestion=error.suggestion,
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # a JSONDecodeError says line and column
        raise ConfigError(f"{path} cannot be read as a list of MCP servers", cause=str(error)) from None
    return cast("Mapping[str, Any]", content)


def _plain_json(text: str) -> str:
    """Return JSON without the comments and trailing commas that editors allow; each character keeps its place."""

    def blank(found: re.Match[str]) -> str:
        return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])

    return _TRAILING_COMMA.sub(blank, _COMMENT_OR_TEXT.sub(blank, text))


def _all(content: Mapping[str, Any], where: str) -> Iterable[tuple[str, ServerConfig]]:
    servers: Any = content.get("mcpServers") if isinstance(content, Mapping) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if not isinstance(servers, Mapping):
        raise ConfigError(
            f"{where} lists no MCP servers", suggestion='The form is {"mcpServers": {"name": {"command": ...}}}.'
        )
    return [(name, _config(name, config)) for name, config in cast("Mapping[str, Any]", servers).items()]


def _config(name: str, entry: Any) -> ServerConfig:
    try:
        config = msgspec.convert(entry, examined(ServerConfig))
    except msgspec.ValidationError as error:
        raise ConfigError(f"The MCP server {name!r} is malformed", cause=str(error).replace("`", "'")) from None
    if (config.command is None) == (config.url is None):
        raise ConfigError(f"The MCP server {name!r} needs either a command or a url")
    if config.timeout is not None and not config.timeout > 0:
        raise ConfigError(f"The timeout of the MCP server {name!r} is {config.timeout!r}, not a number of seconds")
    for key in cast("Mapping[str, Any]", entry).keys() - set(ServerConfig.__struct_fields__):
        _log.warning("The MCP server %r has the unknown key %r, which is ignored", name, key)
    return config
