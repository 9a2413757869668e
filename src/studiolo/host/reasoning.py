"""Separate reasoning from the answer while the text is generated, and limit its length."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from ..config import PredictionConfig
from ..domain.generation import Fragment, ReasoningPart, joined
from ..domain.progress import PromptProgress
from ..domain.vocabulary import Vocabulary
from ..engines.base import (
    Completed,
    CompletionRequest,
    Constraint,
    Engine,
    EngineEvent,
    ReasoningBudget,
)
from ..engines.chat_templates.control_tokens import as_text
from ..engines.prompt import Prompt
from ..engines.text_overlap import overlap
from ..errors import ConfigError, UnsupportedError


class ReasoningSplitter:
    """Marks the fragments of a text: reasoning, its tags, and the rest. Tags may be spread over fragments.

    Text that may be the beginning of a tag is held back until that is certain.

    Parameters:
        start, end: the tags around a stretch of reasoning.
        prompt: what the model continues; where it ends in an open tag, the model begins by thinking.
        once: only one stretch, before everything else, is reasoning: later tags are text.
    """

    def __init__(self, start: str, end: str, prompt: str = "", *, once: bool = False) -> None:
        self._start, self._end = start, end
        self._once = once
        self._over = False
        self._thinking = begins_thought(prompt, start)
        self._held: Fragment | None = None

    def feed(self, fragment: Fragment) -> Iterator[Fragment]:
        """Yield the text up to the end of ``fragment``, in pieces of one kind each, as far as its kind is certain."""
        if self._held is None and not self._thinking and self._start[0] not in fragment.text:
            self._over = self._over or (self._once and bool(fragment.text))
            yield fragment
            return
        self._held, fragment = joined(self._held, fragment)
        yield from self.flush()
        while True:
            tag = self._end if self._thinking else self._start
            if self._once and not self._thinking and not tag.startswith(fragment.text[: len(tag)]):
                self._over = True
            if self._over:
                yield from self._take(fragment, fragment.text, "none")
                return
            before, found, after = fragment.text.partition(tag)
            if not found:
                break
            yield from self._take(fragment, before, self._kind)
            yield from self._take(
                fragment if not before else _textless(fragment),
                tag,
                "end_tag" if self._thinking else "start_tag",
            )
            self._over = self._once and self._thinking
            self._thinking = not self._thinking
            fragment = msgspec.structs.replace(_textless(fragment), text=after)
            if not after:
                return
        keep = overlap(fragment.text, tag)
        text = fragment.text[: len(fragment.text) - keep]
        yield from self._take(fragment, text, self._kind)
        if keep:
            rest = fragment if not text else _textless(fragment)
            self._held = msgspec.structs.replace(rest, text=fragment.text[-keep:])

    @property
    def thinking(self) -> bool:
        """Whether the next text is reasoning, as far as it is certain."""
        return self._thinking and self._held is None

    def flush(self) -> Iterator[Fragment]:
        """Yield what was held back, at the end of the text."""
        held, self._held = self._held, None
        if held is not None:
            yield msgspec.structs.replace(held, reasoning=self._kind)

    @property
    def _kind(self) -> ReasoningPart:
        return "reasoning" if self._thinking else "none"

    def _take(self, fragment: Fragment, text: str, kind: ReasoningPart) -> Iterator[Fragment]:
        if text:
            yield msgspec.structs.replace(fragment, text=text, reasoning=kind)


def splitter(config: PredictionConfig, prompt: str, *, once: bool = False) -> ReasoningSplitter | None:
    """Return what separates reasoning from the answer, where the config enables that."""
    parsing = config.reasoning_parsing
    if parsing is None or not parsing.enabled:
        return None
    return ReasoningSplitter(parsing.start_string, parsing.end_string, prompt, once=once)


def with_thought_closed(prompt: Prompt, config: PredictionConfig) -> Prompt:
    """Return ``prompt`` with an end tag if it ends in an open thought, for an answer that may have none.

    Where the tag has a line of its own, so has the empty thought: templates whose models need not think write it so.
    """
    parsing = config.reasoning_parsing
    if parsing is None or not parsing.enabled or not begins_thought(prompt.text, parsing.start_string):
        return prompt
    empty = "\n" if prompt.text.endswith(f"{parsing.start_string}\n") else ""
    return prompt + f"{empty}{parsing.end_string}\n\n"


def with_beginning(prompt: Prompt, beginning: str, config: PredictionConfig, vocabulary: Vocabulary) -> Prompt:
    """Return ``prompt`` with the text that the answer begins with; it stands after the reasoning, if it has none."""
    if not beginning:
        return prompt
    start, *_ = reasoning_tags(config)
    if begins_thought(prompt.text, start) and beginning.lstrip().startswith(start):
        beginning = beginning.lstrip()[len(start) :].lstrip("\n")
    else:
        prompt = with_thought_closed(prompt, config)
    return prompt + as_text(beginning, vocabulary.control_tokens, reasoning_tags(config))


def _textless(fragment: Fragment) -> Fragment:
    """Return a fragment for the rest of one whose tokens are counted already."""
    return Fragment("", 0, drafted=fragment.drafted, structural=fragment.structural)


def thinks(config: PredictionConfig) -> bool:
    """Return the value of the template's variable ``enable_thinking``."""
    return config.enable_thinking is not False and _limit(config) != 0


