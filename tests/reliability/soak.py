"""A soak test: clients of every kind on one server while its engines are killed, and what the server grows by.

``python -m tests.reliability.soak --minutes 20`` prints a report and exits with status 1 if an answer was lost or
wrong, a process was left, or the server has grown. ``make soak`` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import lmstudio
import msgspec
import psutil
from websockets.asyncio.client import connect

import studiolo as lm
from studiolo.errors import BusyError, EngineDiedError, EngineStartError, ModelNotFoundError, ModelUnloadedError
from studiolo.paths import Home
from tests.support.faults import COUNT, MODEL, Footprint, footprint
from tests.support.homes import ENDLESS, new_home
from tests.support.model_cache import built_embedding_model, cache_folder, fetch_default_model
from tests.support.running import Server, has_ended, serving, workers_of

SHARED = "shared"
"""The instance that all clients predict on."""

LOAD: Any = {"context_length": 1024, "max_parallel_predictions": 4}
EMBEDDING_MODEL = "all-minilm-l6-v2"
EMBEDDING = "shared-embedding"
PROMPTS = ("Once upon a time", "The capital of France is", "def add(a, b):", "1, 2, 3, 4,")
ANSWER: Any = {"temperature": 0, "max_tokens": 24}

OFFICIAL_ANSWER: Any = {"temperature": 0, "maxTokens": 24}

REQUEST_LIMIT_SEC = 120.0
"""An answer that takes longer counts as lost."""

ALLOWED_GROWTH = 1.10
"""The most that the server's memory may be at the end, as a multiple of what it was after the first quarter."""

LEAST_MINUTES = 5.0
"""A shorter run says nothing about memory."""

SETTINGS = """
[limits]
crash_limit = 1000
crash_window_sec = 1
[loading]
guardrail = "off"
"""


class Report(msgspec.Struct):
    """What a soak has found.

    Parameters:
        seconds: how long the clients ran.
        outcomes: how often each kind of request ended in which way.
        faults: what must not be: wrong or lost answers, unexpected errors, processes left.
        kills: engines that were killed.
        memory_mb: the server's resident memory in MB, sampled at equal intervals.
        files: its open files, at the same times.
        processes: its child processes, at the same times.
    """

    seconds: float = 0.0
    outcomes: dict[str, int] = {}
    faults: list[str] = []
    kills: int = 0
    memory_mb: list[float] = []
    files: list[int] = []
    processes: list[int] = []

    def growth(self) -> float:
        """Return the memory of the last quarter as a multiple of the second quarter's (medians)."""
        quarter = len(self.memory_mb) // 4
        if quarter == 0:
            return 1.0
        return statistics.median(self.memory_mb[-quarter:]) / statistics.median(self.memory_mb[quarter : 2 * quarter])


