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
