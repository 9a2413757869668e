"""Models in the async API: handles of loaded ones, and the namespaces that load them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, cast, overload

import msgspec

from ..config import LoadConfig, PredictionConfig, config_error, load_config, prediction_config
from ..errors import ChannelClosedError, ConfigError, UnsupportedError
from ..protocol import models as wire
from ..protocol.endpoints import Rpc
from ..protocol.kv import (
    KvConfigStack,
    decode_load_config,
    encode_load_config,
    encode_prediction_config,
    flatten,
    stack_of,
)
from ..protocol.llm import (
    APPLY_PROMPT_TEMPLATE,
    ApplyPromptTemplateOpts,
    ApplyPromptTemplateParameter,
    PredictParameter,
    raw_completion,
)
from . import notices
from .acting import AsyncActing
from .async_stream import AsyncPredictionStream
from .callbacks import call
from .history import Chat, ChatHistoryDataDict
from .many import each
from .prediction import (
    Callbacks,
    OnFirstToken,
    OnFragment,
    OnMessage,
    OnPromptProgress,
    PredictionOptions,
    PredictionResult,
)
from .sending import sendable
from .structured import ResponseFormat, structured_setting

if TYPE_CHECKING:
    from .async_client import AsyncClient
    from .downloaded import AsyncDownloadedEmbeddingModel, AsyncDownloadedLlm

P = TypeVar("P")
R = TypeVar("R")

DEFAULT_TTL_SEC = 3600
"""Seconds of idleness after which a model that was loaded for a client is unloaded."""

LoadConfigInput = LoadConfig | Mapping[str, Any]
PredictionConfigInput = PredictionConfig | Mapping[str, Any]
HistoryInput = Chat | ChatHistoryDataDict | str
ModelSpecifierInput = str | wire.ModelQuery | wire.ModelSpecifier | Mapping[str, Any]
AnyLoadConfig = LoadConfig
AnyModelSpecifier = ModelSpecifierInput
OnLoadProgress = Callable[[float], Any]
OnFetching = Callable[[wire.Fetching], Any]


@dataclass(frozen=True, kw_only=True)
class ModelLoadResult:
    """What a load brings, in the official client's form; handles are what studiolo's own functions return."""

    identifier: str
    instance_reference: str
    path: str


class AsyncModelHandle:
    """A loaded model, by the identifier of its instance."""

    def __init__(self, identifier: str, client: AsyncClient, namespace: wire.Domain) -> None:
        self.identifier = identifier
        self._client = client
        self._namespace: wire.Domain = namespace

    def __repr__(self) -> str:
        return f"{type(self).__name__}(identifier={self.identifier!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncModelHandle):
            return NotImplemented
        return (self._client, self._namespace, self.identifier) == (other._client, other._namespace, other.identifier)

    __hash__ = object.__hash__

    @property
    def _specifier(self) -> wire.ModelSpecifier:
        return wire.specify(self.identifier)

    async def unload(self) -> None:
        """Unload the model. What runs on it ends with the stop reason ``modelUnloaded``."""
        await self._call(wire.UNLOAD_MODEL, wire.UnloadModelParameter(self.identifier))

    async def get_info(self) -> wire.ModelInstanceInfo:
        """What is known of the loaded model. Raises :class:`ModelNotFoundError` when it is loaded no more."""
        info = await self._call(wire.GET_MODEL_INFO, wire.GetModelInfoParameter(self._specifier, True))
        assert info is not None
        return info

    async def get_load_config(self) -> LoadConfig:
        """The settings that the model is loaded with, defaults filled in."""
        config = await self._call(wire.GET_LOAD_CONFIG, wire.SpecifierParameter(self._specifier))
        return decode_load_config(flatten(stack_of(config)), self._namespace)

    async def get_context_length(self) -> int:
        """Tokens that one prediction can hold, prompt and answer together."""
        return (await self.get_info()).context_length

    @overload
    async def tokenize(self, input: str) -> list[int]: ...
    @overload
    async def tokenize(self, input: Iterable[str]) -> list[list[int]]: ...
    async def tokenize(self, input: str | Iterable[str]) -> list[int] | list[list[int]]:
        """The tokens of a text, or of each of several."""
        if isinstance(input, str):
            return (await self._call(wire.TOKENIZE, wire.TextParameter(self._specifier, input))).tokens
        return await each(self.tokenize, input)

    async def count_tokens(self, input: str) -> int:
        """How many tokens ``input`` has."""
        return (await self._call(wire.COUNT_TOKENS, wire.TextParameter(self._specifier, input))).token_count

    async def _call(self, endpoint: Rpc[P, R], parameter: P) -> R:
        return await self._client.call(self._namespace, endpoint, sendable(parameter))


class AsyncLLM(AsyncModelHandle, AsyncActing):
    """A loaded LLM."""

    @overload
    def complete_stream(
        self, prompt: str, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> AsyncPredictionStream[str]: ...
    @overload
    def complete_stream(
        self, prompt: str, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> AsyncPredictionStream[dict[str, Any]]: ...
    def complete_stream(
        self,
        prompt: str,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> AsyncPredictionStream[Any]:
        """Continue ``prompt`` as it stands, fragment by fragment.

        The request is sent when the stream is first read.

        Parameters:
            prompt: the text to continue; no chat template is applied.
            response_format: what form the text is held to: a class, a JSON schema, or a
                :class:`~studiolo.config.StructuredSetting`; see docs/structured-output.md.
            config: the settings; see :class:`~studiolo.config.PredictionConfig`.
            preset: the name of a preset of the host's, which says what ``config`` leaves open.
            on_message: called once, with the whole answer as a message of a chat.
            on_first_token: called without arguments before the first fragment.
            on_prediction_fragment: called with every fragment.
            on_prompt_processing_progress: called with the share of the prompt that is processed, 0 to 1.

        Raises:
            ConfigError: a setting has a wrong name, type or range.
            UnsupportedError: a setting is for chats alone.
        """
        if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"The prompt is a {type(prompt).__name__}, not a str")
        settings = _with_format(config, response_format)
        if settings.prompt_template is not None:
            raise UnsupportedError(
                "The prediction config's field 'prompt_template' has no effect on text that is continued as it stands",
                suggestion="Use respond(), which takes a chat, or leave the field out.",
            )
        parameter = raw_completion(prompt, self._specifier, encode_prediction_config(settings), preset)
        callbacks = Callbacks(
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_prompt_processing_progress=on_prompt_processing_progress,
        )
        return AsyncPredictionStream(self._client, parameter, callbacks)

    @overload
    async def complete(
        self, prompt: str, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[str]: ...
    @overload
    async def complete(
        self, prompt: str, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[dict[str, Any]]: ...
    async def complete(
        self,
        prompt: str,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> PredictionResult[Any]:
        """Continue ``prompt`` as it stands and wait for the whole; see :meth:`complete_stream`."""
        stream = self.complete_stream(
            prompt,
            response_format=response_format,
            config=config,
            preset=preset,
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_prompt_processing_progress=on_prompt_processing_progress,
        )
        return await stream.wait_for_result()

    @overload
    def respond_stream(
        self, history: HistoryInput, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> AsyncPredictionStream[str]: ...
    @overload
    def respond_stream(
        self, history: HistoryInput, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> AsyncPredictionStream[dict[str, Any]]: ...
    def respond_stream(
        self,
        history: HistoryInput,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> AsyncPredictionStream[Any]:
        """Answer a chat, fragment by fragment.

        The request is sent when the stream is first read, with the chat as it is now.

        Parameters:
            history: a :class:`Chat`, a dict as it travels, or a text, which is what the user says.
            response_format, config, preset, on_message, on_first_token, on_prediction_fragment,
            on_prompt_processing_progress: as for :meth:`complete_stream`.

        Raises:
            ConfigError: a setting has a wrong name, type or range, or the history is none.
        """
        parameter = PredictParameter(
            model_specifier=self._specifier,
            history=Chat.from_history(history).history_data(),
            prediction_config_stack=stack_of(encode_prediction_config(_with_format(config, response_format))),
            fuzzy_preset_identifier=preset,
        )
        callbacks = Callbacks(
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_prompt_processing_progress=on_prompt_processing_progress,
        )
        return AsyncPredictionStream(self._client, parameter, callbacks)

    @overload
    async def respond(
        self, history: HistoryInput, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[str]: ...
    @overload
    async def respond(
        self, history: HistoryInput, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[dict[str, Any]]: ...
    async def respond(
        self,
        history: HistoryInput,
        *,
        response_format: ResponseFormat | None = None,
        config: PredictionConfigInput | None = None,
        preset: str | None = None,
        on_message: OnMessage | None = None,
        on_first_token: OnFirstToken | None = None,
        on_prediction_fragment: OnFragment | None = None,
        on_prompt_processing_progress: OnPromptProgress | None = None,
    ) -> PredictionResult[Any]:
        """Answer a chat and wait for the whole; see :meth:`respond_stream`."""
        stream = self.respond_stream(
            history,
            response_format=response_format,
            config=config,
            preset=preset,
            on_message=on_message,
            on_first_token=on_first_token,
            on_prediction_fragment=on_prediction_fragment,
            on_prompt_processing_progress=on_prompt_processing_progress,
        )
        return await stream.wait_for_result()

    async def apply_prompt_template(
        self, history: HistoryInput, opts: ApplyPromptTemplateOpts | Mapping[str, Any] | None = None
    ) -> str:
        """The text that the model would be given of a chat, up to where its answer begins.

        Parameters:
            history: as for :meth:`respond_stream`.
            opts: ``omit_bos_token``, ``omit_eos_token`` (leave these tokens out; default: false) and
                ``tool_definitions``.

        Raises:
            ConfigError: an option has a wrong name or type, or the history is none.
            PredictionError: the model's template refuses the chat.
        """
        parameter = ApplyPromptTemplateParameter(
            specifier=self._specifier,
            history=Chat.from_history(history).history_data(),
            prediction_config_stack=KvConfigStack(layers=[]),
            opts=_template_options(opts),
        )
        return (await self._call(APPLY_PROMPT_TEMPLATE, parameter)).formatted


class AsyncEmbeddingModel(AsyncModelHandle):
    """A loaded embedding model."""

    @overload
    async def embed(self, input: str) -> list[float]: ...
    @overload
    async def embed(self, input: Iterable[str]) -> list[list[float]]: ...
    async def embed(self, input: str | Iterable[str]) -> list[float] | list[list[float]]:
        """The vector of a text, or of each of several, in their order.

        Parameters:
            input: a text, or any number of them. Each must fit into the context of the loaded model.

        Returns:
            As many floats as the model has dimensions. The vector's length is 1.

        Raises:
            ConfigError: the input is no text.
            PromptTooLongError: a text does not fit into the context.
        """
        if isinstance(input, str):
            return (await self._call(wire.EMBED_STRING, wire.EmbedStringParameter(self._specifier, input))).embedding
        return await each(self.embed, input)


H = TypeVar("H", bound=AsyncModelHandle)


class AsyncModelNamespace(Generic[H]):
    """What the ``llm`` and ``embedding`` namespaces have in common."""

    _namespace: wire.Domain
    _handle: Callable[[str, AsyncClient, wire.Domain], H]

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def model(
        self,
        model_key: str | None = None,
        /,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """A handle of a model, which is loaded where it is not yet.

        Parameters:
            model_key: an identifier of a loaded model, a model key, or a path. Without it: any loaded model, else
                the one last used, else the default (which is fetched into an empty library; stderr says so).
            ttl: seconds of idleness after which a model that is loaded by this call is unloaded; ``None`` for never.
            config: how to load, where it comes to that; see :class:`~studiolo.config.LoadConfig`.
            on_load_progress: called with the share of the load that is done, 0 to 1.

        Raises:
            ModelNotFoundError, ModelFileError, DownloadError, ConfigError, EngineStartError
        """
        with notices.fetching() as on_fetching:
            return await self.get_or_load(model_key, ttl, config, on_load_progress, on_fetching)

    async def get_or_load(
        self,
        model_key: str | None,
        ttl: int | None,
        config: LoadConfigInput | None,
        on_load_progress: OnLoadProgress | None,
        on_fetching: OnFetching,
    ) -> H:
        """:meth:`model`, for a caller that shows the progress of a fetch itself."""
        stack = stack_of(encode_load_config(load_config(config), self._namespace))
        if model_key is None and (loaded := await self.list_loaded()):
            return loaded[0]
        parameter = wire.GetOrLoadParameter(
            identifier=model_key, load_ttl_ms=_milliseconds(ttl), load_config_stack=stack
        )
        tell = _rising(on_load_progress)
        async with self._client.messages(self._namespace, wire.GET_OR_LOAD, parameter) as messages:
            async for message in messages:
                match message:
                    case wire.GetOrLoadProgress(progress=progress):
                        tell(progress)
                    case wire.Fetching():
                        call(on_fetching, message)
                    case wire.AlreadyLoaded(info=info) | wire.GetOrLoadSuccess(info=info):
                        return self._handle(info.identifier, self._client, self._namespace)
                    case wire.StartLoading():
                        pass
        raise ChannelClosedError(f"The host ended the loading of {model_key or 'a model'} without a result")

    async def load_new_instance(
        self,
        model_key: str,
        instance_identifier: str | None = None,
        *,
        ttl: int | None = DEFAULT_TTL_SEC,
        config: LoadConfigInput | None = None,
        on_load_progress: OnLoadProgress | None = None,
    ) -> H:
        """Load a model once more, as an instance of its own.

        Parameters:
            model_key: a model key or a path.
            instance_identifier: the instance's name; by default the model key, with ``:2`` and so on.
            ttl, config, on_load_progress: as for :meth:`model`.
        """
        parameter = wire.LoadModelParameter(
            model_key=model_key,
            identifier=instance_identifier,
            ttl_ms=_milliseconds(ttl),
            load_config_stack=stack_of(encode_load_config(load_config(config), self._namespace)),
        )
        tell = _rising(on_load_progress)
        async with self._client.messages(self._namespace, wire.LOAD_MODEL, parameter) as messages:
            async for message in messages:
                match message:
                    case wire.LoadProgress(progress=progress):
                        tell(progress)
                    case wire.LoadSuccess(info=info):
                        return self._handle(info.identifier, self._client, self._namespace)
                    case wire.LoadResolved():
                        pass
        raise ChannelClosedError(f"The host ended the loading of {model_key} without a result")

    async def unload(self, model_identifier: str) -> None:
        """Unload the instance of this identifier. Raises :class:`ModelNotFoundError`."""
        await self._client.call(self._namespace, wire.UNLOAD_MODEL, wire.UnloadModelParameter(model_identifier))

    async def list_loaded(self) -> list[H]:
        """Handles of the loaded models."""
        infos = await self._client.call(self._namespace, wire.LIST_LOADED, None)
        return [self._handle(info.identifier, self._client, self._namespace) for info in infos]

    async def get_model_info(self, model_specifier: ModelSpecifierInput) -> wire.ModelInstanceInfo:
        """What is known of a loaded model.

        Parameters:
            model_specifier: its identifier, or a query: a :class:`ModelQuery`, a specifier, or either as a dict.

        Raises:
            ModelNotFoundError: none is loaded that fits.
            ConfigError: the specifier is of none of these forms.
        """
        parameter = wire.GetModelInfoParameter(specifier_of(model_specifier), True)
        info = await self._client.call(self._namespace, wire.GET_MODEL_INFO, parameter)
        assert info is not None
        return info


class AsyncLlmNamespace(AsyncModelNamespace[AsyncLLM]):
    """``client.llm``: the LLMs."""

    _namespace = "llm"
    _handle = AsyncLLM

    async def list_downloaded(self) -> list[AsyncDownloadedLlm]:
        """The LLMs on the host's disk."""
        return cast("list[AsyncDownloadedLlm]", await self._client.list_downloaded_models("llm"))


