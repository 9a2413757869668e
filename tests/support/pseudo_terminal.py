"""A program on a pseudo-terminal, on which a test types."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.running import PATIENCE_SEC

ESCAPE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>]")


class TypedProgram:
    """A program in a terminal of its own of 80 columns.

    Parameters:
        process: the program.
        descriptor: the other end of its terminal.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._shown = b""
        self.everything = b""

    def type(self, text: str) -> None:
        """Press keys: ``\\r`` is Enter, ``\\x03`` Ctrl-C, ``\\x04`` Ctrl-D."""
        os.write(self._descriptor, text.encode())

    def until(self, pattern: str) -> str:
        """Return what is shown up to a match of ``pattern``, without escape sequences. Fail if it does not come."""
        end = time.monotonic() + PATIENCE_SEC
        while not (found := re.search(pattern.encode(), self._shown)):
            assert time.monotonic() < end, f"{pattern!r} was not shown, but:\n{self._shown.decode()}"
            assert self._read(), f"{pattern!r} was not shown before the end, but:\n{self._shown.decode()}"
        shown, self._shown = self._shown[: found.end()], self._shown[found.end() :]
        return ESCAPE.sub("", shown.decode())

    def rest(self) -> str:
        """Wait for the end of the program; return what it still shows, without escape sequences."""
        end = time.monotonic() + PATIENCE_SEC
        while self._read():
            assert time.monotonic() < end, f"the program has not ended, but shown:\n{self._shown.decode()}"
        self.process.wait(PATIENCE_SEC)
        return ESCAPE.sub("", self._shown.decode())

    def kill(self) -> None:
        """End the program by SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_SEC)

    def _read(self) -> bool:
        """Read more. Return whether the program still has its terminal."""
        if not select.select([self._descriptor], [], [], 0.5)[0]:
            return True
        try:
            piece = os.read(self._descriptor, 65536)
        except OSError:  # the program has closed it
            return False
        self._shown += piece
        self.everything += piece
        return bool(piece)


@contextlib.contextmanager
def typed_program(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> Iterator[TypedProgram]:
    """Run a program in a terminal, in ``folder``; it is killed at the end of the block if it still runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    try:
        yield TypedProgram(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
