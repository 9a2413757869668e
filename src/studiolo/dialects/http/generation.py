"""Predictions on behalf of a request over HTTP, and what they generate, gathered."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from ...config import LoadConfig, PredictionConfig
from ...domain.chat import ChatRequest, ToolCall
from ...domain.generation import (
    Fragment,
    PredictionResult,
    TokenLogProbs,
    ToolCallArguments,
    ToolCallEvent,
    ToolCallFailed,
    ToolCallFinished,
    ToolCallNamed,
    ToolCallStarted,
)
from ...domain.models import Domain, ModelReference
from ...domain.progress import Queued
from ...errors import (
    ChatRejectedError,
    EngineError,
    ModelUnloadedError,
    PredictionError,
    PromptTooLongError,
    StudioloError,
)
from ...host.instance import Instance
from ...host.lease import Lease
from ...host.names import derived, named
from ...host.on_demand import LoadRequest
from ...host.prompt_progress import PromptReport
from .endpoint import Call
from .produced import produced

Event = Fragment | ToolCallEvent | PromptReport | Queued | PredictionResult
Prompt = str | list[int] | ChatRequest
ConfigFor = Callable[[Instance], PredictionConfig]
"""Settings that depend on the model that answers."""

_CUT = ("max_tokens", "context_full", "time_limit", "cancelled")
"""Ends within what a model was writing."""

T = TypeVar("T")

LOADED_PATIENCE_SEC = 30.0
"""How long the answer of a loaded model is waited for before a stream begins without it: to know that a prompt fits."""

UNLOADED_PATIENCE_SEC = 1.0
"""The same where the model is loaded for the request."""


async def reference(call: Call[Any], model: str) -> ModelReference:
    """Return the reference that the name in a request means. Raise :class:`ModelNotFoundError` if it means nothing."""
    return ModelReference(name=await named(call.host, model))


async def is_loaded(call: Call[Any], model: str) -> bool:
    """Return whether a request finds its LLM loaded. Raises as :meth:`Host.find_loaded` and :func:`reference`."""
    found = await call.host.find_loaded(await reference(call, model), "llm")
    return found is not None and found.was_loaded


async def patience_sec(call: Call[Any], model: str) -> float:
    """Return how long a stream waits for its first frame. Raises as :func:`is_loaded`."""
    return patience(await is_loaded(call, model))


def patience(was_loaded: bool) -> float:
    """Return how long a stream waits for its first frame, in seconds."""
    return LOADED_PATIENCE_SEC if was_loaded else UNLOADED_PATIENCE_SEC


@contextlib.asynccontextmanager
async def leased(
    call: Call[Any], model: str, domain: Domain = "llm", load: LoadRequest | None = None
) -> AsyncGenerator[Lease]:
    """Use the model that a request names, for the length of the block.

    Raises:
        StudioloError: as :func:`reference` and :meth:`Host.lease`.
    """
    found, load = await reference(call, model), load or LoadRequest()
    if (own := derived(call.host, model)) is not None and own.load != LoadConfig():
        load = dataclasses.replace(load, config=own.load_config(load.config), on_mismatch="reload")
    async with call.host.lease(found, domain, call.client, load) as lease:
        yield lease


@dataclass(frozen=True)
class Run:
    """A prediction under way.

    Parameters:
        events: what it emits; the last one is a result.
        instance: where it runs.
        config: the settings in force.
    """

    events: AsyncIterator[Event]
    instance: Instance
    config: PredictionConfig


@contextlib.asynccontextmanager
async def predicting(
    call: Call[Any],
    model: str,
    prompt: Prompt,
    config: PredictionConfig | ConfigFor,
    load: LoadRequest | None = None,
) -> AsyncGenerator[Run]:
    """Run a prediction, which ends with the block.

    Parameters:
        config: its settings, or what returns them for the instance.

    Raises:
        StudioloError: as :meth:`Host.lease` and :meth:`Host.predict`; while events are read, as
            :meth:`Prediction.events`. A prediction that ends without an answer raises, too.
    """
    async with leased(call, model, "llm", load) as lease:
        settings = config if isinstance(config, PredictionConfig) else config(lease.instance)
        if (own := derived(call.host, model)) is not None:
            settings = own.settings(settings, is_chat=isinstance(prompt, ChatRequest))
        prediction = call.host.predict(lease, prompt, settings)
        try:
            yield Run(_checked(prediction.events()), lease.instance, prediction.config)
        finally:
            await prediction.close()


async def _checked(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    async for event in events:
        if isinstance(event, PredictionResult):
            match event.stop_reason:
                case "unloaded":
                    raise ModelUnloadedError("The model was unloaded while it was answering")
                case "failed":
                    problem = event.structured.problem if event.structured else None
                    raise PredictionError("The answer does not have the form that it was held to", cause=problem)
                case "cancelled":
                    raise EngineError("The answer was stopped")
                case _:
                    pass
        yield event


@dataclass
class CallText:
    """A call of a tool as far as it is written.

    Parameters:
        id: the call's.
        name: the tool's.
        arguments: as JSON text; cut off where the answer was.
        call: the complete call; ``None`` for one that was cut off or is malformed.
    """

    id: str
    name: str = ""
    arguments: str = ""
    call: ToolCall | None = None


@dataclass
class Gathered:
    """What a prediction has generated.

    Parameters:
        texts: the pieces of the answer, ``thoughts``: those of its reasoning.
        calls: the calls of tools, in order; the last one may be cut off.
        logprobs: of the tokens of the answer, where they were asked for.
        reasoning_tokens: tokens of reasoning, its tags included.
        result: the end; ``None`` before it.
        call_prefix: what the ids of calls begin with.
    """

    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    calls: list[CallText] = field(default_factory=list[CallText])
    logprobs: list[TokenLogProbs] = field(default_factory=list[TokenLogProbs])
    reasoning_tokens: int = 0
    result: PredictionResult | None = None
    call_prefix: str = "call_"
    _nameless: str = ""

    @property
    def text(self) -> str:
        """The answer."""
        return "".join(self.texts)

    @property
    def reasoning(self) -> str:
        """The reasoning, without its tags."""
        return "".join(self.thoughts)

    @property
    def end(self) -> PredictionResult:
        """The result of a prediction that has ended."""
        assert self.result is not None
        return self.result

    @property
    def called(self) -> bool:
        """Whether the answer ended with complete calls."""
        return bool(self.calls) and self.end.stop_reason in ("tool_calls", "end_of_text") and bool(self.calls[-1].call)

    def add(self, event: Event) -> list[Piece]:
        """Take the next event. Return what it adds for the client."""
        if not self._nameless or isinstance(event, ToolCallFailed):
            return self._add(event)
        text, self._nameless = self._nameless, ""
        if isinstance(event, PredictionResult) and event.stop_reason in _CUT:
            return self._add(event)  # the beginning of a call is not an answer
        self.texts.append(text)
        return [AnswerText(text, ()), *self._add(event)]

    def _add(self, event: Event) -> list[Piece]:
        match event:
            case Fragment():
                return self._add_fragment(event)
            case ToolCallNamed():
                call = CallText(f"{self.call_prefix}{secrets.token_hex(12)}", event.name)
                self.calls.append(call)
                return [CallBegun(len(self.calls) - 1, call.id, call.name)]
            case ToolCallArguments():
                self.calls[-1].arguments += event.text
                return [CallArguments(len(self.calls) - 1, event.text)] if event.text else []
            case ToolCallFinished():
                return self._finish(event.call)
            case ToolCallFailed():
                if self.calls and self.calls[-1].call is None:
                    return [CallEnded(len(self.calls) - 1, self.calls[-1])]
                self._nameless += event.raw or ""
            case PredictionResult():
                self.result = event
            case PromptReport() | Queued() | ToolCallStarted():
                pass
        return []

    def _add_fragment(self, fragment: Fragment) -> list[Piece]:
        if fragment.reasoning == "none":
            self.texts.append(fragment.text)
            self.logprobs += fragment.logprobs or ()
            return [AnswerText(fragment.text, fragment.logprobs or ())]
        self.reasoning_tokens += fragment.tokens
        if fragment.reasoning != "reasoning":
            return []
        self.thoughts.append(fragment.text)
        return [Thought(fragment.text)]

    def _finish(self, call: ToolCall) -> list[Piece]:
        index, text = len(self.calls) - 1, self.calls[-1]
        text.call = call
        pieces: list[Piece] = []
        if not text.arguments.strip():
            text.arguments = msgspec.json.encode(call.arguments or {}).decode()
            pieces.append(CallArguments(index, text.arguments))
        return [*pieces, CallEnded(index, text)]


class AnswerText(NamedTuple):
    """The next piece of the answer, and the log-probabilities of its tokens."""

    text: str
    logprobs: Sequence[TokenLogProbs]


class Thought(NamedTuple):
    """The next piece of the reasoning."""

    text: str


class CallBegun(NamedTuple):
    """A call of a tool begins: its number in the answer, its id and the tool's name."""

    number: int
    id: str
    name: str


