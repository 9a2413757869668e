"""Models: the lists of those on disk and those that are loaded, and what is known of one."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any, Literal, cast

from msgspec import Struct

from ...host.derived_models import DerivedModel
from ...host.instance import Instance
from ...host.names import derived
from ...library.model import Model
from ...library.vocabulary import read_vocabulary
from ..http.answers import Answer, Whole
from ..http.endpoint import Call
from ..http.fields import Field, honoured, ignored, refused
from ..http.models import created_at, known_model, known_models
from .answering import timestamp
from .names import digest, known, listed_name, required, tagged

API_VERSION = "0.18.0"
"""The version of Ollama whose API this is; clients compare it with the one that they need."""

FOREVER_SEC = 100 * 365 * 86400.0
"""When a model expires that stays loaded: a time that no client lives to see."""


class Version(Struct):
    """The version of the API."""

    version: str


class Details(Struct, kw_only=True):
    """What a model is."""

    parent_model: str = ""
    format: Literal["gguf"] = "gguf"
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class ListedModel(Struct, kw_only=True):
    """A model on disk; its digest is the SHA-256 of its file where that is known, and stands for it elsewhere."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class ModelList(Struct):
    """The models on disk."""

    models: list[ListedModel]


class LoadedModel(Struct, kw_only=True):
    """A loaded model: its size in memory, the part of it on GPUs, and when it is unloaded if nothing uses it."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


class LoadedList(Struct):
    """The loaded models."""

    models: list[LoadedModel]


class ShowBody(Struct, kw_only=True):
    """The body of a request for what is known of a model."""

    model: str = ""
    name: str = ""


class ShowAnswer(Struct, kw_only=True):
    """What is known of a model; ``model_info`` has the fields of its file's header."""

    license: str
    modelfile: str
    parameters: str
    template: str
    system: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


_MODELFILE = "Is shown in the answer only in the model's own form."

SHOW_FIELDS: dict[str, Field] = {
    "model": honoured("The key of a model, also with the tag latest, or an alias."),
    "name": honoured("Deprecated: as model."),
    "verbose": refused("The vocabulary is not listed.", False),
    "system": ignored(_MODELFILE),
    "template": ignored(_MODELFILE),
    "options": ignored(_MODELFILE),
}


async def root(call: Call[None]) -> Answer:
    """Say that the server runs, in the words that clients look for."""
    return Whole(b"Ollama is running", media_type="text/plain; charset=utf-8")


async def version(call: Call[None]) -> Answer:
    """Return the version of the API."""
    return Whole(Version(API_VERSION))


async def list_models(call: Call[None]) -> Answer:
    """List the models on disk, the server's aliases, and derived models."""
    models = await known_models(call)
    by_name = dict(models)
    found = [_listed(call, listed_name(name, model), model) for name, model in models]
    for own in call.host.derived.all():
        if own.source in by_name:
            found.append(_listed(call, tagged(own.name), by_name[own.source], own))
    return Whole(ModelList(found))


async def list_loaded(call: Call[None]) -> Answer:
    """List the loaded models."""
    return Whole(LoadedList([_loaded(call, instance) for instance in call.host.instances.loaded()]))


async def show(call: Call[ShowBody]) -> Answer:
    """Return what is known of a model."""
    name = await known(call, required(call.body.model, call.body.name))
    model = await known_model(call, name)
    own = derived(call.host, name)
    _, header = await call.host.library.describe(str(model.path))
    assert model.metadata is not None
    template = model.metadata.chat_template or ""
    config = call.host.defaults.prediction(model)
    if own is not None:
        config = own.settings(config, is_chat=True)
    parameters = _parameters(own)
    if own is not None and (setting := own.prediction.prompt_template) is not None:
        template = setting.jinja_prompt_template.template if setting.jinja_prompt_template else template
    system = config.system_prompt or ""
    return Whole(
        ShowAnswer(
            license=(own.license if own else "") or str(header.get("general.license", "")),
            modelfile=_modelfile(own.source if own else listed_name(model.key, model), template, parameters, system),
            parameters=parameters,
            template=template,
            system=system,
            details=_details(model, own),
            model_info={
                "general.parameter_count": model.metadata.parameter_count,
                **{key: value for key, value in header.items() if _is_plain(value)},
            },
            capabilities=[*capabilities(model), *(await _insert(model))],
            modified_at=timestamp(own.created if own else created_at(model)),
        )
    )


