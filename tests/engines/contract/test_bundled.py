"""The bundled engine keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from studiolo.paths import Home
from tests.engines.contract.suite import Case, EngineContract
from tests.support.engines import kind_in


class TestBundled(EngineContract):
    @pytest.fixture
    def case(self, quick_home: Home, embedding_model: Path, tmp_path: Path) -> Case:
        bad = tmp_path / "bad.gguf"
        bad.write_bytes(b"nonsense" * 100)
        model = next(quick_home.models.rglob("SmolLM2*.gguf"))
        return Case(kind_in(tmp_path), "here", model, embedding_model, bad)