class CallArguments(NamedTuple):
    """The next piece of the arguments of a call, as JSON text."""

    number: int
    text: str


class CallEnded(NamedTuple):
    """A call is complete, or cannot become so."""

    number: int
    call: CallText


Piece = AnswerText | Thought | CallBegun | CallArguments | CallEnded


def fits(event: Event) -> bool:
    """Return whether ``event`` shows that the engine has taken the prompt."""
    return not isinstance(event, Queued) and not (isinstance(event, PromptReport) and not event.tokens.total)


async def events_of(
    call: Call[Any], model: str, prompt: Prompt, config: PredictionConfig | ConfigFor, load: LoadRequest | None = None
) -> AsyncGenerator[Event, None]:
    """Yield the events of a prediction, which ends when the generator is closed. Raises as :func:`predicting`."""
    async with predicting(call, model, prompt, config, load) as run:
        async for event in run.events:
            yield event


async def gathered(events: AsyncGenerator[Event, None], call_prefix: str = "call_") -> Gathered:
    """Return all that a prediction generates."""
    found = Gathered(call_prefix=call_prefix)
    async with contextlib.aclosing(events):
        async for event in events:
            found.add(event)
    return found


@dataclass(frozen=True)
class Numbered(Generic[T]):
    """An item of one of several streams."""

    index: int
    item: T


