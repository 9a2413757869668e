"""Which function answers which endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ...errors import ProtocolError, StudioloError, UnsupportedError
from ...protocol.endpoints import Channel, Rpc
from .context import Context, ServerChannel

P = TypeVar("P")
R = TypeVar("R")

RpcFunction = Callable[[Context, Any], Awaitable[Any]]
ChannelFunction = Callable[[Context, Any, ServerChannel[Any]], Awaitable[None]]

_rpcs: dict[tuple[str, str], tuple[Rpc[Any, Any], RpcFunction]] = {}
_channels: dict[tuple[str, str], tuple[Channel[Any, Any], ChannelFunction]] = {}


def rpc(
    endpoint: Rpc[P, R], *namespaces: str
) -> Callable[[Callable[[Context, P], Awaitable[R]]], Callable[[Context, P], Awaitable[R]]]:
    """Let the decorated function answer ``endpoint`` in these namespaces."""

    def register(function: Callable[[Context, P], Awaitable[R]]) -> Callable[[Context, P], Awaitable[R]]:
        for namespace in namespaces:
            _rpcs[namespace, endpoint.name] = (endpoint, function)
        return function

    return register


def channel(
    endpoint: Channel[P, R], *namespaces: str
) -> Callable[
    [Callable[[Context, P, ServerChannel[R]], Awaitable[None]]],
    Callable[[Context, P, ServerChannel[R]], Awaitable[None]],
]:
    """Let the decorated function answer ``endpoint`` in these namespaces."""

    def register(
        function: Callable[[Context, P, ServerChannel[R]], Awaitable[None]],
    ) -> Callable[[Context, P, ServerChannel[R]], Awaitable[None]]:
        for namespace in namespaces:
            _channels[namespace, endpoint.name] = (endpoint, function)
        return function

    return register


def find_rpc(namespace: str, name: str) -> tuple[Rpc[Any, Any], RpcFunction]:
    """The endpoint and its function. Raises :class:`ProtocolError` where there is none, :class:`UnsupportedError`
    where it is a plugin's."""
    try:
        return _rpcs[namespace, name]
    except KeyError:
        raise _unknown(namespace, name, "channel" if (namespace, name) in _channels else None) from None


def find_channel(namespace: str, name: str) -> tuple[Channel[Any, Any], ChannelFunction]:
    """The endpoint and its function. Raises :class:`ProtocolError` where there is none, :class:`UnsupportedError`
    where it is a plugin's."""
    try:
        return _channels[namespace, name]
    except KeyError:
        raise _unknown(namespace, name, "rpc" if (namespace, name) in _rpcs else None) from None


def _unknown(namespace: str, name: str, other_kind: str | None) -> StudioloError:
    if namespace == "plugins":
        return UnsupportedError(
            f"studiolo runs no plugins, so that there is no {name!r}",
            suggestion="Give tools to a model with act(), from functions or from MCP servers.",
            feature="plugins",
            engine="studiolo",
        )
    if other_kind:
        return ProtocolError(f"The endpoint {namespace}/{name} is a {other_kind} endpoint")
    return ProtocolError(
        f"This version of studiolo has no endpoint {name!r} in the namespace {namespace!r}",
        data={"namespace": namespace, "endpoint": name},
    )
