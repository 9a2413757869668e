"""Handles of loaded models in the async API.

Longer than 400 lines because each method has its overloads and its documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, Unpack, overload

import msgspec

from ..config import PredictionConfig, config_error, prediction_config
from ..deadline import Deadline
from ..errors import ConfigError, UnsupportedError
from ..protocol import models as wire
from ..protocol.kv import (
    KvConfig,
    KvConfigStack,
    KvField,
    encode_prediction_config,
    stack_of,
)
from ..protocol.llm import (
    APPLY_PROMPT_TEMPLATE,
    ApplyPromptTemplateOpts,
    ApplyPromptTemplateParameter,
    InfillParameter,
    PredictParameter,
    raw_completion,
)
from ..struct_types import examined
from .arguments import is_one_text, limit, optional, text, texts, time_limit, wrong_type
from .async_decisions import AsyncDeciding
from .async_handle import AsyncModelHandle as AsyncModelHandle
from .async_stream import AsyncPredictionStream
from .callbacks import check_options
from .chat import Chat, HistoryInput
from .chat_parts import upload_media
from .gather import gather
from .mcp import mcp_tools
from .prediction import PredictionCallbacks, PredictionConfigInput, PredictionOptions, PredictionResult
from .reranking import RerankResult, ordered
from .structured import ResponseFormat, structured_setting
from .timeouts import Timeout, deadline_of
from .tool_rounds import ActOptions, ActResult, ActState, check_act_options
from .tool_runner import MakeStream, act_in_loop
from .tools import ToolDefinition, bind_tools

P = TypeVar("P")
R = TypeVar("R")


class AsyncLLM(AsyncDeciding):
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
        self, prompt: str, *, response_format: ResponseFormat | None = None, **options: Unpack[PredictionOptions]
    ) -> AsyncPredictionStream[Any]:
        """Continue ``prompt`` as it is, fragment by fragment.

        The request is sent when the stream is first read.

        Parameters:
            prompt: the text to continue; no chat template is applied.
            response_format: the form that the text must have: a class, a JSON schema, or a
                :class:`~studiolo.config.StructuredSetting`; see docs/structured-output.md.
            config: the settings; see :class:`~studiolo.config.PredictionConfig`.
            preset: the name of a preset on the host, for settings that ``config`` leaves open.
            timeout: the time limit in seconds, from the start of the stream to its end, instead of the ``timeout_sec``
                of ``config``. Connecting, loading the model and waiting for a slot count. The result then has the text
                so far and the stop reason ``timeLimitReached``.
            on_message: called once, with the whole answer as a message of a chat.
            on_first_token: called without arguments before the first fragment.
            on_prediction_fragment: called with every fragment.
            on_prompt_processing_progress: called with the fraction of the prompt that is processed, 0 to 1.

        Callbacks are called by the reader of the stream: in its event loop, or in its thread in the sync API.

        Raises:
            ConfigError: a setting has a wrong name, type or range.
            UnsupportedError: a setting is for chats only.

        Reading the stream raises :class:`TimeLimitError` if the host does not answer in time.
        """
        check_options("complete_stream", options, PredictionOptions)
        prompt = text(prompt, "prompt")
        settings = _for_text(_with_format(options.get("config"), response_format))
        config = encode_prediction_config(settings)
        parameter = raw_completion(prompt, self._specifier, config, optional(text, options.get("preset"), "preset"))
        return AsyncPredictionStream(self._session, parameter, options, _timeout(options, settings))

    @overload
    async def complete(
        self, prompt: str, *, response_format: None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[str]: ...
    @overload
    async def complete(
        self, prompt: str, *, response_format: ResponseFormat, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[dict[str, Any]]: ...
    async def complete(
        self, prompt: str, *, response_format: ResponseFormat | None = None, **options: Unpack[PredictionOptions]
    ) -> PredictionResult[Any]:
        """Continue ``prompt`` as it is and wait for the whole text; see :meth:`complete_stream`."""
        return await self.complete_stream(prompt, response_format=response_format, **options).wait_for_result()

    def infill_stream(
        self, prefix: str, suffix: str, **options: Unpack[PredictionOptions]
    ) -> AsyncPredictionStream[str]:
        """Fill the gap between two texts, fragment by fragment. An addition of studiolo's.

        The request is sent when the stream is first read. Of texts that are too long for the context, the model gets
        what is nearest to the gap.

        Parameters:
            prefix: the text before the gap.
            suffix: the text after it.
            config, preset, timeout, on_message, on_first_token, on_prediction_fragment,
            on_prompt_processing_progress: as for :meth:`complete_stream`.

        Raises:
            ConfigError: a setting has a wrong name, type or range, or a text is none.
            UnsupportedError: a setting is for chats only.

        Reading the stream raises :class:`UnsupportedError` for a model that was not made for infill.
        """
        check_options("infill_stream", options, PredictionOptions)
        settings = _for_text(prediction_config(options.get("config")))
        parameter = InfillParameter(
            model_specifier=self._specifier,
            prefix=text(prefix, "prefix"),
            suffix=text(suffix, "suffix"),
            prediction_config_stack=stack_of(encode_prediction_config(settings)),
            fuzzy_preset_identifier=optional(text, options.get("preset"), "preset"),
        )
        return AsyncPredictionStream(self._session, parameter, options, _timeout(options, settings))

    async def infill(self, prefix: str, suffix: str, **options: Unpack[PredictionOptions]) -> PredictionResult[str]:
        """Fill the gap between two texts and wait for all that fills it; see :meth:`infill_stream`."""
        return await self.infill_stream(prefix, suffix, **options).wait_for_result()

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
        **options: Unpack[PredictionOptions],
    ) -> AsyncPredictionStream[Any]:
        """Answer a chat, fragment by fragment.

        The request is sent when the stream is first read, with the chat as it is at this call.

        Parameters:
            history: a :class:`Chat`; a list of messages or a dict with one, in LM Studio's, OpenAI's or Anthropic's
                shape; or a text: one message of the user. See :meth:`Chat.from_history`.
            response_format, config, preset, timeout, on_message, on_first_token, on_prediction_fragment,
            on_prompt_processing_progress: as for :meth:`complete_stream`.

        Raises:
            ConfigError: a setting has a wrong name, type or range, or ``history`` is not a chat.
        """
        check_options("respond_stream", options, PredictionOptions)
        settings = _with_format(options.get("config"), response_format)
        fields = encode_prediction_config(settings).fields
        timeout = _timeout(options, settings)
        return self._answer(Chat.from_history(history), fields, options.get("preset"), options, timeout)

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
        **options: Unpack[PredictionOptions],
    ) -> PredictionResult[Any]:
        """Answer a chat and wait for the whole answer; see :meth:`respond_stream`."""
        return await self.respond_stream(history, response_format=response_format, **options).wait_for_result()

    async def act(
        self, chat: HistoryInput, tools: Iterable[ToolDefinition] = (), **options: Unpack[ActOptions]
    ) -> ActResult:
        """Answer with the help of tools: predict, make the tool calls, and repeat until there are none.

        Parameters:
            chat: a chat, or just a text; it is not changed, see ``on_message``.
            tools: functions with type hints and a docstring, :class:`ToolFunctionDef`, or dicts of its fields. Ordinary
                functions are called in threads. Async functions are for the async API only.
            mcp: servers whose tools are added; see :mod:`studiolo.mcp.config`.
            max_prediction_rounds: the maximum number of predictions; the last has no tools. Default: no limit.
            max_parallel_tool_calls: how many tools may run at once; ``None`` for no limit. Default: 1.
            tool_choice: ``"required"`` forces the first prediction to call a tool. Default: ``"auto"``.
            config: the settings of every prediction; see :class:`~studiolo.config.PredictionConfig`.
            preset: the name of a preset on the host.
            timeout: the time limit of the whole in seconds: MCP servers, all rounds and their tools. The result then
                says ``time_limit_reached``. Tool calls that have not ended are answered as failed.
            on_message: called with every message to add to the chat; append it to a chat to continue that later.
            on_first_token: called with the round's number, from 0, before the first fragment.
            on_prediction_fragment: called with every fragment and the round's number.
            on_round_start, on_round_end: called with the round's number.
            on_prediction_completed: called with the result of every prediction; tools may still be running.
            on_prompt_processing_progress: called with the fraction of the prompt that is processed and the round's
                number.
            handle_invalid_tool_request: called with the error and the request when a call is invalid or fails. The
                model gets the text that it returns, or the error's text if it returns ``None``; an exception that it
                raises ends the whole. If the call could not be parsed, there is no request and the error is raised.

        Callbacks are called in the event loop, or in the calling thread in the sync API.

        Raises:
            ConfigError: a tool, a server or a setting is wrong.
            PredictionError: the model wrote a call that cannot be parsed, or called a tool in the last round.
            TimeLimitError: an MCP server or the host did not answer within ``timeout``.
        """
        check_act_options(options)
        bound = bind_tools(tools, allow_async=True)
        deadline = deadline_of(options.get("timeout"))
        async with mcp_tools(options.get("mcp", ()), bound, deadline) as from_servers:
            state = ActState(Chat.from_history(chat), {**bound, **from_servers}, options, deadline)
            return await act_in_loop(
                state, self._round_maker(state, options), options.get("max_parallel_tool_calls", 1)
            )

    async def apply_prompt_template(
        self,
        history: HistoryInput,
        opts: ApplyPromptTemplateOpts | Mapping[str, Any] | None = None,
        *,
        timeout: Timeout = None,
    ) -> str:
        """Return the prompt that the model would get for a chat, up to the beginning of its answer.

        Parameters:
            history: as for :meth:`respond_stream`.
            opts: ``omit_bos_token``, ``omit_eos_token`` (leave these tokens out; default: false) and
                ``tool_definitions``.
            timeout: the time limit of the whole in seconds. Default: none.

        Raises:
            ConfigError: an option has a wrong name or type, or ``history`` is not a chat.
            PredictionError: the model's template rejects the chat.
            TimeLimitError: it took longer than ``timeout``.
        """
        deadline = deadline_of(timeout, "apply_prompt_template()")
        messages = Chat.from_history(history).history_data()
        checked_opts = _template_options(opts)
        await upload_media(self._session, messages, deadline)
        parameter = ApplyPromptTemplateParameter(
            specifier=self._specifier,
            history=messages,
            prediction_config_stack=KvConfigStack(layers=[]),
            opts=checked_opts,
        )
        return (await self._call(APPLY_PROMPT_TEMPLATE, parameter, deadline)).formatted

    def _answer(
        self,
        chat: Chat,
        fields: list[KvField],
        preset: str | None,
        callbacks: PredictionCallbacks,
        timeout: float | Deadline | None,
    ) -> AsyncPredictionStream[Any]:
        parameter = PredictParameter(
            model_specifier=self._specifier,
            history=chat.history_data(),
            prediction_config_stack=stack_of(KvConfig(fields=fields)),
            fuzzy_preset_identifier=optional(text, preset, "preset"),
        )
        return AsyncPredictionStream(self._session, parameter, callbacks, timeout)

    def _round_maker(self, state: ActState, options: ActOptions) -> MakeStream:
        config = prediction_config(options.get("config"))
        fields = encode_prediction_config(config).fields

        def make(round_fields: list[KvField], callbacks: PredictionCallbacks) -> AsyncPredictionStream[Any]:
            timeout = state.deadline.or_sooner(config.timeout_sec or None)
            return self._answer(state.chat, [*fields, *round_fields], options.get("preset"), callbacks, timeout)

        return make


class AsyncEmbeddingModel(AsyncModelHandle):
    """A loaded embedding model."""

    @overload
    async def embed(self, input: str, *, timeout: Timeout = None) -> list[float]: ...
    @overload
    async def embed(self, input: Iterable[str], *, timeout: Timeout = None) -> list[list[float]]: ...
    async def embed(self, input: str | Iterable[str], *, timeout: Timeout = None) -> list[float] | list[list[float]]:
        """Return the vector of a text, or of each of several texts, in their order.

        Parameters:
            input: a text, or any number of texts: a list, an array, a series, a generator. Each must fit into the
                context of the loaded model.
            timeout: the time limit of the whole in seconds. Default: none.

        Returns:
            One float for each dimension of the model. The vector has length 1.

        Raises:
            ConfigError: the input is not text.
            PromptTooLongError: a text does not fit into the context; the error has its position among several.
            TimeLimitError: it took longer than ``timeout``.
        """
        deadline = deadline_of(timeout, "embed()")

        async def embed_one(one: str) -> list[float]:
            parameter = wire.EmbedStringParameter(self._specifier, one)
            return (await self._call(wire.EMBED_STRING, parameter, deadline)).embedding

        if is_one_text(input):
            return await embed_one(text(input, "input"))
        return await gather(embed_one, texts(input, "input"))

    async def rerank(
        self, query: str, documents: Iterable[str], *, top_n: int | None = None, timeout: Timeout = None
    ) -> list[RerankResult]:
        """Return texts in the order of how well they answer a question. An addition of studiolo's.

        Parameters:
            query: the question.
            documents: any number of texts. Each must fit into the context of the model together with the question.
            top_n: return the best of them, so many at most. Default: all.
            timeout: the time limit of the whole in seconds. Default: none.

        Raises:
            ConfigError: an argument is malformed.
            UnsupportedError: the model is no reranking model.
            PromptTooLongError: a text does not fit into the context; the error has its position among several.
            TimeLimitError: it took longer than ``timeout``.
        """
        query, top_n = text(query, "query"), optional(limit, top_n, "top_n")
        if is_one_text(documents):
            raise wrong_type(documents, "documents", "a list of texts")
        given = list(texts(documents, "documents"))
        parameter = wire.RerankParameter(self._specifier, query, given)
        deadline = deadline_of(timeout, "rerank()")
        return ordered(given, (await self._call(wire.RERANK, parameter, deadline)).scores, top_n)


def _template_options(opts: ApplyPromptTemplateOpts | Mapping[str, Any] | None) -> ApplyPromptTemplateOpts:
    if opts is not None and not isinstance(opts, ApplyPromptTemplateOpts | Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise wrong_type(opts, "opts", "a dict of options")
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
        return msgspec.convert(
            {wire_name: given.get(name) for wire_name, name in names.items()}, examined(ApplyPromptTemplateOpts)
        )
    except msgspec.ValidationError as error:
        raise config_error(error, "prompt template's options") from None


def _for_text(settings: PredictionConfig) -> PredictionConfig:
    if settings.prompt_template is not None:
        raise UnsupportedError(
            "The prediction config's field 'prompt_template' has no effect on a completion",
            suggestion="Use respond(), which takes a chat, or leave the field out.",
            feature="prompt_template",
        )
    return settings


def _timeout(options: PredictionOptions, settings: PredictionConfig) -> float | Deadline | None:
    timeout = options.get("timeout")
    if timeout is None:
        return settings.timeout_sec or None
    return timeout if isinstance(timeout, Deadline) else time_limit(timeout, "timeout")


def _with_format(config: PredictionConfigInput | None, response_format: ResponseFormat | None) -> PredictionConfig:
    checked = prediction_config(config)
    if response_format is not None:
        if checked.structured is not None:
            raise ConfigError("Cannot specify both a response_format and the config's field 'structured'")
        return prediction_config(msgspec.structs.replace(checked, structured=structured_setting(response_format)))
    return checked
