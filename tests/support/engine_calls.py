"""Requests to an engine, without a host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from studiolo.config import PREDICTION_DEFAULTS, PredictionConfig, explicit_fields
from studiolo.domain.chat import Message, Text
from studiolo.domain.decisions import Question
from studiolo.engines.base import CompletionRequest, DecisionRequest, Engine, EngineEvent, ToolChatRequest
from studiolo.engines.chat_templates.control_tokens import ControlTokens
from studiolo.engines.llama_cpp.client import LlamaServerClient


def request(prompt: str, **settings: object) -> CompletionRequest:
    config = PredictionConfig(**{**explicit_fields(PREDICTION_DEFAULTS), "temperature": 0, **settings})  # type: ignore[arg-type]
    return CompletionRequest(prompt=prompt, config=config)


async def run(engine: Engine, prompt: str, **settings: object) -> list[EngineEvent]:
    return [event async for event in engine.complete(request(prompt, **settings))]


async def drain(events: Any) -> list[Any]:
    return [event async for event in events]


CHAT = ToolChatRequest(messages=[Message("user", [Text("Hi")])], tools=[], config=request("").config)
DECISION = DecisionRequest(messages=[], questions=[Question(text="Which?", choices=["a", "b"])])
CALLS: dict[str, Callable[[LlamaServerClient], Awaitable[object]]] = {
    "/tokenize": lambda client: client.tokenize("text"),
    "/detokenize": lambda client: client.detokenize([1]),
    "/props": lambda client: client.facts(),
    "/slots": lambda client: client.drafts(),
    "/v1/embeddings": lambda client: client.embed(["text"]),
    "/v1/systemone": lambda client: client.decide(DECISION),
    "/v1/models": lambda client: client.check_bias(request("Hi", logit_bias=[(1, 1.0)]).config),
    "/apply-template": lambda client: client.rendered(CHAT, ControlTokens([])),
    "/completion": lambda client: drain(client.complete(request("Hi"))),
    "/v1/chat/completions": lambda client: drain(client.chat_with_tools(CHAT, ControlTokens([]))),
}
"""A call of a llama-server by its path."""
