"""Messages that the ``llm`` and ``embedding`` namespaces share: models, instances, loading, tokenizing.

Longer than 400 lines because the two namespaces declare the same endpoints, side by side with their messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from .declarations import Channel, Rpc
from .kv import KvConfig, KvConfigStack
from .structs import Message, WireStruct, always_sent

Milliseconds = Annotated[int, Meta(ge=1)]
Domain = Literal["llm", "embedding"]


class Quantization(WireStruct, frozen=True):
    name: str
    """Such as ``Q4_K_M``."""
    bits: int
    """Bits per weight, rounded."""


class ModelInfoBase(Message, frozen=True, kw_only=True):
    """A model on disk."""

    model_key: str
    format: str
    """``gguf`` on studiolo's hosts."""
    display_name: str
    path: str
    """Relative to the models folder, with forward slashes; absolute for a file elsewhere."""
    indexed_model_identifier: str = always_sent("")
    """A stable name of the model; on studiolo's hosts its path."""
    device_identifier: str | None = always_sent(None)
    """The device that holds the model; null for the host's own machine, the only one that studiolo supports."""
    size_bytes: int
    params_string: str | None = None
    """Such as ``135M``."""
    architecture: str | None = None
    quantization: Quantization | None = None
    publisher: str = always_sent("")
    """Empty for a model outside any publisher's folder."""
    variants: list[str] | None = None
    """The keys of the variants, if there are several; only in listings with one entry per model."""
    selected_variant: str | None = None
    """The variant that ``model_key`` resolves to."""


class LlmInfo(ModelInfoBase, frozen=True, tag="llm", kw_only=True):
    """An LLM on disk."""

    type: ClassVar[Literal["llm"]] = "llm"

    vision: bool
    audio: bool = False
    """Whether it takes audio: studiolo's addition, sent where it does."""
    trained_for_tool_use: bool
    max_context_length: int


class EmbeddingModelInfo(ModelInfoBase, frozen=True, tag="embedding", kw_only=True):
    """An embedding model on disk."""

    type: ClassVar[Literal["embedding"]] = "embedding"

    max_context_length: int


class LlmInstanceInfo(LlmInfo, frozen=True, tag="llm", kw_only=True):
    """A loaded LLM."""

    identifier: str
    instance_reference: str
    context_length: int
    ttl_ms: int | None = always_sent(None)
    """Idle time in milliseconds after which it is unloaded; null for never."""
    last_used_time: int | None = always_sent(None)
    """When it was last used, as Unix time in milliseconds; null while it is in use and before its first use."""
    note: str | None = None
    """What the user should know of it, such as a chat template that cannot be used: studiolo's addition."""


class EmbeddingModelInstanceInfo(EmbeddingModelInfo, frozen=True, tag="embedding", kw_only=True):
    """A loaded embedding model."""

    identifier: str
    instance_reference: str
    context_length: int
    ttl_ms: int | None = always_sent(None)
    """Idle time in milliseconds after which it is unloaded; null for never."""
    last_used_time: int | None = always_sent(None)
    """When it was last used, as Unix time in milliseconds; null while it is in use and before its first use."""
    note: str | None = None
    """What the user should know of it, such as a chat template that cannot be used: studiolo's addition."""


ModelInfo = LlmInfo | EmbeddingModelInfo
ModelInstanceInfo = LlmInstanceInfo | EmbeddingModelInstanceInfo


class ModelQuery(WireStruct, frozen=True):
    """Selects a loaded model; an empty query matches any."""

    identifier: str | None = None
    path: str | None = None
    vision: bool | None = None
    domain: str | None = None
    device_identifier: str | None = None
    """The host's own machine, the only one supported: null, absent, or its name."""


class QuerySpecifier(Message, frozen=True, tag="query"):
    query: ModelQuery


class InstanceReferenceSpecifier(Message, frozen=True, tag="instanceReference"):
    instance_reference: str


ModelSpecifier = QuerySpecifier | InstanceReferenceSpecifier
ModelQueryDict = Mapping[str, Any]
ModelSpecifierDict = Mapping[str, Any]


class EmbedStringParameter(WireStruct, frozen=True):
    model_specifier: ModelSpecifier
    input_string: str


class Embedding(WireStruct, frozen=True):
    embedding: list[float]


EMBED_STRING: Rpc[EmbedStringParameter, Embedding] = Rpc("embedString", EmbedStringParameter, Embedding)


class RerankParameter(WireStruct, frozen=True):
    model_specifier: ModelSpecifier
    query: str
    texts: list[str]


class Scores(WireStruct, frozen=True):
    scores: list[float]


RERANK: Rpc[RerankParameter, Scores] = Rpc("studiolo.rerank", RerankParameter, Scores)
"""An addition of studiolo's: how well each text answers a question."""


def specify(identifier: str | None) -> ModelSpecifier:
    """Return the specifier of the instance with this identifier; of any instance if it is ``None``."""
    return QuerySpecifier(query=ModelQuery(identifier=identifier))


class LoadModelParameter(WireStruct, frozen=True, kw_only=True):
    model_key: str
    identifier: str | None = None
    device_identifier: str | None = None
    ttl_ms: Milliseconds | None = None
    load_config_stack: KvConfigStack
    sets_domain: bool | None = None
    """Whether the model is used in the namespace's domain, whatever its file says (sent by studiolo's clients only)."""


class LoadResolved(Message, frozen=True, tag="resolved"):
    info: ModelInfo


class LoadProgress(Message, frozen=True, tag="progress"):
    progress: float
    """0 to 1."""


