"""docs/reliability.md names tests that exist, and every test of faults is named there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "reliability"


def names_in(path: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))


def test_the_page_and_the_tests_agree() -> None:
    named: set[str] = set()
    file = HERE
    for place, name in re.findall(r"`(\S+?)::(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()):
        if place != "…":
            folders = (ROOT, HERE, HERE.parent, HERE.parent / "library")
            file = next(folder / place for folder in folders if (folder / place).exists())
        assert name in names_in(file), (file.name, name)
        named.add(name)
    for path in HERE.glob("test_*.py"):
        assert names_in(path) <= named, path.name
