from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.web
def test_on_a_small_disk() -> None:
    """Runs the tests of that name in a mount namespace of their own, where they may mount a disk."""
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    cases = Path(__file__).with_name("on_a_small_disk.py")
    done = subprocess.run(
        ["unshare", "--mount", *user, *command, str(cases)],
        cwd=cases.parents[2],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
