"""The server in the background, its log, and the doctor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.server.daemon import DaemonRecord, record_path, running_daemon

from .running import environment, has_ended, serving, wait_until, workers_of

MODEL = "smollm2-135m-instruct"


def studiolo(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studiolo", *words],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def tidy(home: Home) -> Iterator[Home]:
    """A home whose server in the background is stopped in the end."""
    yield home
    record = running_daemon(home)
    if record is not None:
        os.kill(record.pid, signal.SIGKILL)


def test_a_server_in_the_background_is_started_found_restarted_and_stopped(tidy: Home) -> None:
    home = tidy
    assert studiolo(home, "server", "status").returncode == 1
    started = studiolo(home, "server", "start", "--port", "0", "--no-load", "--no-sdk-port")
    assert started.returncode == 0, started.stderr
    record = running_daemon(home)
    assert record is not None and record.address in started.stderr
    assert record.options == ["--port", "0", "--no-load", "--no-sdk-port"]
    assert json.loads(studiolo(home, "server", "status", "--json").stdout) == {
        "running": True,
        "pid": record.pid,
        "address": record.address,
    }
    with lm.Client(record.address) as client:
        assert client.system.info().is_daemon
        assert client.llm.model(MODEL).complete("My name is", config={"max_tokens": 2}).content

    again = studiolo(home, "server", "start", "--port", "0")
    assert again.returncode == 0 and "already" in again.stderr
    assert running_daemon(home) == record

    process, workers = psutil.Process(record.pid), workers_of(record.pid)
    restarted = studiolo(home, "server", "restart")
    assert restarted.returncode == 0, restarted.stderr
    successor = running_daemon(home)
    assert successor is not None and successor.pid != record.pid
    assert successor.options == record.options
    assert has_ended(process) and workers and all(map(has_ended, workers))

    stopped = studiolo(home, "server", "stop")
    assert stopped.returncode == 0 and "is stopped" in stopped.stderr
    assert not record_path(home).exists()
    assert not psutil.pid_exists(successor.pid) or has_ended(psutil.Process(successor.pid))
    assert "no server" in studiolo(home, "server", "stop").stderr


def test_a_server_that_does_not_come_up_says_why(home: Home) -> None:
    home.settings.write_text("[server]\nport = 'one'\n")
    done = studiolo(home, "server", "start")
    assert done.returncode == 1
    assert "did not come up" in done.stderr and "server.port" in done.stderr
    assert "Traceback" not in done.stderr
    assert running_daemon(home) is None


def test_stopping_now_cuts_off_what_runs(tidy: Home) -> None:
    assert studiolo(tidy, "server", "start", "--port", "0", "--no-load", "--no-sdk-port").returncode == 0
    record = running_daemon(tidy)
    assert record is not None
    with lm.Client(record.address) as client:
        llm = client.llm.load_new_instance(MODEL, config={"context_length": 8192})
        stream = llm.complete_stream("1 2 3 4 5 6 7", config={"temperature": 0, "repeat_penalty": False})
        with pytest.raises(lm.ConnectionFailedError):
            for count, _ in enumerate(stream):
                if count == 0:
                    stopped = studiolo(tidy, "server", "stop", "--now")
                    assert stopped.returncode == 0, stopped.stderr


@pytest.mark.parametrize("created", [0.0, None])
def test_the_record_of_a_dead_server_means_nobody(home: Home, created: float | None) -> None:
    """Neither a process that is gone nor one that has taken its number is taken for the server."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        pid = stranger.pid
        if created is None:
            created = psutil.Process(pid).create_time()
            stranger.kill()
            stranger.wait()
        record = DaemonRecord(pid=pid, created=created, address="127.0.0.1:1", options=[])
        record_path(home).write_bytes(msgspec.json.encode(record))
        assert "no server" in studiolo(home, "server", "stop").stderr
        assert not record_path(home).exists()
        assert stranger.poll() in (None, -signal.SIGKILL)
        if stranger.poll() is None:
            stranger.communicate(b"\n")


