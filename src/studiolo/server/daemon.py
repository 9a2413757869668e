"""The server in the background: started, found again, stopped.

A server that runs in the background leaves ``server.json`` in the home folder: which process it is, where it answers,
and with which options it was started. Whoever starts or stops one holds ``server.lock`` meanwhile; readers need not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
import psutil
from msgspec import Meta, Struct

from ..errors import ConfigError, HostError
from ..paths import Home
from ..settings import ServerSettings, read_settings
from .daemon_log import last_words, log_path, put_aside_if_large

START_LIMIT_SEC = 60.0
POLL_SEC = 0.05

LOCK_LIMIT_SEC = 90.0
"""How long another command that starts or stops the server is waited for."""

GRACE_SEC = 12.0
"""What a server gets beyond the time for its predictions, to end its engines, before it is killed."""

NOW_LIMIT_SEC = 8.0
"""What a server gets that is to stop at once, before it is killed: a hanging engine alone takes three seconds."""

_log = logging.getLogger("studiolo.daemon")


class DaemonRecord(Struct, frozen=True, kw_only=True):
    """What ``server.json`` tells.

    Parameters:
        pid: the process.
        created: when it was made, in seconds since 1970: a process number alone may be another's by now.
        address: ``host:port``.
        options: the options of ``studiolo serve``.
    """

    pid: Annotated[int, Meta(gt=0, lt=1 << 31)]
    created: float
    address: str
    options: list[str]


class Stopped(Struct, frozen=True, kw_only=True):
    """A server that was stopped.

    Parameters:
        record: which one.
        killed_after_sec: where it did not end by itself, the seconds after which it was killed.
    """

    record: DaemonRecord
    killed_after_sec: float | None = None


class DaemonError(HostError):
    """The server in the background could not be started or stopped."""

    code = "studiolo.daemon"


def record_path(home: Home) -> Path:
    return home.root / "server.json"


def write_record(home: Home, address: str, options: list[str]) -> None:
    """Say that this process is the server in the background."""
    record = DaemonRecord(pid=os.getpid(), created=psutil.Process().create_time(), address=address, options=options)
    path = record_path(home)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_bytes(msgspec.json.encode(record))
    fresh.replace(path)


def remove_record(home: Home) -> None:
    """Take this process's record away; another's stays."""
    record = _read(home)
    if record is not None and record.pid == os.getpid():
        record_path(home).unlink(missing_ok=True)


def running_daemon(home: Home) -> DaemonRecord | None:
    """The server in the background, if one runs. The record of a dead one means nobody."""
    record = _read(home)
    return record if record is not None and _process(record) is not None else None


def start_daemon(home: Home, options: list[str]) -> tuple[DaemonRecord, bool]:
    """Start a server in the background and return when it answers; one that runs already is left alone.

    Parameters:
        options: options of ``studiolo serve``.

    Returns:
        The server's record, and whether it was started here.

    Raises:
        DaemonError: it did not come up; with the end of its log.
        LocalFileError: the home folder cannot be used.
    """
    with _alone(home):
        running = running_daemon(home)
        return (running, False) if running is not None else (_start(home, options), True)


def stop_daemon(home: Home, *, now: bool = False) -> Stopped | None:
    """Stop the server in the background and wait for its end, for the time of the settings' ``drain_limit_sec`` and
    a little more; then it is killed. Returns ``None`` where none runs.

    Parameters:
        now: cut off the predictions that run, instead of waiting for them.

    Raises:
        DaemonError: it is another user's.
    """
    if not record_path(home).exists() and not _lock_path(home).exists():
        return None  # nor is anything to be written
    with _alone(home):
        return _stop(home, now)


def restart_daemon(home: Home, options: list[str], *, now: bool = False) -> tuple[DaemonRecord, Stopped | None]:
    """Stop the server in the background, where one runs, and start one.

    Parameters:
        options: its options; where there are none, those that the stopped one had.
        now: see :func:`stop_daemon`.

    Returns:
        The new server's record, and what was stopped.

    Raises:
        DaemonError, LocalFileError: see :func:`start_daemon`.
    """
    with _alone(home):
        stopped = _stop(home, now)
        return _start(home, options or (stopped.record.options if stopped else [])), stopped


def _start(home: Home, options: list[str]) -> DaemonRecord:
    log = log_path(home)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        put_aside_if_large(home)
        record_path(home).unlink(missing_ok=True)  # a stale one, or a wrong one that has been told of
        out = log.open("ab")
    except OSError as error:
        raise DaemonError(
            f"The log {log} cannot be written to",
            cause=error.strerror or str(error),
            suggestion="Mend the folder, or set STUDIOLO_HOME to one that can be written to.",
        ) from None
    with out:
        start = out.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "studiolo", "serve", "--background", *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=home.root,
            start_new_session=True,
        )
    end = time.monotonic() + START_LIMIT_SEC
    try:
        while time.monotonic() < end:
            if process.poll() is not None:
                raise DaemonError("The server did not come up", cause=last_words(log, start) or "It said nothing.")
            record = running_daemon(home)
            if record is not None and record.pid == process.pid:
                process.returncode = 0  # it is nobody's child from here on
                return record
            time.sleep(POLL_SEC)
    except BaseException:  # Ctrl-C, for one: nobody shall come upon a server that was not to be
        process.kill()
        process.wait()
        raise
    process.kill()
    process.wait()
    raise DaemonError(
        f"The server did not answer within {START_LIMIT_SEC:.0f} s", cause=last_words(log, start) or "It said nothing."
    )


def _stop(home: Home, now: bool) -> Stopped | None:
    record = _read(home)
    process = _process(record) if record else None
    stopped: Stopped | None = None
    if record is not None and process is not None:
        limit = NOW_LIMIT_SEC if now else _drain_limit_sec(home) + GRACE_SEC
        stopped = Stopped(record=record, killed_after_sec=None if _end(process, limit, now) else limit)
    with contextlib.suppress(OSError):
        record_path(home).unlink(missing_ok=True)
    return stopped


def _end(process: psutil.Process, limit_sec: float, now: bool) -> bool:
    """End a process; returns whether it ended by itself within ``limit_sec``."""
    try:
        process.send_signal(signal.SIGTERM)
        if now:
            time.sleep(POLL_SEC)  # two signals at once are one
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(limit_sec)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
            return False
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise DaemonError(f"The server, process {process.pid}, is another user's: it cannot be stopped") from None
    return True


def _drain_limit_sec(home: Home) -> float:
    try:
        return read_settings(home.settings).server.drain_limit_sec
    except ConfigError:  # the server goes on with what was there before
        return ServerSettings().drain_limit_sec


@contextlib.contextmanager
def _alone(home: Home) -> Generator[None]:
    """Hold the right to start and stop servers. The system frees it when the process dies.

    Raises:
        DaemonError: another command holds it for too long.
        LocalFileError: the home folder cannot be used.
    """
    home.create()
    end = time.monotonic() + LOCK_LIMIT_SEC
    with _lock_path(home).open("ab") as file:
        while not _try_lock(file):
            if time.monotonic() > end:
                raise DaemonError(
                    "Another command is starting or stopping the server",
                    cause=f"It has been at it for {LOCK_LIMIT_SEC:.0f} s.",
                    suggestion="Wait for it, or end it.",
                )
            time.sleep(POLL_SEC)
        yield


def _lock_path(home: Home) -> Path:
    return home.root / "server.lock"


def _try_lock(file: BinaryIO) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(home: Home) -> DaemonRecord | None:
    path = record_path(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=DaemonRecord)
    except OSError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("%s is passed over, it is no record of a server: %s", path, error)
        return None


def _process(record: DaemonRecord) -> psutil.Process | None:
    """The process that ``record`` means, while it runs."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError, OverflowError):
        return None
