"""The commands on a home that is read-only or full: what needs no writing works, the rest says what to do."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import psutil
import pytest

from studiolo.errors import ConfigError, LibraryFileError
from studiolo.library.model_import import carry_out, plan_import
from studiolo.paths import Home, writing_remedy
from studiolo.server import daemon, token_file
from studiolo.server.daemon import restart_daemon, start_daemon, stop_daemon
from studiolo.server.daemon_record import DaemonError, DaemonRecord, record_path, running_daemon, write_record
from studiolo.server.serve_options import ServeOptions
from tests.support.model_files import write_gguf
from tests.support.running import environment

pytestmark = pytest.mark.slow

Fault = Literal["read-only", "full"]

MOUNTS: dict[Fault, str] = {
    "read-only": "mount --bind $HOME_FOLDER $HOME_FOLDER && mount -o remount,ro,bind $HOME_FOLDER",
    "full": """
mount -t tmpfs -o size=1m none $HOME_FOLDER && cp -r $SAVED/. $HOME_FOLDER
dd if=/dev/zero of=$HOME_FOLDER/ballast bs=1k count=2000 status=none 2>/dev/null
""",
}
REASONS = {"read-only": "Read-only file system", "full": "No space left on device"}

COMMANDS = """
import json, subprocess, sys
for words in json.loads(sys.argv[1]):
    done = subprocess.run([sys.executable, "-m", "studiolo", *words], capture_output=True, text=True, timeout=60)
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


@dataclass
class Done:
    status: int
    out: str
    err: str


@pytest.fixture(params=["read-only", "full"])
def fault(request: pytest.FixtureRequest) -> Fault:
    return request.param


def run(home: Home, fault: Fault, *commands: list[str]) -> list[Done]:
    """Run commands in a mount namespace of their own, in which the home has the fault."""
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    script = f'cp -r $HOME_FOLDER $SAVED\n{MOUNTS[fault]}\nexec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", *user, "sh", "-c", script, "sh", sys.executable, "-c", COMMANDS, json.dumps(commands)],
        env=environment(
            home,
            STUDIOLO_HOST="embedded",
            HOME_FOLDER=str(home.root),
            SAVED=str(home.root.with_name("saved")),
        ),
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    results = [Done(*json.loads(line)) for line in done.stdout.splitlines()]
    for result in results:
        assert "Traceback" not in result.err and "Error" not in result.err and "Errno" not in result.err, result.err
    return results


@pytest.mark.skipif(sys.platform != "linux", reason="there are no mount namespaces")
def test_commands_that_only_read_work_and_the_others_say_what_to_do(
    empty_home: Home, tmp_path: Path, fault: Fault
) -> None:
    write_gguf(empty_home.models / "p" / "q" / "mine.gguf")
    outside = write_gguf(tmp_path / "outside.gguf", weights=1_000_000)
    before = outside.read_bytes()
    listed, shown, stopped, status, *writing, doctor = run(
        empty_home,
        fault,
        ["ls"],
        ["show", "mine"],
        ["server", "stop"],
        ["server", "status"],
        ["server", "start", "--port", "0", "--no-load", "--no-sdk-port"],
        ["server", "restart"],
        ["import", str(outside), "--copy"],
        ["get", str(outside)],
        ["server", "token", str(empty_home.root / "tokens")],
        ["doctor"],
    )
    assert listed.status == 0 and "mine" in listed.out
    assert shown.status == 0 and "Architecture" in shown.out
    assert stopped.status == 0 and status.status == 1 and "No server runs" in status.out
    remedy = {"read-only": "writable", "full": "Free some space"}[fault]
    for done in writing:
        assert done.status == 1
        assert str(empty_home.root) in done.err and remedy in done.err
        assert REASONS[fault] in done.err or "are free" in done.err
    assert "studiolo serve" in writing[0].err
    assert outside.read_bytes() == before
    assert doctor.status == 1
    assert f"{empty_home.root} can be read and not be written to ({REASONS[fault]}): models run" in doctor.out


def refuse_writes(monkeypatch: pytest.MonkeyPatch, number: int, home: Home) -> None:
    """Let the system refuse to write the small files of the home."""
    real = Path.write_bytes

    def refused(path: Path, data: Any) -> int:
        if path.is_relative_to(home.root):
            path.touch()
            raise OSError(number, os.strerror(number), str(path))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", refused)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_record_that_cannot_be_written_is_an_error_before_the_start_by_a_stub_of_the_disk(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_writes(monkeypatch, number, empty_home)
    monkeypatch.setattr(subprocess, "Popen", None)
    there = set(empty_home.root.iterdir())
    for start in (start_daemon, restart_daemon):
        with pytest.raises(DaemonError, match=r"cannot be recorded in .*studiolo serve") as caught:
            start(empty_home, ServeOptions())
        assert os.strerror(number) in str(caught.value)
        assert ("Free some space" in str(caught.value)) == (number in (errno.ENOSPC, errno.EDQUOT))
    with pytest.raises(DaemonError, match="cannot be recorded in"):
        write_record(empty_home, "127.0.0.1:1", [])
    assert set(empty_home.root.iterdir()) - there <= {empty_home.root / "server.lock"}


def test_a_server_that_runs_stays_when_its_successor_could_not_be_recorded_by_a_stub_of_the_disk(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        record = DaemonRecord(
            pid=server.pid, created=psutil.Process(server.pid).create_time(), address="127.0.0.1:1", options=[]
        )
        record_path(empty_home).write_bytes(msgspec.json.encode(record))
        refuse_writes(monkeypatch, errno.ENOSPC, empty_home)
        with pytest.raises(DaemonError, match="No space left"):
            restart_daemon(empty_home, ServeOptions())
        assert server.poll() is None and running_daemon(empty_home) == record
        server.communicate(b"\n")


def test_a_server_is_stopped_where_its_home_has_become_read_only_by_a_stub_of_the_lock(
    empty_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        record = DaemonRecord(
            pid=server.pid, created=psutil.Process(server.pid).create_time(), address="127.0.0.1:1", options=[]
        )
        record_path(empty_home).write_bytes(msgspec.json.encode(record))
        monkeypatch.setattr(daemon.FileLock, "try_acquire", refused)
        stopped = stop_daemon(empty_home)
        assert stopped is not None and stopped.record == record
        server.wait(10)


def test_no_part_of_a_token_stays_on_a_full_disk_by_a_stub_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens"
    first = token_file.add_api_token(path)
    real = os.write
    monkeypatch.setattr(os, "write", lambda number, data: real(number, data[:9]))
    with pytest.raises(ConfigError, match=r"No space left.*Free some space"):
        token_file.add_api_token(path)
    monkeypatch.undo()
    assert token_file.read_api_tokens(path) == [first]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Free some space"), (errno.EROFS, "Make .* writable"), (errno.ENOTDIR, "Move away")],
)
def test_an_import_says_where_and_what_to_do_by_a_stub_of_the_disk(
    empty_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    file = write_gguf(tmp_path / "outside.gguf")
    plan = plan_import(empty_home, file, "copy")

    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(LibraryFileError, match=f"could not be imported into .*{remedy}"):
        carry_out(plan)
    assert file.exists()
    assert str(empty_home.root) in writing_remedy(OSError(number, ""), empty_home.root)
