"""What a load may take: its settings, checked against the model, and the memory it needs, against the machine's.

The *guardrail* is a share of the memory that is free for models, or a number of bytes for all loaded models together.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ..config import (
    DEFAULT_PARALLEL_PREDICTIONS,
    UNQUANTIZED,
    LoadConfig,
    check_load_config,
)
from ..domain.models import Domain
from ..engines.llama_cpp.params import cache_type
from ..errors import ConfigError, NotEnoughMemoryError
from ..library.model import Model
from ..settings import GuardrailLevel
from .machine import Gpu, available_memory, gpus
from .memory import CELLS, MIB, Parts, Shape, largest_context, needed, read_shape

SHARES: dict[GuardrailLevel, float] = {"relaxed": 1.0, "balanced": 0.85, "strict": 0.7}
"""How much of the memory that is free for models a load may take."""

GPU_SHARE = 0.9
"""How much of a GPU's free memory is filled where the load does not say."""

MAX_PROMPT_CACHE = 8192 * MIB
UNKNOWN_LIMIT = 131072
"""The longest context that is chosen for a model that does not tell its limit."""

MIN_DEFAULT_CONTEXT_LENGTH = 4096
"""A context that nobody asked for is not shortened below this for the sake of other models."""

QUANTIZED_BLOCK = 32

VOCABULARY_SLACK = 128
"""Tokens by which the vocabulary of a draft model may differ in length: llama.cpp's own limit."""


class DeviceEstimate(Struct, frozen=True, kw_only=True):
    """What a load takes of one device. ``available_bytes`` is what is free there for models."""

    name: str
    needed_bytes: int
    available_bytes: int


class Estimate(Struct, frozen=True, kw_only=True):
    """What a load takes, part by part.

    Parameters:
        model_key: the model.
        context_length, max_parallel_predictions: what it is estimated for.
        weights_bytes: the tensors, those of a projector and a draft model included.
        kv_cache_bytes: for all predictions together.
        compute_bytes: the buffers of a batch, and of the results.
        checkpoints_bytes: states to go back to, for models with sliding-window or recurrent layers.
        engine_bytes: the process itself, and the vocabulary.
        prompt_cache_bytes: what the prompts of earlier conversations may take.
        total_bytes: all of it.
        devices: the total by device; main memory first.
        guardrail: the level in force, or bytes.
        granted_bytes: what the guardrail grants of main memory; ``None`` for no limit.
        fits: whether the guardrail lets it pass.
        largest_context_length: the longest context that it would let pass; ``None`` where none is short enough.
    """

    model_key: str
    context_length: int
    max_parallel_predictions: int
    weights_bytes: int
    kv_cache_bytes: int
    compute_bytes: int
    checkpoints_bytes: int
    engine_bytes: int
    prompt_cache_bytes: int
    total_bytes: int
    devices: list[DeviceEstimate]
    guardrail: str | int
    granted_bytes: int | None
    fits: bool
    largest_context_length: int | None


@dataclass(frozen=True)
class Loaded:
    """An instance that is loaded already, or on its way: its process, its files, what it was estimated to take."""

    pid: int | None
    path: Path
    estimated_bytes: int


def checked_settings(config: LoadConfig, model: Model) -> LoadConfig:
    """``config`` with the number of slots filled in. Raises :class:`ConfigError` for what cannot be done."""
    check_load_config(config)
    limit = model.metadata.max_context_length if model.metadata else None
    stretched = config.rope_frequency_base or config.rope_frequency_scale
    for name in ("context_length", "auto_fit_min_context_length"):
        asked: int | None = getattr(config, name)
        if asked is not None and limit and asked > limit and not stretched:
            raise ConfigError(
                f"The load config's field {name!r} is {asked}, and {model.key} was made for at most {limit} tokens",
                suggestion="Ask for less, or stretch the model with rope_frequency_scale or rope_frequency_base.",
            )
    if model.domain == "embedding":
        for name in ("prompt_template", "reasoning_budget_message"):
            if getattr(config, name):
                raise ConfigError(
                    f"The load config's field {name!r} has no effect on {model.key}, which is an embedding model",
                    suggestion="Leave it out.",
                )
    processors = os.cpu_count() or 1
    for name in ("cpu_thread_pool_size", "batch_threads"):
        threads: int | None = getattr(config, name)
        if threads is not None and threads > processors:
            raise ConfigError(
                f"The load config's field {name!r} is {threads}, and this machine has {processors} logical processors",
                suggestion="Threads beyond that wait for each other. Leave the field out for the best number.",
            )
    parallel = config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS
    return replace(config, max_parallel_predictions=parallel)


