"""The messages about the models on disk, in the ``system`` namespace: what ``studiolo ls`` and ``show`` tell."""

from __future__ import annotations

from typing import Any

from .declarations import Rpc
from .models import ModelInfo, Quantization
from .structs import WireStruct


class LibraryModel(WireStruct, frozen=True, kw_only=True):
    """A model on disk, usable or not. The fields that LM Studio's model info has, have its names."""

    model_key: str
    group: str
    """The key of the model that this is a variant of; its own where there is but one."""
    variant: str | None = None
    variants: list[str] | None = None
    """The keys of all variants where there are several, this one's among them."""
    selected: bool
    """Whether ``group`` means this variant."""
    type: str | None = None
    """``llm`` or ``embedding``; absent where the file cannot be used."""
    format: str
    display_name: str
    publisher: str
    path: str
    """As LM Studio has it: relative to the folder that the model was found in."""
    files: list[str]
    """Absolute paths: the model's file, or its shards."""
    mmproj: str | None = None
    origin: str
    """Whose it is: ``home``, ``folder``, ``lmstudio``, ``huggingface``, ``ollama`` or ``path``."""
    size_bytes: int
    params_string: str | None = None
    parameter_count: int | None = None
    architecture: str | None = None
    quantization: Quantization | None = None
    max_context_length: int | None = None
    block_count: int | None = None
    vision: bool
    trained_for_tool_use: bool
    loaded_as: list[str]
    """The identifiers of the instances that run it."""
    error: str | None = None
    """Why it cannot be used."""


class ModelDetails(WireStruct, frozen=True, kw_only=True):
    """All that is known of a model."""

    model: LibraryModel
    chat_template: str | None = None
    header: dict[str, Any]
    """The fields of the file's header, without the template and long lists (the vocabulary)."""


class NameParameter(WireStruct, frozen=True):
    name: str
    """A key, ``publisher/name``, a path, or the beginning of one."""


class ModelKeyParameter(WireStruct, frozen=True):
    model_key: str


LIST_LIBRARY: Rpc[None, list[LibraryModel]] = Rpc("studiolo.listLibrary", None, list[LibraryModel])
SHOW_MODEL: Rpc[NameParameter, ModelDetails] = Rpc("studiolo.showModel", NameParameter, ModelDetails)
LIST_VARIANTS: Rpc[ModelKeyParameter, list[ModelInfo]] = Rpc(
    "listDownloadedModelVariants", ModelKeyParameter, list[ModelInfo]
)
