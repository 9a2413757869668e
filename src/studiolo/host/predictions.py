"""Predictions: runs on an instance, from request to result."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from ..config import PREDICTION_DEFAULTS, LoadConfig, PredictionConfig, explicit_fields
from ..config.raw_tools import parse_raw_tools
from ..domain.chat import ChatRequest, Message, Text
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
from ..domain.progress import PromptProgress, Queued
from ..engines.base import Completed, CompletionRequest, Engine, EngineEvent, TemplateRequest
from ..engines.schemas.process import Schemas
from ..errors import UnsupportedError
from ..merging_queue import MergingQueue
from .drafting import check_draft
from .files import FileStore
from .images import has_images, images_of, max_side, with_images
from .overflow import fit_chat, fit_text
from .prompt_progress import PromptReport, PromptReports
from .reasoning import splitter, think_within, thinks, with_thought_closed
from .structured import Held, cut_off, hold_answer
from .tool_use import OutputPipeline, ToolUse, say_with_tools, without_tool_messages
from .watching import LogEvents, PredictionLog

if TYPE_CHECKING:
    from .instance import Instance

HEARTBEAT_SEC = 10.0
"""How often progress is told while nothing else happens before the first token, so that a wait never looks dead."""

PLACE_INTERVAL_SEC = 1.0
"""How often one who waits for a slot is told its place in the queue, where that has changed."""


@dataclass(frozen=True, kw_only=True)
class PredictionRequest:
    """What is asked of an instance, and the settings with every default filled in.

    Parameters:
        prompt: text to continue, exactly as it stands, or a chat to answer.
        files: where the chat's images are.
        tools: the tools of the chat.
        logs: where those listen who watch.
        schemas: prepares and checks what the answer is held to.
    """

    prompt: str | ChatRequest
    config: PredictionConfig
    schemas: Schemas
    files: FileStore | None = None
    tools: ToolUse | None = None
    logs: LogEvents | None = None

    @property
    def length(self) -> int:
        """Characters in it, for reports."""
        if isinstance(self.prompt, str):
            return len(self.prompt)
        return sum(len(message.text) for message in self.prompt.messages)


PredictionEvent = Fragment | ToolCallEvent | PromptReport | Queued | PredictionResult


def settings_in_force(
    config: PredictionConfig, load: LoadConfig, model: PredictionConfig | None = None
) -> PredictionConfig:
    """``config``; what it leaves open from the ``model``'s own settings, then from the defaults."""
    settings = explicit_fields(PREDICTION_DEFAULTS)
    if load.seed is not None and load.seed is not False:
        settings["seed"] = load.seed
    if load.prompt_template is not None:
        settings["prompt_template"] = load.prompt_template
    own = explicit_fields(model) if model is not None else {}
    return PredictionConfig(**{**settings, **own, **explicit_fields(config)})


def check_completion(config: PredictionConfig) -> None:
    """Raise :class:`UnsupportedError` for settings of a request that have an effect on chats alone.

    Presets and a model's own settings may have them all the same.

    Parameters:
        config: what the request itself says, for text that is continued exactly as it is.
    """
    tools, _ = parse_raw_tools(config.raw_tools)
    for_chats = {
        "raw_tools": bool(tools),
        "tool_choice": config.tool_choice == "required",
        "system_prompt": bool(config.system_prompt),
        "prompt_template": config.prompt_template is not None,
    }
    for field in (field for field, is_set in for_chats.items() if is_set):
        raise UnsupportedError(
            f"The prediction config's field {field!r} has no effect on text that is continued as it is",
            suggestion="Use respond(), which takes a chat, or leave the field out.",
            feature=field,
        )


