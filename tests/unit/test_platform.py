"""What differs between operating systems: each feature, and what takes its place where it is missing."""

from __future__ import annotations

import ast
import asyncio
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import studiolo
from studiolo.errors import ConfigError
from studiolo.paths import Home
from studiolo.platform import features, job_objects
from studiolo.platform.features import Feature, has
from studiolo.platform.file_locks import FileLock, try_lock
from studiolo.platform.file_status import can_be_read_by_others, path_of_url
from studiolo.platform.processes import kill, start_child
from studiolo.server import daemon_log
from tests.support.platform_features import ALL, switch_off
from tests.support.running import has_ended, wait_until

pytestmark = pytest.mark.slow

SOURCE = Path(studiolo.__file__).parent


def python(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


IMPORT_EVERYTHING = """
import asyncio, importlib, importlib.abc, os, pkgutil, signal, sys
import psutil, uvicorn, aiohttp, huggingface_hub  # of other projects: they know on which system they are

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

NAMES = {"fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "uvloop"}
sys.meta_path.insert(0, Missing())
for name in NAMES:
    sys.modules.pop(name, None)
for name in ("register_at_fork", "fork", "killpg", "setsid", "statvfs", "sysconf", "getuid", "geteuid"):
    delattr(os, name)
for name in ("setitimer", "pause", "SIGKILL"):
    delattr(signal, name)
import studiolo
for module in pkgutil.walk_packages(studiolo.__path__, "studiolo."):
    if not module.name.endswith(("__main__", "._worker", "_document_worker")):
        importlib.import_module(module.name)
for name in studiolo.__all__:
    getattr(studiolo, name)
print(len(sys.modules))
"""


def test_every_module_is_imported_without_what_only_posix_systems_have() -> None:
    done = python(IMPORT_EVERYTHING)
    assert done.returncode == 0, done.stderr


POSIX_ONLY = {
    *("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "msvcrt", "winreg", "_winapi", "uvloop"),
    *("os.name", "os.fork", "os.killpg", "os.getpgid", "os.setsid", "os.getuid", "os.geteuid", "os.statvfs"),
    *("os.sysconf", "os.register_at_fork", "os.chmod", "os.umask", "sys.platform", "signal.SIGKILL", "signal.pause"),
    *("signal.setitimer", "signal.alarm", "socket.AF_UNIX", "asyncio.create_subprocess_exec"),
    *("asyncio.create_subprocess_shell",),
}
SYSTEM_NAMED_TO_CLIENTS = {("dialects/lmstudio/runtime.py", "sys.platform")}


def names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def test_only_the_package_platform_knows_which_system_it_runs_on() -> None:
    found = {
        (str(path.relative_to(SOURCE)), name)
        for path in SOURCE.rglob("*.py")
        if not path.is_relative_to(SOURCE / "platform")
        for name in names_in(path)
        if name in POSIX_ONLY
    }
    assert found == SYSTEM_NAMED_TO_CLIENTS


def test_a_feature_that_is_switched_off_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(has(feature) for feature in ALL)
    switch_off(monkeypatch, "signals", "uvloop")
    assert [feature for feature in ALL if not has(feature)] == ["signals", "uvloop"]


def test_an_unknown_feature_in_the_switch_is_refused_with_the_names_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(features.SWITCH, "signals,flock")
    with pytest.raises(ConfigError, match="'flock'") as caught:
        has("signals")
    assert "file-locks" in str(caught.value)


HOLD = """
import sys
from pathlib import Path
from studiolo.platform.file_locks import FileLock
lock = FileLock.try_acquire(Path(sys.argv[1]))
assert lock is not None
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["flock", "byte ranges, by a stand-in for msvcrt"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "flock":
        switch_off(monkeypatch, "file-locks", "rename-open-files")


def test_a_lock_has_one_holder_and_is_free_when_it_dies(locks: None, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None and holder.stdout is not None
    with holder.stdin, holder.stdout:
        assert holder.stdout.readline() == "held\n"
        assert FileLock.try_acquire(path) is None
        holder.kill()
        holder.wait()
    lock = FileLock.try_acquire(path)
    assert lock is not None
    assert FileLock.try_acquire(path) is None  # nor a second time in the same process
    lock.release()
    again = FileLock.try_acquire(path)
    assert again is not None
    again.release(delete=True)
    again.release()
    assert not path.exists()


def test_a_locked_file_can_be_read_and_appended_to(locks: None, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\n")
    with path.open("ab") as file:
        assert try_lock(file)
        file.write(b"two\n")
        file.flush()
        assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize("missing", [(), ("process-groups",)])
async def test_a_child_is_killed_with_the_processes_that_it_started(
    missing: tuple[Feature, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_off(monkeypatch, *missing)
    program = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
    pipe = asyncio.subprocess.PIPE
    child = await start_child(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
    assert child.stdout is not None
    grandchild = psutil.Process(int(await child.stdout.readline()))
    kill(child)
    await child.wait()
    await asyncio.to_thread(wait_until, lambda: has_ended(grandchild), "the grandchild to end")
    kill(child)  # nothing is left to kill


BACKTRACK = """
import re, sys, time
from studiolo.platform import limits
limits.WALL_TIME_FACTOR = 1
with limits.cpu_limit(0.3):
    pass
time.sleep(0.5)
print("quick work is not cut", flush=True)
with limits.cpu_limit(0.3):
    re.match("(a*)*b", "a" * 40)  # holds the interpreter for days
"""


@pytest.mark.parametrize("missing", ["", "cpu-timer"])
def test_work_that_takes_too_long_ends_its_process(missing: str) -> None:
    done = python(BACKTRACK, STUDIOLO_WITHOUT=missing)
    assert done.stdout == "quick work is not cut\n"
    assert done.returncode != 0 and not done.stderr.startswith("Traceback")


MEMORY = """
from studiolo.platform.limits import limit_process, raise_open_files
limit_process(memory_bytes=1 << 28, cpu_sec=60, writes=False)
raise_open_files(1024)
bytearray(1 << 29)
"""


def test_memory_is_limited_where_the_system_can() -> None:
    assert "MemoryError" in python(MEMORY).stderr
    assert python(MEMORY, STUDIOLO_WITHOUT="resource-limits").returncode == 0


WAIT_FOR_STOP = """
import asyncio, signal
from studiolo.platform import event_loop

async def main():
    stopped = asyncio.Queue()
    event_loop.on_stop_signal(stopped.put_nowait)
    print("ready", flush=True)
    print((await stopped.get()).name, flush=True)

event_loop.run(main())
"""


@pytest.mark.parametrize("missing", ["", "uvloop", "signals,uvloop"])
def test_a_stop_signal_reaches_the_event_loop(missing: str) -> None:
    environment = {**os.environ, features.SWITCH: missing}
    with subprocess.Popen(
        [sys.executable, "-c", WAIT_FOR_STOP], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "SIGTERM\n"
    assert process.returncode == 0


OUTLIVE = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", '''
import os, sys, time
from studiolo.platform.parent_death import end_with_parent
end_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(600)
''', str(os.getpid())], stdin=subprocess.PIPE)
child.wait()
"""


@pytest.mark.parametrize("missing", ["", "parent-death-signal"])
def test_a_child_ends_with_its_parent(missing: str) -> None:
    environment = {**os.environ, features.SWITCH: missing}
    with subprocess.Popen([sys.executable, "-c", OUTLIVE], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        wait_until(lambda: has_ended(child), "the child to end")


def test_a_log_is_rotated_where_open_files_cannot_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    log = daemon_log.log_path(home)
    log.parent.mkdir()
    program = """
import os, sys
from pathlib import Path
from studiolo.paths import Home
from studiolo.server import daemon_log
daemon_log.MAX_LOG_BYTES = 10
print("before the rotation", flush=True)
assert daemon_log.rotate_log(Home(Path(sys.argv[1])))
print("after", flush=True)
"""
    switch_off(monkeypatch, "rename-open-files")
    with log.open("wb") as out:  # without O_APPEND, as a process inherits it on Windows
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=out, stderr=out, check=True)
    assert log.read_text() == "after\n"
    assert daemon_log.old_log_path(home).read_text() == "before the rotation\n"


def test_file_modes_protect_only_where_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.touch(0o644)
    assert can_be_read_by_others(path.stat())
    switch_off(monkeypatch, "file-modes")
    assert not can_be_read_by_others(path.stat())


def test_the_path_of_a_url() -> None:
    assert path_of_url("file:///models/a%20b.gguf") == Path("/models/a b.gguf")


class Kernel:
    """A stand-in for kernel32.dll, which records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "SetInformationJobObject":
                pointed_at = ctypes.cast(arguments[2], ctypes.POINTER(job_objects.ExtendedLimits)).contents
                limits = job_objects.ExtendedLimits.from_buffer_copy(pointed_at)
                arguments = (*arguments[:2], limits, arguments[3])
            self.calls.append((name, *arguments))
            return {"CreateJobObjectW": 100, "OpenProcess": 200, "GetCurrentProcess": 300}.get(name, 1)

        setattr(self, name, call)  # a function takes the attributes argtypes and restype
        return call


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel()
    monkeypatch.setattr(job_objects, "_load", lambda: kernel)
    for cached in (job_objects._kernel32, job_objects._children):
        cached.cache_clear()
    yield kernel
    for cached in (job_objects._kernel32, job_objects._children):
        cached.cache_clear()


def test_children_are_put_into_a_job_that_ends_them_by_a_stand_in_for_windows(kernel: Kernel) -> None:
    job_objects.add_child(7)
    job_objects.add_child(8)
    opened, created, limited, assigned, closed, *second = kernel.calls
    assert opened[0] == "OpenProcess" and opened[3] == 7
    assert created[0] == "CreateJobObjectW"
    limits = limited[3]
    assert limited[:3] == ("SetInformationJobObject", 100, 9)
    assert limits.BasicLimitInformation.LimitFlags == 0x2000  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    assert assigned == ("AssignProcessToJobObject", 100, 200)
    assert closed == ("CloseHandle", 200)
    assert [call[0] for call in second] == ["OpenProcess", "AssignProcessToJobObject", "CloseHandle"]  # the same job


def test_a_process_limits_itself_by_a_job_by_a_stand_in_for_windows(kernel: Kernel) -> None:
    job_objects.limit_this_process(1 << 30, 2.5)
    limits = kernel.calls[1][3]
    assert limits.ProcessMemoryLimit == 1 << 30
    assert limits.BasicLimitInformation.PerProcessUserTimeLimit == 25_000_000
    assert limits.BasicLimitInformation.LimitFlags == 0x0002 | 0x0100 | 0x0400
    assert kernel.calls[-1] == ("AssignProcessToJobObject", 100, 300)


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the sizes are those of 64 bits")
def test_the_structure_has_the_size_that_windows_expects() -> None:
    assert ctypes.sizeof(job_objects.ExtendedLimits) == 144
