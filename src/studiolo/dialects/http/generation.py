"""Predictions on behalf of a request over HTTP, and what they generate, gathered."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from ...config import LoadConfig, PredictionConfig
from ...domain.chat import ChatRequest
from ...domain.generation import PredictionResult
from ...domain.infill import Infill
from ...domain.models import Domain, ModelReference
from ...domain.progress import Queued
from ...errors import (
    ChatRejectedError,
    EngineError,
    FilesError,
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
from .gathered import Event, Gathered
from .produced import produced

Prompt = str | list[int] | ChatRequest | Infill
ConfigFor = Callable[[Instance], PredictionConfig]
"""Settings that depend on the model that answers."""

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


@dataclass(slots=True)  # one for each token: a frozen one takes three times as long to make
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
    except (PromptTooLongError, ChatRejectedError, FilesError) as error:
        error.data.setdefault("param", prompt)
        raise
    except StudioloError as error:
        bias = f"logit_bias.{error.data.get('token')}"
        fields = {"vision": prompt, "audio": prompt, "files": prompt, "tokens": prompt, "logit_bias": bias, **features}
        if (field := fields.get(str(error.data.get("feature")))) is not None:
            error.data.setdefault("param", field)
        raise
