"""Compare the load settings that were asked for with those of an instance that is loaded already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from .checking import explicit_fields
from .load import DEFAULT_EVAL_BATCH, DEFAULT_PARALLEL_PREDICTIONS, DEFAULT_PHYSICAL_BATCH, GpuSetting, LoadConfig

DEFAULTS: dict[str, Any] = {
    "auto_fit": True,
    "max_parallel_predictions": DEFAULT_PARALLEL_PREDICTIONS,
    "use_unified_kv_cache": False,
    "gpu_strict_vram_cap": False,
    "offload_kv_cache_to_gpu": True,
    "eval_batch_size": DEFAULT_EVAL_BATCH,
    "physical_batch_size": DEFAULT_PHYSICAL_BATCH,
    "try_mmap": True,
    "try_direct_io": False,
    "keep_model_in_memory": False,
    "rope_frequency_base": False,
    "rope_frequency_scale": False,
    "llama_k_cache_quantization_type": "f16",
    "llama_v_cache_quantization_type": "f16",
    "use_fp16_for_kv_cache": True,
    "context_checkpoints": 32,
    "num_experts": 0,
    "speculative_draft_model": "",
    "speculative_draft_simple": False,
    "speculative_draft_mtp": False,
    "speculative_draft_max_tokens": 3,
    "speculative_draft_min_tokens": 0,
    "speculative_draft_min_continue_probability": 0.0,
    "reasoning_budget_message": "",
    "lora": [],
    "seed": -1,
    "split_strategy": "evenly",
    "disabled_gpus": [],
    "num_cpu_expert_layers_ratio": "off",
}
"""What a field that is not set means, where that does not depend on the model or the machine."""

_OFF = {"llama_k_cache_quantization_type": "f16", "llama_v_cache_quantization_type": "f16", "seed": -1}
"""What ``False`` means."""


class Mismatch(Struct, frozen=True):
    """A setting that was asked for and is not in force.

    Parameters:
        name: the field of the load config, or ``ttl``.
        asked: the value asked for.
        in_force: the value in force; ``None`` for the default of the model or the machine.
    """

    name: str
    asked: Any
    in_force: Any

    def __str__(self) -> str:
        in_force = "the default" if self.in_force is None and self.name != "ttl" else repr(self.in_force)
        return f"{self.name} is {in_force}, not {self.asked!r}"


def mismatches(asked: LoadConfig, in_force: LoadConfig) -> list[Mismatch]:
    """Return the fields that ``asked`` sets to other values than ``in_force`` has."""
    found: list[Mismatch] = []
    for name, value in explicit_fields(asked).items():
        loaded = getattr(in_force, name)
        if name == "auto_fit_min_context_length":  # the context that was chosen must be as long
            if value > (in_force.context_length or 0):
                found.append(Mismatch("context_length", value, in_force.context_length))
        elif isinstance(value, GpuSetting):
            own = loaded if isinstance(loaded, GpuSetting) else GpuSetting()
            found += [
                Mismatch(f"gpu.{part}", each, getattr(own, part))
                for part, each in explicit_fields(value).items()
                if _differ(part, each, getattr(own, part))
            ]
        elif _differ(name, value, loaded):
            found.append(Mismatch(name, value, loaded))
    return found


def described(identifier: str, found: Iterable[Mismatch]) -> str:
    """Return a sentence about the settings that are not in force on a loaded instance."""
    return f"{identifier} is already loaded with other settings: {'; '.join(map(str, found))}"


def _differ(name: str, asked: Any, in_force: Any) -> bool:
    return _value(name, asked) != _value(name, in_force)


def _value(name: str, value: Any) -> Any:
    if value is False and name in _OFF:
        return _OFF[name]
    return DEFAULTS.get(name) if value is None else value
