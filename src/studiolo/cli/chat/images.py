"""The images of a conversation on the host."""

from __future__ import annotations

import hashlib
from typing import Any

from ...domain.chat import Image
from ...sdk.sync_client import Client


class Images:
    """The images of a conversation, each uploaded once.

    Parameters:
        client: of the host.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._handles: dict[bytes, Any] = {}

    def handle(self, image: Image) -> Any:
        """Return the handle of an image. Raise :class:`FilesError` where it is none."""
        key = hashlib.sha256(image.data).digest()
        if key not in self._handles:
            self._handles[key] = self._client.files.prepare_image(image.data, image.name)
        return self._handles[key]
