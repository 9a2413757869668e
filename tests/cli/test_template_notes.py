"""A model with a broken chat template works, and everything that shows it says so, before and after its load."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import studiolo as lm
from studiolo.engines.chat_templates.process import TemplateProcesses
from studiolo.host.template_problems import TemplateProblems
from studiolo.library import Library
from studiolo.paths import Home
from studiolo.server.diagnosis import examine
from tests.support.command_line import good, run
from tests.support.homes import link_model
from tests.support.model_files import write_gguf
from tests.support.models.vision import write_text_model
from tests.support.running import serving

pytestmark = pytest.mark.slow

TEMPLATES = {
    "good": "{{ messages[0].content }}",
    "bad": "{{ messages[0].nothing.at_all }}",
    "same": "{{ messages[0].nothing.at_all }}",
    "large": "{% set n = namespace(s='x'*16) %}{% for i in range(34) %}{% set n.s = n.s + n.s %}{% endfor %}",
}
NOTE = "the model's chat template cannot be used: line 2: "


def test_a_broken_template_is_in_every_description_of_its_model(
    empty_home: Home, cache_home: Home, tmp_path: Path
) -> None:
    broken = tmp_path / "wrong.F16.gguf"
    vocabulary = next(cache_home.models.rglob("SmolLM2*.gguf"))
    write_text_model(broken, vocabulary, chat_template="a\n{% for m in messages %}{{ m.content }")
    link_model(broken, empty_home)
    with serving(empty_home, tmp_path, "--no-load") as server, lm.Client(server.address) as client:
        (listed,) = client.system.list_library()
        assert listed.note is not None and listed.note.startswith(NOTE)
        assert client.system.show_model("wrong").model.note == listed.note
        assert f"wrong: {listed.note}" in good(run(empty_home, "ls", "--detailed", host=server.address))
        assert f"\n{listed.note}\n" in good(run(empty_home, "show", "wrong", host=server.address))
        llm = client.llm.model("wrong", config={"context_length": 256})
        assert llm.complete("Hello", config={"max_tokens": 1}).stats.predicted_tokens_count == 1
        assert llm.get_info().note == listed.note
        assert f"wrong: {listed.note}." in good(run(empty_home, "ps", host=server.address))
    (finding,) = (each for each in examine(empty_home) if each.what == "chat template")
    assert "wrong.F16.gguf" in finding.found and NOTE in finding.found and finding.remedy


def test_each_template_is_examined_once(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, template in TEMPLATES.items():
        write_gguf(empty_home.models / "p" / name / f"{name}.gguf", tokenizer__chat_template=template)
    examined: list[str] = []
    examine_real = TemplateProcesses.examine

    async def examine(self: TemplateProcesses, template: str, tool_template: str) -> object:
        examined.append(template)
        return await examine_real(self, template, tool_template)

    monkeypatch.setattr(TemplateProcesses, "examine", examine)

    async def noted() -> set[str]:
        library, processes = Library(empty_home), TemplateProcesses()
        try:
            notes = await TemplateProblems(library.state, processes).notes(await library.models())
        finally:
            await processes.close()
            await library.close()
        return {path.stem for path in notes}

    assert asyncio.run(noted()) == {"bad", "same", "large"}
    assert len(examined) == 3
    assert asyncio.run(noted()) == {"bad", "same", "large"}
    assert len(examined) == 4, "what exceeds a limit is tried again"
    with closing(sqlite3.connect(empty_home.state)) as state:
        (count,) = state.execute("SELECT count(*) FROM memory WHERE key LIKE 'template_problem:%'").fetchone()
    assert count == 2
