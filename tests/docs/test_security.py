"""docs/security.md names tests and files that exist, and each threat has a test or is not defended."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


def test_the_tests_and_files_that_the_page_names_exist() -> None:
    named = re.findall(r"`(\S+?\.py)::(test_\w+)`", PAGE)
    assert len(named) > 20
    for path, name in named:
        text = (ROOT / "tests" / path).read_text("utf-8")
        assert re.search(rf"def {name}\(", text), f"{path} has no {name}"
    for path in re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", PAGE):
        assert path in ("src/studiolo/", "tests/") or (ROOT / "src" / "studiolo" / path).exists(), path


def test_each_threat_has_a_test_or_is_not_defended() -> None:
    rows = [row for row in re.findall(r"^\| (.+?) \|$", PAGE, re.MULTILINE) if not row.startswith(("threat |", "---"))]
    assert len(rows) > 40
    for row in rows:
        threat, protection, tests = re.split(r"(?<!\\) \|(?: |$)", row + " ", maxsplit=2)
        assert "::" in tests or "**Not defended" in protection, threat
