"""The fake engine, on which races are tested, keeps the contract as real ones do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import studiolo_fake_engine as fake

from tests.engines.contract.suite import Case, EngineContract
from tests.support.engines import kind_in
from tests.support.model_files import write_gguf


class TestFake(EngineContract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Iterator[Case]:
        fake.reset()
        fake.models["counts"].endless = True
        fake.models["counts"].tokens = [f"{number} " for number in range(10)]
        fake.models["bad"].load_fails = True
        model, bad = write_gguf(tmp_path / "counts.gguf"), write_gguf(tmp_path / "bad.gguf")
        kind, crash = kind_in(tmp_path, "fake"), fake.FakeEngine.kill
        yield Case(kind, "here", model, model, bad, "did not start", crash=crash, in_process=True)
        assert fake.running() == []
        fake.reset()
