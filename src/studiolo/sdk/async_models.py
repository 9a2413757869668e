"""Handles of loaded models in the async API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import msgspec

from ..config import LoadConfig, PredictionConfig, config_error, prediction_config
from ..errors import ConfigError, UnsupportedError
from ..protocol import models as wire
from ..protocol.declarations import Rpc
from ..protocol.kv import (
    KvConfigStack,
    decode_load_config,
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
from .async_stream import AsyncPredictionStream
from .chat import Chat, ChatHistoryDataDict
from .gather import each
from .prediction import (
    Callbacks,
    OnFirstToken,
    OnFragment,
    OnMessage,
    OnPromptProgress,
    PredictionOptions,
    PredictionResult,
)
from .structured import ResponseFormat, structured_setting
from .tool_runner import AsyncActing
from .validation import sendable

if TYPE_CHECKING:
    from .async_client import AsyncClient

P = TypeVar("P")
R = TypeVar("R")

PredictionConfigInput = PredictionConfig | Mapping[str, Any]
HistoryInput = Chat | ChatHistoryDataDict | str


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
                feature="prompt_template",
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


def _with_format(config: PredictionConfigInput | None, response_format: ResponseFormat | None) -> PredictionConfig:
    checked = prediction_config(config)
    if response_format is not None:
        if checked.structured is not None:
            raise ConfigError("Cannot specify both a response_format and the config's field 'structured'")
        return prediction_config(msgspec.structs.replace(checked, structured=structured_setting(response_format)))
    return checked
