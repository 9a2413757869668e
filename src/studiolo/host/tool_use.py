"""Chats with tools: the engine's request, and how calls are found in its output.

There are two ways. A model whose chat template has a form for tools writes its calls as it was trained to, and the
engine parses them. Any other model gets the tools in plain text, and its calls are parsed here. A model that must call
a tool goes the second way in any case, constrained by the schema of a call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import msgspec

from ..config import PredictionConfig, ToolNaming
from ..config.prediction import StructuredSetting
from ..config.raw_tools import check_tools, parse_raw_tools
from ..domain.chat import ChatRequest, NamedTool, Tool, ToolCall, ToolChoice, ToolResult
from ..domain.generation import Fragment, ToolCallEvent, ToolCallFinished, ToolCallNamed
from ..domain.vocabulary import Vocabulary
from ..engines.base import CompletionRequest, Engine, EngineEvent, TemplateRequest, ToolChatRequest
from ..engines.prompt import Prompt
from ..engines.schemas.process import Schemas
from ..engines.tool_format import CALL_BEGIN, ToolNames, with_instructions, without_tools
from ..engines.tool_reader import ToolCallReader
from ..errors import ConfigError, UnsupportedError
from .overflow import check_fits, fit_chat, fit_text
from .reasoning import ReasoningSplitter, native_budget, splitter, think_within, with_beginning, with_thought_closed
from .stop_strings import StopStrings, stop_strings, without_stop_strings
from .structured import AnswerForm, call_form, call_or_answer_form, prepare_parameters


@dataclass(frozen=True)
class ToolUse:
    """The tools of a prediction.

    Parameters:
        tools: those that the model may call.
        must_call: whether it must call one of them.
        naming: how their names are written for the model.
        parallel: whether it may call several at once.
        beginning: the text that the answer begins with.
    """

    tools: list[Tool]
    must_call: bool
    naming: ToolNaming | None = None
    parallel: bool = True
    beginning: str = ""

    def names(self) -> ToolNames:
        """Return the names that the model writes for the tools."""
        return ToolNames((tool.name for tool in self.tools), self.naming)


def tool_use(chat: ChatRequest, config: PredictionConfig) -> ToolUse | None:
    """Return the tools of a chat, if it has any: the request's own, else those of the settings in force.

    Raises:
        ConfigError: they are malformed, or a call of a tool is required that is not among them.
        UnsupportedError: a grammar of the request's own is asked for as well.
    """
    choice: ToolChoice | None = chat.tool_choice or config.tool_choice
    forced = False
    if chat.tools is None:
        tools, forced = parse_raw_tools(config.raw_tools)
    else:
        tools = list(chat.tools)
        check_tools(tools)
    if isinstance(choice, NamedTool):
        name = choice.name
        tools = [tool for tool in tools if tool.name == name]
        if not tools:
            raise ConfigError(
                f"The tool choice names {name!r}, which is not among the tools",
                suggestion="Name one of the request's tools.",
            )
    elif chat.tool_choice == "required" and chat.tools is None and config.raw_tools is None:
        raise ConfigError(
            "The prediction config's field 'tool_choice' is 'required', and there are no tools",
            suggestion="Give tools: act() takes functions, raw_tools LM Studio's setting.",
        )
    if not tools or choice == "none":
        return None
    if config.structured is not None and config.structured.type == "gbnf":
        raise UnsupportedError(
            "One prediction cannot have both tools and a grammar of its own",
            suggestion="Hold the answer to a JSON schema, or give no tools.",
            feature="raw_tools",
        )
    must_call = forced or choice == "required" or isinstance(choice, NamedTool)
    return ToolUse(tools, must_call, config.tool_naming, chat.parallel_tool_calls, chat.beginning)


class OutputPipeline:
    """The way of a model's output: reasoning is separated from the answer, then calls from the text.

    Parameters:
        split: separates reasoning from the answer.
        calls: finds calls in the text.
        names: the tools' names, for calls that the engine finds.
        stops: ends the answer at a stop string; what is generated after it is dropped.
    """

    def __init__(
        self,
        split: ReasoningSplitter | None = None,
        calls: ToolCallReader | None = None,
        names: ToolNames | None = None,
        stops: StopStrings | None = None,
    ) -> None:
        self._split = split
        self._calls = calls
        self._names = names
        self.stops = stops

    @property
    def passes(self) -> bool:
        """Whether text goes through as it comes."""
        return self._split is None and self._calls is None and self.stops is None

    def feed(self, event: Fragment | ToolCallEvent) -> Iterator[Fragment | ToolCallEvent]:
        """Return what the engine's next event yields."""
        if not isinstance(event, Fragment):
            yield from self.flush()
            yield self._named(event)
            return
        for fragment in self._split.feed(event) if self._split else (event,):
            if self.stops is not None:
                yield from self._read(fragment)
            else:
                yield from self._calls.feed(fragment) if self._calls else (fragment,)

    def flush(self) -> Iterator[Fragment | ToolCallEvent]:
        """Return text that was held back, at the end of the output."""
        for fragment in self._split.flush() if self._split else ():
            yield from self._read(fragment)
        yield from self.stops.flush() if self.stops else ()

    def finish(self) -> Iterator[Fragment | ToolCallEvent]:
        """Return what is left when the model has ended by itself or at a limit."""
        left = self._calls.finish() if self._calls else ()
        if self.stops is None:
            yield from left
        elif self.stops.found is None:
            yield from _until_stop(self.stops, left)
            yield from self.stops.flush()

    def _read(self, fragment: Fragment) -> Iterable[Fragment | ToolCallEvent]:
        events = self._calls.feed(fragment) if self._calls else (fragment,)
        return events if self.stops is None else _until_stop(self.stops, events)

    def _named(self, event: ToolCallEvent) -> ToolCallEvent:
        if self._names is None:
            return event
        match event:
            case ToolCallNamed():
                return ToolCallNamed(self._names.original(event.name))
            case ToolCallFinished():
                call = msgspec.structs.replace(event.call, name=self._names.original(event.call.name))
                return msgspec.structs.replace(event, call=call)
            case _:
                return event


