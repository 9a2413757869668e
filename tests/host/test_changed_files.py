"""A model's file that is cut short, replaced or unreadable while it is loaded, on the fake engine."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import studiolo_fake_engine as fake

from studiolo.errors import EngineDiedError, EngineStartError, ModelFileError
from studiolo.host.host import Host
from studiolo.host.loaded_files import LoadedFiles
from tests.support.fake_host import load, predict


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


CHANGES: dict[Callable[[Path], None], str] = {
    cut_short: "It had [0-9,]+ bytes, and has",
    rewrite: "It was modified",
    replace: "Another file of the same size",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("config", [{}, {"on_engine_failure": "error"}])
async def test_the_death_and_the_start_after_it_name_the_file_and_count_for_nothing(
    fake_host: Host, change: Callable[[Path], None], config: dict[str, str]
) -> None:
    alpha = await load(fake_host, "alpha")
    path = alpha.model.path
    content, times = path.read_bytes(), path.stat()
    fake.models["alpha"].dies_after = 1
    change(path)
    with pytest.raises(ModelFileError, match="has changed since it was loaded") as caught:
        await predict(fake_host, "alpha", **config)
    assert str(path) in str(caught.value) and "SIGSEGV" in str(caught.value)
    assert re.search(CHANGES[change], str(caught.value))
    assert len(fake.engines) == 1, "an answer is not continued with another file"

    fake.models["alpha"].dies_after = None
    fake.models["alpha"].load_fails = True
    for _ in range(6):  # more often than a quarantine takes
        with pytest.raises(ModelFileError, match="has changed since it was loaded"):
            await predict(fake_host, "alpha")
    assert alpha.state == "crashed"

    fake.models["alpha"].load_fails = False
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (await predict(fake_host, "alpha")).stop_reason == "end_of_text"


async def test_a_start_that_fails_with_the_same_file_is_the_engines_fault(fake_host: Host) -> None:
    alpha = await load(fake_host, "alpha")
    fake.engines[0].kill()
    fake.models["alpha"].load_fails = True
    with pytest.raises(EngineStartError):
        await predict(fake_host, "alpha")
    assert len(fake_host.instances.crashes.reports) == 2
    assert alpha.state == "crashed"


@pytest.mark.parametrize(("change", "said"), CHANGES.items())
def test_what_has_changed_is_said_of_each_file(tmp_path: Path, change: Callable[[Path], None], said: str) -> None:
    paths = [tmp_path / name for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "mmproj.gguf", "d.gguf")]
    for path in paths:
        path.write_bytes(b"x" * 1000)
    for path in paths:
        files = LoadedFiles("a", paths)
        assert files.fault(EngineDiedError("It ended")) is None
        change(path)
        fault = files.fault(EngineDiedError("It ended"))
        assert fault is not None and str(path) in fault.title and fault.data == {"path": str(path)}
        with pytest.raises(ModelFileError, match=said):
            raise fault


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_drive_that_goes_away_is_a_fault_and_a_removed_file_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"x")
    files = LoadedFiles("a", [path])
    path.unlink()
    assert files.fault(EngineDiedError("It ended")) is None

    def gone(_: object) -> os.stat_result:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "stat", gone)
    fault = files.fault(EngineDiedError("It ended"))
    monkeypatch.undo()
    assert fault is not None and os.strerror(number) in str(fault)
