"""Real processes for the tests: a server, its workers, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from studiolo.paths import Home
from tests.support.recording import wire_recorder

WORKER = "studiolo.engines.llama_cpp.worker"
STUDIOLO = [sys.executable, "-m", "studiolo"]

PATIENCE_SEC = 60.0


def environment(home: Home, **more: str) -> dict[str, str]:
    """This process's environment, with another home and no host named."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("STUDIOLO_HOST", "STUDIOLO_DEBUG")}
    return {**inherited, "STUDIOLO_HOME": str(home.root), "PYTHONUNBUFFERED": "1", **more}


def printed_by(home: Home, *command: str, folder: Path, **variables: str) -> str:
    """Run Python with ``command`` in ``folder``, as a program with an embedded host; return what it prints."""
    plain = {name: value for name, value in environment(home, **variables).items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**plain, "STUDIOLO_HOST": "embedded"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_until(condition: Callable[[], object], what: str, limit_sec: float = PATIENCE_SEC) -> None:
    """Wait for ``condition``; fail, saying ``what`` was waited for, when it takes too long."""
    end = time.monotonic() + limit_sec
    while not condition():
        assert time.monotonic() < end, f"waited {limit_sec} s in vain for {what}"
        time.sleep(0.02)


def command_of(process: psutil.Process) -> list[str]:
    """The command line of a process; none if it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def workers_of(pid: int) -> list[psutil.Process]:
    """The engine processes that the process ``pid`` has started."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found: list[psutil.Process] = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            if WORKER in child.cmdline():
                found.append(child)
    return found


KEPT_WORKERS = {"studiolo.engines.chat_templates.worker", "studiolo.engines.schemas.worker"}
"""Workers that a host keeps for its next request."""


def children_of(pid: int) -> list[psutil.Process]:
    """The processes that the process ``pid`` has started, without the workers that it keeps."""
    return [child for child, is_kept in _children(pid) if not is_kept]


def kept_workers_of(pid: int) -> list[psutil.Process]:
    """The workers that the host in the process ``pid`` keeps for its next request."""
    return [child for child, is_kept in _children(pid) if is_kept]


def _children(pid: int) -> Iterator[tuple[psutil.Process, bool]]:
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            yield child, bool(KEPT_WORKERS.intersection(child.cmdline()))


def children() -> set[int]:
    """The processes that this one has started; those of other tests' hosts are among them."""
    return {child.pid for child in children_of(os.getpid())}


def processor_sec(pid: int) -> float:
    """The processor time of the process ``pid`` and of all that it has started, those that have ended among them."""
    process = psutil.Process(pid)
    spent = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            spent += sum(child.cpu_times()[:4])
    return spent


def started_by_tests() -> dict[psutil.Process, str]:
    """The processes that this one has started and that still run, with those that they have started; and by which test.

    Some have another parent by now. All of them inherited the name of the file that sent frames are recorded in.
    """
    ours = os.environ[wire_recorder.VARIABLE]
    found: dict[psutil.Process, str] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            variables = process.environ()
            if variables.get(wire_recorder.VARIABLE) == ours and process.pid != os.getpid() and not has_ended(process):
                found[process] = variables.get("PYTEST_CURRENT_TEST", "")
    return found


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or waits only for its parent to notice."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    """A port of loopback that nothing listens on: none of those that a system gives to others who ask for any."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def script(path: Path, text: str) -> Path:
    """Write a program that can be executed."""
    path.write_text(text)
    path.chmod(0o755)
    return path


@dataclass
class Server:
    """A ``studiolo serve`` in a process of its own."""

    process: subprocess.Popen[str]
    address: str
    """``host:port``, or an ``https`` URL."""
    sdk_port: int
    """0 where it does not listen on one."""
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def workers(self) -> list[psutil.Process]:
        return workers_of(self.pid)

    def said(self) -> str:
        return self.log.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_SEC)


@contextlib.contextmanager
def serving(
    home: Home, folder: Path, *options: str, sdk_port: bool = False, program: Sequence[str] = STUDIOLO
) -> Iterator[Server]:
    """Run ``studiolo serve`` on a free port, until the block is left.

    With ``sdk_port``, also where clients without an address look: one server of a machine at a time.
    """
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [*program, "serve", "--port", "0", *options]
    command.append("--sdk-port" if sdk_port else "--no-sdk-port")
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment(home), stdout=out, stderr=out, text=True)
    try:
        pattern = re.compile(r"serves at (?:http://)?([^\s;]+:\d+)(?:; LM Studio's SDKs find it at port (\d+))?")
        wait_until(lambda: pattern.search(log.read_text()) or process.poll() is not None, "the server to listen")
        match = pattern.search(log.read_text())
        assert match is not None, log.read_text()
        yield Server(process, match[1], int(match[2] or 0), log)
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(PATIENCE_SEC)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
