"""Predictions: runs on an instance, from request to result."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config import PREDICTION_DEFAULTS, LoadConfig, PredictionConfig, explicit_fields
from ..engines.base import Completed, CompletionRequest, PromptProgress
from ..protocol.llm import Fragment, PredictionStats, StopReason
from ..protocol.streaming import MergingQueue, merge_fragments

if TYPE_CHECKING:
    from .instances import Instance

HEARTBEAT_SEC = 10.0
"""How often progress is told while nothing else happens before the first token, so that a wait never looks dead."""


@dataclass(frozen=True)
class PredictionResult:
    """The end of a prediction: its stats, and the settings that were in force."""

    stats: PredictionStats
    config: PredictionConfig


PredictionEvent = Fragment | PromptProgress | PredictionResult


def settings_in_force(config: PredictionConfig, load: LoadConfig) -> PredictionConfig:
    """``config`` with every default filled in."""
    settings = explicit_fields(PREDICTION_DEFAULTS)
    if load.seed is not None:
        settings["seed"] = load.seed
    return PredictionConfig(**{**settings, **explicit_fields(config)})


class Prediction:
    """One run on an instance.

    It runs from the moment it is made, in a task of its own. Whoever reads :meth:`events` may lag: text that comes
    meanwhile is merged. :meth:`stop` ends it early with a result; :meth:`close` ends it without.
    """

    def __init__(self, instance: Instance, prompt: str, config: PredictionConfig) -> None:
        self._instance = instance
        self._request = CompletionRequest(prompt=prompt, config=settings_in_force(config, instance.config))
        self._events: MergingQueue[PredictionEvent] = MergingQueue(_merge)
        self._stop_reason: StopReason | None = None
        self._clock = time.perf_counter  # the event loop's own clock may be a coarse one
        self._began = self._clock()
        self._first_token_at: float | None = None
        self._prompt_tokens = 0
        self._predicted_tokens = 0
        self._task = asyncio.create_task(self._run(), name=f"prediction on {instance.identifier}")

    def stop(self, reason: StopReason = "userStopped") -> None:
        """End the prediction now; its result tells ``reason`` and what was generated until now."""
        if self._stop_reason is None and not self._task.done():
            self._stop_reason = reason
            self._task.cancel()

    async def close(self) -> None:
        """End the prediction, if it is still running, and wait until its slot is free."""
        self.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([self._task])

    async def events(self) -> AsyncIterator[PredictionEvent]:
        """What happens, as it happens; the last event is a :class:`PredictionResult`.

        Raises:
            PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.complete`.
        """
        progress = PromptProgress(0, 1)
        while True:
            try:
                heartbeat = None if self._first_token_at is not None else HEARTBEAT_SEC
                async with asyncio.timeout(heartbeat):
                    events = await self._events.get_all()
            except TimeoutError:
                yield progress
                continue
            if not events:
                return
            for event in events:
                if isinstance(event, PromptProgress):
                    progress = event
                yield event

    async def _run(self) -> None:
        try:
            with self._instance.running(self):
                completed = await self._complete()
        except asyncio.CancelledError:
            if self._stop_reason is None:  # the host itself is going down
                self._stop_reason = "modelUnloaded"
            self._events.put(PredictionResult(self._stats(self._stop_reason), self._request.config))
            self._events.close()
        except BaseException as error:
            self._events.close(error)
        else:
            self._prompt_tokens = completed.prompt_tokens
            self._predicted_tokens = completed.predicted_tokens
            stats = self._stats(completed.stop_reason, completed)
            self._events.put(PredictionResult(stats, self._request.config))
            self._events.close()

    async def _complete(self) -> Completed:
        engine = await self._instance.engine()
        async with contextlib.aclosing(engine.complete(self._request)) as events:
            async for event in events:
                if isinstance(event, Completed):
                    return event
                if isinstance(event, Fragment):
                    if self._first_token_at is None:
                        self._first_token_at = self._clock()
                    self._predicted_tokens += event.tokens_count
                else:
                    self._prompt_tokens = event.total
                self._events.put(event)
        raise RuntimeError("the engine broke its contract: it ended without a Completed")

    def _stats(self, stop_reason: StopReason, completed: Completed | None = None) -> PredictionStats:
        now, first = self._clock(), self._first_token_at
        rate = completed.tokens_per_second if completed else None
        if rate is None and first is not None and now > first:
            rate = max(self._predicted_tokens - 1, 0) / (now - first)
        return PredictionStats(
            stop_reason=stop_reason,
            stop_string=completed.stop_string if completed else None,
            tokens_per_second=rate,
            num_gpu_layers=self._instance.gpu_layers,
            time_to_first_token_sec=None if first is None else first - self._began,
            total_time_sec=now - self._began,
            prompt_tokens_count=self._prompt_tokens,
            predicted_tokens_count=self._predicted_tokens,
            total_tokens_count=self._prompt_tokens + self._predicted_tokens,
        )


def _merge(last: PredictionEvent, new: PredictionEvent) -> PredictionEvent | None:
    match last, new:
        case Fragment(), Fragment():
            return merge_fragments(last, new)
        case PromptProgress(), PromptProgress():
            return new
        case _:
            return None
