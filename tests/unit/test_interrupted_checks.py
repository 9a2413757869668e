"""Ctrl-C while msgspec examines a type for the first time."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from msgspec import Struct

from studiolo.config.checking import checked

interrupts: Iterator[bool] = iter([True])


class Interrupting(type):
    def __hash__(cls) -> int:
        if next(interrupts, False):
            signal.raise_signal(signal.SIGINT)
        return super().__hash__()


class Value(metaclass=Interrupting):
    pass


class Settings(Struct):
    value: Value | None = None


def test_ctrl_c_while_a_type_is_examined_is_raised() -> None:
    global interrupts
    interrupts = iter([True])
    with pytest.raises(KeyboardInterrupt):
        checked(Settings, {}, "settings", frozenset())
    assert next(interrupts, None) is None
    assert checked(Settings, {}, "settings", frozenset()) == Settings()