def template_variables(config: PredictionConfig) -> dict[str, Any]:
    """Return the variables by which chat templates decide on reasoning."""
    effort = config.reasoning_effort
    return {"enable_thinking": thinks(config), **({} if effort is None else {"reasoning_effort": effort})}


def check_effort(config: PredictionConfig, vocabulary: Vocabulary, model: str) -> None:
    """Raise :class:`UnsupportedError` for a ``reasoning_effort`` that ``model`` cannot follow: it does not reason."""
    if config.reasoning_effort not in (None, "none") and not vocabulary.reasons:
        raise UnsupportedError(
            f"{model} does not support thinking: its chat template has no place for reasoning",
            suggestion="Leave reasoning_effort out, or use a model that reasons.",
            feature="reasoning_effort",
        )


def reasoning_tags(config: PredictionConfig) -> tuple[str, ...]:
    """Return the tags around reasoning, which an assistant's earlier messages have as tokens."""
    parsing = config.reasoning_parsing
    return ("<think>", "</think>") if parsing is None else (parsing.start_string, parsing.end_string)


def _limit(config: PredictionConfig) -> int | None:
    """Return the tokens of reasoning that ``config`` allows; ``None`` for any number."""
    if config.enable_thinking is False:
        return 0
    if config.reasoning_budget is None:
        return _EFFORT_LIMITS.get(config.reasoning_effort or "")
    return None if config.reasoning_budget is False else config.reasoning_budget


def _budget(config: PredictionConfig, message: str) -> ReasoningBudget | None:
    """Return the limit of the reasoning, if ``config`` sets one.

    Raises:
        ConfigError: there is a ``reasoning_budget``, and reasoning is not separated from the answer.
    """
    tokens, parsing = _limit(config), config.reasoning_parsing
    if tokens is None:
        return None
    if parsing is not None and parsing.enabled:
        return ReasoningBudget(tokens=tokens, start=parsing.start_string, end=parsing.end_string, message=message)
    if config.enable_thinking is False:  # only the template can act on it
        return None
    raise ConfigError(
        "The prediction config has a reasoning_budget, and its reasoning_parsing is switched off",
        suggestion="Enable reasoning_parsing, so that reasoning can be counted.",
    )


def begins_thought(prompt: str, tag: str) -> bool:
    """Return whether the model continues ``prompt`` with reasoning, because it ends in the open ``tag``."""
    return prompt.rstrip().endswith(tag)


async def think_within(
    engine: Engine,
    request: CompletionRequest,
    text: str,
    message: str = "",
    *,
    after_thought: Constraint | None = None,
    said: Iterable[Fragment] = (),
) -> AsyncGenerator[EngineEvent, None]:
    """Return the events of a completion whose reasoning keeps to the config's limit.

    The engine counts where it can do so exactly: from a start tag that the model writes, for tags that are single
    tokens. Elsewhere the reasoning is counted here, by its text; the end tag is then appended, and the model continues
    from there.

    Parameters:
        text: the prompt as text, before any of it was cut.
        message: what is put before the end tag of reasoning that is cut short.
        after_thought: what holds the answer once its reasoning is over, where the request's constraint allows any.
        said: the part of the answer that the request's prompt ends with, which another engine generated.

    Raises:
        ConfigError: there is a ``reasoning_budget``, and reasoning is not separated from the answer.
        UnsupportedError: there is one, and a grammar, which a cut would leave in the middle.
    """
    config = request.config
    held = request.constraint is not None and after_thought is None
    if held and (config.structured is None or config.structured.type != "gbnf"):
        return engine.complete(request)
    if (budget := _budget(config, message)) is None:
        return engine.complete(request)
    if held:
        if config.enable_thinking is False:  # the grammar says what there may be
            return engine.complete(request)
        raise _unsupported("A reasoning_budget cannot be combined with a grammar of the request's own")
    # The engine drops a grammar of llguidance's when it forces the end tag.
    split = ReasoningSplitter(budget.start, budget.end, text, once=after_thought is not None)
    earlier = [part for fragment in said for part in split.feed(fragment)]
    counts = request.constraint is None and not split.thinking
    if counts and await _counts_exactly(engine, budget):
        return engine.complete(replace(request, budget=budget))
    thought = sum(part.tokens for part in earlier if part.reasoning == "reasoning")
    return _cut_short(engine, request, split, thought, budget, after_thought)


