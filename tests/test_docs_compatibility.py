"""docs/compatibility.md leaves no field of the official client out, and no row empty."""

from __future__ import annotations

import re
from pathlib import Path

import lmstudio
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "compatibility.md").read_text()


@pytest.mark.parametrize("kind", [lmstudio.LlmPredictionConfig, lmstudio.LlmLoadModelConfig])
def test_every_field_of_a_config_is_told(kind: type) -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert set(kind.__struct_fields__) <= told


@pytest.mark.parametrize(
    "kind", [lmstudio.Client, lmstudio.LLM, lmstudio.EmbeddingModel, lmstudio.PredictionResult, lmstudio.Chat]
)
def test_every_public_member_is_told_or_works_by_its_own_code(kind: type) -> None:
    told = set(re.findall(r"`(?:\w+\.)?(\w+)(?:\(\))?`", PAGE))
    members = {name for name in vars(kind) if not name.startswith("_") and callable(getattr(kind, name, None))}
    if kind is lmstudio.Chat:
        assert "`Chat`: every constructor and helper" in PAGE
    else:
        assert members <= told | {"remote_call"}


def test_no_row_is_empty() -> None:
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not line.startswith("|---") and cells[0]:
            assert any(cells[1:]), line
