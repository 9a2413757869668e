"""Every endpoint of the dialect: importing this module registers them all."""

from __future__ import annotations

from . import embedding, files, library, llm, models, repository, system
from .registry import find_channel, find_rpc

__all__ = ["embedding", "files", "find_channel", "find_rpc", "library", "llm", "models", "repository", "system"]
