"""The engine kind that runs a user's own binary keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from studiolo.paths import Home
from tests.engines.contract.suite import Case, EngineContract
from tests.support.engines import kind_in


class TestLlamaServer(EngineContract):
    @pytest.fixture
    def case(self, quick_home: Home, binary: Path, embedding_model: Path, tmp_path: Path) -> Case:
        bad = tmp_path / "bad.gguf"
        bad.write_bytes(b"nonsense" * 100)
        model = next(quick_home.models.rglob("SmolLM2*.gguf"))
        return Case(kind_in(tmp_path, "llama-server", binary), "here", model, embedding_model, bad)
