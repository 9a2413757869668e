"""A whole server, and an embedded host, on a system without any feature that some operating system lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.server import daemon
from studiolo.server.daemon import running_daemon, start_daemon, stop_daemon
from tests.support.faults import ENDLESS, ENDLESS_CONFIG, MODEL, SMALL, answer
from tests.support.platform_features import ALL, switch_off
from tests.support.running import environment, has_ended, wait_until, workers_of

OPTIONS = ["--port", "0", "--no-load", "--no-sdk-port"]

pytestmark = pytest.mark.timeout(170)


@pytest.fixture(autouse=True)
def without_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off(monkeypatch, *ALL)


def test_a_server_in_the_background_answers_and_is_stopped_by_a_file(home: Home) -> None:
    record, started = start_daemon(home, OPTIONS)
    assert started and running_daemon(home) == record
    assert start_daemon(home, OPTIONS) == (record, False)
    with lm.Client(record.address) as client:
        llm = client.llm.model(MODEL, config=SMALL)
        assert answer(llm)
        assert "".join(fragment.content for fragment in llm.complete_stream("1 2 3", config={"max_tokens": 4}))
        process, workers = psutil.Process(record.pid), workers_of(record.pid)
        assert workers and any(c.laddr.ip == "127.0.0.1" for c in workers[0].net_connections("inet"))
    stopped = stop_daemon(home)
    assert stopped is not None and stopped.killed_after_sec is None
    assert has_ended(process) and all(map(has_ended, workers))
    assert running_daemon(home) is None
    assert not [path.name for path in home.root.glob("server.*") if path.name != "server.lock"]


def test_a_server_that_predicts_is_stopped_at_once_by_a_file(home: Home) -> None:
    record, _ = start_daemon(home, OPTIONS)
    with lm.Client(record.address) as client:
        stream = client.llm.model(MODEL, config=SMALL).complete_stream(ENDLESS, config=ENDLESS_CONFIG)
        with pytest.raises(lm.ConnectionFailedError):
            for count, _ in enumerate(stream):
                if count == 0:
                    stopped = stop_daemon(home, now=True)
                    assert stopped is not None and stopped.killed_after_sec is None
    assert daemon.running_daemon(home) is None


def test_the_engine_of_a_killed_program_ends(home: Home, tmp_path: Path) -> None:
    program = f"""
import studiolo as lm
llm = lm.Client("embedded").llm.model({MODEL!r}, config={SMALL!r})
for _ in llm.complete_stream({ENDLESS!r}, config={ENDLESS_CONFIG!r}):
    print("begun", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment(home)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        workers = workers_of(process.pid)
        assert len(workers) == 1
        process.kill()
    wait_until(lambda: all(map(has_ended, workers)), "the engine to end")
