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
    """The endpoint and its function. Raises :class:`ProtocolError` where there is none, :class:`UnsupportedError`
    where it is a plugin's."""
    try:
        return RPCS[namespace, name]
    except KeyError:
        raise _unknown(namespace, name, "channel" if (namespace, name) in CHANNELS else None) from None


def find_channel(namespace: str, name: str) -> tuple[Channel[Any, Any], ChannelFunction]:
    """The endpoint and its function. Raises :class:`ProtocolError` where there is none, :class:`UnsupportedError`
    where it is a plugin's."""
    try:
        return CHANNELS[namespace, name]
    except KeyError:
        raise _unknown(namespace, name, "rpc" if (namespace, name) in RPCS else None) from None


def _unknown(namespace: str, name: str, other_kind: str | None) -> StudioloError:
    if namespace == "plugins":
        return UnsupportedError(
            f"studiolo runs no plugins, so that there is no {name!r}",
            suggestion="Give tools to a model with act(), from functions or from MCP servers.",
            feature="plugins",
        )
    if other_kind:
        return ProtocolError(f"The endpoint {namespace}/{name} is a {other_kind} endpoint")
    return ProtocolError(
        f"This version of studiolo has no endpoint {name!r} in the namespace {namespace!r}",
        data={"namespace": namespace, "endpoint": name},
    )
