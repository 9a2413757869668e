"""Embeddings: the same over an embedded host and a served one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.paths import Home

from .running import Server, link_model, link_models, serving

MODEL = "all-minilm-l6-v2"
TEXTS = ["A cat sat on the mat.", "A kitten rests on a rug.", "Interest rates rose by a quarter point."]


@pytest.fixture(scope="module")
def served(cache_home: Home, embedding_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("embeddings")
    home = Home(folder / "home")
    home.root.mkdir()
    link_models(cache_home, home)
    link_model(embedding_model, home)
    with serving(home, folder, "--no-load") as server:
        yield server


@pytest.fixture(params=["embedded", "served"])
def client(request: pytest.FixtureRequest, home: Home, embedding_model: Path, served: Server) -> Iterator[lm.Client]:
    link_model(embedding_model, home)
    with lm.Client(served.address if request.param == "served" else "embedded") as client:
        yield client


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_like_texts_have_like_vectors(client: lm.Client) -> None:
    model = client.embedding.model(MODEL)
    cat, kitten, rates = model.embed(TEXTS)
    assert {len(vector) for vector in (cat, kitten, rates)} == {384}
    assert all(math.isclose(cosine(vector, vector), 1, abs_tol=1e-4) for vector in (cat, kitten, rates))
    assert cosine(cat, kitten) > cosine(cat, rates) + 0.2
    alone = model.embed(TEXTS[0])
    assert cosine(alone, cat) > 0.9999
    assert model.embed([]) == []
    model.unload()


def test_the_handle_tells_of_its_model(client: lm.Client) -> None:
    model = client.embedding.model(MODEL)
    assert model.identifier == MODEL
    assert model.get_context_length() == model.get_info().context_length <= 512
    assert [each.model_key for each in client.embedding.list_downloaded()] == [f"text-embedding-{MODEL}"]
    assert client.embedding.list_loaded() == [model]
    assert client.list_loaded_models("llm") == []
    assert model.count_tokens("A cat sat on the mat.") == len(model.tokenize("A cat sat on the mat.")) - 2
    model.unload()


def test_more_texts_than_fit_into_any_queue(client: lm.Client) -> None:
    model = client.embedding.model(MODEL)
    vectors = model.embed(f"word {number % 7}" for number in range(1500))
    assert len(vectors) == 1500
    assert cosine(vectors[0], vectors[1498 - 1498 % 7]) > 0.999
    model.unload()


def test_wrong_uses_are_named(client: lm.Client) -> None:
    model = client.embedding.model(MODEL)
    with pytest.raises(lm.ConfigError, match="int in it"):
        model.embed(["text", 5])  # type: ignore[list-item]
    with pytest.raises(lm.PromptTooLongError, match=r"tokens"):
        model.embed("word " * 5000)
    with pytest.raises(lm.StudioloError, match="is an embedding model, not an LLM"):
        client.llm.model(MODEL)
    with pytest.raises(lm.StudioloError, match="is an LLM, not an embedding model"):
        client.embedding.model("smollm2-135m-instruct")
    model.unload()


async def test_the_async_client(served: Server) -> None:
    async with lm.AsyncClient(served.address) as client:
        model = await client.embedding.model(MODEL)
        both = await asyncio.gather(model.embed(TEXTS[0]), model.embed(TEXTS[1:]))
        assert len(both[0]) == 384 and len(both[1]) == 2
        await model.unload()


def test_the_official_client(served: Server) -> None:
    import lmstudio

    with lmstudio.Client(served.address) as client:
        model = client.embedding.model(MODEL)
        cat, kitten, rates = model.embed(TEXTS)
        assert cosine(list(cat), list(kitten)) > cosine(list(cat), list(rates)) + 0.2
        assert len(model.embed(["one"] * 1200)) == 1200
        model.unload()
