"""Suggestions for a name that nothing has."""

from __future__ import annotations

import pytest

from studiolo.library.near_names import closest

MANY = [*(f"model-{number:04}" for number in range(2000)), "smollm2-135m-instruct", "p/qwen3-8b", "text-embedding-x"]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("smolm2", "smollm2-135m-instruct"),
        ("smollm2 instruct", "smollm2-135m-instruct"),
        ("model 7", "model-0007"),
        ("model-1999x", "model-1999"),
        ("Qwen-8B", "p/qwen3-8b"),
        ("qwen2", "p/qwen3-8b"),
        ("embedding", "text-embedding-x"),
    ],
)
def test_the_closest_name_is_suggested_first(name: str, first: str) -> None:
    assert closest(name, MANY)[0] == first


@pytest.mark.parametrize("name", ["", "zz", "\u65e5\u672c", "9" * 10_000])
def test_names_like_none_have_no_suggestion(name: str) -> None:
    assert closest(name, MANY) == []
