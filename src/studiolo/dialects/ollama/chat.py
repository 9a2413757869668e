"""Chats: ``POST /api/chat``."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from ...domain.chat import ChatRequest, Message, Tool
from ..http.answers import Answer
from ..http.chats import check_tool_names, read_chat
from ..http.endpoint import Call
from ..http.fields import Field, honoured, wrong
from ..http.models import known_model
from . import asking
from .answering import Asked, answer
from .asking import Asking
from .loading import load_or_unload
from .names import known

ROLES = ("system", "user", "assistant", "tool")


class ToolFunction(Struct):
    """A tool's definition."""

    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class FunctionTool(Struct):
    """A tool."""

    function: ToolFunction
    type: Literal["function"] = "function"


class ChatBody(Asking, kw_only=True):
    """The body of a request for an answer to a chat."""

    messages: list[Any] = msgspec.field(default_factory=list[Any])
    tools: list[FunctionTool] | None = None

    def chat(self) -> ChatRequest:
        """Return the chat. Raise :class:`InvalidRequestError` for what is malformed in it."""
        tools = [
            Tool(tool.function.name, tool.function.description, tool.function.parameters) for tool in self.tools or ()
        ]
        check_tool_names(tools)
        return ChatRequest(messages=read_messages(self.messages), tools=tools or None)


class CalledFunction(Struct):
    """A call's tool and arguments, and its number in the answer."""

    index: int
    name: str
    arguments: dict[str, Any]


class ToolCallEntry(Struct):
    """A call of a tool."""

    id: str
    function: CalledFunction


class AnswerMessage(Struct, kw_only=True):
    """The answer to a chat."""

    role: Literal["assistant"] = "assistant"
    content: str
    thinking: str | UnsetType = UNSET
    tool_calls: list[ToolCallEntry] | UnsetType = UNSET


class AnswerHead(Struct, kw_only=True):
    """What every answer has; durations in nanoseconds."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"] | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_cached_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[dict[str, Any]] | UnsetType = UNSET


class ChatAnswer(AnswerHead, kw_only=True):
    """The whole answer, or a line of a stream."""

    message: AnswerMessage


FIELDS: dict[str, Field] = {
    **asking.FIELDS,
    "messages": honoured(
        "The chat: system, user, assistant and tool messages; images in base64. None: the model is loaded, or with "
        "keep_alive 0 unloaded.",
        whole=True,
    ),
    "tools": honoured("Functions that the model may call."),
    "tools.type": honoured("function, the default."),
    "tools.function": honoured("The function."),
    "tools.function.name": honoured("Its name."),
    "tools.function.description": honoured("What it is for."),
    "tools.function.parameters": honoured("The JSON schema of its arguments.", whole=True),
}


async def chat(call: Call[ChatBody]) -> Answer:
    """Answer a chat, or load or unload the model."""
    body = call.body
    name = await known(call, body.model)
    if not body.messages:
        return await load_or_unload(call, body, name, chat_form)
    model = await known_model(call, name)
    config, load = body.prediction_config(model), body.load_request(model)
    return await answer(Asked(call, body, name, body.chat(), config, load, chat_form, "messages"))


def chat_form(text: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the members of an answer to a chat."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = calls
    return {"message": message}


def read_messages(messages: list[Any]) -> list[Message]:
    """Return the messages of a chat. Raise :class:`InvalidRequestError` for a malformed one, with its path."""
    return read_chat([_with_parts(each, f"messages.{index}") for index, each in enumerate(messages)], ROLES)


def _with_parts(message: Any, where: str) -> Any:
    """Return a message with its images as parts of its content."""
    if not isinstance(message, dict):
        return message
    fields = {key: value for key, value in cast("dict[str, Any]", message).items() if value is not None}
    images = fields.pop("images", None)
    if images in (None, []):
        return fields
    content = fields.get("content", "")
    if not isinstance(content, str):
        raise wrong(f"{where}.content", "expected a string")
    return {**fields, "content": [*([content] if content else []), *image_parts(images, f"{where}.images")]}


def image_parts(images: Any, where: str) -> list[dict[str, Any]]:
    """Return images in base64 as parts of a message. Raise :class:`InvalidRequestError` for anything else.

    Parameters:
        where: their path in the request.
    """
    if not isinstance(images, list):
        raise wrong(where, "expected an array of images in base64")
    parts: list[dict[str, Any]] = []
    for index, data in enumerate(cast("list[Any]", images)):
        if not isinstance(data, str) or not data:
            raise wrong(f"{where}.{index}", "expected an image in base64")
        try:
            base64.b64decode("".join(data.split()), validate=True)
        except ValueError:
            raise wrong(f"{where}.{index}", "is not base64") from None
        parts.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}})
    return parts
