"""The workflow file names what the Makefile has, and every operating system that the README names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "tests.yml").read_text()


def test_it_runs_targets_of_the_makefile() -> None:
    targets = re.findall(r"^\s+run: make (\w+)", WORKFLOW, re.MULTILINE)
    assert {"check", "run", "test"} <= set(targets)
    makefile = (ROOT / "Makefile").read_text()
    assert [each for each in targets if not re.search(rf"^{each}:", makefile, re.MULTILINE)] == []


def test_the_fast_tests_and_the_main_job_run_on_every_system() -> None:
    assert WORKFLOW.count("system: [ubuntu-latest, macos-latest, windows-latest]") == 2
    readme = (ROOT / "README.md").read_text()
    assert "every test was run on Linux alone" in readme and ".github/workflows/tests.yml" in readme
