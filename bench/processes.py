"""Processes of the benchmark, stopped on every exit of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from .streams import Connect, tcp

STOP_LIMIT_SEC = 10.0
START_LIMIT_SEC = 120.0

PYTHON = (sys.executable, "-P")
"""``-P``: import installed packages, not those in the current folder."""

WHEEL_SERVER = Path(__file__).with_name("wheel_server.py")


@contextlib.contextmanager
def bytecode_cached() -> Generator[None]:
    """Let child processes cache their compiled modules, as an installation does, in any environment."""
    names = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
    before = {name: os.environ.pop(name, None) for name in names}
    with tempfile.TemporaryDirectory(prefix="studiolo-bench-") as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        try:
            yield
        finally:
            del os.environ["PYTHONPYCACHEPREFIX"]
            os.environ.update({name: value for name, value in before.items() if value is not None})


@contextlib.contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, stderr: Any = subprocess.PIPE
) -> Generator[subprocess.Popen[str]]:
    """Yield a process with pipes for its input and output, which ignores the terminal's Ctrl-C."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_LIMIT_SEC)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@dataclass(frozen=True)
class LlamaServer:
    """A running llama-server.

    Parameters:
        pid: the process.
        address: where it listens.
        ready_after: seconds from its start.
    """

    pid: int
    address: str
    ready_after: float

    @property
    def connect(self) -> Connect:
        """Return the way to connect to it."""
        return tcp(self.address)


@contextlib.contextmanager
def wheel_server(model: Path, *, environment: Mapping[str, str] | None = None, **params: Any) -> Generator[LlamaServer]:
    """Yield the wheel's llama-server with its own defaults, but for ``params`` (a dot is written ``__``)."""
    given = json.dumps({name.replace("__", "."): value for name, value in params.items()})
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        command = [*PYTHON, str(WHEEL_SERVER), str(model), given]
        with running(command, environment=environment, stderr=log) as process:
            line = _line(process)
            if not line.startswith("http"):
                log.seek(0)
                raise RuntimeError(f"the wheel's server did not start:\n{log.read()[-2000:]}")
            address = line.partition("://")[2]
            yield LlamaServer(process.pid, address, time.perf_counter() - began)


@contextlib.contextmanager
def other_server(command: Sequence[str], path: str, named: str) -> Generator[LlamaServer]:
    """Yield a server of another program.

    Parameters:
        command: how it is started; ``{port}`` stands for the port.
        path: answers with status 200 when the model is loaded.
        named: the server, for errors.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        with running([each.replace("{port}", str(port)) for each in command], stderr=log) as process:
            server = LlamaServer(process.pid, f"127.0.0.1:{port}", 0.0)
            while not _answers(server, path):
                if process.poll() is not None or time.perf_counter() - began > START_LIMIT_SEC:
                    log.seek(0)
                    raise RuntimeError(f"{named} did not start:\n{log.read()[-2000:]}")
                time.sleep(0.02)
            yield LlamaServer(process.pid, server.address, time.perf_counter() - began)


def _answers(server: LlamaServer, path: str) -> bool:
    connection = server.connect()
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _line(process: subprocess.Popen[str]) -> str:
    """Return the next line of a process, or nothing if none comes in time."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return process.stdout.readline().strip() if selector.select(START_LIMIT_SEC) else ""


@dataclass
class Server:
    """A running ``studiolo serve``. Times are seconds from its start."""

    process: subprocess.Popen[str]
    address: str
    listening_after: float
    loaded_after: float | None


@contextlib.contextmanager
def serving(model: str | None = None, *, environment: Mapping[str, str] | None = None) -> Generator[Server]:
    """Yield a server on a free port, with ``model`` once it is loaded."""
    began = time.perf_counter()
    load = ["--model", model] if model else ["--no-load"]
    with running([*PYTHON, "-m", "studiolo", "serve", "--port", "0", *load], environment=environment) as process:
        assert process.stderr is not None
        server: Server | None = None
        said: list[str] = []
        for line in process.stderr:
            now = time.perf_counter() - began
            said.append(line)
            if found := re.search(r"serves at http://([\d.]+:\d+)", line):
                server = Server(process, found[1], now, None)
            if "No model is loaded" in line:
                break
            if server and (not model or "is loaded." in line):
                server.loaded_after = now if model else None
                yield server
                return
        raise RuntimeError("the server did not start:\n" + "".join(said))


def worker_sockets(pid: int) -> set[Path]:
    """Return the sockets of the workers of the host in process ``pid``."""
    return set(Path(tempfile.gettempdir()).glob(f"studiolo-sockets-{pid}-*/*.sock"))


def worker_socket(pid: int) -> Path:
    """Return the socket of the only worker of the host in process ``pid``."""
    sockets = worker_sockets(pid)
    if len(sockets) != 1:
        raise RuntimeError(f"process {pid} has {len(sockets)} workers, not one")
    return sockets.pop()


def engine_processes(pid: int) -> list[psutil.Process]:
    """Return the engines among the descendants of a host's process."""
    found: list[psutil.Process] = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            own = any("llama_cpp.worker" in word or "llama_cpp/worker" in word for word in words)
            if own or (words and Path(words[0]).name == "llama-server"):
                found.append(process)
    return found


def processor_seconds(*pids: int) -> float:
    """Return the processor time that processes have used so far."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


@contextlib.contextmanager
def busy(count: int = 1) -> Iterator[list[int]]:
    """Keep ``count`` cores busy meanwhile; yield the processes that do."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
