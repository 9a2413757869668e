"""Files and names in docs/architecture.md and CONTRIBUTING.md exist; every package is listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "studiolo"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_files_of_the_architecture_exist() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", PAGE)
    assert len(named) > 40
    outside = {"src/studiolo/", "logs/", "downloads/"}
    missing = [name for name in named if name not in outside and not (PACKAGE / name).exists()]
    assert [name for name in missing if not list(PACKAGE.rglob(name))] == []


def test_names_of_the_stages_are_in_their_files() -> None:
    stages = re.findall(r"^\| \d+ \| `([\w/]+\.py)`(?:, `([\w.]+)`)? \|", PAGE, re.MULTILINE)
    assert len(stages) == 26
    for file, name in stages:
        text = (PACKAGE / file).read_text("utf-8")
        for part in name.split(".") if name else ():
            assert re.search(rf"(?:class|def) {part}\b", text), f"{file} has no {name}"


def test_every_package_is_a_room() -> None:
    rooms = PAGE.partition("## The rooms")[2].partition("\n## ")[0]
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert {name for name in packages if f"`{name}/`" not in rooms} == set()


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/security.md", "docs/releasing.md", "docs/compatibility.md"])
def test_files_of_a_page_exist(page: str) -> None:
    named = re.findall(r"`((?:\w+/)+\w+\.\w+|(?:\w+/){2,})`", (ROOT / page).read_text("utf-8"))
    assert named
    assert [name for name in named if not ((ROOT / name).exists() or (PACKAGE / name).exists())] == []
