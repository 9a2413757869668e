"""The commands that the documentation shows exist, with their options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.documented_commands import check, command_group

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def shown(page: Path) -> list[str]:
    """Return the commands on a page: lines of its code blocks, and inline code."""
    text = page.read_text()
    lines = [
        line
        for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line.partition("#")[0].strip() for line in lines if re.match(r"(?:pip install \S+ && )?studiolo ", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_that_a_page_shows_exist(page: Path) -> None:
    for command in shown(page):
        check(command)


def test_a_command_that_does_not_exist_is_noticed() -> None:
    for wrong in ("studiolo frobnicate", "studiolo ls --frobnicate", "studiolo server frobnicate"):
        with pytest.raises(AssertionError, match="frobnicate"):
            check(wrong)
    assert any("serve" in command for command in shown(ROOT / "README.md"))


def test_the_page_of_the_commands_has_all_of_them() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    missing = [
        name for name in command_group().commands if not re.search(rf"^\| `studiolo {name}\b", page, re.MULTILINE)
    ]
    assert not missing, f"docs/commands.md has no row of {', '.join(missing)}"
