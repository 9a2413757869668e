"""The files that clients upload, kept for as long as there is room.

A file is stored under the hash of its content and the suffix of its name, so that equal content is stored once.
Each upload still has its own identifier: hash, a random part, suffix. Where the folder cannot be written to, files are
kept in a temporary folder as long as the host runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from msgspec.structs import replace

from ..domain.chat import File, FileType, Message, Part
from ..errors import FilesError
from .audio import audio_format
from .text_encoding import UndecodableError, decode

MAX_FILE_BYTES = 45 * 2**20
"""The largest file: in base64, it fits into a frame of the protocol."""

MAX_TOTAL_BYTES = 2 * 2**30
"""Bytes that are kept; the least recently used file is removed first."""

MAX_TEMPORARY_BYTES = 2**28
"""Bytes that are kept in the temporary folder, which may lie in memory."""

MAX_NAMES = 10_000
"""Names of uploads that are remembered, for messages."""

_IDENTIFIER = re.compile(r"([0-9a-f]{64})(-[0-9a-f]{16})?(\.[a-z0-9]{1,8})?")


@dataclass(frozen=True)
class StoredFile:
    """A file in the store."""

    identifier: str
    file_type: FileType
    size_bytes: int


class FileStore:
    """The files in a folder. The methods block: call them in a thread.

    Parameters:
        folder: where they are; created with the first file.
        max_total_bytes: bytes that are kept.
    """

    def __init__(self, folder: Path, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
        self._folder = folder
        self._max_total_bytes = max_total_bytes
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._names: OrderedDict[str, str] = OrderedDict()

    def add(self, name: str, data: bytes) -> StoredFile:
        """Store a file.

        Parameters:
            name: its name, whose suffix becomes part of the identifier.

        Raises:
            FilesError: it is too large, or cannot be written.
        """
        if len(data) > MAX_FILE_BYTES:
            raise FilesError(
                f"The file {name!r} has {_megabytes(len(data))}, and the limit is {_megabytes(MAX_FILE_BYTES)}",
                suggestion="Upload a smaller file.",
            )
        suffix = PurePath(name).suffix.lower()
        suffix = suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
        digest = hashlib.sha256(data).hexdigest()
        try:
            _write(self._folder, digest + suffix, data, self._max_total_bytes)
        except OSError as error:  # a read-only or full disk
            try:
                _write(self._temporary_folder(), digest + suffix, data, MAX_TEMPORARY_BYTES)
            except OSError:
                raise FilesError(
                    f"The file {name!r} cannot be kept in {self._folder}, nor in the folder for temporary files",
                    cause=error.strerror,
                    suggestion="Make room, or set STUDIOLO_HOME to a writable folder.",
                ) from None
        stored = StoredFile(f"{digest}-{secrets.token_hex(8)}{suffix}", file_type(name, data), len(data))
        with self._lock:
            self._names[stored.identifier] = name
            if len(self._names) > MAX_NAMES:
                self._names.popitem(last=False)
        return stored

    def name(self, identifier: str) -> str:
        """Return the name under which a file was uploaded; its identifier if the host has restarted since."""
        return self._names.get(identifier, identifier)

    def path(self, identifier: str, name: str | None = None) -> Path:
        """Return the path of the file with this identifier. Raise :class:`FilesError` if there is none.

        Parameters:
            name: its name in the error; by default the one that it was uploaded with.
        """
        if _IDENTIFIER.fullmatch(identifier) is not None:
            temporary = self._temporary
            for folder in (self._folder, *([Path(temporary.name)] if temporary else ())):
                path = folder / content_of(identifier)
                if path.is_file():
                    return path
        raise FilesError(
            f"The host has no file {name or self.name(identifier)!r}",
            cause="It was uploaded to another host, or removed to make room.",
            suggestion="Upload it to this host: prepare_image(), prepare_audio() and prepare_file() do.",
        )

    def read(self, identifier: str, name: str | None = None) -> bytes:
        """Return the content of a file, which counts as a use. Raise :class:`FilesError` if it cannot be read."""
        path = self.path(identifier, name)
        with suppress(OSError):  # on a read-only disk nothing is removed, either
            os.utime(path)
        try:
            return path.read_bytes()
        except OSError as error:
            title = f"The file {name or self.name(identifier)!r} cannot be read"
            raise FilesError(title, cause=error.strerror) from None

    def close(self) -> None:
        """Remove the temporary folder, if there is one."""
        with self._lock:
            temporary, self._temporary = self._temporary, None
        if temporary is not None:
            temporary.cleanup()

    def _temporary_folder(self) -> Path:
        with self._lock:
            if self._temporary is None:
                self._temporary = tempfile.TemporaryDirectory(prefix="studiolo-files-", ignore_cleanup_errors=True)
            return Path(self._temporary.name)


def _write(folder: Path, name: str, data: bytes, max_total_bytes: int) -> None:
    """Write a file, unless it exists, and make room for it. Raise :class:`OSError` if it cannot be written."""
    path = folder / name
    if path.exists():
        with suppress(OSError):
            os.utime(path)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False) as part:
        try:
            part.write(data)
            part.flush()
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    _make_room(folder, path, max_total_bytes)


def _make_room(folder: Path, newest: Path, max_total_bytes: int) -> None:
    files: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        try:
            status = path.stat()
        except OSError:  # another host has just removed it
            continue
        files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_total_bytes:
            return
        if path != newest:
            path.unlink(missing_ok=True)
            total -= size


def content_of(identifier: str) -> str:
    """Return the part of an identifier that all uploads of the same content share."""
    known = _IDENTIFIER.fullmatch(identifier)
    return known[1] + (known[3] or "") if known else identifier


def without_documents(messages: Sequence[Message]) -> list[Message]:
    """Return the messages without the files that no model takes: all but images and audio."""

    def is_taken(part: Part) -> bool:
        return not isinstance(part, File) or part.file_type in ("image", "audio")

    return [replace(message, parts=list(filter(is_taken, message.parts))) for message in messages]


def file_type(name: str, data: bytes) -> FileType:
    """Return the type of a file by its content; of text, by its name."""
    form = image_format(data)
    if form is not None:
        return "image" if form in READABLE_IMAGES else "unknown"
    if audio_format(data) is not None:
        return "audio"
    if data.startswith(b"%PDF-"):
        return "application/pdf"
    if data.startswith(b"PK\3\4"):
        # Names in an archive are not compressed; opening a hostile archive may take all memory.
        return "application/word" if b"word/document.xml" in data else "unknown"
    try:
        decode(name, data[:_SAMPLE_BYTES], whole=len(data) <= _SAMPLE_BYTES)
    except UndecodableError:
        return "unknown"
    return "text/plain" if PurePath(name).suffix.lower() in ("", ".txt") else "text/other"


_SAMPLE_BYTES = 4096
"""Bytes of a file that decide whether it is text."""

READABLE_IMAGES = frozenset({"JPEG", "PNG", "WebP", "GIF", "BMP", "PPM"})

_IMAGES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"icns", "ICNS"),
    (b"qoif", "QOI"),
    (b"DDS \x7c\0\0\0", "DDS"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
)
_PPM = re.compile(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*[0-9]+\s+[0-9]+\s")
"""The beginning of a portable bitmap, graymap or pixmap: its size follows its type."""


def image_format(data: bytes) -> str | None:
    """Return the name of an image's format by its first bytes; ``None`` if it is not an image."""
    for magic, name in _IMAGES:
        if data.startswith(magic):
            return name
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return "BMP"
    if _PPM.match(data[:_SAMPLE_BYTES]):
        return "PPM"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return "AVIF" if data[8:12] == b"avif" else "HEIC"
    return None


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
