"""Infill: the text between two others."""

from __future__ import annotations

from msgspec import Struct


class Infill(Struct, frozen=True):
    """A gap that a model fills.

    Parameters:
        prefix: the text before it.
        suffix: the text after it.
    """

    prefix: str
    suffix: str
