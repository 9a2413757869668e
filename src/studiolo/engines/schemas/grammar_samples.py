"""Random texts of a grammar, for schemas of which llguidance leaves something to the check of the finished answer.

A schema whose grammar nearly never makes what satisfies it is better refused than answered wrongly.
"""

from __future__ import annotations

import random
import time

from llguidance import LLMatcher

from .validation import Fault, fault_of

DRAWS = 64
ONE_IN = 16
"""Of so many texts one at least has to satisfy the schema."""

MIN_FINISHED = 8
"""How many texts must have come to their end before a verdict."""

MAX_BYTES = 400
MAX_SEC = 0.3
"""Processor time for all draws."""

_CLOSING = b'"}]'
_PRINTABLE = range(32, 127)


def fault_of_most(matcher: LLMatcher, schema_text: str) -> Fault | None:
    """What is wrong with nearly all texts of a grammar; ``None`` where enough of those drawn satisfy the schema.

    Parameters:
        matcher: of the grammar, over bytes, of which no text has begun.
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
    """Feed ``matcher`` the beginning of a text that closes nothing before it has to."""
    for _ in range(steps):
        mask = matcher.compute_logit_bias()
        allowed = [byte for byte in range(256) if mask[byte]]
        inner = [byte for byte in allowed if byte not in b"}]"]
        if not allowed or not matcher.consume_token((inner or allowed)[0]):
            return


def draw(matcher: LLMatcher, rng: random.Random) -> str | None:
    """A text; ``None`` where it has not ended in time. What closes is preferred, so that most do."""
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
