"""The engine that runs a user's own ``llama-server``, and the bundled one where that cannot be run here."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import socket
from typing import TYPE_CHECKING

from ...errors import EngineError
from ..base import Engine, EngineSpec
from ..llama_cpp.engine import LlamaCppEngine, check_drafting, give_up
from ..llama_cpp.process import WorkerProcess
from ..llama_cpp.reading import following
from .binary import NAME, Binary, UnusableBinaryError, how_it_died, inspect
from .options import options

if TYPE_CHECKING:
    from ..llama_cpp.client import LlamaServerClient

POLL_SEC = 0.05

_log = logging.getLogger("studiolo.engines")


class LlamaServerEngine(LlamaCppEngine):
    """A ``llama-server`` binary, over a Unix socket; over loopback with a random key where it has no such sockets."""

    name = NAME

    @classmethod
    async def start(cls, spec: EngineSpec) -> Engine:
        """See :meth:`studiolo.engines.base.Engine.start`.

        A binary that is missing, cannot be executed, is no llama-server or dies with an illegal instruction gives way
        to the bundled engine; the engine's ``note`` and the log say so.
        """
        try:
            binary = await inspect(spec.binary)
            return await cls._start_binary(binary, spec)
        except UnusableBinaryError as error:
            note = f"the bundled engine runs instead of a llama-server: {error}"
            _log.warning("%s", note)
            engine = await LlamaCppEngine.start(spec)
            engine.note = note
            return engine

    @classmethod
    async def _start_binary(cls, binary: Binary, spec: EngineSpec) -> LlamaServerEngine:
        command = [binary.path, *options(binary, spec)]
        environment: dict[str, str] = {}
        address = key = None
        if binary.unix_sockets:
            spec.socket_path.unlink(missing_ok=True)
            command += ["--host", str(spec.socket_path)]
        else:
            port, key = _free_port(), secrets.token_urlsafe(24)
            command += ["--host", "127.0.0.1", "--port", str(port)]
            environment["LLAMA_API_KEY"] = key  # an option would be there for all to see
            address = f"http://127.0.0.1:{port}"
        worker = await WorkerProcess.spawn(
            {"command": command, "environment": environment, "socket": str(spec.socket_path)},
            spec.log_path,
            module="studiolo.engines.llama_server.launch",
        )
        client: LlamaServerClient | None = None
        try:
            from ..llama_cpp.client import LlamaServerClient

            client = LlamaServerClient(spec.socket_path, spec.config.context_length, address=address, api_key=key)
            async with following(worker.pid, spec):
                await _wait_ready(worker, client, binary, spec.start_limit_sec)
            await check_drafting(client, spec)
        except BaseException:
            await give_up(worker, client, spec)
            raise
        engine = cls(worker, client, spec)
        engine.version = binary.version
        engine.limits_reasoning = "--reasoning-budget-message" in binary.options
        engine.llguidance = binary.llguidance
        return engine


async def _wait_ready(worker: WorkerProcess, client: LlamaServerClient, binary: Binary, limit_sec: float) -> None:
    """Wait until it answers that the model is loaded.

    Raises:
        UnusableBinaryError: it died with an illegal instruction, or could not be executed.
        EngineStartError: it ended otherwise, or took too long.
    """
    try:
        async with asyncio.timeout(limit_sec):
            while not worker.exited.is_set():
                try:
                    await client.health()
                    return
                except (OSError, EngineError):
                    await asyncio.sleep(POLL_SEC)
    except TimeoutError:
        raise worker.late(limit_sec) from None
    status = worker.exit_status
    if status in (-signal.SIGILL, 126):
        raise UnusableBinaryError(f"{binary.path} {how_it_died(status)}")
    raise worker.ended_early()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
