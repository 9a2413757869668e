"""Messages about the models on disk, in the ``system`` namespace; ``studiolo ls`` and ``show`` print them."""

from __future__ import annotations

from typing import Any

from .declarations import Rpc
from .models import ModelInfo, Quantization
from .structs import WireStruct


class LibraryModel(WireStruct, frozen=True, kw_only=True):
    """A model on disk, usable or not. Fields that LM Studio's model info also has are named as there."""

    model_key: str
    group: str
    """The key that all variants of the model share; its own key if it has no variants."""
    variant: str | None = None
    variants: list[str] | None = None
    """The keys of all variants, this one's included; absent if there are no others."""
    selected: bool
    """Whether ``group`` resolves to this variant."""
    type: str | None = None
    """``llm`` or ``embedding``; absent if the file cannot be used."""
    format: str
    display_name: str
    publisher: str
    path: str
    """As in LM Studio: relative to the folder in which the model was found."""
    files: list[str]
    """Absolute paths: the model's file, or its shards."""
    mmproj: str | None = None
    origin: str
    """Where it was found: ``home``, ``folder``, ``lmstudio``, ``huggingface``, ``ollama`` or ``path``."""
    size_bytes: int
    params_string: str | None = None
    parameter_count: int | None = None
    architecture: str | None = None
    quantization: Quantization | None = None
    max_context_length: int | None = None
    block_count: int | None = None
    vision: bool
    audio: bool = False
    trained_for_tool_use: bool
    decides: bool | None = None
    """Whether it is a decision model; absent for others."""
    loaded_as: list[str]
    """The identifiers of its instances."""
    error: str | None = None
    """Why it cannot be used; absent if it can. A LoRA adapter cannot be used by itself."""
    kind: str | None = None
    """What a file is that is not a model, such as ``adapter`` or ``imatrix``; absent for models."""
    fits: list[str] | None = None
    """Of a LoRA adapter, the keys of the models that it fits; absent if there are none."""
    adapters: list[str] | None = None
    """The keys of the LoRA adapters that fit the model; absent if there are none."""
    note: str | None = None
    """What the user should know of a model that can be used, such as a projector that does not fit."""


class ModelDetails(WireStruct, frozen=True, kw_only=True):
    """A model on disk with the header of its file."""

    model: LibraryModel
    chat_template: str | None = None
    header: dict[str, Any]
    """The fields of the file's header, except the chat template and long lists (the vocabulary)."""


class NameParameter(WireStruct, frozen=True):
    name: str
    """A model key, ``publisher/name``, a path, or a prefix of one of them."""


class ModelKeyParameter(WireStruct, frozen=True):
    model_key: str


LIST_LIBRARY: Rpc[None, list[LibraryModel]] = Rpc("studiolo.listLibrary", None, list[LibraryModel])
SHOW_MODEL: Rpc[NameParameter, ModelDetails] = Rpc("studiolo.showModel", NameParameter, ModelDetails)
LIST_VARIANTS: Rpc[ModelKeyParameter, list[ModelInfo]] = Rpc(
    "listDownloadedModelVariants", ModelKeyParameter, list[ModelInfo]
)
