"""What the tests of faults share: a server to harm, a bystander that must not notice, and a count of what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import studiolo as lm
from studiolo.paths import Home
from tests.support.homes import ENDLESS, link_models
from tests.support.running import Server, environment, has_ended, serving, wait_until, workers_of

MODEL = "smollm2-135m-instruct"
SMALL = {"context_length": 512, "max_parallel_predictions": 2}
COUNT = "1 2 3 4 5 6 7"

SETTINGS = """
[limits]
health_interval_sec = 0.3
health_limit_sec = 12
crash_limit = 4
quarantine_sec = 600
"""


BYSTANDER = "bystander"
"""The same model under another name."""


@contextlib.contextmanager
def harmed(cache_home: Home, folder: Path, settings: str = SETTINGS) -> Iterator[Server]:
    """A server with a bystander loaded, in a home of its own."""
    home = Home(folder / "home")
    home.root.mkdir(parents=True)
    link_models(cache_home, home)
    link = home.models / "tests" / BYSTANDER / f"{BYSTANDER}.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(next(home.models.rglob("SmolLM2*.gguf")))
    home.settings.write_text(settings)
    with serving(home, folder, "--no-load") as server:
        with lm.Client(server.address) as client:
            answer(client.llm.load_new_instance(BYSTANDER, config=SMALL))
        yield server


def status_of(client: lm.Client, identifier: str) -> Any:
    """Return what the host reports of an instance; ``None`` if there is no such instance."""
    about = client.system.info().studiolo
    assert about is not None
    return next((each for each in about.instances if each.identifier == identifier), None)


def pid_of(client: lm.Client, identifier: str) -> int:
    """The engine process of an instance."""
    pid = getattr(status_of(client, identifier), "pid", None)
    assert isinstance(pid, int)
    return pid


def kill_engine(client: lm.Client, identifier: str, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(pid_of(client, identifier), number)


WORDS = (" the", " and", " of", " in", " to", " is", " you")
"""Each is a token of the model, in any text of them."""


def circle(llm: lm.LLM) -> dict[str, Any]:
    """A prediction config with which the answer is ``WORDS`` in a circle, the last of them first.

    What an engine computes beside depends, in the last digits, on what else it computes at once and on what it has read
    before. Where such a digit may decide on a word, texts cannot be compared: here each word is forced by far, and
    forbidden for as long as it is one of the last.
    """
    forced = [(llm.tokenize(word)[0], 1000.0 + 50 * place) for place, word in enumerate(WORDS)]
    return {"temperature": 0, "repeat_penalty": 2, "penalty_tokens": len(WORDS) - 1, "logit_bias": forced}


def answer(llm: lm.LLM, tokens: int = 16) -> str:
    """A short completion, the same each time."""
    return llm.complete("Once upon a time", config={"temperature": 0, "max_tokens": tokens}).content


@contextlib.contextmanager
def undisturbed(address: str) -> Iterator[None]:
    """A bystander predicts on its own engine while the block lasts, and must always get the same text."""
    texts: list[str] = []
    faults: list[BaseException] = []
    done = threading.Event()
    with lm.Client(address) as client:
        llm = client.llm.model(BYSTANDER)
        expected, pid = answer(llm), pid_of(client, llm.identifier)

        def predict() -> None:
            try:
                while not done.is_set():
                    texts.append(answer(llm))
                    time.sleep(0.3)  # it is there to notice, not to keep the processor busy
            except BaseException as error:
                faults.append(error)

        thread = threading.Thread(target=predict)
        thread.start()
        try:
            yield
            heard = len(texts)
            wait_until(lambda: len(texts) > heard or faults, "the bystander's next answer")
        finally:
            done.set()
            thread.join()
            after = pid_of(client, llm.identifier)
        assert not faults, faults
        assert set(texts) == {expected}
        assert after == pid


@dataclass(frozen=True)
class Footprint:
    """What a process holds."""

    processes: int
    open_files: tuple[str, ...]
    memory: int

    @property
    def files(self) -> int:
        return len(self.open_files)


def footprint(pid: int) -> Footprint:
    process = psutil.Process(pid)
    children = [child for child in process.children(recursive=True) if not has_ended(child)]
    return Footprint(len(children), open_files(pid), process.memory_info().rss)


def open_files(pid: int) -> tuple[str, ...]:
    """Return the descriptors that a process has open, each with what it refers to."""
    found: list[str] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(f"{entry.name} {entry.readlink()}")
    return tuple(sorted(found))


MEMORY_SLACK = 48 << 20
"""Bytes that a server may have grown by: allocators keep what they once had."""


@contextlib.contextmanager
def nothing_left(pid: int) -> Generator[None, None, None]:
    """Processes and open files are as before when the block is over, and memory nearly so."""
    before = after = footprint(pid)
    yield

    def settled() -> bool:
        nonlocal after  # the one that passes counts: the next may find a connection of a health check
        after = footprint(pid)
        return after.processes == before.processes and after.files <= before.files

    with contextlib.suppress(AssertionError):
        wait_until(settled, "the server to let go", 60)
    assert after.processes == before.processes, psutil.Process(pid).children(recursive=True)
    assert after.files <= before.files, set(after.open_files) ^ set(before.open_files)
    assert after.memory - before.memory < MEMORY_SLACK


def kill_while_it_streams(home: Home) -> None:
    """Kill a program in the middle of a stream of its embedded host, and wait until its engine has ended, too."""
    program = f"""
import studiolo as lm
llm = lm.Client("embedded").llm.model({MODEL!r}, config={SMALL!r})
for _ in llm.complete_stream({COUNT!r}, config={ENDLESS!r}):
    print("begun", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment(home)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        workers = workers_of(process.pid)
        assert len(workers) == 1
        process.kill()
    wait_until(lambda: all(map(has_ended, workers)), "the engine to end")
