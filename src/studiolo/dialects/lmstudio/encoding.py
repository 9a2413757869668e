"""Encode models, instances, estimates and progress of the host as messages; decode model specifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...domain import events, progress
from ...domain.models import ModelReference
from ...host.instance import Instance
from ...host.load_plan import Estimate
from ...host.setting_origins import SettingInForce
from ...library.model import Model
from ...protocol import load_plan as load_plan_wire
from ...protocol.models import (
    EmbeddingModelInfo,
    EmbeddingModelInstanceInfo,
    InstanceReferenceSpecifier,
    LlmInfo,
    LlmInstanceInfo,
    MemoryUsage,
    ModelInfo,
    ModelInstanceInfo,
    ModelSpecifier,
    ProcessingState,
    Quantization,
    UsageEstimate,
)
from ...protocol.repository import DownloadProgress, DownloadProgressUpdate
from ...protocol.system import CrashReport, InstanceStatus, QueuedStatus


def model_reference(specifier: ModelSpecifier) -> ModelReference:
    """Return the model reference for a specifier."""
    if isinstance(specifier, InstanceReferenceSpecifier):
        return ModelReference(instance=specifier.instance_reference)
    query = specifier.query
    return ModelReference(
        name=query.identifier,
        path=query.path,
        vision=query.vision,
        domain=query.domain,
        device=query.device_identifier,
    )


def model_info(model: Model) -> ModelInfo:
    """Return the info of a model on disk."""
    if model.domain == "embedding":
        return EmbeddingModelInfo(**_common(model))
    return LlmInfo(**_common(model), **_llm_only(model))


def instance_info(instance: Instance, *, in_use: bool = False) -> ModelInstanceInfo:
    """Return the info of a loaded model.

    Parameters:
        in_use: whether to report the model as in use, because the request that asks still uses it.
    """
    used = None if in_use else instance.last_used_time
    loaded: dict[str, Any] = {
        "identifier": instance.identifier,
        "instance_reference": instance.reference,
        "context_length": instance.context_length,
        "ttl_ms": None if instance.ttl_sec is None else max(1, round(instance.ttl_sec * 1000)),
        "last_used_time": None if used is None else round(used * 1000),
        "note": instance.note,
    }
    model = instance.model
    if model.domain == "embedding":
        return EmbeddingModelInstanceInfo(**_common(model), **loaded)
    return LlmInstanceInfo(**_common(model), **_llm_only(model), **loaded)


def processing_state(instance: Instance) -> ProcessingState:
    """Return the activity of a loaded model, and the number of its requests."""
    queued = instance.slots.running + instance.slots.waiting
    if not queued:
        return ProcessingState("idle", 0)
    if instance.model.domain == "embedding":
        return ProcessingState("computingEmbedding", queued)
    generates = any(prediction.has_token for prediction in instance.predictions)
    return ProcessingState("generating" if generates else "processingPrompt", queued)


def usage_estimate(estimate: Estimate) -> UsageEstimate:
    """Return the estimated memory of a load."""
    vram = sum(device.needed_bytes for device in estimate.devices[1:])
    model_vram = vram * estimate.weights_bytes // max(estimate.total_bytes, 1)
    return UsageEstimate(
        memory=MemoryUsage(
            confidence="low" if vram else "high",
            model_vram_bytes=model_vram,
            context_vram_bytes=vram - model_vram,
            total_vram_bytes=vram,
            model_bytes=estimate.weights_bytes,
            context_bytes=estimate.total_bytes - estimate.weights_bytes,
            total_bytes=estimate.total_bytes,
        ),
        passes_guardrails=estimate.fits,
    )


def load_plan(estimate: Estimate, settings: Sequence[SettingInForce]) -> load_plan_wire.LoadPlan:
    """Return what a load would take, and the settings that would be in force."""
    return load_plan_wire.LoadPlan(
        context_length=estimate.context_length,
        max_parallel_predictions=estimate.max_parallel_predictions,
        weights_bytes=estimate.weights_bytes,
        kv_cache_bytes=estimate.kv_cache_bytes,
        total_bytes=estimate.total_bytes,
        devices=[
            load_plan_wire.DeviceNeed(each.name, each.needed_bytes, each.available_bytes) for each in estimate.devices
        ],
        guardrail=estimate.guardrail,
        granted_bytes=estimate.granted_bytes,
        fits=estimate.fits,
        largest_context_length=estimate.largest_context_length,
        settings=[setting_in_force(each) for each in settings],
    )


def setting_in_force(setting: SettingInForce) -> load_plan_wire.SettingInForce:
    """Return the message of a load setting."""
    return load_plan_wire.SettingInForce(setting.name, msgspec.to_builtins(setting.value), setting.origin)


def download_progress(progress: progress.DownloadProgress) -> DownloadProgress:
    """Return the message about the progress of a download."""
    return DownloadProgress(
        update=DownloadProgressUpdate(
            downloaded_bytes=progress.downloaded_bytes,
            total_bytes=progress.total_bytes,
            speed_bytes_per_second=progress.speed_bytes_per_second,
        )
    )


def instance_status(instance: Instance) -> InstanceStatus:
    """Return the status of an instance, as ``studiolo ps`` prints it."""
    return InstanceStatus(
        identifier=instance.identifier,
        model_key=instance.model.key,
        domain=instance.model.domain or "llm",
        state=instance.activity,
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
        generated_tokens=instance.generated_tokens,
    )


def crash_report(report: events.CrashReport) -> CrashReport:
    """Return the message for a crash report."""
    return CrashReport(
        time=report.time,
        identifier=report.identifier,
        model_key=report.model_key,
        pid=report.pid,
        reason=report.reason,
        log_tail=report.log_tail,
        running=list(report.running),
    )


def quantization(model: Model) -> Quantization | None:
    """Return the quantization in the file's header; ``None`` if it has none."""
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
        "indexed_model_identifier": model.relative_path,
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
        "audio": model.audio,
        "trained_for_tool_use": bool(metadata and metadata.trained_for_tool_use),
    }
