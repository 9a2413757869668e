"""Whether a text is one of a grammar's."""

from __future__ import annotations

from llguidance import LLMatcher, LLTokenizer

from studiolo.engines.schemas.grammar import answer_grammar

BYTES = LLTokenizer("byte")


def matcher(held: str) -> LLMatcher:
    return LLMatcher(BYTES, LLMatcher.grammar_from_lark(answer_grammar(held)), log_level=0)


def allows(held: str, text: str) -> bool:
    """Whether ``text`` is an answer under the grammar of ``held``."""
    own = matcher(held)
    data = text.encode()
    return own.try_consume_tokens(list(data)) == len(data) and own.is_accepting()
