"""The command line in a process of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from studiolo.paths import Home
from tests.support.running import STUDIOLO, environment

MCP_SERVER = str(Path(__file__).with_name("mcp_server.py"))
"""The program of a small MCP server. It is not imported: the official package takes half a second."""


def run(home: Home, *words: str, stdin: str | None = None, host: str = "embedded") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STUDIOLO, *words],
        env=environment(home, STUDIOLO_HOST=host),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
    )


def good(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout
