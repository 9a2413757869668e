"""How a model is loaded: its settings, checked against the model, and the memory that they take, against what is free.

The *guardrail* is a share of the memory that is free for models, or a number of bytes for all loaded models together.
How much memory a load takes is the engine kind's estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ..config import DEFAULT_PARALLEL_PREDICTIONS, LoadConfig, PoolingType, check_load_config
from ..domain.model_shape import ModelShape
from ..engines.base import EngineKind
from ..engines.spec import Device, MemoryNeed
from ..errors import ConfigError, NotEnoughMemoryError
from ..library.model import Model
from ..platform.processors import usable_processors
from ..settings import GuardrailLevel, quoted
from .devices import Loaded

MIB = 1 << 20

CONTEXT_STEP = 256
"""A context that is chosen is the model's limit, or a multiple of this."""

SHARES: dict[GuardrailLevel, float] = {"relaxed": 1.0, "balanced": 0.85, "strict": 0.7}
"""How much of the memory that is free for models a load may take."""

DECODER_POOLING: PoolingType = "last"
"""How an LLM that serves embeddings pools by default: its last token has seen the whole text."""

GPU_SHARE = 0.9
"""How much of the GPUs' free memory a context that is chosen may fill."""

MAX_PROMPT_CACHE = 8192 * MIB
UNKNOWN_LIMIT = 131072
"""The longest context that is chosen for a model whose file names no limit."""

MIN_DEFAULT_CONTEXT_LENGTH = 4096
"""A context that the host chooses is not shortened below this to leave memory for other models."""


class DeviceEstimate(Struct, frozen=True, kw_only=True):
    """The memory of one device that a load takes. ``available_bytes`` is what is free there for models."""

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
        fits: whether the guardrail grants it.
        largest_context_length: the longest context that it would grant; ``None`` where none is short enough.
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


def checked_settings(config: LoadConfig, model: Model) -> LoadConfig:
    """Return ``config`` with the number of slots filled in. Raise :class:`ConfigError` for what cannot be done."""
    check_load_config(config)
    limit = model.metadata.max_context_length if model.metadata else None
    stretched = config.rope_frequency_base or config.rope_frequency_scale
    for name in ("context_length", "auto_fit_min_context_length"):
        wanted: int | None = getattr(config, name)
        if wanted is not None and limit and wanted > limit and not stretched:
            raise ConfigError(
                f"The load config's field {name!r} is {wanted}, and {model.key} was made for at most {limit} tokens",
                suggestion="Ask for less, or stretch it with rope_frequency_scale or rope_frequency_base on an engine "
                "that allows it.",
                data={"feature": name},
            )
    if model.domain == "embedding":
        for name in ("prompt_template", "reasoning_budget_message"):
            if getattr(config, name):
                raise ConfigError(
                    f"The load config's field {name!r} has no effect on {model.key}, which is an embedding model",
                    suggestion="Leave it out.",
                )
        if config.pooling_type is None and model.domain_set:  # its file names none
            config = replace(config, pooling_type=DECODER_POOLING)
        if config.pooling_type is None and model.metadata and model.metadata.reranks:
            config = replace(config, pooling_type="rank")  # the engine scores texts only if it is asked to
    elif config.pooling_type is not None:
        raise ConfigError(
            f"The load config's field 'pooling_type' has no effect on {model.key}, which is an LLM",
            suggestion=f'Leave it out, or serve embeddings: [models.{quoted(model.key)}] domain = "embedding".',
        )
    processors = usable_processors()
    for name in ("cpu_thread_pool_size", "batch_threads"):
        threads: int | None = getattr(config, name)
        if threads is not None and threads > processors.count:
            raise ConfigError(
                f"The load config's field {name!r} is {threads}, and {processors.count} logical processors may be used",
                cause=f"The limit is {processors.reason}.",
                suggestion="Leave the field out: more threads than processors slow each other down.",
            )
    parallel = config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS
    return replace(config, max_parallel_predictions=parallel)


def plan_load(
    model: Model,
    shape: ModelShape,
    config: LoadConfig,
    guardrail: GuardrailLevel | int,
    kind: EngineKind,
    devices: Sequence[Device],
    loaded: Sequence[Loaded] = (),
) -> tuple[LoadConfig, Estimate]:
    """Return the settings in force, with every default filled in, and what the load takes with them.

    It looks nothing up: what is free is what ``devices`` say.

    Parameters:
        shape: the model's; its projector and its draft model included.
        config: as :func:`checked_settings` returns it.
        guardrail: the level, or the bytes that all loaded models together may take.
        kind: the engine kind that will run the model.
        devices: main memory, then the kind's GPUs, with what is free beside ``loaded``.
        loaded: the instances that are there already.

    Raises:
        ConfigError: the model cannot be loaded so.
    """
    plan = _Plan(model.key, shape, config, guardrail, kind, devices, loaded)
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
    in_force, need = plan.with_context(context)
    return in_force, plan.estimate(in_force, need, longest)


