"""Reranking with a real model of random weights: the SDK embedded and served, and the routes of the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import studiolo as lm
from studiolo.library.gguf_file import describe, read_header
from studiolo.paths import Home
from tests.support.embedded_host import client_of
from tests.support.homes import link_model
from tests.support.running import Server, serving

MODEL = "tiny-reranker"
EMBEDDER = "all-minilm-l6-v2"
QUERY = "What is a cat?"
TEXTS = ["A cat is an animal.", "Paris is in France.", "Rain falls.", "Cats sleep for most of the day."]


@pytest.fixture(scope="module")
def stocked(reranking_model: Path, embedding_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("reranking") / "home")
    home.root.mkdir()
    home.settings.write_text(f"[library]\nprograms = []\n[models.{MODEL}]\nload = {{ context_length = 256 }}\n")
    link_model(reranking_model, home)
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


def test_texts_come_with_their_scores_the_best_first(client: lm.Client) -> None:
    found = client.rerank(MODEL, QUERY, TEXTS)
    assert sorted(each.index for each in found) == [0, 1, 2, 3]
    assert [each.text for each in found] == [TEXTS[each.index] for each in found]
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert len({each.score for each in found}) == 4
    assert client.rerank(MODEL, QUERY, TEXTS, top_n=2) == found[:2]
    model = client.embedding.model(MODEL)
    for each in found:  # a score does not depend on the other texts
        assert model.rerank(QUERY, iter([each.text]))[0].score == pytest.approx(each.score, abs=0.01)
    other = {each.index: each.score for each in model.rerank("Where is Paris?", TEXTS)}
    assert any(abs(other[each.index] - each.score) > 0.01 for each in found)
    assert model.rerank(QUERY, []) == []


def test_many_texts_come_in_batches(client: lm.Client) -> None:
    model = client.embedding.model(MODEL)
    texts = [f"{TEXTS[number % 4]} {number}" for number in range(70)]
    found = model.rerank(QUERY, texts)
    assert sorted(each.index for each in found) == list(range(70))
    assert {each.index: each.text for each in found} == dict(enumerate(texts))


def test_a_text_that_does_not_fit_is_named(client: lm.Client) -> None:
    with pytest.raises(lm.PromptTooLongError, match="Text 2 of 3"):
        client.rerank(MODEL, QUERY, ["short", "word " * 400, "short too"])


def test_what_a_model_cannot_do_is_refused(client: lm.Client) -> None:
    with pytest.raises(lm.UnsupportedError, match=f"{EMBEDDER} is not a reranking model"):
        client.rerank(EMBEDDER, QUERY, TEXTS)
    with pytest.raises(lm.UnsupportedError, match="tiny-reranker is a reranking model, which has no embeddings"):
        client.embedding.model(MODEL).embed("text")
    with pytest.raises(lm.ModelNotFoundError):
        client.rerank("none", QUERY, TEXTS)


def test_wrong_arguments_are_named(client: lm.Client) -> None:
    wrong: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("documents", (QUERY, "one text"), {}),
        ("query", (5, TEXTS), {}),
        ("top_n", (QUERY, TEXTS), {"top_n": 0}),
    ]
    model = client.embedding.model(MODEL)
    for name, args, options in wrong:
        with pytest.raises(lm.ConfigError, match=name):
            model.rerank(*args, **options)


def test_its_header_says_that_a_model_reranks(reranking_model: Path, embedding_model: Path) -> None:
    assert [describe(read_header(path)).reranks for path in (reranking_model, embedding_model)] == [True, False]


async def test_the_routes_of_the_server(served: Server) -> None:
    async with aiohttp.ClientSession(f"http://{served.address}") as session:

        async def post(path: str, body: dict[str, Any]) -> tuple[int, Any]:
            async with session.post(path, json=body) as answer:
                return answer.status, await answer.json()

        status, ranking = await post("/v1/rerank", {"model": MODEL, "query": QUERY, "documents": TEXTS})
        assert status == 200 and ranking["usage"]["total_tokens"] > 20
        scores = {each["index"]: each["relevance_score"] for each in ranking["results"]}
        assert list(scores.values()) == sorted(scores.values(), reverse=True) and len(scores) == 4
        short = {"model": MODEL, "query": QUERY, "documents": [{"text": text} for text in TEXTS]}
        _, best = await post("/v1/rerank", {**short, "top_n": 1, "return_documents": True})
        (first,) = best["results"]
        assert first == {**ranking["results"][0], "document": {"text": TEXTS[first["index"]]}}
        for question in (QUERY, [QUERY], [QUERY] * 4):
            _, answer = await post("/v1/score", {"model": MODEL, "text_1": question, "text_2": TEXTS})
            assert [each["index"] for each in answer["data"]] == [0, 1, 2, 3]
            for each in answer["data"]:
                assert each["score"] == pytest.approx(scores[each["index"]], abs=0.01)
        assert len((await post("/v1/score", {"model": MODEL, "text_1": QUERY, "text_2": TEXTS[0]}))[1]["data"]) == 1
        refused = [
            (404, "model", "/v1/rerank", {**short, "model": "none"}),
            (400, "model", "/v1/rerank", {**short, "model": EMBEDDER}),
            (400, "documents", "/v1/rerank", {**short, "documents": []}),
            (400, "documents", "/v1/rerank", {**short, "documents": ["word " * 400]}),
            (400, "rank_fields", "/v1/rerank", {**short, "rank_fields": ["a"]}),
            (400, "text_1", "/v1/score", {"model": MODEL, "text_1": ["a", "b"], "text_2": TEXTS}),
        ]
        for expected, param, path, body in refused:
            status, answer = await post(path, body)
            assert (status, answer["error"]["param"]) == (expected, param), answer
