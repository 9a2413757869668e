"""Every endpoint of the dialect: importing this module registers them all."""

from __future__ import annotations

from . import (
    diagnostics,
    documents,
    download_plan,
    embedding,
    files,
    hub,
    library,
    llm,
    models,
    plugins,
    repository,
    runtime,
    system,
)
from .registry import find_channel, find_rpc

__all__ = [
    "diagnostics",
    "documents",
    "download_plan",
    "embedding",
    "files",
    "find_channel",
    "find_rpc",
    "hub",
    "library",
    "llm",
    "models",
    "plugins",
    "repository",
    "runtime",
    "system",
]
