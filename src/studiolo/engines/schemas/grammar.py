"""Grammars in llguidance's language. Source of the language: llguidance, docs/syntax.md.

What begins with ``%llguidance`` is what the engine passes to llguidance. ``grammar_json`` is the form of a schema that
:func:`.preparation.prepare` has made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

HEAD = "%llguidance"


def answer_grammar(grammar_json: str) -> str:
    """The grammar of an answer that is one JSON value."""
    return f"{HEAD} {{}}\nstart: %json {grammar_json}"


def thoughtful_grammar(grammar_json: str, start: str, end: str, *, is_open: bool) -> str:
    """The grammar of an answer that is one JSON value, with a thought before it.

    Parameters:
        start, end: the tags around the thought.
        is_open: whether the prompt ends in the start tag; otherwise the model may leave the thought out.
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
    """The grammar of a call of one of several tools.

    Parameters:
        calls: the name that the model knows each tool by, and the ``grammar_json`` form of its parameters.
    """
    rules: list[str] = []
    for number, (name, grammar_json) in enumerate(calls):
        head = json.dumps(f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": ')
        rules.append(f'call{number}: {head} arguments{number} "}}"\narguments{number}: %json {grammar_json}')
    start = " | ".join(f"call{number}" for number in range(len(rules)))
    return "\n".join([f"{HEAD} {{}}", f"start: {start}", *rules])


def _literal(text: str) -> str:
    """``text`` in a regular expression of Rust's."""
    return "".join(char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}" for char in text)
