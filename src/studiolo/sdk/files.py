"""Giving files to the host."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from ..errors import ConfigError, FilesError, LocalFileError, LocalFileNotFoundError
from ..protocol.chat import FileHandle
from ..protocol.files import UPLOAD_FILE_BASE64, UploadFileBase64Parameter

if TYPE_CHECKING:
    from .async_client import AsyncClient

LocalFileInput: TypeAlias = "BinaryIO | bytes | bytearray | memoryview | str | os.PathLike[str]"


class AsyncFilesNamespace:
    """``client.files``: files that chats refer to."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def prepare_image(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Give an image to the host, for ``Chat.add_user_message(images=[...])``.

        JPEG, PNG and WebP of up to 45 MiB and 100 million pixels are taken; where a side is longer than 2048 pixels,
        the model is given the image scaled down to that.

        Parameters:
            src: its path, its content, or a file open for reading in binary mode.
            name: its name, for people. Default: the file's.

        Raises:
            LocalFileError: the file cannot be read.
            ConfigError: ``src`` is none of these.
            FilesError: it is no image, of another format, damaged, or too large.
        """
        name, data = await asyncio.to_thread(_read, src, name)
        uploaded = await self._client.call("files", UPLOAD_FILE_BASE64, UploadFileBase64Parameter(name, data))
        if uploaded.file_type != "image":
            raise FilesError(
                f"The file {name!r} is no image ({uploaded.file_type})", suggestion="JPEG, PNG and WebP can be read."
            )
        return FileHandle(
            name=name, identifier=uploaded.identifier, size_bytes=uploaded.size_bytes, file_type=uploaded.file_type
        )


def _read(src: LocalFileInput, name: str | None) -> tuple[str, bytes]:
    """A name and the content of a file."""
    try:
        if isinstance(src, bytes | bytearray | memoryview):
            return name or str(uuid.uuid4()), bytes(src)
        if isinstance(src, str | os.PathLike):
            path = Path(src)
            return name or path.name, path.read_bytes()
        if hasattr(src, "read"):
            given, data = getattr(src, "name", None), cast("object", src.read())
            if not isinstance(data, bytes):
                raise ConfigError("The file is open for reading text", suggestion="Open it with mode 'rb'.")
            return name or (Path(given).name if isinstance(given, str) else str(uuid.uuid4())), data
        return name or str(uuid.uuid4()), bytes(memoryview(cast("Any", src)))
    except OSError as error:
        what = f"The file {os.fspath(src)!r}" if isinstance(src, str | os.PathLike) else "The file"
        kind = LocalFileNotFoundError if isinstance(error, FileNotFoundError) else LocalFileError
        raise kind(f"{what} cannot be read", cause=error.strerror or str(error)) from None
    except TypeError:
        raise ConfigError(f"A {type(src).__name__} is neither a path, nor bytes, nor an open file") from None
