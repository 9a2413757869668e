"""An answer of the model, with tools or without, that can be stopped at any moment and keeps what there is of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...chats.partial_answer import MAX_ROUNDS, PartialAnswer
from ...config import PredictionConfig
from ...domain.chat import ToolCall, ToolResult
from ...message_shapes import read_message
from ...sdk.chat import Chat
from ...sdk.prediction import PredictionResult
from ...sdk.sync_models import LLM
from ...sdk.sync_stream import PredictionStream
from ...store.conversation import ConversationMessage
from .interrupts import interrupts_kept, interrupts_wait
from .listener import Listener
from .tools import ChatTools

Keep = Callable[[ConversationMessage], None]
"""Called with each message when it is complete; it sets the message's place."""


def answer(
    llm: LLM,
    chat: Chat,
    config: PredictionConfig,
    tools: ChatTools | None,
    listener: Listener,
    keep: Keep,
    response_format: Any = None,
) -> PredictionResult[Any]:
    """Return the result of the last prediction. Each message of the model and its tools is kept when it is complete.

    What there is of an answer that is interrupted or fails is kept, too, before the exception is raised again.
    """
    with interrupts_kept() as check_interrupt:
        current = _Current(listener, keep, check_interrupt)
        try:
            if tools is not None and tools.names:
                return _act(llm, chat, config, tools, current)
            options: Any = {} if response_format is None else {"response_format": response_format}
            answerer: Any = llm
            stream: PredictionStream[Any] = answerer.respond_stream(
                chat, config=config, on_prompt_processing_progress=current.waiting, **options
            )
            with stream:
                for fragment in stream:
                    current.take(fragment)
                result = stream.result()
            listener.round_ended()
            current.complete(result)
            return result
        except KeyboardInterrupt:
            current.cut("userStopped")
            raise
        except Exception:
            current.cut("failed")
            raise


def _act(llm: LLM, chat: Chat, config: PredictionConfig, tools: ChatTools, current: _Current) -> PredictionResult[Any]:
    results: list[PredictionResult[Any]] = []

    def predicted(result: PredictionResult[Any]) -> None:
        results[:] = [result]
        current.listener.round_ended()
        tools.round_ended()

    def add(message: Any) -> None:
        (read,) = read_message(message, "the answer")
        if read.role == "assistant":
            current.complete(results[0], [part for part in read.parts if isinstance(part, ToolCall)])
        else:
            current.tools_returned([part for part in read.parts if isinstance(part, ToolResult)])

    try:
        llm.act(
            chat,
            tools.begin(),
            config=config,
            max_prediction_rounds=MAX_ROUNDS,
            on_round_start=lambda _: tools.round_began(),
            on_prompt_processing_progress=lambda done, _: current.waiting(done),
            on_prediction_fragment=lambda fragment, _: current.take(fragment),
            on_prediction_completed=predicted,
            on_message=add,
        )
    finally:
        tools.end()
    return results[0]


class _Current:
    """The prediction that runs, with its text so far."""

    def __init__(self, listener: Listener, keep: Keep, check_interrupt: Callable[[], None]) -> None:
        self.listener = listener
        self._keep = keep
        self._check_interrupt = check_interrupt
        self._partial = PartialAnswer()

    def waiting(self, processed: float) -> None:
        """Show how much of the prompt is processed."""
        self._check_interrupt()
        self.listener.waiting(processed)

    def take(self, fragment: Any) -> None:
        """Show a fragment and remember it. Tags around reasoning are neither."""
        self._check_interrupt()
        if (kind := self._partial.take(fragment)) is not None:
            self.listener.fragment(fragment.content, is_reasoning=kind == "reasoning")

    def complete(self, result: PredictionResult[Any], calls: Sequence[ToolCall] = ()) -> None:
        """Keep the message of a prediction that has ended."""
        with interrupts_wait():
            self._keep(self._partial.completed(result, calls))

    def tools_returned(self, results: Sequence[ToolResult]) -> None:
        """Show and keep the results of tools."""
        for each in results:
            self.listener.tool_returned(each.name or "", each.content)
        self._keep(ConversationMessage(role="tool", parts=[*results]))

    def cut(self, stop_reason: str) -> None:
        """Keep what there is of a prediction that has not ended."""
        self.listener.round_ended()
        with interrupts_wait():
            if (message := self._partial.cut(stop_reason)) is not None:
                self._keep(message)
