"""The server in the background: started, found, stopped.

A server that runs in the background keeps ``server.json`` in the home folder: its process, its address and the options
it was started with. A command that starts or stops one holds ``server.lock`` meanwhile; readers need no lock. Where no
signal can ask a process to stop (Windows), such a command writes ``server.stop``, which the server looks for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from ..errors import ConfigError
from ..paths import Home, writing_remedy
from ..platform.features import has
from ..platform.file_locks import FileLock
from ..platform.interpreter import python_command
from ..platform.processes import detached
from ..settings import ServerSettings, read_settings
from ..struct_types import examined
from .daemon_log import last_lines, log_path, rotate_if_large
from .daemon_record import (
    DaemonError,
    DaemonRecord,
    cannot_record,
    check_writable,
    process_of,
    read_record,
    record_path,
    running_daemon,
)
from .serve_options import ServeOptions, listening

START_LIMIT_SEC = 60.0
"""Seconds within which a server that starts must answer."""

POLL_SEC = 0.05

STOP_POLL_SEC = 0.25
"""Seconds between two looks for ``server.stop``."""

LOCK_LIMIT_SEC = 90.0
"""Seconds to wait for another command that starts or stops the server."""

GRACE_SEC = 12.0
"""Seconds that a server has to end its engines, after the time for its predictions, before it is killed."""

NOW_LIMIT_SEC = 8.0
"""Seconds that a server has to stop at once before it is killed; an engine that hangs takes three of them."""


class Stopped(Struct, frozen=True, kw_only=True):
    """A server that was stopped.

    Parameters:
        record: its record.
        killed_after_sec: the seconds after which it was killed; ``None`` if it ended by itself.
    """

    record: DaemonRecord
    killed_after_sec: float | None = None


class _StopRequest(Struct, frozen=True, kw_only=True):
    """The content of ``server.stop``.

    Parameters:
        pid: the server's process.
        now: whether to cut off the predictions that run.
    """

    pid: int
    now: bool


async def follow_stop_requests(home: Home, stop: Callable[[signal.Signals], None]) -> None:
    """Call ``stop`` when a command asks this server to stop, and once more if it is to stop at once.

    Returns at once where commands send signals.
    """
    if has("signals"):
        return
    asked = False
    while True:
        request = await asyncio.to_thread(_read_stop_request, home)
        if request is not None and request.pid == os.getpid():
            if not asked:
                stop(signal.SIGTERM)
            asked = True
            if request.now:
                stop(signal.SIGINT)
                return
        await asyncio.sleep(STOP_POLL_SEC)


def start_daemon(home: Home, options: ServeOptions) -> tuple[DaemonRecord, bool]:
    """Start a server in the background and return when it answers. One that runs already stays as it is.

    Returns:
        The server's record, and whether this call started it.

    Raises:
        DaemonError: it did not start, with the end of its log; or one runs already that has other options.
        ConfigError: the options cannot be served with.
        LocalFileError: the home folder cannot be used.
    """
    with _exclusive(home):
        running = running_daemon(home)
        if running is not None:
            _check_in_force(running, options.command_line())
            return running, False
        listening(options, _server_settings(home))
        return _start(home, options.command_line()), True


def stop_daemon(home: Home, *, now: bool = False) -> Stopped | None:
    """Stop the server in the background and wait for its end.

    It is killed if it has not ended a little after ``drain_limit_sec`` of the settings. Returns ``None`` if none runs.

    Parameters:
        now: cut off the predictions that run, instead of waiting for them.

    Raises:
        DaemonError: it belongs to another user.
    """
    if not record_path(home).exists() and not _lock_path(home).exists():
        return None  # nothing is written to the home folder
    with _exclusive(home, needs_lock=False):
        return _stop(home, now)


def restart_daemon(home: Home, options: ServeOptions, *, now: bool = False) -> tuple[DaemonRecord, Stopped | None]:
    """Stop the server in the background, if one runs, and start one.

    Parameters:
        options: its options; if empty, the options of the stopped one.
        now: see :func:`stop_daemon`.

    Returns:
        The new server's record, and the server that was stopped.

    Raises:
        DaemonError, ConfigError, LocalFileError: see :func:`start_daemon`.
    """
    with _exclusive(home):
        given = options.command_line()
        if given:
            listening(options, _server_settings(home))
        check_writable(home)
        stopped = _stop(home, now)
        return _start(home, given or (stopped.record.options if stopped else [])), stopped


def _check_in_force(running: DaemonRecord, given: list[str]) -> None:
    """Raise :class:`DaemonError` if a server that runs was started without some of these options."""
    host, _, port = running.address.removeprefix("https://").rpartition(":")
    in_force = {*_grouped(running.options), ("--port", port), ("--host", host), ("--host", host.strip("[]"))}
    in_force |= {(name,) for name in ("--load", "--sdk-port") if f"--no-{name[2:]}" not in running.options}
    if set(_grouped(given)) <= in_force:
        return
    options = shlex.join(given)
    raise DaemonError(
        f"The server runs already at {running.address}, with other options",
        cause=f"It has {shlex.join(running.options) or 'none'}; you gave {options}.",
        suggestion=f"Run: studiolo server restart {options}",
    )


def _grouped(options: list[str]) -> list[tuple[str, ...]]:
    """Return each option of a command line with its value."""
    groups: list[list[str]] = []
    for word in options:
        if word.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(word)
    return [tuple(group) for group in groups]


def _start(home: Home, options: list[str]) -> DaemonRecord:
    check_writable(home)
    log = log_path(home)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        rotate_if_large(home)
        record_path(home).unlink(missing_ok=True)  # of a dead server, or one that cannot be read
        _stop_path(home).unlink(missing_ok=True)
        out = log.open("ab")
    except OSError as error:
        raise DaemonError(
            f"The log {log} cannot be written to",
            cause=error.strerror or str(error),
            suggestion=writing_remedy(error, log.parent),
        ) from None
    with out:
        start = out.tell()
        process = subprocess.Popen(
            python_command("__main__", "serve", "--background", *options),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=home.root,
            **detached(),
        )
    end = time.monotonic() + START_LIMIT_SEC
    try:
        while time.monotonic() < end:
            if process.poll() is not None:
                check_writable(home)  # the disk may have become full, and the log says nothing of it
                raise DaemonError("The server did not start", cause=last_lines(log, start) or "Its log is empty.")
            record = running_daemon(home)
            if record is not None and record.pid == process.pid:
                process.returncode = 0  # Popen warns of children that it has not waited for
                return record
            time.sleep(POLL_SEC)
    except BaseException:  # such as Ctrl-C: a start that is given up leaves no server
        process.kill()
        process.wait()
        raise
    process.kill()
    process.wait()
    raise DaemonError(
        f"The server did not answer within {START_LIMIT_SEC:.0f} s", cause=last_lines(log, start) or "Its log is empty."
    )


def _stop(home: Home, now: bool) -> Stopped | None:
    record = read_record(home)
    process = process_of(record) if record else None
    stopped: Stopped | None = None
    if record is not None and process is not None:
        limit = NOW_LIMIT_SEC if now else _server_settings(home).drain_limit_sec + GRACE_SEC
        stopped = Stopped(record=record, killed_after_sec=None if _end(home, process, limit, now) else limit)
    with contextlib.suppress(OSError):
        record_path(home).unlink(missing_ok=True)
        _stop_path(home).unlink(missing_ok=True)
    return stopped


def _end(home: Home, process: psutil.Process, limit_sec: float, now: bool) -> bool:
    """End a process, and return whether it ended by itself within ``limit_sec``."""
    try:
        _ask_to_stop(home, process, now)
        try:
            process.wait(limit_sec)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
            return False
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise DaemonError(
            f"The server, process {process.pid}, belongs to another user and cannot be stopped",
            suggestion="Run the command as that user.",
        ) from None
    return True


def _ask_to_stop(home: Home, process: psutil.Process, now: bool) -> None:
    if not has("signals"):
        path = _stop_path(home)
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(_StopRequest(pid=process.pid, now=now)))
        new.replace(path)
        return
    process.send_signal(signal.SIGTERM)
    if now:
        time.sleep(POLL_SEC)  # the server looks at one signal after the other
        process.send_signal(signal.SIGINT)  # a second SIGTERM so soon would count as the first one


def _server_settings(home: Home) -> ServerSettings:
    """Return the settings of the server; the defaults if the file is wrong, which the server itself reports."""
    try:
        return read_settings(home.settings).server
    except ConfigError:
        return ServerSettings()


@contextlib.contextmanager
def _exclusive(home: Home, *, needs_lock: bool = True) -> Generator[None]:
    """Lock out other commands that start or stop servers. The system frees the lock when the process dies.

    Parameters:
        home: the home folder.
        needs_lock: if false, a home that cannot be written to is used without the lock: no server can start there.

    Raises:
        DaemonError: another command holds the lock for too long, or the home folder cannot be written to.
        LocalFileError: the home folder cannot be used.
    """
    home.create()
    end = time.monotonic() + LOCK_LIMIT_SEC
    while True:
        try:
            lock = FileLock.try_acquire(_lock_path(home))
        except OSError as error:
            if needs_lock:
                raise cannot_record(home, error) from None
            yield
            return
        if lock is not None:
            break
        if time.monotonic() > end:
            raise DaemonError(
                "Another command is starting or stopping the server",
                cause=f"It has held {_lock_path(home)} for {LOCK_LIMIT_SEC:.0f} s.",
                suggestion="Wait for it, or end it.",
            )
        time.sleep(POLL_SEC)
    try:
        yield
    finally:
        lock.release()


def _lock_path(home: Home) -> Path:
    return home.root / "server.lock"


def _stop_path(home: Home) -> Path:
    return home.root / "server.stop"


def _read_stop_request(home: Home) -> _StopRequest | None:
    try:
        return msgspec.json.decode(_stop_path(home).read_bytes(), type=examined(_StopRequest))
    except (OSError, msgspec.DecodeError):
        return None
