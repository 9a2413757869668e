"""The whole answer of a chat completion."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from ..http.gathered import Gathered
from .logprobs import chat_logprobs
from .usage import FinishReason, Usage, finish_reason


class FunctionCall(Struct):
    """The tool that is called, and its arguments as JSON text; cut off where the answer was."""

    name: str
    arguments: str


class ToolCallEntry(Struct):
    """A call of a tool."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class AssistantMessage(Struct, kw_only=True):
    """The answer; its content is null where there are calls alone."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallEntry] | UnsetType = UNSET


class ChatChoice(Struct, kw_only=True):
    """One answer."""

    index: int
    message: AssistantMessage
    logprobs: dict[str, Any] | None
    finish_reason: FinishReason


class ChatCompletion(Struct, kw_only=True):
    """All answers to a chat; ``stats`` is LM Studio's addition, ``metadata`` there with stored ones."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: None = None
    stats: dict[str, Any]
    metadata: dict[str, str] | UnsetType = UNSET


def chat_choice(index: int, answer: Gathered, top_logprobs: int | None) -> ChatChoice:
    """Return the answer number ``index``.

    Parameters:
        top_logprobs: the likeliest tokens that are listed for each; ``None`` for no log-probabilities.
    """
    text = answer.text
    calls = [ToolCallEntry(call.id, FunctionCall(call.name, call.arguments)) for call in answer.calls]
    return ChatChoice(
        index=index,
        message=AssistantMessage(
            content=None if calls and not text else text,
            reasoning_content=answer.reasoning or UNSET,
            tool_calls=calls or UNSET,
        ),
        logprobs=None if top_logprobs is None else chat_logprobs(answer.logprobs, top_logprobs),
        finish_reason=finish_reason(answer),
    )
