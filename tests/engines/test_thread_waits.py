"""How the engine's threads wait for each other: long where the machine is theirs, shortly where it is busy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from studiolo.engines import thread_waits
from studiolo.engines.thread_waits import Waits, spin_count
from studiolo.paths import Home
from tests.support.engine_calls import request
from tests.support.engines import kind_in, spec_of

B = 82
"""The token of the letter b."""

ON_LINUX = sys.platform == "linux"


@pytest.mark.parametrize("threads, count", [(1, 1000), (2, 1000), (8, 1200), (16, 2400), (128, 3000)])
def test_more_threads_that_cannot_change_their_waits_spin_longer(threads: int, count: int) -> None:
    assert spin_count(threads) == count


@pytest.mark.parametrize("own", [None, "77"])
def test_a_program_is_started_with_the_count_or_with_that_of_the_user(own: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if own is not None:
        environment["GOMP_SPINCOUNT"] = own
    launch = [sys.executable, "-P", "-m", "studiolo.engines.llama_server.launch"]
    spec = {"parent_pid": os.getpid(), "environment": {}, "command": [shutil.which("env")]}
    done = subprocess.run(
        launch, input=json.dumps(spec) + "\n", env=environment, capture_output=True, text=True, timeout=30
    )
    assert f"GOMP_SPINCOUNT={own or spin_count()}" in (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize(
    "given, adapted, count",
    [
        ({}, ON_LINUX, str(thread_waits.LONG_SPINS if ON_LINUX else 1000)),
        ({"GOMP_SPINCOUNT": "77"}, False, "77"),
        ({"OMP_WAIT_POLICY": "passive"}, False, None),
        ({"OMP_THREAD_LIMIT": "2"}, False, "1000"),
    ],
)
def test_the_users_own_settings_take_precedence(
    given: dict[str, str], adapted: bool, count: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_THREAD_LIMIT"):
        monkeypatch.setenv(name, "")  # so that it is as before afterwards, whatever the call sets
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert thread_waits.set_spins(2) is adapted
    assert os.environ.get("GOMP_SPINCOUNT") == count


def test_waits_become_short_at_once_and_long_again_after_a_while() -> None:
    waits = Waits()
    looks = [(2.0, 0.1), (1.2, 0.8), (0.9, 0.8), (2.0, 0.1), (2.0, 0.1), (1.5, 0.6), *[(2.0, 0.1)] * 3, (2.0, 0.1)]
    changes = [waits.look(1.0, worked, delayed) for worked, delayed in looks]
    assert [number for number, changed in enumerate(changes) if changed] == [1, 8]
    assert not waits.short


def test_an_idle_engine_says_nothing_of_the_machine() -> None:
    waits = Waits()
    assert not waits.look(1.0, 0.02, 0.07)
    assert waits.look(1.0, 0.02, 0.9), "it hardly gets a processor"
    assert not any(waits.look(1.0, 0.01, 0.0) for _ in range(9))
    assert waits.short


@pytest.mark.skipif(not ON_LINUX, reason="libgomp is read from /proc")
def test_the_surplus_threads_of_libgomp_exceed_the_processors_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    program = """if True:
        import os, time, xllamacpp
        from studiolo.engines import thread_waits as waits
        xllamacpp.get_device_info()
        def threads():
            return set(os.listdir("/proc/self/task"))
        def until(is_reached):
            while not is_reached(threads()):
                time.sleep(0.01)
        before, count = threads(), len(os.sched_getaffinity(0)) + 1
        over = waits._surplus_threads(waits._libgomp())
        until(lambda now: len(now - before) >= count)
        surplus = threads() - before
        over.set()
        until(lambda now: not now & surplus)
        print(len(surplus))
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(len(os.sched_getaffinity(0)) + 1)], done.stderr


@contextlib.contextmanager
def busy_processors() -> Generator[None]:
    """Keep every processor busy with two programs."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
        for program in programs:
            program.wait()


@pytest.mark.quick_model
@pytest.mark.skipif(not ON_LINUX, reason="the system counts no delays of threads")
async def test_the_engine_notices_a_busy_machine_while_it_generates(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_THREAD_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    engine = await kind_in(tmp_path).start(spec_of(next(home.models.rglob("*.gguf"))))

    async def generate() -> None:
        while True:
            async for _ in engine.complete(request("1 2 3", max_tokens=400, logit_bias=[(B, 100)])):
                pass

    generating = asyncio.create_task(generate())
    try:
        with busy_processors():
            async with asyncio.timeout(60):
                while not any("The processors are busy" in log.read_text() for log in tmp_path.rglob("*.log")):
                    assert not generating.done()
                    await asyncio.sleep(0.1)
    finally:
        generating.cancel()
        await asyncio.wait([generating])
        await engine.stop()
