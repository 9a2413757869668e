"""Grammars in llguidance's language, which is described in llguidance's docs/syntax.md.

Engines pass grammars that begin with ``%llguidance`` to llguidance. ``grammar_json`` is a schema as prepared by
:func:`.preparation.prepare`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

HEAD = "%llguidance"


def answer_grammar(grammar_json: str) -> str:
    """Return the grammar of an answer that is one JSON value."""
    return f"{HEAD} {{}}\nstart: %json {grammar_json}"


def thoughtful_grammar(grammar_json: str, start: str, end: str, *, is_open: bool) -> str:
    """Return the grammar of an answer that is one JSON value, after reasoning.

    Parameters:
        start, end: the tags around the reasoning.
        is_open: whether the prompt ends with the start tag; otherwise the reasoning is optional.
    """
    thought = "thought SPACE" if is_open else f"({json.dumps(start)} thought SPACE)?"
    rules = (
        f"{HEAD} {{}}",
        f"start: {thought} answer",
        f"thought[lazy]: /(?s:.*){_literal(end)}/",
        r"SPACE: /\s*/",
        f"answer: %json {grammar_json}",
    )
    return "\n".join(rules)


def call_grammar(calls: Iterable[tuple[str, str]]) -> str:
    """Return the grammar of a call of one of several tools.

    Parameters:
        calls: the name of each tool for the model, and the ``grammar_json`` of its parameters.
    """
    return "\n".join([f"{HEAD} {{}}", "start: call", *_call_rules(calls)])


def call_or_answer_grammar(calls: Iterable[tuple[str, str]], begin: str, end: str, grammar_json: str) -> str:
    """Return the grammar of an answer that is a call of one of several tools, or one JSON value.

    Parameters:
        calls: as for :func:`call_grammar`.
        begin, end: the text before and after a call.
        grammar_json: of the value.
    """
    rules = (
        f"{HEAD} {{}}",
        "start: marked | answer",
        f"marked: {json.dumps(begin)} call {json.dumps(end)}",
        f"answer: %json {grammar_json}",
    )
    return "\n".join([*rules, *_call_rules(calls)])


def _call_rules(calls: Iterable[tuple[str, str]]) -> list[str]:
    rules: list[str] = []
    for number, (name, grammar_json) in enumerate(calls):
        head = json.dumps(f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ')
        rules.append(f'call{number}: {head} arguments{number} "}}"\narguments{number}: %json {grammar_json}')
    return [f"call: {' | '.join(f'call{number}' for number in range(len(rules)))}", *rules]


def _literal(text: str) -> str:
    """Return ``text`` escaped for a regular expression of Rust's."""
    return "".join(char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}" for char in text)


def token_grammar(tokens: Iterable[int]) -> str:
    """Return the grammar of a text that is made of exactly these tokens, by their numbers."""
    return f"{HEAD} {{}}\nstart: {' '.join(f'<[{token}]>' for token in tokens)}"
