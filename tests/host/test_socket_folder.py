"""The folder for a host's sockets: removed when its host is dead, and only then."""

from __future__ import annotations

import shutil
import stat
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


def test_only_its_owner_may_look_into_the_folder(temporary: Path) -> None:
    folder = SocketFolder()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.remove()


@pytest.mark.parametrize("gone", ["the folder", "the lock"])
def test_a_host_whose_folder_is_gone_makes_a_new_one(gone: str, temporary: Path) -> None:
    folder = SocketFolder()
    before = folder.existing()
    assert before == folder.path == folder.existing()
    (before / "1.sock").touch()
    if gone == "the folder":
        shutil.rmtree(before)
    else:
        (before / LOCK_NAME).unlink()
    after = folder.existing()
    assert after != before and after == folder.existing() and (after / LOCK_NAME).exists()
    SocketFolder().remove()
    assert after.exists()
    folder.remove()
    assert not list(temporary.iterdir())


def test_links_and_folders_that_are_not_ones_own_are_left_alone(
    temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("target")
    for name in (LOCK_NAME, "precious"):
        (target / name).touch()
    (temporary / f"{PREFIX}link").symlink_to(target)
    folder = SocketFolder()
    shutil.rmtree(folder.path)
    folder.path.symlink_to(target)
    folder.remove()
    assert sorted(path.name for path in target.iterdir()) == [LOCK_NAME, "precious"]
