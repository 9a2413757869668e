"""Giving files to the host."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Unpack, cast

from ..errors import ConfigError, FilesError, LocalFileError, LocalFileNotFoundError
from ..protocol.chat import FileHandle
from ..protocol.files import (
    GET_PARSING_LIBRARY,
    UPLOAD_FILE_BASE64,
    FileIdentifierParameter,
    ParsedDocument,
    ParserIdentifier,
    UploadFileBase64Parameter,
)
from . import documents
from .async_models import AsyncEmbeddingModel
from .documents import RetrievalCallbacks, RetrievalResult

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
        handle = await self.prepare_file(src, name)
        if handle.file_type != "image":
            raise FilesError(
                f"The file {handle.name!r} is no image ({handle.file_type})",
                suggestion="JPEG, PNG and WebP can be read.",
            )
        return handle

    async def prepare_file(self, src: LocalFileInput, name: str | None = None) -> FileHandle:
        """Give a file of any kind to the host, for :meth:`parse_document` and :meth:`retrieve`.

        Parameters:
            src, name: as for :meth:`prepare_image`. The name's suffix tells HTML from other text.

        Raises:
            LocalFileError: the file cannot be read.
            ConfigError: ``src`` is none of what is taken.
            FilesError: it is too large.
        """
        name, data = await asyncio.to_thread(_read, src, name)
        uploaded = await self._client.call("files", UPLOAD_FILE_BASE64, UploadFileBase64Parameter(name, data))
        return FileHandle(
            name=name, identifier=uploaded.identifier, size_bytes=uploaded.size_bytes, file_type=uploaded.file_type
        )

    async def get_document_parsing_library(self, file: FileHandle) -> ParserIdentifier:
        """What :meth:`parse_document` would read the file with. Raises :class:`FilesError`."""
        return await self._client.call("files", GET_PARSING_LIBRARY, FileIdentifierParameter(file.identifier))

    async def parse_document(
        self,
        file: FileHandle,
        *,
        on_parser_loaded: Callable[[ParserIdentifier], Any] | None = None,
        on_progress: Callable[[float], Any] | None = None,
    ) -> ParsedDocument:
        """What a document says: PDF, DOCX, HTML, Markdown, or plain text in UTF-8.

        Parameters:
            file: a handle from :meth:`prepare_file`.
            on_parser_loaded: told what reads the document.
            on_progress: told the share that is read, 0 to 1.

        Raises:
            FilesError: it is of no kind that can be read, protected by a password, or damaged.
            UnsupportedError: the host lacks the library for it (``pip install 'studiolo[documents]'``).
        """
        return await documents.parse_document(self._client, file, on_parser_loaded, on_progress)

    async def retrieve(
        self,
        query: str,
        files: Sequence[FileHandle],
        *,
        embedding_model: AsyncEmbeddingModel | str | None = None,
        limit: int | None = None,
        chunk_size: int | None = None,
        chunk_overlap: int | None = None,
        **callbacks: Unpack[RetrievalCallbacks],
    ) -> RetrievalResult:
        """The passages of documents that are nearest to a question, the nearest first.

        Parameters:
            query: the question.
            files: handles from :meth:`prepare_file`.
            embedding_model: a handle or the name of an embedding model. Default: one that is loaded, else the first
                in the library.
            limit: how many passages at most. Default: 5.
            chunk_size: characters of a passage at most. Default: 512.
            chunk_overlap: characters that two neighbouring passages have in common, about. Default: 100, or a fifth of
                ``chunk_size`` where that is less.
            callbacks: see :class:`RetrievalCallbacks`.

        Raises:
            FilesError, UnsupportedError: as :meth:`parse_document`.
            ModelNotFoundError: there is no such embedding model, or none at all.
            ConfigError: a setting has a wrong type or range.
        """
        return await documents.retrieve(
            self._client, query, files, embedding_model, limit, chunk_size, chunk_overlap, callbacks
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
