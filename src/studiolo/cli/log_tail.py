"""Following a log file that grows, is cut at its beginning, or is replaced."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import BinaryIO

READ_BYTES = 4 << 20
"""The end of a log that is looked at for its last lines."""

MEMORY_BYTES = 4096
"""What is kept of what was read last, to find the place again in a log that was cut."""


class Tail:
    """A log file, read as it grows.

    Its older part may be dropped (the rest then moves to its beginning), and another file may take its place: what
    was read is not read again, and what remains of the old one is read first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._position = 0
        self._memory = b""  # what comes before the position
        self._rest = b""  # the beginning of a line

    def last(self, count: int, *, follow: bool = False) -> list[str]:
        """The last ``count`` lines; :meth:`added` continues from there.

        Parameters:
            follow: leave a line that has no end yet to :meth:`added`.
        """
        if not self._open():
            return []
        size = self._size()
        start = max(size - READ_BYTES, 0)
        content = self._at(start, size - start)
        self._position, self._memory = start + len(content), content[-MEMORY_BYTES:]
        *lines, self._rest = content.split(b"\n")
        if start and lines:
            del lines[0]  # it is cut off
        if self._rest and not follow:
            lines.append(self._rest)
        return [line.decode(errors="replace") for line in deque(lines, maxlen=count)]

    def added(self) -> list[str]:
        """The lines that have come since."""
        lines: list[bytes] = []
        while self._open():
            content = self._read()
            *whole, self._rest = (self._rest + content).split(b"\n")
            lines += whole
            if content or self._is_in_place():
                break
            if self._rest:
                lines.append(self._rest)
            self.close()  # it is read to its end, and another has taken its place
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._position, self._memory, self._rest = None, 0, b"", b""

    def _open(self) -> bool:
        if self._file is None:
            try:
                self._file = self.path.open("rb", buffering=0)
            except OSError:
                return False
        return True

    def _is_in_place(self) -> bool:
        """Whether the file that is open is the one at the path; or the path has none, which may be for a moment."""
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except OSError:
            return True

    def _read(self) -> bytes:
        if not self._knows_its_place():
            self._find_its_place()
        content = self._at(self._position, READ_BYTES)
        if not self._knows_its_place():
            return b""  # it was cut at this very moment
        self._position += len(content)
        self._memory = (self._memory + content)[-MEMORY_BYTES:]
        return content

    def _knows_its_place(self) -> bool:
        return self._at(self._position - len(self._memory), len(self._memory)) == self._memory

    def _find_its_place(self) -> None:
        content = self._at(0, self._size())
        found = content.rfind(self._memory)
        if found >= 0:
            self._position = found + len(self._memory)
            return
        # The cut, which comes before a line, goes through what is remembered, or comes after it.
        start = self._memory.find(b"\n") + 1
        while start and not content.startswith(self._memory[start:]):
            start = self._memory.find(b"\n", start) + 1
        self._memory = self._memory[start:] if start else b""
        self._position = len(self._memory)
        if not self._memory:
            self._rest = b""

    def _size(self) -> int:
        assert self._file is not None
        return os.fstat(self._file.fileno()).st_size

    def _at(self, position: int, count: int) -> bytes:
        assert self._file is not None
        self._file.seek(position)
        pieces: list[bytes] = []
        while count > 0 and (piece := self._file.read(count)):
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)
