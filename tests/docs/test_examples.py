"""The examples in the documentation run: each page is one program, and its TOML the host's settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from studiolo.paths import Home
from tests.support.document_files import pdf
from tests.support.homes import DEFAULT_MODEL, SHORT_VALUES, link_model, link_models
from tests.support.models.audio import tone
from tests.support.running import environment

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    "audio.md",
    "chat.md",
    "clients.md",
    "completion.md",
    "decisions.md",
    "embeddings.md",
    "files.md",
    "getting-started.md",
    "images.md",
    "library.md",
    "models.md",
    "prediction-config.md",
    "reranking.md",
    "structured-output.md",
    "tools.md",
]


SHORT = f"""
[models."{DEFAULT_MODEL}"]
load = {{ context_length = 2048 }}
prediction = {{ max_tokens = 60 }}
"""
"""Settings that end the answers of the model, which says little, before it does."""

VALUES = {"structured-output.md", "tools.md"}
"""Pages whose programs want whole values of a schema or arguments of a tool."""


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", PAGES)
def test_the_examples_of_a_page_run(
    name: str,
    empty_home: Home,
    quick_home: Home,
    vision_model: Path,
    audio_model: Path,
    embedding_model: Path,
    reranking_model: Path,
    embedding_home: Home,
    tmp_path: Path,
) -> None:
    home = empty_home
    link_models(quick_home, home)
    for model, key in ((vision_model, "qwen2-vl-2b-instruct"), (audio_model, "qwen2-audio-7b-instruct")):
        folder = home.models / "tests" / key  # by the name of a real one
        folder.mkdir(parents=True)
        for file in (model, model.with_name(f"mmproj-{model.name}")):
            (folder / file.name.replace(model.name.partition(".")[0], key)).symlink_to(file)
    page = (DOCS / name).read_text()
    short = SHORT.replace("60 }", f"60, logit_bias = {SHORT_VALUES} }}") if name in VALUES else SHORT
    settings = "\n".join(blocks(page, "toml")) or "[library]\nprograms = []\n"
    home.settings.write_text(settings if DEFAULT_MODEL in settings else settings + short)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "picture.jpg")
    (tmp_path / "speech.wav").write_bytes(tone(seconds=1))
    if name == "embeddings.md":
        link_models(embedding_home, home)
    if name == "reranking.md":
        reranker = home.models / "tests" / "bge-reranker-v2-m3"  # by the name of a real one
        reranker.mkdir()
        (reranker / "bge-reranker-v2-m3.F16.gguf").symlink_to(reranking_model)
    if name == "files.md":
        link_model(embedding_model, home)
        (tmp_path / "report.pdf").write_bytes(pdf(["Sales rose by a tenth.", "Costs fell."]))
    program = "\n".join(blocks(page, "python"))
    assert program
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=environment(home, STUDIOLO_HOST="embedded"),
        capture_output=True,
        text=True,
        timeout=390,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