class LoadSuccess(Message, frozen=True, tag="success"):
    info: ModelInstanceInfo


LoadModelMessage = LoadResolved | LoadProgress | LoadSuccess


class GetOrLoadParameter(WireStruct, frozen=True, kw_only=True):
    identifier: str | None = None
    """The identifier of an instance, or the key of a model to load. Absent (sent by studiolo's clients only): any
    loaded model, else the model last used, else the catalog's default, downloaded if the library is empty."""
    device_identifier: str | None = None
    load_ttl_ms: Milliseconds | None = None
    """Absent: the host's setting for models loaded on demand, which defaults to one hour."""
    load_config_stack: KvConfigStack
    on_mismatch: Literal["keep", "error", "reload"] | None = None
    """What happens where the model is loaded already with other settings. Absent (as LM Studio's clients send it): it
    is kept, and the differences are sent as a communication warning instead of a ``LoadMismatch``."""
    compares_ttl: bool | None = None
    """Whether the TTL counts as a setting."""
    sets_domain: bool | None = None
    """See ``LoadModelParameter``."""


class AlreadyLoaded(Message, frozen=True, tag="alreadyLoaded"):
    info: ModelInstanceInfo


class Fetching(Message, frozen=True, tag="studiolo.fetching", kw_only=True):
    """The library is empty, and the default model is being downloaded. Sent only for requests without identifier."""

    model_key: str
    downloaded_bytes: int
    total_bytes: int
    speed_bytes_per_second: float


class SettingMismatch(WireStruct, frozen=True, kw_only=True):
    """A load setting that was asked for and is not in force."""

    name: str
    """The field of the load config, or ``ttl``, in seconds."""
    asked: Any
    in_force: Any = None
    """Null for the default of the model or the machine."""


class LoadMismatch(Message, frozen=True, tag="studiolo.loadMismatch", kw_only=True):
    """The model is loaded already with other settings, and is kept. Sent only for requests with ``on_mismatch``."""

    identifier: str
    mismatches: list[SettingMismatch]


class StartLoading(Message, frozen=True, tag="startLoading"):
    identifier: str
    info: ModelInfo


class UnloadingOtherModel(Message, frozen=True, tag="unloadingOtherJITModel"):
    """Another model that was loaded on demand, of either domain, is unloaded; a busy one when it becomes idle."""

    info: ModelInstanceInfo


class GetOrLoadProgress(Message, frozen=True, tag="loadProgress"):
    progress: float
    """0 to 1."""


class GetOrLoadSuccess(Message, frozen=True, tag="loadSuccess"):
    info: ModelInstanceInfo


GetOrLoadMessage = (
    AlreadyLoaded | Fetching | LoadMismatch | StartLoading | UnloadingOtherModel | GetOrLoadProgress | GetOrLoadSuccess
)


class UnloadModelParameter(WireStruct, frozen=True):
    identifier: str
    device_identifier: str | None = None


class GetModelInfoParameter(WireStruct, frozen=True):
    specifier: ModelSpecifier
    throw_if_not_found: bool = False


class GetProcessingStateParameter(WireStruct, frozen=True):
    specifier: ModelSpecifier
    throw_if_not_found: bool = False


class ProcessingState(WireStruct, frozen=True):
    """The activity of a loaded model.

    Parameters:
        status: the stage of the request that has progressed furthest.
        queued: the number of requests that run or wait.
    """

    status: Literal["idle", "processingPrompt", "generating", "computingEmbedding"]
    queued: int


class BasePredictionConfigParameter(WireStruct, frozen=True, kw_only=True):
    specifier: ModelSpecifier
    ignore_server_session_config: bool | None = None
    """No effect: the host stores no session settings."""


class EstimateUsageParameter(WireStruct, frozen=True, kw_only=True):
    model_key: str
    load_config_stack: KvConfigStack
    device_identifier: str | None = None


class MemoryUsage(WireStruct, frozen=True, kw_only=True):
    """The estimated memory of a load, in bytes. Everything except the weights counts as context.

    Parameters:
        confidence: ``low`` if the engine decides how much is placed on GPUs, ``high`` otherwise.
        model_vram_bytes, context_vram_bytes, total_vram_bytes: the part on GPUs.
        model_bytes, context_bytes, total_bytes: the whole, on GPUs and in main memory.
    """

    confidence: Literal["high", "low"]
    model_vram_bytes: int
    context_vram_bytes: int
    total_vram_bytes: int
    model_bytes: int
    context_bytes: int
    total_bytes: int


class UsageEstimate(WireStruct, frozen=True):
    memory: MemoryUsage
    passes_guardrails: bool


class SpecifierParameter(WireStruct, frozen=True):
    specifier: ModelSpecifier


class TextParameter(WireStruct, frozen=True):
    specifier: ModelSpecifier
    input_string: str


class Tokens(WireStruct, frozen=True):
    tokens: list[int]


class TokenCount(WireStruct, frozen=True):
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
GET_PROCESSING_STATE: Rpc[GetProcessingStateParameter, ProcessingState] = Rpc(
    "getInstanceProcessingState", GetProcessingStateParameter, ProcessingState
)
GET_BASE_PREDICTION_CONFIG: Rpc[BasePredictionConfigParameter, KvConfig] = Rpc(
    "getBasePredictionConfig", BasePredictionConfigParameter, KvConfig
)
ESTIMATE_USAGE: Rpc[EstimateUsageParameter, UsageEstimate] = Rpc(
    "estimateModelUsage", EstimateUsageParameter, UsageEstimate
)
