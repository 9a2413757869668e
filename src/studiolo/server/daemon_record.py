"""``server.json`` in the home folder: which process is the server in the background."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Annotated

import msgspec
import psutil
from msgspec import Meta, Struct

from ..errors import HostError
from ..paths import Home, writing_remedy
from ..struct_types import examined

TRIAL_BYTES = 8192
"""What a record and the first lines of a log take at most."""

_log = logging.getLogger("studiolo.daemon")


class DaemonError(HostError):
    """The server in the background could not be started or stopped."""

    code = "studiolo.daemon"


class DaemonRecord(Struct, frozen=True, kw_only=True):
    """The content of ``server.json``.

    Parameters:
        pid: the server's process.
        created: when that process was created, in seconds since 1970: the number may belong to another one by now.
        address: ``host:port``.
        options: the options of ``studiolo serve``.
    """

    pid: Annotated[int, Meta(gt=0, lt=1 << 31)]
    created: float
    address: str
    options: list[str]


def record_path(home: Home) -> Path:
    """Return the path of the record."""
    return home.root / "server.json"


def write_record(home: Home, address: str, options: list[str]) -> None:
    """Record that this process is the server in the background. Raises :class:`DaemonError`."""
    record = DaemonRecord(pid=os.getpid(), created=psutil.Process().create_time(), address=address, options=options)
    path = record_path(home)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        fresh.write_bytes(msgspec.json.encode(record))
        fresh.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise cannot_record(home, error) from None


def remove_record(home: Home) -> None:
    """Delete the record of this process; the record of another one stays."""
    record = read_record(home)
    if record is not None and record.pid == os.getpid():
        record_path(home).unlink(missing_ok=True)


def running_daemon(home: Home) -> DaemonRecord | None:
    """Return the record of the server in the background; ``None`` if none runs, or the record is of a dead one."""
    record = read_record(home)
    return record if record is not None and process_of(record) is not None else None


def check_writable(home: Home) -> None:
    """Raise :class:`DaemonError` if no record could be written: a server without one could not be stopped."""
    trial = home.root / f"server.{os.getpid()}.trial"
    try:
        try:
            trial.write_bytes(bytes(TRIAL_BYTES))
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_record(home, error) from None


def cannot_record(home: Home, error: OSError) -> DaemonError:
    """Return the error for a home folder in which the system refused to write."""
    return DaemonError(
        f"A server in the background cannot be recorded in {home.root}",
        cause=error.strerror or str(error),
        suggestion=f"{writing_remedy(error, home.root)} A server in the foreground needs no record: studiolo serve.",
    )


def read_record(home: Home) -> DaemonRecord | None:
    """Return the record, of whatever process; ``None`` if there is none that is valid."""
    path = record_path(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=examined(DaemonRecord))
    except OSError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("ignored %s, which is not a record of a server: %s", path, error)
        return None


def process_of(record: DaemonRecord) -> psutil.Process | None:
    """Return the process of ``record``; ``None`` if it has ended."""
    try:
        process = psutil.Process(record.pid)
        same = abs(process.create_time() - record.created) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError, OverflowError):
        return None
