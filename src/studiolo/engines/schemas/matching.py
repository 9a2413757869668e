"""Match the text of an answer against its grammar while it streams.

An engine may continue without a grammar that it can no longer follow. So the same grammar is matched here against the
streamed bytes, and the first byte that it does not allow ends the answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from ...errors import PredictionError

if TYPE_CHECKING:
    from llguidance import LLMatcher

MAX_CACHED = 8
"""Built grammars in the cache at most."""


class GrammarMatcher:
    """Matches one answer against one grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._taken = 0

    def feed(self, text: str) -> None:
        """Match the next piece of text.

        Raises:
            PredictionError: the grammar does not allow it: the engine has dropped the grammar.
        """
        data = text.encode()
        taken = self._matcher.try_consume_tokens(list(data))  # in a byte tokenizer a token is a byte
        self._taken += taken
        if taken < len(data):
            raise PredictionError(
                "The engine left the form required of the answer",
                cause=f"Its grammar does not allow what follows after {self._taken} bytes: {data[taken:][:40]!r}.",
                suggestion="Simplify the schema or grammar. The engine's log says why it was dropped.",
            )

    @property
    def complete(self) -> bool:
        """Whether the answer may end here."""
        return self._matcher.is_accepting()


class MatcherCache:
    """A cache of built grammars."""

    def __init__(self) -> None:
        self._built: OrderedDict[str, LLMatcher] = OrderedDict()

    async def matcher(self, grammar: str) -> GrammarMatcher:
        """Return a matcher for a checked grammar in llguidance's language, building the grammar unless it is cached."""
        matcher = self._built.get(grammar)
        if matcher is None:
            matcher = await asyncio.to_thread(_build, grammar)
            self._built[grammar] = matcher
            if len(self._built) > MAX_CACHED:
                self._built.popitem(last=False)
        else:
            self._built.move_to_end(grammar)
        return GrammarMatcher(matcher.deep_copy())


def _build(grammar: str) -> LLMatcher:
    from llguidance import LLMatcher, LLTokenizer  # imported late: it takes a tenth of a second

    return LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(grammar), log_level=0)
