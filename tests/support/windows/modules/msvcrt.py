"""A stand-in for Windows' module of this name: locks of byte ranges that belong to an open file."""

from __future__ import annotations

import fcntl
import os
import struct

LK_NBLCK = 2


def locking(number: int, mode: int, count: int) -> None:
    """Lock ``count`` bytes from the file's position on, without waiting. Raises :class:`OSError` if they are locked."""
    assert mode == LK_NBLCK
    start = os.lseek(number, 0, os.SEEK_CUR)
    fcntl.fcntl(number, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, count, 0))
