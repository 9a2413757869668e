"""Predictions on the client's side: results, and the state that the sync and the async stream share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

from ..config import LoadConfig, PredictionConfig
from ..errors import CancelledError, ConfigError, UsageError
from ..protocol.chat import AssistantResponse, TextData
from ..protocol.kv import decode_load_config, decode_prediction_config, flatten, stack_of
from ..protocol.llm import (
    Fragment,
    FragmentMessage,
    LogProb,
    PredictionStats,
    PredictMessage,
    PredictSuccess,
    PromptProcessingProgress,
    StructuredOutcome,
    received_fragment,
)
from ..protocol.models import LlmInstanceInfo
from .callbacks import call, check_callbacks
from .structured import convert, parse

_log = logging.getLogger("studiolo.client")

T = TypeVar("T")
V = TypeVar("V")

OnFirstToken = Callable[[], Any]
OnFragment = Callable[[Fragment], Any]
OnPromptProgress = Callable[[float], Any]
OnMessage = Callable[[AssistantResponse], Any]

# The official client's names for the same types.
PredictionFirstTokenCallback = OnFirstToken
PredictionFragmentCallback = OnFragment
PredictionMessageCallback = OnMessage
PromptProcessingCallback = OnPromptProgress


@dataclass(frozen=True, kw_only=True)
class PredictionResult(Generic[T]):
    """The final result of a prediction. It prints as its text.

    Parameters:
        content: the generated text.
        parsed: the value that a structured answer is the JSON of; the text where there is no such value
            (``structured_problem`` says why) or the answer is not structured.
        stats: how it went.
        model_info: the model that generated it.
        load_config: the settings that the model was loaded with.
        prediction_config: the settings that were in force.
        logprobs: where ``log_probs`` asked for them: for each token, itself and then the other likeliest candidates.
        reasoning_content, non_reasoning_content: what of the text is reasoning and what is the answer; the tags
            between them are part of neither.
        structured_problem: why a structured answer has no parsed value: it was cut off, or breaks the schema.
        structured_warnings: what in the schema the caller should look at, such as a misspelt keyword.
    """

    content: str
    parsed: T
    stats: PredictionStats
    model_info: LlmInstanceInfo
    load_config: LoadConfig
    prediction_config: PredictionConfig
    logprobs: list[list[LogProb]] | None = None
    reasoning_content: str = ""
    non_reasoning_content: str = ""
    structured_problem: str | None = None
    structured_warnings: tuple[str, ...] = ()

    @property
    def structured(self) -> bool:
        """Whether ``parsed`` is a value that was read from the text."""
        return self.parsed is not self.content

    def parsed_as(self, kind: type[V]) -> V:
        """``parsed`` as an instance of a class: a pydantic model, a msgspec Struct, a dataclass, or another type.

        Raises:
            ConfigError: the answer was cut off, or does not have the form of ``kind``.
        """
        if not self.structured:
            raise ConfigError(
                "The answer has no parsed value",
                cause=self.structured_problem or f"The prediction ended with {self.stats.stop_reason}.",
            )
        return convert(self.parsed, kind)

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return f"PredictionResult(content={self.content!r})"


@dataclass(frozen=True, kw_only=True)
class Callbacks:
    """What a caller wants to be told. An exception in a callback is logged and ends nothing.

    Raises:
        ConfigError: one is no function, or async.
    """

    on_first_token: OnFirstToken | None = None
    on_prediction_fragment: OnFragment | None = None
    on_prompt_processing_progress: OnPromptProgress | None = None
    on_message: OnMessage | None = None

    def __post_init__(self) -> None:
        check_callbacks(self)


class PredictionOptions(TypedDict, total=False):
    """What every prediction takes by name."""

    config: PredictionConfig | Mapping[str, Any] | None
    preset: str | None
    on_message: OnMessage | None
    on_first_token: OnFirstToken | None
    on_prediction_fragment: OnFragment | None
    on_prompt_processing_progress: OnPromptProgress | None


class PredictionState:
    """What a prediction stream knows. Messages go in, fragments come out; no I/O happens here."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._content: list[str] = []
        self._by_type: dict[str, list[str]] = {}
        self._logprobs: list[list[LogProb]] = []
        self._progress = -1.0
        self._had_token = False
        self.started = False
        self.cancelled = False
        self.queue_position: int | None = None
        self.error: BaseException | None = None
        self.outcome: PredictionResult[Any] | None = None

    @property
    def finished(self) -> bool:
        return self.outcome is not None or self.error is not None

    def begin(self) -> None:
        """Mark the request as sent. Raises :class:`UsageError` the second time."""
        if self.started:
            raise UsageError("The prediction has been started already", suggestion="Make a new one for a new run.")
        self.started = True

    def take(self, message: PredictMessage) -> Fragment | None:
        """Take a message in and call the callbacks that it is for; returns the fragment it brings, if any."""
        match message:
            case FragmentMessage():
                if self.cancelled:
                    return None  # it was under way already
                fragment = received_fragment(message)
                self._tell_progress(1.0)
                self.queue_position = None
                if not self._had_token:
                    self._had_token = True
                    call(self._callbacks.on_first_token)
                self._content.append(fragment.content)
                self._by_type.setdefault(fragment.reasoning_type, []).append(fragment.content)
                self._logprobs += fragment.logprobs or ()
                call(self._callbacks.on_prediction_fragment, fragment)
                return fragment
            case PromptProcessingProgress(progress=progress):
                self.queue_position = message.queue_position
                if not self.cancelled:
                    self._tell_progress(progress)
            case PredictSuccess():
                content = "".join(self._content)
                answer = "".join(self._by_type.get("none", ()))
                config = decode_prediction_config(flatten(stack_of(message.prediction_config)))
                structured = message.structured or StructuredOutcome()
                for warning in structured.warnings or ():
                    _log.warning("The JSON schema: %s", warning)
                self.outcome = PredictionResult(
                    content=content,
                    parsed=content if structured.problem else parse(content, answer, config.structured),
                    stats=message.stats,
                    model_info=message.model_info,
                    load_config=decode_load_config(flatten(stack_of(message.load_model_config))),
                    prediction_config=config,
                    logprobs=self._logprobs or None,
                    reasoning_content="".join(self._by_type.get("reasoning", ())),
                    non_reasoning_content=answer,
                    structured_problem=structured.problem,
                    structured_warnings=tuple(structured.warnings or ()),
                )
                call(self._callbacks.on_message, AssistantResponse(content=[TextData(text=content)]))
            case _:
                pass  # tool calls are act()'s business
        return None

    @contextlib.contextmanager
    def noting_failure(self) -> Generator[None, None, None]:
        """Remember an error that ends the prediction, for those who ask for its result."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def abandon(self) -> None:
        """Note that the caller has stopped listening."""
        if not self.finished:
            self.error = CancelledError(
                "The prediction was left before it ended, so that it has no result",
                suggestion="Use cancel() and go on reading for the result of the part that was generated.",
            )

    def result(self) -> PredictionResult[Any]:
        """The result. Raises what the prediction failed with, or :class:`UsageError` while there is none."""
        if self.error is not None:
            raise self.error
        if self.outcome is None:
            raise UsageError(
                "The prediction has not ended yet" if self.started else "The prediction has not been started",
                suggestion="wait_for_result() waits for it.",
            )
        return self.outcome

    def _tell_progress(self, progress: float) -> None:
        if progress > self._progress:  # never backwards, nothing twice
            if self._progress < 0 < progress:
                call(self._callbacks.on_prompt_processing_progress, 0.0)
            self._progress = progress
            call(self._callbacks.on_prompt_processing_progress, progress)


class PredictionStreamBase(Generic[T]):
    """What the sync and the async stream have in common."""

    def __init__(self, state: PredictionState) -> None:
        self.state = state

    @property
    def stats(self) -> PredictionStats | None:
        """The stats, once the prediction has ended."""
        return self.state.outcome.stats if self.state.outcome else None

    @property
    def queue_position(self) -> int | None:
        """While the prediction waits for a slot of the model: the turns until it gets one, counted from 1."""
        return self.state.queue_position

    @property
    def model_info(self) -> LlmInstanceInfo | None:
        """The model, once the prediction has ended."""
        return self.state.outcome.model_info if self.state.outcome else None

    def result(self) -> PredictionResult[T]:
        """The result of a prediction that has ended; does not wait.

        Raises:
            UsageError: it has not ended.
            StudioloError: what it failed with.
        """
        return self.state.result()
