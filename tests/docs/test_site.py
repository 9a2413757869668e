"""The documentation builds as a site: no warning, every public name in the reference, nothing loaded from elsewhere."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import studiolo
from docs import screenshots

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


PAGES = ("chat", "models", "server", "playground")


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("mkdocs")), "build", "--strict", "-f", str(config)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run([*command, "-d", str(site)], env=environment, capture_output=True, text=True, timeout=170)


TAKEN = [(name, *size) for name in PAGES for size in screenshots.SIZES][:-1]
"""All screenshots but the last one: the page's name, the width and the height."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The site with screenshots, which stub pages without content were taken of, and what the build has printed."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIOLO_SCREENSHOTS", str(tmp_path_factory.mktemp("screenshots")))
        for name, width, height in TAKEN:
            screenshots.save(name, width, _empty_picture(width, height))
        done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


@pytest.fixture(scope="module")
def site(built: tuple[Path, str]) -> Path:
    return built[0]


def test_the_reference_has_every_public_name(site: Path) -> None:
    pages = "".join(page.read_text("utf-8") for page in (site / "reference").glob("*.html"))
    anchors = set(re.findall(r'id="studiolo\.(\w+)"', pages))
    anchors |= set(re.findall(r'id="studiolo\.[\w.]+\.(\w+)"', pages))
    assert {name for name in studiolo.__all__ if not name.startswith("__")} <= anchors


def test_pages_load_nothing_from_the_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|link rel="stylesheet")[^>]* (?:src|href)="(\w+://[^"]+)"', page.read_text()
        )
        assert loaded == [], page.name


def _empty_picture(width: int, height: int) -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (width, height)).save(picture, "png")
    return picture.getvalue()


def test_screenshots_of_this_version_are_shown(site: Path) -> None:
    page = (site / "pages.html").read_text("utf-8")
    for name, width, _ in TAKEN:
        assert re.search(rf'<img alt="[^"]+" src="screenshots/{name}-{width}.png" width="\d+%"', page)
        assert (site / "screenshots" / f"{name}-{width}.png").is_file()


def test_a_build_without_a_screenshot_succeeds_and_says_how_to_take_it(built: tuple[Path, str]) -> None:
    site, printed = built
    (line,) = [each for each in printed.splitlines() if each.startswith("WARNING: the site is without")]
    assert re.findall(r"\w+-\d+\.png", line) == ["playground-360.png"] and "make screenshots" in line
    assert "playground-360" not in (site / "pages.html").read_text("utf-8")


def test_screenshots_of_another_version_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIOLO_SCREENSHOTS", str(tmp_path))
    text = (ROOT / "docs" / "pages.md").read_text("utf-8")
    assert tuple(screenshots.MARK.findall(text)) == PAGES
    (tmp_path / "models-360.png").write_bytes(b"no picture")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screenshots, "program_digest", lambda: "another version")
        screenshots.save("chat", 360, _empty_picture(360, 740))
    assert screenshots.current() == {}
    assert len(screenshots.missing([text], {})) == len(PAGES) * len(screenshots.SIZES)
    without = screenshots.shown(text, screenshots.current())
    assert without == screenshots.MARK.sub("", text)
    screenshots.save("chat", 360, _empty_picture(360, 740))
    assert "screenshots/chat-360.png" in screenshots.shown(text, screenshots.current())


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[a page](missing.md)")
    config = (ROOT / "mkdocs.yml").read_text("utf-8").partition("nav:")[0]
    config = config.replace("  - docs/hooks.py\n", "").replace("hooks:\n", "")
    (tmp_path / "mkdocs.yml").write_text(config)
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0
    assert "missing.md" in done.stderr
