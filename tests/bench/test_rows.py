"""Rows of the benchmark run, on two layers of the default model. No figure means anything."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench import __main__ as program
from bench import growth, report
from bench.__main__ import measure
from bench.noise import Noise
from bench.run import ROWS, TINY
from studiolo.paths import Home
from tests.support.homes import DEFAULT_MODEL

pytestmark = [pytest.mark.slow]

LIMITS = ("read_bytes_per_sec", "float_ops_per_sec", "byte_ops_per_sec")
CHOSEN = ("decode", "prompt", "clients")


@pytest.fixture(scope="module")
def results(quick_home: Home) -> dict[str, Any]:
    file = next(quick_home.models.rglob("*.gguf"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOMP_SPINCOUNT", "300")  # other tests keep the processors busy
        chosen = [ROWS[key] for key in CHOSEN]
        return measure(TINY, chosen, ["clients"], (DEFAULT_MODEL, file), None, {}, print)


def test_each_row_has_its_parts(results: dict[str, Any]) -> None:
    assert {key: row["error"] for key, row in results["rows"].items()} == dict.fromkeys(CHOSEN, "")
    for row in results["rows"].values():
        assert row["parts"] and row["how"]
        assert all(math.isfinite(part["value"]["median"]) for part in row["parts"])
    assert [part["name"] for part in results["rows"]["decode"]["parts"]][:2] == [
        "SDK, embedded",
        "SDK, through the server",
    ]


def test_both_sides_do_the_same_work_on_fresh_prompts(results: dict[str, Any]) -> None:
    checks = results["rows"]["decode"]["parts"][0]["checks"]
    assert checks["tokens"] == checks["reference_tokens"] == TINY.tokens
    assert checks["reference_cached"] <= 1
    (prompt,) = {part["checks"]["prompt_tokens"] for part in results["rows"]["prompt"]["parts"]}
    assert prompt == results["rows"]["prompt"]["parts"][0]["checks"]["reference_prompt_tokens"]
    clients = results["rows"]["clients"]["parts"][0]["checks"]
    assert clients["tokens"] == clients["reference_tokens"] == 2 * (TINY.tokens // 2)
    assert clients["cached"] <= 1 and clients["reference_cached"] <= 1


def test_results_can_be_rendered(results: dict[str, Any]) -> None:
    (curve,) = results["curves"]
    assert curve["lines"]["reference"][0][0] == TINY.clients[0]
    text = report.rendered(results, {curve["key"]: "x.svg"})
    assert ROWS["decode"].figure in text and "x.svg" in text


def test_a_row_that_fails_says_why_and_the_next_one_runs(quick_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> list[Any]:
        raise RuntimeError("the fixture fails")

    failing = ROWS["memory"].__class__(**{**vars(ROWS["memory"]), "measure": fail})
    empty = ROWS["load"].__class__(**{**vars(ROWS["load"]), "measure": lambda _: []})
    file = next(quick_home.models.rglob("*.gguf"))
    monkeypatch.setitem(growth.CURVES, "clients", fail)
    monkeypatch.setattr(program, "measure_noise", lambda _: Noise(0, 0, 1))
    monkeypatch.setattr(program, "limits", lambda _: dict.fromkeys(LIMITS))
    found = measure(TINY, [failing, empty], ["clients"], (DEFAULT_MODEL, file), None, {}, print)
    assert found["rows"]["memory"]["error"] == "RuntimeError: the fixture fails"
    assert found["rows"]["load"]["error"] == "" and found["curves"] == []
