"""The server in the background, its log, and the doctor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil
import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.server import daemon
from studiolo.server.daemon import stop_daemon
from studiolo.server.daemon_log import MAX_LOG_BYTES, log_path, old_log_path
from studiolo.server.daemon_record import DaemonRecord, record_path, running_daemon
from studiolo.server.diagnosis import examine
from tests.support.homes import ENDLESS
from tests.support.running import environment, has_ended, serving, wait_until, workers_of

pytestmark = [pytest.mark.quick_model, pytest.mark.slow]

MODEL = "smollm2-135m-instruct"


def studiolo(home: Home, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "studiolo", *words],
        env=environment(home, **more),
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
    assert "did not start" in done.stderr and "server.port" in done.stderr
    assert "Traceback" not in done.stderr
    assert running_daemon(home) is None


def test_stopping_now_cuts_off_what_runs(tidy: Home) -> None:
    assert studiolo(tidy, "server", "start", "--port", "0", "--no-load", "--no-sdk-port").returncode == 0
    record = running_daemon(tidy)
    assert record is not None
    with lm.Client(record.address) as client:
        llm = client.llm.load_new_instance(MODEL, config={"context_length": 8192})
        stream = llm.complete_stream("1 2 3 4 5 6 7", config=ENDLESS)
        with pytest.raises(lm.ConnectionFailedError):
            for count, _ in enumerate(stream):
                if count == 0:
                    stopped = studiolo(tidy, "server", "stop", "--now")
                    assert stopped.returncode == 0, stopped.stderr


def begin(home: Home, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "studiolo", *words]
    return subprocess.Popen(command, env=environment(home), stderr=subprocess.PIPE, text=True)


def test_of_two_commands_that_start_it_at_once_one_does(tidy: Home) -> None:
    both = [begin(tidy, "server", "start", "--port", "0", "--no-load", "--no-sdk-port") for _ in range(2)]
    said = [command.communicate(timeout=120)[1] for command in both]
    assert [command.returncode for command in both] == [0, 0], said
    assert sorted("already" in each for each in said) == [False, True]
    record = running_daemon(tidy)
    assert record is not None and all(f"{record.address}, process {record.pid}" in each for each in said)
    assert studiolo(tidy, "server", "stop", "--now").returncode == 0
    assert f"serves at http://{record.address}" in log_path(tidy).read_text()
    assert log_path(tidy).read_text().count("serves at") == 1


def suspend(process: psutil.Process) -> None:
    """Of two signals that wait, a process takes SIGTERM before SIGSTOP: see to it that this one has arrived."""
    process.suspend()
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "the process to stand still")


def test_a_server_that_hangs_is_killed_and_said_so(tidy: Home) -> None:
    """A wrong record from before is reported once, and is no obstacle."""
    record_path(tidy).write_bytes(b"\xff\xfe")
    done = studiolo(tidy, "server", "status")
    assert done.returncode == 1 and "No server runs" in done.stdout
    assert "not a record of a server" in done.stderr and "Traceback" not in done.stderr
    started = studiolo(tidy, "server", "start", "--port", "0", "--no-load", "--no-sdk-port")
    assert started.returncode == 0 and started.stderr.count("not a record of a server") == 1, started.stderr
    record = running_daemon(tidy)
    assert record is not None
    process = psutil.Process(record.pid)
    suspend(process)
    # The command itself, with a limit that a test can wait for.
    program = (
        "from studiolo.server import daemon; from studiolo.cli.main import main; daemon.NOW_LIMIT_SEC = 0.3; main()"
    )
    command = [sys.executable, "-c", program, "server", "stop", "--now"]
    stopped = subprocess.run(command, env=environment(tidy), capture_output=True, text=True, timeout=60)
    assert stopped.returncode == 0, stopped.stderr
    assert f"process {record.pid}, did not end within 0.3 s and was killed" in stopped.stderr
    assert has_ended(process) and not record_path(tidy).exists()


def test_one_that_hangs_gets_the_time_of_the_settings_and_a_little_by_a_stub(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.settings.write_text("[server]\ndrain_limit_sec = 0.2\n")
    monkeypatch.setattr(daemon, "GRACE_SEC", 0.1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stub:
        suspend(psutil.Process(stub.pid))
        created = psutil.Process(stub.pid).create_time()
        record = DaemonRecord(pid=stub.pid, created=created, address="127.0.0.1:1", options=[])
        record_path(home).write_bytes(msgspec.json.encode(record))
        stopped = stop_daemon(home)
        assert stopped is not None and stopped.record == record
        assert stopped.killed_after_sec == pytest.approx(0.3)
    assert not record_path(home).exists()


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


@pytest.mark.parametrize("pid", ["0", "-5", '"one"', "1e400", str(10**20)])
def test_a_record_with_a_wrong_process_means_nobody_and_is_reported(
    home: Home, pid: str, caplog: pytest.LogCaptureFixture
) -> None:
    record = f'{{"pid": {pid}, "created": 1.0, "address": "127.0.0.1:1", "options": []}}'
    record_path(home).write_text(record)
    assert running_daemon(home) is None
    assert "is not a record of a server" in caplog.text and str(record_path(home)) in caplog.text
    assert stop_daemon(home) is None
    assert not record_path(home).exists()


def test_a_home_that_cannot_be_used_is_an_error_with_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for home, words in (
        *((Home(file), words) for words in (("server", "start"), ("serve",), ("server", "status"), ("ls",))),
        (Home(file / "below"), ("log",)),
    ):
        done = studiolo(home, *words, STUDIOLO_HOST="embedded")  # a server on this machine could answer "ls"
        assert done.returncode == 1, words
        assert f"{file} is not a folder" in done.stderr and "STUDIOLO_HOME" in done.stderr
        assert "Traceback" not in done.stderr and "Error:" not in done.stderr


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
        (line,) = map(json.loads, studiolo(home, "log", "--json", "-n", "1").stdout.splitlines())
        assert (line["source"], line["time"]) == ("tom_thumb", None)
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
        first = json.loads(out.read_text().splitlines()[0])
        assert datetime.fromisoformat(first["time"]).tzinfo == UTC


def test_the_log_of_the_server_has_times_and_is_kept_short_while_it_runs(tidy: Home) -> None:
    """And an instance may be called as the server's log is."""
    assert studiolo(tidy, "server", "start", "--port", "0", "--no-load", "--no-sdk-port").returncode == 0
    record = running_daemon(tidy)
    assert record is not None
    with lm.Client(record.address) as client:
        client.llm.load_new_instance(MODEL, "server", config={"context_length": 256})
        shown = [json.loads(line) for line in studiolo(tidy, "log", "--json").stdout.splitlines()]
        said = [line for line in shown if line["source"] == "server"]
        assert len(said) == 1 and said[0]["line"].startswith(f"studiolo: version {lm.__version__} serves")
        assert datetime.fromisoformat(said[0]["time"]).tzinfo == UTC
        assert {line["source"] for line in shown} == {"server", "engines/server"}
        of_instance = studiolo(tidy, "log", "--instance", "server").stdout
        assert "model loaded" in of_instance and "serves at" not in of_instance

        with log_path(tidy).open("a") as log:
            log.write("filling\n" * (MAX_LOG_BYTES // 8 + 1))
        wait_until(lambda: old_log_path(tidy).exists() and log_path(tidy).exists(), "the log to be rotated")
        assert log_path(tidy).stat().st_size < MAX_LOG_BYTES
        client.system.notify("After", "the log was rotated")
        wait_until(lambda: "After" in log_path(tidy).read_text(), "a word in the new log")
        assert studiolo(tidy, "server", "stop").returncode == 0
    assert "After" not in old_log_path(tidy).read_text()
    shown = [json.loads(line) for line in studiolo(tidy, "log", "--json", "-n", "3").stdout.splitlines()]
    assert [line["line"] for line in shown if line["source"] == "server"][:2] == ["filling"] * 2
    assert {line["source"] for line in shown} == {"server", "engines/server"}


def test_the_doctor_finds_all_well(home: Home) -> None:
    done = studiolo(home, "doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert findings["engine"]["found"].endswith("starts")
    assert "avx2" in findings["processor"]["found"] or "asimd" in findings["processor"]["found"]
    assert findings["library"]["found"].startswith("1 models") or "models" in findings["library"]["found"]
    faults = {what for what, finding in findings.items() if finding["remedy"]}
    assert faults <= {"memory", "home", "models", "port 1234"}  # what the machine of the day may lack
    assert findings["models"]["found"].startswith(f"{home.models}, ") and "GB free" in findings["models"]["found"]
    assert findings["logs"]["found"].startswith(f"{home.logs}, not made yet")
    assert "llama-server" not in findings
    assert done.returncode == (1 if faults else 0)
    assert "ok  engine" in studiolo(home, "doctor").stdout


def test_the_doctor_names_what_to_fix(home: Home, tmp_path: Path) -> None:
    home.settings.write_text('[library]\nfolders = ["/nowhere/at/all"]\n')
    (home.models / "broken.gguf").write_bytes(b"GGUF")
    home.state.write_bytes(b"not a database, but long enough to look at" * 100)
    done = studiolo(home, "doctor", "--json")
    assert done.returncode == 1
    listed = json.loads(done.stdout)
    findings = {finding["what"]: finding for finding in listed}
    assert any("/nowhere/at/all is not a folder" in finding["found"] and finding["remedy"] for finding in listed)
    assert "broken.gguf" in findings["model file"]["found"] and findings["model file"]["remedy"]
    assert findings["state"]["remedy"]
    home.settings.write_text("[library")
    broken = studiolo(home, "doctor")
    assert broken.returncode == 1 and "is not TOML" in broken.stdout


def test_the_doctor_looks_at_each_folder(home: Home, tmp_path: Path) -> None:
    further = tmp_path / "further"
    further.mkdir()
    home.settings.write_text(f'[library]\nprograms = []\nfolders = ["{further}"]\n')
    home.logs.touch()
    findings = {finding.what: finding for finding in examine(home)}
    assert findings["logs"].found == f"{home.logs} is not a folder" and findings["logs"].remedy
    assert findings["model folder"].found.startswith(f"{further}, ") and findings["model folder"].remedy is None
    assert "GB free" in findings["model folder"].found
    file = Home(home.logs)
    faulty = studiolo(file, "doctor")
    assert faulty.returncode == 1
    assert f"{home.logs} is not a folder" in faulty.stdout and "STUDIOLO_HOME" in faulty.stdout


def test_an_engine_that_dies_of_an_illegal_instruction_is_reported_by_a_stub(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studiolo.engines.llama_cpp import diagnosis

    monkeypatch.setattr(diagnosis, "_PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    finding = next(finding for finding in examine(home) if finding.what == "engine")
    assert "instruction" in finding.found and finding.remedy is not None
