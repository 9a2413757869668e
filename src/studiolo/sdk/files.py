"""``client.files``: upload of files to the host."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, Unpack, cast

from ..daemon_threads import in_thread
from ..deadline import Deadline
from ..errors import ChannelClosedError, ConfigError, FilesError, LocalFileError, LocalFileNotFoundError
from ..protocol.chat import FileHandle, FileType
from ..protocol.files import (
    GET_PARSING_LIBRARY,
    PARSE_DOCUMENT,
    UPLOAD_FILE_BASE64,
    FileIdentifierParameter,
    ParsedDocument,
    ParseDocumentParameter,
    ParseProgress,
    ParserIdentifier,
    ParserLoaded,
    UploadFileBase64Parameter,
)
from . import documents
from .arguments import callback, instance_of, optional, text, wrong_type
from .callbacks import call
from .documents import RetrievalOptions, RetrievalResult
from .session import Session
from .timeouts import Timeout, deadline_of

LocalFileInput: TypeAlias = "BinaryIO | bytes | bytearray | memoryview | str | os.PathLike[str]"


class AsyncFilesNamespace:
    """``client.files``: files that chats refer to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def prepare_image(
        self, src: LocalFileInput, name: str | None = None, *, timeout: Timeout = None
    ) -> FileHandle:
        """Upload an image to the host, for ``Chat.add_user_message(images=[...])``.

        The image may be JPEG, PNG, WebP, GIF or BMP with at most 45 MiB and 100 million pixels; of an animation the
        model gets the first frame. If a side is longer than 2048
        pixels, the model gets the image scaled down to that.

        Parameters:
            src: its path, its content, or a file open for reading in binary mode.
            name: its display name. Default: the file's name.
            timeout: the time limit of the call in seconds. Default: none.

        Raises:
            TimeLimitError: it took longer than ``timeout``.
            LocalFileError: the file cannot be read.
            ConfigError: ``src`` is none of these.
            FilesError: it is not an image, or is of another format, damaged, or too large.
        """
        return await self._prepare(
            src, name, "image", "an image", "JPEG, PNG or WebP", deadline_of(timeout, "prepare_image()")
        )

    async def prepare_audio(
        self, src: LocalFileInput, name: str | None = None, *, timeout: Timeout = None
    ) -> FileHandle:
        """Upload audio to the host, for ``Chat.add_user_message(audio=[...])``. Only studiolo's hosts take it.

        The audio may be WAV, MP3 or FLAC with at most 45 MiB and an hour.

        Parameters:
            src, name, timeout: as for :meth:`prepare_image`.

        Raises:
            LocalFileError: the file cannot be read.
            ConfigError: ``src`` has none of these types.
            FilesError: it is not audio, or is of another format, damaged, or too long.
        """
        return await self._prepare(
            src, name, "audio", "audio", "WAV, MP3 or FLAC", deadline_of(timeout, "prepare_audio()")
        )

    async def prepare_file(
        self, src: LocalFileInput, name: str | None = None, *, timeout: Timeout = None
    ) -> FileHandle:
        """Upload a file of any kind to the host, for :meth:`parse_document` and :meth:`retrieve`.

        Parameters:
            src, name, timeout: as for :meth:`prepare_image`. The suffix of the name distinguishes HTML from other text.

        Raises:
            LocalFileError: the file cannot be read.
            ConfigError: ``src`` has none of these types.
            FilesError: it is too large.
        """
        deadline = deadline_of(timeout, "prepare_file()")
        async with deadline.enforced("prepare_file()"):
            name, data = await in_thread(_read, src, optional(text, name, "name"))
        parameter = UploadFileBase64Parameter(name, data)
        uploaded = await self._session.call("files", UPLOAD_FILE_BASE64, parameter, deadline)
        return FileHandle(
            name=name,
            identifier=uploaded.identifier,
            size_bytes=uploaded.size_bytes,
            file_type="audio" if uploaded.is_audio else uploaded.file_type,
        )

    async def _prepare(
        self, src: LocalFileInput, name: str | None, file_type: FileType, what: str, formats: str, deadline: Deadline
    ) -> FileHandle:
        handle = await self.prepare_file(src, name, timeout=deadline)
        if handle.file_type != file_type:
            raise FilesError(
                f"The file {handle.name!r} is not {what} ({handle.file_type})", suggestion=f"Convert it to {formats}."
            )
        return handle

    async def get_document_parsing_library(self, file: FileHandle, *, timeout: Timeout = None) -> ParserIdentifier:
        """Return the library that :meth:`parse_document` would use. Raise :class:`FilesError` if there is none.

        Parameters:
            timeout: as for :meth:`prepare_image`.
        """
        deadline = deadline_of(timeout, "get_document_parsing_library()")
        parameter = FileIdentifierParameter(_handle(file, "file").identifier)
        return await self._session.call("files", GET_PARSING_LIBRARY, parameter, deadline)

    async def parse_document(
        self,
        file: FileHandle,
        *,
        on_parser_loaded: Callable[[ParserIdentifier], Any] | None = None,
        on_progress: Callable[[float], Any] | None = None,
        timeout: Timeout = None,
    ) -> ParsedDocument:
        """Return the text of a document: PDF, DOCX, HTML, Markdown, or plain text.

        Text may be in UTF-8, in UTF-16 or UTF-32 with a byte order mark, in the encoding that it declares, or in
        cp1252 (Latin-1).

        Parameters:
            file: a handle from :meth:`prepare_file`.
            on_parser_loaded: called with the library that parses the document.
            on_progress: called with the fraction that is parsed, 0 to 1.
            timeout: the time limit of the whole in seconds. Default: none.

        Raises:
            TimeLimitError: it took longer than ``timeout``.
            FilesError: its kind is not supported, or it is encrypted or damaged; text in an encoding that cannot be
                recognized is refused with the position of the first wrong byte.
            UnsupportedError: the host lacks the library for it (``pip install 'studiolo[documents]'``).
        """
        deadline = deadline_of(timeout, "parse_document()")
        parameter = ParseDocumentParameter(_handle(file, "file").identifier)
        callback(on_parser_loaded, "on_parser_loaded")
        callback(on_progress, "on_progress")
        async with self._session.messages("files", PARSE_DOCUMENT, parameter, deadline) as messages:
            async for message in messages:
                match message:
                    case ParserLoaded(parser=parser):
                        call(on_parser_loaded, parser)
                    case ParseProgress(progress=progress):
                        call(on_progress, progress)
                    case ParsedDocument():
                        return message
        raise ChannelClosedError(f"The host ended the parsing of {file.name} without a result")

    async def retrieve(
        self, query: str, files: Sequence[FileHandle], **options: Unpack[RetrievalOptions]
    ) -> RetrievalResult:
        """Return the passages of documents that are most similar to a query, the most similar first.

        Parameters:
            query: the question.
            files: handles from :meth:`prepare_file`.
            embedding_model: a handle or the name of an embedding model. Default: one that is loaded, else the first
                in the library.
            limit: the maximum number of passages. Default: 5.
            chunk_size: the maximum number of characters of a passage. Default: 512.
            chunk_overlap: about how many characters two neighbouring passages share. Default: 100, or a fifth of
                ``chunk_size`` if that is less.
            timeout: the time limit of the whole in seconds; the load of the embedding model counts. Default: none.
            on_file_process_list, on_file_processing_start, on_file_processing_end, on_file_processing_step_start,
            on_file_processing_step_progress, on_file_processing_step_end, on_searching_start, on_searching_end:
            callbacks; see :class:`RetrievalCallbacks`.

        Raises:
            FilesError, UnsupportedError: as :meth:`parse_document`.
            ModelNotFoundError: there is no such embedding model, or none at all.
            ConfigError: a setting has a wrong type or range.
            TimeLimitError: it took longer than ``timeout``.
        """
        return await documents.retrieve(self._session, query, files, options)


_handle = instance_of(FileHandle, "Pass a handle that prepare_file() returned.")


def _read(src: LocalFileInput, name: str | None) -> tuple[str, bytes]:
    """Return the name and the content of a file."""
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
        raise wrong_type(src, "src", "a path, bytes, or a file open for reading in binary mode") from None
