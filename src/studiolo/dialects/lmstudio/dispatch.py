"""Find the function that answers an endpoint. Importing this module registers every endpoint of the dialect."""

# pyright: reportUnusedImport=false
from __future__ import annotations

from typing import Any

from ...errors import ProtocolError, StudioloError, UnsupportedError
from ...protocol.declarations import Channel, Rpc
from . import (  # noqa: F401  each registers the endpoints of its namespace
    diagnostics,
    documents,
    download_plan,
    downloaded_models,
    embedding,
    files,
    hub,
    llm,
    models,
    plugins,
    repository,
    runtime,
    system,
)
from .registry import CHANNELS, RPCS, ChannelFunction, RpcFunction


def find_rpc(namespace: str, name: str) -> tuple[Rpc[Any, Any], RpcFunction]:
    """Return an RPC endpoint and its function.

    Raises:
        ProtocolError: there is no such endpoint.
        UnsupportedError: it is an endpoint of plugins.
    """
    try:
        return RPCS[namespace, name]
    except KeyError:
        raise _unknown(namespace, name, "channel" if (namespace, name) in CHANNELS else None) from None


def find_channel(namespace: str, name: str) -> tuple[Channel[Any, Any], ChannelFunction]:
    """Return a channel endpoint and its function.

    Raises:
        ProtocolError: there is no such endpoint.
        UnsupportedError: it is an endpoint of plugins.
    """
    try:
        return CHANNELS[namespace, name]
    except KeyError:
        raise _unknown(namespace, name, "rpc" if (namespace, name) in RPCS else None) from None


def _unknown(namespace: str, name: str, other_kind: str | None) -> StudioloError:
    if namespace == "plugins":
        return UnsupportedError(
            f"studiolo runs no plugins and has no endpoint {name!r}",
            suggestion="Pass functions or the tools of MCP servers to act().",
            feature="plugins",
        )
    if other_kind:
        return ProtocolError(f"{namespace}/{name} is a {other_kind} endpoint")
    return ProtocolError(
        f"Unknown endpoint {name!r} in the namespace {namespace!r}",
        data={"namespace": namespace, "endpoint": name},
    )
