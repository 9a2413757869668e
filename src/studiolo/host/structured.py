"""Structured output: the constraint that the engine is given, and the check of the finished answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from ..config import PredictionConfig, ReasoningParsing
from ..domain.chat import Tool
from ..domain.generation import StopReason, ToolCallFailed, ToolCallFinished
from ..engines.base import Constraint, Engine
from ..engines.schemas.grammar import (
    HEAD,
    answer_grammar,
    call_grammar,
    call_or_answer_grammar,
    thoughtful_grammar,
)
from ..engines.schemas.matching import GrammarMatcher
from ..engines.schemas.process import PreparedSchema, Schemas
from ..engines.tool_format import CALL_BEGIN, CALL_END, call_schema
from ..engines.tool_reader import failed_call
from ..errors import UnsupportedError
from .engine_capabilities import check_grammar

MAX_GRAMMAR_CHARS = 2**18
"""Characters of a user's own grammar at most: the engine builds it in the loop that serves all slots."""

MAX_LOOSE_NAMES = 200
"""Arguments of a tool whose schema has no grammar that its calls are held to, at most."""

ANY_OBJECT = {"type": "object"}

_BY_ITSELF: tuple[StopReason, ...] = ("end_of_text", "tool_calls")
_AT_A_LIMIT: tuple[StopReason, ...] = ("max_tokens", "context_full")
_ENDS: dict[StopReason, str] = {
    "end_of_text": "the model ended it",
    "stop_string": "a stop string ended it",
    "tool_calls": "a tool call ended it",
    "max_tokens": "it reached max_tokens",
    "context_full": "the context is full",
    "cancelled": "it was cancelled",
    "time_limit": "it reached its time limit",
    "unloaded": "the model was unloaded",
    "failed": "it failed",
}


@dataclass
class AnswerForm:
    """The form that one answer is held to.

    Parameters:
        constraint: the engine's constraint.
        schemas: validates the finished answer.
        matcher: follows the text as it is generated; ``None`` for a grammar that only the engine parses.
        schema: the schema that the answer must satisfy; ``None`` for a grammar or a call.
        parameters: the schema of the parameters of each tool that may be called, by the tool's own name.
        thought: the tags of a thought that may stand before the answer; ``None`` for no thought.
        in_thought: whether the prompt ends in an open thought.
        stop_string: the one that has ended the answer, where the host found it.
    """

    constraint: Constraint
    schemas: Schemas
    matcher: GrammarMatcher | None = None
    schema: PreparedSchema | None = None
    parameters: Mapping[str, PreparedSchema] = field(default_factory=dict[str, PreparedSchema])
    thought: ReasoningParsing | None = None
    in_thought: bool = False
    stop_string: str | None = None
    _text: list[str] = field(default_factory=list[str])

    @property
    def may_think(self) -> bool:
        """Whether a thought may precede the answer: a user's own grammar may allow one."""
        return self.thought is not None or (self.schema is None and not self.parameters)

    @property
    def after_thought(self) -> Constraint | None:
        """The constraint for the rest of an answer after its thought."""
        return Constraint(grammar=answer_grammar(self.schema.grammar_json)) if self.thought and self.schema else None

    @property
    def warnings(self) -> list[str]:
        """Hints for the author of the schema, each with its path."""
        return list(self.schema.warnings) if self.schema else []

    def follow(self, text: str) -> None:
        """Take generated text. Raise :class:`PredictionError` if the form does not allow it."""
        self._text.append(text)
        if self.matcher is not None:
            self.matcher.feed(text)

    async def problem(self, stop_reason: StopReason) -> str | None:
        """Return why a finished answer does not have its form; ``None`` if it has."""
        is_call = bool(self.parameters) and "".join(self._text).startswith(CALL_BEGIN)
        if self.schema is None or is_call:
            if self.matcher is None or self.matcher.complete:
                return None
            return cut_off(stop_reason)
        answer = self._answer()
        if stop_reason in _AT_A_LIMIT and not _is_whole(answer):
            return cut_off(stop_reason)
        found = await self.schemas.check(self.schema, answer)
        if found is None:
            return None
        return f"The answer does not satisfy the schema: {found}" if stop_reason in _BY_ITSELF else cut_off(stop_reason)

    async def checked_call(self, event: ToolCallFinished) -> ToolCallFinished | ToolCallFailed:
        """Return a call if its arguments satisfy the parameters of its tool, else the event of one that failed."""
        parameters = self.parameters.get(event.call.name)
        if parameters is None:
            return event
        found = await self.schemas.check(parameters, msgspec.json.encode(event.call.arguments or {}).decode())
        return event if found is None else failed_call(f"The arguments are wrong: {found}", event.raw or "")

    def _answer(self) -> str:
        text = "".join(self._text)
        if self.thought is not None and (self.in_thought or text.startswith(self.thought.start_string)):
            text = text.partition(self.thought.end_string)[2].strip()
        return text if self.stop_string is None else text.partition(self.stop_string)[0]


