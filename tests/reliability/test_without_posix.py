"""A whole server, and an embedded host, on a system without any feature that some operating system lacks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil
import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.server import daemon
from studiolo.server.daemon import start_daemon, stop_daemon
from studiolo.server.daemon_record import running_daemon
from studiolo.server.serve_options import ServeOptions
from tests.support.faults import COUNT, MODEL, SMALL, answer, kill_while_it_streams
from tests.support.homes import ENDLESS
from tests.support.platform_features import ALL, switch_off
from tests.support.running import has_ended, workers_of

OPTIONS = ServeOptions(port=0, load=False, sdk_port=False)

pytestmark = [pytest.mark.timeout(170), pytest.mark.quick_model]


@pytest.fixture(autouse=True)
def without_posix(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Switch all features off, in a folder for temporary files of its own.

    The stand-in's locks and the real ones do not see each other: the folders of other tests' hosts would be removed.
    """
    switch_off(monkeypatch, *ALL)
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setattr(tempfile, "tempdir", None)


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
        stream = client.llm.model(MODEL, config=SMALL).complete_stream(COUNT, config=ENDLESS)
        with pytest.raises(lm.ConnectionFailedError):
            for count, _ in enumerate(stream):
                if count == 0:
                    stopped = stop_daemon(home, now=True)
                    assert stopped is not None and stopped.killed_after_sec is None
    assert daemon.running_daemon(home) is None


def test_the_engine_of_a_killed_program_ends(home: Home, tmp_path: Path) -> None:
    kill_while_it_streams(home)
