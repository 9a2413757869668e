"""``studiolo runtime``: engines that are listed, added, selected and removed, and compared before they are selected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studiolo.benchmark import Figures
from studiolo.cli import runtime_comparison
from studiolo.cli.main import command_line
from studiolo.cli.runtime_comparison import NEAR_TIE, Answers, Comparison, compare, compared
from studiolo.cli.runtime_listing import Listed, list_engines
from studiolo.cli.runtime_selection import select_runtime
from studiolo.domain.generation import LogProb, TokenLogProbs
from studiolo.errors import ConfigError, EngineError, StudioloError
from studiolo.paths import Home
from studiolo.runtimes.record import Runtime, keep
from studiolo.settings import EngineSettings, read_settings
from tests.support.command_line import good, run
from tests.support.homes import DEFAULT_MODEL
from tests.support.running import script
from tests.support.stub_llama_cpp import becoming, needs_tools, stub_source


def listed(home: Home) -> dict[str, Listed]:
    return {each.name: each for each in list_engines(home)}


@pytest.mark.quick_model
def test_a_real_binary_is_added_selected_and_removed(home: Home, binary: Path) -> None:
    with home.settings.open("a") as settings:
        settings.write("[engine] # mine\nsaved_prompts_mib = 0\n")
    added = run(home, "runtime", "add", str(binary), "--name", "own")
    assert "it answers with" in added.stderr and "AVX2" in good(added)
    own = listed(home)["own"]
    assert (own.kind, own.selected, own.binary, own.problem) == ("added", False, str(binary), None)
    assert own.version and "AVX2" in own.instruction_sets
    good(run(home, "runtime", "select", "own"))
    text = home.settings.read_text()
    assert "# mine" in text and read_settings(home.settings).engine.saved_prompts_mib == 0
    assert read_settings(home.settings).engine.llama_server == str(binary)
    found = json.loads(good(run(home, "runtime", "ls", "--json")))
    assert [(each["name"], each["selected"]) for each in found] == [("llama.cpp", False), ("own", True)]
    refused = run(home, "runtime", "remove", "own")
    assert refused.returncode == 1 and "is selected" in refused.stderr and "select llama.cpp" in refused.stderr
    good(run(home, "runtime", "select", "llama.cpp"))
    good(run(home, "runtime", "remove", "own"))
    assert binary.exists() and read_settings(home.settings).engine.is_bundled
    assert "own" not in listed(home) and list(home.runtimes.iterdir()) == []


@needs_tools
@pytest.mark.quick_model
def test_a_stub_is_built_by_the_command(home: Home, binary: Path, tmp_path: Path) -> None:
    words = ("runtime", "build", "--name", "mine", "--source", str(stub_source(tmp_path / "src")), "--select", "never")
    done = run(home, *words, "--cmake", *becoming(binary))
    assert "mine is not selected; to use it: studiolo runtime select mine" in done.stderr
    assert "AVX2" in good(done) and "without llguidance" in done.stdout
    mine = listed(home)["mine"]
    assert (mine.kind, mine.backend, mine.selected) == ("built", "cpu", False)


@pytest.mark.quick_model
def test_two_real_engines_are_measured_in_turn_and_answer_the_same(
    home: Home, binary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_comparison, "PROMPTS", runtime_comparison.PROMPTS[:2])
    monkeypatch.setattr(runtime_comparison, "ANSWER_TOKENS", 6)
    other = EngineSettings(name="llama-server", llama_server=str(binary))
    turns: list[str] = []

    def measured(before: EngineSettings) -> Comparison:
        return compare(home, before, other, DEFAULT_MODEL, prompt_tokens=24, tokens=4, rounds=2, report=turns.append)

    found = measured(EngineSettings())
    names = ["the engine in force", "the other one", "the other one", "the engine in force"]
    assert [turn.partition(": ")[2] for turn in turns] == names
    assert found.before.prompt_tokens == found.after.prompt_tokens == [24, 24]
    assert (found.answers.prompts, found.answers.others, found.answers.tokens) == (2, 0, 12)
    assert min(*found.gains(), *found.after.decode) > 0
    gone = EngineSettings(name="llama-server", llama_server=str(binary.with_name("none")))
    with pytest.raises(EngineError, match="does not run"):
        measured(gone)


def test_the_bundled_engine_is_listed_with_its_instruction_sets(empty_home: Home) -> None:
    bundled = list_engines(empty_home)[0]
    assert (bundled.name, bundled.kind, bundled.selected) == ("llama.cpp", "bundled", True)
    assert bundled.version and bundled.instruction_sets


def refusal(*words: str) -> str:
    """Return the error of a command, which runs in this process."""
    with pytest.raises(StudioloError) as raised:
        command_line()(["runtime", *words], standalone_mode=False)
    return str(raised.value)


def test_what_is_no_llama_server_is_not_added(empty_home: Home, tmp_path: Path) -> None:
    other = script(tmp_path / "other", "#!/bin/sh\necho hello\n")
    none, folder = tmp_path / "none", tmp_path
    for path, reason in ((other, "is not a llama-server"), (none, "there is no"), (folder, "is not executable")):
        assert reason in refusal("add", str(path), "--name", "own")
    assert not empty_home.runtimes.exists()


def test_names_that_do_not_exist_or_are_taken_are_refused(empty_home: Home, tmp_path: Path) -> None:
    keep(empty_home, Runtime(name="own", binary=str(tmp_path / "gone"), version="1"))
    assert listed(empty_home)["own"].problem == "its binary is gone"
    for words, reason in (
        (("select", "none"), "There is no runtime 'none'"),
        (("remove", "none"), "There is no runtime 'none'"),
        (("remove", "../own"), "cannot be called"),
        (("select", "own"), "The binary of own is gone"),
        (("add", str(tmp_path), "--name", "own"), "There is a runtime 'own' already"),
        (("add", str(tmp_path), "--name", "llama.cpp"), "cannot be called"),
        (("build", "--name", "own"), "There is a runtime 'own' already"),
    ):
        assert reason in refusal(*words)
    assert read_settings(empty_home.settings).engine.is_bundled


def test_a_record_that_is_damaged_counts_as_none(empty_home: Home) -> None:
    keep(empty_home, Runtime(name="own", binary="/none", version="1"))
    (empty_home.runtimes / "own" / "runtime.json").write_text("{")
    (empty_home.runtimes / "file").write_text("")
    assert "own" not in listed(empty_home)


def test_a_binary_that_only_the_settings_name_is_listed_and_not_lost(empty_home: Home, tmp_path: Path) -> None:
    named = script(tmp_path / "server", "#!/bin/sh\nexit 1\n")
    with empty_home.settings.open("a") as settings:
        settings.write(f'[engine]\nname = "llama-server"\nllama_server = "{named}"\n')
    one = listed(empty_home)["llama-server"]
    assert (one.kind, one.selected, one.version) == ("named", True, None) and "exit status 1" in str(one.problem)
    keep(empty_home, Runtime(name="own", binary=str(script(tmp_path / "other", "")), version="1"))
    assert select_runtime(empty_home, "own") == str(named)
    assert select_runtime(empty_home, "bundled") is None and select_runtime(empty_home, "own") is None
    script(tmp_path / "other", "changed")
    assert "has changed" in str(listed(empty_home)["own"].problem)


def test_a_wrong_settings_file_is_not_written_to(empty_home: Home) -> None:
    empty_home.settings.write_text("[engine]\nnaem = 1\n")
    with pytest.raises(ConfigError, match=r"engine\.naem"):
        select_runtime(empty_home, "llama.cpp")
    assert empty_home.settings.read_text() == "[engine]\nnaem = 1\n"


def answer(*tokens: tuple[str, float], rival: tuple[str, float] | None = None) -> list[TokenLogProbs]:
    """Return an answer of tokens; the last one has a rival."""
    places = [TokenLogProbs(LogProb(text, value), (LogProb(text, value),)) for text, value in tokens]
    if rival is not None:
        last = places[-1].token
        places[-1] = TokenLogProbs(last, (last, LogProb(*rival)))
    return places


def test_answers_may_part_at_a_near_tie_alone() -> None:
    one, other = ("a", -0.1), ("a", -0.12)
    same = compared([answer(one)], [answer(other)])
    assert same.same and (same.compared, same.others) == (1, 0) and same.mean_difference == pytest.approx(0.02)
    near, far = -1 - NEAR_TIE / 2, -1 - NEAR_TIE * 2
    tied = compared([answer(one, ("b", -1.0), rival=("c", near))], [answer(other, ("c", -1.0), rival=("b", near))])
    assert tied.same and (tied.near_ties, tied.others, tied.compared) == (1, 0, 1)
    for rival in (("c", far), None):
        apart = compared([answer(one, ("b", -1.0), rival=rival)], [answer(other, ("c", -1.0), rival=("b", near))])
        assert not apart.same and apart.others == 1
    assert not compared([answer(one, one)], [answer(other)]).same, "one answer ends earlier"
    assert not compared([answer(one)], [answer(("a", -0.3))]).same, "the log-probabilities differ"
    assert not compared([[]], [[]]).same, "nothing was compared"


@pytest.mark.parametrize(
    ("after", "same", "better"),
    [
        ([11.0, 11.0, 11.0, 11.0], True, True),
        ([11.0, 11.0, 11.0, 9.0], True, True),
        ([11.0, 11.0, 9.0, 9.9], True, False),
        ([10.1, 10.1, 10.1, 10.1], True, False),
        ([20.0, 20.0, 20.0, 20.0], False, False),
    ],
)
def test_a_runtime_is_better_if_it_is_faster_in_most_rounds_and_answers_the_same(
    after: list[float], same: bool, better: bool
) -> None:
    def figures(rates: list[float]) -> Figures:
        return Figures(config={}, prompt_tokens=[10] * 4, prompt=rates, tokens=[10] * 4, decode=rates)

    answers = Answers(prompts=1, tokens=1, compared=1, others=0 if same else 1)
    comparison = Comparison(model="m", before=figures([10.0] * 4), after=figures(after), answers=answers)
    assert comparison.is_better() is better