def cut_off(stop_reason: StopReason) -> str:
    """Return the problem of an answer that ended before its form was complete."""
    return f"The answer ended before it was complete: {_ENDS[stop_reason]}"


def _is_whole(answer: str) -> bool:
    """Return whether an answer that a limit ended is complete; a number may lack digits."""
    return answer.rstrip()[-1:] in ("}", "]", '"', "e", "l")  # the last two end true, false and null


async def answer_form(schemas: Schemas, engine: Engine, config: PredictionConfig, prompt: str) -> AnswerForm | None:
    """Return the form that the config's ``structured`` asks for; ``None`` if it asks for none.

    Raises:
        ConfigError: the schema or grammar is wrong, or nothing satisfies it.
        UnsupportedError: an answer cannot be held to it, or not by this engine.
    """
    structured = config.structured
    if structured is None or structured.type == "none":
        return None
    if structured.type == "gbnf":
        return await _hold_to_grammar(schemas, engine, structured.gbnf_grammar or "")
    wanted = ANY_OBJECT if structured.json_schema is None else structured.json_schema
    schema = await schemas.prepare(wanted)
    if "llguidance" not in engine.capabilities.grammars:
        check_grammar(engine, "json_schema")
        return AnswerForm(Constraint(json_schema=wanted if isinstance(wanted, dict) else {}), schemas, schema=schema)
    parsing = config.reasoning_parsing if may_think_first(config) else None
    if parsing is None:
        grammar = answer_grammar(schema.grammar_json)  # built when the schema was prepared
        return AnswerForm(Constraint(grammar=grammar), schemas, await schemas.matcher(grammar), schema)
    is_open = prompt.rstrip().endswith(parsing.start_string)
    grammar = thoughtful_grammar(schema.grammar_json, parsing.start_string, parsing.end_string, is_open=is_open)
    await schemas.check_grammar(grammar)
    matcher = await schemas.matcher(grammar)
    return AnswerForm(Constraint(grammar=grammar), schemas, matcher, schema, thought=parsing, in_thought=is_open)


async def call_form(
    schemas: Schemas, engine: Engine, tools: Sequence[Tool], own_name: Callable[[str], str]
) -> AnswerForm:
    """Return the form of a call of one of ``tools``.

    Parameters:
        tools: under the names that the model writes.
        own_name: returns a tool's own name for the name that the model writes.

    Raises:
        ConfigError: a tool's parameters are wrong, or nothing satisfies them.
    """
    parameters = await prepare_parameters(schemas, tools, own_name)
    calls = [(tool.name, parameters[own_name(tool.name)].grammar_json) for tool in tools]
    if "llguidance" not in engine.capabilities.grammars:
        check_grammar(engine, "json_schema")
        return AnswerForm(Constraint(json_schema=call_schema(tools)), schemas, parameters=parameters)
    grammar = call_grammar(calls)
    try:
        await schemas.check_grammar(grammar)
    except UnsupportedError:  # each alone has a grammar, and all together are too large
        loose = [await schemas.prepare(_names_alone(_arguments(tool.parameters or {})), spaced=True) for tool in tools]
        grammar = call_grammar((tool.name, each.grammar_json) for tool, each in zip(tools, loose, strict=True))
        await schemas.check_grammar(grammar)
    return AnswerForm(Constraint(grammar=grammar), schemas, await schemas.matcher(grammar), parameters=parameters)


