"""Real processes for the tests: a server, its workers, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from studiolo.paths import Home

WORKER = "studiolo.engines.llama_cpp.worker"
PATIENCE_SEC = 30.0


def link_models(source: Home, target: Home) -> None:
    """Give ``target`` the models of ``source``, and what is known of them."""
    for model in source.models.rglob("*.gguf"):
        link = target.models / model.relative_to(source.models)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(model)
    if source.state.exists():
        shutil.copy(source.state, target.state)


def new_home(folder: Path, source: Home, *models: Path) -> Home:
    """A home in ``folder`` with the models of ``source`` and ``models``, and none of other programs."""
    home = Home(folder / "home")
    home.root.mkdir()
    home.settings.write_text("[library]\nprograms = []\n")
    link_models(source, home)
    for model in models:
        link_model(model, home)
    return home


def short_answers(home: Home) -> None:
    """Bound the completions without a limit, which go on for as long as the model likes, by a small default context."""
    with home.settings.open("a") as settings:
        settings.write('[models."smollm2-135m-instruct"]\nload = { context_length = 1024 }\n')


def link_model(model: Path, home: Home, publisher: str = "tests") -> str:
    """Link the file ``model``, and its mmproj if it has one, into ``home``; returns its path in the models folder."""
    relative = f"{publisher}/{model.stem}-GGUF/{model.name}"
    link = home.models / relative
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(model)
    mmproj = model.with_name(f"mmproj-{model.name}")
    if mmproj.exists():
        link.with_name(mmproj.name).symlink_to(mmproj)
    return relative


def environment(home: Home, **more: str) -> dict[str, str]:
    """This process's environment, with another home and no host named."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("STUDIOLO_HOST", "STUDIOLO_DEBUG")}
    return {**inherited, "STUDIOLO_HOME": str(home.root), "PYTHONUNBUFFERED": "1", **more}


def wait_until(condition: Callable[[], object], what: str, limit_sec: float = PATIENCE_SEC) -> None:
    """Wait for ``condition``; fail, saying ``what`` was waited for, when it takes too long."""
    end = time.monotonic() + limit_sec
    while not condition():
        assert time.monotonic() < end, f"waited {limit_sec} s in vain for {what}"
        time.sleep(0.02)


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


def children() -> set[int]:
    """The processes that this one has started; those of other tests' hosts are among them."""
    return {child.pid for child in psutil.Process().children()}


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or waits only for its parent to notice."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@dataclass
class Server:
    """A ``studiolo serve`` in a process of its own."""

    process: subprocess.Popen[str]
    address: str
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
def serving(home: Home, folder: Path, *options: str, sdk_port: bool = False) -> Iterator[Server]:
    """Run ``studiolo serve`` on a free port, until the block is left.

    With ``sdk_port``, also where clients look that were told no address: one server of a machine at a time.
    """
    log = folder / f"serve-{time.monotonic_ns()}.log"
    command = [sys.executable, "-m", "studiolo", "serve", "--port", "0", *options]
    command.append("--sdk-port" if sdk_port else "--no-sdk-port")
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment(home), stdout=out, stderr=out, text=True)
    try:
        pattern = re.compile(r"serves at http://([^\s;]+:\d+)(?:; LM Studio's SDKs find it at port (\d+))?")
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
