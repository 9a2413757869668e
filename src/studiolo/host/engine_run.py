"""From a request to a run of the engine: prompt, images and audio, tools, grammar, limits of context and reasoning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from ..config import PredictionConfig
from ..domain.chat import ChatRequest, Message
from ..domain.generation import ToolCallEvent
from ..domain.infill import Infill
from ..domain.vocabulary import Vocabulary
from ..engines.base import CompletionRequest, Engine, EngineEvent, TemplateRequest
from ..engines.chat_templates.control_tokens import as_text
from ..engines.prompt import Prompt
from ..engines.schemas.process import Schemas
from ..errors import UnsupportedError
from .engine_capabilities import check_capabilities
from .files import FileStore
from .images import max_side
from .infill import infill_prompt
from .log_events import LogEvents
from .media import media_bytes, media_in, with_media
from .overflow import check_fits, fit_chat, fit_text
from .prediction_settings import with_system_prompt
from .reasoning import (
    reasoning_tags,
    splitter,
    template_variables,
    think_within,
    with_beginning,
    with_thought_closed,
)
from .stop_strings import stop_strings, without_stop_strings
from .structured import AnswerForm, answer_form, may_think
from .tool_use import OutputPipeline, ToolUse, prompt_with_tools, say_with_tools, without_tool_messages


@dataclass(frozen=True, kw_only=True)
class PredictionRequest:
    """A request to an instance.

    Parameters:
        prompt: text or tokens to continue exactly as they are, a chat to answer, or a gap to fill.
        config: the settings with every default filled in.
        schemas: prepares and checks the form of the answer.
        files: the files that the chat refers to.
        tools: the tools of the chat.
        logs: receives the prompt and the answer while anybody subscribes.
    """

    prompt: str | list[int] | ChatRequest | Infill
    config: PredictionConfig
    schemas: Schemas
    files: FileStore | None = None
    tools: ToolUse | None = None
    logs: LogEvents | None = None

    @property
    def length(self) -> int:
        """Characters of its text, or its tokens, for reports."""
        if isinstance(self.prompt, Infill):
            return len(self.prompt.prefix) + len(self.prompt.suffix)
        if not isinstance(self.prompt, ChatRequest):
            return len(self.prompt)
        return sum(len(message.text) for message in self.prompt.messages)


@dataclass(frozen=True)
class EngineRun:
    """A run of the engine that has begun.

    Parameters:
        events: what the engine emits.
        pipeline: separates reasoning, text and tool calls.
        form: the form that the answer is held to; ``None`` for free text.
        request: what the engine was asked; ``None`` for an answer with tools or a form.
        prompt: the prompt as text, before any of it was cut.
        budget_message: text that precedes the end tag of reasoning that is cut short.
    """

    events: AsyncGenerator[EngineEvent | ToolCallEvent, None]
    pipeline: OutputPipeline
    form: AnswerForm | None
    request: CompletionRequest | None = None
    prompt: str = ""
    budget_message: str = ""


async def template_request(request: PredictionRequest, chat: ChatRequest) -> TemplateRequest:
    """Return the chat of a request as templates get it, its images and audio ready for an engine.

    Raises:
        FilesError: an image or audio is missing or damaged.
        UnsupportedError: an answer whose beginning is given is held to a form.
    """
    config = request.config
    if chat.beginning and config.structured is not None and config.structured.type != "none":
        raise UnsupportedError(
            "An answer whose beginning is given cannot be held to a form",
            cause="A form says how the whole answer begins.",
            suggestion="End the chat with a message of the user.",
            feature="structured",
        )
    messages: Sequence[Message] = with_system_prompt(chat.answered, config)
    if request.files is not None and media_in(messages):
        messages = await asyncio.to_thread(with_media, messages, request.files, max_side(config))
    return TemplateRequest(
        messages=messages,
        template=config.prompt_template,
        template_variables=template_variables(config),
        reasoning_tags=reasoning_tags(config),
        as_prompt=True,
    )


async def chat_prompt(
    engine: Engine,
    request: PredictionRequest,
    chat: TemplateRequest,
    vocabulary: Vocabulary,
    made: Prompt | None = None,
) -> Prompt:
    """Return the whole text that the model is given for a chat, with what its answer begins with.

    Parameters:
        request: its prompt is the chat.
        chat: the chat as templates get it, without the messages that do not fit.
        vocabulary: the model's.
        made: the text of a chat without tools, where it was made already.
    """
    config = request.config
    if request.tools is not None:
        return await prompt_with_tools(engine, chat, request.tools, config, vocabulary)
    assert isinstance(request.prompt, ChatRequest)
    prompt = made or Prompt.of(await engine.apply_template(await without_tool_messages(engine, chat)))
    prompt = with_beginning(prompt, request.prompt.beginning, config, vocabulary)
    return prompt if may_think(engine, config) else with_thought_closed(prompt, config)


def check_control_tokens(prompt: str | list[int] | ChatRequest | Infill, config: PredictionConfig) -> None:
    """Refuse ``control_tokens`` where it cannot have an effect. Raise :class:`UnsupportedError`."""
    if isinstance(prompt, list) and config.control_tokens == "text":
        raise UnsupportedError(
            "The prediction config's field 'control_tokens' is 'text', and the prompt consists of tokens",
            suggestion="Give the prompt as text.",
            feature="control_tokens",
        )
    if isinstance(prompt, ChatRequest | Infill) and config.control_tokens == "read":
        raise UnsupportedError(
            "The prediction config's field 'control_tokens' is 'read', which only a raw completion can have",
            cause="In chats and in texts with a gap, what spells a control token stays text.",
            suggestion="Use complete(), with the whole prompt.",
            feature="control_tokens",
        )


async def begin(
    engine: Engine,
    request: PredictionRequest,
    context_length: int,
    vocabulary: Vocabulary,
    log_input: Callable[[str], None] | None = None,
    budget_message: str = "",
) -> EngineRun:
    """Begin to answer ``request``.

    Parameters:
        context_length: tokens that prompt and answer may have together.
        vocabulary: the model's.
        log_input: called with the text that the engine is given; ``None`` where nobody subscribes.
        budget_message: text that precedes the end tag of reasoning that is cut short.

    Raises:
        ConfigError, UnsupportedError: the request's settings are wrong, or this engine or model cannot follow them.
        FilesError: an image or audio is missing or damaged.
        PredictionError, EngineError: as :meth:`studiolo.engines.base.Engine.apply_template`.
    """
    config, prompt = request.config, request.prompt
    asked = CompletionRequest(prompt="", config=config)
    check_control_tokens(prompt, config)
    check_capabilities(engine, config, media_in(prompt.messages) if isinstance(prompt, ChatRequest) else ())
    if isinstance(prompt, Infill):
        prompt = await infill_prompt(engine, prompt, config, context_length, vocabulary)
    if isinstance(prompt, ChatRequest):
        chat = await template_request(request, prompt)
        asked = replace(asked, media=media_bytes(chat.messages))
        if config.prompt_template is not None and config.prompt_template.stop_strings:
            ends = [*(config.stop_strings or ()), *config.prompt_template.stop_strings]
            asked = replace(asked, config=msgspec.structs.replace(config, stop_strings=ends))
        if request.tools is not None:
            return EngineRun(
                *await say_with_tools(
                    engine,
                    chat,
                    asked,
                    request.tools,
                    request.schemas,
                    context_length,
                    vocabulary,
                    log_input,
                    budget_message,
                )
            )
        chat = await without_tool_messages(engine, chat)
        made: Prompt | None = None
        if not asked.media:
            chat, made = await fit_chat(engine, chat, config, context_length, vocabulary)
        given = await chat_prompt(engine, request, chat, vocabulary, made)
    elif isinstance(prompt, str):
        given = as_text(prompt, vocabulary.control_tokens) if config.control_tokens == "text" else Prompt(prompt)
    else:
        given = Prompt(await engine.detokenize(prompt))
    check_fits(given, config, context_length, vocabulary)
    form = await answer_form(request.schemas, engine, config, given.text)
    thinking = form is None or form.may_think
    tokens = prompt if isinstance(prompt, list) else None
    asked = replace(asked, prompt=tokens or given.given, constraint=form and form.constraint)
    stops = stop_strings(asked.config) if isinstance(request.prompt, ChatRequest) and thinking else None
    if stops is not None:
        asked = without_stop_strings(asked)
    asked = await fit_text(engine, asked, context_length, vocabulary)
    if log_input is not None:
        log_input(given.text)
    after_thought = form and form.after_thought
    events = await think_within(engine, asked, given.text, budget_message, after_thought=after_thought)
    split = splitter(config, given.text, once=after_thought is not None) if thinking else None
    free = asked if form is None else None
    return EngineRun(events, OutputPipeline(split, stops=stops), form, free, given.text, budget_message)
