"""The loop of a worker process: requests from standard input, an answer for each to standard output.

Each is preceded by its length in four bytes, big-endian; an answer by a byte more, 1 if it is the last. A request that
takes more than its limit of processor time ends the process, whatever runs: native code and Python's regular
expressions cannot be interrupted otherwise. Allocations beyond the limit of memory fail. The process ends when standard
input does, and after a request that left it too large.
"""

from __future__ import annotations

import contextlib
import gc
import os
import struct
from collections.abc import Callable
from typing import BinaryIO

from .limits import ProcessSize, cpu_limit, memory_limit, process_size, return_freed_memory

REQUEST_HEAD = struct.Struct(">I")
ANSWER_HEAD = struct.Struct(">I?")

MAX_KEPT_BYTES = 16 * 2**20
"""How much more than at its start a process may have between requests, for caches of its libraries."""


def serve(
    prepare: Callable[[], Callable[[bytes], bytes]], *, cpu_sec: float, memory_bytes: int, memory_per_byte: int
) -> None:
    """Answer requests until standard input ends, or the process is too large.

    Parameters:
        prepare: limits the process, imports what it needs, and returns the function that answers a request.
        cpu_sec: the limit of processor time for each request.
        memory_bytes, memory_per_byte: the limit of memory for each request, beyond what the process has at its start:
            so much, and so much for each byte of the request.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 0)
    os.dup2(silence, 1)  # output of libraries must not mix with answers
    answer = prepare()
    start = process_size()
    _write(answers, b"{}")
    while (request := _read(requests)) is not None:
        with contextlib.ExitStack() as limits:
            limits.enter_context(cpu_limit(cpu_sec))
            if start is not None:
                more = memory_bytes + memory_per_byte * len(request)
                limits.enter_context(memory_limit(start.address_space + more))
            data = answer(request)
        del request
        is_last = start is not None and _is_too_large(start)
        _write(answers, data, is_last)
        if is_last:
            return


def _is_too_large(start: ProcessSize) -> bool:
    """Return whether the process has much more memory than at its start, garbage left out."""
    if not _has_grown(start):
        return False
    gc.collect()
    return_freed_memory()
    return _has_grown(start)


def _has_grown(start: ProcessSize) -> bool:
    now = process_size()
    return now is not None and now.resident - start.resident > MAX_KEPT_BYTES


def _read(stream: BinaryIO) -> bytes | None:
    head = stream.read(REQUEST_HEAD.size)
    if len(head) < REQUEST_HEAD.size:
        return None
    return stream.read(*REQUEST_HEAD.unpack(head))


def _write(stream: BinaryIO, answer: bytes, is_last: bool = False) -> None:
    stream.write(ANSWER_HEAD.pack(len(answer), is_last))
    stream.write(answer)
    stream.flush()
