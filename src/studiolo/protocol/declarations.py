"""What an endpoint is: a name, and the types that go in and come out.

A dialect registers a function for an endpoint and the SDK calls one; both go by the same declaration, so that
neither can drift from the other.
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
    """An endpoint that answers once."""

    name: str
    parameter: Any
    """The type ``P``, for msgspec; ``None`` for an endpoint without a parameter."""
    result: Any
    """The type ``R``, for msgspec; ``None`` for an endpoint without a result."""


@dataclass(frozen=True)
class Channel(Generic[P, R]):
    """An endpoint that streams messages to the client until it is done or cancelled."""

    name: str
    parameter: Any
    """The type ``P`` of the creation parameter, for msgspec."""
    message: Any
    """The union ``R`` of the messages to the client, for msgspec."""
    request: Any = None
    """The union of the messages to the host, for msgspec; ``None`` where the client can only cancel."""