def require(estimate: Estimate) -> None:
    """Raise :class:`NotEnoughMemoryError`, with the figures, if the guardrail does not grant the load."""
    if estimate.fits:
        return
    short = [device for device in estimate.devices if device.needed_bytes > device.available_bytes]
    where = (short or estimate.devices)[0]
    granted = where.available_bytes if short and where is not estimate.devices[0] else estimate.granted_bytes or 0
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
    """One model on certain devices: what it takes with which context."""

    def __init__(
        self,
        key: str,
        shape: ModelShape,
        config: LoadConfig,
        guardrail: GuardrailLevel | int,
        kind: EngineKind,
        devices: Sequence[Device],
        loaded: Sequence[Loaded],
    ) -> None:
        self._key = key
        self._shape = shape
        self._config = config
        self._guardrail: GuardrailLevel | int = guardrail
        self._kind = kind
        main, *gpus = devices
        self._gpus = _usable(gpus, config)
        self._devices = [main, *self._gpus]
        self._available = main.free_bytes
        self._granted: int | None = None
        if not isinstance(guardrail, str):
            self._granted = guardrail - sum(one.main_bytes for one in loaded)
        elif guardrail != "off":
            self._granted = int(self._available * SHARES[guardrail])

    def largest_context(self, limit: int) -> int | None:
        """Return the longest context up to ``limit`` that is granted, without a prompt cache of its own."""
        return largest_context(lambda context: self._is_granted(self._needed(context)[1]), limit)

    def default_context(self, limit: int) -> int:
        """Return the context of a load that asks for none: up to ``limit``, if enough memory stays for others."""
        base = self._needed(min(CONTEXT_STEP, limit))[1]
        free_on_gpus = sum(gpu.free_bytes for gpu in self._gpus)
        on_gpus = free_on_gpus > 0 and self._config.offload_kv_cache_to_gpu is not False
        main = self._granted if self._granted is not None else int(self._available * SHARES["balanced"])

        def leaves_room(context: int) -> bool:
            need = self._needed(context)[1]
            growth = need.total - base.total
            if on_gpus and need.total + growth > free_on_gpus * GPU_SHARE:
                return False
            return (growth if on_gpus else need.total + 2 * growth) <= main  # the prompt cache may take as much

        return max(largest_context(leaves_room, limit) or 0, min(limit, MIN_DEFAULT_CONTEXT_LENGTH))

    def with_context(self, context: int) -> tuple[LoadConfig, MemoryNeed]:
        """Return the settings in force with this context, and what they take; the prompt cache gets what is left."""
        in_force, need = self._needed(context)
        if in_force.prompt_cache_mib is None:
            # The prompt cache does not distinguish the scales of LoRA adapters, which predictions may set.
            useless = self._shape.domain == "embedding" or bool(in_force.adapters)
            cache = 0 if useless else min(need.kv_cache, MAX_PROMPT_CACHE)
            if self._granted is not None:
                cache = max(min(cache, self._granted - self._placed(need)[0]), 0)
            in_force = replace(in_force, prompt_cache_mib=cache // MIB)
        return in_force, need

    def estimate(self, config: LoadConfig, need: MemoryNeed, largest: int | None) -> Estimate:
        """Return the estimate of a load with ``config``, which takes ``need`` and the prompt cache."""
        cache = (config.prompt_cache_mib or 0) * MIB
        return Estimate(
            model_key=self._key,
            context_length=config.context_length or 0,
            max_parallel_predictions=config.max_parallel_predictions or DEFAULT_PARALLEL_PREDICTIONS,
            weights_bytes=need.weights,
            kv_cache_bytes=need.kv_cache,
            compute_bytes=need.compute,
            checkpoints_bytes=need.checkpoints,
            engine_bytes=need.engine,
            prompt_cache_bytes=cache,
            total_bytes=need.total + cache,
            devices=[
                DeviceEstimate(
                    name=device.name,
                    needed_bytes=needed + (0 if device.gpu else cache),
                    available_bytes=device.free_bytes,
                )
                for device, needed in zip(self._devices, self._placed(need), strict=True)
                if needed or not device.gpu
            ],
            guardrail=self._guardrail,
            granted_bytes=self._granted,
            fits=self._is_granted(need, cache),
            largest_context_length=largest,
        )

    def _needed(self, context: int) -> tuple[LoadConfig, MemoryNeed]:
        config = replace(self._config, context_length=context)
        return config, self._kind.estimate(self._shape, config, self._devices)

    def _placed(self, need: MemoryNeed) -> Sequence[int]:
        return need.on_devices or [need.total, *(0 for _ in self._gpus)]

    def _is_granted(self, need: MemoryNeed, prompt_cache: int | None = None) -> bool:
        if self._granted is None:
            return True
        main, *others = self._placed(need)
        cache = (self._config.prompt_cache_mib or 0) * MIB if prompt_cache is None else prompt_cache
        return main + cache <= self._granted and all(
            needed <= gpu.free_bytes for needed, gpu in zip(others, self._gpus, strict=True)
        )


def largest_context(fits: Callable[[int], bool], limit: int) -> int | None:
    """Return the longest context up to ``limit`` that ``fits``: ``limit`` itself, or a multiple of 256."""
    if fits(limit):
        return limit
    low, high = 0, limit // CONTEXT_STEP  # what fits, and what may not
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle * CONTEXT_STEP):
            low = middle
        else:
            high = middle - 1
    return low * CONTEXT_STEP or None


def _usable(gpus: Sequence[Device], config: LoadConfig) -> list[Device]:
    setting = config.gpu
    if setting is None:
        return list(gpus)
    usable = [gpu for index, gpu in enumerate(gpus) if index not in (setting.disabled_gpus or [])]
    if setting.split_strategy == "favorMainGpu" and setting.main_gpu is not None:
        return usable[setting.main_gpu : setting.main_gpu + 1]
    return usable


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
