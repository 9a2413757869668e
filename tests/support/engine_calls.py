"""Requests to an engine, without a host."""

from __future__ import annotations

from studiolo.config import PREDICTION_DEFAULTS, PredictionConfig, explicit_fields
from studiolo.engines.base import CompletionRequest, Engine, EngineEvent


def request(prompt: str, **settings: object) -> CompletionRequest:
    config = PredictionConfig(**{**explicit_fields(PREDICTION_DEFAULTS), "temperature": 0, **settings})  # type: ignore[arg-type]
    return CompletionRequest(prompt=prompt, config=config)


async def run(engine: Engine, prompt: str, **settings: object) -> list[EngineEvent]:
    return [event async for event in engine.complete(request(prompt, **settings))]
