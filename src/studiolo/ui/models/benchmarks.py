"""Measurements of models that were begun on a page: one at a time. They continue when it is closed."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

from ...benchmark import Figures, measure, measure_loaded
from ...errors import HostError, StudioloError
from ..backend import backend
from ..monitor import monitor
from ..notices import describe
from ..tasks import begin
from ..watchers import Watchers

MAX_LISTED = 20
"""Measurements that are listed; the oldest are forgotten first."""

State = Literal["running", "done", "failed", "cancelled"]

watchers = Watchers()
"""The pages that show the measurements."""

_numbers = itertools.count(1)


@dataclass(eq=False)
class Benchmark:
    """A measurement.

    Parameters:
        model: the key of a model on disk, or the identifier of a loaded one.
        is_loaded: whether a loaded model is measured as it is; otherwise it is loaded for each round of each config.
        configs: the load settings that are compared, each on top of the model's own; one that is empty without any.
        prompt_tokens, tokens, rounds: see :func:`studiolo.benchmark.measure`.

    Attributes:
        begun: the rounds that have begun, of all configs together.
        now: the round that runs, and its settings.
        figures: what was measured with each config, where it is done.
        fault: what went wrong.
    """

    model: str
    is_loaded: bool
    configs: list[dict[str, Any]]
    prompt_tokens: int
    tokens: int
    rounds: int
    number: int = field(default_factory=lambda: next(_numbers))
    state: State = "running"
    begun: int = 0
    now: str = ""
    figures: list[Figures] = field(default_factory=list[Figures])
    fault: str = ""
    _task: asyncio.Task[None] | None = None

    @property
    def share(self) -> float:
        """The share of the rounds that have ended, 0 to 1."""
        return max(self.begun - 1, 0) / (self.rounds * len(self.configs))

    def start(self) -> None:
        """Begin it."""
        self._task = begin(self._run(), f"measure {self.model}")

    async def cancel(self) -> None:
        """End it, and unload what it has loaded."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        if self.state == "running":  # it was cancelled before it ran
            self._end("cancelled")

    def _report(self, now: str) -> None:
        self.begun += 1
        self.now = now
        watchers.call()

    def _end(self, state: State) -> None:
        self.state = state
        monitor().look_now()
        watchers.call()

    async def _run(self) -> None:
        client = backend().client
        size = {"prompt_tokens": self.prompt_tokens, "tokens": self.tokens, "rounds": self.rounds}
        try:
            if self.is_loaded:
                loaded = {each.identifier: each for each in await client.llm.list_loaded()}
                if self.model not in loaded:
                    raise HostError(f"{self.model} is no longer loaded", suggestion="Measure the model on disk.")
                self.figures = [await measure_loaded(loaded[self.model], **size, report=self._report)]
            else:
                self.figures = await measure(client, self.model, self.configs, **size, report=self._report)
            self._end("done")
        except asyncio.CancelledError:
            self._end("cancelled")
            raise
        except StudioloError as error:
            self.fault = describe(error)
            self._end("failed")


_benchmarks: list[Benchmark] = []


def benchmarks() -> list[Benchmark]:
    """Return those that are listed, the newest first."""
    return _benchmarks[::-1]


def begin_benchmark(benchmark: Benchmark) -> None:
    """Begin a measurement.

    Raises:
        HostError: another one runs, which would disturb it.
    """
    if (running := next((each for each in _benchmarks if each.state == "running"), None)) is not None:
        raise HostError(
            f"{running.model} is being measured",
            suggestion="Wait for its end, or cancel it: two would disturb each other.",
        )
    _benchmarks.append(benchmark)
    del _benchmarks[:-MAX_LISTED]
    benchmark.start()
    watchers.call()


async def stop_benchmarks() -> None:
    """Cancel the one that runs, at the end of the pages."""
    for each in _benchmarks:
        await each.cancel()
    _benchmarks.clear()