class AsyncEmbeddingNamespace(AsyncModelNamespace[AsyncEmbeddingModel]):
    """``client.embedding``: the embedding models."""

    _namespace = "embedding"
    _handle = AsyncEmbeddingModel

    async def list_downloaded(self) -> list[AsyncDownloadedEmbeddingModel]:
        """The embedding models on the host's disk."""
        return cast("list[AsyncDownloadedEmbeddingModel]", await self._client.list_downloaded_models("embedding"))


def specifier_of(given: ModelSpecifierInput) -> wire.ModelSpecifier:
    """An identifier, a query or a specifier, as a specifier. Raises :class:`ConfigError`."""
    match given:
        case str():
            return wire.specify(given)
        case wire.ModelQuery():
            return wire.QuerySpecifier(query=given)
        case wire.QuerySpecifier() | wire.InstanceReferenceSpecifier():
            return given
        case _:
            pass
    try:
        if "type" in given:
            return msgspec.convert(given, wire.ModelSpecifier)
        return wire.QuerySpecifier(query=msgspec.convert(given, wire.ModelQuery))
    except (msgspec.ValidationError, TypeError) as error:
        raise ConfigError(f"{given!r} does not specify a model", cause=str(error)) from None


def _rising(callback: OnLoadProgress | None) -> Callable[[float], None]:
    """Tell ``callback`` of progress, never backwards and nothing twice."""
    told = -1.0

    def tell(progress: float) -> None:
        nonlocal told
        if progress > told:
            told = progress
            call(callback, progress)

    return tell


