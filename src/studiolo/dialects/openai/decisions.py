"""Decisions, an addition of studiolo's: ``POST /v1/decisions``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...config import PredictionConfig
from ...domain.chat import ChatRequest
from ...host.decisions import decide
from ..http.answers import Answer, Whole
from ..http.chats import read_chat
from ..http.endpoint import Call
from ..http.fields import Field, honoured, wrong
from ..http.generation import blaming, leased
from .chat_request import ROLES


class DecisionBody(Struct, kw_only=True):
    """The body of a request to choose between answers."""

    model: Annotated[str, Meta(min_length=1)]
    choices: Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=2, max_length=256)]
    messages: list[Any] | None = None
    prompt: str | None = None

    def asked(self) -> ChatRequest | str:
        """Return the chat to answer, or the text to continue. Raise :class:`InvalidRequestError` for both or none."""
        if (self.messages is None) == (self.prompt is None):
            raise wrong("messages", "give either messages or a prompt")
        if len(set(self.choices)) < len(self.choices):
            raise wrong("choices", "two choices are the same text")
        if self.messages is None:
            return self.prompt or ""
        return ChatRequest(messages=read_chat(self.messages, ROLES))


FIELDS: dict[str, Field] = {
    "model": honoured("The key or identifier of a model, or an alias of the server's."),
    "choices": honoured("2 to 256 texts that an answer may begin with."),
    "messages": honoured("A chat to answer, as for chat completions; or a prompt.", whole=True),
    "prompt": honoured("A text to continue exactly as it is; or messages."),
}


class DecisionAnswer(Struct, kw_only=True):
    """The likeliest choice, and the probability of each; together they are 1."""

    object: Literal["decision"] = "decision"
    model: str
    choice: str
    probabilities: dict[str, float]


async def decide_between(call: Call[DecisionBody]) -> Answer:
    """Return which of several answers is the likeliest."""
    body = call.body
    asked = body.asked()
    with blaming("messages" if body.prompt is None else "prompt"):
        async with leased(call, body.model) as lease:
            found = await decide(call.host, lease, asked, body.choices, PredictionConfig())
    probabilities = dict(zip(body.choices, found, strict=True))
    best = max(body.choices, key=lambda choice: probabilities[choice])
    return Whole(DecisionAnswer(model=body.model, choice=best, probabilities=probabilities))
