"""The transport contract: how a client calls a host."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from ...protocol.declarations import Channel, Rpc
from ...protocol.diagnostics import LogMessage
from ...protocol.llm import FragmentMessage, PromptProcessingProgress, merge_fragments
from ...protocol.tools import ToolCallArguments

P = TypeVar("P")
R = TypeVar("R")


class ClientChannel(Protocol[R]):
    """The client's end of a channel."""

    async def receive(self, limit_sec: float | None) -> list[R]:
        """Return the waiting messages, at least one; an empty list after the host has closed the channel.

        Parameters:
            limit_sec: how long the host may be silent meanwhile; ``None`` means no limit.

        Raises:
            RequestTimeoutError: the host was silent for longer.
            StudioloError: the host closed the channel with an error, or the connection was lost.
        """
        ...

    def receive_blocking(self, limit_sec: float | None) -> list[R]:
        """:meth:`receive`, for a thread that is not the event loop's."""
        ...

    def fail(self, error: Exception) -> None:
        """Deliver ``error`` after the messages that have arrived, instead of further ones."""
        ...

    def cancel(self) -> None:
        """Ask the host to stop; the channel still delivers the host's last messages."""
        ...

    async def close(self) -> None:
        """Stop the host's work for this channel and forget the channel."""
        ...


class Transport(Protocol):
    """A way to reach a host. A host in this process has no ``limit_sec``: it is alive as long as the caller is."""

    @property
    def address(self) -> str:
        """``embedded``, ``host:port``, or an ``https`` URL."""
        ...

    async def call(
        self,
        namespace: str,
        endpoint: Rpc[P, R],
        parameter: P,
        limit_sec: float | None,
        time_limit_sec: float | None = None,
    ) -> R:
        """Call an endpoint and return its result. Raise what the host raises.

        Parameters:
            limit_sec: how long the host may be silent meanwhile; ``None`` means no limit.
            time_limit_sec: after how long the host gives the call up. The caller cancels it on this side.

        Raises:
            RequestTimeoutError: the host was silent for longer.
        """
        ...

    async def open(
        self, namespace: str, endpoint: Channel[P, R], parameter: P, limit_sec: float | None
    ) -> ClientChannel[R]:
        """Open a channel; ``limit_sec`` as for :meth:`call`."""
        ...

    async def close(self) -> None:
        """Release the transport's connections."""
        ...


def merge_messages(last: Any, new: Any) -> Any | None:
    """Merge two messages that wait for a slow client; ``None`` if they cannot be merged. Old progress is dropped."""
    match last, new:
        case FragmentMessage(), FragmentMessage():
            merged = merge_fragments(last.fragment, new.fragment)
            beside = [*(last.logprobs or ()), *(new.logprobs or ())]
            return None if merged is None else FragmentMessage(fragment=merged, logprobs=beside or None)
        case (PromptProcessingProgress(), PromptProcessingProgress() as newer) | (LogMessage(), LogMessage() as newer):
            return newer
        case ToolCallArguments(), ToolCallArguments():
            return ToolCallArguments(content=last.content + new.content)
        case _:
            return None
