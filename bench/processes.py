"""Processes of the benchmark, stopped on every exit of it."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

STOP_LIMIT_SEC = 10.0

PYTHON = (sys.executable, "-P")
"""``-P``: import installed packages, not those in the current folder."""


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


@dataclass
class Server:
    """A running ``studiolo serve``. Times are seconds from its start."""

    process: subprocess.Popen[str]
    address: str
    listening_after: float
    loaded_after: float | None


@contextlib.contextmanager
def running(command: list[str], *, environment: Mapping[str, str] | None = None) -> Generator[subprocess.Popen[str]]:
    """Yield a process with pipes for its output and errors, which ignores the terminal's Ctrl-C."""
    process = subprocess.Popen(
        [*PYTHON, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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


@contextlib.contextmanager
def serving(model: str | None = None) -> Generator[Server]:
    """Yield a server on a free port, with ``model`` once that is loaded."""
    began = time.perf_counter()
    load = ["--model", model] if model else ["--no-load"]
    with running(["-m", "studiolo", "serve", "--port", "0", *load]) as process:
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


def worker_socket(pid: int) -> Path:
    """Return the socket of the only worker of the host in process ``pid``."""
    sockets = list(Path(tempfile.gettempdir()).glob(f"studiolo-sockets-{pid}-*/*.sock"))
    if len(sockets) != 1:
        raise RuntimeError(f"process {pid} has {len(sockets)} workers, not one")
    return sockets[0]
