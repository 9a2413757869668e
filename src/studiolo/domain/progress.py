"""How far a piece of work is."""

from __future__ import annotations

from msgspec import Struct

HEARTBEAT_SEC = 10.0
"""At most so many seconds pass between two signs of life of a host to someone who waits for it."""


class PromptProgress(Struct, frozen=True):
    """How much of a prompt is processed, in tokens.

    Parameters:
        processed: tokens that are done, cached ones included.
        total: all of them; 0 where the engine has not said yet.
        cached: tokens that an earlier prompt with the same beginning has left in the engine's cache.
    """

    processed: int
    total: int
    cached: int = 0

    @property
    def ratio(self) -> float:
        """The part of what is not cached that is processed, 0 to 1."""
        left = self.total - self.cached
        return min(max(self.processed - self.cached, 0) / left, 1.0) if left > 0 else 1.0


class Queued(Struct, frozen=True):
    """The prediction waits for a slot; the place is counted from 1."""

    place: int


class DownloadProgress(Struct, frozen=True):
    """How far a download is.

    Parameters:
        downloaded_bytes: bytes on disk so far, those of earlier attempts included.
        total_bytes: bytes of all files; 0 where the source does not say.
        speed_bytes_per_second: the average of the last few seconds.
    """

    downloaded_bytes: int
    total_bytes: int
    speed_bytes_per_second: float
