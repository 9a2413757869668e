"""The soak test, for a few seconds, in a process of its own; ``make soak`` runs it for 20 minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from studiolo.paths import Home
from tests.reliability.soak import Report

ROOT = Path(__file__).parents[2]
SIZE = ("--minutes", "0.1", "--clients", "6", "--kill-every", "2", "--seed", "3")


def test_clients_of_every_kind_while_engines_are_killed(
    quick_home: Home, embedding_model: Path, tmp_path: Path
) -> None:
    assert embedding_model.exists()  # it is built once for all tests
    written = tmp_path / "report.json"
    program = [sys.executable, "-m", "tests.reliability.soak", *SIZE, "--models", quick_home.root, "--json", written]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert written.exists(), f"it ended with {done.returncode}: {done.stderr}"
    report = msgspec.json.decode(written.read_bytes(), type=Report)
    assert report.faults == [], done.stderr
    assert report.kills >= 1
    assert sum(count for outcome, count in report.outcomes.items() if ": answered" in outcome) >= 5
    assert max(report.processes) <= 10
    assert done.returncode == 0, done.stderr
