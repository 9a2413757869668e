"""Read the tokenizer's part of a GGUF header. The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md."""

from __future__ import annotations

import re
from pathlib import Path

from ..domain.vocabulary import Vocabulary
from ..errors import ModelFileError
from .gguf_file import read_header

_TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 2, 3, 4, 6

_PROMOTED = re.compile(
    rb"(?s)<[|\xef].*[|\x9c]>|</?s>|<(?:EOT|EOS|eos|bos|end_of_turn|start_of_turn|end_of_text|eos_token|end_of_utterance)>"
    rb"|_?< ?EOT ?>|<fim[-_].*>|\[EOT\]|\[EOS\]"
)
"""Tokens that engines take for control tokens by their spelling, whatever type the file gives them."""

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
    tokens: list[bytes] = fields.get(_TOKENS) or []
    types: list[int] = fields.get(_TYPES) or []
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
    )


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


def _longest(tokens: list[bytes], kind: str) -> int:
    if kind == "gpt2":  # a character for each byte
        return max((len(token.decode("utf-8", errors="replace")) for token in tokens), default=0)
    return max(map(len, tokens), default=0)