def _template_options(opts: ApplyPromptTemplateOpts | Mapping[str, Any] | None) -> ApplyPromptTemplateOpts:
    if isinstance(opts, ApplyPromptTemplateOpts):
        return opts
    names = dict(
        zip(ApplyPromptTemplateOpts.__struct_encode_fields__, ApplyPromptTemplateOpts.__struct_fields__, strict=True)
    )
    given = {names.get(name, name): value for name, value in (opts or {}).items()}
    for name in given.keys() - set(names.values()):
        raise ConfigError(
            f"There is no option {name!r} for a prompt template",
            suggestion=f"The options are {', '.join(names.values())}.",
        )
    try:
        return msgspec.convert({wire: given.get(name) for wire, name in names.items()}, ApplyPromptTemplateOpts)
    except msgspec.ValidationError as error:
        raise config_error(error, "prompt template's options") from None


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not seconds > 0:
        raise ConfigError(f"The ttl is {seconds!r}, not a positive number of seconds")
    return max(1, round(seconds * 1000))


def _with_format(config: PredictionConfigInput | None, response_format: ResponseFormat | None) -> PredictionConfig:
    checked = prediction_config(config)
    if response_format is not None:
        if checked.structured is not None:
            raise ConfigError("A response_format and the config's field 'structured' are two names of one setting")
        return prediction_config(msgspec.structs.replace(checked, structured=structured_setting(response_format)))
    return checked
