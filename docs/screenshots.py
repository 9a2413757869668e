"""Screenshots of the pages in the browser, taken by the tests of the pages, for the documentation.

They are not in the repository. Each has in its PNG a digest of the program that it shows. One of another version is not
used, so that none can be stale: ``make screenshots`` takes them again.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parents[1]
SIZES = ((1440, 900), (360, 740))
"""Width and height of the windows, in pixels."""

MARK = re.compile(r"<!-- screenshots of the (\w+) page -->\n")
"""Where a page of the documentation has screenshots."""

_KEY = "Program"
_COLOURS = 128


def folder() -> Path:
    """Return where screenshots are: in ``.build/`` of the repository, or where ``STUDIOLO_SCREENSHOTS`` says."""
    return Path(os.environ.get("STUDIOLO_SCREENSHOTS") or ROOT / ".build" / "screenshots")


@cache
def program_digest() -> str:
    """Return a digest of all that the look of the pages depends on: the package and the versions of its libraries."""
    digest = hashlib.sha256((ROOT / "requirements-dev.lock").read_bytes())
    for file in sorted((ROOT / "src").rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(f"\n{file.relative_to(ROOT).as_posix()}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def save(name: str, width: int, png: bytes) -> None:
    """Write a screenshot with few colours and the digest of the program.

    Parameters:
        name: the page, as ``MARK`` has it.
        width: of the window, in pixels.
    """
    info = PngInfo()
    info.add_text(_KEY, program_digest())
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    folder().mkdir(parents=True, exist_ok=True)
    picture.save(folder() / f"{name}-{width}.png", optimize=True, pnginfo=info)


def current() -> dict[str, Path]:
    """Return the screenshots of this version by their file names."""
    return {file.name: file for file in sorted(folder().glob("*.png")) if _is_current(file)}


def missing(pages: Iterable[str], pictures: dict[str, Path]) -> list[str]:
    """Return the file names of the screenshots that pages of the documentation have marks for, and ``pictures`` not."""
    names = [f"{name}-{width}.png" for text in pages for name in MARK.findall(text) for width, _ in SIZES]
    return [name for name in names if name not in pictures]


def _is_current(file: Path) -> bool:
    try:
        with Image.open(file) as picture:
            return picture.info.get(_KEY) == program_digest()
    except (OSError, UnidentifiedImageError):
        return False


def shown(markdown: str, pictures: dict[str, Path]) -> str:
    """Return a page of the documentation with these screenshots in the places of its marks."""

    def images(mark: re.Match[str]) -> str:
        there = [(width, name) for width, _ in SIZES if (name := f"{mark[1]}-{width}.png") in pictures]
        return "".join(
            f"[![The {mark[1]} page, {width} pixels wide](screenshots/{name}){{ width={_share(width)} }}]"
            f"(screenshots/{name})\n"
            for width, name in there
        )

    return MARK.sub(images, markdown)


def _share(width: int) -> str:
    """Return the part of the line that a screenshot of this width has: all of one page together fit into it."""
    shapes = {each: each / height for each, height in SIZES}
    return f'"{97 * shapes[width] / sum(shapes.values()):.0f}%"'