def capabilities(model: Model) -> list[str]:
    """Return what a model can do, in Ollama's words."""
    assert model.metadata is not None
    if model.domain == "embedding":
        return ["embedding"]
    has = {
        "completion": True,
        "vision": model.vision,
        "audio": model.audio,
        "tools": model.metadata.trained_for_tool_use,
        "thinking": model.metadata.reasons,
    }
    return [name for name, it_has in has.items() if it_has]


async def _insert(model: Model) -> list[str]:
    """Return the name of what a model that fills gaps can do, if it does: only its vocabulary shows it."""
    vocabulary = await asyncio.to_thread(read_vocabulary, model.path)
    return ["insert"] if model.domain != "embedding" and vocabulary.infill is not None else []


def _listed(call: Call[Any], name: str, model: Model, own: DerivedModel | None = None) -> ListedModel:
    return ListedModel(
        name=name,
        model=name,
        modified_at=timestamp(own.created if own else created_at(model)),
        size=model.size_bytes,
        digest=digest(call, model, own),
        details=_details(model, own),
    )


def _details(model: Model, own: DerivedModel | None = None) -> Details:
    assert model.metadata is not None
    header = model.metadata
    return Details(
        parent_model=own.source if own else "",
        family=header.architecture,
        families=[header.architecture],
        parameter_size=header.params_string or _counted(header.parameter_count),
        quantization_level=header.quantization or "",
    )


def _counted(parameters: int) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if parameters >= size:
            return f"{parameters / size:.1f}{unit}"
    return str(parameters)


def _loaded(call: Call[Any], instance: Instance) -> LoadedModel:
    model, estimate = instance.model, instance.estimate
    name = instance.identifier
    name = listed_name(model.key if name.casefold() == model.key.casefold() else name, model)
    on_gpus = sum(each.needed_bytes for each in estimate.devices[1:]) if estimate and instance.gpu_layers else 0
    left = FOREVER_SEC if instance.ttl_sec is None else max(instance.ttl_sec - instance.idle_sec, 0.0)
    return LoadedModel(
        name=name,
        model=name,
        size=estimate.total_bytes if estimate else model.size_bytes,
        digest=digest(call, model),
        details=_details(model),
        expires_at=timestamp(time.time() + left),
        size_vram=on_gpus,
        context_length=instance.context_length,
    )


def _parameters(own: DerivedModel | None) -> str:
    """Return the options of a derived model, one a line."""
    if own is None:
        return ""
    config, load = own.prediction, own.load
    found: dict[str, Any] = {
        "num_ctx": load.context_length,
        "num_batch": load.eval_batch_size,
        "num_thread": load.cpu_thread_pool_size,
        **{option: getattr(config, name) for option, name in _OPTIONS.items()},
    }
    lines = [f"{name:<30} {_value(value)}" for name, value in found.items() if value is not None]
    return "\n".join([*lines, *(f"{'stop':<30} {_value(each)}" for each in config.stop_strings or ())])


_OPTIONS = {
    "num_predict": "max_tokens",
    "seed": "seed",
    "temperature": "temperature",
    "top_k": "top_k_sampling",
    "top_p": "top_p_sampling",
    "min_p": "min_p_sampling",
    "typical_p": "locally_typical_sampling",
    "repeat_penalty": "repeat_penalty",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_last_n": "penalty_tokens",
    "num_keep": "keep_tokens",
}
"""The settings of a prediction by the names of Ollama's options."""


def _value(value: Any) -> str:
    if value is False:
        return "-1"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _modelfile(source: str, template: str, parameters: str, system: str) -> str:
    lines = [f"FROM {source}"]
    if template:
        lines.append(f'TEMPLATE """{template}"""')
    if system:
        lines.append(f'SYSTEM """{system}"""')
    lines += [f"PARAMETER {' '.join(line.split(None, 1))}" for line in parameters.splitlines()]
    return "\n".join(lines) + "\n"


def _is_plain(value: Any) -> bool:
    """Return whether JSON has a form for ``value``."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, list):
        return all(_is_plain(each) for each in cast("list[Any]", value))
    return isinstance(value, str | int | bool)
