"""Run pip or the hub's client in a child process, which can be stopped at any moment."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import resources

from ...errors import EngineStartError
from ...platform.interpreter import interpreter, python_command
from ...platform.processes import kill, start_child
from ..disk_threads import TICK_SECONDS
from .base import SourceUnavailable

_FULL = os.strerror(errno.ENOSPC)

_WORKER = "_worker.py"


async def run_worker(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[bytes], None] | None = None,
    on_tick: Callable[[], None] | None = None,
) -> None:
    """Run the worker to its end. When this is cancelled, the worker and its child processes are killed.

    Parameters:
        arguments: the worker's arguments.
        environment: variables to add to those of this process.
        on_line: called with each line of the worker's standard output.
        on_tick: called every tenth of a second.

    Raises:
        SourceUnavailable: the worker failed; the reason is its own message.
        OSError: it failed because the disk is full.
    """
    try:
        interpreter()
    except EngineStartError as error:
        raise SourceUnavailable("this program has no Python interpreter to run it with") from error
    with resources.as_file(resources.files(__package__ or "") / _WORKER) as worker:  # a copy where it is in an archive
        await _run(python_command(str(worker), *arguments), environment, on_line, on_tick)


async def _run(
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    on_line: Callable[[bytes], None] | None,
    on_tick: Callable[[], None] | None,
) -> None:
    process = await start_child(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    assert process.stdout is not None and process.stderr is not None
    errors = bytearray()
    readers = (
        asyncio.ensure_future(_lines(process.stdout, on_line or (lambda _: None))),
        asyncio.ensure_future(_lines(process.stderr, errors.extend)),
    )
    try:
        while (await asyncio.wait(readers, timeout=TICK_SECONDS))[1]:
            if on_tick is not None:
                on_tick()
        code = await process.wait()
        for reader in readers:
            reader.result()
    finally:
        kill(process)
        await process.wait()
        await asyncio.gather(*readers, return_exceptions=True)
        if process.stdin is not None:
            process.stdin.close()
    if code:
        output = errors.decode(errors="replace")
        if _FULL in output or f"[Errno {errno.ENOSPC}]" in output:
            raise OSError(errno.ENOSPC, _FULL)
        raise SourceUnavailable(_reason(output, code))


async def _lines(stream: asyncio.StreamReader, on_line: Callable[[bytes], None]) -> None:
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # a line beyond the stream's limit, which is no answer of the worker
            continue
        if not line:
            return
        on_line(line)


def _reason(output: str, code: int) -> str:
    """Return the lines that explain a failure: pip's errors, else the last ones."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    chosen = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines
    return " ".join(chosen[-3:])[-800:] or f"it exited with code {code} and no message"