def _until_stop(stops: StopStrings, events: Iterable[Fragment | ToolCallEvent]) -> Iterator[Fragment | ToolCallEvent]:
    """Yield ``events`` up to a stop string in the text between calls."""
    for event in events:
        if isinstance(event, Fragment):
            yield from stops.feed(event)
        elif stops.found is None:
            yield from stops.flush()
            yield event


async def without_tool_messages(engine: Engine, chat: TemplateRequest) -> TemplateRequest:
    """Return ``chat`` with calls and results of earlier rounds as text where the model's template has none for them."""
    has_any = any(isinstance(part, ToolCall | ToolResult) for message in chat.messages for part in message.parts)
    if not has_any or (chat.template is None and await engine.knows_tools()):
        return chat
    return replace(chat, messages=without_tools(chat.messages))


async def template_text(engine: Engine, chat: TemplateRequest, config: PredictionConfig) -> str:
    """Return the text that the template makes of ``chat``, in the same form as for a prediction."""
    if chat.tools:
        names = ToolUse(list(chat.tools), False, config.tool_naming).names()
        chat, _ = await _with_tools(engine, replace(chat, tools=()), names, names.rename_tools(chat.tools))
    else:
        chat = await without_tool_messages(engine, chat)
    return Prompt.of(await engine.apply_template(chat)).text


async def prompt_with_tools(
    engine: Engine, chat: TemplateRequest, use: ToolUse, config: PredictionConfig, vocabulary: Vocabulary
) -> Prompt:
    """Return the whole text that the model is given for a chat with tools."""
    names = use.names()
    tools = names.rename_tools(use.tools)
    chat, own_format = await _with_tools(engine, chat, names, tools, as_text=_as_text(use, config))
    return await _rendered(engine, chat, use, config, vocabulary, own_format=own_format)


async def _rendered(
    engine: Engine,
    chat: TemplateRequest,
    use: ToolUse,
    config: PredictionConfig,
    vocabulary: Vocabulary,
    *,
    own_format: bool,
    made: Prompt | None = None,
) -> Prompt:
    """Return the text of a chat that has its tools, with the beginning of the answer, as far as that is given.

    Parameters:
        made: what the template made of the chat, if it has been asked.
    """
    made = made or Prompt.of(await engine.apply_template(chat))
    prompt = with_beginning(made, use.beginning, config, vocabulary)
    if use.must_call:
        prompt = with_thought_closed(prompt, config)
        return prompt if own_format else prompt + CALL_BEGIN
    if _form_beside(use, config) is not None or (not own_format and config.enable_thinking is False):
        return with_thought_closed(prompt, config)
    return prompt


