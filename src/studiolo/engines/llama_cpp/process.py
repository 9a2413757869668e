"""The worker as an OS process: started, watched, ended; its log kept."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from asyncio.subprocess import PIPE, Process
from typing import Any

import msgspec

from ...errors import EngineDiedError, EngineError, EngineStartError
from ...platform.interpreter import python_command
from ...platform.processes import kill, signal_name, start_child, terminate
from ...struct_types import examined
from ..log_file import LogFile

STOP_LIMIT_SEC = 3.0
"""How long a worker may take to end before it is killed."""

LOG_TAIL_LINES = 8

LOG_TRIM_INTERVAL_SEC = 30.0


_OFFLOADED = re.compile(rb"offloaded (\d+)/\d+ layers to GPU")


class _Answer(msgspec.Struct):
    ready: bool = False
    error: str | None = None
    gpu_layers: int | None = None


class WorkerProcess:
    """One worker. ``exited`` is set within milliseconds of its end, whatever ended it."""

    def __init__(self, process: Process, log: LogFile) -> None:
        self._process = process
        self._log = log
        self._stopping = False
        self._aborted: str | None = None
        self.exited = asyncio.Event()
        self.gpu_layers: int | None = None
        self._watcher = asyncio.create_task(self._watch(), name=f"watch worker {process.pid}")

    @classmethod
    async def spawn(cls, spec: dict[str, Any], log: LogFile, module: str = "engines.llama_cpp.worker") -> WorkerProcess:
        """Start a worker and hand it its ``spec``; :meth:`wait_ready` waits for it.

        Parameters:
            log: takes what it prints; closed when it has ended.
            module: the module below the package that Python runs; it reads the spec, and ends with this process.
        """
        try:
            process = await start_child(
                *python_command(module),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log.fileno(),
            )
        except BaseException:
            log.close()
            raise
        worker = cls(process, log)
        assert process.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):  # it has ended already; wait_ready raises the error
            process.stdin.write(msgspec.json.encode({**spec, "parent_pid": os.getpid()}) + b"\n")
        return worker

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait_ready(self, limit_sec: float) -> None:
        """Wait until the model is loaded, ``limit_sec`` at most. Raises :class:`EngineStartError`."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit_sec):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise self.late(limit_sec) from None
        if not line:
            await self.exited.wait()
            raise self.ended_early()
        try:
            answer = msgspec.json.decode(line, type=examined(_Answer))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            answer = _Answer(error=f"Its report cannot be read: {error}")
        if not answer.ready:
            with contextlib.suppress(TimeoutError):  # its log is whole when it has ended
                async with asyncio.timeout(STOP_LIMIT_SEC):
                    await self.exited.wait()
            raise EngineStartError(
                "The engine could not load the model",
                cause=f"{answer.error}\n{self._log_tail()}",
                suggestion=f"The whole log is in {self._log.path}.",
            )
        self.gpu_layers = answer.gpu_layers

    def read_gpu_layers(self) -> None:
        """Read from the log of a llama-server how many layers it has put on GPUs; it says nothing without one."""
        with contextlib.suppress(OSError):
            found = self._log.search(_OFFLOADED)
            self.gpu_layers = int(found[1]) if found else None

    def late(self, limit_sec: float) -> EngineStartError:
        """Return the error of a start that took longer than ``limit_sec``."""
        return EngineStartError(
            f"The engine did not load the model within {limit_sec:g} s",
            cause=self._log_tail(),
            suggestion=f"The whole log is in {self._log.path}.",
        )

    def ended_early(self) -> EngineStartError:
        """Return the error of a start during which the process ended."""
        return EngineStartError(
            f"The engine ended while it loaded the model ({self._how_it_ended()})",
            cause=self._log_tail(),
            suggestion=f"The whole log is in {self._log.path}.",
        )

    @property
    def exit_status(self) -> int | None:
        """The exit status; minus the number of the signal that ended it."""
        return self._process.returncode

    def death(self) -> EngineError:
        """Return the error for a caller whose request the end of the process cut off."""
        if self._stopping:
            return EngineDiedError("The model was unloaded while the prediction ran")
        if self._aborted is not None:
            return EngineDiedError(
                f"The engine process {self.pid} was ended: {self._aborted}",
                cause=self._log_tail(),
                suggestion="The next request restarts it.",
            )
        return EngineDiedError(
            f"The engine process {self.pid} ended unexpectedly ({self._how_it_ended()})",
            cause=self._log_tail(),
            suggestion=f"The next request restarts it. The whole log is in {self._log.path}.",
        )

    def abort(self, reason: str) -> None:
        """End the process at once, for ``reason``."""
        if not self.exited.is_set():
            self._aborted = reason
            kill(self._process)

    async def stop(self) -> None:
        """End the process, politely first."""
        self._stopping = True
        if not self.exited.is_set():
            terminate(self._process)
            try:
                async with asyncio.timeout(STOP_LIMIT_SEC):
                    await self.exited.wait()
            except TimeoutError:
                kill(self._process)
                await self.exited.wait()
        await self._watcher
        self._log.close()

    async def _watch(self) -> None:
        ended = asyncio.ensure_future(self._process.wait())
        while not (await asyncio.wait([ended], timeout=LOG_TRIM_INTERVAL_SEC))[0]:
            await asyncio.to_thread(self._log.trim)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.exited.set()

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code is None:
            return "still running"
        name = signal_name(code)
        return f"exit status {code}" if name is None else f"signal {name}"

    def _log_tail(self) -> str:
        try:
            lines = self._log.tail(LOG_TAIL_LINES)
        except OSError as error:
            return f"Its log cannot be read: {error}"
        return "Its last words:\n" + "\n".join(f"  {line}" for line in lines) if lines else "It left no log."
