"""The standard streams of a command: closed ones become empty, letters that cannot be shown are escaped."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any, TextIO

from ..errors import ConfigError, LocalFileError


class OutputError(LocalFileError):
    """Standard output cannot be written to."""

    code = "studiolo.output"


class _StandardOutput(io.FileIO):
    """The descriptor of standard output; an error names it."""

    def write(self, b: object, /) -> int | None:
        try:
            return super().write(b)  # pyright: ignore[reportArgumentType]
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError("Standard output cannot be written to", cause=error.strerror or str(error)) from None


def prepare_standard_streams() -> None:
    """Open closed descriptors on the null device, and let streams escape what they cannot show.

    Call this before another file gets the number of a closed descriptor: a file or a socket with the number 1 or 2
    would be written to by whatever prints, also in the processes started.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or _opened(0, "r")
    sys.stderr = sys.stderr or _opened(2, "w")
    sys.stdout = _reporting(sys.stdout or _opened(1, "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def decoded(text: str, what: str) -> str:
    """Return text from the command line or standard input; where the locale has only ASCII, it is read as UTF-8.

    Parameters:
        what: what the text is, for errors.

    Raises:
        ConfigError: it is not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that the locale's encoding does not have
        try:
            return os.fsencode(text).decode("utf-8")
        except UnicodeError:
            raise ConfigError(f"{what} is not a text in UTF-8") from None
    return text


def discard_output() -> None:
    """Send what is still to be written to standard output to the null device: nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _opened(number: int, mode: str) -> TextIO:
    return io.TextIOWrapper(io.FileIO(number, mode, closefd=False), encoding="utf-8", write_through=True)


def _reporting(stream: TextIO) -> TextIO:
    """Return the stream with a descriptor that names itself in errors; other streams than files stay as they are."""
    text: Any = stream
    buffer: Any = getattr(text, "buffer", None)
    if not isinstance(stream, io.TextIOWrapper) or type(getattr(buffer, "raw", buffer)) is not io.FileIO:
        return text
    output: Any = _StandardOutput(buffer.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        output if isinstance(buffer, io.RawIOBase) else io.BufferedWriter(output),
        encoding=text.encoding,
        errors=text.errors,
        line_buffering=text.line_buffering,
        write_through=text.write_through,
    )
