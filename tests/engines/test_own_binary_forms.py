"""Answers that are held to a form by a ``llama-server`` of the user's own, built with llguidance and without it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import studiolo as lm
from studiolo.engines.llama_server.binary import inspect
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from tests.support import stand_in_llama_server
from tests.support.homes import DEFAULT_MODEL, link_models
from tests.support.running import script

SIGN = "llg error: %s"
"""What llama.cpp holds where it is built with llguidance."""

PROMPT = "The Hobbit, as JSON: "
CALM = {"temperature": 0, "max_tokens": 60}
BOOK = {
    "type": "object",
    "properties": {"title": {"type": "string", "maxLength": 30}, "year": {"enum": [1837, 1937]}},
    "required": ["title", "year"],
    "additionalProperties": False,
}
DIGIT = {"type": "integer", "minimum": 1, "maximum": 9}
IN_THE_MIDDLE = {"type": "string", "pattern": "x[0-9]y", "maxLength": 8}
"""llguidance takes it; llama.cpp's own reader of JSON schemas refuses patterns that are not anchored."""
YES_OR_NO = {"type": "gbnf", "gbnfGrammar": '%llguidance {}\nstart: "yes" | "no"'}

Load = Callable[[Path], lm.LLM]


@pytest.fixture(scope="module")
def load(cache_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    home = Home(tmp_path_factory.mktemp("forms") / "home")
    home.root.mkdir()
    link_models(cache_home, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIOLO_HOME", str(home.root))
        patch.delenv("STUDIOLO_HOST", raising=False)
        with lm.Client("embedded") as client:

            def loaded(binary: Path) -> lm.LLM:
                engine = f'[engine]\nname = "llama-server"\nllama_server = "{binary}"\n'
                home.settings.write_text(f"[library]\nprograms = []\n{engine}")
                return client.llm.load_new_instance(DEFAULT_MODEL, config={"context_length": 512})

            yield loaded
        background.run(close_hosts())


def built_with_llguidance(folder: Path, binary: Path) -> Path:
    """A program that answers as ``binary`` does, and serves with llguidance."""
    serve = f'exec "{sys.executable}" "{stand_in_llama_server.__file__}" "$@"'
    ask = f'case "$1" in --version|--help|--list-devices) exec "{binary}" "$1";; esac'
    return script(folder / "llama-server", f"#!/bin/sh\n# {SIGN}\n{ask}\n{serve}\n")


@pytest.fixture(scope="module")
def without(load: Load, binary: Path) -> lm.LLM:
    return load(binary)


@pytest.fixture(scope="module")
def with_it(load: Load, binary: Path, tmp_path_factory: pytest.TempPathFactory) -> lm.LLM:
    return load(built_with_llguidance(tmp_path_factory.mktemp("with"), binary))


def process_of(binary: Path) -> psutil.Process:
    (process,) = [child for child in psutil.Process().children() if child.exe() == str(binary)]
    return process


async def test_what_it_is_built_with_is_read_from_its_files(binary: Path, tmp_path: Path) -> None:
    assert not (await inspect(str(binary))).llguidance
    assert (await inspect(str(built_with_llguidance(tmp_path, binary)))).llguidance
    for name, content, expected in (
        ("libllama-common.so.0", SIGN, True),
        ("libllama.so", "", False),
        ("libother.so", SIGN, False),
    ):
        folder = tmp_path / name
        folder.mkdir()
        own = script(folder / "llama-server", f'#!/bin/sh\nexec "{binary}" "$1"\n')
        (folder / name).write_text(content)
        assert (await inspect(str(own))).llguidance is expected


def test_without_llguidance_an_answer_has_the_form_of_its_schema(without: lm.LLM, binary: Path) -> None:
    assert process_of(binary).is_running()
    result = without.complete(PROMPT, response_format=BOOK, config=CALM)
    assert result.structured and result.structured_problem is None
    assert result.parsed.keys() == {"title", "year"} and result.parsed["year"] in (1837, 1937)
    assert without.complete(PROMPT, response_format=DIGIT, config=CALM).parsed in range(1, 10)


def test_without_llguidance_the_finished_answer_is_checked(without: lm.LLM) -> None:
    likely = without.complete(PROMPT, response_format=DIGIT, config=CALM).parsed
    result = without.complete(PROMPT, response_format={**DIGIT, "not": {"const": likely}}, config=CALM)
    assert result.stats.stop_reason == "failed" and not result.structured
    assert "$.not" in (result.structured_problem or "")


def test_without_llguidance_a_forced_call_has_the_form_of_its_tool(without: lm.LLM) -> None:
    calls: list[int] = []

    def press(button: int) -> str:
        """Press a button."""
        calls.append(button)
        return "done"

    without.act("Press button 7.", [press], tool_choice="required", max_prediction_rounds=2, config=CALM)
    assert calls and all(isinstance(button, int) for button in calls)


def test_without_llguidance_a_schema_that_the_binary_cannot_read_is_refused(without: lm.LLM, binary: Path) -> None:
    process = process_of(binary)
    with pytest.raises(lm.PredictionError, match="The engine refused the request") as caught:
        without.complete(PROMPT, response_format=IN_THE_MIDDLE, config=CALM)
    assert "json_schema" in str(caught.value.cause) and "Pattern" in str(caught.value.cause)
    assert process.is_running()


def test_without_llguidance_its_grammars_are_refused_before_the_binary_sees_them(without: lm.LLM, binary: Path) -> None:
    process = process_of(binary)
    with pytest.raises(lm.UnsupportedError, match="a grammar in llguidance's language") as caught:
        without.complete(PROMPT, response_format=YES_OR_NO, config=CALM)
    assert "a JSON schema or a grammar in GBNF" in str(caught.value.suggestion)
    data = caught.value.data
    assert (data["engineName"], data["feature"]) == ("llama-server", "structured")
    assert data["installedVersion"] == asyncio.run(inspect(str(binary))).version
    assert process.is_running() and process == process_of(binary)
    assert without.complete(PROMPT, response_format=DIGIT, config=CALM).parsed in range(1, 10)


def test_with_llguidance_it_is_given_the_grammar(with_it: lm.LLM) -> None:
    assert with_it.complete(PROMPT, response_format=YES_OR_NO, config=CALM).content in ("yes", "no")
    result: Any = with_it.complete(PROMPT, response_format=IN_THE_MIDDLE, config=CALM)
    assert result.structured and "x" in result.parsed
    book = with_it.complete(PROMPT, response_format=BOOK, config=CALM)
    assert book.parsed.keys() == {"title", "year"}
