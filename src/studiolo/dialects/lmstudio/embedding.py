"""The ``embedding`` namespace, beside what it shares with ``llm``."""

from __future__ import annotations

from ...protocol import models as wire
from .context import Context
from .registry import rpc


@rpc(wire.EMBED_STRING, "embedding")
async def embed_string(context: Context, parameter: wire.EmbedStringParameter) -> wire.Embedding:
    context.host.check_taking()
    instance = await context.host.resolve(parameter.model_specifier, "embedding")
    return wire.Embedding(embedding=await instance.embed(parameter.input_string, context.client))
