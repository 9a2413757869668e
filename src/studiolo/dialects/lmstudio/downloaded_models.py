"""The part of the ``system`` namespace that lists and describes the models on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ...errors import PathNotFoundError
from ...host.notes import joined
from ...library.model import Model
from ...library.name_resolution import path_data
from ...protocol import downloaded_models as wire
from ...protocol.models import ModelInfo
from ...protocol.system import LIST_DOWNLOADED_MODELS
from .context import Context
from .encoding import model_info, quantization
from .registry import rpc

_TEMPLATE = "tokenizer.chat_template"


@rpc(LIST_DOWNLOADED_MODELS, "system")
async def list_downloaded_models(context: Context, _: None) -> list[ModelInfo]:
    return [
        _group_info(model) for model in await context.host.library.models() if model.error is None and model.selected
    ]


@rpc(wire.LIST_VARIANTS, "system")
async def list_variants(context: Context, parameter: wire.ModelKeyParameter) -> list[ModelInfo]:
    models = await context.host.library.models()
    variants = [m for m in models if parameter.model_key in (m.group, m.key) and m.variants] or [
        m for m in models if parameter.model_key in m.variants
    ]
    if not variants:
        raise PathNotFoundError(
            f"{parameter.model_key!r} is not a model with variants",
            suggestion="List them with: studiolo ls --variants",
            data=path_data(parameter.model_key, models),
        )
    group = variants[0].group
    return [model_info(model) for model in models if model.group == group and model.error is None]


@rpc(wire.LIST_LIBRARY, "system")
async def list_library(context: Context, _: None) -> list[wire.LibraryModel]:
    models = await context.host.library.models()
    problems = await context.host.template_problems.notes(models)
    return [_library_model(context, model, models, problems) for model in models]


@rpc(wire.SHOW_MODEL, "system")
async def show_model(context: Context, parameter: wire.NameParameter) -> wire.ModelDetails:
    model, header = await context.host.library.describe(parameter.name)
    models = await context.host.library.models()
    problems = await context.host.template_problems.notes([model])
    template = header.get(_TEMPLATE)
    return wire.ModelDetails(
        model=_library_model(context, model, models, problems),
        chat_template=template if isinstance(template, str) else None,
        header={name: value for name, value in header.items() if name != _TEMPLATE},
    )


def _group_info(model: Model) -> ModelInfo:
    """Return the info of a model; if it has variants, under the key of the group, with the selected variant."""
    info = model_info(model)
    if not model.variants:
        return info
    changes: dict[str, Any] = {
        "model_key": model.group,
        "variants": list(model.variants),
        "selected_variant": model.key,
    }
    return msgspec.structs.replace(info, **changes)


def _library_model(
    context: Context, model: Model, models: list[Model], problems: Mapping[Path, str]
) -> wire.LibraryModel:
    metadata = model.metadata
    return wire.LibraryModel(
        model_key=model.key,
        group=model.group,
        variant=model.variant,
        variants=list(model.variants) or None,
        selected=model.selected,
        type=model.domain,
        format="gguf",
        display_name=model.display_name,
        publisher=model.publisher,
        path=model.relative_path,
        files=[str(part) for part in model.parts],
        mmproj=str(model.mmproj) if model.mmproj else None,
        origin=model.origin,
        size_bytes=model.size_bytes,
        params_string=metadata.params_string if metadata else None,
        parameter_count=metadata.parameter_count if metadata else None,
        architecture=metadata.architecture if metadata else None,
        quantization=quantization(model),
        max_context_length=metadata.max_context_length if metadata else None,
        block_count=metadata.block_count if metadata else None,
        vision=model.vision,
        audio=model.audio,
        trained_for_tool_use=bool(metadata and metadata.trained_for_tool_use),
        decides=(metadata is not None and metadata.decides) or None,
        loaded_as=[each.identifier for each in context.host.instances.all() if each.model.path == model.path],
        error=model.error,
        kind=None if model.kind == "model" else model.kind,
        fits=list(model.fits) or None,
        adapters=[each.key for each in models if model.key in each.fits] or None,
        note=joined(model.note, problems.get(model.path)),
    )
