"""Reranking: ``POST /v1/rerank`` in the form of Jina's and Cohere's APIs, ``POST /v1/score`` in vLLM's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ...domain.embeddings import Relevance
from ...host.on_demand import LoadRequest
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import Field, honoured, ignored, refused, wrong
from ..http.generation import blaming, leased
from .embeddings import EmbeddingUsage

MAX_DOCUMENTS = 1000
"""Texts of one request."""

Text = Annotated[str, Meta(min_length=1)]


class Document(Struct, kw_only=True):
    """A text, as an object."""

    text: Text


_MODEL: dict[str, Field] = {
    "model": honoured("The key or identifier of a reranking model, or an alias of the server's."),
    "ttl": honoured("Seconds of idleness after which a model loaded for this is unloaded."),
    "user": ignored("Names the end user to the service; no effect on the answer."),
}


class RerankBody(Struct, kw_only=True):
    """The body of a request to order texts."""

    model: Annotated[str, Meta(min_length=1)]
    query: Text
    documents: Annotated[list[Text | Document], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool = False
    ttl: Annotated[float, Meta(gt=0)] | None = None


class Ranked(Struct, kw_only=True, omit_defaults=True):
    """The score of one text, and the text where it was asked for."""

    index: int
    relevance_score: float
    document: Document | None = None


class Ranking(Struct, kw_only=True):
    """The texts, the best first."""

    object: Literal["list"] = "list"
    model: str
    results: list[Ranked]
    usage: EmbeddingUsage


FIELDS: dict[str, Field] = {
    **_MODEL,
    "query": honoured("The question."),
    "documents": honoured(f"1 to {MAX_DOCUMENTS} texts, or objects with a text each.", whole=True),
    "top_n": honoured("How many results at most. Default: all."),
    "return_documents": honoured("Whether the results have the texts."),
    "max_chunks_per_doc": refused("A document is read whole, or refused where it does not fit."),
    "max_tokens_per_doc": refused("A document is read whole, or refused where it does not fit."),
    "rank_fields": refused("A document has its text alone."),
}


async def rerank(call: Call[RerankBody]) -> Answer:
    """Return texts in the order of how well they answer a question."""
    body = call.body
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    found = await _scores(call, body.query, texts, "documents")
    order = sorted(range(len(texts)), key=lambda index: -found.scores[index])
    results = [
        Ranked(
            index=index,
            relevance_score=found.scores[index],
            document=Document(text=texts[index]) if body.return_documents else None,
        )
        for index in order[: body.top_n]
    ]
    usage = EmbeddingUsage(found.prompt_tokens, found.prompt_tokens)
    return Whole(Ranking(model=body.model, results=results, usage=usage))


class ScoreBody(Struct, kw_only=True):
    """The body of a request for the scores of texts."""

    model: Annotated[str, Meta(min_length=1)]
    text_1: Text | Annotated[list[Text], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
    text_2: Text | Annotated[list[Text], Meta(min_length=1, max_length=MAX_DOCUMENTS)]
    ttl: Annotated[float, Meta(gt=0)] | None = None


class Score(Struct, kw_only=True):
    """The score of one pair of texts."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreList(Struct, kw_only=True):
    """The scores of all pairs, in their order."""

    object: Literal["list"] = "list"
    model: str
    data: list[Score]
    usage: EmbeddingUsage


SCORE_FIELDS: dict[str, Field] = {
    **_MODEL,
    "text_1": honoured("A question, or as many questions as there are texts.", whole=True),
    "text_2": honoured(f"A text, or up to {MAX_DOCUMENTS}.", whole=True),
    "truncate_prompt_tokens": refused("A text is read whole, or refused where it does not fit."),
}


async def score(call: Call[ScoreBody]) -> Answer:
    """Return how well texts answer a question, or each of several its own."""
    body = call.body
    texts = [body.text_2] if isinstance(body.text_2, str) else body.text_2
    queries = [body.text_1] if isinstance(body.text_1, str) else body.text_1
    if len(queries) == 1:
        found = [await _scores(call, queries[0], texts, "text_2")]
    elif len(queries) == len(texts):
        found = [await _scores(call, query, [text], "text_2") for query, text in zip(queries, texts, strict=True)]
    else:
        raise wrong("text_1", f"it has {len(queries)} texts, and text_2 has {len(texts)}")
    scores, tokens = [each for pairs in found for each in pairs.scores], sum(pairs.prompt_tokens for pairs in found)
    data = [Score(index=index, score=each) for index, each in enumerate(scores)]
    return Whole(ScoreList(model=body.model, data=data, usage=EmbeddingUsage(tokens, tokens)))


async def _scores(call: Call[Any], query: str, texts: Sequence[str], field: str) -> Relevance:
    with blaming(field, rerank="model"):
        async with leased(call, call.body.model, "embedding", LoadRequest(ttl_sec=call.body.ttl)) as lease:
            return await lease.rerank(query, texts)
