"""Predictions: runs on an instance, from request to result."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from ..config import PredictionConfig
from ..domain.generation import (
    Drafting,
    Fragment,
    PredictionResult,
    StopReason,
    StructuredOutcome,
    Timings,
    ToolCallArguments,
    ToolCallEvent,
    ToolCallFinished,
    Usage,
    merge_fragments,
)
from ..domain.progress import HEARTBEAT_SEC, PromptProgress, Queued
from ..engines.base import Completed, Engine
from ..errors import EngineDiedError
from ..merging_queue import MergingQueue
from ..settings import LimitSettings
from .drafting import check_draft
from .engine_run import EngineRun, PredictionRequest, begin
from .log_events import PredictionLog
from .prompt_progress import PromptReport, PromptReports
from .resume import MAX_RESTARTS, can_resume, resumed
from .structured import AnswerForm, cut_off

if TYPE_CHECKING:
    from .instance import Instance
    from .lease import Lease

PLACE_INTERVAL_SEC = 1.0
"""How often the place of a waiting prediction in the queue is compared with the last one that was emitted."""


PredictionEvent = Fragment | ToolCallEvent | PromptReport | Queued | PredictionResult


class Prediction:
    """One run on an instance.

    It runs from its construction, in a task of its own. The reader of :meth:`events` may lag: text that arrives
    meanwhile is merged. :meth:`stop` ends it early with a result; :meth:`close` ends it without one.

    Parameters:
        lease: released when it ends.
        limits: those of the queue for slots.
    """

    def __init__(self, lease: Lease, request: PredictionRequest, limits: LimitSettings) -> None:
        self.has_slot = False
        self._lease = lease
        self._limits = limits
        self._request = request
        self._events: MergingQueue[PredictionEvent] = MergingQueue(_merge)
        self._form: AnswerForm | None = None
        self._stop_reason: StopReason | None = None
        self._running = False
        self._has_called = False
        self._clock = time.perf_counter  # the event loop's own clock may be a coarse one
        self._began = self._clock()
        self._first_token_at: float | None = None
        self._prompt_reports = PromptReports()
        self._log = PredictionLog(request.logs, lease.instance.model.relative_path, lease.instance.identifier)
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._predicted_tokens = 0
        self._load_sec: float | None = None
        self._can_resume = can_resume(request)
        self._said: deque[tuple[str, int]] = deque(
            maxlen=max(lease.instance.context_length, 1)
        )  # older text would be cut
        self._restarts = 0
        self._tokens_at_restart = 0
        self._is_quiet = False
        self._quiet_since = self._began
        self._last_standing: PromptReport | Queued = self._prompt_reports.latest
        self._standing_timer: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run(), name=f"prediction on {lease.instance.identifier}")
        lease.hand_over(self)
        self._task.add_done_callback(lambda _: lease.release())
        if request.config.timeout_sec:
            left = lease.requested_at + request.config.timeout_sec - time.monotonic()
            timer = asyncio.get_running_loop().call_later(left, self.stop, "time_limit")
            self._task.add_done_callback(lambda _: timer.cancel())

    @property
    def _instance(self) -> Instance:
        """The instance that it runs on: another one of the model where that has the draft model."""
        return self._lease.instance

    @property
    def config(self) -> PredictionConfig:
        """The settings in force."""
        return self._request.config

    def stop(self, reason: StopReason = "cancelled") -> None:
        """End the prediction now; its result has ``reason`` and the figures so far."""
        if self._stop_reason is None and not self._task.done():
            self._stop_reason = reason
            if self._running:  # a task that is cancelled before its first step would emit no result
                self._task.cancel()

    @property
    def has_token(self) -> bool:
        """Whether its prompt is processed and its first token was generated."""
        return self._first_token_at is not None

    def describe(self) -> str:
        """Return a line for a crash report, without anything that a user wrote."""
        return (
            f"a prediction of {self._lease.client}, {self._clock() - self._began:.1f} s old: "
            f"{self._request.length} characters in, {self._predicted_tokens} tokens out"
        )

    async def close(self) -> None:
        """End the prediction, if it is still running, and wait until its slot is free."""
        self.stop()
        await asyncio.wait([self._task])

    async def events(self) -> AsyncIterator[PredictionEvent]:
        """Yield events as they happen; the last one is a :class:`PredictionResult`.

        Raises:
            PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.complete`.
        """
        self._schedule_standing()
        try:
            while events := await self._events.get_all():
                for event in events:
                    yield event
                self._is_quiet = False
        finally:
            if self._standing_timer is not None:
                self._standing_timer.cancel()

    def _schedule_standing(self) -> None:
        loop = asyncio.get_running_loop()
        self._standing_timer = loop.call_later(PLACE_INTERVAL_SEC, self._repeat_standing)

    def _repeat_standing(self) -> None:
        """Emit the standing where it has changed, or where nothing else was emitted for a while."""
        now, standing = self._clock(), self._standing()
        if not self._is_quiet:
            self._is_quiet, self._quiet_since = True, now
        if (not self.has_slot and standing != self._last_standing) or now - self._quiet_since >= HEARTBEAT_SEC:
            self._events.put(standing)
        self._last_standing = standing
        self._schedule_standing()

    def _standing(self) -> PromptReport | Queued:
        place = None if self.has_slot else self._instance.slots.place(self)
        return self._prompt_reports.latest if place is None else Queued(place)

    async def _run(self) -> None:
        self._running = True
        try:
            if self._stop_reason is not None:
                raise asyncio.CancelledError
            began = self._clock()
            async with self._lease.in_slot(self, self._limits, self._request.config) as engine:
                self.has_slot = True
                self._load_sec = self._clock() - began
                completed, outcome = await self._complete(engine)
        except asyncio.CancelledError:
            if self._stop_reason is None:  # the host itself is going down
                self._stop_reason = "unloaded"
            outcome = self._outcome(cut_off(self._stop_reason)) if self._form else None
            self._end(self._result(self._stop_reason, outcome))
        except BaseException as error:
            self._instance.totals.add_error(error)
            self._lease.release()
            self._events.close(error)
        else:
            self._prompt_tokens = completed.prompt_tokens
            if completed.cached_tokens is not None:
                self._cached_tokens = completed.cached_tokens
            self._predicted_tokens = completed.predicted_tokens
            self._end(self._result(completed.stop_reason, outcome, completed))

    def _end(self, result: PredictionResult) -> None:
        self._instance.totals.add(result)
        self._lease.release()
        self._log.end(result)
        self._events.put(result)
        self._events.close()

    async def _complete(self, engine: Engine) -> tuple[Completed, StructuredOutcome | None]:
        run = await self._begin(engine)
        pipeline, stops, form = run.pipeline, run.pipeline.stops, run.form
        self._form = form
        completed: Completed | None = None
        try:
            while completed is None:
                try:
                    completed = await self._follow(run)
                except EngineDiedError as death:
                    run = await self._resume(run, death)
        finally:
            self._put(pipeline.flush())
        await self._put_output(pipeline.finish())
        if (stop := stops and stops.found) is not None:  # perhaps in what was held back until now
            completed = replace(completed, stop_reason=stop.reason, stop_string=stop.text)
        if form is None:
            return completed, None
        form.stop_string = stop and stop.text
        problem = await form.problem(completed.stop_reason)
        if problem is not None and completed.stop_reason == "end_of_text":
            completed = replace(completed, stop_reason="failed")
        return completed, self._outcome(problem)

    async def _follow(self, run: EngineRun) -> Completed:
        """Pass the events of a run of the engine on; return its end, with the counts of the whole answer."""
        pipeline, stops, form, before = run.pipeline, run.pipeline.stops, run.form, self._predicted_tokens
        instance, passes = self._instance, pipeline.passes
        async with contextlib.aclosing(run.events) as events:
            async for event in events:
                if isinstance(event, Fragment):  # first: there is one for each token
                    if self._first_token_at is None:
                        self._put(self._prompt_reports.finish())
                        self._first_token_at = self._clock()
                    self._predicted_tokens += event.tokens
                    instance.generated_tokens += event.tokens
                    self._said.append((event.text, event.tokens))
                    if form is not None:
                        form.follow(event.text)
                    if passes:
                        self._put((event,))
                        continue
                elif isinstance(event, PromptProgress):
                    if not before:  # the prompt of an answer that is continued has its beginning, too
                        self._prompt_tokens, self._cached_tokens = event.total, event.cached
                        self._put(self._prompt_reports.take(event))
                    continue
                elif isinstance(event, Completed):
                    if self._first_token_at is None:
                        self._put(self._prompt_reports.finish())
                    return self._whole(event, before) if before else event
                elif self._first_token_at is None:
                    self._put(self._prompt_reports.finish())
                    self._first_token_at = self._clock()
                await self._put_output(pipeline.feed(event))
                if self._has_called and self._only_one_call:
                    return self._ended_here("tool_calls")
                if stops is not None and stops.found is not None:
                    return self._ended_here("stop_string")
        raise RuntimeError("The engine broke its contract: it ended without a Completed event")

    async def _begin(self, engine: Engine) -> EngineRun:
        instance, request = self._instance, self._request
        check_draft(request.config, instance.config, instance.draft)
        if instance.draft is not None and not request.config.draft_model:
            config = msgspec.structs.replace(request.config, draft_model=instance.draft.key)
            request = replace(request, config=config)
        log_input = self._log.input if self._log.watched else None
        message = instance.config.reasoning_budget_message or ""
        while True:
            try:
                return await begin(engine, request, instance.context_length, instance.vocabulary, log_input, message)
            except EngineDiedError as death:
                engine = await self._next_engine(death)

    async def _resume(self, run: EngineRun, death: EngineDiedError) -> EngineRun:
        """Return the run that continues one that ``death`` has cut off. Raise ``death`` if there can be none."""
        while True:
            engine = await self._next_engine(death)
            said = [Fragment(text, tokens) for text, tokens in self._said]
            try:
                instance = self._instance
                events = await resumed(
                    engine, run, said, self._predicted_tokens, instance.context_length, instance.vocabulary
                )
            except EngineDiedError as next_death:
                death = next_death
            else:
                return replace(run, events=events)

    async def _next_engine(self, death: EngineDiedError) -> Engine:
        """Return the engine that replaces the one that died. Raise ``death`` where the answer is not continued."""
        has_progress = self._restarts == 0 or self._predicted_tokens > self._tokens_at_restart
        if not (self._can_resume and has_progress and self._restarts < MAX_RESTARTS):
            raise death
        engine = await self._lease.next_engine(death)
        self._restarts += 1
        self._tokens_at_restart = self._predicted_tokens
        return engine

    def _whole(self, end: Completed, before: int) -> Completed:
        """Return the end of a continued answer, with the ``before`` tokens that other engines generated."""
        return replace(
            end,
            prompt_tokens=self._prompt_tokens or max(end.prompt_tokens - before, 0),
            predicted_tokens=before + end.predicted_tokens,
            cached_tokens=None,
            prompt_sec=None,
            decode_sec=None,
        )

    def _outcome(self, problem: str | None) -> StructuredOutcome:
        return StructuredOutcome(problem=problem, warnings=self._form.warnings if self._form else ())

    @property
    def _only_one_call(self) -> bool:
        return self._request.tools is not None and not self._request.tools.parallel

    def _ended_here(self, stop_reason: StopReason) -> Completed:
        """Return the end of an answer that the host has ended: after its only call, or at a stop string."""
        return Completed(
            stop_reason=stop_reason,
            stop_string=None,
            prompt_tokens=self._prompt_tokens,
            predicted_tokens=self._predicted_tokens,
            tokens_per_second=None,
        )

    async def _put_output(self, events: Iterable[Fragment | ToolCallEvent]) -> None:
        for event in events:
            if isinstance(event, ToolCallFinished):
                self._has_called = True
                if self._form is not None:
                    self._put([await self._form.checked_call(event)])
                    continue
            self._put((event,))

    def _put(self, events: Iterable[PredictionEvent]) -> None:
        for event in events:
            self._log.add(event)
            self._events.put(event)

    def _result(
        self, stop_reason: StopReason, structured: StructuredOutcome | None, completed: Completed | None = None
    ) -> PredictionResult:
        now, first = self._clock(), self._first_token_at
        rate = completed.tokens_per_second if completed else None
        if rate is None and first is not None and now > first:
            rate = max(self._predicted_tokens - 1, 0) / (now - first)
        return PredictionResult(
            stop_reason=stop_reason,
            stop_string=completed.stop_string if completed else None,
            usage=Usage(self._prompt_tokens, self._cached_tokens, self._predicted_tokens),
            timings=Timings(
                load_sec=self._load_sec,
                prompt_sec=completed.prompt_sec if completed else None,
                decode_sec=completed.decode_sec if completed else None,
                first_token_sec=None if first is None else first - self._began,
                total_sec=now - self._began,
                tokens_per_second=rate,
            ),
            gpu_layers=self._instance.gpu_layers,
            drafting=self._drafting(completed),
            structured=structured,
            engine_restarts=self._restarts,
            end_token=completed.end_token if completed else None,
        )

    def _drafting(self, completed: Completed | None) -> Drafting | None:
        draft = self._instance.draft
        if draft is None or completed is None or completed.draft_tokens is None:
            return None
        return Drafting(draft.key, completed.draft_tokens, completed.accepted_draft_tokens or 0)


def _merge(last: PredictionEvent, new: PredictionEvent) -> PredictionEvent | None:
    match last, new:
        case Fragment(), Fragment():
            return merge_fragments(last, new)
        case ToolCallArguments(), ToolCallArguments():
            return ToolCallArguments(last.text + new.text)
        case (PromptReport(), PromptReport()) | (Queued(), Queued()):
            return new
        case _:
            return None
