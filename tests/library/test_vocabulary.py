"""The tokens that a model's file says are around a gap in a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studiolo.domain.vocabulary import InfillTokens
from studiolo.library.vocabulary import read_vocabulary
from tests.support.model_files import write_gguf

TOKENS = ["a", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "b", "c", "d"]


def infill(folder: Path, tokens: list[str], **fields: Any) -> InfillTokens | None:
    """The tokens that are read from a file with these fields."""
    fields = {f"tokenizer__ggml__{name}": value for name, value in fields.items()}
    return read_vocabulary(write_gguf(folder / "a.gguf", tokenizer__ggml__tokens=tokens, **fields)).infill


def test_numbers_in_the_file_take_precedence_over_spellings(tmp_path: Path) -> None:
    new = {"fim_pre_token_id": 4, "fim_suf_token_id": 5, "fim_mid_token_id": 6}
    old = {"prefix_token_id": 0, "suffix_token_id": 0, "middle_token_id": 0}
    assert infill(tmp_path, TOKENS, **old, **new) == InfillTokens(4, 5, 6)
    assert infill(tmp_path, TOKENS, **old) == InfillTokens(0, 0, 0)
    assert infill(tmp_path, TOKENS, fim_pre_token_id=4) == InfillTokens(4, 2, 3)
    assert infill(tmp_path, TOKENS, fim_pre_token_id=99) == InfillTokens(1, 2, 3)


@pytest.mark.parametrize(
    "tokens",
    [
        ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
        ["<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"],
        ["\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>"],
    ],
)
def test_known_spellings(tmp_path: Path, tokens: list[str]) -> None:
    assert infill(tmp_path, tokens) == InfillTokens(0, 1, 2)
    assert infill(tmp_path, tokens[:2]) is None
    assert infill(tmp_path, ["a", *tokens[1:]]) is None
