"""Every public name of the package, once, with its module. Each is imported on first use; see ``__init__.py``.

``X as X`` makes a name public for type checkers.
"""

# fmt: off
from ._version import __version__ as __version__
from .config import (
    EmbeddingLoadModelConfig as EmbeddingLoadModelConfig, EmbeddingLoadModelConfigDict as EmbeddingLoadModelConfigDict,
    GpuSetting as GpuSetting, JinjaPromptTemplate as JinjaPromptTemplate, LlmLoadModelConfig as LlmLoadModelConfig,
    LlmLoadModelConfigDict as LlmLoadModelConfigDict, LlmPredictionConfig as LlmPredictionConfig,
    LlmPredictionConfigDict as LlmPredictionConfigDict, LoadConfig as LoadConfig,
    ManualPromptTemplate as ManualPromptTemplate, LoraSetting as LoraSetting, MirostatSetting as MirostatSetting,
    PredictionConfig as PredictionConfig, PromptTemplate as PromptTemplate, ReasoningParsing as ReasoningParsing,
    StructuredSetting as StructuredSetting,
)
from .errors import (
    AuthenticationError as AuthenticationError, BusyError as BusyError, CancelledError as CancelledError,
    ChannelClosedError as ChannelClosedError, ClientError as ClientError, ConfigError as ConfigError,
    ChatRejectedError as ChatRejectedError, ConnectionFailedError as ConnectionFailedError,
    DomainMismatchError as DomainMismatchError,
    DownloadError as DownloadError, EngineDiedError as EngineDiedError, EngineError as EngineError,
    EngineStartError as EngineStartError, FilesError as FilesError, HostError as HostError,
    LMStudioCancelledError as LMStudioCancelledError, LMStudioChannelClosedError as LMStudioChannelClosedError,
    LMStudioClientError as LMStudioClientError, LMStudioError as LMStudioError,
    LMStudioFileNotFoundError as LMStudioFileNotFoundError, LMStudioModelNotFoundError as LMStudioModelNotFoundError,
    LMStudioOSError as LMStudioOSError, LMStudioPredictionError as LMStudioPredictionError,
    LMStudioPresetNotFoundError as LMStudioPresetNotFoundError, LMStudioRuntimeError as LMStudioRuntimeError,
    LMStudioServerError as LMStudioServerError, LMStudioTimeoutError as LMStudioTimeoutError,
    LMStudioUnknownMessageWarning as LMStudioUnknownMessageWarning, LMStudioValueError as LMStudioValueError,
    LMStudioWebsocketError as LMStudioWebsocketError, LoadMismatchError as LoadMismatchError,
    LoadMismatchWarning as LoadMismatchWarning, LocalFileError as LocalFileError,
    ModelFileError as ModelFileError, ModelNotFoundError as ModelNotFoundError,
    ModelUnloadedError as ModelUnloadedError, NotPicklableError as NotPicklableError,
    PortInUseError as PortInUseError, PredictionError as PredictionError,
    PresetNotFoundError as PresetNotFoundError, PromptTooLongError as PromptTooLongError,
    ProtocolError as ProtocolError, RequestTimeoutError as RequestTimeoutError, StoppingError as StoppingError,
    StudioloError as StudioloError, TimeLimitError as TimeLimitError, UnsupportedError as UnsupportedError,
    UsageError as UsageError,
)
from .protocol.chat import (
    AnyChatMessage as AnyChatMessage, AssistantResponse as AssistantResponse, ChatHistoryData as ChatHistoryData,
    FileHandle as FileHandle, FileType as FileType, SystemPrompt as SystemPrompt, TextData as TextData,
    ToolCallRequest as ToolCallRequest, ToolCallRequestData as ToolCallRequestData,
    ToolCallResultData as ToolCallResultData, ToolResultMessage as ToolResultMessage, UserMessage as UserMessage,
)
from .protocol.downloaded_models import LibraryModel as LibraryModel
from .protocol.errors import SerializedLMSExtendedError as SerializedLMSExtendedError
from .protocol.llm import (
    Calibration as Calibration,
    Fragment as Fragment, LlmPredictionFragment as LlmPredictionFragment, LlmPredictionStats as LlmPredictionStats,
    LogProb as LogProb, PredictionStats as PredictionStats,
)
from .protocol.load_plan import LoadPlan as LoadPlan, SettingInForce as SettingInForce
from .protocol.models import (
    EmbeddingModelInfo as EmbeddingModelInfo, EmbeddingModelInstanceInfo as EmbeddingModelInstanceInfo,
    LlmInfo as LlmInfo, LlmInstanceInfo as LlmInstanceInfo, ModelInfo as ModelInfo,
    ModelInstanceInfo as ModelInstanceInfo, ModelQuery as ModelQuery, ModelQueryDict as ModelQueryDict,
    ModelSpecifier as ModelSpecifier, ModelSpecifierDict as ModelSpecifierDict,
)
from .protocol.repository import DownloadProgressUpdate as DownloadProgressUpdate
from .protocol.system import InstanceStatus as InstanceStatus
from .protocol.structs import AnyLMStudioStruct as AnyLMStudioStruct
from .sdk.async_client import AsyncClient as AsyncClient
from .sdk.async_models import AsyncEmbeddingModel as AsyncEmbeddingModel, AsyncLLM as AsyncLLM
from .sdk.async_namespaces import (
    AnyAsyncDownloadedModel as AnyAsyncDownloadedModel, AnyLoadConfig as AnyLoadConfig,
    AnyModelSpecifier as AnyModelSpecifier, AsyncDownloadedEmbeddingModel as AsyncDownloadedEmbeddingModel,
    AsyncDownloadedLlm as AsyncDownloadedLlm, ModelLoadResult as ModelLoadResult,
)
from .sdk.async_stream import AsyncPredictionStream as AsyncPredictionStream
from .sdk.chat import (
    AnyChatMessageDict as AnyChatMessageDict, AssistantResponseContent as AssistantResponseContent, Chat as Chat,
    ChatHistoryDataDict as ChatHistoryDataDict, FileHandleDict as FileHandleDict, FileHandleInput as FileHandleInput,
    SystemPromptContent as SystemPromptContent, TextDataDict as TextDataDict, UserMessageContent as UserMessageContent,
    UserMessageDict as UserMessageDict,
)
from .sdk.decisions import Decision as Decision, Levels as Levels, Question as Question
from .sdk.default_client import (
    configure_default_client as configure_default_client, embedding_model as embedding_model,
    get_default_client as get_default_client, list_downloaded_models as list_downloaded_models,
    list_loaded_models as list_loaded_models, llm as llm, prepare_audio as prepare_audio,
    prepare_image as prepare_image,
)
from .sdk.files import LocalFileInput as LocalFileInput
from .sdk.prediction import (
    PredictionFirstTokenCallback as PredictionFirstTokenCallback,
    PredictionFragmentCallback as PredictionFragmentCallback, PredictionMessageCallback as PredictionMessageCallback,
    PredictionResult as PredictionResult, PromptProcessingCallback as PromptProcessingCallback,
)
from .sdk.repository import (
    AsyncAvailableModel as AsyncAvailableModel, AsyncModelDownloadOption as AsyncModelDownloadOption,
    AvailableModel as AvailableModel, DownloadFinalizedCallback as DownloadFinalizedCallback,
    DownloadProgressCallback as DownloadProgressCallback, ModelDownloadOption as ModelDownloadOption,
)
from .sdk.reranking import RerankResult as RerankResult
from .sdk.structured import (
    BaseModel as BaseModel, DictObject as DictObject, DictSchema as DictSchema, ModelSchema as ModelSchema,
    ResponseSchema as ResponseSchema, ValidationError as ValidationError,
)
from .sdk.sync_client import (
    AnyDownloadedModel as AnyDownloadedModel, Client as Client, DownloadedEmbeddingModel as DownloadedEmbeddingModel,
    DownloadedLlm as DownloadedLlm,
)
from .sdk.sync_models import LLM as LLM, EmbeddingModel as EmbeddingModel, SyncModelHandle as SyncModelHandle
from .sdk.sync_stream import PredictionStream as PredictionStream
from .sdk.timeouts import get_sync_api_timeout as get_sync_api_timeout, set_sync_api_timeout as set_sync_api_timeout
from .sdk.tool_rounds import ActResult as ActResult, PredictionRoundResult as PredictionRoundResult
from .sdk.tools import (
    ToolDefinition as ToolDefinition, ToolFunctionDef as ToolFunctionDef, ToolFunctionDefDict as ToolFunctionDefDict,
)
