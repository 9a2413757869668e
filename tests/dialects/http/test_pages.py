"""The examples on the pages about HTTP run against a real server: Python as one program, curl line by line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import anthropic
import ollama
import openai
import pytest

from studiolo.paths import Home
from tests.support.document_files import pdf
from tests.support.frameworks import python_of_frameworks
from tests.support.http_server import LLM, VALUES
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
        page = page.replace(LLM, VALUES)
    (tmp_path / "report.pdf").write_bytes(pdf(["Sales rose by a tenth."]))
    (tmp_path / "speech.wav").write_bytes(tone(seconds=1))
    program = "\n".join(blocks(page, "python"))
    if program and "import studiolo" not in program:  # programs of the SDK are run by tests/docs/test_examples.py
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


def test_the_variables_for_claude_code_lead_to_the_model(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (DOCS / "claude-code.md").read_text().replace(ADDRESS, base_url)
    variables = dict(re.findall(r"^export (\w+)=(\S+)$", page, re.MULTILINE))
    assert {"ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_MODEL"} <= set(variables)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with anthropic.Anthropic(max_retries=0) as client:  # which reads the first two, as Claude Code does
        hello: anthropic.types.MessageParam = {"role": "user", "content": "hi"}
        assert client.messages.create(model=LLM, max_tokens=2, messages=[hello]).usage.output_tokens == 2
        with pytest.raises(anthropic.NotFoundError, match=variables["ANTHROPIC_MODEL"]):
            client.messages.create(model=variables["ANTHROPIC_MODEL"], max_tokens=2, messages=[hello])


def test_the_settings_of_codex_lead_to_the_model(base_url: str) -> None:
    settings = tomllib.loads(blocks((DOCS / "codex.md").read_text().replace(ADDRESS, base_url), "toml")[0])
    provider = settings["model_providers"][settings["model_provider"]]
    assert provider["wire_api"] == "responses"
    with openai.OpenAI(base_url=provider["base_url"], api_key="any", max_retries=0) as client:
        answer = client.responses.create(model=settings["model"], input="hi", max_output_tokens=16, store=False)
    assert answer.usage is not None and answer.usage.output_tokens > 0


def test_the_variables_for_open_webui_lead_to_the_models(base_url: str) -> None:
    page = (DOCS / "open-webui.md").read_text().replace(ADDRESS, base_url).replace("http://localhost:11434", base_url)
    variables = dict(re.findall(r"(OLLAMA_BASE_URL|OPENAI_API_BASE_URL|OPENAI_API_KEY)=(\S+)", page))
    client_of_ollama = ollama.Client(variables["OLLAMA_BASE_URL"])
    listed = {model.model for model in client_of_ollama.list().models}
    client_of_ollama._client.close()
    assert f"{LLM}:latest" in listed
    key = variables["OPENAI_API_KEY"]
    with openai.OpenAI(base_url=variables["OPENAI_API_BASE_URL"], api_key=key, max_retries=0) as client:
        assert LLM in {model.id for model in client.models.list()}