class Soak:
    """The clients, the killer of engines, and what they count."""

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._numbers = itertools.count()
        self._outcomes: Counter[str] = Counter()
        self._expected: dict[str, str] = {}
        self._lengths: dict[str, int] = {}
        self._vectors: Sequence[Sequence[float]] = []
        self._killed: set[int] = set()
        self.report = Report()

    async def run(self, seconds: float, clients: int, kill_every_sec: float, samples: int = 240) -> Report:
        """Run the clients for a time, let the last requests end, and return the report."""
        async with lm.AsyncClient(self._server.address) as client:
            llm = await client.llm.load_new_instance(MODEL, SHARED, config=LOAD)
            for prompt in PROMPTS:
                self._expected[prompt] = (await llm.complete(prompt, config=ANSWER)).content
                self._lengths[prompt] = len(await llm.tokenize(prompt))
            embedding = await client.embedding.load_new_instance(EMBEDDING_MODEL, EMBEDDING)
            self._vectors = await embedding.embed(list(PROMPTS))
        # Two threads that first use the official client at once may crash the process, see studiolo.struct_types.
        await asyncio.to_thread(self._complete_officially, PROMPTS[0])
        begin = time.monotonic()
        end = begin + seconds
        helpers = [
            asyncio.create_task(self._kill_engines(kill_every_sec)),
            asyncio.create_task(self._sample(seconds / samples)),
        ]
        try:
            await asyncio.gather(*(self._be_a_client(end) for _ in range(clients)))
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
        for helper in helpers:
            if not helper.cancelled() and (error := helper.exception()):
                self.report.faults.append(f"the soak itself failed: {error!r}")
        self.report.seconds = time.monotonic() - begin
        self.report.outcomes = dict(sorted(self._outcomes.items()))
        self.report.kills = len(self._killed)
        return self.report

    async def _be_a_client(self, end: float) -> None:
        actions: list[tuple[int, Callable[[lm.AsyncClient], Awaitable[str]]]] = [
            (6, self._complete),
            (6, self._stream),
            (3, self._cancel),
            (2, self._leave),
            (2, self._tokenize),
            (2, self._embed),
            (1, self._official_client),
            (1, self._load_and_unload),
        ]
        weights = [weight for weight, _ in actions]
        while time.monotonic() < end:
            async with lm.AsyncClient(self._server.address) as client:
                for _ in range(self._random.randint(1, 20)):
                    if time.monotonic() >= end:
                        break
                    (_, action), *_ = self._random.choices(actions, weights)
                    await self._count(action.__name__.strip("_"), action(client))

    async def _count(self, name: str, request: Awaitable[str]) -> None:
        try:
            async with asyncio.timeout(REQUEST_LIMIT_SEC):
                outcome = await request
        except TimeoutError:
            outcome = f"fault: no answer within {REQUEST_LIMIT_SEC:.0f} s"
        except (EngineDiedError, ModelUnloadedError, BusyError) as error:
            outcome = type(error).__name__
        except EngineStartError as error:
            outcome = type(error).__name__ if "SIGKILL" in str(error) else f"fault: {error}"
        except ModelNotFoundError as error:
            outcome = type(error).__name__ if name == "load_and_unload" else f"fault: {error}"
        except Exception as error:
            outcome = f"fault: {type(error).__name__}: {error}"
        self._outcomes[f"{name}: {outcome.partition(':')[0]}"] += 1
        if outcome.startswith("fault"):
            self.report.faults.append(f"{name}: {outcome}")

    async def _complete(self, client: lm.AsyncClient) -> str:
        prompt = self._random.choice(PROMPTS)
        llm = await client.llm.model(SHARED)
        return self._judge(prompt, await llm.complete(prompt, config=ANSWER))

    async def _stream(self, client: lm.AsyncClient) -> str:
        prompt = self._random.choice(PROMPTS)
        llm = await client.llm.model(SHARED)
        stream = await llm.complete_stream(prompt, config=ANSWER)
        async with stream:
            text = "".join([fragment.content async for fragment in stream])
        if text != stream.result().content:
            return f"fault: {text!r} was streamed, and {stream.result().content!r} is the result"
        return self._judge(prompt, stream.result())

    async def _cancel(self, client: lm.AsyncClient) -> str:
        llm = await client.llm.model(SHARED)
        stream = await llm.complete_stream(COUNT, config=ENDLESS)
        async for _ in stream:
            await stream.cancel()
        reason = stream.result().stats.stop_reason
        return "answered" if reason == "userStopped" else f"fault: the stop reason of a cancel is {reason}"

    async def _leave(self, client: lm.AsyncClient) -> str:
        """Close the socket in the middle of a stream, as a killed client does."""
        async with connect(f"ws://{self._server.address}/llm", proxy=None, max_size=None) as socket:
            await socket.send(json.dumps({"authVersion": 1, "clientIdentifier": "soak", "clientPasskey": "soak"}))
            await socket.recv()
            specifier = {"type": "query", "query": {"identifier": SHARED}}
            parameter: dict[str, Any] = {
                "modelSpecifier": specifier,
                "rawPrompt": COUNT,
                "predictionConfigStack": {"layers": []},
            }
            create = {"type": "channelCreate", "endpoint": "completeRawText", "channelId": 1}
            await socket.send(json.dumps({**create, "creationParameter": parameter}))
            await socket.recv()
        return "answered"

    async def _tokenize(self, client: lm.AsyncClient) -> str:
        prompt = self._random.choice(PROMPTS)
        llm = await client.llm.model(SHARED)
        count = len(await llm.tokenize(prompt))
        return "answered" if count == self._lengths[prompt] else f"fault: {count} tokens"

    async def _embed(self, client: lm.AsyncClient) -> str:
        vectors = await (await client.embedding.model(EMBEDDING)).embed(list(PROMPTS))
        pairs = zip(itertools.chain(*vectors), itertools.chain(*self._vectors), strict=True)
        difference = max(abs(one - other) for one, other in pairs)  # the last digits depend on what is batched together
        return "answered" if difference < 1e-3 else f"fault: the vectors differ by {difference}"

    async def _official_client(self, client: lm.AsyncClient) -> str:
        prompt = self._random.choice(PROMPTS)
        try:
            return self._judge(prompt, await asyncio.to_thread(self._complete_officially, prompt))
        except lmstudio.LMStudioServerError as error:
            return "EngineDiedError" if "engine" in str(error) else f"fault: {error}"

    def _complete_officially(self, prompt: str) -> Any:
        with lmstudio.Client(self._server.address) as official:
            return official.llm.model(SHARED).complete(prompt, config=OFFICIAL_ANSWER)

    async def _load_and_unload(self, client: lm.AsyncClient) -> str:
        llm = await client.llm.load_new_instance(MODEL, f"own-{next(self._numbers)}", config={"context_length": 256})
        try:
            prompt = self._random.choice(PROMPTS)
            return self._judge(prompt, await llm.complete(prompt, config=ANSWER))
        finally:
            await llm.unload()

    def _judge(self, prompt: str, result: Any) -> str:
        """Return the outcome of an answer.

        One that was continued after its engine died is read as a prompt up to there. That rounds otherwise than
        generating it did, and two tokens that are nearly as likely may change places. The official client's answers do
        not have the number of restarts: any of them may be continued.
        """
        text, expected = result.content, self._expected[prompt]
        restarts: int | None = getattr(result, "engine_restarts", None)
        if text == expected:
            return "answered, continued on another engine" if restarts else "answered"
        if restarts != 0 and text[:1] == expected[:1]:
            return "answered, continued on another engine with another text"
        return f"fault: {prompt!r} was answered with {text!r}"

    async def _kill_engines(self, every_sec: float) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * every_sec)
            workers = await asyncio.to_thread(workers_of, self._server.pid)
            if workers:
                victim = self._random.choice(workers)
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
                    self._killed.add(victim.pid)

    async def _sample(self, every_sec: float) -> None:
        while True:
            held: Footprint = await asyncio.to_thread(footprint, self._server.pid)
            self.report.memory_mb.append(round(held.memory / 2**20, 1))
            self.report.files.append(held.files)
            self.report.processes.append(held.processes)
            await asyncio.sleep(every_sec)


