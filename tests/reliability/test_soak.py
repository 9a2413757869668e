"""The soak test, for a few seconds; ``make soak`` runs it for 20 minutes."""

from __future__ import annotations

from pathlib import Path

from studiolo.paths import Home
from tests.reliability.soak import soak
from tests.support.homes import new_home


def test_clients_of_every_kind_while_engines_are_killed(
    quick_home: Home, embedding_model: Path, tmp_path: Path
) -> None:
    home = new_home(tmp_path, quick_home, embedding_model)
    report = soak(home, tmp_path, seconds=6, clients=6, kill_every_sec=2, seed=3)
    assert report.faults == []
    assert report.kills >= 1
    assert sum(count for outcome, count in report.outcomes.items() if ": answered" in outcome) >= 10
    assert max(report.processes) <= 10