def settle(
    model: Model,
    config: LoadConfig,
    guardrail: GuardrailLevel | int,
    loaded: Iterable[Loaded] = (),
    draft: Model | None = None,
) -> tuple[LoadConfig, Estimate]:
    """The settings in force, with every default filled in, and what the load takes with them. Blocks for some 20 ms.

    Parameters:
        config: as :func:`checked_settings` leaves it.
        guardrail: the level, or the bytes that all loaded models together may take.
        loaded: the instances that are there already.
        draft: the model that drafts for this one.

    Raises:
        ConfigError: the model cannot be loaded so.
        ModelFileError: its file cannot be used.
    """
    plan = _Plan(model, config, guardrail, list(loaded), draft)
    limit = (model.metadata.max_context_length if model.metadata else None) or UNKNOWN_LIMIT
    if config.context_length is not None:
        limit = context = config.context_length
        longest = plan.largest_context(limit)
    else:
        longest = plan.largest_context(limit)
        if config.auto_fit is False:
            context = min(limit, MIN_DEFAULT_CONTEXT_LENGTH)
        else:
            wanted = plan.default_context(limit)
            context = max(min(wanted, longest or wanted), config.auto_fit_min_context_length or 0)
    in_force, parts = plan.with_context(context)
    return in_force, plan.estimate(in_force, parts, longest)


def require(estimate: Estimate) -> None:
    """Raise :class:`NotEnoughMemoryError` with the figures where the guardrail does not let a load pass."""
    if estimate.fits:
        return
    short = [device for device in estimate.devices if device.needed_bytes > device.available_bytes]
    where = (short or estimate.devices)[0]
    granted = where.available_bytes if short and where.name != "main memory" else estimate.granted_bytes or 0
    largest = estimate.largest_context_length
    raise NotEnoughMemoryError(
        f"{estimate.model_key} with a context of {estimate.context_length} tokens for each of"
        f" {estimate.max_parallel_predictions} predictions needs {_size(where.needed_bytes)} of {where.name}, and the"
        f" guardrail ({estimate.guardrail}) grants {_size(max(granted, 0))}",
        cause=f"Weights {_size(estimate.weights_bytes)}, KV cache {_size(estimate.kv_cache_bytes)}, compute buffers"
        f" {_size(estimate.compute_bytes)}, the rest"
        f" {_size(estimate.total_bytes - estimate.weights_bytes - estimate.kv_cache_bytes - estimate.compute_bytes)};"
        f" free for models: {_size(where.available_bytes)}",
        suggestion=(
            f"A context_length of {largest} would fit. "
            if largest
            else "No context is short enough: choose a smaller model or quantisation. "
        )
        + "Fewer max_parallel_predictions, a quantised KV cache or unloading a model frees memory too;"
        " the setting loading.guardrail says how much may be taken.",
        data={"estimate": {name: getattr(estimate, name) for name in _FIGURES}},
    )


_FIGURES = ("context_length", "total_bytes", "granted_bytes", "largest_context_length")


