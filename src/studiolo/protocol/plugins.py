"""Messages of the ``plugins`` namespace that a host without plugins accepts."""

from __future__ import annotations

from typing import Any

from .declarations import Rpc

REINDEX_PLUGINS: Rpc[None, None] = Rpc("reindexPlugins", None, None)
REPORT_ERROR: Rpc[dict[str, Any], None] = Rpc("reportError", dict[str, Any], None)
