"""The folder for a host's sockets: removed when its host is dead, and only then."""

from __future__ import annotations

import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from studiolo.engines.llama_cpp.endpoint import Endpoint
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
def temporary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for sockets."""
    request.getfixturevalue("tmp_path")  # pytest's own folder is not below it
    if request.param != "flock":
        switch_off(monkeypatch, "file-locks", "rename-open-files")
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


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

    def make(prefix: str, dir: Path) -> str:
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


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The short place that is used instead of a long one; it stands in for /tmp."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr(socket_folder, "SHORT_PLACES", (folder,))
        yield Path(folder)


def folder_in(place: Path, monkeypatch: pytest.MonkeyPatch) -> SocketFolder:
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return SocketFolder()


def listens(folder: Path) -> bool:
    """Return whether an engine's endpoint in the folder is a socket that can be bound."""
    endpoint = Endpoint.choose(folder)
    if endpoint.socket_path is None:
        return False
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(endpoint.socket_path))
    endpoint.remove()
    return True


def test_a_folder_for_temporary_files_may_have_a_path_of_any_length(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as root:
        for length in range(60, 141):
            place = Path(root) / ("x" * (length - len(root) - 1))
            place.mkdir()
            assert len(str(place)) == length
            folder = folder_in(place, monkeypatch)
            assert folder.path.parent in (place, elsewhere) and listens(folder.path), length
            folder.remove()
            assert not [*place.iterdir(), *elsewhere.iterdir()]
    assert folder.path.parent == elsewhere


@pytest.mark.parametrize("name", ["with spaces", "100%d%s", "ümlaut", "a'b\"c", "-dash", "a#b?c"])
def test_its_path_may_have_any_characters(name: str, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as root:
        place = Path(root) / name
        place.mkdir()
        folder = folder_in(place, monkeypatch)
        assert folder.path.parent == place and listens(folder.path)
        folder.remove()


def test_a_runtime_folder_of_the_user_goes_before_others(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as runtime:
        place = Path(root) / ("x" * 100)
        place.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        folder = folder_in(place, monkeypatch)
        assert folder.path.parent == Path(runtime)
        folder.remove()


def test_engines_listen_on_ports_where_no_place_has_sockets(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as root:
        monkeypatch.setattr(socket_folder, "SHORT_PLACES", ())
        place = Path(root) / ("x" * 100)
        place.mkdir()
        folder = folder_in(place, monkeypatch)
        assert folder.path.parent == place
        endpoint = Endpoint.choose(folder.path)
        assert endpoint.socket_path is None and endpoint.url and endpoint.api_key
        folder.remove()
        assert not list(place.iterdir())


def test_a_folder_that_cannot_be_written_to_is_not_used(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as root:
        monkeypatch.setattr(socket_folder.os, "access", lambda path, mode: str(path) != root)
        folder = folder_in(Path(root), monkeypatch)
        assert folder.path.parent == elsewhere
        folder.remove()
