"""Messages that the ``llm`` and ``embedding`` namespaces share: models, instances, loading."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .endpoints import Channel, Rpc
from .kv import KvConfig, KvConfigStack
from .structs import Message, WireStruct

Milliseconds = Annotated[int, Meta(ge=1)]
Domain = Literal["llm", "embedding"]


class Quantization(WireStruct):
    name: str
    """Such as ``Q4_K_M``."""
    bits: int
    """Bits of a weight, rounded."""


class ModelInfoBase(Message, kw_only=True):
    """What is known of a model on disk."""

    model_key: str
    format: str
    """``gguf`` here; other hosts know other formats."""
    display_name: str
    path: str
    """Relative to the models folder, with forward slashes; absolute for a file elsewhere."""
    size_bytes: int
    params_string: str | None = None
    """Such as ``135M``."""
    architecture: str | None = None
    quantization: Quantization | None = None


class LlmInfo(ModelInfoBase, tag="llm", kw_only=True):
    """An LLM on disk."""

    vision: bool
    trained_for_tool_use: bool
    max_context_length: int


class EmbeddingModelInfo(ModelInfoBase, tag="embedding", kw_only=True):
    """An embedding model on disk."""

    max_context_length: int


class LlmInstanceInfo(LlmInfo, tag="llm", kw_only=True):
    """A loaded LLM."""

    identifier: str
    instance_reference: str
    context_length: int


class EmbeddingModelInstanceInfo(EmbeddingModelInfo, tag="embedding", kw_only=True):
    """A loaded embedding model."""

    identifier: str
    instance_reference: str
    context_length: int


ModelInfo = LlmInfo | EmbeddingModelInfo
ModelInstanceInfo = LlmInstanceInfo | EmbeddingModelInstanceInfo


class ModelQuery(WireStruct):
    """Which loaded model is meant; an empty query means any."""

    identifier: str | None = None
    path: str | None = None
    vision: bool | None = None
    domain: str | None = None


class QuerySpecifier(Message, tag="query"):
    query: ModelQuery


class InstanceReferenceSpecifier(Message, tag="instanceReference"):
    instance_reference: str


ModelSpecifier = QuerySpecifier | InstanceReferenceSpecifier


def specify(identifier: str | None) -> ModelSpecifier:
    """The specifier of the instance with this identifier; of any instance without one."""
    return QuerySpecifier(query=ModelQuery(identifier=identifier))


class LoadModelParameter(WireStruct, kw_only=True):
    model_key: str
    identifier: str | None = None
    ttl_ms: Milliseconds | None = None
    load_config_stack: KvConfigStack


class LoadResolved(Message, tag="resolved"):
    info: ModelInfo


class LoadProgress(Message, tag="progress"):
    progress: float
    """0 to 1."""


class LoadSuccess(Message, tag="success"):
    info: ModelInstanceInfo


LoadModelMessage = LoadResolved | LoadProgress | LoadSuccess


class GetOrLoadParameter(WireStruct, kw_only=True):
    identifier: str | None = None
    """An instance, or a model to load. Absent (studiolo's own clients): any loaded model, else the model last used,
    else the catalog's default, which is fetched where the library is empty."""
    load_ttl_ms: Milliseconds | None = None
    load_config_stack: KvConfigStack


class AlreadyLoaded(Message, tag="alreadyLoaded"):
    info: ModelInstanceInfo


class Fetching(Message, tag="studiolo.fetching", kw_only=True):
    """The library is empty and the default model is on its way. Sent only where no identifier was given."""

    model_key: str
    downloaded_bytes: int
    total_bytes: int
    speed_bytes_per_second: float


class StartLoading(Message, tag="startLoading"):
    identifier: str
    info: ModelInfo


class GetOrLoadProgress(Message, tag="loadProgress"):
    progress: float
    """0 to 1."""


class GetOrLoadSuccess(Message, tag="loadSuccess"):
    info: ModelInstanceInfo


GetOrLoadMessage = AlreadyLoaded | Fetching | StartLoading | GetOrLoadProgress | GetOrLoadSuccess


class UnloadModelParameter(WireStruct):
    identifier: str


class GetModelInfoParameter(WireStruct):
    specifier: ModelSpecifier
    throw_if_not_found: bool = False


class SpecifierParameter(WireStruct):
    specifier: ModelSpecifier


class TextParameter(WireStruct):
    specifier: ModelSpecifier
    input_string: str


class Tokens(WireStruct):
    tokens: list[int]


class TokenCount(WireStruct):
    token_count: int


LOAD_MODEL: Channel[LoadModelParameter, LoadModelMessage] = Channel("loadModel", LoadModelParameter, LoadModelMessage)
GET_OR_LOAD: Channel[GetOrLoadParameter, GetOrLoadMessage] = Channel("getOrLoad", GetOrLoadParameter, GetOrLoadMessage)
UNLOAD_MODEL: Rpc[UnloadModelParameter, None] = Rpc("unloadModel", UnloadModelParameter, None)
LIST_LOADED: Rpc[None, list[ModelInstanceInfo]] = Rpc("listLoaded", None, list[ModelInstanceInfo])
GET_MODEL_INFO: Rpc[GetModelInfoParameter, ModelInstanceInfo | None] = Rpc(
    "getModelInfo", GetModelInfoParameter, ModelInstanceInfo | None
)
GET_LOAD_CONFIG: Rpc[SpecifierParameter, KvConfig] = Rpc("getLoadConfig", SpecifierParameter, KvConfig)
TOKENIZE: Rpc[TextParameter, Tokens] = Rpc("tokenize", TextParameter, Tokens)
COUNT_TOKENS: Rpc[TextParameter, TokenCount] = Rpc("countTokens", TextParameter, TokenCount)
