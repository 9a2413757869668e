"""The ``embedding`` namespace, except the endpoints that it shares with ``llm`` (:mod:`.models`)."""

from __future__ import annotations

from ...protocol import models as wire
from .context import Context
from .encoding import model_reference
from .registry import rpc


@rpc(wire.EMBED_STRING, "embedding")
async def embed_string(context: Context, parameter: wire.EmbedStringParameter) -> wire.Embedding:
    reference = model_reference(parameter.model_specifier)
    async with context.host.lease(reference, "embedding", context.client) as lease:
        embeddings = await lease.embed([parameter.input_string])
    return wire.Embedding(embedding=list(embeddings.vectors[0]))


@rpc(wire.RERANK, "embedding")
async def rerank(context: Context, parameter: wire.RerankParameter) -> wire.Scores:
    if not parameter.texts:
        return wire.Scores([])
    async with context.host.lease(model_reference(parameter.model_specifier), "embedding", context.client) as lease:
        return wire.Scores(list((await lease.rerank(parameter.query, parameter.texts)).scores))
