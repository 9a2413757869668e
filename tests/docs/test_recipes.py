"""The programs of docs/recipes run against one server, with models whose texts make no sense."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from studiolo.paths import Home
from tests.support.running import Server, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.quick_model,
    pytest.mark.server(
        models=["embedding_model", "vision_model"],
        settings='[models."tiny-vision"]\nload = { context_length = 1024, max_parallel_predictions = 1 }\n',
    ),
]

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
PAGES = [page.name for page in sorted(RECIPES.glob("*.md"))]

BEES = "Bees make honey from nectar.\n\nA colony of bees has one queen and thousands of workers.\n"

DRIVER = """
from litestar.testing import TestClient
from service import app

with TestClient(app) as client:
    whole = client.post("/summary", json={"text": "Bees make honey."})
    assert whole.status_code == 200 and whole.json()["summary"], whole.text
    assert client.post("/summary", json={"text": ""}).status_code == 400
    with client.stream("POST", "/summary/stream", json={"text": "Bees make honey."}) as answer:
        print(len("".join(answer.iter_text())))
"""


def programs(page: str) -> Iterator[tuple[str | None, str]]:
    """Yield the programs of a page, and the files that they are to be in."""
    for title, code in re.findall(r'^```python(?: title="(.+?)")?\n(.*?)^```$', page, re.MULTILINE | re.DOTALL):
        yield title or None, code


@pytest.mark.parametrize("name", PAGES)
def test_the_program_of_a_recipe_runs(name: str, server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "bees.md").write_text(BEES)
    (tmp_path / "notes" / "bank.txt").write_text("The central bank raised its interest rate by a quarter point.\n")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 48), "red").save(tmp_path / "pictures" / "red.png")
    page = (RECIPES / name).read_text("utf-8").replace("qwen2-vl-2b-instruct", "tiny-vision")
    tokens = 120 if name in ("extraction.md", "mcp-server.md", "tool-agent.md") else 20  # values and calls must end
    page = re.sub(r'"max_tokens": \d+', f'"max_tokens": {tokens}', page)
    page = re.sub(r"max_prediction_rounds=\d+", "max_prediction_rounds=2", page)
    main = [code for title, code in programs(page) if title is None]
    for title, code in programs(page):
        if title is not None:
            (tmp_path / title).write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(main or [DRIVER])],
        cwd=tmp_path,
        env=environment(Home(tmp_path / "home"), STUDIOLO_HOST=server.address, PYTHONPATH=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    check(name, done.stdout, tmp_path)


def check(name: str, output: str, folder: Path) -> None:
    """Check what a program has done that does not depend on the text of a model."""
    match name:
        case "folder-questions.md":
            assert output.startswith("read: bees.md")
        case "sqlite-embeddings.md":
            assert "Dogs bark at strangers." in output.splitlines()[0]
        case "pictures.md":
            assert list(json.loads((folder / "pictures" / "captions.json").read_text())) == ["red.png"]
        case "classification.md":
            assert output.count("%") == 3
        case "mcp-server.md":
            assert "in_stock" in output and re.search(r"\d rounds", output)
        case "tool-agent.md":
            assert "assistant: " in output and "tool: " in output and " rounds in " in output
        case _:
            assert output.strip()
