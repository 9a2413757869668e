"""A stored record."""

from __future__ import annotations

from msgspec import Struct


class Record(Struct, frozen=True, kw_only=True):
    """A stored record.

    Parameters:
        id: unique among the records of its kind and owner.
        created: when it was first written, in seconds since 1970.
        body: its content.
    """

    id: str
    created: float
    body: bytes
