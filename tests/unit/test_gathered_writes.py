"""Writes of connections within a turn of the event loop: one of each, at its end, in order, and before a close."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from studiolo.server.gathered_writes import Gathered, GatheredTransport

Written = list[tuple[str, bytes]]


class RecordingTransport:
    """A stub of a transport: it notes what it is given."""

    def __init__(self, name: str, written: Written) -> None:
        self.name, self.written, self.closed = name, written, False

    def write(self, data: bytes) -> None:
        self.written.append((self.name, data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> str:
        return f"{self.name}'s {name}"


def pair(written: Written) -> tuple[GatheredTransport, GatheredTransport]:
    gathered = Gathered()
    first, second = (GatheredTransport(cast(Any, RecordingTransport(name, written)), gathered) for name in "ab")
    return first, second


async def test_what_is_sent_in_a_turn_by_a_stub_connection_is_one_write_at_its_end() -> None:
    written: Written = []
    first, second = pair(written)
    first.write(b"1")
    second.write(b"2")
    first.write(b"3")
    first.write(b"")
    assert written == []
    await asyncio.sleep(0)
    assert written == [("a", b"13"), ("b", b"2")]
    second.write(b"4")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert written == [("a", b"13"), ("b", b"2"), ("b", b"4")]
    assert first.get_extra_info("peername") == "a's peername"


@pytest.mark.parametrize("is_aborted", [False, True])
async def test_a_closed_stub_connection_has_been_written_and_an_aborted_one_is_left_alone(is_aborted: bool) -> None:
    written: Written = []
    first, second = pair(written)
    first.write(b"last words")
    second.write(b"others")
    if is_aborted:
        cast(RecordingTransport, first._transport).closed = True
    else:
        first.close()
    await asyncio.sleep(0)
    assert written == ([] if is_aborted else [("a", b"last words")]) + [("b", b"others")]
    assert first.is_closing()
