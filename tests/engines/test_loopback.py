"""Engines where there are no Unix sockets: real processes that listen on a loopback port with a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from studiolo.domain.generation import Fragment
from studiolo.engines.base import Completed
from studiolo.engines.llama_cpp.client import LlamaServerClient
from studiolo.engines.llama_cpp.endpoint import Endpoint
from studiolo.engines.llama_cpp.engine import LlamaCppEngine
from studiolo.errors import PredictionError
from studiolo.paths import Home
from tests.support.engine_calls import request, run
from tests.support.engines import kind_in, spec_of
from tests.support.platform_features import switch_off

pytestmark = pytest.mark.quick_model


@pytest.fixture
async def engine(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LlamaCppEngine]:
    switch_off(monkeypatch, "unix-sockets")
    engine = await kind_in(tmp_path).start(spec_of(next(home.models.rglob("*.gguf"))))
    assert isinstance(engine, LlamaCppEngine)
    yield engine
    await engine.stop()


def endpoint_of(engine: LlamaCppEngine) -> Endpoint:
    return engine._endpoint


async def test_a_completion_is_streamed_over_loopback(engine: LlamaCppEngine, tmp_path: Path) -> None:
    assert not list(tmp_path.glob("*.sock"))
    events = await run(engine, "1 2 3 4 5 6 7", max_tokens=8)
    assert len([event for event in events if isinstance(event, Fragment)]) > 1
    end = events[-1]
    assert isinstance(end, Completed) and end.predicted_tokens == 8
    assert await engine.tokenize("My name is")
    await engine.health()


async def test_requests_without_the_key_are_refused(engine: LlamaCppEngine) -> None:
    endpoint = endpoint_of(engine)
    assert endpoint.url is not None and endpoint.url.startswith("http://127.0.0.1:")
    intruder = LlamaServerClient(Endpoint(url=endpoint.url, api_key="wrong"))
    try:
        with pytest.raises(PredictionError, match=r"[Kk]ey"):
            async for _ in intruder.complete(request("My name is", max_tokens=1)):
                pass
        with pytest.raises(PredictionError, match=r"[Kk]ey"):
            await intruder.tokenize("My name is")
    finally:
        await intruder.close()
    async with aiohttp.ClientSession() as session, session.get(f"{endpoint.url}/props") as response:
        assert response.status == 401


async def test_two_engines_have_keys_and_ports_of_their_own() -> None:
    one, other = Endpoint.loopback(), Endpoint.loopback()
    assert one.api_key != other.api_key
    assert len(one.api_key or "") >= 32


async def test_an_embedding_model_embeds_over_loopback(
    embedding_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_off(monkeypatch, "unix-sockets")
    engine = await kind_in(tmp_path).start(spec_of(embedding_model, domain="embedding"))
    try:
        embedded = await engine.embed(["A text."])
        assert len(embedded.vectors[0]) == 384
    finally:
        await engine.stop()
