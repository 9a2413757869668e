"""Hosts that are killed: nothing runs on, nothing is lost, the next host finds a clean place."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.errors import ConnectionFailedError
from studiolo.host.socket_folder import PREFIX
from studiolo.library.state import State
from studiolo.paths import Home
from tests.support.faults import COUNT, MODEL, SMALL, answer, kill_while_it_streams
from tests.support.homes import ENDLESS
from tests.support.running import has_ended, serving, wait_until

pytestmark = [pytest.mark.timeout(170), pytest.mark.quick_model, pytest.mark.slow]


def sockets_of(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{pid}-*"))


@pytest.fixture
def own_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder for sockets, where no host of another test tidies up. Its path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield


@pytest.mark.usefixtures("own_temporary_folder")
def test_killed_while_it_streams(home: Home, tmp_path: Path) -> None:
    with serving(home, tmp_path, "--no-load") as server, lm.Client(server.address) as client:
        llm = client.llm.load_new_instance(MODEL, config=SMALL)
        expected = answer(llm)
        workers = server.workers()
        stream = llm.complete_stream(COUNT, config=ENDLESS)
        with pytest.raises(ConnectionFailedError, match="was lost"):
            for count, _ in enumerate(stream):
                if count == 2:
                    server.process.kill()
        server.process.wait()
        wait_until(lambda: all(map(has_ended, workers)), "the engines to end")
        assert sockets_of(server.pid)  # a dead host cannot tidy up
        port = server.address.rpartition(":")[2]
        with serving(home, tmp_path, "--no-load", "--port", port) as successor:
            assert not sockets_of(server.pid)  # the next one does
            assert answer(client.llm.model(MODEL, config=SMALL)) == expected
            assert successor.stop() == 0
            assert not sockets_of(successor.pid)


def test_an_embedded_host_killed_while_it_streams(home: Home) -> None:
    kill_while_it_streams(home)


WRITER = """
import sys
from pathlib import Path
from studiolo.library.state import State
state = State(Path(sys.argv[1]))
for number in range(1_000_000):
    state.remember(f"{sys.argv[2]}-{number}", "x" * 500)
    print(number, flush=True)
"""


def test_killed_while_it_writes_its_state(tmp_path: Path) -> None:
    """What was acknowledged before each of ten kills is there after the last."""
    path = tmp_path / "state.db"
    acknowledged: dict[str, int] = {}
    for attempt in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(attempt)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            last = -1
            while last < 20 * attempt:
                last = int(writer.stdout.readline())
            writer.kill()
            for line in writer.stdout:
                if line.endswith("\n"):
                    last = int(line)
        acknowledged[str(attempt)] = last
    state = State(path)
    for attempt, last in acknowledged.items():
        for number in range(last + 1):
            assert state.recall(f"{attempt}-{number}") == "x" * 500
    state.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert not list(tmp_path.glob("*.damaged-*"))


def test_two_hosts_share_a_home(home: Home, tmp_path: Path) -> None:
    """Two servers of one home serve the same model under the same name, and neither harms the other."""
    with serving(home, tmp_path, "--no-load") as one, serving(home, tmp_path, "--no-load") as other:
        with lm.Client(one.address) as a, lm.Client(other.address) as b:
            first = a.llm.load_new_instance(MODEL, config=SMALL)
            second = b.llm.load_new_instance(MODEL, config=SMALL)
            expected = answer(first)
            assert answer(second) == expected
            other.process.kill()
            other.process.wait()
            assert answer(first) == expected
        with serving(home, tmp_path, "--no-load") as third, lm.Client(third.address) as c, lm.Client(one.address) as a:
            assert answer(c.llm.model(MODEL, config=SMALL)) == expected
            assert answer(a.llm.model(MODEL)) == expected  # the third one's tidying took nothing of the first one's


async def test_jumps_of_the_wall_clock_do_not_matter_to_idleness(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stub of the wall clock alone: nobody may set the machine's for a test."""
    import asyncio

    from studiolo.config import LoadConfig
    from studiolo.host.host import Host

    host = Host(home)
    try:
        model = await host.find_model(MODEL)
        instance = await host.load(model, LoadConfig(**SMALL), ttl_sec=1.5)
        loaded, real = time.monotonic(), time.time
        for year in (10, -10):
            monkeypatch.setattr(time, "time", lambda year=year: real() + year * 365 * 86400)
            await asyncio.sleep(0.4)
            assert host.instances.all() == [instance] or time.monotonic() - loaded > 1.4, "the time to live is not over"
        await asyncio.to_thread(wait_until, lambda: not host.instances.all(), "the instance to be unloaded")
        await asyncio.to_thread(wait_until, lambda: instance.pid is None, "its engine to be stopped")
    finally:
        await host.stop()
