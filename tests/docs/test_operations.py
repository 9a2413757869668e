"""The files of docs/operations: a unit that systemd accepts, and commands and options that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documented_commands import check

FILES = Path(__file__).parents[2] / "docs" / "operations"


def test_the_commands_in_the_files_exist() -> None:
    unit = (FILES / "studiolo.service").read_text()
    (start,) = re.findall(r"^ExecStart=\S*/bin/(studiolo .+)$", unit, re.MULTILINE)
    check(start)
    container = (FILES / "Dockerfile").read_text()
    program, command = (
        json.loads(re.findall(rf"^{name} (\[.+\])$", container, re.MULTILINE)[0]) for name in ("ENTRYPOINT", "CMD")
    )
    check(" ".join([*program, *command]))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="Debian's package systemd has the program")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "studiolo.service"
    text = (FILES / "studiolo.service").read_text()
    unit.write_text(text.replace("/opt/studiolo/bin/studiolo", sys.executable))
    verify = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=60)
    faults = [line for line in done.stderr.splitlines() if "studiolo" in line]
    assert faults == []
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=sometimes"))
    assert "sometimes" in subprocess.run(verify, capture_output=True, text=True, timeout=60).stderr
