"""Build grammars with llguidance, as the engine does."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from llguidance import LLMatcher, LLTokenizer

from .grammar_samples import feed_prefix
from .schema_checks import RefusedError
from .subschemas import Schema

MAX_BUILD_SEC = 0.7
"""Processor time for building a grammar at most. The engine builds it again, in the loop that serves all slots."""

PROBE_BYTES = 40
"""Bytes of a text that are tried with a grammar: some grammars build, and fail at the first character."""

OPTIONS = {"lenient": True, "whitespace_flexible": False}
SPACED = {**OPTIONS, "item_separator": ", ", "key_separator": ": "}
"""llguidance's other options differ in meaning between its versions."""


def check_grammar(grammar: str) -> None:
    """Build a grammar in llguidance's own language, which begins with ``%llguidance``.

    Raises:
        RefusedError: the grammar is faulty or unsatisfiable, or takes too long to build.
    """
    error = build_error(grammar)
    if error is not None:
        raise RefusedError("invalid", "", error, "Correct the grammar; its language: llguidance's docs/syntax.md.")


def encoded(schema: Schema, options: Schema = OPTIONS) -> str:
    """Return a schema as one line of JSON with llguidance's options."""
    return json.dumps({**schema, "x-guidance": options}, separators=(",", ":"))


class Built(NamedTuple):
    """A grammar that can be built and followed.

    Parameters:
        matcher: a matcher at the beginning of a text.
        warnings: llguidance's messages about parts of the schema that it ignores.
    """

    matcher: LLMatcher
    warnings: list[str]


def build(grammar: str) -> Built | str:
    """Return a built grammar, or the error if it cannot be built or allows no text."""
    began = time.process_time()
    text = LLMatcher.grammar_from_lark(grammar)
    is_error, messages = LLMatcher.validate_grammar_with_warnings(text)
    if is_error:
        return messages[0]
    matcher = LLMatcher(_byte_tokenizer(), text, log_level=0)
    tried = matcher.deep_copy()
    feed_prefix(tried, PROBE_BYTES)
    if (lost := tried.get_error()) and "Parser Error" in lost:
        return lost.partition("<state>")[0]
    if tried.is_error():
        return "Unsatisfiable schema: the grammar allows no first character"
    if time.process_time() - began > MAX_BUILD_SEC:
        return f"grammar size: it takes more than {MAX_BUILD_SEC} s of processor time to build"
    return Built(matcher, messages)


def build_error(grammar: str) -> str | None:
    """Return why a grammar cannot be built; ``None`` if it can."""
    built = build(grammar)
    return built if isinstance(built, str) else None


_tokenizers: list[LLTokenizer] = []


def _byte_tokenizer() -> LLTokenizer:
    if not _tokenizers:
        _tokenizers.append(LLTokenizer("byte"))
    return _tokenizers[0]
