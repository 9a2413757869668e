"""Whether a text is one of a grammar's."""

from __future__ import annotations

from llguidance import LLMatcher, LLTokenizer

from studiolo.engines.schemas.grammar import answer_grammar

BYTES = LLTokenizer("byte")


def matcher(grammar_json: str) -> LLMatcher:
    return LLMatcher(BYTES, LLMatcher.grammar_from_lark(answer_grammar(grammar_json)), log_level=0)


def allows(grammar_json: str, text: str) -> bool:
    """Whether ``text`` is an answer under the grammar of ``grammar_json``."""
    own = matcher(grammar_json)
    data = text.encode()
    return own.try_consume_tokens(list(data)) == len(data) and own.is_accepting()
