"""Random texts of a grammar, and whether a text is one of its."""

from __future__ import annotations

import random

from llguidance import LLMatcher, LLTokenizer

from studiolo.engines.schemas.grammar import answer_grammar

BYTES = LLTokenizer("byte")
CLOSING = b'"}]'


def matcher(held: str) -> LLMatcher:
    return LLMatcher(BYTES, LLMatcher.grammar_from_lark(answer_grammar(held)), log_level=0)


def allows(held: str, text: str) -> bool:
    """Whether ``text`` is an answer under the grammar of ``held``."""
    own = matcher(held)
    data = text.encode()
    return own.try_consume_tokens(list(data)) == len(data) and own.is_accepting()


def draw(held: str, rng: random.Random, limit: int = 300) -> str | None:
    """A text of the grammar; ``None`` where it has not ended after ``limit`` bytes. What closes is preferred."""
    own = matcher(held)
    out = bytearray()
    while len(out) < limit:
        mask = own.compute_logit_bias()
        allowed = [byte for byte in range(256) if mask[byte]]
        if not allowed or (own.is_accepting() and rng.random() < 0.5):
            break
        closing = [byte for byte in CLOSING if byte in allowed]
        byte = rng.choice(closing if closing and rng.random() < 0.4 else allowed)
        assert own.consume_token(byte)
        out.append(byte)
    return out.decode() if own.is_accepting() else None
