"""The table, the plots, and when figures are written into the page. All figures are of a fixture."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as program
from bench import noise, report, texts, threads
from bench.measure import Spread, differences, ratios
from bench.plots import write_plots
from bench.rows.long_prompts import affordable
from bench.run import ROWS, TINY, Part, Run
from studiolo.paths import Home

PAGE = f"# Title\n\nbefore\n\n{report.BEGIN}\n\nearlier figures\n\n{report.END}\n\nafter\n"


def result(key: str, *parts: Part, error: str = "") -> dict[str, Any]:
    return {
        "unit": ROWS[key].unit,
        "seconds": 1.0,
        "others": 0.5 if error else 0.0,
        "error": error,
        "parts": [part.json() for part in parts],
    }


@pytest.fixture
def results() -> dict[str, Any]:
    one = Spread.of([1234.5])
    return {
        "machine": {
            "date": "2000-01-01",
            "cpu": "fixture processor",
            "cores": 2,
            "memory_gb": 1.0,
            "os": "fixture",
            "python": "3",
            "studiolo": "0",
            "xllamacpp": "0",
            "lmstudio": "0",
        },
        "model": "fixture-model",
        "size": "full",
        "seconds": 66.0,
        "noise": {},
        "noise_text": "fixture noise",
        "quiet": True,
        "limits": {"read_bytes_per_sec": 1e10, "float_ops_per_sec": 5e10, "byte_ops_per_sec": None},
        "roofline": {"decode_tokens_per_sec": 100.0, "prompt_tokens_per_sec": 200.0},
        "rows": {
            "decode": result(
                "decode",
                Part("SDK, embedded", Spread.of([0.99, 1.0, 1.01]), one, one, "tokens/s"),
                Part("SDK, through the server", Spread.of([0.5]), one, one, "tokens/s"),
                Part("beside it", Spread.of([0.5]), judged=False),
            ),
            "first_token": result("first_token", Part("", Spread.of([1.5]))),
            "memory": result("memory", error="RuntimeError: a | b\nc"),
        },
        "curves": [
            {
                "key": "fixture_curve",
                "title": "Fixture curve",
                "x": "tokens",
                "y": "seconds",
                "lines": {"one": [(128, 1.0), (256, 2.5)], "other": [(128, 2.0), (256, 3.0)]},
                "logarithmic": True,
            }
        ],
    }


def test_the_table_has_wanted_and_measured_figures_and_why_a_row_failed(results: dict[str, Any]) -> None:
    lines = report.rendered(results, {"fixture_curve": "plots/fixture_curve.svg"}).splitlines()
    figure = ROWS["decode"].figure
    assert f"| {figure}: SDK, embedded | at least 0.99 | 1 (0.995..1.005) | 1,234 tokens/s | 1,234 tokens/s |" in lines
    assert "| SDK, through the server | at least 0.99 | **0.5** | 1,234 tokens/s | 1,234 tokens/s |" in lines
    assert "| beside it |  | 0.5 |  |  |" in lines
    assert f"| {ROWS['first_token'].figure} | at most 2 ms | 1.5 ms |  |  |" in lines
    assert f"| {ROWS['memory'].figure} | at most 80 MB | failed: RuntimeError: a / b c | | |" in lines
    assert "![Fixture curve](plots/fixture_curve.svg)" in lines
    assert any("fixture processor, 2 cores" in line for line in lines)
    assert any("10.0 GB/s read from memory, 50 thousand million operations" in line for line in lines)
    assert any(f"more than a tenth: {ROWS['memory'].figure}: 0.50." in line for line in lines)


def test_plots_depend_on_the_figures_alone(results: dict[str, Any], tmp_path: Path) -> None:
    (first,) = write_plots(results["curves"], tmp_path / "one")
    (second,) = write_plots(results["curves"], tmp_path / "two")
    text = first.read_text("utf-8")
    assert first.name == "fixture_curve.svg" and text == second.read_text("utf-8")
    assert "Fixture curve" in text and "date" not in text and len(text) < 40_000


@pytest.mark.parametrize(
    ("quiet", "options", "status", "written"),
    [
        (True, [], 1, True),  # a row has failed; the page says so
        (False, [], program.NOISY, False),
        (False, ["--force"], 1, True),
        (True, ["--quick"], 1, False),
        (True, ["--row", "decode"], 1, False),
    ],
)
def test_only_a_quiet_machine_changes_the_page(
    results: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quiet: bool,
    options: list[str],
    status: int,
    written: bool,
) -> None:
    page, file = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(PAGE)
    monkeypatch.setattr(program, "ensure_model", lambda *_: ("fixture-model", tmp_path))
    monkeypatch.setattr(program, "measure", lambda *_: {**results, "quiet": quiet})
    assert program.main([*options, "--json", str(file), "--page", str(page)]) == status
    assert json.loads(file.read_text())["model"] == "fixture-model"
    text = page.read_text()
    assert ("fixture processor" in text) == written and ("earlier figures" in text) != written
    assert text.startswith("# Title\n\nbefore\n") and text.endswith("\n\nafter\n")
    assert (tmp_path / "plots" / "fixture_curve.svg").exists() == written


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="lacks the lines"):
        report.write_between_markers(page, "text")
    assert page.read_text() == "nothing"


def test_the_page_has_the_markers() -> None:
    text = program.PAGE.read_text("utf-8")
    assert text.index(report.BEGIN) < text.index(report.END)


@pytest.mark.parametrize(("others", "spread", "quiet"), [(0.05, 0.02, True), (0.2, 0.02, False), (0.05, 0.2, False)])
def test_noise_decides_whether_a_machine_is_quiet(others: float, spread: float, quiet: bool) -> None:
    assert noise.Noise(others, spread, 10).quiet is quiet


def test_sides_alternate_and_prompts_are_fresh(tmp_path: Path) -> None:
    order: list[tuple[str, int]] = []
    size = TINY.__class__(**{**vars(TINY), "scale": 1, "rounds": 3})
    run = Run(size, Home(tmp_path), "", tmp_path, None, None, print)  # type: ignore[arg-type]
    found = run.alternate({name: lambda number, n=name: order.append((n, number)) or number for name in "ab"}, 60)
    assert found == {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert order == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    first = texts.fresh(20, "name")
    assert first == texts.fresh(20, "name") != texts.fresh(20, "other") and len(first.split()) == 19
    texts.begin_attempt()
    assert texts.fresh(20, "name") != first


def test_what_rows_share_is_measured_once_and_so_it_fails_once(tmp_path: Path) -> None:
    run = Run(TINY, Home(tmp_path), "", tmp_path, None, None, print)  # type: ignore[arg-type]
    calls: list[str] = []

    def good(_: Run) -> int:
        calls.append("good")
        return 5

    def bad(_: Run) -> int:
        calls.append("bad")
        raise RuntimeError("the fixture fails")

    assert run.shared(good) == run.shared(good) == 5
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the fixture fails"):
            run.shared(bad)
    assert calls == ["good", "bad"]


def test_figures_of_two_sides_are_compared_round_by_round() -> None:
    assert ratios([1, 2, 9], [2, 2, 3]).median == 1
    assert differences([1, 2, 9], [2, 2, 3]).json()["median"] == 0


@pytest.mark.parametrize("make", texts.REPEATING.values())
def test_work_that_repeats_has_its_answer_in_the_prompt(make: Any) -> None:
    work = make(random.Random(1))
    answer = json.loads(work.grammar.removeprefix("root ::= "))
    assert sum(word in work.prompt for word in answer.split()) > 0.9 * len(answer.split())


def test_the_frontier_leaves_out_what_another_beats_in_both_situations() -> None:
    speeds = {"first": (1, 1), "idle": (1.5, 0.5), "both": (1.2, 3), "worse": (1.1, 2.9)}
    rows = [
        {
            "situation": situation,
            "variant": name,
            **{key: Spread.of([speed]).json() for key in ("answer", "answer_ratio", "prompt_ratio")},
        }
        for name, pair in speeds.items()
        for situation, speed in zip(threads.SITUATIONS, pair, strict=True)
    ]
    assert threads.frontier(rows) == {"idle", "both"}
    assert "| both | 1.2 | 1.20 (1.20..1.20) | 3.0 | 3.00 (3.00..3.00) |" in threads.table(rows)


@pytest.mark.parametrize("rate, length", [(1000.0, 7900), (200.0, 3950), (100.0, 1975), (1.0, 493)])
def test_the_long_prompt_is_shorter_on_a_slow_machine(rate: float, length: int) -> None:
    assert affordable(7900, rate) == length
