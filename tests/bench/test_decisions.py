"""The benchmark of decisions runs: every way decides on every task, and has the figures of its line."""

from __future__ import annotations

import pytest

from bench.decision_items import tasks
from bench.decisions import measure, table
from studiolo.paths import Home
from tests.support.homes import DEFAULT_MODEL

pytestmark = [pytest.mark.quick_model, pytest.mark.slow]


def test_every_way_decides_on_every_task(home: Home) -> None:
    given = tasks(24)
    found = measure(DEFAULT_MODEL, given, lambda text: None)
    assert [each["task"] for each in found[::4]] == [task.name for task in given]
    for each in found:
        assert 0 <= each["accuracy"] <= 1
        assert (each["error"] is None) == (each["way"] == "structured output")
        assert (each["rate"] is None) == ("calibrated" in each["way"])
    assert len(table(found).splitlines()) == 2 + len(found) == 2 + 4 * len(given)
