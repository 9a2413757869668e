"""Frameworks that speak the HTTP dialects, unmodified, in an environment of their own, each with one real flow."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from studiolo.paths import Home
from tests.support.frameworks import python_of_frameworks
from tests.support.http_server import EMBEDDING_MODEL, SENSIBLE, VALUES

FLOWS = Path(__file__).parents[2] / "support" / "framework_flows.py"

MODELS = (VALUES, SENSIBLE, EMBEDDING_MODEL)

pytestmark = pytest.mark.timeout(600)  # the first item installs them

EXPECTED: dict[str, dict[str, Any]] = {
    "langchain_openai": {"same": True, "book": "Book", "call": "weather", "vectors": [768, 768]},
    "langchain_anthropic": {"same": True},
    "langchain_ollama": {"same": True, "vectors": [768, 768]},
    "openai_agents": {"called": 2, "output": True},
    "pydantic_ai": {"book": "Book", "text": True},
    "litellm": {"same": True},
    "llm": {"status": 0},
}


@pytest.fixture(scope="module")
def results(base_url: str, cache_home: Home, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each flow has returned; they run in one process, which imports all frameworks once."""
    program = [str(python_of_frameworks(cache_home.root)), str(FLOWS), base_url, *MODELS, *EXPECTED]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(tmp_path_factory.mktemp("home"))}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=390, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", EXPECTED)
def test_a_flow_of_a_framework_works(results: dict[str, Any], name: str) -> None:
    found = results[name]
    assert "error" not in found, found["error"]
    assert {key: found[key] for key in EXPECTED[name]} == EXPECTED[name]
