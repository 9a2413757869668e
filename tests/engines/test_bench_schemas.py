"""The benchmark of structured output, over the project's own few schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import studiolo as lm
from bench import schemas as bench
from studiolo.paths import Home
from studiolo.sdk import background
from studiolo.sdk.transports.embedded import close_hosts
from tests.support.homes import DEFAULT_MODEL

pytestmark = pytest.mark.quick_model

FILE = Path(__file__).parents[2] / "bench" / "data" / "schemas.jsonl"


@pytest.fixture
def outcomes(home: Home) -> Any:
    yield bench.run(DEFAULT_MODEL, bench.read(FILE), 60)
    background.run(close_hosts())


def test_every_schema_is_accepted_or_refused_with_its_place(outcomes: list[bench.Outcome]) -> None:
    assert [each for each in outcomes if each.kind == "wrong"] == []
    (refused,) = [each for each in outcomes if each.kind == "refused"]
    assert (refused.id, refused.error, refused.path) == ("lost-reference", "RejectedConfigError", "$.properties.a.$ref")
    assert [each.instances for each in outcomes if each.instances] == []
    complete = [each for each in outcomes if each.complete]
    assert len(complete) >= 10 and all(each.kind == "accepted" for each in complete)
    report = bench.report(outcomes)
    assert "13 schemas: 12 accepted, 1 refused, 0 wrong" in report
    assert "refused: lost-reference: RejectedConfigError $.properties.a.$ref" in report


class _Stream:
    def __init__(self, text: str, reason: str, structured: bool) -> None:
        self.text, self.stats, self.structured = text, type("Stats", (), {"stop_reason": reason}), structured
        self.structured_problem = None if structured else "a problem"

    def __iter__(self) -> Any:
        yield type("Fragment", (), {"content": self.text})

    def result(self) -> Any:
        return self


class _Model:
    """A model that answers as it is set to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def respond(self, *_: Any, **__: Any) -> None:
        pass

    def respond_stream(self, *_: Any, **__: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "kind", "complete", "why"),
    [
        (_Stream("5", "eosFound", True), "accepted", True, ""),
        (_Stream('"a"', "eosFound", True), "wrong", True, "is not of type"),
        (_Stream('"a"', "maxPredictedTokensReached", True), "wrong", True, "is not of type"),
        (_Stream("5", "maxPredictedTokensReached", False), "accepted", False, ""),
        (_Stream("5", "failed", False), "wrong", True, "a problem"),
        (lm.ConfigError("It is wrong", cause="So", data={"path": "$.a"}), "refused", None, "It is wrong"),
        (lm.ConfigError("It is wrong", cause="So"), "wrong", None, "It is wrong"),
        (lm.PredictionError("The engine left the form"), "wrong", None, "left the form"),
    ],
)
def test_what_counts_as_what(answer: Any, kind: str, complete: bool | None, why: str) -> None:
    entry = {"id": "x", "schema": {"type": "integer"}, "valid": [1], "invalid": ["a"]}
    outcome = bench._ask(_Model(answer), entry, 10)
    assert (outcome.kind, outcome.complete) == (kind, complete) and why in outcome.why


def test_values_that_the_check_judges_otherwise_are_found() -> None:
    entry = {"id": "x", "schema": {"type": "integer"}, "valid": [1, "a"], "invalid": ["b", 2]}
    (refused, passed) = bench.check_instances(entry)
    assert refused.startswith("valid[1] is refused: $ breaks $.type") and passed == "invalid[1] passes"
    assert bench.report([bench.Outcome("x", "accepted", instances=[passed])]).startswith("values: x: invalid[1] passes")


def test_the_file_is_one_schema_a_line() -> None:
    ids = [json.loads(line)["id"] for line in FILE.read_text().splitlines()]
    assert ids == [entry["id"] for entry in bench.read(FILE)] and len(set(ids)) == 13