async def call_or_answer_form(
    schemas: Schemas,
    engine: Engine,
    tools: Sequence[Tool],
    own_name: Callable[[str], str],
    wanted: Mapping[str, Any] | bool | None,
) -> AnswerForm:
    """Return the form of an answer that is a call of one of ``tools``, or satisfies the schema ``wanted``.

    Raises:
        ConfigError: a schema is wrong, or nothing satisfies it.
        UnsupportedError: an answer cannot be held to it, or not by this engine.
    """
    check_grammar(engine, "llguidance")
    parameters = await prepare_parameters(schemas, tools, own_name)
    schema = await schemas.prepare(ANY_OBJECT if wanted is None else wanted)
    calls = [(tool.name, parameters[own_name(tool.name)].grammar_json) for tool in tools]
    grammar = call_or_answer_grammar(calls, CALL_BEGIN, CALL_END, schema.grammar_json)
    await schemas.check_grammar(grammar)
    matcher = await schemas.matcher(grammar)
    return AnswerForm(Constraint(grammar=grammar), schemas, matcher, schema, parameters)


async def prepare_parameters(
    schemas: Schemas, tools: Sequence[Tool], own_name: Callable[[str], str]
) -> dict[str, PreparedSchema]:
    """Return the checked parameters of each tool by the tool's own name: the same whether it must be called or may be.

    Raises:
        ConfigError: as :func:`call_form`.
    """
    parameters: dict[str, PreparedSchema] = {}
    for tool in tools:
        wanted, name = _arguments(tool.parameters or {}), own_name(tool.name)
        subject = f"The JSON schema of the tool {name!r}"
        try:
            schema = await schemas.prepare(wanted, spaced=True, subject=subject)
        except UnsupportedError:  # the model sees the schema, as where it may call; the finished call is validated
            loose = await schemas.prepare(_names_alone(wanted), spaced=True, subject=subject)
            schema = dataclasses.replace(loose, text=msgspec.json.encode(wanted).decode())
        parameters[name] = schema
    return parameters


async def _hold_to_grammar(schemas: Schemas, engine: Engine, grammar: str) -> AnswerForm:
    if len(grammar) > MAX_GRAMMAR_CHARS:
        raise UnsupportedError(
            f"The grammar has {len(grammar)} characters, and {MAX_GRAMMAR_CHARS} are the limit",
            feature="structured",
            suggestion="Write a shorter one.",
        )
    check_grammar(engine, "llguidance" if grammar.startswith(HEAD) else "gbnf")
    if not grammar.startswith(HEAD):
        return AnswerForm(Constraint(grammar=grammar), schemas)  # the engine refuses GBNF that it cannot read
    await schemas.check_grammar(grammar)
    return AnswerForm(Constraint(grammar=grammar), schemas, await schemas.matcher(grammar))


def _arguments(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a call's arguments: an object with only the properties that the tool names."""
    schema = {"type": "object", **parameters}
    if not schema.get("properties") and schema.keys() <= {"type", "properties", "required", "description", "title"}:
        schema["additionalProperties"] = False
    return schema


def _names_alone(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema of a call's arguments that has a grammar: their names, with any values."""
    named: Any = arguments.get("properties")
    required: Any = arguments.get("required")
    names = list(cast("Mapping[str, Any]", named))[:MAX_LOOSE_NAMES] if isinstance(named, Mapping) else []
    needed = cast("list[Any]", required) if isinstance(required, list) else []
    return {
        "type": "object",
        "properties": dict.fromkeys(names, True),
        "required": [name for name in needed if name in names],
    }


def may_think_first(config: PredictionConfig) -> bool:
    """Return whether a thought may precede the answer.

    Only if the request asks for it: LM Studio's clients parse the whole text as JSON.
    """
    parsing = config.reasoning_parsing
    asked = config.enable_thinking is not False and bool(config.reasoning_budget)
    return parsing is not None and parsing.enabled and asked


def may_think(engine: Engine, config: PredictionConfig) -> bool:
    """Return whether a thought may precede an answer without tools."""
    if config.structured is not None and config.structured.type == "json":
        return may_think_first(config) and "llguidance" in engine.capabilities.grammars
    return config.enable_thinking is not False