async def merged(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[Numbered[T], None]:
    """Yield the items of several streams as they come, each with the number of its stream. Raise their first error."""
    if len(streams) == 1:
        async with contextlib.aclosing(streams[0]) as only:
            async for item in only:
                yield Numbered(0, item)
        return

    async def pump(index: int, stream: AsyncGenerator[T, None], queue: asyncio.Queue[Numbered[T]]) -> None:
        async with contextlib.aclosing(stream):
            async for item in stream:
                await queue.put(Numbered(index, item))

    async def pump_all(queue: asyncio.Queue[Numbered[T]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index, stream in enumerate(streams):
                    group.create_task(pump(index, stream, queue))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async with contextlib.aclosing(produced(pump_all, len(streams))) as items:
        async for numbered in items:
            yield numbered


def with_seed(config: PredictionConfig, index: int) -> PredictionConfig:
    """Return the settings of the answer number ``index`` of several to one prompt: each has a seed of its own."""
    if index == 0 or config.seed is None or config.seed < 0:
        return config
    return replace(config, seed=(config.seed + index) % 2**32)


async def all_of(work: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Run several pieces of work side by side, and return what each returns. The first error ends all."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(each)) for each in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


@contextlib.contextmanager
def blaming(prompt: str, **features: str) -> Generator[None]:
    """Add to the errors of the block which field of the request they are about, as ``data["param"]``.

    Parameters:
        prompt: the field with the prompt or the chat.
        features: the fields by the settings of the host: ``structured``, ``raw_tools``, ``reasoning_effort``.
    """
    try:
        yield
    except (PromptTooLongError, ChatRejectedError) as error:
        error.data.setdefault("param", prompt)
        raise
    except StudioloError as error:
        bias = f"logit_bias.{error.data.get('token')}"
        fields = {"vision": prompt, "files": prompt, "tokens": prompt, "logit_bias": bias, **features}
        if (field := fields.get(str(error.data.get("feature")))) is not None:
            error.data.setdefault("param", field)
        raise
