"""A program that is an MCP server: started, spoken to over standard input and output, and ended with all it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO, Any

from ..errors import LocalFileError
from ..paths import Home
from ..platform.processes import close_pipes, kill, start_child, terminate, wait_for_exit
from .config import ServerConfig
from .environment import program_environment

END_SEC = 2.0
"""How long a program may take to end when its standard input is closed, and then when it gets SIGTERM."""

INTERRUPTED_END_SEC = 0.4
"""How long a program may take to end after SIGTERM where the caller does not wait."""

MAX_MESSAGE_BYTES = 64 * 2**20
"""The longest line that a program may write."""

_WITHOUT_PASSWORDS = """\
studiolo passes these variables without the user names and passwords in their addresses: {}. To pass one whole, name it
in the server's "env", as in "HTTPS_PROXY": "${{HTTPS_PROXY}}"."""


class Program:
    """The program of a server.

    Parameters:
        name: the server's.
        config: its settings, with references replaced.
    """

    def __init__(self, name: str, config: ServerConfig) -> None:
        self._log_path: Path | None = None
        self._log_is_temporary = False
        self._log_is_named = False
        self._name = name
        self._config = config

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncGenerator[tuple[Any, Any]]:
        """Start the program and yield the streams of its messages, in the form of the ``mcp`` package.

        Raises:
            OSError: it cannot be started.
        """
        import anyio

        with self._open_log() as log:
            environment, shortened = program_environment(self._config.env)
            if shortened:
                _write_to(log, _WITHOUT_PASSWORDS.format(", ".join(shortened)))
            command = self._config.command or ""
            process = await start_child(
                shutil.which(command, path=environment.get("PATH"))
                or command,  # Windows needs the whole name of npx.cmd
                *self._config.args,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env=environment,
                cwd=self._config.cwd,
            )
            into_session, received = anyio.create_memory_object_stream[Any](0)
            sent, from_session = anyio.create_memory_object_stream[Any](0)
            tasks = [
                asyncio.create_task(_read(process, into_session, log), name=f"read the MCP server {self._name}"),
                asyncio.create_task(_write(process, from_session, into_session), name=f"write to {self._name}"),
            ]
            try:
                yield received, sent
            finally:
                ended = asyncio.ensure_future(_end(process, tasks))
                try:
                    await asyncio.shield(ended)
                except asyncio.CancelledError:
                    terminate(process)
                    try:
                        await wait_for_exit(process, INTERRUPTED_END_SEC)
                    finally:
                        kill(process)
                    await asyncio.wait([ended], timeout=END_SEC)
                    raise
                finally:
                    for stream in (into_session, received, sent, from_session):
                        stream.close()

    @property
    def log_hint(self) -> str | None:
        """A sentence that says where the log is, for an error; the log is kept from then on."""
        self._log_is_named = True
        return None if self._log_path is None else f"Its log is {self._log_path}."

    def discard_log(self) -> None:
        """Remove the log if it lies in the temporary folder and no error has named it."""
        if self._log_path is not None and self._log_is_temporary and not self._log_is_named:
            with contextlib.suppress(OSError):
                self._log_path.unlink()

    def _open_log(self) -> IO[bytes]:
        """Open the log of the program's standard error: under the home, else in the temporary folder, else nowhere."""
        file_name = f"mcp-{re.sub(r'[^A-Za-z0-9._-]+', '_', self._name)[-60:]}.log"
        with contextlib.suppress(OSError, LocalFileError):
            folder = Home.default().logs
            folder.mkdir(parents=True, exist_ok=True)
            log = (folder / file_name).open("wb", buffering=0)
            self._log_path = folder / file_name
            return log
        with contextlib.suppress(OSError):
            file, path = tempfile.mkstemp(suffix=f"-{file_name}", prefix="studiolo-")
            self._log_path, self._log_is_temporary = Path(path), True
            return os.fdopen(file, "wb", buffering=0)
        return Path(os.devnull).open("wb", buffering=0)


async def _read(process: Process, into_session: Any, log: IO[bytes]) -> None:
    """Pass on the program's messages. Lines that are none go to the log, beside its standard error."""
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    assert process.stdout is not None
    waiting = bytearray()
    async with into_session:
        while chunk := await process.stdout.read(2**16):
            waiting += chunk
            if b"\n" not in chunk:
                if len(waiting) > MAX_MESSAGE_BYTES:
                    _write_to(log, f"studiolo closes the connection: a message of more than {MAX_MESSAGE_BYTES} bytes")
                    return
                continue
            *lines, rest = bytes(waiting).split(b"\n")
            waiting = bytearray(rest)
            for line in lines:
                try:
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    _write_to(log, line.decode(errors="replace"))
                    continue
                try:
                    await into_session.send(SessionMessage(message))
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    while await process.stdout.read(2**16):  # a program whose pipe is full could not end
                        pass
                    return


def _write_to(log: IO[bytes], line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk
        log.write(line.encode() + b"\n")


async def _write(process: Process, from_session: Any, into_session: Any) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        async with from_session:
            async for each in from_session:
                text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(text.encode() + b"\n")
                await process.stdin.drain()
        return
    await into_session.aclose()  # the program reads no more: the session must not wait for its answers


async def _end(process: Process, tasks: list[asyncio.Task[None]]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        for end in (terminate, kill):  # a program like docker ends what it runs elsewhere when it gets SIGTERM
            if await wait_for_exit(process, END_SEC):
                return
            end(process)
        await wait_for_exit(process, END_SEC)
    finally:
        close_pipes(process)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
