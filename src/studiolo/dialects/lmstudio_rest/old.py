"""Version 0: OpenAI's chat completions, completions and embeddings, with what LM Studio adds about model and engine."""

from __future__ import annotations

from typing import Any

import msgspec

from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.generation import reference
from ..openai.chat import complete_chat
from ..openai.chat_request import ChatBody
from ..openai.completions import CompletionBody, complete


async def complete_chat_with_info(call: Call[ChatBody]) -> Answer:
    """Answer a chat; a whole answer describes the model and the engine."""
    answer = await complete_chat(call)
    if not isinstance(answer, Whole):
        return answer
    return Whole({**msgspec.to_builtins(answer.body), **await _about(call, call.body.model)})


async def complete_with_info(call: Call[CompletionBody]) -> Answer:
    """Continue a text; a whole answer describes the model and the engine."""
    answer = await complete(call)
    if not isinstance(answer, Whole):
        return answer
    return Whole({**msgspec.to_builtins(answer.body), **await _about(call, call.body.model)})


async def _about(call: Call[Any], model: str) -> dict[str, Any]:
    instance = await call.host.find_loaded(await reference(call, model), "llm")
    if instance is None or instance.model.metadata is None:  # unloaded since
        return {}
    header = instance.model.metadata
    async with instance.lease(call.client).held() as lease, lease.on_engine() as engine:
        runtime = {"name": engine.name, "version": engine.version, "supported_formats": ["gguf"]}
    return {
        "model_info": {
            "arch": header.architecture,
            "quant": header.quantization,
            "format": "gguf",
            "context_length": instance.context_length,
        },
        "runtime": runtime,
    }
