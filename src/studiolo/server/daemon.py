"""The server in the background: started, found again, stopped.

A server that runs in the background leaves ``server.json`` in the home folder: which process it is, where it answers,
and with which options it was started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from ..errors import HostError
from ..paths import Home

START_LIMIT_SEC = 60.0
POLL_SEC = 0.05

MAX_LOG_BYTES = 8 << 20
"""A larger log is put aside when a server starts, and takes the place of the one put aside before."""


class DaemonRecord(Struct, frozen=True, kw_only=True):
    """What ``server.json`` tells.

    Parameters:
        pid: the process.
        created: when it was made, in seconds since 1970: a process number alone may be another's by now.
        address: ``host:port``.
        options: the options of ``studiolo serve``.
    """

    pid: int
    created: float
    address: str
    options: list[str]


class DaemonError(HostError):
    """The server in the background could not be started or stopped."""

    code = "studiolo.daemon"


def record_path(home: Home) -> Path:
    return home.root / "server.json"


def log_path(home: Home) -> Path:
    return home.logs / "server.log"


def write_record(home: Home, address: str, options: list[str]) -> None:
    """Say that this process is the server in the background."""
    record = DaemonRecord(pid=os.getpid(), created=psutil.Process().create_time(), address=address, options=options)
    path = record_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.write_bytes(msgspec.json.encode(record))
    fresh.replace(path)


def remove_record(home: Home) -> None:
    """Take this process's record away; another's stays."""
    record = _read(home)
    if record is not None and record.pid == os.getpid():
        record_path(home).unlink(missing_ok=True)


def running_daemon(home: Home) -> DaemonRecord | None:
    """The server in the background, if one runs. The record of a dead one is removed."""
    record = _read(home)
    if record is None:
        return None
    if _process(record) is not None:
        return record
    with contextlib.suppress(OSError):
        record_path(home).unlink(missing_ok=True)
    return None


def start_daemon(home: Home, options: list[str]) -> DaemonRecord:
    """Start a server in the background and return when it answers.

    Parameters:
        options: options of ``studiolo serve``.

    Raises:
        DaemonError: it did not come up; with the end of its log.
    """
    log = log_path(home)
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        if log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_suffix(".old.log"))
    with log.open("ab") as out:
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
    while time.monotonic() < end:
        if process.poll() is not None:
            raise DaemonError("The server did not come up", cause=_said(log, start))
        record = running_daemon(home)
        if record is not None and record.pid == process.pid:
            process.returncode = 0  # it is nobody's child from here on
            return record
        time.sleep(POLL_SEC)
    process.kill()
    process.wait()
    raise DaemonError(f"The server did not answer within {START_LIMIT_SEC:.0f} s", cause=_said(log, start))


def stop_daemon(home: Home, limit_sec: float, *, now: bool = False) -> DaemonRecord | None:
    """Stop the server in the background and wait for its end; returns its record, or ``None`` where none ran.

    Parameters:
        limit_sec: seconds that it gets before it is killed.
        now: cut off the predictions that run, instead of waiting for them.
    """
    record = running_daemon(home)
    process = _process(record) if record else None
    if record is None or process is None:
        return None
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGTERM)
        if now:
            time.sleep(POLL_SEC)  # two signals at once are one
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(limit_sec)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait()
    with contextlib.suppress(OSError):
        record_path(home).unlink(missing_ok=True)
    return record


def _read(home: Home) -> DaemonRecord | None:
    try:
        return msgspec.json.decode(record_path(home).read_bytes(), type=DaemonRecord)
    except (OSError, msgspec.DecodeError):
        return None


def _process(record: DaemonRecord) -> psutil.Process | None:
    """The process that ``record`` means, while it runs."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


def _said(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").strip().splitlines()
    return "\n".join(lines[-8:]).removeprefix("studiolo: ") or "It said nothing."
