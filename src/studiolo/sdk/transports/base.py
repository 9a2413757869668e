"""What a transport does, whatever lies between the client and the host."""

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

    async def receive(self) -> list[R]:
        """The messages that have come, at least one; empty once the host has closed the channel.

        Raises:
            StudioloError: the host closed it with an error, or the connection is lost.
        """
        ...

    def receive_blocking(self, limit_sec: float | None) -> list[R]:
        """:meth:`receive`, called in a thread that is not the event loop's.

        Raises:
            TimeoutError: nothing came for ``limit_sec``.
            StudioloError: as :meth:`receive`.
        """
        ...

    def cancel(self) -> None:
        """Ask the host to stop; the channel still delivers what the host has to say."""
        ...

    async def close(self) -> None:
        """Stop whatever the host does for this channel, and forget it."""
        ...


class Transport(Protocol):
    """A way to a host."""

    @property
    def address(self) -> str:
        """``embedded``, or ``host:port``."""
        ...

    async def call(self, namespace: str, endpoint: Rpc[P, R], parameter: P) -> R:
        """Make a call and wait for its answer. Raises what the host raises."""
        ...

    async def open(self, namespace: str, endpoint: Channel[P, R], parameter: P) -> ClientChannel[R]:
        """Open a channel."""
        ...

    async def close(self) -> None:
        """Let go of everything the transport holds."""
        ...


def merge_messages(last: Any, new: Any) -> Any | None:
    """Two messages to a client that lags as one. What is lost is progress that is past, and prompts not looked at."""
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
