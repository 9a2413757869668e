"""Embeddings: ``POST /api/embed`` and, as older clients ask for them, ``POST /api/embeddings``."""

from __future__ import annotations

import array
import time
from typing import Annotated, Any

from msgspec import Meta, Struct

from ...domain.embeddings import Embeddings
from ...engines.base import Engine
from ...errors import PromptTooLongError
from ...host.lease import Lease
from ...host.overflow import CHARACTERS_PER_TOKEN, GROWTH
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import Field, converted, honoured
from ..http.generation import blaming, leased
from ..http.models import known_model
from ..http.vectors import shortened
from .answering import nanoseconds
from .asking import load_request
from .keep_alive import KeepAliveValue, keep, seconds
from .names import known
from .options import LoadOptions, load_option_fields

SHORTER = 0.9
"""A text that the engine refuses although its tokens fit is cut to this part of it."""


class EmbedBody(Struct, kw_only=True):
    """The body of a request for embeddings."""

    model: str = ""
    input: Any = None
    truncate: bool = True
    dimensions: Annotated[int, Meta(ge=0)] = 0
    options: LoadOptions | None = None
    keep_alive: KeepAliveValue = None

    def inputs(self) -> list[str]:
        """Return the texts. Raise :class:`InvalidRequestError` for anything else."""
        if self.input in (None, ""):
            return []
        return [self.input] if isinstance(self.input, str) else converted(self.input, list[str], "input")


class EmbedAnswer(Struct):
    """The vectors of all texts, in their order; durations in nanoseconds."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class OldEmbedBody(Struct, kw_only=True):
    """The body of an older client's request for one vector."""

    model: str = ""
    prompt: str = ""
    options: LoadOptions | None = None
    keep_alive: KeepAliveValue = None


class OldEmbedAnswer(Struct):
    """One vector."""

    embedding: list[float]


_COMMON: dict[str, Field] = {
    "model": honoured("The key of an embedding model, also with the tag latest, or an alias."),
    "options": honoured("Settings of the load."),
    **load_option_fields("options"),
    "keep_alive": honoured("How long the model stays loaded: as for /api/chat."),
}

FIELDS: dict[str, Field] = {
    **_COMMON,
    "input": honoured("A text, or several; none is loaded for an empty one.", whole=True),
    "truncate": honoured("true, the default: the end of a text that is too long is cut off; false: it is refused."),
    "dimensions": honoured("Only the first numbers of each vector, for models that are made for that; 0 for all."),
}

OLD_FIELDS: dict[str, Field] = {
    **_COMMON,
    "prompt": honoured("The text; the end of one that is too long is cut off."),
}


async def embed(call: Call[EmbedBody]) -> Answer:
    """Return the vectors of texts."""
    body = call.body
    began = time.perf_counter()
    name = await known(call, body.model)
    texts = body.inputs()
    found, load_sec = await _embedded(call, name, texts, body)
    total = nanoseconds(time.perf_counter() - began)
    vectors = [array.array("f", vector).tolist() for vector in found.vectors]
    return Whole(EmbedAnswer(body.model, vectors, total, nanoseconds(load_sec), sum(found.token_counts)))


async def embed_one(call: Call[OldEmbedBody]) -> Answer:
    """Return the vector of a text."""
    body = call.body
    name = await known(call, body.model)
    asked = EmbedBody(model=body.model, input=body.prompt, options=body.options, keep_alive=body.keep_alive)
    found, _ = await _embedded(call, name, asked.inputs(), asked)
    return Whole(OldEmbedAnswer(list(found.vectors[0]) if found.vectors else []))


async def _embedded(call: Call[Any], name: str, texts: list[str], body: EmbedBody) -> tuple[Embeddings, float]:
    """Return the vectors of ``texts``, and the seconds until the model was loaded."""
    keep_sec, began = seconds(body.keep_alive), time.perf_counter()
    load = load_request(body.options, await known_model(call, name), explicit=not texts)
    with blaming("input"):
        async with leased(call, name, "embedding", load) as lease:
            load_sec = time.perf_counter() - began
            keep(lease.instance, keep_sec)
            if not texts:
                return Embeddings([], []), load_sec
            found = await _fitting(lease, texts) if body.truncate else await lease.embed(texts)
            vectors = shortened(found.vectors, body.dimensions or None, lease.instance)
    return Embeddings(vectors, found.token_counts), load_sec


async def _fitting(lease: Lease, texts: list[str]) -> Embeddings:
    """Return the vectors of ``texts``, each cut to the context of the model."""
    texts = [await _beginning(lease, text) for text in texts]
    try:
        return await lease.embed(texts)
    except PromptTooLongError:
        pass
    found = [await _cut(lease, text) for text in texts]
    return Embeddings([each.vectors[0] for each in found], [each.token_counts[0] for each in found])


async def _beginning(lease: Lease, text: str) -> str:
    """Return ``text``, or of one that is far too long a beginning that is too long as well."""
    limit = lease.instance.context_length

    async def exceeding(engine: Engine) -> str:
        characters = CHARACTERS_PER_TOKEN * limit
        while characters < len(text) and len(await engine.tokenize(text[:characters])) <= limit:
            characters *= GROWTH
        return text[:characters]

    return await lease.call(exceeding) if len(text) > CHARACTERS_PER_TOKEN * limit else text


async def _cut(lease: Lease, text: str) -> Embeddings:
    """Return the vector of the longest beginning of ``text`` that fits."""
    limit = lease.instance.context_length

    async def fitting(engine: Engine) -> int:
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if len(await engine.tokenize(text[:middle])) <= limit:
                low = middle
            else:
                high = middle - 1
        return low

    low = await lease.call(fitting)
    while True:
        try:
            return await lease.embed([text[:low]])
        except PromptTooLongError:
            if not low:
                raise
            low = int(low * SHORTER)