async def native_budget(
    engine: Engine, config: PredictionConfig, prompt: str, message: str = ""
) -> ReasoningBudget | None:
    """Return the limit for a chat with tools in the model's own format, which the engine alone can keep.

    Parameters:
        prompt: the chat as text.
        message: what is put before the end tag of reasoning that is cut short.

    Raises:
        ConfigError: there is a ``reasoning_budget``, and reasoning is not separated from the answer.
        UnsupportedError: the engine cannot count this model's reasoning.
    """
    budget = _budget(config, message)
    if budget is None:
        return None
    is_open = begins_thought(prompt, budget.start)
    if not await _counts_exactly(engine, budget):
        if config.enable_thinking is False and not is_open:
            return None
        field = "reasoning_budget" if config.enable_thinking is not False else "enable_thinking"
        raise _unsupported(
            f"The prediction config's field {field!r} cannot be combined with tools on this model",
            f"Its engine cannot count what stands between {budget.start!r} and {budget.end!r}: they are not tokens.",
        )
    if is_open:  # the engine counts what follows the tag in the prompt as well
        tail = prompt[len(prompt.rstrip()) :]
        more = len(await engine.tokenize(budget.start + tail)) - len(await engine.tokenize(budget.start))
        budget = replace(budget, tokens=budget.tokens + more)
    return budget


def _unsupported(title: str, cause: str | None = None) -> UnsupportedError:
    return UnsupportedError(
        title,
        cause=cause,
        suggestion="Leave one of them out of the prediction config.",
        feature="reasoning_budget",
    )


_EFFORT_LIMITS = {"minimal": 256, "low": 1024, "medium": 4096}
"""Tokens of reasoning at most, by the effort. A template may make the model stop earlier."""

_NEIGHBOURS = ("a", "a", "A", " ", ".", "\n", "<", ">", "")


async def _counts_exactly(engine: Engine, budget: ReasoningBudget) -> bool:
    """Return whether the engine can count: it goes by tokens, so that each tag must be one wherever it stands."""
    if not engine.capabilities.reasoning_budget:
        return False
    for tag in (budget.start, budget.end):
        alone = (await engine.tokenize(tag))[len(await engine.tokenize("")) :]
        if len(alone) != 1:
            return False
        if (await engine.tokenize(tag.join(_NEIGHBOURS))).count(alone[0]) != len(_NEIGHBOURS) - 1:
            return False
    return True


async def _cut_short(
    engine: Engine,
    request: CompletionRequest,
    split: ReasoningSplitter,
    thought: int,
    budget: ReasoningBudget,
    after_thought: Constraint | None,
) -> AsyncGenerator[EngineEvent, None]:
    """Yield a completion whose reasoning is counted here.

    Parameters:
        split: separates reasoning from the answer; has read what there is of the answer already.
        thought: the tokens of reasoning in that.
    """
    config, prompt = request.config, request.prompt
    closing = budget.message + budget.closing
    spent = 0
    prompt_tokens: int | None = None  # of the first run; later runs count generated text as well
    while True:
        before = spent
        if not (split.thinking and thought >= budget.tokens):
            generated = ""
            async with contextlib.aclosing(engine.complete(request)) as events:
                async for event in events:
                    if isinstance(event, Completed):
                        of_prompt = event.prompt_tokens if prompt_tokens is None else prompt_tokens
                        if before:  # the figures of the last run alone
                            event = replace(event, cached_tokens=None, prompt_sec=None, decode_sec=None)
                        yield replace(event, prompt_tokens=of_prompt, predicted_tokens=before + event.predicted_tokens)
                        return
                    if isinstance(event, PromptProgress):
                        if before == 0:
                            prompt_tokens = event.total
                            yield event
                        continue
                    yield event
                    generated += event.text
                    spent += event.tokens
                    thought += sum(part.tokens for part in split.feed(event) if part.reasoning == "reasoning")
                    if split.thinking and thought >= budget.tokens:
                        break
            prompt = await continued(engine, prompt, generated)
        if config.max_tokens and spent >= config.max_tokens:
            yield Completed(
                stop_reason="max_tokens",
                stop_string=None,
                prompt_tokens=prompt_tokens or 0,
                predicted_tokens=spent,
                tokens_per_second=None,
            )
            return
        end = Fragment(closing, 0)
        yield end
        _ = list(split.feed(end))  # which ends the thought
        prompt = await continued(engine, prompt, closing)
        left = config.max_tokens - spent if config.max_tokens else False
        request = replace(
            request,
            prompt=prompt,
            config=msgspec.structs.replace(config, max_tokens=left),
            constraint=after_thought or request.constraint,
        )


async def continued(engine: Engine, prompt: str | Prompt | list[int], text: str) -> str | Prompt | list[int]:
    """Return ``prompt`` with ``text`` after it."""
    if isinstance(prompt, str | Prompt):
        return prompt + text
    return [*prompt, *(await engine.tokenize(text))[len(await engine.tokenize("")) :]]
