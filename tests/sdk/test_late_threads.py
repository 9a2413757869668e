"""Threads that outlive the main thread, and functions of ``atexit``, use an embedded host as others do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading

import psutil
import pytest

import studiolo as lm
from studiolo.paths import Home
from studiolo.sdk import background
from tests.support.running import WORKER, environment, wait_until

pytestmark = pytest.mark.quick_model

HEAD = """
import asyncio, atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import studiolo as lm

C = {"max_tokens": 3, "temperature": 0}
last_line = threading.Event()

def say(line):
    "Write a line at once: print() writes its end apart, and threads write side by side."
    sys.stdout.write(line + "\\n")
    sys.stdout.flush()

def after_main(work):
    last_line.wait()
    time.sleep(0.5)
    say(work())
"""

LATE = (
    HEAD
    + """
model = lm.llm()
pool = ThreadPoolExecutor(1)

def nap() -> str:
    "Take a nap."
    return "rested"

def act():
    longer = {**C, "max_tokens": 60}
    return f"act {model.act('Nap.', [nap], tool_choice='required', max_prediction_rounds=2, config=longer).rounds}"

async def with_async_client():
    async with lm.AsyncClient("embedded") as client:
        return f"async {len((await (await client.llm.model()).complete('hi', config=C)).content) > 0}"

def streamed():
    stream = model.complete_stream("1 2 3", config={"max_tokens": 40, "temperature": 0})
    for number, _ in enumerate(stream):
        if number == 0:
            started.set()
            last_line.wait()
    return f"stream {stream.result().stats.predicted_tokens_count}"

started = threading.Event()
for work in (act, lambda: asyncio.run(with_async_client())):
    threading.Thread(target=after_main, args=(work,)).start()
threading.Thread(target=lambda: say(streamed())).start()
pool.submit(after_main, lambda: f"pool {len(model.complete('hi', config=C).content) > 0}")
atexit.register(lambda: say(f"atexit {len(model.complete('hi', config=C).content) > 0}"))
started.wait(30)
last_line.set()
"""
)

FIRST = (
    HEAD
    + """
def early():
    try:
        say(f"early {lm.llm().complete('hi', config=C).content != ''}")
    except lm.LMStudioError as error:
        say(f"early {type(error).__name__}")

atexit.register(early)
first = lambda: f"first {len(lm.llm().complete('hi', config=C).content) > 0}"
threading.Thread(target=after_main, args=(first,)).start()
last_line.set()
"""
)


def engines_of(home: Home) -> list[int]:
    found: list[int] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if WORKER in process.cmdline() and process.environ().get("STUDIOLO_HOME") == str(home.root):
                found.append(process.pid)
    return found


def run(program: str, home: Home) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(home, STUDIOLO_HOST="embedded"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    wait_until(lambda: not engines_of(home), "the engines to end")
    return sorted(done.stdout.splitlines())


@pytest.mark.model
def test_threads_that_outlive_the_main_thread_get_their_answers(home: Home) -> None:
    assert run(LATE, home) == ["act 2", "async True", "atexit True", "pool True", "stream 40"]


@pytest.mark.model
def test_a_late_thread_may_be_the_first_to_use_the_host(home: Home) -> None:
    assert run(FIRST, home) == ["early UsageError", "first True"]


def test_stub_where_no_thread_can_be_started_the_error_is_not_a_raw_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 and later refuse it in functions of ``atexit``."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(background, "_background", None)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(lm.UsageError, match="The program is ending"):
        background.loop()
    assert background._background is None
