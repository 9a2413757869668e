"""Programs of several processes that predict at the same time: pools of processes, and the workers of a web server."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from studiolo.paths import Home
from tests.support.running import environment, free_port, printed_by, wait_until, workers_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow, pytest.mark.quick_model]

PREDICT = """
import os
import studiolo as lm

MODEL = ("smollm2-135m-instruct", {"context_length": 256, "max_parallel_predictions": 1})
PROMPT, CALM = "My name is", {"max_tokens": 5, "temperature": 0}
"""

POOL = """
import concurrent.futures, multiprocessing, sys
from predict import *

def share(value):
    global barrier
    barrier = value

def work(_):
    with lm.Client("embedded") as client:
        llm = client.llm.model(MODEL[0], config=MODEL[1])
        barrier.wait(60)  # every worker has loaded the model by then
        text = llm.complete(PROMPT, config=CALM).content
        engine = client.system.info().studiolo.instances[0].pid
        barrier.wait(60)  # and none has ended
        return os.getpid(), engine, text

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    with lm.Client("embedded") as client:  # the parent has a host, a background loop and an engine of its own
        llm = client.llm.model(MODEL[0], config=MODEL[1])
        expected = llm.complete(PROMPT, config=CALM).content
        barrier = context.Barrier(2)
        with concurrent.futures.ProcessPoolExecutor(2, context, share, (barrier,)) as pool:
            found = list(pool.map(work, range(2)))
        processes, engines, texts = map(set, zip(*found))
        assert texts == {expected}, (texts, expected)
        assert len(processes | {os.getpid()}) == 3
        assert len(engines | {client.system.info().studiolo.instances[0].pid}) == 3
        assert llm.complete(PROMPT, config=CALM).content == expected
    print(len(texts))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_process_of_a_pool_predicts_beside_the_others(method: str, home: Home, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(PREDICT)
    (tmp_path / "pool.py").write_text(POOL)
    assert printed_by(home, "pool.py", method, folder=tmp_path) == "1"


APP = """
import contextlib
from litestar import Litestar, get
from litestar.datastructures import State
from predict import *

@contextlib.asynccontextmanager
async def lifespan(app):
    async with lm.AsyncClient("embedded") as client:
        app.state.llm = await client.llm.model(MODEL[0], config=MODEL[1])
        app.state.engine = (await client.system.info()).studiolo.instances[0].pid
        yield

@get("/async")
async def of_the_loop(state: State) -> dict[str, int | str]:
    text = (await state.llm.complete(PROMPT, config=CALM)).content
    return {"worker": os.getpid(), "engine": state.engine, "text": text}

@get("/sync", sync_to_thread=True)
def of_a_thread(state: State) -> dict[str, int | str]:
    text = lm.llm(MODEL[0]).complete(PROMPT, config=CALM).content
    return {"worker": os.getpid(), "engine": state.engine, "text": text}

app = Litestar([of_the_loop, of_a_thread], lifespan=[lifespan])
"""


def test_every_worker_of_a_web_server_predicts_beside_the_others(home: Home, tmp_path: Path) -> None:
    (tmp_path / "predict.py").write_text(PREDICT)
    (tmp_path / "web_app.py").write_text(APP)
    url = f"http://127.0.0.1:{(port := free_port())}"
    options = ["--workers", "2", "--port", str(port), "--log-level", "warning"]
    variables = environment(home, STUDIOLO_HOST="embedded")
    server = subprocess.Popen([sys.executable, "-m", "uvicorn", "web_app:app", *options], cwd=tmp_path, env=variables)
    found: list[dict[str, Any]] = []

    def ask(path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{url}/{path}", timeout=60) as answer:
            return json.load(answer)

    def both_have_answered() -> bool:
        assert server.poll() is None
        with contextlib.suppress(ConnectionError, urllib.error.URLError):  # neither has loaded the model yet
            found.extend(pool.map(ask, ["async", "sync"] * 4))
        return len({answer["worker"] for answer in found}) == 2

    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            wait_until(both_have_answered, "an answer of each worker", 60)
        assert len({answer["text"] for answer in found}) == 1 and found[0]["text"]
        engines = {(answer["worker"], answer["engine"]) for answer in found}
        assert len(engines) == 2 and {engine for _, engine in engines} == {each.pid for each in workers_of(server.pid)}
    finally:
        server.terminate()
        server.wait(30)
