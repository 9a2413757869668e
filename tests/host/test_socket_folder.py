"""The folder for a host's sockets: removed when its host is dead, and only then."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studiolo.host import socket_folder
from studiolo.host.socket_folder import LOCK_NAME, PREFIX, SocketFolder
from tests.support.platform_features import switch_off

NO_SUCH_PROCESS = 2**22 + 1  # above the largest process number of Linux

HOLD = f"""
import os, sys
os.getpid = lambda: {NO_SUCH_PROCESS}  # as the number of a process in another container means nothing here
from studiolo.host.socket_folder import SocketFolder
folder = SocketFolder()
(folder.path / "1.sock").touch()
print(folder.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["flock", "byte ranges, by a stand-in for msvcrt"])
def temporary(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    if request.param != "flock":
        switch_off(monkeypatch, "file-locks", "rename-open-files")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path


def test_the_folder_of_a_host_in_another_pid_namespace_stays_until_that_host_dies(temporary: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None and other.stdout is not None
    with other.stdin, other.stdout:
        folder = Path(other.stdout.readline().strip())
        assert folder.parent == temporary and str(NO_SUCH_PROCESS) in folder.name
        SocketFolder().remove()
        assert (folder / "1.sock").exists()
        other.kill()
        other.wait()
    mine = SocketFolder()
    assert list(temporary.iterdir()) == [mine.path]
    mine.remove()
    mine.remove()
    assert not list(temporary.iterdir())


def test_a_folder_without_a_lock_is_removed_only_if_it_is_empty(temporary: Path) -> None:
    empty, full = temporary / f"{PREFIX}a", temporary / f"{PREFIX}b"
    empty.mkdir()
    full.mkdir()
    (full / "1.sock").touch()
    SocketFolder().remove()
    assert list(temporary.iterdir()) == [full]


def test_a_folder_that_another_host_removes_before_it_is_locked_is_made_again_by_a_stub(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(prefix: str) -> str:
        path = temporary / f"{prefix}{len(made)}"
        made.append(path)
        if len(made) > 1:
            path.mkdir()
        return str(path)

    monkeypatch.setattr(socket_folder.tempfile, "mkdtemp", make)
    folder = SocketFolder()
    assert folder.path == made[1] and (folder.path / LOCK_NAME).exists()
    folder.remove()
