"""Documents that are attached to questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WHOLE_SHARE = 0.5
"""A document is given to the model whole if it takes at most this share of the context, together with the others."""

PASSAGES = 8
"""Passages of longer documents that are looked for."""


@dataclass(frozen=True)
class AttachedDocument:
    """A document for the next question.

    Parameters:
        name: its file name.
        text: its whole text.
        handle: of its file on the host.
    """

    name: str
    text: str
    handle: Any
