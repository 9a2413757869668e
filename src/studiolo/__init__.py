"""Run language models on your own machine.

>>> import studiolo as lm
>>> llm = lm.llm()
>>> print(llm.complete("My name is"))

The names are those of LM Studio's Python SDK. They are imported when they are first used, so that ``import studiolo``
costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__

if TYPE_CHECKING:
    from .config import (
        EmbeddingLoadModelConfig as EmbeddingLoadModelConfig,
    )
    from .config import (
        EmbeddingLoadModelConfigDict as EmbeddingLoadModelConfigDict,
    )
    from .config import (
        GpuSetting as GpuSetting,
    )
    from .config import (
        JinjaPromptTemplate as JinjaPromptTemplate,
    )
    from .config import (
        LlmLoadModelConfig as LlmLoadModelConfig,
    )
    from .config import (
        LlmLoadModelConfigDict as LlmLoadModelConfigDict,
    )
    from .config import (
        LlmPredictionConfig as LlmPredictionConfig,
    )
    from .config import (
        LlmPredictionConfigDict as LlmPredictionConfigDict,
    )
    from .config import (
        LoadConfig as LoadConfig,
    )
    from .config import (
        ManualPromptTemplate as ManualPromptTemplate,
    )
    from .config import (
        MirostatSetting as MirostatSetting,
    )
    from .config import (
        PredictionConfig as PredictionConfig,
    )
    from .config import (
        PromptTemplate as PromptTemplate,
    )
    from .config import (
        ReasoningParsing as ReasoningParsing,
    )
    from .config import (
        StructuredSetting as StructuredSetting,
    )
    from .errors import (
        AuthenticationError as AuthenticationError,
    )
    from .errors import (
        BusyError as BusyError,
    )
    from .errors import (
        CancelledError as CancelledError,
    )
    from .errors import (
        ChannelClosedError as ChannelClosedError,
    )
    from .errors import (
        ClientError as ClientError,
    )
    from .errors import (
        ConfigError as ConfigError,
    )
    from .errors import (
        ConnectionFailedError as ConnectionFailedError,
    )
    from .errors import (
        DomainMismatchError as DomainMismatchError,
    )
    from .errors import (
        DownloadError as DownloadError,
    )
    from .errors import (
        EngineDiedError as EngineDiedError,
    )
    from .errors import (
        EngineError as EngineError,
    )
    from .errors import (
        EngineStartError as EngineStartError,
    )
    from .errors import (
        FilesError as FilesError,
    )
    from .errors import (
        HostError as HostError,
    )
    from .errors import (
        LMStudioCancelledError as LMStudioCancelledError,
    )
    from .errors import (
        LMStudioChannelClosedError as LMStudioChannelClosedError,
    )
    from .errors import (
        LMStudioClientError as LMStudioClientError,
    )
    from .errors import (
        LMStudioError as LMStudioError,
    )
    from .errors import (
        LMStudioFileNotFoundError as LMStudioFileNotFoundError,
    )
    from .errors import (
        LMStudioModelNotFoundError as LMStudioModelNotFoundError,
    )
    from .errors import (
        LMStudioOSError as LMStudioOSError,
    )
    from .errors import (
        LMStudioPredictionError as LMStudioPredictionError,
    )
    from .errors import (
        LMStudioPresetNotFoundError as LMStudioPresetNotFoundError,
    )
    from .errors import (
        LMStudioRuntimeError as LMStudioRuntimeError,
    )
    from .errors import (
        LMStudioServerError as LMStudioServerError,
    )
    from .errors import (
        LMStudioTimeoutError as LMStudioTimeoutError,
    )
    from .errors import (
        LMStudioUnknownMessageWarning as LMStudioUnknownMessageWarning,
    )
    from .errors import (
        LMStudioValueError as LMStudioValueError,
    )
    from .errors import (
        LMStudioWebsocketError as LMStudioWebsocketError,
    )
    from .errors import (
        LocalFileError as LocalFileError,
    )
    from .errors import (
        ModelFileError as ModelFileError,
    )
    from .errors import (
        ModelNotFoundError as ModelNotFoundError,
    )
    from .errors import (
        ModelUnloadedError as ModelUnloadedError,
    )
    from .errors import (
        PortInUseError as PortInUseError,
    )
    from .errors import (
        PredictionError as PredictionError,
    )
    from .errors import (
        PresetNotFoundError as PresetNotFoundError,
    )
    from .errors import (
        PromptTooLongError as PromptTooLongError,
    )
    from .errors import (
        ProtocolError as ProtocolError,
    )
    from .errors import (
        RequestTimeoutError as RequestTimeoutError,
    )
    from .errors import (
        StoppingError as StoppingError,
    )
    from .errors import (
        StudioloError as StudioloError,
    )
    from .errors import (
        UnsupportedError as UnsupportedError,
    )
    from .errors import (
        UsageError as UsageError,
    )
    from .protocol.chat import (
        AnyChatMessage as AnyChatMessage,
    )
    from .protocol.chat import (
        AssistantResponse as AssistantResponse,
    )
    from .protocol.chat import (
        ChatHistoryData as ChatHistoryData,
    )
    from .protocol.chat import (
        FileHandle as FileHandle,
    )
    from .protocol.chat import (
        FileType as FileType,
    )
    from .protocol.chat import (
        SystemPrompt as SystemPrompt,
    )
    from .protocol.chat import (
        TextData as TextData,
    )
    from .protocol.chat import (
        ToolCallRequest as ToolCallRequest,
    )
    from .protocol.chat import (
        ToolCallRequestData as ToolCallRequestData,
    )
    from .protocol.chat import (
        ToolCallResultData as ToolCallResultData,
    )
    from .protocol.chat import (
        ToolResultMessage as ToolResultMessage,
    )
    from .protocol.chat import (
        UserMessage as UserMessage,
    )
    from .protocol.errors import (
        SerializedLMSExtendedError as SerializedLMSExtendedError,
    )
    from .protocol.llm import (
        Fragment as Fragment,
    )
    from .protocol.llm import (
        LlmPredictionFragment as LlmPredictionFragment,
    )
    from .protocol.llm import (
        LlmPredictionStats as LlmPredictionStats,
    )
    from .protocol.llm import (
        LogProb as LogProb,
    )
    from .protocol.llm import (
        PredictionStats as PredictionStats,
    )
    from .protocol.models import (
        EmbeddingModelInfo as EmbeddingModelInfo,
    )
    from .protocol.models import (
        EmbeddingModelInstanceInfo as EmbeddingModelInstanceInfo,
    )
    from .protocol.models import (
        LlmInfo as LlmInfo,
    )
    from .protocol.models import (
        LlmInstanceInfo as LlmInstanceInfo,
    )
    from .protocol.models import (
        ModelInfo as ModelInfo,
    )
    from .protocol.models import (
        ModelInstanceInfo as ModelInstanceInfo,
    )
    from .protocol.models import (
        ModelQuery as ModelQuery,
    )
    from .protocol.models import (
        ModelQueryDict as ModelQueryDict,
    )
    from .protocol.models import (
        ModelSpecifier as ModelSpecifier,
    )
    from .protocol.models import (
        ModelSpecifierDict as ModelSpecifierDict,
    )
    from .protocol.repository import (
        DownloadProgressUpdate as DownloadProgressUpdate,
    )
    from .protocol.structs import (
        AnyLMStudioStruct as AnyLMStudioStruct,
    )
    from .sdk.async_client import (
        AsyncClient as AsyncClient,
    )
    from .sdk.async_models import AsyncEmbeddingModel as AsyncEmbeddingModel
    from .sdk.async_models import AsyncLLM as AsyncLLM
    from .sdk.async_namespaces import AnyLoadConfig as AnyLoadConfig
    from .sdk.async_namespaces import AnyModelSpecifier as AnyModelSpecifier
    from .sdk.async_namespaces import ModelLoadResult as ModelLoadResult
    from .sdk.async_stream import (
        AsyncPredictionStream as AsyncPredictionStream,
    )
    from .sdk.chat import (
        AnyChatMessageDict as AnyChatMessageDict,
    )
    from .sdk.chat import (
        AssistantResponseContent as AssistantResponseContent,
    )
    from .sdk.chat import (
        Chat as Chat,
    )
    from .sdk.chat import (
        ChatHistoryDataDict as ChatHistoryDataDict,
    )
    from .sdk.chat import (
        FileHandleDict as FileHandleDict,
    )
    from .sdk.chat import (
        FileHandleInput as FileHandleInput,
    )
    from .sdk.chat import (
        SystemPromptContent as SystemPromptContent,
    )
    from .sdk.chat import (
        TextDataDict as TextDataDict,
    )
    from .sdk.chat import (
        UserMessageContent as UserMessageContent,
    )
    from .sdk.chat import (
        UserMessageDict as UserMessageDict,
    )
    from .sdk.default_client import (
        configure_default_client as configure_default_client,
    )
    from .sdk.default_client import (
        embedding_model as embedding_model,
    )
    from .sdk.default_client import (
        get_default_client as get_default_client,
    )
    from .sdk.default_client import (
        list_downloaded_models as list_downloaded_models,
    )
    from .sdk.default_client import (
        list_loaded_models as list_loaded_models,
    )
    from .sdk.default_client import (
        llm as llm,
    )
    from .sdk.default_client import (
        prepare_image as prepare_image,
    )
    from .sdk.downloaded_models import (
        AnyAsyncDownloadedModel as AnyAsyncDownloadedModel,
    )
    from .sdk.downloaded_models import (
        AnyDownloadedModel as AnyDownloadedModel,
    )
    from .sdk.downloaded_models import (
        AsyncDownloadedEmbeddingModel as AsyncDownloadedEmbeddingModel,
    )
    from .sdk.downloaded_models import (
        AsyncDownloadedLlm as AsyncDownloadedLlm,
    )
    from .sdk.downloaded_models import (
        DownloadedEmbeddingModel as DownloadedEmbeddingModel,
    )
    from .sdk.downloaded_models import (
        DownloadedLlm as DownloadedLlm,
    )
    from .sdk.files import (
        LocalFileInput as LocalFileInput,
    )
    from .sdk.prediction import (
        PredictionFirstTokenCallback as PredictionFirstTokenCallback,
    )
    from .sdk.prediction import (
        PredictionFragmentCallback as PredictionFragmentCallback,
    )
    from .sdk.prediction import (
        PredictionMessageCallback as PredictionMessageCallback,
    )
    from .sdk.prediction import (
        PredictionResult as PredictionResult,
    )
    from .sdk.prediction import (
        PromptProcessingCallback as PromptProcessingCallback,
    )
    from .sdk.repository import (
        AsyncAvailableModel as AsyncAvailableModel,
    )
    from .sdk.repository import (
        AsyncModelDownloadOption as AsyncModelDownloadOption,
    )
    from .sdk.repository import (
        AvailableModel as AvailableModel,
    )
    from .sdk.repository import (
        DownloadFinalizedCallback as DownloadFinalizedCallback,
    )
    from .sdk.repository import (
        DownloadProgressCallback as DownloadProgressCallback,
    )
    from .sdk.repository import (
        ModelDownloadOption as ModelDownloadOption,
    )
    from .sdk.structured import (
        BaseModel as BaseModel,
    )
    from .sdk.structured import (
        DictObject as DictObject,
    )
    from .sdk.structured import (
        DictSchema as DictSchema,
    )
    from .sdk.structured import (
        ModelSchema as ModelSchema,
    )
    from .sdk.structured import (
        ResponseSchema as ResponseSchema,
    )
    from .sdk.structured import (
        ValidationError as ValidationError,
    )
    from .sdk.sync_client import Client as Client
    from .sdk.sync_models import LLM as LLM
    from .sdk.sync_models import EmbeddingModel as EmbeddingModel
    from .sdk.sync_models import PredictionStream as PredictionStream
    from .sdk.sync_models import SyncModelHandle as SyncModelHandle
    from .sdk.timeouts import (
        get_sync_api_timeout as get_sync_api_timeout,
    )
    from .sdk.timeouts import (
        set_sync_api_timeout as set_sync_api_timeout,
    )
    from .sdk.tool_rounds import (
        ActResult as ActResult,
    )
    from .sdk.tool_rounds import (
        PredictionRoundResult as PredictionRoundResult,
    )
    from .sdk.tools import (
        ToolDefinition as ToolDefinition,
    )
    from .sdk.tools import (
        ToolFunctionDef as ToolFunctionDef,
    )
    from .sdk.tools import (
        ToolFunctionDefDict as ToolFunctionDefDict,
    )

_NAMES = {
    "config": """
        EmbeddingLoadModelConfig EmbeddingLoadModelConfigDict GpuSetting JinjaPromptTemplate LlmLoadModelConfig
        LlmLoadModelConfigDict LlmPredictionConfig LlmPredictionConfigDict LoadConfig ManualPromptTemplate
        MirostatSetting PredictionConfig PromptTemplate ReasoningParsing StructuredSetting
    """,
    "errors": """
        AuthenticationError BusyError CancelledError ChannelClosedError ClientError ConfigError ConnectionFailedError
        DomainMismatchError
        DownloadError EngineDiedError EngineError EngineStartError FilesError HostError LMStudioCancelledError
        LMStudioChannelClosedError LMStudioClientError LMStudioError LMStudioFileNotFoundError
        LMStudioModelNotFoundError LMStudioOSError LMStudioPredictionError LMStudioPresetNotFoundError
        LMStudioRuntimeError LMStudioServerError LMStudioTimeoutError LMStudioUnknownMessageWarning LMStudioValueError
        LMStudioWebsocketError LocalFileError ModelFileError ModelNotFoundError ModelUnloadedError PortInUseError
        PredictionError PresetNotFoundError PromptTooLongError ProtocolError RequestTimeoutError StoppingError
        StudioloError
        UnsupportedError UsageError
    """,
    "protocol.chat": """
        AnyChatMessage AssistantResponse ChatHistoryData FileHandle FileType SystemPrompt TextData ToolCallRequest
        ToolCallRequestData ToolCallResultData ToolResultMessage UserMessage
    """,
    "protocol.errors": """
        SerializedLMSExtendedError
    """,
    "protocol.llm": """
        Fragment LlmPredictionFragment LlmPredictionStats LogProb PredictionStats
    """,
    "protocol.models": """
        EmbeddingModelInfo EmbeddingModelInstanceInfo LlmInfo LlmInstanceInfo ModelInfo ModelInstanceInfo ModelQuery
        ModelQueryDict ModelSpecifier ModelSpecifierDict
    """,
    "protocol.repository": """
        DownloadProgressUpdate
    """,
    "protocol.structs": """
        AnyLMStudioStruct
    """,
    "sdk.tool_rounds": """
        ActResult PredictionRoundResult
    """,
    "sdk.async_client": """
        AsyncClient
    """,
    "sdk.async_models": """
        AsyncEmbeddingModel AsyncLLM
    """,
    "sdk.async_namespaces": """
        AnyLoadConfig AnyModelSpecifier ModelLoadResult
    """,
    "sdk.async_stream": """
        AsyncPredictionStream
    """,
    "sdk.default_client": """
        configure_default_client embedding_model get_default_client list_downloaded_models list_loaded_models llm
        prepare_image
    """,
    "sdk.downloaded_models": """
        AnyAsyncDownloadedModel AnyDownloadedModel AsyncDownloadedEmbeddingModel AsyncDownloadedLlm
        DownloadedEmbeddingModel DownloadedLlm
    """,
    "sdk.files": """
        LocalFileInput
    """,
    "sdk.chat": """
        AnyChatMessageDict AssistantResponseContent Chat ChatHistoryDataDict FileHandleDict FileHandleInput
        SystemPromptContent TextDataDict UserMessageContent UserMessageDict
    """,
    "sdk.timeouts": """
        get_sync_api_timeout set_sync_api_timeout
    """,
    "sdk.prediction": """
        PredictionFirstTokenCallback PredictionFragmentCallback PredictionMessageCallback PredictionResult
        PromptProcessingCallback
    """,
    "sdk.repository": """
        AsyncAvailableModel AsyncModelDownloadOption AvailableModel DownloadFinalizedCallback DownloadProgressCallback
        ModelDownloadOption
    """,
    "sdk.structured": """
        BaseModel DictObject DictSchema ModelSchema ResponseSchema ValidationError
    """,
    "sdk.sync_client": """
        Client
    """,
    "sdk.sync_models": """
        EmbeddingModel LLM PredictionStream SyncModelHandle
    """,
    "sdk.tools": """
        ToolDefinition ToolFunctionDef ToolFunctionDefDict
    """,
}
"""Where each public name lives: the names by module."""

_WHERE = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_WHERE]  # pyright: ignore[reportUnsupportedDunderAll]


if not TYPE_CHECKING:  # a type checker that saw it would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module 'studiolo' has no attribute {name!r}")
        value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
