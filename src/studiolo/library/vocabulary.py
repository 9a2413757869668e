"""Read the tokenizer's part of a GGUF header. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from ..domain.vocabulary import InfillTokens, Vocabulary
from ..errors import ModelFileError
from .gguf_file import read_header

T = TypeVar("T")

_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6

_PROMOTED = re.compile(
    rb"(?s)<[|\xef].*[|\x9c]>|</?s>|<(?:EOT|EOS|eos|bos|end_of_turn|start_of_turn|end_of_text|eos_token|end_of_utterance)>"
    rb"|_?< ?EOT ?>|<fim[-_].*>|\[EOT\]|\[EOS\]"
)
"""Tokens that engines take for control tokens by their spelling, whatever type the file gives them."""

_INFILL = (
    (
        ("fim_pre_token_id", "prefix_token_id"),
        "<|fim_prefix|> <fim-prefix> <fim_prefix> "
        "<\uff5cfim\u2581begin\uff5c> <PRE> \u2581<PRE> <|code_prefix|> <|prefix|>",
    ),
    (
        ("fim_suf_token_id", "suffix_token_id"),
        "<|fim_suffix|> <fim-suffix> <fim_suffix> "
        "<\uff5cfim\u2581hole\uff5c> <SUF> \u2581<SUF> <|code_suffix|> <|suffix|>",
    ),
    (
        ("fim_mid_token_id", "middle_token_id"),
        "<|fim_middle|> <fim-middle> <fim_middle> "
        "<\uff5cfim\u2581end\uff5c> <MID> \u2581<MID> <|code_middle|> <|middle|>",
    ),
)
"""For each of the tokens around a gap: the fields with its number, the older one last, and its spellings in files that
have neither: those that engines know."""

_SPACE = "\u2581".encode()[:1]
"""What the sign for a space begins with."""

_KEEP_ALL_TEXT = ("gpt2", "llama")
"""Tokenizers that drop no text but white space; others normalise it."""


def read_vocabulary(path: Path) -> Vocabulary:
    """Return the properties of the tokenizer in the file at ``path``; empty ones where it cannot be read.

    Blocks for about 0.1 s.
    """
    try:
        fields = read_header(path, check=False, keep=frozenset({_TOKENS, _TYPES})).fields
    except ModelFileError:
        return Vocabulary()  # the engine says what is wrong with the file
    tokens, types = _list(fields, _TOKENS, bytes), _list(fields, _TYPES, int)
    template, tool_template = (
        value if isinstance(value, str) else ""
        for value in (fields.get("tokenizer.chat_template"), fields.get("tokenizer.chat_template.tool_use"))
    )
    kind = fields.get("tokenizer.ggml.model")
    return Vocabulary(
        control_tokens=_control_tokens(tokens, types, template + tool_template),
        longest_token_bytes=_longest(tokens, kind) if kind in _KEEP_ALL_TEXT else 0,
        chat_template=template,
        tool_template=tool_template,
        infill=_infill(tokens, fields),
    )


def _list(fields: Mapping[str, Any], key: str, kind: type[T]) -> list[T]:
    """Return a field that is a list, all items of which are of one type; an empty list where it is anything else."""
    value = fields.get(key)
    return cast("list[T]", value) if isinstance(value, list) and value and isinstance(value[0], kind) else []


def _control_tokens(tokens: list[bytes], types: list[int], templates: str) -> list[str]:
    """Return the spellings of control tokens, and of those defined by users that the templates have a use for."""
    types = types if len(types) == len(tokens) else [1] * len(tokens)
    found: list[str] = []
    for token, kind in zip(tokens, types, strict=True):
        if kind == 1 and token[:1] not in (b"<", b"[", b"_"):
            continue
        is_control = kind in (_CONTROL, _UNKNOWN) or (kind != _BYTE and _PROMOTED.fullmatch(token))
        text = token.decode("utf-8", errors="replace")
        if (is_control or (kind == _USER_DEFINED and not text.isspace() and text in templates)) and len(text) > 1:
            found.append(text)
    return found


def _infill(tokens: Sequence[bytes], fields: Mapping[str, Any]) -> InfillTokens | None:
    marked = {token: number for number, token in enumerate(tokens) if token[:1] in (b"<", _SPACE)}
    found: list[int] = []
    for names, spellings in _INFILL:
        numbers = [fields.get(f"tokenizer.ggml.{name}") for name in names]
        numbers += [marked.get(spelling.encode()) for spelling in spellings.split()]
        number = next((each for each in numbers if isinstance(each, int) and 0 <= each < len(tokens)), None)
        if number is None:
            return None
        found.append(number)
    return InfillTokens(*found)


def _longest(tokens: list[bytes], kind: str) -> int:
    if kind == "gpt2":  # a character for each byte
        return max((len(token.decode("utf-8", errors="replace")) for token in tokens), default=0)
    return max(map(len, tokens), default=0)
