"""The ``plugins`` namespace: there are none, and what would make one is refused."""

from __future__ import annotations

from ...protocol import plugins as wire
from .context import Context
from .registry import rpc


@rpc(wire.REINDEX_PLUGINS, "plugins")
async def reindex_plugins(context: Context, _: None) -> None:
    """There is nothing to index."""
