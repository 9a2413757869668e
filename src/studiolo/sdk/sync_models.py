"""Handles of loaded models in the sync API."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, cast

from .async_models import AsyncEmbeddingModel, AsyncLLM, AsyncModelHandle, HistoryInput
from .async_stream import AsyncPredictionStream
from .blocking import Blocking, blocking, documented_as
from .chat import Chat
from .mcp import mcp_tools_from_thread
from .prediction import PredictionResult
from .sync_stream import PredictionStream
from .timeouts import deadline_of
from .tool_rounds import ActOptions, ActResult, ActState, check_act_options
from .tool_runner import act_in_thread
from .tools import ToolDefinition, bind_tools

A = TypeVar("A", bound=AsyncModelHandle)
P = ParamSpec("P")
T = TypeVar("T")


class ModelHandle(Blocking[A], Generic[A]):
    """A loaded model, by the identifier of its instance. Handles of one instance are equal."""

    @property
    def identifier(self) -> str:
        """The identifier of the instance."""
        return self.asynchronous.identifier

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identifier={self.identifier!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ModelHandle):
            return NotImplemented
        return self.asynchronous == cast("ModelHandle[Any]", other).asynchronous

    def __hash__(self) -> int:
        return hash(self.asynchronous)

    unload = blocking(AsyncModelHandle.unload)
    get_info = blocking(AsyncModelHandle.get_info)
    get_load_config = blocking(AsyncModelHandle.get_load_config)
    get_load_settings = blocking(AsyncModelHandle.get_load_settings)
    get_context_length = blocking(AsyncModelHandle.get_context_length)
    tokenize = blocking(AsyncModelHandle.tokenize)
    count_tokens = blocking(AsyncModelHandle.count_tokens)


SyncModelHandle = ModelHandle  # the official client's name


def _stream(
    method: Callable[Concatenate[Any, P], AsyncPredictionStream[T]],
) -> Callable[Concatenate[Any, P], PredictionStream[T]]:
    """Return the sync form of a method that returns a stream."""

    @functools.wraps(method)
    def stream(self: LLM, /, *args: P.args, **kwargs: P.kwargs) -> PredictionStream[T]:
        return PredictionStream(method(self.asynchronous, *args, **kwargs))

    return stream


def _result(
    method: Callable[Concatenate[Any, P], AsyncPredictionStream[T]], documentation: Callable[..., Any]
) -> Callable[Concatenate[Any, P], PredictionResult[T]]:
    """Return the sync method that reads a stream to its end, in the calling thread."""

    @functools.wraps(documentation)
    def result(self: LLM, /, *args: P.args, **kwargs: P.kwargs) -> PredictionResult[T]:
        return PredictionStream(method(self.asynchronous, *args, **kwargs)).wait_for_result()

    return result


class LLM(ModelHandle[AsyncLLM]):
    """A loaded LLM."""

    complete_stream = _stream(AsyncLLM.complete_stream)
    complete = _result(AsyncLLM.complete_stream, AsyncLLM.complete)
    infill_stream = _stream(AsyncLLM.infill_stream)
    infill = _result(AsyncLLM.infill_stream, AsyncLLM.infill)
    respond_stream = _stream(AsyncLLM.respond_stream)
    respond = _result(AsyncLLM.respond_stream, AsyncLLM.respond)
    apply_prompt_template = blocking(AsyncLLM.apply_prompt_template)
    decide = blocking(AsyncLLM.decide)
    decide_many = blocking(AsyncLLM.decide_many)
    calibrate = blocking(AsyncLLM.calibrate)

    @documented_as(AsyncLLM.act)
    def act(self, chat: HistoryInput, tools: Iterable[ToolDefinition] = (), **options: Unpack[ActOptions]) -> ActResult:
        check_act_options(options)
        bound = bind_tools(tools, allow_async=False)
        deadline = deadline_of(options.get("timeout"))
        with mcp_tools_from_thread(options.get("mcp", ()), bound, deadline) as from_servers:
            state = ActState(Chat.from_history(chat), {**bound, **from_servers}, options, deadline)
            make_stream = self.asynchronous._round_maker(state, options)  # pyright: ignore[reportPrivateUsage]
            return act_in_thread(state, make_stream, options.get("max_parallel_tool_calls", 1))


class EmbeddingModel(ModelHandle[AsyncEmbeddingModel]):
    """A loaded embedding model."""

    embed = blocking(AsyncEmbeddingModel.embed)
    rerank = blocking(AsyncEmbeddingModel.rerank)
