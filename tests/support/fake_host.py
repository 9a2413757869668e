"""What tests do with a host on the fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from studiolo.config import PredictionConfig
from studiolo.domain.generation import PredictionResult
from studiolo.domain.models import Domain, ModelReference
from studiolo.host.host import Host
from studiolo.host.instance import Instance
from studiolo.host.on_demand import LoadRequest
from studiolo.host.predictions import Prediction
from tests.support.running import PATIENCE_SEC

SETTINGS = """
[library]
programs = []

[loading]
guardrail = "off"

[engine]
name = "fake"
"""


async def load(host: Host, name: str | None, domain: Domain = "llm", request: LoadRequest | None = None) -> Instance:
    """Use the instance of a model for a moment, loaded on demand."""
    async with host.lease(ModelReference(name=name), domain, "", request or LoadRequest()) as lease:
        return lease.instance


async def embed(host: Host, name: str = "vectors") -> Sequence[float]:
    """Embed a text, as a client's call does."""
    async with host.lease(ModelReference(name=name), "embedding") as lease:
        return (await lease.embed(["text"])).vectors[0]


async def predict(host: Host, name: str, client: str = "", **config: object) -> PredictionResult:
    """Run a prediction to its end, as a client's call does."""
    async with host.lease(ModelReference(name=name), "llm", client) as lease:
        prediction = host.predict(lease, "prompt", PredictionConfig(**config))  # type: ignore[arg-type]
        try:
            return await result_of(prediction)
        finally:
            await prediction.close()


async def result_of(prediction: Prediction) -> PredictionResult:
    """Read a prediction to its end."""
    events = [event async for event in prediction.events()]
    assert isinstance(events[-1], PredictionResult)
    return events[-1]


async def until(condition: Callable[[], object]) -> None:
    """Wait until other tasks have made ``condition`` true."""
    async with asyncio.timeout(PATIENCE_SEC):
        while not condition():  # noqa: ASYNC110 - the state of other tasks is seen by looking
            await asyncio.sleep(0)
