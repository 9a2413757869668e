"""The tools of a chat: MCP servers that stay connected, and calls that the user allows."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...chats.partial_answer import REFUSED
from ...mcp.config import listed_servers
from ...paths import Home
from ...sdk.mcp import mcp_tools_from_thread
from ...sdk.tools import BoundTool

Allow = Callable[[str, dict[str, Any], threading.Event], bool]
"""Called with a call, and an event that is set when the answer is stopped; returns whether the call is made."""


def names_of_servers() -> list[str]:
    """Return the names of the servers in the user's ``mcp.json``. Raise :class:`ConfigError` if it is malformed."""
    return list(listed_servers(Home.default()))


class ChatTools:
    """The tools that the model may call.

    Parameters:
        allow: called before each call, in a thread of its own, one at a time.
    """

    def __init__(self, allow: Allow) -> None:
        self._allow = allow
        self._one_at_a_time = threading.Lock()
        self._connections = contextlib.ExitStack()
        self._tools: list[BoundTool] = []
        self._round = _Round()
        self.servers: list[str] = []

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return [tool.name for tool in self._tools]

    def use(self, servers: Sequence[str]) -> None:
        """Connect to these servers of ``mcp.json`` instead of those before. Raises as ``act``; then there are none."""
        self.close()
        if servers:
            found = self._connections.enter_context(mcp_tools_from_thread(servers))
            self._tools, self.servers = list(found.values()), [*servers]

    def close(self) -> None:
        """Disconnect from all servers."""
        self._tools, self.servers = [], []
        self._connections.close()

    def begin(self) -> list[BoundTool]:
        """Return the tools for one answer, to which :meth:`round_began`, :meth:`round_ended` and :meth:`end` belong."""
        self._round = current = _Round()
        return [replace(tool, call=self._guarded(tool, current)) for tool in self._tools]

    def round_began(self) -> None:
        """Hold calls back while the model writes: its text is shown first."""
        self._round.is_written.clear()

    def round_ended(self) -> None:
        """Let the calls of the round begin."""
        self._round.is_written.set()

    def end(self) -> None:
        """Refuse the calls that are still held back."""
        self._round.cancelled.set()
        self._round.is_written.set()

    def _guarded(self, tool: BoundTool, current: _Round) -> Callable[..., Any]:
        def call(**arguments: Any) -> Any:
            current.is_written.wait()
            with self._one_at_a_time:
                is_allowed = not current.cancelled.is_set() and self._allow(tool.name, arguments, current.cancelled)
                if not is_allowed or current.cancelled.is_set():  # stopped while the user was asked
                    return REFUSED
            return tool.call(**arguments)

        return call


class _Round:
    def __init__(self) -> None:
        self.is_written = threading.Event()
        self.cancelled = threading.Event()
