"""Models: list, load and unload them."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ...config import LoadConfig
from ...host.instance import Instance
from ...host.on_demand import LoadRequest
from ...library.model import Model
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import Field, honoured
from ..http.generation import blaming, leased
from ..http.models import known_model

Name = Annotated[str, Meta(min_length=1)]


class Quantization(Struct):
    """The quantisation of a model's weights."""

    name: str | None
    bits_per_weight: float | None


class LoadedConfig(Struct, kw_only=True):
    """The load settings in force on an instance; embedding models have the context length alone."""

    context_length: int
    eval_batch_size: int | UnsetType = UNSET
    parallel: int | UnsetType = UNSET
    flash_attention: bool | UnsetType = UNSET
    num_experts: int | UnsetType = UNSET
    offload_kv_cache_to_gpu: bool | UnsetType = UNSET


class LoadedInstance(Struct):
    """A loaded instance of a model."""

    id: str
    config: LoadedConfig


class Reasoning(Struct):
    """What a request may ask of a model's reasoning."""

    allowed_options: list[str]
    default: str


class ModelCapabilities(Struct):
    """What an LLM can do."""

    vision: bool
    audio: bool
    trained_for_tool_use: bool
    reasoning: Reasoning | UnsetType = UNSET


class ModelEntry(Struct, kw_only=True):
    """A model on disk."""

    type: Literal["llm", "embedding"]
    publisher: str
    key: str
    display_name: str
    architecture: str | UnsetType = UNSET
    quantization: Quantization | None
    size_bytes: int
    params_string: str | None
    loaded_instances: list[LoadedInstance]
    max_context_length: int
    format: Literal["gguf"] = "gguf"
    capabilities: ModelCapabilities | UnsetType = UNSET
    description: UnsetType | None = UNSET
    variants: list[str] | UnsetType = UNSET
    selected_variant: str | UnsetType = UNSET


class ModelList(Struct):
    """All models on disk."""

    models: list[ModelEntry]


REASONING_OPTIONS = ["off", "on", "low", "medium", "high"]


async def list_models(call: Call[None]) -> Answer:
    """List the models on disk, each with its loaded instances."""
    models = [model for model in await call.host.library.models() if model.domain is not None and model.selected]
    return Whole(ModelList([_entry(model, call.host.instances.loaded()) for model in models]))


def _entry(model: Model, loaded: list[Instance]) -> ModelEntry:
    assert model.metadata is not None
    header, is_llm = model.metadata, model.domain == "llm"
    instances = [each for each in loaded if each.model.group == model.group]
    return ModelEntry(
        type="llm" if is_llm else "embedding",
        publisher=model.publisher,
        key=model.group,
        display_name=model.display_name,
        architecture=header.architecture if is_llm else UNSET,
        quantization=None if header.quantization is None else Quantization(header.quantization, header.bits),
        size_bytes=model.size_bytes,
        params_string=header.params_string,
        loaded_instances=[LoadedInstance(each.identifier, config_in_force(each)) for each in instances],
        max_context_length=header.max_context_length or 0,
        capabilities=_capabilities(model) if is_llm else UNSET,
        description=None if is_llm else UNSET,
        variants=list(model.variants) or UNSET,
        selected_variant=model.key if model.variants else UNSET,
    )


def _capabilities(model: Model) -> ModelCapabilities:
    assert model.metadata is not None
    reasons = model.metadata.reasons
    reasoning = Reasoning(REASONING_OPTIONS, "on") if reasons else UNSET
    return ModelCapabilities(model.vision, model.audio, model.metadata.trained_for_tool_use, reasoning)


def config_in_force(instance: Instance) -> LoadedConfig:
    """Return the load settings in force on an instance."""
    config = instance.config
    if instance.model.domain == "embedding":
        return LoadedConfig(context_length=instance.context_length)
    return LoadedConfig(
        context_length=instance.context_length,
        eval_batch_size=_set(config.eval_batch_size),
        parallel=_set(config.max_parallel_predictions),
        flash_attention=_set(config.flash_attention),
        num_experts=_set(config.num_experts),
        offload_kv_cache_to_gpu=_set(config.offload_kv_cache_to_gpu),
    )


def _set(value: Any) -> Any:
    return UNSET if value is None else value


