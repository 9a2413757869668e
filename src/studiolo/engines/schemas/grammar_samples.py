"""Random texts of a grammar, for schemas of which llguidance ignores a part.

A schema is refused if texts of its grammar hardly ever satisfy it: nearly every answer would be invalid.
"""

from __future__ import annotations

import random
import time

from llguidance import LLMatcher

from .validation import Fault, fault_of

DRAWS = 64
ONE_IN = 16
"""At least one of so many texts must satisfy the schema."""

MIN_FINISHED = 8
"""Complete texts required for a decision."""

MAX_BYTES = 400
MAX_SEC = 0.3
"""Processor time for all draws, in seconds."""

_CLOSING = b'"}]'
_PRINTABLE = range(32, 127)


def fault_of_most(matcher: LLMatcher, schema_text: str) -> Fault | None:
    """Return a violation if nearly all texts of a grammar violate the schema; ``None`` if enough satisfy it.

    Parameters:
        matcher: a matcher of the grammar over bytes, at the beginning of a text.
        schema_text: the schema.
    """
    rng = random.Random(0)
    end = time.process_time() + MAX_SEC
    finished, right, fault = 0, 0, None
    for _ in range(DRAWS):
        text = draw(matcher.deep_copy(), rng)
        if text is not None:
            found = fault_of(schema_text, text)
            finished += 1
            right += found is None
            fault = found or fault
        if right * ONE_IN >= DRAWS or time.process_time() > end:
            break
    return fault if finished >= MIN_FINISHED and right * ONE_IN < finished else None


def feed_prefix(matcher: LLMatcher, steps: int) -> None:
    """Feed ``matcher`` the first bytes of a text, closing no object or list while anything else is allowed."""
    for _ in range(steps):
        mask = matcher.compute_logit_bias()
        allowed = [byte for byte in range(256) if mask[byte]]
        inner = [byte for byte in allowed if byte not in b"}]"]
        if not allowed or not matcher.consume_token((inner or allowed)[0]):
            return


def draw(matcher: LLMatcher, rng: random.Random) -> str | None:
    """Return a random text; ``None`` if it exceeds :data:`MAX_BYTES`. Closing bytes are preferred, so that most end."""
    out = bytearray()
    while len(out) < MAX_BYTES:
        mask = matcher.compute_logit_bias()
        allowed = [byte for byte in range(256) if mask[byte]]
        if not allowed or (matcher.is_accepting() and rng.random() < 0.5):
            break
        closing = [byte for byte in _CLOSING if byte in allowed]
        plain = [byte for byte in allowed if byte in _PRINTABLE]
        byte = rng.choice(closing if closing and rng.random() < 0.5 else plain or allowed)
        if not matcher.consume_token(byte):
            return None
        out.append(byte)
    return out.decode(errors="replace") if matcher.is_accepting() else None
