"""A real build for this processor, by the command: it runs, and answers as the bundled engine does.

It takes many minutes: ``make runtimes`` runs it, ``make test`` does not.
"""

from __future__ import annotations

import pytest

from studiolo.cli.runtime_comparison import compare
from studiolo.paths import Home
from studiolo.runtimes.record import recorded
from studiolo.settings import EngineSettings
from tests.support import real_builds
from tests.support.homes import DEFAULT_MODEL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(real_builds.LIMIT_SEC),
]


def test_a_build_for_this_processor_answers_as_the_bundled_engine_does(home: Home, cache_home: Home) -> None:
    binary = real_builds.built(cache_home.root, "cpu")
    (runtime,) = [each for each in recorded(Home(cache_home.root / "runtimes-home")) if each.name == "cpu"]
    assert runtime.build is not None
    asked = {flag[7:-3] for flag in runtime.build.flags if flag.startswith("-DGGML_") and flag.endswith("=ON")}
    used = {name.replace("SSE3", "SSE42") for name in runtime.instruction_sets}
    assert asked <= used, "each set that was proven is used"
    other = EngineSettings(name="llama-server", llama_server=str(binary))
    found = compare(home, EngineSettings(), other, DEFAULT_MODEL, rounds=3, report=print)
    print("gains (prompt, decode, both):", found.gains(), found.answers)
    assert found.answers.same, found.answers
