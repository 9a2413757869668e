"""The examples on the pages about HTTP run against a real server: Python as one program, curl line by line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from studiolo.paths import Home
from tests.support.document_files import pdf
from tests.support.frameworks import python_of_frameworks
from tests.support.http_server import LLM, SENSIBLE
from tests.support.models.audio import tone

DOCS = Path(__file__).parents[3] / "docs"
ADDRESS = "http://localhost:1234"

PAGES = sorted(
    path.name for path in DOCS.glob("*.md") if f'"{ADDRESS}' in path.read_text() or f" {ADDRESS}/" in path.read_text()
)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_pages_are_found() -> None:
    assert {"openai.md", "lmstudio-rest.md"} <= set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_run(name: str, base_url: str, cache_home: Home, tmp_path: Path) -> None:
    python = python_of_frameworks(cache_home.root) if name == "langchain.md" else sys.executable
    page = (DOCS / name).read_text().replace(ADDRESS, base_url)
    if name in ("langchain.md", "responses.md"):  # their programs want values of a form and arguments of a call
        page = page.replace(LLM, SENSIBLE)
    (tmp_path / "report.pdf").write_bytes(pdf(["Sales rose by a tenth."]))
    (tmp_path / "speech.wav").write_bytes(tone(seconds=1))
    if program := "\n".join(blocks(page, "python")):
        done = subprocess.run(
            [python, "-c", program], capture_output=True, text=True, timeout=170, cwd=tmp_path, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    curl = shutil.which("curl")
    for command in blocks(page, "bash"):
        if curl is None or not command.startswith("curl "):
            continue
        done = subprocess.run(
            ["sh", "-c", command.replace("curl ", "curl -sS ", 1)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        last = done.stdout.strip().splitlines()[-1]
        frame = json.loads(last.removeprefix("data: ") if "[DONE]" not in last else "{}")
        assert not frame.get("error"), done.stdout
