"""The files of docs/operations: a unit that systemd accepts, and commands and options that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import studiolo
from tests.support.documented_commands import check
from tests.support.running import Server, free_port

pytestmark = pytest.mark.quick_model

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


def test_the_container_installs_this_version_with_extras_that_exist() -> None:
    container = (FILES / "Dockerfile").read_text()
    project = tomllib.loads((FILES.parents[1] / "pyproject.toml").read_text())["project"]
    (version,) = re.findall(r"^ARG STUDIOLO_VERSION=(.+)$", container, re.MULTILINE)
    (extras,) = re.findall(r'"studiolo\[([\w,]+)\]==\$\{STUDIOLO_VERSION\}"', container)
    assert version == studiolo.__version__
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_containers_check_of_health_succeeds_while_a_server_answers(server: Server) -> None:
    container = (FILES / "Dockerfile").read_text()
    python, *words = json.loads(re.findall(r"^ +CMD (\[.+\])$", container, re.MULTILINE)[0])
    assert python == "python" and "127.0.0.1:1234/" in words[-1]
    for address, status in ((server.address, 0), (f"127.0.0.1:{free_port()}", 1)):
        *options, code = words
        code = code.replace("127.0.0.1:1234", address).replace("timeout=4", "timeout=30")
        check_of_health = [sys.executable, *options, code]
        assert subprocess.run(check_of_health, capture_output=True, timeout=60).returncode == status


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
