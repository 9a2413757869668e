"""Chats with tools: what the engine is asked, and how the calls are found in what it says.

There are two ways. A model whose chat template knows tools writes its calls as it was trained to, and the engine reads
them. Any other model is told of tools in plain text, and its calls are read here. A model that must call a tool goes
the second way in any case, held to the schema of a call.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ..config import PredictionConfig, ToolNaming
from ..engines.base import ChatRequest, CompletionRequest, Engine, EngineEvent, ToolChatRequest
from ..engines.schemas.process import Schemas
from ..engines.tool_format import CALL_BEGIN, ToolNames, with_instructions, without_tools
from ..engines.tool_reader import ToolCallReader
from ..errors import UnsupportedError
from ..protocol.chat import ToolCallRequestData, ToolResultMessage
from ..protocol.llm import Fragment
from ..protocol.tools import Tool, ToolCallEnd, ToolCallEvent, ToolCallName, parse_tools
from .overflow import fit_chat, fit_text
from .reasoning import ReasoningSplitter, native_budget, splitter, think_within, with_thought_closed
from .structured import Held, hold_call


@dataclass(frozen=True)
class ToolUse:
    """The tools of a prediction, and whether it must call one."""

    tools: list[Tool]
    must_call: bool
    naming: ToolNaming | None = None

    def names(self) -> ToolNames:
        """What the model calls the tools."""
        return ToolNames((tool.function.name for tool in self.tools), self.naming)


def tool_use(config: PredictionConfig) -> ToolUse | None:
    """The tools that a config gives a prediction, if any.

    Raises:
        ConfigError: they are malformed.
        UnsupportedError: structured output is asked for as well.
    """
    tools, forced = parse_tools(config.raw_tools)
    if not tools or config.tool_choice == "none":
        return None
    if config.structured is not None and config.structured.type != "none":
        raise UnsupportedError(
            "One prediction cannot have both tools and structured output",
            suggestion="Let one prediction call the tools, and another give the answer its form.",
            feature="raw_tools",
        )
    return ToolUse(tools, forced or config.tool_choice == "required", config.tool_naming)


class Said:
    """What a model says, on its way out: reasoning is told from the answer, then calls from the text.

    Parameters:
        split: tells reasoning from the answer.
        calls: finds calls in the text.
        names: the tools' names, for calls that the engine finds.
    """

    def __init__(
        self,
        split: ReasoningSplitter | None = None,
        calls: ToolCallReader | None = None,
        names: ToolNames | None = None,
    ) -> None:
        self._split = split
        self._calls = calls
        self._names = names

    def feed(self, event: Fragment | ToolCallEvent) -> Iterator[Fragment | ToolCallEvent]:
        """What the engine's next words bring."""
        if not isinstance(event, Fragment):
            yield from self.flush()
            yield self._named(event)
            return
        for fragment in self._split.feed(event) if self._split else (event,):
            yield from self._calls.feed(fragment) if self._calls else (fragment,)

    def flush(self) -> Iterator[Fragment | ToolCallEvent]:
        """Text that was held back, when no more comes."""
        for fragment in self._split.flush() if self._split else ():
            yield from self._calls.feed(fragment) if self._calls else (fragment,)

    def finish(self) -> Iterator[Fragment | ToolCallEvent]:
        """What is left when the model has ended by itself or at a limit."""
        yield from self._calls.finish() if self._calls else ()

    def _named(self, event: ToolCallEvent) -> ToolCallEvent:
        if self._names is None:
            return event
        match event:
            case ToolCallName(name=name):
                return ToolCallName(name=self._names.meant(name))
            case ToolCallEnd(tool_call_request=request):
                meant = msgspec.structs.replace(request, name=self._names.meant(request.name))
                return msgspec.structs.replace(event, tool_call_request=meant)
            case _:
                return event


async def without_tool_messages(engine: Engine, chat: ChatRequest) -> ChatRequest:
    """``chat``, with the calls and results of earlier rounds as text where the model's template knows none."""
    has_any = any(
        isinstance(message, ToolResultMessage) or any(isinstance(part, ToolCallRequestData) for part in message.content)
        for message in chat.messages
    )
    if not has_any or (chat.template is None and await engine.knows_tools()):
        return chat
    return replace(chat, messages=without_tools(chat.messages))


async def template_input(engine: Engine, chat: ChatRequest, config: PredictionConfig) -> ChatRequest:
    """``chat`` as a template gets it, in the same form as for a prediction.

    Parameters:
        chat: its tools are definitions as they came.

    Raises:
        ConfigError: a definition is malformed.
    """
    if not chat.tools:
        return await without_tool_messages(engine, chat)
    tools, _ = parse_tools({"type": "toolArray", "tools": list(chat.tools)})
    names = ToolUse(tools, False, config.tool_naming).names()
    told, _ = await _told_of_tools(engine, replace(chat, tools=()), names, names.in_tools(tools))
    return told


async def _told_of_tools(
    engine: Engine, chat: ChatRequest, names: ToolNames, tools: list[dict[str, Any]]
) -> tuple[ChatRequest, bool]:
    """``chat`` with what the model is told of its tools, and whether that is in the form of the model's template."""
    messages = names.in_messages(chat.messages)
    if chat.template is None and await engine.knows_tools():
        return replace(chat, messages=messages, tools=tools), True
    return replace(chat, messages=with_instructions(messages, tools)), False


async def say_with_tools(
    engine: Engine,
    chat: ChatRequest,
    request: CompletionRequest,
    use: ToolUse,
    schemas: Schemas,
    context_length: int,
    tell: Callable[[str], None] | None = None,
    budget_message: str = "",
) -> tuple[AsyncGenerator[EngineEvent | ToolCallEvent, None], Said, Held | None]:
    """Let the engine answer a chat with tools.

    Parameters:
        chat: the chat, with the template that it asks for.
        request: the rest of the request; its prompt is left aside.
        use: the tools.
        schemas: prepares the schema of a call that must be made.
        context_length: tokens that the chat and its answer may have together.
        tell: told the text that the engine is given, where somebody wants to know.
        budget_message: what is put before the end tag of reasoning that is cut short.

    Returns:
        The engine's events, the way out for them, and what holds the text to a call that must be made.
    """
    names = use.names()
    tools = names.in_tools(use.tools)
    chat, own_format = await _told_of_tools(engine, chat, names, tools)
    config = request.config
    if not request.images:
        chat = await fit_chat(engine, chat, config, context_length)
    prompt = await engine.apply_template(chat)
    if own_format and not use.must_call:
        asked = ToolChatRequest(
            messages=chat.messages,
            tools=tools,
            config=config,
            images=request.images,
            template_variables=chat.template_variables,
            budget=await native_budget(engine, config, prompt, budget_message),
        )
        if tell is not None:
            tell(prompt)  # the engine renders the same by itself
        return engine.chat_with_tools(asked), Said(splitter(config, prompt), names=names), None
    held: Held | None = None
    if not use.must_call:
        if config.enable_thinking is False:
            prompt = with_thought_closed(prompt, config)
        said = Said(splitter(config, prompt), ToolCallReader(names))
    else:
        prompt = with_thought_closed(prompt, config)
        if not own_format:
            prompt += CALL_BEGIN
        held = await hold_call(schemas, engine, tools, names.meant)
        said = Said(calls=ToolCallReader(names, forced=True))
    request = replace(request, prompt=prompt, config=config, constraint=held and held.constraint)
    fitting = await fit_text(engine, request, context_length)
    if tell is not None:
        tell(prompt)
    return await think_within(engine, fitting, prompt, budget_message), said, held