def test_without_the_sdk_port_only_the_named_port_is_taken(home: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studiolo", "serve", "--port", "0", "--no-load", "--no-sdk-port"]
    with subprocess.Popen(command, env=environment(home), stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        listening = [c for c in psutil.Process(server.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        server.terminate()
        server.communicate(timeout=30)
    assert "SDK" not in said
    assert len(listening) == 1


def test_the_settings_name_where_to_listen(home: Home) -> None:
    home.settings.write_text('[server]\nhost = "127.0.0.2"\nport = 0\n')
    command = [sys.executable, "-m", "studiolo", "serve", "--no-load", "--no-sdk-port"]
    with subprocess.Popen(command, env=environment(home), stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = server.stderr.readline()
        server.terminate()
        server.communicate(timeout=30)
    assert "http://127.0.0.2:" in said


def test_logs_are_shown_by_source_and_followed(home: Home, tmp_path: Path) -> None:
    assert studiolo(home, "log").returncode == 1
    with serving(home, tmp_path, "--no-load") as server, lm.Client(server.address) as client:
        llm = client.llm.load_new_instance(MODEL, "tom/thumb", config={"context_length": 256})
        shown = studiolo(home, "log", "--instance", "tom/thumb", "-n", "3")
        assert shown.returncode == 0
        assert len(shown.stdout.splitlines()) == 3
        assert all(line.startswith("[tom/thumb] ") for line in shown.stdout.splitlines())
        as_json = studiolo(home, "log", "--json", "-n", "1").stdout.splitlines()
        assert [json.loads(line)["source"] for line in as_json] == ["tom_thumb"]
        assert studiolo(home, "log", "--instance", "nobody").returncode == 1

        command = [sys.executable, "-m", "studiolo", "log", "-f", "-n", "0", "--json"]
        out = tmp_path / "followed"
        with (
            out.open("w") as sink,
            subprocess.Popen(command, env=environment(home), stdout=sink, stderr=subprocess.PIPE) as following,
        ):

            def heard() -> int:
                return len(out.read_text().splitlines())

            def said_something() -> bool:
                before = heard()
                llm.complete("Once upon a time", config={"max_tokens": 1})
                return heard() > before

            wait_until(said_something, "the log to be followed")
            following.send_signal(signal.SIGINT)
            _, errors = following.communicate(timeout=30)
        assert following.returncode == 130
        assert errors == b""


def test_the_doctor_finds_all_well(home: Home) -> None:
    done = studiolo(home, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert findings["engine"]["found"].endswith("starts")
    assert "avx2" in findings["processor"]["found"] or "asimd" in findings["processor"]["found"]
    assert findings["library"]["found"].startswith("1 models") or "models" in findings["library"]["found"]
    faults = {what for what, finding in findings.items() if finding["remedy"]}
    assert faults <= {"memory", "home", "port 1234"}  # what the machine of the day may lack
    assert done.returncode == (1 if faults else 0)
    assert "ok  engine" in studiolo(home, "doctor").stdout


def test_the_doctor_names_what_to_mend(home: Home, tmp_path: Path) -> None:
    home.settings.write_text('[library]\nfolders = ["/nowhere/at/all"]\n')
    (home.models / "broken.gguf").write_bytes(b"GGUF")
    home.state.write_bytes(b"not a database, but long enough to look at" * 100)
    done = studiolo(home, "doctor", "--json")
    assert done.returncode == 1
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert "/nowhere/at/all" in findings["model folder"]["found"] and findings["model folder"]["remedy"]
    assert "broken.gguf" in findings["model file"]["found"] and findings["model file"]["remedy"]
    assert findings["state"]["remedy"]
    home.settings.write_text("[library")
    broken = studiolo(home, "doctor")
    assert broken.returncode == 1 and "is not TOML" in broken.stdout


def test_an_engine_that_dies_of_an_illegal_instruction_is_told_by_a_stub(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studiolo.server import diagnosis

    monkeypatch.setattr(diagnosis, "_PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    finding = next(finding for finding in diagnosis.examine(home) if finding.what == "engine")
    assert "instruction" in finding.found and finding.remedy is not None
