"""What tests do with models on the fake engine that call tools of MCP servers."""

from __future__ import annotations

import json
from typing import Any

import studiolo_fake_engine as fake

from tests.support.http_server import ServerInThread


def said(name: str, /, **arguments: Any) -> list[str]:
    """What a model writes to call a tool."""
    return ["[TOOL_REQUEST]", json.dumps({"name": name, "arguments": arguments}), "[END_TOOL_REQUEST]"]


def scripted(*answers: list[str]) -> None:
    fake.models["alpha"].answers = list(answers)


def allow(server: ServerInThread, *lines: str) -> None:
    with server.host.home.settings.open("a") as settings:
        settings.write("\n".join(["[server]", *lines, ""]))


def prompt(engine: int = -1, request: int = -1) -> str:
    """The text that the engine was given."""
    given = fake.engines[engine].requests[request].prompt
    return given if isinstance(given, str) else "".join(fake._words[token] for token in given)