class Prediction:
    """One run on an instance.

    It runs from the moment it is made, in a task of its own. Whoever reads :meth:`events` may lag: text that comes
    meanwhile is merged. :meth:`stop` ends it early with a result; :meth:`close` ends it without.

    Parameters:
        client: who asks: clients take turns where slots are few.
    """

    def __init__(self, instance: Instance, request: PredictionRequest, client: str) -> None:
        self.client = client
        self.has_slot = False
        self.engine: Engine | None = None
        self._instance = instance
        self._request = request
        self._events: MergingQueue[PredictionEvent] = MergingQueue(_merge)
        self._held: Held | None = None
        self._stop_reason: StopReason | None = None
        self._running = False
        self._has_called = False
        self._clock = time.perf_counter  # the event loop's own clock may be a coarse one
        self._began = self._clock()
        self._first_token_at: float | None = None
        self._prompt_reports = PromptReports()
        self._log = PredictionLog(request.logs, instance.model.relative_path, instance.identifier)
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._predicted_tokens = 0
        self._load_sec: float | None = None
        self._task = asyncio.create_task(self._run(), name=f"prediction on {instance.identifier}")

    @property
    def config(self) -> PredictionConfig:
        """The settings in force."""
        return self._request.config

    def stop(self, reason: StopReason = "cancelled") -> None:
        """End the prediction now; its result tells ``reason`` and what was generated until now."""
        if self._stop_reason is None and not self._task.done():
            self._stop_reason = reason
            if self._running:  # a task that is cancelled before its first step would never tell its end
                self._task.cancel()

    async def ended(self) -> None:
        """Wait until it has ended, however that is."""
        await asyncio.wait([self._task])

    @property
    def has_token(self) -> bool:
        """Whether its prompt is processed and its first token was generated."""
        return self._first_token_at is not None

    def describe(self) -> str:
        """What it is, for a report that must not tell what anybody wrote."""
        return (
            f"a prediction of {self.client}, {self._clock() - self._began:.1f} s old: "
            f"{self._request.length} characters in, {self._predicted_tokens} tokens out"
        )

    async def close(self) -> None:
        """End the prediction, if it is still running, and wait until its slot is free."""
        self.stop()
        await asyncio.wait([self._task])

    async def events(self) -> AsyncIterator[PredictionEvent]:
        """What happens, as it happens; the last event is a :class:`PredictionResult`.

        Raises:
            PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.complete`.
        """
        told, told_at = self._standing(), self._clock()
        while True:
            heartbeat = None if self._first_token_at is not None else HEARTBEAT_SEC
            try:
                async with asyncio.timeout(heartbeat if self.has_slot else PLACE_INTERVAL_SEC):
                    events = await self._events.get_all()
            except TimeoutError:
                standing = self._standing()
                if standing != told or self._clock() - told_at >= HEARTBEAT_SEC:
                    told, told_at = standing, self._clock()
                    yield standing
                continue
            if not events:
                return
            for event in events:
                yield event

    def _standing(self) -> PromptReport | Queued:
        place = None if self.has_slot else self._instance.slots.place(self)
        return self._prompt_reports.latest if place is None else Queued(place)

    async def _run(self) -> None:
        self._running = True
        try:
            if self._stop_reason is not None:
                raise asyncio.CancelledError
            async with self._instance.slot(self):
                self.has_slot = True
                completed, outcome = await self._complete()
        except asyncio.CancelledError:
            if self._stop_reason is None:  # the host itself is going down
                self._stop_reason = "unloaded"
            outcome = self._outcome(cut_off(self._stop_reason)) if self._held else None
            self._end(self._result(self._stop_reason, outcome))
        except BaseException as error:
            self._events.close(error)
        else:
            self._prompt_tokens = completed.prompt_tokens
            self._predicted_tokens = completed.predicted_tokens
            self._end(self._result(completed.stop_reason, outcome, completed))

    def _end(self, result: PredictionResult) -> None:
        self._log.end(result)
        self._events.put(result)
        self._events.close()

    async def _complete(self) -> tuple[Completed, StructuredOutcome | None]:
        asked_at = self._clock()
        engine = self.engine = await self._instance.engine(drafts=self._request.config)
        self._load_sec = self._clock() - asked_at
        source, pipeline, held = await self._begin(engine)
        self._held = held
        completed: Completed | None = None
        try:
            async with contextlib.aclosing(source) as events:
                async for event in events:
                    if not isinstance(event, PromptProgress):
                        self._put(self._prompt_reports.finish())
                    match event:
                        case Completed():
                            completed = event
                            break
                        case PromptProgress():
                            self._prompt_tokens, self._cached_tokens = event.total, event.cached
                            self._put(self._prompt_reports.take(event))
                        case _:
                            if self._first_token_at is None:
                                self._first_token_at = self._clock()
                            if isinstance(event, Fragment):
                                self._predicted_tokens += event.tokens
                                if held is not None:
                                    held.follow(event.text)
                            await self._put_output(pipeline.feed(event))
                            if self._has_called and self._only_one_call:
                                completed = self._after_call()
                                break
        finally:
            self._put(pipeline.flush())
        if completed is None:
            raise RuntimeError("the engine broke its contract: it ended without a Completed")
        await self._put_output(pipeline.finish())
        if held is None:
            return completed, None
        problem = await held.problem(completed.stop_reason)
        if problem is not None and completed.stop_reason == "end_of_text":
            completed = replace(completed, stop_reason="failed")
        return completed, self._outcome(problem)

    def _outcome(self, problem: str | None) -> StructuredOutcome:
        return StructuredOutcome(problem=problem, warnings=self._held.warnings if self._held else ())

    async def _begin(
        self, engine: Engine
    ) -> tuple[AsyncGenerator[EngineEvent | ToolCallEvent, None], OutputPipeline, Held | None]:
        prompt, config = self._request.prompt, self._request.config
        check_draft(config, self._instance.config, self._instance.draft)
        if self._instance.draft is not None and not config.draft_model:
            config = msgspec.structs.replace(config, draft_model=self._instance.draft.key)
        budget_message = self._instance.config.reasoning_budget_message or ""
        request = CompletionRequest(prompt="", config=config)
        if isinstance(prompt, ChatRequest):
            messages: Sequence[Message] = with_system_prompt(prompt.messages, config)
            if self._request.files is not None and has_images(messages):
                messages = await asyncio.to_thread(with_images, messages, self._request.files, max_side(config))
                request = replace(request, images=images_of(messages))
            chat = TemplateRequest(
                messages=messages,
                template=config.prompt_template,
                template_variables={"enable_thinking": thinks(config)},
                as_prompt=True,
            )
            if config.prompt_template is not None and config.prompt_template.stop_strings:
                stop_strings = [*(config.stop_strings or ()), *config.prompt_template.stop_strings]
                request = replace(request, config=msgspec.structs.replace(config, stop_strings=stop_strings))
            if self._request.tools is not None:
                return await say_with_tools(
                    engine,
                    chat,
                    request,
                    self._request.tools,
                    self._request.schemas,
                    self._instance.context_length,
                    self._log.input if self._log.watched else None,
                    budget_message,
                )
            chat = await without_tool_messages(engine, chat)
            if not request.images:
                chat = await fit_chat(engine, chat, config, self._instance.context_length)
            prompt = await engine.apply_template(chat)
        held = await hold_answer(self._request.schemas, engine, config, prompt)
        may_think = held is None or held.may_think
        if isinstance(self._request.prompt, ChatRequest) and not (may_think and config.enable_thinking is not False):
            prompt = with_thought_closed(prompt, config)
        request = replace(request, prompt=prompt, constraint=held and held.constraint)
        request = await fit_text(engine, request, self._instance.context_length)
        self._log.input(prompt)
        after_thought = held and held.after_thought
        events = await think_within(engine, request, prompt, budget_message, after_thought=after_thought)
        return (
            events,
            OutputPipeline(splitter(config, prompt, once=after_thought is not None) if may_think else None),
            held,
        )

    @property
    def _only_one_call(self) -> bool:
        return self._request.tools is not None and not self._request.tools.parallel

    def _after_call(self) -> Completed:
        """The end of an answer after its first call, where it may make only one."""
        return Completed(
            stop_reason="tool_calls",
            stop_string=None,
            prompt_tokens=self._prompt_tokens,
            predicted_tokens=self._predicted_tokens,
            tokens_per_second=None,
        )

    async def _put_output(self, events: Iterable[Fragment | ToolCallEvent]) -> None:
        for event in events:
            if isinstance(event, ToolCallFinished):
                self._has_called = True
                if self._held is not None:
                    self._put([await self._held.checked_call(event)])
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
                first_token_sec=None if first is None else first - self._began,
                total_sec=now - self._began,
                tokens_per_second=rate,
            ),
            gpu_layers=self._instance.gpu_layers,
            drafting=self._drafting(completed),
            structured=structured,
        )

    def _drafting(self, completed: Completed | None) -> Drafting | None:
        draft = self._instance.draft
        if draft is None or completed is None or completed.draft_tokens is None:
            return None
        return Drafting(draft.key, completed.draft_tokens, completed.accepted_draft_tokens or 0)


def with_system_prompt(messages: Sequence[Message], config: PredictionConfig) -> Sequence[Message]:
    """Return ``messages`` with the config's system prompt first, unless they have a system message."""
    if not config.system_prompt or any(message.role == "system" for message in messages):
        return messages
    return [Message("system", [Text(config.system_prompt)]), *messages]


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
