"""The ``plugins`` namespace of a host without plugins."""

from __future__ import annotations

import logging
from typing import Any

from ...protocol import plugins as wire
from .context import Context
from .registry import rpc

_log = logging.getLogger("studiolo.lmstudio")


@rpc(wire.REINDEX_PLUGINS, "plugins")
async def reindex_plugins(context: Context, _: None) -> None:
    """Do nothing: there are no plugins to index."""


@rpc(wire.REPORT_ERROR, "plugins")
async def report_error(context: Context, parameter: dict[str, Any]) -> None:
    """Log the error that a plugin outside the host reports."""
    _log.warning("a plugin reports: %.1000r", parameter)
