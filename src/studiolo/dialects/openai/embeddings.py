"""Embeddings: ``POST /v1/embeddings``."""

from __future__ import annotations

import array
import base64
import functools
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

from msgspec import Meta, Struct

from ...engines.base import Engine
from ...host.on_demand import LoadRequest
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import Field, converted, honoured, wrong
from ..http.generation import blaming, leased
from ..http.vectors import shortened
from . import sampling

Text = Annotated[str, Meta(min_length=1)]
Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Meta(min_length=1)]


class EmbeddingsBody(Struct, kw_only=True):
    """The body of a request for embeddings."""

    model: Annotated[str, Meta(min_length=1)]
    input: Any
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    ttl: Annotated[float, Meta(gt=0)] | None = None

    def inputs(self) -> list[str] | list[list[int]]:
        """Return the inputs: texts, or the tokens of each. Raise :class:`InvalidRequestError` for anything else."""
        value: object = self.input
        if value in ("", []):
            raise wrong("input", "is empty")
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise wrong("input", "expected a string, an array of strings, or an array of tokens")
        given = cast("list[Any]", value)
        if isinstance(given[0], list):
            return converted(given, list[Tokens], "input")
        if isinstance(given[0], int):
            return converted([given], list[Tokens], "input")
        return converted(given, list[Text], "input")


class EmbeddingEntry(Struct):
    """The vector of one input: numbers, or their bytes in base64."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(Struct):
    """The tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct):
    """The vectors of all inputs, in their order."""

    data: list[EmbeddingEntry]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


FIELDS: dict[str, Field] = {
    "model": honoured("The key or identifier of an embedding model, or an alias of the server's."),
    "input": honoured("A text, several, the tokens of one, or of several.", whole=True),
    "dimensions": honoured("Only the first numbers of each vector, for models that are made for that."),
    "encoding_format": honoured("float, or base64 of little-endian 32-bit numbers."),
    "ttl": honoured("LM Studio's addition: seconds of idleness after which a model loaded for this is unloaded."),
    "num_ctx": sampling.FIELDS["num_ctx"],
    "user": sampling.FIELDS["user"],
}


async def embed(call: Call[EmbeddingsBody]) -> Answer:
    """Return the vectors of texts."""
    body = call.body
    inputs = body.inputs()
    with blaming("input"):
        async with leased(call, body.model, "embedding", LoadRequest(ttl_sec=body.ttl)) as lease:
            texts = [each for each in inputs if isinstance(each, str)]
            if len(texts) < len(inputs):
                texts = await lease.call(functools.partial(_texts, inputs=inputs))
            found = await lease.embed(texts)
            vectors = shortened(found.vectors, body.dimensions, lease.instance)
    data = [EmbeddingEntry(index, _encoded(vector, body.encoding_format)) for index, vector in enumerate(vectors)]
    tokens = sum(found.token_counts)
    return Whole(EmbeddingList(data, body.model, EmbeddingUsage(tokens, tokens)))


async def _texts(engine: Engine, inputs: Sequence[str | list[int]]) -> list[str]:
    return [await engine.detokenize(each) for each in inputs if not isinstance(each, str)]


def _encoded(vector: Sequence[float], encoding: str) -> list[float] | str:
    single = array.array("f", vector)  # both forms have the precision of the engine's numbers
    if encoding == "float":
        return single.tolist()
    if sys.byteorder == "big":
        single.byteswap()
    return base64.b64encode(single.tobytes()).decode()
