"""The host's objects as the wire's."""

from __future__ import annotations

from typing import Any

from ...host.instance import Instance
from ...library.model import Model
from ...protocol.models import (
    EmbeddingModelInfo,
    EmbeddingModelInstanceInfo,
    LlmInfo,
    LlmInstanceInfo,
    ModelInfo,
    ModelInstanceInfo,
    Quantization,
)
from ...protocol.system import InstanceStatus, QueuedStatus


def model_info(model: Model) -> ModelInfo:
    """What the wire tells of a model on disk."""
    if model.domain == "embedding":
        return EmbeddingModelInfo(**_common(model))
    return LlmInfo(**_common(model), **_llm_only(model))


def instance_info(instance: Instance) -> ModelInstanceInfo:
    """What the wire tells of a loaded model."""
    loaded: dict[str, Any] = {
        "identifier": instance.identifier,
        "instance_reference": instance.reference,
        "context_length": instance.context_length,
    }
    model = instance.model
    if model.domain == "embedding":
        return EmbeddingModelInstanceInfo(**_common(model), **loaded)
    return LlmInstanceInfo(**_common(model), **_llm_only(model), **loaded)


def instance_status(instance: Instance) -> InstanceStatus:
    """What ``studiolo ps`` shows of a loaded model."""
    return InstanceStatus(
        identifier=instance.identifier,
        model_key=instance.model.key,
        domain=instance.model.domain or "llm",
        state=instance.state,
        size_bytes=instance.model.size_bytes,
        context_length=instance.context_length,
        parallel=instance.config.max_parallel_predictions or 1,
        running=instance.slots.running,
        queue=[QueuedStatus(client=t.client, waited_sec=t.waited_sec) for t in instance.slots.queue()],
        ttl_sec=instance.ttl_sec,
        idle_sec=instance.idle_sec,
        pid=instance.pid,
        engine=instance.engine_name,
        note=instance.engine_note,
        memory_bytes=instance.estimate.total_bytes if instance.estimate else None,
    )


def quantization(model: Model) -> Quantization | None:
    """The quantisation, where the file's header tells it."""
    metadata = model.metadata
    if metadata is None or metadata.quantization is None or metadata.bits is None:
        return None
    return Quantization(name=metadata.quantization, bits=metadata.bits)


def _common(model: Model) -> dict[str, Any]:
    metadata = model.metadata
    return {
        "model_key": model.key,
        "format": "gguf",
        "display_name": model.display_name,
        "publisher": model.publisher,
        "path": model.relative_path,
        "size_bytes": model.size_bytes,
        "params_string": metadata.params_string if metadata else None,
        "architecture": metadata.architecture if metadata else None,
        "quantization": quantization(model),
        "max_context_length": (metadata.max_context_length or 0) if metadata else 0,
    }


def _llm_only(model: Model) -> dict[str, Any]:
    metadata = model.metadata
    return {
        "vision": model.vision,
        "trained_for_tool_use": bool(metadata and metadata.trained_for_tool_use),
    }
