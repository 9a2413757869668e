"""Crashes: counted within a window, with back-off, then quarantine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from studiolo.errors import EngineDiedError, QuarantinedError
from studiolo.host.crashes import Crashes, crash_key
from studiolo.settings import LimitSettings

LIMITS = LimitSettings(crash_limit=4, crash_window_sec=100, quarantine_sec=50)
DEATH = EngineDiedError("The engine process 7 ended unexpectedly (signal SIGSEGV)")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    return path


def test_the_first_restart_is_at_once_and_each_further_one_waits_twice_as_long(clock: Clock, model: Path) -> None:
    crashes = Crashes(clock.monotonic)
    assert crashes.restart_delay_sec(crash_key(model), LIMITS) == 0
    delays: list[float] = []
    for _ in range(3):
        crashes.note(crash_key(model), DEATH, LIMITS)
        delays.append(crashes.restart_delay_sec(crash_key(model), LIMITS))
    assert delays == [0, 0.5, 1.0]
    clock.now += 101
    assert crashes.restart_delay_sec(crash_key(model), LIMITS) == 0  # long ago


def test_a_model_that_keeps_crashing_is_quarantined_for_a_while(clock: Clock, model: Path) -> None:
    crashes = Crashes(clock.monotonic)
    for _ in range(4):
        crashes.check(crash_key(model), "model")
        crashes.note(crash_key(model), DEATH, LIMITS)
    with pytest.raises(QuarantinedError, match=r"model is in quarantine for 50 s.*SIGSEGV") as caught:
        crashes.check(crash_key(model), "model")
    assert caught.value.data == {"model": "model", "secondsLeft": 50.0}
    clock.now += 51
    crashes.check(crash_key(model), "model")


def test_crashes_far_apart_do_not_add_up(clock: Clock, model: Path) -> None:
    crashes = Crashes(clock.monotonic)
    for _ in range(20):
        crashes.note(crash_key(model), DEATH, LIMITS)
        clock.now += 40
    crashes.check(crash_key(model), "model")


def test_a_decision_to_load_or_another_file_ends_the_quarantine(clock: Clock, model: Path) -> None:
    crashes = Crashes(clock.monotonic)
    for _ in range(4):
        crashes.note(crash_key(model), DEATH, LIMITS)
    crashes.forgive(crash_key(model))
    crashes.check(crash_key(model), "model")
    for _ in range(4):
        crashes.note(crash_key(model), DEATH, LIMITS)
    assert crashes.quarantine_sec(crash_key(model))
    model.write_bytes(b"GGUF, repaired")
    os.utime(model, ns=(1, 1))
    crashes.check(crash_key(model), "model")
