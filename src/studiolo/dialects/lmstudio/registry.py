"""The functions that answer the endpoints, registered by decorators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ...protocol.declarations import Channel, Rpc
from .context import Context, ServerChannel

P = TypeVar("P")
R = TypeVar("R")

RpcFunction = Callable[[Context, Any], Awaitable[Any]]
ChannelFunction = Callable[[Context, Any, ServerChannel[Any]], Awaitable[None]]

RPCS: dict[tuple[str, str], tuple[Rpc[Any, Any], RpcFunction]] = {}
CHANNELS: dict[tuple[str, str], tuple[Channel[Any, Any], ChannelFunction]] = {}


def rpc(
    endpoint: Rpc[P, R], *namespaces: str
) -> Callable[[Callable[[Context, P], Awaitable[R]]], Callable[[Context, P], Awaitable[R]]]:
    """Register the decorated function for ``endpoint`` in these namespaces."""

    def register(function: Callable[[Context, P], Awaitable[R]]) -> Callable[[Context, P], Awaitable[R]]:
        for namespace in namespaces:
            RPCS[namespace, endpoint.name] = (endpoint, function)
        return function

    return register


def channel(
    endpoint: Channel[P, R], *namespaces: str
) -> Callable[
    [Callable[[Context, P, ServerChannel[R]], Awaitable[None]]],
    Callable[[Context, P, ServerChannel[R]], Awaitable[None]],
]:
    """Register the decorated function for ``endpoint`` in these namespaces."""

    def register(
        function: Callable[[Context, P, ServerChannel[R]], Awaitable[None]],
    ) -> Callable[[Context, P, ServerChannel[R]], Awaitable[None]]:
        for namespace in namespaces:
            CHANNELS[namespace, endpoint.name] = (endpoint, function)
        return function

    return register
