"""Telling what a model thinks from what it answers, while the text comes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace

import msgspec

from ..config import PredictionConfig, ReasoningParsing
from ..engines.base import Completed, CompletionRequest, Engine, EngineEvent, PromptProgress
from ..errors import ConfigError, UnsupportedError
from ..protocol.llm import Fragment, ReasoningType
from ..protocol.streaming import merge_fragments


class ReasoningSplitter:
    """Marks the fragments of a text: reasoning, its tags, and the rest. Tags may be spread over fragments.

    Text that may turn out to be the beginning of a tag is held back until it is known.

    Parameters:
        start, end: the tags around a stretch of reasoning.
        prompt: what the model continues; where it ends in an open tag, the model begins by thinking.
    """

    def __init__(self, start: str, end: str, prompt: str = "") -> None:
        self._start, self._end = start, end
        self._thinking = prompt.rstrip().endswith(start)
        self._held: Fragment | None = None

    def feed(self, fragment: Fragment) -> Iterator[Fragment]:
        """What is known of the text up to and with ``fragment``, in pieces of one kind each."""
        if self._held is None and not self._thinking and self._start[0] not in fragment.content:
            yield fragment
            return
        if self._held is not None:
            merged = merge_fragments(self._held, fragment)
            if merged is None:  # the one is structure and the other is not
                yield from self.flush()
            else:
                fragment = merged
            self._held = None
        while True:
            tag = self._end if self._thinking else self._start
            before, found, after = fragment.content.partition(tag)
            if not found:
                break
            yield from self._take(fragment, before, self._kind)
            yield from self._take(
                fragment if not before else _textless(fragment),
                tag,
                "reasoningEndTag" if self._thinking else "reasoningStartTag",
            )
            self._thinking = not self._thinking
            fragment = msgspec.structs.replace(_textless(fragment), content=after)
            if not after:
                return
        keep = _overlap(fragment.content, tag)
        text = fragment.content[: len(fragment.content) - keep]
        yield from self._take(fragment, text, self._kind)
        if keep:
            rest = fragment if not text else _textless(fragment)
            self._held = msgspec.structs.replace(rest, content=fragment.content[-keep:])

    @property
    def thinking(self) -> bool:
        """Whether what comes next is reasoning, as far as it is known."""
        return self._thinking and self._held is None

    def flush(self) -> Iterator[Fragment]:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, None
        if held is not None:
            yield msgspec.structs.replace(held, reasoning_type=self._kind)

    @property
    def _kind(self) -> ReasoningType:
        return "reasoning" if self._thinking else "none"

    def _take(self, fragment: Fragment, text: str, kind: ReasoningType) -> Iterator[Fragment]:
        if text:
            yield msgspec.structs.replace(fragment, content=text, reasoning_type=kind)


def splitter(config: PredictionConfig, prompt: str) -> ReasoningSplitter | None:
    """What tells reasoning from the answer, where the config asks for that and the answer may have any."""
    parsing = config.reasoning_parsing
    if parsing is None or not parsing.enabled or is_held_to_json(config):
        return None
    return ReasoningSplitter(parsing.start_string, parsing.end_string, prompt)


def is_held_to_json(config: PredictionConfig) -> bool:
    """Whether an answer is JSON from its first character, so that no thought can stand before it."""
    return config.structured is not None and config.structured.type == "json"


def with_thought_closed(prompt: str, config: PredictionConfig) -> str:
    """``prompt``; where it ends in an open thought, that is closed, because the answer has no room for one."""
    parsing = config.reasoning_parsing
    if parsing is None or not parsing.enabled or not prompt.rstrip().endswith(parsing.start_string):
        return prompt
    return f"{prompt}{parsing.end_string}\n\n"


def _textless(fragment: Fragment) -> Fragment:
    """A fragment for the rest of one whose tokens are accounted for already."""
    return Fragment(
        content="", tokens_count=0, contains_drafted=fragment.contains_drafted, is_structural=fragment.is_structural
    )


def _overlap(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` may be the beginning of ``tag``."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0


def think_within(engine: Engine, request: CompletionRequest) -> AsyncGenerator[EngineEvent, None]:
    """A completion whose reasoning ends after ``reasoning_budget`` tokens, where the config sets that.

    The end tag is then put after the thought, and the model goes on from there.

    Raises:
        ConfigError: the budget is set, and reasoning is not told from the answer.
        UnsupportedError: the budget is set, and so is a grammar, which a cut would leave in the middle.
    """
    budget, prompt, parsing = request.config.reasoning_budget, request.prompt, request.config.reasoning_parsing
    if budget is None or not isinstance(prompt, str) or is_held_to_json(request.config):
        return engine.complete(request)
    if request.config.structured is not None and request.config.structured.type == "gbnf":
        raise UnsupportedError(
            "A reasoning_budget and a grammar of one's own do not go together",
            suggestion="Leave one of them out of the prediction config.",
            feature="reasoning_budget",
        )
    if parsing is None or not parsing.enabled:
        raise ConfigError(
            "The prediction config has a reasoning_budget, and its reasoning_parsing is switched off",
            suggestion="Enable reasoning_parsing, so that reasoning can be counted.",
        )
    return _cut_short(engine, request, prompt, parsing, budget)


async def _cut_short(
    engine: Engine, request: CompletionRequest, prompt: str, parsing: ReasoningParsing, budget: int
) -> AsyncGenerator[EngineEvent, None]:
    config = request.config
    split = ReasoningSplitter(parsing.start_string, parsing.end_string, prompt)
    closing = f"{parsing.end_string}\n\n"
    thought = spent = 0
    prompt_tokens: int | None = None  # those of the first run; later runs count what was said as well
    while True:
        before = spent
        if not (split.thinking and thought >= budget):
            said = ""
            async with contextlib.aclosing(engine.complete(request)) as events:
                async for event in events:
                    if isinstance(event, Completed):
                        told = event.prompt_tokens if prompt_tokens is None else prompt_tokens
                        yield replace(event, prompt_tokens=told, predicted_tokens=before + event.predicted_tokens)
                        return
                    if isinstance(event, PromptProgress):
                        if before == 0:
                            prompt_tokens = event.total
                            yield event
                        continue
                    yield event
                    said += event.content
                    spent += event.tokens_count
                    thought += sum(
                        part.tokens_count for part in split.feed(event) if part.reasoning_type == "reasoning"
                    )
                    if split.thinking and thought >= budget:
                        break
            prompt += said
        if config.max_tokens and spent >= config.max_tokens:
            yield Completed(
                stop_reason="maxPredictedTokensReached",
                stop_string=None,
                prompt_tokens=prompt_tokens or 0,
                predicted_tokens=spent,
                tokens_per_second=None,
            )
            return
        end = Fragment(content=closing, tokens_count=0)
        yield end
        _ = list(split.feed(end))  # it notes that the thought is over
        prompt += closing
        left = config.max_tokens - spent if config.max_tokens else False
        request = replace(request, prompt=prompt, config=msgspec.structs.replace(config, max_tokens=left))
