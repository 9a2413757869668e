"""Handles of loaded models, and predictions on them, in the sync API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack, overload

from ..config import LoadConfig
from ..protocol import models as wire
from ..protocol.llm import ApplyPromptTemplateOpts, Fragment, PredictMessage
from .async_models import AsyncEmbeddingModel, AsyncLLM, AsyncModelHandle, HistoryInput, PredictionConfigInput
from .async_stream import AsyncPredictionStream
from .background import finish, run
from .prediction import (
    OnFirstToken,
    OnFragment,
    OnMessage,
    OnPromptProgress,
    PredictionOptions,
    PredictionResult,
    PredictionStreamBase,
)
from .structured import ResponseFormat
from .tool_runner import Acting

A = TypeVar("A", bound=AsyncModelHandle)
T = TypeVar("T")


class ModelHandle(Generic[A]):
    """A loaded model, by the identifier of its instance."""

    def __init__(self, handle: A) -> None:
        self._handle = handle

    @property
    def identifier(self) -> str:
        """The identifier of the instance."""
        return self._handle.identifier

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identifier={self.identifier!r})"

    def __eq__(self, other: object) -> bool:
        return self._handle == other._handle if isinstance(other, ModelHandle) else NotImplemented  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    __hash__ = object.__hash__

    def unload(self) -> None:
        """See :meth:`AsyncModelHandle.unload`."""
        run(self._handle.unload())

    def get_info(self) -> wire.ModelInstanceInfo:
        """See :meth:`AsyncModelHandle.get_info`."""
        return run(self._handle.get_info())

    def get_load_config(self) -> LoadConfig:
        """See :meth:`AsyncModelHandle.get_load_config`."""
        return run(self._handle.get_load_config())

    def get_context_length(self) -> int:
        """See :meth:`AsyncModelHandle.get_context_length`."""
        return run(self._handle.get_context_length())

    @overload
    def tokenize(self, input: str) -> list[int]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def tokenize(self, input: Iterable[str]) -> list[list[int]]: ...
    def tokenize(self, input: str | Iterable[str]) -> list[int] | list[list[int]]:
        """See :meth:`AsyncModelHandle.tokenize`."""
        return run(self._handle.tokenize(input))

    def count_tokens(self, input: str) -> int:
        """See :meth:`AsyncModelHandle.count_tokens`."""
        return run(self._handle.count_tokens(input))


SyncModelHandle = ModelHandle  # the official client's name


class LLM(ModelHandle[AsyncLLM], Acting):
    """A loaded LLM."""

    @overload
    def complete_stream(
        self, prompt: str, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionStream[str]: ...
    @overload
    def complete_stream(
        self, prompt: str, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> PredictionStream[dict[str, Any]]: ...
    def complete_stream(
        self,
        prompt: str,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> PredictionStream[Any]:
        """See :meth:`AsyncLLM.complete_stream`. The callbacks are called in the thread that reads the stream."""
        return PredictionStream(
            self._handle.complete_stream(
                prompt,
                response_format=response_format,
                config=config,
                preset=preset,
                on_message=on_message,
                on_first_token=on_first_token,
                on_prediction_fragment=on_prediction_fragment,
                on_prompt_processing_progress=on_prompt_processing_progress,
            )
        )

    @overload
    def complete(
        self, prompt: str, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[str]: ...
    @overload
    def complete(
        self, prompt: str, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[dict[str, Any]]: ...
    def complete(
        self,
        prompt: str,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> PredictionResult[Any]:
        """See :meth:`AsyncLLM.complete`."""
        return self.complete_stream(
            prompt,
            response_format=response_format,
            config=config,
            preset=preset,
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_prompt_processing_progress=on_prompt_processing_progress,
        ).wait_for_result()

    @overload
    def respond_stream(
        self, history: HistoryInput, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionStream[str]: ...
    @overload
    def respond_stream(
        self, history: HistoryInput, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> PredictionStream[dict[str, Any]]: ...
    def respond_stream(
        self,
        history: HistoryInput,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> PredictionStream[Any]:
        """See :meth:`AsyncLLM.respond_stream`. The callbacks are called in the thread that reads the stream."""
        return PredictionStream(
            self._handle.respond_stream(
                history,
                response_format=response_format,
                config=config,
                preset=preset,
                on_message=on_message,
                on_first_token=on_first_token,
                on_prediction_fragment=on_prediction_fragment,
                on_prompt_processing_progress=on_prompt_processing_progress,
            )
        )

    @overload
    def respond(
        self, history: HistoryInput, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[str]: ...
    @overload
    def respond(
        self, history: HistoryInput, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[dict[str, Any]]: ...
    def respond(
        self,
        history: HistoryInput,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> PredictionResult[Any]:
        """See :meth:`AsyncLLM.respond`."""
        return self.respond_stream(
            history,
            response_format=response_format,
            config=config,
            preset=preset,
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_prompt_processing_progress=on_prompt_processing_progress,
        ).wait_for_result()

    def apply_prompt_template(
        self, history: HistoryInput, opts: ApplyPromptTemplateOpts | Mapping[str, Any] | None = None
    ) -> str:
        """See :meth:`AsyncLLM.apply_prompt_template`."""
        return run(self._handle.apply_prompt_template(history, opts))


class EmbeddingModel(ModelHandle[AsyncEmbeddingModel]):
    """A loaded embedding model."""

    @overload
    def embed(self, input: str) -> list[float]: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def embed(self, input: Iterable[str]) -> list[list[float]]: ...
    def embed(self, input: str | Iterable[str]) -> list[float] | list[list[float]]:
        """See :meth:`AsyncEmbeddingModel.embed`."""
        return run(self._handle.embed(input))


class PredictionStream(PredictionStreamBase[T]):
    """A prediction as it happens: iterate over its fragments, then ask for its :meth:`result`.

    Leaving the iteration early, or the ``with`` block, stops the engine's work. :meth:`cancel` may be called from
    another thread.
    """

    def __init__(self, stream: AsyncPredictionStream[T]) -> None:
        super().__init__(stream.state)
        self._stream = stream

    def __enter__(self) -> Self:
        if not self.state.started:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """See :meth:`AsyncPredictionStream.start`."""
        run(self._stream.start())

    def __iter__(self) -> Iterator[Fragment]:
        if not self.state.started:
            self.start()
        try:
            while not self.state.finished:
                for message in self._stream.next_messages_blocking():
                    if (fragment := self.state.take(message)) is not None:
                        yield fragment
        finally:
            self.close()

    def messages(self) -> Iterator[PredictMessage]:
        """Everything that the host tells of the prediction, after it has been taken in; for those who need it all."""
        try:
            while not self.state.finished:
                for message in self._stream.next_messages_blocking():
                    self.state.take(message)
                    yield message
        finally:
            self.close()

    def wait_for_result(self) -> PredictionResult[T]:
        """Read to the end and return the result."""
        for _ in self:
            pass
        return self.result()

    def cancel(self) -> None:
        """See :meth:`AsyncPredictionStream.cancel`."""
        run(self._stream.cancel())

    def close(self) -> None:
        """See :meth:`AsyncPredictionStream.close`."""
        finish(self._stream.close())
