"""Signals to stop: what is passed on twice counts once, a second one that is meant as such stops at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.server.stop_signals import REPEAT_SEC, StopSignals
from tests.support.homes import ENDLESS
from tests.support.running import environment, serving, wait_until

pytestmark = pytest.mark.quick_model

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.mark.parametrize(
    ("received", "meant"),
    [
        ([(0, TERM), (0.3, TERM), (1.9, TERM)], ["drain", "repeated", "repeated"]),
        ([(0, INT), (0.05, INT), (0.1, INT)], ["drain", "repeated", "repeated"]),
        ([(0, HUP), (0.01, HUP)], ["drain", "repeated"]),
        ([(0, TERM), (REPEAT_SEC, TERM)], ["drain", "at once"]),
        ([(0, TERM), (0.3, TERM), (5, TERM)], ["drain", "repeated", "at once"]),
        ([(0, TERM), (0.1, INT)], ["drain", "at once"]),
        ([(0, INT), (0.1, TERM)], ["drain", "at once"]),
    ],
)
def test_what_a_signal_means(received: list[tuple[float, signal.Signals]], meant: list[str]) -> None:
    times = iter([at for at, _ in received])
    signals = StopSignals(lambda: next(times))
    assert [signals.take(number) for _, number in received] == meant
    assert signals.first == received[0][1]


PROGRAM = """
from studiolo.cli.main import main
from studiolo.server import stop_signals
stop_signals.REPEAT_SEC = {}
main()
"""


@pytest.mark.parametrize("repeat_sec", [600.0, 0.0], ids=["passed on twice", "meant"])
def test_a_stream_survives_sigterm_twice_and_a_later_one_cuts_it(home: Home, tmp_path: Path, repeat_sec: float) -> None:
    """What counts as at once is chosen, so that nothing depends on when the signals arrive."""
    program = [sys.executable, "-c", PROGRAM.format(repeat_sec)]
    with serving(home, tmp_path, "--no-load", program=program) as server, lm.Client(server.address) as client:
        llm = client.llm.load_new_instance("smollm2-135m-instruct", config={"context_length": 512})
        iterator = iter(llm.complete_stream("1 2 3 4 5 6 7", config=ENDLESS))
        next(iterator)
        server.process.send_signal(TERM)
        wait_until(lambda: f"{repeat_sec:g} s from now or later, stops at once" in server.said(), "the message")
        server.process.send_signal(TERM)
        if repeat_sec:
            end = time.monotonic() + 1
            while time.monotonic() < end:
                next(iterator)
            server.process.send_signal(INT)
        with pytest.raises(lm.ConnectionFailedError):
            list(iterator)
        assert server.process.wait(60) == 0


@pytest.mark.slow
def test_a_hangup_is_ignored_under_nohup(empty_home: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studiolo", "serve", "--port", "0", "--no-load", "--no-sdk-port"]
    process = subprocess.Popen(
        command,
        env=environment(empty_home),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(HUP, signal.SIG_IGN),
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stderr is not None and "serves at" in process.stderr.readline()
        process.send_signal(HUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(TERM)
        assert process.wait(30) == 0
    finally:
        guard.cancel()
        process.kill()
        process.communicate()
