"""Endpoint declarations: the name of an endpoint and the types of its parameter, result and messages.

The dialect registers a function for a declaration, and the SDK calls the endpoint by the same declaration, so that the
two cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

P = TypeVar("P")
R = TypeVar("R")

NAMESPACES = ("llm", "embedding", "system", "files", "repository", "diagnostics", "plugins", "runtime")
"""The namespaces of the protocol; each has a socket of its own."""


@dataclass(frozen=True)
class Rpc(Generic[P, R]):
    """An endpoint that returns one result."""

    name: str
    parameter: Any
    """The type ``P``, for msgspec; ``None`` for an endpoint without a parameter."""
    result: Any
    """The type ``R``, for msgspec; ``None`` for an endpoint without a result."""


@dataclass(frozen=True)
class Channel(Generic[P, R]):
    """An endpoint that streams messages to the client until it ends or is cancelled."""

    name: str
    parameter: Any
    """The type ``P`` of the creation parameter, for msgspec."""
    message: Any
    """The union ``R`` of the messages to the client, for msgspec."""
    request: Any = None
    """The union of the messages to the host, for msgspec; ``None`` if the client can only cancel."""
