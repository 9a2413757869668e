"""Predictions on the client's side: options, results, and the state that the sync and the async stream share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar

from msgspec.structs import replace

from ..config import LoadConfig, PredictionConfig
from ..errors import CancelledError, ConfigError, TimeLimitError, UsageError
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
from .callbacks import call
from .structured import convert, parse
from .timeouts import Timeout

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

PredictionConfigInput = PredictionConfig | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PredictionResult(Generic[T]):
    """The result of a finished prediction. ``str()`` of it is its text. It is true, also if the text is empty.

    Parameters:
        content: the generated text.
        parsed: the value of a structured answer, decoded from JSON; otherwise the text. ``structured_problem`` says
            why a structured answer has no value.
        stats: token counts, timings and the stop reason.
        model_info: the model that generated the text.
        load_config: the settings that the model was loaded with.
        prediction_config: the settings that were in force.
        logprobs: if ``log_probs`` is set: for each token, itself and then the other most likely candidates.
        reasoning_content, non_reasoning_content: the reasoning and the answer in the text, both without the tags
            between them.
        structured_problem: why a structured answer has no parsed value: it was cut off, or violates the schema.
        structured_warnings: likely mistakes in the schema, such as a misspelt keyword.
        engine_restarts: how often the engine died and the answer was continued on its successor, as the setting
            ``on_engine_failure`` says.
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
    engine_restarts: int = 0

    @property
    def structured(self) -> bool:
        """Whether ``parsed`` is a value decoded from the text."""
        return self.parsed is not self.content

    def parsed_as(self, kind: type[V]) -> V:
        """Return ``parsed`` as an instance of a class: a pydantic model, a msgspec Struct, a dataclass, ...

        Raises:
            ConfigError: the answer was cut off, or does not match ``kind``.
        """
        if not self.structured:
            raise ConfigError(
                "The answer has no parsed value",
                cause=self.structured_problem or f"The prediction ended with {self.stats.stop_reason}.",
            )
        return convert(self.parsed, kind)

    def __hash__(self) -> int:
        return hash((self.content, self.stats.stop_reason))  # the fields in it are not all hashable

    def __str__(self) -> str:
        return self.content

    def __format__(self, spec: str) -> str:
        return format(self.content, spec)

    def __repr__(self) -> str:
        return f"PredictionResult(content={self.content!r})"


class PredictionCallbacks(TypedDict, total=False):
    """The callbacks of a prediction. An exception in one is logged and interrupts nothing."""

    on_message: OnMessage | None
    on_first_token: OnFirstToken | None
    on_prediction_fragment: OnFragment | None
    on_prompt_processing_progress: OnPromptProgress | None


class PredictionOptions(PredictionCallbacks, total=False):
    """The keyword arguments of every prediction; see :meth:`AsyncLLM.complete_stream`."""

    config: PredictionConfigInput | None
    preset: str | None
    timeout: Timeout


class PredictionState:
    """The state of a prediction stream. Messages go in, fragments come out; no I/O happens here."""

    def __init__(self, callbacks: PredictionCallbacks) -> None:
        self._callbacks = callbacks
        self._content: list[str] = []
        self._by_type: dict[str, list[str]] = {}
        self._logprobs: list[list[LogProb]] = []
        self._progress = -1.0
        self._had_token = False
        self.started = False
        self.cancelled = False
        self.time_limit_reached = False
        self.queue_position: int | None = None
        self.error: BaseException | None = None
        self.outcome: PredictionResult[Any] | None = None

    @property
    def finished(self) -> bool:
        return self.outcome is not None or self.error is not None

    @property
    def content(self) -> str:
        """The text that has arrived."""
        return "".join(self._content)

    def begin(self) -> None:
        """Record that the request is sent. Raise :class:`UsageError` on a second call."""
        if self.started:
            raise UsageError("The prediction has already been started", suggestion="Create a new stream.")
        self.started = True

    def take(self, message: PredictMessage) -> Fragment | None:
        """Process a message and call its callbacks; return its fragment, if it has one."""
        match message:
            case FragmentMessage():
                if self.cancelled:
                    return None  # sent before the host received the cancellation
                fragment = received_fragment(message)
                self._report_progress(1.0)
                self.queue_position = None
                if not self._had_token:
                    self._had_token = True
                    call(self._callbacks.get("on_first_token"))
                self._content.append(fragment.content)
                self._by_type.setdefault(fragment.reasoning_type, []).append(fragment.content)
                self._logprobs += fragment.logprobs or ()
                call(self._callbacks.get("on_prediction_fragment"), fragment)
                return fragment
            case PromptProcessingProgress(progress=progress):
                self.queue_position = message.queue_position
                if not self.cancelled:
                    self._report_progress(progress)
            case PredictSuccess():
                content, stats = self.content, message.stats
                stopped_at_limit = self.time_limit_reached and not self.cancelled
                if message.time_limit_reached or (stopped_at_limit and stats.stop_reason == "userStopped"):
                    stats = replace(stats, stop_reason="timeLimitReached")
                answer = "".join(self._by_type.get("none", ()))
                config = decode_prediction_config(flatten(stack_of(message.prediction_config)))
                structured = message.structured or StructuredOutcome()
                for warning in structured.warnings or ():
                    _log.warning("The JSON schema: %s", warning)
                self.outcome = PredictionResult(
                    content=content,
                    parsed=content if structured.problem else parse(content, answer, config.structured),
                    stats=stats,
                    model_info=message.model_info,
                    load_config=decode_load_config(flatten(stack_of(message.load_model_config))),
                    prediction_config=config,
                    logprobs=self._logprobs or None,
                    reasoning_content="".join(self._by_type.get("reasoning", ())),
                    non_reasoning_content=answer,
                    structured_problem=structured.problem,
                    structured_warnings=tuple(structured.warnings or ()),
                    engine_restarts=message.engine_restarts or 0,
                )
                call(self._callbacks.get("on_message"), AssistantResponse(content=[TextData(text=content)]))
            case _:
                pass  # act() reads the tool calls
        return None

    @contextlib.contextmanager
    def noting_failure(self) -> Generator[None, None, None]:
        """Keep an error that ends the prediction, so that :meth:`result` raises it, too."""
        try:
            yield
        except Exception as error:
            if isinstance(error, TimeLimitError):
                error.data["content"] = self.content
            self.error = error
            raise

    def abandon(self) -> None:
        """Record that the caller has stopped reading."""
        if not self.finished:
            self.error = CancelledError(
                "The prediction was left before it ended and has no result",
                suggestion="Call cancel() and keep reading to get the result of the part that was generated.",
            )

    def result(self) -> PredictionResult[Any]:
        """Return the result. Raise the error that the prediction failed with; :class:`UsageError` before its end."""
        if self.error is not None:
            raise self.error
        if self.outcome is None:
            raise UsageError(
                "The prediction has not ended yet" if self.started else "The prediction has not been started",
                suggestion="Call wait_for_result().",
            )
        return self.outcome

    def _report_progress(self, progress: float) -> None:
        if progress > self._progress:  # never backwards, nothing twice
            if self._progress < 0 < progress:
                call(self._callbacks.get("on_prompt_processing_progress"), 0.0)
            self._progress = progress
            call(self._callbacks.get("on_prompt_processing_progress"), progress)