class LoadBody(Struct, kw_only=True):
    """The body of a request to load a model."""

    model: Name
    context_length: Annotated[int, Meta(ge=1)] | None = None
    eval_batch_size: Annotated[int, Meta(ge=1)] | None = None
    flash_attention: bool | None = None
    num_experts: Annotated[int, Meta(ge=1)] | None = None
    offload_kv_cache_to_gpu: bool | None = None
    echo_load_config: bool = False

    def load_config(self) -> LoadConfig:
        """Return the settings as the host has them."""
        return LoadConfig(
            context_length=self.context_length,
            eval_batch_size=self.eval_batch_size,
            flash_attention=self.flash_attention,
            num_experts=self.num_experts,
            offload_kv_cache_to_gpu=self.offload_kv_cache_to_gpu,
        )


LOAD_FIELDS: dict[str, Field] = {
    "model": honoured("The key of a model, or the identifier of a loaded instance."),
    "context_length": honoured("Tokens that a prompt and its answer may have together."),
    "eval_batch_size": honoured("Tokens of a prompt that are processed at once."),
    "flash_attention": honoured("Whether attention is computed in blocks, which takes less memory."),
    "num_experts": honoured("Experts that are used for a token, of a model of experts."),
    "offload_kv_cache_to_gpu": honoured("Whether the KV cache is in the memory of the GPU."),
    "echo_load_config": honoured("The settings in force are part of the answer."),
}


class LoadAnswer(Struct, kw_only=True):
    """A model that is loaded."""

    type: Literal["llm", "embedding"]
    instance_id: str
    load_time_seconds: float
    status: Literal["loaded"] = "loaded"
    load_config: LoadedConfig | UnsetType = UNSET


async def load(call: Call[LoadBody]) -> Answer:
    """Load a model; one that is loaded with other settings is loaded again with these."""
    body = call.body
    model = await known_model(call, body.model)
    domain = model.domain or "llm"
    request = LoadRequest(config=body.load_config(), stays=True, explicit=True, on_mismatch="reload")
    began = time.monotonic()
    with blaming("model", context_length="context_length", num_experts="num_experts"):
        async with leased(call, body.model, domain, request) as lease:
            instance = lease.instance
    return Whole(
        LoadAnswer(
            type="embedding" if domain == "embedding" else "llm",
            instance_id=instance.identifier,
            load_time_seconds=round(time.monotonic() - began, 3),
            load_config=config_in_force(instance) if body.echo_load_config else UNSET,
        )
    )


class UnloadBody(Struct):
    """The body of a request to unload an instance."""

    instance_id: Name


UNLOAD_FIELDS: dict[str, Field] = {"instance_id": honoured("The identifier of a loaded instance.")}


async def unload(call: Call[UnloadBody]) -> Answer:
    """Unload an instance."""
    await call.host.unload(call.body.instance_id)
    return Whole(UnloadBody(call.body.instance_id))


class OldModelEntry(Struct, kw_only=True):
    """A model on disk, as version 0 lists it."""

    id: str
    object: Literal["model"] = "model"
    type: Literal["llm", "vlm", "embeddings"]
    publisher: str
    arch: str
    compatibility_type: Literal["gguf"] = "gguf"
    quantization: str | None
    state: Literal["loaded", "not-loaded"]
    max_context_length: int
    loaded_context_length: int | UnsetType = UNSET


class OldModelList(Struct):
    """All models on disk, as version 0 lists them."""

    data: list[OldModelEntry]
    object: Literal["list"] = "list"


async def list_old(call: Call[None]) -> Answer:
    """List the models on disk, in the form of version 0."""
    models = [model for model in await call.host.library.models() if model.domain is not None]
    return Whole(OldModelList([_old_entry(model, call.host.instances.loaded()) for model in models]))


async def get_old(call: Call[None]) -> Answer:
    """Return one model, in the form of version 0."""
    model = await known_model(call, call.path["model"].removeprefix("/"))
    return Whole(_old_entry(model, call.host.instances.loaded()))


def _old_entry(model: Model, loaded: list[Instance]) -> OldModelEntry:
    assert model.metadata is not None
    kind = "embeddings" if model.domain == "embedding" else "vlm" if model.vision else "llm"
    instance = next((each for each in loaded if each.model.key == model.key), None)
    return OldModelEntry(
        id=model.key,
        type=kind,
        publisher=model.publisher,
        arch=model.metadata.architecture,
        quantization=model.metadata.quantization,
        state="not-loaded" if instance is None else "loaded",
        max_context_length=model.metadata.max_context_length or 0,
        loaded_context_length=UNSET if instance is None else instance.context_length,
    )
