"""Add pages to the site: the reference, from the public names of the package, and the repository's own pages."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import screenshots  # beside this file: mkdocs finds it while it reads this one
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import studiolo

ROOT = Path(__file__).parents[1]
REPOSITORY_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "reporting.md"}
TITLES = {
    "functions": "Functions",
    "sdk": "Clients, models and streams",
    "config": "Settings",
    "data": "Data",
    "aliases": "Types and dicts",
    "errors": "Errors",
}


def reference_page(name: str) -> str:
    """Return the key in `TITLES` of the page that documents a public name."""
    thing: Any = getattr(studiolo, name)
    if inspect.isfunction(thing):
        return "functions"
    if not inspect.isclass(thing) or isinstance(getattr(thing, "__total__", None), bool):
        return "aliases"
    if issubclass(thing, BaseException):
        return "errors"
    room = thing.__module__.split(".")[1]
    return room if room in ("config", "sdk") else "data"


def reference() -> dict[str, str]:
    """Return the pages of the reference: their paths and their Markdown."""
    pages: dict[str, list[str]] = {page: [] for page in TITLES}
    for name in sorted(studiolo.__all__, key=str.lower):
        if not name.startswith("__"):
            pages[reference_page(name)].append(name)
    return {
        f"reference/{page}.md": f"# {TITLES[page]}\n\n" + "\n".join(f"::: studiolo.{name}\n" for name in names)
        for page, names in pages.items()
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of docs/."""
    for path, text in reference().items():
        files.append(File.generated(config, path, content=text))
    for name, path in REPOSITORY_PAGES.items():
        files.append(File.generated(config, path, content=(ROOT / name).read_text("utf-8")))
    for name, picture in screenshots.current().items():
        files.append(File.generated(config, f"screenshots/{name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between docs/ and the repository into links of the site, and other files into their paths.

    Screenshots that are there are put in the places of their marks.
    """
    markdown = screenshots.shown(markdown, screenshots.current())
    if page.file.src_uri in REPOSITORY_PAGES.values():
        markdown = markdown.replace("](docs/", "](")
    for name, path in REPOSITORY_PAGES.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({path}", markdown)
    markdown = re.sub(r"\]\((?:\.\./)?README\.md\)", "](README.md)", markdown)
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)?((?:src|tests|bench)/[^)#]*)[^)]*\)", r"\1 (`\2`)", markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Print which screenshots the site has not. That is no warning of mkdocs, with which a strict build would fail."""
    pages = (page.read_text("utf-8") for page in sorted(Path(config.docs_dir).rglob("*.md")))
    if lacking := screenshots.missing(pages, screenshots.current()):
        print(
            f"WARNING: the site is without screenshots of the pages in the browser: {', '.join(lacking)}."
            " make screenshots takes them; then run make docs again.",
            file=sys.stderr,
        )