def _form_beside(use: ToolUse, config: PredictionConfig) -> StructuredSetting | None:
    """Return the form of an answer that may be a call instead; ``None`` if it has none."""
    structured = config.structured
    return structured if structured is not None and structured.type == "json" and not use.must_call else None


def _as_text(use: ToolUse, config: PredictionConfig) -> bool:
    """Return whether the tools are shown as text in any case: the engine reads calls out of whole, free answers."""
    return bool(use.beginning) or _form_beside(use, config) is not None


async def _with_tools(
    engine: Engine, chat: TemplateRequest, names: ToolNames, tools: list[Tool], *, as_text: bool = False
) -> tuple[TemplateRequest, bool]:
    """Return ``chat`` with its tools, and whether they are in the form of the model's template.

    Parameters:
        as_text: they are not, whatever the template knows.
    """
    messages = names.rename_messages(chat.messages)
    if chat.template is None and not as_text and await engine.knows_tools():
        return replace(chat, messages=messages, tools=tools), True
    return replace(chat, messages=with_instructions(messages, tools)), False


async def say_with_tools(
    engine: Engine,
    chat: TemplateRequest,
    request: CompletionRequest,
    use: ToolUse,
    schemas: Schemas,
    context_length: int,
    vocabulary: Vocabulary,
    log_input: Callable[[str], None] | None = None,
    budget_message: str = "",
) -> tuple[AsyncGenerator[EngineEvent | ToolCallEvent, None], OutputPipeline, AnswerForm | None]:
    """Begin to answer a chat with tools.

    Parameters:
        chat: the chat and its template.
        request: the rest of the request; its prompt is not used.
        use: the tools.
        schemas: prepares the schema of a call that must be made.
        context_length: tokens that the chat and its answer may have together.
        vocabulary: the model's.
        log_input: called with the text that the engine is given; ``None`` where nobody subscribes.
        budget_message: what is put before the end tag of reasoning that is cut short.

    Returns:
        The engine's events, their pipeline, and the form of a call that must be made, or of a call or an answer.
    """
    names = use.names()
    tools = names.rename_tools(use.tools)
    structured = _form_beside(use, request.config)
    chat, own_format = await _with_tools(engine, chat, names, tools, as_text=_as_text(use, request.config))
    stops = stop_strings(request.config)
    if stops is not None:
        request = without_stop_strings(request)
    config = request.config
    made: Prompt | None = None
    if not request.media:
        chat, made = await fit_chat(engine, chat, config, context_length, vocabulary)
    prompt = await _rendered(engine, chat, use, config, vocabulary, own_format=own_format, made=made)
    check_fits(prompt, config, context_length, vocabulary)
    if not use.must_call:
        await prepare_parameters(schemas, tools, names.original)  # a wrong schema is refused in any case
    if own_format and not use.must_call:
        asked = ToolChatRequest(
            messages=chat.messages,
            tools=tools,
            config=config,
            parallel_tool_calls=use.parallel,
            template_variables=chat.template_variables,
            reasoning_tags=chat.reasoning_tags,
            budget=await native_budget(engine, config, prompt.text, budget_message),
        )
        if log_input is not None:
            log_input(prompt.text)  # the engine renders the same by itself
        pipeline = OutputPipeline(splitter(config, prompt.text), names=names, stops=stops)
        return engine.chat_with_tools(asked), pipeline, None
    form: AnswerForm | None = None
    if structured is not None:
        form = await call_or_answer_form(schemas, engine, tools, names.original, structured.json_schema)
        pipeline = OutputPipeline(calls=ToolCallReader(names), stops=stops)
    elif not use.must_call:
        pipeline = OutputPipeline(splitter(config, prompt.text), ToolCallReader(names), stops=stops)
    else:
        form = await call_form(schemas, engine, tools, names.original)
        pipeline = OutputPipeline(calls=ToolCallReader(names, forced=True))
    request = replace(request, prompt=prompt.given, config=config, constraint=form and form.constraint)
    fitting = await fit_text(engine, request, context_length, vocabulary)
    if log_input is not None:
        log_input(prompt.text)
    return await think_within(engine, fitting, prompt.text, budget_message), pipeline, form
