"""A pool of worker processes that answer one request at a time, within limits; see :mod:`.worker_loop`."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process

from ..errors import EngineError
from .interpreter import PACKAGE, interpreter, python_command
from .processes import kill, start_child
from .worker_loop import ANSWER_HEAD, REQUEST_HEAD

MAX_ANSWER_BYTES = 2**29


class WorkerEndedError(Exception):
    """A worker ended, or took too long, before it answered: the request exceeded a limit."""


class WorkerPool:
    """Processes that run a module, started on demand, kept, and replaced when they have ended.

    Parameters:
        module: below this package; runs :func:`.worker_loop.serve`.
        size: requests at a time, each in a process of its own; others wait.
        answer_limit_sec: the longest wait for an answer on a busy machine; processor time has a limit of its own.
    """

    def __init__(self, module: str, *, size: int = 1, answer_limit_sec: float = 60.0) -> None:
        self._module = module
        self._answer_limit_sec = answer_limit_sec
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Process] = []
        self._requests: set[asyncio.Task[bytes]] = set()

    async def ask(self, request: bytes) -> bytes:
        """Return the answer of a worker.

        Raises:
            WorkerEndedError: the request exceeded a limit.
            EngineError: no worker can be started.
        """
        # If the caller is cancelled, the answer is still read, so that the next request does not receive it.
        task = asyncio.create_task(self._serve(request), name=f"request to {self._module}")
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """End the processes."""
        for request in list(self._requests):
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)
        while self._idle:
            await _end(self._idle.pop())

    async def _serve(self, request: bytes) -> bytes:
        async with self._turns:
            process = self._take_idle() or await self._start()
            try:
                async with asyncio.timeout(self._answer_limit_sec):
                    answer, is_last = await _exchange(process, request)
            except BaseException as error:
                await _end(process)
                if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError | ValueError):
                    raise WorkerEndedError from None
                raise
            if is_last:
                await _end(process)
            else:
                self._idle.append(process)
            return answer

    def _take_idle(self) -> Process | None:
        while self._idle:
            process = self._idle.pop()
            if process.returncode is None:
                return process
        return None

    async def _start(self) -> Process:
        process = await start_child(*python_command(self._module), stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        try:
            async with asyncio.timeout(self._answer_limit_sec):
                await _exchange(process, None)
        except BaseException as error:
            await _end(process)
            if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError | ValueError):
                raise EngineError(
                    "A worker process did not start",
                    cause=f"{interpreter()} -m {PACKAGE}.{self._module} did not respond.",
                    suggestion="Run that command to see its error.",
                ) from None
            raise
        return process


async def _exchange(process: Process, request: bytes | None) -> tuple[bytes, bool]:
    """Return the answer to a request, and whether the process ends after it."""
    assert process.stdin is not None and process.stdout is not None
    if request is not None:
        process.stdin.write(REQUEST_HEAD.pack(len(request)) + request)
        await process.stdin.drain()
    length, is_last = ANSWER_HEAD.unpack(await process.stdout.readexactly(ANSWER_HEAD.size))
    if length > MAX_ANSWER_BYTES:
        raise ValueError(f"an answer of {length} bytes")
    return await process.stdout.readexactly(length), is_last


async def _end(process: Process) -> None:
    kill(process)
    await process.wait()
