"""The loop of a worker process: requests from standard input, an answer for each to standard output.

Each is preceded by its length in four bytes, big-endian. A request that takes more than its limit of processor time
ends the process, whatever runs: native code and Python's regular expressions cannot be interrupted otherwise. The
process ends when standard input does.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import BinaryIO

from .limits import cpu_limit

LENGTH = struct.Struct(">I")


def serve(prepare: Callable[[], Callable[[bytes], bytes]], *, cpu_sec: float) -> None:
    """Answer requests until standard input ends.

    Parameters:
        prepare: limits the process, imports what it needs, and returns the function that answers a request.
        cpu_sec: the limit of processor time for each request.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 0)
    os.dup2(silence, 1)  # output of libraries must not mix with answers
    answer = prepare()
    _write(answers, b"{}")
    while (request := _read(requests)) is not None:
        with cpu_limit(cpu_sec):
            data = answer(request)
        del request
        _write(answers, data)


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return stream.read(LENGTH.unpack(head)[0])


def _write(stream: BinaryIO, answer: bytes) -> None:
    stream.write(LENGTH.pack(len(answer)))
    stream.write(answer)
    stream.flush()
