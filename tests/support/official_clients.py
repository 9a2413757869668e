"""Programs that use the official clients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from studiolo.paths import Home
from tests.support.running import environment
from tests.support.typescript_clients import run


def run_python(program: str, home: Home, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment(home), capture_output=True, text=True, timeout=390
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_typescript(program: str, folder: Path, name: str, *arguments: str) -> str:
    return run(folder, name, *arguments, text=program)