class _Plan:
    """One model on one machine: what it takes with which context."""

    def __init__(
        self,
        model: Model,
        config: LoadConfig,
        guardrail: GuardrailLevel | int,
        loaded: list[Loaded],
        draft: Model | None,
    ) -> None:
        self._model = model
        self._config = config
        self._guardrail: GuardrailLevel | int = guardrail
        self._domain: Domain = model.domain or "llm"
        self._shape = _shape(model.path)
        self._draft = _shape(draft.path) if draft else None
        self._mmproj = model.mmproj.stat().st_size if model.mmproj and model.mmproj.exists() else 0
        self._gpus = _usable(gpus(), config)
        self.available = available_memory([(one.pid, one.path, one.estimated_bytes) for one in loaded])
        self.granted: int | None = None
        if not isinstance(guardrail, str):
            self.granted = guardrail - sum(one.estimated_bytes for one in loaded)
        elif guardrail != "off":
            self.granted = int(self.available * SHARES[guardrail])
        self._check_cache_types()
        self._check_drafting(draft)

    def largest_context(self, limit: int) -> int | None:
        """The longest context up to ``limit`` that the guardrail lets pass, without a prompt cache of its own."""
        return largest_context(lambda context: self._passes(self._needed(context)[1]), limit)

    def default_context(self, limit: int) -> int:
        """The context of a load that asks for none: up to ``limit``, as long as enough memory stays for others."""
        base = self._needed(min(CELLS, limit))[1]
        free_on_gpus = sum(device.free_bytes for device in self._gpus)
        on_gpus = free_on_gpus > 0 and self._config.offload_kv_cache_to_gpu is not False
        main = self.granted if self.granted is not None else int(self.available * SHARES["balanced"])

        def leaves_room(context: int) -> bool:
            parts = self._needed(context)[1]
            growth = parts.total - base.total
            if on_gpus and parts.total + growth > free_on_gpus * GPU_SHARE:
                return False
            return (growth if on_gpus else parts.total + 2 * growth) <= main  # the prompt cache may take as much

        return max(largest_context(leaves_room, limit) or 0, min(limit, MIN_DEFAULT_CONTEXT_LENGTH))

    def with_context(self, context: int) -> tuple[LoadConfig, Parts]:
        """The settings in force with this context, and what they take; the prompt cache gets what is left."""
        in_force, parts = self._needed(context)
        if in_force.prompt_cache_mib is None:
            cache = 0 if self._domain == "embedding" else min(parts.kv_cache, MAX_PROMPT_CACHE)
            if self.granted is not None:
                cache = max(min(cache, self.granted - self._placed(parts)[0].needed_bytes), 0)
            in_force = replace(in_force, prompt_cache_mib=cache // MIB)
        return in_force, parts

    def estimate(self, config: LoadConfig, parts: Parts, largest: int | None) -> Estimate:
        cache = (config.prompt_cache_mib or 0) * MIB
        placed = self._placed(parts)
        main = placed[0]
        devices = [
            DeviceEstimate(
                name=main.name, needed_bytes=main.needed_bytes + cache, available_bytes=main.available_bytes
            ),
            *placed[1:],
        ]
        return Estimate(
            model_key=self._model.key,
            context_length=config.context_length or 0,
            max_parallel_predictions=config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS,
            weights_bytes=parts.weights,
            kv_cache_bytes=parts.kv_cache,
            compute_bytes=parts.compute,
            checkpoints_bytes=parts.checkpoints,
            engine_bytes=parts.engine,
            prompt_cache_bytes=cache,
            total_bytes=parts.total + cache,
            devices=devices,
            guardrail=self._guardrail,
            granted_bytes=self.granted,
            fits=self._passes(parts, cache),
            largest_context_length=largest,
        )

    def _needed(self, context: int) -> tuple[LoadConfig, Parts]:
        config = replace(self._config, context_length=context)
        parts = needed(self._shape, config, self._domain)
        if self._draft is not None:
            parts += needed(self._draft, config, self._domain, drafts=True)
        return config, parts + Parts(self._mmproj, 0, 0, 0, 0)

    def _passes(self, parts: Parts, prompt_cache: int | None = None) -> bool:
        if self.granted is None:
            return True
        main, *others = self._placed(parts)
        cache = (self._config.prompt_cache_mib or 0) * MIB if prompt_cache is None else prompt_cache
        return main.needed_bytes + cache <= self.granted and all(
            device.needed_bytes <= device.available_bytes for device in others
        )

    def _placed(self, parts: Parts) -> list[DeviceEstimate]:
        """What goes to main memory, and to each GPU."""
        gpu = self._config.gpu
        ratio = gpu.ratio if gpu else None
        if not self._gpus or ratio in ("off", 0):
            return [DeviceEstimate(name="main memory", needed_bytes=parts.total, available_bytes=self.available)]
        movable = parts.weights + (0 if self._config.offload_kv_cache_to_gpu is False else parts.kv_cache)
        free = sum(device.free_bytes for device in self._gpus)
        if isinstance(ratio, float | int) and not self._config.gpu_strict_vram_cap:
            share = float(ratio)
        elif (ratio == "max" or self._config.auto_fit is False) and not self._config.gpu_strict_vram_cap:
            share = 1.0
        else:  # the engine moves what fits
            share = min(max((free * GPU_SHARE - parts.compute) / max(movable, 1), 0.0), 1.0)
        moved = int(movable * share) + (parts.compute if share else 0)
        return [
            DeviceEstimate(name="main memory", needed_bytes=parts.total - moved, available_bytes=self.available),
            *(
                DeviceEstimate(
                    name=device.name,
                    needed_bytes=moved * device.free_bytes // max(free, 1),
                    available_bytes=device.free_bytes,
                )
                for device in self._gpus
            ),
        ]

    def _check_cache_types(self) -> None:
        for half in ("k", "v"):
            field = f"llama_{half}_cache_quantization_type"
            kind = cache_type(self._config, getattr(self._config, field))
            if kind not in UNQUANTIZED and self._shape.head_size % QUANTIZED_BLOCK:
                raise ConfigError(
                    f"The load config's field {field!r} is {kind}, which {self._model.key} cannot use",
                    cause=f"That type holds blocks of {QUANTIZED_BLOCK} values, and the model's attention heads have"
                    f" {self._shape.head_size}.",
                    suggestion="Choose f16.",
                )

    def _check_drafting(self, draft: Model | None) -> None:
        if self._config.speculative_draft_mtp and not self._shape.drafting_layers:
            raise ConfigError(
                f"The load config's field 'speculative_draft_mtp' is true, and {self._model.key} cannot do it",
                cause="Its file has no layers that predict several tokens ahead.",
                suggestion="Leave the field out, or draft with speculative_draft_model or speculative_ngram.",
            )
        if draft is None or self._draft is None:
            return
        own, other = self._shape, self._draft
        differ = abs(own.vocabulary - other.vocabulary) > VOCABULARY_SLACK
        if differ or own.tokenizer != other.tokenizer:
            raise ConfigError(
                f"The load config's field 'speculative_draft_model' is {draft.key}, which cannot draft for"
                f" {self._model.key}",
                cause="They have different vocabularies:"
                f" {other.vocabulary} and {own.vocabulary} tokens, {other.tokenizer} and {own.tokenizer}.",
                suggestion="Choose a smaller model of the same family.",
            )


def _shape(path: Path) -> Shape:
    status = path.stat()
    return _shape_of_file(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=64)
def _shape_of_file(path: Path, _mtime: int, _size: int) -> Shape:
    return read_shape(path)


def _usable(found: Iterable[Gpu], config: LoadConfig) -> list[Gpu]:
    gpu = config.gpu
    if gpu is None:
        return list(found)
    usable = [device for index, device in enumerate(found) if index not in (gpu.disabled_gpus or [])]
    if gpu.split_strategy == "favorMainGpu" and gpu.main_gpu is not None:
        return usable[gpu.main_gpu : gpu.main_gpu + 1]
    return usable


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
