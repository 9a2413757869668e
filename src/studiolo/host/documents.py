"""What documents say: PDF, DOCX and HTML through the extra ``documents``; text and Markdown as they are.

Files come from anywhere, and the libraries that read them are not made for the hostile ones among them: they are run in
a process of its own (:mod:`._document_worker`) with limits on time, memory and the length of what it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath

import msgspec
from msgspec import Struct

from .._version import __version__
from ..children import send_signal
from ..errors import FilesError, UnsupportedError
from .files import FileStore, file_type

AT_ONCE = 2
"""Documents that are read at a time; others wait."""

_WORKER = Path(__file__).with_name("_document_worker.py")
_HTML = frozenset({".html", ".htm", ".xhtml"})
_LIBRARIES = {"pdf": "pypdf", "docx": "python-docx", "html": "beautifulsoup4"}

OnProgress = Callable[[float], None]


@dataclass(frozen=True)
class Parser:
    """What reads a kind of document: a library, and its version."""

    library: str
    version: str


@dataclass(frozen=True)
class Document:
    """What a document says.

    Parameters:
        pages: the text of each page; one page where the format has none.
        paged: whether the format has pages.
        parser: what has read it.
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
    """What one document may take.

    Parameters:
        time_sec: seconds to read it.
        memory_bytes: address space of the process that reads it.
        text_bytes: how much it may say, in UTF-8.
    """

    time_sec: float = 60.0
    memory_bytes: int = 2**30
    text_bytes: int = 16 * 2**20


class _Said(Struct):
    """A line of the worker."""

    page: str | None = None
    share: float = 0.0
    done: bool = False
    failed: str | None = None
    reason: str | None = None


class Documents:
    """The documents among the files of a host.

    Parameters:
        files: where they are.
        limits: what one may take.
    """

    def __init__(self, files: FileStore, limits: Limits | None = None) -> None:
        self._files = files
        self._limits = limits or Limits()
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def parser(self, identifier: str) -> Parser:
        """What would read the file.

        Raises:
            UnsupportedError: its library is not installed.
            FilesError: there is no such file, or it is of no kind that can be read.
        """
        return _parser(await asyncio.to_thread(self._kind, identifier))

    async def read(self, identifier: str, on_progress: OnProgress) -> Document:
        """Read a document.

        Parameters:
            identifier: the file's, whose suffix tells HTML from other text.
            on_progress: told the share that is read, 0 to 1.

        Raises:
            UnsupportedError: the library for its kind is not installed.
            FilesError: there is no such file; or it is of no kind that can be read, protected by a password, damaged,
                or takes more than the limits allow.
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

    def _kind(self, identifier: str) -> str:
        data = self._files.read(identifier)
        kind = file_type(identifier, data)
        if PurePath(identifier).suffix in _HTML and kind in ("text/other", "unknown") and b"\0" not in data:
            return "html"  # in whichever encoding: it says so itself
        match kind:
            case "text/plain" | "text/other":
                return "text"
            case "application/pdf":
                return "pdf"
            case "application/word":
                return "docx"
            case _:
                raise FilesError(
                    f"The file {identifier!r} is no document that can be read ({kind})",
                    suggestion="PDF, DOCX, HTML, and Markdown and plain text in UTF-8 can be read.",
                )

    def _text(self, identifier: str) -> str:
        data = self._files.read(identifier)
        if len(data) > self._limits.text_bytes:
            raise self._refusal(identifier, "text")
        return data.decode("utf-8-sig", errors="replace")

    async def _pages(self, identifier: str, kind: str, on_progress: OnProgress) -> list[str]:
        path = await asyncio.to_thread(self._files.path, identifier)
        pages: list[str] = []
        try:
            async with asyncio.timeout(self._limits.time_sec), contextlib.aclosing(self._run(kind, path)) as lines:
                async for said in lines:
                    if said.failed is not None:
                        raise self._refusal(identifier, said.failed, said.reason)
                    if said.done:
                        return pages
                    pages.append(said.page or "")
                    on_progress(said.share)
        except TimeoutError:
            raise self._refusal(identifier, "time") from None
        except OSError as error:
            raise self._refusal(identifier, "unstarted", f"No process to read it can be started: {error}") from None
        raise self._refusal(identifier, "crashed")

    async def _run(self, kind: str, path: Path) -> AsyncGenerator[_Said]:
        """What the worker says, line by line. It is killed where the iteration is left."""
        limits = self._limits
        numbers = (limits.memory_bytes, int(limits.time_sec) + 1, limits.text_bytes)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the current folder and the worker's own are no places to import from
            str(_WORKER),
            kind,
            str(path),
            *(str(number) for number in numbers),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=6 * limits.text_bytes + 4096,  # a control character takes six in JSON
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            while line := await process.stdout.readline():
                yield await asyncio.to_thread(msgspec.json.decode, line, type=_Said)
        except (ValueError, msgspec.MsgspecError):
            return  # a line without end, or none of the worker's: it has lost its mind
        finally:
            send_signal(process, signal.SIGKILL)
            await process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def _refusal(self, identifier: str, why: str, reason: str | None = None) -> FilesError:
        limits = self._limits
        causes = {
            "password": "It is protected by a password.",
            "unpacked": "It is too large when it is unpacked.",
            "text": f"It says more than {limits.text_bytes / 2**20:g} MiB of text, which is the limit.",
            "memory": f"Reading it takes more than {limits.memory_bytes / 2**20:g} MiB of memory, which is the limit.",
            "time": f"Reading it takes longer than {limits.time_sec:g} s, which is the limit.",
            "crashed": "The process that read it has died of it.",
        }
        return FilesError(f"The file {identifier!r} cannot be read", cause=causes.get(why, reason))


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
            engine="studiolo",
        ) from None
