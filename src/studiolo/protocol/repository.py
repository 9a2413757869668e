"""Messages of the ``repository`` namespace."""

from __future__ import annotations

from .endpoints import Channel
from .structs import Message, WireStruct


class DownloadProgressUpdate(WireStruct, frozen=True):
    """How far a download is."""

    downloaded_bytes: int
    """Bytes of the model on disk so far."""
    total_bytes: int
    """Bytes of the model in all; 0 where the source does not say."""
    speed_bytes_per_second: float
    """The rate of the last few seconds."""


class DownloadModelParameter(WireStruct, frozen=True):
    download_identifier: str
    """A name in the catalog."""


class DownloadProgress(Message, frozen=True, tag="downloadProgress"):
    update: DownloadProgressUpdate


class StartFinalizing(Message, frozen=True, tag="startFinalizing"):
    """All bytes are here; the file is being checked and put in place."""


class DownloadSuccess(Message, frozen=True, tag="success"):
    default_identifier: str
    """The key by which the model can now be loaded."""


DownloadMessage = DownloadProgress | StartFinalizing | DownloadSuccess

DOWNLOAD_MODEL: Channel[DownloadModelParameter, DownloadMessage] = Channel(
    "downloadModel", DownloadModelParameter, DownloadMessage
)

__all__ = [
    "DOWNLOAD_MODEL",
    "DownloadMessage",
    "DownloadModelParameter",
    "DownloadProgress",
    "DownloadProgressUpdate",
    "DownloadSuccess",
    "StartFinalizing",
]
