"""Child processes: started out of reach of the terminal, asked to end, killed with all that they have started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from typing import IO, TypedDict

from .features import has

_ILLEGAL_INSTRUCTION = 0xC000001D  # STATUS_ILLEGAL_INSTRUCTION of Windows


class StartOptions(TypedDict, total=False):
    """The options of :class:`subprocess.Popen` that differ between systems."""

    start_new_session: bool
    creationflags: int


def own_group() -> StartOptions:
    """Return the options that put a child into a process group of its own, which the terminal's Ctrl-C does not reach.

    On Windows it opens no window either.
    """
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": has("process-groups")}


def detached() -> StartOptions:
    """Return the options for a process that keeps running when the terminal that started it is closed."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return own_group()


async def start_child(
    *command: str,
    stdin: int | IO[bytes] | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    limit: int = 2**16,
) -> Process:
    """Start a child process in a group of its own. See :func:`asyncio.create_subprocess_exec`.

    On Windows a job object ends it with this process. Elsewhere the child does that itself: see
    :mod:`studiolo.platform.parent_death`.
    """
    process = await asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, limit=limit, **own_group()
    )
    end_with_this_process(process.pid)
    return process


async def run_child(
    *command: str, limit_sec: float, stdout: int = PIPE, stderr: int = PIPE
) -> tuple[int, bytes, bytes]:
    """Run a child process without input to its end, and return its exit status and what it wrote to both streams.

    It is killed at the time limit, and when the caller is cancelled.

    Raises:
        TimeoutError: it did not end within ``limit_sec``.
        OSError: it cannot be started.
    """
    process = await start_child(*command, stdin=DEVNULL, stdout=stdout, stderr=stderr)
    try:
        async with asyncio.timeout(limit_sec):
            out, err = await process.communicate()
    finally:
        kill(process)
        await process.wait()
    return process.returncode or 0, out or b"", err or b""


def end_with_this_process(pid: int) -> None:
    """Let Windows end the child process ``pid`` with this process. On other systems the child does that itself."""
    if sys.platform == "win32":
        from .job_objects import add_child

        add_child(pid)


def terminate(process: Process) -> None:
    """Ask a child process to end; end it at once on Windows. Nothing happens where it has ended.

    ``Process.send_signal`` and ``Process.kill`` may reap the process before asyncio does, which then takes its exit
    status for 255 and logs a warning. A signal by the number of the process does neither.
    """
    if process.returncode is None:
        _send(process.pid, signal.SIGTERM)


def kill(process: Process) -> None:
    """Kill a child process that :func:`start_child` has started, and the processes that it has started."""
    if process.returncode is not None:
        return
    if sys.platform != "win32" and has("process-groups"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        _kill_tree(process.pid)


def end_descendants() -> None:
    """Kill all processes that this one has started, and those that they have started, in whatever group they are.

    They are suspended first, so that none starts another one meanwhile.
    """
    import psutil  # late: it takes a while to import

    found = dict[int, psutil.Process]()
    while new := [each for each in psutil.Process().children(recursive=True) if each.pid not in found]:
        for each in new:
            found[each.pid] = each
            with contextlib.suppress(psutil.Error):
                each.suspend()
    for each in reversed(found.values()):  # those that this one waits for come last
        with contextlib.suppress(psutil.Error):
            each.kill()


async def wait_for_exit(process: Process, limit_sec: float) -> bool:
    """Return whether a child process ends within the limit.

    ``Process.wait`` also waits for the end of the pipes, which a process that the child has started may hold open.
    """
    try:
        async with asyncio.timeout(limit_sec):
            while process.returncode is None:  # noqa: ASYNC110 - asyncio has no event for the exit alone
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    return True


def close_pipes(process: Process) -> None:
    """Close the pipes to a child process that has ended, although another process may hold their other ends."""
    transport: asyncio.SubprocessTransport | None = getattr(process, "_transport", None)
    if transport is not None:
        with contextlib.suppress(OSError):
            transport.close()


def signal_name(status: int) -> str | None:
    """Return the name of the signal that ended a process with this exit status; ``None`` where none did."""
    if status >= 0:
        return None
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def died_of_illegal_instruction(status: int) -> bool:
    """Return whether a process with this exit status ran an instruction that its processor does not have."""
    return status in (-signal.SIGILL, _ILLEGAL_INSTRUCTION)


def _kill_tree(pid: int) -> None:
    import psutil  # late: it takes a while to import

    tree = list[int]()
    with contextlib.suppress(psutil.Error):
        tree += [child.pid for child in psutil.Process(pid).children(recursive=True)]
    for each in (pid, *tree):
        _send(each, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended
        os.kill(pid, number)