def soak(home: Home, folder: Path, seconds: float, clients: int, kill_every_sec: float, seed: int) -> Report:
    """Serve from ``home``, run the clients, stop the server, and look for what it left behind."""
    with home.settings.open("a") as settings:
        settings.write(SETTINGS)
    with serving(home, folder, "--no-load") as server:
        report = asyncio.run(Soak(server, seed).run(seconds, clients, kill_every_sec))
        workers = server.workers()
        status = server.stop()
    if status != 0:
        report.faults.append(f"the server ended with the exit status {status}")
    report.faults += [f"the engine {worker.pid} outlived its server" for worker in workers if not has_ended(worker)]
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Run clients of every kind on one server while its engines die.")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=20.0, help="Mean seconds between two kills of an engine.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="Write the report to this file.")
    parser.add_argument("--models", type=Path, help="A home with the default model (default: it is downloaded).")
    arguments = parser.parse_args()
    cache = Home(cache_folder())
    if arguments.models is None:
        fetch_default_model(cache)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        os.environ.pop("STUDIOLO_HOST", None)
        models = Home(arguments.models) if arguments.models else cache
        home = new_home(folder, models, built_embedding_model(cache))
        report = soak(home, folder, arguments.minutes * 60, arguments.clients, arguments.kill_every, arguments.seed)
    if arguments.minutes >= LEAST_MINUTES and report.growth() > ALLOWED_GROWTH:
        report.faults.append(f"the server's memory grew by the factor {report.growth():.2f}")
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    print(f"{report.seconds:.0f} s, {report.kills} engines killed, memory at the end / after warming up: ", end="")
    print(f"{report.growth():.3f} ({min(report.memory_mb):.0f} to {max(report.memory_mb):.0f} MB)")
    for outcome, count in report.outcomes.items():
        print(f"{count:8,}  {outcome}")
    for fault in report.faults:
        print("fault:", fault, file=sys.stderr)
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
