"""Extract the text of documents: PDF, DOCX and HTML through the extra ``documents``; text and Markdown as they are.

The libraries that parse them are not made for hostile files: they run in a child process (:mod:`._document_worker`)
with limits on time, memory and the length of the text.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath

import msgspec
from msgspec import Struct

from .._version import __version__
from ..errors import FilesError, UnsupportedError
from ..platform.interpreter import python_command
from ..platform.processes import kill, start_child
from .files import FileStore, file_type, image_format
from .text_encoding import UndecodableError, decode

AT_ONCE = 2
"""Documents that are parsed at a time; others wait."""

_WORKER = "host._document_worker"
_HTML = frozenset({".html", ".htm", ".xhtml"})
_LIBRARIES = {"pdf": "pypdf", "docx": "python-docx", "html": "beautifulsoup4"}

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Parser:
    """The library that parses a kind of document, and its version."""

    library: str
    version: str


@dataclass(frozen=True)
class Document:
    """The text of a document.

    Parameters:
        pages: the text of each page; one page where the format has none.
        paged: whether the format has pages.
        parser: the library that parsed it.
    """

    pages: list[str]
    paged: bool
    parser: Parser

    @property
    def content(self) -> str:
        """The whole text."""
        return "\n\n".join(self.pages)


@dataclass(frozen=True)
class Limits:
    """Limits for one document.

    Parameters:
        time_sec: seconds to parse it.
        memory_bytes: address space of the process that parses it.
        text_bytes: length of its text in UTF-8.
    """

    time_sec: float = 60.0
    memory_bytes: int = 2**30
    text_bytes: int = 16 * 2**20


class _Line(Struct):
    """A line of the worker."""

    page: str | None = None
    share: float = 0.0
    done: bool = False
    failed: str | None = None
    reason: str | None = None


class Documents:
    """The documents among the files of a host.

    Parameters:
        files: the file store.
        limits: for each document.
        turn: held by a document that is parsed; by default those of these files are counted alone.
    """

    def __init__(self, files: FileStore, limits: Limits | None = None, turn: asyncio.Semaphore | None = None) -> None:
        self._files = files
        self._limits = limits or Limits()
        self._turn = turn or asyncio.Semaphore(AT_ONCE)

    async def parser(self, identifier: str) -> Parser:
        """Return the parser for a file.

        Raises:
            UnsupportedError: its library is not installed.
            FilesError: there is no such file, or no parser for its kind.
        """
        return _parser(await asyncio.to_thread(self._kind, identifier))

    async def read(self, identifier: str, on_progress: OnProgress) -> Document:
        """Return the text of a document.

        Parameters:
            identifier: the file's, whose suffix distinguishes HTML from other text.
            on_progress: called with the fraction that is parsed, 0 to 1.

        Raises:
            UnsupportedError: the library for its kind is not installed.
            FilesError: there is no such file; or it is of an unknown kind, protected by a password, damaged, or
                exceeds the limits.
        """
        kind = await asyncio.to_thread(self._kind, identifier)
        parser = _parser(kind)
        if kind == "text":
            pages = [await asyncio.to_thread(self._text, identifier)]
            on_progress(1.0)
        else:
            async with self._turn:
                pages = await self._pages(identifier, kind, on_progress)
        return Document(pages, kind == "pdf", parser)

    async def read_unkept(self, name: str, data: bytes) -> Document:
        """Return the text of a document that is not kept among the files, as :meth:`read` does.

        Parameters:
            name: its name, whose suffix distinguishes HTML from other text.
        """
        try:
            folder = tempfile.TemporaryDirectory(prefix="studiolo-document-", ignore_cleanup_errors=True)
        except OSError as error:
            title = f"The file {name!r} cannot be kept in the folder for temporary files"
            raise FilesError(title, cause=error.strerror, suggestion="Make room in it.") from None
        with folder:
            files = FileStore(Path(folder.name))
            stored = await asyncio.to_thread(files.add, name, data)
            return await Documents(files, self._limits, self._turn).read(stored.identifier, lambda _: None)

    def _kind(self, identifier: str) -> str:
        data = self._files.read(identifier)
        kind = file_type(identifier, data)
        is_text = kind in ("text/plain", "text/other") or (
            kind == "unknown" and image_format(data) is None and not data.startswith(b"PK")
        )
        if is_text:  # in any encoding, or refused with the place where it is none
            return "html" if PurePath(identifier).suffix in _HTML else "text"
        match kind:
            case "application/pdf":
                return "pdf"
            case "application/word":
                return "docx"
            case _:
                raise FilesError(
                    f"The file {self._files.name(identifier)!r} is not a document that can be read ({kind})",
                    suggestion="Convert it to PDF, DOCX, HTML, Markdown or plain text in UTF-8.",
                )

    def _text(self, identifier: str) -> str:
        data = self._files.read(identifier)
        if len(data) > self._limits.text_bytes:
            raise self._refusal(identifier, "text")
        try:
            return decode(identifier, data)
        except UndecodableError as error:
            raise self._refusal(identifier, "encoding", str(error)) from None

    async def _pages(self, identifier: str, kind: str, on_progress: OnProgress) -> list[str]:
        path = await asyncio.to_thread(self._files.path, identifier)
        pages: list[str] = []
        try:
            async with asyncio.timeout(self._limits.time_sec), contextlib.aclosing(self._run(kind, path)) as lines:
                async for line in lines:
                    if line.failed is not None:
                        raise self._refusal(identifier, line.failed, line.reason)
                    if line.done:
                        return pages
                    pages.append(line.page or "")
                    on_progress(line.share)
        except TimeoutError:
            raise self._refusal(identifier, "time") from None
        except OSError as error:
            raise self._refusal(
                identifier, "unstarted", f"The process that parses it cannot be started: {error}"
            ) from None
        raise self._refusal(identifier, "crashed")

    async def _run(self, kind: str, path: Path) -> AsyncGenerator[_Line]:
        """Yield the worker's lines. The worker is killed when the iteration ends."""
        limits = self._limits
        numbers = (limits.memory_bytes, int(limits.time_sec) + 1, limits.text_bytes)
        process = await start_child(
            *python_command(_WORKER, kind, str(path), *map(str, numbers)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=6 * limits.text_bytes + 4096,  # a control character takes six in JSON
        )
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                yield await asyncio.to_thread(msgspec.json.decode, line, type=_Line)
        except (ValueError, msgspec.MsgspecError):
            return  # the worker has written something else than its lines
        finally:
            kill(process)
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _refusal(self, identifier: str, why: str, reason: str | None = None) -> FilesError:
        limits, name = self._limits, self._files.name(identifier)
        if why == "encoding":
            return FilesError(
                f"The file {name!r} is not a document that can be read",
                cause=reason,
                suggestion="Save text as UTF-8, or convert the file to PDF, DOCX, HTML or Markdown.",
            )
        causes = {
            "password": "It is protected by a password.",
            "unpacked": "It is too large when it is unpacked.",
            "text": f"It has more than {limits.text_bytes / 2**20:g} MiB of text, which is the limit.",
            "memory": f"Reading it takes more than {limits.memory_bytes / 2**20:g} MiB of memory, which is the limit.",
            "time": f"Reading it takes longer than {limits.time_sec:g} s, which is the limit.",
            "crashed": "The process that parsed it crashed.",
        }
        return FilesError(f"The file {name!r} cannot be read", cause=causes.get(why, reason))


def _parser(kind: str) -> Parser:
    if kind == "text":
        return Parser("studiolo", __version__)
    library = _LIBRARIES[kind]
    try:
        return Parser(library, version(library))
    except PackageNotFoundError:
        raise UnsupportedError(
            f"To read {kind.upper()}, the host needs the library {library}",
            suggestion="Install it: pip install 'studiolo[documents]'",
            feature=kind.upper(),
        ) from None
