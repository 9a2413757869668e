"""Embeddings: the same over an embedded host and a served one, with the default embedding model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.paths import Home
from tests.support.embedded_host import client_of
from tests.support.homes import link_model, link_models
from tests.support.running import Server, serving

MODEL = "text-embedding-nomic-embed-text-v1.5"
SMALL_MODEL = "all-minilm-l6-v2"
DIMENSIONS = 768
QUEUE_LENGTH = 40


@pytest.fixture(scope="module")
def stocked(
    cache_home: Home, embedding_home: Home, embedding_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Home:
    """A home with the default models and one more that embeds."""
    home = Home(tmp_path_factory.mktemp("embeddings") / "home")
    home.root.mkdir()
    home.settings.write_text(f"[library]\nprograms = []\n[limits]\nqueue_length = {QUEUE_LENGTH}\n")
    link_models(cache_home, home)
    link_models(embedding_home, home)
    link_model(embedding_model, home)
    return home


@pytest.fixture(scope="module")
def served(stocked: Home) -> Iterator[Server]:
    with serving(stocked, stocked.root.parent, "--no-load") as server:
        yield server


@pytest.fixture(scope="module", params=["embedded", "served"])
def client(request: pytest.FixtureRequest, stocked: Home) -> Iterator[lm.Client]:
    place = "embedded" if request.param == "embedded" else request.getfixturevalue("served").address
    with client_of(stocked, place) as client:
        yield client


@pytest.fixture(scope="module")
def model(client: lm.Client) -> lm.EmbeddingModel:
    return client.embedding.model()


def test_an_llm_serves_embeddings_where_the_call_says_so(client: lm.Client) -> None:
    config = {"context_length": 256, "max_parallel_predictions": 1}
    served = client.embedding.model("smollm2-135m-instruct", domain="embedding", config=config)
    try:
        assert served.get_load_config().pooling_type == "last"
        cats, kittens, taxes = served.embed(["Cats purr.", "Kittens purr.", "The tax return is due in May."])
        assert len(cats) == 576 and math.isclose(math.hypot(*cats), 1, rel_tol=1e-3)
        assert cosine(cats, kittens) > cosine(cats, taxes)
        assert served.get_info().type == "embedding"
    finally:
        served.unload()


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_like_meanings_have_like_vectors(model: lm.EmbeddingModel) -> None:
    cat, kitten, car = model.embed(["cat", "kitten", "car"])
    assert {len(vector) for vector in (cat, kitten, car)} == {DIMENSIONS}
    assert all(math.isclose(cosine(vector, vector), 1, abs_tol=1e-4) for vector in (cat, kitten, car))
    assert cosine(cat, kitten) > cosine(cat, car) + 0.2
    sat, rests, rates = model.embed(
        ["A cat sat on the mat.", "A kitten rests on a rug.", "Interest rates rose by a quarter point."]
    )
    assert cosine(sat, rests) > cosine(sat, rates) + 0.2
    assert cosine(model.embed("cat"), cat) > 0.9999, "alone as among others"
    assert model.embed([]) == []


def test_task_prefixes_are_the_callers(model: lm.EmbeddingModel) -> None:
    bare, query, document = model.embed(["cat", "search_query: cat", "search_document: cat"])
    assert max(cosine(bare, query), cosine(bare, document), cosine(query, document)) < 0.95
    assert model.count_tokens("search_query: cat") > model.count_tokens("cat")
    question = model.embed("search_query: Which animal barks?")
    answers = ["Dogs bark at strangers.", "Cats purr when they are content.", "Bees make honey from nectar."]
    vectors = model.embed([f"search_document: {answer}" for answer in answers])
    nearness = [cosine(question, vector) for vector in vectors]
    assert nearness.index(max(nearness)) == 0


def test_a_vector_is_the_mean_of_the_tokens(client: lm.Client, model: lm.EmbeddingModel) -> None:
    default = model.embed("A cat sat on the mat.")
    for pooling, same in (("mean", True), ("cls", False)):
        other = client.embedding.load_new_instance(MODEL, "other", config={"pooling_type": pooling})
        try:
            vector = other.embed("A cat sat on the mat.")
            assert math.isclose(cosine(vector, vector), 1, abs_tol=1e-4)
            assert (cosine(vector, default) > 0.9999) is same
        finally:
            other.unload()


def test_the_handle_describes_its_model(client: lm.Client, model: lm.EmbeddingModel) -> None:
    assert model.identifier == MODEL
    info = model.get_info()
    assert (info.model_key, info.architecture, info.display_name) == (MODEL, "nomic-bert", "Nomic Embed Text v1.5")
    assert model.get_context_length() == info.context_length == info.max_context_length == 2048
    assert MODEL in [each.model_key for each in client.embedding.list_downloaded()]
    assert client.embedding.list_loaded() == [model]
    assert client.list_loaded_models("llm") == []
    first, *words, last = model.tokenize("A cat sat on the mat.")
    assert (first, last) == (101, 102)
    assert model.count_tokens("A cat sat on the mat.") == len(words)


@pytest.mark.parametrize(
    "name",
    [
        "nomic-embed-text-v1.5",
        "Nomic-Embed-Text-v1.5",
        "nomic-ai/nomic-embed-text-v1.5-GGUF",
        "nomic-ai/nomic-embed-text-v1.5-GGUF/nomic-embed-text-v1.5.f16.gguf",
    ],
)
def test_its_other_names(client: lm.Client, model: lm.EmbeddingModel, name: str) -> None:
    assert len(client.embedding.model(name).embed("cat")) == DIMENSIONS
    assert client.embedding.list_loaded() == [model], "it is the same instance"


def test_more_texts_than_fit_into_the_queue(client: lm.Client) -> None:
    small = client.embedding.model(SMALL_MODEL)
    vectors = small.embed(f"word {number % 7}" for number in range(100))
    assert len(vectors) == 100 > 2 * QUEUE_LENGTH
    assert cosine(vectors[0], vectors[98]) > 0.999
    small.unload()


def test_wrong_uses_are_named(client: lm.Client, model: lm.EmbeddingModel) -> None:
    with pytest.raises(lm.ConfigError, match=r"input\[1\]. is of type int"):
        model.embed(["text", 5])  # type: ignore[list-item]
    with pytest.raises(lm.PromptTooLongError, match=r"5002 tokens, .* context of 2048"):
        model.embed("word " * 5000)
    with pytest.raises(lm.StudioloError, match="is an embedding model, not an LLM"):
        client.llm.model(MODEL)
    with pytest.raises(lm.StudioloError, match="is an LLM, not an embedding model"):
        client.embedding.model("smollm2-135m-instruct")


async def test_the_async_client(served: Server) -> None:
    async with lm.AsyncClient(served.address) as client:
        model = await client.embedding.model(MODEL)
        both = await asyncio.gather(model.embed("one"), model.embed(["two", "three"]))
        assert len(both[0]) == DIMENSIONS and len(both[1]) == 2


def test_the_official_client(served: Server) -> None:
    import lmstudio

    with lmstudio.Client(served.address) as client:
        model = client.embedding.model(MODEL)
        assert client.embedding.model().identifier == MODEL, "without a name it takes one that is loaded"
        cat, kitten, car = (list(vector) for vector in model.embed(["cat", "kitten", "car"]))
        assert cosine(cat, kitten) > cosine(cat, car) + 0.2


@pytest.fixture
def bare(empty_home: Home, embedding_home: Home) -> Home:
    """A home without models, whose catalog leads to the file of the default embedding model on this machine."""
    source = f'sources = [{{ type = "file", path = "{next(embedding_home.models.rglob("*.gguf"))}" }}]'
    empty_home.catalog.write_text(f'[models."nomic-embed-text-v1.5"]\n{source}\n')
    return empty_home


def test_a_bare_machine_fetches_it_embedded(bare: Home, capfd: pytest.CaptureFixture[str]) -> None:
    with lm.Client("embedded") as client:
        assert client.list_downloaded_models() == []
        assert len(client.embedding.model().embed("cat")) == DIMENSIONS
        assert [each.model_key for each in client.list_downloaded_models()] == [MODEL]
    assert "fetching the default model nomic-embed-text-v1.5 (274 MB)" in capfd.readouterr().err


async def test_a_bare_server_fetches_it(bare: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(bare, tmp_path, "--no-load") as server:
        async with lm.AsyncClient(server.address) as client:
            model = await client.embedding.model()
            assert model.identifier == MODEL
            await model.unload()
            (fetched,) = bare.models.rglob("*.gguf")
            fetched.unlink()
            info = await client.embedding.get_model_info({"type": "query", "query": {}})
            assert info.identifier == MODEL, "as the official TypeScript client asks for any model"
    assert "fetching the default model nomic-embed-text-v1.5 (274 MB)" in capfd.readouterr().err
