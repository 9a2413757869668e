"""docs/compatibility.md lists every field of the official client, and has no empty row."""

from __future__ import annotations

import re
from pathlib import Path

import lmstudio
import pytest

from studiolo.paths import Home
from tests.support.typescript_clients import PROGRAMS, VERSIONS, installed, public_methods

PAGE = (Path(__file__).parents[2] / "docs" / "compatibility.md").read_text()


@pytest.mark.parametrize("kind", [lmstudio.LlmPredictionConfig, lmstudio.LlmLoadModelConfig])
def test_every_field_of_a_config_is_listed(kind: type) -> None:
    listed = set(re.findall(r"`(\w+)`", PAGE))
    assert set(kind.__struct_fields__) <= listed


@pytest.mark.parametrize(
    "kind", [lmstudio.Client, lmstudio.LLM, lmstudio.EmbeddingModel, lmstudio.PredictionResult, lmstudio.Chat]
)
def test_every_public_member_is_listed_or_is_the_clients_own_code(kind: type) -> None:
    listed = set(re.findall(r"`(?:\w+\.)?(\w+)(?:\(\))?`", PAGE))
    members = {name for name in vars(kind) if not name.startswith("_") and callable(getattr(kind, name, None))}
    if kind is lmstudio.Chat:
        assert "`Chat`: every constructor and helper" in PAGE
    else:
        assert members <= listed | {"remote_call"}


def test_no_row_is_empty() -> None:
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and not line.startswith("|---") and cells[0]:
            assert any(cells[1:]), line


@pytest.mark.parametrize("version", VERSIONS)
def test_every_method_of_the_typescript_client_is_named(version: str, cache_home: Home) -> None:
    methods = {method.partition(".")[2].strip("[]") for method in public_methods(installed(version, cache_home.root))}
    named = set(re.findall(r"`(?:\w+\.)*?((?:Symbol\.)?\w+)(?:\(\))?`", PAGE[PAGE.index("## TypeScript") :]))
    assert methods - named == {"Symbol.dispose"}


def test_what_the_page_calls_refused_is_called_and_refused() -> None:
    calls = (PROGRAMS / "calls.mjs").read_text()
    refused = {
        name
        for name, body in re.findall(r'async "\w+\.(\w+)"(.*?)(?=async "|$)', calls, re.DOTALL)
        if "refused(" in body
    }
    table = PAGE[PAGE.index("### Refused at once") :]
    cells = " ".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    listed = {
        name for name in re.findall(r"`(?:\w+\.)*(\w+)`", cells) if name not in ("system", "repository", "plugins")
    }
    assert len(listed) > 15
    # The client ignores this refusal; its test checks the channel.
    assert listed - refused - {"lmLink", "false"} == {"registerDevelopmentPlugin"}
